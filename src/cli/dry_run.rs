//! `train --dry-run`: a recipe checked, and what it would need, with nothing started.
//! Deliberately not here: the arithmetic (`engine::estimate`).

use std::path::Path;

use serde_json::json;

use super::{Failure, out};
use crate::data::source::{self, Source};
use crate::engine::{Estimator, device};
use crate::recipe::Recipe;

/// What `train` would refuse is refused here too, by the same words where they are known before a start.
pub fn run(project: &Path, recipe: &Recipe, base: &Path, name: &str, device: Option<&str>, json: bool) -> Result<(), Failure> {
    if project.join("runs").join(name).exists() {
        return Err(Failure::Failed(format!(
            "--name {name}: a run named {name} exists; resume it (--resume {name}) or choose another --name"
        )));
    }
    device::known(device).map_err(Failure::failed)?;
    crate::train::check_recipe(recipe).map_err(Failure::failed)?;
    let (train, val) = source::of_recipe(&recipe.data, base).map_err(Failure::failed)?;
    val.iter().try_for_each(|source| source.open().map(drop)).map_err(Failure::failed)?;
    let estimate = Estimator::default().estimate(&recipe.to_toml(), base).map_err(Failure::Failed)?;
    let warning = estimate.warning();
    if json {
        let names = |s: &[Source]| s.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
        out::json(&json!({
            "name": name, "recipe": recipe, "train": names(&train), "val": names(&val), "estimate": estimate, "warning": warning,
        }))?;
        return Ok(());
    }
    out::line(recipe.to_toml())?;
    let tokens = estimate.train_tokens.map(|n| format!(", about {} tokens", out::grouped(n))).unwrap_or_default();
    out::line(format!("# run {name}: trains on {}{tokens}; validates on {}", sources(&train), validation(recipe, &val)))?;
    out::line(format!("# {estimate}"))?;
    if let Some(warning) = warning {
        out::aside(&format!("warning: {warning}"));
    }
    Ok(())
}

fn sources(list: &[Source]) -> String {
    match list {
        [one] => crate::text::visible(&one.name, false).into_owned(),
        many => format!("{} sources", out::grouped(many.len() as u64)),
    }
}

fn validation(recipe: &Recipe, val: &[Source]) -> String {
    let share = recipe.data.val_fraction * 100.0;
    match val {
        [] if share > 0.0 => {
            format!("the last {} % of {}", (share * 100.0).round() / 100.0, if recipe.data.train.len() == 1 { "it" } else { "each" })
        }
        [] => "nothing".into(),
        some => sources(some),
    }
}
