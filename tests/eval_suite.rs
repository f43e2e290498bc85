//! Evaluations against lm-evaluation-harness, on data of real benchmarks, with bad input, and broken off.
//! Deliberately not here: the pane (`ui_eval_pane`) and the statistics, which stand beside their code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Device;
use serde_json::{Value, json};
use weightroom::data::tokenizer::Tokenizer;
use weightroom::engine::models::Models;
use weightroom::eval::report::{ItemResult, Status, TaskReport};
use weightroom::eval::rows::Row;
use weightroom::eval::run::{Given, Run};
use weightroom::eval::task::{self, Overrides, Prepared, Task};
use weightroom::eval::{EvalError, known};
use weightroom::report::{Monitor, Silent};
use weightroom::sample::generator::{AskFault, Completion, Generator, Piece, Prompt, Question, Request, Score};

#[path = "common/cli.rs"]
mod cli;

fn load(name: &str, project: &Path) -> Result<Prepared, EvalError> {
    task::load(name, project, &Overrides::default())
}

fn evaluate(
    prepared: &Prepared,
    model: &dyn Generator,
    earlier: &HashMap<String, ItemResult>,
) -> Result<(Vec<ItemResult>, TaskReport), EvalError> {
    let dir = std::env::temp_dir();
    let run = Run { prepared, model, model_hash: "m", judge: None, monitor: &Silent, dir: &dir, earlier };
    run.run(&mut |_| Ok(()), &mut |_| ())
}

fn near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-3, "{what}: {found} is not {expected}");
}

/// Sums of the choices' log-likelihoods, item by item.
fn sums(results: &[ItemResult]) -> Vec<Vec<f64>> {
    let sum = |o: &weightroom::eval::report::Output| o.log_probs.iter().map(|l| f64::from(*l)).sum::<f64>();
    results.iter().map(|r| r.outputs.iter().map(sum).collect()).collect()
}

/// Values of lm-evaluation-harness 0.4.13 with transformers 5.24: the aggregated ones lie in the assets, those of each choice
/// and text come from the same run with --log_samples.
#[test]
fn stories_score_as_in_lm_evaluation_harness() {
    let (Some(dir), Some(model)) = (common::asset("numeric/lm_eval"), common::asset("models/stories260K/hf")) else { return };
    let project = tempfile::tempdir().unwrap();
    let model = Models::default().generator(project.path(), model.to_str().unwrap(), &Device::Cpu).unwrap();
    let published: Value = serde_json::from_slice(&std::fs::read(dir.join("results_stories260K.json")).unwrap()).unwrap();

    let prepared = load(dir.join("tasks/ppl.yaml").to_str().unwrap(), project.path()).unwrap();
    let (results, report) = evaluate(&prepared, model.as_ref(), &HashMap::new()).unwrap();
    let of = |name: &str| published["results"]["local_tinystories_ppl"][format!("{name},none")].as_f64().unwrap();
    for name in ["bits_per_byte", "byte_perplexity", "word_perplexity"] {
        near(report.measures[name].value, of(name), name);
    }
    let texts = [-497.96884, -416.59344, -222.04070, -642.03247, -550.58704];
    results.iter().zip(texts).for_each(|(r, expected)| near(r.measures["log_likelihood"], expected, &r.id));
    assert!(report.interval.unwrap().low > 0.5 && report.complete && report.n == 5 && !report.higher_is_better);

    let prepared = load(dir.join("tasks/cloze.yaml").to_str().unwrap(), project.path()).unwrap();
    let (results, report) = evaluate(&prepared, model.as_ref(), &HashMap::new()).unwrap();
    let choices = [
        [-0.146921, -18.117983, -18.209694, -21.829021],
        [-7.864432, -110.877853, -39.261620, -29.067617],
        [-3.910794, -25.856142, -11.103105, -10.891892],
        [-0.924974, -9.876168, -19.041035, -19.343269],
    ];
    for (found, expected) in sums(&results).iter().zip(choices) {
        found.iter().zip(expected).for_each(|(a, b)| near(*a, b, "a choice"));
    }
    assert_eq!((report.measures["acc"].value, report.measures["acc_norm"].value), (1.0, 1.0));
}

