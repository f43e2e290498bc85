//! Foreign text made safe to show: control characters become visible marks.
//! Deliberately not here: styling and wrapping, which are the screen's.

use std::borrow::Cow;

/// `text` with every character that a terminal could act upon replaced by a visible mark: C0 controls by their
/// Unicode pictures (`␛`), C1 controls, bidirectional overrides and invisible format characters by `�`. Line
/// feeds stay when `keep_newlines`, and are `␊` otherwise; a tab becomes `→`.
pub fn visible(text: &str, keep_newlines: bool) -> Cow<'_, str> {
    if !text.chars().any(|c| mark(c, keep_newlines) != c) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| mark(c, keep_newlines)).collect())
}

/// A line about something, which its summary may name already.
pub fn told_of(name: &str, summary: &str) -> String {
    if name.is_empty() || summary.starts_with(name) { summary.to_string() } else { format!("{name}: {summary}") }
}

fn mark(c: char, keep_newlines: bool) -> char {
    match c {
        '\n' if keep_newlines => c,
        '\t' => '→',
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\u{7f}' => '␡',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {
            '\u{fffd}'
        }
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => '\u{fffd}',
        c => c,
    }
}

/// The bytes of a token as a person reads them: a blank is `·`, a tab `→`, a line end `␊`, and a byte that is no part of a
/// character `\xE2`.
pub fn token(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().chars().map(|c| if c == ' ' { '·' } else { mark(c, false) }));
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02X}")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_show_blanks_and_halves_of_characters() {
        assert_eq!(token(b" the\t\n"), "·the→␊");
        assert_eq!(token(&[b'a', 0xe2, 0x82]), "a\\xE2\\x82");
        assert_eq!(token(b"\x1b[31m"), "␛[31m");
    }

    #[test]
    fn control_characters_become_marks() {
        assert_eq!(visible("a\u{1b}[31mb\r\n\tc\u{9b}d\u{202e}", true), "a␛[31mb␍\n→c\u{fffd}d\u{fffd}");
        assert_eq!(visible("x\ny", false), "x␊y");
        assert!(matches!(visible("plain\nünïcödé 漢", true), Cow::Borrowed(_)));
    }
}
