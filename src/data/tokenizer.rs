//! Tokenizers in the format of the tokenizers library, whatever made them: text to ids, and ids to bytes and text.
//! Deliberately not here: the making of new ones (`fresh`), and streams of tokens (`stream`).

use super::decoding::{self, Rule};
use super::encoding::{self, Plan};
use super::fast::Fast;
use super::fresh::{self, Wish};
use super::loaders::{self, Origin};
use super::sample;
use super::source::{self, Source};
use super::{DataError, visible};
use crate::recipe::{Recipe, TokenizerSection};
use crate::report::{Monitor, Silent};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Larger ids are no vocabulary; a model's embedding has a row for each id.
const MAX_VOCAB: usize = 1 << 24;
/// Pieces of a long text that the library encodes at once; it keeps some 50 bytes a byte while it does.
const PIECE_BYTES: usize = 32 << 10;

/// The usual names of the token that ends a document, in order of preference.
const END_NAMES: [&str; 7] = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eot_id|>", "<|im_end|>", "<|end|>"];

/// A tokenizer. Cloning is cheap.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    library: tokenizers::Tokenizer,
    json: String,
    hash: String,
    /// `tokenizer_config.json` beside the file that this was loaded from.
    config: Option<Value>,
    origin: Origin,
    vocab_size: usize,
    rules: Vec<Rule>,
    plan: Plan,
    fast: Option<Fast>,
    /// The contents of added tokens: a text with one of them is the library's to encode.
    added: Added,
    post_processes: bool,
}

/// The tokens that are found in a text by their names.
struct Added {
    contents: Vec<String>,
    /// The bytes that they begin with: most texts have none of them.
    begins: [bool; 256],
}

impl Added {
    fn new(contents: Vec<String>) -> Self {
        let mut begins = [false; 256];
        contents.iter().filter_map(|c| c.bytes().next()).for_each(|b| begins[usize::from(b)] = true);
        Self { contents, begins }
    }

    fn stands_in(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let begins = |at: usize| self.contents.iter().any(|c| bytes[at..].starts_with(c.as_bytes()));
        bytes.iter().enumerate().any(|(at, b)| self.begins[usize::from(*b)] && begins(at))
    }
}

/// Why a text could not be encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodeFault {
    /// The byte in the text, where it is known.
    pub offset: Option<usize>,
    pub what: String,
    pub remedy: String,
}