/// The weights are not part of the assets: `WEIGHTROOM_SMOLLM2=DIR` names a directory that `tools/smollm2 --hf` made.
#[test]
fn smollm2_answers_mmlu_as_in_lm_evaluation_harness() {
    let Some(dir) = common::asset("numeric/lm_eval") else { return };
    let Some(model) = std::env::var_os("WEIGHTROOM_SMOLLM2") else {
        println!("skipped: WEIGHTROOM_SMOLLM2 names no directory with the weights");
        return;
    };
    let project = tempfile::tempdir().unwrap();
    let model = Models::default().generator(project.path(), model.to_str().unwrap(), &Device::Cpu).unwrap();
    let prepared = load(dir.join("tasks/wr.yaml").to_str().unwrap(), project.path()).unwrap();
    let (results, report) = evaluate(&prepared, model.as_ref(), &HashMap::new()).unwrap();
    let reference: Vec<[f64; 4]> = serde_json::from_str(include_str!("eval_smollm2.json")).unwrap();
    assert_eq!(results.len(), reference.len());
    let mut furthest: f64 = 0.0;
    for (found, expected) in sums(&results).iter().zip(reference) {
        found.iter().zip(expected).for_each(|(a, b)| furthest = furthest.max((a - b).abs()));
    }
    println!("the furthest choice is {furthest:.6} away");
    assert!(furthest < 1e-3, "{furthest}");
    near(report.score.unwrap(), 10.0 / 60.0, "accuracy");
}

#[test]
fn benchmarks_are_recognised_by_the_shape_of_their_rows() {
    let Some(data) = common::asset("data") else { return };
    let project = tempfile::tempdir().unwrap();
    let of = |file: &str| load(data.join(file).to_str().unwrap(), project.path()).unwrap_or_else(|e| panic!("{file}: {e}"));

    let gsm8k = of("gsm8k_test.jsonl");
    assert_eq!((gsm8k.task.kind.as_str(), gsm8k.task.score.as_str(), gsm8k.items.len()), ("generate", "number", 1319));
    // Every answer of the data reads as a number, and is right by its own rule.
    let own: Vec<ItemResult> = evaluate(&with_given(&gsm8k, |i| i.targets[0].clone()), &Given, &HashMap::new()).unwrap().0;
    assert!(own.iter().all(|r| r.score == Some(1.0)), "{:?}", own.iter().find(|r| r.score != Some(1.0)));

    let mmlu = of("mmlu/test/world_religions_test.csv");
    assert_eq!((mmlu.task.kind.as_str(), mmlu.items[0].right.as_slice(), mmlu.items.len()), ("letter", [3].as_slice(), 171));
    assert!(mmlu.task.description.contains("about world religions") && mmlu.task.shots_from[0].ends_with("dev/world_religions_dev.csv"));
    assert_eq!(mmlu.items[0].choices[3], "Idols");
    for subject in ["formal_logic", "moral_disputes", "abstract_algebra", "high_school_us_history", "marketing"] {
        assert_eq!(of(&format!("mmlu/test/{subject}_test.csv")).task.kind, "letter", "{subject}");
    }

    let truthful = of("TruthfulQA.csv");
    assert_eq!(
        (truthful.task.kind.as_str(), truthful.items[0].choices.len(), truthful.items[0].tags[0].as_str()),
        ("choice", 8, "Misconceptions")
    );
    assert!(truthful.items[0].choices[0].starts_with("The watermelon seeds pass"));

    let ifeval = of("ifeval_input_data.jsonl");
    assert_eq!((ifeval.task.kind.as_str(), ifeval.items.len(), ifeval.items[0].id.as_str()), ("ifeval", 541, "1000"));
    // Every instruction of the data is known, and has the arguments that it needs.
    let graded = evaluate(&with_given(&ifeval, |_| "Hello there.".into()), &Given, &HashMap::new()).unwrap().1;
    assert_eq!((graded.failed, graded.n), (0, 541), "{:?}", graded);

    for (file, first) in [("boolean_expressions", "False"), ("date_understanding", "(B)"), ("word_sorting", "syndrome therefrom")] {
        let bbh = of(&format!("bbh/{file}.json"));
        assert_eq!((bbh.task.kind.as_str(), bbh.items[0].targets[0].as_str(), bbh.items.len()), ("generate", first, 250));
    }
}

