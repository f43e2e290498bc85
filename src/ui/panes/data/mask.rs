//! The page of tokens: what a training step sees of the row, and which tokens carry loss, by marks below them.
//! Deliberately not here: how the sequence is made (`data::mask`).

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::{Data, side};
use crate::data::mask::Mask;
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets;

/// Columns for the position of a line's first token.
const GUTTER: usize = 6;

impl Data {
    pub(super) fn mask_lines(&self, row: u64, width: usize, cx: &Context) -> Vec<Line<'static>> {
        let theme = cx.theme;
        let mask = match &cx.world.data.mask {
            Some((of, mask)) if *of == row => mask,
            _ => return vec![Line::styled("making tokens …", theme.dim)],
        };
        let by = match self.run(cx.world) {
            Some(run) => format!("by the tokenizer and the context of {}", visible(&run, false)),
            None => "by bytes and a context of 64, since no run is here to take them from".into(),
        };
        match mask {
            Ok(mask) => lines(mask, &by, width, theme),
            Err(why) => side::text(why, width, theme.warning),
        }
    }
}

fn lines(mask: &Mask, by: &str, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let (all, targets) = (mask.tokens.len(), mask.targets());
    let mut out = Vec::new();
    for warning in &mask.warnings {
        out.extend(side::text(&format!("! {warning}"), width, theme.warning));
    }
    let padding = if mask.padding > 0 { format!(", {} places of padding", mask.padding) } else { String::new() };
    out.extend(side::text(&format!("{all} tokens, {targets} of them carry loss{padding}; {by}"), width, theme.title));
    out.push(Line::from(vec![
        Span::styled("▀▀ carries loss  ", theme.accent),
        Span::styled("·· is only read  ", theme.dim),
        Span::styled("◆ end  │ next document", theme.mark),
    ]));
    out.push(Line::default());
    out.extend(flow(mask, width.saturating_sub(GUTTER).max(8), theme));
    out.push(Line::default());
    out.extend(side::text(&mask.about, width, theme.dim));
    out
}

/// Tokens one after another, with a line of marks below each line of them.
fn flow(mask: &Mask, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut out = Vec::new();
    let (mut above, mut below, mut used, mut first) = (Vec::new(), Vec::new(), 0, 0);
    let flush = |above: &mut Vec<Span<'static>>, below: &mut Vec<Span<'static>>, first: usize, out: &mut Vec<Line<'static>>| {
        if above.is_empty() {
            return;
        }
        let mut line = vec![Span::styled(format!("{first:>w$} ", w = GUTTER - 1), theme.dim)];
        line.append(above);
        out.push(Line::from(line));
        let mut marks = vec![Span::raw(" ".repeat(GUTTER))];
        marks.append(below);
        out.push(Line::from(marks));
    };
    for (i, token) in mask.tokens.iter().enumerate() {
        let shown = visible(&token.text, false).replace(' ', "·");
        let shown = widgets::fit(if shown.is_empty() { "∅" } else { &shown }, width.saturating_sub(1)).into_owned();
        let boundary = i > 0 && mask.tokens[i - 1].segment != token.segment;
        // A blank column sets tokens apart, and a bar sets documents apart.
        let wide = shown.width() + 1;
        if used + wide > width {
            flush(&mut above, &mut below, first, &mut out);
            (used, first) = (0, i);
        }
        let bar = if boundary { "│" } else { " " };
        above.push(Span::styled(bar, theme.mark));
        below.push(Span::styled(bar, theme.mark));
        let carries = i > 0 && token.weight > 0.0;
        let style = if carries { theme.text } else { theme.dim };
        above.push(Span::styled(shown.clone(), if token.end { theme.mark } else { style }));
        let mark = match (token.end, carries) {
            (true, true) => "◆",
            (true, false) => "◇",
            (false, true) => "▀",
            (false, false) => "·",
        };
        below.push(Span::styled(mark.repeat(shown.width()), if carries { theme.accent } else { theme.dim }));
        used += wide;
    }
    flush(&mut above, &mut below, first, &mut out);
    out
}
