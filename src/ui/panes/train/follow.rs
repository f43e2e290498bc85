//! One token through one step, as the lines of the loop with what each of them came to.
//! Deliberately not here: how the token is followed (`train::follow`), and the times of the phases (`step`).

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::charts::series_style;
use crate::report::Followed;
use crate::text::visible;
use crate::ui::theme::Theme;
use crate::ui::widgets;
use crate::ui::world::Run;

/// The loop, a line a phase. The mark stands at the one that the next key runs first.
const LOOP: [&str; 5] = [
    "batch  = data.draw()",
    "guess  = model(batch)",
    "loss   = -ln p(target)",
    "grad   = loss.backward()",
    "weight = update(weight, grad)",
];

/// A token's text between quotes, blanks at its beginning seen.
fn token(text: &str) -> String {
    let shown = visible(text, false);
    let shown = if shown.starts_with(' ') { format!("·{}", shown.trim_start_matches(' ')) } else { shown.into_owned() };
    format!("“{}”", widgets::fit(&shown, 14))
}

fn percent(p: f64) -> String {
    let digits = if p >= 0.1 { 1 } else { 2 };
    format!("{:.digits$} %", p * 100.0)
}

/// Enough digits to see what one step changed.
fn weight(value: f64) -> String {
    format!("{value:+.6}")
}

/// In `rows` rows: each line of the loop in one, or in as many as it needs where there is room for that.
pub(super) fn lines(run: &Run, told: &Followed, (width, rows): (usize, usize), theme: &Theme) -> Vec<Line<'static>> {
    let code = LOOP.iter().map(|line| line.width()).max().unwrap_or(0) + 2;
    let room = width.saturating_sub(code + 2);
    let (target, guess) = (token(&told.target), token(&told.guess));
    let after = -told.probability_after.ln();
    let batch_loss = run.last("train/loss").map(|loss| format!("; over the whole batch {loss:.4}")).unwrap_or_default();
    let likeliest = if told.guess == told.target {
        format!("{} for {target}, which it held to be the likeliest", percent(told.probability))
    } else {
        format!("{} for {target}; likeliest was {guess} with {}", percent(told.probability), percent(told.guess_probability))
    };
    let clipped = if told.clip < 1.0 { format!(", clipped to {:+.2e}", told.gradient * told.clip) } else { String::new() };
    let told_lines = [
        ending(&told.before, &target, room),
        likeliest,
        format!("{:.4} for this token{batch_loss}", told.loss),
        format!("{:+.2e} for {}{clipped}", told.gradient, told.weight),
        format!(
            "{} → {}; now {} for {target}, loss {after:.4}",
            weight(told.value),
            weight(told.value_after),
            percent(told.probability_after)
        ),
    ];
    let mut texts: Vec<Vec<String>> = told_lines.iter().map(|text| widgets::wrap(text, room)).collect();
    if texts.iter().map(Vec::len).sum::<usize>() >= rows {
        texts = told_lines.iter().map(|text| vec![widgets::fit(text, room).into_owned()]).collect();
    }
    let mark = if theme.ascii { ">" } else { "▸" };
    let mut lines = Vec::new();
    for (i, (code_line, texts)) in LOOP.iter().zip(texts).enumerate() {
        for (row, text) in texts.into_iter().enumerate() {
            lines.push(Line::from(vec![
                Span::styled(format!("{} ", if i == 0 && row == 0 { mark } else { " " }), theme.accent),
                Span::styled(widgets::pad(if row == 0 { code_line } else { "" }, code), series_style(theme, i)),
                Span::styled(text, theme.text),
            ]));
        }
    }
    lines.push(Line::styled(format!("step {} · . one more step · p goes on · ? explains", widgets::grouped(told.step)), theme.dim));
    lines
}

/// The end of the text before the token, and the token: `… sat on the ▸“·mat”`.
fn ending(before: &str, target: &str, room: usize) -> String {
    let before = visible(before, false).replace('\n', " ");
    let tail = format!(" then came {target}");
    let room = room.saturating_sub(tail.width() + 4);
    let mut kept: Vec<char> = Vec::new();
    let mut used = 0;
    for c in before.chars().rev() {
        used += c.to_string().width();
        if used > room {
            break;
        }
        kept.push(c);
    }
    let cut = if kept.len() < before.chars().count() { "…" } else { "" };
    format!("“{cut}{}”{tail}", kept.into_iter().rev().collect::<String>())
}
