//! Which job runs where and when: numbers, queues, lanes, and the way of a question to the model that is training.
//! Deliberately not here: threads (`worker`) and what jobs do (`jobs`).

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::fan::{Fan, Subscriber};
use super::jobs::{JobKind, Lane};
use super::models::Models;
use super::monitor::Active;
use super::protocol::{Command, Up};
use super::worker::PanicNotes;
use super::{Settings, device, lock};
use crate::report::{JobId, JobState, Level, Report, SCHEMA, Signal};
use crate::spec::{GenerateSpec, JobSpec, TrainSpec};

/// What all threads of an engine share.
pub(super) struct Hub {
    pub project: PathBuf,
    pub kinds: &'static [JobKind],
    pub fan: Fan,
    pub models: Models,
    pub panics: PanicNotes,
    /// Whether this engine goes on when its screens go.
    pub outlives: bool,
    /// Whether the person's own command is run at the end or the fault of a job.
    pub notifies: bool,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    last_job: u64,
    active: BTreeMap<JobId, Arc<Active>>,
    main: VecDeque<Arc<Active>>,
    light: VecDeque<(Arc<Active>, String)>,
    /// What runs on the main lane; more than one where a job lends the device.
    on_main: Vec<Arc<Active>>,
    /// Served jobs by their hosts.
    hosts: BTreeMap<JobId, Arc<Active>>,
    closing: bool,
    ended: bool,
}

impl Hub {
    pub fn new(project: &Path, settings: Settings) -> Self {
        let state = Mutex::new(State { last_job: settings.first_job, ..State::default() });
        Self {
            project: project.into(),
            kinds: settings.jobs,
            fan: Fan::default(),
            models: Models::default(),
            panics: settings.panics,
            outlives: settings.outlives,
            notifies: settings.notifies,
            state,
            bell: Condvar::new(),
        }
    }

    pub fn hello(&self) -> Up {
        let (version, threads) = (env!("CARGO_PKG_VERSION").into(), device::threads());
        Up::Hello { schema: SCHEMA, version, device: device::default_name().into(), threads, outlives: self.outlives }
    }

    pub fn active(&self, job: JobId) -> Option<Arc<Active>> {
        lock(&self.state).active.get(&job).cloned()
    }

    /// Whether nothing runs and nothing waits.
    pub fn idle(&self) -> bool {
        lock(&self.state).active.is_empty()
    }

    pub fn command(self: &Arc<Self>, from: &Subscriber, command: Command) {
        match command {
            Command::Start { ticket, spec } => {
                if let Err(why) = self.start(from, ticket, spec) {
                    from.push(Up::Refused { ticket, why });
                }
            }
            Command::Signal { job, signal } => self.signal(from, job, signal),
            Command::SignalRun { ticket, run, signal } => match self.job_of(&run) {
                Some(job) => {
                    from.push(Up::Started { ticket, job });
                    self.signal(from, job, signal);
                }
                None => {
                    let why = format!("{}: no job of this engine writes this run", crate::text::visible(&run, false));
                    from.push(Up::Refused { ticket, why });
                }
            },
            Command::Move { job, by } => self.shift(job, by),
            Command::Watch => from.watched(),
            Command::Shutdown => self.shutdown(),
        }
    }

    fn start(&self, from: &Subscriber, ticket: u64, spec: JobSpec) -> Result<(), String> {
        let Some(kind) = self.kinds.iter().find(|k| k.name == spec.kind) else {
            let names: Vec<&str> = self.kinds.iter().map(|k| k.name).collect();
            return Err(format!("no job {}; jobs are {}", crate::text::visible(&spec.kind, false), names.join(", ")));
        };
        let title = (kind.check)(&spec.params, &self.project)?;
        let mut state = lock(&self.state);
        if state.closing {
            return Err("the engine is ending; start another one".into());
        }
        let resumes = serde_json::from_value::<TrainSpec>(spec.params.clone()).ok().filter(|_| kind.name == "train").and_then(|s| s.resume);
        if let Some(run) = resumes.filter(|run| state.active.values().any(|j| run_of(j).as_ref() == Some(run))) {
            return Err(format!("{} goes on already; weightroom attach shows it", crate::text::visible(&run, false)));
        }
        state.last_job += 1;
        let job = Arc::new(Active::new(JobId(state.last_job), kind, title, spec));
        state.active.insert(job.id, job.clone());
        if job.kind.lane == Lane::Main {
            self.fan.tell(from, &format!("{} was started from another terminal", job.title));
        }
        from.push(Up::Started { ticket, job: job.id });
        self.route(&mut state, job);
        Ok(())
    }

