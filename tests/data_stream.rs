//! Sources to token streams: splits, documents, the cache and its damages, and every fault of a file with its place.
//! Not here: tokenizers by themselves (`tokenizer_library`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use weightroom::data::batch::{Windows, whole};
use weightroom::data::source::{Source, expand, of_recipe};
use weightroom::data::stream::{Splits, TokenStream, open};
use weightroom::data::tokenizer::{Tokenizer, of_recipe as tokenizer_of};
use weightroom::recipe::{DataSection, TokenizerSection};
use weightroom::report::{JobId, Monitor, Report, Signal, Silent, Sink};

/// Keeps what it is told; says `stopped` when asked to.
#[derive(Default)]
struct Listener {
    reports: Mutex<Vec<Report>>,
    stop: AtomicBool,
}

impl Listener {
    fn notes(&self) -> Vec<String> {
        let reports = self.reports.lock().unwrap();
        reports.iter().filter_map(|r| if let Report::Note { text, .. } = r { Some(text.clone()) } else { None }).collect()
    }
    fn progress(&self) -> Vec<(String, u64)> {
        let reports = self.reports.lock().unwrap();
        reports
            .iter()
            .filter_map(|r| if let Report::Progress { what, done, .. } = r { Some((what.clone(), *done)) } else { None })
            .collect()
    }
}

impl Monitor for Listener {
    fn report(&self, report: Report) {
        self.reports.lock().unwrap().push(report);
    }
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
    fn safepoint(&self) -> Signal {
        Signal::Continue
    }
    fn wait(&self) -> Signal {
        Signal::Continue
    }
    fn child(&self, _: JobId) -> Box<dyn Monitor> {
        Box::new(Silent)
    }
    fn attach(&self, _: Box<dyn Sink>) {}
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Source {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        Source::file(&path, "text")
    }
    fn cache(&self) -> PathBuf {
        self.0.path().join("cache")
    }
    fn open(&self, train: &[Source], val: &[Source], fraction: f64, tokenizer: &Tokenizer) -> Result<Splits, String> {
        let end = tokenizer.end_of_text(None);
        open(train, val, fraction, tokenizer, end, &self.cache(), &Silent).map_err(|e| e.to_string())
    }
}

fn byte(end: Option<&str>) -> Tokenizer {
    Tokenizer::train("byte", 0, end, &[], &Silent).unwrap()
}

fn ids(stream: &TokenStream) -> Vec<u32> {
    let mut out = vec![0; stream.len()];
    stream.read(0, &mut out);
    out
}

fn text(tokenizer: &Tokenizer, stream: &TokenStream) -> String {
    tokenizer.decode(&ids(stream), false)
}

fn fact(splits: &Splits, name: &str) -> String {
    splits.facts.iter().find(|(n, _)| n == name).unwrap().1.clone()
}

#[test]
fn tinyshakespeare_divides_as_nanogpt_divides_it() {
    let Some(path) = common::asset("text/tinyshakespeare.txt") else { return };
    let dir = Dir::new();
    let section = DataSection { train: vec![path.to_string_lossy().into_owned()], ..DataSection::default() };
    let (train, val) = of_recipe(&section, Path::new("")).unwrap();
    let (tokenizer, end) = tokenizer_of(&TokenizerSection::default(), Path::new(""), &train, &val, &Silent).unwrap();
    let splits = open(&train, &val, 0.1, &tokenizer, end, &dir.cache(), &Silent).unwrap();
    assert_eq!((tokenizer.vocab_size(), splits.train.len(), splits.val.len(), splits.val_bytes), (65, 1_003_854, 111_540, 111_540));
    let original = std::fs::read_to_string(path).unwrap();
    assert_eq!(text(&tokenizer, &splits.train), original[..1_003_854]);
    assert_eq!(text(&tokenizer, &splits.val), original[1_003_854..]);
    assert_eq!(whole(&splits.val, 64).count(), (111_540 - 1usize).div_ceil(64));
    splits.check(64).unwrap();
}

