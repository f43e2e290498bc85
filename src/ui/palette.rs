//! The command palette: every action of every pane, themes and switches, found by a few letters.
//! Deliberately not here: doing what was chosen; the shell does.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::keymap::{Action, Binding, GLOBAL, Keymap};
use super::shell::Shell;
use super::theme::Theme;
use super::widgets::{self, field::Field};

/// What an entry does.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// An action of the pane with this index.
    Pane(usize, Action),
    Global(Action),
    Theme(String),
    Mouse(bool),
}

#[derive(Clone, Debug)]
pub struct Entry {
    /// `train: pause`
    pub name: String,
    pub help: String,
    pub keys: String,
    pub choice: Choice,
}

#[derive(Clone, Debug)]
pub struct Palette {
    pub field: Field,
    entries: Vec<Entry>,
    found: Vec<usize>,
    selected: usize,
}

/// What a key did to the palette.
pub enum Outcome {
    Stay,
    Close,
    Run(Choice),
}

impl Palette {
    pub fn new(entries: Vec<Entry>) -> Self {
        let mut palette = Self { field: Field::default(), found: Vec::new(), selected: 0, entries };
        palette.search();
        palette
    }

    pub fn key(&mut self, key: &KeyEvent) -> Outcome {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let last = self.found.len().saturating_sub(1);
        match key.code {
            KeyCode::Esc => return Outcome::Close,
            KeyCode::Char('c' | 'g') if ctrl => return Outcome::Close,
            KeyCode::Enter => return self.choice().map_or(Outcome::Stay, Outcome::Run),
            KeyCode::Down | KeyCode::Tab => self.selected = (self.selected + 1).min(last),
            KeyCode::Up | KeyCode::BackTab => self.selected = self.selected.saturating_sub(1),
            KeyCode::Char('n' | 'j') if ctrl => self.selected = (self.selected + 1).min(last),
            KeyCode::Char('p') if ctrl => self.selected = self.selected.saturating_sub(1),
            KeyCode::PageDown => self.selected = (self.selected + 10).min(last),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(10),
            KeyCode::Backspace if self.field.text().is_empty() => return Outcome::Close,
            _ => {
                if self.field.key(key) {
                    self.search();
                }
            }
        }
        Outcome::Stay
    }

    pub fn paste(&mut self, text: &str) {
        self.field.insert(text);
        self.search();
    }

    pub fn wheel(&mut self, down: bool) {
        let last = self.found.len().saturating_sub(1);
        self.selected = if down { (self.selected + 1).min(last) } else { self.selected.saturating_sub(1) };
    }

    /// The entry under the cursor.
    pub fn choice(&self) -> Option<Choice> {
        self.found.get(self.selected).map(|i| self.entries[*i].choice.clone())
    }

    fn search(&mut self) {
        self.selected = 0;
        let needle = self.field.text().trim();
        if needle.is_empty() {
            self.found = (0..self.entries.len()).collect();
            return;
        }
        let lower = needle.to_lowercase();
        let names: Vec<&str> = self.entries.iter().map(|e| e.name.as_str()).collect();
        let mut matcher = frizbee::Matcher::new(needle, &frizbee::Config::default());
        let mut found: Vec<usize> = matcher.match_list(&names).iter().map(|m| m.index as usize).collect();
        // A name that begins with what was typed comes first: `q` is quit, whatever else has a q.
        found.sort_by_key(|i| !self.entries[*i].name.rsplit(": ").next().is_some_and(|n| n.starts_with(&lower)));
        // What only its sentence speaks of comes last.
        let spoken = |i: &usize| !found.contains(i) && lower.len() > 2 && self.entries[*i].help.to_lowercase().contains(&lower);
        let last: Vec<usize> = (0..self.entries.len()).filter(spoken).collect();
        found.extend(last);
        self.found = found;
    }

