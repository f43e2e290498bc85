//! The Eval pane, driven by keys, with the loader that answers it and a script of the engine's reports.
//! Not here: evaluations themselves (`eval_suite`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use serde_json::json;
use std::path::Path;
use weightroom::engine::protocol::{Command, Up};
use weightroom::eval::report::{ItemResult, Output, Report as EvalReport, Status, TaskReport};
use weightroom::eval::stats::wilson;
use weightroom::eval::store::EvalDir;
use weightroom::report::{JobId, Report, Signal};
use weightroom::spec::EvalSpec;
use weightroom::ui::harness::Harness;
use weightroom::ui::loader::Worker;
use weightroom::ui::shell::Out;

struct Bench {
    screen: Harness,
    worker: Worker,
    commands: Vec<Command>,
    yanked: Vec<String>,
}

impl Bench {
    fn new(project: &Path, width: u16, height: u16) -> Self {
        let mut bench =
            Self { screen: Harness::new(width, height), worker: Worker::new(project.into()), commands: Vec::new(), yanked: Vec::new() };
        bench.keys("g e");
        bench
    }

    fn settle(&mut self) {
        loop {
            let out = self.screen.out();
            if out.is_empty() {
                break;
            }
            for one in out {
                match one {
                    Out::Load(load) => {
                        let mut answers = Vec::new();
                        self.worker.execute(load, &mut |answer| answers.push(answer));
                        answers.into_iter().for_each(|answer| self.screen.loaded(answer));
                    }
                    Out::Command(command) => self.commands.push(command),
                    Out::Yank(text) => self.yanked.push(text),
                    _ => {}
                }
            }
            self.screen.draw();
        }
    }

    fn keys(&mut self, keys: &str) -> String {
        self.screen.keys(keys);
        self.settle();
        self.screen.draw()
    }

    fn write(&mut self, text: &str) -> String {
        self.screen.type_text(text);
        self.settle();
        self.screen.draw()
    }

    fn started(&self) -> Vec<(u64, EvalSpec)> {
        let of = |c: &Command| match c {
            Command::Start { ticket, spec } if spec.kind == "eval" => Some((*ticket, serde_json::from_value(spec.params.clone()).unwrap())),
            _ => None,
        };
        self.commands.iter().filter_map(of).collect()
    }
}

fn item(task: &str, i: usize, score: Option<f64>, status: Status, answer: &str) -> ItemResult {
    ItemResult {
        task: task.into(),
        id: format!("q{i}"),
        key: format!("{task}{i}{answer}"),
        item: format!("h{i}"),
        place: format!("sums.jsonl line {}", i + 1),
        status,
        score,
        measures: score.map(|s| ("score".to_owned(), s)).into_iter().collect(),
        prompt: format!("What is {i} + 1?"),
        outputs: vec![Output {
            text: answer.into(),
            ids: vec![1, 2],
            tokens: vec!["·It".into(), "·is".into()],
            log_probs: vec![-0.05, -2.3],
            ended: "end".into(),
            right: false,
        }],
        expected: format!("{}", i + 1),
        extracted: (status == Status::Graded).then(|| answer.to_owned()),
        reason: if status == Status::Unparsed { "no number in the answer".into() } else { "wrong\u{1b}[31m".into() },
        ..ItemResult::default()
    }
}