/// The same items, each with an answer that its data brings along.
fn with_given(prepared: &Prepared, answer: impl Fn(&weightroom::eval::item::Item) -> String) -> Prepared {
    let mut out = prepared.clone();
    out.items.iter_mut().for_each(|i| i.given = Some(answer(i)));
    out
}

#[test]
fn a_models_answers_to_big_bench_hard_give_its_published_score() {
    let Some(file) = common::asset("data/bbh/davinci_direct_boolean_expressions.json") else { return };
    let project = tempfile::tempdir().unwrap();
    let prepared = load(file.to_str().unwrap(), project.path()).unwrap();
    let (_, report) = evaluate(&prepared, &Given, &HashMap::new()).unwrap();
    assert_eq!((report.score, report.n), (Some(0.884), 250));
    // statsmodels: proportion_confint(221, 250, method="wilson").
    let interval = report.interval.unwrap();
    assert!((interval.low - 0.8383692329).abs() < 1e-9 && (interval.high - 0.9180083931).abs() < 1e-9, "{interval:?}");
}

fn rows(values: &[Value]) -> Vec<Row> {
    let row =
        |(i, value): (usize, &Value)| Row { value: value.clone(), place: format!("x line {}", i + 1), file: "x".into(), number: i as u64 };
    values.iter().enumerate().map(row).collect()
}

fn recognised(row: Value) -> Prepared {
    let rows = rows(&[row]);
    let task = known::recognise(&rows, "x").expect("recognised");
    task::prepare_rows(Task { data: vec!["x".into()], ..task }, &rows, &[], Vec::new()).unwrap()
}

#[test]
fn arc_hellaswag_piqa_and_winogrande_are_read_by_their_rows() {
    let arc =
        recognised(json!({"id": "a", "question": "Q?", "choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}, "answerKey": "3"}));
    assert_eq!(
        (arc.items[0].prompt.as_str(), arc.items[0].right.as_slice(), arc.task.metric.as_str()),
        ("Question: Q?\nAnswer:", [2].as_slice(), "acc_norm")
    );
    let hella =
        recognised(json!({"ind": 4, "activity_label": "Roof", "ctx_a": "A man [title] sits.", "ctx_b": "he", "ctx": "A man sits. he",
        "endings": ["runs [step] off.", "is <b>  \"up\"."], "label": "1"}));
    assert_eq!(hella.items[0].prompt, "Roof: A man. sits. He");
    assert_eq!(
        (hella.items[0].choices.as_slice(), hella.items[0].right.as_slice()),
        (["runs off.".to_owned(), "is <b> \"up\".".into()].as_slice(), [1].as_slice())
    );
    let piqa = recognised(json!({"goal": "Open a jar", "sol1": "twist", "sol2": "hit", "label": 0}));
    assert_eq!((piqa.items[0].choices[1].as_str(), piqa.items[0].right[0]), ("hit", 0));
    let wino = recognised(
        json!({"sentence": "The cup does not fit since _ is too big.", "option1": "the bag", "option2": "the cup", "answer": "2"}),
    );
    let item = &wino.items[0];
    assert_eq!(
        (item.contexts[1].as_str(), item.targets[0].as_str(), item.right[0]),
        ("The cup does not fit since the cup", "is too big.", 1)
    );
    let mmlu = recognised(json!({"question": "2+2?", "choices": ["3", "4"], "answer": 1, "subject": "college_math"}));
    assert!(mmlu.task.description.contains("about college math"));
    let chat = recognised(json!({"messages": [{"role": "user", "content": "Hi"}], "target": "Hello"}));
    assert!(chat.task.chat && chat.items[0].messages.len() == 1);
    assert!(known::recognise(&rows(&[json!({"a": 1})]), "x").is_none());
}

/// A model that answers by a rule and counts what it is asked.
struct Scripted {
    tokenizer: Option<Tokenizer>,
    context: Option<usize>,
    answer: fn(&str, u64) -> String,
    asked: AtomicUsize,
    prompts: Mutex<Vec<Prompt>>,
    /// Refuses to go on after so many answers.
    breaks_after: usize,
}

impl Scripted {
    fn new(answer: fn(&str, u64) -> String) -> Self {
        Self { tokenizer: None, context: None, answer, asked: AtomicUsize::new(0), prompts: Mutex::default(), breaks_after: usize::MAX }
    }
}

impl Generator for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }
    fn context(&self) -> Option<usize> {
        self.context
    }
    fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }
    fn generate(
        &self,
        requests: &[Request],
        _: &dyn Monitor,
        tell: &mut (dyn FnMut(usize, Piece) + Send),
    ) -> Vec<Result<Completion, AskFault>> {
        let one = |(index, request): (usize, &Request)| {
            let n = self.asked.fetch_add(1, Ordering::SeqCst);
            self.prompts.lock().unwrap().push(request.prompt.clone());
            let text = match &request.prompt {
                Prompt::Text(text) => text.clone(),
                Prompt::Chat(messages) => messages.last().unwrap().content.clone(),
                Prompt::Ids(_) => String::new(),
            };
            let made = if n >= self.breaks_after {
                Err(AskFault::Broken("the server is gone".into()))
            } else {
                Ok(Completion { text: (self.answer)(&text, request.sampler.seed), ended: "end".into(), ..Completion::default() })
            };
            tell(index, Piece::Done(&made));
            made
        };
        requests.iter().enumerate().map(one).collect()
    }
    fn score(&self, questions: &[Question], _: &dyn Monitor, _: &mut (dyn FnMut(usize) + Send)) -> Vec<Result<Score, AskFault>> {
        self.asked.fetch_add(questions.len(), Ordering::SeqCst);
        questions.iter().map(|_| Ok(Score { ids: vec![1], log_probs: vec![-1.0], greedy: false })).collect()
    }
}

