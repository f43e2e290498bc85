//! The `serve` job: a model behind the OpenAI protocol, until it is stopped.
//! Deliberately not here: the protocol (`engine::serve`).

use std::path::Path;

use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::engine::{device, serve};
use crate::spec::ServeSpec;

pub const JOB: JobKind =
    JobKind { name: "serve", help: "Serves a model over the OpenAI protocol.", lane: Lane::Main, pausable: false, check, run };

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: ServeSpec = params(value)?;
    if spec.model.is_empty() {
        return Err("no model is named; name a run, a directory or a pulled repository".into());
    }
    serve::problem(&spec).map_or(Ok(()), Err)?;
    device::known(spec.device.as_deref()).map_err(|e| e.to_string())?;
    Ok(format!("serve {}", crate::text::visible(&spec.model, false)))
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: ServeSpec = cx.params()?;
    let model = cx.models.generator(cx.project, &spec.model, &device::choose(spec.device.as_deref())?)?;
    let served = serve::serve(&spec, model.as_ref(), cx.monitor)?;
    let summary = format!("{} texts and {} tokens served", served.requests, served.tokens);
    let result = [("requests", json!(served.requests)), ("tokens", json!(served.tokens))].map(|(k, v)| (k.to_string(), v));
    Ok(Done::new(true, summary).with(result.into()))
}
