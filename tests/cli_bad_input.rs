//! Bad input, through the real binary: one line that names thing, place and remedy, and exit code 1 or 2.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail loudly too, as the tests do.

mod common {
    pub mod cli;
}

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::cli::{Ran, TINY, project, run, text, weightroom};

/// Trains `recipe` in a project of its own and gives what it said.
fn train_with(change: impl Fn(&Path), recipe: &str) -> Ran {
    let dir = project();
    fs::write(dir.path().join("tiny.toml"), recipe).unwrap();
    change(dir.path());
    run(dir.path(), &["train", "tiny.toml"])
}

#[test]
fn a_file_that_is_missing_empty_or_too_short() {
    let dir = project();
    run(dir.path(), &["train", "none.toml"]).bad(1, &["none.toml", "built-in recipe"]);
    train_with(|d| fs::remove_file(d.join("text.txt")).unwrap(), TINY).bad(1, &["text.txt"]);
    train_with(|d| fs::write(d.join("text.txt"), "").unwrap(), TINY).bad(1, &["text.txt", "empty"]);
    train_with(|d| fs::write(d.join("text.txt"), "short").unwrap(), TINY).bad(1, &["context"]);
    train_with(|_| (), &TINY.replace("train = [\"text.txt\"]", "")).bad(1, &["data.train"]);
}

#[test]
fn bytes_that_are_not_utf8_are_found_by_their_offset() {
    let mut bytes = text().into_bytes();
    bytes[1234] = 0xff;
    train_with(|d| fs::write(d.join("text.txt"), &bytes).unwrap(), TINY).bad(1, &["text.txt", "1234", "UTF-8"]);
    let dir = project();
    fs::write(dir.path().join("tiny.toml"), b"seed = 1\n# \xff\n").unwrap();
    run(dir.path(), &["train", "tiny.toml"]).bad(1, &["tiny.toml", "byte 11", "UTF-8"]);
}

#[test]
fn a_recipe_with_a_mistake_is_refused_at_its_line() {
    train_with(|_| (), &TINY.replace("layers", "layrs")).bad(1, &["tiny.toml:2", "model.layrs", "nearest valid: model.layers"]);
    train_with(|_| (), &TINY.replace("batch = 4", "batch = 0")).bad(1, &["tiny.toml:10", "optim.batch", "0 is out of range", "from 1 to"]);
    train_with(|_| (), &TINY.replace("heads = 2", "heads = 3"))
        .bad(1, &["tiny.toml:3", "model.heads", "3 does not divide model.width = 16", "use 2 or 4"]);
    train_with(|_| (), &format!("{TINY}[objective]\nkind = \"guess\"\n")).bad(1, &["objective.kind", "guess", "pretrain"]);
    train_with(|_| (), "seed = = 1").bad(1, &["tiny.toml:1", "not TOML"]);
    train_with(|_| (), &format!("{TINY}[optim]\nlr = 1e-4\n")).bad(1, &["tiny.toml:18: optim", "twice", "line 8", "below one [optim]"]);
    train_with(|_| (), &format!("seed = 1\nseed = 2\n{TINY}")).bad(1, &["tiny.toml:2: seed", "twice", "line 1", "keep one"]);
}

#[test]
fn a_key_from_the_command_line_is_checked_too() {
    let dir = project();
    let set = |assignment: &str| run(dir.path(), &["train", "tiny.toml", "--set", assignment]);
    set("optim.lrr=1").bad(2, &["--set optim.lrr=1", "nearest valid: optim.lr"]);
    set("optim.lr=much").bad(2, &["--set optim.lr=much", "a number from 0 to 100"]);
    set("model.heads=3").bad(2, &["model.heads", "does not divide"]);
    set("nonsense").bad(2, &["--set nonsense", "key=value"]);
    set("data.train=none.txt").bad(1, &["none.txt"]);
    assert!(!dir.path().join("runs").exists(), "nothing was begun");
}

#[test]
fn a_validation_split_that_is_too_small() {
    train_with(|_| (), &TINY.replace("[optim]", "val_fraction = 0.0001\n[optim]")).bad(1, &["validation", "val_fraction"]);
    train_with(|d| fs::write(d.join("val.txt"), "x").unwrap(), &TINY.replace("[optim]", "val = [\"val.txt\"]\n[optim]")).bad(1, &["val"]);
}

