//! The engine as a process of its own: `weightroom engine DIR`. It lives on when its screens go.
//! Deliberately not here: the command line's words for it, and how a screen finds it (`link`).

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Engine, EngineError, Handle, Settings, socket, thread, worker};

/// An engine that was started for a screen or a command ends when nobody has used it for this long.
pub const UNUSED: Duration = Duration::from_secs(10);
/// How often an engine looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);
/// How long a new engine may take until it listens.
const START: Duration = Duration::from_secs(10);
/// The engine's own log begins anew at this size.
const MAX_LOG: u64 = 1 << 20;

/// Hosts an engine for a project until it is told to end (`Shutdown`, SIGTERM, SIGINT): jobs are then stopped at
/// their next safepoint and saved. With `unused`, it also ends when nobody has used it for that long.
/// `ready` hears where it listens.
pub fn run(project: &Path, settings: Settings, unused: Option<Duration>, ready: impl FnOnce(&Path)) -> Result<(), EngineError> {
    if !project.is_dir() {
        return Err(EngineError::Other(format!("{}: no such directory; make it, or name another", project.display())));
    }
    let path = socket::path_of(project);
    let engine = Engine::start(project, Settings { outlives: true, first_job: first_job(), notifies: true, ..settings })?;
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
    serve(&engine, project, &path, unused);
    // The threads that say goodbye to the screens get a moment; then nobody may connect any more.
    let _ = std::fs::remove_file(&path);
    std::thread::sleep(Duration::from_millis(100));
    if project.is_dir() {
        Ok(())
    } else {
        Err(EngineError::Other(format!("{}: the project was removed; its jobs ended", project.display())))
    }
}

/// Waits until the engine has ended, and ends it when it is not wanted any more.
fn serve(engine: &Engine, project: &Path, socket: &Path, unused: Option<Duration>) {
    let mut used = Instant::now();
    while !engine.hub.wait_end_for(LOOK) {
        if !project.is_dir() {
            // Nothing can be saved where nothing is: what runs gets a moment to notice.
            engine.shutdown();
            engine.hub.wait_end_for(START);
            return;
        }
        if !socket.exists() {
            // Somebody removed it, perhaps on the way to removing the project: nobody can reach this engine any more, to
            // look or to stop it. What runs is saved.
            engine.shutdown();
            engine.hub.wait_end();
            return;
        }
        if !engine.idle() || engine.hub.fan.listeners().0 > 0 {
            used = Instant::now();
        } else if unused.is_some_and(|patience| used.elapsed() >= patience) {
            engine.hub.end_if_unused();
        }
    }
}

/// Numbers of jobs go on over engines: a later engine begins at a higher number, by the clock in milliseconds. A screen
/// would take the job of an engine that was started in the second of the one that broke off for one that has ended.
fn first_job() -> u64 {
    const YEAR_2026: u64 = 1_767_225_600_000;
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| (d.as_millis() as u64).saturating_sub(YEAR_2026))
}

/// A session of its own: a terminal that closes sends its signals elsewhere.
pub fn leave_session() {
    // SAFETY: a system call without arguments; where the process leads a group already, it changes nothing.
    unsafe {
        libc::setsid();
    }
    // Where Linux schedules sessions as groups, niceness counts inside a session alone: the session itself must give way
    // to that of the screen, or a key waits for the training's time slice. Elsewhere there is no such file.
    let _ = std::fs::write("/proc/self/autogroup", worker::SESSION_NICENESS.to_string());
}

/// Connects to a project's engine, and starts one as a process of its own where none runs.
pub fn attach_or_start(project: &Path) -> Result<Handle, EngineError> {
    match Handle::connect(&socket::path_of(project)) {
        // One that is just ending holds the project for a moment; the new one waits for it.
        Err(EngineError::Other(_) | EngineError::Gone) => start_detached(project),
        connected => connected,
    }
}

/// Starts `weightroom engine DIR` in a session of its own and connects to it, or to another one that was quicker.
pub fn start_detached(project: &Path) -> Result<Handle, EngineError> {
    let failed = |what: String| EngineError::Other(format!("the engine cannot be started: {what}; try `weightroom engine DIR` to see why"));
    let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let path = socket::path_of(project);
    let directory = path.parent().unwrap_or(project);
    socket::private(directory).map_err(|e| failed(format!("{}: {e}", directory.display())))?;
    let log_path = directory.join("engine.log");
    let log = open_log(&log_path).map_err(|e| failed(format!("{}: {e}", log_path.display())))?;
    let began = log.metadata().map_or(0, |m| m.len());
    let mut command = Command::new(program);
    command.arg("engine").arg(project).arg("--own-session");
    // A directory that is somebody's working directory cannot be unmounted.
    command.current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(log));
    let mut child = Some(command.spawn().map_err(|e| failed(e.to_string()))?);
    let mut until = Instant::now() + START;
    loop {
        if let Ok(handle) = Handle::connect(&path) {
            if let Some(child) = child {
                reap(child);
            }
            return Ok(handle);
        }
        let ended = child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(Some(_))));
        if ended {
            // Perhaps another one was quicker and is about to listen.
            child = None;
            until = until.min(Instant::now() + Duration::from_secs(1));
        }
        if Instant::now() > until {
            let said = std::fs::read_to_string(&log_path).unwrap_or_default();
            let last = said.get(began as usize..).and_then(|s| s.lines().rfind(|l| !l.trim().is_empty())).unwrap_or_default();
            if let Some(child) = child {
                reap(child);
            }
            return Err(failed(if last.is_empty() { "it does not listen".into() } else { crate::text::visible(last, false).into_owned() }));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What the engine says on standard error is kept: causes of a failed start, panics.
fn open_log(path: &Path) -> std::io::Result<File> {
    let large = std::fs::metadata(path).is_ok_and(|m| m.len() > MAX_LOG);
    OpenOptions::new().create(true).append(!large).write(true).truncate(large).open(path)
}

/// Waits for the process in the background, so that its entry goes when it has ended.
fn reap(mut child: Child) {
    let _ = std::thread::Builder::new().name("engine process".into()).spawn(move || child.wait());
}
