//! Tokens laid out in rows of cells that fit a width.
//! Deliberately not here: colours.

use unicode_width::UnicodeWidthStr;

use crate::data::anatomy::Piece;
use crate::text::token;
use crate::ui::widgets::fit;

/// A token on the screen.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub text: String,
    pub id: String,
    /// Columns, the mark after it not counted.
    pub width: usize,
    pub special: bool,
    /// Its number in the text.
    pub at: usize,
}

/// The rows of a text; a token that ends a line ends its row. Each cell is followed by a mark of one column.
pub fn rows(pieces: &[Piece], width: usize, ids: bool) -> Vec<Vec<Cell>> {
    let mut rows = vec![Vec::new()];
    let mut used = 0;
    for (at, piece) in pieces.iter().enumerate() {
        let shown = token(&piece.bytes);
        let text = fit(&shown, width.saturating_sub(1).max(1)).into_owned();
        let id = if ids { piece.id.to_string() } else { String::new() };
        let cell = text.width().max(id.width());
        if used + cell + 1 > width && used > 0 {
            rows.push(Vec::new());
            used = 0;
        }
        used += cell + 1;
        if let Some(row) = rows.last_mut() {
            row.push(Cell { text, id, width: cell, special: piece.special, at });
        }
        if piece.bytes.ends_with(b"\n") {
            rows.push(Vec::new());
            used = 0;
        }
    }
    rows.retain(|row| !row.is_empty());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_fill_rows_and_lines_end_them() {
        let piece = |id, text: &str| Piece { id, bytes: text.as_bytes().to_vec(), special: false };
        let pieces = [piece(1, "The"), piece(12345, " cat"), piece(3, "\n"), piece(4, "漢字"), piece(5, "a very long token")];
        let rows = rows(&pieces, 12, true);
        let texts: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().map(|c| c.text.as_str()).collect()).collect();
        assert_eq!(texts, [vec!["The", "·cat", "␊"], vec!["漢字"], vec!["a·very·lon…"]]);
        assert_eq!((rows[0][1].width, rows[1][0].width), (5, 4));
        assert!(super::rows(&[], 12, true).is_empty());
    }
}
