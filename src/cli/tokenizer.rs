//! `tokenizer train|encode|decode|inspect`. Deliberately not here: any tokenizer (`data::tokenizer`).

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Tokenizer as What;
use super::follow::follow;
use super::generate::standard_input;
use super::{Failure, Place, out};
use crate::data::tokenizer::Tokenizer;
use crate::data::{self, source};
use crate::engine::jobs::tokenizer_problem;
use crate::report::{Event, Report, Silent};
use crate::run::directory;
use crate::spec::{JobSpec, TokenizerSpec};
use crate::text::visible;

pub fn run(place: &Place, what: &What) -> Result<(), Failure> {
    match what {
        What::Train { files, kind, vocab, out, json } => train(place, files, kind, *vocab, out, *json),
        What::Encode { tokenizer, text, no_special, json } => encode(&place.project, tokenizer, text, !no_special, *json),
        What::Decode { tokenizer, ids, json } => decode(&place.project, tokenizer, ids, *json),
        What::Inspect { tokenizer, file, json } => inspect(&place.project, tokenizer, file, *json),
    }
}

/// Tokens of a bpe where nothing is said.
const USUAL_VOCAB: usize = 4096;

fn train(place: &Place, files: &[PathBuf], kind: &str, vocab: Option<usize>, out: &Path, json: bool) -> Result<(), Failure> {
    let cwd = std::env::current_dir().map_err(|e| Failure::Failed(format!("the current directory: {e}; change to another")))?;
    // `sample:NAME` is a text of the program, not a file of the current directory.
    let file = |f: &PathBuf| if f.starts_with("sample:") || f.to_string_lossy().starts_with("sample:") { f.clone() } else { cwd.join(f) };
    if vocab.is_some() && matches!(kind, "char" | "byte") {
        return Err(Failure::Usage(format!("--vocab is of a bpe; how many tokens a {kind} tokenizer has is the text's; leave it out")));
    }
    if out.file_name().is_none() || out.is_dir() {
        return Err(Failure::Usage(format!("-o {}: is no file's name; name the tokenizer.json to write", out::shown(out))));
    }
    let vocab = vocab.unwrap_or(USUAL_VOCAB);
    let spec = TokenizerSpec { files: files.iter().map(file).collect(), kind: kind.into(), vocab, out: cwd.join(out) };
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
fn load(project: &Path, name: &str) -> Result<Tokenizer, Failure> {
    let given = Path::new(name);
    let path = if given.is_dir() {
        given.join("tokenizer.json")
    } else if given.exists() {
        given.into()
    } else if let Ok(run) = directory::RunDir::open(project, name) {
        run.path.join("tokenizer.json")
    } else {
        return Err(Failure::Failed(format!(
            "{}: no such file, directory or run; name a tokenizer.json, a directory that holds one, or a run",
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

/// How many tokens a list shows.
const LISTED: usize = 10;

fn inspect(project: &Path, name: &str, file: &Path, json: bool) -> Result<(), Failure> {
    let tokenizer = load(project, name)?;
    let entry = file.to_string_lossy().into_owned();
    let sources = source::expand(&[entry], "text", Path::new("")).map_err(Failure::failed)?;
    let found = data::inspect::inspect(&tokenizer, &sources, &Silent).map_err(Failure::failed)?;
    let common = &found.frequent[..found.frequent.len().min(LISTED)];
    let longest = &found.longest[..found.longest.len().min(LISTED)];
    let word = |id: u32| String::from_utf8_lossy(&tokenizer.token_bytes(id)).into_owned();
    let per_token = found.bytes_per_token();
    if json {
        let common: Vec<_> = common.iter().map(|(id, n)| json!({"id": id, "text": word(*id), "count": n})).collect();
        let longest: Vec<_> = longest.iter().map(|(id, _)| json!({"id": id, "text": word(*id)})).collect();
        out::json(&json!({
            "vocab": found.vocab, "bytes": found.bytes, "tokens": found.tokens, "bytes_per_token": per_token, "used": found.used,
            "never_used": found.unused, "round_trip": found.round_trip, "common": common, "longest": longest,
        }))?;
        return Ok(());
    }
    let show = |id: u32| format!("\"{}\"", visible(&word(id), false));
    out::line(format!("vocabulary     {} tokens, {} of them used here", out::grouped(found.vocab), out::grouped(found.used)))?;
    out::line(format!("text           {} bytes, {} tokens", out::grouped(found.bytes), out::grouped(found.tokens)))?;
    out::line(format!("bytes a token  {per_token:.3}"))?;
    out::line(format!(
        "round trip     {}",
        if found.round_trip { "the text comes back as it was" } else { "the text does not come back as it was" }
    ))?;
    out::line(format!(
        "most common    {}",
        common.iter().map(|(id, n)| format!("{} {}", show(*id), out::grouped(*n))).collect::<Vec<_>>().join("  ")
    ))?;
    out::line(format!("longest        {}", longest.iter().map(|(id, _)| show(*id)).collect::<Vec<_>>().join("  ")))?;
    Ok(())
}
