//! The Rank pane, driven by keys, with the thread's worker that answers it: what lands in the file is what was pressed.
//! Not here: orders in the making (`data::labels::draft`) and the real binary in a terminal (`rank_sitting`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use std::path::Path;

use weightroom::data::labels::store::{SetDir, standing};
use weightroom::data::labels::{Item, Label, Response};
use weightroom::engine::protocol::{Command, Up};
use weightroom::report::{JobId, JobState, Report};
use weightroom::spec::{DrawSpec, Message};
use weightroom::ui::harness::{Harness, key};
use weightroom::ui::panes::rank::{Opening, Rank};
use weightroom::ui::shell::{Out, Setup};
use weightroom::ui::sitting::Worker;
use weightroom::ui::world::{Load, Loaded};

struct Bench {
    screen: Harness,
    worker: Worker,
    project: std::path::PathBuf,
    commands: Vec<Command>,
}

impl Bench {
    /// The pane alone, as `weightroom rank s --as ana` opens it.
    fn alone(project: &Path, width: u16, height: u16) -> Self {
        let opening = Opening { set: "s".into(), annotator: Some("ana".into()), ..Opening::default() };
        Self::of(project, opening, width, height)
    }

    fn of(project: &Path, opening: Opening, width: u16, height: u16) -> Self {
        let screen = Harness::with(vec![Box::new(Rank::new(Some(opening)))], Setup::default(), width, height);
        let mut bench = Self { screen, worker: Worker::new(project.into()), project: project.into(), commands: Vec::new() };
        bench.first();
        bench
    }

    /// What the shell asked for before anybody looked is asked once more.
    fn first(&mut self) {
        self.screen.loaded(Loaded::Labels(weightroom::ui::world::labels::Answer::Sets { sets: Vec::new(), user: "ana".into() }));
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let out = self.screen.out();
            if out.is_empty() {
                break;
            }
            for one in out {
                match one {
                    Out::Load(Load::Labels(ask)) => {
                        let mut answers = Vec::new();
                        self.worker.execute(ask, &mut |answer| answers.push(answer));
                        answers.into_iter().for_each(|answer| self.screen.loaded(Loaded::Labels(answer)));
                    }
                    Out::Command(command) => self.commands.push(command),
                    _ => {}
                }
            }
            self.screen.draw();
        }
    }

    /// Keys of somebody who looks at each item for a second before the first one.
    fn keys(&mut self, keys: &str) -> String {
        self.screen.wait(1_100);
        for name in keys.split_whitespace() {
            self.screen.wait(100);
            self.screen.press(key(name));
            self.screen.draw();
            self.settle();
        }
        self.screen.draw()
    }

    fn lines(&self) -> Vec<Label> {
        SetDir::open(&self.project, "s").unwrap().lines("ana").unwrap().0
    }

    /// The last line, by places on the screen.
    fn last(&self) -> String {
        self.lines().last().map(Label::in_short).unwrap_or_default()
    }
}

fn item(id: &str, texts: &[&str]) -> Item {
    let response = |(i, text): (usize, &&str)| Response {
        id: format!("r{}", i + 1),
        content: text.to_string(),
        model: Some(format!("model-{}", i + 1)),
        ..Response::default()
    };
    let prompt = vec![Message { role: "user".into(), content: format!("What is {id}?") }];
    Item { id: id.into(), prompt, responses: texts.iter().enumerate().map(response).collect(), ..Item::default() }
}

fn project(items: &[Item], guidelines: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let set = SetDir::new(dir.path(), "s").unwrap();
    set.add(items).unwrap();
    std::fs::write(set.path.join("guidelines.md"), guidelines).unwrap();
    dir
}

fn fours(count: usize) -> Vec<Item> {
    let text = |i: usize, r: usize| format!("The {i}th thing, said in way {r}.");
    (0..count).map(|i| item(&format!("i{i}"), &[&text(i, 1), &text(i, 2), &text(i, 3), &text(i, 4)])).collect()
}