fn questions(count: usize, task: Task) -> Prepared {
    let values: Vec<Value> = (0..count)
        .map(|i| json!({"id": format!("q{i}"), "question": format!("What is {i} + 1?"), "answer": format!("{}", i + 1)}))
        .collect();
    let task = Task {
        name: "sums".into(),
        kind: "generate".into(),
        data: vec!["x".into()],
        prompt: "question".into(),
        target: "answer".into(),
        ..task
    };
    task::prepare_rows(task, &rows(&values), &[], Vec::new()).unwrap()
}

/// Answers every third question wrongly, and every fifth with nothing that is a number.
fn adder(text: &str, _: u64) -> String {
    let n: u64 = text.rsplit("What is ").next().unwrap().split(' ').next().unwrap().parse().unwrap();
    match n {
        n if n % 5 == 4 => "I do not know.".into(),
        n if n % 3 == 2 => format!("It is {n}."),
        n => format!("It is {} units.", n + 1),
    }
}

#[test]
fn what_cannot_be_read_is_counted_apart_and_nothing_is_asked_twice() {
    let prepared = questions(100, Task { score: "number".into(), ..Task::default() });
    let model = Scripted::new(adder);
    let kept = Mutex::new(Vec::new());
    let dir = std::env::temp_dir();
    let none = HashMap::new();
    let run = Run { prepared: &prepared, model: &model, model_hash: "m", judge: None, monitor: &Silent, dir: &dir, earlier: &none };
    let (results, report) = run
        .run(
            &mut |r| {
                kept.lock().unwrap().push(r.clone());
                Ok(())
            },
            &mut |_| (),
        )
        .unwrap();
    // 20 unparsed; of the other 80, those with n % 3 == 2 are wrong.
    let wrong = (0..100).filter(|n| n % 5 != 4 && n % 3 == 2).count();
    assert_eq!((report.n, report.unparsed, report.failed, report.cached), (100, 20, 0, 0));
    assert_eq!(report.score, Some((80 - wrong) as f64 / 100.0));
    assert_eq!(
        results.iter().map(|r| r.id.clone()).collect::<Vec<_>>(),
        (0..100).map(|i| format!("q{i}")).collect::<Vec<_>>(),
        "in the items' order"
    );
    assert_eq!(results[4].status, Status::Unparsed);
    assert_eq!((results[0].extracted.as_deref(), results[0].expected.as_str()), (Some("1"), "1"));

    let earlier: HashMap<String, ItemResult> = kept.into_inner().unwrap().into_iter().take(60).map(|r| (r.key.clone(), r)).collect();
    let again = Scripted::new(adder);
    let (second, report) = evaluate(&prepared, &again, &earlier).unwrap();
    assert_eq!((again.asked.load(Ordering::SeqCst), report.cached), (40, 60));
    assert_eq!(second, results);
    // Another question, sampler or way of grading is another result.
    let other = Scripted::new(adder);
    evaluate(&questions(100, Task { score: "number".into(), max_tokens: 9, ..Task::default() }), &other, &earlier).unwrap();
    assert_eq!(other.asked.load(Ordering::SeqCst), 100);
}

