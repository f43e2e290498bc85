//! A full disk pauses a run, loses nothing of it, and is over when there is room. Needs the right to mount a small file
//! system in memory. Deliberately not here: kills (`train_kill.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.
#![cfg(target_os = "linux")]

mod common {
    pub mod cli;
}

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::cli::{TINY, text};
use weightroom::engine::protocol::Up;
use weightroom::engine::{Engine, Handle, Settings};
use weightroom::recipe::Recipe;
use weightroom::report::{Event, JobId, JobState, Report, Signal};
use weightroom::run::checkpoint;
use weightroom::run::directory::RunDir;
use weightroom::run::read;
use weightroom::run::series::SeriesDir;
use weightroom::spec::{JobSpec, TrainSpec};

/// A file system of 6 MB. None, with a note, where this process may not mount one.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let text = |t: &str| CString::new(t).unwrap();
        let (kind, target, options) = (text("tmpfs"), text(dir.path().to_str().unwrap()), text("size=6m"));
        // SAFETY: all four are strings that live until the call returns.
        let done = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
        if done != 0 {
            println!("skipped: no file system can be mounted here ({})", std::io::Error::last_os_error());
            return None;
        }
        Some(Self(dir))
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    /// Fills the disk to the last page, then gives back `room` bytes.
    fn fill(&self, room: u64) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        let mut size = 1 << 16;
        while size > 0 {
            if file.write_all(&vec![1; size]).is_err() {
                size /= 2;
            }
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length - room).unwrap();
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let target = CString::new(self.path().to_str().unwrap()).unwrap();
        // SAFETY: a string that lives until the call returns.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

struct Screen {
    engine: Engine,
    handle: Handle,
    project: PathBuf,
    seen: Vec<Event>,
    tickets: u64,
}

impl Screen {
    fn new(project: &Path) -> Self {
        fs::write(project.join("text.txt"), text()).unwrap();
        let engine = Engine::start(project, Settings { lower_priority: false, ..Settings::default() }).unwrap();
        let handle = engine.handle().unwrap();
        Self { engine, handle, project: project.into(), seen: Vec::new(), tickets: 0 }
    }
    fn start(&mut self, spec: TrainSpec) -> JobId {
        self.tickets += 1;
        self.handle.start(self.tickets, JobSpec::new("train", &spec)).unwrap();
        loop {
            match self.next() {
                Some(Up::Started { ticket, job }) if ticket == self.tickets => return job,
                Some(Up::Refused { why, .. }) => panic!("{why}"),
                _ => {}
            }
        }
    }
    fn train(&mut self, every: usize) -> JobId {
        let mut recipe = Recipe::parse(TINY, "tiny", &[]).unwrap();
        (recipe.optim.steps, recipe.checkpoint.every, recipe.eval.every) = (400, every, 50);
        recipe.eval.prompts = vec!["the".into()];
        self.start(TrainSpec { recipe: recipe.to_toml(), base: self.project.clone(), name: Some("tiny".into()), ..TrainSpec::default() })
    }
    fn next(&mut self) -> Option<Up> {
        let up = self.handle.events().recv_timeout(Duration::from_secs(1)).ok();
        if let Some(Up::Events(events)) = &up {
            self.seen.extend(events.iter().cloned());
        }
        up
    }
    /// Waits for a report after the first `from` events; how many were seen then.
    fn wait(&mut self, job: JobId, from: usize, what: &str, test: impl Fn(&Report) -> bool) -> usize {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(i) = self.seen.iter().skip(from).position(|e| e.job == job && test(&e.report)) {
                return from + i + 1;
            }
            self.next();
            let last = || self.seen.iter().rev().take(9).collect::<Vec<_>>();
            assert!(Instant::now() < deadline, "waited in vain for {what}: {:?}", last());
        }
    }
    fn paused_at_20(&mut self, job: JobId) -> usize {
        self.wait(job, 0, "step 20", |r| matches!(r, Report::Values(v) if v.step >= 20));
        self.handle.signal(job, Signal::Pause).unwrap();
        self.wait(job, 0, "a pause", |r| matches!(r, Report::State { state: JobState::Paused, .. }))
    }
    fn full(&mut self, job: JobId, from: usize) -> usize {
        let at = self.wait(job, from, "a full disk", |r| {
            matches!(r, Report::State { state: JobState::Paused, why } if why.contains("the disk is full") && why.contains("runs/tiny"))
        });
        self.wait(job, at, "a warning", |r| matches!(r, Report::Note { text, .. } if text.contains("goes on by itself")))
    }
    fn end(&mut self, job: JobId) -> Report {
        let at = self.wait(job, 0, "the end", Report::is_end);
        self.seen[at - 1].report.clone()
    }
    fn run(&self) -> RunDir {
        RunDir::open(&self.project, "tiny").unwrap()
    }
    /// The run's own events, with numbers without a gap.
    fn log(&self) -> Vec<Event> {
        let mut events = Vec::new();
        read::events_from(&self.run().path, 0, |e| {
            events.push(e);
            true
        })
        .unwrap();
        assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), (0..events.len() as u64).collect::<Vec<_>>());
        events
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.engine.shutdown();
        self.engine.wait();
    }
}

