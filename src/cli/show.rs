//! `show`: a run with its model, or any other model: parameters by part, tensors, config, tokenizer, template, where it comes
//! from, what it needs. Deliberately not here: looking at the files (`engine::show`).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::args::Show;
use super::follow::follow;
use super::generate::model_name;
use super::{Failure, Place, out, runs};
use crate::engine::jobs::{Fault, WEIGHED};
use crate::engine::show::{self, Shown};
use crate::model::anatomy::{Figures, Tensor};
use crate::report::{Level, Report};
use crate::repos::Repo;
use crate::run::directory::RunDir;
use crate::spec::{JobSpec, WeighSpec};
use crate::text::visible;

/// Lines of a template and of a config that are shown unasked.
const LINES: usize = 12;

pub fn run(place: &Place, args: &Show) -> Result<(), Failure> {
    let project = &place.project;
    let run = match super::run_name("show", &args.model).map(|name| RunDir::open(project, name)) {
        Ok(Ok(run)) => Some(run),
        // What is no run's name may still be a model's.
        other if is_model(project, &args.model)? => {
            drop(other);
            None
        }
        Ok(Err(unknown)) => return Err(Failure::failed(unknown)),
        Err(usage) => return Err(usage),
    };
    let mut value = match &run {
        Some(run) => runs::show(run, args.json)?,
        None => None,
    };
    // A run that has no checkpoint yet has no model to show, and that is no fault of the asking.
    let name = match &run {
        Some(run) if run.checkpoints().is_empty() => None,
        Some(run) => Some(run.name.clone()),
        None => Some(model_name(project, &args.model)?),
    };
    let Some(name) = name else { return Ok(value.map_or(Ok(()), |value| out::json(&value))?) };
    let shown = show::show(project, &name).map_err(sentence)?;
    let figures = if args.norms { weigh(place, &name)? } else { BTreeMap::new() };
    if args.json {
        let mut model = json!(shown);
        if args.norms {
            model["figures"] = json!(figures);
        }
        match &mut value {
            Some(value) => value["model"] = model,
            None => value = Some(model),
        }
        return Ok(value.map_or(Ok(()), |value| out::json(&value))?);
    }
    if run.is_some() {
        out::line("")?;
    }
    tell(&shown, args)?;
    if args.tensors || args.norms {
        out::line("")?;
        shown.anatomy.tensors.iter().try_for_each(|tensor| tell_tensor(tensor, figures.get(&tensor.name).copied().flatten()))?;
    }
    Ok(())
}

/// Whether a name that is no run's is to be looked at as a model's.
fn is_model(project: &Path, name: &str) -> Result<bool, Failure> {
    let full = model_name(project, name)?;
    Ok(project.join(&full).exists() || name.contains(['/', '@']) && Repo::parse(name).is_ok() || name.starts_with("openai:"))
}

fn sentence(fault: Fault) -> Failure {
    let hint = if fault.hint.is_empty() { String::new() } else { format!("; {}", fault.hint) };
    Failure::Failed(format!("{}{hint}", fault.cause))
}

/// The figures of every tensor, taken by the engine.
fn weigh(place: &Place, name: &str) -> Result<BTreeMap<String, Option<Figures>>, Failure> {
    let handle = place.engine()?;
    let mut figures = BTreeMap::new();
    let end = follow(&handle, JobSpec::new("weigh", &WeighSpec { model: name.into() }), |event| {
        match &event.report {
            Report::Facts(facts) => {
                let of = |(key, value): (&String, &Value)| {
                    Some((key.strip_prefix(WEIGHED)?.to_string(), serde_json::from_value(value.clone()).ok()?))
                };
                figures.extend(facts.iter().filter_map(of));
            }
            Report::Note { level, text } if *level > Level::Info => out::aside(&format!("warning: {text}")),
            _ => {}
        }
        Ok(())
    })?;
    if end.interrupted { Err(Failure::Interrupted) } else { Ok(figures) }
}

fn line(name: &str, what: &str) -> io::Result<()> {
    out::line(format!("{name:<15}{}", visible(what, false)))
}

fn tell(shown: &Shown, args: &Show) -> io::Result<()> {
    line("model", &shown.path.to_string_lossy())?;
    shown.shape.iter().try_for_each(|(name, value)| line(name, value))?;
    let all = shown.anatomy.parameters().max(1);
    for (part, parameters, bytes) in &shown.anatomy.parts {
        let share = *parameters as f64 * 100.0 / all as f64;
        out::line(format!("  {part:<13}{:>16}  {share:>5.1} %  {:>9.1} MB", out::grouped(*parameters), *bytes as f64 / 1e6))?;
    }
    shown.memory.iter().try_for_each(|(name, value)| line(name, value))?;
    shown.lineage.iter().enumerate().try_for_each(|(n, value)| line(if n == 0 { "comes from" } else { "" }, value))?;
    shown
        .tokenizer
        .iter()
        .enumerate()
        .try_for_each(|(n, (name, value))| line(if n == 0 { "tokenizer" } else { "" }, &format!("{name}: {value}")))?;
    match &shown.template {
        None => line("template", "none of its own"),
        Some(text) => {
            let lines: Vec<&str> = text.lines().collect();
            line("template", &format!("{} lines, {} characters", lines.len(), text.chars().count()))?;
            let most = if args.template { lines.len() } else { LINES.min(lines.len()) };
            lines[..most].iter().try_for_each(|text| out::line(format!("  {}", visible(text, false))))?;
            if most < lines.len() { out::line(format!("  … --template shows all {}", lines.len())) } else { Ok(()) }
        }
    }
}

fn tell_tensor(tensor: &Tensor, figures: Option<Figures>) -> io::Result<()> {
    let shape = tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    let mut text = format!("{:<52} {shape:>16} {:>5}", visible(&tensor.name, false), visible(&tensor.kind, false));
    if let Some(f) = figures {
        text.push_str(&format!("  norm {:>11.4}  mean {:>+9.2e}  most {:>9.3e}", f.norm, f.mean, f.most));
        if f.nan + f.infinite > 0 {
            text.push_str(&format!("  ! {} nan, {} infinite", out::grouped(f.nan), out::grouped(f.infinite)));
        }
    }
    out::line(text)
}
