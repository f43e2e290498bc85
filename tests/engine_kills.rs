//! SIGKILL to the real engine at random moments with a screen attached: the screen says so and resumes, and the run is
//! the one that was never killed, bit for bit. WEIGHTROOM_KILLS kills (3 unless told).
//! Not here: kills of the training loop through the library (`train_kill`), kills of screens (`engine_leave`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.
#![cfg(target_os = "linux")]

#[path = "common/engine_process.rs"]
mod engine_process;
#[path = "common/pty.rs"]
mod pty;
mod common {
    pub mod cli;
}

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::cli::{project, run};
use engine_process::{Stopped, engine_of, kill, until};
use pty::Pty;
use weightroom::rng::Stream;
use weightroom::run::directory::{self, RunDir};
use weightroom::run::series::SeriesDir;

fn kills() -> usize {
    std::env::var("WEIGHTROOM_KILLS").ok().and_then(|s| s.parse().ok()).unwrap_or(3)
}

fn curve(project: &Path, name: &str, metric: &str) -> Vec<(u64, u64)> {
    let series = SeriesDir::open(&project.join("runs").join(name)).unwrap();
    series.get(metric).unwrap().iter().map(|p| (p.step, p.value.to_bits())).collect()
}

fn step_of(project: &Path, name: &str) -> u64 {
    directory::list(project).iter().find(|s| s.name == name).map_or(0, |s| s.step)
}

fn last_checkpoint(project: &Path, name: &str) -> PathBuf {
    RunDir::open(project, name).unwrap().checkpoints().last().unwrap().path.clone()
}

#[test]
fn an_engine_that_is_killed_with_a_screen_attached_leaves_a_run_that_goes_on_bit_for_bit() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Stream::new(seed, "kills");
    let dir = project();
    let path = dir.path();
    let _end = Stopped(path);
    // Long enough that the last kill still meets it, with everything that a resume must bring back.
    let steps = (kills() * 400 + 2400).to_string();
    let steps = format!("optim.steps={steps}");
    let set = ["--set", &steps, "--set", "model.dropout=0.1", "--set", "eval.every=100", "--set", "checkpoint.every=40"];
    run(path, &[&["train", "tiny.toml", "--name", "whole"][..], &set].concat()).good();
    let wanted = curve(path, "whole", "train/loss").len() as u64;
    run(path, &[&["train", "tiny.toml", "--name", "killed", "--detach"][..], &set].concat()).good();
    let mut screen = Pty::open(path, 120, 36, &[]);
    let (mut told, mut at) = (Vec::new(), Vec::new());
    for _ in 0..kills() {
        // A quick machine may come to the end before all kills: a run that is about to end is left to.
        let near_its_end = || step_of(path, "killed") + 800 > wanted;
        screen.until("a training or its end", |s| s.contents().contains("tok/s") || near_its_end());
        let from = step_of(path, "killed");
        until("a step", || (step_of(path, "killed") > from || near_its_end()).then_some(()));
        screen.read_for(Duration::from_millis(random.below(100)));
        if near_its_end() {
            break;
        }
        let engine = until("an engine", || engine_of(path));
        at.push(step_of(path, "killed"));
        kill(engine, libc::SIGKILL);
        let killed = Instant::now();
        screen.shows("The engine broke off while killed was at step");
        told.push(killed.elapsed().as_millis());
        screen.send("\r");
        until("another engine", || engine_of(path).filter(|pid| *pid != engine));
        screen.until("have the question gone", |s| !s.contents().contains("The engine broke off"));
    }
    println!("killed at steps {at:?}; told after {told:?} ms");
    assert!(!told.is_empty(), "a run that ended before anything happened");
    until("the end", || (step_of(path, "killed") == wanted).then_some(()));
    screen.shows("finished");
    screen.send("q");
    assert!(screen.ended().success());
    run(path, &["stop", "--engine"]);
    until("the engine's end", || engine_of(path).is_none().then_some(()));
    for metric in ["train/loss", "val/loss", "grad_norm", "val/loss_whole"] {
        assert_eq!(curve(path, "whole", metric), curve(path, "killed", metric), "{metric}");
    }
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let of = |name: &str| std::fs::read(last_checkpoint(path, name).join(file)).unwrap();
        assert!(of("whole") == of("killed"), "{file}");
    }
}
