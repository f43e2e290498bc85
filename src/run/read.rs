//! Reading a run's logs: heads and tails for lists, all events from a number on, notes and samples.
//! Deliberately not here: writing (`log`) and the long series of numbers (`series`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RunError;
use super::directory::RunState;
use crate::report::{Event, JobState, Report};

/// How much of a log's ends is read for a list.
const END_BYTES: u64 = 64 * 1024;
/// Longer lines than this are not events of ours; they are skipped, so that a broken file cannot fill the memory.
const MAX_LINE: usize = 4 << 20;

/// The first events of a log; none where there is no log.
pub fn head(log: &Path) -> Vec<Event> {
    let Ok(file) = File::open(log) else { return Vec::new() };
    let mut bytes = Vec::new();
    let _ = file.take(END_BYTES).read_to_end(&mut bytes);
    // The cut line at the end of the piece does not parse and falls out.
    parse_lines(&bytes)
}

/// The last events of a log, oldest first.
pub fn tail(log: &Path) -> Vec<Event> {
    tail_bytes(log, END_BYTES)
}

fn tail_bytes(log: &Path, want: u64) -> Vec<Event> {
    let Ok(mut file) = File::open(log) else { return Vec::new() };
    let length = file.metadata().map_or(0, |m| m.len());
    let start = length.saturating_sub(want);
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(start)).is_err() || file.take(want).read_to_end(&mut bytes).is_err() {
        return Vec::new();
    }
    let from = if start == 0 { 0 } else { memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |i| i + 1) };
    parse_lines(&bytes[from..])
}

/// Only whole lines count: what stands after the last line feed is torn, or still being written.
fn parse_lines(bytes: &[u8]) -> Vec<Event> {
    let whole = memchr::memrchr(b'\n', bytes).map_or(0, |i| i + 1);
    bytes[..whole].split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// The number of steps that a run announced, newest word first.
pub fn steps_of(events: &[Event]) -> Option<u64> {
    events.iter().rev().find_map(|e| match &e.report {
        Report::Facts(facts) => facts.get("steps").and_then(serde_json::Value::as_u64),
        Report::Progress { what, total, .. } if what == "train" => *total,
        _ => None,
    })
}

/// How a log ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ending {
    pub step: u64,
    pub train_loss: Option<f64>,
    pub paused: bool,
    /// None where the log ends without a word.
    pub state: Option<RunState>,
    pub cause: Option<String>,
}

impl Ending {
    pub fn of(events: &[Event]) -> Self {
        let mut out = Self::default();
        for event in events {
            match &event.report {
                Report::Started { .. } | Report::State { state: JobState::Running, .. } => {
                    (out.state, out.cause, out.paused) = (None, None, false);
                }
                Report::Resumed { step } => {
                    (out.state, out.cause, out.paused) = (None, None, false);
                    out.step = *step;
                }
                Report::State { state, .. } => out.paused = *state == JobState::Paused,
                Report::Values(values) => {
                    out.step = values.step;
                    out.train_loss = values.get("train/loss").or(out.train_loss);
                }
                Report::Finished { stopped, .. } => {
                    out.state = Some(if *stopped { RunState::Stopped } else { RunState::Finished });
                }
                Report::Failed { cause, .. } => {
                    out.state = Some(RunState::Failed);
                    out.cause = Some(cause.clone());
                }
                _ => {}
            }
        }
        out
    }
}

/// Calls `each` with every event of a run from `seq` on, in order, until it returns false. A line that is torn or
/// not an event is passed over; what was dropped by a resume is given as it was written.
pub fn events_from(run: &Path, seq: u64, mut each: impl FnMut(Event) -> bool) -> Result<(), RunError> {
    let path = run.join("events.jsonl");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(RunError::io(&path, &e)),
    };
    each_line(file, |line| match serde_json::from_slice::<Event>(line) {
        Ok(event) if event.seq >= seq => each(event),
        _ => true,
    })
    .map_err(|e| RunError::io(&path, &e))
}

/// Follows a log that another process writes: every event once and in order, from the first one on.
pub struct Tail {
    path: PathBuf,
    /// Up to where whole lines were read.
    at: u64,
}

impl Tail {
    pub fn open(run: &Path) -> Self {
        Self { path: run.join("events.jsonl"), at: 0 }
    }

