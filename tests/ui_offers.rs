//! What the screen offers follows the state of things: the footer's keys, questions, runs that wait, the model one meets.
//! Not here: how the panes look (`ui_shell`, `ui_train_pane`, `ui_chat_pane`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use weightroom::engine::protocol::{Command, Up};
use weightroom::report::{JobId, JobState, Report, Signal, Values};
use weightroom::spec::JobSpec;
use weightroom::ui::harness::Harness;
use weightroom::ui::pane::Effect;
use weightroom::ui::shell::Out;
use weightroom::ui::world::{Ended, Loaded, Run};

fn train(h: &mut Harness, job: u64, name: &str, step: u64) {
    h.report(job, Report::Started { kind: "train".into(), title: name.into(), run: Some(name.into()) });
    if step > 0 {
        h.report(job, Report::Values(Values { step, values: vec![("train/loss".into(), 2.0), ("val/loss".into(), 2.1)] }));
    }
}

fn state(h: &mut Harness, job: u64, state: JobState) {
    h.report(job, Report::State { state, why: String::new() });
}

/// The last line of the screen: the keys, and what stands beside them.
fn footer(h: &mut Harness) -> String {
    h.draw().trim_end().lines().last().unwrap_or_default().to_string()
}

fn has(line: &str, wanted: &[&str], unwanted: &[&str]) {
    for text in wanted {
        assert!(line.contains(text), "{text:?} is missing: {line}");
    }
    for text in unwanted {
        assert!(!line.contains(text), "{text:?} is offered: {line}");
    }
}

#[test]
fn the_footer_of_train_follows_the_run() {
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let mut h = Harness::new(width, height);
        h.keys("g t");
        has(&footer(&mut h), &["n new"], &["pause", "stop", "checkpoint", "resume"]);
        train(&mut h, 1, "demo", 40);
        has(&footer(&mut h), &["p pause", "? help"], &["go on", "resume"]);
        state(&mut h, 1, JobState::Paused);
        has(&footer(&mut h), &[". one step", "p go on", "? help"], &["p pause", "resume"]);
        state(&mut h, 1, JobState::Running);
        has(&footer(&mut h), &["p pause"], &["one step", "go on"]);
        h.report(1, Report::Artifact { kind: "checkpoint".into(), path: "step-40".into(), step: Some(40) });
        h.report(1, Report::finished(true, "stopped and saved at step 40"));
        has(&footer(&mut h), &["r resume"], &["pause", "s stop", "checkpoint"]);
    }
}

#[test]
fn stop_is_offered_while_a_run_goes_on_at_every_size() {
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let mut h = Harness::new(width, height);
        train(&mut h, 1, "demo", 40);
        h.keys("g t");
        if width != 120 {
            has(&footer(&mut h), &["s stop", "c checkpoint"], &[]);
        }
        state(&mut h, 1, JobState::Paused);
        has(&footer(&mut h), &["s stop"], &[]);
    }
}

#[test]
fn the_keys_of_train_steer_the_selected_run_alone() {
    let mut h = Harness::new(120, 36);
    let mut old = Run::named("old");
    (old.step, old.since_ms, old.opened) = (100, 5, true);
    old.ended = Some(Ended::Finished { stopped: false, summary: String::new() });
    h.loaded(Loaded::Runs(vec![old]));
    train(&mut h, 1, "demo", 40);
    h.keys("g t end j j");
    h.keys("tab tab G");
    h.out();
    h.keys("p c s");
    let asked = h.out();
    assert!(!asked.iter().any(|o| matches!(o, Out::Command(_))), "{asked:?}");
    let screen = h.draw();
    assert!(screen.contains("old is not running; demo is at work: select it first"), "{screen}");
}

#[test]
fn a_toast_leaves_the_keys_and_is_never_cut() {
    for (width, height) in [(80, 24), (120, 36)] {
        let mut h = Harness::new(width, height);
        train(&mut h, 1, "demo", 40);
        h.keys("g t");
        let words: Vec<String> = (0..40).map(|n| format!("word{n}")).collect();
        let now = h.now_ms;
        h.shell.effect(Effect::Toast(words.join(" ")), now);
        let screen = h.draw();
        let keys = footer(&mut h);
        has(&keys, &["n new", "p pause", "? help", ": commands"], &[]);
        assert!(words.iter().all(|word| screen.contains(word.as_str())), "{screen}");
        h.shell.effect(Effect::Toast("short".into()), now);
        has(&footer(&mut h), &["p pause", "? help"], &[]);
        assert!(h.draw().contains("› short"));
    }
}

