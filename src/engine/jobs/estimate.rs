//! The `estimate` job: parameters, memory and time that a recipe would need, as facts.
//! Deliberately not here: the arithmetic (`engine::estimate`).

use std::path::Path;

use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::engine::estimate::Estimator;
use crate::report::Report;
use crate::spec::TrainSpec;

pub const JOB: JobKind = JobKind {
    name: "estimate",
    help: "Says what a recipe would need: parameters, memory, time.",
    lane: Lane::Light,
    pausable: false,
    check,
    run,
};

fn check(value: &Value, _: &Path) -> Result<String, String> {
    params::<TrainSpec>(value).map(|_| "estimate".into())
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: TrainSpec = cx.params()?;
    let estimate = Estimator::default().estimate(&spec.recipe, &spec.base).map_err(|cause| Fault::new(cause, ""))?;
    if let Value::Object(facts) = json!(estimate) {
        cx.monitor.report(Report::Facts(facts.into_iter().collect()));
    }
    Ok(Done::new(false, estimate.to_string()))
}
