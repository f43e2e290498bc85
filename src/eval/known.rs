//! Benchmarks that are recognised by the shape of their rows, and the suite of the sample world.
//! Deliberately not here: their data; a person brings it.

use std::path::Path;

use serde_json::Value;

use super::EvalError;
use super::rows::{self, Row};
use super::task::{Choices, Task};

/// Tasks about the sample world, which need no file.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("sample-questions", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/tasks/questions.toml"))),
    ("sample-choice", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/tasks/choice.toml"))),
    ("sample-cloze", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/tasks/cloze.toml"))),
    ("sample-stories", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/tasks/stories.toml"))),
    ("sample-sea", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/tasks/sea.toml"))),
    ("sample-colour", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/tasks/colour.toml"))),
];

/// A benchmark and how its rows are known.
struct Known {
    name: &'static str,
    /// Fields that every row has.
    fields: &'static [&'static str],
    /// What else is true of them.
    fits: fn(&Value) -> bool,
    task: fn(&Row) -> Task,
}

const ANY: fn(&Value) -> bool = |_| true;

/// The first that all rows fit is meant.
const KNOWN: &[Known] = &[
    Known { name: "ifeval", fields: &["prompt", "instruction_id_list", "kwargs"], fits: ANY, task: ifeval },
    Known { name: "truthfulqa", fields: &["Question", "Best Answer", "Correct Answers", "Incorrect Answers"], fits: ANY, task: truthfulqa },
    Known { name: "hellaswag", fields: &["ctx", "endings", "label"], fits: |r| r.get("ctx_a").is_some(), task: hellaswag },
    Known { name: "endings", fields: &["ctx", "endings", "label"], fits: ANY, task: endings },
    Known { name: "winogrande", fields: &["sentence", "option1", "option2", "answer"], fits: ANY, task: winogrande },
    Known { name: "piqa", fields: &["goal", "sol1", "sol2", "label"], fits: ANY, task: piqa },
    Known { name: "arc", fields: &["question", "choices", "answerKey"], fits: |r| r["choices"]["text"].is_array(), task: arc },
    Known { name: "mmlu", fields: &["question", "choices", "answer"], fits: |r| r["choices"].is_array(), task: mmlu },
    Known { name: "mmlu", fields: &["column 1", "column 6"], fits: six_columns, task: mmlu_csv },
    Known {
        name: "gsm8k",
        fields: &["question", "answer"],
        fits: |r| r["answer"].as_str().is_some_and(|a| a.contains("####")),
        task: gsm8k,
    },
    Known { name: "bbh", fields: &["input", "target"], fits: |r| r["input"].is_string(), task: bbh },
    Known { name: "chat", fields: &["messages", "target"], fits: |r| r["messages"].is_array(), task: chat },
    Known { name: "chat", fields: &["input", "target"], fits: |r| r["input"].is_array(), task: chat_input },
    Known { name: "chat", fields: &["messages", "answer"], fits: |r| r["messages"].is_array(), task: kept },
    Known { name: "questions", fields: &["question", "answer"], fits: ANY, task: |_| questions("question", "answer") },
    Known { name: "questions", fields: &["prompt", "target"], fits: ANY, task: |_| questions("prompt", "target") },
    Known { name: "questions", fields: &["prompt", "completion"], fits: ANY, task: |_| questions("prompt", "completion") },
    Known { name: "text", fields: &["text"], fits: ANY, task: |_| text("{{text}}") },
];

/// The task that rows of a known shape make; none where no benchmark fits them all.
pub fn recognise(rows: &[Row], name: &str) -> Option<Task> {
    let first = rows.first()?;
    if first.value.is_string() {
        return Some(Task { name: name.into(), ..text("{{row}}") });
    }
    let fits = |k: &&Known| rows.iter().all(|r| k.fields.iter().all(|f| r.value.get(f).is_some()) && (k.fits)(&r.value));
    let found = KNOWN.iter().find(fits)?;
    let mut task = (found.task)(first);
    task.name = if name.is_empty() { found.name.into() } else { name.into() };
    Some(task)
}

/// The task of a data file.
pub fn task_of(entry: &str, base: &Path, scratch: &Path) -> Result<Task, EvalError> {
    let rows = rows::read(&[entry.to_owned()], base, scratch, Some(1000))?;
    let stem = rows.first().map_or(entry, |r| r.file.as_str());
    let stem = stem.split('.').next().unwrap_or(stem).trim_start_matches("sample:");
    let mut task = recognise(&rows, stem).ok_or_else(|| {
        EvalError::task(entry, "its rows are of no benchmark that is known", "write a task's file (TOML) that says kind, prompt and target")
    })?;
    task.data = vec![entry.to_owned()];
    // MMLU keeps its examples in a directory beside.
    let dev = entry.replace("/test/", "/dev/").replace("_test.", "_dev.");
    if task.kind == "letter" && dev != entry && base.join(&dev).is_file() {
        task.shots_from = vec![dev];
    }
    Ok(task)
}

/// What a task's file says, and of what it does not say, what its benchmark usually does.
pub fn fill(own: Task, known: Task) -> Task {
    let usual = serde_json::to_value(Task::default()).unwrap_or_default();
    let (Ok(Value::Object(own_map)), Ok(Value::Object(mut map))) = (serde_json::to_value(&own), serde_json::to_value(known)) else {
        return own;
    };
    for (key, value) in own_map {
        if usual.get(&key) != Some(&value) {
            map.insert(key, value);
        }
    }
    serde_json::from_value(Value::Object(map)).unwrap_or(own)
}

fn of(kind: &str, prompt: &str) -> Task {
    Task { kind: kind.into(), prompt: prompt.into(), ..Task::default() }
}

fn template(text: &str) -> Choices {
    Choices::Of(text.into())
}

fn text(prompt: &str) -> Task {
    Task { about: "how well text is predicted".into(), ..of("perplexity", prompt) }
}

fn questions(prompt: &str, target: &str) -> Task {
    Task {
        about: "questions with answers".into(),
        target: target.into(),
        stop: vec!["\n".into()],
        max_tokens: 64,
        ..of("generate", prompt)
    }
}

fn chat(row: &Row) -> Task {
    Task { prompt: "messages".into(), ..chat_input(row) }
}

/// An exchange that Chat kept: what was answered is what is expected.
fn kept(row: &Row) -> Task {
    Task { prompt: "messages".into(), target: "answer".into(), ..chat_input(row) }
}

fn chat_input(row: &Row) -> Task {
    let score = if row.value.get("score").is_some() { row.value["score"].as_str().unwrap_or("contains") } else { "contains" };
    Task {
        about: "conversations with an answer".into(),
        target: "target".into(),
        chat: true,
        score: score.into(),
        max_tokens: 256,
        ..of("generate", "input")
    }
}

fn ifeval(_: &Row) -> Task {
    Task { about: "IFEval: instructions that a program can check".into(), chat: true, max_tokens: 1280, ..of("ifeval", "prompt") }
}

fn truthfulqa(_: &Row) -> Task {
    Task {
        about: "TruthfulQA, one right answer (MC1)".into(),
        choices: template("{{ [row['Best Answer']] + row['Incorrect Answers'].strip().strip(';').split('; ') }}"),
        answer: "0".into(),
        tags: "Category".into(),
        ..of("choice", "Q: {{row['Question']}}\nA:")
    }
}

/// The preprocessing of lm-evaluation-harness: marks of the source go.
const HELLASWAG: &str = "| regex_replace(' \\\\[title\\\\]', '. ') | regex_replace('\\\\[.*?\\\\]', '') | replace('  ', ' ')";

fn hellaswag(_: &Row) -> Task {
    let clean = |text: &str| format!("({text}).strip() {HELLASWAG}");
    let endings = format!("[{{% for e in endings %}}{{{{ ({}) | tojson }}}}{{{{ '' if loop.last else ',' }}}}{{% endfor %}}]", clean("e"));
    let context = clean("row.get('activity_label', '') ~ ': ' ~ ctx_a ~ ' ' ~ (ctx_b or '').capitalize()");
    Task {
        about: "HellaSwag: which ending is meant".into(),
        choices: template(&endings),
        answer: "label".into(),
        metric: "acc_norm".into(),
        ..of("choice", &format!("{{{{ {context} }}}}"))
    }
}

fn endings(_: &Row) -> Task {
    let mut task =
        Task { about: "which ending is meant".into(), choices: template("endings"), answer: "label".into(), ..of("choice", "ctx") };
    task.delimiter = String::new();
    task
}

fn winogrande(_: &Row) -> Task {
    Task {
        about: "WinoGrande: what a gap stands for".into(),
        contexts: template("{{ [sentence.split('_')[0] ~ option1, sentence.split('_')[0] ~ option2] }}"),
        target: "{{ sentence.split('_')[1].strip() }}".into(),
        answer: "answer".into(),
        labels: "{{ ['1', '2'] }}".into(),
        ..of("choice", "sentence")
    }
}

fn piqa(_: &Row) -> Task {
    Task {
        about: "PIQA: how things are done".into(),
        choices: template("{{ [sol1, sol2] }}"),
        answer: "label".into(),
        metric: "acc_norm".into(),
        ..of("choice", "Question: {{goal}}\nAnswer:")
    }
}

fn arc(_: &Row) -> Task {
    Task {
        about: "ARC: questions of science".into(),
        choices: template("choices.text"),
        labels: "choices.label".into(),
        answer: "answerKey".into(),
        metric: "acc_norm".into(),
        ..of("choice", "Question: {{question}}\nAnswer:")
    }
}

/// The subject of a file of MMLU, in words.
fn subject(row: &Row) -> String {
    let stem = row.file.split('.').next().unwrap_or_default();
    let stem = ["_test", "_dev", "_val"].iter().fold(stem, |s, end| s.strip_suffix(end).unwrap_or(s));
    row.value.get("subject").and_then(Value::as_str).unwrap_or(stem).replace('_', " ")
}

fn mmlu(row: &Row) -> Task {
    Task {
        about: "MMLU: questions with four answers, by letter".into(),
        description: format!("The following are multiple choice questions (with answers) about {}.\n\n", subject(row)),
        choices: template("choices"),
        answer: "answer".into(),
        ..of("letter", "question")
    }
}

fn mmlu_csv(row: &Row) -> Task {
    Task {
        choices: template("{{ [row['column 2'], row['column 3'], row['column 4'], row['column 5']] }}"),
        answer: "column 6".into(),
        prompt: "column 1".into(),
        ..mmlu(row)
    }
}

fn six_columns(row: &Value) -> bool {
    let answer = row["column 6"].as_str().unwrap_or_default();
    row.get("column 7").is_none() && matches!(answer.trim(), "A" | "B" | "C" | "D")
}

fn gsm8k(_: &Row) -> Task {
    Task {
        about: "GSM8K: word problems with a number for an answer".into(),
        target: "answer".into(),
        score: "number".into(),
        max_tokens: 256,
        stop: ["Question:", "</s>", "<|im_end|>"].map(String::from).to_vec(),
        ..of("generate", "Question: {{question}}\nAnswer:")
    }
}

fn bbh(row: &Row) -> Task {
    let given = ["prediction", "output"].iter().find(|name| row.value.get(name).is_some_and(Value::is_string));
    // Files with a model's answers hold the whole prompt, examples and all.
    let prompt = if row.value["input"].as_str().is_some_and(|i| i.trim_end().ends_with("A:")) { "input" } else { "Q: {{input}}\nA:" };
    Task {
        about: "BIG-Bench Hard: exact answers".into(),
        target: "target".into(),
        given: given.map(|g| (*g).to_owned()).unwrap_or_default(),
        max_tokens: 64,
        stop: ["\n\n", "Q:", "</s>"].map(String::from).to_vec(),
        ..of("generate", prompt)
    }
}
