//! The training loop on models of a few thousand weights: exact resume, signals, faults, checkpoints kept.
//! Deliberately not here: kills (`train_kill.rs`) and references from elsewhere (`train_reference.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

#[path = "common/recorder.rs"]
mod recorder;

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use recorder::Recorder;
use weightroom::recipe::Recipe;
use weightroom::report::{Followed, JobId, JobState, Report, Signal};
use weightroom::run::checkpoint;
use weightroom::run::directory::{self, RunDir, RunState};
use weightroom::run::series::SeriesDir;
use weightroom::spec::GenerateSpec;
use weightroom::train::drive::{Outcome, Request, TrainError, resume, train};

fn text() -> String {
    let words = ["the cat", "sat on", "a mat", "and saw", "the dog", "run by", "the sea"];
    let mut stream = weightroom::rng::Stream::new(5, "text");
    (0..900).map(|_| format!("{} ", stream.pick(&words).unwrap())).collect()
}

fn recipe(change: &str) -> Recipe {
    let base = r#"
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
steps = 30
batch = 3
accumulate = 2
[eval]
every = 10
batches = 2
prompts = ["the "]
sample_tokens = 5
[checkpoint]
every = 8
keep = 2
"#;
    let mut recipe = Recipe::parse(base, "test", &[]).unwrap();
    for line in change.lines().filter(|l| !l.trim().is_empty()) {
        let (key, value) = line.split_once('=').unwrap();
        recipe.set(key.trim(), value.trim(), Path::new("."), &[]).unwrap();
    }
    recipe
}

struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("input.txt"), text()).unwrap();
        Self { dir }
    }
    fn path(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }
    fn train(&self, name: &str, change: &str, monitor: &Recorder) -> Result<Outcome, TrainError> {
        let request =
            Request { project: self.path(), base: self.path(), recipe: recipe(change), name: Some(name.into()), device: Device::Cpu };
        monitor.end(train(request, monitor))
    }
    fn resume(&self, name: &str, monitor: &Recorder) -> Result<Outcome, TrainError> {
        monitor.end(resume(&self.path(), name, Device::Cpu, monitor))
    }
    fn run(&self, name: &str) -> RunDir {
        RunDir::open(&self.path(), name).unwrap()
    }
    fn curve(&self, name: &str, metric: &str) -> Vec<(u64, u64)> {
        let series = SeriesDir::open(&self.run(name).path).unwrap();
        series.get(metric).unwrap().iter().map(|p| (p.step, p.value.to_bits())).collect()
    }
    fn last(&self, name: &str) -> PathBuf {
        self.run(name).checkpoints().last().unwrap().path.clone()
    }
    fn summary(&self, name: &str) -> directory::Summary {
        directory::summary(&self.run(name))
    }
}

/// Loss curve, validation losses, weights and moments, bit for bit.
fn assert_same_run(project: &Project, a: &str, b: &str) {
    for metric in ["train/loss", "val/loss", "grad_norm", "lr", "val/loss_whole"] {
        assert_eq!(project.curve(a, metric), project.curve(b, metric), "{metric}");
    }
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(fs::read(project.last(a).join(file)).unwrap() == fs::read(project.last(b).join(file)).unwrap(), "{file} differs");
    }
}

#[test]
fn a_run_learns_and_leaves_what_it_should() {
    let project = Project::new();
    let monitor = Recorder::default();
    let done = project.train("demo", "", &monitor).unwrap();
    assert_eq!((done.step, done.stopped), (30, false));
    let losses = monitor.series("train/loss");
    assert_eq!(losses.iter().map(|l| l.0).collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    assert!(losses[29].1 < losses[0].1 - 0.5, "{losses:?}");
    assert_eq!(monitor.series("val/loss").iter().map(|v| v.0).collect::<Vec<_>>(), [0, 10, 20, 30]);
    assert_eq!(monitor.series("val/loss_whole").len(), 1);
    let val = done.val.unwrap();
    assert_eq!((val.loss, val.step, val.whole), (monitor.series("val/loss_whole")[0].1, 30, true));
    for metric in ["lr", "grad_norm", "tokens_per_s", "memory_mb", "epoch", "update_ratio", "time/forward_ms", "time/update_ms"] {
        assert_eq!(monitor.series(metric).len(), 30, "{metric}");
    }
    let samples = weightroom::run::read::samples(&done.dir).unwrap();
    assert_eq!(samples.iter().map(|s| s.step).collect::<Vec<_>>(), [0, 10, 20, 30]);
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "state.json"] {
        assert!(project.last("demo").join(file).is_file(), "{file}");
    }
    let summary = project.summary("demo");
    assert_eq!((summary.state, summary.step, summary.steps), (RunState::Finished, 30, Some(30)));
    assert!(summary.best.is_some() && summary.created_ms > 0);
    // The stored recipe is whole and means the same from anywhere.
    let stored = Recipe::parse(&project.run("demo").recipe().unwrap(), "stored", &[]).unwrap();
    assert!(Path::new(&stored.data.train[0]).is_absolute());
}

