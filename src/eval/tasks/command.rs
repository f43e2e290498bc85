//! A command of one's own grades the answer: JSON in, JSON out.
//! Deliberately not here: how the process is run and bounded (`eval::command`), and asking whether it may be.

use serde_json::{Value, json};

use super::{Answers, Graded, Help, TaskKind, generate, mean};
use crate::eval::command;
use crate::eval::item::Item;
use crate::eval::task::{Prepared, Task};

pub const KIND: TaskKind = TaskKind {
    name: "command",
    help: "a program grades the answer: it reads one JSON object and writes one with a score (command = [\"PROGRAM\", …])",
    measures: &[mean("score", "what the command says, 0 to 1")],
    check,
    ask: generate::ask,
    grade,
};

fn check(task: &Task) -> Result<(), String> {
    if task.command.first().is_none_or(String::is_empty) {
        return Err("a command is needed: command = [\"PROGRAM\", \"ARGUMENT\"]".into());
    }
    if !(task.timeout_s > 0.0 && task.timeout_s <= 3600.0) { Err("timeout_s is more than 0 and at most 3600".into()) } else { Ok(()) }
}

fn grade(prepared: &Prepared, items: &[(&Item, Answers)], help: &Help) -> Vec<Graded> {
    let task = &prepared.task;
    let one = |(item, answers): &(&Item, Answers)| {
        let outputs: Vec<&str> = answers.texts().iter().map(|c| c.text.as_str()).collect();
        let given = json!({
            "task": task.name, "id": item.id, "prompt": item.prompt, "messages": item.messages, "row": item.row,
            "targets": item.targets, "output": outputs.first(), "outputs": outputs,
        });
        if help.monitor.stopped() {
            return Graded::failed("stopped");
        }
        match command::run(&task.command, help.dir, &given, task.timeout_s) {
            Ok(said) => read(&said),
            Err(why) => Graded::failed(why),
        }
    };
    items.iter().map(one).collect()
}

/// `{"score": 0.5, "extracted": "…", "reason": "…"}`; a score is a number of 0 to 1 or a truth value.
fn read(said: &Value) -> Graded {
    let score = said["score"].as_f64().or_else(|| said["score"].as_bool().map(f64::from));
    let Some(score) = score.filter(|s| (0.0..=1.0).contains(s)) else {
        return Graded::failed(format!("the command gave no score of 0 to 1: {}", crate::eval::shown(&said.to_string())));
    };
    let text = |name: &str| said[name].as_str().map(str::to_owned);
    let mut graded = Graded::of([("score", score)]);
    graded.unparsed = said.get("extracted").is_some_and(Value::is_null);
    (graded.extracted, graded.reason) = (text("extracted"), text("reason").unwrap_or_default());
    graded
}
