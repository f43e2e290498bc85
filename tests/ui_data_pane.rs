//! The Data pane as a person meets it: files, rows, views, facts, masks and the cleaning, at every size.
//! Not here: reading files (`data_rows`) and taking facts (`data_facts`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use std::path::Path;
use weightroom::data::facts::{Facts, Options, measure};
use weightroom::data::source::Source;
use weightroom::engine::protocol::{Command, Up};
use weightroom::report::{JobId, Report, Silent};
use weightroom::spec::{CleanSpec, InspectSpec};
use weightroom::ui::desk::Worker;
use weightroom::ui::harness::Harness;
use weightroom::ui::shell::Out;
use weightroom::ui::world::{Load, Loaded};

/// A workbench whose desk is at hand: what the pane asks is answered at once.
struct Bench {
    h: Harness,
    desk: Worker,
    commands: Vec<Command>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(width: u16, height: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut rows: String =
            (0..300).map(|i| format!("{{\"id\": {i}, \"prompt\": \"What is {i}?\", \"completion\": \"It is {i}.\"}}\n")).collect();
        rows += "{\"id\": 300, \"prompt\": \n{\"id\": 301, \"prompt\": \"esc \\u001b[31m here\", \"completion\": \"It is 7.\"}\n{\"other\": 1}\n";
        std::fs::write(dir.path().join("pairs.jsonl"), rows).unwrap();
        let chat =
            "{\"messages\": [{\"role\": \"user\", \"content\": \"Who?\"}, {\"role\": \"assistant\", \"content\": \"Me.\"}]}\n".repeat(3);
        std::fs::write(dir.path().join("chats.jsonl"), chat).unwrap();
        let desk = Worker::new(dir.path().into());
        let mut bench = Self { h: Harness::new(width, height), desk, commands: Vec::new(), dir };
        bench.keys("g d");
        bench
    }

    /// Lets the desk answer until nothing is asked.
    fn answer(&mut self) {
        for _ in 0..50 {
            let mut answers = Vec::new();
            for out in self.h.out() {
                match out {
                    Out::Load(Load::Data(ask)) => self.desk.ask(ask, &mut |a| answers.push(a)),
                    Out::Command(command) => self.commands.push(command),
                    _ => {}
                }
            }
            while self.desk.is_busy() {
                self.desk.slice(&mut |a| answers.push(a));
            }
            if answers.is_empty() {
                return;
            }
            answers.into_iter().for_each(|a| self.h.loaded(Loaded::Data(a)));
        }
        panic!("the pane never stops asking");
    }

    fn keys(&mut self, names: &str) -> String {
        for name in names.split_whitespace() {
            self.h.keys(name);
            self.answer();
        }
        self.h.draw()
    }

    fn type_text(&mut self, text: &str) -> String {
        self.h.type_text(text);
        self.answer();
        self.h.draw()
    }

    fn open(&mut self, name: &str) -> String {
        self.keys("o");
        self.type_text(&format!("{name}\n"))
    }

