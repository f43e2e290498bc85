//! One item in full: prompt, answer, expected, what was read out, the tokens with their probabilities.
//! Deliberately not here: the list (`items`).

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::items::Listed;
use crate::eval::report::{ItemResult, Output, Status};
use crate::text::visible;
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, wrap};

/// Tokens that are shown one by one.
const TOKENS: usize = 600;

/// The lines of an item's page.
pub fn lines(listed: &Listed, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let item = listed.item;
    let mut out = Vec::new();
    head(listed, theme, width, &mut out);
    part("prompt", &item.prompt, theme, width, theme.text, &mut out);
    if item.outputs.iter().any(|o| !o.ended.is_empty()) {
        for (at, output) in item.outputs.iter().enumerate() {
            let name = if item.outputs.len() == 1 { "answer".to_owned() } else { format!("answer {} of {}", at + 1, item.outputs.len()) };
            part(&name, &output.text, theme, width, theme.text, &mut out);
            tokens(output, theme, width, &mut out);
        }
    } else {
        choices(item, theme, width, &mut out);
    }
    if !item.expected.is_empty() {
        part("expected", &item.expected, theme, width, theme.good, &mut out);
    }
    let read = match (&item.extracted, item.status) {
        (Some(text), _) => text.clone(),
        (None, Status::Unparsed) => "nothing: the answer could not be read".into(),
        (None, _) => String::new(),
    };
    if !read.is_empty() {
        part("read out", &read, theme, width, theme.text, &mut out);
    }
    if !item.reason.is_empty() {
        part("why", &item.reason, theme, width, theme.dim, &mut out);
    }
    if let Some(base) = listed.base {
        beside(base, theme, width, &mut out);
    }
    out
}

fn head(listed: &Listed, theme: &Theme, width: usize, out: &mut Vec<Line<'static>>) {
    let item = listed.item;
    let status = match item.status {
        Status::Graded => item.score.map(|s| format!("score {}", crate::eval::render::number(s))).unwrap_or_default(),
        Status::Unparsed => "could not be read: 0".into(),
        Status::TooLong => "longer than the context: not graded".into(),
        Status::Failed => "not graded".into(),
    };
    let mut parts = vec![status];
    if let Some(hand) = listed.hand {
        parts.push(format!("by hand {}", if hand >= 1.0 { "right".into() } else { crate::eval::render::number(hand) }));
    }
    if !listed.tags.is_empty() {
        parts.push(format!("tags {}", listed.tags.join(", ")));
    }
    if !item.place.is_empty() {
        parts.push(item.place.clone());
    }
    for line in wrap(&visible(&parts.join(" · "), false), width) {
        out.push(Line::styled(line, theme.dim));
    }
}

fn part(name: &str, text: &str, theme: &Theme, width: usize, style: Style, out: &mut Vec<Line<'static>>) {
    out.push(Line::styled(name.to_owned(), theme.title));
    for line in wrap(&visible(text, true), width.saturating_sub(2)) {
        out.push(Line::styled(format!("  {line}"), style));
    }
}

/// Each token of an answer with a bar and the probability that the model gave it.
fn tokens(output: &Output, theme: &Theme, width: usize, out: &mut Vec<Line<'static>>) {
    if output.tokens.is_empty() || output.log_probs.is_empty() {
        return;
    }
    let mut line: Vec<Span<'static>> = vec!["  ".into()];
    let mut used = 2;
    for (token, log_p) in output.tokens.iter().zip(&output.log_probs).take(TOKENS) {
        let text = visible(token, false).into_owned();
        let figure = format!("{:.0}", 100.0 * log_p.exp());
        let size = widgets_width(&text) + figure.len() + 2;
        if used + size > width && used > 2 {
            out.push(Line::from(std::mem::replace(&mut line, vec!["  ".into()])));
            used = 2;
        }
        line.push(Span::styled(text, tint(theme, *log_p)));
        line.push(Span::styled(format!(" {figure} "), theme.dim));
        used += size;
    }
    out.push(Line::from(line));
    let more = output.log_probs.len().saturating_sub(TOKENS);
    if more > 0 {
        out.push(Line::styled(format!("  … and {more} more tokens"), theme.dim));
    }
}

fn widgets_width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// The less likely, the further along the ramp.
fn tint(theme: &Theme, log_p: f32) -> Style {
    let last = theme.ramp.len().saturating_sub(1);
    let at = ((1.0 - log_p.exp().clamp(0.0, 1.0)) * last as f32).round() as usize;
    theme.ramp.get(at.min(last)).copied().unwrap_or(theme.text)
}

/// The choices with their likelihoods, the likeliest marked.
fn choices(item: &ItemResult, theme: &Theme, width: usize, out: &mut Vec<Line<'static>>) {
    let sums: Vec<f64> = item.outputs.iter().map(|o| o.log_probs.iter().map(|l| f64::from(*l)).sum()).collect();
    let best = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let single = item.outputs.len() == 1;
    out.push(Line::styled(if single { "likelihood" } else { "choices" }, theme.title));
    let total: f64 = sums.iter().map(|s| (s - best).exp()).sum();
    for (output, sum) in item.outputs.iter().zip(&sums) {
        let share = (sum - best).exp() / total.max(f64::MIN_POSITIVE);
        let mark = match (output.right, *sum >= best && !single) {
            (true, true) => "✓▸",
            (true, false) => "✓ ",
            (false, true) => " ▸",
            (false, false) => "  ",
        };
        let figures = if single { format!("ln p {sum:.3}") } else { format!("ln p {sum:.3} · {:>3.0} %", 100.0 * share) };
        let room = width.saturating_sub(figures.len() + 8);
        let style = if output.right { theme.good } else { theme.text };
        out.push(Line::from(vec![
            Span::styled(format!("  {mark} "), theme.accent),
            Span::styled(format!("{} ", widgets::fit(&visible(&output.text, false), room)), style),
            Span::styled(figures, theme.dim),
        ]));
        tokens(output, theme, width, out);
    }
}

/// What the other evaluation said.
fn beside(base: &ItemResult, theme: &Theme, width: usize, out: &mut Vec<Line<'static>>) {
    let score = base.score.map_or("not graded".into(), |s| format!("score {}", crate::eval::render::number(s)));
    out.push(Line::styled(format!("the other: {score}"), theme.title));
    let answers: Vec<&Output> = base.outputs.iter().filter(|o| !o.ended.is_empty()).collect();
    let text = if answers.is_empty() { base.extracted.clone().unwrap_or_default() } else { answers[0].text.clone() };
    for line in wrap(&visible(&text, true), width.saturating_sub(2)) {
        out.push(Line::styled(format!("  {line}"), theme.dim));
    }
}
