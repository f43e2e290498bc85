//! The subcommands through the real binary, without a terminal.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail loudly too, as the tests do.

mod common {
    pub mod cli;
}

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use common::cli::{of, project, run, weightroom};
use serde_json::Value;
use weightroom::recipe::KNOBS;
use weightroom::report::{Event, Report};

#[test]
fn train_generate_runs_show_in_one_project() {
    let dir = project();
    let path = dir.path();
    let ran = run(path, &["train", "tiny.toml"]).good();
    assert!(ran.out.contains("run tiny") && ran.out.contains("step 20/20") && ran.out.contains("val "), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}') && ran.err.is_empty(), "plain lines without a terminal: {} {}", ran.out, ran.err);
    // The same recipe again gets a name of its own; a name that is taken is refused.
    assert!(run(path, &["train", "tiny.toml", "--set", "optim.steps=3"]).good().out.contains("run tiny-2"));
    run(path, &["train", "tiny.toml", "--name", "tiny"]).bad(1, &["tiny", "exists"]);

    let list: Value = serde_json::from_str(&run(path, &["runs", "--json"]).good().out).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"tiny") && names.contains(&"tiny-2"), "{names:?}");
    assert!(run(path, &["runs"]).good().out.contains("finished"));
    let show: Value = serde_json::from_str(&run(path, &["show", "tiny", "--json"]).good().out).unwrap();
    assert_eq!(show["summary"]["step"], 20);
    assert!(show["recipe"].as_str().unwrap().contains("eps = 1e-8"), "every default is written out");
    assert!(run(path, &["show", "tiny"]).good().out.contains("val loss"));
    // As a shell completes the name.
    assert!(run(path, &["show", "runs/tiny/"]).good().out.contains("val loss"));
    run(path, &["attach", "./runs/tiny", "--json"]).good();
    run(path, &["stop", "runs/tiny"]).bad(1, &["tiny", "not training"]);
    run(path, &["show", "runs/../x"]).bad(2, &["letters"]);

    let prompt = ["generate", "tiny", "--prompt", "the cat", "--max-tokens", "12", "--seed", "3"];
    let (one, two) = (run(path, &prompt).good().out, run(path, &prompt).good().out);
    assert_eq!(one, two, "a seed means the same text");
    assert!(one.starts_with("the cat"), "{one}");
    let raw = run(path, &[&prompt[..], &["--raw"]].concat()).good().out;
    assert_eq!(format!("the cat{raw}\n"), one);
    let events = run(path, &[&prompt[..], &["--json"]].concat()).good().out;
    let tokens = events.lines().filter(|l| matches!(serde_json::from_str::<Event>(l).unwrap().report, Report::Token(_))).count();
    assert_eq!(tokens, 12);
    // A program that wants the text alone reads the last line alone.
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    let result = &last["report"]["finished"]["result"];
    assert_eq!(
        (result["text"].as_str(), result["tokens"].as_u64(), result["ended"].as_str()),
        (Some(raw.as_str()), Some(12), Some("length"))
    );
    let stop = raw.chars().nth(3).unwrap().to_string();
    let stopped = run(path, &[&prompt[..], &["--json", "--stop", &stop]].concat()).good().out;
    let last: Value = serde_json::from_str(stopped.lines().last().unwrap()).unwrap();
    let result = &last["report"]["finished"]["result"];
    assert_eq!((result["text"].as_str(), result["ended"].as_str()), (raw.split(&stop).next(), Some("stop")));
}

