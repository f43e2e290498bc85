//! Small pieces that all panes draw with: panels, wrapped and fitted text, human numbers, a one-line text field.
//! Deliberately not here: anything that knows a pane or the world.

pub mod chart;
pub mod field;
pub mod number;

use std::borrow::Cow;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::theme::Theme;

/// A framed part with its title; the focused one is told by its border and by bold title.
pub fn panel<'a>(title: &'a str, focused: bool, theme: &Theme) -> Block<'a> {
    let (border, title_style) = if focused { (theme.focus, theme.title.patch(theme.focus)) } else { (theme.border, theme.dim) };
    let block = Block::bordered().border_type(BorderType::Rounded).border_style(border).style(theme.text);
    if title.is_empty() { block } else { block.title(Line::from(vec![" ".into(), Span::styled(title, title_style), " ".into()])) }
}

/// Empties an area to the theme's ground, for what lies above other things.
pub fn blank(frame: &mut Frame, area: Rect, theme: &Theme) {
    frame.render_widget(Clear, area);
    frame.buffer_mut().set_style(area, theme.text);
}

/// A rectangle of at most this size in the middle of `area`.
pub fn centered(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

/// `text` cut to `width` columns, with `…` where something was cut.
pub fn fit(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let w = grapheme.width();
        if used + w + 1 > width {
            break;
        }
        out.push_str(grapheme);
        used += w;
    }
    if width > 0 {
        out.push('…');
    }
    Cow::Owned(out)
}

/// `text` filled with blanks to `width` columns, or cut.
pub fn pad(text: &str, width: usize) -> String {
    let text = fit(text, width);
    let blanks = width.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(blanks))
}

/// Breaks text at blanks into lines of at most `width` columns; line feeds stay, a word longer than a line is cut.
/// Lines that continue one that begins with blanks are indented alike.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let indent: String = paragraph.chars().take_while(|c| *c == ' ').take(width / 2).collect();
        let mut line = indent.clone();
        let mut used = indent.width();
        let mut empty = true;
        for word in paragraph.split(' ').filter(|w| !w.is_empty()) {
            if !empty && used + 1 + word.width() > width {
                lines.push(std::mem::replace(&mut line, indent.clone()));
                (used, empty) = (indent.width(), true);
            }
            if !empty {
                line.push(' ');
                used += 1;
            }
            for grapheme in word.graphemes(true) {
                if used + grapheme.width() > width && used > indent.width() {
                    lines.push(std::mem::replace(&mut line, indent.clone()));
                    used = indent.width();
                }
                line.push_str(grapheme);
                used += grapheme.width();
            }
            empty = false;
        }
        lines.push(if empty { String::new() } else { line });
    }
    lines
}

/// `987`, `21.3k`, `1.25M`.
pub fn count(n: f64) -> String {
    let a = n.abs();
    if !n.is_finite() {
        format!("{n}")
    } else if a < 1_000.0 {
        format!("{n:.0}")
    } else if a < 100_000.0 {
        format!("{:.1}k", n / 1e3)
    } else if a < 1_000_000.0 {
        format!("{:.0}k", n / 1e3)
    } else if a < 1e9 {
        format!("{:.2}M", n / 1e6)
    } else {
        format!("{:.2}G", n / 1e9)
    }
}

/// `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `412 MB`, by powers of 1000.
pub fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.0} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.0} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

/// `42s`, `1m12s`, `3h05m`, `2d04h`.
pub fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3_600 % 24),
    }
}

/// The time of day in UTC, `14:05:09`.
pub fn clock(at_ms: u64) -> String {
    let s = at_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

/// The first row to show so that `selected` is seen in a window of `height` rows, a little away from its edges.
pub fn window(selected: usize, len: usize, height: usize) -> usize {
    if len <= height || height == 0 {
        return 0;
    }
    selected.saturating_sub(height / 2).min(len - height)
}

/// Replaces the frame's own glyphs (boxes, braille, marks) by ASCII; letters of any script stay.
pub fn to_ascii(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let mut chars = cell.symbol().chars();
        let (Some(c), None) = (chars.next(), chars.next()) else { continue };
        let plain = match c {
            '·' | '•' | '∙' => ".",
            '×' => "x",
            '…' => "~",
            '─' | '━' | '╌' | '┄' | '┈' | '╴' | '╶' | '—' | '–' => "-",
            '│' | '┃' | '┆' | '┊' => "|",
            '◇' | '▸' | '▶' | '→' | '❯' | '›' => ">",
            '◂' | '◀' | '←' => "<",
            '↑' | '▴' | '▲' => "^",
            '↓' | '▾' | '▼' => "v",
            '●' | '◆' | '★' => "*",
            '○' => "o",
            '✓' => "+",
            '✗' | '✘' => "x",
            '█' | '▓' => "#",
            '▒' | '▌' | '▐' | '▀' | '▄' => "=",
            '░' => ".",
            '\u{2800}' => " ",
            '\u{2801}'..='\u{28ff}' => braille(c),
            '\u{2581}'..='\u{258f}' => "=",
            '\u{2500}'..='\u{257f}' => "+",
            '\u{2400}'..='\u{2421}' => "?",
            '\u{2010}'..='\u{2bff}' => "*",
            _ => continue,
        };
        cell.set_symbol(plain);
    }
}

/// The height at which a braille cell's dots stand, as the ASCII mark nearest to it.
fn braille(c: char) -> &'static str {
    let dots = c as u32 & 0xff;
    let (top, bottom) = (dots & 0b0001_1011 != 0, dots & 0b1110_0100 != 0);
    match (top, bottom) {
        (true, true) => ":",
        (true, false) => "'",
        _ => ".",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_and_cut_by_columns() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a\n\nb", 7), ["a", "", "b"]);
        assert_eq!(wrap("  indented words go on", 12), ["  indented", "  words go", "  on"]);
        assert_eq!(wrap("漢字漢字", 4), ["漢字", "漢字"]);
        assert_eq!(wrap("x", 0), ["x"]);
        assert_eq!(fit("漢字漢字", 5), "漢字…");
        assert_eq!(fit("abc", 0), "");
        assert_eq!(pad("ab", 4), "ab  ");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([count(987.0), count(21_300.0), count(215_000.0), count(1.25e6)], ["987", "21.3k", "215k", "1.25M"]);
        assert_eq!([duration(42_000), duration(72_000), duration(11_100_000), duration(187_200_000)], ["42s", "1m12s", "3h05m", "2d04h"]);
        assert_eq!([grouped(0), grouped(1_234_567)], ["0", "1,234,567"]);
        assert_eq!(clock(86_400_000 + 3_661_000), "01:01:01");
        assert_eq!([window(0, 100, 10), window(50, 100, 10), window(99, 100, 10), window(5, 6, 10)], [0, 45, 90, 0]);
    }
}
