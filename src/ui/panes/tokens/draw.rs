//! Draws Tokens: the list, the text and its tokens, one tokenizer or two, and what trains.
//! Deliberately not here: the other views' lines (`vocabulary`, `words`, `about`).

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::flow::{self, Cell};
use super::words::alternate;
use super::{PARTS, Part, Seen, Side, Tokens, Wanted, about, words};
use crate::data::anatomy::Word;
use crate::text::{token, visible};
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, fit, grouped, panel};
use crate::ui::world::Job;

/// From this width on the list stands beside the view.
const BESIDE: u16 = 100;
/// From this width on two tokenizers stand beside each other.
const SIDES: u16 = 76;
const LIST: u16 = 30;

pub fn pane(pane: &Tokens, frame: &mut Frame, area: Rect, cx: &Context) {
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
        let jobs = pane.jobs(cx.world);
        for job in jobs {
            let height = progress_height(job).min(area.height / 2);
            let [rest, strip] = Layout::vertical([Constraint::Fill(1), Constraint::Length(height)]).areas(*area);
            draw_progress(job, frame, strip, cx.theme);
            *area = rest;
        }
        seen.main = *area;
        draw_main(pane, frame, *area, cx, &mut seen);
    }
    pane.seen.set(seen);
    if let Some((wanted, field)) = &pane.asking {
        draw_question(*wanted, field, frame, area, cx.theme);
    }
    if let Some(form) = &pane.form {
        form.draw(frame, area, cx.theme);
    }
}

fn draw_list(pane: &Tokens, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let block = panel("tokenizers", pane.in_list, theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let entries = pane.entries(cx.world);
    let height = usize::from(inner.height);
    let from = widgets::window(pane.at, entries.len(), height);
    for (n, listed) in entries.iter().enumerate().skip(from).take(height) {
        let line = Rect { y: inner.y + (n - from) as u16, height: 1, ..inner };
        let at = n == pane.at && pane.in_list;
        let mark = if listed.name == pane.name() {
            "●"
        } else if listed.name == pane.sides[1].name {
            "◆"
        } else {
            " "
        };
        let name = short_name(&listed.name);
        let room = usize::from(inner.width).saturating_sub(4 + listed.what.len() + 1);
        let style = if at { theme.selected } else { theme.text };
        let line_text = vec![
            Span::styled(if at { "▸" } else { " " }, theme.accent),
            Span::styled(format!("{mark} "), theme.good),
            Span::styled(widgets::pad(&name, room), style),
            Span::styled(format!(" {}", listed.what), theme.dim),
        ];
        frame.render_widget(Line::from(line_text), line);
    }
    if entries.is_empty() {
        frame.render_widget(Line::styled(" looking …", theme.dim), inner);
    }
}

/// What tells tokenizers apart: the run or directory that `tokenizer.json` lies in, or the file's name.
fn short_name(name: &str) -> String {
    let name = visible(name, false).into_owned();
    let short = name.strip_prefix("builtin:").unwrap_or(&name);
    let short = ["/tokenizer.json", "/tokenizer.model", "/vocab.json"].iter().find_map(|end| short.strip_suffix(end)).unwrap_or(short);
    short.rsplit('/').next().unwrap_or(short).to_owned()
}

fn draw_main(pane: &Tokens, frame: &mut Frame, area: Rect, cx: &Context, seen: &mut Seen) {
    let theme = cx.theme;
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let mut spans = vec![Span::raw(" ")];
    for (part, name) in PARTS {
        let (open, close, style) = if part == pane.part { ("[", "]", theme.accent.patch(theme.title)) } else { (" ", " ", theme.dim) };
        spans.push(Span::styled(format!("{open}{name}{close}"), style));
    }
    if head.width < BESIDE - LIST || pane.zoom {
        spans.push(Span::styled(format!("  {}", short_name(pane.name())), theme.text));
    }
    frame.render_widget(Line::from(spans), head);
    match pane.part {
        Part::Text | Part::Words => draw_text(pane, frame, body, cx, seen),
        Part::Vocabulary | Part::About => {
            let title = short_name(pane.name());
            let block = panel(&title, !pane.in_list, theme);
            let inner = inset(block.inner(body));
            frame.render_widget(block, body);
            let Some(explained) = cx.world.shelf.get(pane.name()) else {
                return draw_missing(pane, frame, inner, cx);
            };
            let counted = pane.counted.as_ref().filter(|c| c.tokenizer == pane.name());
            if pane.part == Part::Vocabulary {
                (seen.lines, seen.height) = pane.vocabulary.draw(frame, inner, explained, counted, theme);
            } else {
                scrolled(about::lines(explained, counted, usize::from(inner.width), theme), pane, frame, inner, seen);
            }
        }
    }
}

fn inset(area: Rect) -> Rect {
    Rect { x: area.x + 1.min(area.width), width: area.width.saturating_sub(2), ..area }
}

fn draw_missing(pane: &Tokens, frame: &mut Frame, area: Rect, cx: &Context) {
    match cx.world.shelf.open.get(pane.name()) {
        Some(Err(why)) => {
            let lines: Vec<Line> =
                widgets::wrap(&format!("✗ {}", visible(why, false)), usize::from(area.width)).into_iter().map(Line::from).collect();
            frame.render_widget(Paragraph::new(lines).style(cx.theme.error), area);
        }
        _ => frame.render_widget(Line::styled("opening …", cx.theme.dim), area),
    }
}

fn scrolled(lines: Vec<Line<'static>>, pane: &Tokens, frame: &mut Frame, area: Rect, seen: &mut Seen) {
    (seen.lines, seen.height) = (lines.len(), usize::from(area.height));
    let from = pane.scroll.min(lines.len().saturating_sub(seen.height));
    let shown: Vec<Line> = lines.into_iter().skip(from).take(seen.height).collect();
    frame.render_widget(Paragraph::new(shown), area);
}

fn draw_text(pane: &Tokens, frame: &mut Frame, area: Rect, cx: &Context, seen: &mut Seen) {
    let theme = cx.theme;
    let rows = (pane.text.lines().len() as u16).clamp(1, (area.height / 4).max(2));
    let [field, body] = Layout::vertical([Constraint::Length(rows + 2), Constraint::Fill(1)]).areas(area);
    let title = if pane.typing { "text: Esc leaves the field" } else { "text: i writes" };
    let block = panel(title, pane.typing, theme);
    let inner = inset(block.inner(field));
    frame.render_widget(block, field);
    let mut text = pane.text.clone();
    text.set_style(theme.text);
    text.set_cursor_line_style(theme.text);
    text.set_cursor_style(if pane.typing { theme.text.add_modifier(ratatui::style::Modifier::REVERSED) } else { theme.text });
    frame.render_widget(&text, inner);
    let areas: Vec<Rect> = if !pane.compares() {
        vec![body]
    } else if body.width >= SIDES {
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).split(body).to_vec()
    } else {
        Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).split(body).to_vec()
    };
    for (side, area) in pane.sides.iter().zip(areas) {
        draw_side(pane, side, frame, area, cx, seen);
    }
}

