//! A sitting of a labeler in a terminal, driven by scripted keys at ten a second, with undo, ties, skips, fourth digits out
//! of habit and three kills: the label file equals what was meant. A short one here; `WEIGHTROOM_SITTING=500` drives the long
//! one. Not here: the pane's single keys (`ui_rank_pane`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.
#![cfg(unix)]

#[path = "common/pty.rs"]
mod pty;

use std::time::Duration;

use pty::Pty;
use weightroom::data::labels::store::{SetDir, standing};
use weightroom::data::labels::{Item, Label, Response};
use weightroom::rng::Stream;
use weightroom::spec::Message;

/// Ten keys a second.
const APART: Duration = Duration::from_millis(100);
/// What a person needs at least before deciding; less is asked again.
const LOOK: Duration = Duration::from_millis(450);

/// What is meant with an item: the keys, and the order by places on the screen that they mean.
struct Meant {
    keys: Vec<&'static str>,
    order: String,
    /// Keys of it that a person needs.
    needed: usize,
}

fn meant(stream: &mut Stream, pair: bool) -> Meant {
    let digit = |d: u64| ["1", "2", "3", "4"][d as usize];
    if pair {
        let (key, order) = [("f", "1>2"), ("j", "2>1"), ("a", "1>2 ×4"), ("l", "2>1 ×3"), (" ", "1=2")][stream.below(5) as usize];
        return Meant { keys: vec![key], order: order.into(), needed: 1 };
    }
    let mut places = [0, 1, 2, 3];
    stream.shuffle(&mut places);
    let [a, b, c, d] = places.map(digit);
    let all_equal = "1=2=3=4".to_string();
    match stream.below(10) {
        0 => Meant { keys: vec!["."], order: "skipped".into(), needed: 1 },
        1 => Meant { keys: vec![" "], order: all_equal, needed: 1 },
        2 => Meant { keys: vec!["-"], order: format!("| {all_equal}"), needed: 1 },
        3 => Meant { keys: vec![a, "=", b, c], order: format!("{a}={b}>{c}>{d}"), needed: 4 },
        4 => {
            let mut rest = [b, c, d];
            rest.sort_unstable();
            Meant { keys: vec![a, " "], order: format!("{a}>{}", rest.join("=")), needed: 2 }
        }
        // The fourth digit, out of habit.
        5..=7 => Meant { keys: vec![a, b, c, d], order: format!("{a}>{b}>{c}>{d}"), needed: 3 },
        _ => Meant { keys: vec![a, b, c], order: format!("{a}>{b}>{c}>{d}"), needed: 3 },
    }
}

fn items(count: usize) -> Vec<Item> {
    let response = |i: usize, r: usize| Response { id: format!("r{r}"), content: format!("answer {r} to {i}"), ..Response::default() };
    // Every fourth is a pair.
    (0..count)
        .map(|i| Item {
            id: format!("i{i:04}"),
            prompt: vec![Message { role: "user".into(), content: format!("question {i:04}.") }],
            responses: (1..=if i % 4 == 3 { 2 } else { 4 }).map(|r| response(i, r)).collect(),
            ..Item::default()
        })
        .collect()
}

struct Sitting {
    screen: Pty,
    project: std::path::PathBuf,
}

impl Sitting {
    fn open(project: &std::path::Path) -> Self {
        let screen = Pty::run(project, 120, 36, &["rank", "s", "--as", "ana"]);
        Self { screen, project: project.into() }
    }

    /// Waits until an item is asked, and looks at it.
    fn sees(&mut self, item: usize) {
        self.screen.shows(&format!("question {item:04}."));
        self.screen.read_for(LOOK);
    }

    fn types(&mut self, keys: &[&str]) {
        for key in keys {
            self.screen.send(key);
            self.screen.read_for(APART);
        }
    }

    /// Dies between any two instructions, and comes back.
    fn killed(&mut self) {
        self.screen.signal(libc::SIGKILL);
        self.screen.ended();
        let project = self.project.clone();
        *self = Self::open(&project);
    }
}

#[test]
fn the_file_equals_what_was_meant() {
    let count: usize = std::env::var("WEIGHTROOM_SITTING").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let dir = tempfile::Builder::new().prefix("weightroom-sitting-").tempdir().unwrap();
    let set = SetDir::new(dir.path(), "s").unwrap();
    set.add(&items(count)).unwrap();
    std::fs::write(set.path.join("guidelines.md"), "repeats: 0").unwrap();
    let mut stream = Stream::new(11, "sitting");
    let mut sitting = Sitting::open(dir.path());
    let mut all: Vec<Meant> = Vec::new();
    // The digit that the last decision implied, while it may still be swallowed.
    let mut implied: Option<String> = None;
    for item in 0..count {
        let pair = item % 4 == 3;
        sitting.sees(item);
        // Some change their minds: the decision is taken back and made anew.
        if stream.below(8) == 0 {
            let first = meant(&mut stream, pair);
            sitting.screen.read_for(Duration::from_millis(700));
            sitting.types(&first.keys[..first.needed]);
            sitting.screen.until("the decision", |s| s.contents().contains(&format!("#{}", item + 1)));
            sitting.screen.read_for(APART);
            sitting.types(&["u"]);
            sitting.sees(item);
            implied = None;
        }
        let what = meant(&mut stream, pair);
        if (1..=3).any(|k| item == k * count / 4) {
            // In the midst of a decision that is not made yet, the program is killed: it is asked again.
            sitting.types(&what.keys[..what.needed - 1]);
            sitting.killed();
            sitting.sees(item);
            implied = None;
        }
        if implied.as_deref() == what.keys.first().copied() {
            // Who begins with that very digit has looked for longer than a second.
            sitting.screen.read_for(Duration::from_millis(700));
        }
        sitting.types(&what.keys);
        implied = (what.needed == 3).then(|| what.order.chars().last().map(String::from)).flatten();
        // The last one is followed by the summary.
        let done = if item + 1 < count { format!("#{}", item + 1) } else { "this sitting of ana".into() };
        sitting.screen.until("the decision", |s| s.contents().contains(&done));
        all.push(what);
    }
    sitting.screen.shows("this sitting of ana");
    sitting.screen.send("q");
    assert!(sitting.screen.ended().success());
    sitting.screen.assert_restored();
    let (lines, faults) = set.lines("ana").unwrap();
    assert_eq!(faults, Default::default());
    let stand = standing(&lines);
    let found: Vec<(String, String)> = stand.iter().map(|l| (l.item.clone(), l.in_short())).collect();
    let wanted: Vec<(String, String)> = all.iter().enumerate().map(|(i, m)| (format!("i{i:04}"), m.order.clone())).collect();
    assert_eq!(found, wanted);
    assert!(stand.iter().zip(&all).all(|(label, meant)| label.keys.len() == meant.needed), "three keys an item of four, one a pair");
    assert!(!stand.iter().any(|l: &&Label| l.is_rushed()));
}
