//! Draws Models: the list, the chosen model's views, and what is under way.
//! Deliberately not here: the views' own lines (`overview`, `tensors`).

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::Value;

use super::{Models, PARTS, Part, Seen, Wanted, overview, tensors};
use crate::engine::show::Shown;
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, bytes, fit, panel};
use crate::ui::world::Job;

/// From this width on the list stands beside the view.
const BESIDE: u16 = 100;
const LIST: u16 = 34;
/// Files under way that are shown.
const FILES: usize = 4;

pub fn pane(pane: &Models, frame: &mut Frame, area: Rect, cx: &Context) {
    let mut seen = Seen::default();
    let (list, mut main) = if pane.zoom {
        (None, Some(area))
    } else if area.width >= BESIDE {
        let [a, b] = Layout::horizontal([Constraint::Length(LIST), Constraint::Fill(1)]).areas(area);
        (Some(a), Some(b))
    } else if pane.in_list {
        (Some(area), None)
    } else {
        (None, Some(area))
    };
    if let Some(area) = list {
        seen.list = area;
        draw_list(pane, frame, area, cx);
    }
    if let Some(area) = &mut main {
        for job in pane.jobs(cx.world) {
            let height = (2 + files(job).len() as u16).min(area.height / 2);
            let [rest, strip] = Layout::vertical([Constraint::Fill(1), Constraint::Length(height)]).areas(*area);
            draw_progress(job, frame, strip, cx.theme);
            *area = rest;
        }
        seen.main = *area;
        draw_main(pane, frame, *area, cx, &mut seen);
    }
    pane.seen.set(seen);
    if let Some((Wanted::Repo, field)) = &pane.asking {
        let place = widgets::centered(area, 70, 7);
        widgets::blank(frame, place, cx.theme);
        let block = panel("pull from the Hugging Face Hub", true, cx.theme);
        let inner = block.inner(place);
        frame.render_widget(block, place);
        let row = |y: u16| Rect { x: inner.x + 1, y: inner.y + y, width: inner.width.saturating_sub(2), height: 1 };
        frame.render_widget(Line::styled("org/name, org/name@revision or datasets/org/name; then patterns", cx.theme.dim), row(0));
        frame.render_widget(Line::styled("of files where not all of it is wanted: org/name *Q4_K_M*", cx.theme.dim), row(1));
        field.draw(frame, row(3), cx.theme.text, true);
        frame.render_widget(Line::styled("Enter pulls · Esc does not", cx.theme.dim), row(4));
    }
}