#[test]
fn wrong_usage_has_exit_code_2() {
    let dir = project();
    let path = dir.path();
    assert_eq!(run(path, &["trian"]).code, 2);
    assert_eq!(run(path, &["train", "--flag"]).code, 2);
    run(path, &["train"]).bad(2, &["name a recipe", "--resume"]);
    run(path, &["generate", "m", "--top-p", "2"]).bad(2, &["--top-p 2", "0 to 1"]);
    run(path, &["generate", "m", "--temperature=-1"]).bad(2, &["--temperature -1"]);
    run(path, &["trian"]).bad(2, &["'trian'", "train", "--help"]);
    run(path, &["generate", "m", "--top-k", "many"]).bad(2, &["--top-k", "many", "--help"]);
    run(path, &["generate"]).bad(2, &["<MODEL>", "usage: weightroom generate"]);
    run(path, &["-C", "nowhere", "runs"]).bad(2, &["-C", "nowhere"]);
    run(path, &["-C", "text.txt", "runs"]).bad(2, &["text.txt", "is a file"]);
}

#[test]
fn a_value_that_is_never_valid_is_wrong_usage_and_one_that_is_missing_here_is_a_failure() {
    let dir = project();
    let path = dir.path();
    run(path, &["train", "tiny.toml", "--name", "../up"]).bad(2, &["--name", "../up", "letters"]);
    run(path, &["train", "--resume", "../up"]).bad(2, &["--resume", "../up", "letters"]);
    for command in ["show", "attach", "stop"] {
        run(path, &[command, "a b"]).bad(2, &[command, "a b", "letters"]);
        run(path, &[command, "none"]).bad(1, &["none"]);
    }
    let shape = ["bench", "train", "--vocab", "8", "--width", "16", "--layers", "1", "--context", "8", "--batch", "1"];
    let bench = |more: &[&str]| run(path, &[&shape[..], more].concat());
    for named in
        [&["train", "tiny.toml"][..], &["train", "tiny.toml", "--dry-run"], &["generate", "m"], &[&shape[..], &["--heads", "2"]].concat()]
    {
        let with = |device: &str| run(path, &[named, &["--device", device]].concat());
        with("gpu").bad(2, &["--device gpu", "cpu, cuda"]);
        with("cuda:x").bad(2, &["--device cuda:x", "cuda:1"]);
        with("cpu:0").bad(2, &["--device cpu:0", "cpu, cuda"]);
        with("").bad(2, &["--device", "no such device"]);
        if cfg!(not(feature = "cuda")) {
            with("cuda").bad(1, &["--device cuda", "--features cuda"]);
        }
    }
    bench(&["--heads", "3"]).bad(2, &["--heads 3", "--width 16"]);
    bench(&["--heads", "0"]).bad(2, &["--heads 0", "1 to 1024"]);
    bench(&["--heads", "2", "--steps", "0"]).bad(2, &["--steps 0", "1 to"]);
    for (option, value) in [("--seconds", "0"), ("--keys", "1"), ("--starts", "0"), ("--columns", "20"), ("--rows", "9999")] {
        run(path, &["bench", "screen", option, value]).bad(2, &[option, value]);
    }
    // A number below zero is a value, not an option that is not known.
    run(path, &["generate", "m", "--max-tokens", "-1"]).bad(2, &["invalid value '-1'", "--max-tokens"]);
    run(path, &["generate", "m", "--temperature", "-1"]).bad(2, &["--temperature -1", "0 to 100"]);
    run(path, &["attach", "r", "--json", "--from", "-1"]).bad(2, &["invalid value '-1'", "--from"]);
    run(path, &["sample", "score", "m", "--temperature", "-0.5"]).bad(2, &["--temperature -0.5", "0 to 100"]);
    run(path, &["sample", "score", "m", "--samples", "-5"]).bad(2, &["invalid value '-5'", "--samples"]);
    run(path, &["tokenizer", "train", "text.txt", "--vocab", "-1", "-o", "w.json"]).bad(2, &["invalid value '-1'", "--vocab"]);
    bench(&["--heads", "-2"]).bad(2, &["invalid value '-2'", "--heads"]);
    run(path, &["bench", "screen", "--keys", "-2"]).bad(2, &["'-2'", "--keys"]);
    run(path, &["generate", "m", "--chat"]).bad(2, &["--chat", "--prompt"]);
    run(path, &["train", ""]).bad(2, &["name is empty", "built-in recipe"]);
    run(path, &["generate", "m", "--stop", ""]).bad(2, &["--stop", "empty"]);
    run(path, &["sample", "score", "m", "--samples", "0"]).bad(2, &["--samples 0", "1 to 10000"]);
    run(path, &["sample", "score", "m", "--temperature", "nan"]).bad(2, &["--temperature NaN", "0 to 100"]);
    let tokenizer = |more: &[&str]| run(path, &[&["tokenizer", "train", "text.txt"][..], more].concat());
    tokenizer(&["--kind", "wordpiece", "-o", "w.json"]).bad(2, &["wordpiece", "char, byte, bpe"]);
    tokenizer(&["--vocab", "9", "-o", "w.json"]).bad(2, &["vocab 9", "257 to"]);
    tokenizer(&["--kind", "char", "--vocab", "500", "-o", "w.json"]).bad(2, &["--vocab", "char"]);
    tokenizer(&["-o", ""]).bad(2, &["-o"]);
    tokenizer(&["-o", "."]).bad(2, &["-o .", "name the tokenizer.json"]);
    run(path, &["train", "tiny.toml", "--keys"]).bad(2, &["--keys", "cannot be used"]);
    assert!(!path.join("runs").exists() && !path.join("w.json").exists(), "nothing was written");
}

