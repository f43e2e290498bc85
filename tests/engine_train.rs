//! Real trainings and generations through the engine, over channels and over a socket alike.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail loudly too, as the tests do.

mod common {
    pub mod cli;
}

use std::time::{Duration, Instant};

use common::cli::{TINY, project};
use weightroom::engine::protocol::{Command, Up};
use weightroom::engine::{Engine, Handle, Settings, socket};
use weightroom::recipe::Recipe;
use weightroom::report::{Event, JobId, JobState, Report, Signal};
use weightroom::run::directory::{self, RunState};
use weightroom::spec::{GenerateSpec, JobSpec, TrainSpec};

struct Fixture {
    engine: Engine,
    handle: Handle,
    dir: tempfile::TempDir,
    seen: Vec<Event>,
    refused: Vec<String>,
    tickets: u64,
}

impl Fixture {
    fn new(socket: bool) -> Self {
        let dir = project();
        let engine = Engine::start(dir.path(), Settings::default()).unwrap();
        let handle = if socket {
            let path = socket::path_of(dir.path());
            socket::listen(&engine, &path).unwrap();
            Handle::connect(&path).unwrap()
        } else {
            engine.handle().unwrap()
        };
        Self { engine, handle, dir, seen: Vec::new(), refused: Vec::new(), tickets: 0 }
    }

    fn start(&mut self, spec: JobSpec) -> Result<JobId, String> {
        self.tickets += 1;
        let ticket = self.tickets;
        self.handle.start(ticket, spec).unwrap();
        let mut job = None;
        self.until(|f, up| {
            if let Some(Up::Started { ticket: t, job: id }) = up {
                job = (*t == ticket).then_some(*id).or(job);
            }
            job.is_some() || !f.refused.is_empty()
        });
        job.ok_or_else(|| self.refused.remove(0))
    }

    fn train(&mut self, name: &str, steps: usize) -> JobId {
        let mut recipe = Recipe::parse(TINY, "tiny", &[]).unwrap();
        recipe.optim.steps = steps;
        let spec = TrainSpec { recipe: recipe.to_toml(), base: self.dir.path().into(), name: Some(name.into()), ..TrainSpec::default() };
        self.start(JobSpec::new("train", &spec)).unwrap()
    }

    fn generate(&mut self, model: &str, tokens: usize) -> JobId {
        let spec = GenerateSpec { model: model.into(), prompt: "the ".into(), max_tokens: tokens, ..GenerateSpec::default() };
        self.start(JobSpec::new("generate", &spec)).unwrap()
    }

    fn until(&mut self, mut done: impl FnMut(&Self, Option<&Up>) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut last = None;
        while !done(self, last.as_ref()) {
            last = self.handle.events().recv_timeout(Duration::from_secs(1)).ok();
            match &last {
                Some(Up::Events(events)) => self.seen.extend(events.iter().cloned()),
                Some(Up::Refused { why, .. }) => self.refused.push(why.clone()),
                _ => {}
            }
            assert!(Instant::now() < deadline, "waited in vain: {:?}", self.seen.iter().rev().take(9).collect::<Vec<_>>());
        }
    }

    fn wait(&mut self, job: JobId, test: impl Fn(&Report) -> bool) -> Report {
        self.until(|f, _| f.seen.iter().any(|e| e.job == job && test(&e.report)));
        self.seen.iter().find(|e| e.job == job && test(&e.report)).unwrap().report.clone()
    }
    fn end(&mut self, job: JobId) -> Report {
        self.wait(job, Report::is_end)
    }
    fn step(&self, job: JobId) -> u64 {
        let values =
            self.seen.iter().filter(|e| e.job == job).filter_map(|e| if let Report::Values(v) = &e.report { Some(v.step) } else { None });
        values.max().unwrap_or(0)
    }
    fn tokens(&self, job: JobId) -> usize {
        self.seen.iter().filter(|e| e.job == job && matches!(e.report, Report::Token(_))).count()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.engine.shutdown();
        self.engine.wait();
    }
}

fn both(test: impl Fn(&mut Fixture)) {
    for socket in [false, true] {
        println!("over {}", if socket { "a socket" } else { "channels" });
        test(&mut Fixture::new(socket));
    }
}

#[test]
fn a_run_trains_to_its_end_and_its_model_answers() {
    both(|f| {
        let job = f.train("tiny", 12);
        let Report::Finished { stopped: false, summary, .. } = f.end(job) else { panic!("{:?}", f.seen.last()) };
        assert!(summary.contains("tiny") && summary.contains("step 12") && summary.contains("(whole split)"), "{summary}");
        let job = f.generate("tiny", 9);
        assert!(matches!(f.end(job), Report::Finished { stopped: false, .. }));
        assert_eq!(f.tokens(job), 9);
    });
}

