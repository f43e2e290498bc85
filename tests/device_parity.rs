//! One device against another: the decoder on the device that `WEIGHTROOM_TEST_DEVICE` names (cpu where it is not set),
//! by its fused ops or kernels and by composed ops, against composed ops in f64 on the CPU and against PyTorch: logits,
//! loss, every gradient, training steps, generation with a cache; f32, TF32 and bf16.
//! Deliberately not here: single ops (`model_gradients`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;
#[path = "common/recorder.rs"]
mod recorder;

use std::collections::HashMap;
use std::path::Path;
use std::sync::RwLock;

use candle_core::{DType, Device, Tensor};
use recorder::Recorder;
use weightroom::engine::device;
use weightroom::model::accelerator::{self, Tf32};
use weightroom::model::config::Config;
use weightroom::model::decoder::{Cache, Decoder, Pass, backward};
use weightroom::model::hf;
use weightroom::recipe::{ModelSection, Recipe};
use weightroom::report::Report;
use weightroom::rng::Stream;
use weightroom::train::drive::{Request, resume, train};
use weightroom::train::optim::{Accumulator, Optimizer, Rule, clip_scale, global_norm};

/// TF32 is one switch for the process: what turns it on has the device for itself.
static TF32: RwLock<()> = RwLock::new(());

fn named() -> String {
    std::env::var("WEIGHTROOM_TEST_DEVICE").unwrap_or_else(|_| "cpu".into())
}

fn tested() -> Device {
    device::choose(Some(&named())).unwrap()
}

/// Odd sizes, more than one block of everything; grouped heads, norms on heads, biases, tied heads.
fn shapes() -> Vec<(&'static str, Config)> {
    let shape = |family: &str, kv_heads, head_dim, width, ffn, tied, vocab| {
        let section = ModelSection {
            family: family.into(),
            layers: 2,
            heads: 6,
            kv_heads,
            head_dim,
            width,
            ffn: Some(ffn),
            context: 140,
            tied: Some(tied),
            init_std: if width > 100 { 0.05 } else { 0.1 },
            ..ModelSection::default()
        };
        Config::from_recipe(&section, vocab, None).unwrap()
    };
    vec![
        ("llama", shape("llama", Some(2), None, 60, 104, false, 333)),
        ("llama, wide", shape("llama", None, None, 312, 680, true, 601)),
        ("qwen3", shape("qwen3", Some(3), Some(14), 60, 104, false, 333)),
        ("gpt2", shape("gpt2", None, None, 60, 236, true, 333)),
    ]
}

const SEED: u64 = 3;

struct Batch {
    ids: Tensor,
    targets: Tensor,
    weights: Tensor,
}

impl Batch {
    /// Three rows of 133 tokens; some targets do not count.
    fn new(vocab: usize, seed: u64, device: &Device) -> Self {
        let (rows, time) = (3, 133);
        let mut stream = Stream::new(seed, "batch");
        let mut draw = || (0..rows * time).map(|_| stream.below(vocab as u64) as u32).collect::<Vec<_>>();
        let (ids, targets) = (draw(), draw());
        let weights: Vec<f32> = targets.iter().map(|t| if t % 7 == 0 { 0.0 } else { 1.0 }).collect();
        let shape = (rows, time);
        Self {
            ids: Tensor::from_vec(ids, shape, device).unwrap(),
            targets: Tensor::from_vec(targets, shape, device).unwrap(),
            weights: Tensor::from_vec(weights, shape, device).unwrap(),
        }
    }
    fn loss(&self, decoder: &Decoder) -> Tensor {
        let hidden = decoder.hidden(&self.ids, &mut Pass::default()).unwrap();
        let sum = decoder.loss_sum(&hidden, &self.targets, &self.weights).unwrap();
        (sum / 300.0).unwrap()
    }
}

fn numbers(x: &Tensor) -> Vec<f64> {
    let flat = x.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    flat.to_vec1().unwrap()
}

/// |a − b| / |b|, by lengths.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let length = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    length(&mut a.iter().zip(b).map(|(a, b)| a - b)) / length(&mut b.iter().copied()).max(1e-30)
}

/// All that a pass gives: the logits, the loss, and the gradients under their names.
struct Outcome {
    logits: Vec<f64>,
    loss: f64,
    grads: Vec<(String, Vec<f64>)>,
}

