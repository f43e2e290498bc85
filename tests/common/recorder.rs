//! A monitor for tests: it keeps what is reported, writes it to the attached log as the engine does, and gives
//! the signals of a script. Deliberately not here: threads; a test that needs them makes its own.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use weightroom::report::{Event, JobId, Monitor, Report, Signal, Sink};
use weightroom::train::drive::{Outcome, TrainError};

#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    sink: Option<Box<dyn Sink>>,
    seq: u64,
    /// (after this many safepoints, the signal).
    script: VecDeque<(u64, Signal)>,
    waits: VecDeque<Signal>,
    safepoints: u64,
    children: Vec<Recorder>,
    stop: bool,
}

impl Recorder {
    /// Gives `signal` at the safepoint that comes after `safepoints` others.
    pub fn at(self, safepoints: u64, signal: Signal) -> Self {
        self.0.lock().unwrap().script.push_back((safepoints, signal));
        self
    }
    /// What `wait` answers, in order; `Continue` afterwards.
    pub fn waits(self, signals: &[Signal]) -> Self {
        self.0.lock().unwrap().waits.extend(signals.iter().cloned());
        self
    }
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().events.clone()
    }
    pub fn reports(&self) -> Vec<Report> {
        self.events().into_iter().map(|e| e.report).collect()
    }
    pub fn children(&self) -> Vec<Recorder> {
        self.0.lock().unwrap().children.clone()
    }
    /// The end of a job, as the engine makes it of what training returns.
    pub fn end(&self, result: Result<Outcome, TrainError>) -> Result<Outcome, TrainError> {
        match &result {
            Ok(done) => self.report(Report::finished(done.stopped, format!("step {}", done.step))),
            Err(error) => self.report(Report::Failed { cause: error.to_string(), hint: error.hint().into(), log: None }),
        }
        self.0.lock().unwrap().sink = None;
        result
    }
    /// Every value of a metric by step.
    pub fn series(&self, name: &str) -> Vec<(u64, f64)> {
        let values = self.reports().into_iter().filter_map(|r| if let Report::Values(v) = r { Some(v) } else { None });
        values.filter_map(|v| v.get(name).map(|x| (v.step, x))).collect()
    }
}

impl Monitor for Recorder {
    fn report(&self, report: Report) {
        let mut inner = self.0.lock().unwrap();
        let seq = inner.sink.as_ref().map_or(inner.seq, |s| s.next_seq());
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let event = Event { job: JobId(1), seq, at_ms, report };
        inner.seq = seq + 1;
        if let Some(sink) = &mut inner.sink {
            let _ = sink.write(&event);
        }
        inner.events.push(event);
    }
    fn stopped(&self) -> bool {
        self.0.lock().unwrap().stop
    }
    fn safepoint(&self) -> Signal {
        let mut inner = self.0.lock().unwrap();
        let now = inner.safepoints;
        inner.safepoints += 1;
        if inner.script.front().is_some_and(|(at, _)| *at <= now) {
            let signal = inner.script.pop_front().unwrap().1;
            inner.stop |= signal == Signal::Stop;
            return signal;
        }
        Signal::Continue
    }
    fn wait(&self) -> Signal {
        let mut inner = self.0.lock().unwrap();
        let signal = inner.waits.pop_front().unwrap_or(Signal::Continue);
        inner.stop |= signal == Signal::Stop;
        signal
    }
    fn child(&self, _: JobId) -> Box<dyn Monitor> {
        let child = Recorder::default();
        self.0.lock().unwrap().children.push(child.clone());
        Box::new(child)
    }
    fn attach(&self, sink: Box<dyn Sink>) {
        self.0.lock().unwrap().sink = Some(sink);
    }
}
