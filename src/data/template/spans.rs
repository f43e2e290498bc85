//! Which parts of a rendered conversation are the assistant's: what a loss counts.
//! Deliberately not here: tokens (`tokens`), and what a weight does in a loss.

use super::{Moment, Template, Then, plain_messages};
use crate::data::DataError;
use crate::spec::Chat;

/// Part of a text that the assistant says, its end of turn included.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Bytes of the text.
    pub start: usize,
    pub end: usize,
    /// The message's place in the chat.
    pub turn: usize,
}

/// How the spans were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The template says it, by `{% generation %}`.
    Marked,
    /// By rendering the chat up to each answer, as generation does.
    Rendered,
    /// By the answer's text in the rendered chat, since the template renders an answer otherwise once others follow.
    Searched,
}

/// A rendered conversation and the assistant's parts of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Segments {
    pub text: String,
    /// In order; they do not overlap.
    pub spans: Vec<Span>,
    pub found: Found,
    /// What differs between this text and what generation would have had before each answer, in sentences.
    pub warnings: Vec<String>,
}

impl Template {
    /// The conversation as training sees it, with the assistant's parts.
    pub fn segments(&self, chat: &Chat, now: Moment) -> Result<Segments, DataError> {
        let text = self.render(chat, Then::Nothing, now)?;
        let turns: Vec<usize> = (0..chat.messages.len()).filter(|i| chat.role(*i) == "assistant").collect();
        let (rendered, mut segments) = (
            self.by_prefixes(chat, &turns, &text, now),
            Segments { text, spans: Vec::new(), found: Found::Rendered, warnings: Vec::new() },
        );
        let (spans, found, warnings) = rendered;
        (segments.spans, segments.found, segments.warnings) = (spans, found, warnings);
        if let Some(marked) = self.by_marks(chat, &turns, &segments.text, now) {
            (segments.spans, segments.found) = (marked, Found::Marked);
        }
        Ok(segments)
    }

    /// Spans that the template marks; none where it marks nothing, or where marks would change the text.
    fn by_marks(&self, chat: &Chat, turns: &[usize], text: &str, now: Moment) -> Option<Vec<Span>> {
        if !self.source().contains("endgeneration") {
            return None;
        }
        let messages = plain_messages(chat);
        // A marker that nothing in the chat looks like.
        let marker = (0..1000).map(|n| format!("\u{fdd0}{n}\u{fdd1}")).find(|m| !text.contains(m.as_str()))?;
        let marked = self.run(chat, &messages, false, now, Some(&marker)).ok()?;
        let mut spans: Vec<Span> = Vec::new();
        let mut plain = String::with_capacity(text.len());
        let mut open = None;
        for (i, piece) in marked.split(marker.as_str()).enumerate() {
            if i > 0 {
                match open.take() {
                    None => open = Some(plain.len()),
                    Some(start) => {
                        // Marks come in the order of the answers; more marks than answers belong to the last.
                        let turn = turns.get(spans.len()).or(turns.last()).copied().unwrap_or(0);
                        spans.push(Span { start, end: plain.len(), turn });
                    }
                }
            }
            plain.push_str(piece);
        }
        (plain == text && open.is_none() && !spans.is_empty()).then_some(spans)
    }

    /// Spans between what stands before an answer when it is asked for, and what stands when it is given.
    fn by_prefixes(&self, chat: &Chat, turns: &[usize], text: &str, now: Moment) -> (Vec<Span>, Found, Vec<String>) {
        let (mut spans, mut warnings, mut found): (Vec<Span>, Vec<String>, _) = (Vec::new(), Vec::new(), Found::Rendered);
        let part = |n: usize| Chat { messages: chat.messages[..n].to_vec(), ..chat.clone() };
        let mut at = 0;
        for &turn in turns {
            let content = chat.content(turn).trim();
            let before = self.render(&part(turn), Then::Answer, now).ok();
            let after =
                if turn + 1 == chat.messages.len() { Some(text.to_owned()) } else { self.render(&part(turn + 1), Then::Nothing, now).ok() };
            let start = before.as_deref().filter(|b| text.starts_with(b)).map(str::len);
            if let (Some(before), None) = (&before, start) {
                warnings.push(differs(turn, before, text));
            }
            let end = after.as_deref().and_then(|after| common(after, text).filter(|end| *end > start.unwrap_or(0)));
            let span = match (start.filter(|s| *s >= at), end) {
                (Some(start), Some(end)) if end >= start + content.len() => Some((start, end)),
                _ => {
                    found = Found::Searched;
                    search(text, at, content)
                }
            };
            match span {
                Some((start, end)) => {
                    spans.push(Span { start, end, turn });
                    at = end;
                }
                None if content.is_empty() => {}
                None => {
                    warnings.push(format!("message {} of the assistant is not in what the template renders: it is not learnt", turn + 1))
                }
            }
        }
        (spans, found, warnings)
    }
}

/// How much of `part` stands at the beginning of `text`: all of it, or all but blanks at its end.
fn common(part: &str, text: &str) -> Option<usize> {
    if text.starts_with(part) {
        return Some(part.len());
    }
    let kept = part.trim_end();
    text.starts_with(kept).then_some(kept.len())
}

/// An answer's text behind `at`, with the mark that ends its turn where one follows at once.
fn search(text: &str, at: usize, content: &str) -> Option<(usize, usize)> {
    if content.is_empty() {
        return None;
    }
    // Reasoning that a template leaves out of earlier answers stands before the answer proper.
    let proper = content.rsplit("</think>").next().unwrap_or(content).trim();
    let (start, len) = [content, proper].iter().filter(|c| !c.is_empty()).find_map(|c| Some((at + text[at..].find(c)?, c.len())))?;
    let mut end = start + len;
    let rest = &text[end..];
    let mark = rest.len() - rest.trim_start().len();
    for (open, close) in [("<|", "|>"), ("</", ">"), ("<", ">"), ("[/", "]")] {
        if rest[mark..].starts_with(open)
            && let Some(close_at) = rest[mark..].find(close).filter(|n| *n < 40)
        {
            end += mark + close_at + close.len();
            break;
        }
    }
    Some((start, end))
}

/// Where the text that generation has before an answer is not the one that training has.
fn differs(turn: usize, before: &str, text: &str) -> String {
    let same = before.char_indices().zip(text.chars()).find(|((_, a), b)| a != b).map_or(before.len().min(text.len()), |((at, _), _)| at);
    let from = before[..same].char_indices().rev().nth(11).map_or(0, |(at, _)| at);
    let show = |t: &str| crate::text::visible(&t.chars().take(28).collect::<String>(), false).into_owned();
    format!(
        "message {}: the template of training differs from that of generation: “{}” stands before the answer when it is asked for, and “{}” when it is learnt",
        turn + 1,
        show(&before[from..]),
        show(&text[from.min(text.len())..])
    )
}
