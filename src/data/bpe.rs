//! Learning byte pairs: which two tokens to join next, from words and how often they occur (Sennrich et al. 2016).
//! Deliberately not here: cutting a text into words, and what becomes of the merges (`fresh`).

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

/// A token while it is learned: its spelling in the vocabulary and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub text: String,
    pub bytes: Arc<[u8]>,
}

/// What was learned: all tokens, the given ones first, and the merges that made the others, in order.
#[derive(Debug)]
pub struct Learned {
    pub symbols: Vec<Symbol>,
    pub merges: Vec<Merge>,
}

/// Two tokens that are joined, and how often they stood beside each other when they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    pub left: u32,
    pub right: u32,
    pub count: u64,
}

/// A word as ids of symbols, and how often the text has it.
pub type Word = (Vec<u32>, u64);

/// Joins the most frequent pair again and again, until there are `size` symbols or no pair occurs `least` times. Of pairs
/// that are equally frequent the one whose bytes are greater is taken, the left token compared first. `tell` hears every
/// merge and ends the work by returning false.
pub fn learn(symbols: Vec<Symbol>, words: Vec<Word>, size: usize, least: u64, mut tell: impl FnMut(&Learned) -> bool) -> Learned {
    let mut pairs = Pairs::new(words);
    let mut learned = Learned { symbols, merges: Vec::new() };
    let mut known: HashMap<String, u32> = learned.symbols.iter().enumerate().map(|(id, s)| (s.text.clone(), id as u32)).collect();
    let first: Vec<(u32, u32)> = pairs.counts.keys().copied().collect();
    let mut heap: BinaryHeap<Entry> = first.into_iter().map(|pair| pairs.entry(pair, &learned.symbols)).collect();
    while learned.symbols.len() < size {
        let Some(best) = heap.pop() else { break };
        let count = pairs.counts.get(&best.pair).copied().unwrap_or(0);
        if count < best.count {
            // Other merges took some of its places since it was put here.
            if count >= least {
                heap.push(Entry { count, ..best });
            }
            continue;
        }
        if count < least {
            break;
        }
        let (left, right) = best.pair;
        let text = format!("{}{}", learned.symbols[left as usize].text, learned.symbols[right as usize].text);
        // Two ways to one spelling are one token.
        let id = *known.entry(text.clone()).or_insert(learned.symbols.len() as u32);
        if id as usize == learned.symbols.len() {
            let bytes = [&*best.left, &*best.right].concat();
            learned.symbols.push(Symbol { text, bytes: bytes.into() });
        }
        learned.merges.push(Merge { left, right, count });
        for pair in pairs.join(best.pair, id) {
            heap.push(pairs.entry(pair, &learned.symbols));
        }
        if !tell(&learned) {
            break;
        }
    }
    learned
}

/// Words, how often each pair of neighbours stands in them, and in which.
struct Pairs {
    words: Vec<Word>,
    counts: HashMap<(u32, u32), u64>,
    places: HashMap<(u32, u32), Vec<u32>>,
}

impl Pairs {
    fn new(words: Vec<Word>) -> Self {
        let (mut counts, mut places) = (HashMap::new(), HashMap::<(u32, u32), Vec<u32>>::new());
        for (at, (word, count)) in words.iter().enumerate() {
            for pair in neighbours(word) {
                *counts.entry(pair).or_insert(0) += count;
                let list = places.entry(pair).or_default();
                if list.last() != Some(&(at as u32)) {
                    list.push(at as u32);
                }
            }
        }
        Self { words, counts, places }
    }

    fn entry(&self, pair: (u32, u32), symbols: &[Symbol]) -> Entry {
        let bytes = |id: u32| symbols[id as usize].bytes.clone();
        Entry { count: self.counts.get(&pair).copied().unwrap_or(0), left: bytes(pair.0), right: bytes(pair.1), pair }
    }

    /// Joins a pair wherever it stands; gives the pairs that there are more of now.
    fn join(&mut self, pair: (u32, u32), id: u32) -> Vec<(u32, u32)> {
        let mut more = Vec::new();
        for at in self.places.remove(&pair).unwrap_or_default() {
            let (word, count) = &mut self.words[at as usize];
            let joined = joined(word, pair, id);
            // A word can have lost the pair to an earlier merge.
            if joined.len() == word.len() {
                continue;
            }
            for old in neighbours(word) {
                if let Some(n) = self.counts.get_mut(&old) {
                    *n = n.saturating_sub(*count);
                }
            }
            for new in neighbours(&joined) {
                *self.counts.entry(new).or_insert(0) += *count;
                if new.0 == id || new.1 == id {
                    let list = self.places.entry(new).or_default();
                    if list.last() != Some(&at) {
                        list.push(at);
                    }
                    more.push(new);
                }
            }
            *word = joined;
        }
        self.counts.remove(&pair);
        more.sort_unstable();
        more.dedup();
        more
    }
}

