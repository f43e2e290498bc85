//! The Tokens pane, driven by keys, with the loader that answers it and a script of the engine's reports.
//! Not here: tokenizers themselves (`tokenizer_*`) and the pictures of whole screens (`ui_shell`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use serde_json::json;
use std::path::{Path, PathBuf};
use weightroom::engine::protocol::{Command, Up};
use weightroom::report::{JobId, Report};
use weightroom::spec::{CountSpec, TokenizerSpec};
use weightroom::ui::harness::{Harness, key};
use weightroom::ui::loader::Worker;
use weightroom::ui::shell::Out;

struct Bench {
    screen: Harness,
    worker: Worker,
    commands: Vec<Command>,
}

impl Bench {
    fn new(project: &Path, width: u16, height: u16) -> Self {
        let mut bench = Self { screen: Harness::new(width, height), worker: Worker::new(project.into()), commands: Vec::new() };
        bench.keys("g k");
        bench
    }

    /// Lets the loader answer everything that was asked.
    fn settle(&mut self) {
        loop {
            let out = self.screen.out();
            if out.is_empty() {
                break;
            }
            for one in out {
                match one {
                    Out::Load(load) => {
                        let mut answers = Vec::new();
                        self.worker.execute(load, &mut |answer| answers.push(answer));
                        answers.into_iter().for_each(|answer| self.screen.loaded(answer));
                    }
                    Out::Command(command) => self.commands.push(command),
                    _ => {}
                }
            }
            self.screen.draw();
        }
    }

    fn keys(&mut self, keys: &str) -> String {
        self.screen.keys(keys);
        self.settle();
        self.screen.draw()
    }

    fn write(&mut self, text: &str) -> String {
        self.screen.type_text(text);
        self.settle();
        self.screen.draw()
    }

    /// The job that was asked for last: its ticket and its parameters.
    fn started<T: serde::de::DeserializeOwned>(&mut self, kind: &str) -> (u64, T) {
        let found = self.commands.iter().rev().find_map(|c| match c {
            Command::Start { ticket, spec } if spec.kind == kind => Some((*ticket, serde_json::from_value(spec.params.clone()).unwrap())),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no {kind} was started"))
    }
}

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("tokenizers")).unwrap();
    dir
}

#[test]
fn tokens_follow_what_is_typed() {
    let dir = project();
    let mut bench = Bench::new(dir.path(), 120, 36);
    let screen = bench.keys("j");
    // The sample's own pieces are chosen where the project has none.
    assert!(screen.contains("● sample"), "{screen}");
    assert!(screen.contains("un │believ│able│"), "{screen}");
    bench.keys("i ctrl-a ctrl-k backspace ctrl-a ctrl-k");
    let screen = bench.write("San Francisco");
    assert!(screen.contains("San│·Francisco│") && screen.contains("2 tokens · 6.50 bytes a token"), "{screen}");
    // A tab and a line's end are marks; Esc leaves the field, and letters are keys again.
    let screen = bench.write("\n x");
    assert!(screen.contains("·Francisco│␊") && screen.contains("5 tokens · 3.20 bytes a token"), "{screen}");
    let screen = bench.keys("esc m");
    assert!(!screen.contains("text: Esc leaves"), "{screen}");
}

#[test]
fn two_tokenizers_stand_beside_each_other() {
    let dir = project();
    let mut bench = Bench::new(dir.path(), 120, 36);
    let screen = bench.keys("tab j b");
    assert!(screen.contains("◆ bytes") && screen.contains("● sample"), "{screen}");
    // What one has more than the other is said.
    assert!(screen.contains("62 tokens (+27) · 1.00 bytes") && screen.contains("35 tokens (-27)"), "{screen}");
    let screen = bench.keys("b");
    assert!(!screen.contains("◆"), "{screen}");
}

#[test]
fn a_word_is_shown_merge_by_merge() {
    let dir = project();
    let mut bench = Bench::new(dir.path(), 120, 36);
    let screen = bench.keys("v v");
    assert!(screen.contains("begins as") && screen.contains("u│n│b│e│l│i│e│v│a│b│l│e"), "{screen}");
    assert!(screen.contains("ab + le") && screen.contains("un│[believ]│able"), "{screen}");
    let before = bench.keys("h");
    assert!(!before.contains("[believ]"), "{before}");
}

