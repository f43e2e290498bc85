//! Garbage at a live engine's socket: seeded mutations of frames, for WEIGHTROOM_FUZZ_SECONDS (2 unless told), while a
//! healthy client keeps getting answers. Deliberately not here: known kinds of broken peers (`engine_guard.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.
#![cfg(unix)]

#[path = "common/process.rs"]
mod process;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use process::engine;
use serde_json::{Value, json};
use weightroom::engine::protocol::{Command, Up};
use weightroom::engine::socket::{path_of, read_frame, write_frame};
use weightroom::rng::Stream;
use weightroom::spec::JobSpec;

/// Commands that are well formed, with values that a screen would not send.
fn odd(random: &mut Stream) -> Value {
    let value = match random.below(7) {
        0 => json!(null),
        1 => json!(u64::MAX),
        2 => json!(-1e308),
        3 => json!("\u{1b}[2J../../etc\u{0}"),
        4 => json!({"a": [[[1]]]}),
        5 => json!("x".repeat(70_000)),
        _ => json!([]),
    };
    // Nothing that could become a long job: what is told to do much would only load the machine.
    match random.below(5) {
        0 => json!({"start": {"ticket": u64::MAX, "spec": {"kind": "generate", "params": {"model": value}}}}),
        1 => json!({"start": {"ticket": 1, "spec": {"kind": "train", "params": {"recipe": value}}}}),
        2 => json!({"signal": {"job": u64::MAX, "signal": "stop"}}),
        3 => json!({"signal": {"job": value, "signal": value}}),
        _ => json!({"start": {"ticket": value, "spec": {"kind": value, "params": value}}}),
    }
}

fn frame(random: &mut Stream) -> Vec<u8> {
    let mut body = match random.below(6) {
        0 => vec![b'['; 1 + random.below(60_000) as usize],
        1 => format!("{{\"start\":{{\"ticket\":{}}}}}", "9".repeat(1 + random.below(3000) as usize)).into_bytes(),
        2 => (0..random.below(600)).map(|_| random.below(256) as u8).collect(),
        _ => odd(random).to_string().into_bytes(),
    };
    if random.below(2) == 0 && !body.is_empty() {
        for _ in 0..1 + random.below(8) {
            let at = random.below(body.len() as u64) as usize;
            body[at] ^= 1 << random.below(8);
        }
    }
    let length = match random.below(8) {
        0 => random.below(1 << 32) as u32,
        1 => (body.len() as u32).wrapping_sub(1),
        2 => body.len() as u32 + 1 + random.below(5000) as u32,
        _ => body.len() as u32,
    };
    let mut out = length.to_le_bytes().to_vec();
    out.extend(body);
    if random.below(8) == 0 {
        out.truncate(random.below(out.len() as u64 + 1) as usize);
    }
    out
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// A question that the engine answers without doing anything.
fn ask(stream: &mut UnixStream, ticket: u64) {
    let spec = JobSpec { kind: "none".into(), params: json!({}) };
    write_frame(stream, &Command::Start { ticket, spec }).unwrap();
    loop {
        match read_frame::<Up>(stream).unwrap() {
            Some(Up::Refused { ticket: t, .. }) if t == ticket => return,
            Some(_) => {}
            None => panic!("a healthy connection was closed"),
        }
    }
}

fn memory_kb(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

#[test]
fn garbage_ends_its_own_connection_alone() {
    let seconds = std::env::var("WEIGHTROOM_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Stream::new(seed, "fuzz");
    let dir = tempfile::tempdir().unwrap();
    let mut served = engine(dir.path());
    served.listening();
    let path = path_of(dir.path());
    let mut healthy = connect(&path);
    ask(&mut healthy, 1);
    let before = memory_kb(served.0.id());
    let (mut frames, mut connections) = (0u64, 0u64);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end || connections < 50 {
        let mut peer = connect(&path);
        connections += 1;
        for _ in 0..1 + random.below(20) {
            frames += 1;
            if peer.write_all(&frame(&mut random)).is_err() {
                break;
            }
        }
        // Some listen to what comes, others are gone at once.
        if random.below(2) == 0 {
            let _ = peer.set_nonblocking(true);
            let _ = peer.read(&mut [0; 4096]);
        }
        drop(peer);
        ask(&mut healthy, connections + 1);
    }
    assert!(served.ended().is_none());
    assert!(matches!(read_frame::<Up>(&mut connect(&path)).unwrap(), Some(Up::Hello { .. })));
    println!("{frames} frames in {connections} connections; memory {before} kB before, {} kB after", memory_kb(served.0.id()));
}
