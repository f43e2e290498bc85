//! Lanes: the CPU's threads share a micro-batch by its rows. Each lane goes forward and back over its rows with
//! threads of its own, so that the threads meet once a micro-batch and not once an operation.
//! Deliberately not here: what is done in a lane (`drive`) and how gradients are added up (`gather`).

use candle_core::Device;

/// Pools of threads, one a lane; none where a micro-batch stays whole.
pub struct Lanes {
    pools: Vec<rayon::ThreadPool>,
}

/// Floating-point operations of a micro-batch below which the threads' meeting costs more than it saves.
const SMALL: f64 = 1e8;

/// How many lanes serve micro-batches of `rows` rows and `flops` operations: as many as threads, but none without a row.
/// What is summed depends on it, so that it follows from the recipe and the number of threads alone.
pub fn count(threads: usize, rows: usize, flops: f64) -> usize {
    if flops < SMALL { 1 } else { threads.min(rows).max(1) }
}

/// Threads that compute on the CPU.
pub fn threads() -> usize {
    let wanted = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

impl Lanes {
    /// Lanes for a training on this device; their threads give way as much as the calling thread.
    pub fn new(device: &Device, threads: usize, rows: usize, flops: f64) -> Self {
        let lanes = if device.is_cpu() { count(threads, rows, flops) } else { 1 };
        if lanes < 2 {
            return Self { pools: Vec::new() };
        }
        let pool = |lane: usize| {
            let threads = threads / lanes + usize::from(lane < threads % lanes);
            // A panic in a thread of the engine becomes a failed job: it is known by the name's beginning.
            let named = rayon::ThreadPoolBuilder::new().thread_name(move |i| format!("weightroom-lane-{lane}-{i}"));
            named.num_threads(threads).build()
        };
        // Where the system gives no more threads, those of the common pool do all.
        Self { pools: (0..lanes).map(pool).collect::<Result<_, _>>().unwrap_or_default() }
    }

    /// At least one.
    pub fn count(&self) -> usize {
        self.pools.len().max(1)
    }

    /// Does `work` for each part, at the same time, and gives the results in the order of the parts. With more parts
    /// than lanes some lanes do several.
    pub fn run<T: Send, R: Send>(&self, parts: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
        if self.pools.is_empty() || parts.len() < 2 {
            return parts.into_iter().map(work).collect();
        }
        let mut results: Vec<Option<R>> = parts.iter().map(|_| None).collect();
        let jobs: Vec<(T, &mut Option<R>)> = parts.into_iter().zip(&mut results).collect();
        spread(&self.pools, jobs, &work);
        results.into_iter().flatten().collect()
    }
}

/// Starts every job in its pool and waits for all: each pool's scope stands in that of the pool before it.
fn spread<T: Send, R: Send>(pools: &[rayon::ThreadPool], jobs: Vec<(T, &mut Option<R>)>, work: &(impl Fn(T) -> R + Sync)) {
    let Some((pool, pools)) = pools.split_first() else { return };
    let share = jobs.len().div_ceil(pools.len() + 1);
    let mut own = jobs;
    let others = own.split_off(share);
    pool.in_place_scope(|scope| {
        scope.spawn(|_| own.into_iter().for_each(|(part, result)| *result = Some(work(part))));
        spread(pools, others, work);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_follow_from_threads_rows_and_work() {
        assert_eq!(count(2, 12, 1e9), 2);
        assert_eq!(count(64, 12, 1e9), 12);
        assert_eq!(count(8, 1, 1e9), 1);
        assert_eq!(count(2, 12, 1e6), 1);
    }

    #[test]
    fn every_part_is_done_once_in_its_place() {
        for threads in [1, 2, 3, 5] {
            let lanes = Lanes::new(&Device::Cpu, threads, 100, 1e9);
            assert_eq!(lanes.count(), threads);
            for n in [0, 1, 2, 3, 7] {
                assert_eq!(lanes.run((0..n).collect(), |i| (i, i * i)), (0..n).map(|i| (i, i * i)).collect::<Vec<_>>());
            }
        }
        // Each lane's threads are its own.
        let lanes = Lanes::new(&Device::Cpu, 5, 2, 1e9);
        assert_eq!(lanes.run(vec![0, 1], |_| rayon::current_num_threads()), [3, 2]);
    }

    #[test]
    fn a_panic_in_a_lane_reaches_the_caller() {
        let lanes = Lanes::new(&Device::Cpu, 2, 2, 1e9);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lanes.run(vec![0, 1], |i| assert_ne!(i, 1, "one"))));
        assert!(result.is_err());
    }
}
