//! Hands every event to every screen, in order, without ever waiting for one of them.
//! Deliberately not here: what the events mean, and how a frame travels over a socket.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::lock;
use super::protocol::Up;
use crate::report::{Event, JobId, Report};

/// Numbers go out at most 30 times a second.
const INTERVAL: Duration = Duration::from_millis(33);
/// What a person waits for (tokens, notes, ends) goes out at once, but not more often than this.
const PROMPT: Duration = Duration::from_millis(4);
/// Events that wait for a slow subscriber before its numbers are left out; it re-reads them from the run's log,
/// where it sees from `seq` that some are missing.
const PENDING: usize = 10_000;
/// Ended jobs that a new subscriber is still told about.
const ENDED: usize = 32;

/// All subscribers, and what a new one must be told first.
#[derive(Default)]
pub(super) struct Fan {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    subscribers: Vec<Arc<Subscriber>>,
    /// Per job: how it started, its metrics, its state and its last progress.
    heads: BTreeMap<JobId, Vec<Event>>,
    /// The newest step of every job that has not ended.
    steps: BTreeMap<JobId, u64>,
}

/// One screen's queue. A thread of its own (`pump`) empties it.
#[derive(Default)]
pub(super) struct Subscriber {
    queue: Mutex<Queue>,
    bell: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Whether a person sits there.
    person: bool,
    ups: VecDeque<Up>,
    events: usize,
    prompt: bool,
    closed: bool,
}

impl Fan {
    /// A new subscriber, to whom `hello` and the heads of all jobs are already queued.
    pub fn subscribe(&self, hello: Up) -> Arc<Subscriber> {
        let subscriber = Arc::new(Subscriber::default());
        let mut inner = lock(&self.inner);
        subscriber.push(hello);
        for event in inner.heads.values().flatten() {
            subscriber.push_event(event.clone(), true);
        }
        // Who left while nothing happened is forgotten here.
        inner.subscribers.retain(|s| !lock(&s.queue).closed);
        inner.subscribers.push(subscriber.clone());
        subscriber
    }

    pub fn publish(&self, event: Event) {
        let mut inner = lock(&self.inner);
        remember(&mut inner.heads, &event);
        match &event.report {
            Report::Values(values) => drop(inner.steps.insert(event.job, values.step)),
            Report::Resumed { step } => drop(inner.steps.insert(event.job, *step)),
            report if report.is_end() => drop(inner.steps.remove(&event.job)),
            _ => {}
        }
        let prompt = !matches!(event.report, Report::Values(_) | Report::Progress { .. } | Report::Metric(_));
        inner.subscribers.retain(|s| s.push_event(event.clone(), prompt));
    }

    /// Hands a word to every screen but the one that caused it.
    pub fn tell(&self, but: &Subscriber, text: &str) {
        for other in lock(&self.inner).subscribers.iter().filter(|s| !std::ptr::eq(Arc::as_ptr(s), but)) {
            other.push(Up::Told(text.into()));
        }
    }

    /// How many listen, and how many of them are people.
    pub fn listeners(&self) -> (usize, usize) {
        let mut inner = lock(&self.inner);
        inner.subscribers.retain(|s| !lock(&s.queue).closed);
        (inner.subscribers.len(), inner.subscribers.iter().filter(|s| lock(&s.queue).person).count())
    }

    /// The steps that the trainings have reached, by their jobs.
    pub fn steps(&self) -> BTreeMap<JobId, u64> {
        lock(&self.inner).steps.clone()
    }

    /// The last word to all: nothing comes after it.
    pub fn bye(&self) {
        let mut inner = lock(&self.inner);
        for subscriber in inner.subscribers.drain(..) {
            subscriber.push(Up::Bye);
            lock(&subscriber.queue).closed = true;
            subscriber.bell.notify_all();
        }
    }
}

/// Keeps what a screen that comes later needs to show the job.
fn remember(heads: &mut BTreeMap<JobId, Vec<Event>>, event: &Event) {
    let head = heads.entry(event.job).or_default();
    match &event.report {
        Report::Started { .. } | Report::State { .. } => {
            head.retain(|e| std::mem::discriminant(&e.report) != std::mem::discriminant(&event.report));
            head.push(event.clone());
        }
        // Where a job that waits stands in the line.
        Report::Facts(facts) if facts.contains_key("place") => {
            head.retain(|e| !matches!(&e.report, Report::Facts(f) if f.contains_key("place")));
            head.push(event.clone());
        }
        Report::Metric(_) if head.len() < 1000 => head.push(event.clone()),
        Report::Progress { what, .. } => {
            head.retain(|e| !matches!(&e.report, Report::Progress { what: w, .. } if w == what));
            head.push(event.clone());
        }
        report if report.is_end() => {
            head.retain(|e| matches!(e.report, Report::Started { .. }));
            head.push(event.clone());
        }
        _ => {}
    }
    if event.report.is_end() {
        let ended: Vec<JobId> = heads.iter().filter(|(_, h)| h.last().is_some_and(|e| e.report.is_end())).map(|(id, _)| *id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(ENDED)) {
            heads.remove(id);
        }
    }
}

