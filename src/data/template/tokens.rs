//! A rendered conversation as tokens with loss weights: the sequence that a step learns from, and the prompt that is gone on with.
//! Deliberately not here: which rows are conversations (`shape`), and batches.

use super::spans::Found;
use super::{Moment, Template, Then};
use crate::data::DataError;
use crate::data::batch::Sequence;
use crate::data::tokenizer::Tokenizer;
use crate::spec::Chat;

/// A prompt that the model goes on with as the assistant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    pub text: String,
    pub ids: Vec<u32>,
    /// Tokens that end the assistant's turn, beside those of the model's configuration.
    pub ends: Vec<u32>,
    /// Texts that end it, where there are no such tokens.
    pub stops: Vec<String>,
}

/// A conversation to learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    pub sequence: Sequence,
    pub text: String,
    pub found: Found,
    /// Tokens that were cut off, since they do not fit into the context.
    pub cut: usize,
    /// Of those, the ones that would have carried loss.
    pub cut_targets: usize,
    /// Whether the end of an answer is among the targets.
    pub learns_end: bool,
    pub warnings: Vec<String>,
}

impl Template {
    /// The chat as the tokens of a prompt; a last message of the assistant is left open to go on with.
    pub fn prompt(&self, chat: &Chat, tokenizer: &Tokenizer, now: Moment) -> Result<Tokens, DataError> {
        let begun = !chat.messages.is_empty() && chat.role(chat.messages.len() - 1) == "assistant";
        let text = self.render(chat, if begun { Then::Continue } else { Then::Answer }, now)?;
        let ids = self.encode(&text, tokenizer)?.0;
        Ok(Tokens { ids, text, ends: self.ends(tokenizer), stops: self.stops().iter().map(|s| (*s).to_owned()).collect() })
    }

    /// The chat as a step learns it: the assistant's turns are targets, each as much as `weights` says of its message (1 where
    /// it says nothing). What is longer than `context` tokens and the one after them is cut at its end.
    #[allow(clippy::too_many_arguments)]
    pub fn conversation(
        &self,
        chat: &Chat,
        weights: &[Option<f64>],
        tokenizer: &Tokenizer,
        end: Option<u32>,
        context: usize,
        row: u64,
        now: Moment,
    ) -> Result<Conversation, DataError> {
        let segments = self.segments(chat, now)?;
        let (mut ids, places) = self.encode(&segments.text, tokenizer)?;
        let mut loss: Vec<f32> = vec![0.0; ids.len()];
        for (loss, &(start, end)) in loss.iter_mut().zip(&places) {
            // One across the border holds the answer's first bytes, and counts with them.
            if let Some(span) = segments.spans.iter().find(|s| end > s.start && start < s.end) {
                *loss = weights.get(span.turn).copied().flatten().unwrap_or(1.0) as f32;
            }
        }
        let mut warnings = segments.warnings.clone();
        let crosses = |s: &super::Span| places.iter().any(|&(a, b)| a < s.start && b > s.start);
        if let Some(span) = segments.spans.iter().find(|s| crosses(s)) {
            warnings.push(format!(
                "message {}: a token reaches from the prompt into the answer, which generation would cut otherwise",
                span.turn + 1
            ));
        }
        let ends = self.ends(tokenizer);
        let last_is_answer = segments.spans.last().is_some_and(|s| segments.text[s.end..].trim().is_empty());
        if self.is_built_in() && ends.is_empty() && last_is_answer {
            // Lines have no token that ends a turn, so that the text's own end is learnt.
            ids.extend(end);
            loss.extend(end.map(|_| 1.0));
        }
        let all = ids.len();
        let is_end = |id: &u32| ends.contains(id) || Some(*id) == end;
        let kept = all.min(context + 1);
        let cut_targets = loss[kept..].iter().filter(|w| **w > 0.0).count();
        ids.truncate(kept);
        loss.truncate(kept);
        if let Some(first) = loss.first_mut() {
            *first = 0.0; // nothing stands before it
        }
        let learns_end = ids.iter().zip(&loss).any(|(id, w)| *w > 0.0 && is_end(id));
        let sequence = Sequence { segments: vec![0; ids.len()], weights: loss, ids, row };
        Ok(Conversation { sequence, text: segments.text, found: segments.found, cut: all - kept, cut_targets, learns_end, warnings })
    }

    /// The ids of a rendered text and the bytes of the text that each is of. A template writes the marks around a text itself;
    /// a built-in one leaves those to the tokenizer.
    fn encode(&self, text: &str, tokenizer: &Tokenizer) -> Result<(Vec<u32>, Vec<(usize, usize)>), DataError> {
        let mut encoded = tokenizer.encode_with_places(text, self.is_built_in())?;
        // Some tokenizers put a mark behind a text, which would end the chat before its answer.
        while self.is_built_in() && encoded.0.len() > 1 && encoded.1.last() == Some(&(0, 0)) {
            encoded.0.pop();
            encoded.1.pop();
        }
        Ok(encoded)
    }

    /// Tokens with which the template ends an assistant's turn: the first special one behind an answer.
    pub fn ends(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        const SAID: &str = "Yes";
        let chat = Chat::of([("user", "?"), ("assistant", SAID)]);
        let Ok(text) = self.render(&chat, Then::Nothing, Moment::default()) else { return Vec::new() };
        let Some((_, behind)) = text.rsplit_once(SAID) else { return Vec::new() };
        let ids = tokenizer.encode(behind.trim_start(), false).unwrap_or_default();
        ids.first().filter(|id| tokenizer.is_special(**id)).copied().into_iter().collect()
    }
}
