//! The terminal: its modes (entered, left, suspended) and the encoder that turns changed cells into few bytes.
//! Deliberately not here: what is drawn, and reading keys (`input`).

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use super::pulse::{ASK, Pulse};
use super::theme::Depth;

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[?1004h";
const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1002h\x1b[?1006h";
const MOUSE_OFF: &str = "\x1b[?1006l\x1b[?1002l\x1b[?1000l";
const LEAVE: &str = "\x1b[?2026l\x1b[0m\x1b[?1006l\x1b[?1002l\x1b[?1000l\x1b[?1004l\x1b[?2004l\x1b[?1049l\x1b[?25h";

/// Takes the terminal: raw mode, alternate screen, paste and focus reports, the mouse where wanted.
pub fn enter(mouse: bool) -> io::Result<()> {
    crossterm::terminal::enable_raw_mode()?;
    let mut out = io::stdout();
    out.write_all(ENTER.as_bytes())?;
    if mouse {
        out.write_all(MOUSE_ON.as_bytes())?;
    }
    out.flush()
}

/// Gives the terminal back as it was. Does all it can: after a hang-up every write fails, and nothing is left to restore.
pub fn leave() {
    let mut out = io::stdout();
    let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    let _ = crossterm::terminal::disable_raw_mode();
}

/// The sequence that turns mouse reports on or off; off gives selection back to the terminal.
pub fn mouse_sequence(on: bool) -> &'static str {
    if on { MOUSE_ON } else { MOUSE_OFF }
}

/// The sequence that puts `text` on the clipboard of the terminal that shows us (OSC 52), wrapped for tmux where needed.
pub fn yank_sequence(text: &str, tmux: bool) -> String {
    let plain = format!("\x1b]52;c;{}\x07", base64(text.as_bytes()));
    if tmux { format!("\x1bPtmux;{}\x1b\\", plain.replace('\x1b', "\x1b\x1b")) } else { plain }
}

/// Bell and desktop notification (OSC 9). The text is made safe here: it must not end the sequence.
pub fn notify_sequence(text: &str, tmux: bool) -> String {
    let text = crate::text::visible(text, false);
    let plain = format!("\x1b]9;{text}\x07");
    if tmux { format!("\x07\x1bPtmux;{}\x1b\\", plain.replace('\x1b', "\x1b\x1b")) } else { format!("\x07{plain}") }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| (w << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let sextet = (word >> (18 - 6 * i)) & 63;
            out.push(if i <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    out
}

/// The style that the terminal writes with now.
#[derive(Clone, Copy, PartialEq)]
struct Pen {
    fg: Color,
    bg: Color,
    modifier: Modifier,
}

impl Pen {
    const PLAIN: Self = Self { fg: Color::Reset, bg: Color::Reset, modifier: Modifier::empty() };
}

/// A ratatui backend that writes each frame as one synchronized update, knows what the terminal's pen and cursor
/// are, and writes nothing at all when nothing changed.
pub struct Screen<W: Write> {
    out: W,
    frame: Vec<u8>,
    depth: Depth,
    pen: Pen,
    /// Where the terminal's cursor is; none where that is not certain.
    at: Option<Position>,
    cursor_shown: bool,
    size: Option<Size>,
    /// The width when the terminal was asked last, which is once a frame: asking for each cell would be slow.
    width: std::cell::Cell<u16>,
    /// Asked for the terminal's status behind every frame.
    pulse: Option<Arc<Pulse>>,
}

impl<W: Write> Screen<W> {
    /// `size`: none asks the terminal.
    pub fn new(out: W, depth: Depth, size: Option<Size>) -> Self {
        let (frame, width) = (Vec::new(), std::cell::Cell::new(0));
        Self { out, frame, depth, pen: Pen::PLAIN, at: None, cursor_shown: false, size, width, pulse: None }
    }

    /// Asks for the terminal's status now, and from now on behind every frame.
    pub fn with_pulse(mut self, pulse: Arc<Pulse>) -> io::Result<Self> {
        if pulse.ask(Instant::now()) {
            self.out.write_all(ASK)?;
        }
        self.pulse = Some(pulse);
        Ok(self)
    }

    /// Where the bytes go.
    pub fn out(&self) -> &W {
        &self.out
    }

    /// Writes a sequence that is not part of a frame (a yank, a notification).
    pub fn write_raw(&mut self, sequence: &str) -> io::Result<()> {
        self.out.write_all(sequence.as_bytes())?;
        self.out.flush()
    }

    /// After the terminal was given away and taken back: nothing is known of it.
    pub fn forget(&mut self) {
        self.frame.clear();
        self.frame.extend_from_slice(b"\x1b[0m\x1b[?25l");
        (self.pen, self.at, self.cursor_shown) = (Pen::PLAIN, None, false);
    }

    fn go(&mut self, to: Position) {
        use std::io::Write as _;
        let write = match self.at {
            Some(at) if at == to => return,
            Some(at) if at.y == to.y && to.x == at.x + 1 => write!(self.frame, "\x1b[C"),
            Some(at) if at.y == to.y && to.x > at.x && to.x - at.x < 10 => write!(self.frame, "\x1b[{}C", to.x - at.x),
            Some(at) if at.y == to.y => write!(self.frame, "\x1b[{}G", to.x + 1),
            Some(at) if to.y == at.y + 1 && to.x == 0 => write!(self.frame, "\r\n"),
            _ if to.x == 0 => write!(self.frame, "\x1b[{}H", to.y + 1),
            _ => write!(self.frame, "\x1b[{};{}H", to.y + 1, to.x + 1),
        };
        let _ = write; // a Vec takes every write
        self.at = Some(to);
    }

    fn set_pen(&mut self, want: Pen) {
        if want == self.pen {
            return;
        }
        let mut codes: Vec<String> = Vec::new();
        let gone = self.pen.modifier - want.modifier;
        let mut fresh = want.modifier - self.pen.modifier;
        for (flags, code) in [
            (Modifier::BOLD | Modifier::DIM, "22"),
            (Modifier::ITALIC, "23"),
            (Modifier::UNDERLINED, "24"),
            (Modifier::REVERSED, "27"),
            (Modifier::CROSSED_OUT, "29"),
        ] {
            if gone.intersects(flags) {
                codes.push(code.into());
                // 22 ends bold and dim together.
                fresh |= want.modifier & flags;
            }
        }
        for (flag, code) in [
            (Modifier::BOLD, "1"),
            (Modifier::DIM, "2"),
            (Modifier::ITALIC, "3"),
            (Modifier::UNDERLINED, "4"),
            (Modifier::REVERSED, "7"),
            (Modifier::CROSSED_OUT, "9"),
        ] {
            if fresh.contains(flag) {
                codes.push(code.into());
            }
        }
        if want.fg != self.pen.fg {
            codes.push(colour_code(want.fg, 30));
        }
        if want.bg != self.pen.bg {
            codes.push(colour_code(want.bg, 40));
        }
        if want == Pen::PLAIN {
            codes = vec![String::new()];
        }
        self.frame.extend_from_slice(format!("\x1b[{}m", codes.join(";")).as_bytes());
        self.pen = want;
    }

    fn put(&mut self, position: Position, cell: &Cell) {
        const KEPT: Modifier = Modifier::BOLD
            .union(Modifier::DIM)
            .union(Modifier::ITALIC)
            .union(Modifier::UNDERLINED)
            .union(Modifier::REVERSED)
            .union(Modifier::CROSSED_OUT);
        self.go(position);
        self.set_pen(Pen { fg: self.depth.adapt(cell.fg), bg: self.depth.adapt(cell.bg), modifier: cell.modifier & KEPT });
        let symbol = cell.symbol();
        // The last guard: whatever a pane let through, no control character reaches the terminal.
        let safe = !symbol.is_empty() && !symbol.chars().any(char::is_control);
        let symbol = if safe { symbol } else { "\u{fffd}" };
        self.frame.extend_from_slice(symbol.as_bytes());
        let next = position.x + symbol.width() as u16;
        // Past the last column terminals differ; and of some symbols they disagree about the width.
        let sure = next < self.width.get() && symbol.chars().all(|c| c < '\u{300}' || ('\u{2010}'..'\u{2a00}').contains(&c));
        self.at = sure.then_some(Position { x: next, y: position.y });
    }
}

fn colour_code(colour: Color, base: u8) -> String {
    let named = |n: u8| if n < 8 { (base + n).to_string() } else { (base + 60 + n - 8).to_string() };
    match colour {
        Color::Reset => (base + 9).to_string(),
        Color::Black => named(0),
        Color::Red => named(1),
        Color::Green => named(2),
        Color::Yellow => named(3),
        Color::Blue => named(4),
        Color::Magenta => named(5),
        Color::Cyan => named(6),
        Color::Gray => named(7),
        Color::DarkGray => named(8),
        Color::LightRed => named(9),
        Color::LightGreen => named(10),
        Color::LightYellow => named(11),
        Color::LightBlue => named(12),
        Color::LightMagenta => named(13),
        Color::LightCyan => named(14),
        Color::White => named(15),
        Color::Indexed(i) => format!("{};5;{i}", base + 8),
        Color::Rgb(r, g, b) => format!("{};2;{r};{g};{b}", base + 8),
    }
}

impl<W: Write> Backend for Screen<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        content.for_each(|(x, y, cell)| self.put(Position { x, y }, cell));
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        if self.cursor_shown {
            self.frame.extend_from_slice(b"\x1b[?25l");
            self.cursor_shown = false;
        }
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        if !self.cursor_shown {
            self.frame.extend_from_slice(b"\x1b[?25h");
            self.cursor_shown = true;
        }
        Ok(())
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(self.at.unwrap_or_default())
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.go(position.into());
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.set_pen(Pen::PLAIN);
        self.frame.extend_from_slice(b"\x1b[2J");
        // It is cleared when it was resized, and a terminal that is resized moves its cursor as it likes.
        self.at = None;
        Ok(())
    }

    fn clear_region(&mut self, _: ClearType) -> io::Result<()> {
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        let size = match self.size {
            Some(size) => size,
            None => crossterm::terminal::size().map(|(width, height)| Size { width, height })?,
        };
        self.width.set(size.width);
        Ok(size)
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::default() })
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let mut whole = Vec::with_capacity(self.frame.len() + 20);
        whole.extend_from_slice(b"\x1b[?2026h");
        whole.append(&mut self.frame);
        whole.extend_from_slice(b"\x1b[?2026l");
        // Counted before it is written: the answer may be here before the write returns.
        if self.pulse.as_ref().is_some_and(|pulse| pulse.ask(Instant::now())) {
            whole.extend_from_slice(ASK);
        }
        self.out.write_all(&whole)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::style::Style;
    use ratatui::text::{Line, Span};

    fn draw(terminal: &mut Terminal<Screen<Vec<u8>>>, line: Line) -> Vec<u8> {
        terminal.draw(|f| f.render_widget(line, f.area())).unwrap();
        std::mem::take(&mut terminal.backend_mut().out)
    }

    fn terminal(depth: Depth) -> Terminal<Screen<Vec<u8>>> {
        Terminal::new(Screen::new(Vec::new(), depth, Some(Size { width: 40, height: 4 }))).unwrap()
    }

    #[test]
    fn an_unchanged_frame_writes_nothing_and_a_changed_digit_little() {
        let mut t = terminal(Depth::TrueColor);
        let red = Style::new().fg(Color::Rgb(255, 0, 0));
        assert!(!draw(&mut t, Line::styled("loss 1.98", red)).is_empty());
        assert!(draw(&mut t, Line::styled("loss 1.98", red)).is_empty());
        let bytes = draw(&mut t, Line::styled("loss 1.97", red));
        assert_eq!(String::from_utf8(bytes).unwrap(), "\u{1b}[?2026h\u{1b}[1;9H7\u{1b}[?2026l");
    }

    #[test]
    fn the_screen_equals_what_was_drawn() {
        let mut parser = vt100::Parser::new(4.try_into().unwrap(), 40.try_into().unwrap(), 0);
        let mut t = terminal(Depth::Ansi256);
        for text in ["plain", "漢字 wide", "e\u{301} combined ⣿⡇", "last"] {
            let line = Line::from(vec![Span::styled(text, Style::new().bold().fg(Color::Rgb(1, 200, 3))), Span::raw(" | "), "x".into()]);
            parser.process(&draw(&mut t, line));
            assert_eq!(parser.screen().contents().trim_end(), format!("{text} | x"));
        }
        assert!(parser.screen().cell(0, 0).is_some_and(|c| c.bold() && c.fgcolor() != vt100::Color::Default));
    }

    #[test]
    fn a_resized_terminal_may_have_moved_its_cursor() {
        let mut t = terminal(Depth::Mono);
        draw(&mut t, Line::raw("first row"));
        draw(&mut t, Line::raw("first low"));
        let mut parser = vt100::Parser::new(3.try_into().unwrap(), 20.try_into().unwrap(), 0);
        parser.process(b"\x1b[3;5H");
        t.backend_mut().size = Some(Size { width: 20, height: 3 });
        parser.process(&draw(&mut t, Line::raw("it is here")));
        assert_eq!(parser.screen().contents().lines().next(), Some("it is here"));
    }

    #[test]
    fn no_colour_keeps_weight_and_no_control_character_passes() {
        let mut t = terminal(Depth::Mono);
        let bytes = draw(&mut t, Line::styled("x", Style::new().bold().fg(Color::Red).bg(Color::Blue)));
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("\u{1b}[1m") && !text.contains("[31") && !text.contains(";31") && !text.contains("44"), "{text:?}");
        let mut screen = Screen::new(Vec::new(), Depth::Mono, Some(Size { width: 40, height: 4 }));
        for symbol in ["\u{1b}", "\u{9b}"] {
            screen.put(Position::default(), &Cell::new(symbol));
        }
        screen.flush().unwrap();
        let text = String::from_utf8(screen.out).unwrap();
        assert_eq!(text.matches('\u{fffd}').count(), 2);
        assert!(!text.contains('\u{9b}'));
    }

    #[test]
    fn yanks_are_base64_and_pass_through_tmux() {
        assert_eq!(yank_sequence("hi!", false), "\u{1b}]52;c;aGkh\u{7}");
        assert_eq!(yank_sequence("hi", false), "\u{1b}]52;c;aGk=\u{7}");
        assert_eq!(yank_sequence("h", true), "\u{1b}Ptmux;\u{1b}\u{1b}]52;c;aA==\u{7}\u{1b}\\");
        assert!(!notify_sequence("a\u{7}b\u{1b}", false)[1..].trim_end_matches('\u{7}').contains('\u{7}'));
    }
}
