//! New tokenizers: `char`, `byte` and byte-level `bpe`, as the text of a `tokenizer.json`.
//! Deliberately not here: the use of a tokenizer, and of one that exists already (`tokenizer`).

use super::encoding::{self, ANY_CHARACTER, Plan};
use super::source::{self, Part, Source};
use super::{DataError, decoding, thousands, visible};
use crate::report::{Level, Monitor, Report};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString};
use tokenizers::{PreTokenizer, PreTokenizerWrapper, Trainer};

/// The kinds of new tokenizers, for messages and help.
pub const KINDS: [&str; 3] = ["char", "byte", "bpe"];
/// The largest vocabulary that is trained; larger ones gain nothing and take hours.
pub const MAX_BPE_VOCAB: usize = 1 << 20;
/// A pair that occurs once makes a token that nothing else uses.
const MIN_PAIR_COUNT: u64 = 2;
/// What the library counts words of at once.
const PIECE_BYTES: usize = 64 << 10;

/// The `tokenizer.json` of a new tokenizer. `special` are tokens of their own that divide the text.
pub fn train(kind: &str, vocab: usize, special: &[&str], sources: &[Source], monitor: &dyn Monitor) -> Result<String, DataError> {
    for (i, name) in special.iter().enumerate() {
        if name.chars().count() < 2 || special[..i].contains(name) {
            let name = visible(name);
            return Err(DataError::Other(format!(
                "the special token “{name}” needs a name of its own of at least two characters; write it like <|endoftext|>"
            )));
        }
    }
    let value = match kind {
        "char" => char_json(&characters(special, sources, monitor)?, special),
        "byte" => byte_json(special),
        "bpe" => return bpe(vocab, special, sources, monitor),
        other => {
            let distance = |k: &&&str| strsim::damerau_levenshtein(k, other);
            let nearest = KINDS.iter().min_by_key(distance).filter(|k| distance(k) <= 2);
            let hint = nearest.map(|k| format!("did you mean {k}? ")).unwrap_or_default();
            return Err(DataError::Other(format!(
                "tokenizer kind “{}” is unknown; {hint}write one of {}",
                visible(other),
                KINDS.join(", ")
            )));
        }
    };
    serde_json::to_string_pretty(&value).map_err(|e| DataError::Other(format!("the tokenizer has no JSON form: {e}; report this")))
}

/// All characters of the text, in order of their code points.
fn characters(special: &[&str], sources: &[Source], monitor: &dyn Monitor) -> Result<Vec<char>, DataError> {
    let mut seen = vec![false; 0x11_0000];
    with_texts(sources, special, monitor, "reading characters", |texts| {
        for text in texts {
            text.chars().for_each(|c| seen[c as usize] = true);
        }
    })?;
    let found: Vec<char> = (0..0x11_0000u32).filter(|c| seen[*c as usize]).filter_map(char::from_u32).collect();
    if found.is_empty() {
        return Err(DataError::Other("a char tokenizer needs a text to take its characters from; name files to train on".into()));
    }
    Ok(found)
}

fn char_json(characters: &[char], special: &[&str]) -> Value {
    let vocab = characters.iter().map(char::to_string).chain(special.iter().map(|s| (*s).to_owned()));
    let vocab: Map<String, Value> = vocab.enumerate().map(|(id, token)| (token, json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added(special, characters.len()),
        "normalizer": null,
        "pre_tokenizer": { "type": "Split", "pattern": { "Regex": ANY_CHARACTER }, "behavior": "Isolated", "invert": false },
        "post_processor": null,
        "decoder": { "type": "Fuse" },
        // The unknown token is none of the vocabulary, so that an unknown character is an error in Python too.
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" },
    })
}

fn byte_json(special: &[&str]) -> Value {
    let vocab = (0..=255u8).map(|b| decoding::char_of(b).to_string()).chain(special.iter().map(|s| (*s).to_owned()));
    let vocab: Map<String, Value> = vocab.enumerate().map(|(id, token)| (token, json!(id))).collect();
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added(special, 256),
        "normalizer": null, "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": [],
        },
    })
}

