//! The monitor of a job: numbers its reports, writes them to the run's log first, and carries signals to it.
//! Deliberately not here: which job runs when (`hub`), and what a signal makes a job do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::hub::Hub;
use super::jobs::JobKind;
use super::lock;
use crate::report::{Event, JobId, JobState, Level, Monitor, Report, Signal, Silent, Sink, is_full};
use crate::spec::JobSpec;

/// A job that has not ended.
pub(super) struct Active {
    pub id: JobId,
    pub kind: &'static JobKind,
    pub title: String,
    pub spec: JobSpec,
    stop: AtomicBool,
    signals: Mutex<VecDeque<Signal>>,
    bell: Condvar,
    out: Mutex<Out>,
}

#[derive(Default)]
struct Out {
    sink: Option<Box<dyn Sink>>,
    next_seq: u64,
    started: bool,
    ended: bool,
    state: Option<(JobState, String)>,
    run: Option<String>,
    /// Why the run's log could not be written.
    sink_error: Option<String>,
    /// Whether a part of the log waits for room on the disk.
    full: bool,
    /// Whether it was told that there is no room, and no step was done since.
    told_full: bool,
}

impl Active {
    pub fn new(id: JobId, kind: &'static JobKind, title: String, spec: JobSpec) -> Self {
        let (stop, signals, bell, out) = Default::default();
        Self { id, kind, title, spec, stop, signals, bell, out }
    }

    /// The run that this job writes, as soon as it has said so.
    pub fn run(&self) -> Option<String> {
        lock(&self.out).run.clone()
    }

    pub fn state(&self) -> Option<JobState> {
        lock(&self.out).state.as_ref().map(|s| s.0)
    }

    /// Whether a part of the log waits for room on the disk.
    fn full(&self) -> bool {
        lock(&self.out).full
    }

    /// Tries to write what waits for room; whether there is nothing more to wait for.
    fn retry(&self) -> bool {
        let mut out = lock(&self.out);
        let result = out.sink.as_mut().map_or(Ok(()), |sink| sink.retry());
        self.heed(&mut out, result);
        !out.full
    }

    /// Waits for a second, or until something is asked of the job.
    fn nap(&self) {
        let signals = lock(&self.signals);
        drop(self.bell.wait_timeout(signals, Duration::from_secs(1)));
    }

