//! The `bench` job: times the steps of a training on random text, by the loop that trains (`train::rehearse`).
//! Deliberately not here: evaluation and checkpoints, which a training does between its steps.

use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::engine::device;
use crate::model::config::Config;
use crate::model::{ModelError, accelerator};
use crate::recipe::{DataSection, ModelSection, OptimSection, Recipe};
use crate::report::{Level, Report};
use crate::rng::Stream;
use crate::train::rehearse::rehearse;

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
    /// As the recipe's `model.recompute`.
    pub recompute: bool,
}

/// Steps before the clock counts: they fill caches and pools.
const WARM: usize = 2;

fn section(spec: &BenchSpec) -> ModelSection {
    ModelSection {
        family: "llama".into(),
        layers: spec.layers,
        heads: spec.heads,
        width: spec.width,
        ffn: Some(spec.width * 8 / 3 / 8 * 8),
        context: spec.context,
        tied: Some(false),
        recompute: spec.recompute,
        ..ModelSection::default()
    }
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
    Config::from_recipe(&section(spec), spec.vocab, None).map(drop).map_err(|e| e.to_string())
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
    let dir = tempfile::tempdir()
        .map_err(|e| Fault::new(format!("no directory for a rehearsal: {e}"), "set TMPDIR to one that can be written"))?;
    let recipe = recipe(&spec, dir.path()).map_err(|e| Fault::new(format!("{}: {e}", dir.path().display()), "make room there"))?;
    let total = Some((spec.steps + WARM) as u64);
    let told = |done: usize| cx.monitor.report(Report::Progress { what: "bench".into(), done: done as u64, total, unit: "steps".into() });
    let mut found = rehearse(recipe, dir.path(), device.clone(), (WARM, spec.steps), cx.monitor, told)?;
    found.notes.iter().for_each(|note| cx.monitor.report(Report::note(Level::Warning, note.clone())));
    if found.stopped {
        return Ok(Done::new(true, "stopped"));
    }
    let peak_rss = peak_rss_mb();
    let device_memory = accelerator::used_bytes(&device);
    let peak = largest_product(&device).map_err(ModelError::from)?;
    found.seconds.sort_by(f64::total_cmp);
    let median = found.seconds.get(found.seconds.len() / 2).copied().unwrap_or(f64::NAN);
    let round = |x: f64, digits: i32| (x * 10f64.powi(digits)).round() / 10f64.powi(digits);
    let tokens_per_s = (spec.batch * spec.context) as f64 / median;
    let achieved = found.flops_per_token * tokens_per_s;
    let ops: Vec<Value> = found
        .ops
        .iter()
        .map(|(name, [f, b])| json!({"op": name, "forward_ms": round(f * 1e3, 3), "backward_ms": round(b * 1e3, 3)}))
        .collect();
    let facts = json!({
        "peer": format!("weightroom {} {}", env!("CARGO_PKG_VERSION"), name_of(&device)),
        "threads": device::threads(),
        "parameters": found.parameters,
        "step_ms": round(median * 1e3, 2),
        "tokens_per_s": round(tokens_per_s, 1),
        "peak_rss_mb": peak_rss,
        "precision": found.precision,
        "lanes": found.lanes,
        "model_tflops": round(achieved / 1e12, 3),
        "product_tflops": round(peak / 1e12, 3),
        "share_of_product": round(achieved / peak, 3),
        "device_memory_mb": device_memory.map(|bytes| bytes >> 20),
        "phases": found.phases.iter().map(|(name, ms)| (name.clone(), round(*ms, 3).into())).collect::<serde_json::Map<_, _>>(),
        "ops": ops,
    });
    if let Value::Object(facts) = facts {
        cx.monitor.report(Report::Facts(facts.into_iter().collect()));
    }
    Ok(Done::new(false, format!("{:.2} ms a step", median * 1e3)))
}

/// A recipe of this shape, on random text of as many characters as the vocabulary has, which it writes into `dir`.
fn recipe(spec: &BenchSpec, dir: &Path) -> std::io::Result<Recipe> {
    let mut random = Stream::new(0, "bench");
    // Characters that a line's end is not among.
    let characters: Vec<char> = (0x21..=0x10_ffff).filter_map(char::from_u32).filter(|c| !c.is_control()).take(spec.vocab).collect();
    let window = spec.context + 1;
    let length = (32 * window).max(1 << 16).max(2 * spec.vocab);
    let mut text: String = characters.iter().collect();
    text.extend((0..length).map(|_| characters[random.below(spec.vocab as u64) as usize]));
    let (train, val) = (dir.join("train.txt"), dir.join("val.txt"));
    std::fs::write(&train, text)?;
    std::fs::write(&val, characters.iter().cycle().take(4 * window).collect::<String>())?;
    let named = |path: &Path| vec![path.to_string_lossy().into_owned()];
    let mut recipe = Recipe { model: section(spec), ..Recipe::default() };
    recipe.data = DataSection { train: named(&train), val: named(&val), ..DataSection::default() };
    recipe.optim = OptimSection {
        batch: spec.batch,
        steps: spec.steps + WARM,
        precision: spec.precision.clone(),
        tf32: spec.tf32,
        warmup: 0,
        ..OptimSection::default()
    };
    Ok(recipe)
}

/// Floating-point operations a second in a product of two matrices of 2048², the best of several.
fn largest_product(device: &Device) -> candle_core::Result<f64> {
    const N: usize = 2048;
    let a = Tensor::ones((N, N), DType::F32, device)?;
    let mut fastest = f64::INFINITY;
    for _ in 0..8 {
        let start = Instant::now();
        a.matmul(&a)?;
        device.synchronize()?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(2.0 * (N as f64).powi(3) / fastest.max(1e-9))
}

fn name_of(device: &Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Metal(_) => "metal",
    }
}

/// The most memory that the process has held, in MB of 1024² bytes (Linux counts in KiB, others in bytes).
pub(super) fn peak_rss_mb() -> u64 {
    // SAFETY: the structure is plain numbers, for which zeros are valid, and it outlives the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let unit = if cfg!(target_os = "linux") { 1024 } else { 1024 * 1024 };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) / unit
}
