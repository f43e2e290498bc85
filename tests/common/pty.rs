//! The real binary in a terminal of its own, at the end of a line that may be slow. Waits for conditions, never for times.
//! Not here: what is tested.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

/// How long a condition may take on a busy machine before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Pty {
    pub child: Box<dyn Child + Send + Sync>,
    pub parser: vt100::Parser,
    /// Everything written so far.
    pub raw: Vec<u8>,
    master: Box<dyn MasterPty + Send>,
    writer: Keyboard,
    chunks: Receiver<Vec<u8>>,
    held: Arc<AtomicBool>,
    /// Bytes a second that come through the line; 0 for all at once.
    rate: Arc<AtomicU64>,
}

const FRAME_END: &[u8] = b"\x1b[?2026l";

type Keyboard = Arc<Mutex<Box<dyn Write + Send>>>;

impl Pty {
    /// Opens the workbench on `project`, with settings of nobody, and waits for its first frame.
    pub fn open(project: &Path, columns: u16, rows: u16, env: &[(&str, &str)]) -> Self {
        Self::open_on(true, project, columns, rows, env)
    }

    /// The same, and does not wait.
    pub fn start(project: &Path, columns: u16, rows: u16) -> Self {
        Self::spawn(true, project, columns, rows, &[], &[])
    }

    /// A subcommand that opens a screen, once its first frame is there.
    pub fn run(project: &Path, columns: u16, rows: u16, args: &[&str]) -> Self {
        let mut screen = Self::spawn(true, project, columns, rows, &[], args);
        screen.until("a first frame", |s| memchr::memmem::find(&s.raw, FRAME_END).is_some());
        screen
    }

    /// The same on a terminal that answers no question.
    pub fn open_mute(project: &Path, columns: u16, rows: u16) -> Self {
        Self::open_on(false, project, columns, rows, &[])
    }

    fn open_on(answers: bool, project: &Path, columns: u16, rows: u16, env: &[(&str, &str)]) -> Self {
        let mut screen = Self::spawn(answers, project, columns, rows, env, &[]);
        screen.until("a first frame", |s| memchr::memmem::find(&s.raw, FRAME_END).is_some());
        screen
    }

    fn spawn(answers: bool, project: &Path, columns: u16, rows: u16, env: &[(&str, &str)], args: &[&str]) -> Self {
        let pty = native_pty_system().openpty(size(columns, rows)).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_weightroom"));
        command.args(args);
        command.cwd(project);
        for name in ["NO_COLOR", "TMUX", "COLORFGBG", "CI"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color");
        command.env("COLORTERM", "truecolor");
        command.env("XDG_CONFIG_HOME", project);
        command.env("RUST_BACKTRACE", "0");
        for (name, value) in env {
            command.env(name, value);
        }
        let mut reader = pty.master.try_clone_reader().unwrap();
        let writer: Keyboard = Arc::new(Mutex::new(pty.master.take_writer().unwrap()));
        let held = Arc::new(AtomicBool::new(false));
        let rate = Arc::new(AtomicU64::new(0));
        let (holds, drains, replies) = (held.clone(), rate.clone(), answers.then(|| writer.clone()));
        // The near end takes all that comes, as a server does whose buffers hold megabytes.
        let (into, line) = channel();
        let (send, chunks) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if into.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
                while holds.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        std::thread::spawn(move || far_end(&line, &drains, replies.as_ref(), &send));
        let child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let parser = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0);
        Self { child, parser, raw: Vec::new(), master: pty.master, writer, chunks, held, rate }
    }

    /// Reads nothing more from the terminal, until it is let go: a line that does not drain.
    pub fn hold(&self, hold: bool) {
        self.held.store(hold, Ordering::Release);
    }

    /// No more than so many bytes a second come through the line from now on, and what is written meanwhile waits in it.
    /// 0: all that is written comes at once.
    pub fn drains(&self, bytes_per_s: u64) {
        self.rate.store(bytes_per_s, Ordering::Release);
    }

