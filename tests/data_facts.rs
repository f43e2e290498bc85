//! Facts and clean copies: every finding on a file where it was planted, near duplicates by the hundred, and the commands.
//! Not here: rows by themselves (`data_rows`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use weightroom::data::clean::{Rules, clean};
use weightroom::data::facts::{self, Evaluation, Facts, Options, measure};
use weightroom::data::source::Source;
use weightroom::data::tokenizer::Tokenizer;
use weightroom::report::{JobId, Monitor, Report, Signal, Silent, Sink};
use weightroom::rng::Stream;

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }
}

fn source(path: &Path) -> Vec<Source> {
    vec![Source::file(path, "text")]
}

fn facts_of(path: &Path, options: &Options) -> Facts {
    measure(&source(path), options, &std::env::temp_dir(), &Silent).unwrap()
}

/// Words that are no words, so that nothing resembles anything by chance.
fn words(random: &mut Stream, count: usize) -> Vec<String> {
    (0..count).map(|_| format!("w{:x}", random.below(1 << 24))).collect()
}

fn chat(turns: &[(&str, &str)]) -> String {
    let turns: Vec<Value> = turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    json!({ "messages": turns }).to_string() + "\n"
}

#[test]
fn everything_that_was_planted_is_found_with_its_line() {
    let dir = Dir::new();
    let long = "the quick brown fox jumps over the lazy dog while seven wizards quietly mix potions beside the frozen river at night";
    let mut text = String::new();
    text += &chat(&[("user", "What is it?"), ("assistant", "A first answer of some words.")]);
    text += &chat(&[("user", "What is it?"), ("assistant", "A first answer of some words.")]); // 2: the same
    text += &chat(&[("user", "hello there\0"), ("assistant", "zero\u{200b}width \u{fffd}")]); // 3
    text += &chat(&[("user", "one more question"), ("user", "two")]); // 4: order
    text += &chat(&[("user", ""), ("assistant", " ")]); // 5: empty, and a wrong order
    text += "{\"messages\": [\n"; // 6: broken
    text += "{\"text\": \"of another shape\"}\n"; // 7: unfit
    text += &chat(&[("user", "write to jo@example.org"), ("assistant", &format!("key ghp_{}", "a1B2".repeat(9)))]); // 8
    text += &chat(&[("user", "tell me"), ("assistant", &format!("well, {long} indeed"))]); // 9: 13 words of the evaluation
    text += &chat(&[("user", "Say a whole text of the test!"), ("assistant", "no")]); // 10: all of a part
    text += "{\"messages\": [{\"role\": \"user\", \"role\": \"user\", \"content\": \"как дела сегодня\"}, {\"role\": \"assistant\", \"content\": \"хорошо\"}]}\n"; // 11
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"{\"messages\": \"\xff\"}\n"); // 12: not UTF-8
    let path = dir.file("a.jsonl", bytes);
    let tests = dir.file(
        "test.jsonl",
        format!("{}\n{}\n", json!({"question": long, "answer": "x"}), json!({"question": "say a whole text of the TEST", "answer": "y"})),
    );
    let evaluation = Evaluation::read(&source(&tests), dir.0.path(), &Silent).unwrap();
    let byte = Tokenizer::train("byte", 0, None, &[], &Silent).unwrap();
    let options =
        Options { tokenizer: Some((&byte, "byte".into())), context: Some(100), evaluation: Some(&evaluation), ..Options::default() };
    let facts = facts_of(&path, &options);
    let lines = |found: &facts::Found| found.examples.iter().map(|e| e.line).collect::<Vec<_>>();
    assert_eq!((facts.rows, facts.good(), facts.shape.as_ref().unwrap().shape.as_str()), (12, 9, "messages"));
    assert_eq!(lines(&facts.broken), [6, 12]);
    assert_eq!((lines(&facts.not_utf8), lines(&facts.unfit), lines(&facts.empty)), (vec![12], vec![7], vec![5]));
    assert_eq!(facts.unfit.examples[0].why, "no field “messages”");
    assert_eq!(lines(&facts.role_order), [4, 5]);
    assert_eq!(facts.role_order.examples[0].why, "turn 2: user follows user");
    assert_eq!((lines(&facts.control), lines(&facts.unseen), lines(&facts.lost), lines(&facts.odd)), (vec![3], vec![3], vec![3], vec![11]));
    assert_eq!((lines(&facts.emails), lines(&facts.secrets)), (vec![8], vec![8]));
    assert_eq!((lines(&facts.duplicates.exact), facts.duplicates.exact.examples[0].why.as_str()), (vec![2], "the same as row 1"));
    let overlap = facts.overlap.as_ref().unwrap();
    assert_eq!((lines(&overlap.runs), lines(&overlap.exact), overlap.touched, overlap.evaluation_rows), (vec![9], vec![10], 2, 2));
    assert_eq!(facts.tokens, Some(facts.shape.as_ref().map(|_| facts.lengths.mean * 9.0).unwrap().round() as u64), "a byte tokenizer");
    assert_eq!((facts.lengths.context, facts.lengths.cut_rows, facts.lengths.unit.as_str()), (Some(100), 1, "tokens"));
    assert_eq!(facts.lengths.histogram.iter().map(|h| h.1).sum::<u64>(), 9);
    assert_eq!((facts.scripts[0].0.as_str(), facts.scripts[1].0.as_str()), ("Latin", "Cyrillic"));
    assert_eq!((facts.longest[0].place.line, facts.longest[0].length), (9, facts.lengths.percentiles.last().unwrap().1));
    assert!(facts.frequent_lines.contains(&("What is it?".to_owned(), 2)), "{:?}", facts.frequent_lines);
    // What travels as JSON comes back as it was.
    assert_eq!(serde_json::from_value::<Facts>(json!(facts)).unwrap(), facts);
}

