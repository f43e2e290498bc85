//! The view of one word: what it was made of, and each merge with the tokens that it left.
//! Deliberately not here: the merging (`data::anatomy`).

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::data::anatomy::{Explained, Word};
use crate::text::token;
use crate::ui::theme::Theme;
use crate::ui::widgets::{pad, wrap};

/// Columns before the tokens of a step.
const HEAD: usize = 26;

/// The lines that show how a word was put together. The token that a step made stands between brackets, so that it is
/// seen without colour.
pub fn lines(word: &Word, explained: &Explained, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let show = |id: u32| token(explained.bytes(id));
    let mut out = Vec::new();
    let row = |head: String, tokens: &[u32], made: Option<usize>| {
        let mut spans = vec![Span::styled(pad(&head, HEAD), theme.dim)];
        for (at, id) in tokens.iter().enumerate() {
            if at > 0 {
                spans.push(Span::styled("│", theme.border));
            }
            if made == Some(at) {
                spans.push(Span::styled(format!("[{}]", show(*id)), theme.accent.patch(theme.title)));
            } else {
                spans.push(Span::styled(show(*id), alternate(at, theme)));
            }
        }
        Line::from(spans)
    };
    let first = if word.steps.is_empty() { "" } else { "begins as" };
    let mut tokens = word.start.clone();
    if word.scores.is_empty() {
        out.push(row(format!("       {first}"), &tokens, None));
    }
    for step in &word.steps {
        if step.at + 1 < tokens.len() {
            tokens.splice(step.at..step.at + 2, [step.into]);
        }
        out.push(row(format!("{:>6} {} + {}", format!("#{}", step.rank), show(step.left), show(step.right)), &tokens, Some(step.at)));
    }
    if !word.scores.is_empty() {
        let total: f64 = word.scores.iter().sum();
        for (id, score) in word.end.iter().zip(&word.scores) {
            out.push(Line::from(vec![
                Span::styled(pad(&format!("       {score:>9.3}"), HEAD), theme.dim),
                Span::styled(show(*id), theme.text),
            ]));
        }
        out.push(Line::styled(format!("       {total:>9.3}  log-probability of the whole word"), theme.dim));
    }
    let ids: Vec<String> = word.end.iter().map(u32::to_string).collect();
    out.push(Line::styled(format!("{} {}", pad("       ids", HEAD - 1), ids.join(" ")), theme.dim));
    if !word.why.is_empty() {
        let why = wrap(word.why, width.saturating_sub(8));
        out.extend(why.into_iter().map(|line| Line::styled(format!("       {line}"), theme.dim)));
    }
    out
}

/// The style of every other token.
pub fn alternate(at: usize, theme: &Theme) -> Style {
    if at.is_multiple_of(2) { theme.text } else { theme.text.add_modifier(ratatui::style::Modifier::UNDERLINED) }
}