#[test]
fn a_second_start_maps_what_the_first_one_made() {
    let dir = Dir::new();
    let source = [dir.file("a.txt", "abcdefghij".repeat(300_000))];
    let tokenizer = byte(None);
    let first = Listener::default();
    let made = open(&source, &[], 0.1, &tokenizer, None, &dir.cache(), &first).unwrap();
    assert_eq!(fact(&made, "token cache"), "made");
    assert!(first.progress().iter().any(|(what, done)| what == "tokenizing train" && *done > 0));
    let second = Listener::default();
    let served = open(&source, &[], 0.1, &tokenizer, None, &dir.cache(), &second).unwrap();
    assert_eq!(fact(&served, "token cache"), "served");
    assert!(second.progress().is_empty() && second.notes().is_empty());
    assert_eq!((ids(&served.train), ids(&served.val)), (ids(&made.train), ids(&made.val)));
    assert_eq!((served.train.stats(), served.val_bytes), (made.train.stats(), made.val_bytes));
    // The content decides, not the name; another tokenizer, another fraction, another text are other streams.
    let renamed = [dir.file("b.txt", "abcdefghij".repeat(300_000))];
    assert_eq!(fact(&dir.open(&renamed, &[], 0.1, &tokenizer).unwrap(), "token cache"), "served");
    assert_eq!(fact(&dir.open(&renamed, &[], 0.2, &tokenizer).unwrap(), "token cache"), "made");
    assert_eq!(fact(&dir.open(&renamed, &[], 0.1, &byte(Some("<|e|>"))).unwrap(), "token cache"), "made");
    let changed = [dir.file("a.txt", "abcdefghiJ".repeat(300_000))];
    assert_eq!(fact(&dir.open(&changed, &[], 0.1, &tokenizer).unwrap(), "token cache"), "made");
}

