//! The `bench` job: times the training step of a decoder on random tokens, with the real loss and optimizer.
//! Deliberately not here: data, evaluation and checkpoints, which a training does between its steps.

use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::engine::device;
use crate::model::config::Config;
use crate::model::decoder::{Decoder, Pass, backward};
use crate::model::{ModelError, accelerator};
use crate::recipe::{ModelSection, OptimSection};
use crate::report::{Level, Report};
use crate::rng::Stream;
use crate::train::optim::{self, Optimizer};
use crate::train::precision::Precision;

pub const JOB: JobKind =
    JobKind { name: "bench", help: "Times the training step of a decoder.", lane: Lane::Main, pausable: false, check, run };

/// The shape that is timed: llama, untied, ffn of `width * 8 / 3` rounded down to a multiple of 8.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchSpec {
    pub vocab: usize,
    pub width: usize,
    pub heads: usize,
    pub layers: usize,
    pub context: usize,
    pub batch: usize,
    pub steps: usize,
    pub device: Option<String>,
    /// As the recipe's `optim.precision` and `optim.tf32`; f32 where it is empty.
    pub precision: String,
    pub tf32: Option<bool>,
}

/// Steps before the clock counts: they fill caches and pools.
const WARM: usize = 2;

fn config(spec: &BenchSpec) -> Result<Config, String> {
    let section = ModelSection {
        family: "llama".into(),
        layers: spec.layers,
        heads: spec.heads,
        width: spec.width,
        ffn: Some(spec.width * 8 / 3 / 8 * 8),
        context: spec.context,
        tied: Some(false),
        ..ModelSection::default()
    };
    Config::from_recipe(&section, spec.vocab, None).map_err(|e| e.to_string())
}

impl BenchSpec {
    /// What is wrong with a shape that no machine could time, by the options that gave it.
    pub fn problem(&self) -> Option<String> {
        shape(self).err()
    }
}

fn shape(spec: &BenchSpec) -> Result<(), String> {
    let within = |name: &str, n: usize, max: usize| {
        if (1..=max).contains(&n) { Ok(()) } else { Err(format!("--{name} {n} is out of range; it is 1 to {max}")) }
    };
    within("vocab", spec.vocab, 1_000_000)?;
    within("width", spec.width, 131_072)?;
    within("heads", spec.heads, 1024)?;
    within("layers", spec.layers, 512)?;
    within("context", spec.context, 1_048_576)?;
    within("batch", spec.batch, 65_536)?;
    within("steps", spec.steps, 1_000_000)?;
    if !spec.width.is_multiple_of(spec.heads) || !(spec.width / spec.heads).is_multiple_of(2) || spec.width < 3 {
        return Err(format!("--heads {} does not cut --width {} into even parts; use another", spec.heads, spec.width));
    }
    config(spec).map(drop)
}

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: BenchSpec = params(value)?;
    shape(&spec)?;
    device::known(spec.device.as_deref()).map_err(|e| e.to_string())?;
    Ok("bench".into())
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: BenchSpec = cx.params()?;
    let device = device::choose(spec.device.as_deref())?;
    let mut decoder = Decoder::new(config(&spec).map_err(|e| Fault::new(e, ""))?, 0, DType::F32, &device)?;
    let optim = OptimSection { lr: 1e-3, precision: spec.precision.clone(), tf32: spec.tf32, ..OptimSection::default() };
    let precision = Precision::of_recipe(&optim, &mut decoder);
    precision.notes.iter().for_each(|note| cx.monitor.report(Report::note(Level::Warning, note.clone())));
    let mut optimizer = Optimizer::of_recipe(&optim, decoder.params())?;
    let mut random = Stream::new(0, "bench");
    let mut times = Vec::new();
    for step in 0..spec.steps + WARM {
        if cx.monitor.stopped() {
            return Ok(Done::new(true, "stopped"));
        }
        let ids: Vec<u32> = (0..spec.batch * (spec.context + 1)).map(|_| random.below(spec.vocab as u64) as u32).collect();
        let ids = Tensor::from_vec(ids, (spec.batch, spec.context + 1), &device).map_err(ModelError::from)?;
        let start = Instant::now();
        one_step(&decoder, &mut optimizer, &ids, optim.lr)?;
        device.synchronize().map_err(ModelError::from)?;
        if step >= WARM {
            times.push(start.elapsed().as_secs_f64());
        }
        let (done, total) = (step as u64 + 1, Some((spec.steps + WARM) as u64));
        cx.monitor.report(Report::Progress { what: "bench".into(), done, total, unit: "steps".into() });
    }
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
    let parameters: usize = decoder.params().iter().map(|p| p.var.elem_count()).sum();
    let round = |x: f64, digits: i32| (x * 10f64.powi(digits)).round() / 10f64.powi(digits);
    let tokens_per_s = (spec.batch * spec.context) as f64 / median;
    let facts = json!({
        "peer": format!("weightroom {} {}", env!("CARGO_PKG_VERSION"), name_of(&device)),
        "threads": device::threads(),
        "parameters": parameters,
        "step_ms": round(median * 1e3, 2),
        "tokens_per_s": round(tokens_per_s, 1),
        "peak_rss_mb": peak_rss_mb(),
        "precision": precision.name(&decoder),
        "model_tflops": round(decoder.config().flops_per_token() * tokens_per_s / 1e12, 3),
        "device_memory_mb": accelerator::used_bytes(&device).map(|bytes| bytes >> 20),
    });
    if let Value::Object(facts) = facts {
        cx.monitor.report(Report::Facts(facts.into_iter().collect()));
    }
    Ok(Done::new(false, format!("{:.2} ms a step", median * 1e3)))
}

/// Forward, mean cross-entropy, backward, AdamW; ids (batch, context + 1).
fn one_step(decoder: &Decoder, optimizer: &mut Optimizer, ids: &Tensor, lr: f64) -> Result<(), Fault> {
    let (batch, length) = ids.dims2().map_err(ModelError::from)?;
    let part = |from: usize| ids.narrow(1, from, length - 1).and_then(|t| t.contiguous()).map_err(ModelError::from);
    let (inputs, targets) = (part(0)?, part(1)?);
    let weights = Tensor::ones((batch, length - 1), DType::F32, ids.device()).map_err(ModelError::from)?;
    let hidden = decoder.hidden(&inputs, &mut Pass::default())?;
    let sum = decoder.loss_sum(&hidden, &targets, &weights)?;
    let loss = (sum / (batch * (length - 1)) as f64).map_err(ModelError::from)?;
    let mut store = backward(&loss)?;
    let mut grads = Vec::new();
    for param in decoder.params() {
        let grad = store.remove(param.var.as_tensor());
        let grad = grad.ok_or_else(|| Fault::new(format!("{} got no gradient", param.name), "this is a fault of the program"))?;
        grads.push(grad.detach());
    }
    let norm = optim::global_norm(&grads)?;
    optimizer.step(&grads, lr, optim::clip_scale(norm, 1.0))?;
    Ok(())
}

fn name_of(device: &Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Metal(_) => "metal",
    }
}

/// The most memory that the process has held, in MB of 1024² bytes (Linux counts in KiB, others in bytes).
fn peak_rss_mb() -> u64 {
    // SAFETY: the structure is plain numbers, for which zeros are valid, and it outlives the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let unit = if cfg!(target_os = "linux") { 1024 } else { 1024 * 1024 };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) / unit
}
