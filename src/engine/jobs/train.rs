//! The `train` job: a new run of a recipe, or going on with one.
//! Deliberately not here: the loop itself (`train::drive`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, one_line, params};
use crate::engine::{catalog, device};
use crate::recipe::Recipe;
use crate::run::directory;
use crate::spec::TrainSpec;
use crate::train::drive::{self, Outcome, Request, TrainError};

pub const JOB: JobKind =
    JobKind { name: "train", help: "Trains a run of a recipe, or goes on with one.", lane: Lane::Main, pausable: true, check, run };

fn check(value: &Value, project: &Path) -> Result<String, String> {
    let spec: TrainSpec = params(value)?;
    for name in spec.name.iter().chain(&spec.resume) {
        directory::check_name(name).map_err(|e| e.to_string())?;
    }
    if let Some(run) = spec.resume {
        directory::RunDir::open(project, &run).map_err(|e| e.to_string())?;
        return Ok(run);
    }
    if let Some(name) = &spec.name {
        // Refused now, and not when its turn comes after hours in line.
        directory::check_free(project, name).map_err(|e| e.to_string())?;
    }
    parse(&spec.recipe)?;
    device::known(spec.device.as_deref()).map_err(|e| e.to_string())?;
    Ok(spec.name.unwrap_or_else(|| "a new run".into()))
}

fn parse(text: &str) -> Result<Recipe, String> {
    let knobs = catalog::objective_knobs(text)?;
    Recipe::parse(text, "recipe", knobs).map_err(|e| e.to_string())
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: TrainSpec = cx.params()?;
    let device = device::choose(spec.device.as_deref())?;
    let outcome = match spec.resume {
        Some(run) => drive::resume(cx.project, &run, device, cx.monitor)?,
        None => {
            let mut recipe = parse(&spec.recipe).map_err(|cause| Fault::new(cause, ""))?;
            recipe.absolute(&spec.base);
            let request = Request { project: cx.project.into(), base: spec.base, recipe, name: spec.name, device };
            drive::train(request, cx.monitor)?
        }
    };
    Ok(Done::new(outcome.stopped, summary(&outcome)).with(result(&outcome)))
}

fn summary(outcome: &Outcome) -> String {
    let loss = outcome.val.map_or(String::new(), |val| format!(", {val}"));
    let how = if outcome.stopped { "stopped and saved at" } else { "done at" };
    format!("{} {how} step {}{loss}", outcome.run, outcome.step)
}

fn result(outcome: &Outcome) -> BTreeMap<String, Value> {
    let mut result = BTreeMap::from([("run".into(), json!(outcome.run)), ("step".into(), json!(outcome.step))]);
    if let Some(val) = outcome.val {
        // Numbers that are not finite have no JSON; such a loss ends a run as a fault.
        result.extend([("val_loss".into(), json!(val.loss)), ("val_whole".into(), json!(val.whole))]);
    }
    result
}

impl From<TrainError> for Fault {
    fn from(error: TrainError) -> Self {
        Self { cause: one_line(&error.to_string()), hint: error.hint().into() }
    }
}
