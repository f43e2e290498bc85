//! Leaving and coming back with the real binary: an engine process that outlives screens and commands, whatever kills
//! them. Not here: what the screens look like (`ui_shell`), and kills in the middle of a checkpoint (`train_kill`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.
#![cfg(target_os = "linux")]

#[path = "common/engine_process.rs"]
mod engine_process;
#[path = "common/pty.rs"]
mod pty;
mod common {
    pub mod cli;
}

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::cli::{project, run, weightroom};
use engine_process::{Stopped, engine_of, kill, until};
use pty::Pty;
use weightroom::report::{Event, Report};

fn step_of(dir: &Path, name: &str) -> Option<u64> {
    let list: serde_json::Value = serde_json::from_str(&run(dir, &["runs", "--json"]).good().out).unwrap();
    list.as_array().unwrap().iter().find(|r| r["name"] == name).and_then(|r| r["step"].as_u64())
}

fn events_of(text: &str) -> Vec<Event> {
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn log_of(dir: &Path, name: &str) -> Vec<Event> {
    events_of(&std::fs::read_to_string(dir.join("runs").join(name).join("events.jsonl")).unwrap())
}

#[test]
fn a_detached_training_goes_on_is_seen_by_others_and_stopped_from_anywhere() {
    let dir = project();
    let path = dir.path();
    let _end = Stopped(path);
    let set = ["train", "tiny.toml", "--name", "d", "--detach", "--set", "optim.steps=1000000"];
    assert_eq!(run(path, &set).good().out, "d\n");
    until("a step", || step_of(path, "d").filter(|s| *s > 3));
    // A second one waits in the same engine, and is told by name at once too.
    assert_eq!(run(path, &["train", "tiny.toml", "--name", "e", "--detach"]).good().out, "e\n");
    assert!(run(path, &["runs"]).good().out.contains("running"));
    // The model in training answers a command.
    assert!(run(path, &["generate", "d", "--prompt", "the", "--max-tokens", "3"]).good().out.starts_with("the"));
    let stopped = run(path, &["stop", "d"]).good();
    assert!(stopped.out.contains("stopped and saved at step"), "{}", stopped.out);
    run(path, &["stop", "d"]).bad(1, &["d", "not training"]);
    run(path, &["stop", "nobody"]).bad(1, &["nobody"]);
    // What waited has its turn and ends.
    until("the second run", || step_of(path, "e").filter(|s| *s == 20));
    run(path, &["train", "tiny.toml", "--name", "d", "--detach"]).bad(1, &["d", "exists"]);
    run(path, &["stop", "--engine"]).good();
    until("the engine's end", || engine_of(path).is_none().then_some(()));
    run(path, &["stop", "--engine"]).bad(1, &["no engine"]);
}

#[test]
fn readers_get_every_event_once_and_in_order_though_one_of_them_stands_still() {
    let dir = project();
    let path = dir.path();
    let _end = Stopped(path);
    let reader = |args: &[&str]| -> Child { weightroom(path, args).stdout(Stdio::piped()).spawn().unwrap() };
    let mut first = reader(&["train", "tiny.toml", "--name", "r", "--json", "--set", "optim.steps=1000"]);
    until("the run", || step_of(path, "r"));
    let mut second = reader(&["attach", "r", "--json"]);
    // It stands still while far more comes than a pipe holds.
    let mut lines = BufReader::new(second.stdout.take().unwrap()).lines();
    let mut seen: Vec<String> = lines.by_ref().take(5).map(|l| l.unwrap()).collect();
    kill(second.id() as i32, libc::SIGSTOP);
    let mut whole = String::new();
    std::io::Read::read_to_string(&mut first.stdout.take().unwrap(), &mut whole).unwrap();
    assert!(first.wait().unwrap().success());
    kill(second.id() as i32, libc::SIGCONT);
    seen.extend(lines.map(|l| l.unwrap()));
    assert!(second.wait().unwrap().success());

    let kept = log_of(path, "r");
    let steps = kept.iter().filter(|e| matches!(&e.report, Report::Values(v) if v.get("train/loss").is_some())).count();
    assert_eq!(steps, 1000);
    assert!(kept.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    assert_eq!(events_of(&seen.join("\n")), kept);
    let events = events_of(&whole);
    let from = events.iter().position(|e| matches!(e.report, Report::Started { run: Some(_), .. })).unwrap();
    assert_eq!(&events[from..], &kept[..]);
    // From a number on, and of a run that ended long ago.
    let rest = run(path, &["attach", "r", "--json", "--from", "100"]).good();
    assert_eq!(events_of(&rest.out), &kept[100..]);
    assert!(run(path, &["attach", "r"]).good().out.contains("step 1000/1000"));
}

#[test]
fn screens_may_be_killed_and_the_engine_is_unmoved() {
    let dir = project();
    let path = dir.path();
    let _end = Stopped(path);
    run(path, &["train", "tiny.toml", "--name", "k", "--detach", "--set", "optim.steps=1000000", "--set", "checkpoint.every=100000"])
        .good();
    let engine = until("an engine", || engine_of(path));
    for round in 0..6u64 {
        let mut screen = Pty::open(path, 120, 36, &[]);
        if round == 0 || round == 5 {
            screen.shows("safe to close");
            screen.shows("tok/s");
        }
        screen.read_for(Duration::from_millis(round * 37 % 150));
        screen.signal([libc::SIGKILL, libc::SIGHUP, libc::SIGTERM][round as usize % 3]);
        screen.ended();
    }
    // On a busy machine the engine may hear of the last one's end a moment later.
    until("a note that nobody watches", || path.join(".weightroom/away.json").exists().then_some(()));
    assert_eq!(engine_of(path), Some(engine), "the same engine");
    let before = step_of(path, "k").unwrap();
    until("more steps", || step_of(path, "k").filter(|s| *s > before));
    // The one who comes back is told what happened.
    let mut screen = Pty::open(path, 120, 36, &[]);
    screen.shows("away ");
    screen.shows("k steps ");
    screen.send("q");
    screen.shows("Enter leaves it running");
    screen.send("\r");
    assert!(screen.ended().success());
    screen.assert_restored();
    assert_eq!(engine_of(path), Some(engine));
    assert!(run(path, &["stop", "k"]).good().out.contains("saved"));
    // Every step is in the log, as if nobody had ever looked.
    let kept = log_of(path, "k");
    assert!(kept.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
}

#[test]
fn over_a_line_of_five_kilobytes_a_second_keys_are_answered_and_nothing_piles_up() {
    let dir = project();
    let path = dir.path();
    let _end = Stopped(path);
    // Steps of some milliseconds: at a thousand steps a second the charts' own points would outgrow what is looked for here.
    let slow = ["optim.steps=1000000", "eval.every=20", "model.context=64", "model.width=64", "optim.batch=32"];
    let set: Vec<&str> = slow.iter().flat_map(|s| ["--set", s]).collect();
    run(path, &[&["train", "tiny.toml", "--name", "s", "--detach"][..], &set].concat()).good();
    let mut screen = Pty::open(path, 120, 36, &[]);
    screen.send("gt");
    screen.shows("tok/s");
    screen.drains(5_000);
    screen.read_for(Duration::from_secs(2));
    let memory = screen.memory_kb();
    let mut most = (0, 0);
    for round in 0..6 {
        let (began, before) = (std::time::Instant::now(), screen.raw.len());
        screen.send("?");
        screen.until("answer a key", |s| s.contents().contains("Tab turns the page") == (round % 2 == 0));
        most = (most.0.max(began.elapsed().as_millis()), most.1.max(screen.raw.len() - before));
    }
    // The line's buffer takes whatever is written, and all the same one frame at most comes before the answer.
    println!("a key was answered after at most {} ms and {} bytes; {memory} kB, then {} kB", most.0, most.1, screen.memory_kb());
    assert!(most.1 < 10_000, "{} bytes until the answer", most.1);
    assert!(screen.memory_kb() < memory + 8 * 1024, "{memory} kB, then {} kB", screen.memory_kb());
    screen.drains(0);
    assert!(run(path, &["stop", "s"]).good().out.contains("saved"));
    screen.shows("stopped");
    screen.read_for(Duration::from_millis(500));
    let seen = screen.contents();
    screen.send("\x0c");
    screen.read_for(Duration::from_millis(500));
    assert_eq!(screen.contents(), seen, "a full repaint changes nothing");
}

#[test]
fn an_engine_that_is_told_to_end_finishes_the_step_and_saves() {
    let dir = project();
    let path = dir.path();
    let _end = Stopped(path);
    for (name, signal) in [("t", libc::SIGTERM), ("i", libc::SIGINT)] {
        let set = ["--set", "optim.steps=1000000", "--set", "checkpoint.every=1000000"];
        run(path, &[&["train", "tiny.toml", "--name", name, "--detach"][..], &set].concat()).good();
        until("a step", || step_of(path, name).filter(|s| *s > 3));
        kill(until("an engine", || engine_of(path)), signal);
        until("the engine's end", || engine_of(path).is_none().then_some(()));
        let list = run(path, &["runs"]).good().out;
        assert!(list.contains("stopped"), "{list}");
        let at = step_of(path, name).unwrap();
        let saved = weightroom::run::directory::RunDir::open(path, name).unwrap().checkpoints().last().unwrap().step;
        assert_eq!(saved, at, "nothing is lost");
    }
}

#[test]
fn an_engine_that_is_killed_is_told_within_a_moment_and_the_run_goes_on() {
    let dir = project();
    let path = dir.path();
    let _end = Stopped(path);
    let set = ["--set", "optim.steps=1000000", "--set", "checkpoint.every=50"];
    run(path, &[&["train", "tiny.toml", "--name", "b", "--detach"][..], &set].concat()).good();
    let mut screen = Pty::open(path, 120, 36, &[]);
    screen.shows("tok/s");
    until("a checkpoint", || step_of(path, "b").filter(|s| *s > 60));
    let engine = until("an engine", || engine_of(path));
    kill(engine, libc::SIGKILL);
    screen.shows("The engine broke off while b was at step");
    screen.send("\r");
    until("another engine", || engine_of(path).filter(|pid| *pid != engine));
    until("the run to go on", || log_of_whole(path, "b").iter().any(|e| matches!(e.report, Report::Resumed { .. })).then_some(()));
    // Only a job that is live can be paused: the new one has come to this screen.
    screen.shows("p pause");
    screen.send("q");
    screen.shows("s saves and stops");
    screen.send("s");
    assert!(screen.ended().success());
    let list = run(path, &["runs"]).good().out;
    assert!(list.contains("stopped"), "{list}");
}

/// As much of a log as is whole while it is being written.
fn log_of_whole(dir: &Path, name: &str) -> Vec<Event> {
    let text = std::fs::read_to_string(dir.join("runs").join(name).join("events.jsonl")).unwrap_or_default();
    text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}

#[test]
fn a_command_and_a_screen_see_the_same_and_hear_of_each_other() {
    let dir = project();
    let path = dir.path();
    let _end = Stopped(path);
    let mut screen = Pty::open(path, 120, 36, &[]);
    screen.shows("safe to close");
    let mut child =
        weightroom(path, &["train", "tiny.toml", "--name", "both", "--set", "optim.steps=1000000"]).stdout(Stdio::piped()).spawn().unwrap();
    // The screen had no engine; it finds the one that the command started.
    screen.shows("both");
    screen.shows("tok/s");
    assert!(run(path, &["stop", "both"]).good().out.contains("saved"));
    screen.shows("stopped from another terminal");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
    assert!(child.wait().unwrap().success() && said.contains("stopped and saved"), "{said}");
    screen.send("q");
    assert!(screen.ended().success());
}

#[test]
fn an_engine_ends_when_nobody_uses_it_and_when_its_project_is_gone() {
    let dir = project();
    let path = dir.path().to_path_buf();
    run(&path, &["train", "tiny.toml", "--name", "short", "--detach"]).good();
    let pid = until("an engine", || engine_of(&path));
    until("its end", || engine_of(&path).is_none().then_some(()));
    assert!(!path.join(".weightroom/engine.sock").exists());
    run(&path, &["train", "tiny.toml", "--name", "long", "--detach", "--set", "optim.steps=1000000"]).good();
    let second = until("another engine", || engine_of(&path));
    assert_ne!(pid, second);
    until("a step", || step_of(&path, "long").filter(|s| *s > 3));
    // The engine may write into it at this very moment.
    until("its removal", || (std::fs::remove_dir_all(&path).is_ok() || !path.exists()).then_some(()));
    until("its end", || (!Path::new(&format!("/proc/{second}/fd")).exists() || cmdline_is_empty(second)).then_some(()));
}

fn cmdline_is_empty(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty()
}
