//! Two screens and a command that follow one training over the socket come to the same, each event once and in order,
//! also when one of them stands still: WEIGHTROOM_READ_STEPS steps (1,000 unless told), and the one stands still until
//! the run has ended, but WEIGHTROOM_STILL_SECONDS at the longest. Not here: how a screen draws what it knows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.
#![cfg(target_os = "linux")]

#[path = "common/engine_process.rs"]
mod engine_process;
mod common {
    pub mod cli;
}

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::cli::{project, run, weightroom};
use engine_process::{Stopped, kill, until};
use weightroom::engine::Handle;
use weightroom::engine::protocol::Up;
use weightroom::engine::socket::path_of;
use weightroom::report::Event;
use weightroom::run::series::SeriesDir;
use weightroom::ui::loader::Worker;
use weightroom::ui::world::{Load, World};

const CHILD: &str = "WEIGHTROOM_TEST_READER";

/// A metric's points: step and the value's bits.
type Curves = BTreeMap<String, Vec<(u64, u64)>>;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// Not a test of its own: a screen's knowledge in a process of its own, which can be stopped. It writes what it came to.
#[test]
fn child() {
    let Ok(answer) = std::env::var(CHILD) else { return };
    let project = std::env::current_dir().unwrap();
    let handle = Handle::connect(&path_of(&project)).unwrap();
    let (mut world, mut worker) = (World::new(project.clone()), Worker::new(project));
    let (mut seqs, mut read) = (Vec::new(), 0);
    loop {
        let up = handle.events().recv().unwrap();
        if let Up::Events(events) = &up {
            seqs.extend(events.iter().map(|e: &Event| (e.job.0, e.seq)));
        }
        world.fold(up);
        // As the panes do: what is not all here is read from disk.
        if world.runs.get("r").is_some_and(|r| r.stale || !r.opened) {
            read += 1;
            worker.execute(Load::Run("r".into()), &mut |loaded| world.loaded(loaded));
        }
        if world.runs.get("r").is_some_and(|r| r.ended.is_some()) {
            break;
        }
    }
    assert!(seqs.windows(2).all(|p| p[0].0 != p[1].0 || p[0].1 < p[1].1), "out of order or twice");
    let curves: Curves = world.runs["r"]
        .series
        .iter()
        .map(|(name, series)| {
            let (mapped, live) = series.parts();
            (name.clone(), mapped.iter().chain(live).map(|p| (p.step, p.value.to_bits())).collect())
        })
        .collect();
    println!("read from disk {read} times");
    serde_json::to_writer(File::create(answer).unwrap(), &curves).unwrap();
}

fn screen(project: &Path, answer: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture"]).env(CHILD, answer).current_dir(project).stdout(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn two_screens_and_a_reader_come_to_the_same_though_each_stood_still() {
    let dir = project();
    let path = dir.path();
    let _end = Stopped(path);
    let steps = setting("WEIGHTROOM_READ_STEPS", 1_000);
    let still = Duration::from_secs(setting("WEIGHTROOM_STILL_SECONDS", 30));
    let set = format!("optim.steps={steps}");
    run(path, &["train", "tiny.toml", "--name", "r", "--detach", "--set", &set]).good();
    let answers = tempfile::tempdir().unwrap();
    let (one, other) = (answers.path().join("one"), answers.path().join("other"));
    let (mut first, mut second) = (screen(path, &one), screen(path, &other));
    let file = answers.path().join("lines");
    let mut reader = weightroom(path, &["attach", "r", "--json"]).stdout(File::create(&file).unwrap()).spawn().unwrap();
    let size = || std::fs::metadata(&file).unwrap().len();
    until("lines", || (size() > 2_000).then_some(()));
    let curve = || SeriesDir::open(&path.join("runs/r")).ok().and_then(|s| s.get("train/loss").map(|p| p.len() as u64)).unwrap_or(0);
    let stopped = Instant::now();
    for child in [&second, &reader] {
        kill(child.id() as i32, libc::SIGSTOP);
    }
    let (at, before) = (curve(), size());
    while curve() < steps && stopped.elapsed() < still {
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("stood still from step {at} to {} for {:.1} s", curve(), stopped.elapsed().as_secs_f64());
    assert_eq!(size(), before);
    for child in [&second, &reader] {
        kill(child.id() as i32, libc::SIGCONT);
    }
    for child in [&mut first, &mut second, &mut reader] {
        assert!(child.wait().unwrap().success());
    }
    let kept = std::fs::read_to_string(path.join("runs/r/events.jsonl")).unwrap();
    let events: Vec<Event> = kept.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(events.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), kept);
    let series = SeriesDir::open(&path.join("runs/r")).unwrap();
    for answer in [&one, &other] {
        let seen: Curves = serde_json::from_reader(File::open(answer).unwrap()).unwrap();
        assert!(seen.len() > 4, "{:?}", seen.keys());
        assert_eq!(seen["train/loss"].len() as u64, steps);
        for (name, points) in &seen {
            let logged: Vec<_> = series.get(name).unwrap().iter().map(|p| (p.step, p.value.to_bits())).collect();
            assert!(*points == logged, "{name}");
        }
    }
}
