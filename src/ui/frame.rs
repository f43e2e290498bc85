//! The frame: top line, body, bottom lines, and what lies above. Draws the shell's state; changes only what the mouse needs.
//! Deliberately not here: what keys do (`shell`).

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::help::Content;
use super::keymap::GLOBAL;
use super::pane::Context;
use super::shell::{Asking, Overlay, Question, Shell};
use super::theme::Theme;
use super::widgets;
use crate::report::JobState;
use crate::text::visible;

/// The smallest terminal that is drawn on.
pub const SMALLEST: (u16, u16) = (60, 16);
/// Narrower than this the header folds and the footer takes two lines.
const FOLDED: u16 = 100;
/// Columns that the keys of the footer have at least, whatever else is told beside them.
const KEYS_ROOM: usize = 46;

const BRAND: &str = " weightroom";
/// Columns below which a project's name says nothing.
const SHORTEST_NAME: usize = 6;

impl Shell {
    pub fn draw(&mut self, frame: &mut Frame, now_ms: u64) {
        let area = frame.area();
        self.tick(now_ms);
        frame.buffer_mut().set_style(area, self.theme.text);
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            too_small(frame, area, &self.theme);
            return;
        }
        let folded = area.width < FOLDED;
        let footer = if folded { 2 } else { 1 };
        let header = Rect { height: 1, ..area };
        self.body = Rect { y: area.y + 1, height: area.height - 1 - footer, ..area };
        let foot = Rect { y: area.bottom() - footer, height: footer, ..area };
        self.draw_header(frame, header, folded);
        let cx = Context { world: &self.world, theme: &self.theme, now_ms, read: None };
        self.panes[self.current].draw(frame, self.body, &cx);
        self.draw_footer(frame, foot);
        self.draw_overlay(frame, area);
        if self.theme.ascii {
            widgets::to_ascii(frame.buffer_mut());
        }
    }

    fn draw_header(&mut self, frame: &mut Frame, area: Rect, folded: bool) {
        let theme = &self.theme;
        self.tabs.clear();
        let safety = match self.world.outlives || self.open_jobs().is_empty() {
            _ if self.readonly => "read-only ",
            true => "safe to close ",
            false => "stops with this terminal ",
        };
        let gap = if folded { 2 } else { 4 };
        let titles: usize = self.panes.iter().map(|pane| pane.title().width()).sum();
        // Where many tabs meet a narrow terminal they stand closer together: one blank between two of them.
        let tight = gap + titles + 2 * self.panes.len() + safety.width() > usize::from(area.width);
        let (gap, beside) = if tight { (0, 1) } else { (gap, 2) };
        let panes = titles + beside * self.panes.len() + usize::from(tight);
        // What may be done with this terminal is always said; the device and the project's name give way to it.
        let room = usize::from(area.width).saturating_sub(BRAND.width() + gap + panes + 1 + safety.width());
        let project = self.world.project.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let project = widgets::fit(&visible(&project, false), 24.min(room.saturating_sub(3))).into_owned();
        let named = !project.is_empty() && room >= SHORTEST_NAME + 3;
        let mut left = Vec::new();
        if usize::from(area.width) >= BRAND.width() + gap + panes + safety.width() {
            left.push(Span::styled(BRAND, theme.title));
        }
        if named {
            left.extend([Span::styled(" · ", theme.dim), Span::styled(project.clone(), theme.text)]);
        }
        let mut right = Vec::new();
        if !folded && !self.world.device.is_empty() {
            let threads = self.world.threads;
            let device = format!("{} {} thread{}", visible(&self.world.device, false), threads, if threads == 1 { "" } else { "s" });
            if device.width() + 3 + if named { project.width() + 3 } else { 0 } <= room {
                right.extend([Span::styled(device, theme.dim), Span::styled(" · ", theme.border)]);
            }
        }
        right.push(Span::styled(safety, theme.dim));
        let mut x = area.x + (width(&left) + gap) as u16;
        let mut tabs = Vec::new();
        for (index, pane) in self.panes.iter().enumerate() {
            let (open, close) = match index == self.current {
                true => ("[", "]"),
                false => (" ", if tight { "" } else { " " }),
            };
            let cell = (pane.title().width() + open.len() + close.len()) as u16;
            self.tabs.push((Rect { x, width: cell, ..area }, index));
            let style = if index == self.current { theme.accent.patch(theme.title) } else { theme.dim };
            tabs.push(Span::styled(open, style));
            tabs.extend(self.marked(pane.id(), pane.title(), style));
            tabs.push(Span::styled(close, style));
            x += cell;
        }
        left.push(Span::raw(" ".repeat(gap)));
        left.extend(tabs);
        frame.render_widget(Line::from(left), area);
        let right_width = (width(&right) as u16).min(area.width);
        frame.render_widget(Line::from(right), Rect { x: area.right() - right_width, width: right_width, ..area });
    }

    /// A tab's title with the letter that leads to it marked.
    fn marked(&self, id: &str, title: &'static str, style: Style) -> Vec<Span<'static>> {
        let action = format!("go.{id}");
        let letter = self.keymap.sequences(&action).first().and_then(|s| s.last()).map(|c| c.show(true)).unwrap_or_default();
        let at = title.char_indices().find(|(_, c)| c.to_lowercase().to_string() == letter.to_lowercase());
        let Some((at, c)) = at.filter(|_| letter.len() == 1) else { return vec![Span::styled(title, style)] };
        let end = at + c.len_utf8();
        let mark = style.patch(self.theme.key).add_modifier(ratatui::style::Modifier::UNDERLINED);
        vec![Span::styled(&title[..at], style), Span::styled(&title[at..end], mark), Span::styled(&title[end..], style)]
    }

    fn draw_footer(&self, frame: &mut Frame, area: Rect) {
        let theme = &self.theme;
        let (first, last) = (Rect { height: 1, ..area }, Rect { y: area.bottom() - 1, height: 1, ..area });
        let two = area.height > 1;
        let mut left = if self.leaving {
            let names: Vec<String> = self.open_jobs().iter().map(|j| j.run.clone().unwrap_or_else(|| j.title.clone())).collect();
            let text = format!("saving {} … Ctrl-C leaves at once, with the last checkpoint", names.join(", "));
            vec![Span::styled(" ● ", theme.warning), Span::styled(visible(&text, false).into_owned(), theme.text)]
        } else {
            self.job_line()
        };
        let room = if two || left.is_empty() { usize::from(area.width) } else { usize::from(area.width).saturating_sub(width(&left) + 3) };
        let keys = self.footer_keys(room.max(KEYS_ROOM));
        let keys_width = width(&keys);
        let left_area = if two { first } else { Rect { width: area.width.saturating_sub(keys_width as u16 + 1), ..first } };
        if let Some((text, _)) = self.toast.as_ref().filter(|_| !self.leaving) {
            // A line for a person takes the place of the running job's, never that of the keys; a long one lies above both.
            if text.width() + 3 <= usize::from(left_area.width) {
                left = vec![Span::styled(" › ", theme.accent), Span::styled(text.clone(), theme.text)];
            } else {
                self.draw_long_toast(frame, area, text);
            }
        }
        frame.render_widget(Line::from(keys), Rect { x: area.right().saturating_sub(keys_width as u16), width: keys_width as u16, ..last });
        frame.render_widget(Line::from(left), left_area);
    }

    /// A line for a person that is wider than its place: in full, on the rows above the footer.
    fn draw_long_toast(&self, frame: &mut Frame, footer: Rect, text: &str) {
        let theme = &self.theme;
        let lines = widgets::wrap(text, usize::from(footer.width.saturating_sub(4)));
        let height = (lines.len() as u16).min(footer.y.saturating_sub(2));
        let place = Rect { y: footer.y - height, height, ..footer };
        widgets::blank(frame, place, theme);
        for (i, (line, y)) in lines.into_iter().zip(place.y..place.bottom()).enumerate() {
            let mark = Span::styled(if i == 0 { " › " } else { "   " }, theme.accent);
            frame.render_widget(Line::from(vec![mark, Span::styled(line, theme.title)]), Rect { y, height: 1, ..place });
        }
    }

    /// The running job, wherever one is: ` ● demo  step 412/2000  loss 2.104  21.3k tok/s  eta 1m12s`.
    fn job_line(&self) -> Vec<Span<'static>> {
        let theme = &self.theme;
        let Some(job) = self.world.running() else { return Vec::new() };
        let (mark, style) = match job.state {
            JobState::Running => ("●", theme.good),
            JobState::Paused => ("‖", theme.warning),
            JobState::Waiting => ("○", theme.dim),
        };
        let name = visible(job.run.as_ref().unwrap_or(&job.title), false).into_owned();
        let mut spans = vec![Span::styled(format!(" {mark} "), style), Span::styled(widgets::fit(&name, 24).into_owned(), theme.title)];
        let mut part = |text: String| spans.push(Span::styled(format!("  {text}"), theme.text));
        match job.state {
            JobState::Paused => part("paused".into()),
            JobState::Waiting => part("waiting".into()),
            JobState::Running => {}
        }
        let run = job.run.as_ref().and_then(|name| self.world.runs.get(name));
        match run {
            Some(run) if run.step > 0 => {
                part(match run.steps {
                    Some(steps) => format!("step {}/{steps}", run.step),
                    None => format!("step {}", run.step),
                });
                if let Some(loss) = run.last("train/loss") {
                    part(format!("loss {loss:.3}"));
                }
                if let (Some(speed), JobState::Running) = (run.last("tokens_per_s"), job.state) {
                    part(format!("{} tok/s", widgets::count(speed)));
                }
                if let (Some(eta), JobState::Running) = (run.eta_ms(), job.state) {
                    part(format!("eta {}", widgets::duration(eta)));
                }
            }
            _ => {
                if let Some(p) = &job.progress {
                    let done = match p.total {
                        Some(total) => format!("{} {}/{} {}", p.what, widgets::count(p.done as f64), widgets::count(total as f64), p.unit),
                        None => format!("{} {} {}", p.what, widgets::count(p.done as f64), p.unit),
                    };
                    part(visible(&done, false).into_owned());
                }
            }
        }
        spans
    }

    /// Keys that do something here and now, as many as fit; help and the palette always.
    fn footer_keys(&self, room: usize) -> Vec<Span<'static>> {
        let show = |action: &str, label: &'static str| -> Option<Vec<Span<'static>>> {
            let keys = self.keymap.show(action, self.theme.ascii);
            (!keys.is_empty())
                .then(|| vec![Span::styled(keys, self.theme.key), Span::raw(" "), Span::styled(label, self.theme.dim), Span::raw("  ")])
        };
        let pane = &self.panes[self.current];
        let capturing = pane.captures_text();
        let fixed: Vec<Span> = GLOBAL.iter().filter(|b| b.footer && !capturing).filter_map(|b| show(b.action, b.label)).flatten().collect();
        let mut left = room.saturating_sub(width(&fixed));
        let mut spans = Vec::new();
        for item in pane.hints(&self.world).into_iter().filter_map(|(action, label)| show(action, label)) {
            let w = width(&item);
            if w > left {
                break;
            }
            left -= w;
            spans.extend(item);
        }
        spans.extend(fixed);
        spans
    }

    fn draw_overlay(&mut self, frame: &mut Frame, area: Rect) {
        let content = |shell: &Self| {
            let pane = &shell.panes[shell.current];
            (pane.title(), pane.explain(&shell.world), pane.bindings())
        };
        let theme = self.theme.clone();
        let quit = self.quit_question();
        let page = matches!(self.overlay, Some(Overlay::Help(_))).then(|| content(self));
        let quit_keys = self.quit_keys();
        if let Some(Overlay::Question(Question { text, kind: Asking::Quit, .. })) = &mut self.overlay {
            // What runs may have ended since it was asked.
            *text = quit;
        }
        match (&mut self.overlay, page) {
            (Some(Overlay::Help(help)), Some((title, explain, own))) => {
                help.draw(frame, area, &Content { title, explain, own, global: GLOBAL, keymap: &self.keymap }, &theme);
            }
            (Some(Overlay::Palette { palette, .. }), _) => palette.draw(frame, area, &theme),
            (Some(Overlay::Question(question)), _) => {
                draw_question(frame, area, question, quit_keys, &theme);
            }
            _ => self.draw_next_keys(frame, area),
        }
    }

    /// What may follow the keys pressed so far.
    fn draw_next_keys(&self, frame: &mut Frame, area: Rect) {
        if self.next.is_empty() {
            return;
        }
        let theme = &self.theme;
        let mut rows: Vec<(String, &str)> = Vec::new();
        for (chord, binding) in &self.next {
            // A sequence for text fields repeats the plain one; one line is enough.
            if !rows.iter().any(|(k, l)| *k == chord.show(theme.ascii) && *l == binding.label) {
                rows.push((chord.show(theme.ascii), binding.label));
            }
        }
        let inside = rows.iter().map(|(k, l)| k.width() + l.width() + 4).max().unwrap_or(0) as u16;
        let (w, h) = ((inside + 3).min(area.width), (rows.len() as u16 + 2).min(area.height.saturating_sub(3)));
        let place = Rect { x: area.right() - w, y: area.bottom().saturating_sub(h + 2), width: w, height: h };
        widgets::blank(frame, place, theme);
        let block = widgets::panel("", true, theme);
        let inner = block.inner(place);
        frame.render_widget(block, place);
        for ((key, label), y) in rows.iter().zip(inner.y..inner.bottom()) {
            let line = Line::from(vec![Span::styled(format!(" {key}"), theme.key), Span::styled(format!("  {label}"), theme.text)]);
            frame.render_widget(line, Rect { y, height: 1, ..inner });
        }
    }
}

