//! Leaving and coming back with the real binary: an engine process that outlives screens and commands, whatever kills
//! them (WEIGHTROOM_KILLS screens, 6 unless told). Not here: what the screens look like (`ui_shell`), and kills in the middle of a checkpoint (`train_kill`).

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
    let kills: u64 = std::env::var("WEIGHTROOM_KILLS").ok().and_then(|s| s.parse().ok()).unwrap_or(6);
    let seed = u64::from(std::process::id());
    let mut random = weightroom::rng::Stream::new(seed, "screens");
    let mut killed = Vec::new();
    // What was at the start is told to the one who sees it, and to nobody before.
    let note = until("a note that nobody watches", || weightroom::run::away::read(path));
    for _ in 0..kills {
        let moment = random.below(400);
        let signal = [libc::SIGKILL, libc::SIGKILL, libc::SIGHUP, libc::SIGTERM][random.below(4) as usize];
        // From the first frame on, or from before it.
        let mut screen = if random.below(3) == 0 { Pty::start(path, 120, 36) } else { Pty::open(path, 120, 36, &[]) };
        screen.read_for(Duration::from_millis(moment));
        screen.signal(signal);
        screen.ended();
        killed.push((moment, signal, step_of(path, "k").unwrap()));
    }
    println!("seed {seed}; {kills} screens killed: (ms, signal, step) {killed:?}");
    assert!(killed.windows(2).all(|pair| pair[0].2 <= pair[1].2), "{killed:?}");
    assert_eq!(weightroom::run::away::read(path), Some(note), "no screen stood long enough to tell it");
    assert_eq!(engine_of(path), Some(engine), "the same engine");
    let before = step_of(path, "k").unwrap();
    until("more steps", || step_of(path, "k").filter(|s| *s > before));
    // The one who comes back is told what happened.
    let mut screen = Pty::open(path, 120, 36, &[]);
    screen.shows("away ");
    screen.shows("k steps ");
    screen.send("gt");
    screen.shows("●");
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
    let mut waits = Vec::new();
    for round in 0..7 {
        let (began, before) = (std::time::Instant::now(), screen.raw.len());
        screen.send("?");
        screen.until("answer a key", |s| s.contents().contains("Tab turns the page") == (round % 2 == 0));
        waits.push((screen.raw.len() - before, began.elapsed().as_millis()));
    }
    // The line's buffer takes whatever is written, and all the same one frame at most comes before the answer.
    println!("until a key was answered (bytes, ms): {waits:?}; {memory} kB, then {} kB", screen.memory_kb());
    // Most of the time: a machine that lets the screen wait for seconds makes it take a reply for lost.
    waits.sort_unstable();
    assert!(waits[waits.len() / 2].0 < 10_000, "{waits:?}");
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
    screen.shows("both stopped and saved");
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
    // One whose socket somebody removed can be reached by nobody: it saves and ends.
    run(&path, &["train", "tiny.toml", "--name", "cut", "--detach", "--set", "optim.steps=1000000"]).good();
    until("a step", || step_of(&path, "cut").filter(|s| *s > 3));
    std::fs::remove_file(path.join(".weightroom/engine.sock")).unwrap();
    until("its end", || engine_of(&path).is_none().then_some(()));
    let list = run(&path, &["runs"]).good().out;
    assert!(list.contains("stopped"), "{list}");
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

#[test]
fn the_persons_own_command_runs_once_for_each_end_however_many_screens_look() {
    let dir = project();
    let path = dir.path();
    let _end = Stopped(path);
    std::fs::create_dir(path.join("weightroom")).unwrap();
    std::fs::write(path.join("weightroom/config.toml"), "notify = 'echo \"$WEIGHTROOM_MESSAGE\" >> told'\n").unwrap();
    let told = || std::fs::read_to_string(path.join("told")).unwrap_or_default();
    let of = |name: &str| told().lines().filter(|l| l.starts_with(name)).count();
    // Nobody looks.
    run(path, &["train", "tiny.toml", "--name", "alone", "--detach"]).good();
    until("a word", || (of("alone ") == 1).then_some(()));
    // Two look, one of them with the focus elsewhere.
    let mut screens = [Pty::open(path, 120, 36, &[]), Pty::open(path, 120, 36, &[])];
    screens[1].send("\x1b[O");
    screens.iter_mut().for_each(|s| s.shows("Lineage"));
    run(path, &["train", "tiny.toml", "--name", "seen"]).good();
    screens.iter_mut().for_each(|s| s.shows("seen done at step 20"));
    run(path, &["train", "tiny.toml", "--name", "bad", "--set", "data.train=nowhere.txt"]).bad(1, &["nowhere.txt"]);
    screens.iter_mut().for_each(|s| s.shows("nowhere.txt"));
    // An answer is seen by the one who asked for it.
    run(path, &["generate", "seen", "--prompt", "the", "--max-tokens", "3"]).good();
    until("a word of the fault", || (of("bad failed: ") == 1).then_some(()));
    for screen in &mut screens {
        screen.read_for(Duration::from_millis(300));
    }
    assert_eq!((of("alone "), of("seen "), told().lines().count()), (1, 1, 3), "{}", told());
    // The bell is each screen's own: of the one that nobody has before their eyes.
    let rang = |s: &Pty| memchr::memmem::find(&s.raw, b"\x1b]9;").is_some();
    assert_eq!(screens.each_ref().map(rang), [false, true]);
    // A command that does not run is found in the engine's log.
    std::fs::write(path.join("weightroom/config.toml"), "notify = 'no-such-command'\n").unwrap();
    run(path, &["train", "tiny.toml", "--name", "last", "--detach"]).good();
    let log = || std::fs::read_to_string(path.join(".weightroom/engine.log")).unwrap_or_default();
    until("a complaint", || (log().contains("the command of `notify`") && log().contains("no-such-command")).then_some(()));
}

