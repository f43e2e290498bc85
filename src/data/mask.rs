//! The mask view's content: the tokens that a training step sees of a row, made by the code that batches are made with, and
//! what is worth a warning about them.
//! Deliberately not here: drawing, and chats, whose template comes with fine-tuning.

use super::DataError;
use super::batch::{Sequence, whole};
use super::shape::Example;
use super::stream::TokenStream;
use super::tokenizer::Tokenizer;

/// One token of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskToken {
    pub id: u32,
    /// The text that it adds; foreign.
    pub text: String,
    /// How much it counts in the loss as a target; 0 for what is only read.
    pub weight: f32,
    /// The document that it belongs to, from 0 within the sequence.
    pub segment: u32,
    /// Whether it ends a document.
    pub end: bool,
}

/// A sequence as a step would see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mask {
    pub tokens: Vec<MaskToken>,
    /// Tokens that the model reads at once.
    pub context: usize,
    /// Places behind the last token that a batch would fill up.
    pub padding: usize,
    /// How such a sequence comes about, in a sentence.
    pub about: String,
    pub warnings: Vec<String>,
}

impl Mask {
    pub fn targets(&self) -> usize {
        self.tokens.iter().skip(1).filter(|t| t.weight > 0.0).count()
    }
}

/// What a recipe says about sequences.
pub struct Setting<'s> {
    pub tokenizer: &'s Tokenizer,
    pub end: Option<u32>,
    pub context: usize,
}

