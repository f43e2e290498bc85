//! Cloze: whether the model would write exactly the text that is missing, and how likely it holds it.
//! Deliberately not here: gaps with several candidates (`choice`).

use super::{Answers, Graded, How, Measure, TaskKind, each, first_target, likelihood, mean};
use crate::eval::ask::Ask;
use crate::eval::item::Item;
use crate::eval::task::{Prepared, Task};
use crate::sample::generator::{AskFault, Generator};

pub const KIND: TaskKind = TaskKind {
    name: "cloze",
    help: "a missing end: whether each of its tokens is the likeliest",
    measures: &[
        mean("acc", "every token of the end is the likeliest at its place"),
        Measure {
            name: "perplexity",
            help: "of the end, a geometric mean over items",
            higher_is_better: false,
            how: How::Ratio { over: "log_likelihood", under: "items", shown: |x| (-x).exp() },
        },
    ],
    check,
    ask,
    grade: |_, items, _| each(items, grade),
};

fn check(task: &Task) -> Result<(), String> {
    if task.target.is_empty() { Err("a cloze needs a target: the end that is missing".into()) } else { Ok(()) }
}

fn ask(prepared: &Prepared, item: &Item, model: &dyn Generator) -> Result<Ask, AskFault> {
    let end = first_target(item);
    likelihood(prepared, item, model, &|i| i.prompt.clone(), &first_target, &end).map(|q| Ask::Score(vec![q]))
}

fn grade(_: &Item, answers: &Answers) -> Graded {
    let [score] = answers.scores() else { return Graded::failed("one likelihood is wanted") };
    let mut graded = Graded::of([("acc", f64::from(score.greedy)), ("log_likelihood", score.sum()), ("items", 1.0)]);
    let least = score.log_probs.iter().copied().fold(0.0, f32::min);
    graded.reason = format!("ln p {:.3}, the least likely token {:.1} %", score.sum(), 100.0 * least.exp());
    graded
}
