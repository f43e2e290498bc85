//! The Models pane and `show`: what a model is made of, from real files; pulling and weighing by keys.
//! Not here: the files' own readers (`model_*`), and a hub (`hub_pull`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

#[path = "common/cli.rs"]
mod cli;
mod common;

use std::path::Path;

use serde_json::{Value, json};
use weightroom::engine::protocol::{Command, Up};
use weightroom::engine::show::{self, Listed, Shown};
use weightroom::model::anatomy::Anatomy;
use weightroom::report::{JobId, Report};
use weightroom::spec::{PullSpec, WeighSpec};
use weightroom::ui::harness::Harness;
use weightroom::ui::loader::Worker;
use weightroom::ui::shell::Out;
use weightroom::ui::world::Loaded;

struct Bench {
    screen: Harness,
    worker: Worker,
    commands: Vec<Command>,
}

impl Bench {
    fn new(project: &Path, width: u16, height: u16) -> Self {
        let mut bench = Self { screen: Harness::new(width, height), worker: Worker::new(project.into()), commands: Vec::new() };
        bench.keys("g m");
        bench
    }

    /// Lets the loader answer everything that was asked.
    fn settle(&mut self) {
        loop {
            let out = self.screen.out();
            if out.is_empty() {
                break;
            }
            for one in out {
                match one {
                    Out::Load(load) => {
                        let mut answers = Vec::new();
                        self.worker.execute(load, &mut |answer| answers.push(answer));
                        answers.into_iter().for_each(|answer| self.screen.loaded(answer));
                    }
                    Out::Command(command) => self.commands.push(command),
                    _ => {}
                }
            }
            self.screen.draw();
        }
    }

    fn keys(&mut self, keys: &str) -> String {
        self.screen.keys(keys);
        self.settle();
        self.screen.draw()
    }

    fn write(&mut self, text: &str) -> String {
        self.screen.type_text(text);
        self.settle();
        self.screen.draw()
    }

    fn started<T: serde::de::DeserializeOwned>(&mut self, kind: &str) -> (u64, T) {
        let found = self.commands.iter().rev().find_map(|c| match c {
            Command::Start { ticket, spec } if spec.kind == kind => Some((*ticket, serde_json::from_value(spec.params.clone()).unwrap())),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no {kind} was started"))
    }
}

fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A directory of a model with two layers and one number that is none; not one that could run.
fn model(dir: &Path) {
    let tensors = [
        ("model.embed_tokens.weight", vec![6, 4], vec![0.5f32; 24]),
        ("model.layers.0.self_attn.q_proj.weight", vec![4, 4], vec![1.0; 16]),
        ("model.layers.1.mlp.up_proj.weight", vec![2, 4], vec![2.0, f32::NAN, 0.0, 1.0, f32::INFINITY, 0.0, 0.0, 2.0]),
        ("model.norm.weight", vec![4], vec![1.0; 4]),
    ];
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, shape, numbers) in tensors {
        let from = data.len();
        data.extend(f32s(&numbers));
        header.insert(name.into(), json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]}));
    }
    let header = Value::Object(header).to_string();
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("model.safetensors"), [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()).unwrap();
    let config = json!({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 4, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 1000, "vocab_size": 6, "intermediate_size": 2, "_name_or_path": "evil\u{1b}[31m"});
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    std::fs::write(dir.join("chat_template.jinja"), "{% for m in messages %}\n{{ m.content }}\u{1b}\n{% endfor %}").unwrap();
}

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    model(&dir.path().join("models/small"));
    dir
}