#[test]
fn a_model_that_breaks_off_loses_nothing_that_it_said() {
    let prepared = questions(100, Task { score: "number".into(), ..Task::default() });
    let model = Scripted { breaks_after: 70, ..Scripted::new(adder) };
    let dir = std::env::temp_dir();
    let kept = Mutex::new(HashMap::new());
    let none = HashMap::new();
    let run = Run { prepared: &prepared, model: &model, model_hash: "m", judge: None, monitor: &Silent, dir: &dir, earlier: &none };
    let broken = run.run(
        &mut |r| {
            kept.lock().unwrap().insert(r.key.clone(), r.clone());
            Ok(())
        },
        &mut |_| (),
    );
    assert!(matches!(broken, Err(EvalError::Model(why)) if why == "the server is gone"));
    let kept = kept.into_inner().unwrap();
    assert_eq!(kept.len(), 70);
    let rest = Scripted::new(adder);
    assert_eq!(evaluate(&prepared, &rest, &kept).unwrap().1.n, 100);
    assert_eq!(rest.asked.load(Ordering::SeqCst), 30);
}

#[test]
fn several_samples_and_examples_are_asked_as_the_task_says() {
    let guess = |_: &str, seed: u64| if seed.is_multiple_of(2) { "1".into() } else { "no".into() };
    let task = Task { score: "number".into(), samples: 8, temperature: 1.0, combine: "majority".into(), ..Task::default() };
    let prepared = questions(1, task.clone());
    let (results, _) = evaluate(&prepared, &Scripted::new(guess), &HashMap::new()).unwrap();
    assert_eq!((results[0].outputs.len(), results[0].samples.len()), (8, 8));
    let texts: Vec<&str> = results[0].outputs.iter().map(|o| o.text.as_str()).collect();
    assert!(texts.contains(&"1") && texts.contains(&"no"), "seeds differ: {texts:?}");
    assert_eq!(results[0].score, Some(1.0), "what cannot be read does not vote");
    let (again, _) = evaluate(&prepared, &Scripted::new(guess), &HashMap::new()).unwrap();
    assert_eq!(again, results, "seeds are the item's own");

    let shots = questions(5, Task { shots: 2, description: "Add.\n".into(), ..Task::default() });
    let model = Scripted::new(adder);
    evaluate(&shots, &model, &HashMap::new()).unwrap();
    let prompts = model.prompts.lock().unwrap();
    assert_eq!(prompts.len(), 5);
    let first = prompts.iter().find(|p| matches!(p, Prompt::Text(t) if t.ends_with("What is 0 + 1?"))).unwrap();
    assert_eq!(*first, Prompt::Text("Add.\nWhat is 1 + 1? 2\n\nWhat is 2 + 1? 3\n\nWhat is 0 + 1?".into()), "never its own example");
    drop(prompts);
    let chat = questions(3, Task { shots: 1, chat: true, system: "Be brief.".into(), ..Task::default() });
    let model = Scripted::new(adder);
    evaluate(&chat, &model, &HashMap::new()).unwrap();
    let prompts = model.prompts.lock().unwrap();
    let roles: Vec<String> = match &prompts[0] {
        Prompt::Chat(messages) => messages.iter().map(|m| m.role.clone()).collect(),
        other => panic!("{other:?}"),
    };
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
}

