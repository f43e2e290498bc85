//! `bench train`: what was measured, in lines or in one line of JSON with the peer's keys.
//! Deliberately not here: the measuring.

use serde_json::Value;

use super::args::BenchTrain;
use super::follow::follow;
use super::{Failure, Place, out};
use crate::engine::jobs::BenchSpec;
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
    };
    super::device_name(args.device.as_deref())?;
    spec.problem().map_or(Ok(()), |what| Err(Failure::Usage(what)))?;
    let handle = place.engine()?;
    let mut figures: Option<serde_json::Map<String, Value>> = None;
    let end = follow(&handle, JobSpec::new("bench", &spec), |event| {
        if let Report::Facts(facts) = &event.report {
            figures = Some(facts.clone().into_iter().collect());
        }
        Ok(())
    })?;
    if end.interrupted {
        return Err(Failure::Interrupted);
    }
    let Some(figures) = figures else { return Err(Failure::Failed("bench: nothing was measured; try again".into())) };
    // In the order in which the peer prints them, then what the peer does not print.
    let order =
        ["peer", "threads", "parameters", "step_ms", "tokens_per_s", "peak_rss_mb", "precision", "model_tflops", "device_memory_mb"];
    let known = order.iter().filter_map(|k| Some(((*k).to_string(), figures.get(*k).filter(|v| !v.is_null())?.clone())));
    if args.json {
        return Ok(out::json(&known.collect::<serde_json::Map<String, Value>>())?);
    }
    for (name, value) in known {
        let shown = match (value.as_str(), value.as_u64()) {
            (Some(text), _) => text.to_string(),
            (_, Some(number)) => out::grouped(number),
            _ => value.to_string(),
        };
        out::line(format!("{name:18}{shown}"))?;
    }
    Ok(())
}
