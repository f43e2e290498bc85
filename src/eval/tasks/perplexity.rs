//! Perplexity and bits per byte of texts, in rolling windows as lm-evaluation-harness takes them.
//! Deliberately not here: the loss of a training run, which is per token and so of one tokenizer alone.

use super::{Answers, Graded, How, Measure, TaskKind, each};
use crate::eval::ask::{Ask, begin, windows};
use crate::eval::item::Item;
use crate::eval::task::{Prepared, Task};
use crate::sample::generator::{AskFault, Generator, Question};

pub const KIND: TaskKind = TaskKind {
    name: "perplexity",
    help: "how well text is predicted: bits per byte, and perplexity per word, byte and token",
    measures: &[
        ratio("bits_per_byte", "bits that each byte of the text costs", "bytes", |x| -x / std::f64::consts::LN_2),
        ratio("byte_perplexity", "as if each byte had so many equally likely values", "bytes", |x| (-x).exp()),
        ratio("word_perplexity", "the same of words between blanks", "words", |x| (-x).exp()),
        ratio("token_perplexity", "the same of tokens: not comparable between tokenizers", "tokens", |x| (-x).exp()),
    ],
    check,
    ask,
    grade: |_, items, _| each(items, grade),
};

const fn ratio(name: &'static str, help: &'static str, under: &'static str, shown: fn(f64) -> f64) -> Measure {
    Measure { name, help, higher_is_better: false, how: How::Ratio { over: "log_likelihood", under, shown } }
}

fn check(task: &Task) -> Result<(), String> {
    if task.shots > 0 || task.chat {
        return Err("perplexity is taken of texts as they are, without examples or a chat".into());
    }
    Ok(())
}

fn ask(_: &Prepared, item: &Item, model: &dyn Generator) -> Result<Ask, AskFault> {
    let text = &item.prompt;
    let (Some(tokenizer), Some(context)) = (model.tokenizer(), model.context()) else {
        return Ok(Ask::Score(vec![Question::Text { context: String::new(), continuation: text.clone() }]));
    };
    let tokens = tokenizer.encode(text, true).map_err(|e| AskFault::Refused(e.to_string()))?;
    if tokens.is_empty() {
        return Err(AskFault::Refused("the text has no tokens".into()));
    }
    Ok(Ask::Score(windows(&tokens, begin(model, tokenizer), context)))
}

fn grade(item: &Item, answers: &Answers) -> Graded {
    let scores = answers.scores();
    let text = &item.prompt;
    let sum: f64 = scores.iter().map(|s| s.sum()).sum();
    let tokens: usize = scores.iter().map(|s| s.ids.len()).sum();
    let mut graded = Graded::of([
        ("log_likelihood", sum),
        ("bytes", text.len() as f64),
        ("words", words(text) as f64),
        ("tokens", tokens as f64),
        ("bits_per_byte", -sum / std::f64::consts::LN_2 / text.len().max(1) as f64),
    ]);
    graded.reason = format!("{tokens} tokens in {} window{}", scores.len(), if scores.len() == 1 { "" } else { "s" });
    graded
}

/// Pieces between blanks, as Python's `re.split(r"\s+", text)` counts them.
fn words(text: &str) -> usize {
    let inner = text.split_whitespace().count();
    if inner == 0 {
        return if text.is_empty() { 1 } else { 2 };
    }
    inner + usize::from(text.starts_with(char::is_whitespace)) + usize::from(text.ends_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    // len(re.split(r"\s+", text))
    #[test]
    fn words_are_counted_as_the_harness_does() {
        let found = ["", " ", "a", "a b", " a  b\n", "a\u{a0}b"].map(words);
        assert_eq!(found, [1, 2, 1, 2, 4, 2]);
    }
}
