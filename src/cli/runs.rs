//! `runs`, and the part of `show` that is about a run: what the project's runs are and how they stand.
//! Deliberately not here: reading their files (`run`), and their models (`show`).

use std::path::Path;

use serde_json::{Value, json};

use super::{Failure, out};
use crate::report::Report;
use crate::run::directory::{self, RunDir, RunState, Summary};
use crate::run::read::{self, Validation};
use crate::text::visible;

pub fn list(project: &Path, json: bool) -> Result<(), Failure> {
    let runs = directory::list(project);
    if json {
        return Ok(out::json(&runs)?);
    }
    if runs.is_empty() {
        out::line(format!("no runs in {}; weightroom train sample makes one", out::shown(project)))?;
        return Ok(());
    }
    let width = runs.iter().map(|r| r.name.chars().count()).max().unwrap_or(0).max(4);
    out::line(format!("{:<width$}  {:<11}  {:>15}  {:>9}  val", "name", "state", "step", "train"))?;
    for run in runs {
        let steps = run.steps.map_or("?".into(), |s| s.to_string());
        let step = format!("{}/{steps}", run.step);
        let figure = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.4}"));
        let (name, state) = (visible(&run.name, false), state_name(run.state));
        let val = run.val.map_or("-".into(), val_words);
        out::line(format!("{name:<width$}  {state:<11}  {step:>15}  {:>9}  {val}", figure(run.train_loss)))?;
    }
    Ok(())
}

/// The loss with what it is of: the two differ, and only one of them can be compared between runs.
fn val_words(val: Validation) -> String {
    val.to_string().replacen("val ", "", 1)
}

fn state_name(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Finished => "finished",
        RunState::Stopped => "stopped",
        RunState::Failed => "failed",
        RunState::Interrupted => "interrupted",
    }
}

/// Notes and samples that are shown.
const WORDS: usize = 20;

/// A run as JSON, or printed.
pub fn show(run: &RunDir, json: bool) -> Result<Option<Value>, Failure> {
    let summary = directory::summary(run);
    let recipe = run.recipe().map_err(Failure::failed)?;
    let words = read::words(&run.path, WORDS).map_err(Failure::failed)?;
    if json {
        return Ok(Some(json!({"summary": summary, "recipe": recipe, "words": words})));
    }
    head(&summary)?;
    for event in words {
        match event.report {
            Report::Sample { step, prompt, text } => {
                out::line(format!("step {step} wrote: {}{}", visible(&prompt, true), visible(&text, true).replace('\n', "\n  ")))?;
            }
            Report::Note { text, .. } => out::line(format!("note: {}", visible(&text, false)))?,
            _ => {}
        }
    }
    out::line(format!("\n{}", visible(&recipe, true)))?;
    Ok(None)
}

fn head(run: &Summary) -> Result<(), Failure> {
    let steps = run.steps.map_or("?".into(), |s| s.to_string());
    out::line(format!("{}: {}, step {} of {steps}", visible(&run.name, false), state_name(run.state), run.step))?;
    if let Some(cause) = &run.cause {
        out::line(format!("cause        {}", visible(cause, false)))?;
    }
    if let Some(loss) = run.train_loss {
        out::line(format!("train loss   {loss:.4}"))?;
    }
    if let Some(val) = run.val {
        out::line(format!("val loss     {}", val_words(val)))?;
    }
    if let Some((step, loss)) = run.best {
        out::line(format!("best         {loss:.4} at step {step}"))?;
    }
    for (step, path) in &run.checkpoints {
        out::line(format!("checkpoint   {step}: {}", out::shown(path)))?;
    }
    Ok(())
}
