//! Checkpoints: written beside, synced, renamed; known to be whole by sizes and sums; pruned to the last and the best.
//! Deliberately not here: what the optimizer's and the objective's state mean; they come as named numbers and JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use super::{RunError, files};
use crate::data::tokenizer::Tokenizer;
use crate::model::decoder::Decoder;
use crate::model::hf;
use crate::report::SCHEMA;
use crate::rng::Stream;

const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
/// `state.json` is text of a few kilobytes; a larger one is not ours.
const MAX_STATE_BYTES: u64 = 64 << 20;
/// What comes before the sum of `state.json` itself, which is its last key.
const SUM_KEY: &str = ",\n  \"sum\": \"";

/// A checkpoint's directory, by the number of steps done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub step: u64,
    pub path: PathBuf,
}

/// Everything of a checkpoint that is not tensors: what an exact resume must restore.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    pub schema: u32,
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// The number of the next event when this was saved.
    pub seq: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Random streams by name.
    pub streams: BTreeMap<String, Stream>,
    pub objective: String,
    /// The objective's own state: where it is in the data, and what it adapts.
    pub objective_state: serde_json::Value,
    /// Batches that were collected and not yet trained on.
    pub pending: serde_json::Value,
    /// What the training and validation tokens were, so that other data is not taken for the same.
    pub data: String,
    pub optimizer: String,
    /// The lowest validation loss so far.
    pub best: Option<Best>,
    /// Size and sum of every other file.
    #[serde(default)]
    pub files: BTreeMap<String, FileSum>,
    /// Keys of a later version are kept.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: u64,
    pub val_loss: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    pub bytes: u64,
    pub sha256: String,
}

/// A row of numbers of the optimizer: a moment of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Cow<'a, [f32]>,
}

/// What a checkpoint is made of. `state.files` is filled in by `save`.
pub struct Contents<'a> {
    pub decoder: &'a Decoder,
    pub tokenizer: &'a Tokenizer,
    /// `tokenizer_config.json` for Python's transformers.
    pub tokenizer_config: &'a str,
    pub moments: Vec<Moment<'a>>,
    pub state: State,
}

