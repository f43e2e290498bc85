//! Drives the real binary without a terminal. Not here: terminals.
#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A command of the real binary in a directory, with nothing on standard input.
pub fn weightroom(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weightroom"));
    command.args(args).current_dir(dir).stdin(Stdio::null()).env("NO_COLOR", "1").env_remove("RUST_BACKTRACE");
    // An engine that it starts must not run the developer's own commands.
    command.env("XDG_CONFIG_HOME", dir);
    command
}

/// Exit code, standard output, standard error.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn run(dir: &Path, args: &[&str]) -> Ran {
    of(weightroom(dir, args).output().unwrap())
}

pub fn of(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ran {
    /// Ended with this code, whatever it said.
    pub fn code_is(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }
    /// Done, with nothing of an error.
    pub fn good(self) -> Self {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }
    /// Failed with one line on standard error (warnings aside) that holds all of `words`, and no backtrace.
    pub fn bad(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        let lines: Vec<&str> = self.err.lines().filter(|l| !l.is_empty() && !l.starts_with("warning: ")).collect();
        assert_eq!(lines.len(), 1, "one line is wanted: {}", self.err);
        assert!(lines[0].starts_with("weightroom: "), "{}", lines[0]);
        for word in words {
            assert!(lines[0].contains(word), "{word:?} is missing in: {}", lines[0]);
        }
        assert!(!self.err.contains("panicked") && !self.err.contains('\u{1b}'), "{}", self.err);
        self
    }
}

/// A text of some 20 KB that differs from place to place.
pub fn text() -> String {
    let words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "dogs", "run", "by", "old", "boats"];
    let mut out = String::new();
    let mut x = 7usize;
    for i in 0..4000 {
        x = (x * 1_103_515_245 + 12_345) % 2_147_483_648;
        out.push_str(words[(x >> 8) % words.len()]);
        out.push_str(if i % 9 == 8 { ".\n" } else { " " });
    }
    out
}

/// A model so small that a step takes a millisecond.
pub const TINY: &str = "[model]\nlayers = 1\nheads = 2\nwidth = 16\ncontext = 16\n[data]\ntrain = [\"text.txt\"]\n\
                        [optim]\nsteps = 20\nbatch = 4\nwarmup = 2\n[eval]\nevery = 10\nbatches = 2\nsample_tokens = 8\n[checkpoint]\nevery = 10\n";

/// A project with a text and a tiny recipe.
pub fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("text.txt"), text()).unwrap();
    std::fs::write(dir.path().join("tiny.toml"), TINY).unwrap();
    dir
}