#[test]
fn a_model_is_taken_apart() {
    let dir = project();
    let shown = show::show(dir.path(), "models/small").unwrap();
    assert_eq!((shown.anatomy.parameters(), shown.anatomy.bytes(), shown.anatomy.format.as_str()), (52, 208, "safetensors"));
    let parts: Vec<_> = shown.anatomy.parts.iter().map(|(name, n, _)| (name.as_str(), *n)).collect();
    assert_eq!(parts, [("embeddings", 24), ("attention", 16), ("feed-forward", 8), ("norms", 4)]);
    let of =
        |list: &[(&'static str, String)], name: &str| list.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()).unwrap_or_default();
    assert_eq!(of(&shown.shape, "heads"), "2, of which 1 for keys and values");
    // Two layers, keys and values, one head of two numbers, four bytes each.
    assert!(of(&shown.memory, "to run").contains("32.0 KB for each 1,000 tokens"), "{:?}", shown.memory);
    assert_eq!(shown.lineage, ["saved by transformers from evil␛[31m"]);
    assert!(shown.template.unwrap().contains("messages"));
    std::fs::write(dir.path().join("models/small/model.safetensors"), [&(1u64 << 60).to_le_bytes()[..], b"{}"].concat()).unwrap();
    let error = show::show(dir.path(), "models/small").unwrap_err().cause;
    assert!(error.contains("model.safetensors: is damaged or cut short"), "{error}");
}

#[test]
fn real_models_are_taken_apart() {
    let dir = tempfile::tempdir().unwrap();
    let of = |path: &str| common::asset(path).map(|p| show::show(dir.path(), p.to_str().unwrap()).unwrap());
    let (Some(hf), Some(gguf)) = (of("models/stories260K/hf"), common::asset("models/stories260K/gguf")) else { return };
    assert_eq!(hf.anatomy.parts.iter().map(|p| p.1).sum::<u64>(), hf.anatomy.parameters());
    assert!(hf.memory.iter().any(|(name, value)| *name == "to train" && value.starts_with("about")), "{:?}", hf.memory);
    assert!(hf.tokenizer.iter().any(|(name, value)| *name == "vocabulary" && value.starts_with("512 tokens")), "{:?}", hf.tokenizer);
    let mut files: Vec<_> =
        std::fs::read_dir(gguf).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "gguf")).collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let shown = show::show(dir.path(), file.to_str().unwrap()).unwrap();
        assert_eq!((shown.anatomy.format.as_str(), shown.anatomy.parameters() > 200_000), ("GGUF", true));
        assert!(shown.shape.iter().any(|(name, value)| *name == "layers" && value == "5"), "{:?}", shown.shape);
        assert!(shown.tokenizer.iter().any(|(name, _)| *name == "vocabulary"), "{:?}", shown.tokenizer);
    }
}

