//! The workbench without a terminal: any keys at any size, and how its own screens look.
//! Not here: the real binary in a terminal (`ui_pty`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use proptest::prelude::*;
use ratatui::style::Modifier;
use weightroom::engine::protocol::{Command, Up};
use weightroom::report::{JobId, JobState, Level, Report, SCHEMA, Signal, Values};
use weightroom::spec::TrainSpec;
use weightroom::ui::harness::{Harness, key, text};
use weightroom::ui::shell::{Out, Setup};
use weightroom::ui::theme::Theme;
use weightroom::ui::world::{Away, Loaded};
use weightroom::ui::{keymap, panes};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 36), (200, 60)];

/// A run that has learned for a while, beside one that failed.
fn trained(h: &mut Harness) {
    h.report(1, Report::Started { kind: "train".into(), title: "broken".into(), run: Some("broken".into()) });
    h.report(1, Report::Failed { cause: "loss is NaN at step 7".into(), hint: "lower the learning rate".into(), log: None });
    h.now_ms += 1_000;
    h.report(2, Report::Started { kind: "train".into(), title: "sample".into(), run: Some("sample".into()) });
    if let Some(run) = h.shell.world.runs.get_mut("sample") {
        run.recipe = weightroom::data::sample::recipe("sample").unwrap_or_default().into();
    }
    h.report(
        2,
        Report::Facts(
            [("steps".to_string(), 600.into()), ("parameters".into(), 812_000.into()), ("train_tokens".into(), 171_000.into())].into(),
        ),
    );
    for step in 1..=412u64 {
        h.now_ms += 40;
        let mut values = vec![("train/loss".to_string(), 4.0 - step as f64 / 200.0), ("tokens_per_s".into(), 21_300.0)];
        if step % 100 == 0 {
            values.push(("val/loss".into(), 4.1 - step as f64 / 200.0));
        }
        h.report(2, Report::Values(Values { step, values }));
    }
    h.report(2, Report::Sample { step: 400, prompt: "The cat".into(), text: "The cat sat on the mat.\u{1b}[31m It was red.".into() });
    h.report(2, Report::Note { level: Level::Warning, text: "bell \u{7} and escape \u{1b}]0;x\u{7} in a note".into() });
}

#[test]
fn life_help_palette_and_jobs_look_as_they_should() {
    for (width, height) in SIZES {
        let mut h = Harness::new(width, height);
        insta::assert_snapshot!(format!("life_empty_{width}"), h.draw());
        trained(&mut h);
        insta::assert_snapshot!(format!("life_live_{width}"), h.draw());
        h.keys("j j");
        insta::assert_snapshot!(format!("life_experiments_{width}"), h.draw());
        h.keys("esc ?");
        insta::assert_snapshot!(format!("help_explain_{width}"), h.draw());
        h.keys("tab");
        insta::assert_snapshot!(format!("help_keys_{width}"), h.draw());
        h.keys("esc g");
        insta::assert_snapshot!(format!("next_keys_{width}"), h.draw());
        h.keys("j");
        insta::assert_snapshot!(format!("jobs_{width}"), h.draw());
        h.keys(":");
        h.type_text("theme");
        insta::assert_snapshot!(format!("palette_{width}"), h.draw());
    }
}

#[test]
fn control_characters_are_marks_on_every_screen() {
    let mut h = Harness::new(120, 36);
    trained(&mut h);
    for keys in ["", "g j", "g t", "g c", "?"] {
        h.keys(keys);
        let screen = h.draw();
        assert!(!screen.chars().any(|c| c.is_control() && c != '\n'), "after {keys:?}");
    }
    h.keys("esc g j");
    assert!(h.draw().contains("bell ␇ and escape ␛]0;x␇ in a note"));
}

#[test]
fn one_enter_trains_the_sample_and_opens_train() {
    let mut h = Harness::new(120, 36);
    h.out();
    h.keys("enter");
    let started: Vec<String> = h
        .out()
        .into_iter()
        .filter_map(|o| match o {
            Out::Command(Command::Start { spec, .. }) => Some(spec.kind),
            _ => None,
        })
        .collect();
    assert_eq!(started, ["train"]);
    assert!(h.draw().contains("[Train]"));
}

