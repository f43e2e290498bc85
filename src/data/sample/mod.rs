//! The built-in sample: a small world that this program writes from a grammar, and the recipes that train on it.
//! Deliberately not here: models and training; `score` meets a model as a trait alone.
//!
//! | file | what |
//! |---|---|
//! | `home.grammar`, `sea.grammar`, `talk.grammar` | the world: two domains of stories; dialogues, questions, prompts |
//! | `grammar`, `derive`, `recognise` | their notation, and text from it and back |
//! | `files` | what each file of `sample-data/` is made of |
//! | `check`, `judge`, `score` | whether text parses, whether a response does what was asked, how good a model is |

pub mod check;
pub mod derive;
pub mod files;
pub mod grammar;
pub mod judge;
pub mod recognise;
pub mod score;

pub use check::{Report, check};
pub use judge::{Judgement, judge};

use grammar::{Grammar, GrammarError};
use std::path::Path;

/// The seed of the world in `sample-data/`.
pub const SEED: u64 = 1964;

/// A name as in `sample:NAME`, the file it is in, its text, and one line about it.
struct Built {
    name: &'static str,
    file: &'static str,
    text: &'static str,
    about: &'static str,
}

macro_rules! built {
    ($name:literal, $file:literal, $about:literal) => {
        Built { name: $name, file: $file, text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/", $file)), about: $about }
    };
}

const BUILT: &[Built] = &[
    built!("stories", "stories.jsonl", "stories of a small town: people, animals, a castle, a big city by the sea"),
    built!("sea", "sea.jsonl", "stories of a second domain: harbours, ships, storms and trade"),
    built!("dialogues", "dialogues.jsonl", "conversations, as messages and rendered by the chat template beside them"),
    built!("questions-train", "questions-train.jsonl", "questions about the world with their answers"),
    built!("questions-test", "questions-test.jsonl", "questions that are not in the training file"),
    built!("prompts-train", "prompts-train.jsonl", "prompts that ask for a colour, with a response that does it and one that does not"),
    built!("prompts-test", "prompts-test.jsonl", "prompts that are not in the training file"),
];

const RECIPES: &[(&str, &str)] = &[
    ("sample", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/recipes/sample.toml"))),
    ("shakespeare-char", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/recipes/shakespeare-char.toml"))),
    ("sample-tiny", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/recipes/sample-tiny.toml"))),
    ("sample-bytes", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/recipes/sample-bytes.toml"))),
    ("sample-qwen3", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/recipes/sample-qwen3.toml"))),
    ("sample-two-domains", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/recipes/sample-two-domains.toml"))),
];

/// The chat template that `dialogues` are rendered by (ChatML), as Jinja.
pub const CHAT_TEMPLATE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample-data/chat-template.jinja"));

/// The names of the built-in texts, as in `sample:NAME`.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT.iter().map(|built| built.name)
}

/// A built-in text: JSON lines. `None` for a name that there is not.
pub fn text(name: &str) -> Option<&'static str> {
    find(name).map(|built| built.text)
}

/// Its file's name, `stories.jsonl`; the ending says the format.
pub fn file(name: &str) -> Option<&'static str> {
    find(name).map(|built| built.file)
}

/// One line about what it holds.
pub fn about(name: &str) -> Option<&'static str> {
    find(name).map(|built| built.about)
}

/// The names of the built-in recipes; the first is the one that the workbench offers.
pub fn recipes() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|(name, _)| *name)
}

/// A built-in recipe's TOML, by name (`sample`).
pub fn recipe(name: &str) -> Option<&'static str> {
    RECIPES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

fn find(name: &str) -> Option<&'static Built> {
    BUILT.iter().find(|built| built.name == name)
}

/// Writes the sample into `directory`: its files, made from the grammar anew, the chat template, and in `recipes/` the
/// recipes, which there train on the files beside them; the files' names. What a person has changed is not written over.
pub fn write(directory: &Path) -> Result<Vec<String>, SampleError> {
    let mut made = files::make(&World::new()?, SEED)?;
    made.push(("chat-template.jinja".into(), CHAT_TEMPLATE.into()));
    made.extend(RECIPES.iter().filter_map(|(name, text)| Some((format!("recipes/{name}.toml"), on_files(text)?))));
    let failed = |path: &Path, error: std::io::Error| SampleError::Write { path: path.to_path_buf(), what: error.to_string() };
    for (name, text) in &made {
        let path = directory.join(name);
        match std::fs::read(&path) {
            Ok(there) if there != text.as_bytes() => return Err(SampleError::Changed(path)),
            _ => {}
        }
    }
    let recipes = directory.join("recipes");
    std::fs::create_dir_all(&recipes).map_err(|error| failed(&recipes, error))?;
    for (name, text) in &made {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(made.into_iter().map(|(name, _)| name).collect())
}

/// A recipe that trains on the built-in texts, as one that trains on their files in the directory above it; none where
/// it trains on other text.
fn on_files(recipe: &str) -> Option<String> {
    let changed = BUILT
        .iter()
        .fold(recipe.to_string(), |text, built| text.replace(&format!("\"sample:{}\"", built.name), &format!("\"../{}\"", built.file)));
    (changed != recipe).then(|| format!("# Written by `weightroom sample write`: trains on the files in the directory above.\n{changed}"))
}

/// What can go wrong with the sample; the grammars are built in, so only a change to them can break them.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("{0}")]
    Grammar(#[from] GrammarError),
    #[error("grammar {grammar}, rule {rule}: {what}")]
    Derive { grammar: String, rule: String, what: String },
    #[error("{0}: is there already and is not as it would be written; remove it, or name another directory")]
    Changed(std::path::PathBuf),
    #[error("{path}: {what}; choose a directory that can be written")]
    Write { path: std::path::PathBuf, what: String },
}

/// The three grammars.
pub struct World {
    pub home: Grammar,
    pub sea: Grammar,
    pub talk: Grammar,
}

impl World {
    pub fn new() -> Result<Self, GrammarError> {
        Ok(Self {
            home: Grammar::parse("home.grammar", include_str!("home.grammar"))?,
            sea: Grammar::parse("sea.grammar", include_str!("sea.grammar"))?,
            talk: Grammar::parse("talk.grammar", include_str!("talk.grammar"))?,
        })
    }
}