#[test]
fn a_run_whose_checkpoints_were_deleted_is_not_begun_again_over_its_log() {
    let project = Project::new();
    project.train("demo", "", &Recorder::default()).unwrap();
    let dir = project.run("demo").path;
    let log = fs::read(dir.join("events.jsonl")).unwrap();
    fs::remove_dir_all(dir.join("checkpoints")).unwrap();
    let error = resume(&project.path(), "demo", Device::Cpu, &Recorder::default()).unwrap_err().to_string();
    for word in ["run demo", "/runs/demo/checkpoints", "step 30", "deleted", "--name demo-again"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    assert!(!error.contains('\n') && fs::read(dir.join("events.jsonl")).unwrap() == log, "{error}");
}

#[test]
fn a_stopped_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit() {
    let project = Project::new();
    project.train("whole", "", &Recorder::default()).unwrap();
    for stop in [0, 1, 7, 8, 10, 19, 29] {
        let name = format!("stop{stop}");
        let monitor = Recorder::default().at(stop, Signal::Stop);
        let done = project.train(&name, "", &monitor).unwrap();
        assert_eq!((done.step, done.stopped), (stop, true));
        assert_eq!(project.summary(&name).state, RunState::Stopped);
        let monitor = Recorder::default();
        let done = project.resume(&name, &monitor).unwrap();
        assert_eq!((done.step, done.stopped), (30, false));
        assert!(monitor.reports().contains(&Report::Resumed { step: stop }));
        assert_same_run(&project, "whole", &name);
    }
}

#[test]
fn events_go_on_in_number_and_series_match_the_log() {
    let project = Project::new();
    project.train("demo", "", &Recorder::default().at(13, Signal::Stop)).unwrap();
    project.resume("demo", &Recorder::default()).unwrap();
    let dir = project.run("demo").path;
    let mut seqs = Vec::new();
    weightroom::run::read::events_from(&dir, 0, |e| {
        seqs.push(e.seq);
        true
    })
    .unwrap();
    assert_eq!(seqs, (0..seqs.len() as u64).collect::<Vec<_>>());
    let (mapped, rebuilt) = (SeriesDir::open(&dir).unwrap(), SeriesDir::rebuilt(&dir).unwrap());
    assert_eq!(mapped.names(), rebuilt.names());
    for name in mapped.names() {
        let (mapped, rebuilt) = (mapped.get(&name).unwrap(), rebuilt.get(&name).unwrap());
        assert_eq!(mapped.len(), rebuilt.len(), "{name}");
        assert!(mapped.iter().zip(rebuilt).all(|(a, b)| a.step == b.step && a.value.to_bits() == b.value.to_bits()), "{name}");
    }
    // Without the files, and with one cut short, the log brings them back.
    let path = dir.join("series/train%2Floss");
    fs::write(&path, &fs::read(&path).unwrap()[..100]).unwrap();
    assert_eq!(SeriesDir::open(&dir).unwrap().get("train/loss"), rebuilt.get("train/loss"));
    assert_eq!(fs::metadata(&path).unwrap().len(), 30 * 16);
    fs::remove_dir_all(dir.join("series")).unwrap();
    assert_eq!(SeriesDir::open(&dir).unwrap().names(), rebuilt.names());
}

#[test]
fn pause_step_continue_checkpoint_and_serve() {
    let project = Project::new();
    let spec = GenerateSpec { prompt: "the ".into(), max_tokens: 4, ..GenerateSpec::default() };
    let monitor = Recorder::default().at(3, Signal::Pause).at(4, Signal::Checkpoint).waits(&[
        Signal::Step,
        Signal::Step,
        Signal::Serve(JobId(9), spec),
        Signal::Checkpoint,
        Signal::Continue,
    ]);
    let done = project.train("demo", "checkpoint.every = 0\neval.every = 0", &monitor).unwrap();
    assert_eq!(done.step, 30);
    let reports = monitor.reports();
    let place = |wanted: &dyn Fn(&Report) -> bool| reports.iter().position(wanted).unwrap();
    let paused = place(&|r| matches!(r, Report::State { state: JobState::Paused, .. }));
    let running = place(&|r| matches!(r, Report::State { state: JobState::Running, .. }));
    let steps = |range: std::ops::Range<usize>| reports[range].iter().filter(|r| matches!(r, Report::Values(_))).count();
    assert_eq!(steps(0..paused), 3);
    assert_eq!(steps(paused..running), 2);
    let saved: Vec<_> = reports.iter().filter_map(|r| if let Report::Artifact { step, .. } = r { *step } else { None }).collect();
    assert_eq!(saved, [5, 6, 30]);
    let served = monitor.children()[0].reports();
    assert!(served.iter().any(|r| matches!(r, Report::Token(_))));
    assert!(matches!(served.last(), Some(Report::Finished { stopped: false, .. })));
}

#[test]
fn a_single_step_follows_a_token_and_a_weight_and_changes_nothing() {
    let project = Project::new();
    // Plain steps down the gradient, so that what is told can be worked out by hand.
    let change = "optim.kind = sgd\noptim.weight_decay = 0\noptim.clip = 0.5\noptim.lr = 0.2\nmodel.dropout = 0.1";
    let plain = Recorder::default();
    project.train("plain", change, &plain).unwrap();
    let stepped = Recorder::default().at(3, Signal::Pause).waits(&[Signal::Step, Signal::Step, Signal::Continue]);
    project.train("stepped", change, &stepped).unwrap();
    let followed = |recorder: &Recorder| -> Vec<Followed> {
        let facts =
            recorder.reports().into_iter().filter_map(|r| if let Report::Facts(f) = r { f.get(Followed::FACT).cloned() } else { None });
        facts.map(|value| serde_json::from_value(value).unwrap()).collect()
    };
    assert!(followed(&plain).is_empty(), "nothing is followed while nobody steps");
    let told = followed(&stepped);
    assert_eq!(told.iter().map(|f| f.step).collect::<Vec<_>>(), [4, 5]);
    for f in &told {
        assert!(!f.target.is_empty() && !f.before.is_empty() && f.weight.ends_with(']'), "{f:?}");
        assert!((f.loss + f.probability.ln()).abs() < 1e-9 && f.probability <= f.guess_probability, "{f:?}");
        let expected = f.value - f.lr * f.clip * f.gradient;
        assert!(f.gradient != 0.0 && f.value != f.value_after && (f.value_after - expected).abs() < 1e-6, "{f:?}");
        assert!(f.probability_after != f.probability && (0.0..=1.0).contains(&f.probability_after), "{f:?}");
    }
    let bits = |recorder: &Recorder| -> Vec<(u64, u64)> { recorder.series("train/loss").iter().map(|(s, v)| (*s, v.to_bits())).collect() };
    assert_eq!(bits(&plain), bits(&stepped));
    let weights = |name: &str| fs::read(project.summary(name).checkpoints.last().unwrap().1.join("model.safetensors")).unwrap();
    assert_eq!(weights("plain"), weights("stepped"));
}

#[test]
fn a_loss_that_is_not_finite_stops_at_once_and_saves_nothing_over_the_good_one() {
    let project = Project::new();
    let monitor = Recorder::default();
    let error =
        project.train("bad", "optim.lr = 100\noptim.clip = 0\noptim.kind = sgd\noptim.weight_decay = 10\noptim.warmup = 0", &monitor);
    let error = error.unwrap_err();
    let TrainError::NotFinite { step, ref last_good, .. } = error else { panic!("{error}") };
    assert!(error.to_string().contains("usual causes: a learning rate"), "{error}");
    let (last, loss) = *monitor.series("train/loss").last().unwrap();
    assert_eq!(last, step);
    assert!(!loss.is_finite() || !monitor.series("grad_norm").last().unwrap().1.is_finite());
    let summary = project.summary("bad");
    assert_eq!(summary.state, RunState::Failed);
    assert!(summary.checkpoints.iter().all(|(s, _)| *s < step), "{last_good}");
    for (_, path) in &summary.checkpoints {
        checkpoint::verify(path).unwrap();
    }
}

#[test]
fn the_last_k_and_the_best_are_kept() {
    let project = Project::new();
    project.train("demo", "checkpoint.every = 3\neval.every = 3", &Recorder::default()).unwrap();
    let summary = project.summary("demo");
    let kept: Vec<u64> = summary.checkpoints.iter().map(|c| c.0).collect();
    let best = summary.best.unwrap().0;
    assert!(kept.ends_with(&[27, 30]), "{kept:?}");
    assert!(kept.contains(&best), "{kept:?} without {best}");
    assert!(kept.len() <= 3);
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_used() {
    for (file, damage) in [("model.safetensors", "cut"), ("optimizer.safetensors", "flip"), ("state.json", "cut"), ("state.json", "flip")] {
        let project = Project::new();
        project.train("whole", "", &Recorder::default()).unwrap();
        project.train("demo", "", &Recorder::default().at(20, Signal::Stop)).unwrap();
        let path = project.last("demo").join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        if damage == "cut" {
            bytes.truncate(middle)
        } else {
            bytes[middle] ^= 4
        }
        fs::write(&path, bytes).unwrap();
        let monitor = Recorder::default();
        project.resume("demo", &monitor).unwrap();
        let note = monitor.reports().into_iter().find_map(|r| if let Report::Note { text, .. } = r { Some(text) } else { None }).unwrap();
        assert!(note.contains(file) && note.contains("going on from step 16") && !note.contains('\n'), "{note}");
        assert_same_run(&project, "whole", "demo");
    }
}

#[test]
fn a_run_without_a_whole_checkpoint_says_so() {
    let project = Project::new();
    project.train("demo", "", &Recorder::default().at(9, Signal::Stop)).unwrap();
    for checkpoint in project.run("demo").checkpoints() {
        fs::write(checkpoint.path.join("model.safetensors"), b"x").unwrap();
    }
    let error = project.resume("demo", &Recorder::default()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors: has 1 bytes") && error.contains("start a new run"), "{error}");
}

#[test]
fn other_data_is_not_taken_for_the_same() {
    let project = Project::new();
    project.train("demo", "", &Recorder::default().at(9, Signal::Stop)).unwrap();
    fs::write(project.path().join("input.txt"), text().replace("cat", "tac")).unwrap();
    let error = project.resume("demo", &Recorder::default()).unwrap_err().to_string();
    assert!(error.contains("the training data is not what it was at step 9"), "{error}");
}

#[test]
fn training_goes_on_from_a_run_and_refuses_a_larger_tokenizer() {
    let project = Project::new();
    project.train("base", "model.dropout = 0", &Recorder::default()).unwrap();
    let monitor = Recorder::default();
    project.train("next", "model.init = base\nmodel.width = 64\noptim.warmup = 0", &monitor).unwrap();
    let base = project.curve("base", "val/loss").last().unwrap().1;
    assert_eq!(monitor.series("val/loss")[0].1.to_bits(), base, "the first evaluation is the last one of the model it goes on from");
    assert_eq!(Recipe::parse(&project.run("next").recipe().unwrap(), "", &[]).unwrap().model.width, 16);
    fs::write(project.path().join("other.txt"), "0123456789 !?ABCDEFGHIJKLMNOPQRSTUVWXYZ".repeat(40)).unwrap();
    let wide = "data.train = other.txt\nmodel.dropout = 0";
    let request = |change: &str, name: &str| {
        let monitor = Recorder::default();
        let mut recipe = recipe(change);
        recipe.data.train = vec!["other.txt".into()];
        let request = Request { project: project.path(), base: project.path(), recipe, name: Some(name.into()), device: Device::Cpu };
        monitor.end(train(request, &monitor))
    };
    request(wide, "other").unwrap();
    let path = project.last("other").join("tokenizer.json");
    let error = request(&format!("model.init = base\ntokenizer.path = {}", path.display()), "x").unwrap_err().to_string();
    assert!(error.contains("the model knows") && error.contains("the tokenizer has"), "{error}");
    assert!(!project.path().join("runs/x").exists(), "a recipe that cannot start leaves no run");
}

#[test]
fn epochs_stand_for_steps() {
    let project = Project::new();
    let done = project.train("demo", "optim.epochs = 0.5\nmodel.dropout = 0", &Recorder::default()).unwrap();
    let tokens = text().len() as f64 * 0.9;
    assert_eq!(done.step, (tokens * 0.5 / (3.0 * 2.0 * 16.0)).ceil() as u64);
}

#[test]
fn texts_that_are_too_short_leave_no_run() {
    let project = Project::new();
    fs::write(project.path().join("input.txt"), "too short").unwrap();
    let error = project.train("demo", "", &Recorder::default()).unwrap_err().to_string();
    assert!(error.contains("input.txt") && error.contains("context"), "{error}");
    fs::write(project.path().join("input.txt"), "long enough to train ".repeat(3)).unwrap();
    let error = project.train("demo", "", &Recorder::default()).unwrap_err().to_string();
    assert!(error.contains("validation split"), "{error}");
    assert!(directory::list(&project.path()).is_empty());
}
