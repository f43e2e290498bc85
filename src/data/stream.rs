//! Token streams: all tokens of a split, made once from the sources and mapped from the cache ever after.
//! Deliberately not here: which windows of a stream make a batch (`batch`), and the cache's layout (`cache`).

use super::bytes::Bytes;
use super::cache::{self, TokenFile};
use super::source::{self, Part, Source};
use super::tokenizer::{EncodeFault, Tokenizer, hex};
use super::{DataError, shown, thousands, visible};
use crate::report::{Level, Monitor, Report};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// All tokens of a split, one after another. Cloning is cheap.
#[derive(Clone)]
pub struct TokenStream {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    name: String,
    end_of_text: Option<u32>,
    stats: Stats,
}

enum Store {
    File(TokenFile),
    Memory(Vec<u32>),
}

/// What a split holds. Characters and bytes are the text's, without end-of-text tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub documents: u64,
    pub characters: u64,
    pub bytes: u64,
    pub tokens: u64,
}

impl TokenStream {
    /// A stream in memory, of tokens that somebody already has.
    pub fn from_ids(ids: Vec<u32>, end_of_text: Option<u32>) -> Self {
        let stats = Stats { tokens: ids.len() as u64, ..Stats::default() };
        Self { inner: Arc::new(Inner { store: Store::Memory(ids), name: "the tokens".into(), end_of_text, stats }) }
    }

