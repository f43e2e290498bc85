//! What this program knows, as plain data for screens and the command line: objectives, formats, jobs and knobs.
//! Deliberately not here: what any of them does.

use crate::recipe::{KNOBS, Knob};
use crate::train::objective::{self, OBJECTIVES};

/// A name with its explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: &'static str,
    pub help: &'static str,
}

/// Everything that can be named in a recipe or a command.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub jobs: Vec<Entry>,
    pub objectives: Vec<Entry>,
    /// File formats with the endings that they are known by.
    pub formats: Vec<(&'static str, &'static [&'static str])>,
    pub knobs: Vec<Knob>,
}

pub fn catalog() -> Catalog {
    Catalog {
        jobs: super::jobs::JOBS.iter().map(|j| Entry { name: j.name, help: j.help }).collect(),
        objectives: OBJECTIVES.iter().map(|o| Entry { name: o.name, help: o.help }).collect(),
        formats: crate::data::formats::FORMATS.iter().map(|f| (f.name, f.extensions)).collect(),
        knobs: KNOBS.iter().chain(OBJECTIVES.iter().flat_map(|o| o.knobs)).cloned().collect(),
    }
}

/// The keys of the objective that a recipe's text names; an unknown one is an error that lists the valid ones. A
/// text that is not TOML has the default's: the parser says what is wrong with it.
pub fn objective_knobs(recipe: &str) -> Result<&'static [Knob], String> {
    let table: toml::Table = recipe.parse().unwrap_or_default();
    let kind = table.get("objective").and_then(|o| o.get("kind")).and_then(|k| k.as_str()).unwrap_or("pretrain");
    objective::find(kind).map(|o| o.knobs).map_err(|e| e.to_string())
}
