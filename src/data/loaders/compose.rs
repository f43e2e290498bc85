//! The parts of a `tokenizer.json`, out of what other formats hold: vocabulary, merges, added tokens, a beginning.
//! Deliberately not here: any file; each format is read by its own file beside this one.

use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A token that is found in a text by its name, before anything else is done to the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    pub id: u32,
    pub content: String,
    /// Marks something and is no text.
    pub special: bool,
}

impl Added {
    pub fn special(id: u32, content: &str) -> Self {
        Self { id, content: content.into(), special: true }
    }
}

/// What the formats share.
pub struct Parts {
    pub model: Value,
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    pub decoder: Value,
    pub added: Vec<Added>,
    /// Tokens that are put before every text that is encoded with special tokens, and after it.
    pub around: (Vec<Added>, Vec<Added>),
}

impl Parts {
    pub fn json(self) -> String {
        let Self { mut model, normalizer, pre_tokenizer, decoder, mut added, around } = self;
        added.sort_by_key(|t| t.id);
        added.dedup_by_key(|t| t.id);
        added.retain(|t| !t.content.is_empty());
        // The library numbers an added token anew unless the vocabulary has it: ids with gaps between would be lost.
        if let Some(vocab) = model["vocab"].as_object_mut() {
            for token in &added {
                vocab.entry(token.content.clone()).or_insert_with(|| Value::from(token.id));
            }
        }
        let added: Vec<Value> = added.iter().map(added_json).collect();
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": template(&around), "decoder": decoder, "model": model,
        })
        .to_string()
    }
}

fn added_json(token: &Added) -> Value {
    json!({ "id": token.id, "content": token.content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": token.special })
}

fn template((before, after): &(Vec<Added>, Vec<Added>)) -> Value {
    if before.is_empty() && after.is_empty() {
        return Value::Null;
    }
    let special = |t: &Added, kind: u32| json!({ "SpecialToken": { "id": t.content, "type_id": kind } });
    let one = |name: &str, kind: u32| {
        let text = json!({ "Sequence": { "id": name, "type_id": kind } });
        before.iter().map(|t| special(t, kind)).chain([text]).chain(after.iter().map(|t| special(t, kind))).collect::<Vec<_>>()
    };
    let tokens: Map<String, Value> =
        before.iter().chain(after).map(|t| (t.content.clone(), json!({ "id": t.content, "ids": [t.id], "tokens": [t.content] }))).collect();
    let (single, pair) = (one("A", 0), [one("A", 0), one("B", 1)].concat());
    json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens })
}

/// A `BPE` model. `whole_words`: a word that is a token as it stands is that token, whatever the merges say.
pub fn bpe(vocab: Map<String, Value>, merges: Vec<[String; 2]>, whole_words: bool, unknown: Option<&str>, byte_fallback: bool) -> Value {
    json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": unknown.is_some(), "byte_fallback": byte_fallback, "ignore_merges": whole_words, "vocab": vocab, "merges": merges,
    })
}

/// The decoder of byte-level vocabularies.
pub fn byte_decoder() -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true })
}

/// Every way to make a token out of two others, in the order in which `rank` prefers the result (smaller first);
/// among the ways to the same token, the parts that come first in `id` go first. So that merging is what programs do
/// that merge whatever pair makes the best token (tiktoken, SentencePiece), without a list of merges.
pub fn all_merges<R: PartialOrd + Copy>(
    tokens: &[(String, R)],
    id: &HashMap<&str, u32>,
    longest_first: bool,
    takes_part: impl Fn(&str) -> bool,
) -> Vec<[String; 2]> {
    let mut found: Vec<(R, [&str; 2])> = Vec::new();
    for (token, rank) in tokens.iter().filter(|(t, _)| takes_part(t)) {
        let from = found.len();
        for (cut, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(cut);
            if id.contains_key(left) && id.contains_key(right) && takes_part(left) && takes_part(right) {
                found.push((*rank, [left, right]));
            }
        }
        if longest_first {
            found[from..].reverse();
        } else {
            found[from..].sort_by_key(|(_, [l, r])| (id[l], id[r]));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    found.into_iter().map(|(_, [l, r])| [l.to_owned(), r.to_owned()]).collect()
}
