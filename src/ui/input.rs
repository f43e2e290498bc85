//! The input thread: reads the terminal and hands on whole events. Sequences that arrive in pieces, late or as an
//! answer to somebody's question are put together or swallowed, so that their letters are never taken for keys.
//! Deliberately not here: what a key does.

use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// How long a lone Esc waits for the rest of a sequence before it is the key.
const ESC_WAIT: Duration = Duration::from_millis(40);
/// How long after an Esc the rest of its sequence may still come, on a slow line.
const LATE: Duration = Duration::from_millis(500);
/// Silence that ends a string sequence whose end was lost.
const GAP: Duration = Duration::from_millis(300);

#[derive(Clone, Debug, PartialEq)]
enum State {
    Ground,
    /// An Esc came, and perhaps more.
    Esc,
    /// Within a control sequence: its parameters so far. `late`: its Esc was handed on as a key already.
    Csi {
        params: String,
        late: bool,
    },
    /// After `Esc O`.
    Ss3 {
        late: bool,
    },
    /// Within a string (a colour reply and the like), which nobody asked for.
    Str,
    /// Within a paste whose beginning came in pieces.
    Paste(String),
}

/// The filter; time is handed in.
#[derive(Debug)]
pub struct Sieve {
    state: State,
    /// When the last Esc was handed on as a key.
    esc_at: Option<Instant>,
    last: Option<Instant>,
}

impl Default for Sieve {
    fn default() -> Self {
        Self { state: State::Ground, esc_at: None, last: None }
    }
}

impl Sieve {
    /// How long to wait for more before calling [`Self::silence`]; none: nothing is held back.
    pub fn wait(&self) -> Option<Duration> {
        match self.state {
            State::Esc | State::Paste(_) => Some(ESC_WAIT),
            _ => None,
        }
    }

    /// No event came for as long as [`Self::wait`] said.
    pub fn silence(&mut self, now: Instant, out: &mut Vec<Event>) {
        match std::mem::replace(&mut self.state, State::Ground) {
            State::Esc => {
                self.esc_at = Some(now);
                out.push(key(KeyCode::Esc, KeyModifiers::NONE));
            }
            State::Paste(text) => out.push(Event::Paste(text)),
            other => self.state = other,
        }
    }

    /// One event as the terminal library read it.
    pub fn push(&mut self, event: Event, now: Instant, out: &mut Vec<Event>) {
        let gap = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last = Some(now);
        if matches!(self.state, State::Str) && gap > GAP || matches!(self.state, State::Csi { .. } | State::Ss3 { .. }) && gap > LATE {
            self.state = State::Ground;
        }
        let Event::Key(press) = &event else {
            self.silence(now, out);
            out.push(event);
            return;
        };
        if press.kind == KeyEventKind::Release {
            return;
        }
        let plain = match press.code {
            KeyCode::Char(c) if (press.modifiers - KeyModifiers::SHIFT).is_empty() => Some(c),
            _ => None,
        };
        match std::mem::replace(&mut self.state, State::Ground) {
            State::Ground => self.ground(press, plain, now, out),
            State::Esc => match plain {
                Some('[') => self.state = State::Csi { params: String::new(), late: false },
                Some('O') => self.state = State::Ss3 { late: false },
                Some(']' | 'P' | '_' | '^') => self.state = State::Str,
                _ => {
                    self.esc_at = Some(now);
                    out.push(key(KeyCode::Esc, KeyModifiers::NONE));
                    self.ground(press, plain, now, out);
                }
            },
            State::Csi { mut params, late } => match plain {
                Some(c) if (' '..='?').contains(&c) && params.len() < 32 => {
                    params.push(c);
                    self.state = State::Csi { params, late };
                }
                Some('~') if params == "200" => self.state = State::Paste(String::new()),
                Some(c) if ('@'..='~').contains(&c) && !late => out.extend(decode(&params, c)),
                Some(c) if ('@'..='~').contains(&c) => {}
                _ => self.ground(press, plain, now, out),
            },
            State::Ss3 { late } => match plain {
                Some(c) if c.is_ascii_alphabetic() && !late => out.extend(decode("", c)),
                Some(c) if c.is_ascii_alphabetic() => {}
                _ => self.ground(press, plain, now, out),
            },
            State::Str => {
                let bell = press.code == KeyCode::Char('g') && press.modifiers == KeyModifiers::CONTROL;
                let terminator = press.code == KeyCode::Char('\\') && press.modifiers.contains(KeyModifiers::ALT);
                if !bell && !terminator {
                    self.state = State::Str;
                }
            }
            State::Paste(mut text) => {
                match (press.code, plain) {
                    (_, Some(c)) => text.push(c),
                    (KeyCode::Enter, _) => text.push('\n'),
                    (KeyCode::Char('j'), _) => text.push('\n'),
                    (KeyCode::Tab, _) => text.push('\t'),
                    _ => {}
                }
                self.state = State::Paste(text);
            }
        }
    }

    fn ground(&mut self, press: &KeyEvent, plain: Option<char>, now: Instant, out: &mut Vec<Event>) {
        let after_esc = self.esc_at.take().is_some_and(|at| now.saturating_duration_since(at) < LATE);
        let alt = press.modifiers.contains(KeyModifiers::ALT);
        match (press.code, plain) {
            (KeyCode::Esc, _) if press.modifiers.is_empty() => self.state = State::Esc,
            (_, Some('[')) if after_esc => self.state = State::Csi { params: String::new(), late: true },
            (_, Some('O')) if after_esc => self.state = State::Ss3 { late: true },
            (_, Some(']')) if after_esc => self.state = State::Str,
            // A string sequence in one piece: the library reads its beginning as Alt and a letter.
            (KeyCode::Char(']' | 'P' | '_' | '^' | 'X'), _) if alt => self.state = State::Str,
            _ => out.push(Event::Key(*press)),
        }
    }
}

