//! Starts a job and follows it to its end, on an engine of its own or on the project's; what Ctrl-C and a closed
//! terminal mean to it.
//! Deliberately not here: how its events are shown.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Failure;
use crate::engine::Handle;
use crate::engine::protocol::{Command, Up};
use crate::report::{Event, JobId, JobState, Report, Signal};
use crate::run::read::Tail;
use crate::spec::JobSpec;

/// How a job ended.
#[derive(Debug)]
pub struct End {
    pub summary: String,
    /// Whether a signal of this process stopped it.
    pub interrupted: bool,
}

/// Runs a job to its end on an engine of this process, handing every event of it to `each`.
pub fn follow(handle: &Handle, spec: JobSpec, each: impl FnMut(&Event) -> io::Result<()>) -> Result<End, Failure> {
    let end = Following::start(handle, spec, None, false)?.run(each);
    goodbye(handle);
    end
}

/// The same on the project's engine, which others use too: it is left running, and so is the job when this process
/// goes. With `asks`, on a terminal the first Ctrl-C asks and the second one stops the job.
pub fn follow_shared(
    handle: &Handle,
    project: &Path,
    asks: bool,
    spec: JobSpec,
    each: impl FnMut(&Event) -> io::Result<()>,
) -> Result<End, Failure> {
    Following::start(handle, spec, Some(project), asks && io::stderr().is_terminal())?.run(each)
}

/// Starts a job and returns as soon as it is sure that it will be done: the name of its run.
pub fn detach(handle: &Handle, spec: JobSpec, name: &str) -> Result<String, Failure> {
    // The person who asks for it is about to leave, and will want to know what happened meanwhile.
    handle.send(Command::Watch)?;
    let mut following = Following::start(handle, spec, None, false)?;
    let mut found = None;
    while found.is_none() {
        for event in following.next()? {
            match event.report {
                Report::Started { run: Some(run), .. } => found = Some(run),
                Report::State { state: JobState::Waiting, why } => {
                    // It has no directory yet, so that no other command knows it.
                    super::out::aside(&format!("{name} waits for its turn: {why}; weightroom stop {name} takes it out of the line"));
                    found = Some(name.to_string());
                }
                Report::Failed { cause, hint, log } => return Err(Failure::Failed(sentence(&cause, &hint, log.as_deref()))),
                _ => {}
            }
        }
    }
    Ok(found.unwrap_or_default())
}

/// A job that was asked for.
struct Following<'a> {
    handle: &'a Handle,
    interrupt: Interrupt,
    job: Option<JobId>,
    /// Of the project whose engine others use too.
    shared: Option<&'a Path>,
    run: Option<String>,
    /// Of the run's newest event.
    seq: Option<u64>,
    stopped: bool,
    asked: bool,
}

impl<'a> Following<'a> {
    fn start(handle: &'a Handle, spec: JobSpec, shared: Option<&'a Path>, asks: bool) -> Result<Self, Failure> {
        let interrupt = Interrupt::listen(asks)?;
        if asks {
            // Somebody looks on, until the terminal closes.
            handle.send(Command::Watch)?;
        }
        handle.start(TICKET, spec)?;
        Ok(Self { handle, interrupt, job: None, shared, run: None, seq: None, stopped: false, asked: false })
    }

    fn run(mut self, mut each: impl FnMut(&Event) -> io::Result<()>) -> Result<End, Failure> {
        let mut trouble: Option<io::Error> = None;
        let end = 'job: loop {
            if self.interrupt.hung_up.load(Ordering::Acquire) && self.shared.is_some() {
                // The terminal is gone; the job goes on in its engine.
                return Err(Failure::Interrupted);
            }
            if (self.wants_stop() || trouble.is_some())
                && let Some(job) = self.job.filter(|_| !self.stopped)
            {
                self.stopped = true;
                self.handle.signal(job, Signal::Stop)?;
            }
            for event in self.next()? {
                if trouble.is_none() {
                    trouble = each(&event).err();
                }
                if event.report.is_end() {
                    break 'job event.report;
                }
            }
            if self.shared.is_some()
                && let Some(error) = trouble
            {
                // Nobody reads any more; that is no reason to end what goes on without us.
                return Err(error.into());
            }
        };
        let interrupted = self.interrupt.stop.load(Ordering::Acquire);
        match (end, trouble) {
            (Report::Failed { cause, hint, log }, _) => Err(Failure::Failed(sentence(&cause, &hint, log.as_deref()))),
            (_, Some(error)) => Err(error.into()),
            (Report::Finished { summary, .. }, None) => Ok(End { summary, interrupted }),
            _ => Ok(End { summary: String::new(), interrupted }),
        }
    }

    /// Whether the person wants the job stopped; asks on the first Ctrl-C where there is somebody to ask.
    fn wants_stop(&mut self) -> bool {
        if self.interrupt.first.load(Ordering::Acquire) && !self.asked {
            self.asked = true;
            let name = self.run.clone().unwrap_or_else(|| "it".into());
            super::out::aside(&format!(
                "\nCtrl-C again saves {name} and stops it · to leave it running, close this terminal; weightroom attach {name} comes back"
            ));
        }
        self.interrupt.stop.load(Ordering::Acquire)
    }

    /// The job's events that have come, every one and in order; none after a short while without any.
    fn next(&mut self) -> Result<Vec<Event>, Failure> {
        let gone = || {
            Failure::Failed("the engine ended before the job; weightroom show tells what the run has saved, train --resume goes on".into())
        };
        let up = match self.handle.events().recv_timeout(Duration::from_millis(50)) {
            Ok(up) => up,
            Err(RecvTimeoutError::Timeout) => return Ok(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return Err(gone()),
        };
        match up {
            Up::Started { ticket: TICKET, job } => self.job = Some(job),
            Up::Refused { ticket: TICKET, why } => return Err(Failure::Failed(why)),
            Up::Bye => return Err(gone()),
            Up::Events(events) => {
                let mut out = Vec::new();
                let job = self.job;
                for event in events.into_iter().filter(|e| Some(e.job) == job) {
                    self.fill(&event, &mut out)?;
                    out.push(event);
                }
                return Ok(out);
            }
            _ => {}
        }
        Ok(Vec::new())
    }

    /// An engine never waits for a reader that lags, and leaves out what it does not take: the run's log has it.
    fn fill(&mut self, event: &Event, out: &mut Vec<Event>) -> Result<(), Failure> {
        if let Report::Started { run: Some(run), .. } = &event.report {
            self.run = Some(run.clone());
        } else if let (Some(run), Some(seq), Some(project)) = (&self.run, self.seq, self.shared)
            && event.seq > seq + 1
        {
            out.extend(missed(&project.join("runs").join(run), seq + 1, event.seq)?);
        }
        if self.run.is_some() {
            self.seq = Some(event.seq);
        }
        Ok(())
    }
}

