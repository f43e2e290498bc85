//! The `count` job: how often each token of a tokenizer stands in files.
//! Deliberately not here: the counting itself (`data::inspect`).

use std::path::Path;

use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::data::{DataError, inspect, source, tokenizer};
use crate::report::Report;
use crate::spec::CountSpec;
use crate::text::visible;

pub const JOB: JobKind =
    JobKind { name: "count", help: "Counts a tokenizer's tokens in files.", lane: Lane::Light, pausable: false, check, run };

/// The most frequent tokens whose counts are told: more than any text of a sane size uses.
const TOLD: usize = 250_000;

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: CountSpec = params(value)?;
    if spec.files.is_empty() {
        return Err("no files to count tokens in; name one or more".into());
    }
    Ok(format!("count tokens of {}", visible(&spec.tokenizer, false)))
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: CountSpec = cx.params()?;
    let tokenizer = tokenizer::named(cx.project, &spec.tokenizer)?;
    let entries: Vec<String> = spec.files.iter().map(|f| f.to_string_lossy().into_owned()).collect();
    let sources = source::expand(&entries, "text", cx.project)?;
    let (found, counts) = match inspect::count(&tokenizer, &sources, cx.monitor) {
        Err(DataError::Stopped) => return Ok(Done::new(true, "stopped; nothing was counted")),
        other => other?,
    };
    let mut used: Vec<(usize, u64)> = counts.into_iter().enumerate().filter(|(_, n)| *n > 0).collect();
    used.sort_by_key(|(id, n)| (std::cmp::Reverse(*n), *id));
    let flat: Vec<u64> = used.iter().take(TOLD).flat_map(|(id, n)| [*id as u64, *n]).collect();
    let facts = json!({
        "bytes": found.bytes, "tokens": found.tokens, "used": found.used, "never_used": found.unused,
        "round_trip": found.round_trip, "documents": found.documents, "counts": flat,
    });
    if let Value::Object(facts) = facts {
        cx.monitor.report(Report::Facts(facts.into_iter().collect()));
    }
    Ok(Done::new(false, format!("{} tokens, {:.3} bytes a token, {} never used", found.tokens, found.bytes_per_token(), found.unused)))
}
