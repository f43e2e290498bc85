//! The panel of words: samples as it learns, notes, recipe, the difference of two recipes; and the banner of a failure.
//! Deliberately not here: the anatomy of a step (`step`).

use std::collections::BTreeMap;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{Part, TABS, Tab, Train, step};
use crate::report::{Followed, Level};
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets;
use crate::ui::world::{Ended, Run};

/// Samples older than this many are on disk, and not on the screen.
const SAMPLES: usize = 200;

impl Train {
    pub(super) fn draw_panel(&self, frame: &mut Frame, area: Rect, cx: &Context, tab: Tab) {
        let theme = cx.theme;
        let focused = self.focus == Part::Panel && tab == self.tab;
        let mut block = widgets::panel(tab.title(), focused, theme);
        if focused && area.width > 60 {
            let names = TABS.map(|t| Span::styled(format!(" {} ", t.title()), if t == tab { theme.accent } else { theme.dim }));
            block = block.title(Line::from(names.to_vec()).right_aligned());
        }
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let Some(run) = self.run(cx.world) else { return };
        if inner.is_empty() {
            return;
        }
        let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
        let width = inner.width as usize;
        let lines = match tab {
            Tab::Step => return step::draw(run, frame, inner, theme),
            Tab::Samples => samples(run, width, theme),
            Tab::Notes => notes(run, width, theme),
            Tab::Recipe => recipe(run, theme),
            Tab::Difference => self.difference(cx, width),
        };
        // Scrolling ends where the last line is seen.
        let scroll = if tab == self.tab { self.scroll.min(lines.len().saturating_sub(inner.height as usize)) } else { 0 };
        let seen: Vec<Line> = lines.into_iter().skip(scroll).take(inner.height as usize).collect();
        frame.render_widget(Paragraph::new(seen), inner);
    }

    fn difference(&self, cx: &Context, width: usize) -> Vec<Line<'static>> {
        let theme = cx.theme;
        let runs = self.shown(cx.world);
        let [a, b, ..] = runs.as_slice() else {
            return vec![Line::styled("Space lays another run under this one; then their recipes are compared here.", theme.dim)];
        };
        let (left, right) = (flat(&a.recipe), flat(&b.recipe));
        let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        let column = (width.saturating_sub(26) / 2).max(8);
        let cell = |text: &str| widgets::pad(&visible(text, false), column);
        let mut lines = vec![Line::from(vec![
            Span::styled(widgets::pad("", 24), theme.dim),
            Span::styled(cell(&a.name), theme.title),
            Span::styled(cell(&b.name), theme.title),
        ])];
        for key in keys {
            let value = |side: &BTreeMap<String, String>| side.get(key).cloned().unwrap_or_else(|| "absent".into());
            let (l, r) = (value(&left), value(&right));
            if l != r {
                lines.push(Line::from(vec![
                    Span::styled(widgets::pad(&visible(key, false), 24), theme.dim),
                    Span::styled(cell(&l), theme.accent),
                    Span::styled(cell(&r), theme.warning),
                ]));
            }
        }
        if lines.len() == 1 {
            lines.push(Line::styled("the recipes are the same", theme.dim));
        }
        lines
    }
}

/// A recipe's keys with their sections.
fn flat(text: &str) -> BTreeMap<String, String> {
    fn walk(prefix: &str, table: &toml::Table, out: &mut BTreeMap<String, String>) {
        for (key, value) in table {
            let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                toml::Value::Table(inner) => walk(&name, inner, out),
                other => drop(out.insert(name, other.to_string())),
            }
        }
    }
    let mut out = BTreeMap::new();
    walk("", &text.parse().unwrap_or_default(), &mut out);
    out
}