#[test]
fn three_keys_rank_four_and_the_habitual_fourth_is_swallowed() {
    let dir = project(&fours(4), "repeats: 0");
    let mut bench = Bench::alone(dir.path(), 120, 36);
    let screen = bench.keys("3 1 4");
    assert!(screen.contains("#1 3>1>4>2 · u undo"), "{screen}");
    assert!(screen.contains("model-"), "the models are told after the decision:\n{screen}");
    // The fourth digit, out of habit, and then another item's keys.
    bench.screen.wait(100);
    bench.screen.press(key("2"));
    bench.settle();
    bench.keys("2 = 1 3");
    let lines = bench.lines();
    assert_eq!(lines.iter().map(Label::in_short).collect::<Vec<_>>(), ["3>1>4>2", "2=1>3>4"]);
    assert_eq!(lines[0].keys, ["3", "1", "4"]);
    // A second later it is a digit like any other.
    bench.keys("4 3 2");
    bench.screen.wait(1_100);
    let screen = bench.keys("1");
    assert!(screen.contains("1>"), "{screen}");
    bench.keys("space");
    assert_eq!(bench.last(), "1>2=3=4");
    assert!(lines.iter().all(|l| l.dwell_ms >= 1_000 && !l.is_rushed() && l.display_order.len() == 4));
}

#[test]
fn every_kind_of_decision_lands_in_the_file() {
    let dir = project(&fours(12), "repeats: 0");
    let mut bench = Bench::alone(dir.path(), 200, 60);
    for (keys, want) in [
        ("space", "1=2=3=4"),
        ("2 space", "2>1=3=4"),
        ("-", "| 1=2=3=4"),
        ("3 bar 1 4 enter", "3 | 1>4>2"),
        (".", "skipped"),
        ("1 backspace 4 3 2", "4>3>2>1"),
        ("5 1 2 3", "1>2>3>4"),
    ] {
        bench.keys(keys);
        assert_eq!(bench.last(), want, "{keys}");
    }
    // A reason, a comment and a better answer go with the decision.
    bench.keys("x");
    bench.screen.type_text("contains a name");
    bench.keys("enter c");
    bench.screen.type_text("hard one");
    bench.keys("enter 2 e");
    bench.screen.type_text(" And more.");
    let screen = bench.keys("ctrl-s");
    assert!(screen.contains("the better response is kept"), "{screen}");
    bench.keys("1 3");
    let last = bench.lines().pop().unwrap();
    assert_eq!((last.flags.as_slice(), last.comment.as_str()), (["contains a name".to_string()].as_slice(), "hard one"));
    let edited = last.edited.as_ref().unwrap();
    assert!(edited.content.ends_with(" And more.") && edited.from == last.display_order[1], "{edited:?}");
    assert_eq!(last.in_short(), "2>1>3>4");
}

#[test]
fn undo_works_without_limit_and_after_a_restart() {
    let dir = project(&fours(5), "repeats: 0");
    let mut bench = Bench::alone(dir.path(), 80, 24);
    bench.keys("1 2 3");
    bench.keys("2 1 3");
    bench.keys("3 2 1");
    drop(bench);
    let mut bench = Bench::alone(dir.path(), 80, 24);
    let screen = bench.screen.draw();
    assert!(screen.contains("welcome back: 3 decisions"), "{screen}");
    let screen = bench.keys("u ctrl-z");
    assert!(screen.contains("#1 1>2>3>4") && screen.contains("taken back"), "{screen}");
    bench.keys("4 3 2");
    let lines = bench.lines();
    assert_eq!(
        standing(&lines).iter().map(|l| (l.item.as_str(), l.in_short())).collect::<Vec<_>>(),
        [("i0", "1>2>3>4".to_string()), ("i1", "4>3>2>1".to_string())]
    );
    bench.keys("u ctrl-r");
    assert_eq!(standing(&bench.lines()).len(), 2);
    let screen = bench.keys("u u u");
    assert!(screen.contains("nothing to undo"), "{screen}");
    // The item before can be looked at again and changed, or left.
    bench.keys("1 2 3");
    let screen = bench.keys(",");
    assert!(screen.contains("an earlier decision"), "{screen}");
    let before = bench.lines().len();
    bench.keys(".");
    assert_eq!(bench.lines().len(), before);
    bench.keys(", 4 2 3");
    let lines = bench.lines();
    let changed = lines.last().unwrap();
    assert_eq!((changed.in_short(), standing(&lines).len()), ("4>2>3>1".to_string(), 1));
}

