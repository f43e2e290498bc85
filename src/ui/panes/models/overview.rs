//! The lines of a model's overview, its config and its template.
//! Deliberately not here: looking at the model (`engine::show`).

use ratatui::text::{Line, Span};

use crate::engine::show::Shown;
use crate::text::visible;
use crate::ui::theme::Theme;
use crate::ui::widgets::{bytes, grouped, pad, wrap};

const NAME: usize = 14;

/// Shape, parameters by part, memory, tokenizer and history.
pub fn lines(shown: &Shown, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut out = Vec::new();
    let room = width.saturating_sub(NAME).max(10);
    let say = |out: &mut Vec<Line<'static>>, name: &str, value: &str| {
        for (n, line) in wrap(value, room).into_iter().enumerate() {
            out.push(Line::from(vec![Span::styled(pad(if n == 0 { name } else { "" }, NAME), theme.dim), Span::styled(line, theme.text)]));
        }
    };
    shown.shape.iter().for_each(|(name, value)| say(&mut out, name, value));
    let all = shown.anatomy.parts.iter().map(|(_, n, _)| *n).sum::<u64>().max(1);
    if !shown.anatomy.parts.is_empty() {
        title(&mut out, "parameters by part", theme);
    }
    let bar = room.saturating_sub(38).clamp(0, 48);
    for (part, parameters, size) in &shown.anatomy.parts {
        let share = *parameters as f64 / all as f64;
        let filled = (share * bar as f64).round() as usize;
        out.push(Line::from(vec![
            Span::styled(pad(part, NAME), theme.dim),
            Span::styled(format!("{:>15} {:>5.1} % {:>8} ", grouped(*parameters), share * 100.0, bytes(*size)), theme.text),
            Span::styled("█".repeat(filled.max(usize::from(bar > 0))), theme.accent),
        ]));
    }
    for (name, list) in [("memory", &shown.memory), ("tokenizer", &shown.tokenizer)] {
        title(&mut out, name, theme);
        list.iter().for_each(|(name, value)| say(&mut out, name, value));
    }
    title(&mut out, "where it comes from", theme);
    shown.lineage.iter().for_each(|value| say(&mut out, "", value));
    if shown.lineage.is_empty() {
        say(&mut out, "", "nothing is told of it");
    }
    say(&mut out, "path", &visible(&shown.path.to_string_lossy(), false));
    out
}

fn title(out: &mut Vec<Line<'static>>, name: &str, theme: &Theme) {
    out.push(Line::default());
    out.push(Line::styled(name.to_owned(), theme.title));
}

/// A text of a file, wrapped.
pub fn text(text: &str, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    wrap(&visible(text, true), width).into_iter().map(|line| Line::styled(line, theme.text)).collect()
}

/// The config as it is read by people.
pub fn config(shown: &Shown, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    text(&format!("{:#}", shown.anatomy.config), width, theme)
}

/// The chat template, or what there is in its place.
pub fn template(shown: &Shown, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    match &shown.template {
        Some(template) => text(template, width, theme),
        None => {
            let none = "This model brings no chat template. A base model was never taught to answer: it continues text. Chat uses one of the built-in forms with it, which the vocabulary's own marks choose.";
            wrap(none, width).into_iter().map(|line| Line::styled(line, theme.dim)).collect()
        }
    }
}
