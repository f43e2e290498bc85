//! A tokenizer as the metadata of a GGUF file, so that llama.cpp cuts texts as it does here.
//! Deliberately not here: reading such a file (`loaders`), and the model's own metadata.

use super::patterns;
use super::tokenizer::Tokenizer;
use crate::gguf::write::Meta;
use serde_json::Value;
use std::collections::HashMap;

/// Kinds of tokens, as llama.cpp numbers them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// What a blank is in SentencePiece's vocabularies.
const BLANK: &str = "\u{2581}";

/// The keys of a tokenizer; `vocab` is how many tokens the model knows, `end` the one that ends its texts. Fails with the
/// reason where llama.cpp has no way to do the same.
pub fn metadata(tokenizer: &Tokenizer, vocab: usize, end: Option<u32>) -> Result<Vec<(String, Meta)>, String> {
    let json: Value = serde_json::from_str(tokenizer.json()).map_err(|e| format!("the tokenizer is no JSON ({e})"))?;
    let model = &json["model"];
    let mut out = match model["type"].as_str().unwrap_or("BPE") {
        // A character that it does not have would end llama.cpp itself.
        "WordLevel" => return Err("a vocabulary of whole characters, without bytes or an unknown token, has no form in GGUF".into()),
        "BPE" if has_step(&json["pre_tokenizer"], "ByteLevel") => byte_level(&json)?,
        "BPE" => sentencepiece(&json)?,
        other => return Err(format!("its kind, {other}, has no form in GGUF")),
    };
    let tokens = tokens(&json, vocab)?;
    let mut put = |key: &str, value: Meta| out.keys.push((format!("tokenizer.ggml.{key}"), value));
    put("tokens", Meta::Texts(tokens.iter().map(|t| t.0.clone()).collect()));
    put("token_type", Meta::I32s(tokens.iter().map(|t| t.1).collect()));
    let begins = begins_with(tokenizer);
    let configured = |key: &str| -> Option<u32> {
        let config: Value = serde_json::from_str(&tokenizer.config_json(None, 1, None)).ok()?;
        let name = config[key].as_str().or(config[key]["content"].as_str())?;
        tokenizer.token_id(name)
    };
    let named = [
        ("bos_token_id", begins.or(configured("bos_token"))),
        ("eos_token_id", end.or(tokenizer.end_of_text(None))),
        ("unknown_token_id", model["unk_token"].as_str().and_then(|name| tokenizer.token_id(name))),
        ("padding_token_id", configured("pad_token")),
    ];
    for (key, id) in named {
        if let Some(id) = id {
            put(key, Meta::U32(id));
        }
    }
    put("add_bos_token", Meta::Bool(begins.is_some()));
    put("add_eos_token", Meta::Bool(false));
    if let Some(template) = tokenizer.chat_template() {
        out.keys.push(("tokenizer.chat_template".into(), Meta::Text(template.into())));
    }
    if out.scored {
        let rank = ranks(model);
        let scores = tokens.iter().map(|t| rank.get(t.0.as_str()).map_or(0.0, |&r| -(r as f32))).collect();
        out.keys.push(("tokenizer.ggml.scores".into(), Meta::F32s(scores)));
    }
    Ok(out.keys)
}

struct Kind {
    keys: Vec<(String, Meta)>,
    /// SentencePiece's kind, which merges by scores.
    scored: bool,
}

fn kind(model: &str, pre: &str) -> Vec<(String, Meta)> {
    let text = |key: &str, value: &str| (format!("tokenizer.ggml.{key}"), Meta::Text(value.into()));
    vec![text("model", model), text("pre", pre)]
}

/// All steps of a pre-tokenizer, those of sequences one by one.
fn steps(pre: &Value) -> Vec<&Value> {
    match pre["pretokenizers"].as_array() {
        Some(list) => list.iter().collect(),
        None if pre.is_null() => Vec::new(),
        None => vec![pre],
    }
}

fn has_step(pre: &Value, name: &str) -> bool {
    steps(pre).iter().any(|step| step["type"] == name)
}

/// How words are cut, by llama.cpp's names for it.
fn byte_level(json: &Value) -> Result<Kind, String> {
    let (mut digits, mut pattern, mut prefix) = (false, None, false);
    for step in steps(&json["pre_tokenizer"]) {
        match step["type"].as_str() {
            Some("Digits") if step["individual_digits"] == true => digits = true,
            Some("Split") => pattern = step["pattern"]["Regex"].as_str().and_then(patterns::name_of).or(Some("another")),
            Some("ByteLevel") => {
                prefix = step["add_prefix_space"] == true;
                if step["use_regex"] != false {
                    pattern = pattern.or(Some("gpt2"));
                }
            }
            other => return Err(format!("it cuts words by a step ({}) that llama.cpp does not know", other.unwrap_or("unnamed"))),
        }
    }
    let model = &json["model"];
    let merges = model["merges"].as_array().cloned().unwrap_or_default();
    let whole = model["ignore_merges"] == true;
    let pre = match (pattern, digits, whole) {
        (Some("gpt2"), false, false) => "gpt-2",
        (Some("gpt2"), true, false) => "smollm",
        (Some("cl100k" | "llama3"), false, true) => "llama-bpe",
        (Some("cl100k" | "llama3"), false, false) => "dbrx",
        (Some("qwen2"), _, false) => "qwen2",
        (Some("o200k"), false, true) => "gpt-4o",
        // Nothing is merged, so that it does not matter where words end.
        _ if merges.is_empty() => "gpt-2",
        (found, ..) => return Err(format!("it cuts words in a way ({}) that llama.cpp has no name for", found.unwrap_or("none"))),
    };
    let merges = merges.iter().map(|merge| match (merge.as_str(), merge.as_array().map(Vec::as_slice)) {
        (Some(text), _) => Ok(text.to_owned()),
        (_, Some([left, right])) => Ok(format!("{} {}", left.as_str().unwrap_or_default(), right.as_str().unwrap_or_default())),
        _ => Err("it has a merge that is none".to_string()),
    });
    let mut keys = kind("gpt2", pre);
    keys.push(("tokenizer.ggml.merges".into(), Meta::Texts(merges.collect::<Result<_, _>>()?)));
    keys.push(("tokenizer.ggml.add_space_prefix".into(), Meta::Bool(prefix)));
    Ok(Kind { keys, scored: false })
}

