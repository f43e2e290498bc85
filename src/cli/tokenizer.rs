//! `tokenizer train|encode|decode`. Deliberately not here: any tokenizer (`data::tokenizer`), and `inspect`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Tokenizer as What;
use super::follow::follow;
use super::generate::standard_input;
use super::inspect::{self, Question};
use super::{Failure, Place, out};
use crate::data::tokenizer::{self, BUILTIN, Tokenizer};
use crate::engine::jobs::tokenizer_problem;
use crate::report::{Event, Report};
use crate::run::directory;
use crate::spec::{JobSpec, TokenizerSpec};
use crate::text::visible;

pub fn run(place: &Place, what: &What) -> Result<(), Failure> {
    match what {
        What::Train { .. } => train(place, what),
        What::Encode { tokenizer, text, no_special, json } => encode(&place.project, tokenizer, text, !no_special, *json),
        What::Decode { tokenizer, ids, json } => decode(&place.project, tokenizer, ids, *json),
        What::Inspect { tokenizer, files, data, text, with, json } => {
            let files: Vec<String> = files.iter().chain(data).cloned().collect();
            inspect::run(&place.project, &Question { tokenizer, with: with.as_deref(), files, text: text.as_deref(), json: *json })
        }
    }
}

/// Tokens of a bpe where nothing is said.
const USUAL_VOCAB: usize = 4096;

fn train(place: &Place, what: &What) -> Result<(), Failure> {
    let What::Train { files, kind, vocab, special, pattern, split_digits, blank_runs, byte_fallback, out, json } = what else {
        return Ok(());
    };
    let (vocab, json) = (*vocab, *json);
    let cwd = std::env::current_dir().map_err(|e| Failure::Failed(format!("the current directory: {e}; change to another")))?;
    // `sample:NAME` is a text of the program, not a file of the current directory.
    let file = |f: &PathBuf| if f.starts_with("sample:") || f.to_string_lossy().starts_with("sample:") { f.clone() } else { cwd.join(f) };
    if vocab.is_some() && matches!(kind.as_str(), "char" | "byte") {
        return Err(Failure::Usage(format!("--vocab is of a bpe; how many tokens a {kind} tokenizer has is the text's; leave it out")));
    }
    if out.file_name().is_none() || out.is_dir() {
        return Err(Failure::Usage(format!("-o {}: is no file's name; name the tokenizer.json to write", out::shown(out))));
    }
    let vocab = vocab.unwrap_or(USUAL_VOCAB);
    let spec = TokenizerSpec {
        files: files.iter().map(file).collect(),
        kind: kind.clone(),
        vocab,
        special: special.clone(),
        pattern: pattern.clone(),
        split_digits: *split_digits,
        blank_runs: *blank_runs,
        byte_fallback: *byte_fallback,
        out: cwd.join(out),
    };
    tokenizer_problem(&spec).map_or(Ok(()), |what| Err(Failure::Usage(what)))?;
    let handle = place.engine()?;
    let spec = JobSpec::new("tokenizer", &spec);
    let end = if json {
        follow(&handle, spec, out::json)?
    } else {
        let mut last = 0;
        let end = follow(&handle, spec, |event| progress(event, &mut last))?;
        out::line(format!("{}: {}", out::shown(out), visible(&end.summary, false)))?;
        end
    };
    if end.interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

/// A line for each tenth, on a terminal alone.
fn progress(event: &Event, last: &mut u64) -> io::Result<()> {
    if let Report::Progress { what, done, total: Some(total), unit } = &event.report {
        let tenth = done * 10 / total.max(&1);
        if io::stderr().is_terminal() && tenth != *last {
            *last = tenth;
            out::aside(&format!("{what}: {} of {} {unit}", out::grouped(*done), out::grouped(*total)));
        }
    }
    Ok(())
}

/// A tokenizer by its file, by a directory that holds one, or by a run.
pub(super) fn load(project: &Path, name: &str) -> Result<Tokenizer, Failure> {
    let given = Path::new(name);
    if name.starts_with(BUILTIN) {
        return tokenizer::named(project, name).map_err(Failure::failed);
    }
    let path = if given.exists() {
        given.into()
    } else if let Ok(run) = directory::RunDir::open(project, name) {
        run.path.join("tokenizer.json")
    } else {
        return Err(Failure::Failed(format!(
            "{}: no such file, directory or run; name a tokenizer.json or another tokenizer's file, a directory that holds one, or a run",
            visible(name, false)
        )));
    };
    Tokenizer::load(&path).map_err(Failure::failed)
}

fn encode(project: &Path, name: &str, text: &str, special: bool, json: bool) -> Result<(), Failure> {
    let tokenizer = load(project, name)?;
    let text = if text == "-" { standard_input()? } else { text.into() };
    let ids = tokenizer.encode(&text, special).map_err(Failure::failed)?;
    if json {
        out::json(&json!({ "ids": ids }))?;
    } else {
        out::line(ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))?;
    }
    Ok(())
}

fn decode(project: &Path, name: &str, ids: &[String], json: bool) -> Result<(), Failure> {
    let tokenizer = load(project, name)?;
    let vocab = tokenizer.vocab_size();
    let words = ids.iter().flat_map(|i| i.split([',', ' ', '[', ']', '\n'])).filter(|w| !w.is_empty());
    let ids: Vec<u32> = words
        .map(|word| match word.parse::<u32>() {
            Ok(id) if (id as usize) < vocab => Ok(id),
            Ok(id) => Err(Failure::Usage(format!("id {id} is outside of the vocabulary; ids are 0 to {}", vocab.saturating_sub(1)))),
            Err(_) => Err(Failure::Usage(format!("\"{}\" is no id; give whole numbers", visible(word, false)))),
        })
        .collect::<Result<_, _>>()?;
    let text = tokenizer.decode(&ids, false);
    if json {
        out::json(&json!({ "text": text }))?;
    } else {
        out::foreign(&text)?;
        out::line("")?;
    }
    Ok(())
}
