//! Tokenizer files of every known format, each turned into the `tokenizer.json` that says the same.
//! Deliberately not here: what is done with a tokenizer (`tokenizer`), and the making of new ones (`fresh`).

mod compose;
mod gguf;
mod pairs;
mod sentencepiece;
mod spm;
mod tiktoken;

use super::bytes::Bytes;
use super::{DataError, visible};
use compose::Added;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Larger files are no tokenizer: the largest known vocabularies take about 35 MB. A model with its weights (GGUF) may be larger.
const MAX_FILE_BYTES: u64 = 512 << 20;
/// Larger ones of the formats that have to be turned into another are none either.
const MAX_FOREIGN_BYTES: usize = 64 << 20;
/// Larger files are no chat template.
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;
/// Longer tokens are nobody's.
const MAX_TOKEN_BYTES: usize = 1024;

/// What was read of a file.
pub struct Raw {
    /// The file itself, where a directory was named.
    pub path: PathBuf,
    /// As a `tokenizer.json`.
    pub json: String,
    /// What `tokenizer_config.json` beside it says, or what the file itself says of that.
    pub config: Option<Value>,
    pub origin: Origin,
}

/// Where a tokenizer comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// `tokenizer.json`, `vocab.json and merges.txt`, `tiktoken`, `SentencePiece`, `GGUF`.
    pub format: &'static str,
    /// What had to be taken for granted, in lines for people.
    pub notes: Vec<String>,
}

/// The names of a directory's tokenizer, in the order in which they are looked for.
const NAMES: &[&str] = &["tokenizer.json", "tokenizer.model", "vocab.json"];
const REMEDY: &str = "name a tokenizer.json, a vocab.json beside its merges.txt, a .tiktoken, a SentencePiece .model or a .gguf";

/// Reads a tokenizer from its file, or from a directory that holds one.
pub fn read(path: &Path) -> Result<Raw, DataError> {
    let path = if path.is_dir() { within(path)? } else { path.to_owned() };
    let meta = std::fs::metadata(&path).map_err(|e| DataError::io(&path, &e))?;
    let file = Bytes::open(&path)?;
    if !crate::gguf::Metadata::is(&file) && meta.len() > MAX_FILE_BYTES {
        return Err(DataError::file(&path, format!("{} bytes are too many for a tokenizer", meta.len()), REMEDY));
    }
    let beside = Beside::of(&path);
    let fault = |what: String| DataError::file(&path, what, REMEDY);
    let read = match recognise(&path, &file) {
        Kind::Json => {
            let text = std::str::from_utf8(&file).map_err(|e| fault(format!("not UTF-8 at byte {}", e.valid_up_to())))?;
            if path.file_name().is_none_or(|n| n != "tokenizer.json") && pairs::is_vocabulary(text) {
                return pairs::read(&path, text, &beside).map(|read| read.at(path.clone()));
            }
            Ok(Read { json: text.to_owned(), config: beside.config, origin: Origin { format: "tokenizer.json", notes: Vec::new() } })
        }
        Kind::Merges => pairs::read_by_merges(&path, &beside),
        Kind::Gguf => gguf::read(&file, beside).map_err(fault),
        Kind::Tiktoken if file.len() <= MAX_FOREIGN_BYTES => tiktoken::read(&path, &file, beside).map_err(fault),
        Kind::SentencePiece if file.len() <= MAX_FOREIGN_BYTES => sentencepiece::read(&file, beside).map_err(fault),
        _ => Err(fault(format!("{} bytes are too many for a tokenizer", meta.len()))),
    };
    read.map(|read| read.at(path.clone()))
}

/// What one format's reader gives.
struct Read {
    json: String,
    config: Option<Value>,
    origin: Origin,
}

impl Read {
    fn at(self, path: PathBuf) -> Raw {
        Raw { path, json: self.json, config: self.config, origin: self.origin }
    }
}

enum Kind {
    Json,
    Merges,
    Gguf,
    Tiktoken,
    SentencePiece,
}

