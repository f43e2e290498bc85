//! SentencePiece's way to make tokens, as a `tokenizer.json`: pieces with scores (BPE and unigram), its normaliser, the
//! blank before a text, bytes for characters without a piece. Deliberately not here: files (`sentencepiece`, `gguf`).

use super::compose::{self, Added, Parts};
use super::{MAX_TOKEN_BYTES, quoted};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What stands for a blank in pieces.
const BLANK: char = '▁';

/// Kinds of pieces, as `sentencepiece_model.proto` and GGUF number them.
pub mod kind {
    pub const UNKNOWN: u64 = 2;
    pub const CONTROL: u64 = 3;
    pub const USER_DEFINED: u64 = 4;
    pub const BYTE: u64 = 6;
}

#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub text: String,
    pub score: f64,
    pub kind: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Unigram,
    Bpe,
    /// Each character is a piece.
    Char,
}

/// A model of SentencePiece's, wherever it was read.
#[derive(Debug)]
pub struct Model {
    pub pieces: Vec<Piece>,
    pub algorithm: Algorithm,
    pub byte_fallback: bool,
    /// The normaliser's table; empty for none.
    pub charsmap: Vec<u8>,
    pub dummy_prefix: bool,
    pub remove_extra_blanks: bool,
    /// Tokens before and after a text that is encoded with special tokens.
    pub around: (Option<usize>, Option<usize>),
}

impl Model {
    pub fn json(&self) -> Result<String, String> {
        let ids = self.check()?;
        let added = |(id, piece): (usize, &Piece)| {
            let special = matches!(piece.kind, kind::UNKNOWN | kind::CONTROL);
            (special || piece.kind == kind::USER_DEFINED).then(|| Added { id: id as u32, content: piece.text.clone(), special })
        };
        let one = |id: Option<usize>| Vec::from_iter(id.and_then(|id| Some(Added::special(id as u32, &self.pieces.get(id)?.text))));
        let parts = Parts {
            normalizer: self.normalizer()?,
            pre_tokenizer: self.words(),
            decoder: self.decoder(),
            added: self.pieces.iter().enumerate().filter_map(added).collect(),
            around: (one(self.around.0), one(self.around.1)),
            model: if self.algorithm == Algorithm::Unigram { self.unigram() } else { self.bpe(&ids) },
        };
        Ok(parts.json())
    }

    fn check(&self) -> Result<HashMap<&str, u32>, String> {
        let mut ids = HashMap::with_capacity(self.pieces.len());
        for (id, piece) in self.pieces.iter().enumerate() {
            if piece.text.len() > MAX_TOKEN_BYTES {
                return Err(format!("piece {id} has {} bytes, which is no token", piece.text.len()));
            }
            if piece.text.is_empty() || !piece.score.is_finite() {
                return Err(format!("piece {id} is empty or has no score"));
            }
            if ids.insert(piece.text.as_str(), id as u32).is_some() {
                return Err(format!("the piece {} stands in it twice", quoted(&piece.text)));
            }
        }
        if ids.is_empty() {
            return Err("it has no pieces".into());
        }
        if self.byte_fallback && (0..=255u8).any(|b| !ids.contains_key(format!("<0x{b:02X}>").as_str())) {
            return Err("it falls back to bytes, and not every byte has a piece".into());
        }
        if self.unknown().is_none() && !self.byte_fallback {
            return Err("it has neither an unknown piece nor bytes".into());
        }
        Ok(ids)
    }

    fn unknown(&self) -> Option<(usize, &Piece)> {
        self.pieces.iter().enumerate().find(|(_, p)| p.kind == kind::UNKNOWN)
    }

    fn bpe(&self, ids: &HashMap<&str, u32>) -> Value {
        let vocab: Map<String, Value> = self.pieces.iter().enumerate().map(|(id, p)| (p.text.clone(), Value::from(id))).collect();
        let plain: std::collections::HashSet<&str> =
            self.pieces.iter().filter(|p| !matches!(p.kind, kind::UNKNOWN | kind::CONTROL | kind::BYTE)).map(|p| p.text.as_str()).collect();
        // The highest score is merged first.
        let ranked: Vec<(String, f64)> = self.pieces.iter().map(|p| (p.text.clone(), -p.score)).collect();
        let merges =
            if self.algorithm == Algorithm::Char { Vec::new() } else { compose::all_merges(&ranked, ids, true, |t| plain.contains(t)) };
        compose::bpe(vocab, merges, false, self.unknown().map(|(_, p)| p.text.as_str()), self.byte_fallback)
    }

    fn unigram(&self) -> Value {
        let vocab: Vec<Value> = self.pieces.iter().map(|p| json!([p.text, p.score])).collect();
        json!({ "type": "Unigram", "unk_id": self.unknown().map(|(id, _)| id), "vocab": vocab, "byte_fallback": self.byte_fallback })
    }