    /// Sends a job to its lane. A generation with the model that trains is answered by that training; one with
    /// another model does not wait for a training to end but runs beside it, on the CPU.
    fn route(&self, state: &mut State, job: Arc<Active>) {
        // What was queued for an idle device counts as running: its thread takes it at once.
        let busy = state.on_main.last().or(state.main.front()).cloned();
        match (job.kind.lane, &busy) {
            (Lane::Light, _) => state.light.push_back((job, String::new())),
            // A server computes elsewhere: it neither needs the device nor has to wait for it.
            (Lane::Model, _) if asks_server(&job) => state.light.push_back((job, String::new())),
            (Lane::Model, Some(host)) if host.kind.lane == Lane::Main => {
                let spec: GenerateSpec = serde_json::from_value(job.spec.params.clone()).unwrap_or_default();
                if let Some(host) = state.on_main.iter().rev().chain([host]).find(|h| trains(h, &spec.model, &self.project)).cloned() {
                    let why = format!("answered by {} after the step it is at", host.title);
                    job.report(self, Report::State { state: JobState::Waiting, why });
                    state.hosts.insert(job.id, host.clone());
                    host.signal(Signal::Serve(job.id, spec));
                } else if spec.device.is_none() || spec.device.as_deref() == Some("cpu") {
                    state.light.push_back((job, format!("on the CPU beside {}, which holds the device", host.title)));
                } else {
                    self.queue(state, job, &host.title);
                }
            }
            (_, Some(running)) => self.queue(state, job, &running.title),
            (_, None) => state.main.push_back(job),
        }
        self.bell.notify_all();
    }

    fn queue(&self, state: &mut State, job: Arc<Active>, holder: &str) {
        job.report(self, Report::State { state: JobState::Waiting, why: format!("the device is busy with {holder}") });
        state.main.push_back(job);
        self.tell_places(state);
    }

    /// Tells every job that waits for the device its place in the line, from 1.
    fn tell_places(&self, state: &State) {
        for (place, job) in state.main.iter().enumerate() {
            if job.state() == Some(JobState::Waiting) {
                job.report(self, Report::Facts([("place".to_string(), (place + 1).into())].into()));
            }
        }
    }

    fn shift(&self, job: JobId, by: i64) {
        let mut state = lock(&self.state);
        let Some(at) = state.main.iter().position(|j| j.id == job) else { return };
        let to = (at as i64).saturating_add(by).clamp(0, state.main.len() as i64 - 1) as usize;
        if let Some(moved) = state.main.remove(at) {
            state.main.insert(to, moved);
        }
        self.tell_places(&state);
    }

    /// The job that writes a run, or waits to.
    fn job_of(&self, run: &str) -> Option<JobId> {
        lock(&self.state).active.values().find(|j| trains(j, run, &self.project)).map(|j| j.id)
    }

    fn signal(&self, from: &Subscriber, job: JobId, signal: Signal) {
        let Some(active) = self.active(job) else { return };
        let done = match (&signal, active.kind.lane) {
            (Signal::Stop, Lane::Main) => Some("stopped"),
            (Signal::Pause, _) if active.state() != Some(JobState::Paused) => Some("paused"),
            (Signal::Continue, _) => Some("let go on"),
            _ => None,
        };
        if let Some(done) = done {
            let name = active.run().unwrap_or_else(|| active.title.clone());
            self.fan.tell(from, &format!("{name} was {done} from another terminal"));
        }
        match signal {
            Signal::Stop => self.stop(&active),
            // Only the engine gives numbers to served jobs: a screen asks by starting a `generate`.
            Signal::Serve(..) => {}
            signal if active.kind.pausable => active.signal(signal),
            _ => active.report(self, Report::note(Level::Warning, format!("a {} job can only be stopped", active.kind.name))),
        }
    }

    fn stop(&self, job: &Arc<Active>) {
        job.signal(Signal::Stop);
        let mut state = lock(&self.state);
        let waiting = state.main.len() + state.light.len();
        state.main.retain(|j| j.id != job.id);
        state.light.retain(|(j, _)| j.id != job.id);
        let was_waiting = state.main.len() + state.light.len() < waiting;
        self.tell_places(&state);
        let withdrawn = state.hosts.get(&job.id).is_some_and(|host| host.withdraw(job.id));
        drop(state);
        if was_waiting || withdrawn {
            job.report(self, Report::finished(true, "stopped before it began"));
            self.ended(job);
        }
    }