/// All that must not depend on how much room there was.
fn results(run: &RunDir) -> Vec<(String, Vec<u8>)> {
    let series = SeriesDir::open(&run.path).unwrap();
    let mut out = Vec::new();
    for name in ["train/loss", "grad_norm", "lr", "val/loss", "val/loss_whole"] {
        let bytes = series.get(name).unwrap().iter().flat_map(|p| [p.step, p.value.to_bits()]).flat_map(u64::to_le_bytes);
        out.push((name.to_string(), bytes.collect()));
    }
    let last = run.checkpoints().last().unwrap().path.clone();
    checkpoint::verify(&last).unwrap();
    for file in ["model.safetensors", "optimizer.safetensors"] {
        out.push((file.into(), fs::read(last.join(file)).unwrap()));
    }
    out.push(("samples".into(), fs::read(run.path.join("samples.jsonl")).unwrap()));
    out
}

fn undisturbed() -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let mut screen = Screen::new(dir.path());
    let job = screen.train(10_000);
    assert!(matches!(screen.end(job), Report::Finished { stopped: false, .. }));
    results(&screen.run())
}

fn assert_same(screen: &Screen) {
    let (wanted, got) = (undisturbed(), results(&screen.run()));
    for ((name, a), (_, b)) in wanted.iter().zip(&got) {
        assert!(a == b, "{name} differs: {} and {} bytes", a.len(), b.len());
    }
}

#[test]
fn a_full_disk_in_the_middle_of_a_run_pauses_it_and_loses_nothing() {
    let Some(small) = Small::mount() else { return };
    let mut screen = Screen::new(small.path());
    let job = screen.train(10_000);
    let at = screen.paused_at_20(job);
    let ballast = small.fill(0);
    screen.handle.signal(job, Signal::Continue).unwrap();
    let at = screen.full(job, at);
    fs::remove_file(ballast).unwrap();
    screen.wait(job, at, "that it goes on", |r| matches!(r, Report::State { state: JobState::Running, why } if why.contains("room")));
    assert!(matches!(screen.end(job), Report::Finished { stopped: false, .. }));
    // On disk is what the screen was told, event by event.
    let told: Vec<Event> = screen.seen.iter().filter(|e| e.job == job).cloned().collect();
    let logged = screen.log();
    assert_eq!(logged, told[told.len() - logged.len()..]);
    assert_same(&screen);
}