    pub fn len(&self) -> usize {
        match &self.inner.store {
            Store::File(file) => file.ids(),
            Store::Memory(ids) => ids.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens `start..start + out.len()`, which must be in the stream.
    pub fn read(&self, start: usize, out: &mut [u32]) {
        match &self.inner.store {
            Store::File(file) => file.read(start, out),
            Store::Memory(ids) => out.copy_from_slice(&ids[start..start + out.len()]),
        }
    }

    /// The token after which a new document begins.
    pub fn end_of_text(&self) -> Option<u32> {
        self.inner.end_of_text
    }

    pub fn stats(&self) -> Stats {
        self.inner.stats
    }

    /// For messages: the file, or how many of them.
    pub fn name(&self) -> &str {
        &self.inner.name
    }
}

/// A recipe's two splits as tokens.
pub struct Splits {
    pub train: TokenStream,
    /// Empty where the recipe asks for no validation.
    pub val: TokenStream,
    /// UTF-8 bytes of the validation text (bits per byte).
    pub val_bytes: u64,
    /// What was found: documents, characters, tokens, whether the cache served.
    pub facts: Vec<(String, String)>,
    val_wanted: bool,
}

impl Splits {
    /// Whether each split holds one window of `context` tokens and the token after it; the error says which does
    /// not, by how much, and what to change.
    pub fn check(&self, context: usize) -> Result<(), DataError> {
        let needed = context as u64 + 1;
        let have = |stream: &TokenStream| stream.len() as u64;
        if have(&self.train) < needed {
            return Err(too_short(&self.train, context));
        }
        if self.val_wanted && have(&self.val) < needed {
            let (name, have) = (self.val.name(), thousands(have(&self.val)));
            return Err(DataError::file(
                name,
                format!(
                    "the validation split of {have} tokens is too small for one window of {} (model.context and one)",
                    thousands(needed)
                ),
                "raise data.val_fraction, name a longer data.val or lower model.context",
            ));
        }
        Ok(())
    }
}

pub(super) fn too_short(stream: &TokenStream, context: usize) -> DataError {
    DataError::file(
        stream.name(),
        format!(
            "{} tokens of training text are fewer than one window of {} (model.context and one)",
            thousands(stream.len() as u64),
            thousands(context as u64 + 1)
        ),
        "add text or lower model.context",
    )
}

/// Tokenizes the sources, or maps what an earlier start left in `cache` (by content hash of files and tokenizer).
/// Without validation sources the end of each training source validates, by `val_fraction`: the last characters
/// of a text, the last rows of a JSONL file. `end_of_text` follows every document. A cache that cannot be written
/// costs a note and memory, and nothing else.
pub fn open(
    train: &[Source],
    val: &[Source],
    val_fraction: f64,
    tokenizer: &Tokenizer,
    end_of_text: Option<u32>,
    cache: &Path,
    monitor: &dyn Monitor,
) -> Result<Splits, DataError> {
    if train.is_empty() {
        return Err(DataError::Other("there is no training text; name files in data.train".into()));
    }
    if !(0.0..1.0).contains(&val_fraction) {
        return Err(DataError::Other(format!("data.val_fraction = {val_fraction} is out of range; it lies from 0 to below 1")));
    }
    warn_of_overlap(train, val, monitor);
    let (train_part, val_part) = match (val.is_empty(), val_fraction > 0.0) {
        (true, true) => (Part::Train(val_fraction), Some(Part::Val(val_fraction))),
        (true, false) => (Part::Whole, None),
        (false, _) => (Part::Whole, Some(Part::Whole)),
    };
    let maker = Maker { tokenizer, end_of_text, cache, monitor };
    let opened = Opened::all(train)?;
    let (train_stream, train_from) = maker.split(&opened, train_part, "train")?;
    let (val_stream, val_from) = match val_part {
        None => (TokenStream::from_ids(Vec::new(), end_of_text), "none wanted".to_owned()),
        Some(part) if val.is_empty() => maker.split(&opened, part, "val")?,
        Some(part) => maker.split(&Opened::all(val)?, part, "val")?,
    };
    let mut facts = vec![
        ("training text".to_owned(), described(train_stream.stats())),
        ("validation text".to_owned(), described(val_stream.stats())),
        ("token cache".to_owned(), if train_from == val_from { train_from } else { format!("train {train_from}, val {val_from}") }),
    ];
    if let Some(id) = end_of_text.and_then(|id| tokenizer.token(id)) {
        facts.push(("end of text".into(), visible(&id).into_owned()));
    }
    let val_bytes = val_stream.stats().bytes;
    Ok(Splits { train: train_stream, val: val_stream, val_bytes, facts, val_wanted: val_part.is_some() })
}

fn described(stats: Stats) -> String {
    let per_token = stats.bytes as f64 / stats.tokens.max(1) as f64;
    let plural = if stats.documents == 1 { "" } else { "s" };
    format!(
        "{} characters in {} document{plural}, {} tokens, {per_token:.2} bytes a token",
        thousands(stats.characters),
        thousands(stats.documents),
        thousands(stats.tokens)
    )
}

/// Text that both trains and validates makes the validation loss look better than it is.
fn warn_of_overlap(train: &[Source], val: &[Source], monitor: &dyn Monitor) {
    let real = |s: &Source| s.path.as_ref().map_or_else(|| s.name.clone().into(), |p| p.canonicalize().unwrap_or_else(|_| p.clone()));
    let training: BTreeSet<_> = train.iter().map(real).collect();
    for source in val.iter().filter(|s| training.contains(&real(s))) {
        let name = shown(Path::new(&source.name));
        let text = format!("{name} trains and validates: the validation loss says nothing about other text");
        monitor.report(Report::note(Level::Warning, text));
    }
}

/// A source with its content and the hash of it.
struct Opened<'s> {
    source: &'s Source,
    bytes: Bytes,
    hash: [u8; 32],
}

impl<'s> Opened<'s> {
    fn all(sources: &'s [Source]) -> Result<Vec<Self>, DataError> {
        sources
            .par_iter()
            .map(|source| {
                let bytes = source.open()?;
                let hash = Sha256::digest(&bytes[..]).into();
                Ok(Self { source, bytes, hash })
            })
            .collect()
    }
}

/// What is the same for both splits.
struct Maker<'m> {
    tokenizer: &'m Tokenizer,
    end_of_text: Option<u32>,
    cache: &'m Path,
    monitor: &'m dyn Monitor,
}

