//! The lower part of Life: what the model writes or will read, how its loss fell, what comes next; on a small screen
//! its lineage in a few lines. Deliberately not here: the map and the experiments (`draw`), and the words (`next`).

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::next;
use super::stations::{self, View};
use crate::data::sample;
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets::chart::{self, Axis, Chart, scale};
use crate::ui::widgets::{self, number};

/// Longer lines are hard to read.
const MEASURE: usize = 110;
/// So few samples do not fill a tall panel.
const FEW: usize = 6;

fn framed(frame: &mut Frame, area: Rect, title: &str, theme: &Theme) -> Rect {
    let block = widgets::panel(title, false, theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
}

fn put(frame: &mut Frame, lines: impl IntoIterator<Item = Line<'static>>, area: Rect) {
    for (line, y) in lines.into_iter().zip(area.y..area.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..area });
    }
}

/// What the model wrote while it was trained, newest first, so that one sees it learn; before that, what it reads.
pub fn words(frame: &mut Frame, area: Rect, view: &View, theme: &Theme) {
    if area.height < 3 || area.width < 24 {
        return;
    }
    let Some(run) = view.run.filter(|r| !r.samples.is_empty()) else { return reading(frame, area, view, theme) };
    let mut area = area;
    if area.height >= 20 && run.samples.len() <= FEW && built_in(view).is_some() {
        // While it has written little, what it reads stands beside it to be compared with.
        let [words, text] = Layout::vertical([Constraint::Fill(1); 2]).areas(area);
        area = words;
        reading(frame, text, view, theme);
    }
    let inner = framed(frame, area, "What it writes, newest first", theme);
    let steps = run.samples.iter().map(|(step, ..)| widgets::grouped(*step).len()).max().unwrap_or(0) + 2;
    let width = usize::from(inner.width).saturating_sub(steps).min(MEASURE);
    let mut lines = Vec::new();
    for (step, prompt, text) in run.samples.iter().rev() {
        if lines.len() >= usize::from(inner.height) {
            break;
        }
        let whole = format!("{prompt}{}", text.strip_prefix(prompt.as_str()).unwrap_or(text));
        for (i, line) in widgets::wrap(visible(&whole, true).trim(), width).into_iter().enumerate() {
            let label = if i == 0 { widgets::grouped(*step) } else { String::new() };
            lines.push(Line::from(vec![Span::styled(widgets::pad(&label, steps), theme.dim), Span::styled(line, theme.text)]));
        }
    }
    put(frame, lines, inner);
}

/// The text that is learnt from, where the program has it built in.
fn built_in(view: &View) -> Option<&'static str> {
    let recipe = stations::recipe(view.run)?;
    recipe.data.train.iter().find_map(|source| source.strip_prefix("sample:")).and_then(sample::text)
}

/// The beginning of the text that is learnt from, where it is built in.
fn reading(frame: &mut Frame, area: Rect, view: &View, theme: &Theme) {
    let title = match view.run {
        Some(run) if run.samples.is_empty() => "What it reads; its own words appear at the first evaluation",
        Some(_) => "What it reads",
        None => "What it will read",
    };
    let inner = framed(frame, area, title, theme);
    let Some(text) = built_in(view) else {
        let text = "At each evaluation the model writes a little; it appears here.";
        return put(frame, widgets::wrap(text, usize::from(inner.width)).into_iter().map(|l| Line::styled(l, theme.dim)), inner);
    };
    let mut lines = Vec::new();
    for record in text.lines() {
        if lines.len() >= usize::from(inner.height) {
            break;
        }
        let record: serde_json::Value = serde_json::from_str(record).unwrap_or_default();
        let story = record.get("text").and_then(serde_json::Value::as_str).unwrap_or_default();
        let wrapped = widgets::wrap(&visible(story, true), usize::from(inner.width).min(MEASURE));
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, theme.text)));
        lines.push(Line::default());
    }
    put(frame, lines, inner);
}

