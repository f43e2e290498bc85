//! A text field of one line with the usual editing keys, for filters and the palette.
//! Deliberately not here: several lines (the chat's prompt is an editor of its own).

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::Span;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Field {
    text: String,
    /// A byte offset at a grapheme's boundary.
    cursor: usize,
}

impl Field {
    pub fn new(text: &str) -> Self {
        let mut field = Self::default();
        field.insert(text);
        field
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Inserts typed or pasted text; control characters become visible marks, line ends become blanks.
    pub fn insert(&mut self, text: &str) {
        let text = text.replace(['\n', '\r'], " ");
        let text = crate::text::visible(&text, false);
        self.text.insert_str(self.cursor, &text);
        self.cursor += text.len();
    }

    /// Whether the key was an editing key.
    pub fn key(&mut self, key: &KeyEvent) -> bool {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Char(c) if !ctrl && !alt => self.insert(c.encode_utf8(&mut [0; 4])),
            KeyCode::Backspace if alt => self.delete(self.word_before(), self.cursor),
            KeyCode::Backspace => self.delete(self.before(), self.cursor),
            KeyCode::Char('h') if ctrl => self.delete(self.before(), self.cursor),
            KeyCode::Delete => self.delete(self.cursor, self.after()),
            KeyCode::Char('d') if ctrl && self.cursor < self.text.len() => self.delete(self.cursor, self.after()),
            KeyCode::Char('w') if ctrl => self.delete(self.word_before(), self.cursor),
            KeyCode::Char('u') if ctrl => self.delete(0, self.cursor),
            KeyCode::Char('k') if ctrl => self.delete(self.cursor, self.text.len()),
            KeyCode::Char('a') if ctrl => self.cursor = 0,
            KeyCode::Char('e') if ctrl => self.cursor = self.text.len(),
            KeyCode::Char('b') if ctrl => self.cursor = self.before(),
            KeyCode::Char('f') if ctrl => self.cursor = self.after(),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            KeyCode::Left => self.cursor = self.before(),
            KeyCode::Right => self.cursor = self.after(),
            _ => return false,
        }
        true
    }

    /// Draws the text so that the cursor is seen, and places the terminal's cursor when `focused`.
    pub fn draw(&self, frame: &mut Frame, area: Rect, style: Style, focused: bool) {
        if area.is_empty() {
            return;
        }
        let width = usize::from(area.width);
        let mut start = 0;
        // The text scrolls by graphemes until the cursor stands within the field.
        for (at, _) in self.text.grapheme_indices(true) {
            start = at;
            if self.text[at.min(self.cursor)..self.cursor].width() < width {
                break;
            }
        }
        let start = if self.text[..self.cursor].width() < width { 0 } else { start };
        frame.render_widget(Span::styled(&self.text[start..], style), area);
        if focused {
            let x = self.text[start.min(self.cursor)..self.cursor].width() as u16;
            frame.set_cursor_position(Position { x: area.x + x.min(area.width - 1), y: area.y });
        }
    }

    fn before(&self) -> usize {
        self.text[..self.cursor].grapheme_indices(true).next_back().map_or(0, |(i, _)| i)
    }

    fn after(&self) -> usize {
        self.text[self.cursor..].graphemes(true).next().map_or(self.cursor, |g| self.cursor + g.len())
    }

    fn word_before(&self) -> usize {
        let head = self.text[..self.cursor].trim_end();
        head.rfind(' ').map_or(0, |i| i + 1)
    }

    fn delete(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.cursor = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editing_moves_by_graphemes_and_words() {
        let mut field = Field::new("one twö e\u{301}");
        let press = |field: &mut Field, code, modifiers| assert!(field.key(&KeyEvent::new(code, modifiers)));
        press(&mut field, KeyCode::Backspace, KeyModifiers::NONE);
        assert_eq!(field.text(), "one twö ");
        press(&mut field, KeyCode::Char('w'), KeyModifiers::CONTROL);
        assert_eq!(field.text(), "one ");
        press(&mut field, KeyCode::Home, KeyModifiers::NONE);
        press(&mut field, KeyCode::Char('X'), KeyModifiers::SHIFT);
        press(&mut field, KeyCode::Right, KeyModifiers::NONE);
        press(&mut field, KeyCode::Char('k'), KeyModifiers::CONTROL);
        assert_eq!(field.text(), "Xo");
        field.insert("\u{1b}[A\n");
        assert_eq!(field.text(), "Xo␛[A ");
        assert!(!field.key(&KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE)));
    }
}
