//! The `export` job: hands a model on, as a directory of Hugging Face's, an adapter of PEFT's or a GGUF file.
//! Deliberately not here: the formats themselves (`model::hf`, `model::gguf`).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::data::handover;
use crate::data::tokenizer::Tokenizer;
use crate::engine::models::{self, Whole};
use crate::model::decoder::Decoder;
use crate::model::gguf::write::{self, QUANTS, Quant};
use crate::model::hf;
use crate::report::{Level, Report};
use crate::spec::ExportSpec;
use crate::text::visible;

pub const JOB: JobKind = JobKind {
    name: "export",
    help: "Writes a model in a format that other programs open.",
    lane: Lane::Light,
    pausable: false,
    check,
    run,
};

/// The formats, for help and messages.
pub const FORMATS: &[&str] = &["hf", "peft", "gguf"];

/// What is wrong with what is asked, by the options that said it.
pub fn problem(spec: &ExportSpec) -> Option<String> {
    let quants: Vec<&str> = QUANTS.iter().map(|q| q.0).collect();
    match spec.format.as_str() {
        _ if spec.model.is_empty() => Some("no model is named; name a run, a checkpoint or model directory, or a .gguf file".into()),
        _ if spec.out.as_os_str().is_empty() => Some("no directory to write to; name one with -o".into()),
        "gguf" if spec.quant.as_ref().is_some_and(|q| Quant::from_name(q).is_none()) => Some(format!(
            "--quant {}: there is no such type; choose one of {}",
            visible(spec.quant.as_deref().unwrap_or_default(), false),
            quants.join(", ")
        )),
        "gguf" => None,
        "hf" | "peft" => spec.quant.as_ref().map(|_| format!("--quant is for gguf; leave it out for {}", spec.format)),
        other => Some(format!("--format {}: there is no such format; choose one of {}", visible(other, false), FORMATS.join(", "))),
    }
}

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: ExportSpec = params(value)?;
    problem(&spec).map_or(Ok(()), Err)?;
    Ok(format!("export {}", visible(&spec.model, false)))
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: ExportSpec = cx.params()?;
    let out = cx.project.join(&spec.out);
    let free = !out.exists() || fs::read_dir(&out).is_ok_and(|mut entries| entries.next().is_none());
    if !free {
        return Err(Fault::new(format!("{}: is there already", out.display()), "name a directory that is empty or does not exist yet"));
    }
    let disk =
        |e: std::io::Error| Fault::new(format!("{}: cannot be written ({e})", out.display()), "choose a directory that can be written");
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(disk)?;
    // Beside its place, so that what is there under its name is whole.
    let staged = tempfile::Builder::new().prefix(".export-").tempdir_in(parent).map_err(disk)?;
    let whole = match spec.format.as_str() {
        "peft" => peft(cx, &spec, staged.path())?,
        _ => model(cx, &spec, staged.path())?,
    };
    if !whole {
        return Ok(Done::new(true, "stopped"));
    }
    if out.exists() {
        fs::remove_dir(&out).map_err(disk)?;
    }
    let staged = staged.keep();
    fs::rename(&staged, &out).map_err(|e| {
        let _ = fs::remove_dir_all(&staged);
        disk(e)
    })?;
    open_to_others(&out);
    cx.monitor.report(Report::Artifact { kind: spec.format.clone(), path: out.clone(), step: None });
    Ok(Done::new(false, format!("{} written to {}", spec.format, out.display())))
}

/// A temporary directory is its owner's alone; what is handed on need not be.
fn open_to_others(dir: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o755));
    }
    #[cfg(not(unix))]
    let _ = dir;
}

