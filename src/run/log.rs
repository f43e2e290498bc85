//! Writes a run's event stream and, beside it, its series and samples.
//! Deliberately not here: who numbers which job's events (the engine), and reading (`read`, `series`).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::RunError;
use super::append::Appender;
use super::directory::{Lock, RunDir};
use super::read::Sample;
use super::series::{self, POINT_BYTES, Point, SeriesDir};
use crate::report::{Event, Report, Sink};

/// Numbers wait at most this long for the file while a run moves on; words are written at once.
const FLUSH: Duration = Duration::from_millis(200);
/// Bytes that wait for the file at most.
const BUFFER: usize = 1 << 16;
/// How far back a line that can be read is looked for in a log that ends badly.
const SEARCH_BYTES: u64 = 8 << 20;

/// A run's log, open for appending. Clones write to the same files: one is attached to the monitor, one stays with
/// the training loop, which flushes it and asks whether a write has failed.
#[derive(Clone)]
pub struct RunLog(Arc<Mutex<Inner>>);

struct Inner {
    run: PathBuf,
    events: Appender,
    samples: Appender,
    series: BTreeMap<String, Appender>,
    next_seq: u64,
    flushed: Instant,
    /// Held as long as anybody can still write: the report of the end comes after the training loop has returned.
    _lock: Lock,
    /// The first fault; nothing is written after it, so that the files end in one torn line at most.
    fault: Option<String>,
}

impl RunLog {
    /// Opens the log of a run, whose lock it keeps. A torn last line is cut off.
    pub fn open(run: &RunDir, lock: Lock) -> Result<Self, RunError> {
        let run = &run.path;
        let path = run.join("events.jsonl");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(|e| RunError::io(&path, &e))?;
        let last = mend(&mut file).map_err(|e| RunError::io(&path, &e))?;
        let samples = run.join("samples.jsonl");
        if samples.exists() {
            cut_torn_line(&samples).map_err(|e| RunError::io(&samples, &e))?;
        }
        Ok(Self(Arc::new(Mutex::new(Inner {
            run: run.to_path_buf(),
            events: Appender::of(path, file),
            samples: Appender::new(samples),
            series: BTreeMap::new(),
            next_seq: last.map_or(0, |seq| seq + 1),
            flushed: Instant::now(),
            _lock: lock,
            fault: None,
        }))))
    }

    /// Drops the series' points after `step`, before the run goes on from there: the caller then reports `Resumed`.
    /// The files are replaced, never cut, since readers have them mapped.
    pub fn rewind(&self, step: u64) -> Result<(), RunError> {
        let mut inner = self.inner();
        inner.series.clear();
        let run = inner.run.clone();
        let series = SeriesDir::rebuilt_if_needed(&run)?;
        let dir = run.join("series");
        fs::create_dir_all(&dir).map_err(|e| RunError::io(&dir, &e))?;
        for name in series.names() {
            let points = series.get(&name).unwrap_or_default();
            let kept = &points[..points.partition_point(|p| p.step <= step)];
            let path = series::path_of(&dir, &name);
            let exact = (kept.len() * POINT_BYTES) as u64;
            if fs::metadata(&path).map_or(u64::MAX, |m| m.len()) != exact {
                series::write_points(&dir, &name, kept)?;
            }
        }
        Ok(())
    }

    /// Hands everything to the operating system. Where the disk is full, what is left waits for the next time.
    pub fn flush(&self) -> Result<(), RunError> {
        let mut inner = self.inner();
        match inner.flush() {
            Err(error) if crate::report::is_full(&error) => Ok(()),
            result => inner.checked(result),
        }
    }

    /// Hands everything to the disk, as is done before a checkpoint that counts on it. Where the disk is full, it may
    /// be tried again.
    pub fn sync(&self) -> Result<(), RunError> {
        let mut inner = self.inner();
        let result = inner.flush().and_then(|()| inner.events.sync());
        inner.checked(result)
    }

    /// The first write that failed, if one did: the training loop asks, since a monitor cannot tell it.
    pub fn fault(&self) -> Option<RunError> {
        self.inner().fault_error()
    }