    fn started(&self, kind: &str) -> (u64, serde_json::Value) {
        let found = self.commands.iter().rev().find_map(|c| match c {
            Command::Start { ticket, spec } if spec.kind == kind => Some((*ticket, spec.params.clone())),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no {kind} was started"))
    }

    fn finish(&mut self, ticket: u64, job: u64, facts: serde_json::Value) -> String {
        self.h.up(Up::Started { ticket, job: JobId(job) });
        let serde_json::Value::Object(map) = facts else { panic!() };
        self.h.report(job, Report::Started { kind: "inspect".into(), title: "pairs.jsonl".into(), run: None });
        self.h.report(job, Report::Facts(map.into_iter().collect()));
        self.h.report(job, Report::finished(false, "done"));
        self.answer();
        self.h.draw()
    }

    fn facts(&self) -> Facts {
        let path = self.dir.path().join("pairs.jsonl");
        Facts { seconds: 1.0, ..measure(&[Source::file(&path, "text")], &Options::default(), self.dir.path(), &Silent).unwrap() }
    }
}

fn has(screen: &str, wanted: &[&str]) {
    for text in wanted {
        assert!(screen.contains(text), "{text:?} is missing:\n{screen}");
    }
}

#[test]
fn files_are_offered_and_open_with_their_rows() {
    let mut b = Bench::new(120, 36);
    has(&b.h.draw(), &["Data files of this project", "▸ chats.jsonl", "pairs.jsonl", "sample:stories"]);
    let screen = b.keys("j enter");
    has(&screen, &["pairs.jsonl · 303 rows · prompt/completion", "▸    1", "What is 0? · It is 0.", "text · row 1 · line 1"]);
    let screen = b.keys("G");
    has(&screen, &["✗ 303", "no field “prompt”", "✗ 301", "esc ␛[31m here"]);
    assert!(!screen.contains('\u{1b}'));
    let screen = b.keys("k k");
    has(&screen, &["not JSON at column", "row 301 · line 301"]);
    // A row by its number, and back to the top.
    b.keys("#");
    has(&b.type_text("200\n"), &["row 200 · line 200", "What is 199?"]);
    has(&b.keys("g g"), &["row 1 · line 1"]);
}

#[test]
fn views_filter_sort_and_sample() {
    let mut b = Bench::new(120, 36);
    b.open("pairs.jsonl");
    b.keys("/");
    has(&b.h.draw(), &["filter: ", "is:broken"]);
    has(&b.type_text("id>9 id<12\n"), &["2 with id>9 id<12", "What is 10?", "What is 11?"]);
    b.keys("/ ctrl-u");
    has(&b.type_text("is:broken\n"), &["1 with is:broken", "✗ 301"]);
    let screen = b.keys("a s");
    has(&screen, &["longest first", "▸  302"]);
    has(&b.keys("s"), &["shortest first", "▸✗ 303"]);
    let one = b.keys("r");
    has(&one, &["200 at random, seed 1"]);
    let two = b.keys("r");
    has(&two, &["200 at random, seed 2"]);
    assert_ne!(one, two);
    has(&b.keys("a"), &["▸    1"]);
    // A filter that says nothing sensible is told and changes nothing.
    b.keys("/");
    has(&b.type_text("is:odd\n"), &["is:odd is not known"]);
}

#[test]
fn a_row_is_shown_as_text_json_chat_and_tokens() {
    let mut b = Bench::new(120, 36);
    b.open("chats.jsonl");
    has(&b.keys("v"), &["JSON · row 1", "\"role\": \"user\""]);
    has(&b.keys("v"), &["chat · row 1", "▸ user", "│ Who?", "◂ assistant", "│ Me."]);
    has(&b.keys("v"), &["tokens and their loss", "chat template"]);
    b.open("pairs.jsonl");
    let screen = b.keys("m m");
    has(&screen, &["tokens and their loss · row 1", "W h a t", "· · · ·", "▀ ▀ ▀ ▀", "carry loss", "◆", "bytes and a context of 64"]);
    has(&b.keys("]"), &["tokens and their loss · row 2", "1 ?"]);
    // The shape by hand: the same row as another kind.
    b.keys("e ctrl-u");
    let screen = b.type_text("text text=completion\n");
    has(&screen, &["303 rows · text", "shape by hand"]);
}

#[test]
fn facts_are_taken_by_a_job_and_lead_to_rows() {
    let mut b = Bench::new(120, 36);
    b.open("pairs.jsonl");
    b.keys("f");
    let (ticket, params) = b.started("inspect");
    let spec: InspectSpec = serde_json::from_value(params).unwrap();
    assert_eq!((spec.files, spec.tokenizer), (vec!["pairs.jsonl".to_owned()], None));
    has(&b.h.draw(), &["● reading every row"]);
    let facts = b.facts();
    let screen = b.finish(ticket, 1, serde_json::json!(facts));
    has(&screen, &["303, of which 301 can be used", "✗ 1 broken rows", "! 1 control characters", "length in characters", "█", "Latin"]);
    b.keys("tab");
    let screen = b.keys("enter");
    has(&screen, &["row 301: not JSON", "▸✗ 301"]);
    let screen = b.keys("j enter");
    has(&screen, &["▸✗ 303"]);
    // Away and back, they are still there.
    b.keys("v v");
    has(&b.keys("v v"), &["of which 301 can be used"]);
}

#[test]
fn a_cleaning_is_chosen_started_and_told() {
    let mut b = Bench::new(120, 36);
    b.open("pairs.jsonl");
    let screen = b.keys("c");
    has(&screen, &["Write a clean copy", "[x] broken", "[ ] unfit", "[x] duplicates", "write to", "pairs-clean.jsonl"]);
    b.keys("down space down down down down enter");
    let (ticket, params) = b.started("clean");
    let spec: CleanSpec = serde_json::from_value(params).unwrap();
    assert_eq!(
        (spec.drop, spec.out.to_str().unwrap()),
        (["broken", "unfit", "empty", "duplicates"].map(str::to_owned).into(), "pairs-clean.jsonl")
    );
    let done = serde_json::json!({"rows": 303, "written": 301, "dropped": [["broken", {"rows": 1, "examples": [{"row": 300, "line": 301, "why": "not JSON"}]}]]});
    has(&b.finish(ticket, 2, done), &["✓ clean copy: 301 of 303 rows written, 1 broken", "broken: row 301, line 301: not JSON"]);
    // A rule that needs evaluation files does not start without.
    let screen = b.keys("c down down down down down space enter");
    has(&screen, &["needs evaluation files", "Write a clean copy"]);
    assert!(!b.keys("esc").contains("Write a clean copy"));
}

#[test]
fn every_size_draws_and_esc_goes_back() {
    for (width, height) in [(60, 16), (80, 24), (120, 36), (200, 60)] {
        let mut b = Bench::new(width, height);
        has(&b.open("pairs.jsonl"), &["303 rows"]);
        let screen = b.keys("enter");
        has(&screen, &["text · row 1"]);
        if width < 100 {
            assert!(!screen.contains("303 rows"), "one part at a time");
        }
        has(&b.keys("esc"), &["303 rows"]);
        for key in ["v", "v", "v", "z", "z", "c", "esc", "?"] {
            b.keys(key);
        }
    }
}

#[test]
fn what_cannot_be_opened_is_told_and_what_is_open_stays() {
    let mut b = Bench::new(120, 36);
    b.open("pairs.jsonl");
    has(&b.open("none.jsonl"), &["none.jsonl: no such file", "pairs.jsonl · 303 rows"]);
    // The file changes while it is open: told in the list, and R opens it anew.
    let path = b.dir.path().join("pairs.jsonl");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text += "{\"prompt\": \"new\", \"completion\": \"row\"}\n";
    replace(&path, &text);
    has(&b.keys("G"), &["changed while it was open"]);
    has(&b.keys("R G"), &["304 rows", "new · row"]);
}

fn replace(path: &Path, text: &str) {
    std::fs::write(path.with_extension("new"), text).unwrap();
    std::fs::rename(path.with_extension("new"), path).unwrap();
}