#[test]
fn the_vocabulary_is_searched_sorted_and_counted() {
    let dir = project();
    let mut bench = Bench::new(dir.path(), 120, 36);
    let screen = bench.keys("v");
    assert!(screen.contains("896 · all tokens · by id · not counted in any file yet"), "{screen}");
    let screen = bench.keys("s");
    assert!(screen.contains("longest first") && screen.contains("·unbelieving"), "{screen}");
    bench.keys("/");
    let screen = bench.write("francis");
    assert!(screen.contains("2 · all tokens") && screen.contains("·Francisco"), "{screen}");
    bench.keys("enter esc d enter");
    let (ticket, spec): (u64, CountSpec) = bench.started("count");
    assert_eq!((spec.tokenizer.as_str(), spec.files), ("builtin:sample", vec![PathBuf::from("sample:stories")]));
    bench.screen.up(Up::Started { ticket, job: JobId(7) });
    bench.screen.report(7, Report::Started { kind: "count".into(), title: "count tokens".into(), run: None });
    let screen = bench.keys("j");
    assert!(screen.contains("count tokens") && screen.contains("x stop"), "{screen}");
    let facts = json!({ "bytes": 100, "tokens": 40, "counts": [300, 30, 301, 10] });
    bench.screen.report(7, Report::Facts(serde_json::from_value(facts).unwrap()));
    bench.screen.report(7, Report::finished(false, "40 tokens"));
    let screen = bench.keys("g g");
    assert!(screen.contains("counted in sample:stories: 40 tokens") && screen.contains("75.000%"), "{screen}");
    let screen = bench.keys("f");
    // All but the two that were counted and the one special token.
    assert!(screen.contains("893 · never used") && screen.contains("never"), "{screen}");
}

#[test]
fn training_is_asked_for_watched_and_opened_at_its_end() {
    let dir = project();
    let mut bench = Bench::new(dir.path(), 120, 36);
    bench.keys("t down down ctrl-u");
    let screen = bench.write("100");
    assert!(screen.contains("▸ vocabulary"), "{screen}");
    let screen = bench.keys("enter");
    assert!(screen.contains("✗ vocab 100 is out of range"), "{screen}");
    bench.keys("ctrl-u");
    bench.write("300");
    bench.keys("down right down space enter");
    let (ticket, spec): (u64, TokenizerSpec) = bench.started("tokenizer");
    assert_eq!((spec.vocab, spec.pattern.as_str(), spec.split_digits, spec.special.len()), (300, "cl100k", true, 1));
    assert_eq!(spec.out, PathBuf::from("tokenizers/bpe-1.json"));
    bench.screen.up(Up::Started { ticket, job: JobId(3) });
    bench.screen.report(3, Report::Started { kind: "tokenizer".into(), title: "bpe tokenizer".into(), run: None });
    bench.screen.report(3, Report::Progress { what: "merging pairs".into(), done: 21, total: Some(43), unit: "merges".into() });
    bench.screen.report(3, Report::Facts([("newest".to_owned(), json!([["t", "he", 1200], [" ", "\u{1b}", 900]]))].into()));
    let screen = bench.keys("j");
    assert!(screen.contains("merging pairs 21 of 43 merges") && screen.contains("newest: t + he (1,200×)  · + ␛ (900×)"), "{screen}");
    let library = weightroom::data::tokenizer::named(dir.path(), "builtin:bytes").unwrap();
    library.save(&dir.path().join("tokenizers/bpe-1.json")).unwrap();
    bench.screen.report(3, Report::finished(false, "300 tokens"));
    let screen = bench.keys("j");
    assert!(screen.contains("● bpe-1.json") && screen.contains("tokenizers/bpe-1.json: 300 tokens"), "{screen}");
}

#[test]
fn a_file_that_is_no_tokenizer_is_told_where_it_would_be_shown() {
    let dir = project();
    std::fs::write(dir.path().join("bad\u{1b}.model"), b"\x00\x01").unwrap();
    let mut bench = Bench::new(dir.path(), 120, 36);
    bench.keys("a");
    bench.write("bad\u{1b}.model");
    let screen = bench.keys("enter");
    assert!(screen.contains("✗ "), "{screen}");
    assert!(!screen.contains('\u{1b}'), "{screen}");
    let screen = bench.keys("v v v");
    assert!(screen.contains("✗ "), "{screen}");
}

#[test]
fn no_size_and_no_key_breaks_the_pane() {
    let dir = project();
    for (width, height) in [(60, 16), (80, 24), (120, 36), (200, 60), (10, 3)] {
        let mut bench = Bench::new(dir.path(), width, height);
        for keys in
            ["v", "v", "v", "v", "tab j b", "v v", "z", "t", "esc", "d", "esc", "a", "esc", "/", "esc", "G", "g g", "ctrl-d", "i", "esc"]
        {
            bench.keys(keys);
        }
        bench.screen.input(crossterm::event::Event::Paste("漢字\t\u{1b}[A\r\n".repeat(50)));
        bench.screen.press(key("i"));
        bench.screen.input(crossterm::event::Event::Paste("漢字\t\u{1b}[A\r\n".repeat(50)));
        bench.settle();
        let screen = bench.screen.draw();
        assert!(!screen.contains('\u{1b}'));
    }
}
