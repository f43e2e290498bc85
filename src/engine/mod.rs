//! Floor 5: threads, lanes, devices, commands and events.

pub mod device;
pub mod jobs;
pub mod library;
pub mod protocol;
pub mod socket;
pub mod worker;

use crate::report::{Event, JobId, Signal};
use crate::spec::JobSpec;
use protocol::{Command, Up};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};

/// One way to speak to an engine, over channels or over a socket alike.
pub struct Handle {
    commands: Sender<Command>,
    events: Receiver<Up>,
    pub project: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{0}")]
    Other(String),
}

impl Handle {
    /// An engine on threads of this process.
    pub fn spawn(project: &Path) -> Result<Self, EngineError> {
        let _ = project;
        todo!()
    }
    /// An engine behind a Unix socket (`weightroom engine DIR`).
    pub fn connect(socket: &Path) -> Result<Self, EngineError> {
        let _ = socket;
        todo!()
    }
    pub fn send(&self, command: Command) -> Result<(), EngineError> {
        let _ = &self.commands;
        let _ = command;
        todo!()
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
