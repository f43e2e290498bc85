//! The Eval pane's frame: the table of scores with what is known of the selected one, the list of items, the line that is typed.
//! Deliberately not here: one item in full (`item`) and the form.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::filter::ONLY;
use super::{Column, Eval, Seen, View, Wanted, item};
use crate::eval::compare::{Compared, Comparison};
use crate::eval::render::{self, number};
use crate::eval::report::TaskReport;
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets;

/// Narrower than this the items are shown one part at a time.
const BOTH: u16 = 100;
/// The least width of an evaluation's column.
const COLUMN: u16 = 25;
/// Lines below the table.
const BELOW: u16 = 10;

pub(super) fn pane(pane: &Eval, frame: &mut Frame, area: Rect, cx: &Context) {
    let typed = u16::from(pane.asking.is_some());
    let body = Rect { height: area.height.saturating_sub(typed), ..area };
    match pane.view {
        View::Table => table(pane, frame, body, cx),
        View::Items => items(pane, frame, body, cx),
    }
    if let Some((wanted, field)) = &pane.asking {
        let (label, help) = match wanted {
            Wanted::Filter => (" filter: ", "words, is:wrong, is:flipped, is:unparsed, is:hand, tag:NAME; - before one turns it round"),
            Wanted::Tag => (" tag: ", "a word; the same once more takes it away"),
            Wanted::Dataset { .. } => (" add to: ", "a .jsonl file of the project"),
        };
        let line = Rect { y: body.bottom(), height: 1, ..area };
        widgets::blank(frame, line, cx.theme);
        frame.render_widget(Span::styled(label, cx.theme.key), line);
        let place = Rect { x: line.x + label.len() as u16, width: line.width.saturating_sub(label.len() as u16 + 1), ..line };
        if field.text().is_empty() {
            let room = Rect { x: place.x + 1, width: place.width.saturating_sub(1), ..place };
            frame.render_widget(Span::styled(widgets::fit(help, usize::from(room.width)).into_owned(), cx.theme.dim), room);
        }
        field.draw(frame, place, cx.theme.text, true);
    }
    if let Some(form) = &pane.form {
        form.draw(frame, area, cx.theme);
    }
}

/// Where the columns of the table stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// Width of the tasks' names.
    pub name: u16,
    pub width: u16,
    pub first: usize,
    pub count: usize,
}

pub(super) fn columns(width: u16, len: usize, selected: usize) -> Columns {
    let name = (width / 4).clamp(14, 30);
    let room = width.saturating_sub(name);
    let count = usize::from((room / COLUMN).max(1)).min(len.max(1));
    let width = (room / count.max(1) as u16).min(34);
    let first = selected.saturating_sub(count.saturating_sub(1)).min(len.saturating_sub(count));
    Columns { name, width, first, count }
}

fn table(pane: &Eval, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let all = pane.columns(cx.world);
    if all.is_empty() {
        return empty(frame, area, cx);
    }
    let rows = Eval::rows(&all);
    let below = if pane.zoom { 0 } else { BELOW.min(area.height / 2) };
    let top = Rect { height: area.height - below, ..area };
    let title = format!("Scores · {} evaluation{}", all.len(), if all.len() == 1 { "" } else { "s" });
    let block = widgets::panel(&title, true, theme);
    let inner = block.inner(top);
    frame.render_widget(block, top);
    if inner.height < 3 || inner.width < 30 {
        return;
    }
    let place = columns(inner.width, all.len(), pane.column);
    let base = pane.base_of(&all);
    heads(frame, inner, &all, place, base.as_deref(), pane, theme);
    let list = Rect { y: inner.y + 2, height: inner.height - 2, ..inner };
    pane.seen.set(Seen { main: list, rows: usize::from(list.height), height: usize::from(list.height), ..Seen::default() });
    let first = widgets::window(pane.task, rows.len(), usize::from(list.height));
    for (y, (at, name)) in (list.y..list.bottom()).zip(rows.iter().enumerate().skip(first)) {
        let chosen = at == pane.task;
        let arrow = all.iter().find_map(|c| c.task(name)).map_or("", |t| if t.higher_is_better { "↑" } else { "↓" });
        let label = widgets::pad(&visible(name, false), usize::from(place.name).saturating_sub(4));
        let line = Line::from(vec![
            Span::styled(if chosen { "▸" } else { " " }, theme.accent),
            Span::styled(format!("{label} {arrow} "), if chosen { theme.title } else { theme.text }),
        ]);
        frame.render_widget(line, Rect { y, height: 1, width: place.name, ..inner });
        for (i, column) in all.iter().enumerate().skip(place.first).take(place.count) {
            let x = inner.x + place.name + (i - place.first) as u16 * place.width;
            let cell = Rect { x, y, width: place.width.min(inner.right().saturating_sub(x)), height: 1 };
            let spans = cell_of(pane, cx, column, name, usize::from(cell.width));
            frame.render_widget(Line::from(spans), cell);
            if chosen && i == pane.column {
                frame.buffer_mut().set_style(cell, theme.selected);
                frame.render_widget(Span::styled("▸", theme.accent.patch(theme.selected)), Rect { width: 1, ..cell });
            }
        }
    }
    if below > 2 {
        about(pane, frame, Rect { y: top.bottom(), height: below, ..area }, &all, &rows, cx);
    }
}

