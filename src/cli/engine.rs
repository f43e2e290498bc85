//! `engine DIR`: a project's engine as a process of its own. Deliberately not here: the engine.

use super::args::Engine;
use super::{Failure, out};
use crate::engine::{Settings, host, socket};

pub fn run(args: &Engine, settings: Settings) -> Result<(), Failure> {
    let dir = args.dir.canonicalize().map_err(|e| Failure::Failed(format!("{}: {e}; make the directory first", out::shown(&args.dir))))?;
    if args.detach {
        host::start_detached(&dir)?;
        return Ok(out::line(format!("listening at {}", out::shown(&socket::path_of(&dir))))?);
    }
    if args.own_session {
        host::leave_session();
    }
    // Somebody may wait for this line; nobody need.
    host::run(&dir, settings, args.own_session.then_some(host::UNUSED), |path| {
        drop(out::line(format!("listening at {}", out::shown(path))))
    })?;
    Ok(())
}