#[test]
fn json_is_the_event_stream_that_the_run_keeps() {
    let dir = project();
    let ran = run(dir.path(), &["train", "tiny.toml", "--name", "j", "--json"]).good();
    let events: Vec<Event> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let Report::Finished { result, .. } = &events.last().unwrap().report else { panic!("{:?}", events.last()) };
    assert!(result["run"] == "j" && result["step"] == 20 && result["val_loss"].as_f64().unwrap() > 0.0, "{result:?}");
    let log = std::fs::read_to_string(dir.path().join("runs/j/events.jsonl")).unwrap();
    let kept: Vec<Event> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let from = events.iter().position(|e| matches!(e.report, Report::Started { run: Some(_), .. })).unwrap();
    assert_eq!(&events[from..], &kept[..]);
    let steps = kept.iter().filter(|e| matches!(&e.report, Report::Values(v) if v.get("train/loss").is_some())).count();
    assert_eq!(steps, 20);
}

#[test]
fn ctrl_c_saves_ends_with_130_and_the_run_goes_on() {
    let dir = project();
    let mut child = weightroom(dir.path(), &["train", "tiny.toml", "--name", "c", "--json", "--set", "optim.steps=1000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.find(|l| l.as_ref().unwrap().contains("train/loss\":")).unwrap().unwrap();
    // SAFETY: the process is our child and has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let rest: Vec<String> = lines.map(|l| l.unwrap()).collect();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{err}");
    assert!(rest.last().unwrap().contains("\"finished\"") && rest.iter().any(|l| l.contains("checkpoint")), "{rest:?}");
    assert!(err.contains("interrupted") && err.contains("--resume"), "{err}");
    let list: Value = serde_json::from_str(&run(dir.path(), &["runs", "--json"]).good().out).unwrap();
    assert_eq!(list[0]["state"], "stopped");
}