/// Writes `run/checkpoints/step-…`. Whatever happens on the way, what stood there before is still whole.
pub fn save(run: &Path, contents: Contents) -> Result<Checkpoint, RunError> {
    let dir = run.join("checkpoints");
    // Not with its parents: a run that somebody deleted must fail here, and not come back as half a run.
    if !dir.is_dir() {
        fs::create_dir(&dir).map_err(|e| RunError::io(&dir, &e))?;
    }
    let name = directory_name(contents.state.step);
    let (temporary, target) = (dir.join(format!(".tmp-{name}")), dir.join(&name));
    let _ = fs::remove_dir_all(&temporary);
    let step = contents.state.step;
    if let Err(error) = fill(&temporary, contents) {
        // On a full disk the half-written files are what must go first.
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    put(&dir, &temporary, &target, &name).map_err(|e| RunError::io(&target, &e))?;
    Ok(Checkpoint { step, path: target })
}

fn fill(dir: &Path, mut contents: Contents) -> Result<(), RunError> {
    fs::create_dir(dir).map_err(|e| RunError::io(dir, &e))?;
    hf::save(contents.decoder, dir)?;
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|e| RunError::io(&path, &e))
    };
    write("tokenizer.json", contents.tokenizer.json())?;
    write("tokenizer_config.json", contents.tokenizer_config)?;
    save_moments(&dir.join(OPTIMIZER), &contents.moments)?;
    fn io(path: &Path) -> impl Fn(std::io::Error) -> RunError + '_ {
        move |e| RunError::io(path, &e)
    }
    for entry in fs::read_dir(dir).map_err(io(dir))? {
        let path = entry.map_err(io(dir))?.path();
        File::open(&path).and_then(|f| f.sync_all()).map_err(io(&path))?;
        let (bytes, sha256) = files::sum(&path).map_err(io(&path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        contents.state.files.insert(name, FileSum { bytes, sha256 });
    }
    let path = dir.join(STATE);
    files::write_synced(&path, state_text(&contents.state)?.as_bytes()).map_err(io(&path))?;
    files::sync_dir(dir).map_err(io(dir))
}

/// Renames the new directory to its name. One of the same step steps aside first, and is put back by `tidy` if
/// the process dies between the two renames.
fn put(dir: &Path, temporary: &Path, target: &Path, name: &str) -> std::io::Result<()> {
    let old = dir.join(format!(".old-{name}"));
    if target.exists() {
        let _ = fs::remove_dir_all(&old);
        fs::rename(target, &old)?;
    }
    fs::rename(temporary, target)?;
    files::sync_dir(dir)?;
    if old.exists() {
        fs::remove_dir_all(&old)?;
    }
    Ok(())
}

/// Whole-looking checkpoints of a run, oldest first.
pub fn list(run: &Path) -> Vec<Checkpoint> {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else { return Vec::new() };
    let mut found: Vec<Checkpoint> = entries
        .flatten()
        .filter_map(|entry| {
            let step = entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?;
            Some(Checkpoint { step, path: entry.path() })
        })
        .filter(|c| c.path.join(STATE).is_file())
        .collect();
    found.sort_by_key(|c| c.step);
    found
}

/// The newest checkpoint whose files are all as they were written, and one line about each newer one that is not.
pub fn newest_whole(run: &Path) -> Result<(Option<Checkpoint>, Vec<String>), RunError> {
    let mut notes = Vec::new();
    for checkpoint in list(run).into_iter().rev() {
        match verify(&checkpoint.path) {
            Ok(_) => return Ok((Some(checkpoint), notes)),
            Err(error) => notes.push(error.to_string()),
        }
    }
    Ok((None, notes))
}

/// Reads `state.json` and compares every file with its size and sum.
pub fn verify(dir: &Path) -> Result<State, RunError> {
    let state = load_state(dir)?;
    for (name, sum) in &state.files {
        if Path::new(name).components().count() != 1 || name.starts_with('.') {
            return Err(damaged(&dir.join(STATE), "names a file outside of it"));
        }
        let path = dir.join(name);
        let length = fs::metadata(&path).map_err(|_| damaged(&path, "is missing"))?.len();
        if length != sum.bytes {
            return Err(damaged(&path, &format!("has {length} bytes instead of {}", sum.bytes)));
        }
        if files::sum(&path).map_err(|e| RunError::io(&path, &e))?.1 != sum.sha256 {
            return Err(damaged(&path, "is not what was written (its SHA-256 differs)"));
        }
    }
    Ok(state)
}

/// Reads `state.json` alone.
pub fn load_state(dir: &Path) -> Result<State, RunError> {
    let path = dir.join(STATE);
    let length = fs::metadata(&path).map_err(|e| RunError::io(&path, &e))?.len();
    if length > MAX_STATE_BYTES {
        return Err(damaged(&path, "is far too large"));
    }
    let text = fs::read_to_string(&path).map_err(|_| damaged(&path, "is not text"))?;
    let (body, sum) = text.rsplit_once(SUM_KEY).ok_or_else(|| damaged(&path, "is cut short"))?;
    if sum.get(..64) != Some(files::sum_bytes(body.as_bytes()).as_str()) {
        return Err(damaged(&path, "is not what was written (its SHA-256 differs)"));
    }
    let state: State = serde_json::from_str(&text).map_err(|e| damaged(&path, &format!("cannot be read: {e}")))?;
    if state.schema > SCHEMA {
        return Err(RunError::file(&path, format!("was written by a later version (schema {})", state.schema), "update weightroom"));
    }
    Ok(state)
}

fn damaged(path: &Path, what: &str) -> RunError {
    RunError::file(path, what, "the checkpoint is damaged: use an earlier one (a resume does so by itself)")
}

fn state_text(state: &State) -> Result<String, RunError> {
    let text = serde_json::to_string_pretty(state).map_err(|e| RunError::Other(format!("state.json: {e}")))?;
    let body = text.strip_suffix("\n}").unwrap_or(&text);
    Ok(format!("{body}{SUM_KEY}{}\"\n}}\n", files::sum_bytes(body.as_bytes())))
}

impl View for &Moment<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = self.values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        Cow::Owned(bytes)
    }
    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}

