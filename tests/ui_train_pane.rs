//! The Train pane through the shell: what it shows at three sizes, what its keys ask for, and that no key breaks it.
//! Not here: real trainings.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use proptest::prelude::*;
use weightroom::engine::protocol::{Command, Up};
use weightroom::recipe::Recipe;
use weightroom::report::{Followed, JobId, JobState, Level, Report, Signal, Values};
use weightroom::spec::TrainSpec;
use weightroom::ui::harness::Harness;
use weightroom::ui::shell::Out;
use weightroom::ui::world::{Ended, Estimate, Load, Loaded, Run};

/// A run of 412 steps with all that a training says.
fn train(harness: &mut Harness, steps: u64) {
    harness.report(1, Report::Started { kind: "train".into(), title: "demo".into(), run: Some("demo".into()) });
    let facts = serde_json::json!({"parameters": 802_944, "steps": 2000, "vocab": 65, "tokens_per_step": 768, "train_tokens": 1_003_854});
    harness.report(1, Report::Facts(serde_json::from_value(facts).unwrap()));
    for step in 1..=steps {
        let x = step as f64;
        let wave = (x * 1.3).sin();
        let mut values = vec![
            ("train/loss".to_string(), 1.7 + 2.5 / (1.0 + x / 40.0) + 0.05 * wave),
            ("lr".into(), 1e-3 * (x / 100.0).min(1.0)),
            ("grad_norm".into(), 0.8 + 0.2 * wave),
            ("tokens_per_s".into(), 21_300.0 + 200.0 * wave),
            ("memory_mb".into(), 412.0),
            ("epoch".into(), x * 768.0 / 1_003_854.0),
        ];
        for (name, ms) in [("batch", 0.3), ("forward", 15.1), ("loss", 2.1), ("backward", 28.0), ("update", 2.7)] {
            values.push((format!("time/{name}_ms"), ms));
        }
        harness.report(1, Report::Values(Values { step, values }));
        if step % 100 == 0 {
            let loss = 1.8 + 2.5 / (1.0 + x / 40.0);
            harness.report(1, Report::Values(Values { step, values: vec![("val/loss".into(), loss)] }));
            let text = format!(" mat at step {step}.\nIt was \u{1b}[31mtired.");
            harness.report(1, Report::Sample { step, prompt: "The cat sat on the".into(), text });
            harness.report(1, Report::Artifact { kind: "checkpoint".into(), path: format!("step-{step:06}").into(), step: Some(step) });
        }
        harness.now_ms += 36;
    }
    harness.report(1, Report::note(Level::Info, "the tokenizer was made from input.txt"));
}

fn runs() -> Loaded {
    let mut base = Run::named("base");
    (base.step, base.steps, base.best, base.since_ms) = (2000, Some(2000), Some((1800, 1.874)), 1_767_200_000_000);
    base.ended = Some(Ended::Finished { stopped: false, summary: String::new() });
    let mut bad = Run::named("bad");
    (bad.step, bad.since_ms) = (37, 1_767_100_000_000);
    bad.ended = Some(Ended::Failed {
        cause: "train/loss at step 37: NaN; last good checkpoint: step-000030".into(),
        hint: "lower optim.lr".into(),
    });
    Loaded::Runs(vec![base, bad])
}

fn workbench(width: u16, height: u16) -> Harness {
    let mut harness = Harness::new(width, height);
    harness.loaded(runs());
    train(&mut harness, 412);
    harness.keys("g t");
    harness.out();
    harness
}

fn sent(out: &[Out]) -> Vec<&Command> {
    out.iter().filter_map(|o| if let Out::Command(c) = o { Some(c) } else { None }).collect()
}

#[test]
fn a_gpu_shows_beside_its_memory_how_busy_and_how_warm_it_is() {
    let mut harness = workbench(120, 36);
    assert!(!harness.draw().contains("°C"));
    let values = vec![("memory_mb".into(), 41_200.0), ("gpu/busy_percent".into(), 97.0), ("gpu/temperature_c".into(), 64.0)];
    harness.report(1, Report::Values(Values { step: 413, values }));
    let screen = harness.draw();
    assert!(screen.contains(" 97% 64°C"), "{screen}");
}

#[test]
fn it_looks_right_at_three_sizes() {
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        insta::assert_snapshot!(format!("train_{width}x{height}"), workbench(width, height).draw());
    }
}

#[test]
fn foreign_text_reaches_the_screen_as_marks() {
    let mut harness = workbench(200, 60);
    let screen = harness.draw();
    assert!(screen.contains("It was ␛[31mtired."), "{screen}");
    assert!(!screen.contains('\u{1b}'));
}

