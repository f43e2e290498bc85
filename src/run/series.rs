//! A run's metrics as long rows of numbers: one mapped file a metric, so that a million steps open at once.
//! Deliberately not here: what a metric means; the log is the truth, and these files are rebuilt from it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::directory::RunDir;
use super::{RunError, files, read};
use crate::report::{Event, Report};

/// One value of a metric. 16 bytes on disk: u64 step, f64 value, little-endian.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Point {
    pub step: u64,
    pub value: f64,
}

pub(super) const POINT_BYTES: usize = size_of::<Point>();

impl Point {
    pub fn to_bytes(self) -> [u8; POINT_BYTES] {
        let mut out = [0; POINT_BYTES];
        out[..8].copy_from_slice(&self.step.to_le_bytes());
        out[8..].copy_from_slice(&self.value.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut step = [0; 8];
        let mut value = [0; 8];
        step.copy_from_slice(&bytes[..8]);
        value.copy_from_slice(&bytes[8..POINT_BYTES]);
        Self { step: u64::from_le_bytes(step), value: f64::from_le_bytes(value) }
    }
}

/// A run's series, mapped: opening costs nothing however long they are.
pub struct SeriesDir {
    series: BTreeMap<String, Points>,
}

enum Points {
    /// A file that only ever grows at its end or is replaced as a whole, so that the mapped part stays as it is.
    Mapped(Mmap),
    Owned(Vec<Point>),
}

impl Points {
    fn get(&self) -> &[Point] {
        match self {
            Self::Owned(points) => points,
            // SAFETY: maps begin on a page, every bit pattern is a `Point`, and the length is rounded down.
            Self::Mapped(map) => unsafe { std::slice::from_raw_parts(map.as_ptr().cast(), map.len() / POINT_BYTES) },
        }
    }
}

impl SeriesDir {
    /// Maps `run/series/*`; rebuilds from `events.jsonl` what is missing or short. What is rebuilt is written back
    /// where nobody else is at work on the run.
    pub fn open(run: &Path) -> Result<Self, RunError> {
        let found = Self::glance(run)?;
        let dir = RunDir { name: String::new(), path: run.to_path_buf() };
        if found.agrees(&read::tail(&run.join("events.jsonl"))) {
            return Ok(found);
        }
        if dir.is_locked() {
            // The writer flushes the log before the series: the difference is a moment, unless there are none at all.
            return if found.series.is_empty() { Self::rebuilt(run) } else { Ok(found) };
        }
        let rebuilt = Self::rebuilt(run)?;
        if let Ok(_lock) = dir.lock() {
            // A reader may have no right to write; it has what it needs in memory.
            let _ = rebuilt.write(run);
        }
        Ok(rebuilt)
    }

    /// What the writer of a run begins with: the files where they agree with the log, else what the log says.
    pub(super) fn rebuilt_if_needed(run: &Path) -> Result<Self, RunError> {
        let found = Self::glance(run)?;
        if found.agrees(&read::tail(&run.join("events.jsonl"))) { Ok(found) } else { Self::rebuilt(run) }
    }