/// Pairs whose resemblance is known, by sets that are counted here and not by what is tested.
fn planted(dir: &Dir, pairs: usize) -> (PathBuf, BTreeSet<(u64, u64)>, BTreeSet<(u64, u64)>) {
    let mut random = Stream::new(3, "pairs");
    let (mut rows, mut near, mut far): (Vec<Vec<String>>, _, _) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let runs = |words: &[String]| words.windows(3).map(|w| w.join(" ")).collect::<BTreeSet<String>>();
    while near.len() < pairs || far.len() < pairs {
        let count = 40 + random.below(100) as usize;
        let base = words(&mut random, count);
        let mut other = base.clone();
        // Words are replaced one by one until the pair resembles itself as little as is wanted.
        let wanted = if near.len() < pairs { 0.8 + random.below(19) as f64 / 100.0 } else { 0.35 + random.below(20) as f64 / 100.0 };
        loop {
            let mut next = other.clone();
            let at = random.below(next.len() as u64) as usize;
            next[at] = words(&mut random, 1).remove(0);
            let (a, b) = (runs(&base), runs(&next));
            let share = a.intersection(&b).count() as f64 / a.union(&b).count() as f64;
            if share < wanted && wanted >= 0.8 {
                break;
            }
            other = next;
            if share < wanted {
                break;
            }
        }
        let (a, b) = (runs(&base), runs(&other));
        let share = a.intersection(&b).count() as f64 / a.union(&b).count() as f64;
        let pair = (rows.len() as u64, rows.len() as u64 + 1);
        match share {
            1.0 => continue,
            s if s >= 0.8 => _ = near.insert(pair),
            s if s < 0.6 => _ = far.insert(pair),
            _ => continue,
        }
        rows.extend([base, other]);
    }
    let text: String = rows.iter().map(|words| json!({"text": words.join(" ")}).to_string() + "\n").collect();
    (dir.file("pairs.jsonl", text), near, far)
}

#[test]
fn of_1000_planted_pairs_95_percent_are_found_and_no_false_one() {
    let dir = Dir::new();
    let (path, near, far) = planted(&dir, 1000);
    let facts = facts_of(&path, &Options::default());
    let found: BTreeSet<(u64, u64)> = facts.duplicates.pairs.iter().map(|(a, b, _)| (*a, *b)).collect();
    let hit = near.intersection(&found).count();
    let false_pairs = found.iter().filter(|pair| !near.contains(pair)).collect::<Vec<_>>();
    println!("{hit} of {} found; {} that are none below 0.6", near.len(), far.intersection(&found).count());
    assert!(hit as f64 >= 0.95 * near.len() as f64, "{hit} of {}", near.len());
    assert!(false_pairs.is_empty(), "{false_pairs:?}");
    assert_eq!((facts.duplicates.near_groups, facts.duplicates.near.rows), (hit as u64, hit as u64));
    assert!(facts.duplicates.pairs.iter().all(|(_, _, share)| *share >= facts::THRESHOLD && *share < 1.0));
}

