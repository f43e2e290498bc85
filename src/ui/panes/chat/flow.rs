//! Tagged text laid out into lines of a width: words stay whole where they fit, and each character keeps the tag of
//! the token that it came from. Deliberately not here: colours; a tag becomes a style where it is drawn.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::text::visible;

/// One line: runs of text that share a tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<T> {
    pub runs: Vec<(String, T)>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { runs: Vec::new() }
    }
}

impl<T: Copy + PartialEq> Line<T> {
    fn push(&mut self, text: &str, tag: T) {
        match self.runs.last_mut() {
            Some((run, t)) if *t == tag => run.push_str(text),
            _ => self.runs.push((text.to_string(), tag)),
        }
    }

    #[cfg(test)]
    pub fn text(&self) -> String {
        self.runs.iter().map(|(text, _)| text.as_str()).collect()
    }
}

struct Cell<T> {
    text: String,
    width: usize,
    tag: T,
}

/// Lays out `segments` in lines of at most `width` columns. Control characters become marks; a line feed ends a line.
pub fn flow<T: Copy + PartialEq>(segments: impl IntoIterator<Item = (String, T)>, width: usize) -> Vec<Line<T>> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line: Vec<Cell<T>> = Vec::new();
    let mut used = 0;
    for (text, tag) in segments {
        for grapheme in visible(&text, true).graphemes(true) {
            if grapheme == "\n" {
                lines.push(finish(&mut line));
                used = 0;
                continue;
            }
            let cell = Cell { text: grapheme.to_string(), width: grapheme.width(), tag };
            let mut at_break = false;
            // A word that was taken over to a new line may fill that one too, and is then cut.
            while used + cell.width > width && used > 0 {
                let rest = wrap(&mut line, cell.text == " ");
                lines.push(finish(&mut line));
                line = rest;
                used = line.iter().map(|c| c.width).sum();
                at_break = cell.text == " " && line.is_empty();
            }
            if at_break {
                continue; // the blank at which the line was broken
            }
            used += cell.width;
            line.push(cell);
        }
    }
    if !line.is_empty() {
        lines.push(finish(&mut line));
    }
    lines
}

/// Takes the last, unfinished word off a full line; nothing where the next cell is a blank or the word is all there is.
fn wrap<T>(line: &mut Vec<Cell<T>>, at_blank: bool) -> Vec<Cell<T>> {
    if at_blank {
        return Vec::new();
    }
    match line.iter().rposition(|c| c.text == " ") {
        Some(blank) => line.split_off(blank + 1),
        None => Vec::new(),
    }
}

fn finish<T: Copy + PartialEq>(cells: &mut Vec<Cell<T>>) -> Line<T> {
    let mut line = Line::default();
    cells.drain(..).for_each(|c| line.push(&c.text, c.tag));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, width: usize) -> Vec<String> {
        flow([(text.to_string(), 0)], width).iter().map(|l| l.text().trim_end().to_string()).collect()
    }

    #[test]
    fn words_stay_whole_and_long_ones_are_cut() {
        assert_eq!(lines("the cat sat on", 8), ["the cat", "sat on"]);
        assert_eq!(lines("the cats at", 8), ["the cats", "at"]);
        assert_eq!(lines("unbelievable x", 5), ["unbel", "ievab", "le x"]);
        assert_eq!(lines("漢字漢字", 5), ["漢字", "漢字"]);
        assert_eq!(lines(" a漢a漢漢", 5), ["", "a漢a", "漢漢"]);
        assert_eq!(lines("a\n\nb", 5), ["a", "", "b"]);
        assert_eq!(lines("漢", 1), ["漢"]);
        assert!(lines("", 5).is_empty());
    }

    #[test]
    fn tags_follow_their_characters_and_controls_are_marks() {
        let out = flow([("ab\u{1b}".to_string(), 1), ("c d".to_string(), 2)], 4);
        assert_eq!(out[0].runs, [("ab␛".to_string(), 1), ("c".to_string(), 2)]);
        assert_eq!(out[1].runs, [("d".to_string(), 2)]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_blanks_is_lost_and_no_line_is_too_wide(text in "[ a-z\u{1b}漢é\n]{0,60}", width in 0usize..12) {
            let out = flow([(text.clone(), ())], width);
            let kept: String = out.iter().flat_map(|l| l.text().chars().collect::<Vec<_>>()).filter(|c| *c != ' ').collect();
            let want: String = visible(&text, true).chars().filter(|c| *c != ' ' && *c != '\n').collect();
            proptest::prop_assert_eq!(kept, want);
            for line in out {
                let columns = line.text().width();
                proptest::prop_assert!(columns <= width.max(2), "{:?}", line.text());
            }
        }
    }
}