#[test]
fn the_question_names_no_step_that_goes_stale() {
    let mut h = Harness::new(120, 36);
    train(&mut h, 1, "demo", 40);
    h.keys("g t s");
    let whole = "Save demo and end it? It can be resumed.  ";
    assert!(h.draw().contains(whole), "{}", h.draw());
    h.report(1, Report::Values(Values { step: 90, values: vec![("train/loss".into(), 1.9)] }));
    assert!(h.draw().contains(whole));
    assert!(footer(&mut h).contains("step 90"));
}

/// Two runs asked for one after the other, as an experiment does: the first trains, the second waits.
fn two_halves(h: &mut Harness) {
    let now = h.now_ms;
    for (ticket, name) in [(901, "layers-8"), (902, "layers-1")] {
        let spec = JobSpec { kind: "train".into(), params: serde_json::json!({"name": name, "recipe": ""}) };
        h.shell.effect(Effect::Start { ticket, spec }, now);
    }
    h.out();
    h.up(Up::Started { ticket: 901, job: JobId(1) });
    train(h, 1, "layers-8", 40);
    h.up(Up::Started { ticket: 902, job: JobId(2) });
    h.report(2, Report::State { state: JobState::Waiting, why: "the device is busy with layers-8".into() });
}

#[test]
fn a_run_that_waits_is_seen_and_begins_with_a_word() {
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let mut h = Harness::new(width, height);
        two_halves(&mut h);
        h.keys("j j");
        assert!(h.draw().contains("2nd half waits"), "{}", h.draw());
        has(&footer(&mut h), &["Enter curves", "Tab map"], &["run it"]);
        h.keys("k");
        has(&footer(&mut h), &["Enter run it"], &["curves"]);
        h.keys("g t");
        let screen = h.draw();
        assert!(screen.contains("layers-1") && screen.contains("waits"), "{screen}");
        // Ending the first says what follows from it.
        h.keys("s");
        let screen = h.draw();
        assert!(screen.contains("Then layers-1") && screen.contains("which waits for the device"), "{screen}");
        assert!(!screen.contains("begins now"), "{screen}");
        h.keys("enter");
        assert!(h.out().contains(&Out::Command(Command::Signal { job: JobId(1), signal: Signal::Stop })));
        h.report(1, Report::finished(true, "layers-8 stopped and saved at step 40"));
        state(&mut h, 2, JobState::Running);
        train(&mut h, 2, "layers-1", 0);
        let screen = h.draw();
        assert!(screen.contains("layers-1, which") && screen.contains("begins now"), "{screen}");
        assert!(screen.contains("layers-8 stopped and saved") && !screen.contains("layers-8: layers-8"), "{screen}");
    }
}

#[test]
fn a_run_that_never_begins_goes_again() {
    let mut h = Harness::new(120, 36);
    two_halves(&mut h);
    h.keys("g t");
    h.report(2, Report::finished(true, "stopped before it began"));
    assert!(!h.shell.world.runs.contains_key("layers-1"));
    assert!(h.shell.world.runs.contains_key("layers-8"));
    assert!(!h.draw().contains("begins now"));
}