/// One tokenizer's view of the text, or of a word.
fn draw_side(pane: &Tokens, side: &Side, frame: &mut Frame, area: Rect, cx: &Context, seen: &mut Seen) {
    let theme = cx.theme;
    let mut title = short_name(&side.name);
    if let Some(cut) = &side.cut {
        let other = pane.sides.iter().find(|s| s.name != side.name).and_then(|s| s.cut.as_ref());
        let difference = other.map(|other| format!(" ({:+})", cut.pieces.len() as i64 - other.pieces.len() as i64)).unwrap_or_default();
        let per = cut.bytes as f64 / cut.pieces.len().max(1) as f64;
        title.push_str(&format!(" · {} tokens{difference} · {per:.2} bytes a token", grouped(cut.pieces.len() as u64)));
    }
    let title = fit(&title, usize::from(area.width.saturating_sub(4))).into_owned();
    let block = panel(&title, !pane.in_list && !pane.typing, theme);
    let inner = inset(block.inner(area));
    frame.render_widget(block, area);
    if let Some(why) = &side.fault {
        let lines: Vec<Line> =
            widgets::wrap(&format!("✗ {}", visible(why, false)), usize::from(inner.width)).into_iter().map(Line::from).collect();
        return frame.render_widget(Paragraph::new(lines).style(theme.error), inner);
    }
    let Some(cut) = &side.cut else {
        return frame
            .render_widget(Line::styled(if side.name.is_empty() { "looking for tokenizers …" } else { "opening …" }, theme.dim), inner);
    };
    if pane.part == Part::Words {
        let Some(explained) = cx.world.shelf.get(&side.name) else { return };
        let at = pane.word_of(cut);
        let Some(word) = cut.words.get(at) else {
            return frame.render_widget(Line::styled("no word: write something", theme.dim), inner);
        };
        let whole: String = word.end.iter().map(|id| token(explained.bytes(*id))).collect();
        let head = vec![
            Span::styled(format!("word {} of {}  ", at + 1, cut.words.len()), theme.dim),
            Span::styled(fit(&whole, usize::from(inner.width / 2)).into_owned(), theme.title),
            Span::styled(figures(word), theme.dim),
        ];
        let mut lines = vec![Line::from(head), Line::default()];
        lines.extend(words::lines(word, explained, usize::from(inner.width), theme));
        return scrolled(lines, pane, frame, inner, seen);
    }
    if cut.pieces.is_empty() {
        return frame.render_widget(Line::styled("no tokens: write something", theme.dim), inner);
    }
    let rows = flow::rows(&cut.pieces, usize::from(inner.width), pane.ids);
    let each = if pane.ids { 2 } else { 1 };
    let height = usize::from(inner.height) / each;
    (seen.lines, seen.height) = (rows.len().max(seen.lines), height);
    let from = pane.scroll.min(rows.len().saturating_sub(height));
    for (n, row) in rows.iter().skip(from).take(height).enumerate() {
        let y = inner.y + (n * each) as u16;
        draw_row(row, frame, Rect { y, height: 1, ..inner }, pane.ids, theme);
    }
}

