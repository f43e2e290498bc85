//! The input thread: reads the terminal's bytes and hands on whole events. Sequences that arrive in pieces or late, and
//! answers to questions that somebody else asked, are put together or swallowed, so that their letters are never taken
//! for keys. Deliberately not here: what a key does.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

/// How long a lone Esc waits for the rest of a sequence before it is the key.
const ESC_WAIT: Duration = Duration::from_millis(40);
/// How long after an Esc the rest of its sequence may still come, on a slow line; and silence that ends a sequence whose end was lost.
const LATE: Duration = Duration::from_millis(500);
/// The longest sequence that is looked at; what is longer is swallowed.
const LONGEST: usize = 64;
/// The most text that one paste may bring.
const PASTE: usize = 8 << 20;

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Event(Event),
    /// The terminal's answer to the question for its status (`CSI 0 n`).
    Answer,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Ground,
    /// An Esc came, and perhaps more.
    Esc,
    /// Within `Esc [`: its bytes so far. `late`: its Esc was handed on as a key already.
    Csi {
        bytes: Vec<u8>,
        late: bool,
    },
    /// After `Esc O`.
    Ss3 {
        late: bool,
    },
    /// Within a string (a colour reply and the like) until BEL or `Esc \`. `esc`: an Esc came last.
    Str {
        esc: bool,
    },
    /// Within a bracketed paste.
    Paste(Vec<u8>),
    /// Within a character of several bytes.
    Utf8 {
        bytes: Vec<u8>,
        need: usize,
        alt: bool,
    },
}

/// The parser; time is handed in.
#[derive(Debug)]
pub struct Parser {
    state: State,
    /// When the last Esc was handed on as a key.
    esc_at: Option<Instant>,
    last: Option<Instant>,
}

impl Default for Parser {
    fn default() -> Self {
        Self { state: State::Ground, esc_at: None, last: None }
    }
}

const END_OF_PASTE: &[u8] = b"\x1b[201~";
/// The terminal's answer to the question for its status.
const ANSWER: &[u8] = b"\x1b[0n";

impl Parser {
    /// How long to wait for more before calling [`Self::silence`]; none: nothing is held back. Where an answer of the
    /// terminal is due, a lone Esc may well be its beginning, and the answer's own Esc tells that it was not.
    pub fn wait(&self, answer_due: bool) -> Option<Duration> {
        (self.state == State::Esc).then_some(if answer_due { LATE } else { ESC_WAIT })
    }

    /// No byte came for as long as [`Self::wait`] said.
    pub fn silence(&mut self, now: Instant, out: &mut Vec<Heard>) {
        if self.state == State::Esc {
            self.state = State::Ground;
            self.esc_at = Some(now);
            out.push(key(KeyCode::Esc, KeyModifiers::NONE));
        }
    }

    /// Bytes as they were read.
    pub fn push(&mut self, bytes: &[u8], now: Instant, out: &mut Vec<Heard>) {
        let gap = self.last.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if gap > LATE && !matches!(self.state, State::Esc | State::Paste(_)) {
            self.state = State::Ground;
        }
        if gap > 4 * LATE
            && let State::Paste(text) = &self.state
        {
            // Its end was lost.
            out.push(pasted(text));
            self.state = State::Ground;
        }
        for byte in bytes {
            self.byte(*byte, now, out);
        }
    }

