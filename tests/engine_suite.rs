//! The engine's promises, each checked over channels and over a socket alike. The jobs here are small ones of the
//! tests' own, so that what is tested is the engine; real trainings are in `engine_train.rs`.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail loudly too, as the tests do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weightroom::engine::jobs::{Cx, Done, Fault, JOBS, JobKind, Lane};
use weightroom::engine::protocol::{Command, Up};
use weightroom::engine::{Engine, Handle, Settings, socket};
use weightroom::report::{Event, JobId, JobState, Report, SCHEMA, Signal, Token, Values};
use weightroom::spec::{GenerateSpec, JobSpec};

const TEST_JOBS: &[JobKind] = &[
    JobKind { name: "train", help: "counts", lane: Lane::Main, pausable: true, check: titled, run: count },
    JobKind { name: "panics", help: "panics", lane: Lane::Main, pausable: false, check: titled, run: |_| panic!("on purpose \u{1b}[31m") },
    JobKind {
        name: "fails",
        help: "fails",
        lane: Lane::Light,
        pausable: false,
        check: titled,
        run: |_| Err(Fault::new("no".into(), "try yes")),
    },
    JobKind { name: "generate", help: "says", lane: Lane::Model, pausable: false, check: titled, run: say },
    JobKind { name: "flood", help: "many reports", lane: Lane::Main, pausable: false, check: titled, run: flood },
];

fn titled(params: &Value, _: &Path) -> Result<String, String> {
    if params.get("bad").is_some() { Err("bad: is not allowed; leave it out".into()) } else { Ok("titled".into()) }
}

/// A training in everything but its steps.
fn count(cx: &Cx) -> Result<Done, Fault> {
    let name = cx.params["name"].as_str().unwrap_or("run").to_string();
    let steps = cx.params["steps"].as_u64().unwrap_or(u64::MAX);
    cx.monitor.report(Report::Started { kind: "train".into(), title: name.clone(), run: Some(name) });
    let mut step = 0;
    let mut paused = false;
    while step < steps {
        match if paused { cx.monitor.wait() } else { cx.monitor.safepoint() } {
            Signal::Stop => return Ok(Done::new(true, format!("{step}"))),
            Signal::Pause => paused = true,
            Signal::Continue => paused = false,
            Signal::Checkpoint => cx.monitor.report(Report::Artifact { kind: "checkpoint".into(), path: "c".into(), step: Some(step) }),
            Signal::Serve(job, spec) => {
                answer(&*cx.monitor.child(job), &spec, "live");
                continue;
            }
            Signal::Step | Signal::Yield => {}
        }
        if !paused || step == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        step += 1;
        cx.monitor.report(Report::Values(Values { step, values: vec![("train/loss".into(), 1.0 / step as f64)] }));
    }
    Ok(Done::new(false, format!("{step}")))
}

fn say(cx: &Cx) -> Result<Done, Fault> {
    let spec: GenerateSpec = cx.params()?;
    answer(cx.monitor, &spec, if cx.beside { "beside" } else { "disk" });
    Ok(Done::new(cx.monitor.stopped(), ""))
}

