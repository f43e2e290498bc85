//! `vocab.json` and `merges.txt`, as GPT-2 came: byte-level vocabularies with a list of merges.
//! Deliberately not here: the other pairs of such names (WordPiece, GPT-1), which are told apart and refused.

use super::compose::{self, Added, Parts};
use super::{Beside, Origin, Read, configured, quoted};
use crate::data::bytes::Bytes;
use crate::data::{DataError, decoding, patterns};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::Path;

/// Whether a JSON text is a plain object of tokens and their ids.
pub fn is_vocabulary(text: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
    value.as_object().is_some_and(|map| !map.is_empty() && map.values().all(Value::is_u64))
}

/// Reads a vocabulary (its text is given) and the merges beside it.
pub fn read(path: &Path, vocab: &str, beside: &Beside) -> Result<Read, DataError> {
    let merges = sibling(path, "vocab", "merges", "txt")?;
    let text = Bytes::open(&merges)?;
    let text = std::str::from_utf8(&text)
        .map_err(|e| DataError::file(&merges, format!("not UTF-8 at byte {}", e.valid_up_to()), "name the merges of this vocabulary"))?;
    let vocab: Map<String, Value> =
        serde_json::from_str(vocab).map_err(|e| DataError::file(path, format!("not JSON: {e}"), "name a vocab.json"))?;
    let merges = parse_merges(&merges, text, &vocab)?;
    compose(vocab, merges, beside).map_err(|what| DataError::file(path, what, "name the vocab.json of a byte-level tokenizer"))
}

/// As [`read`], where the merges were named.
pub fn read_by_merges(path: &Path, beside: &Beside) -> Result<Read, DataError> {
    let vocab = sibling(path, "merges", "vocab", "json")?;
    let text = Bytes::open(&vocab)?;
    match std::str::from_utf8(&text).ok().filter(|text| is_vocabulary(text)) {
        Some(text) => read(&vocab, text, beside),
        None => Err(DataError::file(&vocab, "is no object of tokens and their ids", "name a vocab.json of a byte-level tokenizer")),
    }
}

/// The other file of the pair: `x_vocab.json` for `x_merges.txt`, and the other way round.
fn sibling(path: &Path, own: &str, other: &str, extension: &str) -> Result<std::path::PathBuf, DataError> {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let named = path.with_file_name(format!("{}.{extension}", stem.replace(own, other)));
    let usual = path.with_file_name(format!("{other}.{extension}"));
    [named, usual].into_iter().find(|p| p != path && p.is_file()).ok_or_else(|| {
        DataError::file(
            path,
            format!("its {other}.{extension} is missing"),
            format!("put {other}.{extension} beside it, or name a tokenizer.json"),
        )
    })
}

fn parse_merges(path: &Path, text: &str, vocab: &Map<String, Value>) -> Result<Vec<[String; 2]>, DataError> {
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || (number == 0 && line.starts_with("#version")) {
            continue;
        }
        let fault = |what: String| {
            DataError::file(path, format!("line {}: {what}", number + 1), "name the merges.txt that was made with this vocabulary")
        };
        let (left, right) =
            line.split_once(' ').filter(|(_, r)| !r.contains(' ')).ok_or_else(|| fault("is not two tokens with a blank between".into()))?;
        for token in [left, right, &format!("{left}{right}")] {
            if !vocab.contains_key(token) {
                return Err(fault(format!("the token {} is not in the vocabulary", quoted(token))));
            }
        }
        merges.push([left.to_owned(), right.to_owned()]);
    }
    Ok(merges)
}

fn compose(vocab: Map<String, Value>, merges: Vec<[String; 2]>, beside: &Beside) -> Result<Read, String> {
    let missing = (0..=255u8).filter(|b| !vocab.contains_key(&decoding::char_of(*b).to_string())).count();
    let blanks = vocab.keys().any(|token| token.starts_with(decoding::char_of(b' ')));
    if missing > 0 && (!blanks || vocab.keys().any(|token| token.ends_with("</w>"))) {
        return Err("is not byte-level: its tokens are of characters".into());
    }
    // What is neither a byte nor made by a merge can only be a token with a name of its own.
    let made: HashSet<String> = merges.iter().map(|[l, r]| format!("{l}{r}")).collect();
    let mut added = beside.added.clone();
    for (token, id) in vocab.iter().filter(|(token, _)| token.chars().count() > 1 && !made.contains(*token)) {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| format!("the id of {} is out of range", quoted(token)))?;
        let marked = (token.starts_with('<') && token.ends_with('>')) || (token.starts_with('[') && token.ends_with(']'));
        if marked && !added.iter().any(|t| t.id == id) {
            added.push(Added::special(id, token));
        }
    }
    let class = beside.token("tokenizer_class").unwrap_or_default();
    let qwen = class.starts_with("Qwen2");
    let mut notes = Vec::new();
    if missing > 0 {
        notes.push(format!("{missing} bytes have no token: a text that holds one of them loses it"));
    }
    if class.is_empty() {
        notes.push("words are cut as GPT-2 does: the files do not say how".to_owned());
    }
    let regex = if qwen { patterns::find("qwen2") } else { patterns::find("gpt2") }.map_or("", |p| p.regex);
    let end = beside.token("eos_token").map(str::to_owned);
    let token = |key: &str| beside.token(key).and_then(|name| Some(Added::special(u32::try_from(vocab.get(name)?.as_u64()?).ok()?, name)));
    // RoBERTa puts its texts between two tokens.
    let around = if class.starts_with("Roberta") {
        (
            Vec::from_iter(token("cls_token").or_else(|| token("bos_token"))),
            Vec::from_iter(token("sep_token").or_else(|| token("eos_token"))),
        )
    } else {
        (Vec::new(), Vec::new())
    };
    let parts = Parts {
        normalizer: if qwen { serde_json::json!({ "type": "NFC" }) } else { Value::Null },
        pre_tokenizer: patterns::byte_level(regex, false, beside.flag("add_prefix_space").unwrap_or(false)),
        decoder: compose::byte_decoder(),
        around,
        added,
        model: compose::bpe(vocab, merges, false, None, false),
    };
    let config = configured(beside.config.clone(), &[("eos_token", end.as_deref())]);
    Ok(Read { json: parts.json(), config, origin: Origin { format: "vocab.json and merges.txt", notes } })
}