#[test]
fn an_item_longer_than_the_context_is_counted_and_never_cut() {
    let tokenizer = Tokenizer::train("byte", 0, None, &[], &Silent).unwrap();
    let long = "x".repeat(50);
    let values = [json!({"id": "a", "question": "hi", "answer": "y"}), json!({"id": "b", "question": long, "answer": "y"})];
    let task = Task {
        name: "t".into(),
        data: vec!["x".into()],
        kind: "generate".into(),
        prompt: "question".into(),
        target: "answer".into(),
        ..Task::default()
    };
    let prepared = task::prepare_rows(task.clone(), &rows(&values), &[], Vec::new()).unwrap();
    let model = Scripted { tokenizer: Some(tokenizer.clone()), context: Some(32), ..Scripted::new(|_, _| "y".into()) };
    let (results, report) = evaluate(&prepared, &model, &HashMap::new()).unwrap();
    assert_eq!((report.n, report.too_long, report.total, report.score), (1, 1, 2, Some(1.0)));
    assert!(results[1].reason.contains("longer than the context: 51 tokens, and the model sees 32 at once"), "{}", results[1].reason);
    let cloze = task::prepare_rows(Task { kind: "cloze".into(), ..task }, &rows(&values), &[], Vec::new()).unwrap();
    let (_, report) = evaluate(&cloze, &model, &HashMap::new()).unwrap();
    assert_eq!((report.n, report.too_long), (1, 1));
}