#[test]
fn life_and_chat_meet_the_newest_model_that_works() {
    let mut h = Harness::new(120, 36);
    let run = |name: &str, at: u64, step: u64, checkpoint: bool, ended: Ended| {
        let mut run = Run::named(name);
        (run.at_ms, run.since_ms, run.step, run.ended) = (at, at, step, Some(ended));
        if checkpoint {
            run.checkpoints.push((step, format!("runs/{name}/checkpoints/step").into()));
        }
        run
    };
    let done = || Ended::Finished { stopped: false, summary: String::new() };
    let failed = |cause: &str| Ended::Failed { cause: cause.into(), hint: String::new() };
    h.loaded(Loaded::Runs(vec![
        run("older", 1_000, 600, true, done()),
        run("good", 2_000, 600, true, done()),
        run("empty", 3_000, 0, false, Ended::Finished { stopped: true, summary: String::new() }),
        run("broken", 4_000, 37, true, failed("step 37: the loss is not finite (NaN)")),
    ]));
    let screen = h.draw();
    assert!(screen.contains("good; broken failed: m") && screen.contains("Lineage of good"), "{screen}");
    h.keys("g c");
    let screen = h.draw();
    assert!(screen.contains("good ✓ 600 steps · the newest that can talk"), "{screen}");
    // Once a run in training has learnt something it is the one to meet.
    train(&mut h, 1, "fresh", 0);
    assert!(h.draw().contains("good ✓"));
    train(&mut h, 1, "fresh", 5);
    assert!(h.draw().contains("fresh ●"), "{}", h.draw());
}

#[test]
fn life_uses_its_room_and_says_what_comes_next() {
    let empty_rows = |screen: &str, height: usize| {
        let blank = |line: &&str| line.chars().all(|c| c.is_whitespace() || "│╰╯─".contains(c));
        screen.lines().skip(2 * height / 3).take(height / 3 - 2).filter(blank).count()
    };
    for (width, height) in [(80u16, 24u16), (120, 36), (200, 60)] {
        let mut h = Harness::new(width, height);
        let screen = h.draw();
        let room = usize::from(height) / 3;
        assert!(screen.contains("What comes next") && screen.contains("Train the sample: about a minute"), "{screen}");
        assert!(empty_rows(&screen, usize::from(height)) <= room / 2, "{screen}");
        train(&mut h, 1, "sample", 400);
        if let Some(run) = h.shell.world.runs.get_mut("sample") {
            run.recipe = weightroom::data::sample::recipe("sample").unwrap().into();
        }
        for step in [100, 200, 300, 400] {
            let text = "The cat sat on the mat because it was tired, and the moon looked at it for a long while. ".repeat(3);
            h.report(1, Report::Sample { step, prompt: "The cat".into(), text });
        }
        let screen = h.draw();
        assert!(screen.contains("Lineage of sample") && screen.contains("The cat sat on the mat"), "{screen}");
        assert!(empty_rows(&screen, usize::from(height)) <= room / 2, "{screen}");
        h.report(1, Report::finished(false, "done"));
        if width > 80 {
            assert!(h.draw().contains("Talk to sample."), "{}", h.draw());
        }
    }
}

#[test]
fn the_footer_of_chat_names_no_letter_that_would_be_text() {
    let mut h = Harness::new(200, 60);
    train(&mut h, 1, "demo", 40);
    h.keys("g c");
    let line = footer(&mut h);
    has(&line, &["Enter send", "Tab next part", "Esc leaves, then  a again"], &["i write"]);
    h.keys("esc");
    has(&footer(&mut h), &["i write", "a again", "m model"], &["send", "leaves", "e edit"]);
    h.keys("m");
    has(&footer(&mut h), &["Enter takes it", "Esc back"], &["again"]);
}

#[test]
fn every_mistake_of_the_settings_is_told_in_full() {
    for (width, height) in [(80, 24), (120, 36)] {
        let mut h = Harness::new(width, height);
        let mistake =
            |n: usize| format!("weightroom-settings/config.toml:{n}: no action is called `train.pasue{n}`; the nearest is `train.pause`");
        let mistakes: Vec<String> = (1..=3).map(mistake).collect();
        let now = h.now_ms;
        h.shell.begin(&mistakes, now);
        // Lines may break at blanks only, so words are looked for.
        let screen = h.draw();
        assert!(screen.contains("3 mistakes in the settings; g j lists them all.") && screen.contains("`train.pasue1`;"), "{screen}");
        h.now_ms += 60_000;
        h.keys("g j");
        let screen = h.draw();
        for n in 1..=3 {
            assert!(screen.contains(&format!("config.toml:{n}:")) && screen.contains(&format!("`train.pasue{n}`;")), "{screen}");
        }
        assert_eq!(screen.matches("`train.pause`").count(), 3, "{screen}");
    }
}
