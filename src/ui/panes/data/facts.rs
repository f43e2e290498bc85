//! The page of facts: figures, findings that lead to their rows, lengths as bars that read without colour.
//! Deliberately not here: how facts are taken (`data::facts`).

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{Data, side};
use crate::data::facts::{Facts, Found};
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, grouped};

/// The findings that are listed: those that were found, and those that somebody wants to know are not there.
pub(super) fn findings(facts: &Facts) -> Vec<(&'static str, &Found)> {
    const ALWAYS: &[&str] = &["broken rows", "empty rows", "exact duplicates", "near duplicates"];
    facts.findings().into_iter().filter(|(name, found)| found.rows > 0 || ALWAYS.contains(name)).collect()
}

impl Data {
    pub(super) fn draw_facts(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let theme = cx.theme;
        let width = usize::from(area.width);
        let mut lines: Vec<Line> = Vec::new();
        let mut marked = None;
        for (ticket, what) in [(self.inspecting, "reading every row"), (self.cleaning, "writing a clean copy")] {
            if let Some(ticket) = ticket {
                lines.extend(working(ticket, what, cx));
            }
        }
        if let Some(done) = &self.cleaned {
            lines.extend(side::text(&format!("✓ clean copy: {done}"), width, theme.good));
            for (rule, found) in &done.dropped {
                for place in found.examples.iter().take(2) {
                    let why = format!("  {rule}: row {}, line {}: {}", grouped(place.row + 1), place.line, place.why);
                    lines.push(Line::styled(widgets::fit(&visible(&why, false), width).into_owned(), theme.dim));
                }
            }
            lines.push(Line::default());
        }
        match &self.facts {
            None if lines.is_empty() => lines.push(Line::styled("No facts yet: f reads every row and takes them.", theme.dim)),
            None => {}
            Some(facts) => {
                marked = Some(lines.len());
                let (more, at) = page(facts, self.finding, self.in_side, width, theme);
                marked = marked.map(|from| from + at);
                lines.extend(more);
            }
        }
        let height = usize::from(area.height);
        // The selected finding is seen, and what stands below it as far as there is room.
        let first = marked.map_or(0, |at| (at + 3).saturating_sub(height));
        let last = self.facts.as_ref().map_or(0, |f| findings(f).len()).saturating_sub(1);
        let first = if self.in_side && self.finding == last { lines.len().saturating_sub(height).min(marked.unwrap_or(0)) } else { first };
        for (line, y) in lines.into_iter().skip(first).zip(area.y..area.bottom()) {
            frame.render_widget(line, Rect { y, height: 1, ..area });
        }
    }
}

fn working(ticket: u64, what: &str, cx: &Context) -> Vec<Line<'static>> {
    let theme = cx.theme;
    if let Some(why) = cx.world.refused.get(&ticket) {
        return vec![Line::styled(visible(why, false).into_owned(), theme.error)];
    }
    let job = cx.world.tickets.get(&ticket).and_then(|id| cx.world.jobs.get(id));
    let progress = job.and_then(|j| j.progress.as_ref()).map(|p| match p.total.filter(|t| *t > 0) {
        Some(total) => format!(": {} {:.0} %", p.what, p.done as f64 * 100.0 / total as f64),
        None => format!(": {} {}", p.what, widgets::count(p.done as f64)),
    });
    vec![Line::styled(format!("● {what}{}  (x stops it)", progress.unwrap_or_default()), theme.good), Line::default()]
}

/// All lines, and where the selected finding stands.
fn page(facts: &Facts, selected: usize, focused: bool, width: usize, theme: &Theme) -> (Vec<Line<'static>>, usize) {
    let mut lines = Vec::new();
    let mut fact = |name: &str, what: String| {
        let room = width.saturating_sub(12);
        for (i, part) in widgets::wrap(&visible(&what, false), room).into_iter().enumerate() {
            let head = widgets::pad(if i == 0 { name } else { "" }, 12);
            lines.push(Line::from(vec![Span::styled(head, theme.dim), Span::styled(part, theme.text)]));
        }
    };
    let stopped = if facts.stopped { "; stopped before the end" } else { "" };
    fact("rows", format!("{}, of which {} can be used{stopped}", grouped(facts.rows), grouped(facts.good())));
    let tokens = match (facts.tokens, &facts.tokenizer) {
        (Some(tokens), Some(name)) => format!(", {} tokens of {name}", grouped(tokens)),
        _ => String::new(),
    };
    fact(
        "text",
        format!("{}, {} characters, {} words{tokens}", widgets::bytes(facts.bytes), grouped(facts.characters), grouped(facts.words)),
    );
    lines.push(Line::default());
    let mut at = 0;
    for (i, (name, found)) in findings(facts).into_iter().enumerate() {
        let chosen = i == selected && focused;
        if i == selected {
            at = lines.len();
        }
        let compared = facts.duplicates.compared || !name.ends_with("duplicates");
        let (mark, style) = match (compared, found.rows) {
            (false, _) => ("?", theme.dim),
            (true, 0) => ("✓", theme.good),
            _ if matches!(name, "broken rows" | "rows of another shape" | "not UTF-8") => ("✗", theme.error),
            _ => ("!", theme.warning),
        };
        let first = found.examples.first().map(|p| format!("row {}: {}", grouped(p.row + 1), p.why)).unwrap_or_default();
        let head = format!("{mark} {} {name}", if compared { grouped(found.rows) } else { "not compared:".into() });
        let room = width.saturating_sub(head.chars().count() + 4);
        let mut line = Line::from(vec![
            Span::styled(if chosen { "▸" } else { " " }, theme.accent),
            Span::styled(head, style),
            Span::styled(format!("  {}", widgets::fit(&visible(&first, false), room)), theme.dim),
        ]);
        if chosen {
            line = line.style(theme.selected);
        }
        lines.push(line);
    }
    lines.push(Line::default());
    lines.extend(lengths(facts, width, theme));
    lines.extend(listed(facts, width, theme));
    (lines, at)
}