#[test]
fn bad_tasks_say_what_is_wrong_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("good.jsonl", "{\"id\":\"a\",\"q\":\"x\",\"c\":[\"1\",\"2\"],\"a\":1}\n");
    write("twice.jsonl", "{\"id\":\"a\",\"q\":\"x\",\"t\":\"y\"}\n{\"id\":\"a\",\"q\":\"z\",\"t\":\"y\"}\n");
    write("index.jsonl", "{\"id\":\"a\",\"q\":\"x\",\"c\":[\"1\",\"2\"],\"a\":2}\n");
    write("torn.jsonl", "{\"id\":\"a\",\"q\":\"x\",\"t\":\"y\"}\n{\"id\":\"b\",\"q\":\"x\n");
    write("empty.jsonl", "");
    write("odd.jsonl", "{\"a\":1}\n");
    let fault = |toml: &str| {
        std::fs::write(dir.path().join("t.toml"), toml).unwrap();
        load("t.toml", dir.path()).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let has =
        |found: String, words: &[&str]| assert!(words.iter().all(|w| found.contains(w)) && !found.contains('\n'), "{words:?} in {found}");
    let choice =
        |data: &str, more: &str| format!("kind = \"choice\"\ndata = \"{data}\"\nprompt = \"q\"\nchoices = \"c\"\nanswer = \"a\"\n{more}");
    let text = |data: &str, more: &str| format!("kind = \"generate\"\ndata = \"{data}\"\nprompt = \"q\"\ntarget = \"t\"\n{more}");
    assert_eq!(fault(&choice("good.jsonl", "")), "");
    has(fault(&text("twice.jsonl", "")), &["twice.jsonl line 2", "id “a” comes twice"]);
    has(fault(&choice("index.jsonl", "")), &["index.jsonl line 1", "the answer “2” is none of its 2 choices"]);
    has(fault(&text("torn.jsonl", "")), &["torn.jsonl", "line 2", "mend or drop the row"]);
    has(fault(&text("empty.jsonl", "")), &["holds no row"]);
    has(fault(&text("missing.jsonl", "")), &["missing.jsonl", "no such file"]);
    has(fault("kind = \"generate\"\nprompt = \"q\"\n"), &["has no data"]);
    has(fault("kind = \"generate\"\nwhat = 1\n"), &["t.toml", "line 2", "what", "--keys"]);
    has(fault(&text("good.jsonl", "")), &["good.jsonl line 1", "t"]);
    has(fault("kind = \"dance\"\ndata = \"good.jsonl\"\nprompt = \"q\"\n"), &["dance", "no such kind", "perplexity"]);
    has(fault("data = \"odd.jsonl\"\n"), &["no benchmark that is known"]);
    has(fault(&text("good.jsonl", "samples = 3\n")), &["temperature 0"]);
    has(fault(&text("good.jsonl", "score = \"near\"\n")), &["is no rule", "exact"]);
    has(fault(&text("good.jsonl", "score = \"regex\"\nextract = \"(\"\n")), &["is no expression"]);
    has(fault(&choice("good.jsonl", "shots = 5\n")), &["5 examples are asked for and 0 are there"]);
    has(fault("kind = \"rubric\"\ndata = \"good.jsonl\"\nprompt = \"q\"\n"), &["a judge is needed"]);
    has(load("nothing", dir.path()).err().unwrap().to_string(), &["nothing: no such task", "sample-questions"]);
    // The suite of the sample world is whole.
    for (name, _) in known::BUILT_IN {
        let prepared = load(name, dir.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(prepared.items.len() >= 100, "{name}");
    }
    let cloze = load("sample-cloze", dir.path()).unwrap();
    assert_eq!(
        (cloze.items[0].prompt.as_str(), cloze.items[0].targets[0].as_str()),
        ("Question: What is the opposite of big?\nAnswer: The opposite of big is", "small.")
    );
}

#[test]
fn the_command_line_evaluates_compares_and_fails_on_a_regression() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |wrong: usize| -> String {
        (0..120)
            .map(|i| {
                json!({"id": i, "input": format!("Q: {i}\nA:"), "target": "yes", "prediction": if i % wrong == 0 { "no" } else { "yes" }})
                    .to_string()
                    + "\n"
            })
            .collect()
    };
    let task = |name: &str, field: &str| {
        format!(
            "name = \"both\"\nkind = \"generate\"\ndata = \"{name}.jsonl\"\nprompt = \"input\"\ntarget = \"target\"\ngiven = \"{field}\"\n"
        )
    };
    for (name, wrong) in [("good", 40), ("bad", 3)] {
        std::fs::write(dir.path().join(format!("{name}.jsonl")), rows(wrong)).unwrap();
        std::fs::write(dir.path().join(format!("{name}.toml")), task(name, "prediction")).unwrap();
        let ran = cli::run(dir.path(), &["eval", "given", "--task", &format!("{name}.toml"), "-o", &format!("evals/{name}")]).good();
        assert!(ran.out.contains("both") && ran.out.contains("score 0."), "{}", ran.out);
    }
    let read = |name: &str| std::fs::read_to_string(dir.path().join("evals/good").join(name)).unwrap();
    let report: Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!((report["complete"].as_bool(), report["tasks"][0]["n"].as_u64()), (Some(true), Some(120)));
    assert_eq!(read("items.jsonl").lines().count(), 120);
    assert!(read("report.md").contains("| both | score ↑ | 0.975 |") && read("junit.xml").contains("tests=\"120\" failures=\"3\""));
    let compare = |a: &str, b: &str, more: &[&str]| cli::run(dir.path(), &[&["eval", "compare", a, b], more].concat());
    let found = compare("good", "evals/bad", &[]).good();
    assert!(found.out.contains("worse") && found.out.contains("mcnemar p < 0.001 over 120 items"), "{}", found.out);
    compare("good", "bad", &["--fail-on-regression"]).code_is(1);
    compare("bad", "good", &["--fail-on-regression"]).good();
    let json: Value = serde_json::from_str(&compare("good", "bad", &["--json"]).good().out).unwrap();
    assert_eq!(json["tasks"][0]["worse"].as_bool(), Some(true));
    assert!(compare("good", "bad", &["--markdown"]).good().out.starts_with("### `good` → `bad`"));
    compare("good", "nothing", &[]).bad(1, &["nothing", "no evaluation is there"]);
    cli::run(dir.path(), &["eval", "given"]).bad(2, &["no task is named"]);
    cli::run(dir.path(), &["eval", "--task", "good.toml"]).bad(2, &["no model is named"]);
    cli::run(dir.path(), &["eval", "given", "--task", "sample-stories"]).bad(1, &["have no likelihoods"]);
    cli::run(dir.path(), &["eval", "nobody", "--task", "sample-stories"]).bad(1, &["nobody"]);
    assert!(cli::run(dir.path(), &["eval", "--list"]).good().out.contains("sample-questions"));
    assert!(cli::run(dir.path(), &["eval", "--keys"]).good().out.contains("shots_order"));
}

