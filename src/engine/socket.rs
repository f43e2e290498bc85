//! The protocol over a Unix socket: frames of a length (u32, little-endian) and JSON, for one user alone.
//! Deliberately not here: a network; the socket's directory and the peer's user id keep everybody else out.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fs4::FileExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fan::Subscriber;
use super::hub::Hub;
use super::protocol::{Command, Up};
use super::{Engine, EngineError, Handle, lock, thread};
use crate::report::SCHEMA;

/// The largest frame that is read; a larger length is a fault of the other side, and nothing is allocated for it.
pub const MAX_FRAME: usize = 16 << 20;
/// The largest command that an engine reads.
pub const MAX_COMMAND: usize = 1 << 20;
/// Connections at a time; more are closed at once, so that no program can use up the engine's threads.
pub const MAX_CONNECTIONS: usize = 256;
/// How long a new engine waits for one that is ending.
const PATIENCE: Duration = Duration::from_secs(8);
/// A socket's path must fit into the system's address; longer ones go to the run-time directory.
const MAX_PATH: usize = 100;

/// Writes one frame.
pub fn write_frame(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|n| *n as usize <= MAX_FRAME);
    let length =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {} bytes is too large", body.len())))?;
    // One write: a frame in two pieces would wait for the first one's acknowledgement.
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&body);
    out.write_all(&frame)
}

/// Reads one frame. None: the other side has closed. A frame of a later version that is not understood is skipped.
pub fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    read_frame_within(from, MAX_FRAME)
}

fn read_frame_within<T: DeserializeOwned>(from: &mut impl Read, most: usize) -> io::Result<Option<T>> {
    loop {
        let mut length = [0; 4];
        match from.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > most {
            let what = format!("a frame of {length} bytes is announced, and {most} are allowed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        // The memory grows with what arrives, not with what is announced.
        let mut body = Vec::new();
        if Read::by_ref(from).take(length as u64).read_to_end(&mut body)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match serde_json::from_slice::<T>(&body) {
            Ok(message) => return Ok(Some(message)),
            Err(error) if error.is_data() => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
        }
    }
}

/// Where a project's engine listens.
pub fn path_of(project: &Path) -> PathBuf {
    let whole = project.canonicalize().unwrap_or_else(|_| project.into());
    let path = whole.join(".weightroom").join("engine.sock");
    if path.as_os_str().len() <= MAX_PATH {
        return path;
    }
    use sha2::{Digest, Sha256};
    let name: String = Sha256::digest(whole.as_os_str().as_encoded_bytes()).iter().take(8).map(|b| format!("{b:02x}")).collect();
    let dir = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    dir.join(format!("weightroom-{}", uid())).join(format!("{name}.sock"))
}

/// Listens at `path` and serves whoever connects, each on threads of its own, until the engine ends.
pub fn listen(engine: &Engine, path: &Path) -> Result<(), EngineError> {
    let (listener, alone) = bind(path).map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => wrong(path, &e, "open `weightroom` to use it, or end it first (weightroom stop --engine)"),
        _ => wrong(path, &e, "choose a directory of your own that can be written"),
    })?;
    let hub = engine.hub.clone();
    let open = Arc::new(AtomicUsize::new(0));
    thread("weightroom-accept", move || {
        let _alone = alone;
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // No more files may be open: it gets better when somebody goes, and asking at once would only burn a core.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            let place = Place::take(&open);
            if let Some(place) = place
                && peer_uid(&stream) == Some(uid())
                && !hub.closing()
            {
                // A screen that cannot be served for want of threads finds its socket closed.
                let _ = serve(&hub, stream, place);
            }
        }
    })
}

/// One of the connections that may be open at a time.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Arc<Self>> {
        let place = Self(open.clone());
        (open.fetch_add(1, Ordering::AcqRel) < MAX_CONNECTIONS).then(|| Arc::new(place))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Makes a directory that is this user's alone, or makes it so.
pub(super) fn private(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if std::fs::symlink_metadata(dir)?.uid() != uid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the directory belongs to another user"));
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}

/// The socket, and the lock that says that this process alone serves it. Kernels give the lock back when a process
/// dies, however that happens: what a dead engine left is then cleared away, and never what a live one listens at.
fn bind(path: &Path) -> io::Result<(UnixListener, File)> {
    if let Some(dir) = path.parent() {
        private(dir)?;
    }
    let alone = take_lock(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok((listener, alone))
}

/// Takes `engine.lock` beside the socket. Waits for an engine that is ending, not for one that answers.
fn take_lock(path: &Path) -> io::Result<File> {
    let place = path.with_extension("lock");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&place)?;
    let begin = Instant::now();
    loop {
        match FileExt::try_lock(&file) {
            Ok(()) => break,
            Err(fs4::TryLockError::WouldBlock) if begin.elapsed() < PATIENCE && !greets(path) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(fs4::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut holder);
                let holder = holder.trim().parse::<u32>().map_or(String::new(), |pid| format!(" (process {pid})"));
                return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("an engine runs here already{holder}")));
            }
            Err(fs4::TryLockError::Error(error)) => return Err(error),
        }
    }
    // Only a help for the one who is refused; a full disk must not keep an engine from starting.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Whether an engine answers at `path`.
