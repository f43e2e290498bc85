//! `train --dry-run`: a recipe checked, and what it would need, with nothing started.
//! Deliberately not here: the arithmetic (`engine::estimate`).

use std::path::Path;

use serde_json::json;

use super::{Failure, out};
use crate::data::source;
use crate::engine::Estimator;
use crate::recipe::Recipe;

pub fn run(recipe: &Recipe, base: &Path, json: bool) -> Result<(), Failure> {
    let (train, val) = source::of_recipe(&recipe.data, base).map_err(Failure::failed)?;
    let estimate = Estimator::default().estimate(&recipe.to_toml(), base).map_err(Failure::Failed)?;
    if json {
        let names = |s: &[source::Source]| s.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
        out::json(&json!({"recipe": recipe, "train": names(&train), "val": names(&val), "estimate": estimate}))?;
        return Ok(());
    }
    out::line(recipe.to_toml())?;
    out::line(format!("# {} sources to train on, {} to validate on\n# {estimate}", train.len(), val.len()))?;
    Ok(())
}