/// Writes an evaluation of 100 sums, of which each `every`th is wrong.
fn write(project: &Path, name: &str, model: &str, hash: &str, at: u64, every: usize) {
    let dir = EvalDir::new(project.join("evals").join(name));
    std::fs::create_dir_all(&dir.path).unwrap();
    let items: Vec<ItemResult> = (0..100)
        .map(|i| match i {
            99 => item("sums", i, Some(0.0), Status::Unparsed, "I do not know"),
            98 => item("sums", i, None, Status::TooLong, ""),
            i if i % every == 0 => item("sums", i, Some(0.0), Status::Graded, "It is 7"),
            i => item("sums", i, Some(1.0), Status::Graded, &format!("It is {}", i + 1)),
        })
        .collect();
    let right: f64 = items.iter().filter_map(|i| i.score).sum();
    let task = TaskReport {
        name: "sums".into(),
        about: "small sums".into(),
        kind: "generate".into(),
        metric: "score".into(),
        higher_is_better: true,
        score: Some(right / 99.0),
        interval: Some(wilson(right, 99)),
        n: 99,
        total: 100,
        unparsed: 1,
        too_long: 1,
        items_per_s: 12.5,
        complete: true,
        samples: 1,
        ..TaskReport::default()
    };
    let text = TaskReport {
        name: "stories".into(),
        kind: "perplexity".into(),
        metric: "bits_per_byte".into(),
        score: Some(0.9 + every as f64 / 100.0),
        n: 5,
        total: 5,
        complete: true,
        ..TaskReport::default()
    };
    let report = EvalReport {
        schema: 1,
        model: model.into(),
        model_hash: hash.into(),
        started_ms: at,
        parameters: Some(504_000),
        complete: true,
        tasks: vec![task, text],
        again: format!("weightroom eval {model} --task sums.toml --limit 100 -o evals/{name}"),
        ..EvalReport::default()
    };
    dir.write_report(&report).unwrap();
    dir.write_items(&items).unwrap();
}

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "demo-2", "demo", "b", 2000, 3);
    write(dir.path(), "demo", "demo", "a", 1000, 20);
    write(dir.path(), "base", "base", "c", 500, 25);
    dir
}

#[test]
fn pictures_of_the_table_the_items_and_the_form() {
    let dir = project();
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let mut bench = Bench::new(dir.path(), width, height);
        bench.keys("l l b h h");
        insta::assert_snapshot!(format!("eval_table_{width}x{height}"), bench.screen.draw());
        bench.keys("enter");
        insta::assert_snapshot!(format!("eval_items_{width}x{height}"), bench.screen.draw());
        bench.keys("enter");
        insta::assert_snapshot!(format!("eval_item_{width}x{height}"), bench.screen.draw());
        bench.keys("esc esc n");
        insta::assert_snapshot!(format!("eval_form_{width}x{height}"), bench.screen.draw());
    }
}

#[test]
fn differences_are_told_with_their_intervals_and_the_run_before() {
    let dir = project();
    let mut bench = Bench::new(dir.path(), 200, 60);
    let screen = bench.keys("l l b h h");
    // The newest stands first; its model was better before.
    assert!(screen.contains("against base: ") && screen.contains("▼"), "{screen}");
    assert!(screen.contains("against demo, the same model before") && screen.contains("worse"), "{screen}");
    assert!(screen.contains("1 unparsed · 1 longer than the context"), "{screen}");
    let screen = bench.keys("l");
    assert!(screen.contains("not to be told apart") && screen.contains("rank 1 to 2"), "{screen}");
    bench.keys("y");
    assert!(bench.yanked[0].starts_with("### `base` → `demo`"), "{:?}", bench.yanked);
    assert!(bench.keys("? ").contains("95 of 100"));
}

