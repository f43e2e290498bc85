//! The way of bytes to the terminal: a thread of its own writes them, so that a line that does not drain never holds up
//! keys. At most one frame is on its way; while it is, no other is drawn. Deliberately not here: what the bytes are.

use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the writing thread tells.
pub enum Drained {
    /// All that was handed over has left, at this moment.
    At(Instant),
    /// The terminal takes nothing any more.
    Gone,
}

/// When a write that began and ended then was on the terminal. A line that takes the bytes at once shows them before
/// this thread has its next turn, and an answer may be quicker than that: the beginning counts. On one that stood still
/// nobody saw anything before the end.
fn moment(began: Instant, ended: Instant) -> Instant {
    const AT_ONCE: Duration = Duration::from_millis(100);
    if ended - began < AT_ONCE { began } else { ended }
}

/// The handing-over end.
pub struct Outlet {
    queue: Sender<Vec<u8>>,
    pending: Arc<Pending>,
    handed: u64,
}

#[derive(Default)]
struct Pending {
    bytes: Mutex<usize>,
    bell: Condvar,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet {
    /// Writes to `out` on a thread of its own; `tell` hears when nothing is on its way any more.
    pub fn spawn(mut out: impl Write + Send + 'static, tell: impl Fn(Drained) + Send + 'static) -> io::Result<Self> {
        let (queue, chunks) = channel::<Vec<u8>>();
        let pending = Arc::new(Pending::default());
        let left = pending.clone();
        std::thread::Builder::new().name("terminal".into()).spawn(move || {
            let mut gone = false;
            for chunk in chunks {
                let began = Instant::now();
                // After a hang-up every write fails; what comes is counted as gone all the same.
                if !gone && out.write_all(&chunk).and_then(|()| out.flush()).is_err() {
                    gone = true;
                    tell(Drained::Gone);
                }
                let mut bytes = left.lock();
                *bytes -= chunk.len();
                let empty = *bytes == 0;
                drop(bytes);
                if empty {
                    left.bell.notify_all();
                    tell(Drained::At(moment(began, Instant::now())));
                }
            }
        })?;
        Ok(Self { queue, pending, handed: 0 })
    }

    /// Whether all that was handed over has left.
    pub fn is_empty(&self) -> bool {
        *self.pending.lock() == 0
    }

    /// How many bytes were handed over so far.
    pub fn handed(&self) -> u64 {
        self.handed
    }

    /// Waits until all has left, but no longer than this: then somebody else may write to the terminal.
    pub fn settle(&self, patience: Duration) {
        let bytes = self.pending.lock();
        let _ = self.pending.bell.wait_timeout_while(bytes, patience, |bytes| *bytes > 0);
    }
}

impl Write for Outlet {
    /// Never waits.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.handed += bytes.len() as u64;
            *self.pending.lock() += bytes.len();
            self.queue.send(bytes.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that takes a chunk whenever it is let to.
    struct Stalled(std::sync::mpsc::Receiver<()>, Sender<Vec<u8>>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_never_waits_and_tells_when_all_has_left_or_the_terminal_is_gone() {
        let (let_go, may) = channel();
        let (taken, wrote) = channel();
        let (tell, told) = channel();
        let mut outlet = Outlet::spawn(Stalled(may, taken), move |d| drop(tell.send(d))).unwrap();
        assert!(outlet.is_empty());
        outlet.write_all(b"frame").unwrap();
        assert!(!outlet.is_empty());
        outlet.settle(Duration::from_millis(5));
        assert!(!outlet.is_empty(), "it stands still");
        let_go.send(()).unwrap();
        assert_eq!(wrote.recv().unwrap(), b"frame");
        assert!(matches!(told.recv().unwrap(), Drained::At(_)));
        outlet.settle(Duration::from_secs(60));
        assert!(outlet.is_empty());
        drop(let_go);
        outlet.write_all(b"more").unwrap();
        assert!(matches!(told.recv().unwrap(), Drained::Gone));
    }
}
