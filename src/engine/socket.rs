//! The protocol over a Unix socket: frames of a length (u32, little-endian) and JSON, for one user alone.
//! Deliberately not here: a network; the socket's directory and the peer's user id keep everybody else out.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::hub::Hub;
use super::protocol::Up;
use super::{Engine, EngineError, Handle, thread};
use crate::report::SCHEMA;

/// The largest frame that is read; a larger length is a fault of the other side, and nothing is allocated for it.
pub const MAX_FRAME: usize = 16 << 20;
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
    loop {
        let mut length = [0; 4];
        match from.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_FRAME {
            let what = format!("a frame of {length} bytes is announced, and {MAX_FRAME} are allowed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
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
    let listener = bind(path).map_err(|e| wrong(path, &e, "choose a directory of your own that can be written"))?;
    let hub = engine.hub.clone();
    thread("weightroom-accept", move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            if peer_uid(&stream) == Some(uid()) && !hub.closing() {
                // A screen that cannot be served for want of threads finds its socket closed.
                let _ = serve(&hub, stream);
            }
        }
    })
}

/// Makes a directory that is this user's alone, or makes it so.
pub(super) fn private(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if std::fs::symlink_metadata(dir)?.uid() != uid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the directory belongs to another user"));
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        private(dir)?;
    }
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "an engine runs here already"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// One screen: a thread that reads its commands, one that writes its events.
fn serve(hub: &Arc<Hub>, stream: UnixStream) -> Result<(), EngineError> {
    let copy = |s: &UnixStream| s.try_clone().map_err(|e| EngineError::Other(e.to_string()));
    let (mut commands, mut out, closing) = (copy(&stream)?, copy(&stream)?, stream);
    let subscriber = hub.fan.subscribe(hub.hello());
    let pump = subscriber.clone();
    thread("weightroom-events", move || {
        pump.pump(|up| send_up(&mut out, up).is_ok());
        let _ = closing.shutdown(std::net::Shutdown::Both);
    })?;
    let hub = hub.clone();
    thread("weightroom-commands", move || {
        while let Ok(Some(command)) = read_frame(&mut commands) {
            hub.command(&subscriber, command);
        }
        hub.left(&subscriber);
    })
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
    thread("weightroom-reader", move || {
        while let Ok(Some(up)) = read_frame::<Up>(&mut reading) {
            let last = up == Up::Bye;
            if outlet.send(up).is_err() || last {
                return;
            }
        }
        // The engine is gone without a word: the screen hears the same as if it had said so.
        let _ = outlet.send(Up::Bye);
    })?;
    thread("weightroom-writer", move || {
        for command in received {
            if write_frame(&mut writing, &command).is_err() {
                break;
            }
        }
        let _ = closing.shutdown(std::net::Shutdown::Both);
    })?;
    // `.weightroom/engine.sock` stands in the project.
    let project = path.parent().and_then(Path::parent).unwrap_or(Path::new(".")).to_path_buf();
    Ok(Handle { commands, events, project })
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
