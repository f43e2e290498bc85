//! What travels between an engine and its screens: owned plain data with serde, the same over channels and sockets.

use serde::{Deserialize, Serialize};

use crate::report::{Event, JobId, Signal};
use crate::spec::JobSpec;

/// Down, from a screen to the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The engine gives the job its number and answers `Up::Started` with the same ticket.
    Start {
        ticket: u64,
        spec: JobSpec,
    },
    Signal {
        job: JobId,
        signal: Signal,
    },
    /// Ends the engine: jobs are stopped at their next safepoint and saved.
    Shutdown,
}

/// Up, from the engine to a screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Up {
    /// The first frame: what the engine is.
    Hello {
        schema: u32,
        version: String,
        device: String,
        threads: usize,
    },
    Started {
        ticket: u64,
        job: JobId,
    },
    /// A job could not be started; nothing was done.
    Refused {
        ticket: u64,
        why: String,
    },
    /// In order of `seq` within a job; several at once, at most 30 times a second.
    Events(Vec<Event>),
    /// The engine has ended.
    Bye,
}
