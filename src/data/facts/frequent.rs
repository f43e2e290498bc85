//! The most frequent of very many texts in bounded memory, by lossy counting (Manku and Motwani 2002): what is rare is
//! forgotten now and then, so that a count may be a little too small, and what is frequent is never missed.
//! Deliberately not here: what is counted.

use std::collections::HashMap;

/// Entries kept; forgetting begins beyond.
const KEPT: usize = 1 << 16;
/// Characters of a text that are kept to show it.
const SHOWN: usize = 120;

/// Counts by hash.
#[derive(Default)]
pub struct Frequent {
    counts: HashMap<u64, (u64, Box<str>)>,
    /// What counts at most so much is forgotten next.
    floor: u64,
}

impl Frequent {
    /// Counts a text, which is made only when it is new.
    pub fn add(&mut self, hash: u64, times: u64, text: impl FnOnce() -> String) {
        self.counts.entry(hash).or_insert_with(|| (0, text().chars().take(SHOWN).collect())).0 += times;
    }

    /// Takes over what another has counted, which must be in the same order at each repetition.
    pub fn merge(&mut self, other: Self) {
        for (hash, (times, text)) in other.counts {
            self.add(hash, times, || text.into());
        }
        while self.counts.len() > KEPT {
            self.floor += 1;
            let floor = self.floor;
            self.counts.retain(|_, (times, _)| *times > floor);
        }
    }

    /// The most frequent, most frequent first, of those that came more than once.
    pub fn top(&self, count: usize) -> Vec<(String, u64)> {
        let mut all: Vec<_> = self.counts.values().filter(|(times, _)| *times > 1).collect();
        all.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        all.into_iter().take(count).map(|(times, text)| (text.to_string(), *times)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequent_survive_what_is_forgotten() {
        let mut all = Frequent::default();
        for block in 0..40u64 {
            let mut part = Frequent::default();
            (0..10_000).for_each(|i| part.add(1000 + block * 10_000 + i, 1, || "rare".into()));
            part.add(1, 30, || "often".into());
            part.add(2, 20, || "less".into());
            all.merge(part);
        }
        assert!(all.counts.len() <= KEPT);
        assert_eq!(all.top(2), [("often".to_owned(), 1200), ("less".to_owned(), 800)]);
    }
}
