//! What this program knows, as plain data for screens and the command line: objectives, formats, jobs and knobs.
//! Deliberately not here: what any of them does.

use crate::recipe::{KNOBS, Knob};

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
    pub knobs: Vec<Knob>,
}

/// The objectives with the keys that each adds to its recipe section.
const OBJECTIVES: &[(Entry, &[Knob])] = &[(Entry { name: "pretrain", help: "Predict the next token of plain text." }, &[])];

pub fn catalog() -> Catalog {
    Catalog {
        jobs: super::jobs::JOBS.iter().map(|j| Entry { name: j.name, help: j.help }).collect(),
        objectives: OBJECTIVES.iter().map(|(entry, _)| entry.clone()).collect(),
        knobs: KNOBS.iter().chain(OBJECTIVES.iter().flat_map(|(_, knobs)| knobs.iter())).cloned().collect(),
    }
}

/// The keys of the objective that a recipe's text names; an unknown one is an error that lists the valid ones. A
/// text that is not TOML has the default's: the parser says what is wrong with it.
pub fn objective_knobs(recipe: &str) -> Result<&'static [Knob], String> {
    let table: toml::Table = recipe.parse().unwrap_or_default();
    let kind = table.get("objective").and_then(|o| o.get("kind")).and_then(|k| k.as_str()).unwrap_or("pretrain");
    OBJECTIVES.iter().find(|(entry, _)| entry.name == kind).map(|(_, knobs)| *knobs).ok_or_else(|| {
        let names: Vec<&str> = OBJECTIVES.iter().map(|(entry, _)| entry.name).collect();
        format!("objective.kind: \"{}\" is not known; it must be one of {}", crate::text::visible(kind, false), names.join(", "))
    })
}
