//! The tokenizer inside a GGUF file, byte-level or SentencePiece's, by the metadata's `tokenizer.ggml.…` keys.
//! Deliberately not here: the reading of metadata (`crate::gguf`), and the model's weights.

use super::compose::{self, Added, Parts};
use super::spm::{self, Algorithm, Model, Piece, kind};
use super::{Beside, MAX_TOKEN_BYTES, Origin, Read, configured, quoted};
use crate::data::{decoding, patterns, visible};
use crate::gguf::{Metadata, Value as Entry};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// How words are cut, by the names of `tokenizer.ggml.pre` (llama.cpp, `src/llama-vocab.cpp`): a pattern, whether digits
/// stand by themselves, and whether a word that is a token is that token whatever the merges say.
const PRE: &[(&[&str], &str, bool, bool)] = &[
    (&["gpt-2", "phi-2", "roberta-bpe", "olmo", "mpt", "jais", "gigachat", "trillion"], "gpt2", false, false),
    (&["jina-es", "jina-de", "jina-v1-en", "jina-v2-es", "jina-v2-de", "jina-v2-code"], "gpt2", false, false),
    (&["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"], "llama3", false, true),
    (&["dbrx", "smaug-bpe"], "llama3", false, false),
    (&["qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "kormo"], "qwen2", false, false),
    (&["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"], "gpt2", true, false),
    (&["gpt-4o", "llama4", "kanana2"], "o200k", false, true),
];

pub fn read(file: &[u8], beside: Beside) -> Result<Read, String> {
    let head = Metadata::read(file).map_err(|e| e.to_string())?;
    let text = |key: &str| head.get(&format!("tokenizer.ggml.{key}")).and_then(Entry::as_text);
    let model = text("model").ok_or("it holds no tokenizer (tokenizer.ggml.model is missing)")?;
    let vocab = Vocabulary::read(&head)?;
    let token = |key: &str| vocab.pieces.get(number(&head, key)?).map(|p| p.text.clone());
    let (bos, eos) = (token("bos_token_id"), token("eos_token_id"));
    let template = head.get("tokenizer.chat_template").and_then(Entry::as_text);
    let config = configured(beside.config, &[("bos_token", bos.as_deref()), ("eos_token", eos.as_deref()), ("chat_template", template)]);
    let mut missing = Vec::new();
    let (json, kind) = match model {
        "gpt2" => {
            missing = vocab.bytes_without_token();
            (byte_level(&head, vocab, text("pre").unwrap_or("default"))?, "byte-level BPE")
        }
        "llama" => (sentencepiece(&head, vocab, Algorithm::Bpe)?, "SentencePiece BPE"),
        "t5" => (sentencepiece(&head, vocab, Algorithm::Unigram)?, "SentencePiece unigram"),
        other => return Err(format!("its tokenizer is of the kind “{}”; known are gpt2, llama and t5", visible(other))),
    };
    let mut notes = vec![format!("{kind}, as llama.cpp reads it")];
    if !missing.is_empty() {
        // Vocabularies that were learned from characters lack those that their texts lacked.
        let bytes: Vec<String> = missing.iter().take(8).map(|b| format!("{b:#04x}")).collect();
        let more = if missing.len() > 8 { " …" } else { "" };
        notes.push(format!("{} bytes have no token and are left out of texts: {}{more}", missing.len(), bytes.join(", ")));
    }
    Ok(Read { json, config, origin: Origin { format: "GGUF", notes } })
}

/// Tokens, with scores and kinds where the file has them.
struct Vocabulary {
    pieces: Vec<Piece>,
    scored: bool,
}

impl Vocabulary {
    /// Bytes that a byte-level vocabulary has no token for.
    fn bytes_without_token(&self) -> Vec<u8> {
        let mut left: Vec<Option<char>> = (0..=255u8).map(|b| Some(decoding::char_of(b))).collect();
        for piece in &self.pieces {
            let mut chars = piece.text.chars();
            if let (Some(c), None) = (chars.next(), chars.next())
                && let Some(place) = left.iter_mut().find(|place| **place == Some(c))
            {
                *place = None;
            }
        }
        (0..=255u8).zip(left).filter(|(_, c)| c.is_some()).map(|(b, _)| b).collect()
    }

    fn read(head: &Metadata) -> Result<Self, String> {
        let list = |key: &str| head.get(&format!("tokenizer.ggml.{key}")).and_then(Entry::as_array);
        let tokens = list("tokens").filter(|t| !t.is_empty()).ok_or("it holds no tokens (tokenizer.ggml.tokens)")?;
        let (scores, kinds) = (list("scores"), list("token_type"));
        for (name, other) in [("scores", scores), ("token_type", kinds)] {
            if let Some(other) = other.filter(|o| o.len() != tokens.len()) {
                return Err(format!("tokenizer.ggml.{name} has {} elements for {} tokens", other.len(), tokens.len()));
            }
        }
        let pieces = tokens.iter().enumerate().map(|(id, token)| {
            let text = token.as_text().ok_or_else(|| format!("token {id} is no UTF-8"))?;
            if text.len() > MAX_TOKEN_BYTES {
                return Err(format!("token {id} has {} bytes, which is no token", text.len()));
            }
            let score = scores.and_then(|s| s[id].as_f64()).unwrap_or(0.0);
            Ok(Piece { text: text.to_owned(), score, kind: kinds.and_then(|k| k[id].as_u64()).unwrap_or(1) })
        });
        Ok(Self { pieces: pieces.collect::<Result<_, String>>()?, scored: scores.is_some() })
    }
}

fn number(head: &Metadata, key: &str) -> Option<usize> {
    head.get(&format!("tokenizer.ggml.{key}"))?.as_u64().and_then(|n| usize::try_from(n).ok())
}

fn flag(head: &Metadata, key: &str) -> Option<bool> {
    head.get(&format!("tokenizer.ggml.{key}")).and_then(Entry::as_bool)
}

fn byte_level(head: &Metadata, vocab: Vocabulary, pre: &str) -> Result<String, String> {
    let (_, pattern, digits, whole_words) = PRE.iter().find(|(names, ..)| names.contains(&pre)).ok_or_else(|| {
        let known: Vec<&str> = PRE.iter().flat_map(|(names, ..)| names.iter().copied()).collect();
        format!("its words are cut in the way “{}”, which is not known here (known: {})", visible(pre), known.join(", "))
    })?;
    let mut ids: HashMap<&str, u32> = HashMap::with_capacity(vocab.pieces.len());
    for (id, piece) in vocab.pieces.iter().enumerate() {
        // A later token of the same name can never be reached.
        ids.entry(&piece.text).or_insert(id as u32);
    }
    let merges = head.get("tokenizer.ggml.merges").and_then(Entry::as_array).ok_or("it holds no merges (tokenizer.ggml.merges)")?;
    let merges = merges.iter().enumerate().map(|(n, merge)| {
        let merge = merge.as_text().ok_or_else(|| format!("merge {n} is no UTF-8"))?;
        // A token of the byte alphabet has no blank in it.
        let (left, right) = merge.split_once(' ').ok_or_else(|| format!("merge {n} is not two tokens"))?;
        for token in [left, right, &format!("{left}{right}")] {
            if !ids.contains_key(token) {
                return Err(format!("merge {n} has {}, which is no token", quoted(token)));
            }
        }
        Ok([left.to_owned(), right.to_owned()])
    });
    let merges = merges.collect::<Result<Vec<_>, String>>()?;
    let around = [number(head, "bos_token_id"), number(head, "eos_token_id")];
    let added = |(id, piece): (usize, &Piece)| {
        let special = piece.kind == kind::CONTROL || piece.kind == kind::UNKNOWN || around.contains(&Some(id));
        (special || piece.kind == kind::USER_DEFINED).then(|| Added { id: id as u32, content: piece.text.clone(), special })
    };
    let one = |id: Option<usize>| Vec::from_iter(id.and_then(|id| Some(Added::special(id as u32, &vocab.pieces.get(id)?.text))));
    let begins = flag(head, "add_bos_token").unwrap_or(*whole_words && *pattern == "llama3");
    let ends = flag(head, "add_eos_token").unwrap_or(false);
    let parts = Parts {
        normalizer: Value::Null,
        pre_tokenizer: patterns::byte_level(
            patterns::find(pattern).map_or("", |p| p.regex),
            *digits,
            flag(head, "add_space_prefix").unwrap_or(false),
        ),
        decoder: compose::byte_decoder(),
        added: vocab.pieces.iter().enumerate().filter_map(added).collect(),
        around: (one(around[0].filter(|_| begins)), one(around[1].filter(|_| ends))),
        model: compose::bpe(
            vocab.pieces.iter().map(|p| (p.text.clone(), Value::from(ids[p.text.as_str()]))).collect::<Map<_, _>>(),
            merges,
            *whole_words,
            None,
            false,
        ),
    };
    Ok(parts.json())
}

fn sentencepiece(head: &Metadata, vocab: Vocabulary, algorithm: Algorithm) -> Result<String, String> {
    if !vocab.scored {
        return Err("it holds no scores (tokenizer.ggml.scores)".into());
    }
    let byte_fallback = vocab.pieces.iter().any(|p| p.kind == kind::BYTE);
    let charsmap = head.get("tokenizer.ggml.precompiled_charsmap").and_then(Entry::as_array).unwrap_or_default();
    let t5 = algorithm == Algorithm::Unigram;
    let model = Model {
        algorithm,
        byte_fallback,
        charsmap: charsmap.iter().filter_map(|b| b.as_u64().and_then(|b| u8::try_from(b).ok())).collect(),
        dummy_prefix: flag(head, "add_space_prefix").unwrap_or(true),
        remove_extra_blanks: flag(head, "remove_extra_whitespaces").unwrap_or(false),
        around: (
            number(head, "bos_token_id").filter(|_| flag(head, "add_bos_token").unwrap_or(!t5)),
            number(head, "eos_token_id").filter(|_| flag(head, "add_eos_token").unwrap_or(t5)),
        ),
        pieces: vocab.pieces,
    };
    spm::Model::json(&model)
}
