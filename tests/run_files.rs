//! Runs on disk: names, the lock, torn logs, long series, a disk that fills up.
//! Deliberately not here: training's own promises (`train_loop.rs`, `train_kill.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

#[path = "common/recorder.rs"]
mod recorder;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use candle_core::Device;
use recorder::Recorder;
use weightroom::recipe::Recipe;
use weightroom::report::{Event, JobId, Level, Report, Signal, Sink, Values};
use weightroom::run::directory::{self, RunDir, RunState};
use weightroom::run::log::RunLog;
use weightroom::run::series::{Point, SeriesDir};
use weightroom::run::{checkpoint, read};
use weightroom::train::drive::{Request, resume, train};

const CHILD: &str = "WEIGHTROOM_TEST_RUN_CHILD";

fn project() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn event(seq: u64, report: Report) -> Event {
    Event { job: JobId(1), seq, at_ms: 1000 + seq, report }
}

fn values(step: u64, loss: f64) -> Report {
    Report::Values(Values { step, values: vec![("train/loss".into(), loss), ("lr".into(), 0.1)] })
}

#[test]
fn names_are_free_safe_and_stay_inside() {
    let project = project();
    let make = |wanted: Option<&str>, hint: &str| RunDir::create(project.path(), wanted, hint, "seed = 1\n").map(|(run, _)| run.name);
    assert_eq!(make(None, "tiny shakespeare/../x-llama").unwrap(), "tiny-shakespeare-..-x-llama");
    assert_eq!(make(None, "a").unwrap(), "a");
    assert_eq!(make(None, "a").unwrap(), "a-2");
    assert_eq!(make(None, "../..").unwrap(), "run");
    let error = make(Some("a"), "").unwrap_err().to_string();
    assert!(error.contains("a run named a exists") && error.contains("--resume a"), "{error}");
    for bad in ["", ".", "..", "../a", "a/b", "/etc", ".hidden", "-rf", "a\u{1b}[2J", "naïve", &"x".repeat(65)] {
        let error = make(Some(bad), "").unwrap_err().to_string();
        assert!(error.contains("run name") && !error.contains('\u{1b}'), "{error}");
        assert!(RunDir::open(project.path(), bad).is_err(), "{bad:?}");
    }
    let error = RunDir::open(project.path(), "nobody").unwrap_err().to_string();
    assert!(error.contains("no run named nobody") && error.contains("runs here: a, a-2"), "{error}");
    let inside: Vec<_> = fs::read_dir(project.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(inside, ["runs"]);
}

/// Not a test of its own: the process that a test below starts.
#[test]
fn child() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (task, project) = task.split_once(' ').unwrap();
    let project = Path::new(project);
    match task {
        "hold" => {
            let _lock = RunDir::open(project, "demo").unwrap().lock().unwrap();
            fs::write(project.join("held"), "").unwrap();
            std::thread::sleep(Duration::from_secs(600));
        }
        "fill" => {
            // A file size limit fails writes as a full disk does, and needs no rights to set up.
            #[cfg(unix)]
            // SAFETY: plain system calls of this process about itself.
            unsafe {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                let limit = libc::rlimit { rlim_cur: 40_000, rlim_max: libc::RLIM_INFINITY };
                libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
            }
            let monitor = Recorder::default();
            let result = monitor.end(train(long(project), &monitor));
            // Standard output is a file here too, and so is under the limit.
            let text = result.map_or_else(|e| e.to_string(), |_| "no error".into());
            fs::write(project.join("error"), text).unwrap();
        }
        other => panic!("{other}"),
    }
}