#[test]
fn a_strangers_command_is_asked_for_before_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("d.jsonl"), "{\"id\":\"a\",\"q\":\"x\",\"said\":\"3\"}\n{\"id\":\"b\",\"q\":\"y\",\"said\":\"4\"}\n")
        .unwrap();
    let script = "touch ran; grep -q '\\\"output\\\":\\\"3\\\"' && echo '{\\\"score\\\": 1, \\\"extracted\\\": \\\"3\\\"}' || echo '{\\\"score\\\": false, \\\"reason\\\": \\\"no\\\"}'";
    let task =
        format!("kind = \"command\"\ndata = \"d.jsonl\"\nprompt = \"q\"\ngiven = \"said\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n");
    std::fs::write(dir.path().join("c.toml"), task).unwrap();
    let eval = |more: &[&str]| cli::run(dir.path(), &[&["eval", "given", "--task", "c.toml", "-o", "e"], more].concat());
    eval(&[]).bad(1, &["a task runs “sh -c", "--allow-commands"]);
    assert!(!dir.path().join("ran").exists());
    let ran = eval(&["--allow-commands"]).good();
    assert!(ran.out.contains("score 0.500") && dir.path().join("ran").exists(), "{}", ran.out);
    eval(&["--fresh"]).good();
    let items = std::fs::read_to_string(dir.path().join("e/items.jsonl")).unwrap();
    assert!(items.lines().nth(1).unwrap().contains("\"reason\":\"no\""), "{items}");
}

#[test]
fn a_killed_evaluation_goes_on_without_asking_again() {
    let Some(model) = common::asset("models/stories260K/hf") else { return };
    let dir = tempfile::tempdir().unwrap();
    let rows: String = (0..400)
        .map(|i| json!({"id": i, "prompt": format!("Once upon a time number {i}, there was"), "completion": "x"}).to_string() + "\n")
        .collect();
    std::fs::write(dir.path().join("d.jsonl"), rows).unwrap();
    std::fs::write(dir.path().join("t.toml"), "kind = \"generate\"\ndata = \"d.jsonl\"\nmax_tokens = 8\n").unwrap();
    let items = dir.path().join("evals/e/items.jsonl");
    let lines = || -> Vec<String> {
        let text = std::fs::read_to_string(&items).unwrap_or_default();
        text.split_inclusive('\n').filter(|l| l.ends_with('\n')).map(str::to_owned).collect()
    };
    let arguments = ["eval", model.to_str().unwrap(), "--task", "t.toml", "-o", "evals/e"];
    let mut child =
        cli::weightroom(dir.path(), &arguments).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while lines().len() < 20 && child.try_wait().unwrap().is_none() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = lines();
    assert!(before.len() >= 20 && before.len() < 400, "{}", before.len());
    let report: Value = serde_json::from_slice(&std::fs::read(dir.path().join("evals/e/report.json")).unwrap()).unwrap();
    assert_eq!(report["complete"].as_bool(), Some(false));
    // A kill in the middle of a line costs that line alone.
    let torn = format!("{}{{\"task\":\"t\",\"id\":\"39", before.concat());
    std::fs::write(&items, torn).unwrap();
    let done = cli::run(dir.path(), &[&arguments[..], &["--json"]].concat()).good();
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((report["tasks"][0]["cached"].as_u64(), report["tasks"][0]["n"].as_u64()), (Some(before.len() as u64), Some(400)));
    let after = lines();
    assert_eq!(after.len(), 400);
    assert!(before.iter().all(|l| after.contains(l)), "what was said stays as it was");
}
