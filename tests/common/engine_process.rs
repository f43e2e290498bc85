//! The engine process that a command or a screen started in a project. Not here: engines that a test starts itself.
#![allow(dead_code)]

use std::path::Path;
use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// Waits until `look` finds something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "never came to {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The engine process of a project.
pub fn engine_of(dir: &Path) -> Option<i32> {
    let wanted = dir.canonicalize().unwrap();
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = line.split(|b| *b == 0);
        let found = words.nth(1) == Some(b"engine") && words.next() == Some(wanted.as_os_str().as_encoded_bytes());
        // An ended process that nobody has waited for yet still has an entry, without a command line.
        found.then_some(pid)
    })
}

pub fn kill(pid: i32, signal: i32) {
    // SAFETY: kill only sends a signal, to a process that this test started.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// However a test ends, its engine does too.
pub struct Stopped<'a>(pub &'a Path);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if let Some(pid) = engine_of(self.0) {
            // SAFETY: as above; the process may have ended in this moment, which is as well.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}