fn outcome(decoder: &Decoder) -> Outcome {
    let batch = Batch::new(decoder.config().vocab, SEED, decoder.device());
    let hidden = decoder.hidden(&batch.ids, &mut Pass::default()).unwrap();
    let logits = numbers(&decoder.logits(&hidden).unwrap().detach());
    let loss = batch.loss(decoder);
    let mut store = backward(&loss).unwrap();
    let mut grad = |name: &str, var: &candle_core::Var| {
        let grad = store.remove(var).unwrap_or_else(|| panic!("{name} got no gradient"));
        assert_eq!((grad.dtype(), grad.dims()), (var.dtype(), var.dims()), "{name}");
        numbers(&grad)
    };
    let grads = decoder.params().iter().map(|p| (p.name.clone(), grad(&p.name, &p.var))).collect();
    Outcome { logits, loss: numbers(&loss.detach())[0], grads }
}

/// The reference: composed ops in f64 on the CPU, from the same f32 weights.
fn exact(config: &Config) -> Outcome {
    let mut decoder = Decoder::new(config.clone(), SEED, DType::F64, &Device::Cpu).unwrap();
    decoder.set_composed(true);
    outcome(&decoder)
}

fn compare(name: &str, got: &Outcome, expected: &Outcome, tolerance: f64) {
    let logits = apart(&got.logits, &expected.logits);
    let loss = (got.loss / expected.loss - 1.0).abs();
    let mut worst = (0.0, "");
    for ((param, a), (_, b)) in got.grads.iter().zip(&expected.grads) {
        let off = apart(a, b);
        if off > worst.0 {
            worst = (off, param);
        }
        assert!(off < tolerance, "{name}: the gradient of {param} is off by {off:e} of its length");
    }
    println!("{name}: logits off by {logits:e}, loss {loss:e}, gradients at most {:e} ({})", worst.0, worst.1);
    assert!(logits < tolerance, "{name}: logits are off by {logits:e} of their length");
    assert!(loss < tolerance / 5.0, "{name}: the loss is off by {loss:e}");
}

fn decoder(config: &Config, device: &Device, bf16: bool, composed: bool) -> Decoder {
    let mut decoder = Decoder::new(config.clone(), SEED, DType::F32, device).unwrap();
    decoder.set_bf16(bf16);
    decoder.set_composed(composed);
    decoder
}

#[test]
fn logits_loss_and_every_gradient_are_those_of_f64() {
    let _f32 = TF32.read().unwrap();
    for (name, config) in shapes() {
        let expected = exact(&config);
        for composed in [false, true] {
            let label = format!("{name}, f32, {}", if composed { "composed" } else { "fused" });
            compare(&label, &outcome(&decoder(&config, &tested(), false, composed)), &expected, 2e-5);
        }
    }
}

#[test]
fn bf16_is_near_to_f64_and_its_weights_stay_f32() {
    let _f32 = TF32.read().unwrap();
    for (name, config) in shapes() {
        let expected = exact(&config);
        for composed in [false, true] {
            let label = format!("{name}, bf16, {}", if composed { "composed" } else { "fused" });
            let half = decoder(&config, &tested(), true, composed);
            let got = outcome(&half);
            compare(&label, &got, &expected, 4e-2);
            assert!(apart(&got.logits, &expected.logits) > 1e-5, "{label}: this was no bf16");
            assert!(half.params().iter().all(|p| p.var.dtype() == DType::F32), "{label}");
        }
    }
}

#[test]
fn tf32_is_near_to_f64() {
    if !matches!(tested(), Device::Cuda(_)) {
        println!("skipped: TF32 is CUDA's alone");
        return;
    }
    let _alone = TF32.write().unwrap();
    let (_, config) = shapes().swap_remove(1);
    let expected = exact(&config);
    let plain = outcome(&decoder(&config, &tested(), false, false));
    let _on = Tf32::set(true);
    let got = outcome(&decoder(&config, &tested(), false, false));
    compare("llama, wide, TF32", &got, &expected, 5e-3);
    assert!(apart(&got.logits, &plain.logits) > 1e-6, "the switch switched nothing");
}