fn sentencepiece(json: &Value) -> Result<Kind, String> {
    if !json["pre_tokenizer"].is_null() && !has_step(&json["pre_tokenizer"], "Metaspace") {
        return Err("it cuts words before it merges characters, which llama.cpp does for merges of bytes alone".into());
    }
    let normalizer = &json["normalizer"];
    let list = normalizer["normalizers"].as_array().cloned().unwrap_or_else(|| vec![normalizer.clone()]);
    let mut prefix = steps(&json["pre_tokenizer"]).iter().any(|step| step["prepend_scheme"].as_str().is_some_and(|s| s != "never"));
    for step in list.iter().filter(|step| !step.is_null()) {
        match step["type"].as_str() {
            Some("Prepend") => prefix = true,
            Some("Replace") if step["pattern"]["String"] == " " && step["content"] == BLANK => {}
            other => return Err(format!("it changes texts by a step ({}) that llama.cpp does not know", other.unwrap_or("unnamed"))),
        }
    }
    let mut keys = kind("llama", "default");
    keys.push(("tokenizer.ggml.add_space_prefix".into(), Meta::Bool(prefix)));
    Ok(Kind { keys, scored: true })
}

/// Text and kind of each token up to `vocab`; ids that nobody uses get names of their own.
fn tokens(json: &Value, vocab: usize) -> Result<Vec<(String, i32)>, String> {
    let mut out: Vec<(String, i32)> = (0..vocab).map(|id| (format!("[PAD{id}]"), UNUSED)).collect();
    let model = &json["model"];
    let unknown = model["unk_token"].as_str();
    let mut put = |id: Option<u64>, text: &str, kind: i32| match id.and_then(|id| out.get_mut(usize::try_from(id).ok()?)) {
        Some(place) => {
            *place = (text.to_owned(), kind);
            Ok(())
        }
        None => Err(format!("the token {:?} has an id beyond the {vocab} that the model knows", crate::text::visible(text, false))),
    };
    for (text, id) in model["vocab"].as_object().into_iter().flatten() {
        let byte = text.len() == 6 && text.starts_with("<0x") && text.ends_with('>') && model["byte_fallback"] == true;
        let kind = if byte { BYTE } else { NORMAL };
        put(id.as_u64(), text, kind)?;
    }
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        let text = token["content"].as_str().unwrap_or_default();
        let kind = match token["special"] == true {
            _ if unknown == Some(text) => UNKNOWN,
            true => CONTROL,
            false => USER_DEFINED,
        };
        put(token["id"].as_u64(), text, kind)?;
    }
    Ok(out)
}

/// The place of the first merge that makes a token.
fn ranks(model: &Value) -> HashMap<String, usize> {
    let mut out = HashMap::new();
    for (rank, merge) in model["merges"].as_array().into_iter().flatten().enumerate() {
        let made = match (merge.as_str(), merge.as_array().map(Vec::as_slice)) {
            (Some(text), _) => text.replacen(' ', "", 1),
            (_, Some([left, right])) => format!("{}{}", left.as_str().unwrap_or_default(), right.as_str().unwrap_or_default()),
            _ => continue,
        };
        out.entry(made).or_insert(rank + 1);
    }
    out
}

/// The token that is put before every text.
fn begins_with(tokenizer: &Tokenizer) -> Option<u32> {
    let (with, without) = (tokenizer.encode("a", true).ok()?, tokenizer.encode("a", false).ok()?);
    (with.len() > without.len() && with.first() != without.first()).then(|| with.first().copied()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tokenizer::named;
    use crate::gguf::blocks::Type;
    use crate::gguf::write::{Plan, Writer};
    use std::path::Path;

    /// Into a file and back: the same ids.
    #[test]
    fn what_is_handed_over_cuts_the_same() {
        let texts = ["The cat sat on the mat.", " two  blanks\nand a line, it's 1234", "a"];
        for name in ["builtin:sample", "builtin:bytes"] {
            let tokenizer = named(Path::new("."), name).unwrap();
            let vocab = tokenizer.vocab_size() + 3;
            let mut keys = metadata(&tokenizer, vocab, None).unwrap();
            keys.insert(0, ("general.architecture".into(), Meta::Text("llama".into())));
            let plan = Plan { name: "x".into(), shape: vec![1], kind: Type::F32 };
            let mut writer = Writer::new(Vec::new(), keys, vec![plan]).unwrap();
            writer.tensor(&mut |to| to.write_all(&[0; 4])).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("t.gguf");
            std::fs::write(&path, writer.finish().unwrap()).unwrap();
            let back = Tokenizer::load(&path).unwrap();
            for text in texts {
                assert_eq!(back.encode(text, true).unwrap(), tokenizer.encode(text, true).unwrap(), "{name} {text}");
            }
        }
    }
}
