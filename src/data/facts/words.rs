//! Words of a text as numbers, and what runs of them hash to: the one notion of sameness that duplicates, overlaps and
//! frequent phrases share.
//! Deliberately not here: what is done with them.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A word: its hash, and where it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    pub hash: u64,
    pub start: u32,
    pub end: u32,
}

/// Words of a shingle.
pub const SHINGLE: usize = 3;
/// Words of a run that two texts share by chance hardly ever (Brown et al. 2020, appendix C).
pub const RUN: usize = 13;

/// The words of a text: letters and digits without regard to case; of scripts that write no blanks, each character.
pub fn words(text: &str, out: &mut Vec<Word>) {
    out.clear();
    let (mut hash, mut start) = (0u64, None);
    for (at, c) in text.char_indices() {
        if at > u32::MAX as usize - 8 {
            break;
        }
        let end = |out: &mut Vec<Word>, start: &mut Option<u32>, hash: u64| {
            if let Some(start) = start.take() {
                out.push(Word { hash: mix(hash), start, end: at as u32 });
            }
        };
        if is_alone(c) {
            end(out, &mut start, hash);
            out.push(Word { hash: mix(step(0, c)), start: at as u32, end: (at + c.len_utf8()) as u32 });
        } else if c.is_alphanumeric() {
            if start.is_none() {
                (start, hash) = (Some(at as u32), 0);
            }
            if c.is_ascii() {
                hash = step(hash, c.to_ascii_lowercase());
            } else {
                c.to_lowercase().for_each(|c| hash = step(hash, c));
            }
        } else {
            end(out, &mut start, hash);
        }
    }
    if let Some(start) = start {
        out.push(Word { hash: mix(hash), start, end: text.len().min(u32::MAX as usize) as u32 });
    }
}

/// Whether a character is a word by itself: Thai, Lao, Khmer, kana, Han.
fn is_alone(c: char) -> bool {
    matches!(c as u32, 0xe00..=0xeff | 0x1780..=0x17ff | 0x3041..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff)
}

fn step(hash: u64, c: char) -> u64 {
    (hash.rotate_left(5) ^ u64::from(c as u32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Spreads a number over all its bits (splitmix64).
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The hash of a run of words, in order.
pub fn run(words: &[Word]) -> u64 {
    mix(words.iter().fold(words.len() as u64, |hash, word| hash.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word.hash))
}

/// The hashes of all runs of `n` words; of a shorter text, of all it has.
pub fn runs(words: &[Word], n: usize) -> impl Iterator<Item = u64> + '_ {
    words.windows(n.min(words.len()).max(1)).map(run)
}

/// The shingles of a text as a set: sorted, each once.
pub fn shingles(words: &[Word]) -> Vec<u64> {
    let mut set: Vec<u64> = runs(words, SHINGLE).collect();
    set.sort_unstable();
    set.dedup();
    set
}

/// The share of two sets' members that are in both (Jaccard); 1 for two empty ones.
pub fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0usize);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, both) = (i + 1, j + 1, both + 1),
        }
    }
    let all = a.len() + b.len() - both;
    if all == 0 { 1.0 } else { both as f64 / all as f64 }
}

/// A hash of texts that are the same to the last byte, part by part.
pub fn exact<'a>(parts: impl Iterator<Item = &'a str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.for_each(|part| part.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<Word> {
        let mut out = Vec::new();
        words(text, &mut out);
        out
    }

    #[test]
    fn words_are_found_whatever_the_case_and_the_script() {
        let text = "Über  die BRÜCKE, 3x: 漢字かな!";
        let found: Vec<&str> = of(text).iter().map(|w| &text[w.start as usize..w.end as usize]).collect();
        assert_eq!(found, ["Über", "die", "BRÜCKE", "3x", "漢", "字", "か", "な"]);
        let hashes = |text: &str| of(text).iter().map(|w| w.hash).collect::<Vec<_>>();
        assert_eq!(hashes("über DIE brücke 3X"), hashes(text)[..4]);
        assert_ne!(hashes("ab"), hashes("ba"));
    }

    #[test]
    fn sets_are_compared_by_their_shares() {
        let set = |text: &str| shingles(&of(text));
        assert_eq!(set("a b c d e").len(), 3);
        assert_eq!((set("a b").len(), set("").len()), (1, 0));
        // Shingles abc bcd cde against abc bcd cdx: two of four.
        assert_eq!(jaccard(&set("a b c d e"), &set("A, b c d x")), 0.5);
        assert_eq!((jaccard(&set("a b c"), &set("a b c")), jaccard(&set("a"), &set("b")), jaccard(&[], &[])), (1.0, 0.0, 1.0));
        assert_ne!(exact(["ab", "c"].into_iter()), exact(["a", "bc"].into_iter()));
    }
}
