//! Random streams by seed and name, the same on every device and resumable from their saved state.
//! Deliberately not here: any source of entropy; a seed comes from the recipe or from the person.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// A stream of random numbers: xoshiro256++, seeded from a number and a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// Streams of one seed and different names are independent (FNV-1a of the name, mixed by SplitMix64).
    pub fn new(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        Self(Xoshiro256PlusPlus::seed_from_u64(seed ^ hash.rotate_left(17)))
    }
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
    /// Uniform in `[0, 1)`, 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Uniform in `0..n`; 0 for `n == 0`. Unbiased (Lemire's multiplication with rejection).
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            if (wide as u64) >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }
    /// Standard normal, by Box and Muller's transform; two draws a value, so the stream has no hidden state.
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_goes_on_from_its_saved_state() {
        let mut stream = Stream::new(7, "data");
        for _ in 0..5 {
            stream.next_u64();
        }
        let saved = serde_json::to_string(&stream).unwrap();
        let mut again: Stream = serde_json::from_str(&saved).unwrap();
        assert_eq!((0..9).map(|_| stream.next_u64()).collect::<Vec<_>>(), (0..9).map(|_| again.next_u64()).collect::<Vec<_>>());
    }

    #[test]
    fn names_give_different_streams_and_below_covers_its_range() {
        assert_ne!(Stream::new(1, "a").next_u64(), Stream::new(1, "b").next_u64());
        let mut stream = Stream::new(3, "x");
        let mut seen = [0; 6];
        for _ in 0..6000 {
            seen[stream.below(6) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
    }

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        let mut stream = Stream::new(11, "n");
        let draws: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}
