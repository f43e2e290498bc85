//! The line from a screen to its project's engine: finds the engine process, starts it with the first job that is
//! asked for, and again after it broke off. Nothing is written into a project before that first job.
//! Deliberately not here: the process itself (`host`), and what a screen does with what it hears.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::protocol::{Command, Up};
use super::{EngineError, Handle, Settings, device, host, socket, thread};
use crate::report::SCHEMA;

/// How often a screen without an engine looks whether somebody else has started one.
const LOOK: Duration = Duration::from_millis(400);

/// A handle to the project's engine, wherever it is and whenever it comes. Where no engine process can be had, the
/// engine runs on threads of this process (made by `settings`), and the screen is told so.
pub fn open(project: &Path, settings: impl Fn() -> Settings + Send + 'static) -> Result<Handle, EngineError> {
    let (commands, received) = channel();
    let (outlet, events) = channel();
    let line = Line {
        project: project.into(),
        socket: socket::path_of(project),
        outlet,
        settings: Box::new(settings),
        far: None,
        watched: false,
        foreign: None,
    };
    thread("weightroom-link", move || line.run(&received))?;
    Ok(Handle { commands, events, project: project.into() })
}

/// A live connection.
struct Far {
    commands: Sender<Command>,
    alive: Arc<AtomicBool>,
}

struct Line {
    project: PathBuf,
    socket: PathBuf,
    outlet: Sender<Up>,
    settings: Box<dyn Fn() -> Settings + Send>,
    far: Option<Far>,
    watched: bool,
    /// The socket of an engine that speaks otherwise: asked once, since each time would keep it from ending.
    foreign: Option<u64>,
}

impl Line {
    fn run(mut self, received: &Receiver<Command>) {
        if !self.find() {
            let (version, threads) = (env!("CARGO_PKG_VERSION").into(), device::threads());
            let hello = Up::Hello { schema: SCHEMA, version, device: device::default_name().into(), threads, outlives: true };
            let _ = self.outlet.send(hello);
        }
        loop {
            let command = match received.recv_timeout(LOOK) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => {
                    self.drop_dead();
                    if self.far.is_none() && self.socket.exists() {
                        self.find();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.drop_dead();
            if !self.pass(command) {
                return;
            }
        }
    }

    fn drop_dead(&mut self) {
        if self.far.as_ref().is_some_and(|far| !far.alive.load(Ordering::Acquire)) {
            self.far = None;
        }
    }

    /// Sends a command on; false when nobody listens to the answers any more.
    fn pass(&mut self, command: Command) -> bool {
        self.watched |= command == Command::Watch;
        if self.far.is_none() && !self.find() {
            match &command {
                Command::Start { ticket, .. } => {
                    if let Err(why) = self.start() {
                        return self.outlet.send(Up::Refused { ticket: *ticket, why: why.to_string() }).is_ok();
                    }
                }
                Command::SignalRun { ticket, run, .. } => {
                    let why = format!("{}: no engine runs for this project, so nothing trains", crate::text::visible(run, false));
                    return self.outlet.send(Up::Refused { ticket: *ticket, why }).is_ok();
                }
                Command::Shutdown => return self.outlet.send(Up::Bye).is_ok(),
                // There is nothing to signal or to move; `watched` is told to the next engine.
                _ => return true,
            }
        }
        if let Some(far) = &self.far {
            // A connection that broke in this moment is told by its reader.
            let _ = far.commands.send(command);
        }
        true
    }

    /// Connects to an engine that runs already; whether there is one.
    fn find(&mut self) -> bool {
        let socket = std::fs::metadata(&self.socket).ok().map(|m| m.ino());
        if socket.is_none() || socket == self.foreign {
            return false;
        }
        match Handle::connect(&self.socket) {
            Ok(handle) => self.attach(handle).is_ok(),
            Err(EngineError::Version(why)) => {
                self.foreign = socket;
                let _ = self.outlet.send(Up::Told(why));
                false
            }
            Err(_) => false,
        }
    }

    fn start(&mut self) -> Result<(), EngineError> {
        match host::attach_or_start(&self.project) {
            Ok(handle) => self.attach(handle),
            Err(why @ EngineError::Version(_)) => Err(why),
            Err(why) => {
                let handle = Handle::spawn_with(&self.project, Settings { notifies: true, ..(self.settings)() })?;
                self.attach(handle)?;
                let _ = self.outlet.send(Up::Told(format!("{why}; until then jobs stop with this terminal")));
                Ok(())
            }
        }
    }

    fn attach(&mut self, handle: Handle) -> Result<(), EngineError> {
        let (commands, events) = handle.split();
        if self.watched {
            let _ = commands.send(Command::Watch);
        }
        let alive = Arc::new(AtomicBool::new(true));
        let (outlet, lives) = (self.outlet.clone(), alive.clone());
        thread("weightroom-far", move || {
            for up in events {
                if up == Up::Bye {
                    // Before the screen hears of it: what it asks next must go to a new engine.
                    lives.store(false, Ordering::Release);
                }
                if outlet.send(up).is_err() {
                    return;
                }
            }
            lives.store(false, Ordering::Release);
        })?;
        self.far = Some(Far { commands, alive });
        Ok(())
    }
}
