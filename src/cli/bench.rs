//! `bench train`: one JSON line with the same keys as the peer's. Deliberately not here: the measuring.

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
    let line: serde_json::Map<String, Value> =
        order.iter().filter_map(|k| Some(((*k).to_string(), figures.get(*k).filter(|v| !v.is_null())?.clone()))).collect();
    Ok(out::json(&line)?)
}
