//! Near duplicates: MinHash signatures of each row's shingles, rows brought together by bands of them (LSH), and every
//! pair that is brought together compared exactly.
//! Deliberately not here: reading rows a second time for that comparison; who calls does it.
//!
//! Broder 1997 (the resemblance of documents); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4. With 12
//! bands of 5 values a pair of resemblance 0.8 is brought together with probability 0.992, one of 0.7 with 0.89, and one
//! of 0.1 with 0.0001.

use super::words::mix;

/// Rows are near duplicates from this share of common shingles on.
pub const THRESHOLD: f64 = 0.7;
pub const BANDS: usize = 12;
const ROWS: usize = 5;
/// Values of a signature, filled up to whole vectors.
const VALUES: usize = 64;

/// What a row is brought together by: one number a band.
pub type Bands = [u32; BANDS];

/// The constants of the hash functions: odd factors and summands, the same for ever.
struct Functions {
    factors: [u32; VALUES],
    summands: [u32; VALUES],
}

const FUNCTIONS: Functions = {
    let (mut factors, mut summands) = ([0; VALUES], [0; VALUES]);
    let mut state = 0x1234_5678_9abc_def0u64;
    let mut i = 0;
    while i < VALUES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        factors[i] = (state >> 32) as u32 | 1;
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        summands[i] = (state >> 32) as u32;
        i += 1;
    }
    Functions { factors, summands }
};

/// The bands of a set of shingles; none for a set without any.
pub fn bands(shingles: impl Iterator<Item = u64>) -> Option<Bands> {
    let mut hashes: Vec<u32> = shingles.map(|hash| (hash >> 32) as u32 ^ hash as u32).collect();
    if hashes.is_empty() {
        return None;
    }
    hashes.sort_unstable();
    hashes.dedup();
    let mut least = [u32::MAX; VALUES];
    fold(&hashes, &mut least);
    let mut bands = [0; BANDS];
    for (band, values) in bands.iter_mut().zip(least.chunks_exact(ROWS)) {
        let hash = values.iter().fold(0u64, |hash, v| mix(hash ^ u64::from(*v)));
        *band = hash as u32;
    }
    Some(bands)
}

fn fold(hashes: &[u32], least: &mut [u32; VALUES]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { fold_avx2(hashes, least) };
    }
    fold_plain(hashes, least);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fold_avx2(hashes: &[u32], least: &mut [u32; VALUES]) {
    fold_plain(hashes, least);
}

#[inline(always)]
fn fold_plain(hashes: &[u32], least: &mut [u32; VALUES]) {
    for hash in hashes {
        for ((least, factor), summand) in least.iter_mut().zip(&FUNCTIONS.factors).zip(&FUNCTIONS.summands) {
            // The upper bits of a product are the well mixed ones, and they decide which value is the least.
            *least = (*least).min(hash.wrapping_mul(*factor).wrapping_add(*summand));
        }
    }
}

/// Sets of rows that belong together.
pub struct Groups {
    parent: Vec<u32>,
}

impl Groups {
    pub fn new(rows: usize) -> Self {
        Self { parent: (0..rows as u32).collect() }
    }

    /// The least row of the set that this one is in.
    pub fn of(&mut self, row: u32) -> u32 {
        let mut root = row;
        while self.parent[root as usize] != root {
            let up = self.parent[root as usize];
            self.parent[root as usize] = self.parent[up as usize];
            root = up;
        }
        root
    }

    pub fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.of(a), self.of(b));
        self.parent[a.max(b) as usize] = a.min(b);
    }
}

/// How many rows of one band's value are compared with its first: more of them are a boilerplate, whose members mostly
/// meet in other bands too.
const COMPARED: usize = 64;

/// The pairs that a band brings together and that are not of one group yet, each with its lesser row first. `members`
/// are places in `bands`.
pub fn pairs(bands: &[Bands], band: usize, members: &[u32], groups: &mut Groups) -> Vec<(u32, u32)> {
    let mut order: Vec<(u32, u32)> = members.iter().map(|i| (bands[*i as usize][band], *i)).collect();
    order.sort_unstable();
    let mut out = Vec::new();
    for together in order.chunk_by(|a, b| a.0 == b.0) {
        // Each with the first, and with its neighbour: a group that hangs together is found, and the work grows with its rows alone.
        for (i, (_, row)) in together.iter().enumerate().skip(1) {
            let mut with = |other: u32| {
                if groups.of(*row) != groups.of(other) {
                    out.push((other.min(*row), other.max(*row)));
                }
            };
            if i <= COMPARED {
                with(together[0].1);
            }
            if i > 1 {
                with(together[i - 1].1);
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

#[cfg(test)]
mod tests {
    use super::super::words::{jaccard, shingles, words};
    use super::*;

    #[test]
    fn the_chance_to_meet_grows_with_the_resemblance() {
        let mut random = crate::rng::Stream::new(5, "similar");
        let mut meets = |share: f64| {
            let tried = 300;
            let met = (0..tried).filter(|_| {
                let common: Vec<u64> = (0..100).map(|_| random.below(u64::MAX)).collect();
                // |A∩B| / |A∪B| = share, with 100 in common.
                let own = (100.0 * (1.0 - share) / share / 2.0).round() as u64;
                let mut set = || bands(common.iter().copied().chain((0..own).map(|_| random.below(u64::MAX)).collect::<Vec<_>>())).unwrap();
                let (a, b) = (set(), set());
                a.iter().zip(&b).any(|(a, b)| a == b)
            });
            met.count() as f64 / f64::from(tried)
        };
        let (near, half, far) = (meets(0.8), meets(0.5), meets(0.1));
        assert!(near > 0.97 && (0.15..0.55).contains(&half) && far < 0.02, "{near} {half} {far}");
    }

    #[test]
    fn pairs_and_groups() {
        let set = |text: &str| {
            let mut found = Vec::new();
            words(text, &mut found);
            shingles(&found)
        };
        let texts = ["a b c d e f g h", "x y z", "a b c d e f g h", "a b c d e f g h"];
        let all: Vec<Bands> = texts.iter().map(|t| bands(set(t).into_iter()).unwrap()).collect();
        let mut groups = Groups::new(4);
        let found = pairs(&all, 0, &[0, 1, 2, 3], &mut groups);
        assert_eq!(found, [(0, 2), (0, 3), (2, 3)]);
        groups.join(2, 0);
        groups.join(3, 2);
        assert_eq!((0..4).map(|i| groups.of(i)).collect::<Vec<_>>(), [0, 1, 0, 0]);
        assert!(pairs(&all, 1, &[0, 1, 2, 3], &mut groups).is_empty());
        assert!(bands(std::iter::empty()).is_none() && jaccard(&set(texts[0]), &set(texts[2])) == 1.0);
    }
}