/// Newest first, each with its step.
fn samples(run: &Run, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    if run.samples.is_empty() {
        return vec![Line::styled("At each evaluation the model writes a little; it appears here.", theme.dim)];
    }
    let mut lines = Vec::new();
    for (step, prompt, text) in run.samples.iter().rev().take(SAMPLES) {
        lines.push(Line::styled(format!("step {}", widgets::grouped(*step)), theme.accent));
        let prompt = visible(prompt, true).into_owned();
        let whole = format!("{prompt}{}", visible(text, true));
        let mut left = prompt.chars().filter(|c| !c.is_whitespace()).count();
        for line in widgets::wrap(whole.trim_end(), width) {
            // The prompt is set apart from what the model added; blanks may have gone at the ends of lines.
            let mut given = 0;
            for (at, c) in line.char_indices() {
                if !c.is_whitespace() {
                    if left == 0 {
                        break;
                    }
                    left -= 1;
                }
                given = at + c.len_utf8();
            }
            let (given, own) = line.split_at(given);
            lines.push(Line::from(vec![Span::styled(given.to_string(), theme.dim), Span::styled(own.to_string(), theme.text)]));
        }
        lines.push(Line::default());
    }
    lines
}

fn notes(run: &Run, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for note in run.notes.iter().rev().take(200) {
        let (mark, style) = match note.level {
            Level::Info => ("·", theme.text),
            Level::Warning => ("!", theme.warning),
            Level::Error => ("✗", theme.error),
        };
        let head = format!("{} {mark} ", widgets::clock(note.at_ms));
        for (i, text) in widgets::wrap(&visible(&note.text, false), width.saturating_sub(11)).into_iter().enumerate() {
            let head = if i == 0 { head.clone() } else { " ".repeat(11) };
            lines.push(Line::from(vec![Span::styled(head, theme.dim), Span::styled(text, style)]));
        }
    }
    for (step, path) in run.checkpoints.iter().rev().take(5) {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        lines.push(Line::from(vec![
            Span::styled(format!("checkpoint {} ", widgets::grouped(*step)), theme.good),
            Span::styled(visible(&name, false).into_owned(), theme.dim),
        ]));
    }
    for (name, value) in run.facts.iter().filter(|(name, _)| *name != Followed::FACT) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        lines.push(Line::from(vec![
            Span::styled(widgets::pad(&visible(name, false), 18), theme.dim),
            Span::styled(visible(&value, false).into_owned(), theme.text),
        ]));
    }
    if lines.is_empty() {
        lines.push(Line::styled("Nothing to note.", theme.dim));
    }
    lines
}

fn recipe(run: &Run, theme: &Theme) -> Vec<Line<'static>> {
    if run.recipe.is_empty() {
        return vec![Line::styled("Its recipe is not read yet.", theme.dim)];
    }
    let style = |line: &str| match line.trim_start().chars().next() {
        Some('[') => theme.accent,
        Some('#') => theme.dim,
        _ => theme.text,
    };
    run.recipe
        .lines()
        .filter(|line| !line.starts_with("# "))
        .map(|line| Line::styled(visible(line, false).into_owned(), style(line)))
        .collect()
}

/// What went wrong, above the chart: the step, the last good checkpoint, what usually causes it. Returns what is
/// left of `area`.
pub(super) fn draw_banner(run: Option<&Run>, frame: &mut Frame, area: Rect, theme: &Theme) -> Rect {
    let Some(run) = run else { return area };
    let Some(Ended::Failed { cause, hint }) = &run.ended else { return area };
    if area.height < 9 || area.width < 30 {
        return area;
    }
    let width = area.width as usize - 4;
    let mut lines: Vec<Line> = Vec::new();
    for (i, text) in widgets::wrap(&visible(cause, false), width).into_iter().take(3).enumerate() {
        let mark = if i == 0 { " ✗ " } else { "   " };
        lines.push(Line::from(vec![Span::styled(mark, theme.error), Span::styled(text, theme.error)]));
    }
    if !hint.is_empty() {
        let texts = widgets::wrap(&visible(hint, false), width);
        lines.extend(texts.into_iter().take(2).map(|text| Line::styled(format!("   {text}"), theme.warning)));
    }
    let last = run
        .newest_checkpoint()
        .map_or("no checkpoint was saved".to_string(), |(step, _)| format!("r resumes from step {}", widgets::grouped(*step)));
    lines.push(Line::styled(format!("   {last} · f starts anew with keys changed"), theme.text));
    let height = lines.len() as u16;
    frame.render_widget(Paragraph::new(lines), Rect { height, ..area });
    Rect { y: area.y + height, height: area.height - height, ..area }
}