    fn normalizer(&self) -> Result<Value, String> {
        let mut steps = Vec::new();
        if !self.charsmap.is_empty() {
            check_charsmap(&self.charsmap)?;
            steps.push(json!({ "type": "Precompiled", "precompiled_charsmap": STANDARD.encode(&self.charsmap) }));
        }
        if self.remove_extra_blanks {
            steps.push(json!({ "type": "Strip", "strip_left": true, "strip_right": true }));
            steps.push(json!({ "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " }));
        }
        if self.dummy_prefix {
            steps.push(json!({ "type": "Prepend", "prepend": BLANK.to_string() }));
        }
        steps.push(json!({ "type": "Replace", "pattern": { "String": " " }, "content": BLANK.to_string() }));
        Ok(json!({ "type": "Sequence", "normalizers": steps }))
    }

    /// Where no piece goes on past a blank that follows something else, no merge does, and words may be cut there: the
    /// ids stay the same and come faster.
    fn words(&self) -> Value {
        let spans = |text: &str| text.trim_start_matches(BLANK).contains(BLANK);
        if self.pieces.iter().any(|p| spans(&p.text)) {
            return Value::Null;
        }
        json!({ "type": "Split", "pattern": { "Regex": format!("{BLANK}+[^{BLANK}]*|[^{BLANK}]+") }, "behavior": "Isolated", "invert": false })
    }

    fn decoder(&self) -> Value {
        let mut steps = vec![json!({ "type": "Replace", "pattern": { "String": BLANK.to_string() }, "content": " " })];
        steps.extend(self.byte_fallback.then(|| json!({ "type": "ByteFallback" })));
        steps.push(json!({ "type": "Fuse" }));
        if self.dummy_prefix {
            steps.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        json!({ "type": "Sequence", "decoders": steps })
    }
}

/// The library walks the normaliser's table (a double array and the texts that it points to) without looking where it
/// steps, so every step that a text can lead to is looked at here.
fn check_charsmap(map: &[u8]) -> Result<(), String> {
    let fault = || "its normaliser's table is damaged".to_string();
    let (head, rest) = map.split_at_checked(4).ok_or_else(fault)?;
    let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let (units, texts) = rest.split_at_checked(size).filter(|_| size.is_multiple_of(4)).ok_or_else(fault)?;
    let texts = std::str::from_utf8(texts).map_err(|_| fault())?;
    let units: Vec<usize> = units.chunks_exact(4).map(|u| u32::from_le_bytes([u[0], u[1], u[2], u[3]]) as usize).collect();
    let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
    let mut seen = vec![false; units.len()];
    let mut open = vec![offset(*units.first().ok_or_else(fault)?)];
    while let Some(node) = open.pop() {
        for byte in 1..=255usize {
            let at = node ^ byte;
            let unit = *units.get(at).ok_or_else(fault)?;
            if unit & (1 << 31 | 0xff) != byte || std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let next = at ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let start = units.get(next).ok_or_else(fault)? & ((1 << 31) - 1);
                if !texts.is_char_boundary(start) {
                    return Err(fault());
                }
            }
            open.push(next);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str, score: f64, kind: u64) -> Piece {
        Piece { text: text.into(), score, kind }
    }

    fn model(pieces: Vec<Piece>, algorithm: Algorithm) -> Model {
        let around = (None, None);
        Model { pieces, algorithm, byte_fallback: false, charsmap: Vec::new(), dummy_prefix: true, remove_extra_blanks: false, around }
    }

    #[test]
    fn faults_are_told() {
        let unknown = || piece("<unk>", 0.0, kind::UNKNOWN);
        let fault = |pieces| model(pieces, Algorithm::Bpe).json().unwrap_err();
        assert!(fault(vec![]).contains("no pieces"));
        assert!(fault(vec![unknown(), piece("a", 0.0, 1), piece("a", 0.0, 1)]).contains("“a” stands in it twice"));
        assert!(fault(vec![piece("a", f64::NAN, 1)]).contains("has no score"));
        assert!(fault(vec![piece("a", 0.0, 1)]).contains("neither an unknown piece nor bytes"));
        let bytes = Model { byte_fallback: true, ..model(vec![unknown()], Algorithm::Bpe) };
        assert!(bytes.json().unwrap_err().contains("not every byte has a piece"));
    }

    #[test]
    fn a_damaged_normaliser_is_refused() {
        let with = |charsmap: Vec<u8>| Model { charsmap, ..model(vec![piece("<unk>", 0.0, kind::UNKNOWN)], Algorithm::Unigram) }.json();
        for map in [vec![1], vec![8, 0, 0, 0, 1], vec![4, 0, 0, 0, 255, 255, 255, 255], [vec![4, 0, 0, 0, 0, 0, 0, 0], vec![0xff]].concat()]
        {
            assert!(with(map).unwrap_err().contains("table is damaged"));
        }
        // A root that leads nowhere, in a block of its own.
        assert!(with([vec![0, 4, 0, 0], vec![0; 1024]].concat()).is_ok());
    }
}