/// Why a split could not be written: the data's own fault, or the disk's.
enum Fault {
    Data(DataError),
    Disk(std::io::Error),
}

impl Maker<'_> {
    /// A split's stream and where it came from, in words.
    fn split(&self, sources: &[Opened], part: Part, split: &str) -> Result<(TokenStream, String), DataError> {
        let key = self.key(sources, part);
        let path = self.cache.join(format!("{}-{split}.tokens", &hex(&key)[..24]));
        let earlier = TokenFile::open(&path, &key);
        if let Ok(file) = earlier {
            return Ok((self.stream(Store::File(file), sources, None), "served".into()));
        }
        if let (Err(why), true) = (&earlier, path.exists()) {
            let text = format!("{}: {why}; tokenizing again", shown(&path));
            self.monitor.report(Report::note(Level::Warning, text));
        }
        let written = cache::write(&path, &key, self.tokenizer.vocab_size(), |writer| {
            self.tokenize(sources, part, split, &mut |ids| writer.push(ids).map_err(Fault::Disk))
        });
        let why = match written {
            Ok(Ok(())) => match TokenFile::open(&path, &key) {
                Ok(file) => return Ok((self.stream(Store::File(file), sources, None), "made".into())),
                Err(why) => why,
            },
            Ok(Err(Fault::Data(e))) => return Err(e),
            Ok(Err(Fault::Disk(e))) => DataError::io(&path, &e).to_string(),
            Err(e) => e.to_string(),
        };
        let text = format!("the token cache cannot be kept ({why}): the tokens stay in memory, and the next start tokenizes again");
        self.monitor.report(Report::note(Level::Warning, text));
        let mut ids = Vec::new();
        let filled = self.tokenize(sources, part, split, &mut |more| {
            ids.extend_from_slice(more);
            Ok(())
        });
        match filled {
            Ok(stats) => Ok((self.stream(Store::Memory(ids), sources, Some(stats)), "in memory".into())),
            Err(Fault::Data(e)) => Err(e),
            Err(Fault::Disk(e)) => Err(DataError::io(&path, &e)),
        }
    }

    fn stream(&self, store: Store, sources: &[Opened], stats: Option<Stats>) -> TokenStream {
        let stats = stats.unwrap_or_else(|| if let Store::File(file) = &store { file.stats } else { Stats::default() });
        let name = match sources {
            [one] => one.source.name.clone(),
            [first, others @ ..] => format!("{} and {} more", first.source.name, others.len()),
            [] => "the text".into(),
        };
        TokenStream { inner: Arc::new(Inner { store, name, end_of_text: self.end_of_text, stats }) }
    }

    /// Everything that decides which ids stand in the split.
    fn key(&self, sources: &[Opened], part: Part) -> [u8; 32] {
        let (tag, share) = match part {
            Part::Whole => (0u8, 0.0),
            Part::Train(share) => (1, share),
            Part::Val(share) => (2, share),
        };
        let mut hash = Sha256::new();
        hash.update(cache::VERSION.to_le_bytes());
        hash.update(self.tokenizer.hash());
        hash.update(self.end_of_text.map_or(u64::MAX, u64::from).to_le_bytes());
        hash.update([tag]);
        hash.update(f64::to_le_bytes(share));
        for Opened { source, hash: content, .. } in sources {
            for text in [source.format.name, &source.field] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            hash.update(content);
        }
        hash.finalize().into()
    }

    /// Hands all ids of a split to `push`, in order.
    fn tokenize(
        &self,
        sources: &[Opened],
        part: Part,
        split: &str,
        push: &mut dyn FnMut(&[u32]) -> Result<(), Fault>,
    ) -> Result<Stats, Fault> {
        let ranges = sources.iter().map(|s| part.range(&s.bytes, s.source)).collect::<Result<Vec<_>, _>>().map_err(Fault::Data)?;
        let total: u64 = ranges.iter().map(|r| r.len() as u64).sum();
        let mark = self.end_of_text.and_then(|id| self.tokenizer.token(id));
        let mut stats = Stats::default();
        let mut batch = Batch::default();
        for opened in sources {
            let documents = source::documents(&opened.bytes, part, opened.source, mark.as_deref()).map_err(Fault::Data)?;
            for document in documents {
                let document = document.map_err(Fault::Data)?;
                if document.text.is_empty() {
                    continue;
                }
                stats.documents += 1;
                stats.bytes += document.text.len() as u64;
                stats.characters += document.text.chars().count() as u64;
                for piece in self.pieces(document, opened.source) {
                    batch.add(piece);
                    if batch.bytes >= BATCH_BYTES {
                        self.flush(&mut batch, &mut stats, push)?;
                        let done = stats.bytes.min(total);
                        let what = format!("tokenizing {split}");
                        self.monitor.report(Report::Progress { what, done, total: Some(total), unit: "bytes".into() });
                    }
                }
            }
        }
        self.flush(&mut batch, &mut stats, push)?;
        Ok(stats)
    }

    fn pieces<'a>(&self, document: super::formats::Document<'a>, source: &'a Source) -> Vec<Piece<'a>> {
        let line = document.line;
        match document.text {
            // A row's own line feeds are none of the file's lines.
            Cow::Owned(text) => vec![Piece { text: Cow::Owned(text), source, line, ends: true }],
            Cow::Borrowed(text) => {
                let mut line = line;
                let cut = self.tokenizer.pieces(text, PIECE_BYTES).map(|piece| {
                    let here = line;
                    line += memchr::memchr_iter(b'\n', piece.as_bytes()).count();
                    Piece { text: Cow::Borrowed(piece), source, line: here, ends: false }
                });
                let mut pieces: Vec<Piece> = cut.collect();
                if let Some(last) = pieces.last_mut() {
                    last.ends = true;
                }
                pieces
            }
        }
    }

    fn flush(&self, batch: &mut Batch, stats: &mut Stats, push: &mut dyn FnMut(&[u32]) -> Result<(), Fault>) -> Result<(), Fault> {
        if self.monitor.stopped() {
            return Err(Fault::Data(DataError::Stopped));
        }
        let encoded: Vec<Result<Vec<u32>, DataError>> = batch
            .pieces
            .par_iter()
            .map(|piece| {
                let mut ids = self.tokenizer.encode_text(&piece.text).map_err(|fault| piece.fault(fault))?;
                ids.extend(self.end_of_text.filter(|_| piece.ends));
                Ok(ids)
            })
            .collect();
        *batch = Batch::default();
        for ids in encoded {
            let ids = ids.map_err(Fault::Data)?;
            stats.tokens += ids.len() as u64;
            push(&ids)?;
        }
        Ok(())
    }
}

/// How much text is tokenized between two looks at the monitor.
const BATCH_BYTES: usize = 2 << 20;
/// How much of a text one thread tokenizes at a time.
const PIECE_BYTES: usize = 64 << 10;

#[derive(Default)]
struct Batch<'a> {
    pieces: Vec<Piece<'a>>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    fn add(&mut self, piece: Piece<'a>) {
        self.bytes += piece.text.len();
        self.pieces.push(piece);
    }
}

/// A part of a document that one thread encodes.
struct Piece<'a> {
    text: Cow<'a, str>,
    source: &'a Source,
    /// The line of the file that it begins at.
    line: usize,
    /// Whether the document ends with it.
    ends: bool,
}

impl Piece<'_> {
    fn fault(&self, fault: EncodeFault) -> DataError {
        let lines = match (&self.text, fault.offset) {
            (Cow::Borrowed(text), Some(offset)) => memchr::memchr_iter(b'\n', &text.as_bytes()[..offset.min(text.len())]).count(),
            _ => 0,
        };
        DataError::file(&self.source.name, format!("line {}: {}", self.line + lines, fault.what), fault.remedy)
    }
}
