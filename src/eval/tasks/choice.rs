//! Multiple choice by the likelihood of each choice: raw, per character (lm-evaluation-harness' `acc_norm`), per byte, per token.
//! Deliberately not here: choices that are shown with letters (`letter`).

use super::{Answers, Graded, Measure, TaskKind, each, likelihood, mean};
use crate::eval::ask::{self, Ask};
use crate::eval::item::{Item, letter};
use crate::eval::task::{Prepared, Task};
use crate::sample::generator::{AskFault, Generator};

pub const KIND: TaskKind = TaskKind {
    name: "choice",
    help: "multiple choice: the likeliest of several continuations",
    measures: MEASURES,
    check,
    ask,
    grade: |_, items, _| each(items, grade),
};

pub(super) const MEASURES: &[Measure] = &[
    mean("acc", "the likeliest choice is right"),
    mean("acc_norm", "the likeliest per character is right"),
    mean("acc_bytes", "the likeliest per byte is right"),
    mean("acc_tokens", "the likeliest per token is right"),
    mean("mass", "the share of the choices' probability that the right ones have"),
];

fn check(task: &Task) -> Result<(), String> {
    if task.choices.is_empty() && task.contexts.is_empty() {
        return Err("a multiple choice needs choices, or contexts with a target".into());
    }
    if !task.contexts.is_empty() && task.target.is_empty() {
        return Err("contexts need a target that follows each of them".into());
    }
    if task.samples > 1 {
        return Err("likelihoods are no samples: samples is 1".into());
    }
    if task.answer.is_empty() { Err("a multiple choice needs an answer".into()) } else { Ok(()) }
}

fn ask(prepared: &Prepared, item: &Item, model: &dyn Generator) -> Result<Ask, AskFault> {
    let answer = |shot: &Item| match shot.right.first().and_then(|r| shot.choices.get(*r)) {
        Some(choice) => choice.clone(),
        None => super::first_target(shot),
    };
    if !item.contexts.is_empty() {
        // What differs is the question; the end is the same for all.
        let end = super::first_target(item);
        let one = |context: &String| {
            let question = |i: &Item| {
                if i.id == item.id {
                    context.clone()
                } else {
                    i.right.first().and_then(|r| i.contexts.get(*r)).cloned().unwrap_or_default()
                }
            };
            likelihood(prepared, item, model, &question, &super::first_target, &end)
        };
        return item.contexts.iter().map(one).collect::<Result<_, _>>().map(Ask::Score);
    }
    let one = |choice: &String| likelihood(prepared, item, model, &|i| i.prompt.clone(), &answer, choice);
    item.choices.iter().map(one).collect::<Result<_, _>>().map(ask::Ask::Score)
}

fn grade(item: &Item, answers: &Answers) -> Graded {
    let texts: &[String] = if item.choices.is_empty() { &item.contexts } else { &item.choices };
    by_likelihood(item, answers, texts)
}

/// The measures of choices whose texts are these.
pub(super) fn by_likelihood(item: &Item, answers: &Answers, texts: &[String]) -> Graded {
    let scores = answers.scores();
    if scores.len() != texts.len() || scores.is_empty() {
        return Graded::failed(format!("{} likelihoods for {} choices", scores.len(), texts.len()));
    }
    let sums: Vec<f64> = scores.iter().map(|s| s.sum()).collect();
    let by = |length: &dyn Fn(usize) -> usize| {
        let values: Vec<f64> = sums.iter().enumerate().map(|(i, sum)| sum / length(i).max(1) as f64).collect();
        f64::from(item.right.contains(&best(&values)))
    };
    let raw = best(&sums);
    let most = sums[raw];
    let weight = |sum: &f64| (sum - most).exp();
    let right: f64 = item.right.iter().filter_map(|r| sums.get(*r)).map(weight).sum();
    let mass = right / sums.iter().map(weight).sum::<f64>();
    let mut graded = Graded::of([
        ("acc", by(&|_| 1)),
        ("acc_norm", by(&|i| texts[i].chars().count())),
        ("acc_bytes", by(&|i| texts[i].len())),
        ("acc_tokens", by(&|i| scores[i].ids.len())),
        ("mass", mass),
    ]);
    graded.extracted = Some(letter(raw));
    graded
}

/// The first of the greatest.
fn best(values: &[f64]) -> usize {
    values.iter().enumerate().fold(0, |best, (i, v)| if *v > values[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::generator::Score;

    #[test]
    fn length_decides_between_the_measures() {
        let score = |sum: f32, tokens: u32| Score {
            ids: (0..tokens).collect(),
            log_probs: vec![sum / tokens as f32; tokens as usize],
            greedy: false,
        };
        let item = Item { choices: vec!["ab".into(), "a much longer end".into(), "é".into()], right: vec![1], ..Item::default() };
        let answers = Answers::Scores(vec![score(-2.0, 1), score(-4.0, 4), score(-3.0, 1)]);
        let m = by_likelihood(&item, &answers, &item.choices).measures.unwrap();
        assert_eq!((m["acc"], m["acc_norm"], m["acc_bytes"], m["acc_tokens"]), (0.0, 1.0, 1.0, 1.0));
        let expected = (-4f64).exp() / ((-2f64).exp() + (-4f64).exp() + (-3f64).exp());
        assert!((m["mass"] - expected).abs() < 1e-6, "{}", m["mass"]);
        assert!(by_likelihood(&item, &Answers::Scores(Vec::new()), &item.choices).measures.is_none());
    }
}