fn heads(frame: &mut Frame, inner: Rect, all: &[Column], place: Columns, base: Option<&str>, pane: &Eval, theme: &Theme) {
    for (i, column) in all.iter().enumerate().skip(place.first).take(place.count) {
        let x = inner.x + place.name + (i - place.first) as u16 * place.width;
        let width = place.width.min(inner.right().saturating_sub(x));
        let room = usize::from(width).saturating_sub(2);
        let is_base = base == Some(column.name.as_str()) && pane.base.is_some();
        let name = format!("{}{}", if is_base { "= " } else { "" }, visible(&column.name, false));
        let style = if i == pane.column { theme.title.patch(theme.focus) } else { theme.title };
        frame.render_widget(Span::styled(format!(" {}", widgets::fit(&name, room)), style), Rect { x, width, y: inner.y, height: 1 });
        let facts = if let Some(job) = column.job {
            let progress = job.progress.as_ref();
            progress.map_or("● waits".into(), |p| format!("● {} of {}", p.done, p.total.unwrap_or(0)))
        } else {
            let mut parts = Vec::new();
            parts.extend(
                column
                    .report
                    .parameters
                    .map(|p| format!("{} parameters", widgets::count(p as f64)))
                    .or(column.report.bytes.map(widgets::bytes)),
            );
            let speed = column.report.tasks.iter().map(|t| t.items_per_s).fold(0.0, f64::max);
            if speed > 0.0 {
                parts.push(format!("{}/s", widgets::count(speed.max(1.0))));
            }
            if !column.report.complete {
                parts.insert(0, "broken off".into());
            }
            parts.join(" · ")
        };
        let style = if column.job.is_some() { theme.accent } else { theme.dim };
        frame.render_widget(Span::styled(format!(" {}", widgets::fit(&facts, room)), style), Rect { x, width, y: inner.y + 1, height: 1 });
    }
    let hidden = all.len() - place.count;
    if hidden > 0 {
        let text = format!(" {}–{} of {}", place.first + 1, place.first + place.count, all.len());
        frame.render_widget(Span::styled(text, theme.dim), Rect { width: place.name, y: inner.y, height: 1, ..inner });
    }
}

/// `▸0.884 ±.040 a ▲`: the score, half of its interval, its group, and whether it differs from the base beyond chance.
fn cell_of(pane: &Eval, cx: &Context, column: &Column, task: &str, width: usize) -> Vec<Span<'static>> {
    let theme = cx.theme;
    let Some(report) = column.task(task) else { return vec![Span::styled(" –", theme.faint)] };
    let score = report.score.map_or("–".into(), number);
    let half = report.interval.as_ref().map(|i| format!("±{}", number(i.half_width()))).unwrap_or_default();
    let ranked = cx.world.evals.compared.as_ref().and_then(|c| c.ranks.get(task)?.get(&column.name));
    let letters = ranked.map(|r| r.letters.clone()).unwrap_or_default();
    let (mark, style) = match against(cx, &column.name, task).or_else(|| before(cx, &column.name, task)) {
        Some(found) if found.worse => ("▼", theme.error),
        Some(found) if found.better => ("▲", theme.good),
        _ => ("", theme.text),
    };
    let apart = if report.unparsed > 0 { format!(" {}?", report.unparsed) } else { String::new() };
    let partial = if report.n + report.too_long + report.failed < report.total { "…" } else { "" };
    let _ = pane;
    let mut out = vec![Span::styled(format!(" {score}{partial}"), theme.text), Span::styled(format!(" {half}"), theme.dim)];
    let used: usize = out.iter().map(|s| s.content.width()).sum();
    for (text, style) in [(format!(" {letters}"), theme.accent), (format!(" {mark}"), style), (apart, theme.warning)] {
        if text.trim().is_empty() {
            continue;
        }
        if used + text.width() < width {
            out.push(Span::styled(text, style));
        }
    }
    out
}