#[test]
fn keys_typed_ahead_never_end_a_run() {
    let mut h = Harness::new(120, 36);
    trained(&mut h);
    h.draw();
    h.out();
    // All of these arrive before the question was drawn.
    for name in ["q", "s", "enter", "s"] {
        h.press(key(name));
    }
    assert_eq!(h.out(), []);
    let screen = h.draw();
    assert!(screen.contains("sample is training.") && screen.contains("s saves and stops") && screen.contains("Esc stays"), "{screen}");
    h.keys("esc");
    assert_eq!(h.out(), []);
    h.keys("q");
    assert!(h.draw().contains("Enter leaves it running"));
    h.keys("s");
    // Others may look at the same engine: the job is stopped, the engine is not.
    assert_eq!(h.out(), [Out::Command(Command::Signal { job: JobId(2), signal: Signal::Stop })]);
    // It waits until what runs is saved.
    assert!(h.draw().contains("saving sample"));
    h.report(2, Report::finished(true, "saved at step 412"));
    assert!(h.out().contains(&Out::Exit));
}

#[test]
fn what_outlives_the_screen_is_left_running_and_what_does_not_is_never_left_by_enter() {
    let mut h = Harness::new(120, 36);
    trained(&mut h);
    assert!(h.draw().contains("safe to close"));
    h.keys("q enter");
    assert_eq!(h.out().last(), Some(&Out::Exit));

    let mut h = Harness::new(120, 36);
    h.up(Up::Hello { schema: SCHEMA, version: "0.1.0".into(), device: "cpu".into(), threads: 2, outlives: false });
    trained(&mut h);
    assert!(h.draw().contains("stops with this terminal"));
    h.out();
    h.keys("q enter");
    assert_eq!(h.out(), []);
    assert!(!h.draw().contains("leaves it running"));
    h.keys("s");
    assert_eq!(h.out(), [Out::Command(Command::Shutdown)]);
}

#[test]
fn an_engine_that_breaks_off_is_told_and_its_run_is_offered_again() {
    let mut h = Harness::new(120, 36);
    trained(&mut h);
    h.out();
    h.up(Up::Bye);
    let screen = h.draw();
    assert!(screen.contains("The engine broke off while sample was at step 412"), "{screen}");
    assert!(screen.contains("[Train]") && screen.contains("Enter yes"), "{screen}");
    h.out();
    h.keys("enter");
    let started: Vec<TrainSpec> = h
        .out()
        .into_iter()
        .filter_map(|o| if let Out::Command(Command::Start { spec, .. }) = o { serde_json::from_value(spec.params).ok() } else { None })
        .collect();
    assert_eq!(started[0].resume.as_deref(), Some("sample"));
    // An engine that nobody used ends without a word to anybody.
    let mut h = Harness::new(120, 36);
    let before = h.draw();
    h.up(Up::Bye);
    assert_eq!(h.draw(), before);
}

#[test]
fn what_others_did_and_what_happened_meanwhile_is_told() {
    let mut h = Harness::new(120, 36);
    trained(&mut h);
    h.up(Up::Told("sample was paused from another terminal".into()));
    assert!(h.draw().contains("sample was paused from another terminal"));
    let since_ms = h.now_ms - 3 * 3_600_000;
    h.loaded(Loaded::Away(Away { since_ms, lines: vec!["sample steps 4,120 → 9,870, best 1.84, 2 notes".into()] }));
    let screen = h.draw();
    assert!(screen.contains("away 3h") && screen.contains("steps 4,120 → 9,870, best 1.84, 2 notes"), "{screen}");
}