fn draw_list(pane: &Models, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let block = panel("models", pane.in_list, theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let entries = pane.entries(cx.world);
    let height = usize::from(inner.height);
    let from = widgets::window(pane.at, entries.len(), height);
    for (n, listed) in entries.iter().enumerate().skip(from).take(height) {
        let line = Rect { y: inner.y + (n - from) as u16, height: 1, ..inner };
        let at = n == pane.at && pane.in_list;
        let behind = if listed.bytes > 0 { bytes(listed.bytes) } else { listed.what.to_owned() };
        let room = usize::from(inner.width).saturating_sub(3 + behind.len() + 1);
        let spans = vec![
            Span::styled(if at { "▸" } else { " " }, theme.accent),
            Span::styled(if listed.name == pane.name { "● " } else { "  " }, theme.good),
            Span::styled(widgets::pad(&short(&listed.name, room), room), if at { theme.selected } else { theme.text }),
            Span::styled(format!(" {behind}"), theme.dim),
        ];
        frame.render_widget(Line::from(spans), line);
    }
    if entries.is_empty() {
        let text = match cx.world.models.listed {
            Some(_) => "No models yet. Train one, or p pulls one from the Hugging Face Hub.",
            None => "looking …",
        };
        let lines: Vec<Line> = widgets::wrap(text, usize::from(inner.width.saturating_sub(2)))
            .into_iter()
            .map(|l| Line::styled(format!(" {l}"), theme.dim))
            .collect();
        frame.render_widget(Paragraph::new(lines), inner);
    }
}

/// A name in its room: of a checkpoint, its run and step; of a path that is too long, its end.
fn short(name: &str, room: usize) -> String {
    let name = visible(name, false).into_owned();
    let name = match name.strip_prefix("runs/").and_then(|rest| rest.split_once("/checkpoints/")) {
        Some((run, step)) => format!("{run} {step}"),
        None => name,
    };
    if name.chars().count() <= room {
        return name;
    }
    let end = name.rsplit('/').next().unwrap_or(&name);
    fit(end, room).into_owned()
}

fn draw_main(pane: &Models, frame: &mut Frame, area: Rect, cx: &Context, seen: &mut Seen) {
    let theme = cx.theme;
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let mut spans = vec![Span::raw(" ")];
    for (part, name) in PARTS {
        let (open, close, style) = if part == pane.part { ("[", "]", theme.accent.patch(theme.title)) } else { (" ", " ", theme.dim) };
        spans.push(Span::styled(format!("{open}{name}{close}"), style));
    }
    frame.render_widget(Line::from(spans), head);
    let title = fit(&visible(&pane.name, false), usize::from(body.width.saturating_sub(6))).into_owned();
    let block = panel(&title, !pane.in_list, theme);
    let inner = block.inner(body);
    let inner = Rect { x: inner.x + 1.min(inner.width), width: inner.width.saturating_sub(2), ..inner };
    frame.render_widget(block, body);
    let width = usize::from(inner.width);
    let Some(shown) = pane.shown(cx.world) else { return draw_missing(pane, frame, inner, cx) };
    match pane.part {
        Part::Overview => scrolled(overview::lines(shown, width, theme), pane, frame, inner, seen),
        Part::Config => scrolled(overview::config(shown, width, theme), pane, frame, inner, seen),
        Part::Template => scrolled(overview::template(shown, width, theme), pane, frame, inner, seen),
        Part::Tensors => draw_tensors(pane, shown, frame, inner, cx, seen),
    }
}

fn draw_missing(pane: &Models, frame: &mut Frame, area: Rect, cx: &Context) {
    let (text, style) = match cx.world.models.open.get(&pane.name) {
        Some(Err(why)) => (format!("✗ {}", visible(why, false)), cx.theme.error),
        _ if pane.name.is_empty() && cx.world.models.listed.is_some() => (
            "There is no model to show yet. Train one in Train, or press p to pull one from the Hugging Face Hub.".to_owned(),
            cx.theme.dim,
        ),
        _ => ("looking …".to_owned(), cx.theme.dim),
    };
    let lines: Vec<Line> = widgets::wrap(&text, usize::from(area.width)).into_iter().map(|l| Line::styled(l, style)).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn scrolled(lines: Vec<Line<'static>>, pane: &Models, frame: &mut Frame, area: Rect, seen: &mut Seen) {
    (seen.lines, seen.height) = (lines.len(), usize::from(area.height));
    let from = pane.scroll.min(seen.lines.saturating_sub(seen.height));
    let shown: Vec<Line> = lines.into_iter().skip(from).take(seen.height).collect();
    frame.render_widget(Paragraph::new(shown), area);
}

fn draw_tensors(pane: &Models, shown: &Shown, frame: &mut Frame, area: Rect, cx: &Context, seen: &mut Seen) {
    let theme = cx.theme;
    let weighed = pane.weighed.as_ref().filter(|w| w.model == pane.name);
    let list = tensors::chosen(&shown.anatomy, &pane.filter, pane.sort, weighed.map(|w| &w.figures));
    let [above, head, body] = Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    match &pane.asking {
        Some((Wanted::Filter, field)) => {
            frame.render_widget(Line::styled("/", theme.key), above);
            let line = Rect { x: above.x + 1, width: above.width.saturating_sub(1), ..above };
            field.draw(frame, line, theme.text, true);
        }
        _ => {
            let text = tensors::summary(&shown.anatomy, list.len(), &pane.filter, pane.sort, weighed);
            frame.render_widget(Line::styled(fit(&text, usize::from(above.width)).into_owned(), theme.dim), above);
        }
    }
    (seen.lines, seen.height) = (list.len(), usize::from(body.height));
    let from = pane.scroll.min(seen.lines.saturating_sub(seen.height));
    let (titles, rows) = tensors::lines(&list, weighed, (from, seen.height), usize::from(area.width), theme);
    frame.render_widget(titles, head);
    let none = "The tensors of this format are not listed.";
    let rows = if shown.anatomy.tensors.is_empty() { vec![Line::styled(none, theme.dim)] } else { rows };
    frame.render_widget(Paragraph::new(rows), body);
}

/// The files of a pull that are under way: path, bytes done, bytes in all.
fn files(job: &Job) -> Vec<(String, u64, u64)> {
    let number = |file: &Value, key: &str| file.get(key).and_then(Value::as_u64).unwrap_or(0);
    let open = job.facts.get("under_way").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let named = |f: &Value| f.get("path").and_then(Value::as_str).unwrap_or_default().to_owned();
    open.iter().take(FILES).map(|f| (named(f), number(f, "done"), number(f, "total"))).collect()
}

fn draw_progress(job: &Job, frame: &mut Frame, area: Rect, theme: &Theme) {
    let bar = |done: u64, total: u64, width: usize| {
        let filled = if total == 0 { 0 } else { (done as f64 / total as f64 * width as f64) as usize }.min(width);
        (("█".repeat(filled)), "░".repeat(width - filled))
    };
    let mut lines = Vec::new();
    let width = usize::from(area.width).saturating_sub(60).clamp(8, 40);
    let mut first =
        vec![Span::styled(" ● ", theme.good), Span::styled(fit(&visible(&job.title, false), 28).into_owned(), theme.title), Span::raw(" ")];
    if let Some(p) = &job.progress {
        let total = p.total.unwrap_or(0);
        let (full, empty) = bar(p.done, total, width);
        first.extend([Span::styled(full, theme.accent), Span::styled(empty, theme.border)]);
        first.push(Span::styled(format!(" {} of {}", bytes(p.done), bytes(total)), theme.text));
        let number = |key: &str| job.facts.get(key).and_then(Value::as_u64);
        if let (Some(done), Some(all)) = (number("files_done"), number("files")) {
            first.push(Span::styled(format!(" · {done} of {all} files"), theme.dim));
        }
    } else {
        first.push(Span::styled(if job.why.is_empty() { "asking …".to_owned() } else { visible(&job.why, false).into_owned() }, theme.dim));
    }
    lines.push(Line::from(first));
    for (path, done, total) in files(job) {
        let (full, empty) = bar(done, total, 8);
        let name = fit(&visible(&path, false), usize::from(area.width).saturating_sub(36)).into_owned();
        let figures = format!(" {} of {}  ", bytes(done), bytes(total));
        lines.push(Line::from(vec![
            Span::raw("   "),
            Span::styled(full, theme.accent),
            Span::styled(empty, theme.border),
            Span::styled(figures, theme.dim),
            Span::styled(name, theme.text),
        ]));
    }
    frame.render_widget(Paragraph::new(lines), area);
}