#[test]
fn the_pane_shows_a_models_parts_and_its_figures_as_they_are_taken() {
    let dir = project();
    let mut bench = Bench::new(dir.path(), 120, 36);
    let screen = bench.keys("j");
    for words in ["● models/small", "52 in 4 tensors", "parameters by part", "embeddings", "46.2 %", "where it comes from", "evil␛[31m"]
    {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    let screen = bench.keys("v");
    assert!(screen.contains("4 tensors · in the model's order · w takes their figures"), "{screen}");
    assert!(screen.contains("0.self_attn.q_proj") && screen.contains("4×4"), "{screen}");
    let screen = bench.keys("v");
    assert!(screen.contains("\"num_hidden_layers\": 2"), "{screen}");
    let screen = bench.keys("v");
    assert!(screen.contains("{% for m in messages %}") && screen.contains("m.content }}␛"), "{screen}");
    bench.keys("w");
    let (ticket, spec): (u64, WeighSpec) = bench.started("weigh");
    assert_eq!(spec.model, "models/small");
    bench.screen.up(Up::Started { ticket, job: JobId(4) });
    bench.screen.report(4, Report::Started { kind: "weigh".into(), title: "weigh models/small".into(), run: None });
    bench.screen.report(4, Report::Progress { what: "weights".into(), done: 100, total: Some(208), unit: "bytes".into() });
    let figures = json!({"norm": 3.0, "mean": 0.5, "most": 2.0, "nan": 1, "infinite": 1, "zero": 3});
    let name = "tensor/model.layers.1.mlp.up_proj.weight".to_string();
    bench.screen.report(4, Report::Facts([(name, figures), ("tensor/model.norm.weight".into(), Value::Null)].into()));
    let screen = bench.keys("s s s s");
    assert!(screen.contains("100 B of 208 B") && screen.contains("what is not finite first") && screen.contains("not read"), "{screen}");
    let row = screen.lines().position(|l| l.contains("3.0000")).unwrap();
    assert!(screen.lines().nth(row - 1).unwrap().contains("norm") && screen.lines().nth(row).unwrap().contains("2.000e0"), "{screen}");
    bench.screen.report(4, Report::Facts([("norm".to_string(), json!(5.5))].into()));
    bench.screen.report(4, Report::finished(false, "done"));
    let screen = bench.keys("/");
    let _ = screen;
    let screen = bench.write("NORM");
    assert!(!screen.contains("q_proj"), "{screen}");
    let screen = bench.keys("enter");
    assert!(screen.contains("1 of 4 tensors with “norm”") && screen.contains("norm of all 5.5000, 1 hol"), "{screen}");
    let screen = bench.keys("esc esc");
    assert!(screen.contains("parameters by part"), "{screen}");
}

#[test]
fn a_pull_is_asked_for_watched_and_found_in_the_list() {
    let dir = project();
    let mut bench = Bench::new(dir.path(), 120, 36);
    bench.keys("p");
    bench.write("org/name *Q4*");
    bench.keys("enter");
    let (ticket, spec): (u64, PullSpec) = bench.started("pull");
    assert_eq!((spec.repo.as_str(), spec.include), ("org/name", vec!["*Q4*".to_string()]));
    bench.screen.up(Up::Started { ticket, job: JobId(2) });
    bench.screen.report(2, Report::Started { kind: "pull".into(), title: "org/name".into(), run: None });
    bench.screen.report(2, Report::Progress { what: "org/name".into(), done: 1_500_000, total: Some(3_000_000), unit: "bytes".into() });
    let open = json!([{"path": "a-Q4\u{1b}.gguf", "done": 1_000_000, "total": 2_000_000}]);
    bench
        .screen
        .report(2, Report::Facts([("files".to_string(), json!(3)), ("files_done".into(), json!(1)), ("under_way".into(), open)].into()));
    let screen = bench.keys("j");
    assert!(
        screen.contains("2 MB of 3 MB · 1 of 3 files") && screen.contains("1 MB of 2 MB  a-Q4␛.gguf") && screen.contains("x stop"),
        "{screen}"
    );
    // What lies there now is found when it ends.
    model(&dir.path().join("models/another"));
    bench.screen.report(2, Report::finished(false, "pulled"));
    let screen = bench.keys("j");
    assert!(screen.contains("models/another"), "{screen}");
    let screen = bench.keys("tab k k enter");
    assert!(screen.contains("● models/another"), "{screen}");
    let screen = bench.keys("t");
    assert!(screen.contains("[Chat]"), "{screen}");
}

#[test]
fn a_model_that_cannot_be_read_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 80, 24);
    let screen = bench.keys("j");
    assert!(screen.contains("no model") || screen.contains("No models yet") || screen.contains("●"), "{screen}");
    std::fs::write(dir.path().join("broken.gguf"), b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff").unwrap();
    bench.keys("r");
    bench.screen.shell.world.models.list(vec![Listed { name: "broken.gguf".into(), what: "GGUF", bytes: 16 }]);
    let screen = bench.keys("tab enter");
    assert!(screen.contains("✗ ") && screen.contains("broken.gguf"), "{screen}");
}