impl Subscriber {
    pub fn push(&self, up: Up) {
        let mut queue = lock(&self.queue);
        queue.ups.push_back(up);
        queue.prompt = true;
        self.bell.notify_all();
    }

    /// False once nobody listens any more.
    fn push_event(&self, event: Event, prompt: bool) -> bool {
        let mut queue = lock(&self.queue);
        if queue.closed {
            return false;
        }
        match queue.ups.back_mut() {
            Some(Up::Events(events)) => events.push(event),
            _ => queue.ups.push_back(Up::Events(vec![event])),
        }
        queue.events += 1;
        if queue.events > PENDING {
            queue.shed();
        }
        queue.prompt |= prompt;
        // Numbers alone ring only when the queue was empty: the pump then sleeps out its interval by the clock.
        if prompt || queue.events == 1 {
            self.bell.notify_all();
        }
        true
    }

    /// From now on a person sits at this end.
    pub fn watched(&self) {
        lock(&self.queue).person = true;
    }

    pub fn is_person(&self) -> bool {
        lock(&self.queue).person
    }

    pub fn close(&self) {
        lock(&self.queue).closed = true;
        self.bell.notify_all();
    }

    /// Empties the queue into `out` until it is closed or `out` fails. Runs on a thread of its own.
    pub fn pump(&self, mut out: impl FnMut(Up) -> bool) {
        let mut last: Option<Instant> = None;
        while let Some(batch) = self.next(last) {
            for up in batch {
                if !out(up) {
                    self.close();
                    return;
                }
            }
            last = Some(Instant::now());
        }
    }

    fn next(&self, last: Option<Instant>) -> Option<VecDeque<Up>> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.ups.is_empty() {
                if queue.closed {
                    return None;
                }
                queue = self.bell.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            }
            let interval = if queue.prompt { PROMPT } else { INTERVAL };
            let rest = last.map_or(Duration::ZERO, |at| interval.saturating_sub(at.elapsed()));
            if rest.is_zero() || queue.closed {
                queue.prompt = false;
                queue.events = 0;
                return Some(std::mem::take(&mut queue.ups));
            }
            queue = self.bell.wait_timeout(queue, rest).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

impl Queue {
    /// Leaves out the numbers that wait; if even the rest is too much, nobody reads it: close.
    fn shed(&mut self) {
        for up in &mut self.ups {
            if let Up::Events(events) = up {
                events.retain(|e| !matches!(e.report, Report::Values(_) | Report::Progress { .. } | Report::Token(_)));
            }
        }
        self.events = self.ups.iter().map(|up| if let Up::Events(events) = up { events.len() } else { 0 }).sum();
        self.closed |= self.events > PENDING / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{JobState, Values};

    fn event(job: u64, seq: u64, report: Report) -> Event {
        Event { job: JobId(job), seq, at_ms: 0, report }
    }

    fn started(job: u64) -> Event {
        event(job, 0, Report::Started { kind: "k".into(), title: "t".into(), run: None })
    }

    fn values(seq: u64) -> Event {
        event(1, seq, Report::Values(Values { step: seq, values: vec![("x".into(), 1.0)] }))
    }

    #[test]
    fn a_subscriber_that_never_reads_loses_numbers_and_keeps_the_rest_in_order() {
        let fan = Fan::default();
        let subscriber = fan.subscribe(Up::Bye);
        fan.publish(started(1));
        for seq in 1..=PENDING as u64 + 10 {
            fan.publish(values(seq));
        }
        fan.publish(event(1, 99_999, Report::finished(false, "")));
        let ups = subscriber.next(None).unwrap();
        let events: Vec<Event> = ups.into_iter().filter_map(|u| if let Up::Events(e) = u { Some(e) } else { None }).flatten().collect();
        assert!(events.len() < 100, "{}", events.len());
        assert!(matches!(events[0].report, Report::Started { .. }));
        assert!(events.last().unwrap().report.is_end());
    }

    #[test]
    fn a_late_subscriber_is_told_how_things_stand() {
        let fan = Fan::default();
        fan.publish(started(1));
        fan.publish(event(1, 1, Report::State { state: JobState::Waiting, why: "busy".into() }));
        fan.publish(event(1, 2, Report::State { state: JobState::Running, why: String::new() }));
        fan.publish(values(3));
        fan.publish(started(2));
        fan.publish(event(2, 1, Report::finished(false, "ok")));
        let subscriber = fan.subscribe(Up::Bye);
        let ups = subscriber.next(None).unwrap();
        let events: Vec<(u64, u64)> = ups
            .into_iter()
            .filter_map(|u| if let Up::Events(e) = u { Some(e) } else { None })
            .flatten()
            .map(|e| (e.job.0, e.seq))
            .collect();
        assert_eq!(events, [(1, 0), (1, 2), (2, 0), (2, 1)]);
    }

    #[test]
    fn ended_jobs_do_not_pile_up() {
        let fan = Fan::default();
        for job in 0..100 {
            fan.publish(started(job));
            fan.publish(event(job, 1, Report::finished(false, "")));
        }
        assert_eq!(lock(&fan.inner).heads.len(), ENDED);
    }
}
