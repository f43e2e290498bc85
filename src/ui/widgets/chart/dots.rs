//! A canvas of dots: eight to a cell in braille, two to a cell in plain ASCII. Each cell takes the style of the
//! line that was drawn over it last. Deliberately not here: values and axes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// How a layer meets what lies below it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meet {
    /// Dots add up: no dot of a lower layer is lost.
    Join,
    /// A cell shows the dots of the upper layer alone, so that a line stays thin before its own noise.
    Cover,
}

pub struct Dots {
    area: Rect,
    ascii: bool,
    /// Dots of finished layers, and which layer each cell shows.
    cells: Vec<(u8, u8)>,
    layer: Vec<u8>,
}

/// The bit of each dot of a braille cell, by column and row (Unicode 3.0, block U+2800).
const BRAILLE: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
/// Upper, lower and both dots of an ASCII cell, for three lines that are told apart without colour.
const ASCII: [[char; 3]; 3] = [['\'', '.', ':'], ['`', ',', ';'], ['^', '_', '=']];

impl Dots {
    pub fn new(area: Rect, ascii: bool) -> Self {
        let cells = area.width as usize * area.height as usize;
        Self { area, ascii, cells: vec![(0, 0); cells], layer: vec![0; cells] }
    }

    /// Dots across.
    pub fn width(&self) -> usize {
        self.area.width as usize * self.columns()
    }

    /// Dots down.
    pub fn height(&self) -> usize {
        self.area.height as usize * self.rows()
    }

    /// Dots across one cell.
    pub fn columns(&self) -> usize {
        if self.ascii { 1 } else { 2 }
    }

    fn rows(&self) -> usize {
        if self.ascii { 2 } else { 4 }
    }

    /// Sets a dot of the present layer; `y` counts from the top. Outside the area nothing happens.
    pub fn set(&mut self, x: i32, y: i32) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x >= self.width() || y >= self.height() {
            return;
        }
        let (across, down) = (self.columns(), self.rows());
        let bit = if self.ascii { 1 << (y % down) } else { BRAILLE[x % across][y % down] };
        self.layer[y / down * self.area.width as usize + x / across] |= bit;
    }

    /// All dots of column `x` from row `a` to row `b`.
    pub fn column(&mut self, x: i32, a: i32, b: i32) {
        let last = self.height() as i32 - 1;
        for y in a.min(b).max(0)..=a.max(b).min(last) {
            self.set(x, y);
        }
    }

    /// A straight line between two dots (Bresenham); both ends have been clipped to columns of the area.
    pub fn line(&mut self, (x0, y0): (i32, i32), (x1, y1): (i32, i32)) {
        let steps = (x1 - x0).abs().max(1);
        let mut before = y0;
        for i in 0..=steps {
            let y = y0 + ((y1 - y0) as i64 * i as i64 / steps as i64) as i32;
            // A steep line fills its column, so that it has no holes.
            let from = if i == 0 { y } else { before + (y - before).signum() };
            self.column(x0 + (x1 - x0).signum() * i, from, y);
            before = y;
        }
    }

    /// Ends the present layer: its cells take the style numbered `style`.
    pub fn finish(&mut self, style: u8, meet: Meet) {
        for (cell, dots) in self.cells.iter_mut().zip(&mut self.layer) {
            if *dots != 0 {
                let kept = if meet == Meet::Join { cell.0 } else { 0 };
                *cell = (*dots | kept, style);
                *dots = 0;
            }
        }
    }

    /// Puts the dots on the screen; cells without dots are left as they are.
    pub fn draw(&self, buf: &mut Buffer, styles: &[Style]) {
        for (i, (dots, style)) in self.cells.iter().enumerate() {
            if *dots == 0 {
                continue;
            }
            let (x, y) = (self.area.x + (i % self.area.width as usize) as u16, self.area.y + (i / self.area.width as usize) as u16);
            let glyph = if self.ascii {
                ASCII[*style as usize / 2 % ASCII.len()][(dots - 1).min(2) as usize]
            } else {
                char::from_u32(0x2800 + u32::from(*dots)).unwrap_or('?')
            };
            if let Some(cell) = buf.cell_mut((x, y)) {
                cell.set_char(glyph).set_style(styles.get(*style as usize).copied().unwrap_or_default());
            }
        }
    }

    /// Whether a cell shows anything.
    pub fn filled(&self, column: u16, row: u16) -> bool {
        self.cells.get(row as usize * self.area.width as usize + column as usize).is_some_and(|c| c.0 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_become_braille_or_ascii_and_covering_keeps_a_line_thin() {
        let area = Rect::new(0, 0, 2, 1);
        for (ascii, expected) in [(false, "⣇⠉"), (true, ":'")] {
            let mut dots = Dots::new(area, ascii);
            dots.column(0, 0, 3);
            dots.set(1, 3);
            dots.finish(0, Meet::Join);
            dots.line((dots.columns() as i32, 0), (dots.width() as i32 - 1, 0));
            dots.finish(1, Meet::Cover);
            let mut buf = Buffer::empty(area);
            dots.draw(&mut buf, &[Style::new(), Style::new()]);
            let text: String = buf.content().iter().map(|c| c.symbol()).collect();
            assert_eq!(text, expected);
        }
    }
}