fn neighbours(word: &[u32]) -> impl Iterator<Item = (u32, u32)> + '_ {
    word.windows(2).map(|w| (w[0], w[1]))
}

fn joined(word: &[u32], (left, right): (u32, u32), id: u32) -> Vec<u32> {
    let mut out = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        if word[at] == left && word.get(at + 1) == Some(&right) {
            out.push(id);
            at += 2;
        } else {
            out.push(word[at]);
            at += 1;
        }
    }
    out
}

/// A pair in the order in which pairs are taken.
struct Entry {
    count: u64,
    left: Arc<[u8]>,
    right: Arc<[u8]>,
    pair: (u32, u32),
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |e: &Self| (e.count, e.pair);
        self.count
            .cmp(&other.count)
            .then_with(|| self.left.cmp(&other.left))
            .then_with(|| self.right.cmp(&other.right))
            .then_with(|| key(self).cmp(&key(other)))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(text: &str) -> Vec<Symbol> {
        text.chars().map(|c| Symbol { text: c.into(), bytes: c.to_string().into_bytes().into() }).collect()
    }

    fn word(symbols: &[Symbol], text: &str, count: u64) -> Word {
        (text.chars().map(|c| symbols.iter().position(|s| s.text == c.to_string()).unwrap() as u32).collect(), count)
    }

    fn learnt(alphabet: &str, words: &[(&str, u64)], size: usize) -> Vec<String> {
        let symbols = symbols(alphabet);
        let words = words.iter().map(|(w, n)| word(&symbols, w, *n)).collect();
        let learned = learn(symbols, words, size, 2, |_| true);
        learned
            .merges
            .iter()
            .map(|m| format!("{} {}", learned.symbols[m.left as usize].text, learned.symbols[m.right as usize].text))
            .collect()
    }

    /// The example of Sennrich et al. 2016, with the greater pair taken of equals (st before es).
    #[test]
    fn the_papers_words_are_merged_as_in_the_paper() {
        let words = [("low", 5), ("lower", 2), ("widest", 3), ("newest", 6)];
        assert_eq!(learnt("lowerwidstn", &words, 17), ["s t", "e st", "o w", "l ow", "w est", "n e"]);
    }

    #[test]
    fn repeated_letters_are_joined_from_the_left_and_counted_right() {
        assert_eq!(learnt("a", &[("aaaaa", 3)], 9), ["a a", "aa aa", "aaaa a"]);
        // A pair that occurs once is left alone.
        assert!(learnt("ab", &[("ab", 1)], 9).is_empty());
    }

    /// The same by counting everything anew before each merge.
    #[test]
    fn the_counts_that_are_kept_are_those_of_counting_anew() {
        let mut random = 12_345u64;
        let mut next = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        for _ in 0..20 {
            let symbols = symbols("abc");
            let words: Vec<Word> = (0..30).map(|_| ((0..2 + next(9)).map(|_| next(3) as u32).collect(), 1 + next(5))).collect();
            let mut plain = words.clone();
            learn(symbols, words, 40, 2, |learned| {
                let merge = learned.merges[learned.merges.len() - 1];
                let mut counts: HashMap<(u32, u32), u64> = HashMap::new();
                for (word, n) in &plain {
                    neighbours(word).for_each(|pair| *counts.entry(pair).or_insert(0) += n);
                }
                let bytes = |id: u32| &learned.symbols[id as usize].bytes;
                let best = counts.iter().max_by_key(|((l, r), n)| (**n, bytes(*l).clone(), bytes(*r).clone())).unwrap();
                assert_eq!(*best.1, merge.count);
                let pair = (merge.left, merge.right);
                assert_eq!(counts[&pair], merge.count);
                let text = format!("{}{}", learned.symbols[pair.0 as usize].text, learned.symbols[pair.1 as usize].text);
                let id = learned.symbols.iter().position(|s| s.text == text).unwrap() as u32;
                plain.iter_mut().for_each(|(word, _)| *word = joined(word, pair, id));
                true
            });
        }
    }
}