#[test]
fn the_cursor_reads_exact_values() {
    let mut harness = workbench(120, 36);
    harness.keys("right left");
    let screen = harness.draw();
    assert!(screen.contains("train/loss 1."), "{screen}");
    harness.keys("home");
    let screen = harness.draw();
    assert!(screen.contains("step 1  train/loss 4.1"), "{screen}");
    harness.keys("esc");
    assert!(harness.draw().contains("epoch 0.3/1.5"));
}

#[test]
fn keys_steer_the_run() {
    let mut harness = workbench(120, 36);
    harness.keys("p c .");
    let out = harness.out();
    let signal = |signal| Command::Signal { job: JobId(1), signal };
    assert_eq!(sent(&out), [&signal(Signal::Pause), &signal(Signal::Checkpoint)]);
    harness.report(1, Report::State { state: JobState::Paused, why: "paused after step 412".into() });
    harness.keys(". p");
    let out = harness.out();
    assert_eq!(sent(&out), [&signal(Signal::Step), &signal(Signal::Continue)]);
    assert!(harness.draw().contains("step 412: loss"));
}

#[test]
fn a_single_step_shows_one_token_and_one_weight() {
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let mut harness = workbench(width, height);
        harness.keys("p");
        harness.report(1, Report::State { state: JobState::Paused, why: "paused after step 412".into() });
        harness.keys(".");
        let told = Followed {
            step: 413,
            before: "The cat sat on\u{1b} the".into(),
            target: " mat".into(),
            guess: " floor".into(),
            guess_probability: 0.25,
            probability: 0.125,
            probability_after: 0.15,
            loss: 2.0794,
            weight: "lm_head[412, 17]".into(),
            gradient: -0.0031,
            value: 0.048_200,
            value_after: 0.048_900,
            lr: 1e-3,
            clip: 1.0,
        };
        harness.report(1, Report::Facts([(Followed::FACT.to_string(), serde_json::to_value(&told).unwrap())].into()));
        harness.report(1, Report::Values(Values { step: 413, values: vec![("train/loss".into(), 1.9)] }));
        let screen = harness.draw();
        let expected = ["cat sat on␛ the” then came “·mat”", "12.5 % for “·mat”", "2.0794 for this token", "-3.10e-3 for lm_head[412, 17]"];
        for text in expected.into_iter().chain(["loss.backward()", "+0.048200 → +0.048900; now 15.0 %"]) {
            assert!(screen.contains(text), "{text} is missing at {width}:\n{screen}");
        }
        // Once the run goes on it is about a step that is over.
        harness.report(1, Report::State { state: JobState::Running, why: String::new() });
        harness.report(1, Report::Values(Values { step: 414, values: vec![("train/loss".into(), 1.9)] }));
        assert!(!harness.draw().contains("then came"));
    }
}

#[test]
fn stopping_asks_first() {
    let mut harness = workbench(120, 36);
    harness.keys("s");
    assert!(sent(&harness.out()).is_empty());
    assert!(harness.draw().contains("Save demo and end it? It can be resumed."));
    harness.keys("enter");
    assert_eq!(sent(&harness.out()), [&Command::Signal { job: JobId(1), signal: Signal::Stop }]);
}

#[test]
fn a_failure_says_what_happened_and_what_helps() {
    let mut harness = workbench(120, 36);
    let cause = "train/loss at step 413: NaN; last good checkpoint: step-000400; usual causes: a learning rate that is too high";
    harness.report(1, Report::Failed { cause: cause.into(), hint: "halve optim.lr".into(), log: None });
    let screen = harness.draw();
    for expected in ["step 413: NaN", "halve optim.lr", "r resumes from step 400"] {
        assert!(screen.contains(expected), "{expected} is missing:\n{screen}");
    }
    harness.keys("r");
    let out = harness.out();
    let [Command::Start { spec, .. }] = sent(&out)[..] else { panic!("{out:?}") };
    assert_eq!(spec.params["resume"], "demo");
}

#[test]
fn selecting_a_run_reads_it_and_space_lays_it_under_another() {
    let mut harness = workbench(120, 36);
    harness.keys("j");
    let asks = |out: &[Out], name: &str| out.iter().any(|o| matches!(o, Out::Load(Load::Run(n)) if n == name));
    assert!(asks(&harness.out(), "base"));
    let mut base = Run::named("base");
    (base.opened, base.since_ms) = (true, 1_767_200_000_000);
    base.recipe = Recipe::default().to_toml();
    harness.loaded(Loaded::Run(Box::new(base)));
    harness.keys("space k");
    assert!(harness.draw().contains("━━ demo ╍╍ base"));
    assert!(!asks(&harness.out(), "base"), "what is open is not read again");
}