/// Losses before each of some updates, two micro-batches each, clipped, and the weights after them.
fn trained(decoder: &Decoder, rule: Rule) -> (Vec<f64>, Vec<f64>) {
    let mut optimizer = Optimizer::new(rule, 0.1, false, decoder.params()).unwrap();
    let mut losses = Vec::new();
    for step in 0..6 {
        let mut sum = Accumulator::default();
        let mut total = 0.0;
        for micro in 0..2 {
            let loss = (Batch::new(decoder.config().vocab, step % 2 * 2 + micro, decoder.device()).loss(decoder) / 2.0).unwrap();
            total += numbers(&loss.detach())[0];
            let mut store = backward(&loss).unwrap();
            let grads: Vec<Tensor> = decoder.params().iter().map(|p| store.remove(&p.var).unwrap().detach()).collect();
            sum.add(grads).unwrap();
        }
        let grads = sum.take();
        let scale = clip_scale(global_norm(&grads).unwrap(), 1.0);
        optimizer.step(&grads, 1e-3, scale).unwrap();
        losses.push(total);
    }
    (losses, decoder.params().iter().flat_map(|p| numbers(p.var.as_tensor())).collect())
}

#[test]
fn training_steps_go_the_same_way() {
    let _f32 = TF32.read().unwrap();
    for rule in [Rule::AdamW { betas: [0.9, 0.95], eps: 1e-8 }, Rule::Sgd { momentum: 0.9 }] {
        for (name, config) in shapes() {
            let (expected, weights) = trained(&decoder(&config, &Device::Cpu, false, true), rule);
            let (losses, got) = trained(&decoder(&config, &tested(), false, false), rule);
            // Of the first loss: the last ones are near to nothing.
            let furthest = |losses: &[f64]| losses.iter().zip(&expected).map(|(a, b)| (a - b).abs() / expected[0]).fold(0.0, f64::max);
            let off = furthest(&losses);
            println!("{name}, {rule:?}: losses off by {off:e}, weights by {:e}", apart(&got, &weights));
            assert!(off < 1e-4 && apart(&got, &weights) < 1e-3, "{name}, {rule:?}: {losses:?} for {expected:?}");
            if rule == (Rule::Sgd { momentum: 0.9 }) {
                continue;
            }
            // A debug build makes the CPU's products in bf16 with calls for instructions: the wide shape would take minutes.
            if cfg!(debug_assertions) && tested().is_cpu() && config.width > 200 {
                continue;
            }
            let (half, _) = trained(&decoder(&config, &tested(), true, false), rule);
            assert!(furthest(&half) > 0.0 && furthest(&half) < 1e-2, "{name}, {rule:?}, bf16: {half:?} for {expected:?}");
        }
    }
}

#[test]
fn generation_with_a_cache_gives_what_a_full_pass_gives() {
    let _f32 = TF32.read().unwrap();
    for (name, config) in shapes() {
        for (bf16, tolerance) in [(false, 1e-5), (true, 3e-2)] {
            let decoder = decoder(&config, &tested(), bf16, false).detached();
            let ids = Batch::new(config.vocab, SEED, decoder.device()).ids;
            let full = decoder.hidden(&ids, &mut Pass::default()).unwrap();
            let mut cache = Cache::new();
            let mut parts = Vec::new();
            for (from, n) in [(0, 40), (40, 1), (41, 1), (42, 91)] {
                let part = ids.narrow(1, from, n).unwrap().contiguous().unwrap();
                parts.push(decoder.hidden(&part, &mut Pass { cache: Some(&mut cache), dropout: None }).unwrap());
            }
            let off = apart(&numbers(&Tensor::cat(&parts, 1).unwrap()), &numbers(&full));
            assert!(off < tolerance, "{name}, bf16 {bf16}: {off:e}");
        }
    }
}

#[test]
fn the_device_gives_the_values_of_pytorch() {
    let (Some(model), Some(dir)) = (common::asset("models/stories260K/hf"), common::asset("numeric/torch_stories260K")) else { return };
    let _f32 = TF32.read().unwrap();
    let reference: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("train_reference.json")).unwrap()).unwrap();
    let expected: HashMap<String, Tensor> = candle_core::safetensors::load(dir.join("grads_step0.safetensors"), &Device::Cpu).unwrap();
    let rows = |key: &str| -> Vec<u32> {
        let rows = reference[key].as_array().unwrap().iter();
        rows.flat_map(|row| row.as_array().unwrap()).map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let (ids, targets, device) = (rows("batch_inputs"), rows("batch_targets"), tested());
    let count = reference["batch_inputs"].as_array().unwrap().len();
    let shape = (count, ids.len() / count);
    let batch = Batch {
        ids: Tensor::from_vec(ids, shape, &device).unwrap(),
        targets: Tensor::from_vec(targets, shape, &device).unwrap(),
        weights: Tensor::ones(shape, DType::F32, &device).unwrap(),
    };
    let scale = 300.0 / (shape.0 * shape.1) as f64;
    for (bf16, tolerance) in [(false, 1e-4), (true, 0.1)] {
        let mut decoder = hf::load(&model, DType::F32, &device).unwrap();
        decoder.set_bf16(bf16);
        let loss = (batch.loss(&decoder) * scale).unwrap();
        let off = (numbers(&loss.detach())[0] - reference["loss0"].as_f64().unwrap()).abs();
        assert!(off < tolerance / 5.0, "bf16 {bf16}: the loss is off by {off:e}");
        let mut store = backward(&loss).unwrap();
        for p in decoder.params() {
            let off = apart(&numbers(&store.remove(&p.var).unwrap()), &numbers(&expected[&p.name]));
            assert!(off < tolerance, "bf16 {bf16}: {} is off by {off:e}", p.name);
        }
    }
}

