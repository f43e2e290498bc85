//! Which job runs where and when: numbers, queues, lanes, and the way of a question to the model that is training.
//! Deliberately not here: threads (`worker`) and what jobs do (`jobs`).

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::fan::{Fan, Subscriber};
use super::jobs::{JobKind, Lane};
use super::models::Models;
use super::monitor::Active;
use super::protocol::{Command, Up};
use super::worker::PanicNotes;
use super::{device, lock};
use crate::report::{JobId, JobState, Level, Report, SCHEMA, Signal};
use crate::spec::{GenerateSpec, JobSpec, TrainSpec};

/// What all threads of an engine share.
pub(super) struct Hub {
    pub project: PathBuf,
    pub kinds: &'static [JobKind],
    pub fan: Fan,
    pub models: Models,
    pub panics: PanicNotes,
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
    pub fn new(project: &Path, kinds: &'static [JobKind], panics: PanicNotes) -> Self {
        Self {
            project: project.into(),
            kinds,
            fan: Fan::default(),
            models: Models::default(),
            panics,
            state: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    pub fn hello(&self) -> Up {
        let (version, threads) = (env!("CARGO_PKG_VERSION").into(), device::threads());
        Up::Hello { schema: SCHEMA, version, device: device::default_name().into(), threads }
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
            Command::Signal { job, signal } => self.signal(job, signal),
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
        state.last_job += 1;
        let job = Arc::new(Active::new(JobId(state.last_job), kind, title, spec));
        state.active.insert(job.id, job.clone());
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
    }

    fn signal(&self, job: JobId, signal: Signal) {
        let Some(active) = self.active(job) else { return };
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
        let withdrawn = state.hosts.get(&job.id).is_some_and(|host| host.withdraw(job.id));
        drop(state);
        if was_waiting || withdrawn {
            job.report(self, Report::Finished { stopped: true, summary: "stopped before it began".into() });
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
        let mut state = lock(&self.state);
        while !state.ended {
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Whether `job` trains the run that `model` names, by name or by its directory.
fn trains(job: &Active, model: &str, project: &Path) -> bool {
    let of_spec = || {
        let spec: TrainSpec = serde_json::from_value(job.spec.params.clone()).ok()?;
        spec.resume.or(spec.name)
    };
    job.run().or_else(of_spec).is_some_and(|run| {
        let dir = project.join("runs").join(&run);
        model == run || Path::new(model) == dir || project.join(model) == dir
    })
}