/// What a run's log holds from event `from` to the one before `to`; waits a moment for what is on its way to the disk.
fn missed(run: &Path, from: u64, to: u64) -> Result<Vec<Event>, Failure> {
    let mut tail = Tail::open(run);
    let mut out: Vec<Event> = Vec::new();
    let until = Instant::now() + Duration::from_secs(10);
    while out.last().is_none_or(|e| e.seq + 1 < to) && Instant::now() < until {
        let events = tail.more().map_err(Failure::failed)?;
        if events.is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        out.extend(events.into_iter().filter(|e| (from..to).contains(&e.seq)));
    }
    Ok(out)
}

/// The one job that is asked for here.
const TICKET: u64 = 1;

/// Cause, remedy and log in one line.
fn sentence(cause: &str, hint: &str, log: Option<&std::path::Path>) -> String {
    let mut out = cause.to_string();
    if !hint.is_empty() && !cause.contains(hint) {
        out.push_str("; ");
        out.push_str(hint);
    }
    if let Some(log) = log {
        out.push_str(&format!(" (log: {})", log.display()));
    }
    out
}

/// Lets the engine's threads come to their ends, so that nothing is cut off when the process goes.
fn goodbye(handle: &Handle) {
    let until = Instant::now() + Duration::from_secs(2);
    if handle.send(Command::Shutdown).is_err() {
        return;
    }
    while Instant::now() < until {
        match handle.events().recv_timeout(Duration::from_millis(100)) {
            Ok(Up::Bye) | Err(RecvTimeoutError::Disconnected) => return,
            _ => {}
        }
    }
}

/// Signals that ask the process to end. What they ask for is heard here; one more than needed ends the process at
/// once, by the system's own way.
pub struct Interrupt {
    /// A first Ctrl-C, where the first one only asks.
    first: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    hung_up: Arc<AtomicBool>,
}

impl Interrupt {
    /// With `asks`, it takes two Ctrl-C to stop.
    pub fn listen(asks: bool) -> Result<Self, Failure> {
        let (first, stop, hung_up) = <(Arc<AtomicBool>, Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        first.store(!asks, Ordering::Release);
        let heard = Self { first: Arc::default(), stop, hung_up };
        // In this order: a signal finds the flags as the one before it left them, and sets its own only after the question.
        Self::on(SIGINT, &heard.stop, &first, &heard.stop)?;
        if asks {
            let flag = heard.first.clone();
            signal_hook::flag::register(SIGINT, first).and_then(|_| signal_hook::flag::register(SIGINT, flag)).map_err(refused)?;
        }
        let always = Arc::new(AtomicBool::new(true));
        Self::on(SIGTERM, &heard.stop, &always, &heard.stop)?;
        Self::on(SIGHUP, &heard.hung_up, &always, &heard.hung_up)?;
        signal_hook::flag::register(SIGHUP, if asks { heard.hung_up.clone() } else { heard.stop.clone() }).map_err(refused)?;
        Ok(heard)
    }

    /// A signal ends the process when `last` is set, and sets `flag` when `armed` is.
    fn on(signal: i32, last: &Arc<AtomicBool>, armed: &Arc<AtomicBool>, flag: &Arc<AtomicBool>) -> Result<(), Failure> {
        signal_hook::flag::register_conditional_default(signal, last.clone()).map_err(refused)?;
        let (armed, flag) = (armed.clone(), flag.clone());
        // SAFETY: the action only reads and writes atomics, which a signal handler may do.
        let done = unsafe {
            signal_hook::low_level::register(signal, move || {
                if armed.load(Ordering::Acquire) {
                    flag.store(true, Ordering::Release);
                }
            })
        };
        done.map(drop).map_err(refused)
    }
}

fn refused(error: io::Error) -> Failure {
    Failure::Failed(format!("signals cannot be received: {error}; end other programs"))
}