fn draw_question(frame: &mut Frame, area: Rect, question: &Question, quit_keys: &'static [(&'static str, &'static str)], theme: &Theme) {
    let key = |k: &'static str, what: &'static str| vec![Span::styled(k, theme.key), Span::styled(what, theme.text)];
    let offered = match &question.kind {
        Asking::Confirm(_) => &[("Enter", " yes")],
        Asking::Quit => quit_keys,
    };
    let not = if matches!(question.kind, Asking::Quit) { " stays" } else { " no" };
    let mut keys = Vec::new();
    for (name, what) in offered {
        keys.extend(key(name, what));
        keys.push(Span::styled("  ·  ", theme.dim));
    }
    keys.extend(key("Esc", not));
    let lines = widgets::wrap(&visible(&question.text, true), usize::from(area.width).clamp(12, 68) - 8);
    let inside = lines.iter().map(|l| l.width()).max().unwrap_or(0).max(width(&keys));
    let place = widgets::centered(area, inside as u16 + 6, lines.len() as u16 + 6);
    widgets::blank(frame, place, theme);
    let block = widgets::panel("", true, theme).border_style(theme.warning);
    let inner = block.inner(place);
    frame.render_widget(block, place);
    let mut all: Vec<Line> = vec![Line::default()];
    all.extend(lines.into_iter().map(|l| Line::styled(format!("  {l}"), theme.title)));
    all.push(Line::default());
    let mut foot = vec![Span::raw("  ")];
    foot.extend(keys);
    all.push(Line::from(foot));
    for (line, y) in all.into_iter().zip(inner.y..inner.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..inner });
    }
}

fn too_small(frame: &mut Frame, area: Rect, theme: &Theme) {
    let text = format!(
        "weightroom needs {}×{}; this terminal has {}×{}. Make it larger, or q quits.",
        SMALLEST.0, SMALLEST.1, area.width, area.height
    );
    for (line, y) in widgets::wrap(&text, usize::from(area.width)).into_iter().zip(area.y..area.bottom()) {
        frame.render_widget(Line::styled(line, theme.text), Rect { y, height: 1, ..area });
    }
    if theme.ascii {
        widgets::to_ascii(frame.buffer_mut());
    }
}

fn width(spans: &[Span]) -> usize {
    spans.iter().map(Span::width).sum()
}
