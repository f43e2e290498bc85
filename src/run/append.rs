//! A file that grows at its end and forgets nothing when the disk is full: what could not be written waits in memory,
//! and the next flush goes on at the very byte; what was written and could not be brought to the disk is written again.
//! Deliberately not here: when to flush, and what the bytes mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

pub(super) struct Appender {
    path: PathBuf,
    /// Opened with the first byte.
    file: Option<File>,
    pending: Vec<u8>,
    /// How much of the file is on the disk for certain, once a sync has failed.
    safe: u64,
    failed: bool,
    sync: fn(&File) -> io::Result<()>,
}

impl Appender {
    /// To a file that is made when there is something to write, with its directory (and not that one's parents: a run
    /// that somebody deleted must not come back as half a run).
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, pending: Vec::new(), safe: 0, failed: false, sync: File::sync_data }
    }

    /// To an open file that stands at its end.
    pub fn of(path: PathBuf, file: File) -> Self {
        // What an earlier process wrote is as safe as that one left it.
        let safe = file.metadata().map_or(0, |m| m.len());
        Self { path, file: Some(file), pending: Vec::new(), safe, failed: false, sync: File::sync_data }
    }

    /// Takes bytes without writing them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Hands all that waits to the operating system. What was taken before an error is not given a second time.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = self.open()?;
                self.safe = file.metadata()?.len();
                file
            }
        };
        let mut done = 0;
        let result = loop {
            match file.write(&self.pending[done..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if done == self.pending.len() {
                break Ok(());
            }
        };
        self.pending.drain(..done);
        self.file = Some(file);
        result
    }

    /// Waits until what was written is on the disk. File systems that find room late tell of a full disk only here, and
    /// then take what was written for done: a second sync would succeed without it. So it is written once more.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.failed {
            self.rewrite()?;
        }
        let Some(file) = &self.file else { return Ok(()) };
        let length = file.metadata()?.len();
        self.failed = true;
        (self.sync)(file)?;
        (self.safe, self.failed) = (length, false);
        Ok(())
    }

    /// Writes what is not on the disk for certain over itself, from what the system still holds of it.
    fn rewrite(&self) -> io::Result<()> {
        // One that appends would write it behind the end.
        let mut file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let mut buffer = vec![0; 1 << 16];
        let mut at = self.safe;
        loop {
            file.seek(SeekFrom::Start(at))?;
            let n = file.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&buffer[..n])?;
            at += n as u64;
        }
    }

    fn open(&self) -> io::Result<File> {
        if let Some(dir) = self.path.parent().filter(|dir| !dir.is_dir()) {
            fs::create_dir(dir)?;
        }
        OpenOptions::new().append(true).create(true).open(&self.path)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_at_the_end_with_its_directory_and_not_with_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        for _ in 0..2 {
            let mut out = Appender::new(path.clone());
            out.push(b"xy");
            assert_eq!(out.waiting(), 2);
            out.sync().unwrap();
            assert_eq!(out.waiting(), 0);
            out.push(b"z");
        }
        assert_eq!(fs::read(&path).unwrap(), b"xyzxyz");
        let mut far = Appender::new(dir.path().join("c/d/e"));
        far.push(b"x");
        assert_eq!((far.flush().unwrap_err().kind(), far.waiting()), (io::ErrorKind::NotFound, 1));
    }

    #[test]
    fn what_a_full_disk_refuses_only_when_it_is_synced_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut out = Appender::new(path.clone());
        out.push(b"safe ");
        out.sync().unwrap();
        out.push(&b"late ".repeat(30_000));
        out.sync = |_| Err(io::ErrorKind::StorageFull.into());
        for _ in 0..2 {
            assert!(crate::report::is_full(&out.sync().unwrap_err()));
        }
        let whole = fs::read(&path).unwrap();
        out.push(b"end");
        out.sync = File::sync_data;
        // As if what it holds from there on had to be brought to the disk anew: it is the same afterwards, and no longer.
        assert_eq!(out.safe, 5);
        out.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap(), [&whole[..], b"end"].concat());
        assert_eq!((out.safe, out.failed), (whole.len() as u64 + 3, false));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_full_disk_refuses_waits() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut out = Appender::of("/dev/full".into(), full);
        out.push(b"abc");
        for _ in 0..2 {
            assert!(crate::report::is_full(&out.flush().unwrap_err()));
            assert_eq!(out.waiting(), 3);
        }
    }
}