    fn byte(&mut self, b: u8, now: Instant, out: &mut Vec<Heard>) {
        match std::mem::replace(&mut self.state, State::Ground) {
            State::Ground => self.ground(b, false, now, out),
            State::Esc => self.after_esc(b, now, out),
            State::Csi { mut bytes, late } => match b {
                0x1b => self.state = State::Esc,
                0x20..=0x3f => {
                    if bytes.len() < LONGEST {
                        bytes.push(b);
                    }
                    self.state = State::Csi { bytes, late };
                }
                // The Linux console writes F1 to F5 as `Esc [ [ A`.
                b'[' if bytes.is_empty() => self.state = State::Csi { bytes: vec![b'['], late },
                b'~' if bytes == b"200" => self.state = State::Paste(Vec::new()),
                b'n' if bytes == b"0" => out.push(Heard::Answer),
                0x40..=0x7e if !late => out.extend(sequence(&bytes, b).map(Heard::Event)),
                0x40..=0x7e => {}
                _ => self.ground(b, false, now, out),
            },
            State::Ss3 { late } => match b {
                0x1b => self.state = State::Esc,
                0x30..=0x7e if !late => out.extend(sequence(b"", b).map(Heard::Event)),
                0x30..=0x7e => {}
                _ => self.ground(b, false, now, out),
            },
            State::Str { esc } => match b {
                0x07 | 0x18 | 0x1a => {}
                b'\\' if esc => {}
                _ => self.state = State::Str { esc: b == 0x1b },
            },
            State::Paste(mut text) => {
                text.push(b);
                if text.ends_with(ANSWER) {
                    // The terminal answers when it is asked, also between two pieces of a long paste.
                    text.truncate(text.len() - ANSWER.len());
                    out.push(Heard::Answer);
                    self.state = State::Paste(text);
                } else if text.ends_with(END_OF_PASTE) {
                    text.truncate(text.len() - END_OF_PASTE.len());
                    text.truncate(PASTE);
                    out.push(pasted(&text));
                } else {
                    if text.len() > PASTE + END_OF_PASTE.len() {
                        // What is too much is forgotten, but its end must still be seen.
                        text.drain(PASTE..text.len() - END_OF_PASTE.len());
                    }
                    self.state = State::Paste(text);
                }
            }
            State::Utf8 { mut bytes, need, alt } => {
                if b & 0xc0 != 0x80 {
                    return self.ground(b, false, now, out);
                }
                bytes.push(b);
                if bytes.len() < need {
                    self.state = State::Utf8 { bytes, need, alt };
                } else if let Some(c) = std::str::from_utf8(&bytes).ok().and_then(|s| s.chars().next()) {
                    out.push(key(KeyCode::Char(c), if alt { KeyModifiers::ALT } else { KeyModifiers::NONE }));
                }
            }
        }
    }

    fn after_esc(&mut self, b: u8, now: Instant, out: &mut Vec<Heard>) {
        match b {
            b'[' => self.state = State::Csi { bytes: Vec::new(), late: false },
            b'O' => self.state = State::Ss3 { late: false },
            b']' | b'P' | b'_' | b'^' | b'X' => self.state = State::Str { esc: false },
            0x1b => {
                out.push(key(KeyCode::Esc, KeyModifiers::NONE));
                self.state = State::Esc;
            }
            _ => self.ground(b, true, now, out),
        }
    }

    fn ground(&mut self, b: u8, alt: bool, now: Instant, out: &mut Vec<Heard>) {
        let after_esc = self.esc_at.take().is_some_and(|at| now.saturating_duration_since(at) < LATE);
        if after_esc && !alt {
            match b {
                b'[' => return self.state = State::Csi { bytes: Vec::new(), late: true },
                b'O' => return self.state = State::Ss3 { late: true },
                b']' => return self.state = State::Str { esc: false },
                _ => {}
            }
        }
        let with = |flags| if alt { flags | KeyModifiers::ALT } else { flags };
        let event = match b {
            0x1b => return self.state = State::Esc,
            b'\r' => key(KeyCode::Enter, with(KeyModifiers::NONE)),
            b'\t' => key(KeyCode::Tab, with(KeyModifiers::NONE)),
            0x7f | 0x08 => key(KeyCode::Backspace, with(KeyModifiers::NONE)),
            0 => key(KeyCode::Char(' '), with(KeyModifiers::CONTROL)),
            1..=26 => key(KeyCode::Char(char::from(b'a' + b - 1)), with(KeyModifiers::CONTROL)),
            28..=31 => key(KeyCode::Char(char::from(b'4' + b - 28)), with(KeyModifiers::CONTROL)),
            0x20..=0x7e => {
                let c = char::from(b);
                let shift = if c.is_ascii_uppercase() { KeyModifiers::SHIFT } else { KeyModifiers::NONE };
                key(KeyCode::Char(c), with(shift))
            }
            0xc2..=0xf4 => {
                let need = if b < 0xe0 {
                    2
                } else if b < 0xf0 {
                    3
                } else {
                    4
                };
                self.state = State::Utf8 { bytes: vec![b], need, alt };
                return;
            }
            _ => return,
        };
        out.push(event);
    }
}

