//! Byte-level byte pairs for the known patterns without the library: words cut by hand, merges by ids, words remembered.
//! Deliberately not here: any tokenizer for which that would not give exactly the library's ids; `Fast::new` gives none.

use super::{decoding, patterns};
use regex_syntax::hir::{Class, HirKind};
use serde_json::Value;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

/// How words are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Gpt2,
    /// cl100k and Llama-3, with three digits at once; Qwen, with one.
    Cl100k {
        digits: usize,
    },
}

/// An encoder for one tokenizer.
pub struct Fast {
    cut: Cut,
    /// What each character is.
    kinds: Vec<u8>,
    bytes: Box<[u32; 256]>,
    /// By two ids: the merge's place in the order, and what comes of it.
    merges: HashMap<u64, (u32, u32), Quick>,
    /// Words that are tokens as they stand, where those come before merges.
    whole: HashMap<Box<[u8]>, u32, Quick>,
    /// Only texts that composing leaves as they are, which is certain of ASCII.
    ascii_only: bool,
    /// What threads remember of words; one takes one, and puts it back.
    caches: Mutex<Vec<Cache>>,
}

type Cache = HashMap<Box<[u8]>, Box<[u32]>, Quick>;

/// Words that one thread remembers.
const REMEMBERED: usize = 1 << 16;
/// Longer words are not remembered; still longer ones are the library's, since merging takes time by their square.
const SHORT: usize = 48;
const LONG: usize = 512;

const LETTER: u8 = 1;
const NUMBER: u8 = 2;
const BLANK: u8 = 3;

impl Fast {
    /// None where a tokenizer is not of this kind.
    pub fn new(json: &Value) -> Option<Self> {
        let (model, cut) = (&json["model"], cut_of(&json["pre_tokenizer"])?);
        let ascii_only = match json["normalizer"]["type"].as_str() {
            None if json["normalizer"].is_null() => false,
            Some("NFC") => true,
            _ => return None,
        };
        let affixes = ["continuing_subword_prefix", "end_of_word_suffix"].iter().any(|k| model[*k].as_str().is_some_and(|s| !s.is_empty()));
        if model["type"] != "BPE" || affixes || !model["dropout"].is_null() {
            return None;
        }
        let vocab = model["vocab"].as_object()?;
        let id = |token: &str| vocab.get(token)?.as_u64().and_then(|id| u32::try_from(id).ok());
        let mut bytes = Box::new([0; 256]);
        for byte in 0..=255u8 {
            bytes[usize::from(byte)] = id(&decoding::char_of(byte).to_string())?;
        }
        let mut merges = HashMap::default();
        for (rank, merge) in model["merges"].as_array()?.iter().enumerate() {
            let (left, right) = match merge {
                Value::String(both) => both.split_once(' ')?,
                other => (other[0].as_str()?, other[1].as_str()?),
            };
            merges.insert(pair(id(left)?, id(right)?), (rank as u32, id(&format!("{left}{right}"))?));
        }
        let mut whole = HashMap::default();
        if model["ignore_merges"] == Value::Bool(true) {
            for (token, id) in vocab {
                // A token with a character outside of the byte alphabet can be no word.
                let bytes: Option<Vec<u8>> = token.chars().map(decoding::byte_of).collect();
                if let (Some(bytes), Some(id)) = (bytes, id.as_u64()) {
                    whole.insert(bytes.into(), u32::try_from(id).ok()?);
                }
            }
        }
        Some(Self { cut, kinds: kinds()?, bytes, merges, whole, ascii_only, caches: Mutex::default() })
    }

