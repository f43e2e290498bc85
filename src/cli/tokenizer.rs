//! `tokenizer train|encode|decode|inspect`. Deliberately not here: any tokenizer (`data::tokenizer`).

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Tokenizer as What;
use super::follow::follow;
use super::generate::standard_input;
use super::{Failure, Place, out};
use crate::data::tokenizer::Tokenizer;
use crate::report::{Event, Report};
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

fn train(place: &Place, files: &[PathBuf], kind: &str, vocab: usize, out: &Path, json: bool) -> Result<(), Failure> {
    let cwd = std::env::current_dir().map_err(|e| Failure::Failed(format!("the current directory: {e}; change to another")))?;
    // `sample:NAME` is a text of the program, not a file of the current directory.
    let file = |f: &PathBuf| if f.starts_with("sample:") || f.to_string_lossy().starts_with("sample:") { f.clone() } else { cwd.join(f) };
    let spec = TokenizerSpec { files: files.iter().map(file).collect(), kind: kind.into(), vocab, out: cwd.join(out) };
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

/// Of a file, so much is encoded.
const INSPECTED: usize = 32 << 20;

fn inspect(project: &Path, name: &str, file: &Path, json: bool) -> Result<(), Failure> {
    let tokenizer = load(project, name)?;
    let text = text_of(file)?;
    let ids = tokenizer.encode(&text, false).map_err(Failure::failed)?;
    let mut counts: HashMap<u32, u64> = HashMap::new();
    for id in &ids {
        *counts.entry(*id).or_default() += 1;
    }
    let vocab = tokenizer.vocab_size();
    let mut common: Vec<(u32, u64)> = counts.iter().map(|(id, n)| (*id, *n)).collect();
    common.sort_by_key(|(id, n)| (std::cmp::Reverse(*n), *id));
    common.truncate(10);
    let mut longest: Vec<u32> = counts.keys().copied().collect();
    longest.sort_by_key(|id| (std::cmp::Reverse(tokenizer.token_bytes(*id).len()), *id));
    longest.truncate(10);
    let word = |id: u32| String::from_utf8_lossy(&tokenizer.token_bytes(id)).into_owned();
    let back = tokenizer.decode(&ids, false) == text;
    let per_token = text.len() as f64 / ids.len().max(1) as f64;
    if json {
        let common: Vec<_> = common.iter().map(|(id, n)| json!({"id": id, "text": word(*id), "count": n})).collect();
        let longest: Vec<_> = longest.iter().map(|id| json!({"id": id, "text": word(*id)})).collect();
        out::json(&json!({
            "vocab": vocab, "bytes": text.len(), "tokens": ids.len(), "bytes_per_token": per_token, "used": counts.len(),
            "never_used": vocab - counts.len().min(vocab), "round_trip": back, "common": common, "longest": longest,
        }))?;
        return Ok(());
    }
    let show = |id: u32| format!("\"{}\"", visible(&word(id), false));
    out::line(format!("vocabulary     {} tokens, {} of them used here", out::grouped(vocab as u64), out::grouped(counts.len() as u64)))?;
    out::line(format!("text           {} bytes, {} tokens", out::grouped(text.len() as u64), out::grouped(ids.len() as u64)))?;
    out::line(format!("bytes a token  {per_token:.3}"))?;
    out::line(format!("round trip     {}", if back { "the text comes back as it was" } else { "the text does not come back as it was" }))?;
    out::line(format!(
        "most common    {}",
        common.iter().map(|(id, n)| format!("{} {}", show(*id), out::grouped(*n))).collect::<Vec<_>>().join("  ")
    ))?;
    out::line(format!("longest        {}", longest.iter().map(|id| show(*id)).collect::<Vec<_>>().join("  ")))?;
    Ok(())
}

/// The beginning of a text file, cut at a character.
fn text_of(file: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let wrong = |what: String| Failure::Failed(format!("{}: {what}", out::shown(file)));
    let mut bytes = Vec::new();
    let open = std::fs::File::open(file).map_err(|e| wrong(format!("{e}; name a text file")))?;
    let whole = open.metadata().is_ok_and(|m| m.len() <= INSPECTED as u64);
    open.take(INSPECTED as u64).read_to_end(&mut bytes).map_err(|e| wrong(format!("{e}; name a text file")))?;
    if bytes.is_empty() {
        return Err(wrong("is empty; name a file with text in it".into()));
    }
    let length = bytes.len();
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            if !whole && length - at < 4 {
                return Ok(String::from_utf8_lossy(&error.as_bytes()[..at]).into_owned());
            }
            Err(wrong(format!("byte {at} is not UTF-8; save the file as UTF-8 text")))
        }
    }
}
