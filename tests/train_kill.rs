//! A run that is killed at random moments and resumed each time is the run that was never killed, bit for bit.
//! Deliberately not here: stops that a person asks for (`train_loop.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

#[path = "common/recorder.rs"]
mod recorder;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use candle_core::Device;
use recorder::Recorder;
use weightroom::recipe::Recipe;
use weightroom::rng::Stream;
use weightroom::run::checkpoint;
use weightroom::run::directory::{self, RunDir};
use weightroom::run::series::SeriesDir;
use weightroom::train::drive::{Request, resume, train};

const CHILD: &str = "WEIGHTROOM_TEST_KILL_CHILD";
const KILLS: usize = 20;

const RECIPE: &str = r#"
[model]
layers = 1
heads = 2
width = 16
ffn = 32
context = 16
dropout = 0.1
[data]
train = ["input.txt"]
[optim]
lr = 1e-2
warmup = 4
steps = 300
batch = 2
[eval]
every = 25
batches = 2
prompts = ["th"]
sample_tokens = 4
[checkpoint]
every = 10
keep = 2
"#;

fn request(project: &Path, name: &str) -> Request {
    Request {
        project: project.into(),
        base: project.into(),
        recipe: Recipe::parse(RECIPE, "test", &[]).unwrap(),
        name: Some(name.into()),
        device: Device::Cpu,
    }
}

/// Not a test of its own: the process that gets killed. It does nothing unless the test below started it.
#[test]
fn child() {
    let Ok(project) = std::env::var(CHILD) else { return };
    let project = Path::new(&project);
    let monitor = Recorder::default();
    let done = if RunDir::open(project, "killed").is_ok() {
        resume(project, "killed", Device::Cpu, &monitor)
    } else {
        train(request(project, "killed"), &monitor)
    };
    monitor.end(done).unwrap();
}

fn start(project: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, project)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// When to kill.
enum Moment {
    /// Soon after the start, when there may be no run yet.
    Early,
    /// So many steps after where it stands.
    Steps(u64),
    /// While a checkpoint is being written.
    Saving,
}

impl Moment {
    fn draw(random: &mut Stream, kill: usize) -> Self {
        match kill % 4 {
            0 => Self::Early,
            1 => Self::Saving,
            _ => Self::Steps(1 + random.below(45)),
        }
    }

    /// Whether it came while the process was still at work.
    fn wait(&self, project: &Path, child: &mut std::process::Child, random: &mut Stream) -> bool {
        let at = || directory::list(project).iter().find(|s| s.name == "killed").map_or(0, |s| s.step);
        let checkpoints = project.join("runs/killed/checkpoints");
        let saving = || fs::read_dir(&checkpoints).is_ok_and(|d| d.flatten().any(|e| e.file_name().to_string_lossy().starts_with(".tmp-")));
        let begin = at();
        loop {
            let now = match self {
                Self::Early => true,
                Self::Steps(n) => at() >= begin + n,
                // What an earlier kill left is still there until the process has begun.
                Self::Saving => saving() && at() > begin,
            };
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if now {
                let most = if matches!(self, Self::Early) { 150_000 } else { 3_000 };
                std::thread::sleep(Duration::from_micros(random.below(most)));
                return child.try_wait().unwrap().is_none();
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// What any moment must leave: a run that lists and opens, and checkpoints that are whole.
fn assert_opens(project: &Path) {
    for summary in directory::list(project) {
        let run = RunDir::open(project, &summary.name).unwrap();
        Recipe::parse(&run.recipe().unwrap(), "stored", &[]).unwrap();
        SeriesDir::open(&run.path).unwrap();
        for checkpoint in run.checkpoints() {
            checkpoint::verify(&checkpoint.path).unwrap();
        }
    }
}

fn curve(project: &Path, name: &str, metric: &str) -> Vec<(u64, f64)> {
    let series = SeriesDir::open(&project.join("runs").join(name)).unwrap();
    series.get(metric).unwrap().iter().map(|p| (p.step, p.value)).collect()
}

#[test]
fn twenty_kills_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Stream::new(seed, "kills");
    let mut words = Stream::new(1, "text");
    let text: String = (0..600).map(|_| format!("{} ", words.pick(&["the cat", "sat on", "a mat", "so then"]).unwrap())).collect();
    fs::write(project.join("input.txt"), text).unwrap();
    let monitor = Recorder::default();
    monitor.end(train(request(project, "whole"), &monitor)).unwrap();

    let mut steps = Vec::new();
    while steps.len() < KILLS {
        let mut child = start(project);
        let moment = Moment::draw(&mut random, steps.len());
        if moment.wait(project, &mut child, &mut random) {
            child.kill().unwrap();
        }
        // A process that came to its end before does no harm: what follows kills the resume of a finished run.
        child.wait().unwrap();
        assert_opens(project);
        steps.push(directory::list(project).iter().find(|s| s.name == "killed").map_or(0, |s| s.step));
    }
    assert!(start(project).wait().unwrap().success());
    println!("killed at steps {steps:?}");
    for metric in ["train/loss", "val/loss", "grad_norm", "val/loss_whole"] {
        let (whole, killed) = (curve(project, "whole", metric), curve(project, "killed", metric));
        assert_eq!(whole.len(), killed.len(), "{metric}");
        let differing: Vec<_> = whole.iter().zip(&killed).filter(|(a, b)| a.0 != b.0 || a.1.to_bits() != b.1.to_bits()).collect();
        assert!(differing.is_empty(), "{metric}: {differing:?}");
    }
    let last = |name: &str| RunDir::open(project, name).unwrap().checkpoints().last().unwrap().path.clone();
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(fs::read(last("whole").join(file)).unwrap() == fs::read(last("killed").join(file)).unwrap(), "{file}");
    }
    let leftovers: Vec<_> = fs::read_dir(project.join("runs/killed/checkpoints"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| !n.starts_with("step-"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}
