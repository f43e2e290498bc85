//! New byte-pair tokenizers: an independent trainer's merges, the options, and that any text comes back from each.
//! Not here: the counting of pairs (`data::bpe`), and tokenizers that exist already (`tokenizer_formats`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use proptest::prelude::*;
use serde_json::Value;
use std::sync::Mutex;
use weightroom::data::fresh::Wish;
use weightroom::data::patterns;
use weightroom::data::source::Source;
use weightroom::data::tokenizer::Tokenizer;
use weightroom::report::{JobId, Monitor, Report, Signal, Silent, Sink};

/// Code and prose, with digits, indents, and characters of one, two, three and four bytes.
const TEXT: &str = "fn main() {\n    let x = 1234567;\n        if x > 1000 { return x + 2024; }\n    }\nThe cat sat on the mat, and the café was warm. \
    Straße 12, naïve façade; 漢字かな 漢字 🚀 don't we'll THE CAT HTTPServer\n";

fn made(wish: &Wish, text: &str) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text.txt");
    std::fs::write(&path, text).unwrap();
    Tokenizer::make(wish, &[Source::file(&path, "text")], &Silent).unwrap()
}

fn merges(tokenizer: &Tokenizer) -> Vec<String> {
    let value: Value = serde_json::from_str(tokenizer.json()).unwrap();
    let list = value["model"]["merges"].as_array().unwrap();
    list.iter().map(|m| format!("{} {}", m[0].as_str().unwrap(), m[1].as_str().unwrap())).collect()
}

/// The reference breaks ties as we do, by the greater bytes, so nothing is left to differ.
#[test]
fn every_merge_is_an_independent_trainers() {
    let (Some(corpus), Some(dir)) = (common::asset("text/cs336_corpus.en"), common::asset("tokenizers/bpe_train_reference")) else {
        return;
    };
    let theirs = std::fs::read_to_string(dir.join("train-bpe-reference-merges.txt")).unwrap();
    let theirs: Vec<&str> = theirs.lines().collect();
    let special = ["<|endoftext|>"];
    let tokenizer = Tokenizer::make(&Wish::new("bpe", 500, &special), &[Source::file(&corpus, "text")], &Silent).unwrap();
    assert_eq!(merges(&tokenizer), theirs);
    assert_eq!(theirs.len(), 243);
    let vocab: Value = serde_json::from_slice(&std::fs::read(dir.join("train-bpe-reference-vocab.json")).unwrap()).unwrap();
    let vocab = vocab.as_object().unwrap();
    assert!(vocab.keys().all(|token| tokenizer.token_id(token).is_some()));
    assert_eq!((vocab.len(), tokenizer.vocab_size()), (500, 500));
}

/// Every combination of options that differ in kind.
fn wishes() -> Vec<Wish<'static>> {
    let plain = Wish::new("bpe", 420, &["<|end|>"]);
    let mut all: Vec<Wish> = patterns::NAMES.iter().map(|pattern| Wish { pattern, ..plain }).collect();
    all.push(Wish { split_digits: true, ..plain });
    all.push(Wish { blank_runs: 6, ..plain });
    all.push(Wish { byte_fallback: true, ..plain });
    all.push(Wish { byte_fallback: true, split_digits: true, blank_runs: 4, pattern: "llama3", ..plain });
    all.push(Wish { byte_fallback: true, vocab: 260, ..plain });
    all
}

#[test]
fn any_text_comes_back_whatever_the_options() {
    for wish in wishes() {
        let tokenizer = made(&wish, &TEXT.repeat(4));
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 200, ..ProptestConfig::default() });
        let pieces = prop::sample::select(vec!["     ", " ", "<0x41>", "<0x", "\u{2581}", "99", "fn", "\n", "<|end|>", "漢", "é", "\u{0}"]);
        let texts = (any::<String>(), prop::collection::vec(pieces, 0..12)).prop_map(|(any, parts)| parts.concat() + &any);
        // What Python's library reads is the same file.
        let library = tokenizers::Tokenizer::from_bytes(tokenizer.json()).unwrap();
        let outcome = runner.run(&texts, |text| {
            let ids = tokenizer.encode(&text, false).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids, false), text.as_str());
            let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).collect();
            prop_assert_eq!(bytes, text.as_bytes());
            let encoding = library.encode(text.as_str(), false).unwrap();
            prop_assert_eq!(encoding.get_ids(), ids);
            Ok(())
        });
        outcome.unwrap_or_else(|e| panic!("{wish:?}: {e}"));
    }
}