fn save_moments(path: &Path, moments: &[Moment]) -> Result<(), RunError> {
    let named = moments.iter().map(|m| (m.name.as_str(), m));
    match safetensors::serialize_to_file(named, None, path) {
        Ok(()) => Ok(()),
        Err(safetensors::SafeTensorError::IoError(e)) => Err(RunError::io(path, &e)),
        Err(e) => Err(RunError::Other(format!("{}: {e}", super::shown(path)))),
    }
}

/// The optimizer's rows by name.
pub fn load_moments(dir: &Path) -> Result<BTreeMap<String, Vec<f32>>, RunError> {
    let path = dir.join(OPTIMIZER);
    let bytes = fs::read(&path).map_err(|e| RunError::io(&path, &e))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(&path, &format!("cannot be read: {e}")))?;
    let mut out = BTreeMap::new();
    for (name, tensor) in tensors.iter() {
        if tensor.dtype() != Dtype::F32 {
            return Err(damaged(&path, "holds other numbers than f32"));
        }
        let values = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        out.insert(name.to_string(), values);
    }
    Ok(out)
}

/// Removes all checkpoints but the newest `keep` and the best. What goes is renamed first, so that a kill in the
/// middle leaves nothing that looks like a checkpoint.
pub fn prune(run: &Path, keep: usize, best: Option<u64>) -> Result<(), RunError> {
    let all = list(run);
    let old = all.len().saturating_sub(keep.max(1));
    for checkpoint in all.iter().take(old).filter(|c| Some(c.step) != best) {
        let away = run.join("checkpoints").join(format!(".del-{}", directory_name(checkpoint.step)));
        let gone = fs::rename(&checkpoint.path, &away).and_then(|()| fs::remove_dir_all(&away));
        gone.map_err(|e| RunError::io(&checkpoint.path, &e))?;
    }
    Ok(())
}

/// Clears what a kill left behind, and puts back a checkpoint that had stepped aside. Asked by the holder of the
/// run's lock.
pub fn tidy(run: &Path) -> Result<(), RunError> {
    let dir = run.join("checkpoints");
    let Ok(entries) = fs::read_dir(&dir) else { return Ok(()) };
    for path in entries.flatten().map(|e| e.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let done = match name.strip_prefix(".old-") {
            Some(target) if !dir.join(target).exists() => fs::rename(&path, dir.join(target)),
            Some(_) => fs::remove_dir_all(&path),
            None if name.starts_with(".tmp-") || name.starts_with(".del-") => fs::remove_dir_all(&path),
            None => Ok(()),
        };
        done.map_err(|e| RunError::io(&path, &e))?;
    }
    Ok(())
}

/// Sets checkpoints of later steps than `step` aside, which a resume found damaged: they must not count as newest.
pub fn set_aside_after(run: &Path, step: u64) -> Result<(), RunError> {
    for checkpoint in list(run).into_iter().filter(|c| c.step > step) {
        let aside = checkpoint.path.with_file_name(format!("damaged-{}", directory_name(checkpoint.step)));
        let _ = fs::remove_dir_all(&aside);
        fs::rename(&checkpoint.path, &aside).map_err(|e| RunError::io(&checkpoint.path, &e))?;
    }
    Ok(())
}

fn directory_name(step: u64) -> String {
    format!("step-{step:06}")
}