    /// Maps what is there and asks no questions.
    pub fn glance(run: &Path) -> Result<Self, RunError> {
        let dir = run.join("series");
        let mut series = BTreeMap::new();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self { series }),
            Err(e) => return Err(RunError::io(&dir, &e)),
        };
        for path in entries.flatten().map(|e| e.path()) {
            if let Some(name) = path.file_name().and_then(|n| n.to_str()).and_then(metric_name)
                && let Some(points) = map(&path).map_err(|e| RunError::io(&path, &e))?
            {
                series.insert(name, points);
            }
        }
        Ok(Self { series })
    }

    /// Reads the whole log.
    pub fn rebuilt(run: &Path) -> Result<Self, RunError> {
        let mut series: BTreeMap<String, Vec<Point>> = BTreeMap::new();
        read::events_from(run, 0, |event| {
            match event.report {
                Report::Resumed { step } => series.values_mut().for_each(|points| drop_after(points, step)),
                Report::Values(values) => {
                    for (name, value) in values.values {
                        let points = series.entry(name).or_default();
                        points.push(Point { step: values.step, value });
                    }
                }
                _ => {}
            }
            true
        })?;
        Ok(Self { series: series.into_iter().map(|(name, points)| (name, Points::Owned(points))).collect() })
    }

    pub fn names(&self) -> Vec<String> {
        self.series.keys().cloned().collect()
    }

    /// The points of a metric, by rising step.
    pub fn get(&self, name: &str) -> Option<&[Point]> {
        self.series.get(name).map(Points::get)
    }

    /// Replaces the files of `run/series` by these points; files of other metrics go.
    pub fn write(&self, run: &Path) -> Result<(), RunError> {
        let dir = run.join("series");
        fs::create_dir_all(&dir).map_err(|e| RunError::io(&dir, &e))?;
        for (name, points) in &self.series {
            write_points(&dir, name, points.get())?;
        }
        let known: Vec<String> = self.series.keys().map(|n| file_name(n)).collect();
        for path in fs::read_dir(&dir).map_err(|e| RunError::io(&dir, &e))?.flatten().map(|e| e.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !known.contains(&name) {
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }

    /// Whether the last points are those of the log's last lines.
    fn agrees(&self, tail: &[Event]) -> bool {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        let mut limit = None;
        for event in tail {
            match &event.report {
                // What stood before it was checked, and cut, when the run was resumed.
                Report::Resumed { step } => {
                    last.clear();
                    limit = Some(*step);
                }
                Report::Values(values) => {
                    limit = limit.map(|l: u64| l.max(values.step));
                    last.extend(values.values.iter().map(|(name, _)| (name.as_str(), values.step)));
                }
                _ => {}
            }
        }
        let end = |name: &str| self.get(name).and_then(|p| p.last()).map(|p| p.step);
        let none_missing = last.iter().all(|(name, &step)| end(name).is_some_and(|e| e >= step));
        let none_beyond = self.series.keys().all(|name| limit.is_none_or(|l| end(name).is_none_or(|e| e <= l)));
        none_missing && none_beyond
    }
}

/// Drops the points of later steps than `step`.
fn drop_after(points: &mut Vec<Point>, step: u64) {
    points.truncate(points.partition_point(|p| p.step <= step));
}

/// Writes `dir/<metric>` as a whole, beside and renamed: whoever has the old file mapped keeps it.
pub(super) fn write_points(dir: &Path, name: &str, points: &[Point]) -> Result<(), RunError> {
    let mut bytes = Vec::with_capacity(points.len() * POINT_BYTES);
    points.iter().for_each(|p| bytes.extend_from_slice(&p.to_bytes()));
    files::replace(&path_of(dir, name), &bytes)
}

pub(super) fn path_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(file_name(name))
}

fn map(path: &Path) -> std::io::Result<Option<Points>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length < POINT_BYTES as u64 {
        return Ok(None);
    }
    // SAFETY: writers append or replace the file by another one; nobody cuts it.
    let map = unsafe { Mmap::map(&file)? };
    if cfg!(target_endian = "little") {
        return Ok(Some(Points::Mapped(map)));
    }
    Ok(Some(Points::Owned(map.chunks_exact(POINT_BYTES).map(Point::from_bytes).collect())))
}

/// The file of a metric: letters, digits, `-`, `_` and inner `.` stand for themselves, every other byte as `%2F`.
pub fn file_name(metric: &str) -> String {
    let mut out = String::new();
    for (i, byte) in metric.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(byte as char),
            b'.' if i > 0 => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The metric of a file; none for a file that is not one of ours (a leftover that begins with a dot).
fn metric_name(file: &str) -> Option<String> {
    if file.starts_with('.') {
        return None;
    }
    let mut bytes = Vec::new();
    let mut rest = file.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let hex = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_cannot_leave_the_directory_and_read_back() {
        for name in ["train/loss", "../../etc/passwd", ".hidden", "a%2Fb", "größe", "time/forward_ms", "x.y"] {
            let file = file_name(name);
            assert!(!file.contains('/') && !file.starts_with('.'), "{file}");
            assert_eq!(metric_name(&file).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_point_is_sixteen_bytes_both_ways() {
        let point = Point { step: 7, value: -0.25 };
        assert_eq!(Point::from_bytes(&point.to_bytes()), point);
        assert_eq!(point.to_bytes()[..8], [7, 0, 0, 0, 0, 0, 0, 0]);
    }
}