#[test]
fn pairs_take_one_key_with_its_strength_and_g_leads_nowhere() {
    let pairs: Vec<Item> = (0..5).map(|i| item(&format!("p{i}"), &["short", "a little longer"])).collect();
    let dir = project(&pairs, "repeats: 0");
    let mut bench = Bench::alone(dir.path(), 120, 36);
    for (keys, want, strength) in
        [("a", "1>2 ×4", Some(4)), ("f", "1>2", Some(1)), ("k", "2>1 ×2", Some(2)), ("space", "1=2", Some(0)), ("2", "2>1", None)]
    {
        bench.keys(keys);
        let last = bench.lines().pop().unwrap();
        assert_eq!((last.in_short().as_str(), last.strength, last.keys.len()), (want, strength, 1), "{keys}");
    }
    // All is ranked, and summed up; from there too the last one can be taken back.
    bench.keys("u");
    let screen = bench.keys("g r");
    assert!(screen.contains("guidelines"), "r is a key of its own after g:\n{screen}");
    assert_eq!(standing(&bench.lines()).len(), 4);
}

#[test]
fn a_key_never_judges_what_was_not_drawn() {
    let dir = project(&fours(3), "repeats: 0");
    let mut bench = Bench::alone(dir.path(), 120, 36);
    bench.keys("1 2");
    bench.screen.wait(100);
    // The last key and four more in one go: the next item was on no screen yet.
    for name in ["3", "2", "1", "4", "3"] {
        bench.screen.press(key(name));
    }
    bench.settle();
    assert_eq!(bench.lines().len(), 1);
    bench.keys("4 3 2");
    assert_eq!(bench.last(), "4>3>2>1");
}

#[test]
fn what_was_decided_too_fast_is_asked_again() {
    let dir = project(&fours(9), "repeats: 0");
    let mut bench = Bench::alone(dir.path(), 120, 36);
    bench.screen.wait(50);
    for name in ["1", "2", "3"] {
        bench.screen.wait(50);
        bench.screen.press(key(name));
    }
    bench.settle();
    assert!(bench.lines()[0].is_rushed());
    let screen = bench.screen.draw();
    assert!(screen.contains("very fast: asked again later"), "{screen}");
    for _ in 0..5 {
        bench.keys("1 2 3");
    }
    let screen = bench.screen.draw();
    assert!(screen.contains("once more: it went very fast") && screen.contains("What is i0?"), "{screen}");
    bench.keys("2 1 3");
    let lines = bench.lines();
    assert_eq!(lines.last().unwrap().supersedes.as_deref(), Some("ana-000001"));
}

#[test]
fn criteria_and_acceptability_are_asked_where_the_guidelines_say_so() {
    let dir = project(&fours(2), "criteria: accuracy, helpfulness\nacceptability: yes\nrepeats: 0");
    let mut bench = Bench::alone(dir.path(), 120, 36);
    let screen = bench.keys("3 1 4");
    assert!(screen.contains("accuracy:"), "{screen}");
    bench.keys("1 space 2 1 3");
    let screen = bench.keys("enter");
    assert!(screen.contains("say what is acceptable first"), "{screen}");
    bench.keys("bar enter");
    let last = bench.lines().pop().unwrap();
    assert_eq!((last.in_short().as_str(), last.criteria.len(), last.accept_cut), ("3>1>4>2 |", 2, Some(4)));
    assert_eq!(last.criteria["helpfulness"].len(), 4);
    assert!(!last.guideline_hash.is_empty());
    let screen = bench.keys("r");
    assert!(screen.contains("criteria: accuracy"), "{screen}");
    bench.keys("esc 1 2");
    let screen = bench.keys("esc");
    assert!(screen.contains("began anew"), "{screen}");
}

#[test]
fn long_answers_scroll_and_no_key_is_lost() {
    let long = (0..200).map(|i| format!("line {i} of a long answer")).collect::<Vec<_>>().join("\n\n");
    let dir = project(&[item("long", &[&long, "short", &format!("{long} too")]), item("next", &["a", "b", "c"])], "repeats: 0");
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let mut bench = Bench::alone(dir.path(), width, height);
        let first = bench.keys("j");
        assert!(first.contains("more"), "{width}: what is below is said\n{first}");
        bench.keys("ctrl-d pagedown down end 2 home ctrl-u tab shift-tab right left k");
        let screen = bench.keys("3");
        assert!(screen.contains("#1 2>3>1"), "{width}\n{screen}");
        bench.keys("u");
    }
}

