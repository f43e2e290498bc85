//! The `inspect` job: the facts about data files.
//! Deliberately not here: what the facts are and how they are taken (`data::facts`).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::data::facts::{self, Evaluation, Options};
use crate::data::shape::Mapping;
use crate::data::source::{self, Source};
use crate::data::tokenizer::Tokenizer;
use crate::report::Report;
use crate::run::directory::RunDir;
use crate::spec::InspectSpec;

pub const JOB: JobKind = JobKind {
    name: "inspect",
    help: "Takes the facts about data files: rows, lengths, duplicates, what is broken, what an evaluation shares with them.",
    lane: Lane::Light,
    pausable: false,
    check,
    run,
};

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: InspectSpec = params(value)?;
    problem(&spec).map_or(Ok(()), Err)?;
    Ok(title(&spec))
}

pub(super) fn title(spec: &InspectSpec) -> String {
    let first = spec.files.first().map(|f| crate::text::visible(f.rsplit('/').next().unwrap_or(f), false).into_owned()).unwrap_or_default();
    if spec.files.len() > 1 { format!("{first} and {} more", spec.files.len() - 1) } else { first }
}

/// What is wrong with what is asked, whatever the files hold.
pub fn problem(spec: &InspectSpec) -> Option<String> {
    if spec.files.is_empty() {
        return Some("no files; name one or more".into());
    }
    if spec.context == Some(0) || spec.context.is_some() && spec.tokenizer.is_none() {
        return Some("a context is counted in tokens: name a tokenizer with --tokenizer, and a context of 1 or more".into());
    }
    spec.shape.as_ref().and_then(|text| Mapping::parse(text).err())
}

/// What a spec's names stand for.
pub(super) struct Given {
    pub sources: Vec<Source>,
    pub tokenizer: Option<(Tokenizer, String)>,
    pub evaluation: Option<Evaluation>,
    pub mapping: Option<Mapping>,
    pub scratch: PathBuf,
}

impl Given {
    pub fn of(spec: &InspectSpec, cx: &Cx) -> Result<Self, Fault> {
        let sources = source::expand(&spec.files, "text", cx.project)?;
        let mapping = spec.shape.as_ref().map(|text| Mapping::parse(text)).transpose().map_err(|why| Fault::new(why, ""))?;
        let tokenizer = spec.tokenizer.as_ref().map(|name| tokenizer(cx.project, name)).transpose()?;
        // Unpacked rows lie in the project's own corner where there is one, and never make it.
        let scratch = cx.project.join(".weightroom");
        let evaluation = match spec.against.as_slice() {
            [] => None,
            files => Some(Evaluation::read(&source::expand(files, "text", cx.project)?, &scratch, cx.monitor)?),
        };
        Ok(Self { sources, tokenizer, evaluation, mapping, scratch })
    }

    pub fn tokenizer(&self) -> Option<(&Tokenizer, String)> {
        self.tokenizer.as_ref().map(|(t, name)| (t, name.clone()))
    }
}

/// A tokenizer by its file, by a directory that holds one, or by a run.
fn tokenizer(project: &Path, name: &str) -> Result<(Tokenizer, String), Fault> {
    let path = project.join(name);
    let path = match RunDir::open(project, name) {
        Ok(run) if !path.exists() => run.path.join("tokenizer.json"),
        _ => path,
    };
    Ok((Tokenizer::load(&path)?, name.to_owned()))
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: InspectSpec = cx.params()?;
    let given = match Given::of(&spec, cx) {
        Err(_) if cx.monitor.stopped() => return Ok(Done::new(true, "stopped before anything was read")),
        given => given?,
    };
    let options = Options {
        mapping: given.mapping.clone(),
        tokenizer: given.tokenizer(),
        context: spec.context,
        evaluation: given.evaluation.as_ref(),
    };
    let mut facts = facts::measure(&given.sources, &options, &given.scratch, cx.monitor)?;
    // A screen shows a handful; all of them would be megabytes.
    facts.duplicates.pairs.truncate(PAIRS);
    let summary = facts.to_string();
    let stopped = facts.stopped;
    if let Value::Object(all) = json!(facts) {
        cx.monitor.report(Report::Facts(all.into_iter().collect()));
    }
    Ok(Done::new(stopped, summary))
}

const PAIRS: usize = 100;