#[test]
fn waiting_jobs_stand_in_line_and_move_in_it() {
    let mut h = Harness::new(120, 36);
    for job in 1..=3 {
        h.report(job, Report::Started { kind: "train".into(), title: format!("run-{job}"), run: (job == 1).then(|| "run-1".into()) });
        if job > 1 {
            h.report(job, Report::State { state: JobState::Waiting, why: "the device is busy with run-1".into() });
            h.report(job, Report::Facts([("place".to_string(), (job - 1).into())].into()));
        }
    }
    h.keys("g j");
    let screen = h.draw();
    let at = |what: &str| screen.find(what).unwrap_or_else(|| panic!("{what} in {screen}"));
    assert!(at("run-1") < at("run-2") && at("run-2") < at("run-3"), "{screen}");
    assert!(screen.contains("number 2 in line"), "{screen}");
    h.out();
    h.keys("j j K");
    assert_eq!(h.out(), [Out::Command(Command::Move { job: JobId(3), by: -1 })]);
    // At the head already.
    h.report(3, Report::Facts([("place".to_string(), 1.into())].into()));
    h.report(2, Report::Facts([("place".to_string(), 2.into())].into()));
    h.keys("K");
    assert_eq!(h.out(), [Out::Command(Command::Move { job: JobId(3), by: 0 })]);
}

#[test]
fn quitting_an_idle_workbench_asks_nothing() {
    let mut h = Harness::new(80, 24);
    h.keys("esc esc");
    assert_eq!(h.out(), []);
    h.keys("q");
    assert_eq!(h.out(), [Out::Exit]);
}

#[test]
fn interrupts_stop_a_generation_first_and_then_ask() {
    let mut h = Harness::new(120, 36);
    h.report(3, Report::Started { kind: "generate".into(), title: "sample".into(), run: None });
    h.out();
    h.keys("ctrl-c");
    assert_eq!(h.out(), [Out::Command(Command::Signal { job: JobId(3), signal: Signal::Stop })]);
    h.keys("ctrl-c");
    assert!(h.draw().contains("Leave weightroom?"));
    h.keys("enter");
    assert_eq!(h.out(), [Out::Exit]);
}

#[test]
fn jobs_are_paused_and_stopped_from_the_log() {
    let mut h = Harness::new(120, 36);
    trained(&mut h);
    h.keys("g j");
    h.out();
    h.keys("p");
    assert_eq!(h.out(), [Out::Command(Command::Signal { job: JobId(2), signal: Signal::Pause })]);
    h.report(2, Report::State { state: JobState::Paused, why: String::new() });
    h.keys("p s enter");
    let signals: Vec<_> = h.out();
    let expected = [Signal::Continue, Signal::Stop].map(|signal| Out::Command(Command::Signal { job: JobId(2), signal }));
    assert_eq!(signals, expected);
    h.keys("/");
    h.type_text("escape");
    assert!(h.draw().contains("/escape  1 of"));
    h.keys("enter q");
    assert!(h.draw().contains("sample is paused, and stays so"), "q after the filter asks");
}

#[test]
fn a_theme_is_previewed_and_esc_takes_it_back() {
    let mut h = Harness::new(120, 36);
    let ground = |h: &Harness| h.buffer()[(0, 0)].bg;
    let dark = ground(&h);
    h.keys(":");
    h.type_text("theme light");
    let light = ground(&h);
    assert_ne!(dark, light);
    h.keys("esc");
    assert_eq!(ground(&h), dark);
    h.keys(":");
    h.type_text("theme light");
    h.keys("enter");
    assert_eq!(ground(&h), light);
}

#[test]
fn selections_are_seen_without_colour_and_ascii_is_ascii() {
    let setup = Setup { theme: Theme::plain(), ascii: true, ..Setup::default() };
    let mut h = Harness::with(panes::all(), setup, 120, 36);
    trained(&mut h);
    for keys in ["", "j", "g j", ":"] {
        h.keys(keys);
        let screen = h.draw();
        assert!(screen.is_ascii(), "after {keys:?}: {:?}", screen.chars().find(|c| !c.is_ascii()));
        let marked = h.buffer().content.iter().any(|c| c.modifier.contains(Modifier::REVERSED)) || screen.contains('>');
        assert!(marked, "nothing is marked after {keys:?}");
    }
}