#[test]
fn an_engine_that_speaks_otherwise_is_named_with_what_to_do() {
    use weightroom::engine::{protocol::Up, socket};
    let dir = project();
    let path = dir.path();
    let place = socket::path_of(path);
    std::fs::create_dir(place.parent().unwrap()).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&place).unwrap();
    let greeted = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = greeted.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            count.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
            let (version, device) = ("9.9".to_string(), "cpu".to_string());
            let hello = Up::Hello { schema: weightroom::report::SCHEMA + 1, version, device, threads: 2, outlives: true };
            let _ = socket::write_frame(&mut stream, &hello);
        }
    });
    let words = ["engine.sock", "weightroom 9.9", "speaks otherwise", "weightroom stop --engine"];
    run(path, &["train", "tiny.toml", "--detach"]).bad(1, &words);
    run(path, &["train", "tiny.toml"]).bad(1, &words);
    run(path, &["stop", "--engine"]).bad(1, &words);
    assert!(!path.join("runs").exists());
    let before = greeted.load(std::sync::atomic::Ordering::Acquire);
    let mut screen = Pty::open(path, 160, 36, &[]);
    screen.shows("which speaks otherwise");
    // Asked again and again it would never find itself unused, and so never end.
    screen.read_for(Duration::from_secs(2));
    assert_eq!(greeted.load(std::sync::atomic::Ordering::Acquire), before + 1);
}

#[test]
fn a_project_that_becomes_read_only_is_named_and_loses_nothing_that_was_saved() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    // SAFETY: a system call without arguments that always succeeds.
    if unsafe { libc::geteuid() } != 0 {
        return println!("skipped: only root can become another user, and root may write everywhere");
    }
    const NOBODY: u32 = 65534;
    let dir = project();
    let path = dir.path();
    let _end = Stopped(path);
    let own = |uid: u32, mode: u32| {
        let mut all = vec![path.to_path_buf()];
        while let Some(one) = all.pop() {
            chown(&one, Some(uid), None).unwrap();
            if one.is_dir() {
                std::fs::set_permissions(&one, std::fs::Permissions::from_mode(mode)).unwrap();
                all.extend(std::fs::read_dir(&one).unwrap().map(|e| e.unwrap().path()).filter(|p| !p.is_symlink()));
            }
        }
    };
    // A copy that this user may run.
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("weightroom");
    std::fs::copy(env!("CARGO_BIN_EXE_weightroom"), &program).unwrap();
    let nobody = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(args).current_dir(path).stdin(Stdio::null()).env("XDG_CONFIG_HOME", path).env("NO_COLOR", "1");
        common::cli::of(command.uid(NOBODY).gid(NOBODY).output().unwrap())
    };
    own(NOBODY, 0o700);
    let set = ["--set", "optim.steps=1000000", "--set", "checkpoint.every=50"];
    nobody(&[&["train", "tiny.toml", "--name", "ro", "--detach"][..], &set].concat()).good();
    until("a checkpoint", || weightroom::run::directory::RunDir::open(path, "ro").unwrap().checkpoints().last().map(drop));
    own(0, 0o555);
    let failed = until("its end", || {
        let log = log_of_whole(path, "ro");
        log.last().and_then(|e| if let Report::Failed { cause, .. } = &e.report { Some(cause.clone()) } else { None })
    });
    println!("{failed}");
    for word in ["runs/ro", "make the directory writable"] {
        assert!(failed.contains(word) && !failed.contains('\n'), "{failed}");
    }
    assert!(run(path, &["runs"]).good().out.contains("failed"));
    let last = weightroom::run::directory::RunDir::open(path, "ro").unwrap().checkpoints().last().unwrap().clone();
    weightroom::run::checkpoint::verify(&last.path).unwrap();
    own(NOBODY, 0o700);
    nobody(&["train", "--resume", "ro", "--detach"]).good();
    until("more steps", || step_of(path, "ro").filter(|s| *s > last.step + 50));
    let resumed = log_of_whole(path, "ro").iter().any(|e| matches!(e.report, Report::Resumed { step } if step == last.step));
    assert!(resumed, "it goes on where it was saved last");
    assert!(nobody(&["stop", "ro"]).good().out.contains("saved"));
}