fn pasted(text: &[u8]) -> Heard {
    Heard::Event(Event::Paste(String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n")))
}

fn key(code: KeyCode, modifiers: KeyModifiers) -> Heard {
    Heard::Event(pressed(code, modifiers))
}

fn pressed(code: KeyCode, modifiers: KeyModifiers) -> Event {
    Event::Key(KeyEvent::new(code, modifiers))
}

/// What a control sequence says, of those that matter; everything else is swallowed.
fn sequence(bytes: &[u8], end: u8) -> Option<Event> {
    let text = std::str::from_utf8(bytes).ok()?;
    if let Some(mouse) = text.strip_prefix('<') {
        return mouse_event(mouse, end);
    }
    match (text, end) {
        ("", b'I') => return Some(Event::FocusGained),
        // Focus lost, and not F-key or arrow.
        ("", b'O') => return Some(Event::FocusLost),
        _ => {}
    }
    if let Some(rest) = text.strip_prefix('[') {
        let n = end.checked_sub(b'A').filter(|n| rest.is_empty() && *n < 5)?;
        return Some(pressed(KeyCode::F(n + 1), KeyModifiers::NONE));
    }
    if text.starts_with(['?', '>', '=']) {
        return None;
    }
    let mut numbers = text.split(';').map(|p| p.split(':').next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(1));
    let first = numbers.next().unwrap_or(1);
    let modifiers = modifiers(numbers.next().unwrap_or(1));
    let code = match end {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'H' => KeyCode::Home,
        b'F' => KeyCode::End,
        b'Z' => KeyCode::BackTab,
        // `Esc [ row ; column R` is where the cursor is, and not F3.
        b'R' if first != 1 => return None,
        b'P'..=b'S' => KeyCode::F(end - b'P' + 1),
        b'~' => match first {
            1 | 7 => KeyCode::Home,
            2 => KeyCode::Insert,
            3 => KeyCode::Delete,
            4 | 8 => KeyCode::End,
            5 => KeyCode::PageUp,
            6 => KeyCode::PageDown,
            11..=15 => KeyCode::F(first as u8 - 10),
            17..=21 => KeyCode::F(first as u8 - 11),
            23..=26 => KeyCode::F(first as u8 - 12),
            _ => return None,
        },
        // `CSI u`: a key by its number, from terminals that were told so by somebody.
        b'u' => match first {
            13 => KeyCode::Enter,
            9 => KeyCode::Tab,
            27 => KeyCode::Esc,
            127 => KeyCode::Backspace,
            _ => KeyCode::Char(char::from_u32(first).filter(|c| !c.is_control())?),
        },
        _ => return None,
    };
    Some(pressed(code, modifiers))
}

/// As xterm codes them: one more than the sum of 1 (Shift), 2 (Alt) and 4 (Ctrl).
fn modifiers(code: u32) -> KeyModifiers {
    let bits = code.saturating_sub(1);
    let mut out = KeyModifiers::NONE;
    for (bit, flag) in [(1, KeyModifiers::SHIFT), (2, KeyModifiers::ALT), (4, KeyModifiers::CONTROL)] {
        if bits & bit != 0 {
            out |= flag;
        }
    }
    out
}

/// SGR mouse reports: `button ; column ; row`, `M` pressed, `m` released.
fn mouse_event(text: &str, end: u8) -> Option<Event> {
    let mut numbers = text.split(';').map(str::parse::<u16>);
    let (button, column, row) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    let which = match button & 3 {
        0 => MouseButton::Left,
        1 => MouseButton::Middle,
        _ => MouseButton::Right,
    };
    let kind = match (button & 0b1110_0011, end) {
        (64, _) => MouseEventKind::ScrollUp,
        (65, _) => MouseEventKind::ScrollDown,
        (66, _) => MouseEventKind::ScrollLeft,
        (67, _) => MouseEventKind::ScrollRight,
        (35, _) => MouseEventKind::Moved,
        (32..=34, _) => MouseEventKind::Drag(which),
        (0..=2, b'M') => MouseEventKind::Down(which),
        (0..=2, b'm') => MouseEventKind::Up(which),
        _ => return None,
    };
    let mut modifiers = KeyModifiers::NONE;
    for (bit, flag) in [(4, KeyModifiers::SHIFT), (8, KeyModifiers::ALT), (16, KeyModifiers::CONTROL)] {
        if button & bit != 0 {
            modifiers |= flag;
        }
    }
    Some(Event::Mouse(MouseEvent { kind, column: column.saturating_sub(1), row: row.saturating_sub(1), modifiers }))
}

/// Reads the terminal until nobody listens or it is gone; everything comes with the moment at which it was read, a later
/// one for what came later. `answer_due`: whether an answer of the terminal is waited for.
pub fn run(answer_due: impl Fn() -> bool, mut send: impl FnMut(Heard, Instant) -> bool) {
    // The terminal itself, whatever standard input is; without a controlling one, standard input.
    let given = || std::io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let Ok(mut terminal) = std::fs::File::open("/dev/tty").or_else(|_| given()) else { return };
    let mut parser = Parser::default();
    let (mut out, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let ready = match parser.wait(answer_due()) {
            Some(wait) => poll(terminal.as_raw_fd(), wait),
            None => true,
        };
        let now = if ready {
            let read = terminal.read(&mut buffer);
            let now = Instant::now();
            match read {
                Ok(0) => return,
                Ok(n) => parser.push(&buffer[..n], now, &mut out),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                // The terminal is gone; the caller ends the workbench as a hang-up would.
                Err(_) => return,
            }
            now
        } else {
            let now = Instant::now();
            parser.silence(now, &mut out);
            now
        };
        // Of two things in one piece the first was there before the second, and what a key may answer depends on it.
        if !out.drain(..).enumerate().all(|(i, heard)| send(heard, now + Duration::from_nanos(i as u64))) {
            return;
        }
    }
}

/// Whether there is something to read within `wait`.
fn poll(fd: RawFd, wait: Duration) -> bool {
    let mut asked = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd, of a descriptor that outlives the call.
    unsafe { libc::poll(&raw mut asked, 1, wait.as_millis() as i32) > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `(pause before it in ms, bytes)`; a pause longer than the parser's wait counts as silence.
    fn hear(answer_due: bool, pieces: &[(u64, &[u8])]) -> Vec<Heard> {
        let (mut parser, mut out, mut now) = (Parser::default(), Vec::new(), Instant::now());
        for (pause, bytes) in pieces {
            let pause = Duration::from_millis(*pause);
            if let Some(wait) = parser.wait(answer_due).filter(|w| pause > *w) {
                parser.silence(now + wait, &mut out);
            }
            now += pause;
            parser.push(bytes, now, &mut out);
        }
        if let Some(wait) = parser.wait(answer_due) {
            parser.silence(now + wait, &mut out);
        }
        out
    }

    fn feed(pieces: &[(u64, &[u8])]) -> Vec<Event> {
        let event = |heard| if let Heard::Event(event) = heard { Some(event) } else { None };
        hear(false, pieces).into_iter().filter_map(event).collect()
    }

    use super::pressed as key;

    fn plain(code: KeyCode) -> Event {
        key(code, KeyModifiers::NONE)
    }

    fn x() -> Event {
        plain(KeyCode::Char('x'))
    }

    #[test]
    fn keys_are_read_as_terminals_write_them() {
        let cases: &[(&[u8], Event)] = &[
            (b"a", plain(KeyCode::Char('a'))),
            (b"G", key(KeyCode::Char('G'), KeyModifiers::SHIFT)),
            ("ä".as_bytes(), plain(KeyCode::Char('ä'))),
            ("漢".as_bytes(), plain(KeyCode::Char('漢'))),
            (b"\r", plain(KeyCode::Enter)),
            (b"\n", key(KeyCode::Char('j'), KeyModifiers::CONTROL)),
            (b"\x03", key(KeyCode::Char('c'), KeyModifiers::CONTROL)),
            (b"\x7f", plain(KeyCode::Backspace)),
            (b"\x1b", plain(KeyCode::Esc)),
            (b"\x1bx", key(KeyCode::Char('x'), KeyModifiers::ALT)),
            (b"\x1b[A", plain(KeyCode::Up)),
            (b"\x1bOB", plain(KeyCode::Down)),
            (b"\x1b[1;5C", key(KeyCode::Right, KeyModifiers::CONTROL)),
            (b"\x1b[Z", plain(KeyCode::BackTab)),
            (b"\x1b[3~", plain(KeyCode::Delete)),
            (b"\x1b[24~", plain(KeyCode::F(12))),
            (b"\x1bOP", plain(KeyCode::F(1))),
            (b"\x1b[11~", plain(KeyCode::F(1))),
            (b"\x1b[[A", plain(KeyCode::F(1))),
            (b"\x1b[99;5u", key(KeyCode::Char('c'), KeyModifiers::CONTROL)),
            (b"\x1b[I", Event::FocusGained),
            (b"\x1b[O", Event::FocusLost),
            (b"\x1b[200~two\r\nlines \x1b[A\x1b[201~", Event::Paste("two\nlines \u{1b}[A".into())),
        ];
        for (bytes, event) in cases {
            assert_eq!(feed(&[(0, bytes)]), std::slice::from_ref(event), "{:?}", String::from_utf8_lossy(bytes));
            // The same in pieces of one byte, as a slow line brings them.
            let pieces: Vec<(u64, &[u8])> = bytes.chunks(1).map(|c| (10, c)).collect();
            assert_eq!(feed(&pieces), std::slice::from_ref(event), "{:?} in pieces", String::from_utf8_lossy(bytes));
        }
        let click = MouseEvent { kind: MouseEventKind::Down(MouseButton::Left), column: 4, row: 9, modifiers: KeyModifiers::NONE };
        assert_eq!(feed(&[(0, b"\x1b[<0;5;10M")]), [Event::Mouse(click)]);
        let wheel = MouseEvent { kind: MouseEventKind::ScrollDown, column: 0, row: 0, modifiers: KeyModifiers::CONTROL };
        assert_eq!(feed(&[(0, b"\x1b[<81;1;1M")]), [Event::Mouse(wheel)]);
    }

    #[test]
    fn a_late_sequence_is_an_escape_and_nothing_more() {
        assert_eq!(feed(&[(0, b"\x1b"), (200, b"["), (200, b"A")]), [plain(KeyCode::Esc)]);
        assert_eq!(feed(&[(0, b"\x1b"), (200, b"[1;5"), (200, b"C"), (1, b"x")]), [plain(KeyCode::Esc), x()]);
        assert_eq!(feed(&[(0, b"\x1b"), (200, b"q")]), [plain(KeyCode::Esc), plain(KeyCode::Char('q'))]);
        assert_eq!(feed(&[(0, b"\x1b"), (600, b"["), (1, b"x")]).len(), 3);
        assert_eq!(feed(&[(0, b"\x1b\x1b")]), [plain(KeyCode::Esc), plain(KeyCode::Esc)]);
    }

    #[test]
    fn replies_and_unknown_sequences_are_swallowed() {
        let replies: [&[u8]; 8] = [
            b"\x1b]11;rgb:qqqq/qqqq/qqqq\x07",
            b"\x1b]4;1;rgb:0/0/0\x1b\\",
            b"\x1bP>|terminal q\x1b\\",
            b"\x1b[?62;4q",
            b"\x1b[?997;1n",
            b"\x1b[?2026;2$y",
            b"\x1b[12;40R",
            b"\x1b[8;24;80t",
        ];
        for reply in replies {
            let mut bytes = reply.to_vec();
            bytes.push(b'x');
            assert_eq!(feed(&[(0, &bytes)]), [x()], "{:?}", String::from_utf8_lossy(reply));
            let pieces: Vec<(u64, &[u8])> = bytes.chunks(1).map(|c| (5, c)).collect();
            assert_eq!(feed(&pieces), [x()], "{:?} in pieces", String::from_utf8_lossy(reply));
        }
        // One whose end was lost does not swallow what a person types later.
        assert_eq!(feed(&[(0, b"\x1b]11;rgb:15"), (600, b"x")]), [x()]);
        assert_eq!(feed(&[(0, b"\x1b[?99"), (600, b"x")]), [x()]);
        // Bytes that are no UTF-8 are dropped.
        assert_eq!(feed(&[(0, b"\xff\xc3x")]), [x()]);
    }

    #[test]
    fn an_answer_is_no_key_however_it_comes() {
        let answered = [Heard::Answer, Heard::Event(x())];
        assert_eq!(hear(true, &[(0, b"\x1b[0nx")]), answered);
        for pause in [1, 60, 300] {
            let pieces: Vec<(u64, &[u8])> = b"\x1b[0nx".chunks(1).map(|c| (pause, c)).collect();
            assert_eq!(hear(true, &pieces), answered, "{pause} ms between its bytes");
        }
        // An Esc that was typed is told from one that begins an answer by the answer.
        let esc = Heard::Event(plain(KeyCode::Esc));
        assert_eq!(hear(true, &[(0, b"\x1b"), (100, b"\x1b[0n")]), [esc.clone(), Heard::Answer]);
        // One that came too late for that is an answer still, and its letters are nothing.
        assert_eq!(hear(false, &[(0, b"\x1b"), (200, b"[0n"), (0, b"x")]), [esc, Heard::Answer, Heard::Event(x())]);
        let pasted = Heard::Event(Event::Paste("one two".into()));
        assert_eq!(hear(true, &[(0, b"\x1b[200~one"), (5, b"\x1b[0"), (5, b"n two\x1b[201~")]), [Heard::Answer, pasted]);
    }

    #[test]
    fn a_paste_without_bound_ends_all_the_same() {
        let mut bytes = b"\x1b[200~".to_vec();
        bytes.extend(std::iter::repeat_n(b'a', PASTE + 100));
        bytes.extend_from_slice(b"\x1b[201~x");
        let events = feed(&[(0, &bytes)]);
        assert!(matches!(&events[..], [Event::Paste(text), last] if text.len() == PASTE && *last == x()), "{}", events.len());
    }
}