#[test]
fn what_is_for_the_workbench_is_refused_where_none_opens() {
    let dir = project();
    let path = dir.path();
    // Wherever it stands, a theme that there is not is told before anything else is done.
    for args in
        [&["--theme", "drak"][..], &["--theme", "drak", "doctor"], &["--theme", "drak", "attach", "r"], &["attach", "r", "--theme", "drak"]]
    {
        run(path, args).bad(2, &["--theme drak", "the nearest is dark", "colour-blind"]);
    }
    run(path, &["--theme", "own.toml"]).bad(2, &["--theme own.toml", "No such file"]);
    run(path, &["--theme", "light"]).bad(2, &["needs a terminal"]);
    run(path, &["--theme", "light", "doctor"]).bad(2, &["--theme is for the workbench"]);
    run(path, &["--readonly", "train", "tiny.toml"]).bad(2, &["--readonly is for the workbench"]);
    run(path, &["--ascii", "runs"]).bad(2, &["--ascii is for the workbench"]);
    run(path, &["attach", "none", "--readonly"]).bad(1, &["none"]);
    assert_eq!(fs::read_dir(path).unwrap().count(), 2, "nothing was written");
}

#[test]
fn a_theme_of_ones_own_that_is_broken_is_told_by_its_file() {
    let dir = project();
    fs::create_dir_all(dir.path().join("weightroom/themes")).unwrap();
    fs::write(dir.path().join("weightroom/themes/mine.toml"), "[text]\nfg = 3\n").unwrap();
    let own = |args: &[&str]| common::cli::of(weightroom(dir.path(), args).env("XDG_CONFIG_HOME", dir.path()).output().unwrap());
    own(&["--theme", "mine"]).bad(2, &["--theme", "mine.toml: line 2"]);
    own(&["--theme", "mime"]).bad(2, &["--theme mime", "the nearest is"]);
}

