//! The real engine as a process of its own, which ends with the test. Not here: what is said to it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub struct Served(pub Child);

/// `weightroom engine DIR`, just started.
pub fn engine(project: &Path) -> Served {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weightroom"));
    command.arg("engine").arg(project).env("XDG_CONFIG_HOME", project).env("NO_COLOR", "1").env_remove("RUST_BACKTRACE");
    Served(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

impl Served {
    /// Waits until it says that it listens.
    pub fn listening(&mut self) {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening at "), "{line:?} {}", if line.is_empty() { self.said() } else { String::new() });
    }
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }
    /// What an ended engine said on standard error.
    pub fn said(&mut self) -> String {
        let mut said = String::new();
        self.0.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        said
    }
    /// SIGKILL.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
    /// SIGTERM.
    pub fn terminate(&self) {
        // SAFETY: a plain system call; the process is a child that nobody has waited for.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits, with a deadline that only keeps a failing test from hanging.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