    /// Resident memory of the process.
    pub fn memory_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.process_id().unwrap())).unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    pub fn contents(&self) -> String {
        self.parser.screen().contents()
    }

    pub fn send(&mut self, bytes: &str) {
        let mut writer = self.writer.lock().unwrap();
        writer.write_all(bytes.as_bytes()).unwrap();
        writer.flush().unwrap();
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.master.resize(size(columns, rows)).unwrap();
        self.parser.screen_mut().set_size(rows.try_into().unwrap(), columns.try_into().unwrap());
    }

    /// Reads what comes within `time`; how many bytes it was.
    pub fn read_for(&mut self, time: Duration) -> usize {
        let (until, before) = (Instant::now() + time, self.raw.len());
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if let Ok(chunk) = self.chunks.recv_timeout(left) {
                self.take(&chunk);
            }
        }
        self.raw.len() - before
    }

    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            match self.chunks.recv_timeout(Duration::from_millis(20)) {
                Ok(chunk) => self.take(&chunk),
                Err(_) => assert!(Instant::now() < until, "never came to {what}; the screen:\n{}", self.contents()),
            }
        }
    }

    pub fn shows(&mut self, text: &str) {
        self.until(&format!("show {text:?}"), |s| s.contents().contains(text));
    }

    pub fn signal(&self, signal: i32) {
        let pid = self.child.process_id().unwrap() as i32;
        // SAFETY: kill only sends a signal, to the child that this test started.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Whether the process is stopped (by Ctrl-Z), as the system sees it.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.process_id().unwrap())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }

    /// Waits for the end, and reads all that is left.
    pub fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            self.read_for(Duration::from_millis(20));
            if let Some(status) = self.child.try_wait().unwrap() {
                self.read_for(Duration::from_millis(100));
                return status;
            }
            assert!(Instant::now() < until, "it never ended; the screen:\n{}", self.contents());
        }
    }

    /// The terminal is as it was: no alternate screen, mouse, paste or focus reports, and the cursor is seen.
    pub fn assert_restored(&self) {
        let screen = self.parser.screen();
        assert!(!screen.alternate_screen(), "the alternate screen is still on");
        assert!(!screen.hide_cursor(), "the cursor is still hidden");
        assert!(!screen.bracketed_paste(), "bracketed paste is still on");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        let last = |on: &str, off: &str| {
            let find = |needle: &str| memchr::memmem::rfind(&self.raw, needle.as_bytes());
            assert!(find(off) > find(on), "{on:?} was not undone");
        };
        last("\x1b[?1004h", "\x1b[?1004l");
        last("\x1b[?2026h", "\x1b[?2026l");
        last("\x1b[?1049h", "\x1b[?1049l");
    }

    fn take(&mut self, chunk: &[u8]) {
        self.raw.extend_from_slice(chunk);
        self.parser.process(chunk);
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Hands on what comes through the line at its pace, and answers the question for the terminal's status when it has come
/// that far, as a terminal does. A frame is handed on when it is whole: before its end nobody sees any of it.
fn far_end(line: &Receiver<Vec<u8>>, rate: &AtomicU64, replies: Option<&Keyboard>, send: &Sender<Vec<u8>>) {
    const ASK: &[u8] = b"\x1b[5n";
    let (mut tail, mut asks, mut unseen) = (Vec::new(), false, Vec::new());
    for chunk in line {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            // A slow line brings a little twenty times a second.
            let pace = rate.load(Ordering::Acquire);
            let most = if pace == 0 { rest.len() } else { (pace / 20).max(1) as usize };
            let (piece, later) = rest.split_at(most.min(rest.len()));
            if pace > 0 {
                std::thread::sleep(Duration::from_secs_f64(piece.len() as f64 / pace as f64));
            }
            rest = later;
            tail.extend_from_slice(piece);
            let asked = memchr::memmem::find_iter(&tail, ASK).count();
            let keep = tail.len().min(ASK.len() - 1);
            tail.drain(..tail.len() - keep);
            asks |= asked > 0;
            if let Some(keyboard) = replies {
                // Nobody reads it where the process has just ended.
                let _ = keyboard.lock().unwrap().write_all("\x1b[0n".repeat(asked).as_bytes());
            }
            unseen.extend_from_slice(piece);
            let last = |what: &[u8]| memchr::memmem::rfind(&unseen, what);
            let whole = last(b"\x1b[?2026h") <= last(b"\x1b[?2026l");
            // The question stands right behind the frame, and is answered before anybody can have looked.
            let asked_behind = replies.is_none() || !asks || (0..ASK.len()).all(|n| !unseen.ends_with(&[FRAME_END, &ASK[..n]].concat()));
            if whole && asked_behind && send.send(std::mem::take(&mut unseen)).is_err() {
                return;
            }
        }
    }
}

fn size(cols: u16, rows: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}