fn greets(path: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(path) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok() && stream.read_exact(&mut [0; 4]).is_ok()
}

/// One screen: a thread that reads its commands, one that writes its events.
fn serve(hub: &Arc<Hub>, stream: UnixStream, place: Arc<Place>) -> Result<(), EngineError> {
    let copy = |s: &UnixStream| s.try_clone().map_err(|e| EngineError::Other(e.to_string()));
    let (mut commands, mut out, closing) = (copy(&stream)?, copy(&stream)?, copy(&stream)?);
    let subscriber = hub.fan.subscribe(hub.hello());
    let (pump, held) = (subscriber.clone(), place.clone());
    let pumping = thread("weightroom-events", move || {
        let _held = held;
        pump.pump(|up| send_up(&mut out, up).is_ok());
        let _ = closing.shutdown(Shutdown::Both);
    });
    let leaving = Leaving { hub: hub.clone(), subscriber };
    pumping?;
    thread("weightroom-commands", move || {
        let _held = place;
        loop {
            match read_frame_within(&mut commands, MAX_COMMAND) {
                Ok(Some(command)) => leaving.hub.command(&leaving.subscriber, command),
                Ok(None) => return,
                // What follows garbage is garbage: this connection ends, also one that does not read.
                Err(_) => return drop(stream.shutdown(Shutdown::Both)),
            }
        }
    })
}

/// A screen that is forgotten with its thread, however that ends.
struct Leaving {
    hub: Arc<Hub>,
    subscriber: Arc<Subscriber>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.hub.left(&self.subscriber);
    }
}

/// A frame has a greatest size: many events go in several.
fn send_up(out: &mut UnixStream, up: Up) -> io::Result<()> {
    const EVENTS: usize = 1000;
    match up {
        Up::Events(events) if events.len() > EVENTS => {
            events.chunks(EVENTS).try_for_each(|part| write_frame(out, &Up::Events(part.to_vec())))
        }
        up => write_frame(out, &up),
    }
}

/// Connects to an engine. The first frame must be its greeting.
pub(super) fn connect(path: &Path) -> Result<Handle, EngineError> {
    let gone = |e: &io::Error| wrong(path, e, "start one with `weightroom engine DIR`");
    let mut reading = UnixStream::connect(path).map_err(|e| gone(&e))?;
    if peer_uid(&reading) != Some(uid()) {
        return Err(EngineError::Other(format!("{}: this engine belongs to another user", path.display())));
    }
    let mut writing = reading.try_clone().map_err(|e| gone(&e))?;
    let closing = reading.try_clone().map_err(|e| gone(&e))?;
    reading.set_read_timeout(Some(Duration::from_secs(10))).map_err(|e| gone(&e))?;
    let hello: Option<Up> = read_frame(&mut reading).map_err(|e| gone(&e))?;
    let Some(hello @ Up::Hello { .. }) = hello else {
        return Err(EngineError::Other(format!("{}: no engine answers here; start one with `weightroom engine DIR`", path.display())));
    };
    if let Up::Hello { schema, version, .. } = &hello
        && *schema != SCHEMA
    {
        let theirs = crate::text::visible(version, false);
        let (ours, place) = (env!("CARGO_PKG_VERSION"), path.display());
        let what = format!("{place}: the engine here is weightroom {theirs}, which speaks otherwise than this {ours}");
        return Err(EngineError::Version(format!("{what}; let its jobs end, then `weightroom stop --engine` with that version")));
    }
    reading.set_read_timeout(None).map_err(|e| gone(&e))?;
    let (commands, received) = channel();
    let (outlet, events) = channel();
    let _ = outlet.send(hello);
    // The reader takes it away with its own: the channel ends with the engine, not with the last command.
    let answers = Arc::new(Mutex::new(Some(outlet.clone())));
    let last = answers.clone();
    thread("weightroom-reader", move || {
        let mut said = false;
        while !said && let Ok(Some(up)) = read_frame::<Up>(&mut reading) {
            said = up == Up::Bye;
            said |= outlet.send(up).is_err();
        }
        lock(&last).take();
        // The engine is gone without a word: the screen hears the same as if it had said so.
        if !said {
            let _ = outlet.send(Up::Bye);
        }
    })?;
    thread("weightroom-writer", move || {
        for command in received {
            match too_large(&command) {
                Some(refused) => drop(lock(&answers).as_ref().map(|to| to.send(refused))),
                None if write_frame(&mut writing, &command).is_err() => break,
                None => {}
            }
        }
        let _ = closing.shutdown(Shutdown::Both);
    })?;
    // `.weightroom/engine.sock` stands in the project.
    let project = path.parent().and_then(Path::parent).unwrap_or(Path::new(".")).to_path_buf();
    Ok(Handle { commands, events, project })
}