/// Lengths as bars: each has its count beside it.
fn lengths(facts: &Facts, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let lengths = &facts.lengths;
    if lengths.histogram.is_empty() {
        return Vec::new();
    }
    let of = |p: f64| lengths.percentiles.iter().find(|(q, _)| *q == p).map_or(0, |(_, n)| *n);
    let head = format!(
        "length in {}: least {} · median {} · 95 % {} · most {} · mean {:.0}",
        lengths.unit,
        grouped(of(0.0)),
        grouped(of(50.0)),
        grouped(of(95.0)),
        grouped(of(100.0)),
        lengths.mean
    );
    let mut lines = side::text(&head, width, theme.title);
    let most = lengths.histogram.iter().map(|h| h.1).max().unwrap_or(1).max(1);
    let first = lengths.histogram.iter().position(|h| h.1 > 0).unwrap_or(0);
    let bars = &lengths.histogram[first..];
    for (i, (from, rows)) in bars.iter().enumerate() {
        let room = width.saturating_sub(24).max(4);
        let eighths = (*rows as f64 / most as f64 * room as f64 * 8.0).ceil() as usize;
        let mut bar = "█".repeat(eighths / 8);
        if !eighths.is_multiple_of(8) {
            bar.extend(char::from_u32(0x2590 - (eighths % 8) as u32));
        }
        let next = bars.get(i + 1).map_or(u64::MAX, |n| n.0);
        let here = lengths.context.is_some_and(|c| (*from..next).contains(&c));
        lines.push(Line::from(vec![
            Span::styled(format!("{:>9} ", grouped(*from)), theme.dim),
            Span::styled(if here { "┤" } else { "│" }, theme.mark),
            Span::styled(bar, theme.accent),
            Span::styled(format!(" {}{}", grouped(*rows), if here { " ◂ context" } else { "" }), theme.text),
        ]));
    }
    if let Some(context) = lengths.context {
        let share = lengths.cut_rows as f64 * 100.0 / facts.good().max(1) as f64;
        let text = format!("{} rows ({share:.1} %) are longer than the context of {} tokens", grouped(lengths.cut_rows), grouped(context));
        lines.extend(side::text(&text, width, theme.text));
    }
    lines.push(Line::default());
    lines
}

fn listed(facts: &Facts, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let letters: u64 = facts.scripts.iter().map(|s| s.1).sum();
    let scripts: Vec<String> =
        facts.scripts.iter().take(5).map(|(name, n)| format!("{name} {:.1} %", *n as f64 * 100.0 / letters.max(1) as f64)).collect();
    lines.extend(side::text(&format!("scripts: {}", scripts.join(", ")), width, theme.text));
    for (name, all) in [("most frequent lines", &facts.frequent_lines), ("most frequent runs of four words", &facts.frequent_phrases)] {
        if all.is_empty() {
            continue;
        }
        lines.push(Line::styled(name, theme.title));
        for (text, n) in all.iter().take(5) {
            let line = format!("{:>9} × {}", grouped(*n), visible(text, false));
            lines.push(Line::styled(widgets::fit(&line, width).into_owned(), theme.text));
        }
    }
    let extremes = |all: &[crate::data::facts::Extreme]| {
        all.iter().take(4).map(|e| format!("row {} ({})", grouped(e.place.row + 1), grouped(e.length))).collect::<Vec<_>>().join(", ")
    };
    lines.extend(side::text(&format!("longest: {}", extremes(&facts.longest)), width, theme.text));
    lines.extend(side::text(&format!("shortest: {}", extremes(&facts.shortest)), width, theme.text));
    lines
}
