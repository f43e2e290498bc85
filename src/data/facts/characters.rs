//! Characters of a text by kind: scripts, controls, signs without width.
//! Deliberately not here: languages, which scripts only hint at.

/// Scripts by the beginning of their blocks; a character belongs to the last one that begins at or before it.
const BLOCKS: &[(u32, &str)] = &[
    (0x41, "Latin"),
    (0x5b, ""),
    (0x61, "Latin"),
    (0x7b, ""),
    (0xaa, "Latin"),
    (0xab, ""),
    (0xba, "Latin"),
    (0xbb, ""),
    (0xc0, "Latin"),
    (0x2b0, ""),
    (0x370, "Greek"),
    (0x400, "Cyrillic"),
    (0x530, "Armenian"),
    (0x590, "Hebrew"),
    (0x600, "Arabic"),
    (0x700, "other scripts"),
    (0x750, "Arabic"),
    (0x780, "other scripts"),
    (0x8a0, "Arabic"),
    (0x900, "Devanagari"),
    (0x980, "Bengali"),
    (0xa00, "Gurmukhi"),
    (0xa80, "Gujarati"),
    (0xb00, "other scripts"),
    (0xb80, "Tamil"),
    (0xc00, "Telugu"),
    (0xc80, "Kannada"),
    (0xd00, "Malayalam"),
    (0xd80, "Sinhala"),
    (0xe00, "Thai"),
    (0xe80, "Lao"),
    (0xf00, "Tibetan"),
    (0x1000, "Burmese"),
    (0x10a0, "Georgian"),
    (0x1100, "Hangul"),
    (0x1200, "Ethiopic"),
    (0x13a0, "other scripts"),
    (0x1780, "Khmer"),
    (0x1800, "other scripts"),
    (0x1d00, "Latin"),
    (0x1dc0, ""),
    (0x1e00, "Latin"),
    (0x1f00, "Greek"),
    (0x2000, ""),
    (0x2600, "emoji"),
    (0x27c0, ""),
    (0x2c60, "Latin"),
    (0x2c80, "other scripts"),
    (0x2e00, ""),
    (0x2e80, "Han"),
    (0x3000, ""),
    (0x3041, "kana"),
    (0x3100, "Han"),
    (0x3131, "Hangul"),
    (0x3190, "Han"),
    (0x31f0, "kana"),
    (0x3200, "Han"),
    (0xa000, "other scripts"),
    (0xa640, "Cyrillic"),
    (0xa6a0, "other scripts"),
    (0xa720, "Latin"),
    (0xa800, "other scripts"),
    (0xac00, "Hangul"),
    (0xd7b0, "other scripts"),
    (0xf900, "Han"),
    (0xfb00, "Latin"),
    (0xfb1d, "Hebrew"),
    (0xfb50, "Arabic"),
    (0xfe00, ""),
    (0xfe70, "Arabic"),
    (0xfeff, ""),
    (0xff21, "Latin"),
    (0xff3b, ""),
    (0xff41, "Latin"),
    (0xff5b, ""),
    (0xff66, "kana"),
    (0xffa0, "Hangul"),
    (0xffe0, ""),
    (0x10000, "other scripts"),
    (0x1d400, ""),
    (0x1e000, "other scripts"),
    (0x1f000, "emoji"),
    (0x20000, "Han"),
    (0x40000, ""),
];

/// Names of all scripts, each once; the first is none: digits, blanks, signs.
pub fn scripts() -> Vec<&'static str> {
    let mut names = vec![""];
    for (_, name) in BLOCKS {
        if !names.contains(name) {
            names.push(name);
        }
    }
    names
}

/// What was counted in a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Characters {
    pub all: u64,
    /// C0 and C1 controls but tabs and line ends.
    pub control: u64,
    /// Signs that are not seen: without width, or turning the direction of writing.
    pub unseen: u64,
    /// U+FFFD: something was lost before.
    pub lost: u64,
    /// By the place in [`scripts`]; letters alone.
    pub scripts: Vec<u64>,
}

/// Knows the scripts' blocks as places in the list of names.
pub struct Counter {
    blocks: Vec<(u32, usize)>,
    names: usize,
}

impl Default for Counter {
    fn default() -> Self {
        let names = scripts();
        let place = |name: &str| names.iter().position(|n| *n == name).unwrap_or(0);
        Self { blocks: BLOCKS.iter().map(|(from, name)| (*from, place(name))).collect(), names: names.len() }
    }
}

impl Counter {
    pub fn count(&self, text: &str, found: &mut Characters) {
        found.scripts.resize(self.names, 0);
        let latin = self.blocks.first().map_or(0, |b| b.1);
        for c in text.chars() {
            found.all += 1;
            if c.is_ascii() {
                found.scripts[latin] += u64::from(c.is_ascii_alphabetic());
                found.control += u64::from(is_control(c));
                continue;
            }
            found.control += u64::from(is_control(c));
            found.unseen += u64::from(is_unseen(c));
            found.lost += u64::from(c == '\u{fffd}');
            let block = self.blocks.partition_point(|(from, _)| *from <= c as u32);
            let script = block.checked_sub(1).map_or(0, |i| self.blocks[i].1);
            found.scripts[script] += u64::from(script > 0);
        }
    }
}

/// Whether a control character has no place in text.
pub fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{9f}')
}

/// Whether a character is there and not seen. The joiner of emoji and of Indic scripts is one that has a use.
pub fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted_by_kind() {
        assert!(BLOCKS.is_sorted_by(|a, b| a.0 < b.0));
        let mut found = Characters::default();
        Counter::default().count("Ab é 12 Ж漢字かな한ا\u{0}\u{200b}\u{feff}\u{fffd}\t\n🙂", &mut found);
        let of = |name: &str| found.scripts[scripts().iter().position(|n| *n == name).unwrap()];
        assert_eq!((of("Latin"), of("Cyrillic"), of("Han"), of("kana"), of("Hangul"), of("Arabic"), of("emoji")), (3, 1, 2, 2, 1, 1, 1));
        assert_eq!((found.all, found.control, found.unseen, found.lost), (22, 1, 2, 1));
    }
}
