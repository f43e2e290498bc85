//! What the terminal has shown: each frame ends with a request for the terminal's status, and the reply says that the
//! terminal has come so far. Between us and it may stand megabytes of a slow line's buffers, which a write that has
//! returned says nothing about. Deliberately not here: what is drawn when, and how replies are read (`input`).

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What asks (DSR); every terminal in use answers `CSI 0 n`.
pub const ASK: &[u8] = b"\x1b[5n";
/// How long the first reply is waited for. A terminal that is silent for so long is not asked again.
const FIRST: Duration = Duration::from_secs(1);
/// How long the reply of a terminal that has answered before is waited for: the time of several large frames on a line of
/// 5 KB a second. Doubles each time that it was too short.
const LOST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(60);

/// What is known of the terminal; shared by the thread that draws and the one that reads.
pub struct Pulse {
    inner: Mutex<Inner>,
    bell: Condvar,
}

struct Inner {
    due: VecDeque<Due>,
    /// Whether it is asked at all.
    asks: bool,
    /// Whether it has ever answered.
    answers: bool,
    patience: Duration,
}

/// A request without a reply.
struct Due {
    asked: Instant,
    /// When the line was last seen to move since: its time is counted from then.
    moved: Instant,
}

impl Pulse {
    /// `asks`: false for a terminal that is known to answer nothing.
    pub fn new(asks: bool) -> Self {
        let inner = Inner { due: VecDeque::new(), asks, answers: false, patience: LOST };
        Self { inner: Mutex::new(inner), bell: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that is about to be written; none is to be written where this is false.
    pub fn ask(&self, now: Instant) -> bool {
        let mut inner = self.lock();
        if inner.asks {
            inner.due.push_back(Due { asked: now, moved: now });
        }
        inner.asks
    }

    /// All that was written has left this machine's buffers: the time of what is due begins.
    pub fn left(&self, now: Instant) {
        self.lock().due.iter_mut().for_each(|due| due.moved = now);
    }

    /// A reply was read: all that was written until the moment that comes back has been shown. None where no reply was
    /// waited for.
    pub fn answered(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.lock();
        // One that had been given up was only slow: it is asked from now on.
        (inner.answers, inner.asks) = (true, true);
        let shown = inner.due.pop_front().map(|due| due.asked);
        // The line moves, so the next reply has its whole time.
        inner.due.iter_mut().for_each(|due| due.moved = now);
        self.bell.notify_all();
        shown
    }

    /// Whether what a person waits for may be written now: behind one frame that is not seen yet it comes no later than
    /// if it waited for that one. Nothing holds it up on a terminal that has yet to answer for the first time.
    pub fn lets_through(&self) -> bool {
        let inner = self.lock();
        inner.due.len() < 2 || !inner.answers
    }

    /// Requests without a reply.
    pub fn due(&self) -> usize {
        self.lock().due.len()
    }

    /// How much longer the oldest request without a reply is waited for; none where nothing is due.
    pub fn patience(&self, now: Instant) -> Option<Duration> {
        let inner = self.lock();
        let patience = if inner.answers { inner.patience } else { FIRST };
        inner.due.front().map(|due| (due.moved + patience).saturating_duration_since(now))
    }

    /// Waits no longer for what is due: frames go on without, and a terminal that never answered is not asked again.
    pub fn give_up(&self) {
        let mut inner = self.lock();
        inner.due.clear();
        if inner.answers {
            inner.patience = (inner.patience * 2).min(LONGEST);
        } else {
            inner.asks = false;
        }
        self.bell.notify_all();
    }

    /// The terminal was in other hands, or is gone: no reply is due any more.
    pub fn forget(&self) {
        self.lock().due.clear();
        self.bell.notify_all();
    }

    /// Waits until every reply is read, but no longer than this: one that comes when the terminal has been given back
    /// would look like typed.
    pub fn settle(&self, patience: Duration) {
        let patience = self.patience(Instant::now()).map_or(patience, |left| left.min(patience));
        let inner = self.lock();
        let _ = self.bell.wait_timeout_while(inner, patience, |inner| !inner.due.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_never_answers_is_asked_for_a_second_and_one_that_was_only_slow_from_then_on() {
        let (pulse, now) = (Pulse::new(true), Instant::now());
        assert_eq!(pulse.patience(now), None);
        assert!(pulse.ask(now) && pulse.ask(now));
        assert_eq!((pulse.due(), pulse.patience(now)), (2, Some(FIRST)));
        assert!(pulse.lets_through());
        assert_eq!(pulse.patience(now + 2 * FIRST), Some(Duration::ZERO));
        pulse.give_up();
        assert_eq!((pulse.due(), pulse.ask(now)), (0, false));
        assert_eq!(pulse.answered(now), None);
        assert!(pulse.ask(now));
        assert_eq!(pulse.patience(now), Some(LOST));
        assert!(!Pulse::new(false).ask(now));
    }

    #[test]
    fn a_lost_reply_costs_its_time_and_a_line_that_moves_has_more() {
        let (pulse, now) = (Pulse::new(true), Instant::now());
        pulse.ask(now);
        assert_eq!(pulse.answered(now + FIRST), Some(now), "what was written until it was asked");
        assert_eq!(pulse.answered(now + FIRST), None);
        assert_eq!(pulse.due(), 0, "one that nobody asked for");
        pulse.ask(now);
        assert!(pulse.lets_through());
        pulse.ask(now + FIRST);
        assert!(!pulse.lets_through());
        pulse.left(now + LOST);
        assert_eq!(pulse.answered(now + 2 * LOST), Some(now));
        assert_eq!((pulse.due(), pulse.patience(now + 2 * LOST)), (1, Some(LOST)));
        pulse.give_up();
        assert!(pulse.ask(now));
        assert_eq!(pulse.patience(now), Some(2 * LOST));
        pulse.forget();
        assert_eq!(pulse.due(), 0);
        // Nothing is due: it does not wait.
        pulse.settle(Duration::from_secs(600));
    }
}