#[test]
fn the_form_checks_while_one_types_and_starts_what_it_shows() {
    let mut harness = workbench(120, 36);
    harness.keys("n");
    let out = harness.out();
    let ticket = out.iter().find_map(|o| if let Out::Load(Load::Estimate { ticket, .. }) = o { Some(*ticket) } else { None }).unwrap();
    let estimate = Estimate { parameters: 894_080, memory_bytes: 58_000_000, seconds: Some(60.0), notes: Vec::new() };
    harness.loaded(Loaded::Estimate { ticket, result: Ok(estimate) });
    assert!(harness.draw().contains("894,080"));
    // The heads of the model: 4 becomes 7, which does not divide 128.
    harness.keys("down down down down down down");
    assert!(harness.draw().contains("model.heads"));
    harness.keys("backspace 7");
    let screen = harness.draw();
    assert!(screen.contains("1 mistake"), "{screen}");
    harness.keys("enter");
    assert!(sent(&harness.out()).is_empty(), "a recipe with a mistake must not start");
    harness.keys("backspace 8 enter");
    let out = harness.out();
    let [Command::Start { ticket, spec }] = sent(&out)[..] else { panic!("{out:?}") };
    let spec: TrainSpec = serde_json::from_value(spec.params.clone()).unwrap();
    let recipe = Recipe::parse(&spec.recipe, "recipe", &[]).unwrap();
    assert_eq!((recipe.model.heads, recipe.data.train), (8, vec!["sample:stories".to_string()]));
    // A refusal brings the form back with its reason.
    harness.up(Up::Refused { ticket: *ticket, why: "the disk is full".into() });
    assert!(harness.draw().contains("the disk is full"));
}

#[test]
fn explain_uses_the_numbers_of_the_run() {
    let mut harness = workbench(120, 60);
    harness.keys("?");
    let screen = harness.draw();
    assert!(screen.contains("ln(65) = 4.17"), "{screen}");
    // Its first loss was a little below that.
    assert!(screen.contains("This curve begins there, at 4."), "{screen}");
    let mut wide = Harness::new(120, 60);
    wide.report(1, Report::Started { kind: "train".into(), title: "wide".into(), run: Some("wide".into()) });
    wide.report(1, Report::Facts(serde_json::from_value(serde_json::json!({"vocab": 65})).unwrap()));
    wide.report(1, Report::Values(Values { step: 1, values: vec![("train/loss".into(), 5.4)] }));
    wide.keys("g t ?");
    let screen = wide.draw();
    assert!(screen.contains("This curve begins higher, at 5.4"), "{screen}");
}

#[test]
fn a_live_frame_changes_few_cells() {
    let mut harness = workbench(120, 36);
    harness.draw();
    let mut changed = 0;
    for step in 413..433 {
        let before = harness.buffer().clone();
        let x = step as f64;
        let values = [
            ("train/loss", 1.9 + 0.03 * (x * 1.3).sin()),
            ("lr", 1e-3),
            ("grad_norm", 0.8 + 0.2 * (x * 2.1).sin()),
            ("tokens_per_s", 21_300.0),
            ("memory_mb", 412.0),
        ];
        let values = values.map(|(n, v)| (n.to_string(), v)).to_vec();
        harness.report(1, Report::Values(Values { step, values }));
        harness.now_ms += 100;
        harness.draw();
        changed += before.content().iter().zip(harness.buffer().content()).filter(|(a, b)| a != b).count();
    }
    // About sixteen bytes go to the terminal for each cell: forty cells would be near a kilobyte's two thirds.
    assert!(changed / 20 <= 40, "{} cells a frame", changed / 20);
}

const KEYS: &[&str] = &[
    "n",
    "p",
    "c",
    "s",
    "r",
    "f",
    "enter",
    "space",
    "d",
    ".",
    "L",
    "X",
    "m",
    "b",
    "+",
    "-",
    "0",
    "[",
    "]",
    "left",
    "right",
    "up",
    "down",
    "tab",
    "shift-tab",
    "z",
    "v",
    "/",
    "S",
    "y",
    "esc",
    "G",
    "home",
    "end",
    "ctrl-d",
    "ctrl-u",
    "pageup",
    "pagedown",
    "a",
    "7",
    "backspace",
    "ctrl-s",
    "ctrl-r",
    "?",
    "q",
    "t",
    "g",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_keys_at_no_size_break_it(keys in prop::collection::vec(0..KEYS.len(), 0..40), width in 0u16..210, height in 0u16..64, steps in 0u64..30) {
        let mut harness = Harness::new(width, height);
        harness.loaded(runs());
        train(&mut harness, steps);
        harness.keys("g t");
        for key in keys {
            harness.keys(KEYS[key]);
        }
        harness.draw();
    }
}
