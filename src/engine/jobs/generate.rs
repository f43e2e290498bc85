//! The `generate` job: continues a prompt or answers in a chat with a model from disk.
//! Deliberately not here: a model that is training; the hub sends such a question to the training itself.

use std::path::Path;

use serde_json::Value;

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::engine::{device, models};
use crate::report::{Level, Report};
use crate::sample::eliza;
use crate::sample::generate::generate;
use crate::spec::GenerateSpec;

pub const JOB: JobKind =
    JobKind { name: "generate", help: "Continues a prompt, or answers in a chat.", lane: Lane::Model, pausable: false, check, run };

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: GenerateSpec = params(value)?;
    if spec.model.is_empty() {
        return Err("no model is named; name a run, a checkpoint directory or a model directory".into());
    }
    device::known(spec.device.as_deref()).map_err(|e| e.to_string())?;
    Ok(crate::text::visible(&spec.model, false).into_owned())
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: GenerateSpec = cx.params()?;
    if spec.model == eliza::NAME {
        let (text, tokens) = eliza::generate(&spec, cx.monitor);
        let result = [("text", text.into()), ("tokens", tokens.into()), ("ended", "end".into())].map(|(k, v): (&str, Value)| (k.into(), v));
        return Ok(Done::new(false, format!("{tokens} words")).with(result.into()));
    }
    let device = if cx.beside { device::choose(Some("cpu"))? } else { device::choose(spec.device.as_deref())? };
    let model = cx.models.get(cx.project, &spec.model, &device)?;
    if let Some(newer) = models::passed_over(cx.project, &spec.model, &model.dir) {
        let text = format!("{newer} is damaged or not whole; this is {}", model.dir.file_name().unwrap_or_default().display());
        cx.monitor.report(Report::note(Level::Warning, text));
    }
    let made = generate(&model.decoder, &model.tokenizer, &spec, cx.monitor)?;
    Ok(Done::new(made.ended == "stopped", format!("{} tokens, {:.0} tokens/s", made.ids.len(), made.tokens_per_s)).with(made.result()))
}
