//! The threads that do jobs: one for the device, a few for light work; a job that panics fails alone.
//! Deliberately not here: what is run next (`hub`).

use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::hub::Hub;
use super::jobs::{Cx, Fault, Lane};
use super::monitor::{Active, JobMonitor};
use super::{EngineError, lock};
use crate::report::{JobState, Monitor, Report};

/// Threads of the light lane: two that wait for the network leave two for questions.
const LIGHT: usize = 4;

/// Where the last panic of an engine's thread happened: the program's panic hook keeps it here, and the failed job's
/// log gets it. Nothing may be printed over the screen.
#[derive(Clone, Default)]
pub struct PanicNotes(Arc<Mutex<Option<String>>>);

impl PanicNotes {
    pub fn keep(&self, what: String) {
        *lock(&self.0) = Some(what);
    }
    fn take(&self) -> Option<String> {
        lock(&self.0).take()
    }
}

/// Whether the calling thread does jobs, so that a panic on it becomes a failed job.
pub fn on_engine_thread() -> bool {
    std::thread::current().name().is_some_and(|n| n.starts_with(PREFIX))
}

const PREFIX: &str = "weightroom-";

pub(super) fn start(hub: &Arc<Hub>, lower_priority: bool) -> Result<(), EngineError> {
    // Threads inherit the niceness of the one that makes them, but rayon's may be made by anybody: say it to each.
    // Where another engine of this process made the pool already, it is as that one left it.
    let named = rayon::ThreadPoolBuilder::new().thread_name(|i| format!("{PREFIX}compute-{i}"));
    let _ = named
        .start_handler(move |_| {
            if lower_priority {
                lower()
            }
        })
        .build_global();
    let spawn = |name: String, lane: Lane| {
        let hub = hub.clone();
        let work = move || {
            if lower_priority {
                lower();
            }
            while let Some((job, why)) = hub.next(lane) {
                execute(&hub, &job, &why);
            }
        };
        let made = std::thread::Builder::new().name(name).stack_size(16 << 20).spawn(work);
        made.map(drop).map_err(|e| EngineError::Other(format!("no thread for the engine: {e}; end other programs")))
    };
    spawn(format!("{PREFIX}device"), Lane::Main)?;
    (0..LIGHT).try_for_each(|i| spawn(format!("{PREFIX}light-{i}"), Lane::Light))
}

/// How far compute gives way inside its session, in steps of niceness (0 to 19).
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;
/// How far the engine's whole session gives way to others: enough that a key is answered before a time slice ends, and
/// little enough that a training beside somebody's build still gets about a third of the cores.
pub(super) const SESSION_NICENESS: i32 = 4;

/// Compute gives way to the screen: keys stay instant while every core trains.
#[cfg(target_os = "linux")]
fn lower() {
    // SAFETY: plain system calls without pointers; on Linux, niceness of thread id 0 is the calling thread's.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS);
    }
}

#[cfg(not(target_os = "linux"))]
fn lower() {}

/// Does one job to its end on this thread; `why` says why here, where that is not plain.
pub(super) fn execute(hub: &Arc<Hub>, job: &Arc<Active>, why: &str) {
    let monitor = JobMonitor::new(hub.clone(), job.clone());
    if job.state() == Some(JobState::Waiting) || !why.is_empty() {
        monitor.report(Report::State { state: JobState::Running, why: why.into() });
    }
    let cx = Cx { project: &hub.project, params: &job.spec.params, monitor: &monitor, models: &hub.models, beside: !why.is_empty() };
    let result = catch_unwind(AssertUnwindSafe(|| (job.kind.run)(&cx)));
    let end = match (result, job.sink_error()) {
        (Err(panic), _) => panicked(hub, job, panic.as_ref()),
        (Ok(Err(fault)), _) => Report::Failed { cause: fault.cause, hint: fault.hint, log: None },
        (Ok(Ok(_)), Some(cause)) => {
            let hint = "see that the directory is there and can be written, then resume from the last checkpoint";
            Report::Failed { cause, hint: hint.into(), log: None }
        }
        (Ok(Ok(done)), None) => Report::Finished { stopped: done.stopped, summary: done.summary, result: done.result },
    };
    monitor.report(end);
    hub.ended(job);
}

/// Writes what is known of a panic to a log, and says so in one line.
fn panicked(hub: &Hub, job: &Active, panic: &(dyn Any + Send)) -> Report {
    let message = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into());
    let detail = hub.panics.take().unwrap_or_else(|| message.clone());
    let run = job.run().map(|run| hub.project.join("runs").join(run)).filter(|dir| dir.is_dir());
    let dir = run.unwrap_or_else(|| hub.project.join(".weightroom"));
    let path = dir.join("log.txt");
    let log: Option<PathBuf> = write_log(&path, job, &detail).is_ok().then_some(path);
    let message = crate::text::visible(&message, false).into_owned();
    let fault = Fault {
        cause: format!("the {} job broke off by a fault of the program: {message}", job.kind.name),
        hint: "the engine goes on; the log says where it happened".into(),
    };
    Report::Failed { cause: fault.cause, hint: fault.hint, log }
}

fn write_log(path: &std::path::Path, job: &Active, detail: &str) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "job {} ({}): {}\n{detail}\n", job.id.0, job.kind.name, job.title)
}