#[test]
fn an_action_can_be_rebound_by_name() {
    let known: Vec<keymap::Binding> = panes::all().iter().flat_map(|p| p.bindings()).chain(keymap::GLOBAL).copied().collect();
    let text = "[keys]\n\"go.log\" = \"J\"\n\"app.quit\" = \"ctrl-q\"\n";
    let config = weightroom::ui::config::Config::parse("config.toml".as_ref(), text, &known);
    assert_eq!(config.complaints, Vec::<String>::new());
    let mut h = Harness::with(panes::all(), Setup { config, ..Setup::default() }, 120, 36);
    h.keys("q");
    assert_eq!(h.out(), []);
    h.keys("J");
    assert!(h.draw().contains("[Jobs]"));
    h.keys("ctrl-q");
    assert_eq!(h.out(), [Out::Exit]);
}

#[test]
fn every_binding_parses_and_no_two_of_a_pane_share_a_key() {
    for pane in panes::all() {
        let mut seen = std::collections::HashMap::new();
        for binding in pane.bindings() {
            assert!(binding.action.starts_with(pane.id()), "{} is not named after its pane", binding.action);
            let sequences = keymap::parse_keys(binding.keys).unwrap_or_else(|bad| panic!("{}: {bad:?} is no key", binding.action));
            for sequence in sequences {
                if let Some(other) = seen.insert(sequence, binding.action) {
                    panic!("{} and {other} share a key", binding.action);
                }
            }
        }
    }
    for binding in keymap::GLOBAL {
        assert!(keymap::parse_keys(binding.keys).is_ok(), "{}", binding.action);
    }
}

#[test]
fn a_small_terminal_is_told_so() {
    for (width, height) in [(59, 24), (80, 15), (20, 5), (3, 1), (1, 1), (0, 0)] {
        let mut h = Harness::new(width, height);
        let screen = h.draw();
        assert!(width < 20 || screen.replace('\n', " ").contains("needs 60×16"), "{width}×{height}: {screen}");
        h.resize(60, 16);
        assert!(h.draw().contains("[Life]") && text(h.buffer()).contains("safe to close"));
        assert!(!text(h.buffer()).contains("needs 60×16"));
    }
}

fn names() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "g",
        "h",
        "i",
        "j",
        "k",
        "l",
        "m",
        "n",
        "o",
        "p",
        "q",
        "r",
        "s",
        "t",
        "u",
        "v",
        "w",
        "x",
        "y",
        "z",
        "G",
        "N",
        "?",
        ":",
        "/",
        ".",
        ",",
        "-",
        "+",
        "=",
        "[",
        "]",
        "<",
        ">",
        "0",
        "1",
        "5",
        "9",
        "space",
        "enter",
        "esc",
        "tab",
        "shift-tab",
        "up",
        "down",
        "left",
        "right",
        "home",
        "end",
        "pageup",
        "pagedown",
        "backspace",
        "del",
        "f1",
        "ctrl-c",
        "ctrl-d",
        "ctrl-u",
        "ctrl-g",
        "ctrl-l",
        "ctrl-s",
        "ctrl-z",
        "ctrl-j",
        "ctrl-w",
        "alt-x",
        "ä",
        "漢",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_keys_at_any_size_never_panic(
        steps in prop::collection::vec((names(), 0u16..210, 0u16..64, 0u8..12), 1..60),
        live in any::<bool>(),
    ) {
        let mut h = Harness::new(100, 30);
        if live {
            trained(&mut h);
        }
        for (name, width, height, kind) in steps {
            match kind {
                0 => h.resize(width, height),
                1 => h.input(crossterm::event::Event::Paste("two\nlines \u{1b}[A".into())),
                2 => h.input(crossterm::event::Event::Mouse(crossterm::event::MouseEvent {
                    kind: if width % 2 == 0 { crossterm::event::MouseEventKind::Down(crossterm::event::MouseButton::Left) } else { crossterm::event::MouseEventKind::ScrollDown },
                    column: width,
                    row: height,
                    modifiers: crossterm::event::KeyModifiers::NONE,
                })),
                3 => h.up(Up::Refused { ticket: u64::from(width), why: "no \u{1b} such thing".into() }),
                _ => h.press(key(name)),
            }
            h.draw();
            h.out();
        }
    }
}
