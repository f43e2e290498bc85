//! The `bench decode` job: how fast a model takes in a prompt and generates after it, always taking the likeliest token.
//! Deliberately not here: samplers, stops and streams, which a conversation has beside that.

use std::path::Path;
use std::time::Instant;

use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bench::peak_rss_mb;
use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::engine::device;
use crate::model::ModelError;
use crate::model::decoder::{Cache, Decoder, Pass};
use crate::report::Report;

pub const JOB: JobKind =
    JobKind { name: "bench_decode", help: "Times a model's generation.", lane: Lane::Main, pausable: false, check, run };

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchDecodeSpec {
    pub model: String,
    pub prompt_tokens: usize,
    pub new_tokens: usize,
    /// Texts side by side.
    pub batch: usize,
    pub device: Option<String>,
}

impl BenchDecodeSpec {
    /// What is wrong with the options, by their names.
    pub fn problem(&self) -> Option<String> {
        let counts = [
            ("prompt-tokens", self.prompt_tokens, 1, 1 << 20),
            ("new-tokens", self.new_tokens, 2, 1 << 20),
            ("batch", self.batch, 1, 1024),
        ];
        let wrong = counts.iter().find(|(_, n, least, most)| !(*least..=*most).contains(n));
        wrong.map(|(name, n, least, most)| format!("--{name} {n} is out of range; it is {least} to {most}"))
    }
}

/// Runs that are timed, after one that is not.
const RUNS: usize = 3;

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: BenchDecodeSpec = params(value)?;
    spec.problem().map_or(Ok(()), Err)?;
    device::known(spec.device.as_deref()).map_err(|e| e.to_string())?;
    Ok(format!("bench {}", crate::text::visible(&spec.model, false)))
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: BenchDecodeSpec = cx.params()?;
    let device = device::choose(spec.device.as_deref())?;
    let model = cx.models.get(cx.project, &spec.model, &device)?;
    let decoder = &model.decoder;
    let (context, all) = (decoder.config().context, spec.prompt_tokens + spec.new_tokens);
    if all > context {
        let cause = format!("{all} tokens are asked for, and {} sees {context} at once", crate::text::visible(&spec.model, false));
        return Err(Fault::new(cause, "ask for fewer with --prompt-tokens and --new-tokens"));
    }
    let mut figures = Vec::new();
    for done in 0..=RUNS {
        cx.monitor.report(Report::Progress { what: "bench".into(), done: done as u64, total: Some(RUNS as u64 + 1), unit: "runs".into() });
        let Some(figure) = once(decoder, &spec, cx)? else { return Ok(Done::new(true, "stopped")) };
        figures.push(figure);
    }
    let median = |which: fn(&(f64, f64)) -> f64| {
        let mut sorted: Vec<f64> = figures[1..].iter().map(which).collect();
        sorted.sort_by(f64::total_cmp);
        (sorted[RUNS / 2] * 10.0).round() / 10.0
    };
    let (prompt, decode) = (median(|f| f.0), median(|f| f.1));
    let facts = json!({
        "peer": format!("weightroom {}", env!("CARGO_PKG_VERSION")),
        "threads": device::threads(),
        "prompt_tokens_per_s": prompt,
        "decode_tokens_per_s": decode,
        "peak_rss_mb": peak_rss_mb(),
        "batch": spec.batch,
        "weights": decoder.weights_in_words(),
    });
    if let Value::Object(facts) = facts {
        cx.monitor.report(Report::Facts(facts.into_iter().collect()));
    }
    Ok(Done::new(false, format!("{prompt} prompt and {decode} decode tokens/s")))
}

/// Tokens a second of the prompt, and of those that are generated after it; none where it was stopped.
fn once(decoder: &Decoder, spec: &BenchDecodeSpec, cx: &Cx) -> Result<Option<(f64, f64)>, ModelError> {
    let vocab = decoder.config().vocab as u64;
    let prompt: Vec<u32> = (0..spec.prompt_tokens as u64).map(|k| ((5 + k * 7919 % 400) % vocab) as u32).collect();
    let ids: Vec<u32> = (0..spec.batch).flat_map(|_| prompt.iter().copied()).collect();
    let mut cache = Cache::new();
    let mut step = |ids: Vec<u32>| -> Result<Vec<u32>, ModelError> {
        let time = ids.len() / spec.batch;
        let ids = Tensor::from_vec(ids, (spec.batch, time), decoder.device())?;
        let hidden = decoder.hidden(&ids, &mut Pass { cache: Some(&mut cache), ..Pass::default() })?;
        let logits = decoder.logits(&hidden.narrow(1, time - 1, 1)?.contiguous()?)?;
        Ok(logits.argmax(D::Minus1)?.flatten_all()?.to_vec1()?)
    };
    let start = Instant::now();
    let mut last = step(ids)?;
    let prompted = start.elapsed().as_secs_f64();
    for _ in 1..spec.new_tokens {
        if cx.monitor.stopped() {
            return Ok(None);
        }
        last = step(last)?;
    }
    let decoded = start.elapsed().as_secs_f64() - prompted;
    let texts = spec.batch as f64;
    Ok(Some((texts * spec.prompt_tokens as f64 / prompted, texts * (spec.new_tokens - 1) as f64 / decoded)))
}