/// What comes next, each with its keys.
pub fn next_steps(frame: &mut Frame, area: Rect, view: &View, cx: &Context) {
    if area.height < 3 || area.width < 24 {
        return;
    }
    let theme = cx.theme;
    let inner = framed(frame, area, "What comes next", theme);
    let steps = next::steps(cx.world, view.run);
    let column = steps.iter().map(|s| s.keys.width()).max().unwrap_or(0) + 2;
    let width = usize::from(inner.width).saturating_sub(column).min(MEASURE);
    let wrapped: Vec<(&str, Vec<String>)> = steps.iter().map(|s| (s.keys, widgets::wrap(&s.text, width))).collect();
    let tall = wrapped.iter().map(|(_, lines)| lines.len() + 1).sum::<usize>() <= usize::from(inner.height) + 1;
    let mut lines = Vec::new();
    for (keys, texts) in wrapped {
        // What does not fit whole is left out rather than cut in the middle of a sentence.
        if !lines.is_empty() && lines.len() + texts.len() > usize::from(inner.height) {
            break;
        }
        for (i, text) in texts.into_iter().enumerate() {
            let keys = if i == 0 { keys } else { "" };
            lines.push(Line::from(vec![Span::styled(widgets::pad(keys, column), theme.key), Span::styled(text, theme.text)]));
        }
        if tall {
            lines.push(Line::default());
        }
    }
    put(frame, lines, inner);
}

/// How the loss fell, small; Train has the large one.
pub fn curve(frame: &mut Frame, area: Rect, view: &View, theme: &Theme) {
    if area.height < 7 || area.width < 30 {
        return;
    }
    let series = view.run.and_then(|run| Some((run, run.series.get("train/loss").filter(|s| !s.is_empty())?)));
    let Some((run, loss)) = series else {
        let inner = framed(frame, area, "How it learns", theme);
        let text = "The loss, step by step: how surprised the model is by each next token. It begins high, falls steeply while the model \
                    finds out which tokens are common, and then slowly, as it learns which belong together.";
        return put(
            frame,
            widgets::wrap(text, usize::from(inner.width).min(MEASURE)).into_iter().map(|l| Line::styled(l, theme.dim)),
            inner,
        );
    };
    let val = run.series.get("val/loss");
    let mut block = widgets::panel("How it learns", false, theme);
    let last = loss.last().map(|p| number::loss(p.value)).unwrap_or_default();
    block = block.title(
        Line::from(vec![Span::styled(format!(" loss {last} "), theme.text), Span::styled("· on held-out text ◆ ", theme.mark)])
            .right_aligned(),
    );
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let end = scale::right_end(loss.last().map_or(run.step, |p| p.step), run.steps);
    let x = Axis { lo: 0.0, hi: end as f64, log: false };
    let extents = [Some(loss), val].into_iter().flatten().filter_map(|s| chart::extent(s, x.lo, x.hi, false));
    let (min, max) = extents.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
    let y = scale::around(min, max, false, usize::from(inner.height / 3).clamp(2, 8));
    let style = theme.series.first().copied().unwrap_or(theme.text);
    let lines = [chart::Line { series: loss, smooth: None, style, faint: theme.faint, dash: 0 }];
    let marks: Vec<_> = val.into_iter().map(|s| (s, theme.mark)).collect();
    Chart { lines: &lines, marks: &marks, x, y, cursor: None, axes: true, theme }.draw(inner, frame.buffer_mut());
}

/// Where there is room for a few lines only: what the model came from, where it stands and what it wrote last.
pub fn in_short(frame: &mut Frame, area: Rect, view: &View, cx: &Context) {
    let theme = cx.theme;
    let Some(run) = view.run else { return next_steps(frame, area, view, cx) };
    let inner = framed(frame, area, &format!("Lineage of {}", visible(&run.name, false)), theme);
    let facts = stations::lineage(Some(run));
    let fact = |name: &str| facts.iter().find(|(what, _)| *what == name).map(|(_, value)| value.as_str());
    let mut rows = vec![stations::in_a_line(run).unwrap_or_default()];
    let seed = fact("seed").map(|seed| format!("seed {seed}"));
    rows.push([fact("step"), fact("optimizer"), seed.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" · "));
    if let Some((step, prompt, text)) = run.samples.last() {
        let whole = format!("{prompt}{}", text.strip_prefix(prompt.as_str()).unwrap_or(text)).replace('\n', " ");
        rows.push(format!("writes at {}: {}", widgets::grouped(*step), visible(whole.trim(), false)));
    } else if let Some(best) = fact("best") {
        rows.push(best.to_string());
    }
    let width = usize::from(inner.width);
    // Each row gets a line; what is left goes to the last one, the text.
    let mut lines: Vec<String> = Vec::new();
    for (i, row) in rows.iter().filter(|r| !r.is_empty()).enumerate() {
        if i < 2 {
            lines.push(widgets::fit(row, width).into_owned());
        } else {
            lines.extend(widgets::wrap(row, width));
        }
    }
    let styled = lines.into_iter().enumerate().map(|(i, line)| Line::styled(line, if i < 2 { theme.dim } else { theme.text }));
    put(frame, styled, inner);
}