#[test]
fn it_shows_responses_beside_each_other_two_by_two_and_one_at_a_time() {
    let dir = project(&fours(1), "repeats: 0");
    let places = |width, height| {
        let mut bench = Bench::alone(dir.path(), width, height);
        let screen = bench.screen.draw();
        let line = |n: usize| screen.lines().position(|l| l.contains(&format!("said in way {n}.")));
        ((1..5).filter_map(line).collect::<Vec<usize>>(), screen)
    };
    let (wide, _) = places(200, 60);
    assert!(wide.len() == 4 && wide.iter().all(|l| *l == wide[0]), "{wide:?}");
    let (mut middle, _) = places(120, 36);
    middle.sort_unstable();
    middle.dedup();
    assert_eq!(middle.len(), 2);
    let (narrow, screen) = places(80, 24);
    assert_eq!(narrow.len(), 1, "{screen}");
    assert!(screen.contains("[1] 2  3  4"), "{screen}");
    // The same by hand, and the words in which they differ.
    let mut bench = Bench::alone(dir.path(), 200, 60);
    let screen = bench.keys("v v v");
    assert!(screen.contains("one at a time") && screen.contains("[1] 2  3  4"), "{screen}");
    let screen = bench.keys("v w");
    assert!(screen.contains("said in way"), "{screen}");
}

#[test]
fn equal_texts_and_control_characters_are_shown_as_what_they_are() {
    let dir = project(&[item("same", &["the same", "other\u{1b}[2J\u{7}", "the same"])], "repeats: 0");
    let mut bench = Bench::alone(dir.path(), 200, 60);
    let screen = bench.screen.draw();
    assert!(screen.contains("the same text as"), "{screen}");
    assert!(screen.contains("other␛[2J␇"), "{screen}");
}

#[test]
fn candidates_that_come_meanwhile_are_asked_and_what_waits_says_so() {
    let dir = project(&fours(1), "repeats: 0");
    let mut bench = Bench::alone(dir.path(), 120, 36);
    let spec = DrawSpec { set: "s".into(), ..DrawSpec::default() };
    bench.screen.report(7, Report::Started { kind: spec.kind().into(), title: "candidates of s".into(), run: None });
    bench.screen.report(7, Report::State { state: JobState::Waiting, why: "the device is busy with demo".into() });
    let screen = bench.screen.draw();
    assert!(screen.contains("candidates wait: the device is busy with demo"), "{screen}");
    let screen = bench.keys("1 2 3");
    assert!(screen.contains("this sitting of ana"), "the end of a sitting is summed up:\n{screen}");
    let screen = bench.keys("enter");
    assert!(screen.contains("All that is drawn is ranked"), "{screen}");
    SetDir::open(dir.path(), "s").unwrap().add(&fours(3)).unwrap();
    bench.screen.report(7, Report::State { state: JobState::Running, why: String::new() });
    bench.screen.report(7, Report::Progress { what: "candidates".into(), done: 1, total: Some(3), unit: "prompts".into() });
    bench.settle();
    let screen = bench.screen.draw();
    assert!(screen.contains("What is i1?") && screen.contains("candidates: 1 of 3 prompts"), "{screen}");
    // What was pressed stays while more come.
    bench.keys("4");
    SetDir::open(dir.path(), "s").unwrap().add(&fours(5)).unwrap();
    bench.screen.report(7, Report::Progress { what: "candidates".into(), done: 2, total: Some(3), unit: "prompts".into() });
    bench.settle();
    let screen = bench.keys("3 2");
    assert!(screen.contains("#2 4>3>2>1"), "{screen}");
}

#[test]
fn a_disk_that_refuses_loses_nothing() {
    let dir = project(&fours(2), "repeats: 0");
    let mut bench = Bench::alone(dir.path(), 120, 36);
    // As if the thread had answered that the disk is full.
    bench.screen.wait(1_100);
    for name in ["1", "2", "3"] {
        bench.screen.wait(100);
        bench.screen.press(key(name));
    }
    let asked: Vec<Out> = bench.screen.out();
    bench.screen.loaded(Loaded::Labels(weightroom::ui::world::labels::Answer::Failed("the disk is full".into())));
    let screen = bench.screen.draw();
    assert!(screen.contains("not kept: the disk is full · Enter tries again"), "{screen}");
    assert_eq!(asked.len(), 1);
    let screen = bench.keys("enter");
    assert!(screen.contains("#1 1>2>3>4"), "{screen}");
}

