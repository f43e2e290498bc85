//! What keeps an engine safe from others and from itself: one engine for a project, its owner alone, broken and
//! greedy connections. Deliberately not here: random garbage (`engine_fuzz.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.
#![cfg(target_os = "linux")]

#[path = "common/process.rs"]
mod process;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

use process::{Served, engine, until};
use weightroom::engine::protocol::{Command, Up};
use weightroom::engine::socket::{MAX_CONNECTIONS, path_of, read_frame, write_frame};
use weightroom::engine::{Engine, Settings, socket};
use weightroom::report::{JobId, Signal};
use weightroom::spec::JobSpec;

#[test]
fn of_eight_engines_that_start_at_once_one_serves() {
    let dir = tempfile::tempdir().unwrap();
    let mut engines: Vec<Served> = (0..8).map(|_| engine(dir.path())).collect();
    until("all but one have ended", || engines.iter_mut().map(Served::ended).filter(Option::is_some).count() == 7);
    let at = engines.iter_mut().position(|e| e.ended().is_none()).unwrap();
    let mut alive = engines.remove(at);
    alive.listening();
    for mut other in engines {
        assert_eq!(other.ended().unwrap().code(), Some(1));
        let said = other.said();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() == 1 && lines[0].contains("an engine runs here already"), "{said}");
    }
    // A crash leaves a socket and a lock file behind, and neither is in the way.
    alive.kill();
    assert!(path_of(dir.path()).exists());
    let mut next = engine(dir.path());
    next.listening();
    assert!(matches!(greeting(&mut UnixStream::connect(path_of(dir.path())).unwrap()), Some(Up::Hello { .. })));
    next.kill();
}

/// An engine on threads of this process, behind a socket.
struct Fixture {
    dir: tempfile::TempDir,
    engine: Engine,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::start(dir.path(), Settings { lower_priority: false, ..Settings::default() }).unwrap();
        let path = path_of(dir.path());
        socket::listen(&engine, &path).unwrap();
        Self { dir, engine, path }
    }
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }
    fn greeted(&self) -> UnixStream {
        let mut stream = self.connect();
        assert!(matches!(greeting(&mut stream), Some(Up::Hello { .. })));
        stream
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.engine.shutdown();
        self.engine.wait();
    }
}

/// The first frame; none where the connection was closed instead.
fn greeting(stream: &mut UnixStream) -> Option<Up> {
    read_frame(stream).ok().flatten()
}

/// A question that the engine answers without doing anything.
fn ask(stream: &mut UnixStream, ticket: u64) {
    let spec = JobSpec { kind: "none".into(), params: serde_json::json!({}) };
    write_frame(stream, &Command::Start { ticket, spec }).unwrap();
    loop {
        match read_frame::<Up>(stream).unwrap() {
            Some(Up::Refused { ticket: t, .. }) => return assert_eq!(t, ticket),
            Some(_) => {}
            None => panic!("a healthy connection was closed"),
        }
    }
}

const STRANGER: &str = "WEIGHTROOM_TEST_STRANGER";

/// Not a test of its own: the process of another user that `another_user_is_kept_out` starts.
#[test]
fn stranger() {
    let Some(path) = std::env::var_os(STRANGER) else { return };
    let Ok(mut stream) = UnixStream::connect(Path::new(&path)) else { return println!("refused by the system") };
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _ = write_frame(&mut stream, &Command::Shutdown);
    let mut byte = [0];
    // Closed without a word, or reset since the command was never read.
    assert!(!matches!(stream.read(&mut byte), Ok(1..)), "the engine spoke to another user");
    println!("closed by the engine");
}

#[test]
fn another_user_is_kept_out() {
    let f = Fixture::new();
    let home = f.path.parent().unwrap();
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(home), mode(&f.path), mode(&f.path.with_extension("lock"))), (0o700, 0o600, 0o600));
    // SAFETY: a system call without arguments that always succeeds.
    if unsafe { libc::geteuid() } != 0 {
        return println!("skipped: only root can become another user");
    }
    // The stranger runs a copy that it may read, and prints what kept it out.
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("stranger");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let open = |p: &Path| fs::set_permissions(p, fs::Permissions::from_mode(0o777)).unwrap();
    open(place.path());
    open(&program);
    let knock = || {
        let mut command = Process::new(&program);
        command.args(["stranger", "--exact", "--nocapture"]).env(STRANGER, &f.path).current_dir("/").uid(65534).gid(65534);
        let out = command.output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
        said
    };
    assert!(knock().contains("refused by the system"));
    // Even where somebody opened the doors.
    [f.dir.path(), home, &f.path].into_iter().for_each(open);
    let said = knock();
    assert!(said.contains("closed by the engine"), "{said}");
    ask(&mut f.greeted(), 1);
}

/// Threads that serve connections.
fn threads() -> usize {
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let names = fs::read_dir("/proc/self/task").unwrap().map(|task| name(task.unwrap()));
    // The system keeps fifteen letters of a name.
    names.filter(|n| n.starts_with("weightroom-even") || n.starts_with("weightroom-comm")).count()
}

#[test]
fn greedy_and_broken_connections_harm_nobody() {
    let f = Fixture::new();
    let mut healthy = f.greeted();
    ask(&mut healthy, 1);
    let before = threads();
    assert!(before >= 2);
    let mut peers = Vec::new();
    for i in 0..100u32 {
        let mut peer = f.connect();
        let _ = match i % 5 {
            0 => Ok(()),
            1 => peer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            2 => peer.write_all(&[200, 0, 0, 0, b'{', b'"']),
            // A lie about the length, within what is allowed and beyond it.
            3 => peer.write_all(&[0, 0, 15, 0, b'{']),
            _ => peer.write_all(&[255, 255, 255, 255, b'{']),
        };
        peers.push(peer);
        ask(&mut healthy, u64::from(i) + 2);
    }
    // Garbage ends its own connection: after the greeting there is nothing.
    for peer in peers.iter_mut().enumerate().filter(|(i, _)| matches!(i % 5, 1 | 4)).map(|(_, p)| p) {
        let mut rest = Vec::new();
        let _ = peer.read_to_end(&mut rest);
    }
    for ticket in 200..300 {
        ask(&mut healthy, ticket);
    }
    drop(peers);
    until("the threads of those who left have ended", || threads() <= before);

    // A crowd: as many as may come, and no more.
    let mut crowd = vec![f.greeted()];
    while crowd.len() < MAX_CONNECTIONS - 1 {
        crowd.push(f.greeted());
    }
    assert_eq!(greeting(&mut f.connect()), None, "one too many is closed");
    ask(&mut healthy, 400);
    crowd.pop();
    until("a place is free again", || greeting(&mut f.connect()).is_some());
    drop(crowd);
    until("the threads of the crowd have ended", || threads() <= before);
    write_frame(&mut healthy, &Command::Signal { job: JobId(7), signal: Signal::Stop }).unwrap();
    ask(&mut healthy, 401);
}
