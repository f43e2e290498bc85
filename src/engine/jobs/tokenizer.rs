//! The `tokenizer` job: trains a tokenizer on text files and saves it.
//! Deliberately not here: the training itself (`data::tokenizer`).

use std::path::Path;

use serde_json::Value;

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::data::fresh::Wish;
use crate::data::{DataError, source, tokenizer::Tokenizer};
use crate::report::Report;
use crate::spec::TokenizerSpec;

pub const JOB: JobKind =
    JobKind { name: "tokenizer", help: "Trains a tokenizer on text files.", lane: Lane::Light, pausable: false, check, run };

const KINDS: &[&str] = &["char", "byte", "bpe"];

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: TokenizerSpec = params(value)?;
    problem(&spec).map_or(Ok(()), Err)?;
    Ok(format!("{} tokenizer {}", spec.kind, spec.out.display()))
}

/// What is wrong with a tokenizer that can be trained on nothing.
pub fn problem(spec: &TokenizerSpec) -> Option<String> {
    if !KINDS.contains(&spec.kind.as_str()) {
        return Some(format!(
            "tokenizer kind \"{}\" is not known; it must be one of {}",
            crate::text::visible(&spec.kind, false),
            KINDS.join(", ")
        ));
    }
    if spec.files.is_empty() && spec.kind != "byte" {
        return Some("no files to train the tokenizer on; name one or more".into());
    }
    if spec.kind == "bpe" && !(257..=1_000_000).contains(&spec.vocab) {
        return Some(format!("vocab {} is out of range; a bpe tokenizer has 257 to 1000000 tokens", spec.vocab));
    }
    let special: Vec<&str> = spec.special.iter().map(String::as_str).collect();
    if let Some(problem) = wish(spec, &special).problem() {
        return Some(problem);
    }
    spec.out.as_os_str().is_empty().then(|| "no file to write the tokenizer to; name one".into())
}

fn wish<'a>(spec: &'a TokenizerSpec, special: &'a [&'a str]) -> Wish<'a> {
    let usual = Wish::new(&spec.kind, spec.vocab, special);
    let pattern = if spec.pattern.is_empty() { usual.pattern } else { &spec.pattern };
    Wish { pattern, split_digits: spec.split_digits, blank_runs: spec.blank_runs, byte_fallback: spec.byte_fallback, ..usual }
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: TokenizerSpec = cx.params()?;
    let out = cx.project.join(&spec.out);
    if let Some(dir) = out.parent().filter(|d| !d.is_dir()) {
        std::fs::create_dir_all(dir)
            .map_err(|e| Fault::new(format!("{}: cannot be made: {e}", dir.display()), "choose a directory that can be written"))?;
    }
    let entries: Vec<String> = spec.files.iter().map(|f| f.to_string_lossy().into_owned()).collect();
    let sources = source::expand(&entries, "text", cx.project)?;
    let special: Vec<&str> = spec.special.iter().map(String::as_str).collect();
    let tokenizer = match Tokenizer::make(&wish(&spec, &special), &sources, cx.monitor) {
        Err(DataError::Stopped) => return Ok(Done::new(true, "stopped; nothing was written")),
        other => other?,
    };
    tokenizer.save(&out)?;
    cx.monitor.report(Report::Artifact { kind: "tokenizer".into(), path: out, step: None });
    let reached = tokenizer.vocab_size();
    // Only a bpe is asked for a size; a short text has fewer pairs to make tokens of.
    let fewer = if spec.kind == "bpe" && reached < spec.vocab {
        format!(", fewer than the {} that were asked for: no other pair comes twice in this text", spec.vocab)
    } else {
        String::new()
    };
    Ok(Done::new(false, format!("{reached} tokens{fewer}")).with([("vocab".to_string(), reached.into())].into()))
}
