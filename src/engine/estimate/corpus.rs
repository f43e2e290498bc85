//! What a recipe's text comes to: tokens to train on, and the size of the vocabulary. Short texts are counted, of long
//! ones the beginning of every file. Deliberately not here: any file that is written; the tokens are counted and gone.

use std::path::Path;

use crate::data::DataError;
use crate::data::fresh::Wish;
use crate::data::source::{self, Part, Source};
use crate::data::tokenizer::Tokenizer;
use crate::recipe::Recipe;
use crate::report::Silent;

/// Of the text, so many bytes are read.
const SAMPLED: u64 = 4 << 20;
/// A bpe vocabulary is made for the estimate where the whole text is no longer than this: it takes a moment.
const TRAINED: u64 = 1 << 20;
/// A tokenizer's bytes a token are measured on so much text.
const ENCODED: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corpus {
    /// Tokens to train on, the validation text not among them; none where no text is named.
    pub tokens: Option<u64>,
    /// Tokens to validate on.
    pub val_tokens: u64,
    pub vocab: usize,
    /// Whether the text was read to its end, rather than its beginning.
    pub whole: bool,
}

impl Corpus {
    /// Reads what the recipe names; `init` is the directory of the model that it goes on from.
    pub fn read(recipe: &Recipe, base: &Path, init: Option<&Path>) -> Result<Self, DataError> {
        let t = &recipe.tokenizer;
        let of_model = init.map(|dir| dir.join("tokenizer.json")).filter(|path| path.is_file());
        let own = match (&t.path, of_model) {
            (Some(path), _) => Some(Tokenizer::load(&base.join(path))?),
            (None, Some(path)) => Some(Tokenizer::load(&path)?),
            (None, None) => None,
        };
        if recipe.data.train.is_empty() {
            let guess = if t.kind == "char" { 96 } else { t.vocab };
            return Ok(Self { tokens: None, val_tokens: 0, vocab: own.map_or(guess, |own| own.vocab_size()), whole: false });
        }
        let (train, val) = source::of_recipe(&recipe.data, base)?;
        let name = t.end_of_text.as_deref();
        let end = own.as_ref().map_or(name.map(str::to_owned), |own| own.end_of_text(name).and_then(|id| own.token(id)));
        let text = Text::read(&train, end.as_deref())?;
        let special = usize::from(end.is_some());
        let trains = own.is_none() && t.kind == "bpe" && text.whole() && text.size <= TRAINED;
        let own = if trains { Some(Tokenizer::make(&Wish::of(t, &Vec::from_iter(name)), &train, &Silent)?) } else { own };
        let val_text = Text::read(&val, end.as_deref())?;
        let (vocab, per_byte) = match (&own, t.kind.as_str()) {
            (Some(own), _) => (own.vocab_size(), text.per_byte(own)?),
            (None, "bpe") => (t.vocab, 1.0 / usual_bytes(t.vocab)),
            (None, "byte") => (256 + special, 1.0),
            (None, _) => {
                let seen = text.seen.iter().zip(&val_text.seen).filter(|(a, b)| **a || **b).count();
                (seen + special, text.characters as f64 / text.bytes.max(1) as f64)
            }
        };
        let all = |text: &Text| {
            let ends = if end.is_some() { text.documents as f64 } else { 0.0 };
            (text.bytes as f64 * per_byte + ends) * text.scale()
        };
        let kept = if val.is_empty() { recipe.data.val_fraction } else { 0.0 };
        let (tokens, val_tokens) = (all(&text) * (1.0 - kept), all(&text) * kept + all(&val_text));
        Ok(Self { tokens: Some(tokens.round() as u64), val_tokens: val_tokens.round() as u64, vocab, whole: text.whole() })
    }
}

/// Bytes a token of a bpe of this size in usual English text.
fn usual_bytes(vocab: usize) -> f64 {
    1.4 + 0.45 * (vocab as f64 / 256.0).log2().clamp(0.0, 8.0)
}

/// What was read of some sources.
#[derive(Default)]
struct Text {
    /// Of all files together, and of that what was read.
    size: u64,
    read: u64,
    /// Of the documents: a JSONL row has more bytes than its text.
    bytes: u64,
    characters: u64,
    documents: u64,
    /// By code point.
    seen: Vec<bool>,
    /// The beginnings of the documents' texts, for a tokenizer to be measured on.
    beginning: String,
}

