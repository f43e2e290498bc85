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
    /// The same for the job that writes a run, answered by `Up::Started` with its number, or by `Up::Refused`.
    SignalRun {
        ticket: u64,
        run: String,
        signal: Signal,
    },
    /// Moves a job that waits for the device by so many places in the line, towards its head where negative.
    Move {
        job: JobId,
        by: i64,
    },
    /// Says that a person sits at this end: the engine notes where things stood when the last one left.
    Watch,
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
        /// Whether jobs go on when this screen goes: not with an engine on threads of the screen's own process.
        #[serde(default = "outlives")]
        outlives: bool,
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
    /// What another screen asked for, in words for people ("demo was stopped from another terminal").
    Told(String),
    /// In order of `seq` within a job; several at once, at most 30 times a second.
    Events(Vec<Event>),
    /// The engine has ended.
    Bye,
}

/// What answers over a socket is a process of its own; earlier versions did not say so.
fn outlives() -> bool {
    true
}
