//! Multiple choice with the choices shown behind letters: which letter is the likeliest answer.
//! Deliberately not here: letters that a model writes (`generate` with the score `letter`).

use super::{TaskKind, choice, each, likelihood};
use crate::eval::ask::Ask;
use crate::eval::item::{Item, letter};
use crate::eval::task::{Prepared, Task};
use crate::sample::generator::{AskFault, Generator};

pub const KIND: TaskKind = TaskKind {
    name: "letter",
    help: "multiple choice: the choices are shown, and the likeliest letter is the answer",
    measures: choice::MEASURES,
    check,
    ask,
    grade: |_, items, _| {
        each(items, |item, answers| {
            let letters: Vec<String> = (0..item.choices.len()).map(letter).collect();
            choice::by_likelihood(item, answers, &letters)
        })
    },
};

fn check(task: &Task) -> Result<(), String> {
    if task.choices.is_empty() || task.answer.is_empty() {
        return Err("a choice by letter needs choices and an answer".into());
    }
    if task.samples > 1 { Err("likelihoods are no samples: samples is 1".into()) } else { Ok(()) }
}

/// `What?\nA. one\nB. two\nAnswer:`, as MMLU has it.
pub(super) fn question(item: &Item) -> String {
    let mut out = item.prompt.trim().to_owned();
    for (at, choice) in item.choices.iter().enumerate() {
        out.push_str(&format!("\n{}. {choice}", letter(at)));
    }
    out.push_str("\nAnswer:");
    out
}

fn ask(prepared: &Prepared, item: &Item, model: &dyn Generator) -> Result<Ask, AskFault> {
    let answer = |shot: &Item| shot.right.first().map(|r| letter(*r)).unwrap_or_default();
    let one = |at: usize| likelihood(prepared, item, model, &question, &answer, &letter(at));
    (0..item.choices.len()).map(one).collect::<Result<_, _>>().map(Ask::Score)
}