fn answer(monitor: &dyn weightroom::report::Monitor, spec: &GenerateSpec, word: &str) {
    for _ in 0..spec.max_tokens {
        if monitor.stopped() {
            return;
        }
        let bytes = word.as_bytes().to_vec();
        monitor.report(Report::Token(Token { id: 1, bytes, probability: 1.0, alternatives: Vec::new(), from_prompt: false }));
        if spec.max_tokens > 100 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn flood(cx: &Cx) -> Result<Done, Fault> {
    for step in 0..200_000 {
        cx.monitor.report(Report::Values(Values { step, values: vec![("x".into(), 1.0)] }));
    }
    Ok(Done::default())
}

/// An engine with one way to make handles to it.
struct Fixture {
    engine: Engine,
    dir: tempfile::TempDir,
    socket: bool,
}

impl Fixture {
    fn new(socket: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::start(dir.path(), Settings { jobs: TEST_JOBS, lower_priority: false, ..Settings::default() }).unwrap();
        if socket {
            socket::listen(&engine, &socket::path_of(dir.path())).unwrap();
        }
        Self { engine, dir, socket }
    }
    fn screen(&self) -> Screen {
        let handle = if self.socket { Handle::connect(&socket::path_of(self.dir.path())) } else { self.engine.handle() };
        Screen { handle: handle.unwrap(), seen: Vec::new(), ups: Vec::new(), started: BTreeMap::new() }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.engine.shutdown();
        self.engine.wait();
    }
}

/// One subscriber that keeps all it hears.
struct Screen {
    handle: Handle,
    seen: Vec<Event>,
    ups: Vec<Up>,
    started: BTreeMap<u64, JobId>,
}

impl Screen {
    fn start(&mut self, ticket: u64, kind: &str, params: Value) -> JobId {
        self.handle.start(ticket, JobSpec { kind: kind.into(), params }).unwrap();
        self.until(|s| s.started.contains_key(&ticket));
        self.started[&ticket]
    }
    fn signal(&self, job: JobId, signal: Signal) {
        self.handle.signal(job, signal).unwrap();
    }
    fn reports(&self, job: JobId) -> impl Iterator<Item = &Report> {
        self.seen.iter().filter(move |e| e.job == job).map(|e| &e.report)
    }
    fn has(&self, job: JobId, test: impl Fn(&Report) -> bool) -> bool {
        self.reports(job).any(test)
    }
    fn step(&self, job: JobId) -> u64 {
        self.reports(job).filter_map(|r| if let Report::Values(v) = r { Some(v.step) } else { None }).last().unwrap_or(0)
    }
    fn said(&self, job: JobId) -> String {
        let bytes = self.reports(job).filter_map(|r| if let Report::Token(t) = r { Some(t.bytes.clone()) } else { None });
        String::from_utf8(bytes.flatten().collect()).unwrap()
    }
    /// The end of a job, waiting for it.
    fn end(&mut self, job: JobId) -> Report {
        self.until(|s| s.has(job, Report::is_end));
        self.reports(job).find(|r| r.is_end()).unwrap().clone()
    }
    fn state(&mut self, job: JobId, wanted: JobState) -> String {
        self.until(|s| s.has(job, |r| matches!(r, Report::State { state, .. } if *state == wanted)));
        let why = |r: &Report| if let Report::State { state, why } = r { (*state == wanted).then(|| why.clone()) } else { None };
        self.reports(job).filter_map(why).last().unwrap()
    }
    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done(self) {
            match self.handle.events().recv_timeout(Duration::from_secs(1)) {
                Ok(Up::Events(events)) => self.seen.extend(events),
                Ok(Up::Started { ticket, job }) => drop(self.started.insert(ticket, job)),
                Ok(up) => self.ups.push(up),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the engine is gone: {:?} {:?}", self.ups, self.seen),
            }
            assert!(Instant::now() < deadline, "waited in vain: {:?}", self.seen.iter().rev().take(20).collect::<Vec<_>>());
        }
    }
}

/// Runs a test over both transports.
fn both(test: impl Fn(&Fixture)) {
    for socket in [false, true] {
        println!("over {}", if socket { "a socket" } else { "channels" });
        test(&Fixture::new(socket));
    }
}

#[test]
fn it_greets_starts_numbers_and_ends() {
    both(|f| {
        let mut screen = f.screen();
        let job = screen.start(7, "train", json!({"steps": 5, "name": "tiny"}));
        assert!(matches!(screen.end(job), Report::Finished { stopped: false, .. }));
        assert!(matches!(&screen.ups[0], Up::Hello { schema: SCHEMA, threads: 1.., .. }));
        let seqs: Vec<u64> = screen.seen.iter().filter(|e| e.job == job).map(|e| e.seq).collect();
        assert_eq!(seqs, (0..seqs.len() as u64).collect::<Vec<_>>());
        assert!(matches!(screen.reports(job).next(), Some(Report::Started { run: Some(run), .. }) if run == "tiny"));
    });
}

#[test]
fn a_job_that_cannot_be_is_refused_with_the_reason() {
    both(|f| {
        let mut screen = f.screen();
        let refused = |s: &Screen| s.ups.iter().filter(|u| matches!(u, Up::Refused { .. })).count();
        screen.handle.start(1, JobSpec { kind: "tra\u{1b}in".into(), params: json!({}) }).unwrap();
        screen.handle.start(2, JobSpec { kind: "train".into(), params: json!({"bad": 1}) }).unwrap();
        screen.until(|s| refused(s) == 2);
        assert!(matches!(&screen.ups[1], Up::Refused { ticket: 1, why } if why.contains("no job tra␛in; jobs are train, ")));
        assert!(matches!(&screen.ups[2], Up::Refused { ticket: 2, why } if why.contains("bad: is not allowed")));
        assert!(f.engine.idle());
    });
}

#[test]
fn pause_step_checkpoint_continue_stop() {
    both(|f| {
        let mut screen = f.screen();
        let job = screen.start(1, "train", json!({}));
        screen.until(|s| s.step(job) > 3);
        screen.signal(job, Signal::Pause);
        screen.state(job, JobState::Paused);
        screen.signal(job, Signal::Checkpoint);
        screen.until(|s| s.has(job, |r| matches!(r, Report::Artifact { .. })));
        let at = screen.step(job);
        screen.signal(job, Signal::Step);
        screen.until(|s| s.step(job) > at);
        screen.signal(job, Signal::Continue);
        assert_eq!(screen.state(job, JobState::Running), "as asked");
        let at = screen.step(job);
        screen.until(|s| s.step(job) > at + 5);
        screen.signal(job, Signal::Stop);
        assert!(matches!(screen.end(job), Report::Finished { stopped: true, .. }));
    });
}

#[test]
fn the_model_that_trains_answers_between_two_steps_and_while_paused() {
    both(|f| {
        let mut screen = f.screen();
        let train = screen.start(1, "train", json!({"name": "tiny"}));
        screen.until(|s| s.step(train) > 1);
        let ask = |tokens: u64| json!({"model": "tiny", "max_tokens": tokens});
        let one = screen.start(2, "generate", ask(3));
        assert!(matches!(screen.end(one), Report::Finished { stopped: false, .. }));
        assert_eq!(screen.said(one), "livelivelive");
        assert!(screen.state(one, JobState::Running).contains("tiny between two steps"));
        screen.signal(train, Signal::Pause);
        screen.state(train, JobState::Paused);
        let two = screen.start(3, "generate", ask(2));
        screen.end(two);
        assert_eq!(screen.said(two), "livelive");
        // Stopping an answer stops that answer alone.
        let three = screen.start(4, "generate", ask(100_000));
        screen.until(|s| s.said(three).len() > 8);
        screen.signal(three, Signal::Stop);
        assert!(matches!(screen.end(three), Report::Finished { stopped: true, .. }));
        let at = screen.step(train);
        screen.signal(train, Signal::Continue);
        screen.until(|s| s.step(train) > at + 2);
        assert!(!screen.has(train, Report::is_end));
    });
}

#[test]
fn another_model_answers_beside_the_training_and_an_idle_device_serves_it_itself() {
    both(|f| {
        let mut screen = f.screen();
        let alone = screen.start(1, "generate", json!({"model": "other", "max_tokens": 1}));
        screen.end(alone);
        assert_eq!(screen.said(alone), "disk");
        let train = screen.start(2, "train", json!({"name": "tiny"}));
        screen.until(|s| s.step(train) > 1);
        let beside = screen.start(3, "generate", json!({"model": "other", "max_tokens": 1}));
        screen.end(beside);
        assert_eq!(screen.said(beside), "beside");
        assert!(screen.state(beside, JobState::Running).contains("on the CPU beside"));
    });
}

#[test]
fn a_question_that_the_training_did_not_reach_is_answered_from_disk() {
    both(|f| {
        let mut screen = f.screen();
        let train = screen.start(1, "train", json!({"name": "tiny"}));
        screen.until(|s| s.step(train) > 1);
        // The first question keeps the training busy; the stop then comes before the second one.
        let first = screen.start(2, "generate", json!({"model": "tiny", "max_tokens": 100_000}));
        screen.until(|s| !s.said(first).is_empty());
        screen.signal(train, Signal::Stop);
        let second = screen.start(3, "generate", json!({"model": "tiny", "max_tokens": 1}));
        screen.end(train);
        assert!(matches!(screen.end(second), Report::Finished { stopped: false, .. }));
        assert_eq!(screen.said(second), "disk");
        assert!(matches!(screen.end(first), Report::Finished { .. }));
    });
}

#[test]
fn one_job_waits_for_the_device_says_so_and_may_be_stopped_or_let_before() {
    both(|f| {
        let mut screen = f.screen();
        let first = screen.start(1, "train", json!({"name": "a"}));
        screen.until(|s| s.step(first) > 1);
        let second = screen.start(2, "train", json!({"name": "b", "steps": 3}));
        assert_eq!(screen.state(second, JobState::Waiting), "the device is busy with titled");
        let third = screen.start(3, "train", json!({"name": "c", "steps": 3}));
        screen.signal(third, Signal::Stop);
        assert!(matches!(screen.end(third), Report::Finished { stopped: true, summary, .. } if summary.contains("before it began")));
        screen.signal(first, Signal::Yield);
        assert!(matches!(screen.end(second), Report::Finished { stopped: false, .. }));
        assert!(!screen.has(first, Report::is_end));
        assert_eq!(screen.state(first, JobState::Running), "the device is back");
    });
}

#[test]
fn a_panic_or_an_error_fails_the_job_alone() {
    both(|f| {
        let mut screen = f.screen();
        let job = screen.start(1, "panics", json!({}));
        let Report::Failed { cause, log, .. } = screen.end(job) else { panic!("not failed") };
        assert!(cause.contains("on purpose ␛[31m"), "{cause}");
        let text = std::fs::read_to_string(log.unwrap()).unwrap();
        assert!(text.contains("on purpose"), "{text}");
        let job = screen.start(2, "fails", json!({}));
        assert!(matches!(screen.end(job), Report::Failed { cause, hint, .. } if cause == "no" && hint == "try yes"));
        let job = screen.start(3, "train", json!({"steps": 2}));
        assert!(matches!(screen.end(job), Report::Finished { .. }), "the engine lives");
    });
}

#[test]
fn two_screens_see_the_same_and_a_late_one_is_told() {
    both(|f| {
        let (mut a, mut b) = (f.screen(), f.screen());
        let job = a.start(1, "train", json!({"name": "tiny"}));
        a.until(|s| s.step(job) > 3);
        b.until(|s| s.step(job) > 3);
        let mut late = f.screen();
        late.until(|s| s.has(job, |r| matches!(r, Report::Started { run: Some(_), .. })));
        late.signal(job, Signal::Stop);
        for screen in [&mut a, &mut b, &mut late] {
            assert!(matches!(screen.end(job), Report::Finished { stopped: true, .. }));
        }
        let of = |s: &Screen| s.seen.iter().filter(|e| e.job == job).cloned().collect::<Vec<_>>();
        assert_eq!(of(&a), of(&b));
        assert!(a.started.len() == 1 && b.started.is_empty(), "a ticket is answered to its own screen");
    });
}

#[test]
fn a_screen_that_never_reads_blocks_nobody() {
    both(|f| {
        let _asleep = f.screen();
        let mut screen = f.screen();
        let job = screen.start(1, "flood", json!({}));
        assert!(matches!(screen.end(job), Report::Finished { .. }));
        let job = screen.start(2, "train", json!({"steps": 1}));
        assert!(matches!(screen.end(job), Report::Finished { .. }));
    });
}

#[test]
fn shutdown_stops_saves_and_says_goodbye() {
    both(|f| {
        let mut screen = f.screen();
        let job = screen.start(1, "train", json!({}));
        screen.until(|s| s.step(job) > 1);
        let waits = screen.start(2, "train", json!({}));
        screen.handle.send(Command::Shutdown).unwrap();
        screen.until(|s| s.ups.contains(&Up::Bye));
        for job in [job, waits] {
            assert!(matches!(screen.end(job), Report::Finished { stopped: true, .. }));
        }
        f.engine.wait();
    });
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let f = Fixture::new(true);
    let path = socket::path_of(f.dir.path());
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert!(socket::listen(&f.engine, &path).unwrap_err().to_string().contains("an engine runs here already"));
    assert!(Handle::connect(&f.dir.path().join("none.sock")).err().unwrap().to_string().contains("weightroom engine DIR"));
}

#[test]
fn every_real_job_is_known_and_checks_its_parameters() {
    let dir = tempfile::tempdir().unwrap();
    for job in JOBS {
        assert!(!job.help.is_empty());
        assert!((job.check)(&json!({"max_tokens": "many", "recipe": 3, "files": 1}), dir.path()).is_err(), "{}", job.name);
    }
}

#[test]
fn those_who_wait_are_told_their_place_and_are_moved_and_every_screen_hears_what_others_do() {
    both(|f| {
        let place = |s: &Screen, job: JobId| {
            let places =
                s.reports(job).filter_map(|r| if let Report::Facts(f) = r { f.get("place").and_then(Value::as_u64) } else { None });
            places.last()
        };
        let mut screen = f.screen();
        let first = screen.start(1, "train", json!({}));
        screen.until(|s| s.step(first) > 1);
        let second = screen.start(2, "train", json!({}));
        let third = screen.start(3, "train", json!({}));
        screen.until(|s| place(s, third) == Some(2));
        let mut late = f.screen();
        late.until(|s| place(s, second) == Some(1) && place(s, third) == Some(2));
        screen.handle.send(Command::Move { job: third, by: -5 }).unwrap();
        late.until(|s| place(s, third) == Some(1) && place(s, second) == Some(2));
        late.signal(first, Signal::Stop);
        late.until(|s| s.step(third) > 1);
        screen.until(|s| s.ups.iter().any(|u| matches!(u, Up::Told(t) if t.contains("stopped from another terminal"))));
        assert!(!late.ups.iter().any(|u| matches!(u, Up::Told(t) if t.contains("stopped"))), "it knows what it did itself");
        // By the run's name, from a command that knows no numbers.
        late.handle.send(Command::SignalRun { ticket: 9, run: "nobody".into(), signal: Signal::Stop }).unwrap();
        late.until(|s| s.ups.iter().any(|u| matches!(u, Up::Refused { ticket: 9, why } if why.contains("nobody"))));
        for job in [second, third] {
            late.signal(job, Signal::Stop);
        }
    });
}