#[test]
fn the_list_opens_sets_and_lets_models_answer() {
    let dir = project(&fours(2), "repeats: 0");
    let mut screen = Harness::new(120, 36);
    screen.keys("g r");
    let mut bench = Bench { screen, worker: Worker::new(dir.path().into()), project: dir.path().into(), commands: Vec::new() };
    bench.settle();
    let screen = bench.screen.draw();
    assert!(screen.contains("▸ s") && screen.contains("nobody yet"), "{screen}");
    // A new set: the fields are checked before anything starts.
    bench.keys("o");
    let screen = bench.keys("tab tab tab backspace 1 ctrl-s");
    assert!(screen.contains("no model is named"), "{screen}");
    bench.keys("shift-tab");
    bench.screen.type_text("demo, openai:http://localhost#m");
    let screen = bench.keys("ctrl-s");
    assert!(screen.contains("1 responses cannot be ranked"), "{screen}");
    bench.keys("tab backspace 3 ctrl-s");
    let started = bench.commands.iter().find_map(|c| match c {
        Command::Start { spec, .. } if spec.kind == "draw" => serde_json::from_value::<DrawSpec>(spec.params.clone()).ok(),
        _ => None,
    });
    let spec = started.expect("a job was started");
    assert_eq!((spec.models.len(), spec.responses, spec.files.as_slice()), (2, 3, ["sample:questions".to_string()].as_slice()));
    // A name that would leave the directory is refused, and a safe one proposed.
    bench.keys("enter");
    bench.keys("ctrl-u");
    bench.screen.type_text("../ana/b");
    let screen = bench.keys("enter");
    assert!(screen.contains("cannot be part of a name") && screen.contains("ana-b"), "{screen}");
    let screen = bench.keys("ctrl-u A n a enter");
    assert!(screen.contains("0 of 2 · Ana"), "{screen}");
    let screen = bench.keys("1 2 3 S");
    assert!(screen.contains("this sitting of Ana") && screen.contains("which model wins"), "{screen}");
    let screen = bench.keys("esc esc");
    assert!(screen.contains("Ana 1"), "{screen}");
    bench.screen.up(Up::Started { ticket: 999, job: JobId(3) });
}

#[test]
fn a_goal_is_summed_up_when_it_is_reached() {
    let dir = project(&fours(5), "repeats: 0");
    let opening = Opening { set: "s".into(), annotator: Some("ana".into()), goal: Some(2), adjudicates: false };
    let mut bench = Bench::of(dir.path(), opening, 120, 36);
    let screen = bench.keys("1 2 3");
    assert!(screen.contains("today 1 of 2"), "{screen}");
    let screen = bench.keys("1 2 3");
    assert!(screen.contains("the goal of 2 is reached"), "{screen}");
    let screen = bench.keys("enter 1 2 3");
    assert!(screen.contains("What is i3?"), "once is enough:\n{screen}");
}

#[test]
fn screens() {
    let markdown = "# A head\n\nSome **bold** words and `code`.\n\n```rust\nfn main() {}\n```\n\n- one\n- two";
    let plain = "A plain answer that is somewhat longer than the others, so that it has to be broken into several lines here and there.";
    let items = [item("rain", &[markdown, plain, "Water.", "Water that falls."]), item("pair", &["Yes.", "No."])];
    let dir = project(&items, "# How to rank\nPrefer what is true.\nrepeats: 0");
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let mut bench = Bench::alone(dir.path(), width, height);
        insta::assert_snapshot!(format!("rank_four_{width}x{height}"), bench.keys("3"));
        insta::assert_snapshot!(format!("rank_pair_{width}x{height}"), bench.keys("1 2"));
        bench.keys("u");
    }
}

mod any_keys {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        /// Any keys at any size: no panic, and the file holds whole orders only.
        #[test]
        fn never_break_it(keys in proptest::collection::vec("[a-zA-Z1-9=.,;| -]|enter|esc|tab|ctrl-s|ctrl-z|ctrl-r|backspace|up|down|pagedown", 1..60), width in 1u16..210, height in 1u16..60) {
            let dir = project(&fours(6), "repeats: 50%\ncriteria: accuracy");
            let mut bench = Bench::alone(dir.path(), width, height);
            for name in keys {
                let name = match name.as_str() { " " => "space", "|" => "bar", other => other };
                if matches!(name, "q") { continue; }
                bench.screen.wait(300);
                bench.screen.press(key(name));
                bench.screen.draw();
                bench.settle();
            }
            for label in bench.lines().iter().filter(|l| l.ranks()) {
                prop_assert_eq!(label.tiers.concat().len(), label.responses.len());
            }
        }
    }
}
