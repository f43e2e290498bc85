//! Standard output and error: lines that survive a closed pipe, and foreign text made safe.
//! Deliberately not here: what is said.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

/// One line on standard error: thing, place, remedy. Nothing is left to say where even that is closed.
pub fn complain(what: &str) {
    let line: String = crate::text::visible(what.trim_end(), false).into_owned();
    let _ = writeln!(io::stderr().lock(), "weightroom: {line}");
}

/// A line that is no error: a warning, a figure beside the output proper.
pub fn aside(what: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", crate::text::visible(what, true));
}

/// One line on standard output; the text is the program's own.
pub fn line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// One JSON document on a line of its own.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")
}

/// Foreign text as it is for a program, and with visible control characters for a terminal.
pub fn foreign(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if io::stdout().is_terminal() {
        out.write_all(crate::text::visible(text, true).as_bytes())?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    out.flush()
}

/// A path that is safe to show.
pub fn shown(path: &Path) -> String {
    crate::text::visible(&path.to_string_lossy(), false).into_owned()
}

/// `1234567` as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Seconds as a person says them: `45s`, `3m20s`, `2h05m`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([grouped(0), grouped(999), grouped(1000), grouped(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([duration(0.4), duration(59.6), duration(3600.0), duration(7500.0)], ["0s", "1m00s", "1h00m", "2h05m"]);
    }
}
