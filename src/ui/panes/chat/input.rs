//! The field in which one writes: many lines, paste, and the prompts of before.
//! Deliberately not here: what is done with what was written.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Style;
use ratatui_textarea::{CursorMove, TextArea, WrapMode};

use crate::text::visible;

/// Prompts that are remembered.
const REMEMBERED: usize = 200;

/// What a key did in the field.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// Enter: what was written; the field is empty now.
    Sent(String),
    Changed,
    /// Not for the field.
    Unused,
}

pub struct Input {
    area: TextArea<'static>,
    history: Vec<String>,
    /// Which remembered prompt is shown, counted from the newest, and what was written before.
    back: Option<(usize, String)>,
    /// Whether the text was offered and not yet touched: the first character typed then takes its place.
    offered: bool,
}

impl Input {
    pub fn new(text: &str) -> Self {
        let mut input = Self { area: TextArea::default(), history: Vec::new(), back: None, offered: false };
        input.set(text);
        input.offered = !text.is_empty();
        input
    }

    pub fn text(&self) -> String {
        self.area.lines().join("\n")
    }

    pub fn is_empty(&self) -> bool {
        self.area.is_empty()
    }

    /// Puts `text` in the field with the cursor at its end.
    pub fn set(&mut self, text: &str) {
        self.offered = false;
        self.area = TextArea::new(text.split('\n').map(str::to_string).collect());
        self.area.set_wrap_mode(WrapMode::WordOrGlyph);
        self.area.move_cursor(CursorMove::Bottom);
        self.area.move_cursor(CursorMove::End);
    }

    /// Pasted text: line ends of all kinds, and control characters as marks; a tab becomes four blanks.
    pub fn paste(&mut self, text: &str) {
        self.touched(true);
        let plain = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', "    ");
        self.area.insert_str(visible(&plain, true));
    }

    /// An offered text gives way to what is written, and is one's own after any other key.
    fn touched(&mut self, writes: bool) {
        if self.offered && writes {
            self.set("");
        }
        self.offered = false;
    }

    pub fn key(&mut self, key: KeyEvent) -> Typed {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        let shift = key.modifiers.contains(KeyModifiers::SHIFT);
        if key.code != KeyCode::Enter || alt || shift || ctrl {
            self.touched(matches!(key.code, KeyCode::Char(_)) && !ctrl && !alt);
        }
        match key.code {
            KeyCode::Enter if alt || shift || ctrl => self.area.insert_newline(),
            KeyCode::Char('j') if ctrl => self.area.insert_newline(),
            KeyCode::Enter => {
                let text = self.text();
                self.remember(&text);
                self.set("");
                return Typed::Sent(text);
            }
            KeyCode::Char('z') if ctrl => drop(self.area.undo()),
            KeyCode::Char('r') if ctrl => drop(self.area.redo()),
            KeyCode::Up if self.is_empty() || self.back.is_some() => self.older(),
            KeyCode::Down if self.back.is_some() => self.newer(),
            KeyCode::Esc | KeyCode::Tab | KeyCode::BackTab | KeyCode::PageUp | KeyCode::PageDown | KeyCode::F(_) => return Typed::Unused,
            _ => {
                if !self.area.input(key) {
                    return Typed::Unused;
                }
                if !matches!(key.code, KeyCode::Left | KeyCode::Right | KeyCode::Up | KeyCode::Down | KeyCode::Home | KeyCode::End) {
                    self.back = None;
                }
            }
        }
        Typed::Changed
    }

    /// Empties the field; ↑ brings the text back.
    pub fn drop_text(&mut self) {
        let text = self.text();
        self.remember(&text);
        self.set("");
    }

    fn remember(&mut self, text: &str) {
        self.back = None;
        if text.trim().is_empty() || self.history.last().is_some_and(|last| last == text) {
            return;
        }
        self.history.push(text.to_string());
        if self.history.len() > REMEMBERED {
            self.history.remove(0);
        }
    }

    fn older(&mut self) {
        let (at, draft) = match self.back.take() {
            Some((at, draft)) => ((at + 1).min(self.history.len().saturating_sub(1)), draft),
            None => (0, self.text()),
        };
        if let Some(text) = self.history.iter().rev().nth(at).cloned() {
            self.set(&text);
            self.back = Some((at, draft));
        }
    }

    fn newer(&mut self) {
        match self.back.take() {
            Some((0, draft)) => self.set(&draft),
            Some((at, draft)) => {
                let text = self.history.iter().rev().nth(at - 1).cloned().unwrap_or_default();
                self.set(&text);
                self.back = Some((at - 1, draft));
            }
            None => {}
        }
    }

    /// Rows that the text takes in a field of this width, for the height of the field.
    pub fn rows(&self, width: u16) -> u16 {
        let width = usize::from(width.max(1));
        let rows: usize = self.area.lines().iter().map(|l| super::flow::flow([(format!("{l} "), ())], width).len().max(1)).sum();
        rows.min(200) as u16
    }

    /// The field to be drawn; a cursor only where keys go to it.
    pub fn widget(&self, style: Style, dim: Style, focused: bool, placeholder: &str) -> TextArea<'static> {
        let mut area = self.area.clone();
        area.set_style(style);
        area.set_cursor_line_style(Style::default());
        area.set_placeholder_text(placeholder);
        area.set_placeholder_style(dim);
        area.set_cursor_style(if focused { style.add_modifier(ratatui::style::Modifier::REVERSED) } else { style });
        area
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }
    fn write(input: &mut Input, text: &str) {
        text.chars().for_each(|c| drop(input.key(key(KeyCode::Char(c)))));
    }

    #[test]
    fn enter_sends_and_ctrl_j_makes_a_line() {
        let mut input = Input::new("");
        write(&mut input, "a");
        input.key(KeyEvent::new(KeyCode::Char('j'), KeyModifiers::CONTROL));
        write(&mut input, "b");
        assert_eq!(input.rows(10), 2);
        assert_eq!(input.key(key(KeyCode::Enter)), Typed::Sent("a\nb".into()));
        assert!(input.is_empty());
    }

    #[test]
    fn history_goes_back_and_returns_to_the_draft() {
        let mut input = Input::new("");
        for text in ["one", "two", "two"] {
            input.set(text);
            input.key(key(KeyCode::Enter));
        }
        let mut seen = Vec::new();
        for code in [KeyCode::Up, KeyCode::Up, KeyCode::Up, KeyCode::Down, KeyCode::Down] {
            input.key(key(code));
            seen.push(input.text());
        }
        assert_eq!(seen, ["two", "one", "one", "two", ""]);
        assert_eq!(input.key(key(KeyCode::Esc)), Typed::Unused);
    }

    #[test]
    fn a_paste_brings_lines_and_no_control_characters() {
        let mut input = Input::new("x");
        input.key(key(KeyCode::End));
        input.paste("a\r\nb\u{1b}[31m\tc");
        assert_eq!(input.text(), "xa\nb␛[31m    c");
    }

    #[test]
    fn an_offered_text_gives_way_to_what_is_written_and_to_nothing_else() {
        let written = |before: Option<KeyCode>| {
            let mut input = Input::new("The cat");
            before.into_iter().for_each(|code| drop(input.key(key(code))));
            input.key(key(KeyCode::Char('h')));
            input.text()
        };
        assert_eq!(written(None), "h");
        assert_eq!(written(Some(KeyCode::End)), "The cath");
        assert_eq!(written(Some(KeyCode::Backspace)), "The cah");
        assert_eq!(Input::new("The cat").key(key(KeyCode::Enter)), Typed::Sent("The cat".into()));
    }
}