#[test]
fn the_facts_are_the_same_whatever_the_file_is_packed_in() {
    let dir = Dir::new();
    let text = (0..3000)
        .map(|i| json!({"text": format!("row {} of many\nwith two lines, {}", i % 2900, i % 7)}).to_string() + "\n")
        .collect::<String>();
    let plain = facts_of(&dir.file("a.jsonl", &text), &Options::default());
    let packed = facts_of(&dir.file("b.jsonl.zst", zstd::encode_all(text.as_bytes(), 1).unwrap()), &Options::default());
    let comparable = |mut f: Facts| {
        (f.seconds, f.files) = (0.0, Vec::new());
        f
    };
    assert_eq!(comparable(plain.clone()), comparable(packed));
    assert_eq!((plain.rows, plain.files[0].unit.as_str(), plain.frequent_lines.len()), (3000, "row", 10));
    let again = facts_of(&dir.path("a.jsonl"), &Options::default());
    assert_eq!(comparable(again), comparable(plain));
}

/// Says `stopped` from the so-and-so-many-th question on.
struct Impatient(AtomicU32);

impl Monitor for Impatient {
    fn report(&self, _: Report) {}
    fn stopped(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) <= 1
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
fn who_stops_gets_what_was_read_and_no_half_file() {
    let dir = Dir::new();
    let text = (0..120_000).map(|i| format!("{{\"text\": \"{i} {}\"}}\n", "x".repeat(200))).collect::<String>();
    let path = dir.file("a.jsonl", text);
    let facts = measure(&source(&path), &Options::default(), dir.0.path(), &Impatient(AtomicU32::new(3))).unwrap();
    assert!(facts.stopped && facts.rows > 1000 && facts.rows < 120_000, "{}", facts.rows);
    assert!(!facts.duplicates.compared && facts.to_string().ends_with("stopped before the end"));
    let rules = Rules { drop: vec!["broken".into()], ..Rules::default() };
    let done = clean(&source(&path), &rules, &dir.path("out.jsonl"), dir.0.path(), &Impatient(AtomicU32::new(3))).unwrap();
    assert!(done.is_none());
    assert_eq!(std::fs::read_dir(dir.0.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn a_clean_copy_leaves_out_what_breaks_a_rule_and_nothing_else() {
    let dir = Dir::new();
    let mut random = Stream::new(9, "clean");
    let base = words(&mut random, 60).join(" ");
    let rows = [
        json!({"id": 1, "text": base}).to_string(),
        "{ \"id\":2,   \"text\": \"kept as it is written\" }".into(),
        json!({"id": 3, "text": base}).to_string(),
        json!({"id": 4, "text": format!("{base} end")}).to_string(),
        "{\"id\": 5, \"text\": ".into(),
        json!({"id": 6, "text": "  "}).to_string(),
        json!({"id": 7, "body": "another shape"}).to_string(),
        json!({"id": 8, "text": "mail me: jo@example.org \r\nsoon"}).to_string(),
        json!({"id": 9, "text": "tiny"}).to_string(),
        json!({"id": 10, "text": "x".repeat(2000)}).to_string(),
    ];
    let path = dir.file("a.jsonl", rows.join("\n"));
    let before = std::fs::read(&path).unwrap();
    let rules = Rules {
        drop: ["broken", "unfit", "empty", "duplicates", "near-duplicates"].map(str::to_owned).into(),
        min: Some(5),
        max: Some(1000),
        normalise: true,
        redact: true,
        ..Rules::default()
    };
    let done = clean(&source(&path), &rules, &dir.path("b.jsonl"), dir.0.path(), &Silent).unwrap().unwrap();
    let written = std::fs::read_to_string(dir.path("b.jsonl")).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines, [rows[0].as_str(), rows[1].as_str(), "{\"id\":8,\"text\":\"mail me: <email>\\nsoon\"}"]);
    let dropped: Vec<(&str, u64, u64)> = done.dropped.iter().map(|(rule, f)| (rule.as_str(), f.rows, f.examples[0].line)).collect();
    assert_eq!(
        dropped,
        [
            ("duplicates", 1, 3),
            ("near-duplicates", 1, 4),
            ("broken", 1, 5),
            ("empty", 1, 6),
            ("unfit", 1, 7),
            ("too short", 1, 9),
            ("too long", 1, 10)
        ]
    );
    assert_eq!((done.rows, done.written, done.normalised, done.redacted, done.bytes), (10, 3, 1, 1, written.len() as u64));
    assert_eq!(std::fs::read(&path).unwrap(), before, "the source is as it was");
    // Again, elsewhere: the same bytes.
    clean(&source(&path), &rules, &dir.path("c.jsonl"), dir.0.path(), &Silent).unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(dir.path("c.jsonl")).unwrap(), written);
    // Nothing is overwritten, the source least of all.
    for out in [dir.path("b.jsonl"), path.clone()] {
        let error = clean(&source(&path), &rules, &out, dir.0.path(), &Silent).unwrap_err().to_string();
        assert!(error.contains("exists already, and nothing is overwritten; name another file"), "{error}");
    }
    let error = clean(&source(&path), &rules, &dir.path("d.txt"), dir.0.path(), &Silent).unwrap_err().to_string();
    assert!(error.contains("name a .jsonl file"), "{error}");
    let error = clean(&source(&path), &Rules::default(), &dir.path("e.jsonl"), dir.0.path(), &Silent).unwrap_err().to_string();
    assert!(error.contains("a.jsonl: line 5: not JSON") && error.contains("--drop broken"), "{error}");
}

#[test]
fn plain_text_stays_plain_text() {
    let dir = Dir::new();
    let path = dir.file("a.txt", "One day.\n\nTwo days.\nMore.\n\n\nOne day.\n");
    let rules = Rules { drop: vec!["duplicates".into()], ..Rules::default() };
    clean(&source(&path), &rules, &dir.path("b.txt"), dir.0.path(), &Silent).unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(dir.path("b.txt")).unwrap(), "One day.\n\nTwo days.\nMore.");
    clean(&source(&path), &rules, &dir.path("b.jsonl"), dir.0.path(), &Silent).unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(dir.path("b.jsonl")).unwrap().lines().next().unwrap(), "{\"text\":\"One day.\"}");
}

