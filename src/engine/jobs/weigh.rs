//! The `weigh` job: figures of the numbers in each tensor of a model: norm, mean, largest, what is no number.
//! Deliberately not here: reading the files (`model::anatomy`).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::engine::show;
use crate::model::anatomy;
use crate::report::{Level, Report};
use crate::spec::WeighSpec;

pub const JOB: JobKind = JobKind {
    name: "weigh",
    help: "Takes figures of the numbers in each tensor of a model: norm, mean, largest, what is no number.",
    lane: Lane::Light,
    pausable: false,
    check,
    run,
};

/// What a fact about a tensor is called: this and the tensor's name.
pub const TENSOR: &str = "tensor/";
const TOLD_EVERY: Duration = Duration::from_millis(200);

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: WeighSpec = params(value)?;
    if spec.model.is_empty() {
        return Err("no model is named; name a run, a directory, a GGUF file or a pulled repository".into());
    }
    Ok(format!("weigh {}", crate::text::visible(&spec.model, false)))
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: WeighSpec = cx.params()?;
    let found = anatomy::read(&show::place(cx.project, &spec.model)?)?;
    let total = found.bytes();
    let (mut done, mut told) = (0u64, Instant::now());
    let progress =
        |done: u64| cx.monitor.report(Report::Progress { what: "weights".into(), done, total: Some(total), unit: "bytes".into() });
    progress(0);
    let fresh = std::cell::RefCell::new(BTreeMap::new());
    let (mut broken, mut unread, mut squares, mut zeros) = (Vec::new(), 0usize, 0.0f64, 0u64);
    let mut each = |tensor: &anatomy::Tensor, figures: Option<anatomy::Figures>| {
        match figures {
            Some(f) => {
                (squares, zeros) = (squares + f.norm * f.norm, zeros + f.zero);
                if f.nan + f.infinite > 0 {
                    broken.push(format!("{} ({} of {})", tensor.name, f.nan + f.infinite, tensor.elements));
                }
            }
            None => unread += 1,
        }
        fresh.borrow_mut().insert(format!("{TENSOR}{}", tensor.name), json!(figures));
    };
    let mut go_on = |bytes: u64| {
        done += bytes;
        if told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            progress(done);
            let facts = std::mem::take(&mut *fresh.borrow_mut());
            if !facts.is_empty() {
                cx.monitor.report(Report::Facts(facts));
            }
        }
        !cx.monitor.stopped()
    };
    let whole = anatomy::measure(&found, &mut each, &mut go_on)?;
    let mut facts = fresh.into_inner();
    facts.insert("norm".into(), json!(squares.sqrt()));
    facts.insert("broken".into(), json!(broken.len()));
    cx.monitor.report(Report::Facts(facts));
    progress(done);
    if !broken.is_empty() {
        let named = broken.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if broken.len() > 5 { format!(" and {} more", broken.len() - 5) } else { String::new() };
        let text = crate::text::visible(&format!("numbers that are not finite stand in {named}{more}"), false).into_owned();
        cx.monitor.report(Report::note(Level::Warning, text));
    }
    let result = [
        ("tensors", json!(found.tensors.len())),
        ("norm", json!(squares.sqrt())),
        ("zero", json!(zeros)),
        ("not_finite", json!(broken)),
        ("unread", json!(unread)),
    ];
    let state = match broken.len() {
        _ if !whole => "stopped before the end".into(),
        0 => "every number is finite".to_string(),
        n => format!("{n} tensors hold numbers that are not finite"),
    };
    let summary = format!("{} tensors, norm {:.4}: {state}", found.tensors.len(), squares.sqrt());
    Ok(Done::new(!whole, summary).with(result.map(|(k, v)| (k.to_string(), v)).into()))
}