impl Tokenizer {
    /// Reads a tokenizer of any known format (`loaders`), or the one in a directory. Truncation and padding that a file
    /// asks for are left out, since both would change training texts without a word.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let raw = loaders::read(path)?;
        Self::parse(&raw.json, raw.config, raw.origin)
            .map_err(|what| DataError::file(raw.path, what, "name a tokenizer.json of the Hugging Face tokenizers library"))
    }

    /// A tokenizer from the text of a `tokenizer.json`.
    pub fn from_json(text: &str) -> Result<Self, DataError> {
        let origin = Origin { format: "tokenizer.json", notes: Vec::new() };
        Self::parse(text, None, origin).map_err(DataError::Other)
    }

    fn parse(text: &str, config: Option<Value>, origin: Origin) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {}", visible(&e.to_string())))?;
        if !value["model"].is_object() {
            return Err("not a tokenizer: it has no “model” object".into());
        }
        let fault = |e: tokenizers::Error| format!("not a tokenizer: {}", visible(&e.to_string()));
        let mut library = tokenizers::Tokenizer::from_bytes(text.as_bytes()).map_err(fault)?;
        library.with_truncation(None).map_err(fault)?;
        library.with_padding(None);
        let vocab_size = library.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        if vocab_size == 0 || vocab_size > MAX_VOCAB {
            return Err(format!("a vocabulary of {vocab_size} ids is no vocabulary"));
        }
        let added = value["added_tokens"].as_array().into_iter().flatten();
        let added = added.filter_map(|t| t["content"].as_str()).filter(|c| !c.is_empty()).map(str::to_owned).collect();
        let inner = Inner {
            vocab_size,
            rules: decoding::rules(&library),
            plan: encoding::plan(&value),
            fast: Fast::new(&value),
            added: Added::new(added),
            post_processes: library.get_post_processor().is_some(),
            hash: hex(&Sha256::digest(text.as_bytes())),
            json: text.to_owned(),
            config: config.filter(Value::is_object),
            origin,
            library,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A new tokenizer from the whole text of `sources`. `kind` is `char` (the characters of the text), `byte`
    /// (256 bytes) or `bpe` (byte-level, at most `vocab` tokens). Progress goes to `monitor`, which can stop it.
    pub fn train(
        kind: &str,
        vocab: usize,
        end_of_text: Option<&str>,
        sources: &[Source],
        monitor: &dyn Monitor,
    ) -> Result<Self, DataError> {
        let special: Vec<&str> = end_of_text.into_iter().collect();
        Self::make(&Wish::new(kind, vocab, &special), sources, monitor)
    }

    /// As [`Self::train`], with all that can be wished for.
    pub fn make(wish: &Wish, sources: &[Source], monitor: &dyn Monitor) -> Result<Self, DataError> {
        Self::from_json(&fresh::train(wish, sources, monitor)?)
    }

    /// Writes `tokenizer.json`, beside, synced and renamed.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        write_beside(path, |file| file.write_all(self.json().as_bytes()))
    }

    /// The ids of a text. With `special`, the tokens that the tokenizer puts around a text (such as `<s>`) are
    /// added. An added token whose literal name stands in the text becomes that token, as in the library.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, DataError> {
        let fault = |f: EncodeFault| DataError::Other(format!("{}; {}", f.what, f.remedy));
        if special && self.inner.post_processes {
            let encoding = self.inner.library.encode_fast(text, true);
            return encoding.map(|e| e.get_ids().to_vec()).map_err(|e| fault(library_fault(&e)));
        }
        self.encode_text(text).map_err(fault)
    }

    /// The ids of a text without any token around it; a fault tells its place.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, EncodeFault> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 8);
        let mut offset = 0;
        for piece in self.pieces(text, PIECE_BYTES) {
            self.encode_piece(piece, &mut ids).map_err(|f| EncodeFault { offset: f.offset.map(|o| o + offset), ..f })?;
            offset += piece.len();
        }
        Ok(ids)
    }

    /// Cuts a text into pieces of about `target` bytes whose ids, one after another, are those of the text.
    pub fn pieces<'a>(&self, text: &'a str, target: usize) -> impl Iterator<Item = &'a str> + use<'a> {
        encoding::pieces(text, &self.inner.plan, target)
    }

    fn encode_piece(&self, piece: &str, ids: &mut Vec<u32>) -> Result<(), EncodeFault> {
        let has_added = || self.inner.added.stands_in(piece);
        match &self.inner.plan {
            Plan::Byte(table) if !has_added() => ids.extend(piece.bytes().map(|b| table[usize::from(b)])),
            Plan::Char(table) if !has_added() => {
                for (at, c) in piece.char_indices() {
                    ids.push(*table.get(&c).ok_or_else(|| unknown_character(c, at, table.len()))?);
                }
            }
            _ => {
                if let Some(fast) = self.inner.fast.as_ref().filter(|_| !has_added())
                    && fast.encode(piece, ids, |word| self.long_word(word))
                {
                    return Ok(());
                }
                let encoding = self.inner.library.encode_fast(piece, false).map_err(|e| self.unknown(piece, &e))?;
                ids.extend_from_slice(encoding.get_ids());
            }
        }
        Ok(())
    }

    /// The ids of one word, however long, by the library.
    fn long_word(&self, word: &str) -> Option<Vec<u32>> {
        use tokenizers::Model;
        let spelled: String = word.bytes().map(decoding::char_of).collect();
        let tokens = self.inner.library.get_model().tokenize(&spelled).ok()?;
        Some(tokens.into_iter().map(|token| token.id).collect())
    }

    /// The library says that something is unknown, and not what.
    fn unknown(&self, piece: &str, error: &tokenizers::Error) -> EncodeFault {
        if let Plan::Char(table) = &self.inner.plan {
            let mut rest = piece.to_owned();
            for token in &self.inner.added.contents {
                rest = rest.replace(token.as_str(), &"\n".repeat(token.len()));
            }
            let unknown = rest.char_indices().find(|(at, c)| !table.contains_key(c) && piece[*at..].starts_with(*c));
            if let Some((at, c)) = unknown {
                return unknown_character(c, at, table.len());
            }
        }
        library_fault(error)
    }

    /// The library's own decoding.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        // The library fails on nothing but a faulty decoder; the bytes are then the best there is.
        self.inner.library.decode(ids, skip_special).unwrap_or_else(|_| {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| self.token_bytes(*id)).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    /// The raw bytes that a token adds to the text; never shown without `text::visible`. Empty for an unknown id.
    /// A special token adds its own name.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        match self.inner.library.id_to_token(id) {
            Some(token) => decoding::bytes(&token, &self.inner.rules),
            None => Vec::new(),
        }
    }

    /// A token as its vocabulary spells it (`Ġthe`).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.library.id_to_token(id)
    }

    /// The number of ids, added and special tokens included: the largest id and one.
    pub fn vocab_size(&self) -> usize {
        self.inner.vocab_size
    }

    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.library.token_to_id(token)
    }

    /// Whether a token marks something and is no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.library.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
    }

    /// The token that ends a document, if the vocabulary has one: `name`, or what `tokenizer_config.json` names,
    /// or one of the usual names.
    pub fn end_of_text(&self, name: Option<&str>) -> Option<u32> {
        if let Some(name) = name {
            return self.token_id(name);
        }
        let configured = self.inner.config.as_ref().and_then(|c| content(&c["eos_token"])).and_then(|name| self.token_id(&name));
        configured.or_else(|| END_NAMES.iter().find_map(|name| self.token_id(name).filter(|id| self.is_special(*id))))
    }

    /// `tokenizer.json` as text, as it is copied into checkpoints.
    pub fn json(&self) -> &str {
        &self.inner.json
    }

    /// SHA-256 of the JSON, in hexadecimal.
    pub fn hash(&self) -> String {
        self.inner.hash.clone()
    }

    /// The text of a `tokenizer_config.json` with which `AutoTokenizer` opens this tokenizer: what lay beside
    /// a loaded one, or a new one. `context` is the longest text in tokens; a template is Jinja's.
    pub fn config_json(&self, end_of_text: Option<u32>, context: usize, chat_template: Option<&str>) -> String {
        let mut config = self.inner.config.clone().unwrap_or_else(
            || json!({ "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false, "model_max_length": context }),
        );
        if let Some(name) = end_of_text.and_then(|id| self.token(id)) {
            config["eos_token"] = Value::String(name);
        }
        if let Some(template) = chat_template {
            config["chat_template"] = Value::String(template.to_owned());
        }
        serde_json::to_string_pretty(&config).unwrap_or_default() + "\n"
    }

    /// The chat template that came with a loaded tokenizer, where it is a single one (`template::Template` knows all).
    pub fn chat_template(&self) -> Option<&str> {
        self.inner.config.as_ref()?["chat_template"].as_str()
    }

    /// What `tokenizer_config.json` says, or what the tokenizer's own file says of that.
    pub fn config(&self) -> Option<&Value> {
        self.inner.config.as_ref()
    }

    /// The ids of a text, and the bytes of the text that each is of; `(0, 0)` for what stands around it.
    pub fn encode_with_places(&self, text: &str, special: bool) -> Result<(Vec<u32>, Vec<(usize, usize)>), DataError> {
        let fault = |f: EncodeFault| DataError::Other(format!("{}; {}", f.what, f.remedy));
        let encoding = self.inner.library.encode(text, special).map_err(|e| fault(self.unknown(text, &e)))?;
        Ok((encoding.get_ids().to_vec(), encoding.get_offsets().to_vec()))
    }

    /// The library's own object, for what only it knows.
    pub(super) fn library(&self) -> &tokenizers::Tokenizer {
        &self.inner.library
    }

    /// The format that it was read from, and what had to be taken for granted.
    pub fn origin(&self) -> &Origin {
        &self.inner.origin
    }

    /// How long texts are encoded, for tests and measurements.
    pub fn plan(&self) -> &Plan {
        &self.inner.plan
    }
}

/// The prefix of a tokenizer that no file holds: `builtin:bytes`, `builtin:sample`.
pub const BUILTIN: &str = "builtin:";

/// A tokenizer by its file or directory in a project, or one that is built in: the 256 bytes, or the pieces that the
/// sample's recipe learns.
pub fn named(project: &Path, name: &str) -> Result<Tokenizer, DataError> {
    match name.strip_prefix(BUILTIN) {
        None => Tokenizer::load(&project.join(name)),
        Some("bytes") => Tokenizer::train("byte", 0, Some("<|endoftext|>"), &[], &Silent),
        Some("sample") => {
            let recipe: Recipe = sample::recipe("sample").and_then(|text| toml::from_str(text).ok()).unwrap_or_default();
            let (train, val) = source::of_recipe(&recipe.data, project)?;
            of_recipe(&recipe.tokenizer, project, &train, &val, &Silent).map(|(tokenizer, _)| tokenizer)
        }
        Some(_) => {
            Err(DataError::Other(format!("{}: no such tokenizer is built in; there are builtin:bytes and builtin:sample", visible(name))))
        }
    }
}

/// The tokenizer of a recipe and its end-of-text token: an existing one, used as it is, or a new one from the
/// training text. A `char` vocabulary takes in the validation text too, which it could not encode otherwise.
pub fn of_recipe(
    section: &TokenizerSection,
    base: &Path,
    train: &[Source],
    val: &[Source],
    monitor: &dyn Monitor,
) -> Result<(Tokenizer, Option<u32>), DataError> {
    let name = section.end_of_text.as_deref();
    let Some(path) = &section.path else {
        let sources: Vec<Source> = if section.kind == "char" { [train, val].concat() } else { train.to_vec() };
        let special: Vec<&str> = name.into_iter().collect();
        let tokenizer = Tokenizer::make(&Wish::of(section, &special), &sources, monitor)?;
        let end = name.and_then(|name| tokenizer.token_id(name));
        return Ok((tokenizer, end));
    };
    let path = base.join(path);
    let tokenizer = Tokenizer::load(&path)?;
    let end = tokenizer.end_of_text(name);
    match (name, end) {
        (Some(name), None) => Err(DataError::file(
            path,
            format!("the vocabulary has no token “{}”", visible(name)),
            "leave tokenizer.end_of_text out, or name a token that it has",
        )),
        _ => Ok((tokenizer, end)),
    }
}

/// A token's name in a configuration: a string, or an object with its content.
fn content(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

fn unknown_character(c: char, at: usize, characters: usize) -> EncodeFault {
    let shown = c.to_string();
    EncodeFault {
        offset: Some(at),
        what: format!("the character “{}” (U+{:04X}) is not among the {characters} of this char vocabulary", visible(&shown), u32::from(c)),
        remedy: "leave it out, or train with tokenizer.kind = \"byte\" or \"bpe\", which know every text".into(),
    }
}

fn library_fault(error: &tokenizers::Error) -> EncodeFault {
    EncodeFault {
        offset: None,
        what: format!("the tokenizer cannot encode this text: {}", visible(&error.to_string())),
        remedy: "use a tokenizer with an unknown token or with bytes".into(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes a file beside `path`, syncs it, and renames it into place, so that no reader ever sees a half of it.
pub(crate) fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut std::io::BufWriter<&std::fs::File>) -> std::io::Result<()>,
) -> Result<(), DataError> {
    let io = |e: &std::io::Error| DataError::io(path, e);
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(|e| DataError::io(dir, &e))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".part");
    // Temporary files are their owner's alone by default; what is made here may be read as any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let beside = builder.tempfile_in(dir).map_err(|e| DataError::io(dir, &e))?;
    let mut writer = std::io::BufWriter::with_capacity(1 << 20, beside.as_file());
    write(&mut writer).and_then(|()| writer.flush()).map_err(|e| io(&e))?;
    drop(writer);
    beside.as_file().sync_all().map_err(|e| io(&e))?;
    beside.persist(path).map_err(|e| io(&e.error))?;
    Ok(())
}
