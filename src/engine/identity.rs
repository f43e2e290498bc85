//! What identifies a model's weights, so that results are taken over only from the same ones; and how large it is.
//! Deliberately not here: loading it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::jobs::Fault;
use super::models;

/// Of a large file, pieces of this size at so many places are read: training changes every one of them.
const PIECE_BYTES: usize = 64 << 10;
const PIECES: u64 = 64;
/// Files beside the weights that decide what a model says.
const BESIDE: [&str; 4] = ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"];
/// A longer header is none.
const HEADER_BYTES: u64 = 64 << 20;

/// What is known of a model without loading it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    pub hash: String,
    /// Of the weights on disk.
    pub bytes: Option<u64>,
    pub parameters: Option<u64>,
    /// Of the recipe, where it is a run.
    pub recipe: Option<String>,
}

/// The identity of what `name` means. An endpoint is known by its name alone.
pub fn of(project: &Path, name: &str) -> Result<Identity, Fault> {
    let by_name = || Identity { hash: hex(&Sha256::digest(name.as_bytes())), ..Identity::default() };
    if name == crate::eval::run::GIVEN || name.starts_with("openai:") {
        return Ok(by_name());
    }
    let path = models::resolve(project, name)?;
    let mut hash = Sha256::new();
    let mut out = Identity::default();
    let files = weights(&path);
    let (mut bytes, mut parameters) = (0, 0);
    for file in &files {
        let size = std::fs::metadata(file).map_or(0, |m| m.len());
        bytes += size;
        parameters += count(file).unwrap_or(0);
        hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(size.to_le_bytes());
        sample(file, size, &mut hash);
    }
    for file in BESIDE.iter().map(|f| path.join(f)).filter(|f| f.is_file()) {
        let size = std::fs::metadata(&file).map_or(0, |m| m.len());
        sample(&file, size, &mut hash);
    }
    out.hash = hex(&hash.finalize());
    out.bytes = (bytes > 0).then_some(bytes);
    out.parameters = (parameters > 0).then_some(parameters);
    let recipe = path.parent().and_then(Path::parent).map(|run| run.join("recipe.toml")).and_then(|r| std::fs::read(r).ok());
    out.recipe = recipe.map(|text| hex(&Sha256::digest(&text)));
    Ok(out)
}

/// The files that hold weights, in order of their names.
fn weights(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).map(|d| d.take(10_000).flatten().map(|e| e.path()).collect::<Vec<_>>()).unwrap_or_default();
    let holds = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let moments = name.starts_with("optimizer") || name.starts_with("training");
        !moments && [".safetensors", ".bin", ".gguf", ".pt"].iter().any(|end| name.ends_with(end))
    };
    let mut files: Vec<PathBuf> = entries.into_iter().filter(holds).collect();
    files.sort();
    files
}

fn sample(path: &Path, size: u64, hash: &mut Sha256) {
    let Ok(file) = File::open(path) else { return };
    let mut buffer = vec![0; PIECE_BYTES];
    let pieces = size.div_ceil(PIECE_BYTES as u64).clamp(1, PIECES);
    for i in 0..pieces {
        let at = if pieces == 1 { 0 } else { size.saturating_sub(PIECE_BYTES as u64) / (pieces - 1) * i };
        if let Ok(n) = file.read_at(&mut buffer, at) {
            hash.update(&buffer[..n]);
        }
    }
}

/// Parameters by the header of a safetensors file.
fn count(path: &Path) -> Option<u64> {
    if path.extension()? != "safetensors" {
        return None;
    }
    let file = File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0).ok()?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES || length > file.metadata().ok()?.len() {
        return None;
    }
    let mut header = vec![0; length as usize];
    file.read_exact_at(&mut header, 8).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    let shape = |tensor: &serde_json::Value| -> Option<u64> {
        tensor.get("shape")?.as_array()?.iter().try_fold(1u64, |n, d| n.checked_mul(d.as_u64()?))
    };
    header.as_object()?.values().filter_map(shape).try_fold(0u64, u64::checked_add)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(8).map(|b| format!("{b:02x}")).collect()
}
