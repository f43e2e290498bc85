//! From an item to what a model is asked: contexts with examples, conversations, tokens cut as lm-evaluation-harness cuts them.
//! Deliberately not here: which questions a kind of task asks (`tasks`).

use super::item::Item;
use super::task::Prepared;
use crate::data::template::{Moment, Template, Then};
use crate::data::tokenizer::Tokenizer;
use crate::sample::generator::{AskFault, Generator, Prompt, Question};
use crate::spec::{Chat, Message};

/// What is asked of a model for one item.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Likelihoods.
    Score(Vec<Question>),
    /// Texts: one request a sample.
    Generate(Vec<Wanted>),
}

/// A text that is wanted of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub prompt: Prompt,
    pub max_tokens: usize,
    pub sample: usize,
}

/// Everything that stands before an item's answer: description, examples with `answer`, the question itself.
pub fn context(prepared: &Prepared, item: &Item, question: impl Fn(&Item) -> String, answer: impl Fn(&Item) -> String) -> String {
    let task = &prepared.task;
    let mut out = task.description.clone();
    if task.shots > 0 {
        for shot in prepared.shots_for(item) {
            out.push_str(&question(shot));
            out.push_str(&task.delimiter);
            out.push_str(&answer(shot));
            out.push_str(&task.shot_delimiter);
        }
    }
    out.push_str(&question(item));
    out
}

/// The same as a conversation; examples are turns of their own.
pub fn conversation(
    prepared: &Prepared,
    item: &Item,
    question: impl Fn(&Item) -> String,
    answer: impl Fn(&Item) -> String,
) -> Vec<Message> {
    let task = &prepared.task;
    let say = |role: &str, content: String| Message { role: role.into(), content };
    let system = [task.system.trim(), task.description.trim()].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("\n\n");
    let mut out = Vec::new();
    if !system.is_empty() && item.messages.first().is_none_or(|m| m.role != "system") {
        out.push(say("system", system));
    }
    if task.shots > 0 {
        for shot in prepared.shots_for(item) {
            out.push(say("user", question(shot)));
            out.push(say("assistant", answer(shot)));
        }
    }
    if item.messages.is_empty() {
        out.push(say("user", question(item)));
    } else {
        out.extend(item.messages.iter().cloned());
    }
    out
}

/// The prompt of a text that is to be generated.
pub fn prompt(prepared: &Prepared, item: &Item, question: impl Fn(&Item) -> String, answer: impl Fn(&Item) -> String) -> Prompt {
    if prepared.task.chat || !item.messages.is_empty() {
        Prompt::Chat(conversation(prepared, item, question, answer))
    } else {
        Prompt::Text(context(prepared, item, question, answer))
    }
}

/// The likelihood of `continuation` after `context`.
pub fn likelihood(model: &dyn Generator, context: &str, continuation: &str) -> Result<Question, AskFault> {
    let Some(tokenizer) = model.tokenizer() else {
        return Ok(Question::Text { context: context.into(), continuation: continuation.into() });
    };
    let (context, continuation) = cut(tokenizer, begin(model, tokenizer), context, continuation)?;
    fits(model, context.len() + continuation.len() - 1)?;
    Ok(Question::Ids { context, continuation })
}

/// The likelihood of an answer in a conversation.
pub fn likelihood_in_chat(model: &dyn Generator, messages: &[Message], continuation: &str) -> Result<Question, AskFault> {
    let Some(tokenizer) = model.tokenizer() else {
        return Err(AskFault::Refused("likelihoods within a chat need the model's own template; set chat = false".into()));
    };
    let rendered = rendered(messages, tokenizer).map_err(AskFault::Refused)?;
    let encode = |text: &str| tokenizer.encode(text, false).map_err(|e| AskFault::Refused(e.to_string()));
    let before = encode(&rendered)?;
    let mut whole = encode(&format!("{rendered}{continuation}"))?;
    let rest = whole.split_off(before.len().min(whole.len()));
    let context = if before.is_empty() { vec![begin(model, tokenizer)] } else { before };
    fits(model, context.len() + rest.len().max(1) - 1)?;
    Ok(Question::Ids { context, continuation: rest })
}