    /// The number of the next event.
    pub fn seq(&self) -> u64 {
        self.inner().next_seq
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for RunLog {
    fn next_seq(&self) -> u64 {
        self.seq()
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        let mut inner = self.inner();
        if let Some(fault) = &inner.fault {
            return Err(io::Error::other(fault.clone()));
        }
        let result = inner.write(event);
        inner.latched(result)
    }

    fn retry(&mut self) -> io::Result<()> {
        let mut inner = self.inner();
        let result = inner.flush();
        inner.latched(result)
    }
}

impl Inner {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        // Taken as a whole or not at all: numbers of events have no gap, whatever the disk says.
        self.events.push(&line(event)?);
        self.next_seq = event.seq + 1;
        match &event.report {
            Report::Values(values) => {
                for (name, value) in &values.values {
                    let point = Point { step: values.step, value: *value };
                    self.series(name).push(&point.to_bytes());
                }
                if self.flushed.elapsed() >= FLUSH { self.flush() } else { Ok(()) }
            }
            Report::Sample { step, prompt, text } => {
                let sample = Sample { step: *step, prompt: prompt.clone(), text: text.clone() };
                self.samples.push(&line(&sample)?);
                self.flush()
            }
            // Many of these come between two steps, and none is waited for.
            Report::Metric(_) | Report::Token(_) if self.events.waiting() < BUFFER => Ok(()),
            _ => self.flush(),
        }
    }

    /// The log goes first: a reader that finds the series short knows that they can be rebuilt from it.
    fn flush(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        self.events.flush()?;
        self.series.values_mut().try_for_each(Appender::flush)?;
        self.samples.flush()
    }

    fn series(&mut self, name: &str) -> &mut Appender {
        let path = || series::path_of(&self.run.join("series"), name);
        self.series.entry(name.to_string()).or_insert_with(|| Appender::new(path()))
    }

    /// Remembers a fault. A full disk is none: it passes.
    fn latched(&mut self, result: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &result
            && !crate::report::is_full(error)
        {
            self.fault.get_or_insert_with(|| error.to_string());
        }
        result
    }

    fn checked(&mut self, result: io::Result<()>) -> Result<(), RunError> {
        match self.latched(result) {
            Err(error) if crate::report::is_full(&error) => Err(RunError::Full { path: self.run.clone() }),
            _ => self.fault_error().map_or(Ok(()), Err),
        }
    }

    fn fault_error(&self) -> Option<RunError> {
        self.fault.as_ref().map(|fault| {
            RunError::file(
                &self.run.join("events.jsonl"),
                format!("the log cannot be written: {fault}"),
                "check that the directory is there and can be written, then resume the run",
            )
        })
    }
}

fn line(value: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::from)?;
    line.push(b'\n');
    Ok(line)
}

/// Cuts off what stands after the last line that is a whole event, and leaves the file at its end. Returns that
/// event's number.
fn mend(file: &mut File) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(SEARCH_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    Read::by_ref(file).take(SEARCH_BYTES).read_to_end(&mut bytes)?;
    let mut end = memchr::memrchr(b'\n', &bytes).map_or(0, |i| i + 1);
    let mut seq = None;
    // A power cut may leave whole lines of zeros: go back to one that reads.
    while end > 0 {
        let from = memchr::memrchr(b'\n', &bytes[..end - 1]).map_or(0, |i| i + 1);
        if let Ok(event) = serde_json::from_slice::<Event>(&bytes[from..end - 1]) {
            seq = Some(event.seq);
            break;
        }
        end = from;
    }
    if seq.is_none() && start > 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no event in the last 8 MB of the log: the file is damaged"));
    }
    let keep = start + end as u64;
    if keep != length {
        file.set_len(keep)?;
    }
    file.seek(SeekFrom::Start(keep))?;
    Ok(seq)
}

fn cut_torn_line(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(SEARCH_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(SEARCH_BYTES).read_to_end(&mut bytes)?;
    let keep = start + memchr::memrchr(b'\n', &bytes).map_or(0, |i| i as u64 + 1);
    if keep == length { Ok(()) } else { file.set_len(keep) }
}
