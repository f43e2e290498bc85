//! A command that grades an item: one JSON object on its standard input, one on its standard output, within a time.
//! Deliberately not here: a sandbox. It runs as the person who allowed it, which is why a stranger's is asked for first.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::shown;

/// The most that a command may say.
const OUTPUT_BYTES: u64 = 1 << 20;

/// Runs `command` in `dir`, with `given` on its standard input. Without a shell.
pub fn run(command: &[String], dir: &Path, given: &Value, timeout_s: f64) -> Result<Value, String> {
    let Some((program, arguments)) = command.split_first() else { return Err("the task names no command".into()) };
    let name = shown(program);
    let mut process = Command::new(program);
    process.args(arguments).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that what it started ends with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut process, 0);
    let mut child = process.spawn().map_err(|e| format!("{name}: {e}; name a program that can be run"))?;
    let (Some(mut input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err(format!("{name}: has no standard streams"));
    };
    let text = given.to_string();
    let (sender, heard) = channel();
    let (said, complained) = (sender.clone(), sender);
    // A program that reads nothing, or says a lot before it reads, must not block us.
    std::thread::spawn(move || input.write_all(text.as_bytes()));
    std::thread::spawn(move || said.send((true, read(output))));
    std::thread::spawn(move || complained.send((false, read(errors))));
    let until = Instant::now() + Duration::from_secs_f64(timeout_s.clamp(0.01, 3600.0));
    let (mut out, mut err) = (None, None);
    while out.is_none() || err.is_none() {
        match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((true, text)) => out = Some(text),
            Ok((false, text)) => err = Some(text),
            Err(RecvTimeoutError::Timeout) => {
                end(&mut child);
                return Err(format!("{name}: said nothing to the end within {timeout_s} s; raise timeout_s, or mend the command"));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = loop {
        match child.try_wait().map_err(|e| format!("{name}: {e}"))? {
            Some(status) => break status,
            None if Instant::now() > until => {
                end(&mut child);
                return Err(format!("{name}: did not end within {timeout_s} s; raise timeout_s, or mend the command"));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let out = out.unwrap_or_default();
    if !status.success() {
        let line = err.unwrap_or_default().lines().rfind(|l| !l.trim().is_empty()).unwrap_or("no message").to_owned();
        return Err(format!("{name}: ended with {status}: {}", shown(&line)));
    }
    if out.len() as u64 > OUTPUT_BYTES {
        end(&mut child);
        return Err(format!("{name}: said more than {} MB; it says one JSON object", OUTPUT_BYTES >> 20));
    }
    serde_json::from_str(out.trim()).map_err(|e| format!("{name}: what it said is no JSON ({e}): {}", shown(&out)))
}

fn read(from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is worth showing.
    let _ = from.take(OUTPUT_BYTES + 1).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn end(child: &mut std::process::Child) {
    #[cfg(unix)]
    // SAFETY: a plain system call; the group is the child's own.
    unsafe {
        libc::kill(-(child.id() as i32), libc::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shell(script: &str, timeout_s: f64) -> Result<Value, String> {
        run(&["sh".into(), "-c".into(), script.into()], Path::new("/"), &json!({"output": "x"}), timeout_s)
    }

    #[test]
    fn a_command_answers_fails_or_is_ended() {
        assert_eq!(shell("cat", 10.0).unwrap(), json!({"output": "x"}));
        assert_eq!(shell("echo '{\"score\":1}'", 10.0).unwrap(), json!({"score": 1}), "it need not read");
        assert!(shell("echo no; echo bad >&2; exit 3", 10.0).unwrap_err().contains("exit status: 3: bad"));
        assert!(shell("echo prose", 10.0).unwrap_err().contains("no JSON"));
        assert!(shell("sleep 600", 0.2).unwrap_err().contains("within 0.2 s"));
        assert!(shell("head -c 3000000 /dev/zero", 20.0).is_err());
        assert!(run(&["/no/such".into()], Path::new("/"), &json!({}), 1.0).unwrap_err().contains("/no/such"));
    }
}