/// How an evaluation stands against the base in a task.
fn against<'a>(cx: &'a Context, name: &str, task: &str) -> Option<&'a Compared> {
    let found: &Comparison = cx.world.evals.compared.as_ref()?.against.get(name)?;
    found.tasks.iter().find(|t| t.task == task)
}

/// How it stands against the one of the same model before it.
fn before<'a>(cx: &'a Context, name: &str, task: &str) -> Option<&'a Compared> {
    let found: &Comparison = cx.world.evals.compared.as_ref()?.before.get(name)?;
    found.tasks.iter().find(|t| t.task == task)
}

fn about(pane: &Eval, frame: &mut Frame, area: Rect, all: &[Column], rows: &[String], cx: &Context) {
    let theme = cx.theme;
    let (Some(column), Some(task)) = (all.get(pane.column), rows.get(pane.task)) else { return };
    let title = format!("{} on {}", visible(task, false), visible(&column.name, false));
    let title = widgets::fit(&title, usize::from(area.width).saturating_sub(6)).into_owned();
    let block = widgets::panel(&title, false, theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let width = usize::from(inner.width).saturating_sub(2);
    let mut lines: Vec<(String, Style)> = Vec::new();
    match column.task(task) {
        None => lines.push(("this evaluation does not have the task".into(), theme.dim)),
        Some(report) => facts(report, column, pane, cx, &mut lines),
    }
    let mut y = inner.y;
    for (text, style) in lines {
        for line in widgets::wrap(&visible(&text, false), width) {
            if y >= inner.bottom() {
                return;
            }
            frame.render_widget(Span::styled(format!(" {line}"), style), Rect { y, height: 1, ..inner });
            y += 1;
        }
    }
}

/// What is known of a score, the most important first.
fn facts(report: &TaskReport, column: &Column, pane: &Eval, cx: &Context, out: &mut Vec<(String, Style)>) {
    let theme = cx.theme;
    let how = report.interval.as_ref().map(|i| format!(" by {}", i.method)).unwrap_or_default();
    let n = if report.n < report.total { format!("{} of {}", report.n, report.total) } else { report.n.to_string() };
    out.push((format!("{} {}{how}, over {n} items · {}", report.metric, render::score(report), report.about), theme.text));
    if column.job.is_some() && report.n < report.total {
        let half = report.expected_half_width.map(|h| format!(" · at the end about ±{}", number(h))).unwrap_or_default();
        out.push((format!("so far{half}; the items come in a random order"), theme.accent));
    }
    let apart = render::apart(report);
    if !apart.is_empty() {
        let what = if report.unparsed > 0 { ": what cannot be read scores 0" } else { "" };
        out.push((format!("apart: {apart}{what}"), theme.warning));
    }
    let compared = cx.world.evals.compared.as_ref();
    if let Some(found) = against(cx, &column.name, &report.name) {
        let base = compared.and_then(|c| c.base.clone()).unwrap_or_default();
        out.push((sentence(&format!("against {base}"), found), verdict_style(found, theme)));
    } else if pane.base.as_deref() == Some(&column.name) {
        out.push(("the others are compared with this one".into(), theme.dim));
    }
    if let Some((found, other)) = before(cx, &column.name, &report.name).zip(compared.and_then(|c| c.before.get(&column.name)))
        && compared.and_then(|c| c.base.as_deref()) != Some(other.a.as_str())
    {
        out.push((sentence(&format!("against {}, the same model before", other.a), found), verdict_style(found, theme)));
    }
    if let Some(ranked) = compared.and_then(|c| c.ranks.get(&report.name)?.get(&column.name)) {
        let rank =
            if ranked.best == ranked.worst { format!("rank {}", ranked.best) } else { format!("rank {} to {}", ranked.best, ranked.worst) };
        out.push((format!("{rank} · group {}: those with a letter in common cannot be told apart (Holm)", ranked.letters), theme.dim));
    }
    let others: Vec<String> =
        report.measures.iter().filter(|(k, _)| **k != report.metric).map(|(k, f)| format!("{k} {}", number(f.value))).collect();
    if !others.is_empty() {
        out.push((others.join(" · "), theme.dim));
    }
    let mut made =
        vec![format!("{} examples", report.shots), format!("seed {}", report.seed), format!("{:.1} items/s", report.items_per_s)];
    if report.chat {
        made.push("chat template".into());
    }
    if report.samples > 1 {
        made.push(format!("{} samples an item", report.samples));
    }
    if !report.judge.is_empty() {
        made.push(format!("judged by {}", report.judge));
    }
    if let Some(d) = report.detectable {
        made.push(format!("shows differences from about {d:.3} on"));
    }
    made.push(format!("{} · weights {}", column.report.model, column.report.model_hash));
    out.push((made.join(" · "), theme.dim));
}

fn sentence(name: &str, found: &Compared) -> String {
    let p = &found.paired;
    let (lost, won) = render::lost_and_won(found);
    let seen = if found.worse || found.better { String::new() } else { format!(": so many items show {:.3}", p.detectable) };
    format!(
        "{name}: {:+.3} [{:+.3}, {:+.3}], {} {}, {lost} lost, {won} won of {} · {}{seen}",
        p.difference,
        p.low,
        p.high,
        p.test,
        render::p_value(found.p_corrected),
        p.n,
        render::word(found)
    )
}

fn verdict_style(found: &Compared, theme: &Theme) -> Style {
    match (found.worse, found.better) {
        (true, _) => theme.error,
        (_, true) => theme.good,
        _ => theme.text,
    }
}

fn empty(frame: &mut Frame, area: Rect, cx: &Context) {
    let block = widgets::panel("Scores", true, cx.theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let text = match (&cx.world.evals.listed, cx.world.jobs.values().any(|j| j.kind == "eval" && j.ended.is_none())) {
        (None, _) => "looking for evaluations …",
        (_, true) => "the evaluation begins …",
        _ => {
            "No model of this project was evaluated yet. n opens a form: a model, and tasks that it is asked. Every score comes with the interval \
              in which the true one lies, and two models are compared on the same items."
        }
    };
    for (y, line) in (inner.y..inner.bottom()).zip(widgets::wrap(text, usize::from(inner.width).saturating_sub(2).min(90))) {
        frame.render_widget(Span::styled(format!(" {line}"), cx.theme.dim), Rect { y, height: 1, ..inner });
    }
}

fn items(pane: &Eval, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let none = Rect { height: 0, ..area };
    let (list, side) = if pane.zoom || area.width < BOTH {
        if pane.in_side { (none, area) } else { (area, none) }
    } else {
        let width = area.width * 9 / 20;
        (Rect { width, ..area }, Rect { x: area.x + width, width: area.width - width, ..area })
    };
    let mut seen = Seen { main: list, side, ..Seen::default() };
    let shown = pane.shown(cx.world);
    let Some((opened, task)) = shown else {
        let block = widgets::panel("Items", true, theme);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        frame.render_widget(Span::styled(" reading …", theme.dim), Rect { height: 1.min(inner.height), ..inner });
        return;
    };
    let listed = pane.listed(opened, &task);
    let higher = opened.whole.report.tasks.iter().find(|t| t.name == task).is_none_or(|t| t.higher_is_better);
    if list.height > 2 {
        let title = format!("{} on {} · {} items", visible(&task, false), visible(&opened.whole.name, false), listed.len());
        let title = widgets::fit(&title, usize::from(list.width).saturating_sub(6)).into_owned();
        let block = widgets::panel(&title, !pane.in_side, theme);
        let inner = block.inner(list);
        frame.render_widget(block, list);
        let rows = usize::from(inner.height.saturating_sub(1));
        (seen.main, seen.rows, seen.height) = (Rect { height: rows as u16, ..inner }, rows, rows);
        list_of(pane, frame, inner, rows, &listed, higher, theme);
        foot(pane, frame, Rect { y: inner.bottom().saturating_sub(1), height: 1, ..inner }, opened, &task, theme);
    }
    if side.height > 2 {
        let title = listed.get(pane.item).map_or("Item".into(), |l| format!("Item {}", visible(&l.item.id, false)));
        let title = widgets::fit(&title, usize::from(side.width).saturating_sub(6)).into_owned();
        let block = widgets::panel(&title, pane.in_side, theme);
        let inner = block.inner(side);
        frame.render_widget(block, side);
        if let Some(one) = listed.get(pane.item) {
            let lines = item::lines(one, theme, usize::from(inner.width).saturating_sub(1));
            (seen.lines, seen.height) = (lines.len(), usize::from(inner.height));
            let from = pane.scroll.min(lines.len().saturating_sub(usize::from(inner.height)));
            for (y, line) in (inner.y..inner.bottom()).zip(lines.into_iter().skip(from)) {
                frame.render_widget(line, Rect { y, height: 1, ..inner });
            }
        }
    }
    pane.seen.set(seen);
}

fn list_of(pane: &Eval, frame: &mut Frame, inner: Rect, rows: usize, listed: &[super::items::Listed], higher: bool, theme: &Theme) {
    let first = widgets::window(pane.item, listed.len(), rows);
    if listed.is_empty() {
        frame.render_widget(Span::styled(" no item fits", theme.dim), Rect { height: 1.min(inner.height), ..inner });
    }
    for (at, y) in (first..listed.len()).zip(inner.y..inner.y + rows as u16) {
        let one = &listed[at];
        let chosen = at == pane.item;
        let mark = one.mark(higher);
        let style = match mark {
            "✓" => theme.good,
            "✗" | "!" => theme.error,
            "?" | "…" => theme.warning,
            _ => theme.text,
        };
        let base = match (one.flipped(), one.base.and_then(|b| b.score)) {
            (true, Some(b)) if higher && (b == 0.0 || b >= 1.0) => {
                if b >= 1.0 {
                    "✓→"
                } else {
                    "✗→"
                }
            }
            (true, Some(_)) => "≠ ",
            _ => "  ",
        };
        let hand = if one.hand.is_some() { "✎" } else { " " };
        let score = match one.item.score {
            Some(s) if !higher || (s > 0.0 && s < 1.0) => format!("{} ", number(s)),
            _ => String::new(),
        };
        let text = if one.item.prompt.is_empty() { one.item.expected.clone() } else { one.item.prompt.clone() };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let used = 7 + score.width();
        let line = Line::from(vec![
            Span::styled(if chosen { "▸" } else { " " }, theme.accent),
            Span::styled(base, theme.warning),
            Span::styled(mark, style),
            Span::styled(hand, theme.accent),
            Span::styled(score, theme.dim),
            Span::styled(widgets::fit(&visible(&text, false), usize::from(inner.width).saturating_sub(used)).into_owned(), theme.text),
        ]);
        let place = Rect { y, height: 1, ..inner };
        frame.render_widget(line, place);
        if chosen {
            frame.buffer_mut().set_style(place, theme.selected);
        }
    }
}

/// What is listed, and what people said by hand.
fn foot(pane: &Eval, frame: &mut Frame, place: Rect, opened: &crate::ui::world::evals::Opened, task: &str, theme: &Theme) {
    let mut parts = Vec::new();
    let only = ONLY.iter().find(|(f, _)| *f == pane.filter && !f.is_empty()).map(|(_, name)| (*name).to_owned());
    if let Some(what) = only.or_else(|| (!pane.filter.is_empty()).then(|| format!("filter {}", visible(&pane.filter, false)))) {
        parts.push(what);
    }
    if let Some(base) = &opened.base {
        parts.push(format!("flipped against {} first", visible(&base.name, false)));
    }
    let by_hand: Vec<(f64, f64)> = opened
        .whole
        .items
        .iter()
        .filter(|i| i.task == task && i.status.counts())
        .filter_map(|i| Some((i.score?, super::items::by_hand(&opened.whole, task, &i.id).0)))
        .map(|(score, hand)| (hand.unwrap_or(score), f64::from(hand.is_some())))
        .collect();
    let hands = by_hand.iter().map(|(_, h)| h).sum::<f64>();
    if hands > 0.0 {
        let with = by_hand.iter().map(|(s, _)| s).sum::<f64>() / by_hand.len() as f64;
        // Before the rest, which may be cut off.
        parts.insert(0, format!("✎ {hands:.0} by hand: {} with them", number(with)));
    }
    let text = format!(" {}", parts.join(" · "));
    frame.render_widget(Span::styled(widgets::fit(&text, usize::from(place.width)).into_owned(), theme.dim), place);
}
