//! tiktoken's files: a line for each token, its bytes in Base64 and its rank. The file says neither how words are cut
//! nor what its special tokens are; those of the known encodings are known here. Deliberately not here: merging by ranks.

use super::compose::{self, Added, Parts};
use super::{Beside, MAX_TOKEN_BYTES, Origin, Read, configured};
use crate::data::{decoding, patterns};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::Path;

/// Ids beyond this are no vocabulary's.
const MAX_RANK: u32 = 1 << 24;

/// An encoding that is known by the number of its ranks.
struct Known {
    name: &'static str,
    ranks: usize,
    pattern: &'static str,
    special: fn() -> Vec<Added>,
    /// Put before a text.
    begin: Option<&'static str>,
}

const KNOWN: &[Known] = &[
    Known { name: "r50k_base", ranks: 50_256, pattern: "gpt2", special: || named(&[(50_256, "<|endoftext|>")]), begin: None },
    Known { name: "p50k_base", ranks: 50_280, pattern: "gpt2", special: || named(&[(50_256, "<|endoftext|>")]), begin: None },
    Known {
        name: "cl100k_base",
        ranks: 100_256,
        pattern: "cl100k",
        special: || {
            named(&[
                (100_257, "<|endoftext|>"),
                (100_258, "<|fim_prefix|>"),
                (100_259, "<|fim_middle|>"),
                (100_260, "<|fim_suffix|>"),
                (100_276, "<|endofprompt|>"),
            ])
        },
        begin: None,
    },
    Known {
        name: "o200k_base",
        ranks: 199_998,
        pattern: "o200k",
        special: || named(&[(199_999, "<|endoftext|>"), (200_018, "<|endofprompt|>")]),
        begin: None,
    },
    Known { name: "Llama-3", ranks: 128_000, pattern: "llama3", special: llama3, begin: Some("<|begin_of_text|>") },
    Known {
        name: "Qwen",
        ranks: 151_643,
        pattern: "qwen2",
        special: || named(&[(151_643, "<|endoftext|>"), (151_644, "<|im_start|>"), (151_645, "<|im_end|>")]),
        begin: None,
    },
];

fn named(list: &[(u32, &str)]) -> Vec<Added> {
    list.iter().map(|(id, name)| Added::special(*id, name)).collect()
}

/// The 256 special tokens of Llama-3's own `tokenizer.py`, from 128000 on.
fn llama3() -> Vec<Added> {
    const FIRST: [&str; 10] = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|reserved_special_token_0|>",
        "<|reserved_special_token_1|>",
        "<|reserved_special_token_2|>",
        "<|reserved_special_token_3|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|reserved_special_token_4|>",
        "<|eot_id|>",
    ];
    let rest = (5..=250).map(|n| format!("<|reserved_special_token_{n}|>"));
    FIRST.iter().map(|n| (*n).to_owned()).chain(rest).zip(128_000..).map(|(name, id)| Added::special(id, &name)).collect()
}

/// Whether the first line is one of such a file.
pub fn begins(file: &[u8]) -> bool {
    let line = file.split(|b| *b == b'\n').next().unwrap_or_default();
    line.len() <= 2 * MAX_TOKEN_BYTES && parse_line(line).is_ok()
}