    /// The next events, some thousand at most; none where nothing more stands there yet. A torn last line is read
    /// again when it is whole, or when it was cut off and another one stands in its place.
    pub fn more(&mut self) -> Result<Vec<Event>, RunError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(RunError::io(&self.path, &e)),
        };
        let mut bytes = Vec::new();
        let mut read = || -> std::io::Result<()> {
            let mut file = &file;
            file.seek(SeekFrom::Start(self.at))?;
            file.take(MAX_LINE as u64).read_to_end(&mut bytes)?;
            Ok(())
        };
        read().map_err(|e| RunError::io(&self.path, &e))?;
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |i| i + 1);
        // A line without an end that fills the whole piece is none of ours.
        let passed = if whole == 0 && bytes.len() == MAX_LINE { bytes.len() } else { whole };
        self.at += passed as u64;
        Ok(parse_lines(&bytes[..whole]))
    }
}

/// Calls `each` with every whole line until it returns false.
pub(super) fn each_line(file: File, mut each: impl FnMut(&[u8]) -> bool) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
        if n == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            // Torn, or longer than any event: the rest of it is passed over in pieces that do not parse.
            continue;
        }
        line.pop();
        if !each(&line) {
            return Ok(());
        }
    }
}

/// The step of the last checkpoint that a run's log says was saved; none where it never saved one.
pub fn last_saved(run: &Path) -> Result<Option<u64>, RunError> {
    let mut last = None;
    for event in words(run, usize::MAX)? {
        if let Report::Artifact { kind, step, .. } = event.report
            && kind == "checkpoint"
        {
            last = step.or(last);
        }
    }
    Ok(last)
}

/// A validation loss, and what it is of: evaluations along the way read a part of the split, the last one all of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Validation {
    pub loss: f64,
    /// The step that was evaluated.
    pub step: u64,
    /// Whether the whole validation split was read.
    pub whole: bool,
}

impl Validation {
    /// The newest that a run's series hold; `all` says that every evaluation reads the whole split.
    pub fn latest(series: &super::series::SeriesDir, all: bool) -> Option<Self> {
        let last = |name: &str| series.get(name).and_then(|s| s.last().map(|p| (p.step, p.value)));
        let part = last("val/loss").map(|(step, loss)| Self { loss, step, whole: all });
        let whole = last("val/loss_whole").map(|(step, loss)| Self { loss, step, whole: true });
        match (whole, part) {
            (Some(whole), Some(part)) if whole.step < part.step => Some(part),
            (whole, part) => whole.or(part),
        }
    }
}

impl std::fmt::Display for Validation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.whole { write!(f, "val {:.4} (whole split)", self.loss) } else { write!(f, "val {:.4} at step {}", self.loss, self.step) }
    }
}

/// The events that are not numbers, at most the last `limit`: what a log pane and a run's page show. What a resume
/// dropped is left out.
pub fn words(run: &Path, limit: usize) -> Result<Vec<Event>, RunError> {
    let path = run.join("events.jsonl");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(RunError::io(&path, &e)),
    };
    let mut out = std::collections::VecDeque::new();
    each_line(file, |line| {
        // Almost all lines of a long log are values: they are passed over without being parsed.
        if memchr::memmem::find(line, b"\"report\":{\"values\"").is_none()
            && let Ok(event) = serde_json::from_slice::<Event>(line)
        {
            if out.len() == limit {
                out.pop_front();
            }
            if limit > 0 {
                out.push_back(event);
            }
        }
        true
    })
    .map_err(|e| RunError::io(&path, &e))?;
    Ok(out.into())
}

/// A text that the model wrote while it was trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub step: u64,
    pub prompt: String,
    pub text: String,
}

/// The samples of a run, by step. Where a step was done twice because of a resume, the newer text counts.
pub fn samples(run: &Path) -> Result<Vec<Sample>, RunError> {
    let path = run.join("samples.jsonl");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(RunError::io(&path, &e)),
    };
    let mut out: Vec<Sample> = Vec::new();
    each_line(file, |line| {
        if let Ok(sample) = serde_json::from_slice::<Sample>(line) {
            // A smaller step than the last one means that the run went back to a checkpoint.
            let keep = out.partition_point(|s| s.step < sample.step || (s.step == sample.step && s.prompt != sample.prompt));
            if out.get(keep).is_some_and(|s| s.step > sample.step) || out.get(keep).is_some_and(|s| s.prompt == sample.prompt) {
                out.truncate(keep);
            }
            out.push(sample);
        }
        true
    })
    .map_err(|e| RunError::io(&path, &e))?;
    Ok(out)
}