fn recipe() -> Recipe {
    let text = r#"
[model]
layers = 2
heads = 2
width = 32
context = 32
[data]
train = ["input.txt"]
[optim]
precision = "bf16"
lr = 1e-2
warmup = 4
steps = 24
batch = 4
[eval]
every = 12
batches = 2
prompts = ["the "]
sample_tokens = 8
[checkpoint]
every = 8
keep = 3
"#;
    Recipe::parse(text, "test", &[]).unwrap()
}

/// A whole run with `precision = "bf16"` on the device, and one that goes on from its middle.
#[test]
fn a_run_in_bf16_learns_saves_f32_and_goes_on_exactly() {
    let _alone = TF32.write().unwrap(); // Its recipe says nothing of TF32, so that CUDA takes it.
    let project = tempfile::tempdir().unwrap();
    let words = ["the cat", "sat on", "a mat", "and saw", "the dog", "run by", "the sea"];
    let mut stream = Stream::new(5, "text");
    let text: String = (0..900).map(|_| format!("{} ", stream.pick(&words).unwrap())).collect();
    std::fs::write(project.path().join("input.txt"), text).unwrap();
    let run = |name: &str| {
        let monitor = Recorder::default();
        let base = project.path().to_path_buf();
        let request = Request { project: base.clone(), base, recipe: recipe(), name: Some(name.into()), device: tested() };
        monitor.end(train(request, &monitor)).unwrap();
        monitor
    };
    let whole = run("whole");
    let losses = whole.series("train/loss");
    assert!(losses[23].1 < losses[0].1 - 0.5, "{losses:?}");
    let notes: Vec<String> =
        whole.reports().into_iter().filter_map(|r| if let Report::Note { text, .. } = r { Some(text) } else { None }).collect();
    let fell_back = notes.iter().any(|n| n.contains("computes in f32"));
    assert_eq!(fell_back, accelerator::bf16(&tested()).is_err(), "{notes:?}");
    assert!(whole.series("memory_mb").iter().all(|(_, mb)| *mb > 1.0));

    let saved = |run: &str, step: u64| project.path().join(format!("runs/{run}/checkpoints/step-{step:06}"));
    let weights = |dir: &Path| candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu).unwrap();
    let end = weights(&saved("whole", 24));
    assert!(end.values().all(|t| t.dtype() == DType::F32));
    run("again");
    for step in [16, 24] {
        std::fs::remove_dir_all(saved("again", step)).unwrap();
    }
    let monitor = Recorder::default();
    monitor.end(resume(project.path(), "again", tested(), &monitor)).unwrap();
    for (name, tensor) in weights(&saved("again", 24)) {
        assert_eq!(numbers(&tensor), numbers(&end[&name]), "{name}");
    }
}

#[test]
fn a_device_tells_its_memory_and_the_host_leaves_that_to_others() {
    match tested() {
        device @ Device::Cuda(_) => {
            let about = accelerator::about(&device).unwrap();
            println!("{about:?}");
            assert!(!about.name.is_empty() && about.free_bytes <= about.memory_bytes && about.capability.is_some());
            let before = accelerator::used_bytes(&device).unwrap();
            let _held = Tensor::zeros(256 << 20, DType::F32, &device).unwrap();
            device.synchronize().unwrap();
            assert!(accelerator::used_bytes(&device).unwrap() >= before + (900 << 20));
        }
        device => assert!(accelerator::about(&device).is_none() && accelerator::used_bytes(&device).is_none()),
    }
}
