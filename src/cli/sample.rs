//! `sample write|check|score`: the built-in sample world. Deliberately not here: the world (`data::sample`).

use std::path::Path;

use serde_json::{Value, json};

use super::args::Sample as What;
use super::follow::follow;
use super::{Failure, Place, out};
use crate::data::sample;
use crate::engine::jobs::ScoreSpec;
use crate::report::Report;
use crate::spec::JobSpec;
use crate::text::visible;

/// The largest text that is checked.
const MAX_CHECKED: u64 = 64 << 20;

pub fn run(place: &Place, what: &What) -> Result<(), Failure> {
    match what {
        What::Write { dir } => write(dir),
        What::Check { file, json } => check(file, *json),
        What::Score { model, samples, tokens, temperature, json } => {
            let model = super::generate::model_name(&place.project, model)?;
            let spec = ScoreSpec { model, samples: *samples, tokens: *tokens, temperature: *temperature };
            spec.problem().map_or(Ok(()), |what| Err(Failure::Usage(what)))?;
            score(place, &spec, *json)
        }
    }
}

fn write(dir: &Path) -> Result<(), Failure> {
    for name in sample::write(dir).map_err(Failure::failed)? {
        out::line(out::shown(&dir.join(name)))?;
    }
    Ok(())
}

fn check(file: &Path, json: bool) -> Result<(), Failure> {
    let wrong = |what: String| Failure::Failed(format!("{}: {what}", out::shown(file)));
    let size = std::fs::metadata(file).map_err(|e| wrong(format!("{e}; name a text or JSONL file")))?.len();
    if size > MAX_CHECKED {
        return Err(wrong("is larger than 64 MB; check a part of it".into()));
    }
    let bytes = std::fs::read(file).map_err(|e| wrong(format!("{e}; name a text or JSONL file")))?;
    let text = String::from_utf8(bytes)
        .map_err(|e| wrong(format!("byte {} is not UTF-8; save the file as UTF-8 text", e.utf8_error().valid_up_to())))?;
    let report = sample::check::check(&text).map_err(Failure::failed)?;
    if json {
        let failures: Vec<Value> =
            report.failures.iter().map(|f| json!({"document": f.document, "at": f.at, "excerpt": f.excerpt})).collect();
        out::json(&json!({
            "documents": report.documents, "whole": report.whole, "begun": report.begun, "passed": report.passed(), "failures": failures,
        }))?;
    } else {
        out::line(&report)?;
    }
    if report.passed() {
        return Ok(());
    }
    let what =
        if report.documents == 0 { "holds no documents".into() } else { format!("{} documents do not parse", report.failures.len()) };
    Err(wrong(format!("{what}; texts of the sample's grammar parse")))
}

fn score(place: &Place, spec: &ScoreSpec, json: bool) -> Result<(), Failure> {
    let handle = place.engine()?;
    let mut passed = false;
    let end = follow(&handle, JobSpec::new("score", spec), |event| match &event.report {
        Report::Facts(facts) => {
            passed = facts.get("passed").and_then(Value::as_bool).unwrap_or(false);
            if json { out::json(facts) } else { Ok(()) }
        }
        _ => Ok(()),
    })?;
    if end.interrupted {
        return Err(Failure::Interrupted);
    }
    if !json {
        out::line(visible(&end.summary, true))?;
    }
    if passed { Ok(()) } else { Err(Failure::Failed("the model does not do what is asked of the sample's model; train it longer".into())) }
}