fn start(task: &str, project: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, format!("{task} {}", project.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_the_run() {
    let project = project();
    let (run, lock) = RunDir::create(project.path(), Some("demo"), "", "").unwrap();
    let error = run.lock().unwrap_err().to_string();
    assert!(error.contains(&format!("run demo is being written by process {}", std::process::id())), "{error}");
    assert_eq!(directory::summary(&run).state, RunState::Running);
    drop(lock);
    assert_eq!(directory::summary(&run).state, RunState::Interrupted);

    let mut child = start("hold", project.path());
    while !project.path().join("held").exists() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = resume(project.path(), "demo", Device::Cpu, &Recorder::default()).unwrap_err().to_string();
    assert!(error.contains(&format!("process {}", child.id())) && error.contains("stop it first"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    run.lock().unwrap();
}

#[test]
fn a_torn_last_line_is_dropped_and_the_numbers_go_on() {
    let project = project();
    let (run, lock) = RunDir::create(project.path(), Some("demo"), "", "").unwrap();
    let mut log = RunLog::open(&run, lock).unwrap();
    for (seq, step) in [(0, 1), (1, 2), (2, 3)] {
        log.write(&event(seq, values(step, step as f64))).unwrap();
    }
    log.flush().unwrap();
    drop(log);
    let path = run.path.join("events.jsonl");
    let whole = fs::read(&path).unwrap();
    for torn in [b"{\"job\":1,\"seq\":3,\"rep".as_slice(), b"\0\0\0\0\0", b"\0\0\n\0\n", b"garbage\n{\"job\":1"] {
        fs::write(&path, [&whole, torn].concat()).unwrap();
        let mut seen = Vec::new();
        read::events_from(&run.path, 1, |e| {
            seen.push(e.seq);
            true
        })
        .unwrap();
        assert_eq!(seen, [1, 2], "{torn:?}");
        assert_eq!(directory::summary(&run).step, 3);
        let log = RunLog::open(&run, run.lock().unwrap()).unwrap();
        assert_eq!(log.next_seq(), 3);
        drop(log);
        assert!(fs::read(&path).unwrap() == whole, "{torn:?}");
    }
    fs::write(&path, b"").unwrap();
    assert_eq!(RunLog::open(&run, run.lock().unwrap()).unwrap().next_seq(), 0);
}

#[test]
fn what_a_resume_dropped_is_gone_from_series_and_samples() {
    let project = project();
    let (run, lock) = RunDir::create(project.path(), Some("demo"), "", "").unwrap();
    let mut log = RunLog::open(&run, lock).unwrap();
    let sample = |step: u64, text: &str| Report::Sample { step, prompt: "p".into(), text: text.into() };
    let before = [values(1, 1.0), values(2, f64::NAN), sample(2, "two"), values(3, 3.0), sample(3, "three")];
    for (seq, report) in before.into_iter().enumerate() {
        log.write(&event(seq as u64, report)).unwrap();
    }
    log.flush().unwrap();
    let old = SeriesDir::open(&run.path).unwrap();
    log.rewind(2).unwrap();
    // Whoever has the old file mapped keeps it whole.
    assert_eq!(old.get("train/loss").unwrap().len(), 3);
    assert_eq!(old.get("train/loss").unwrap()[2], Point { step: 3, value: 3.0 });
    for (seq, report) in [Report::Resumed { step: 2 }, sample(2, "two again"), values(3, 3.5)].into_iter().enumerate() {
        log.write(&event(5 + seq as u64, report)).unwrap();
    }
    log.flush().unwrap();
    for series in [SeriesDir::open(&run.path).unwrap(), SeriesDir::rebuilt(&run.path).unwrap()] {
        let points = series.get("train/loss").unwrap();
        assert_eq!(points.iter().map(|p| p.step).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(points[1].value.is_nan() && points[2].value == 3.5);
    }
    let samples = read::samples(&run.path).unwrap();
    assert_eq!(samples.iter().map(|s| (s.step, s.text.as_str())).collect::<Vec<_>>(), [(2, "two again")]);
}

#[test]
fn notes_are_read_without_the_numbers() {
    let project = project();
    let (run, lock) = RunDir::create(project.path(), Some("demo"), "", "").unwrap();
    let mut log = RunLog::open(&run, lock).unwrap();
    for i in 0..50 {
        log.write(&event(2 * i, values(i + 1, 0.5))).unwrap();
        log.write(&event(2 * i + 1, Report::note(Level::Info, format!("note {i}")))).unwrap();
    }
    let words = read::words(&run.path, 3).unwrap();
    assert_eq!(words.iter().map(|e| e.seq).collect::<Vec<_>>(), [95, 97, 99]);
}

#[test]
fn a_million_steps_are_mapped() {
    let project = project();
    let (run, lock) = RunDir::create(project.path(), Some("long"), "", "").unwrap();
    const STEPS: u64 = 1_000_000;
    let names = ["train/loss", "lr", "grad_norm", "tokens_per_s", "memory_mb", "epoch", "a", "b", "c"];
    let mut bytes = Vec::with_capacity(16 * STEPS as usize);
    for step in 1..=STEPS {
        bytes.extend_from_slice(&Point { step, value: step as f64 * 0.5 }.to_bytes());
    }
    for name in names {
        fs::write(run.path.join("series").join(weightroom::run::series::file_name(name)), &bytes).unwrap();
    }
    let line = |step: u64| {
        let values = names.iter().map(|n| (n.to_string(), step as f64 * 0.5)).collect();
        serde_json::to_string(&event(step, Report::Values(Values { step, values }))).unwrap()
    };
    let mut file = fs::File::create(run.path.join("events.jsonl")).unwrap();
    // The log need not be long for this: what opens a run looks at its end.
    for step in STEPS - 1000..=STEPS {
        writeln!(file, "{}", line(step)).unwrap();
    }
    drop(lock);
    let start = std::time::Instant::now();
    let series = SeriesDir::open(&run.path).unwrap();
    println!("opened in {:?}", start.elapsed());
    assert_eq!(series.names().len(), 9);
    for name in names {
        let points = series.get(name).unwrap();
        assert_eq!((points.len() as u64, points[777].value), (STEPS, 389.0));
    }
    assert_eq!(directory::summary(&run).step, STEPS);
}

/// A run that writes more than a small disk holds.
fn long(project: &Path) -> Request {
    let recipe = "[model]\nlayers = 1\nheads = 2\nwidth = 16\nffn = 32\ncontext = 16\n[data]\ntrain = [\"input.txt\"]\n\
                  [optim]\nsteps = 400\nbatch = 2\n[eval]\nevery = 0\n[checkpoint]\nevery = 20\nkeep = 2\n";
    fs::write(project.join("input.txt"), "the cat sat on the mat and ".repeat(40)).unwrap();
    Request {
        project: project.into(),
        base: project.into(),
        recipe: Recipe::parse(recipe, "test", &[]).unwrap(),
        name: Some("full".into()),
        device: Device::Cpu,
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_stops_the_run_with_its_last_checkpoint_whole() {
    let project = project();
    assert!(start("fill", project.path()).wait().unwrap().success());
    let error = fs::read_to_string(project.path().join("error")).unwrap();
    assert!(error.contains("events.jsonl") && error.contains("File too large") && error.contains("resume the run"), "{error}");
    let run = RunDir::open(project.path(), "full").unwrap();
    let kept = run.checkpoints();
    assert!(!kept.is_empty());
    for checkpoint in &kept {
        checkpoint::verify(&checkpoint.path).unwrap();
    }
    let stopped = kept.last().unwrap().step;
    assert!(stopped < 400);
    // With room again it goes on to the end, as if nothing had happened.
    let monitor = Recorder::default();
    let done = monitor.end(resume(project.path(), "full", Device::Cpu, &monitor)).unwrap();
    assert_eq!(done.step, 400);
    let other = project.path().join("other");
    fs::create_dir(&other).unwrap();
    let whole = Recorder::default();
    whole.end(train(long(&other), &whole)).unwrap();
    let losses = |project: &Path| SeriesDir::open(&project.join("runs/full")).unwrap().get("train/loss").unwrap().to_vec();
    assert_eq!(losses(project.path()).len(), 400);
    let near = |(a, b): (&Point, &Point)| a.step == b.step && (a.value - b.value).abs() < 1e-12;
    assert!(losses(project.path()).iter().zip(&losses(&other)).all(near));
}

#[test]
fn a_checkpoint_signal_on_a_directory_that_is_gone_fails_in_one_line() {
    let project = project();
    let mut request = long(project.path());
    request.name = Some("gone".into());
    struct Remover(Recorder, std::path::PathBuf);
    impl weightroom::report::Monitor for Remover {
        fn report(&self, report: Report) {
            self.0.report(report);
        }
        fn stopped(&self) -> bool {
            false
        }
        fn safepoint(&self) -> Signal {
            let signal = self.0.safepoint();
            if signal == Signal::Checkpoint {
                fs::remove_dir_all(&self.1).unwrap();
            }
            signal
        }
        fn wait(&self) -> Signal {
            Signal::Continue
        }
        fn child(&self, job: JobId) -> Box<dyn weightroom::report::Monitor> {
            self.0.child(job)
        }
        fn attach(&self, sink: Box<dyn Sink>) {
            self.0.attach(sink);
        }
    }
    let monitor = Remover(Recorder::default().at(5, Signal::Checkpoint), project.path().join("runs"));
    let error = train(request, &monitor).unwrap_err().to_string();
    assert!(error.contains("gone") && !error.contains('\n'), "{error}");
}