pub fn read(path: &Path, file: &[u8], beside: Beside) -> Result<Read, String> {
    let tokens = parse(file)?;
    let vocab: Map<String, Value> = tokens.iter().map(|(token, rank)| (token.clone(), Value::from(*rank))).collect();
    let ids: HashMap<&str, u32> = tokens.iter().map(|(token, rank)| (token.as_str(), *rank)).collect();
    if ids.len() != tokens.len() {
        return Err("a token stands in it twice".into());
    }
    if let Some(byte) = (0..=255u8).find(|b| !ids.contains_key(decoding::char_of(*b).to_string().as_str())) {
        return Err(format!("the byte {byte:#04x} has no token in it"));
    }
    let merges = compose::all_merges(&tokens, &ids, false, |_| true);
    let known = KNOWN.iter().find(|k| k.ranks == tokens.len());
    let mut notes = Vec::new();
    let (regex, mut added) = match (meta(path)?, known) {
        (Some(own), _) => own,
        (None, Some(known)) => {
            notes.push(format!("taken for {} by its {} ranks: words are cut as {} does", known.name, known.ranks, known.pattern));
            (patterns::find(known.pattern).map(|p| p.regex.to_owned()).unwrap_or_default(), (known.special)())
        }
        (None, None) => {
            notes.push("words are cut as cl100k does, and there is no special token: the file says neither".into());
            (patterns::find("cl100k").map(|p| p.regex.to_owned()).unwrap_or_default(), Vec::new())
        }
    };
    if !beside.added.is_empty() {
        added.clone_from(&beside.added);
    }
    if let Some(clash) = added.iter().find(|t| tokens.iter().any(|(_, rank)| *rank == t.id)) {
        return Err(format!("the special token {} has the id {} of another token", super::quoted(&clash.content), clash.id));
    }
    let by_name = |name: &str| added.iter().find(|t| t.content == name).cloned();
    let begin = beside.token("bos_token").or(known.and_then(|k| k.begin)).and_then(by_name);
    let end = ["<|endoftext|>", "<|end_of_text|>"].into_iter().find(|name| by_name(name).is_some());
    let config = configured(beside.config, &[("bos_token", begin.as_ref().map(|t| t.content.as_str())), ("eos_token", end)]);
    let parts = Parts {
        normalizer: Value::Null,
        pre_tokenizer: patterns::byte_level(&regex, false, false),
        decoder: compose::byte_decoder(),
        around: (Vec::from_iter(begin), Vec::new()),
        added,
        model: compose::bpe(vocab, merges, true, None, false),
    };
    Ok(Read { json: parts.json(), config, origin: Origin { format: "tiktoken", notes } })
}

/// Tokens in the byte alphabet with their ranks, in the order of the ranks.
fn parse(file: &[u8]) -> Result<Vec<(String, u32)>, String> {
    let mut tokens: Vec<(String, u32)> = Vec::new();
    for (number, line) in file.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let (bytes, rank) = parse_line(line).map_err(|what| format!("line {}: {what}", number + 1))?;
        tokens.push((bytes.iter().map(|b| decoding::char_of(*b)).collect(), rank));
    }
    tokens.sort_by_key(|(_, rank)| *rank);
    match tokens.windows(2).find(|w| w[0].1 == w[1].1) {
        Some(twice) => Err(format!("two tokens have the rank {}", twice[0].1)),
        None if tokens.is_empty() => Err("no token stands in it".into()),
        None => Ok(tokens),
    }
}

fn parse_line(line: &[u8]) -> Result<(Vec<u8>, u32), &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "not a token in Base64 and its rank")?;
    let (token, rank) = text.trim_end().split_once(' ').ok_or("not a token in Base64 and its rank")?;
    let rank: u32 = rank.parse().ok().filter(|r| *r < MAX_RANK).ok_or("the rank is no number of a vocabulary")?;
    if token.len() > MAX_TOKEN_BYTES * 4 / 3 + 4 {
        return Err("the token is too long for one");
    }
    let bytes = STANDARD.decode(token).map_err(|_| "the token is not Base64")?;
    if bytes.is_empty() { Err("the token is empty") } else { Ok((bytes, rank)) }
}

/// `cl100k_base.meta.json` beside `cl100k_base.tiktoken`: the expression and the special tokens, where somebody wrote them down.
fn meta(path: &Path) -> Result<Option<(String, Vec<Added>)>, String> {
    let file = path.with_extension("meta.json");
    if !std::fs::metadata(&file).is_ok_and(|m| m.is_file() && m.len() < 1 << 20) {
        return Ok(None);
    }
    let shown = crate::data::shown(&file);
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{shown}: {e}"))?;
    let value: Value = serde_json::from_str(&text).map_err(|e| format!("{shown}: not JSON: {e}"))?;
    let regex = value["pat_str"].as_str().ok_or_else(|| format!("{shown}: has no pat_str"))?;
    let special = value["special_tokens"].as_object().into_iter().flatten();
    let special = special.filter_map(|(name, id)| Some(Added::special(u32::try_from(id.as_u64()?).ok()?, name))).collect();
    Ok(Some((regex.to_owned(), special)))
}