fn key(code: KeyCode, modifiers: KeyModifiers) -> Event {
    Event::Key(KeyEvent::new(code, modifiers))
}

/// The keys that matter of what may come as a control sequence; everything else is swallowed.
fn decode(params: &str, end: char) -> Option<Event> {
    let mut numbers = params.split(';').map(|p| p.parse::<u8>().unwrap_or(1));
    let first = numbers.next().unwrap_or(1);
    let bits = numbers.next().unwrap_or(1).saturating_sub(1);
    let mut modifiers = KeyModifiers::NONE;
    for (bit, flag) in [(1, KeyModifiers::SHIFT), (2, KeyModifiers::ALT), (4, KeyModifiers::CONTROL)] {
        if bits & bit != 0 {
            modifiers |= flag;
        }
    }
    let code = match (end, first) {
        ('A', _) => KeyCode::Up,
        ('B', _) => KeyCode::Down,
        ('C', _) => KeyCode::Right,
        ('D', _) => KeyCode::Left,
        ('H', _) | ('~', 1 | 7) => KeyCode::Home,
        ('F', _) | ('~', 4 | 8) => KeyCode::End,
        ('Z', _) => KeyCode::BackTab,
        ('~', 3) => KeyCode::Delete,
        ('~', 5) => KeyCode::PageUp,
        ('~', 6) => KeyCode::PageDown,
        ('P', _) => KeyCode::F(1),
        _ => return None,
    };
    Some(key(code, modifiers))
}

/// Reads the terminal until nobody listens; every event comes with the moment at which it was read.
pub fn run(mut send: impl FnMut(Event, Instant) -> bool) {
    let mut sieve = Sieve::default();
    let mut out = Vec::new();
    loop {
        let ready = match sieve.wait() {
            Some(wait) => crossterm::event::poll(wait),
            None => Ok(true),
        };
        let now = match ready {
            Ok(true) => match crossterm::event::read() {
                Ok(event) => {
                    let now = Instant::now();
                    sieve.push(event, now, &mut out);
                    now
                }
                // The terminal is gone; the hang-up signal ends the workbench.
                Err(_) => return,
            },
            Ok(false) => {
                let now = Instant::now();
                sieve.silence(now, &mut out);
                now
            }
            Err(_) => return,
        };
        if !out.drain(..).all(|event| send(event, now)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `(pause before it, event)`; a pause longer than the sieve's wait counts as silence.
    fn feed(events: &[(u64, Event)]) -> Vec<Event> {
        let (mut sieve, mut out, mut now) = (Sieve::default(), Vec::new(), Instant::now());
        for (pause, event) in events {
            let pause = Duration::from_millis(*pause);
            if sieve.wait().is_some_and(|w| pause > w) {
                sieve.silence(now + ESC_WAIT, &mut out);
            }
            now += pause;
            sieve.push(event.clone(), now, &mut out);
        }
        if sieve.wait().is_some() {
            sieve.silence(now + ESC_WAIT, &mut out);
        }
        out
    }

    fn chars(text: &str) -> Vec<(u64, Event)> {
        text.chars().map(|c| (1, key(if c == '\u{1b}' { KeyCode::Esc } else { KeyCode::Char(c) }, KeyModifiers::NONE))).collect()
    }

    #[test]
    fn an_arrow_in_pieces_is_an_arrow() {
        assert_eq!(feed(&chars("\u{1b}[A")), [key(KeyCode::Up, KeyModifiers::NONE)]);
        assert_eq!(feed(&chars("\u{1b}[1;5C")), [key(KeyCode::Right, KeyModifiers::CONTROL)]);
        assert_eq!(feed(&chars("\u{1b}OBx")), [key(KeyCode::Down, KeyModifiers::NONE), key(KeyCode::Char('x'), KeyModifiers::NONE)]);
    }

    #[test]
    fn a_late_sequence_is_an_escape_and_nothing_more() {
        let late: Vec<_> = chars("\u{1b}[A").into_iter().map(|(_, e)| (200, e)).collect();
        assert_eq!(feed(&late), [key(KeyCode::Esc, KeyModifiers::NONE)]);
        let esc_then_q: Vec<_> = chars("\u{1b}q").into_iter().map(|(_, e)| (200, e)).collect();
        assert_eq!(feed(&esc_then_q).len(), 2);
    }

    #[test]
    fn colour_replies_and_unknown_sequences_are_swallowed() {
        let mut reply = vec![(0, key(KeyCode::Char(']'), KeyModifiers::ALT))];
        reply.extend(chars("11;rgb:1515/1717/1c1c"));
        reply.push((0, key(KeyCode::Char('g'), KeyModifiers::CONTROL)));
        reply.extend(chars("q"));
        assert_eq!(feed(&reply), [key(KeyCode::Char('q'), KeyModifiers::NONE)]);
        assert_eq!(feed(&chars("\u{1b}[?997;1n")), []);
        let mut lost_end = vec![(0, key(KeyCode::Char(']'), KeyModifiers::ALT))];
        lost_end.extend(chars("11;rgb:15"));
        lost_end.push((400, key(KeyCode::Char('x'), KeyModifiers::NONE)));
        assert_eq!(feed(&lost_end), [key(KeyCode::Char('x'), KeyModifiers::NONE)]);
    }

    #[test]
    fn two_escapes_and_a_paste_in_pieces() {
        assert_eq!(feed(&chars("\u{1b}\u{1b}")).len(), 2);
        assert_eq!(feed(&chars("\u{1b}[200~q:x")), [Event::Paste("q:x".into())]);
    }
}