impl Text {
    fn read(sources: &[Source], end: Option<&str>) -> Result<Self, DataError> {
        let mut text = Self { seen: vec![false; 0x11_0000], ..Self::default() };
        let opened = sources.iter().map(Source::open).collect::<Result<Vec<_>, _>>()?;
        text.size = opened.iter().map(|bytes| bytes.len() as u64).sum();
        let share = (SAMPLED as f64 / text.size.max(1) as f64).min(1.0);
        for (source, bytes) in sources.iter().zip(&opened) {
            let bytes = beginning(bytes, share);
            text.read += bytes.len() as u64;
            for document in source::documents(bytes, Part::Whole, source, end)? {
                let document = document?.text;
                text.documents += 1;
                text.bytes += document.len() as u64;
                text.characters += document.chars().count() as u64;
                document.chars().for_each(|c| text.seen[c as usize] = true);
                if text.beginning.len() + document.len() <= ENCODED || text.beginning.is_empty() {
                    text.beginning.push_str(&document);
                }
            }
        }
        Ok(text)
    }
    fn whole(&self) -> bool {
        self.read == self.size
    }
    /// From what was read to all of it.
    fn scale(&self) -> f64 {
        self.size as f64 / self.read.max(1) as f64
    }
    fn per_byte(&self, tokenizer: &Tokenizer) -> Result<f64, DataError> {
        let cut = (0..=ENCODED.min(self.beginning.len())).rev().find(|at| self.beginning.is_char_boundary(*at)).unwrap_or(0);
        let ids = tokenizer.encode(&self.beginning[..cut], false)?;
        Ok(ids.len() as f64 / cut.max(1) as f64)
    }
}

/// The first `share` of a file, to the end of a line.
fn beginning(bytes: &[u8], share: f64) -> &[u8] {
    let least = (bytes.len() as f64 * share) as usize;
    match bytes.get(least..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        Some(at) if share < 1.0 => &bytes[..=least + at],
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::stream;

    /// The estimate's tokens beside those of a training's own stream.
    fn both(toml: &str, dir: &Path) -> (Corpus, (usize, usize), usize) {
        let recipe = Recipe::parse(toml, "recipe", &[]).unwrap();
        let corpus = Corpus::read(&recipe, dir, None).unwrap();
        let (train, val) = source::of_recipe(&recipe.data, dir).unwrap();
        let (tokenizer, end) = crate::data::tokenizer::of_recipe(&recipe.tokenizer, dir, &train, &val, &Silent).unwrap();
        let splits = stream::open(&train, &val, recipe.data.val_fraction, &tokenizer, end, &dir.join("cache"), &Silent).unwrap();
        (corpus, (splits.train.len(), splits.val.len()), tokenizer.vocab_size())
    }

    #[test]
    fn tokens_and_vocabulary_are_those_of_the_training() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.txt"), "Die Straße ist naß.\n".repeat(300)).unwrap();
        std::fs::write(dir.path().join("b.jsonl"), "{\"text\": \"one two three\", \"other\": \"is not read\"}\n".repeat(200)).unwrap();
        std::fs::write(dir.path().join("v.txt"), "Die Straße ist naß.\none two three\n".repeat(60)).unwrap();
        let files = "[data]\ntrain = [\"a.txt\", \"b.jsonl\"]\n";
        let tokenizers =
            ["kind = \"char\"", "kind = \"byte\"", "kind = \"byte\"\nend_of_text = \"<|end|>\"", "kind = \"bpe\"\nvocab = 300"];
        for (tokenizer, held) in tokenizers.into_iter().flat_map(|t| ["val_fraction = 0.1", "val = \"v.txt\""].map(|held| (t, held))) {
            let (corpus, (tokens, val), vocab) = both(&format!("{files}{held}\n[tokenizer]\n{tokenizer}\n"), dir.path());
            assert!(corpus.whole && corpus.vocab == vocab, "{tokenizer}: {corpus:?}, {vocab}");
            for (found, real) in [(corpus.tokens.unwrap(), tokens), (corpus.val_tokens, val)] {
                let off = found as f64 / real as f64;
                assert!((0.9..1.1).contains(&off), "{tokenizer}, {held}: {corpus:?}, {tokens} and {val}");
            }
            let off = corpus.tokens.unwrap() as f64 / tokens as f64;
            assert!((0.97..1.03).contains(&off), "{tokenizer}, {held}: {corpus:?}, {tokens}");
        }
    }

    #[test]
    fn of_a_long_text_the_beginning_speaks_for_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.txt"), "a line of no great length\n".repeat(300_000)).unwrap();
        let recipe =
            Recipe::parse("[data]\ntrain = [\"a.txt\"]\nval_fraction = 0.5\n[tokenizer]\nkind = \"char\"\n", "recipe", &[]).unwrap();
        let corpus = Corpus::read(&recipe, dir.path(), None).unwrap();
        assert!(!corpus.whole && corpus.tokens.unwrap().abs_diff(13 * 300_000) < 100, "{corpus:?}");
    }
}