#[test]
fn a_training_is_paused_stepped_saved_asked_and_stopped() {
    both(|f| {
        let train = f.train("tiny", 1_000_000);
        f.until(|f, _| f.step(train) > 2);
        let again = f.start(JobSpec::new("train", &TrainSpec { resume: Some("tiny".into()), ..TrainSpec::default() }));
        assert!(again.unwrap_err().contains("tiny goes on already"), "one run is not trained twice");
        // Asked while it trains: the weights of this moment, though no checkpoint exists yet.
        let job = f.generate("tiny", 5);
        assert!(matches!(f.end(job), Report::Finished { stopped: false, .. }), "{:?}", f.seen.last());
        assert_eq!(f.tokens(job), 5);
        f.handle.signal(train, Signal::Pause).unwrap();
        f.wait(train, |r| matches!(r, Report::State { state: JobState::Paused, .. }));
        let at = f.step(train);
        f.handle.signal(train, Signal::Step).unwrap();
        f.until(|f, _| f.step(train) == at + 1);
        f.handle.signal(train, Signal::Checkpoint).unwrap();
        f.wait(train, |r| matches!(r, Report::Artifact { kind, step, .. } if kind == "checkpoint" && *step == Some(at + 1)));
        let job = f.generate("tiny", 4);
        f.end(job);
        assert_eq!((f.tokens(job), f.step(train)), (4, at + 1), "it answers while paused, and stays paused");
        // A long answer is stopped alone.
        let job = f.generate("tiny", 1_000_000);
        f.until(|f, _| f.tokens(job) > 20);
        f.handle.signal(job, Signal::Stop).unwrap();
        assert!(matches!(f.end(job), Report::Finished { stopped: true, .. }));
        f.handle.signal(train, Signal::Continue).unwrap();
        f.until(|f, _| f.step(train) > at + 3);
        f.handle.signal(train, Signal::Stop).unwrap();
        let Report::Finished { stopped: true, summary, .. } = f.end(train) else { panic!("{:?}", f.seen.last()) };
        assert!(summary.contains("stopped and saved"), "{summary}");
        let run = directory::RunDir::open(f.dir.path(), "tiny").unwrap();
        assert_eq!(directory::summary(&run).state, RunState::Stopped);
        // And goes on where it was.
        let at = f.step(train);
        let resumed = f.start(JobSpec::new("train", &TrainSpec { resume: Some("tiny".into()), ..TrainSpec::default() })).unwrap();
        let Report::Resumed { step } = f.wait(resumed, |r| matches!(r, Report::Resumed { .. })) else { unreachable!() };
        assert!(step >= at.saturating_sub(1), "{step} {at}");
        f.handle.send(Command::Shutdown).unwrap();
        assert!(matches!(f.end(resumed), Report::Finished { stopped: true, .. }));
    });
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_is_written() {
    both(|f| {
        let mut refuse = |spec: TrainSpec| f.start(JobSpec::new("train", &spec)).unwrap_err();
        let recipe = |text: &str| TrainSpec { recipe: text.into(), ..TrainSpec::default() };
        assert!(refuse(recipe("[optim]\nlrr = 1\n")).contains("nearest valid: optim.lr"));
        assert!(refuse(recipe("[objective]\nkind = \"magic\"\n")).contains("pretrain"));
        assert!(refuse(TrainSpec { name: Some("../up".into()), ..recipe("") }).contains("../up"));
        assert!(refuse(TrainSpec { resume: Some("none".into()), ..recipe("") }).contains("none"));
        assert!(refuse(TrainSpec { device: Some("abacus".into()), ..recipe("") }).contains("abacus"));
        assert!(!f.dir.path().join("runs").exists());
    });
}

#[test]
fn two_engines_cannot_write_one_run() {
    let mut a = Fixture::new(false);
    let job = a.train("tiny", 1_000_000);
    a.until(|f, _| f.step(job) > 1);
    let engine = Engine::start(a.dir.path(), Settings::default()).unwrap();
    let handle = engine.handle().unwrap();
    handle.start(1, JobSpec::new("train", &TrainSpec { resume: Some("tiny".into()), ..TrainSpec::default() })).unwrap();
    let failed = handle.events().iter().find_map(|up| {
        let Up::Events(events) = up else { return None };
        events.into_iter().find_map(|e| if let Report::Failed { cause, .. } = e.report { Some(cause) } else { None })
    });
    assert!(failed.as_ref().unwrap().contains("tiny"), "{failed:?}");
    assert!(a.step(job) > 0 && !a.seen.iter().any(|e| e.report.is_end()));
    engine.shutdown();
    engine.wait();
}

#[test]
fn a_model_that_is_rewritten_is_loaded_anew() {
    let mut f = Fixture::new(false);
    let job = f.train("tiny", 4);
    f.end(job);
    let ask = |f: &mut Fixture| {
        let job = f.generate("tiny", 3);
        f.end(job);
        let token = |e: &Event| if let (true, Report::Token(t)) = (e.job == job, &e.report) { Some(t.probability) } else { None };
        f.seen.iter().filter_map(token).collect::<Vec<f32>>()
    };
    let (before, again) = (ask(&mut f), ask(&mut f));
    assert_eq!(before, again);
    let dir = f.dir.path().join("runs/tiny/checkpoints");
    std::fs::rename(&dir, f.dir.path().join("runs/tiny/old")).unwrap();
    let mut recipe = Recipe::parse(TINY, "tiny", &[]).unwrap();
    (recipe.seed, recipe.optim.steps) = (99, 4);
    let spec = TrainSpec { recipe: recipe.to_toml(), base: f.dir.path().into(), name: Some("other".into()), ..TrainSpec::default() };
    let job = f.start(JobSpec::new("train", &spec)).unwrap();
    f.end(job);
    std::fs::rename(f.dir.path().join("runs/other/checkpoints"), &dir).unwrap();
    assert_ne!(ask(&mut f), before);
}