fn weightroom(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weightroom")).current_dir(dir).args(args).output().unwrap()
}

#[test]
fn the_commands_say_what_they_found() {
    let dir = Dir::new();
    dir.file("a.csv", "id,text\n1,one row of text\n2,\"one row of text\"\n3\n");
    let run = |args: &[&str]| {
        let out = weightroom(dir.0.path(), args);
        (out.status.code(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, out, err) = run(&["data", "inspect", "a.csv", "--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{err}");
    let facts: Facts = serde_json::from_str(&out).unwrap();
    assert_eq!((facts.rows, facts.broken.rows, facts.duplicates.exact.rows, facts.schema), (3, 1, 1, 1));
    let (code, out, _) = run(&["data", "inspect", "a.csv"]);
    assert_eq!(code, Some(0));
    for wanted in [
        "a.csv: 3 rows, csv",
        "shape           text text=text",
        "3, of which 2 can be used",
        "exact duplicates: 1",
        "a.csv line 4 (row 3): 1 fields where",
    ] {
        assert!(out.contains(wanted), "{wanted:?} is missing:\n{out}");
    }
    let (code, out, err) = run(&["data", "clean", "a.csv", "-o", "b.jsonl"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("b.jsonl: 1 of 3 rows") && out.contains("dropped 1: duplicates") && out.contains("dropped 1: broken"), "{out}");
    assert_eq!(std::fs::read_to_string(dir.path("b.jsonl")).unwrap(), "{\"id\":\"1\",\"text\":\"one row of text\"}\n");
    let (code, _, err) = run(&["data", "clean", "a.csv", "-o", "b.jsonl"]);
    assert!(code == Some(1) && err.contains("b.jsonl: exists already"), "{err}");
    for (args, wanted) in [
        (&["data", "clean", "a.csv", "-o", "c.jsonl", "--drop", "ugly"][..], "“ugly” is no rule; there are broken"),
        (&["data", "clean", "a.csv", "-o", "c.jsonl", "--drop", "contaminated"], "name them with --against"),
        (&["data", "clean", "a.csv", "-o", "c.jsonl", "--min", "9", "--max", "3"], "leave no row"),
        (&["data", "inspect", "a.csv", "--shape", "chat"], "“chat” is no shape"),
        (&["data", "inspect", "a.csv", "--context", "9"], "name a tokenizer with --tokenizer"),
    ] {
        let (code, _, err) = run(args);
        assert!(code == Some(2) && err.contains(wanted), "{args:?}: {code:?} {err}");
    }
    let (code, _, err) = run(&["data", "inspect", "none.jsonl"]);
    assert!(code == Some(1) && err.contains("none.jsonl: no such file"), "{err}");
    assert!(!dir.path(".weightroom").exists() && !dir.path("runs").exists(), "looking makes nothing");
}
