//! Drives the shell without a terminal and without an engine: feed it frames of an engine, keys and times, and read
//! the screen as text. The tests of all panes use it.
//! Deliberately not here: the event loop and real terminals, which tests of the binary drive in a pty.

use std::time::{Duration, Instant};

use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::pane::Pane;
use super::panes;
use super::shell::{Out, Setup, Shell};
use super::world::{Loaded, World};
use crate::engine::protocol::Up;
use crate::report::{Event, JobId, Report, SCHEMA};

pub struct Harness {
    pub shell: Shell,
    /// The clock of the screen; stands still unless a test moves it.
    pub now_ms: u64,
    terminal: Terminal<TestBackend>,
    read: Instant,
    seq: u64,
    out: Vec<Out>,
}

impl Harness {
    /// A workbench of all panes on a project called `demo-project`, with an engine that has said hello.
    pub fn new(width: u16, height: u16) -> Self {
        Self::with(panes::all(), Setup::default(), width, height)
    }

    pub fn with(panes: Vec<Box<dyn Pane>>, setup: Setup, width: u16, height: u16) -> Self {
        let Ok(terminal) = Terminal::new(TestBackend::new(width, height));
        let shell = Shell::new(World::new("demo-project".into()), panes, setup);
        // 2026-01-01 12:00:00 UTC
        let mut harness = Self { shell, now_ms: 1_767_268_800_000, terminal, read: Instant::now(), seq: 0, out: Vec::new() };
        harness.up(Up::Hello { schema: SCHEMA, version: "0.1.0".into(), device: "cpu".into(), threads: 2, outlives: true });
        harness.shell.begin(&[], harness.now_ms);
        harness.draw();
        harness.out();
        harness
    }

    /// Time passes, for the screen's clock and for the terminal's.
    pub fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        self.read += Duration::from_millis(ms);
    }

    pub fn resize(&mut self, width: u16, height: u16) {
        self.terminal.backend_mut().resize(width, height);
    }

    /// A frame of the engine.
    pub fn up(&mut self, up: Up) {
        self.shell.up(up, self.now_ms);
    }

    /// One report of a job, with the next sequence number.
    pub fn report(&mut self, job: u64, report: Report) {
        let event = Event { job: JobId(job), seq: self.seq, at_ms: self.now_ms, report };
        self.seq += 1;
        self.up(Up::Events(vec![event]));
    }

    /// An answer of the loader.
    pub fn loaded(&mut self, answer: Loaded) {
        self.shell.loaded(answer, self.now_ms);
    }

    /// Keys by their names, separated by blanks, each after a frame: `"g t j enter"`, `"ctrl-g c"`.
    pub fn keys(&mut self, names: &str) {
        for name in names.split_whitespace() {
            self.press(key(name));
            self.draw();
        }
    }

    /// One key with no frame before or after it: what is typed ahead.
    pub fn press(&mut self, key: KeyEvent) {
        self.read += Duration::from_millis(1);
        self.shell.input(Input::Key(key), self.read, self.now_ms);
        self.out.extend(self.shell.take());
    }

    /// Any event of the terminal.
    pub fn input(&mut self, event: Input) {
        self.read += Duration::from_millis(1);
        self.shell.input(event, self.read, self.now_ms);
        self.out.extend(self.shell.take());
    }

    /// Printable text, key by key.
    pub fn type_text(&mut self, text: &str) {
        for c in text.chars() {
            self.press(KeyEvent::new(if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) }, KeyModifiers::NONE));
        }
        self.draw();
    }

    /// Draws a frame and returns the screen's text, blanks at the ends of lines cut.
    pub fn draw(&mut self) -> String {
        let (shell, now_ms) = (&mut self.shell, self.now_ms);
        let Ok(_) = self.terminal.draw(|frame| shell.draw(frame, now_ms));
        self.shell.sent(self.read);
        self.shell.drawn(self.read, self.read);
        text(self.terminal.backend().buffer())
    }

    /// The cells drawn last.
    pub fn buffer(&self) -> &Buffer {
        self.terminal.backend().buffer()
    }

    /// What the shell asked for since the last call.
    pub fn out(&mut self) -> Vec<Out> {
        self.out.extend(self.shell.take());
        std::mem::take(&mut self.out)
    }
}

/// A key event by its name, as bindings write it; unknown names are Null, which nothing is bound to.
pub fn key(name: &str) -> KeyEvent {
    super::keymap::Chord::parse(name).map_or(KeyEvent::new(KeyCode::Null, KeyModifiers::NONE), |c| c.event())
}

/// A buffer's text, line by line; the second cell of a wide character is left out.
pub fn text(buffer: &Buffer) -> String {
    use unicode_width::UnicodeWidthStr;
    let mut out = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        let mut line = String::new();
        let mut x = buffer.area.left();
        while x < buffer.area.right() {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += (symbol.width() as u16).max(1);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
