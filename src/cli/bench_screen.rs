//! `bench screen`: drives the real binary in a terminal of its own and measures the screen from outside: time to the
//! first frame, key to frame while every core trains, bytes a frame, bytes while idle.
//! Deliberately not here: the workbench itself, which this meets only through its keys and its screen.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use serde::Serialize;

use super::{Failure, out};

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// How long the live screen is watched.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// How many keys are timed while training.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub keys: u32,
    /// How many starts are timed, after one that warms the caches.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub starts: u32,
    /// Columns of the terminal.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u16).range(60..=500))]
    pub columns: u16,
    /// Rows of the terminal.
    #[arg(long, default_value_t = 36, value_parser = clap::value_parser!(u16).range(16..=200))]
    pub rows: u16,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct Measured {
    columns: u16,
    rows: u16,
    first_frame_ms: f64,
    first_frame_bytes: usize,
    /// From the start of a second screen to its first frame that shows the training under way.
    attached_ms: f64,
    idle_seconds: f64,
    idle_bytes: usize,
    live_seconds: f64,
    live_frames: usize,
    live_frames_per_s: f64,
    live_bytes_per_frame: f64,
    live_bytes_per_s: f64,
    /// Whether training went on to the end of the live watch.
    training_throughout: bool,
    keys: usize,
    key_to_frame_p50_ms: f64,
    key_to_frame_p99_ms: f64,
    key_to_frame_max_ms: f64,
    /// Resident memory of the screen's process; none where the system does not tell.
    screen_memory_mb: Option<f64>,
    /// Whether the terminal's modes were as before after quitting.
    restored: bool,
}

/// The end of a synchronized update: one frame.
const FRAME_END: &[u8] = b"\x1b[?2026l";
/// What asks a terminal for its status, and what every terminal answers.
const ASK: &[u8] = b"\x1b[5n";
const ANSWER: &[u8] = b"\x1b[0n";

pub fn run(args: &Args) -> Result<(), Failure> {
    let directory = tempfile::Builder::new().prefix("weightroom-bench-").tempdir().map_err(Failure::failed)?;
    let mut starts = Vec::new();
    let mut first_frame_bytes = 0;
    for start in 0..=args.starts.max(1) {
        let project = directory.path().join(format!("start-{start}"));
        let mut screen = Screen::open(&project, args)?;
        let began = screen.began;
        let at = screen.until("the first frame", Duration::from_secs(20), |s| s.frames > 0 && s.contains("weightroom"))?;
        first_frame_bytes = screen.bytes;
        screen.type_keys("q")?;
        screen.ended(Duration::from_secs(10))?;
        if start > 0 {
            starts.push(millis(at - began));
        }
    }
    starts.sort_by(f64::total_cmp);
    let mut measured = live(&directory.path().join("live"), args)?;
    (measured.first_frame_ms, measured.first_frame_bytes) = (starts[starts.len() / 2], first_frame_bytes);
    tell(&measured, args.json).map_err(Failure::failed)
}

fn live(project: &Path, args: &Args) -> Result<Measured, Failure> {
    let mut screen = Screen::open(project, args)?;
    screen.until("the first frame", Duration::from_secs(20), |s| s.frames > 0 && s.contains("weightroom"))?;
    screen.watch(Duration::from_secs(2));
    let before = screen.bytes;
    let idle = Duration::from_secs(3);
    screen.watch(idle);
    let idle_bytes = screen.bytes - before;

    // The experiment of two depths trains two models after each other: longer than the watch on any machine.
    screen.type_keys("jj\r")?;
    screen.until("the first steps of training", Duration::from_secs(120), |s| s.contains("tok/s"))?;
    let attached_ms = attach(project, args)?;
    screen.watch(Duration::from_secs(1));
    let (bytes, frames, began) = (screen.bytes, screen.frames, Instant::now());
    screen.watch(Duration::from_secs(args.seconds.max(1)));
    let seconds = began.elapsed().as_secs_f64();
    let (live_bytes, live_frames) = (screen.bytes - bytes, screen.frames - frames);
    let training_throughout = screen.contains("tok/s");

    let mut latencies = Vec::new();
    for key in 0..args.keys.max(2) {
        // Keys at uneven distances meet the frames of numbers at every phase.
        screen.watch(Duration::from_millis(30 + (key as u64 * 37) % 61));
        let opened = key % 2 == 0;
        let sent = Instant::now();
        screen.type_keys("?")?;
        let at = screen.until("the help overlay", Duration::from_secs(10), |s| s.contains("Tab turns the page") == opened)?;
        latencies.push(millis(at - sent));
    }
    if args.keys % 2 == 1 {
        screen.type_keys("?")?;
    }
    latencies.sort_by(f64::total_cmp);
    let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q).round() as usize];

    let screen_memory_mb = screen.memory_mb();
    screen.watch(Duration::from_millis(300));
    screen.type_keys("q")?;
    if screen.until("the question", Duration::from_secs(5), |s| s.contains("saves and stops")).is_ok() {
        screen.type_keys("s")?;
    }
    screen.ended(Duration::from_secs(120))?;
    Ok(Measured {
        columns: args.columns,
        rows: args.rows,
        first_frame_ms: 0.0,
        first_frame_bytes: 0,
        attached_ms,
        idle_seconds: idle.as_secs_f64(),
        idle_bytes,
        live_seconds: seconds,
        live_frames,
        live_frames_per_s: live_frames as f64 / seconds,
        live_bytes_per_frame: live_bytes as f64 / live_frames.max(1) as f64,
        live_bytes_per_s: live_bytes as f64 / seconds,
        training_throughout,
        keys: latencies.len(),
        key_to_frame_p50_ms: quantile(0.5),
        key_to_frame_p99_ms: quantile(0.99),
        key_to_frame_max_ms: quantile(1.0),
        screen_memory_mb,
        restored: screen.restored(),
    })
}

