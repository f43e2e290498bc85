//! The `clean` job: a new file of the rows that keep to rules.
//! Deliberately not here: the rules (`data::clean`).

use std::path::Path;

use serde_json::{Value, json};

use super::inspect::{self, Given};
use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::data::clean::{Rules, clean};
use crate::report::Report;
use crate::spec::CleanSpec;

pub const JOB: JobKind = JobKind {
    name: "clean",
    help: "Writes a clean copy of data files, and tells what was left out and why.",
    lane: Lane::Light,
    pausable: false,
    check,
    run,
};

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: CleanSpec = params(value)?;
    problem(&spec).map_or(Ok(()), Err)?;
    Ok(inspect::title(&spec.data))
}

/// What is wrong with what is asked, whatever the files hold.
pub fn problem(spec: &CleanSpec) -> Option<String> {
    if spec.out.as_os_str().is_empty() {
        return Some("no file to write the clean rows to; name one".into());
    }
    if let (Some(min), Some(max)) = (spec.min, spec.max)
        && min > max
    {
        return Some(format!("a least length of {min} and a greatest of {max} leave no row; change one of them"));
    }
    inspect::problem(&spec.data).or_else(|| Rules::problem(&spec.drop, !spec.data.against.is_empty()))
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: CleanSpec = cx.params()?;
    let stopped = || Ok(Done::new(true, "stopped; nothing was written"));
    let given = match Given::of(&spec.data, cx) {
        Err(_) if cx.monitor.stopped() => return stopped(),
        given => given?,
    };
    let rules = Rules {
        drop: spec.drop.clone(),
        min: spec.min,
        max: spec.max,
        normalise: spec.normalise,
        redact: spec.redact,
        mapping: given.mapping.clone(),
        tokenizer: given.tokenizer(),
        evaluation: given.evaluation.as_ref(),
    };
    let out = cx.project.join(&spec.out);
    let Some(cleaned) = clean(&given.sources, &rules, &out, &given.scratch, cx.monitor)? else { return stopped() };
    let summary = cleaned.to_string();
    if let Value::Object(all) = json!(cleaned) {
        cx.monitor.report(Report::Facts(all.into_iter().collect()));
    }
    cx.monitor.report(Report::Artifact { kind: "data".into(), path: out, step: None });
    Ok(Done::new(false, summary))
}
