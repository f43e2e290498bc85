//! The view of what a tokenizer is: its kind, special tokens, longest entries, lengths, and how it does on counted files.
//! Deliberately not here: the figures themselves (`data::anatomy`).

use ratatui::text::{Line, Span};

use super::Counted;
use crate::data::anatomy::Explained;
use crate::text::{token, visible};
use crate::ui::theme::Theme;
use crate::ui::widgets::{fit, grouped, pad, wrap};

const NAME: usize = 14;
/// Tokens of the longest that are named.
const LONGEST: usize = 12;

pub fn lines(explained: &Explained, counted: Option<&Counted>, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let a = &explained.anatomy;
    let mut out = Vec::new();
    let room = width.saturating_sub(NAME).max(10);
    let mut say = |name: &str, value: &str| {
        for (n, line) in wrap(value, room).into_iter().enumerate() {
            let name = if n == 0 { name } else { "" };
            out.push(Line::from(vec![Span::styled(pad(name, NAME), theme.dim), Span::styled(line, theme.text)]));
        }
    };
    say("kind", &a.kind);
    say("read from", &a.format);
    say("vocabulary", &format!("{} tokens, {} merges", grouped(a.vocab as u64), grouped(a.merges as u64)));
    say("words", &visible(&a.words, false));
    if !a.normalizer.is_empty() {
        say("first", &visible(&a.normalizer, false));
    }
    a.notes.iter().for_each(|note| say("note", &visible(note, false)));
    for (name, list) in [("special", &a.special), ("added", &a.added)] {
        if !list.is_empty() {
            let named: Vec<String> = list.iter().map(|(id, text)| format!("{} {id}", token(text.as_bytes()))).collect();
            say(name, &format!("{}: {}", list.len(), named.join("  ")));
        }
    }
    if let Some(c) = counted {
        let used = c.counts.iter().filter(|n| **n > 0).count();
        let never = explained.ids().filter(|id| c.counts.get(*id as usize).copied().unwrap_or(0) == 0).count();
        say("counted in", &visible(&c.data, false));
        say(
            "",
            &format!(
                "{} bytes, {} tokens: {:.3} bytes a token",
                grouped(c.bytes),
                grouped(c.tokens),
                c.bytes as f64 / c.tokens.max(1) as f64
            ),
        );
        say("", &format!("{} tokens used, {} never", grouped(used as u64), grouped(never as u64)));
    }
    out.push(Line::default());
    out.push(Line::styled("tokens by length in bytes", theme.title));
    let most = a.lengths.iter().copied().max().unwrap_or(1).max(1);
    let bar = room.saturating_sub(20).clamp(4, 60);
    for (n, count) in a.lengths.iter().enumerate() {
        let name = if n + 1 == a.lengths.len() { format!("{} and more", n + 1) } else { (n + 1).to_string() };
        let filled = (count * bar).div_ceil(most);
        out.push(Line::from(vec![
            Span::styled(pad(&name, NAME), theme.dim),
            Span::styled("█".repeat(filled), theme.accent),
            Span::styled(format!(" {}", grouped(*count as u64)), theme.text),
        ]));
    }
    out.push(Line::default());
    out.push(Line::styled("longest tokens", theme.title));
    for (id, bytes) in a.longest.iter().take(LONGEST) {
        let text = token(explained.bytes(*id));
        out.push(Line::from(vec![
            Span::styled(pad(&format!("{bytes} bytes"), NAME), theme.dim),
            Span::styled(format!("{id:>7}  "), theme.dim),
            Span::styled(fit(&text, room.saturating_sub(10)).into_owned(), theme.text),
        ]));
    }
    out
}