impl Setting<'_> {
    /// The sequence of a row; `following` are the texts of the rows after it, with which a window of plain text goes on.
    pub fn mask(&self, example: &Example, row: u64, following: &mut dyn Iterator<Item = String>) -> Result<Mask, DataError> {
        match example {
            Example::Text(text) => self.window(text, row, following),
            Example::Pair { prompt, completion } => self.pair(prompt, completion, row),
            Example::Question { question, choices, answer } if choices.is_empty() => self.pair(&format!("{question}\n"), answer, row),
            _ => Err(DataError::Other(
                "a conversation needs a chat template to become tokens, and fine-tuning on them is not here yet; text and prompt/completion are shown".into(),
            )),
        }
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>, DataError> {
        self.tokenizer.encode_text(text).map_err(|f| DataError::Other(format!("{}; {}", f.what, f.remedy)))
    }

    /// Plain text: documents one after another in one stream, of which a step sees windows.
    fn window(&self, text: &str, row: u64, following: &mut dyn Iterator<Item = String>) -> Result<Mask, DataError> {
        let mut ids = self.ids(text)?;
        let own = ids.len();
        ids.extend(self.end);
        while ids.len() <= self.context {
            let Some(next) = following.next() else { break };
            if next.is_empty() {
                continue;
            }
            ids.extend(self.ids(&next)?);
            ids.extend(self.end);
        }
        let stream = TokenStream::from_ids(ids, self.end);
        let sequence = whole(&stream, self.context).next();
        let mut mask = self.shown(sequence.unwrap_or(Sequence { ids: Vec::new(), weights: Vec::new(), segments: Vec::new(), row }));
        mask.about = "Plain text: documents stand one after another, and a step sees windows that begin at random places. This is \
                      the one that begins with this row; every token but the first is a target."
            .into();
        if own > self.context {
            let more = own - self.context;
            mask.warnings
                .push(format!("the row is {more} tokens longer than one window: it is learnt in several, each without what came before"));
        }
        if self.end.is_none() {
            mask.warnings.push("no end-of-sequence: rows run into each other, and the model never learns where a text ends".into());
        } else if own > 0 && own <= self.context && !mask.tokens.iter().skip(1).any(|t| t.end && t.weight > 0.0) {
            mask.warnings.push("the end-of-sequence is never a target in this window".into());
        }
        Ok(mask)
    }

    fn pair(&self, prompt: &str, completion: &str, row: u64) -> Result<Mask, DataError> {
        let (prompt, completion) = (self.ids(prompt)?, self.ids(completion)?);
        let all = prompt.len() + completion.len() + usize::from(self.end.is_some());
        let sequence = Sequence::of_pair(&prompt, &completion, self.end, self.context, row);
        let mut mask = self.shown(sequence);
        mask.about = "Prompt and completion: the prompt is read, and only the completion and its end are targets.".into();
        mask.padding = (self.context + 1).saturating_sub(all);
        let lost = all.saturating_sub(self.context + 1);
        if mask.targets() == 0 {
            mask.warnings.push("no token carries loss: a step learns nothing from this row".into());
        }
        if lost > 0 {
            let what = if lost >= completion.len() { "all of the answer" } else { "the end of the answer" };
            mask.warnings.push(format!("the row is {lost} tokens too long for the context: truncation cuts {what}"));
        }
        if self.end.is_none() || lost > 0 {
            mask.warnings.push("the end-of-sequence is never a target: the model does not learn to stop here".into());
        }
        Ok(mask)
    }

    fn shown(&self, sequence: Sequence) -> Mask {
        let Sequence { ids, weights, segments, .. } = sequence;
        let token = |((id, weight), segment): ((u32, f32), u32)| MaskToken {
            id,
            text: String::from_utf8_lossy(&self.tokenizer.token_bytes(id)).into_owned(),
            weight,
            segment,
            end: Some(id) == self.end,
        };
        Mask { tokens: ids.into_iter().zip(weights).zip(segments).map(token).collect(), context: self.context, ..Mask::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Silent;

    fn mask(example: &Example, context: usize, end: bool) -> Mask {
        let name = end.then_some("<|end|>");
        let tokenizer = Tokenizer::train("byte", 0, name, &[], &Silent).unwrap();
        let setting = Setting { end: name.and_then(|n| tokenizer.token_id(n)), tokenizer: &tokenizer, context };
        setting.mask(example, 3, &mut ["next".to_owned(), String::new(), "more".into()].into_iter()).unwrap()
    }

    #[test]
    fn a_window_of_text_goes_on_with_the_rows_that_follow() {
        let found = mask(&Example::Text("ab".into()), 8, true);
        let text: Vec<&str> = found.tokens.iter().map(|t| t.text.as_str()).collect();
        assert_eq!(text, ["a", "b", "<|end|>", "n", "e", "x", "t", "<|end|>", "m"]);
        assert_eq!(found.tokens.iter().map(|t| t.segment).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1, 1, 1, 2]);
        assert_eq!((found.targets(), found.tokens[0].weight, found.warnings.len()), (8, 0.0, 0));
        let long = mask(&Example::Text("a long row".into()), 4, true);
        assert!(long.tokens.len() == 5 && long.warnings[0].contains("6 tokens longer"), "{:?}", long.warnings);
        assert!(mask(&Example::Text("ab".into()), 8, false).warnings[0].contains("no end-of-sequence"));
    }

    #[test]
    fn warnings_say_what_a_row_does_not_teach() {
        let pair = |prompt: &str, completion: &str| Example::Pair { prompt: prompt.into(), completion: completion.into() };
        let good = mask(&pair("ab", "cd"), 8, true);
        assert_eq!((good.targets(), good.padding, good.warnings.len()), (3, 4, 0));
        let cut = mask(&pair("ab", "cdef"), 4, true).warnings;
        assert!(
            cut[0].contains("truncation cuts the end of the answer") && cut[1].contains("end-of-sequence is never a target"),
            "{cut:?}"
        );
        let none = mask(&pair("abcdef", "g"), 4, true).warnings;
        assert!(none[0].contains("no token carries loss") && none[1].contains("cuts all of the answer"), "{none:?}");
        let tokenizer = Tokenizer::train("byte", 0, None, &[], &Silent).unwrap();
        let setting = Setting { tokenizer: &tokenizer, end: None, context: 4 };
        assert!(setting.mask(&Example::Chat(Vec::new()), 0, &mut std::iter::empty()).unwrap_err().to_string().contains("chat template"));
    }
}
