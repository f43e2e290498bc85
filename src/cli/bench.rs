//! `bench train` and `bench decode`: what was measured, in lines or in one line of JSON with the peer's keys.
//! Deliberately not here: the measuring.

use serde_json::Value;

use super::args::{BenchDecode, BenchTrain};
use super::follow::follow;
use super::{Failure, Place, out};
use crate::engine::jobs::{BenchDecodeSpec, BenchSpec};
use crate::report::Report;
use crate::spec::JobSpec;

pub fn train(place: &Place, args: &BenchTrain) -> Result<(), Failure> {
    let spec = BenchSpec {
        vocab: args.vocab,
        width: args.width,
        heads: args.heads,
        layers: args.layers,
        context: args.context,
        batch: args.batch,
        steps: args.steps,
        device: args.device.clone(),
        precision: args.precision.clone(),
        tf32: args.tf32,
        recompute: args.recompute,
    };
    super::device_name(args.device.as_deref())?;
    spec.problem().map_or(Ok(()), |what| Err(Failure::Usage(what)))?;
    let figures = figures(place, JobSpec::new("bench", &spec))?;
    // In the order in which the peer prints them, then what the peer does not print.
    let order = [
        "peer",
        "threads",
        "parameters",
        "step_ms",
        "tokens_per_s",
        "peak_rss_mb",
        "precision",
        "lanes",
        "model_tflops",
        "product_tflops",
        "share_of_product",
        "device_memory_mb",
        "phases",
        "ops",
    ];
    told(&figures, &order, args.json)?;
    if args.json { Ok(()) } else { table(&figures) }
}

pub fn decode(place: &Place, args: &BenchDecode) -> Result<(), Failure> {
    let spec = BenchDecodeSpec {
        model: args.model.clone(),
        prompt_tokens: args.prompt_tokens,
        new_tokens: args.new_tokens,
        batch: args.batch,
        device: args.device.clone(),
    };
    super::device_name(args.device.as_deref())?;
    spec.problem().map_or(Ok(()), |what| Err(Failure::Usage(what)))?;
    let figures = figures(place, JobSpec::new("bench_decode", &spec))?;
    let order = ["peer", "threads", "prompt_tokens_per_s", "decode_tokens_per_s", "peak_rss_mb", "batch", "weights"];
    told(&figures, &order, args.json)
}

type Figures = serde_json::Map<String, Value>;

/// Runs a job that measures, and gives what it measured.
fn figures(place: &Place, spec: JobSpec) -> Result<Figures, Failure> {
    let handle = place.engine()?;
    let mut figures: Option<Figures> = None;
    let end = follow(&handle, spec, |event| {
        if let Report::Facts(facts) = &event.report {
            figures = Some(facts.clone().into_iter().collect());
        }
        Ok(())
    })?;
    if end.interrupted {
        return Err(Failure::Interrupted);
    }
    figures.ok_or_else(|| Failure::Failed("bench: nothing was measured; try again".into()))
}

/// Prints what is known of the figures in `order`: as one line of JSON, or a line each.
fn told(figures: &Figures, order: &[&str], json: bool) -> Result<(), Failure> {
    let known = order.iter().filter_map(|k| Some(((*k).to_string(), figures.get(*k).filter(|v| !v.is_null())?.clone())));
    if json {
        return Ok(out::json(&known.collect::<Figures>())?);
    }
    for (name, value) in known.filter(|(name, _)| !TABLES.contains(&name.as_str())) {
        let shown = match (value.as_str(), value.as_u64()) {
            (Some(text), _) => text.to_string(),
            (_, Some(number)) => out::grouped(number),
            _ => value.to_string(),
        };
        out::line(format!("{name:20}{shown}"))?;
    }
    Ok(())
}

/// Figures that are tables of their own.
const TABLES: [&str; 2] = ["phases", "ops"];

/// Where the time of a step goes: each op's passes, the largest first, then what is no op.
fn table(figures: &serde_json::Map<String, Value>) -> Result<(), Failure> {
    let ms = |value: &Value, key: &str| value[key].as_f64().unwrap_or(0.0);
    let phase = |name: &str| figures.get("phases").map_or(0.0, |p| ms(p, name));
    let whole = figures.get("step_ms").and_then(Value::as_f64).unwrap_or(f64::NAN);
    let mut rows: Vec<(String, f64, f64)> = Vec::new();
    for op in figures.get("ops").and_then(Value::as_array).into_iter().flatten() {
        rows.push((op["op"].as_str().unwrap_or_default().into(), ms(op, "forward_ms"), ms(op, "backward_ms")));
    }
    if rows.is_empty() {
        return Ok(()); // The composed path and other devices have no ops of ours to time.
    }
    rows.sort_by(|a, b| (b.1 + b.2).total_cmp(&(a.1 + a.2)));
    let forward: f64 = rows.iter().map(|row| row.1).sum();
    let backward: f64 = rows.iter().map(|row| row.2).sum();
    rows.push(("between ops".into(), phase("time/forward_ms") + phase("time/loss_ms") - forward, phase("time/backward_ms") - backward));
    out::line(format!("\n{:20}{:>12}{:>12}{:>8}", "ms of a step", "forward", "backward", "share"))?;
    for (name, forward, backward) in rows {
        out::line(format!(
            "{name:20}{:12.2}{:12.2}{:7.1} %",
            forward.max(0.0),
            backward.max(0.0),
            (forward + backward).max(0.0) / whole * 100.0
        ))?;
    }
    for (name, ms) in [("batch", phase("time/batch_ms")), ("norm, clip, update", phase("time/update_ms"))] {
        out::line(format!("{name:20}{:>12}{ms:12.2}{:7.1} %", "", ms / whole * 100.0))?;
    }
    Ok(())
}