/// How many pieces, merges and tokens.
fn figures(word: &Word) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let tokens = count(word.end.len(), "token");
    if word.steps.is_empty() {
        return format!("   {tokens}");
    }
    format!("   {}, {}, {tokens}", count(word.start.len(), "piece"), count(word.steps.len(), "merge"))
}

fn draw_row(row: &[Cell], frame: &mut Frame, line: Rect, ids: bool, theme: &Theme) {
    let mut text = Vec::new();
    let mut below = Vec::new();
    for cell in row {
        let style = if cell.special { theme.accent.patch(theme.title) } else { alternate(cell.at, theme) };
        let blanks = cell.width - unicode_width::UnicodeWidthStr::width(cell.text.as_str());
        text.push(Span::styled(cell.text.clone(), style));
        text.push(Span::styled(" ".repeat(blanks), theme.text));
        text.push(Span::styled("│", theme.border));
        below.push(Span::styled(widgets::pad(&cell.id, cell.width + 1), theme.dim));
    }
    frame.render_widget(Line::from(text), line);
    if ids {
        frame.render_widget(Line::from(below), Rect { y: line.y + 1, ..line });
    }
}

fn draw_question(wanted: Wanted, field: &widgets::field::Field, frame: &mut Frame, area: Rect, theme: &Theme) {
    let area = widgets::centered(area, 72, 5);
    widgets::blank(frame, area, theme);
    let (title, help) = match wanted {
        Wanted::Tokenizer => ("open a tokenizer", "a tokenizer.json, vocab.json, .tiktoken, .model or .gguf, or a directory with one"),
        Wanted::Data => ("count tokens in", "files, directories or globs, or sample:stories; blanks divide several"),
    };
    let block = panel(title, true, theme).title_bottom(Line::styled(" Enter · Esc ", theme.dim).right_aligned());
    let inner = inset(block.inner(area));
    frame.render_widget(block, area);
    field.draw(frame, Rect { height: 1, ..inner }, theme.text, true);
    let below = Rect { y: inner.y + 2, height: 1, ..inner };
    frame.render_widget(Line::styled(fit(help, usize::from(inner.width)).into_owned(), theme.dim), below);
}

fn newest(job: &Job) -> Vec<String> {
    let text = |v: &serde_json::Value| token(v.as_str().unwrap_or_default().as_bytes());
    let list = job.facts.get("newest").and_then(serde_json::Value::as_array).into_iter().flatten();
    list.map(|m| format!("{} + {} ({}×)", text(&m[0]), text(&m[1]), grouped(m[2].as_u64().unwrap_or(0)))).collect()
}

fn progress_height(job: &Job) -> u16 {
    if newest(job).is_empty() { 3 } else { 4 }
}

/// What trains or counts, how far it is, and the newest merges.
fn draw_progress(job: &Job, frame: &mut Frame, area: Rect, theme: &Theme) {
    let title = visible(&job.title, false).into_owned();
    let block = panel(&title, false, theme);
    let inner = inset(block.inner(area));
    frame.render_widget(block, area);
    let Some(p) = &job.progress else {
        return frame.render_widget(Line::styled("begins …", theme.dim), inner);
    };
    let share = p.total.map_or(0.0, |total| p.done as f64 / total.max(1) as f64).clamp(0.0, 1.0);
    let figures = match p.total {
        Some(total) => format!(" {} {} of {} {}", p.what, grouped(p.done), grouped(total), p.unit),
        None => format!(" {} {} {}", p.what, grouped(p.done), p.unit),
    };
    let bar = usize::from(inner.width).saturating_sub(figures.len() + 1).min(40);
    let filled = (share * bar as f64).round() as usize;
    let line = vec![
        Span::styled("█".repeat(filled), theme.accent),
        Span::styled("░".repeat(bar - filled.min(bar)), theme.faint),
        Span::styled(figures, theme.text),
    ];
    frame.render_widget(Line::from(line), Rect { height: 1, ..inner });
    let newest = newest(job);
    if inner.height > 1 && !newest.is_empty() {
        let text = format!("newest: {}", newest.join("  "));
        frame.render_widget(
            Line::styled(fit(&text, usize::from(inner.width)).into_owned(), theme.dim),
            Rect { y: inner.y + 1, height: 1, ..inner },
        );
    }
}