fn added(special: &[&str], first: usize) -> Vec<Value> {
    let token = |(i, content)| json!({ "id": first + i, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
    special.iter().enumerate().map(token).collect()
}

fn bpe(vocab: usize, special: &[&str], sources: &[Source], monitor: &dyn Monitor) -> Result<String, DataError> {
    let least = 256 + special.len();
    if !(least..=MAX_BPE_VOCAB).contains(&vocab) {
        let why = if special.is_empty() { "256 bytes" } else { "256 bytes and the special tokens" };
        return Err(DataError::Other(format!(
            "tokenizer.vocab = {vocab} is out of range; a bpe vocabulary has {least} ({why}) to {MAX_BPE_VOCAB} tokens"
        )));
    }
    let fault =
        |e: tokenizers::Error| DataError::Other(format!("training the tokenizer failed: {}; check the text", visible(&e.to_string())));
    let words = ByteLevel::new(false, false, true);
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocab)
        .min_frequency(MIN_PAIR_COUNT)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.iter().map(|s| AddedToken::from(*s, true)).collect())
        .build();
    with_texts(sources, special, monitor, "counting words", |texts| trainer.feed(texts, |text| cut_words(words, text)))?.map_err(fault)?;
    // The library merges without a word, and cannot be stopped there.
    monitor.report(progress("merging pairs", 0, None, "merges"));
    let mut model = BPE::default();
    let special = trainer.train(&mut model).map_err(fault)?;
    if monitor.stopped() {
        return Err(DataError::Stopped);
    }
    let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::BPE(model));
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(words)));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(words)));
    tokenizer.add_special_tokens(special).map_err(fault)?;
    let reached = tokenizer.get_vocab_size(true);
    if reached < vocab {
        monitor.report(Report::note(
            Level::Warning,
            format!(
                "the tokenizer has {} tokens, not {}: no further pair of this text occurs twice",
                thousands(reached as u64),
                thousands(vocab as u64)
            ),
        ));
    }
    tokenizer.to_string(true).map_err(fault)
}

/// The words of a text in the byte alphabet. The library's trainer takes time by the square of a word's length,
/// so a word without end (a line of dashes, Base64) is counted in parts.
fn cut_words(words: ByteLevel, text: &str) -> tokenizers::Result<Vec<String>> {
    let mut cut = PreTokenizedString::from(text);
    words.pre_tokenize(&mut cut)?;
    let mut out = Vec::new();
    for (word, _, _) in cut.get_splits(OffsetReferential::Original, OffsetType::None) {
        if word.len() <= LONGEST_WORD {
            out.push(word.to_owned());
            continue;
        }
        let letters: Vec<char> = word.chars().collect();
        out.extend(letters.chunks(LONGEST_WORD).map(|part| part.iter().collect::<String>()));
    }
    Ok(out)
}

/// In characters of the byte alphabet.
const LONGEST_WORD: usize = 256;

/// Hands the text of all sources to `consume`, in pieces that no special token stands in. A fault of a source and
/// a stop end the texts early, and are the result whatever `consume` made of them.
fn with_texts<R>(
    sources: &[Source],
    special: &[&str],
    monitor: &dyn Monitor,
    what: &str,
    consume: impl FnOnce(&mut (dyn Iterator<Item = Cow<'_, str>> + Send)) -> R,
) -> Result<R, DataError> {
    let opened = sources.iter().map(Source::open).collect::<Result<Vec<_>, _>>()?;
    let total: u64 = opened.iter().map(|bytes| bytes.len() as u64).sum();
    let (mut done, mut told) = (0, 0);
    let mut fault = None;
    let mut texts = opened
        .iter()
        .zip(sources)
        .flat_map(|(bytes, source)| match source::documents(bytes, Part::Whole, source, None) {
            Ok(documents) => Box::new(documents) as super::formats::Documents,
            Err(e) => Box::new(std::iter::once(Err(e))),
        })
        .flat_map(|document| match document {
            Ok(document) => slices(document.text, special).into_iter().map(Ok).collect::<Vec<Result<_, DataError>>>(),
            Err(e) => vec![Err(e)],
        })
        .map_while(|text| {
            let text = if monitor.stopped() { Err(DataError::Stopped) } else { text };
            done += text.as_ref().map_or(0, |t| t.len() as u64);
            if done - told >= REPORT_EVERY_BYTES {
                told = done;
                monitor.report(progress(what, done, Some(total), "bytes"));
            }
            text.map_err(|e| fault = Some(e)).ok()
        });
    let result = consume(&mut texts);
    drop(texts);
    match fault {
        Some(e) => Err(e),
        None if monitor.stopped() => Err(DataError::Stopped),
        None => Ok(result),
    }
}

const REPORT_EVERY_BYTES: u64 = 1 << 20;

fn progress(what: &str, done: u64, total: Option<u64>, unit: &str) -> Report {
    Report::Progress { what: what.into(), done, total, unit: unit.into() }
}

fn slices<'a>(text: Cow<'a, str>, special: &[&str]) -> Vec<Cow<'a, str>> {
    fn cut<'t>(text: &'t str, special: &[&str]) -> Vec<&'t str> {
        let mut parts = vec![text];
        for mark in special {
            parts = parts.into_iter().flat_map(|part| part.split(mark)).collect();
        }
        parts.into_iter().flat_map(|part| encoding::pieces(part, &Plan::Lines, PIECE_BYTES)).collect()
    }
    match text {
        Cow::Borrowed(text) => cut(text, special).into_iter().map(Cow::Borrowed).collect(),
        Cow::Owned(text) => cut(&text, special).into_iter().map(|part| Cow::Owned(part.to_owned())).collect(),
    }
}
