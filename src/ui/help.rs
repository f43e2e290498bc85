//! The help overlay: a page that explains what is on the screen, and a page of keys made from the table.
//! Deliberately not here: the words; each pane explains itself.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::keymap::{Binding, Chord, Keymap};
use super::theme::Theme;
use super::widgets;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Help {
    pub keys_page: bool,
    pub scroll: usize,
}

/// What is shown.
pub struct Content<'a> {
    pub title: &'a str,
    pub explain: String,
    pub own: &'a [Binding],
    pub global: &'a [Binding],
    pub keymap: &'a Keymap,
}

impl Help {
    /// Whether the overlay stays open after this key.
    pub fn key(&mut self, chord: Chord) -> bool {
        let is = |names: &[&str]| names.iter().any(|n| Chord::parse(n) == Some(chord));
        if is(&["esc", "q", "?", "f1", "ctrl-c"]) {
            return false;
        }
        if is(&["tab", "shift-tab", "l", "h", "left", "right"]) {
            *self = Self { keys_page: !self.keys_page, scroll: 0 };
        } else if is(&["j", "down"]) {
            self.scroll += 1;
        } else if is(&["k", "up"]) {
            self.scroll = self.scroll.saturating_sub(1);
        } else if is(&["ctrl-d", "pagedown", "space"]) {
            self.scroll += 10;
        } else if is(&["ctrl-u", "pageup"]) {
            self.scroll = self.scroll.saturating_sub(10);
        } else if is(&["g", "home"]) {
            self.scroll = 0;
        } else if is(&["G", "end"]) {
            self.scroll = usize::MAX / 2;
        }
        true
    }

    /// Draws the overlay; keeps `scroll` within what there is.
    pub fn draw(&mut self, frame: &mut Frame, area: Rect, content: &Content, theme: &Theme) {
        let columns = usize::from(area.width.min(88).saturating_sub(6));
        let lines = if self.keys_page { keys(content, columns, theme) } else { explain(&content.explain, columns.min(78), theme) };
        let rows = u16::try_from(lines.len() + 3).unwrap_or(u16::MAX);
        let place = widgets::centered(area, 88, rows.min(area.height.saturating_sub(2)));
        widgets::blank(frame, place, theme);
        let tab = |name: &'static str, on: bool| {
            let mark = if on { "▸" } else { " " };
            Span::styled(format!("{mark}{name} "), if on { theme.accent.patch(theme.title) } else { theme.dim })
        };
        let head = Line::from(vec![
            Span::styled(format!(" {} ", content.title), theme.title),
            tab("Explain", !self.keys_page),
            tab("Keys", self.keys_page),
        ]);
        let foot = Line::styled(" Tab turns the page · j k scroll · Esc closes ", theme.dim).right_aligned();
        let block = widgets::panel("", true, theme).title(head).title_bottom(foot);
        let inner = block.inner(place);
        frame.render_widget(block, place);
        if inner.width < 8 || inner.height == 0 {
            return;
        }
        let inner = Rect { x: inner.x + 2, width: inner.width - 4, ..inner };
        let height = usize::from(inner.height);
        self.scroll = self.scroll.min(lines.len().saturating_sub(height));
        for (row, line) in lines.iter().skip(self.scroll).take(height).enumerate() {
            frame.render_widget(line, Rect { y: inner.y + row as u16, height: 1, ..inner });
        }
        if lines.len() > height {
            let more = format!(" {}–{} of {} ", self.scroll + 1, (self.scroll + height).min(lines.len()), lines.len());
            let width = more.width() as u16;
            if place.width > width + 4 {
                let at = Rect { x: place.x + 2, y: place.bottom().saturating_sub(1), width, height: 1 };
                frame.render_widget(Span::styled(more, theme.dim), at);
            }
        }
    }
}

/// Wrapped text; a line that begins with `# ` is a heading.
fn explain(text: &str, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = vec![Line::default()];
    for paragraph in crate::text::visible(text, true).split('\n') {
        match paragraph.strip_prefix("# ") {
            Some(heading) => {
                lines.extend(widgets::wrap(heading, width).into_iter().map(|l| Line::styled(l, theme.accent.patch(theme.title))))
            }
            None => lines.extend(widgets::wrap(paragraph, width).into_iter().map(|l| Line::styled(l, theme.text))),
        }
    }
    lines
}

fn keys(content: &Content, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (title, bindings) in [(content.title, content.own), ("Everywhere", content.global)] {
        if bindings.is_empty() {
            continue;
        }
        lines.push(Line::default());
        lines.push(Line::styled(title.to_string(), theme.accent.patch(theme.title)));
        let shown: Vec<(String, &Binding)> = bindings.iter().map(|b| (content.keymap.show_all(b.action, theme.ascii), b)).collect();
        let column = shown.iter().map(|(k, _)| k.width()).max().unwrap_or(0).clamp(6, 18);
        for (keys, binding) in shown {
            let keys = if keys.is_empty() { "—".to_string() } else { keys };
            for (i, text) in widgets::wrap(binding.help, width.saturating_sub(column + 4)).into_iter().enumerate() {
                let head = if i == 0 { widgets::pad(&keys, column) } else { " ".repeat(column) };
                lines.push(Line::from(vec!["  ".into(), Span::styled(head, theme.key), "  ".into(), Span::styled(text, theme.text)]));
            }
        }
    }
    lines.push(Line::default());
    let note = "Any of these can be given another key by its name in config.toml: [keys] \"app.help\" = \"f1\"";
    lines.extend(widgets::wrap(note, width).into_iter().map(|l| Line::styled(l, theme.dim)));
    lines
}