/// A whole model, with its tokenizer; false where it was stopped.
fn model(cx: &Cx, spec: &ExportSpec, to: &Path) -> Result<bool, Fault> {
    let Whole { decoder, tokenizer, dir: from } = models::whole(cx.project, &spec.model)?;
    if spec.format == "hf" {
        cx.monitor.report(progress(0, 1));
        hf::save(&decoder, to)?;
        tokenizer_files(&decoder, &tokenizer, &from, to)?;
        cx.monitor.report(progress(1, 1));
        return Ok(true);
    }
    let quant = spec.quant.as_deref().and_then(Quant::from_name).unwrap_or(Quant::F16);
    let config = decoder.config();
    let cause =
        |why: String| Fault::new(format!("{}: its tokenizer cannot be handed to llama.cpp: {why}", from.display()), "export it as hf");
    let keys = handover::metadata(&tokenizer, config.vocab, config.eos).map_err(cause)?;
    let others = write::exceptions(&decoder, quant)?;
    if !others.is_empty() {
        let text = format!("rows of some matrices make no whole blocks of {}: these are written as {}", quant.name(), others.join(" and "));
        cx.monitor.report(Report::note(Level::Info, text));
    }
    let name = name_of(&spec.model);
    let told = |done, total| {
        cx.monitor.report(progress(done, total));
        !cx.monitor.stopped()
    };
    Ok(write::save(&decoder, (&name, keys), quant, &to.join(format!("{name}-{}.gguf", quant.name())), told)?)
}

fn progress(done: usize, total: usize) -> Report {
    Report::Progress { what: "export".into(), done: done as u64, total: Some(total as u64), unit: "tensors".into() }
}

/// The last part of a model's name, for a file.
fn name_of(model: &str) -> String {
    let last = Path::new(model.trim_end_matches('/')).file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let kept: String = last.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    if kept.is_empty() { "model".into() } else { kept }
}

/// The tokenizer as transformers looks for it.
fn tokenizer_files(decoder: &Decoder, tokenizer: &Tokenizer, from: &Path, to: &Path) -> Result<(), Fault> {
    let config = decoder.config();
    let failed = |path: &Path, e: &std::io::Error| {
        Fault::new(format!("{}: cannot be written ({e})", path.display()), "choose a directory that can be written")
    };
    let texts = [
        ("tokenizer.json", tokenizer.json().to_string()),
        ("tokenizer_config.json", tokenizer.config_json(config.eos, config.context, None)),
    ];
    for (name, text) in texts {
        let path = to.join(name);
        fs::write(&path, text).map_err(|e| failed(&path, &e))?;
    }
    for name in ["special_tokens_map.json", "chat_template.jinja"] {
        let (source, path) = (from.join(name), to.join(name));
        if source.is_file() {
            fs::copy(source, &path).map_err(|e| failed(&path, &e))?;
        }
    }
    Ok(())
}

/// An adapter as PEFT has it; false where it was stopped.
fn peft(cx: &Cx, spec: &ExportSpec, to: &Path) -> Result<bool, Fault> {
    let from = adapter_dir(cx, &spec.model)?;
    let files = ["adapter_config.json", "adapter_model.safetensors"];
    for (i, name) in files.iter().enumerate() {
        cx.monitor.report(progress(i, files.len()));
        let (source, path) = (from.join(name), to.join(name));
        fs::copy(&source, &path)
            .map_err(|e| Fault::new(format!("{}: cannot be copied ({e})", source.display()), "look at the adapter's files"))?;
    }
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"] {
        if from.join(name).is_file() {
            fs::copy(from.join(name), to.join(name)).map_err(|e| Fault::new(format!("{name}: cannot be copied ({e})"), ""))?;
        }
    }
    Ok(true)
}

/// The directory of a model that is an adapter; else why it is none.
fn adapter_dir(cx: &Cx, model: &str) -> Result<PathBuf, Fault> {
    let Some(dir) = models::adapter(cx.project, model)? else {
        let text = format!("{}: is a whole model and has no adapter", visible(model, false));
        return Err(Fault::new(text, "export it as hf or gguf, or name an adapter's directory"));
    };
    match ["adapter_config.json", "adapter_model.safetensors"].into_iter().find(|name| !dir.join(name).is_file()) {
        None => Ok(dir),
        Some(name) => Err(Fault::new(format!("{}: lacks {name}", dir.display()), "save the adapter anew, with safetensors")),
    }
}