/// By what the file holds, since `tokenizer.model` is SentencePiece's for one model and tiktoken's for another.
fn recognise(path: &Path, file: &[u8]) -> Kind {
    let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let binary = file.iter().take(64).any(|b| *b < 9);
    if crate::gguf::Metadata::is(file) || name.ends_with(".gguf") {
        Kind::Gguf
    } else if name.ends_with(".txt") && name.contains("merges") {
        Kind::Merges
    } else if name.ends_with(".tiktoken") || tiktoken::begins(file) {
        Kind::Tiktoken
    } else if binary || name.ends_with(".model") {
        Kind::SentencePiece
    } else {
        Kind::Json
    }
}

fn within(dir: &Path) -> Result<PathBuf, DataError> {
    if let Some(found) = NAMES.iter().map(|name| dir.join(name)).find(|p| p.is_file()) {
        return Ok(found);
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(|e| DataError::io(dir, &e))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "tiktoken" || e == "gguf" || e == "model"))
        .collect();
    found.sort();
    match found.len() {
        0 => Err(DataError::file(dir, "holds no tokenizer", REMEDY)),
        1 => Ok(found.remove(0)),
        n => Err(DataError::file(dir, format!("holds {n} files that may be tokenizers"), "name one of them")),
    }
}

/// What lies beside a tokenizer's file and belongs to it.
#[derive(Default)]
struct Beside {
    config: Option<Value>,
    /// Added tokens that `tokenizer_config.json` or `added_tokens.json` name.
    added: Vec<Added>,
}

impl Beside {
    fn of(path: &Path) -> Self {
        let dir = path.parent().unwrap_or(Path::new(""));
        let read = |name: &str| {
            let file = dir.join(name);
            let small = std::fs::metadata(&file).is_ok_and(|m| m.is_file() && m.len() <= MAX_FOREIGN_BYTES as u64);
            let value: Option<Value> = small.then(|| Bytes::open(&file).ok().and_then(|b| serde_json::from_slice(&b).ok())).flatten();
            value.filter(Value::is_object)
        };
        let mut config = read("tokenizer_config.json");
        // Newer models keep their chat template in a file of its own, which goes before the configuration's.
        let template = dir.join("chat_template.jinja");
        if std::fs::metadata(&template).is_ok_and(|m| m.is_file() && m.len() <= MAX_TEMPLATE_BYTES)
            && let Ok(text) = std::fs::read_to_string(&template)
        {
            let mut with = configured(config, &[]).unwrap_or_default();
            with["chat_template"] = Value::String(text);
            config = Some(with);
        }
        let mut added: Vec<Added> = Vec::new();
        for (id, token) in config.iter().filter_map(|c| c["added_tokens_decoder"].as_object()).flatten() {
            if let (Ok(id), Some(content)) = (id.parse(), token["content"].as_str()) {
                added.push(Added { id, content: content.into(), special: token["special"] == Value::Bool(true) });
            }
        }
        for (content, id) in read("added_tokens.json").iter().filter_map(Value::as_object).flatten() {
            if let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok())
                && !added.iter().any(|t| t.id == id)
            {
                added.push(Added::special(id, content));
            }
        }
        Self { config, added }
    }

    /// A key of the configuration that is a token's name.
    fn token(&self, key: &str) -> Option<&str> {
        let value = self.config.as_ref()?.get(key)?;
        value.as_str().or_else(|| value["content"].as_str())
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.config.as_ref()?.get(key)?.as_bool()
    }
}

/// A configuration with these tokens' names in it, where it does not name any itself.
fn configured(config: Option<Value>, names: &[(&str, Option<&str>)]) -> Option<Value> {
    let mut config = config
        .unwrap_or_else(|| serde_json::json!({ "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false }));
    for (key, name) in names {
        if let (Some(name), true) = (name, config.get(*key).is_none_or(Value::is_null)) {
            config[*key] = Value::String((*name).to_owned());
        }
    }
    Some(config)
}

/// A token as a message may show it.
fn quoted(token: &str) -> String {
    format!("“{}”", visible(token).chars().take(40).collect::<String>())
}
