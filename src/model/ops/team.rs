//! Threads that stay with one pass of a model, so that its hundreds of short products need not wake them each: for the
//! length of the pass, workers of the pool look for tasks without sleeping.
//! Deliberately not here: the pool's own iterators, whose tasks they take too when there are none of the team.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// What a pass hands its tasks to. With nobody else there, the thread that hands them out does them all.
pub struct Team {
    /// The number of the job in the high half, of its next task in the low one.
    state: AtomicU64,
    /// The job: how many tasks, and what to call with what for each.
    count: AtomicUsize,
    call: AtomicUsize,
    with: AtomicUsize,
    /// Tasks that are done.
    done: AtomicUsize,
    over: AtomicBool,
}

/// No task to take: the job is being changed.
const CLOSED: u64 = 0xffff_ffff;
/// Looks for a task before the processor is offered to others.
const LOOKS: u32 = 4000;

/// Looks for a task of the team between two for one of the pool.
const OF_POOL: u32 = 32;

/// Makes sure that a task counts as done, and that a pass ends, whatever happens in it.
struct Always<'a>(&'a dyn Fn());
impl Drop for Always<'_> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Team {
    fn new() -> Self {
        Self {
            state: AtomicU64::new(CLOSED),
            count: AtomicUsize::new(0),
            call: AtomicUsize::new(0),
            with: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// Runs a pass with as many workers of the pool beside it as are free.
    pub fn during<R: Send>(pass: impl FnOnce(&Arc<Team>) -> R + Send) -> R {
        let team = Arc::new(Team::new());
        let helpers = rayon::current_num_threads().saturating_sub(1);
        rayon::scope(|scope| {
            let end = || team.over.store(true, Ordering::Release);
            let _over = Always(&end);
            for _ in 0..helpers {
                scope.spawn(|_| team.help());
            }
            pass(&team)
        })
    }

    /// Calls `task` for 0 to count, each once, on whoever is free; returns when all are done.
    pub fn run<F: Fn(usize) + Sync>(&self, count: usize, task: &F) {
        unsafe fn call<F: Fn(usize)>(task: *const (), i: usize) {
            // SAFETY: `run` gives its own task, which lives until all calls have returned.
            unsafe { (*task.cast::<F>())(i) }
        }
        if count <= 1 || count as u64 >= CLOSED {
            (0..count).for_each(task);
            return;
        }
        // All tasks of the job before are done; who still looks at it finds it closed, or is refused when it takes a task.
        let job = (self.state.load(Ordering::Relaxed) >> 32) + 1;
        self.state.store(job << 32 | CLOSED, Ordering::SeqCst);
        self.count.store(count, Ordering::Relaxed);
        self.call.store(call::<F> as *const () as usize, Ordering::Relaxed);
        self.with.store(std::ptr::from_ref(task).expose_provenance(), Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        self.state.store((job + 1) << 32, Ordering::SeqCst);
        while self.take() {}
        let mut looks = 0;
        while self.done.load(Ordering::Acquire) < count {
            wait(&mut looks);
        }
    }

    /// Does one task, if there is one.
    fn take(&self) -> bool {
        let state = self.state.load(Ordering::SeqCst);
        let next = state & CLOSED;
        let (count, call, with) = (self.count.load(Ordering::SeqCst), self.call.load(Ordering::SeqCst), self.with.load(Ordering::SeqCst));
        if next == CLOSED || next >= count as u64 {
            return false;
        }
        // Where the job was changed since, its number is another, and what was read of it is not used.
        if self.state.compare_exchange(state, state + 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return true;
        }
        let finished = || {
            self.done.fetch_add(1, Ordering::Release);
        };
        let _done = Always(&finished);
        // SAFETY: `run` stored both together, and does not return before this task is done.
        unsafe {
            let call: unsafe fn(*const (), usize) = std::mem::transmute(call as *const ());
            call(std::ptr::with_exposed_provenance(with), next as usize);
        }
        true
    }

    fn help(&self) {
        let mut looks = 0;
        while !self.over.load(Ordering::Acquire) {
            if self.take() {
                looks = 0;
                continue;
            }
            wait(&mut looks);
            // Operations that are not the team's share their work out by the pool, whose worker this is.
            if looks.is_multiple_of(OF_POOL) && rayon::yield_now() == Some(rayon::Yield::Executed) {
                looks = 0;
            }
        }
    }
}

fn wait(looks: &mut u32) {
    *looks += 1;
    if *looks > LOOKS {
        std::thread::yield_now();
    } else {
        spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_and_before_the_job_returns() {
        let sum: usize = Team::during(|team| {
            (0..2000)
                .map(|job| {
                    let counts: Vec<AtomicUsize> = (0..job % 9).map(|_| AtomicUsize::new(0)).collect();
                    team.run(counts.len(), &|i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                    counts.len()
                })
                .sum()
        });
        assert_eq!(sum, (0..2000).map(|job| job % 9).sum::<usize>());
    }

    #[test]
    fn a_broken_task_ends_the_pass_and_hangs_nobody() {
        let broken = std::panic::catch_unwind(|| Team::during(|team| team.run(8, &|i| assert!(i != 5, "broken"))));
        assert!(broken.is_err());
    }
}
