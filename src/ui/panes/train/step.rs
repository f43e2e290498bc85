//! What one step does, as the textbook picture with measured times, and what the last step did in numbers.
//! Deliberately not here: measuring.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::charts::series_style;
use super::follow;
use crate::report::Followed;
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, number};
use crate::ui::world::{Run, Series, Status};

/// The phases of a step in order: metric, name, what happens.
pub(super) const PHASES: [(&str, &str, &str); 5] = [
    ("time/batch_ms", "batch", "draw sequences"),
    ("time/forward_ms", "forward", "predict each next token"),
    ("time/loss_ms", "loss", "how wrong was it?"),
    ("time/backward_ms", "backward", "whose fault was it?"),
    ("time/update_ms", "update", "change every weight"),
];

/// Times are averaged over so many steps, and shown anew only when as many have passed, so that they can be read.
const AVERAGED: u64 = 16;

/// Mean times of the phases in milliseconds; none while nothing was measured.
pub(super) fn times(run: &Run) -> Option<[f64; 5]> {
    let exact = run.status() == Status::Paused;
    let mut out = [0.0; 5];
    for (slot, (metric, ..)) in out.iter_mut().zip(PHASES) {
        let series = run.series.get(metric).filter(|s| !s.is_empty())?;
        *slot = if exact { series.last()?.value } else { mean(series) };
    }
    Some(out)
}

fn mean(series: &Series) -> f64 {
    let len = series.len() as u64;
    let end = if len >= AVERAGED { len / AVERAGED * AVERAGED } else { len };
    let range = end.saturating_sub(AVERAGED) as usize..end as usize;
    let values: Vec<f64> = range.filter_map(|i| series.get(i)).map(|p| p.value).filter(|v| v.is_finite()).collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn milliseconds(ms: f64) -> String {
    match ms {
        m if m >= 1000.0 => format!("{:.2} s", m / 1000.0),
        m if m >= 10.0 => format!("{m:.0} ms"),
        m => format!("{m:.1} ms"),
    }
}

pub(super) fn draw(run: &Run, frame: &mut Frame, area: Rect, theme: &Theme) {
    let Some(times) = times(run) else {
        let text = if run.is_live() { "no step was measured yet" } else { "no times were measured in this run" };
        return frame.render_widget(Line::styled(text, theme.dim), area);
    };
    let total: f64 = times.iter().sum::<f64>().max(1e-9);
    let width = (area.width / 5).max(9) as usize;
    let wordy = width >= 24 && area.height >= 7;
    let mut names = Vec::new();
    let mut figures = Vec::new();
    let mut deeds = Vec::new();
    for (i, ((_, name, deed), ms)) in PHASES.iter().zip(times).enumerate() {
        let arrow = if i < 4 { " ──▸ " } else { "" };
        let fill = width.saturating_sub(name.len());
        let tail = if i < 4 { format!(" {}▸ ", "─".repeat(fill.saturating_sub(3))) } else { String::new() };
        let tail = if fill >= 4 { tail } else { arrow.into() };
        names.push(Span::styled(*name, series_style(theme, i).add_modifier(Modifier::BOLD)));
        names.push(Span::styled(tail, theme.dim));
        let share = format!("{}  {:.0}%", milliseconds(ms), ms / total * 100.0);
        figures.push(Span::styled(widgets::pad(&share, width), theme.text));
        deeds.push(Span::styled(widgets::pad(deed, width), theme.dim));
    }
    let mut lines = vec![Line::from(names), Line::from(figures)];
    if let Some(followed) = followed(run) {
        if area.height >= 9 {
            lines.push(bar(&times, total, area.width as usize, theme));
        }
        if area.height >= 11 {
            lines.push(Line::default());
        }
        let room = (usize::from(area.width), usize::from(area.height).saturating_sub(lines.len()));
        lines.extend(follow::lines(run, &followed, room, theme));
        return frame.render_widget(Paragraph::new(lines), area);
    }
    if wordy {
        lines.push(Line::from(deeds));
    }
    lines.push(bar(&times, total, area.width as usize, theme));
    if area.height >= 8 {
        lines.push(Line::default());
    }
    lines.extend(numbers(run, total, theme));
    frame.render_widget(Paragraph::new(lines), area);
}

/// The token that the newest step was followed by, while a person takes steps one at a time.
fn followed(run: &Run) -> Option<Followed> {
    let told = run.facts.get(Followed::FACT).filter(|_| run.status() == Status::Paused)?;
    serde_json::from_value::<Followed>(told.clone()).ok().filter(|told| told.step == run.step)
}

/// The whole step as one bar, each phase as wide as its share.
fn bar(times: &[f64; 5], total: f64, width: usize, theme: &Theme) -> Line<'static> {
    const FILLS: [&str; 5] = ["░", "█", "▒", "▓", "█"];
    let mut spans = Vec::new();
    let (mut sum, mut drawn) = (0.0, 0);
    for (i, ms) in times.iter().enumerate() {
        sum += ms;
        let end = (sum / total * width as f64).round() as usize;
        spans.push(Span::styled(FILLS[i].repeat(end.saturating_sub(drawn)), series_style(theme, i)));
        drawn = end.max(drawn);
    }
    Line::from(spans)
}

/// The last step in numbers; while paused, against the one before.
fn numbers(run: &Run, total_ms: f64, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut spans = vec![Span::styled(format!("one step {}", milliseconds(total_ms)), theme.text)];
    if let Some(tokens) = run.facts.get("tokens_per_step").and_then(serde_json::Value::as_u64) {
        spans.push(Span::styled(format!(" for {} tokens", widgets::grouped(tokens)), theme.text));
    }
    if let Some(parameters) = run.facts.get("parameters").and_then(serde_json::Value::as_u64) {
        spans.push(Span::styled(format!(" through {} parameters", widgets::count(parameters as f64)), theme.text));
    }
    lines.push(Line::from(spans));
    if run.status() != Status::Paused {
        if run.is_live() {
            lines.push(Line::styled("p pauses; then each . does one step and shows what it changed", theme.dim));
        }
        return lines;
    }
    let two = |metric: &str| {
        let series = run.series.get(metric)?;
        let last = series.get(series.len().checked_sub(1)?)?;
        Some((series.len().checked_sub(2).and_then(|i| series.get(i)).map(|p| p.value), last.value, last.step))
    };
    if let Some((before, now, step)) = two("train/loss") {
        let mut spans = vec![Span::styled(format!("step {}: ", widgets::grouped(step)), theme.title)];
        spans.push(Span::styled(format!("loss {now:.4}"), theme.text));
        if let Some(before) = before {
            let style = if now <= before { theme.good } else { theme.warning };
            spans.push(Span::styled(format!(" ({:+.4} on the batch before)", now - before), style));
        }
        lines.push(Line::from(spans));
    }
    let mut parts = Vec::new();
    for (metric, name) in [("lr", "learning rate"), ("grad_norm", "gradient norm"), ("update_ratio", "weights moved by")] {
        if let Some((_, now, _)) = two(metric) {
            parts.push(format!("{name} {}", if metric == "update_ratio" { format!("{:.3}%", now * 100.0) } else { number::short(now) }));
        }
    }
    if !parts.is_empty() {
        lines.push(Line::styled(parts.join(" · "), theme.text));
    }
    lines.push(Line::styled(". one more step · p goes on", theme.dim));
    lines
}
