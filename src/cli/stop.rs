//! `stop`: ends a run, or the project's engine with all that it does; what they have is saved first.
//! Deliberately not here: how a run saves itself.

use std::time::{Duration, Instant};

use super::args::Stop;
use super::{Failure, Place, out};
use crate::engine::protocol::{Command, Up};
use crate::engine::{EngineError, Handle, socket};
use crate::report::{Report, Signal};
use crate::run::directory::RunDir;
use crate::text::visible;

/// How long a step and a checkpoint may take.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn run(place: &Place, args: &Stop) -> Result<(), Failure> {
    let run = args.run.as_deref().map(|name| super::run_name("stop", name)).transpose()?;
    let engine = Handle::connect(&socket::path_of(&place.project));
    if let Err(why @ EngineError::Version(_)) = engine {
        return Err(why.into());
    }
    match run {
        Some(name) => {
            let run = RunDir::open(&place.project, name);
            match (engine, run) {
                (Ok(engine), run) => stop_run(&engine, name, run.ok().as_ref()),
                (Err(_), Err(unknown)) => Err(Failure::failed(unknown)),
                (Err(_), Ok(run)) => Err(not_running(&run)),
            }
        }
        None => match engine {
            Ok(engine) => stop_engine(&engine),
            Err(_) => Err(Failure::Failed(format!("no engine runs for {}; there is nothing to stop", out::shown(&place.project)))),
        },
    }
}

fn not_running(run: &RunDir) -> Failure {
    let name = visible(&run.name, false);
    if run.is_locked() {
        return Failure::Failed(format!(
            "{name}: it is trained by another process, outside the project's engine; stop it there with Ctrl-C"
        ));
    }
    Failure::Failed(format!("{name}: it is not training; weightroom runs lists how all stand"))
}

fn stop_run(engine: &Handle, name: &str, run: Option<&RunDir>) -> Result<(), Failure> {
    engine.send(Command::SignalRun { ticket: 1, run: name.into(), signal: Signal::Stop })?;
    let until = Instant::now() + PATIENCE;
    let mut job = None;
    while Instant::now() < until {
        match engine.events().recv_timeout(Duration::from_millis(200)) {
            Ok(Up::Started { ticket: 1, job: id }) => job = Some(id),
            Ok(Up::Refused { ticket: 1, why }) => return Err(run.map_or(Failure::Failed(why), not_running)),
            Ok(Up::Events(events)) => {
                let ends = events.into_iter().filter(|e| Some(e.job) == job).map(|e| e.report);
                for end in ends {
                    match end {
                        Report::Finished { summary, .. } => return Ok(out::line(visible(&summary, false))?),
                        Report::Failed { cause, .. } => return Err(Failure::Failed(visible(&cause, false).into_owned())),
                        _ => {}
                    }
                }
            }
            Ok(Up::Bye) => return Err(EngineError::Gone.into()),
            _ => {}
        }
    }
    Err(Failure::Failed(format!("{}: it was asked to stop and has not yet; weightroom runs tells when it has", visible(name, false))))
}

fn stop_engine(engine: &Handle) -> Result<(), Failure> {
    engine.send(Command::Shutdown)?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match engine.events().recv_timeout(Duration::from_millis(200)) {
            Ok(Up::Bye) => return Ok(out::line("the engine has ended; what ran was saved")?),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            _ => {}
        }
    }
    Err(Failure::Failed("the engine was asked to end and has not yet; weightroom runs tells how its runs stand".into()))
}