#[test]
fn a_closed_pipe_is_no_fault() {
    let dir = project();
    run(dir.path(), &["train", "tiny.toml", "--name", "p", "--set", "optim.steps=2"]).good();
    for args in [&["train", "--keys"][..], &["show", "p"], &["doctor"], &["train", "tiny.toml", "--json", "--set", "optim.steps=100000"]] {
        let mut child = weightroom(dir.path(), args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ran = of(child.wait_with_output().unwrap());
        assert!(ran.code == 0 && !ran.err.contains("panicked"), "{args:?}: {} {}", ran.code, ran.err);
    }
}

#[test]
fn a_training_whose_lines_nobody_reads_any_more_goes_on_to_its_end() {
    let dir = project();
    let mut child =
        weightroom(dir.path(), &["train", "tiny.toml", "--name", "h"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = of(child.wait_with_output().unwrap());
    assert!(ran.code == 0 && !ran.err.contains("panicked"), "{} {}", ran.code, ran.err);
    let list = run(dir.path(), &["runs"]).good().out;
    assert!(list.contains("finished") && list.contains("20/20") && list.contains("(whole split)"), "{list}");
}

#[test]
fn help_and_keys_name_every_knob() {
    let dir = project();
    let keys = run(dir.path(), &["train", "--keys"]).good().out;
    for knob in KNOBS {
        assert!(keys.contains(&format!("\n{} = ", knob.key())) && keys.contains(knob.help), "{}", knob.name);
    }
    let all: Vec<Value> = serde_json::from_str(&run(dir.path(), &["train", "--keys", "--json"]).good().out).unwrap();
    assert_eq!(all.len(), KNOBS.len());
    assert!(all.iter().any(|k| k["key"] == "optim.lr" && k["default"] == "0.001" && k["range"] == "a number from 0 to 100"), "{all:?}");
    assert!(run(dir.path(), &["train", "--help"]).good().out.contains("--keys"));
    let help = run(dir.path(), &["--help"]).good().out;
    for command in ["train", "generate", "tokenizer", "runs", "show", "doctor", "sample", "engine", "bench", "export"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is missing: {help}");
    }
}

#[test]
fn a_dry_run_starts_nothing_and_says_what_it_would_need() {
    let dir = project();
    let ran = run(dir.path(), &["train", "tiny.toml", "--dry-run"]).good();
    assert!(ran.out.contains("parameters") && ran.out.contains("weight_decay = 0.1"), "{}", ran.out);
    let json: Value = serde_json::from_str(&run(dir.path(), &["train", "tiny.toml", "--dry-run", "--json"]).good().out).unwrap();
    assert!(json["estimate"]["parameters"].as_u64().unwrap() > 1000 && json["estimate"]["memory_bytes"].as_u64().unwrap() > 1000);
    assert!(ran.out.contains("validates on the last 10 % of it") && ran.out.contains("20 steps of 64 tokens"), "{}", ran.out);
    run(dir.path(), &["train", "sample", "--dry-run"]).good();
    assert!(!dir.path().join("runs").exists());
    // Evaluations are counted as the run then does them, and told where they are a large part of the time.
    let often = ["--set", "eval.every=7", "--set", "optim.steps=6", "--set", "data.val_fraction=0.5"];
    let dry = |more: &[&str]| run(dir.path(), &[&["train", "tiny.toml", "--dry-run"], &often[..], more].concat()).good().out;
    let json: Value = serde_json::from_str(&dry(&["--json"])).unwrap();
    assert!(dry(&[]).contains(", of which evaluations take "), "{}", dry(&[]));
    let (all, part) = (json["estimate"]["seconds"].as_f64().unwrap(), json["estimate"]["eval_seconds"].as_f64().unwrap());
    assert!(part > 0.5 * all && part < all, "{part} of {all}");
    run(dir.path(), &[&["train", "tiny.toml", "--name", "often"], &often[..]].concat()).good();
    let log = std::fs::read_to_string(dir.path().join("runs/often/events.jsonl")).unwrap();
    assert_eq!(json["estimate"]["evaluations"].as_u64().unwrap(), log.lines().filter(|l| l.contains("\"val/loss\":")).count() as u64);
}

#[test]
fn a_dry_run_counts_epochs_and_refuses_what_a_training_would() {
    let dir = project();
    let dry = |more: &[&str]| run(dir.path(), &[&["train", "tiny.toml", "--dry-run"], more].concat());
    let epochs = ["--set", "optim.epochs=2", "--set", "tokenizer.kind=byte"];
    let text = std::fs::metadata(dir.path().join("text.txt")).unwrap().len();
    let steps = (text as f64 * 0.9 * 2.0 / 64.0).ceil() as u64;
    let json: Value = serde_json::from_str(&dry(&[&epochs[..], &["--json"]].concat()).good().out).unwrap();
    assert!(json["estimate"]["steps"].as_u64().unwrap().abs_diff(steps) <= 1, "{steps} steps: {json}");
    // A built-in text counts too, and its own steps are the real ones.
    let built_in = ["--set", "data.train=sample:stories", "--set", "optim.epochs=1", "--json"];
    let json: Value = serde_json::from_str(&dry(&built_in).good().out).unwrap();
    assert!(json["estimate"]["steps"].as_u64().unwrap() > 1000, "{json}");

    dry(&["--set", "model.context=1000000"]).bad(1, &["fewer than one window of 1,000,001"]);
    dry(&["--set", "optim.precision=f16"]).bad(2, &["optim.precision", "f32, bf16"]);
    dry(&["--name", "../x"]).bad(2, &["--name", "letters"]);
    run(dir.path(), &["train", "tiny.toml", "--name", "taken", "--set", "optim.steps=1"]).good();
    dry(&["--name", "taken"]).bad(1, &["taken", "exists", "--resume"]);
    // A model that fits into no machine: a warning, and the figures all the same.
    let wide = dry(&["--set", "model.width=65536", "--set", "model.layers=512"]).good();
    assert!(wide.err.contains("warning: it needs about") && wide.out.contains("GB of memory"), "{} {}", wide.out, wide.err);
}

#[test]
fn tokenizers_are_trained_used_and_inspected() {
    let dir = project();
    let path = dir.path();
    run(path, &["tokenizer", "train", "text.txt", "--kind", "bpe", "--vocab", "300", "-o", "t.json"]).good();
    let encoded: Value = serde_json::from_str(&run(path, &["tokenizer", "encode", "t.json", "the cat", "--json"]).good().out).unwrap();
    let ids: Vec<String> = encoded["ids"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert!(!ids.is_empty() && ids.len() < 7);
    assert_eq!(run(path, &["tokenizer", "decode", "t.json", &ids.join(",")]).good().out, "the cat\n");
    assert_eq!(run(path, &["tokenizer", "encode", "t.json", "the cat"]).good().out.trim(), ids.join(" "));
    let facts: Value = serde_json::from_str(&run(path, &["tokenizer", "inspect", "t.json", "text.txt", "--json"]).good().out).unwrap();
    assert_eq!(facts["round_trip"], true);
    assert!(facts["bytes_per_token"].as_f64().unwrap() > 1.5, "{facts}");
    run(path, &["tokenizer", "inspect", "t.json", "text.txt"]).good();
    run(path, &["tokenizer", "decode", "t.json", "-5"]).bad(2, &["\"-5\" is no id"]);
    run(path, &["tokenizer", "decode", "t.json", "99999"]).bad(2, &["99999", "vocabulary"]);
}

#[test]
fn doctor_is_one_page_and_json() {
    let dir = project();
    let facts: Value = serde_json::from_str(&run(dir.path(), &["doctor", "--json"]).good().out).unwrap();
    for key in ["version", "system", "cpu", "threads", "memory_mb", "device", "terminal", "colour", "locale", "writable", "runs"] {
        assert!(!facts[key].is_null(), "{key}: {facts}");
    }
    assert!(run(dir.path(), &["doctor"]).good().out.lines().count() < 30);
}

#[test]
fn the_sample_is_written_and_checked() {
    let dir = project();
    run(dir.path(), &["sample", "write", "s"]).good();
    assert!(run(dir.path(), &["sample", "check", "s/stories.jsonl"]).good().out.contains("parse whole"));
    std::fs::write(dir.path().join("bad.txt"), "Purple ideas sleep furiously \u{1b}[31m.\n").unwrap();
    let ran = run(dir.path(), &["sample", "check", "bad.txt"]);
    assert!(ran.code == 1 && ran.err.contains("do not parse") && !ran.out.contains('\u{1b}'), "{} {}", ran.out, ran.err);
}

#[test]
fn the_recipes_of_a_written_sample_train_on_its_files() {
    let dir = project();
    let path = dir.path();
    let out = run(path, &["sample", "write", "s"]).good().out;
    assert!(out.contains("s/stories.jsonl") && out.contains("s/chat-template.jinja") && out.contains("s/recipes/sample.toml"), "{out}");
    let facts = |recipe: &str| -> Value { serde_json::from_str(&run(path, &["train", recipe, "--dry-run", "--json"]).good().out).unwrap() };
    let written: Vec<_> =
        std::fs::read_dir(path.join("s/recipes")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(written.len(), 5, "{written:?}");
    for name in written {
        let (own, built_in) = (facts(&format!("s/recipes/{name}")), facts(name.trim_end_matches(".toml")));
        let sources: Vec<&str> = own["train"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
        assert!(sources.iter().all(|s| s.ends_with(".jsonl") && !s.contains("sample:")), "{name}: {sources:?}");
        for figure in ["parameters", "train_tokens", "vocab", "steps"] {
            assert_eq!(own["estimate"][figure], built_in["estimate"][figure], "{name}: {figure}");
        }
    }
    let few = ["--set", "optim.steps=2", "--set", "eval.batches=1", "--set", "data.val_fraction=0.001"];
    run(path, &[&["train", "s/recipes/sample-tiny.toml"][..], &few].concat()).good();
    // Written once more, nothing changes; what a person has changed is left as it is, and nothing else is written.
    run(path, &["sample", "write", "s"]).good();
    std::fs::write(path.join("s/recipes/sample.toml"), "seed = 3\n").unwrap();
    std::fs::remove_file(path.join("s/sea.jsonl")).unwrap();
    run(path, &["sample", "write", "s"]).bad(1, &["s/recipes/sample.toml", "remove it, or name another directory"]);
    assert_eq!(std::fs::read_to_string(path.join("s/recipes/sample.toml")).unwrap(), "seed = 3\n");
    assert!(!path.join("s/sea.jsonl").exists());
}

#[test]
fn bench_train_prints_the_keys_of_its_peer() {
    let dir = project();
    let shape = ["--vocab", "32", "--width", "16", "--heads", "2", "--layers", "1", "--context", "8", "--batch", "2", "--steps", "3"];
    let line = run(dir.path(), &[&["bench", "train", "--json"][..], &shape].concat()).good().out;
    let figures: serde_json::Map<String, Value> = serde_json::from_str(line.trim()).unwrap();
    let peers = ["peer", "threads", "parameters", "step_ms", "tokens_per_s", "peak_rss_mb"];
    let own = ["precision", "lanes", "model_tflops", "product_tflops", "share_of_product", "phases", "ops"];
    assert_eq!(figures.keys().collect::<Vec<_>>(), [&peers[..], &own[..]].concat());
    let ops: Vec<&str> = figures["ops"].as_array().unwrap().iter().map(|op| op["op"].as_str().unwrap()).collect();
    assert!(["linear", "attention", "cross_entropy", "rms_norm"].iter().all(|op| ops.contains(op)), "{ops:?}");
    // Embedding and head 2 × 32 × 16, attention 4 × 16 × 16, ffn 3 × 16 × 40, norms 3 × 16.
    assert_eq!(figures["parameters"], 2 * 32 * 16 + 4 * 16 * 16 + 3 * 16 * 40 + 3 * 16);
    assert!(figures["step_ms"].as_f64().unwrap() > 0.0);
    let words = run(dir.path(), &[&["bench", "train"][..], &shape].concat()).good().out;
    assert!(words.lines().any(|l| l.starts_with("parameters  ") && l.ends_with(" 4,016")), "{words}");
    assert!(words.lines().any(|l| l.starts_with("linear  ") && l.ends_with(" %")) && words.contains("\nms of a step"), "{words}");
}

#[test]
fn a_trained_model_is_handed_on_and_answers_the_same() {
    let dir = project();
    let path = dir.path();
    std::fs::write(path.join("tiny.toml"), common::cli::TINY).unwrap();
    run(path, &["train", "tiny.toml", "--name", "m", "--here", "--set", "tokenizer.kind=byte"]).good();
    run(path, &["train", "tiny.toml", "--name", "c", "--here", "--set", "optim.steps=1"]).good();
    run(path, &["export", "c", "--format", "gguf", "-o", "p"]).bad(1, &["a vocabulary of whole characters", "export it as hf"]);
    run(path, &["export", "m", "--format", "hf", "-o", "hf"]).good();
    run(path, &["export", "m", "--format", "gguf", "--quant", "f32", "-o", "f32"]).good();
    let lines = run(path, &["export", "m", "--format", "gguf", "--quant", "q8_0", "-o", "q8", "--json"]).good().out;
    assert!(lines.lines().any(|l| l.contains("\"artifact\"")) && lines.lines().last().unwrap().contains("\"finished\""), "{lines}");
    let answer =
        |model: &str| run(path, &["generate", model, "--prompt", "a", "--max-tokens", "8", "--temperature", "0", "--raw"]).good().out;
    let said = answer("m");
    assert_eq!((answer("hf"), answer("f32/m-f32.gguf")), (said.clone(), said));
    assert!(!answer("q8/m-q8_0.gguf").is_empty());
    let line =
        run(path, &["bench", "decode", "q8/m-q8_0.gguf", "--prompt-tokens", "4", "--new-tokens", "3", "--batch", "2", "--json"]).good().out;
    let figures: serde_json::Map<String, Value> = serde_json::from_str(line.trim()).unwrap();
    let keys = ["peer", "threads", "prompt_tokens_per_s", "decode_tokens_per_s", "peak_rss_mb", "batch", "weights"];
    assert_eq!(figures.keys().collect::<Vec<_>>(), keys);
    assert!(figures["decode_tokens_per_s"].as_f64().unwrap() > 0.0);

    run(path, &["export", "m", "--format", "hf", "-o", "hf"]).bad(1, &["hf: is there already", "name a directory that is empty"]);
    run(path, &["export", "m", "--format", "peft", "-o", "p"]).bad(1, &["is a whole model and has no adapter"]);
    run(path, &["export", "m", "--format", "onnx", "-o", "p"]).bad(2, &["--format onnx", "choose one of hf, peft, gguf"]);
    run(path, &["export", "m", "--format", "hf", "--quant", "q8_0", "-o", "p"]).bad(2, &["--quant is for gguf"]);
    run(path, &["export", "m", "--format", "gguf", "--quant", "q3", "-o", "p"]).bad(2, &["--quant q3", "q8_0, q4_0, q4_K"]);
    run(path, &["bench", "decode", "m", "--new-tokens", "1"]).bad(2, &["--new-tokens 1 is out of range"]);
    run(path, &["bench", "decode", "m"]).bad(1, &["256 tokens are asked for", "--prompt-tokens"]);
    std::fs::write(path.join("cut.gguf"), &std::fs::read(path.join("f32/m-f32.gguf")).unwrap()[..2000]).unwrap();
    run(path, &["generate", "cut.gguf", "--prompt", "a"]).bad(1, &["cut.gguf"]);
    assert!(!path.join("p").exists());
}

#[test]
fn an_engine_process_serves_and_ends_on_sigterm() {
    let dir = project();
    let mut child = weightroom(dir.path(), &["engine", "."]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let path = line.trim().strip_prefix("listening at ").unwrap().to_string();
    let handle = weightroom::engine::Handle::connect(std::path::Path::new(&path)).unwrap();
    run(dir.path(), &["engine", "."]).bad(1, &["engine.sock", "runs here already"]);
    let mut recipe = weightroom::recipe::Recipe::parse(common::cli::TINY, "tiny", &[]).unwrap();
    recipe.optim.steps = 1_000_000;
    let spec =
        weightroom::spec::TrainSpec { recipe: recipe.to_toml(), base: dir.path().into(), name: Some("e".into()), ..Default::default() };
    handle.start(1, weightroom::spec::JobSpec::new("train", &spec)).unwrap();
    let mut ups = handle.events().iter();
    use weightroom::engine::protocol::Up;
    let values = |up: &Up| matches!(up, Up::Events(e) if e.iter().any(|e| matches!(e.report, Report::Values(_))));
    assert!(ups.any(|up| values(&up)));
    // SAFETY: the process is our child and has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let ended = ups.take_while(|up| *up != Up::Bye).filter(|up| matches!(up, Up::Events(e) if e.iter().any(|e| e.report.is_end()))).count();
    assert_eq!(ended, 1);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!std::path::Path::new(&path).exists());
    assert!(std::fs::read_dir(dir.path().join("runs/e/checkpoints")).unwrap().count() > 0, "it was saved");
}

#[test]
fn a_detached_engine_outlives_who_started_it_and_ends_when_told() {
    let dir = project();
    let out = run(dir.path(), &["engine", ".", "--detach"]).good().out;
    let path = std::path::PathBuf::from(out.trim().strip_prefix("listening at ").unwrap());
    let handle = weightroom::engine::Handle::connect(&path).unwrap();
    assert!(run(dir.path(), &["doctor"]).good().out.contains("runs here"));
    handle.send(weightroom::engine::protocol::Command::Shutdown).unwrap();
    assert!(handle.events().iter().any(|up| up == weightroom::engine::protocol::Up::Bye));
}
