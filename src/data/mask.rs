//! The mask view's content: the tokens that a training step sees of a row, made by the code that batches are made with, and
//! what is worth a warning about them.
//! Deliberately not here: drawing, and how a chat becomes text (`template`).

use super::DataError;
use super::batch::{Sequence, whole};
use super::shape::Example;
use super::shape::Turn;
use super::stream::TokenStream;
use super::template::{Found, Moment, Template, chat_of};
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
    /// What makes a text of a conversation.
    pub template: &'s Template,
    /// What a template is told of the time.
    pub now: Moment,
}

impl Setting<'_> {
    /// The sequence of a row; `following` are the texts of the rows after it, with which a window of plain text goes on.
    pub fn mask(&self, example: &Example, row: u64, following: &mut dyn Iterator<Item = String>) -> Result<Mask, DataError> {
        match example {
            Example::Text(text) => self.window(text, row, following),
            Example::Pair { prompt, completion } => self.pair(prompt, completion, row),
            Example::Question { question, choices, answer } if choices.is_empty() => self.pair(&format!("{question}\n"), answer, row),
            Example::Chat(turns) => self.chat(turns, row),
            Example::Judged { prompt, answer, .. } => self.chat(&[prompt.as_slice(), answer].concat(), row),
            Example::Preference { prompt, chosen, .. } => {
                let mut mask = self.chat(&[prompt.as_slice(), chosen].concat(), row)?;
                mask.about = format!("The answer that was chosen. {}", mask.about);
                Ok(mask)
            }
            _ => Err(DataError::Other(
                "rows of this shape are no sequence by themselves; texts, prompts with completions and conversations are shown".into(),
            )),
        }
    }

    /// A conversation by the template: the assistant's turns are the targets.
    fn chat(&self, turns: &[Turn], row: u64) -> Result<Mask, DataError> {
        let weights: Vec<Option<f64>> = turns.iter().map(|t| t.weight).collect();
        let made = self.template.conversation(&chat_of(turns), &weights, self.tokenizer, self.end, self.context, row, self.now)?;
        let ends = self.template.ends(self.tokenizer);
        let mut mask = self.shown(made.sequence);
        mask.tokens.iter_mut().for_each(|t| t.end |= ends.contains(&t.id));
        let found = match made.found {
            Found::Marked => "as the template marks them",
            Found::Rendered => "from where generation would begin each",
            Found::Searched => "found by their text, since the template renders them otherwise than when they are asked for",
        };
        mask.about = format!(
            "A conversation by the chat template ({}): everything is read, and the assistant's turns with their ends are the targets, {found}.",
            super::visible(self.template.name())
        );
        mask.padding = (self.context + 1).saturating_sub(mask.tokens.len());
        if mask.targets() == 0 {
            mask.warnings.push("no token carries loss: a step learns nothing from this row".into());
        }
        if made.cut > 0 {
            let what = match (made.cut_targets, mask.targets()) {
                (0, _) => "what follows the last answer",
                (_, 0) => "all of the answers",
                _ => "the end of the answers",
            };
            mask.warnings.push(format!("the row is {} tokens too long for the context: truncation cuts {what}", made.cut));
        }
        if !made.learns_end {
            mask.warnings.push("the end-of-sequence is never a target: the model does not learn to stop here".into());
        }
        mask.warnings.extend(made.warnings);
        Ok(mask)
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
        let template = Template::of(&tokenizer);
        let (end, now) = (name.and_then(|n| tokenizer.token_id(n)), Moment::default());
        let setting = Setting { end, tokenizer: &tokenizer, context, template: &template, now };
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
    }

    #[test]
    fn a_conversation_shows_what_its_answers_teach() {
        let said = |turns: &[(&str, &str)]| Example::Chat(turns.iter().map(|(role, content)| Turn::new(role, *content)).collect());
        let good = mask(&said(&[("user", "a"), ("assistant", "b")]), 40, true);
        let targets: String = good.tokens.iter().filter(|t| t.weight > 0.0).map(|t| t.text.as_str()).collect();
        assert_eq!((targets.as_str(), good.targets(), good.warnings.len()), (" b\n<|end|>", 4, 0));
        assert_eq!(good.padding, 41 - good.tokens.len());
        let cut = mask(&said(&[("user", "a"), ("assistant", "bcdefgh")]), 20, true).warnings;
        assert!(cut[0].contains("tokens too long for the context: truncation cuts the end of the answers"), "{cut:?}");
        assert!(cut[1].contains("end-of-sequence is never a target"), "{cut:?}");
        let none = mask(&said(&[("user", "a")]), 40, true).warnings;
        assert!(none[0].contains("no token carries loss"), "{none:?}");
        let chosen = |text: &str| vec![Turn::new("assistant", text)];
        let pair = Example::Preference { prompt: vec![Turn::new("user", "a")], chosen: chosen("b"), rejected: chosen("c") };
        assert!(
            mask(&pair, 40, true).about.starts_with("The answer that was chosen. A conversation by the chat template (lines, built in)")
        );
        let quiz = Example::Question { question: "a".into(), choices: vec!["b".into()], answer: "b".into() };
        let tokenizer = Tokenizer::train("byte", 0, None, &[], &Silent).unwrap();
        let setting = Setting { tokenizer: &tokenizer, end: None, context: 4, template: &Template::of(&tokenizer), now: Moment::default() };
        assert!(setting.mask(&quiz, 0, &mut std::iter::empty()).unwrap_err().to_string().contains("no sequence by themselves"));
    }
}