    /// Ends the engine: what waits is dropped, what runs is stopped at its next safepoint and saved.
    pub fn shutdown(&self) {
        let active: Vec<Arc<Active>> = {
            let mut state = lock(&self.state);
            state.closing = true;
            state.active.values().cloned().collect()
        };
        for job in active {
            self.stop(&job);
        }
        self.finish_if_idle();
    }

    /// The next job of a lane with why it runs there; none once the engine ends. Waits.
    pub fn next(&self, lane: Lane) -> Option<(Arc<Active>, String)> {
        let mut state = lock(&self.state);
        loop {
            if lane == Lane::Light {
                if let Some(job) = state.light.pop_front() {
                    return Some(job);
                }
            } else if let Some(job) = state.main.pop_front() {
                state.on_main.push(job.clone());
                self.tell_places(&state);
                return Some((job, String::new()));
            }
            if state.closing {
                return None;
            }
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The job that `holder` lends the device to.
    pub fn take_waiting(&self, holder: JobId) -> Option<Arc<Active>> {
        let mut state = lock(&self.state);
        if state.on_main.last().is_none_or(|j| j.id != holder) {
            return None;
        }
        let job = state.main.pop_front()?;
        state.on_main.push(job.clone());
        Some(job)
    }

    /// Forgets an ended job. What it was asked to serve and did not goes on as a job of its own.
    pub fn ended(&self, job: &Arc<Active>) {
        let mut state = lock(&self.state);
        state.active.remove(&job.id);
        state.on_main.retain(|j| j.id != job.id);
        state.hosts.remove(&job.id);
        for id in job.unserved() {
            state.hosts.remove(&id);
            if let Some(served) = state.active.get(&id).cloned() {
                self.route(&mut state, served);
            }
        }
        drop(state);
        self.finish_if_idle();
    }

    /// A screen has gone. When it was the last person's, where the trainings stood is kept for the next.
    pub fn left(&self, screen: &Subscriber) {
        screen.close();
        if screen.is_person() && self.fan.listeners().1 == 0 {
            let steps = self.fan.steps();
            // Also one that waits, or has not come to its first step: it is what happens next.
            let run = |j: &Arc<Active>| Some((run_of(j)?, steps.get(&j.id).copied().unwrap_or(0)));
            let runs = lock(&self.state).active.values().filter(|j| j.kind.name == "train").filter_map(run).collect();
            // Without the note the next screen only lacks a summary.
            let _ = crate::run::away::leave(&self.project, runs);
        }
    }

    /// Ends the engine if nobody listens and nothing is to be done; whether it ends.
    pub fn end_if_unused(&self) -> bool {
        let mut state = lock(&self.state);
        let unused = state.active.is_empty() && self.fan.listeners().0 == 0;
        state.closing |= unused;
        drop(state);
        if unused {
            self.finish_if_idle();
        }
        unused
    }

    /// Whether the engine takes no more screens.
    pub fn closing(&self) -> bool {
        lock(&self.state).closing
    }

    fn finish_if_idle(&self) {
        let mut state = lock(&self.state);
        if state.closing && state.active.is_empty() && !state.ended {
            state.ended = true;
            self.fan.bye();
        }
        self.bell.notify_all();
    }

    /// Waits until the engine has ended.
    pub fn wait_end(&self) {
        while !self.wait_end_for(Duration::from_secs(3600)) {}
    }

    /// Waits for this time at most; whether the engine has ended.
    pub fn wait_end_for(&self, time: Duration) -> bool {
        let state = lock(&self.state);
        let waited = self.bell.wait_timeout_while(state, time, |s| !s.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

/// Whether `job` trains the run that `model` names, by name or by its directory.
fn trains(job: &Active, model: &str, project: &Path) -> bool {
    run_of(job).is_some_and(|run| {
        let dir = project.join("runs").join(&run);
        model == run || Path::new(model) == dir || project.join(model) == dir
    })
}

/// Whether a job asks a model behind a server.
fn asks_server(job: &Active) -> bool {
    job.spec.params.get("model").and_then(|m| m.as_str()).is_some_and(|model| model.starts_with(crate::sample::endpoint::PREFIX))
}

/// The run that a job writes, or will when its turn comes.
fn run_of(job: &Active) -> Option<String> {
    let of_spec = || {
        let spec: TrainSpec = serde_json::from_value(job.spec.params.clone()).ok()?;
        spec.resume.or(spec.name)
    };
    job.run().or_else(of_spec)
}