/// A conversation by the model's template, with the assistant's turn opened. A template that asks for the date is told one that
/// never changes, so that a likelihood does not change with the day.
pub fn rendered(messages: &[Message], tokenizer: &Tokenizer) -> Result<String, String> {
    let chat = Chat::of(messages.iter().map(|m| (m.role.as_str(), m.content.as_str())));
    Template::of(tokenizer).render(&chat, Then::Answer, Moment::utc(0)).map_err(|e| e.to_string())
}

/// The token that a text begins with where nothing stands before it.
pub fn begin(model: &dyn Generator, tokenizer: &Tokenizer) -> u32 {
    model.begin().or_else(|| tokenizer.end_of_text(None)).unwrap_or(0)
}

/// Too long is a fault of the item, said with its length.
pub fn fits(model: &dyn Generator, tokens: usize) -> Result<(), AskFault> {
    match model.context() {
        Some(context) if tokens > context => Err(AskFault::Refused(too_long(tokens, context))),
        _ => Ok(()),
    }
}

/// How a text that is longer than the context is told.
pub fn too_long(tokens: usize, context: usize) -> String {
    format!("{TOO_LONG}: {tokens} tokens, and the model sees {context} at once")
}

/// What that begins with.
pub const TOO_LONG: &str = "longer than the context";

/// Context and continuation as tokens: blanks at the context's end go over to the continuation, and both are cut together. An
/// empty context is the token that begins a text.
fn cut(tokenizer: &Tokenizer, begin: u32, context: &str, continuation: &str) -> Result<(Vec<u32>, Vec<u32>), AskFault> {
    let encode = |text: &str, special: bool| tokenizer.encode(text, special).map_err(|e| AskFault::Refused(e.to_string()));
    let nothing = || AskFault::Refused("the continuation has no tokens of its own".into());
    let kept = context.trim_end();
    let continuation = format!("{}{continuation}", &context[kept.len()..]);
    if kept.is_empty() {
        let rest = encode(&continuation, false)?;
        return if rest.is_empty() { Err(nothing()) } else { Ok((vec![begin], rest)) };
    }
    let before = encode(kept, true)?;
    let mut whole = encode(&format!("{kept}{continuation}"), true)?;
    let rest = whole.split_off(before.len().min(whole.len()));
    whole.truncate(before.len());
    if rest.is_empty() || before.is_empty() { Err(nothing()) } else { Ok((before, rest)) }
}

/// The windows in which a text that is longer than the context is predicted, each token once: lm-evaluation-harness' rolling
/// windows with one token of context; the last window is filled up with context.
pub fn windows(tokens: &[u32], begin: u32, longest: usize) -> Vec<Question> {
    let mut out = Vec::new();
    if tokens.is_empty() || longest == 0 {
        return out;
    }
    let first = longest.min(tokens.len());
    out.push(Question::Ids { context: vec![begin], continuation: tokens[..first].to_vec() });
    let mut predicted = first;
    while predicted < tokens.len() {
        let count = (tokens.len() - predicted).min(longest);
        let end = predicted + count;
        // `longest` tokens are entered: the continuation but its last, and context before it.
        let from = (end - 1).saturating_sub(longest);
        out.push(Question::Ids { context: tokens[from..predicted].to_vec(), continuation: tokens[predicted..end].to_vec() });
        predicted = end;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(questions: &[Question]) -> Vec<(Vec<u32>, Vec<u32>)> {
        questions
            .iter()
            .map(|q| match q {
                Question::Ids { context, continuation } => (context.clone(), continuation.clone()),
                Question::Text { .. } => unreachable!(),
            })
            .collect()
    }

    // By lm_eval.utils: make_disjoint_window over get_rolling_token_windows(range(1, 11), 100, 4, 1).
    #[test]
    fn long_texts_are_predicted_in_the_windows_of_the_harness() {
        let tokens: Vec<u32> = (1..=10).collect();
        let expected = [(vec![100], vec![1, 2, 3, 4]), (vec![4], vec![5, 6, 7, 8]), (vec![6, 7, 8], vec![9, 10])];
        assert_eq!(shown(&windows(&tokens, 100, 4)), expected);
        assert_eq!(shown(&windows(&tokens[..3], 100, 4)), [(vec![100], vec![1, 2, 3])]);
        assert!(windows(&[], 100, 4).is_empty());
    }
}