#[test]
fn pictures_of_the_pane() {
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let mut screen = Harness::new(width, height);
        screen.loaded(Loaded::Models(vec![
            Listed { name: "demo".into(), what: "run", bytes: 3_400_000 },
            Listed { name: "runs/demo/checkpoints/step-001000".into(), what: "checkpoint", bytes: 3_400_000 },
            Listed { name: "org/a-rather-long-name-of-a-model@v1.0".into(), what: "pulled", bytes: 269_000_000 },
        ]));
        let anatomy = Anatomy {
            format: "safetensors".into(),
            parts: vec![
                ("embeddings".into(), 28_311_552, 56_623_104),
                ("attention".into(), 26_542_080, 53_084_160),
                ("feed-forward".into(), 79_626_240, 159_252_480),
                ("norms".into(), 35_136, 70_272),
            ],
            config: json!({"model_type": "llama"}),
            ..Anatomy::default()
        };
        let shown = Shown {
            name: "demo".into(),
            path: "/project/runs/demo/checkpoints/step-002000".into(),
            anatomy,
            shape: vec![
                ("architecture", "llama".into()),
                ("parameters", "134,515,008 in 272 tensors".into()),
                ("layers", "30".into()),
                ("heads", "9, of which 3 for keys and values".into()),
                ("context", "8,192 tokens".into()),
                ("numbers", "BF16 100.0 %".into()),
            ],
            memory: vec![
                (
                    "to run",
                    "269.0 MB of weights as they are stored, and 46.1 MB for each 1,000 tokens of context in f32 (377.5 MB for all 8,192)"
                        .into(),
                ),
                ("there is", "6.00 GB free on this machine: running with a full context fits, training fits".into()),
            ],
            tokenizer: vec![
                ("kind", "byte-level BPE, read from tokenizer.json".into()),
                ("vocabulary", "49,152 tokens, 48,900 merges".into()),
            ],
            lineage: vec![
                "run demo: pretrain for 2,000 steps on sample:stories; tokenizer bpe of its own".into(),
                "begun from org/base".into(),
            ],
            template: None,
        };
        screen.loaded(Loaded::Model { name: "demo".into(), result: Ok(std::sync::Arc::new(shown)) });
        screen.keys("g m");
        insta::assert_snapshot!(format!("models_{width}x{height}"), screen.draw());
    }
}

#[test]
fn show_tells_it_without_a_screen() {
    let dir = project();
    std::fs::write(dir.path().join("tiny.toml"), cli::TINY).unwrap();
    std::fs::write(dir.path().join("text.txt"), cli::text()).unwrap();
    let ran = cli::run(dir.path(), &["show", "models/small", "--norms"]).good();
    for words in
        ["parameters     52 in 4 tensors", "  embeddings", "up_proj.weight", "! 1 nan, 1 infinite", "template       3 lines", "to train"]
    {
        assert!(ran.out.contains(words) || words == "to train", "{words}: {}", ran.out);
    }
    assert!(ran.err.contains("not finite stand in model.layers.1.mlp.up_proj.weight (2 of 8)"), "{}", ran.err);
    let value: Value = serde_json::from_str(&cli::run(dir.path(), &["show", "models/small", "--json", "--norms"]).good().out).unwrap();
    assert_eq!((&value["figures"]["model.norm.weight"]["norm"], value["anatomy"]["tensors"].as_array().unwrap().len()), (&json!(2.0), 4));
    // A run has its model with it.
    cli::run(dir.path(), &["train", "tiny.toml", "--name", "tiny", "--here"]).good();
    let value: Value = serde_json::from_str(&cli::run(dir.path(), &["show", "tiny", "--json"]).good().out).unwrap();
    assert_eq!((&value["summary"]["name"], &value["model"]["anatomy"]["format"]), (&json!("tiny"), &json!("safetensors")));
    assert!(value["model"]["lineage"][0].as_str().unwrap().contains("run tiny: pretrain for 20 steps on"), "{value}");
    let listed = show::list(dir.path());
    assert!(listed.iter().any(|l| l.name == "tiny" && l.what == "run" && l.bytes > 0), "{listed:?}");
    cli::run(dir.path(), &["show", "org/never-pulled"]).bad(1, &["weightroom pull org/never-pulled"]);
}