    pub fn draw(&self, frame: &mut Frame, area: Rect, theme: &Theme) {
        let rows = (self.found.len().max(1) as u16).min(14).min(area.height.saturating_sub(4));
        let mut place = widgets::centered(area, 84, rows + 4);
        place.y = area.y + (area.height.saturating_sub(place.height)) / 4;
        widgets::blank(frame, place, theme);
        let block =
            widgets::panel("Commands", true, theme).title_bottom(Line::styled(" Enter runs · Esc closes ", theme.dim).right_aligned());
        let inner = block.inner(place);
        frame.render_widget(block, place);
        if inner.height < 3 || inner.width < 10 {
            return;
        }
        let line = Rect { height: 1, x: inner.x + 1, width: inner.width - 2, ..inner };
        frame.render_widget(Span::styled(":", theme.key), line);
        self.field.draw(frame, Rect { x: line.x + 1, width: line.width - 1, ..line }, theme.text, true);
        let rule = if theme.ascii { "-" } else { "─" }.repeat(usize::from(inner.width));
        frame.render_widget(Span::styled(rule, theme.border), Rect { y: inner.y + 1, height: 1, ..inner });
        if self.found.is_empty() {
            let text = format!("nothing is called like {:?}", self.field.text());
            frame.render_widget(Span::styled(text, theme.dim), Rect { y: inner.y + 2, height: 1, ..line });
        }
        let height = usize::from(inner.height - 2);
        let first = widgets::window(self.selected, self.found.len(), height);
        let name_width = self.entries.iter().map(|e| e.name.width()).max().unwrap_or(0).min(24);
        for (row, index) in self.found.iter().skip(first).take(height).enumerate() {
            let entry = &self.entries[*index];
            let chosen = first + row == self.selected;
            let keys_width = entry.keys.width();
            let help_width = usize::from(line.width).saturating_sub(name_width + keys_width + 6);
            let spans = Line::from(vec![
                Span::styled(if chosen { "▸ " } else { "  " }, theme.accent),
                Span::styled(widgets::pad(&entry.name, name_width), theme.text),
                Span::styled(format!("  {}  ", widgets::pad(&entry.help, help_width)), theme.dim),
                Span::styled(entry.keys.clone(), theme.key),
            ]);
            let place = Rect { y: inner.y + 2 + row as u16, height: 1, ..inner };
            frame.render_widget(spans, Rect { x: place.x + 1, width: place.width - 1, ..place });
            if chosen {
                frame.buffer_mut().set_style(place, theme.selected);
            }
        }
    }
}

/// The entries that come from a pane's table.
pub fn of_bindings(
    prefix: &str,
    bindings: &[super::keymap::Binding],
    keymap: &Keymap,
    ascii: bool,
    choice: impl Fn(Action) -> Choice,
) -> Vec<Entry> {
    let name = |label: &str| if prefix.is_empty() { label.to_string() } else { format!("{}: {label}", prefix.to_lowercase()) };
    bindings
        .iter()
        .map(|b| Entry { name: name(b.label), help: b.help.into(), keys: keymap.show(b.action, ascii), choice: choice(b.action) })
        .collect()
}
impl Shell {
    /// Everything that the palette offers: this pane's actions first.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut order: Vec<usize> = (0..self.panes.len()).collect();
        order.sort_by_key(|i| *i != self.current);
        let mut entries = Vec::new();
        let ascii = self.theme.ascii;
        for index in order {
            let pane = &self.panes[index];
            entries.extend(of_bindings(pane.title(), pane.bindings(), &self.keymap, ascii, |a| Choice::Pane(index, a)));
        }
        let global: Vec<Binding> = GLOBAL.iter().filter(|b| !matches!(b.action, "app.back" | "app.palette")).copied().collect();
        entries.extend(of_bindings("", &global, &self.keymap, ascii, Choice::Global));
        for theme in &self.themes {
            let name = format!("theme {}", theme.name);
            let help = "Change the colours; shown while you choose.".to_string();
            entries.push(Entry { name, help, keys: String::new(), choice: Choice::Theme(theme.name.clone()) });
        }
        let (name, help) = if self.mouse {
            ("mouse off", "Give clicks and selection back to the terminal.")
        } else {
            ("mouse on", "Click tabs and scroll with the wheel.")
        };
        entries.push(Entry { name: name.into(), help: help.into(), keys: String::new(), choice: Choice::Mouse(!self.mouse) });
        entries
    }
}
