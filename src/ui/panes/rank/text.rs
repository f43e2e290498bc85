//! Responses as lines: plain, as Markdown with code, or with the words marked in which they differ from another one.
//! Deliberately not here: where on the screen they stand.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use similar::{ChangeTag, TextDiff};
use tui_markdown::{AlertKind, Options, StyleSheet};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::text::visible;
use crate::ui::theme::Theme;

/// Of a longer text, words are not compared: it would take longer than a frame.
const COMPARED: usize = 60_000;

/// How a response is written out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    #[default]
    Markdown,
    Plain,
    /// Against another response.
    Words,
}

/// The lines of a text in a width. `base` is what words are compared with.
pub fn lines(content: &str, base: Option<&str>, look: Look, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let content = visible(content, true);
    let text = match (look, base) {
        (Look::Words, Some(base)) if content.len() + base.len() <= COMPARED => differing(&visible(base, true), &content, theme),
        (Look::Markdown, _) => markdown(&content, theme),
        _ => plain(&content),
    };
    text.into_iter().flat_map(|line| wrap(line, width.max(1))).collect()
}

fn plain(text: &str) -> Vec<Line<'static>> {
    text.split('\n').map(|l| Line::raw(l.to_owned())).collect()
}

/// Markdown in the theme's own styles.
fn markdown(text: &str, theme: &Theme) -> Vec<Line<'static>> {
    let options = Options::new(Sheet { theme: theme.clone() });
    let text: Text = tui_markdown::from_str_with_options(text, &options);
    text.lines
        .into_iter()
        .map(|line| {
            let style = line.style;
            let spans = line.spans.into_iter().map(|s| Span::styled(s.content.into_owned(), style.patch(s.style)));
            Line::from(spans.collect::<Vec<_>>())
        })
        .collect()
}

#[derive(Clone)]
struct Sheet {
    theme: Theme,
}

impl StyleSheet for Sheet {
    fn heading(&self, _: u8) -> Style {
        self.theme.title
    }
    // What a mark means is seen by its style; the mark itself is shown by the plain view.
    fn heading_marker(&self, _: u8) -> &str {
        ""
    }
    fn code_block_fence(&self) -> &str {
        ""
    }
    fn code(&self) -> Style {
        self.theme.accent
    }
    fn link(&self) -> Style {
        self.theme.accent.add_modifier(Modifier::UNDERLINED)
    }
    fn blockquote(&self) -> Style {
        self.theme.dim
    }
    fn heading_meta(&self) -> Style {
        self.theme.dim
    }
    fn metadata_block(&self) -> Style {
        self.theme.dim
    }
    fn html(&self) -> Style {
        self.theme.dim
    }
    fn math_inline(&self) -> Style {
        self.theme.accent
    }
    fn math_display(&self) -> Style {
        self.theme.accent
    }
    fn footnote_ref(&self) -> Style {
        self.theme.dim
    }
    fn footnote_def(&self) -> Style {
        self.theme.dim
    }
    fn alert(&self, _: AlertKind) -> Style {
        self.theme.warning
    }
    fn table_border(&self) -> Style {
        self.theme.border
    }
    fn list_marker(&self) -> Style {
        self.theme.accent
    }
}

/// Words that only this one has are underlined, and those that only the other has stand struck out where they would be:
/// both are seen without colour.
fn differing(base: &str, text: &str, theme: &Theme) -> Vec<Line<'static>> {
    let added = theme.good.add_modifier(Modifier::UNDERLINED | Modifier::BOLD);
    let gone = theme.dim.add_modifier(Modifier::CROSSED_OUT);
    let mut out = vec![Vec::new()];
    for change in TextDiff::from_unicode_words(base, text).iter_all_changes() {
        let style = match change.tag() {
            ChangeTag::Equal => Style::new(),
            ChangeTag::Insert => added,
            ChangeTag::Delete => gone,
        };
        for (i, part) in change.value().split('\n').enumerate() {
            // A line end that only the other has would tear this one apart.
            if i > 0 && change.tag() != ChangeTag::Delete {
                out.push(Vec::new());
            }
            if let (Some(line), false) = (out.last_mut(), part.is_empty()) {
                line.push(Span::styled(part.to_owned(), style));
            }
        }
    }
    out.into_iter().map(Line::from).collect()
}

/// Breaks a line at blanks into lines of at most `width` columns; a word that is longer is cut.
pub fn wrap(line: Line<'static>, width: usize) -> Vec<Line<'static>> {
    if line.width() <= width {
        return vec![line];
    }
    let pieces: Vec<(&str, Style, usize)> =
        line.spans.iter().flat_map(|s| s.content.graphemes(true).map(|g| (g, s.style, g.width()))).collect();
    let mut out = Vec::new();
    let mut from = 0;
    while from < pieces.len() {
        let (mut to, mut used, mut blank) = (from, 0, None);
        while to < pieces.len() && used + pieces[to].2 <= width {
            used += pieces[to].2;
            if pieces[to].0 == " " {
                blank = Some(to);
            }
            to += 1;
        }
        // A wide character in a column of one still takes its place.
        let to = to.max(from + 1);
        let whole = to == pieces.len() || pieces[to].0 == " ";
        let end = if whole { to } else { blank.filter(|b| *b > from).unwrap_or(to) };
        out.push(joined(&pieces[from..end]));
        from = end;
        while pieces.get(from).is_some_and(|p| p.0 == " ") && from < pieces.len() {
            from += 1;
        }
    }
    if out.is_empty() { vec![Line::default()] } else { out }
}

fn joined(pieces: &[(&str, Style, usize)]) -> Line<'static> {
    let mut spans: Vec<Span<'static>> = Vec::new();
    for (text, style, _) in pieces {
        match spans.last_mut() {
            Some(last) if last.style == *style => last.content.to_mut().push_str(text),
            _ => spans.push(Span::styled((*text).to_owned(), *style)),
        }
    }
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|l| l.to_string().trim_end().to_string()).collect()
    }

    #[test]
    fn styled_lines_are_broken_at_blanks() {
        let theme = Theme::plain();
        let of = |text: &str, width| lines(text, None, Look::Plain, width, &theme);
        assert_eq!(text(&of("one two three", 7)), ["one two", "three"]);
        assert_eq!(text(&of("abcdefgh ij", 4)), ["abcd", "efgh", "ij"]);
        assert_eq!(text(&of("漢字漢字", 4)), ["漢字", "漢字"]);
        assert_eq!(text(&of("漢", 1)), ["漢"]);
        assert_eq!(text(&of("a\n\nb\u{1b}[2J", 20)), ["a", "", "b␛[2J"]);
    }

    #[test]
    fn words_that_differ_are_seen_without_colour() {
        let theme = Theme::plain();
        let found = lines("the big cat\nsat", Some("the small cat sat"), Look::Words, 40, &theme);
        let marked = |m: Modifier| -> Vec<String> {
            found.iter().flat_map(|l| &l.spans).filter(|s| s.style.add_modifier.contains(m)).map(|s| s.content.to_string()).collect()
        };
        assert!(marked(Modifier::UNDERLINED).concat().contains("big"));
        assert!(marked(Modifier::CROSSED_OUT).concat().contains("small"));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn markdown_shows_its_text_and_code() {
        let theme = Theme::plain();
        let found = text(&lines("# Head\n\n- one\n- **two**\n\n```\nlet x = 1;\n```\n", None, Look::Markdown, 40, &theme)).join("\n");
        assert!(["Head", "one", "two", "let x = 1;"].iter().all(|t| found.contains(t)), "{found}");
        assert!(!found.contains("**"), "{found}");
    }
}
