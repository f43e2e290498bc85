//! A generated text, scored by a rule; several samples by majority, the best, their mean, or pass@k.
//! Deliberately not here: the rules (`scoring`).

use super::{Answers, Graded, Measure, TaskKind, each, first_target, mean};
use crate::eval::ask::{self, Ask, Wanted};
use crate::eval::item::Item;
use crate::eval::scoring::{self, Verdict};
use crate::eval::stats::pass_at_k;
use crate::eval::task::{Prepared, Task};
use crate::sample::generator::{AskFault, Generator};

pub const KIND: TaskKind = TaskKind {
    name: "generate",
    help: "a text that the model writes, scored by a rule (score = exact, contains, regex, number, json, edit, list, letter, colour)",
    measures: MEASURES,
    check,
    ask,
    grade: |prepared, items, _| {
        each(items, |item, answers| {
            let rule = scoring::named(&prepared.task.score);
            let verdicts = answers.texts().iter().map(|c| match &rule {
                Ok(rule) => (rule.score)(&prepared.task, item, &c.text),
                Err(why) => Verdict::failed(why.clone()),
            });
            combine(&prepared.task, verdicts.collect())
        })
    },
};

pub(super) const MEASURES: &[Measure] = &[mean("score", "of the answer, 0 to 1"), mean("full", "answers with the full score")];

fn check(task: &Task) -> Result<(), String> {
    let rule = scoring::named(&task.score)?;
    (rule.check)(task)
}

pub(super) fn ask(prepared: &Prepared, item: &Item, _: &dyn Generator) -> Result<Ask, AskFault> {
    let prompt = ask::prompt(prepared, item, |i| shown_question(prepared, i), shown_answer);
    let wanted = |sample| Wanted { prompt: prompt.clone(), max_tokens: prepared.task.max_tokens, sample };
    Ok(Ask::Generate((0..prepared.task.samples).map(wanted).collect()))
}

/// With choices the question shows them.
fn shown_question(prepared: &Prepared, item: &Item) -> String {
    if prepared.task.score == "letter" && !item.choices.is_empty() { super::letter::question(item) } else { item.prompt.clone() }
}

fn shown_answer(item: &Item) -> String {
    match item.right.first() {
        Some(right) if item.targets.is_empty() => crate::eval::item::letter(*right),
        _ => first_target(item),
    }
}

/// One grade of the verdicts on several samples.
pub(super) fn combine(task: &Task, verdicts: Vec<Verdict>) -> Graded {
    if let Some(fault) = verdicts.iter().find_map(|v| v.fault.clone()) {
        return Graded::failed(fault);
    }
    let Some(first) = verdicts.first() else { return Graded::failed("no answer") };
    let scores: Vec<f64> = verdicts.iter().map(|v| v.score).collect();
    let full = scores.iter().filter(|s| **s >= 1.0).count();
    let unparsed = verdicts.iter().all(|v| v.extracted.is_none());
    let (score, of, reason) = match task.combine.as_str() {
        _ if verdicts.len() == 1 => (first.score, first, first.reason.clone()),
        "majority" => match majority(&verdicts) {
            Some((of, votes)) => (of.score, of, format!("{votes} of {} samples agree; {}", verdicts.len(), of.reason)),
            None => (0.0, first, "no sample could be read".into()),
        },
        "best" => {
            let of = verdicts.iter().fold(first, |a, b| if b.score > a.score { b } else { a });
            (of.score, of, format!("the best of {}; {}", verdicts.len(), of.reason))
        }
        "pass@k" => (pass_at_k(verdicts.len(), full, task.k), first, format!("{full} of {} samples pass", verdicts.len())),
        _ => (crate::eval::stats::mean(&scores), first, format!("{full} of {} samples are right", verdicts.len())),
    };
    let mut graded = Graded::of([("score", score), ("full", f64::from(score >= 1.0))]);
    (graded.extracted, graded.unparsed, graded.reason) = (of.extracted.clone(), unparsed, reason);
    if verdicts.len() > 1 {
        graded.samples = scores;
    }
    graded
}

/// The answer that most samples give, the earlier of equals. What could not be read votes for nothing.
fn majority(verdicts: &[Verdict]) -> Option<(&Verdict, usize)> {
    let votes = |v: &Verdict| verdicts.iter().filter(|o| o.extracted.is_some() && o.extracted == v.extracted).count();
    let read: Vec<&Verdict> = verdicts.iter().filter(|v| v.extracted.is_some()).collect();
    read.iter().copied().map(|v| (v, votes(v))).reduce(|a, b| if b.1 > a.1 { b } else { a })
}

/// For kinds that need no more than texts.
pub(super) fn texts_alone(answers: &Answers) -> Option<&crate::sample::generator::Completion> {
    answers.texts().first()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(extracted: Option<&str>, score: f64) -> Verdict {
        Verdict { score, extracted: extracted.map(str::to_owned), reason: String::new(), fault: None }
    }

    fn score(combine: &str, k: usize, verdicts: Vec<Verdict>) -> Graded {
        combine_of(combine, k, verdicts)
    }

    fn combine_of(how: &str, k: usize, verdicts: Vec<Verdict>) -> Graded {
        combine(&Task { combine: how.into(), k, samples: verdicts.len(), ..Task::default() }, verdicts)
    }

    #[test]
    fn several_samples_make_one_grade() {
        let mixed = || {
            vec![
                verdict(None, 0.0),
                verdict(Some("7"), 0.0),
                verdict(Some("4"), 1.0),
                verdict(Some("4"), 1.0),
                verdict(None, 0.0),
                verdict(None, 0.0),
            ]
        };
        let of = |how: &str, k| score(how, k, mixed()).measures.unwrap()["score"];
        assert_eq!(of("majority", 1), 1.0, "three answers that cannot be read are no majority");
        assert_eq!(of("best", 1), 1.0);
        assert!((of("mean", 1) - 1.0 / 3.0).abs() < 1e-12 && (of("pass@k", 2) - 0.6).abs() < 1e-12);
        let none = score("majority", 1, vec![verdict(None, 0.0), verdict(None, 0.0)]);
        assert!(none.unparsed && none.extracted.is_none() && none.measures.unwrap()["score"] == 0.0);
        assert_eq!(score("mean", 1, mixed()).samples.len(), 6);
    }
}