    /// Adds the ids of a text without added tokens; false, with nothing added, where it is not certain to be right here.
    /// `long` gives the ids of a word that is too long.
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>, long: impl Fn(&str) -> Option<Vec<u32>>) -> bool {
        if self.ascii_only && !text.is_ascii() {
            return false;
        }
        let before = ids.len();
        let mut cache = self.caches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let mut at = 0;
        let mut right = true;
        while at < text.len() {
            let end = at + self.word(&text[at..]);
            let word = &text[at..end];
            at = end;
            if word.len() > LONG {
                match long(word) {
                    Some(found) => ids.extend(found),
                    None => {
                        right = false;
                        break;
                    }
                }
                continue;
            }
            self.encode_word(word.as_bytes(), ids, &mut cache);
        }
        if !right {
            ids.truncate(before);
        }
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).push(cache);
        right
    }

    fn encode_word(&self, word: &[u8], ids: &mut Vec<u32>, cache: &mut Cache) {
        if let [byte] = word {
            return ids.push(self.bytes[usize::from(*byte)]);
        }
        if let Some(id) = self.whole.get(word) {
            return ids.push(*id);
        }
        if let Some(known) = cache.get(word) {
            return ids.extend_from_slice(known);
        }
        let from = ids.len();
        ids.extend(word.iter().map(|b| self.bytes[usize::from(*b)]));
        self.merge(ids, from);
        if word.len() <= SHORT {
            if cache.len() >= REMEMBERED {
                cache.clear();
            }
            cache.insert(word.into(), ids[from..].into());
        }
    }

    /// Merges what stands from `from` on: the earliest merge first, of equals the leftmost.
    fn merge(&self, ids: &mut Vec<u32>, from: usize) {
        let rank = |ids: &[u32], at: usize| match (ids.get(at), ids.get(at + 1)) {
            (Some(left), Some(right)) => self.merges.get(&pair(*left, *right)).copied().unwrap_or(NONE),
            _ => NONE,
        };
        // What each token and its right neighbour come to.
        let mut ranks: Vec<(u32, u32)> = (from..ids.len()).map(|at| rank(ids, at)).collect();
        while let Some((at, (best, into))) = ranks.iter().copied().enumerate().min_by_key(|(_, r)| r.0) {
            if best == NONE.0 {
                break;
            }
            ids[from + at] = into;
            ids.remove(from + at + 1);
            ranks.remove(at + 1);
            ranks[at] = rank(ids, from + at);
            if at > 0 {
                ranks[at - 1] = rank(ids, from + at - 1);
            }
        }
    }

    fn kind(&self, c: char) -> u8 {
        self.kinds[c as usize]
    }

    /// The length of the first word of a text, which is not empty.
    fn word(&self, text: &str) -> usize {
        let mut chars = text.chars();
        let Some(c) = chars.next() else { return text.len() };
        if c == '\''
            && let Some(n) = contraction(text, self.cut != Cut::Gpt2)
        {
            return n;
        }
        let rest = chars.as_str();
        let next = rest.chars().next();
        let next_kind = next.map(|c| self.kind(c));
        match self.cut {
            Cut::Gpt2 => match (self.kind(c), c, next, next_kind) {
                (BLANK, ' ', Some(_), Some(kind)) if kind != BLANK => 1 + self.run(rest, kind),
                (BLANK, ..) => self.blanks(text),
                (kind, ..) => self.run(text, kind),
            },
            Cut::Cl100k { digits } => match (self.kind(c), next_kind) {
                (LETTER, _) => self.run(text, LETTER),
                (NUMBER, _) => text.chars().take(digits).take_while(|c| self.kind(*c) == NUMBER).map(char::len_utf8).sum(),
                (_, Some(LETTER)) if c != '\r' && c != '\n' => c.len_utf8() + self.run(rest, LETTER),
                (BLANK, Some(kind)) if c == ' ' && kind == 0 => 1 + self.signs(rest),
                (BLANK, _) => {
                    let run = self.run(text, BLANK);
                    match text[..run].rfind(['\r', '\n']) {
                        Some(last) => last + 1,
                        None => self.blanks(text),
                    }
                }
                _ => self.signs(text),
            },
        }
    }

    /// The length of the characters of one kind that a text begins with.
    fn run(&self, text: &str, kind: u8) -> usize {
        text.char_indices().find(|(_, c)| self.kind(*c) != kind).map_or(text.len(), |(at, _)| at)
    }

    /// Signs, and the line ends after them.
    fn signs(&self, text: &str) -> usize {
        let end = self.run(text, 0);
        end + text.as_bytes()[end..].iter().take_while(|b| **b == b'\r' || **b == b'\n').count()
    }

    /// A run of blanks, of which the last goes with what follows, unless it is the only one.
    fn blanks(&self, text: &str) -> usize {
        let run = self.run(text, BLANK);
        let last = text[..run].chars().next_back().map_or(1, char::len_utf8);
        if run == text.len() || run == last { run } else { run - last }
    }
}

const NONE: (u32, u32) = (u32::MAX, 0);

fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// The length of `'s`, `'re` and the like. Without regard to case `s` is also the long ſ.
fn contraction(text: &str, any_case: bool) -> Option<usize> {
    let lower = |c: char| match c {
        'A'..='Z' if any_case => c.to_ascii_lowercase(),
        'ſ' if any_case => 's',
        c => c,
    };
    let mut chars = text.chars().skip(1);
    let first = chars.next()?;
    let second = chars.next().map(lower);
    match (lower(first), second) {
        ('s' | 't' | 'm' | 'd', _) => Some(1 + first.len_utf8()),
        ('r' | 'v', Some('e')) | ('l', Some('l')) => Some(3),
        _ => None,
    }
}

fn cut_of(pre: &Value) -> Option<Cut> {
    if pre["type"] == "ByteLevel" {
        return (pre["add_prefix_space"] == false && pre["use_regex"] != false).then_some(Cut::Gpt2);
    }
    let [split, level] = pre["pretokenizers"].as_array().filter(|_| pre["type"] == "Sequence")?.as_slice() else { return None };
    let plain = level["type"] == "ByteLevel" && level["add_prefix_space"] == false && level["use_regex"] == false;
    if !plain || split["type"] != "Split" || split["behavior"] != "Isolated" || split["invert"] != false {
        return None;
    }
    match patterns::name_of(split["pattern"]["Regex"].as_str()?)? {
        "gpt2" => Some(Cut::Gpt2),
        "cl100k" | "llama3" => Some(Cut::Cl100k { digits: 3 }),
        "qwen2" => Some(Cut::Cl100k { digits: 1 }),
        _ => None,
    }
}

/// What each character is to a pattern, by the tables that the library's expressions are made with.
fn kinds() -> Option<Vec<u8>> {
    let mut kinds = vec![0; 0x11_0000];
    for (class, kind) in [(r"\p{L}", LETTER), (r"\p{N}", NUMBER), (r"\s", BLANK)] {
        let parsed = regex_syntax::parse(class).ok()?;
        let HirKind::Class(Class::Unicode(class)) = parsed.kind() else { return None };
        for range in class.ranges() {
            kinds[range.start() as usize..=range.end() as usize].fill(kind);
        }
    }
    Some(kinds)
}

/// A quick hash, the multiply-and-rotate of Firefox and rustc. A text whose words were chosen to collide makes the encoder slower
/// and nothing worse, since no more words are remembered than `REMEMBERED`.
#[derive(Clone, Copy, Default)]
pub struct Multiply(u64);

type Quick = BuildHasherDefault<Multiply>;

impl Hasher for Multiply {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        let mut word = [0; 8];
        word[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.write_u64(u64::from_le_bytes(word));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
    fn finish(&self) -> u64 {
        // The tables look at the low bits and at the highest seven.
        self.0 ^ (self.0 >> 32)
    }
}
