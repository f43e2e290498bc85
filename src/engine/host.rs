//! The engine as a process of its own: `weightroom engine DIR`. It lives on when its screens go.
//! Deliberately not here: the command line's words for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Engine, EngineError, Handle, Settings, socket, thread};

/// Hosts an engine for a project until it is told to end (`Shutdown`, SIGTERM, SIGINT): jobs are then stopped at
/// their next safepoint and saved. `ready` hears where it listens.
pub fn run(project: &Path, settings: Settings, ready: impl FnOnce(&Path)) -> Result<(), EngineError> {
    if !project.is_dir() {
        return Err(EngineError::Other(format!("{}: no such directory; make it, or name another", project.display())));
    }
    let path = socket::path_of(project);
    let engine = Engine::start(project, settings)?;
    socket::listen(&engine, &path)?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|e| EngineError::Other(format!("signals cannot be received: {e}; end other programs")))?;
    let hub = engine.hub.clone();
    thread("weightroom-signals", move || {
        for signal in &mut signals {
            // A terminal that goes away takes nothing with it.
            if signal != SIGHUP {
                hub.shutdown();
            }
        }
    })?;
    ready(&path);
    engine.wait();
    // The threads that say goodbye to the screens get a moment; then nobody may connect any more.
    let _ = std::fs::remove_file(&path);
    std::thread::sleep(Duration::from_millis(100));
    Ok(())
}

/// A session of its own: a terminal that closes sends its signals elsewhere.
pub fn leave_session() {
    // SAFETY: a system call without arguments; where the process leads a group already, it changes nothing.
    unsafe {
        libc::setsid();
    }
}

/// Connects to a project's engine, and starts one as a process of its own where none runs.
pub fn attach_or_start(project: &Path) -> Result<Handle, EngineError> {
    let path = socket::path_of(project);
    match Handle::connect(&path) {
        Ok(handle) => Ok(handle),
        Err(_) => {
            start_detached(project)?;
            Handle::connect(&path)
        }
    }
}

/// Starts `weightroom engine DIR` in a session of its own and waits until it listens.
pub fn start_detached(project: &Path) -> Result<PathBuf, EngineError> {
    let failed = |what: String| EngineError::Other(format!("the engine cannot be started: {what}; try `weightroom engine DIR` to see why"));
    let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let mut command = Command::new(program);
    command.arg("engine").arg(project).arg("--own-session");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let path = socket::path_of(project);
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Ok(path);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(failed(format!("it ended at once ({status})")));
        }
        if Instant::now() > until {
            return Err(failed("it does not listen".into()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