#[test]
fn items_are_read_filtered_judged_and_sent_on() {
    let dir = project();
    let mut bench = Bench::new(dir.path(), 140, 40);
    let screen = bench.keys("enter");
    // Against the one beside it, flipped ones first; control characters are marks.
    assert!(screen.contains("flipped against demo first") && screen.contains("✓→✗") && screen.contains("wrong␛[31m"), "{screen}");
    assert!(screen.contains("What is 3 + 1?") && screen.contains("expected") && screen.contains("the other: score 1.000"), "{screen}");
    assert!(screen.contains("·is 10"), "the probability of each token: {screen}");
    assert!(bench.keys("f").contains("flipped"));
    assert!(bench.keys("f f").contains("· 1 items") && bench.screen.draw().contains("I do not know"));
    bench.keys("esc");
    bench.keys("/");
    let screen = bench.write("is:wrong 33\n");
    assert!(screen.contains("· 1 items"), "{screen}");
    assert!(bench.keys("c").contains("by hand right"));
    bench.keys("t");
    assert!(bench.write("odd\n").contains("tags odd"));
    let hand = EvalDir::new(dir.path().join("evals/demo-2")).corrections();
    assert_eq!(
        (hand.len(), hand[1].score, hand[1].tags.as_slice(), hand[1].id.as_str()),
        (2, Some(1.0), ["odd".to_owned()].as_slice(), "q33")
    );
    assert!(bench.screen.draw().contains("1 by hand"));
    let whole = EvalDir::new(dir.path().join("evals/demo-2")).whole().unwrap();
    assert_eq!(whole.items.iter().find(|i| i.id == "q33").unwrap().score, Some(0.0), "the program's score stays");
    assert!(bench.keys("c").contains("by hand 0.000") && !bench.keys("c").contains("by hand 0"));

    bench.keys("r");
    let sent = std::fs::read_to_string(dir.path().join("labels/eval-sums/items.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(sent.lines().next().unwrap()).unwrap();
    assert_eq!((line["responses"][0]["content"].as_str(), line["responses"][1]["model"].as_str()), (Some("It is 7"), Some("demo")));
    bench.keys("d enter");
    let kept = std::fs::read_to_string(dir.path().join("evals/tasks/sums-hard.jsonl")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(kept.trim()).unwrap()["target"], json!("34"));
    bench.keys("d");
    assert!(bench.write("/../x.jsonl\n").contains("name a .jsonl file of the project"));
}

#[test]
fn an_evaluation_is_started_watched_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 120, 36);
    assert!(bench.screen.draw().contains("No model of this project was evaluated yet"));
    assert!(bench.keys("n").contains("sample-questions"));
    assert!(bench.keys("enter").contains("no model is named"));
    bench.write("mine");
    assert!(bench.keys("enter").contains("no task is named"));
    bench.keys("down space down space");
    bench.keys("enter");
    let (ticket, spec) = bench.started().pop().unwrap();
    assert_eq!((spec.model.as_str(), spec.tasks.len()), ("mine", 2));

    bench.screen.up(Up::Started { ticket, job: JobId(7) });
    bench.screen.report(7, Report::Started { kind: "eval".into(), title: "mine on sums".into(), run: None });
    let task = json!({"name": "sums", "metric": "score", "higher_is_better": true, "score": 0.5, "n": 20, "total": 100,
        "interval": {"low": 0.3, "high": 0.7, "method": "wilson"}, "expected_half_width": 0.097});
    let facts = json!({"name": "mine", "report": {"schema": 1, "model": "mine", "tasks": [task]}});
    bench.screen.report(7, Report::Facts([("eval".to_string(), facts)].into()));
    bench.screen.report(7, Report::Progress { what: "sums".into(), done: 20, total: Some(100), unit: "items".into() });
    let screen = bench.keys("j");
    assert!(screen.contains("● 20 of 100") && screen.contains("at the end about ±0.097"), "{screen}");
    bench.keys("x");
    bench.keys("enter");
    assert!(bench.commands.contains(&Command::Signal { job: JobId(7), signal: Signal::Stop }), "{:?}", bench.commands);
    bench.screen.report(7, Report::finished(true, "stopped"));
    bench.settle();
    assert!(bench.screen.draw().contains("No model"), "what is not on the disk is gone");

    // A task with a command of its own is asked for.
    bench.keys("n");
    bench.write("mine");
    bench.keys("down space enter");
    let (ticket, _) = bench.started().pop().unwrap();
    bench.screen.up(Up::Started { ticket, job: JobId(8) });
    bench.screen.report(8, Report::Started { kind: "eval".into(), title: "mine on x".into(), run: None });
    bench.screen.report(8, Report::Facts([("asks_for_commands".to_string(), json!(["sh -c x"]))].into()));
    bench.screen.report(8, Report::Failed { cause: "a task runs".into(), hint: String::new(), log: None });
    bench.settle();
    assert!(bench.screen.draw().contains("The task runs “sh -c x”"), "{}", bench.screen.draw());
    bench.keys("enter");
    assert!(bench.started().pop().unwrap().1.allow_commands);
}

#[test]
fn an_evaluation_is_run_again_from_what_it_kept() {
    let dir = project();
    let mut bench = Bench::new(dir.path(), 120, 36);
    bench.keys("a");
    let (_, spec) = bench.started().pop().unwrap();
    assert_eq!(
        (spec.model.as_str(), spec.tasks.as_slice(), spec.limit, spec.out),
        ("demo", ["sums.toml".to_owned()].as_slice(), Some(100), None)
    );
}