#[test]
fn a_damaged_cache_is_made_again_with_a_note() {
    let dir = Dir::new();
    let source = [dir.file("a.txt", "some text to keep ".repeat(100))];
    let tokenizer = byte(None);
    let good = ids(&dir.open(&source, &[], 0.1, &tokenizer).unwrap().train);
    let files: Vec<PathBuf> = std::fs::read_dir(dir.cache()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    for damage in
        [&|b: &mut Vec<u8>| b[400] ^= 1, &|b: &mut Vec<u8>| b.truncate(250), &|b: &mut Vec<u8>| b.clear()] as [&dyn Fn(&mut Vec<u8>); 3]
    {
        for file in &files {
            let mut bytes = std::fs::read(file).unwrap();
            damage(&mut bytes);
            std::fs::write(file, bytes).unwrap();
        }
        let listener = Listener::default();
        let again = open(&source, &[], 0.1, &tokenizer, None, &dir.cache(), &listener).unwrap();
        assert_eq!(ids(&again.train), good);
        assert!(listener.notes().iter().all(|n| n.contains("tokenizing again")) && listener.notes().len() == 2, "{:?}", listener.notes());
    }
    assert_eq!(fact(&dir.open(&source, &[], 0.1, &tokenizer).unwrap(), "token cache"), "served");
}

#[test]
fn a_cache_that_cannot_be_written_costs_a_note_alone() {
    let dir = Dir::new();
    let source = [dir.file("a.txt", "text ".repeat(100))];
    // A file where the directory should be: no one can make it, whoever runs this.
    dir.file("cache", "in the way");
    let listener = Listener::default();
    let splits = open(&source, &[], 0.1, &byte(None), None, &dir.cache(), &listener).unwrap();
    assert_eq!((splits.train.len(), splits.val.len(), splits.val_bytes), (450, 50, 50));
    assert_eq!(fact(&splits, "token cache"), "in memory");
    assert!(listener.notes()[0].contains("the token cache cannot be kept"), "{:?}", listener.notes());
}

#[test]
fn documents_of_all_kinds_end_with_the_token() {
    let dir = Dir::new();
    let tokenizer = byte(Some("<|endoftext|>"));
    let sources = [
        dir.file("a.txt", "one\r\n<|endoftext|>two"),
        dir.file("b.jsonl", "{\"text\":\"three\"}\n\n{\"text\":\"\"}\n{\"text\":\"fo\\u001bur\"}\n"),
        dir.file("c.md", "five"),
    ];
    let splits = dir.open(&sources, &[], 0.0, &tokenizer).unwrap();
    let e = "<|endoftext|>";
    assert_eq!(text(&tokenizer, &splits.train), format!("one\r\n{e}two{e}three{e}fo\u{1b}ur{e}five{e}"));
    let stats = splits.train.stats();
    assert_eq!((stats.documents, stats.bytes, stats.tokens), (5, 22, 27));
    assert!(splits.val.is_empty() && splits.check(20).is_ok());
    assert_eq!(whole(&splits.train, 27).next().unwrap().segments.last(), Some(&4));
    // Without such a token nothing is put between documents.
    assert_eq!(dir.open(&sources[1..], &[], 0.0, &byte(None)).unwrap().train.len(), "threefo.urfive".len());
}

#[test]
fn rows_and_characters_validate_from_the_end_of_each_source() {
    let dir = Dir::new();
    let tokenizer = byte(None);
    let rows: String = (0..10).map(|i| format!("{{\"body\":\"row {i};\"}}\n")).collect();
    let mut jsonl = dir.file("a.jsonl", rows);
    jsonl.field = "body".into();
    let sources = [jsonl, dir.file("b.txt", "äöüß567890")];
    let splits = dir.open(&sources, &[], 0.2, &tokenizer).unwrap();
    assert_eq!(text(&tokenizer, &splits.val), "row 8;row 9;90");
    assert!(text(&tokenizer, &splits.train).ends_with("row 6;row 7;äöüß5678"));
    assert_eq!(splits.train.stats().characters, 8 * 6 + 8);
}

#[test]
fn validation_files_are_whole_and_share_nothing_with_training() {
    let dir = Dir::new();
    let (train, val) = (dir.file("train.txt", "t".repeat(50)), dir.file("val.txt", "v".repeat(20)));
    let tokenizer = byte(None);
    let splits = dir.open(std::slice::from_ref(&train), std::slice::from_ref(&val), 0.5, &tokenizer).unwrap();
    assert_eq!((splits.train.len(), splits.val.len(), splits.val_bytes), (50, 20, 20));
    let listener = Listener::default();
    open(&[train.clone(), val.clone()], &[val], 0.1, &tokenizer, None, &dir.cache(), &listener).unwrap();
    assert!(listener.notes()[0].contains("val.txt trains and validates"), "{:?}", listener.notes());
    // A char vocabulary takes in the characters of the validation text.
    let section = TokenizerSection::default();
    let (chars, _) = tokenizer_of(&section, Path::new(""), &[train], &[dir.file("val.txt", "vw")], &Silent).unwrap();
    assert_eq!(chars.vocab_size(), 3);
}

#[test]
fn faults_of_files_tell_their_place() {
    let dir = Dir::new();
    let tokenizer = byte(None);
    let error = |source: Source| dir.open(&[source], &[], 0.1, &tokenizer).err().unwrap();
    let mut latin = b"first line\nsecond caf".to_vec();
    latin.extend_from_slice(b"\xe9 and more\n");
    let found = error(dir.file("latin.txt", latin));
    assert!(found.contains("latin.txt: not UTF-8 at byte 21 (line 2): byte 0xe9; convert it"), "{found}");
    let found = error(dir.file("wide.txt", b"\xff\xfea\0b\0"));
    assert!(found.contains("not UTF-8 at byte 0 (line 1)") && found.contains("UTF-16"), "{found}");
    let found = error(dir.file("program.txt", b"\x7fELF\0\0\x80\xff"));
    assert!(found.contains("binary"), "{found}");
    let found = error(dir.file("bad.jsonl", b"{\"text\":\"a\"}\n{\"text\":\"\xe9\"}\n"));
    assert!(found.contains("bad.jsonl: not UTF-8 at byte 22 (line 2)"), "{found}");
    let found = error(dir.file("torn.jsonl", "{\"text\":\"a\"}\n\n{\"text\":\"b\n"));
    assert!(found.contains("torn.jsonl: line 3: not JSON at column"), "{found}");
    let found = error(dir.file("other.jsonl", "{\"prompt\":\"a\",\"response\":\"b\"}\n"));
    assert!(found.contains("line 1: no field “text”; the row has “prompt”, “response”: set data.field"), "{found}");
    assert!(error(dir.file("empty.txt", "")).contains("empty.txt: is empty"));
    assert!(error(Source::file(&dir.0.path().join("gone.txt"), "text")).contains("gone.txt: no such file"));
    assert!(error(Source::file(dir.0.path(), "text")).contains("is a directory"));
    let found = error(dir.file("\u{1b}[31m.txt", ""));
    assert!(found.contains("␛[31m.txt") && !found.contains('\u{1b}'), "{found}");
}

#[test]
fn an_unknown_character_is_told_with_its_line() {
    let dir = Dir::new();
    let long = "abc abc abc\n".repeat(20_000);
    let train = dir.file("train.txt", &long);
    let chars = Tokenizer::train("char", 0, None, std::slice::from_ref(&train), &Silent).unwrap();
    let val = dir.file("val.txt", format!("{long}abc é\n"));
    let found = dir.open(std::slice::from_ref(&train), &[val], 0.1, &chars).err().unwrap();
    assert!(found.contains("val.txt: line 20001: the character “é”"), "{found}");
    let rows = dir.file("val.jsonl", "{\"text\":\"a\\nb\\nc\"}\n{\"text\":\"a\\nb\\nz\"}\n");
    let found = dir.open(&[train], &[rows], 0.1, &chars).err().unwrap();
    assert!(found.contains("val.jsonl: line 2: the character “z”"), "{found}");
    assert!(std::fs::read_dir(dir.cache()).unwrap().all(|e| e.unwrap().path().extension().is_some_and(|e| e == "tokens")));
}

#[test]
fn splits_without_a_window_are_refused() {
    let dir = Dir::new();
    let tokenizer = byte(None);
    let splits = dir.open(&[dir.file("a.txt", "x".repeat(200))], &[], 0.1, &tokenizer).unwrap();
    splits.check(19).unwrap();
    let found = splits.check(64).unwrap_err().to_string();
    assert!(found.contains("a.txt: the validation split of 20 tokens is too small for one window of 65"), "{found}");
    let found = splits.check(512).unwrap_err().to_string();
    assert!(found.contains("a.txt: 180 tokens of training text are fewer than one window of 513"), "{found}");
    assert!(Windows::new(1, 512, &splits.train).is_err());
    assert!(dir.open(&[dir.file("a.txt", "x")], &[], 1.0, &tokenizer).err().unwrap().contains("data.val_fraction = 1 is out of range"));
}

#[test]
fn stopping_ends_tokenizing_and_training_of_tokenizers() {
    let dir = Dir::new();
    let source = [dir.file("a.txt", "some words here\n".repeat(1000))];
    let listener = Listener::default();
    listener.stop.store(true, Ordering::Relaxed);
    let outcome = open(&source, &[], 0.1, &byte(None), None, &dir.cache(), &listener);
    assert_eq!(outcome.err().unwrap().to_string(), "stopped");
    assert_eq!(std::fs::read_dir(dir.cache()).unwrap().count(), 0);
    for kind in ["char", "bpe"] {
        assert_eq!(Tokenizer::train(kind, 300, None, &source, &listener).err().unwrap().to_string(), "stopped");
    }
}

#[test]
fn large_texts_of_every_kind_of_tokenizer_are_the_librarys() {
    let Some(wiki) = common::asset("text/lf_wiki_demo.txt") else { return };
    let dir = Dir::new();
    let source = [Source::file(&wiki, "text")];
    let bpe = Tokenizer::train("bpe", 1000, None, &source, &Silent).unwrap();
    let whole = std::fs::read_to_string(&wiki).unwrap();
    for tokenizer in [bpe, byte(None)] {
        let splits = dir.open(&source, &[], 0.0, &tokenizer).unwrap();
        let library = tokenizers::Tokenizer::from_bytes(tokenizer.json()).unwrap();
        assert!(ids(&splits.train) == library.encode(whole.as_str(), false).unwrap().get_ids());
    }
}

#[test]
fn the_built_in_texts_are_sources() {
    let sources = expand(&["sample:stories".into(), "sample:sea".into(), "sample:stories".into()], "text", Path::new("")).unwrap();
    assert_eq!(
        sources.iter().map(|s| (s.name.as_str(), s.format.name)).collect::<Vec<_>>(),
        [("sample:stories", "jsonl"), ("sample:sea", "jsonl")]
    );
    let dir = Dir::new();
    let splits = dir.open(&sources, &[], 0.05, &byte(Some("<|endoftext|>"))).unwrap();
    assert!(splits.train.stats().documents > 100 && splits.val.stats().documents > 10);
    let error = expand(&["sample:storys".into()], "text", Path::new("")).unwrap_err().to_string();
    assert!(error.contains("sample:storys: no built-in text has this name; name one of stories, sea"), "{error}");
}