/// Bytes that are no text at all come back too, where a tokenizer is of bytes: each has a token.
#[test]
fn any_bytes_come_back_from_a_vocabulary_of_bytes() {
    for wish in wishes() {
        let tokenizer = made(&wish, &TEXT.repeat(4));
        let mut by_byte = [None; 256];
        for id in 0..tokenizer.vocab_size() as u32 {
            if let ([byte], false) = (tokenizer.token_bytes(id).as_slice(), tokenizer.is_special(id)) {
                by_byte[usize::from(*byte)].get_or_insert(id);
            }
        }
        assert!(by_byte.iter().all(Option::is_some), "{wish:?}");
    }
}

#[test]
fn options_do_what_they_say() {
    let text = TEXT.repeat(6);
    let pieces = |tokenizer: &Tokenizer, text: &str| -> Vec<String> {
        let ids = tokenizer.encode(text, false).unwrap();
        ids.iter().map(|id| String::from_utf8_lossy(&tokenizer.token_bytes(*id)).into_owned()).collect()
    };
    let plain = Wish::new("bpe", 420, &[]);
    assert_eq!(pieces(&made(&plain, &text), " 1000"), [" 1000"]);
    assert_eq!(pieces(&made(&Wish { split_digits: true, ..plain }, &text), " 1000"), [" ", "1", "0", "0", "0"]);
    assert_eq!(pieces(&made(&Wish { pattern: "qwen2", ..plain }, &text), "2024"), ["2", "0", "2", "4"]);
    assert_eq!(pieces(&made(&Wish { pattern: "cl100k", ..plain }, &text), "1234567"), ["123", "456", "7"]);
    let runs = made(&Wish { blank_runs: 8, ..plain }, &text);
    assert_eq!(pieces(&runs, "        return x"), ["        ", "return", " x"]);
    assert_eq!(pieces(&runs, "         x")[..2], ["        ", " x"]);
    let characters = made(&Wish { byte_fallback: true, ..plain }, &text);
    // Frequent characters are tokens; others are their bytes.
    assert!(characters.token_id("é").is_some() && characters.token_id("<0xF0>").is_some());
    assert_eq!(characters.encode("€", false).unwrap().len(), 3);
    // Where capitals begin, o200k cuts.
    let o200k = made(&Wish { pattern: "o200k", ..plain }, &"camelCase ".repeat(50));
    assert_eq!(pieces(&o200k, "camelCase"), ["camel", "Case"]);
}

/// Notes what it hears.
#[derive(Default)]
struct Notes(Mutex<Vec<Report>>);

impl Monitor for Notes {
    fn report(&self, report: Report) {
        self.0.lock().unwrap().push(report);
    }
    fn stopped(&self) -> bool {
        self.0.lock().unwrap().iter().filter(|r| matches!(r, Report::Facts(_))).count() >= 3
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

#[test]
fn merging_tells_how_far_it_is_and_can_be_stopped() {
    let notes = Notes::default();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text.txt");
    std::fs::write(&path, TEXT.repeat(4)).unwrap();
    let error = Tokenizer::make(&Wish::new("bpe", 400, &[]), &[Source::file(&path, "text")], &notes).err().unwrap().to_string();
    assert_eq!(error, "stopped");
    let heard = notes.0.lock().unwrap();
    let newest = heard.iter().rev().find_map(|r| match r {
        Report::Facts(facts) => facts.get("newest").cloned(),
        _ => None,
    });
    assert_eq!(newest.unwrap().as_array().unwrap().len(), 3);
    assert!(heard.iter().any(|r| matches!(r, Report::Progress { what, total: Some(144), .. } if what == "merging pairs")));
}