/// What to answer to a command that the engine would not read.
fn too_large(command: &Command) -> Option<Up> {
    let Command::Start { ticket, .. } = command else { return None };
    let bytes = serde_json::to_vec(command).map_or(0, |body| body.len());
    let why = || format!("a job of {bytes} bytes is too large to be sent, {MAX_COMMAND} are allowed; name files instead of their text");
    (bytes > MAX_COMMAND).then(|| Up::Refused { ticket: *ticket, why: why() })
}

fn wrong(path: &Path, error: &io::Error, remedy: &str) -> EngineError {
    EngineError::Other(format!("{}: {error}; {remedy}", path.display()))
}

fn uid() -> u32 {
    // SAFETY: a system call without arguments that always succeeds.
    unsafe { libc::geteuid() }
}

#[cfg(target_os = "linux")]
fn peer_uid(stream: &UnixStream) -> Option<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the buffer is as large as its length says, and outlives the call.
    let done = unsafe {
        let target = (&raw mut credentials).cast();
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, target, &raw mut length)
    };
    (done == 0).then_some(credentials.uid)
}

#[cfg(not(target_os = "linux"))]
fn peer_uid(stream: &UnixStream) -> Option<u32> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: both pointers are to live numbers of the right type.
    let done = unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut uid, &raw mut gid) };
    (done == 0).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::protocol::Command;

    #[test]
    fn frames_come_back_and_a_huge_length_allocates_nothing() {
        let mut wire = Vec::new();
        write_frame(&mut wire, &Command::Shutdown).unwrap();
        write_frame(&mut wire, &serde_json::json!({"later": {"version": 2}})).unwrap();
        write_frame(&mut wire, &Command::Shutdown).unwrap();
        let mut from = wire.as_slice();
        assert_eq!(read_frame::<Command>(&mut from).unwrap(), Some(Command::Shutdown));
        assert_eq!(read_frame::<Command>(&mut from).unwrap(), Some(Command::Shutdown), "the unknown one is skipped");
        assert_eq!(read_frame::<Command>(&mut from).unwrap(), None);
        let error = read_frame::<Command>(&mut [255u8, 255, 255, 255, b'{'].as_slice()).unwrap_err();
        assert!(error.to_string().contains("4294967295"), "{error}");
        assert!(read_frame::<Command>(&mut [3u8, 0, 0, 0, b'{', b'x', b'}'].as_slice()).is_err(), "broken JSON");
    }

    #[test]
    fn a_frame_that_ends_early_is_an_end_and_a_command_has_a_smaller_limit() {
        let cut = [100u8, 0, 0, 0, b'{'];
        assert_eq!(read_frame::<Command>(&mut cut.as_slice()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let wire = u32::try_from(MAX_COMMAND + 1).unwrap().to_le_bytes();
        assert!(read_frame_within::<Command>(&mut wire.as_slice(), MAX_COMMAND).unwrap_err().to_string().contains("1048576 are allowed"));
        let params = serde_json::json!({ "prompt": "x".repeat(MAX_COMMAND) });
        let start = |params| Command::Start { ticket: 3, spec: crate::spec::JobSpec { kind: "generate".into(), params } };
        assert!(matches!(too_large(&start(params)), Some(Up::Refused { ticket: 3, .. })));
        assert_eq!(too_large(&start(serde_json::json!({}))), None);
    }

    #[test]
    fn unknown_fields_of_a_later_version_are_tolerated() {
        let up: Up = serde_json::from_str(r#"{"hello":{"schema":9,"version":"9","device":"cpu","threads":2,"moon":"full"}}"#).unwrap();
        assert!(matches!(up, Up::Hello { schema: 9, .. }));
    }

    #[test]
    fn a_deep_project_gets_a_short_socket() {
        let deep = PathBuf::from("/x".repeat(120));
        assert!(path_of(&deep).as_os_str().len() <= MAX_PATH + 20, "{}", path_of(&deep).display());
        assert_ne!(path_of(&deep), path_of(&deep.join("y")));
    }
}