#[test]
fn no_terminal() {
    let dir = project();
    run(dir.path(), &[]).bad(2, &["terminal", "train", "generate"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing was written");
}

#[test]
fn a_run_or_model_that_is_not_there() {
    let dir = project();
    run(dir.path(), &["show", "none"]).bad(1, &["none", "runs"]);
    run(dir.path(), &["train", "--resume", "none"]).bad(1, &["none", "runs"]);
    run(dir.path(), &["generate", "none", "--prompt", "x"]).bad(1, &["none"]);
    run(dir.path(), &["generate", "", "--prompt", "x"]).bad(1, &["no model is named"]);
    run(dir.path(), &["generate", ".", "--prompt", "x"]).bad(1, &["config.json"]);
    run(dir.path(), &["tokenizer", "encode", "none", "x"]).bad(1, &["none", "tokenizer.json"]);
}

/// A trained run and its newest checkpoint.
fn trained() -> (tempfile::TempDir, PathBuf) {
    let dir = project();
    run(dir.path(), &["train", "tiny.toml", "--name", "r"]).good();
    let checkpoint = dir.path().join("runs/r/checkpoints/step-000020");
    assert!(checkpoint.is_dir());
    (dir, checkpoint)
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_checkpoint_that_is_corrupt_or_truncated() {
    for (file, broken) in
        [("model.safetensors", "half"), ("model.safetensors", "noise"), ("config.json", "half"), ("tokenizer.json", "half")]
    {
        let (dir, checkpoint) = trained();
        let target = checkpoint.join(file);
        if broken == "half" {
            truncate(&target)
        } else {
            fs::write(&target, [255u8; 64]).unwrap()
        }
        // By its directory it is refused: nothing else can be meant.
        run(dir.path(), &["generate", "runs/r/checkpoints/step-000020", "--prompt", "the"]).bad(1, &["step-000020"]);
    }
    // A run goes on from the checkpoint before; with none that is whole, it says so.
    let (dir, checkpoint) = trained();
    truncate(&checkpoint.join("optimizer.safetensors"));
    run(dir.path(), &["generate", "r", "--prompt", "the"]).good();
    let runs = dir.path().join("runs/r/checkpoints");
    for entry in fs::read_dir(runs).unwrap().flatten() {
        truncate(&entry.path().join("model.safetensors"));
    }
    run(dir.path(), &["train", "--resume", "r"]).bad(1, &["checkpoint"]);
    run(dir.path(), &["generate", "r", "--prompt", "the"]).bad(1, &["r"]);
}

#[test]
fn a_foreign_tokenizer_that_is_larger_than_the_model() {
    let (dir, checkpoint) = trained();
    let big: String = (0..200u32).filter_map(|i| char::from_u32(0x4e00 + i)).collect();
    fs::write(dir.path().join("big.txt"), big).unwrap();
    run(dir.path(), &["tokenizer", "train", "big.txt", "--kind", "char", "-o", "big.json"]).good();
    fs::copy(dir.path().join("big.json"), checkpoint.join("tokenizer.json")).unwrap();
    run(dir.path(), &["generate", "runs/r/checkpoints/step-000020", "--prompt", "一"]).bad(1, &["tokenizer", "tokens"]);
    // And as the start of a new training.
    let init = "model.init=runs/r/checkpoints/step-000010";
    run(dir.path(), &["train", "tiny.toml", "--set", init, "--set", "tokenizer.path=big.json", "--set", "data.train=big.txt"])
        .bad(1, &["tokenizer"]);
}

/// A file system of this size with these options; none where the test may not mount one.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()).output();
        if made.is_ok_and(|m| m.status.success()) {
            return Some(Self(dir));
        }
        println!("skipped: a tmpfs cannot be mounted here (root is needed)");
        None
    }
    fn fill(&self) {
        fs::write(self.0.path().join("text.txt"), text()).unwrap();
        fs::write(self.0.path().join("tiny.toml"), TINY).unwrap();
    }
    fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0.path()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk() {
    let Some(mounted) = Mounted::new("size=160k") else { return };
    mounted.fill();
    let path = mounted.0.path();
    let mut train =
        weightroom(path, &["train", "tiny.toml", "--name", "r", "--set", "model.width=64"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(train.stdout.take().unwrap()).lines().map(|l| l.unwrap());
    let paused = lines.find(|l| l.contains("disk is full")).unwrap();
    assert!(paused.contains("goes on by itself when there is room"), "{paused}");
    // With room again it goes on and ends.
    mounted.remount("size=16m");
    let rest: Vec<String> = lines.collect();
    assert!(train.wait().unwrap().success() && rest.iter().any(|l| l.contains("done at step 20")), "{rest:?}");
    run(path, &["stop", "--engine"]).good();
}

#[test]
fn a_directory_that_cannot_be_written() {
    // A file where a directory is needed fails for root too.
    let dir = project();
    fs::write(dir.path().join("runs"), "in the way").unwrap();
    run(dir.path(), &["train", "tiny.toml"]).bad(1, &["runs"]);
    let Some(mounted) = Mounted::new("size=4m") else { return };
    mounted.fill();
    mounted.remount("ro");
    run(mounted.0.path(), &["train", "tiny.toml"]).bad(1, &["Read-only file system"]);
    run(mounted.0.path(), &["tokenizer", "train", "text.txt", "-o", "t.json", "--vocab", "300"]).bad(1, &["read-only", "can be written"]);
}
