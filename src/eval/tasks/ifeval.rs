//! IFEval: instructions whose keeping a program can check (Zhou et al. 2023), strictly and loosely.
//! Deliberately not here: the rules themselves (`scoring::rules`).

use serde_json::Value;

use super::{Graded, Measure, TaskKind, each, generate, mean};
use crate::eval::item::Item;
use crate::eval::scoring::rules;
use crate::eval::task::Task;

pub const KIND: TaskKind = TaskKind {
    name: "ifeval",
    help: "instructions that a program can check (the rules of IFEval)",
    measures: MEASURES,
    check,
    ask: generate::ask,
    grade: |_, items, _| {
        each(items, |item, answers| generate::texts_alone(answers).map_or(Graded::failed("no answer"), |c| grade(item, &c.text)))
    },
};

const MEASURES: &[Measure] = &[
    mean("prompt_strict", "prompts of which every instruction is kept"),
    mean("prompt_loose", "the same, whatever stands around the answer"),
    mean("instructions_strict", "the share of a prompt's instructions that are kept"),
    mean("instructions_loose", "the same, whatever stands around the answer"),
];

fn check(task: &Task) -> Result<(), String> {
    if task.samples > 1 { Err("IFEval takes one answer: samples is 1".into()) } else { Ok(()) }
}

fn grade(item: &Item, text: &str) -> Graded {
    let names: Vec<&str> = item.row["instruction_id_list"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() {
        return Graded::failed("the row names no instruction (instruction_id_list)");
    }
    let none = Value::Null;
    let (mut strict, mut loose, mut broken) = (0usize, 0usize, Vec::new());
    for (at, name) in names.iter().enumerate() {
        let arguments = item.row["kwargs"].get(at).unwrap_or(&none);
        match rules::follows(name, arguments, text) {
            Ok(kept) => {
                strict += usize::from(kept);
                let variants = rules::loosened(text);
                loose += usize::from(kept || variants.iter().any(|v| rules::follows(name, arguments, v) == Ok(true)));
                if !kept {
                    broken.push(*name);
                }
            }
            Err(why) => return Graded::failed(format!("{name}: {why}")),
        }
    }
    let all = names.len();
    let share = |n: usize| n as f64 / all as f64;
    let mut graded = Graded::of([
        ("prompt_strict", f64::from(strict == all)),
        ("prompt_loose", f64::from(loose == all)),
        ("instructions_strict", share(strict)),
        ("instructions_loose", share(loose)),
    ]);
    graded.extracted = Some(format!("{strict} of {all}"));
    graded.reason = if broken.is_empty() { "all kept".into() } else { format!("not kept: {}", broken.join(", ")) };
    graded
}