/// A second screen on the same project: how long until it shows the training that is under way.
fn attach(project: &Path, args: &Args) -> Result<f64, Failure> {
    let mut times = Vec::new();
    for _ in 0..args.starts.max(1) {
        let mut second = Screen::open(project, args)?;
        let began = second.began;
        let at = second.until("the training under way", Duration::from_secs(20), |s| s.contains("tok/s"))?;
        times.push(millis(at - began));
        second.type_keys("q")?;
        second.until("the question", Duration::from_secs(5), |s| s.contains("leaves it running"))?;
        second.type_keys("\r")?;
        second.ended(Duration::from_secs(10))?;
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn tell(m: &Measured, json: bool) -> std::io::Result<()> {
    if json {
        return out::json(m);
    }
    out::line(format!("terminal          {}×{}", m.columns, m.rows))?;
    out::line(format!("first frame       {:.1} ms warm (median), {} bytes", m.first_frame_ms, m.first_frame_bytes))?;
    out::line(format!("idle              {} bytes in {:.0} s", m.idle_bytes, m.idle_seconds))?;
    let whole = if m.training_throughout { "" } else { " (training ended before the watch did)" };
    out::line(format!(
        "live              {:.1} frames/s, {:.0} bytes a frame, {:.0} bytes/s over {:.0} s{whole}",
        m.live_frames_per_s, m.live_bytes_per_frame, m.live_bytes_per_s, m.live_seconds
    ))?;
    out::line(format!(
        "key to frame      p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms over {} keys while training",
        m.key_to_frame_p50_ms, m.key_to_frame_p99_ms, m.key_to_frame_max_ms, m.keys
    ))?;
    out::line(format!("second screen     {:.1} ms (median) to a frame with the training under way", m.attached_ms))?;
    if let Some(memory) = m.screen_memory_mb {
        out::line(format!("screen's memory   {memory:.1} MB"))?;
    }
    out::line(format!("terminal restored {}", if m.restored { "yes" } else { "NO" }))
}

/// How often `what` ends in a chunk; `tail` keeps the end of it, so that one that is cut in two is found.
fn found(tail: &mut Vec<u8>, chunk: &[u8], what: &[u8]) -> usize {
    tail.extend_from_slice(chunk);
    let count = memchr::memmem::find_iter(tail, what).count();
    tail.drain(..tail.len() - tail.len().min(what.len() - 1));
    count
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The end that is typed into.
type Keyboard = Arc<Mutex<Box<dyn Write + Send>>>;

fn put(keyboard: &Keyboard, bytes: &[u8]) -> std::io::Result<()> {
    let mut keyboard = keyboard.lock().unwrap_or_else(PoisonError::into_inner);
    keyboard.write_all(bytes).and_then(|()| keyboard.flush())
}

/// The binary in a terminal of its own, and what it wrote so far.
struct Screen {
    child: Box<dyn Child + Send + Sync>,
    writer: Keyboard,
    chunks: Receiver<(Instant, Vec<u8>)>,
    parser: vt100::Parser,
    began: Instant,
    bytes: usize,
    frames: usize,
    /// The end of what was read, so that a marker cut in two is counted.
    tail: Vec<u8>,
    // Closing the master would hang up the child.
    _master: Box<dyn MasterPty + Send>,
}

impl Screen {
    fn open(project: &Path, args: &Args) -> Result<Self, Failure> {
        std::fs::create_dir_all(project).map_err(Failure::failed)?;
        let size = PtySize { rows: args.rows, cols: args.columns, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).map_err(Failure::failed)?;
        let mut command = CommandBuilder::new(std::env::current_exe().map_err(Failure::failed)?);
        command.args(["-C".as_ref(), project.as_os_str()]);
        command.cwd(project);
        command.env("TERM", "xterm-256color");
        command.env("COLORTERM", "truecolor");
        // The person's own settings would make another screen.
        command.env("XDG_CONFIG_HOME", project);
        for name in ["NO_COLOR", "TMUX", "COLORFGBG"] {
            command.env_remove(name);
        }
        let mut reader = pty.master.try_clone_reader().map_err(Failure::failed)?;
        let writer: Keyboard = Arc::new(Mutex::new(pty.master.take_writer().map_err(Failure::failed)?));
        let (send, chunks) = channel();
        let keyboard = writer.clone();
        std::thread::Builder::new()
            .name("terminal".into())
            .spawn(move || {
                let mut buffer = [0; 65536];
                let mut tail = Vec::new();
                while let Ok(n @ 1..) = reader.read(&mut buffer) {
                    let asked = found(&mut tail, &buffer[..n], ASK);
                    // Nobody reads it where the workbench has just ended.
                    let _ = put(&keyboard, &ANSWER.repeat(asked));
                    if send.send((Instant::now(), buffer[..n].to_vec())).is_err() {
                        return;
                    }
                }
            })
            .map_err(Failure::failed)?;
        let began = Instant::now();
        let child = pty.slave.spawn_command(command).map_err(Failure::failed)?;
        drop(pty.slave);
        let (rows, columns) = (args.rows.try_into().map_err(Failure::failed)?, args.columns.try_into().map_err(Failure::failed)?);
        let parser = vt100::Parser::new(rows, columns, 0);
        Ok(Self { child, writer, chunks, parser, began, bytes: 0, frames: 0, tail: Vec::new(), _master: pty.master })
    }

    fn type_keys(&mut self, keys: &str) -> Result<(), Failure> {
        // One write a key, as fingers do it.
        for key in keys.chars() {
            put(&self.writer, key.encode_utf8(&mut [0; 4]).as_bytes()).map_err(Failure::failed)?;
            if keys.len() > 1 {
                self.watch(Duration::from_millis(100));
            }
        }
        Ok(())
    }

    fn take(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len();
        self.parser.process(chunk);
        self.frames += found(&mut self.tail, chunk, FRAME_END);
    }

    /// Reads for a while.
    fn watch(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if let Ok((_, chunk)) = self.chunks.recv_timeout(left) {
                self.take(&chunk);
            }
        }
    }

    /// Reads until the screen is as wanted; when the last piece of it came.
    fn until(&mut self, what: &str, patience: Duration, done: impl Fn(&Self) -> bool) -> Result<Instant, Failure> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.chunks.recv_timeout(left) {
                Ok((at, chunk)) => {
                    self.take(&chunk);
                    if done(self) {
                        return Ok(at);
                    }
                }
                Err(_) => {
                    let screen = self.parser.screen().contents();
                    let last = screen.lines().rfind(|l| !l.trim().is_empty()).unwrap_or_default().trim().to_string();
                    return Err(Failure::Failed(format!("the workbench did not show {what}; its last line is {last:?}")));
                }
            }
        }
    }

    fn memory_mb(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.process_id()?)).ok()?;
        let kb: f64 = status.lines().find(|l| l.starts_with("VmRSS:"))?.split_whitespace().nth(1)?.parse().ok()?;
        Some(kb / 1024.0)
    }

    fn contains(&self, text: &str) -> bool {
        self.parser.screen().contents().contains(text)
    }

    fn ended(&mut self, patience: Duration) -> Result<(), Failure> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            self.watch(Duration::from_millis(20));
            if self.child.try_wait().map_err(Failure::failed)?.is_some() {
                self.watch(Duration::from_millis(50));
                return Ok(());
            }
        }
        Err(Failure::Failed("the workbench did not end; it was killed".into()))
    }

    /// Whether the modes that the workbench set are reset.
    fn restored(&self) -> bool {
        let screen = self.parser.screen();
        !screen.alternate_screen()
            && !screen.hide_cursor()
            && !screen.bracketed_paste()
            && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A workbench that was not asked to quit must not train on without a screen.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
