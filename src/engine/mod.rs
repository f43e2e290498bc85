//! Floor 5: threads, lanes, devices, commands and events. A screen speaks to an engine through a `Handle`, over
//! channels or over a socket alike. Deliberately not here: what a job computes, and anything that prints or draws.

pub mod catalog;
pub mod device;
pub mod estimate;
mod fan;
pub mod host;
mod hub;
mod identity;
pub mod jobs;
pub mod library;
pub mod link;
pub mod models;
mod monitor;
pub mod notify;
pub mod protocol;
#[cfg(feature = "hub")]
pub mod pull;
pub mod serve;
pub mod show;
pub mod socket;
pub mod worker;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::report::{Event, JobId, Signal};
use crate::spec::JobSpec;
use hub::Hub;
use jobs::{JOBS, JobKind};
use protocol::{Command, Up};

pub use catalog::catalog;
pub use estimate::{Estimate, Estimator};

/// What can be wrong with an engine, apart from its jobs.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{0}")]
    Other(String),
    /// The other side is gone.
    #[error("the engine has ended; start the program again")]
    Gone,
    /// An engine of another version that speaks otherwise.
    #[error("{0}")]
    Version(String),
}

/// How an engine is set up.
pub struct Settings {
    /// The jobs that it can do.
    pub jobs: &'static [JobKind],
    /// Whether compute gives way to everything else on the machine, so that a screen stays quick.
    pub lower_priority: bool,
    /// Where the program's panic hook keeps what it sees.
    pub panics: worker::PanicNotes,
    /// Whether the engine goes on when its screens go: it has a process of its own.
    pub outlives: bool,
    /// Jobs are numbered from here on, so that a screen that saw an earlier engine end never takes one job for another.
    pub first_job: u64,
    /// Whether the person's own command is run at the end or the fault of a job.
    pub notifies: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let panics = worker::PanicNotes::default();
        Self { jobs: JOBS, lower_priority: true, panics, outlives: false, first_job: 0, notifies: false }
    }
}

/// An engine on threads of this process; any number of screens may speak to it.
pub struct Engine {
    hub: Arc<Hub>,
}

impl Engine {
    pub fn start(project: &Path, settings: Settings) -> Result<Self, EngineError> {
        let lower_priority = settings.lower_priority;
        let hub = Arc::new(Hub::new(project, settings));
        worker::start(&hub, lower_priority)?;
        Ok(Self { hub })
    }

    /// A new screen's end. It is told at once of all jobs that run.
    pub fn handle(&self) -> Result<Handle, EngineError> {
        self.connect(false)
    }

    /// Stops all jobs at their next safepoint; they are saved.
    pub fn shutdown(&self) {
        self.hub.shutdown();
    }

    /// Waits until all jobs have ended after a shutdown.
    pub fn wait(&self) {
        self.hub.wait_end();
    }

    /// Whether no job runs or waits.
    pub fn idle(&self) -> bool {
        self.hub.idle()
    }

    fn connect(&self, owner: bool) -> Result<Handle, EngineError> {
        let (commands, received) = channel();
        let (outlet, events) = channel();
        let subscriber = self.hub.fan.subscribe(self.hub.hello());
        let pump = subscriber.clone();
        thread("weightroom-events", move || pump.pump(|up| outlet.send(up).is_ok()))?;
        let hub = self.hub.clone();
        thread("weightroom-commands", move || {
            for command in received {
                hub.command(&subscriber, command);
            }
            hub.left(&subscriber);
            if owner {
                hub.shutdown();
            }
        })?;
        Ok(Handle { commands, events, project: self.hub.project.clone() })
    }
}

/// One way to speak to an engine, over channels or over a socket alike.
pub struct Handle {
    commands: Sender<Command>,
    events: Receiver<Up>,
    pub project: PathBuf,
}

impl Handle {
    /// An engine on threads of this process, which ends when this handle (or what `split` made of it) is gone.
    pub fn spawn(project: &Path) -> Result<Self, EngineError> {
        Self::spawn_with(project, Settings::default())
    }
    pub fn spawn_with(project: &Path, settings: Settings) -> Result<Self, EngineError> {
        Engine::start(project, settings)?.connect(true)
    }
    /// An engine behind a Unix socket (`weightroom engine DIR`).
    pub fn connect(socket: &Path) -> Result<Self, EngineError> {
        socket::connect(socket)
    }
    pub fn send(&self, command: Command) -> Result<(), EngineError> {
        self.commands.send(command).map_err(|_| EngineError::Gone)
    }
    /// `ticket` comes back in `Up::Started`.
    pub fn start(&self, ticket: u64, spec: JobSpec) -> Result<(), EngineError> {
        self.send(Command::Start { ticket, spec })
    }
    pub fn signal(&self, job: JobId, signal: Signal) -> Result<(), EngineError> {
        self.send(Command::Signal { job, signal })
    }
    pub fn events(&self) -> &Receiver<Up> {
        &self.events
    }
    /// Takes the receiving end, so that a screen can forward it into its one channel.
    pub fn split(self) -> (Sender<Command>, Receiver<Up>) {
        (self.commands, self.events)
    }
}

/// An event that ends its job.
pub fn is_end(event: &Event) -> bool {
    event.report.is_end()
}

/// A lock whose holder panicked is as good as any: what it guards is changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), EngineError> {
    let made = std::thread::Builder::new().name(name.into()).spawn(work);
    made.map(drop).map_err(|e| EngineError::Other(format!("no thread for the engine: {e}; end other programs")))
}