#[test]
fn a_full_disk_in_the_middle_of_a_checkpoint_keeps_the_last_one_and_is_tried_again() {
    let Some(small) = Small::mount() else { return };
    let mut screen = Screen::new(small.path());
    let job = screen.train(10);
    let at = screen.paused_at_20(job);
    // A step beyond, so that there is something new to save.
    for _ in 0..2 {
        screen.handle.signal(job, Signal::Step).unwrap();
    }
    let (newest, _) = checkpoint::newest_whole(&screen.run().path).unwrap();
    let ballast = small.fill(16 << 10);
    screen.handle.signal(job, Signal::Checkpoint).unwrap();
    let at = screen.full(job, at);
    let (found, notes) = checkpoint::newest_whole(&screen.run().path).unwrap();
    assert!(found.as_ref().map(|c| c.step) >= newest.map(|c| c.step) && found.is_some() && notes.is_empty(), "{notes:?}");
    fs::remove_file(ballast).unwrap();
    screen.wait(job, at, "the checkpoint", |r| matches!(r, Report::Artifact { .. }));
    screen.handle.signal(job, Signal::Continue).unwrap();
    assert!(matches!(screen.end(job), Report::Finished { stopped: false, .. }));
    let names = fs::read_dir(screen.run().path.join("checkpoints")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let strange: Vec<String> = names.filter(|n| !n.starts_with("step-")).collect();
    assert!(strange.is_empty(), "{strange:?}");
    screen.log();
    assert_same(&screen);
}

#[test]
fn a_run_that_waits_for_room_can_be_stopped_and_resumed() {
    let Some(small) = Small::mount() else { return };
    let mut screen = Screen::new(small.path());
    let job = screen.train(10);
    let at = screen.paused_at_20(job);
    let ballast = small.fill(0);
    screen.handle.signal(job, Signal::Continue).unwrap();
    screen.full(job, at);
    screen.handle.signal(job, Signal::Stop).unwrap();
    let Report::Failed { cause, .. } = screen.end(job) else { panic!("{:?}", screen.seen.last()) };
    assert!(cause.contains("the disk is full") && cause.contains("last good checkpoint: step ") && !cause.contains('\n'), "{cause}");
    fs::remove_file(ballast).unwrap();
    // The last words of the failed job may hold the run's lock for the moment that they need to reach its log.
    let end = loop {
        let job = screen.start(TrainSpec { resume: Some("tiny".into()), ..TrainSpec::default() });
        match screen.end(job) {
            Report::Failed { cause, .. } if cause.contains("is being written") => {}
            end => break end,
        }
    };
    assert!(matches!(end, Report::Finished { stopped: false, .. }), "{end:?}");
    screen.log();
    let (wanted, got) = (undisturbed(), results(&screen.run()));
    // Samples of steps that were done twice stand there twice.
    for ((name, a), (_, b)) in wanted.iter().zip(&got).filter(|((name, _), _)| name != "samples") {
        assert!(a == b, "{name} differs: {} and {} bytes", a.len(), b.len());
    }
}

#[test]
fn a_disk_that_is_full_when_a_run_is_made_is_told_in_one_line_and_leaves_nothing_in_the_way() {
    let Some(small) = Small::mount() else { return };
    let mut screen = Screen::new(small.path());
    // Room for nothing, and for some of the first files.
    for room in [0, 4 << 10, 8 << 10] {
        let ballast = small.fill(room);
        let job = screen.train(10_000);
        let full = |why: &str| why.contains("the disk is full");
        let seen =
            screen.wait(job, 0, "a word", |r| r.is_end() || matches!(r, Report::State { state: JobState::Paused, why } if full(why)));
        let made: Vec<_> = fs::read_dir(small.path().join("runs")).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
        if let Report::Failed { cause, .. } = screen.seen[seen - 1].report.clone() {
            println!("{room} bytes of room: {cause}");
            assert!(full(&cause) && !cause.contains('\n'), "{cause}");
            assert!(made.is_empty(), "{made:?}");
            fs::remove_file(ballast).unwrap();
        } else {
            // It came so far as to be a run: then it waits for room as every run does.
            println!("{room} bytes of room: it waits");
            assert_eq!(made, ["tiny"]);
            fs::remove_file(ballast).unwrap();
            assert!(matches!(screen.end(job), Report::Finished { stopped: false, .. }));
            screen.log();
            fs::remove_dir_all(small.path().join("runs/tiny")).unwrap();
        }
    }
    let job = screen.train(10_000);
    assert!(matches!(screen.end(job), Report::Finished { stopped: false, .. }));
    assert_same(&screen);
}

#[test]
fn a_run_whose_directory_is_gone_fails_with_its_name_and_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let mut screen = Screen::new(dir.path());
    let job = screen.train(10);
    screen.paused_at_20(job);
    fs::remove_dir_all(dir.path().join("runs/tiny")).unwrap();
    screen.handle.signal(job, Signal::Continue).unwrap();
    let Report::Failed { cause, .. } = screen.end(job) else { panic!("{:?}", screen.seen.last()) };
    assert!(cause.contains("runs/tiny") && cause.contains("; ") && !cause.contains('\n'), "{cause}");
}
