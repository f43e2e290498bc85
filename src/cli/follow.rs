//! Starts a job and follows it to its end; Ctrl-C stops it and waits until it is saved.
//! Deliberately not here: how its events are shown.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Failure;
use crate::engine::Handle;
use crate::engine::protocol::{Command, Up};
use crate::report::{Event, JobId, Report, Signal};
use crate::spec::JobSpec;

/// How a job ended.
#[derive(Debug)]
pub struct End {
    pub summary: String,
    /// Whether a signal of this process stopped it.
    pub interrupted: bool,
}

/// Runs a job to its end, handing every event of it to `each`.
pub fn follow(handle: &Handle, spec: JobSpec, mut each: impl FnMut(&Event) -> io::Result<()>) -> Result<End, Failure> {
    let interrupt = Interrupt::listen()?;
    handle.start(1, spec)?;
    let mut job: Option<JobId> = None;
    let mut trouble: Option<io::Error> = None;
    let mut stopped = false;
    let end = loop {
        if let Some(job) = job
            && !stopped
            && (interrupt.came() || trouble.is_some())
        {
            stopped = true;
            handle.signal(job, Signal::Stop)?;
        }
        let up = match handle.events().recv_timeout(Duration::from_millis(50)) {
            Ok(up) => up,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::Failed("the engine ended before the job; look at the run's log".into()));
            }
        };
        match up {
            Up::Started { ticket: 1, job: id } => job = Some(id),
            Up::Refused { ticket: 1, why } => return Err(Failure::Failed(why)),
            Up::Bye => return Err(Failure::Failed("the engine ended before the job; look at the run's log".into())),
            Up::Events(events) => {
                let mut end = None;
                for event in events.iter().filter(|e| Some(e.job) == job) {
                    if trouble.is_none() {
                        trouble = each(event).err();
                    }
                    if event.report.is_end() {
                        end = Some(event.report.clone());
                    }
                }
                if let Some(end) = end {
                    break end;
                }
            }
            _ => {}
        }
    };
    goodbye(handle);
    match (end, trouble) {
        (Report::Failed { cause, hint, log }, _) => Err(Failure::Failed(sentence(&cause, &hint, log.as_deref()))),
        (_, Some(error)) => Err(error.into()),
        (Report::Finished { summary, .. }, None) => Ok(End { summary, interrupted: interrupt.came() }),
        _ => Ok(End { summary: String::new(), interrupted: interrupt.came() }),
    }
}

/// Cause, remedy and log in one line.
fn sentence(cause: &str, hint: &str, log: Option<&std::path::Path>) -> String {
    let mut out = cause.to_string();
    if !hint.is_empty() && !cause.contains(hint) {
        out.push_str("; ");
        out.push_str(hint);
    }
    if let Some(log) = log {
        out.push_str(&format!(" (log: {})", log.display()));
    }
    out
}

/// Lets the engine's threads come to their ends, so that nothing is cut off when the process goes.
fn goodbye(handle: &Handle) {
    let until = Instant::now() + Duration::from_secs(2);
    if handle.send(Command::Shutdown).is_err() {
        return;
    }
    while Instant::now() < until {
        match handle.events().recv_timeout(Duration::from_millis(100)) {
            Ok(Up::Bye) | Err(RecvTimeoutError::Disconnected) => return,
            _ => {}
        }
    }
}

/// Signals that ask the process to end. The first one is heard here; a second one ends the process at once, by the
/// system's own way.
pub struct Interrupt {
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    pub fn listen() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds the flag unset, and sets it only after the question was asked.
            signal_hook::flag::register_conditional_default(signal, flag.clone())
                .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
                .map_err(|e| Failure::Failed(format!("signals cannot be received: {e}; end other programs")))?;
        }
        Ok(Self { flag })
    }
    pub fn came(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }
}