    pub fn stop_asked(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Why the run's log could not be written, if so.
    pub fn sink_error(&self) -> Option<String> {
        lock(&self.out).sink_error.clone()
    }

    pub fn signal(&self, signal: Signal) {
        if signal == Signal::Stop {
            self.stop.store(true, Ordering::Release);
        }
        lock(&self.signals).push_back(signal);
        self.bell.notify_all();
    }

    /// Waits for a signal.
    fn next_signal(&self) -> Signal {
        let mut signals = lock(&self.signals);
        loop {
            match signals.pop_front() {
                Some(signal) => return signal,
                None => signals = self.bell.wait(signals).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Takes back the request to serve `job`; false when it was already taken up.
    pub fn withdraw(&self, job: JobId) -> bool {
        let mut signals = lock(&self.signals);
        let before = signals.len();
        signals.retain(|s| !matches!(s, Signal::Serve(id, _) if *id == job));
        signals.len() < before
    }

    /// The jobs that this one was asked to serve and did not.
    pub fn unserved(&self) -> Vec<JobId> {
        lock(&self.signals).drain(..).filter_map(|s| if let Signal::Serve(id, _) = s { Some(id) } else { None }).collect()
    }

    /// Numbers a report, writes it to the run's log, then hands it to the screens. Nothing comes after an end.
    pub fn report(&self, hub: &Hub, report: Report) {
        let mut out = lock(&self.out);
        if out.ended {
            return;
        }
        match &report {
            Report::Started { run, .. } => {
                out.started = true;
                out.run = run.clone().or(out.run.take());
            }
            Report::State { state, why } => {
                if out.state.as_ref().is_some_and(|(s, w)| s == state && (why.is_empty() || w == why)) {
                    return;
                }
                out.state = Some((*state, why.clone()));
            }
            _ => {}
        }
        if !out.started {
            out.started = true;
            self.emit(hub, &mut out, Report::Started { kind: self.kind.name.into(), title: self.title.clone(), run: None });
        }
        let end = report.is_end();
        let told = self.worth_telling(&mut out, &report);
        self.emit(hub, &mut out, report);
        out.ended |= end;
        drop(out);
        if let Some(text) = told.filter(|_| hub.notifies) {
            super::notify::tell(&hub.project, &text);
        }
    }

    /// What the person's own command is to be told of this report. A generation's end is seen where it was asked for.
    fn worth_telling(&self, out: &mut Out, report: &Report) -> Option<String> {
        if matches!(report, Report::Values(_)) {
            out.told_full = false;
        }
        let words = super::notify::words(out.run.as_deref().unwrap_or(&self.title), report).filter(|_| self.kind.name != "generate");
        // A run that waits for room says so again whenever its log has found some.
        if words.is_some() && !report.is_end() && std::mem::replace(&mut out.told_full, true) {
            return None;
        }
        words
    }

    fn emit(&self, hub: &Hub, out: &mut Out, report: Report) {
        let seq = out.sink.as_ref().map_or(out.next_seq, |s| s.next_seq());
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let event = Event { job: self.id, seq, at_ms, report };
        out.next_seq = seq + 1;
        let result = out.sink.as_mut().map_or(Ok(()), |sink| sink.write(&event));
        self.heed(out, result);
        // Whoever hears of the end finds the run free: its lock goes with its log.
        if event.report.is_end()
            && let Some(sink) = out.sink.take()
            && out.full
        {
            keep_trying(sink);
        }
        hub.fan.publish(event);
    }

    /// What a write to the log came to.
    fn heed(&self, out: &mut Out, result: std::io::Result<()>) {
        out.full = result.as_ref().is_err_and(is_full);
        if let Err(error) = result
            && !out.full
        {
            // What cannot be kept must not look as if it were: the job stops, and fails with this cause.
            let run = crate::text::visible(out.run.as_deref().unwrap_or_default(), false).into_owned();
            out.sink_error.get_or_insert_with(|| format!("runs/{run}/events.jsonl cannot be written: {error}"));
            out.sink = None;
            self.signal(Signal::Stop);
        }
    }
}

/// The last words of a job that has ended: they reach its log when there is room, as long as this process lives.
fn keep_trying(mut sink: Box<dyn Sink>) {
    // Without a thread the log lacks its end, as after a kill; a resume knows how to go on.
    let _ = super::thread("weightroom-late", move || {
        while sink.retry().is_err_and(|e| is_full(&e)) {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
}

/// A job's monitor; `host` is the job within which it is served.
pub(super) struct JobMonitor {
    hub: Arc<Hub>,
    job: Arc<Active>,
    host: Option<Arc<Active>>,
}

impl JobMonitor {
    pub fn new(hub: Arc<Hub>, job: Arc<Active>) -> Self {
        Self { hub, job, host: None }
    }

    /// Runs the job that waits for the device, here and now, between two steps.
    fn lend(&self) {
        let Some(job) = self.hub.take_waiting(self.job.id) else {
            return self.report(Report::note(Level::Info, "no job waits for the device"));
        };
        self.report(Report::State { state: JobState::Paused, why: format!("the device is lent to {}", job.title) });
        super::worker::execute(&self.hub, &job, "");
        self.report(Report::State { state: JobState::Running, why: "the device is back".into() });
    }

    /// Pauses the job until its log can be written again, or until it is to stop.
    fn wait_for_room(&self) {
        let before = lock(&self.job.out).state.clone();
        let run = self.hub.project.join("runs").join(self.job.run().unwrap_or_default());
        let why = crate::run::full_disk(&run);
        self.job.report(&self.hub, Report::State { state: JobState::Paused, why: why.clone() });
        self.job.report(&self.hub, Report::note(Level::Warning, why));
        while !self.job.retry() {
            if self.stopped() {
                return;
            }
            self.job.nap();
        }
        let (state, why) = match before {
            Some((JobState::Paused, why)) => (JobState::Paused, why),
            _ => (JobState::Running, "there is room on the disk again".into()),
        };
        self.job.report(&self.hub, Report::State { state, why });
    }
}

impl Monitor for JobMonitor {
    fn report(&self, report: Report) {
        let end = report.is_end();
        self.job.report(&self.hub, report);
        if !end && self.job.full() && !self.stopped() {
            self.wait_for_room();
        }
    }

    fn stopped(&self) -> bool {
        self.job.stop_asked() || self.host.as_ref().is_some_and(|h| h.stop_asked())
    }

    fn safepoint(&self) -> Signal {
        loop {
            let next = lock(&self.job.signals).pop_front();
            match next {
                None => return Signal::Continue,
                Some(Signal::Yield) => self.lend(),
                Some(signal) => return signal,
            }
        }
    }

    fn wait(&self) -> Signal {
        loop {
            let next = lock(&self.job.signals).pop_front();
            let signal = next.unwrap_or_else(|| {
                if self.job.state() != Some(JobState::Paused) {
                    self.report(Report::State { state: JobState::Paused, why: "as asked".into() });
                }
                self.job.next_signal()
            });
            match signal {
                // Already paused.
                Signal::Pause => {}
                Signal::Yield => self.lend(),
                Signal::Continue => {
                    self.report(Report::State { state: JobState::Running, why: "as asked".into() });
                    return Signal::Continue;
                }
                signal => return signal,
            }
        }
    }

    fn child(&self, job: JobId) -> Box<dyn Monitor> {
        let Some(child) = self.hub.active(job) else { return Box::new(Silent) };
        let name = self.job.run().unwrap_or_else(|| self.job.title.clone());
        let why = format!("answered by {name} between two steps, with its weights of this moment");
        child.report(&self.hub, Report::State { state: JobState::Running, why });
        Box::new(JobMonitor { hub: self.hub.clone(), job: child, host: Some(self.job.clone()) })
    }

    fn attach(&self, sink: Box<dyn Sink>) {
        lock(&self.job.out).sink = Some(sink);
    }
}

impl Drop for JobMonitor {
    /// A served job ends when its host lets go of it, whatever the reason.
    fn drop(&mut self) {
        if self.host.is_none() {
            return;
        }
        let end = if std::thread::panicking() {
            let cause = "the training that answered it failed".to_string();
            Report::Failed { cause, hint: "look at the training's own message".into(), log: None }
        } else {
            Report::finished(self.job.stop_asked(), "")
        };
        self.job.report(&self.hub, end);
        self.hub.ended(&self.job);
    }
}
