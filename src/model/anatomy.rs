//! A model's files taken apart for people: its tensors, what they add up to, and figures of the numbers in them.
//! Deliberately not here: running the model, and what its config means to a decoder.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ModelError;
use crate::gguf::blocks::{self, Type};
use crate::gguf::tensors::Contents;
use crate::gguf::{self, Metadata};
use crate::text::visible;

/// A config is a page of text; anything much larger is another file.
const CONFIG_BYTES: u64 = 8 << 20;
/// Numbers that are looked at between two questions whether to stop.
const PIECE: usize = 1 << 16;
/// Of a list in a GGUF's metadata, so many entries are shown.
const LISTED: usize = 6;

/// A tensor of a model's files.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tensor {
    pub name: String,
    /// The slowest dimension first.
    pub shape: Vec<usize>,
    /// As its file calls it: `BF16`, `Q4_K`.
    pub kind: String,
    pub elements: u64,
    pub bytes: u64,
    /// Which of the files holds it, and where.
    #[serde(skip)]
    file: usize,
    #[serde(skip)]
    start: usize,
}

/// What a model's files hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Anatomy {
    /// `safetensors`, `GGUF`, …
    pub format: String,
    pub files: Vec<PathBuf>,
    /// In the order of their layers.
    pub tensors: Vec<Tensor>,
    /// Part, parameters, bytes.
    pub parts: Vec<(String, u64, u64)>,
    /// Type, parameters.
    pub kinds: Vec<(String, u64)>,
    /// `config.json`, or a GGUF's metadata with its lists cut short.
    pub config: Value,
}

/// Figures of one tensor's numbers. Sums are over those that are finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The square root of the sum of squares.
    pub norm: f64,
    pub mean: f64,
    /// The largest magnitude.
    pub most: f64,
    pub nan: u64,
    pub infinite: u64,
    pub zero: u64,
}

impl Anatomy {
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(|t| t.elements).sum()
    }
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.bytes).sum()
    }

    fn sum_up(mut self) -> Self {
        self.tensors.sort_by_cached_key(|t| order(&t.name));
        let (mut parts, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        for tensor in &self.tensors {
            let part: &mut (u64, u64) = parts.entry(part_of(&tensor.name)).or_default();
            *part = (part.0 + tensor.elements, part.1 + tensor.bytes);
            *kinds.entry(tensor.kind.clone()).or_insert(0) += tensor.elements;
        }
        self.parts = parts.into_iter().map(|((_, name), (n, bytes))| (name.to_string(), n, bytes)).collect();
        self.kinds = kinds.into_iter().collect();
        self
    }
}

/// Reads a model directory, or a GGUF file: heads alone, whatever the size.
///
/// # Errors
/// A file that is missing, damaged or not what its name says; the message names it.
pub fn read(path: &Path) -> Result<Anatomy, ModelError> {
    if path.is_dir() { directory(path) } else { gguf_file(path) }
}

fn fault(path: &Path, what: impl std::fmt::Display) -> ModelError {
    let what = visible(&what.to_string(), false).chars().take(400).collect();
    ModelError::File { path: path.into(), what, remedy: "fetch the file anew, or name another model".into() }
}

fn map(path: &Path) -> Result<memmap2::Mmap, ModelError> {
    let file = File::open(path).map_err(|e| fault(path, format!("cannot be read ({e})")))?;
    // SAFETY: the map is read-only and lives for the length of this look; checkpoints are replaced by renaming, never
    // rewritten in place.
    unsafe { memmap2::Mmap::map(&file) }.map_err(|e| fault(path, format!("cannot be read ({e})")))
}

fn directory(dir: &Path) -> Result<Anatomy, ModelError> {
    let adapter = dir.join("adapter_config.json");
    let path = if adapter.is_file() { adapter } else { dir.join("config.json") };
    let size = std::fs::metadata(&path).map_err(|e| fault(&path, e))?.len();
    if size > CONFIG_BYTES {
        return Err(fault(&path, "is far too large for a config"));
    }
    let text = std::fs::read_to_string(&path).map_err(|e| fault(&path, e))?;
    let config = serde_json::from_str(&text).map_err(|e| fault(&path, format!("is not JSON ({e})")))?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(|e| fault(dir, e))?
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(is_weights))
        .collect();
    files.sort();
    // A PEFT directory and a model's are told apart by the names of their files; the one file stands for its shards.
    if files.iter().any(|f| f.ends_with("model.safetensors")) {
        files.retain(|f| f.ends_with("model.safetensors"));
    }
    let mut out = Anatomy { config, format: "no safetensors".into(), ..Anatomy::default() };
    match files.len() {
        0 if dir.join("pytorch_model.bin").is_file() => out.format = "PyTorch's pickle, whose tensors are not listed".into(),
        0 => {}
        1 => out.format = "safetensors".into(),
        n => out.format = format!("safetensors in {n} files"),
    }
    for path in files {
        tensors_of(&path, &mut out)?;
    }
    Ok(out.sum_up())
}

fn is_weights(name: &str) -> bool {
    // What an optimizer keeps is no part of the model.
    let shard = name.starts_with("model-") && name.ends_with(".safetensors");
    shard || matches!(name, "model.safetensors" | "adapter_model.safetensors")
}

fn tensors_of(path: &Path, out: &mut Anatomy) -> Result<(), ModelError> {
    let map = map(path)?;
    let tensors = SafeTensors::deserialize(&map).map_err(|e| fault(path, format!("is damaged or cut short ({e})")))?;
    let base = map.as_ptr() as usize;
    for (name, view) in tensors.iter() {
        out.tensors.push(Tensor {
            name: name.to_string(),
            shape: view.shape().to_vec(),
            kind: format!("{:?}", view.dtype()),
            elements: view.shape().iter().map(|n| *n as u64).product(),
            bytes: view.data().len() as u64,
            file: out.files.len(),
            start: view.data().as_ptr() as usize - base,
        });
    }
    out.files.push(path.into());
    Ok(())
}

fn gguf_file(path: &Path) -> Result<Anatomy, ModelError> {
    let map = map(path)?;
    if !Metadata::is(&map) {
        return Err(fault(path, "is no model: neither a directory with a config.json nor a GGUF file"));
    }
    let contents = Contents::read(&map).map_err(|e| fault(path, e))?;
    let tensor = |t: &gguf::tensors::Entry| Tensor {
        name: t.name.clone(),
        shape: t.shape.clone(),
        kind: t.kind.name().into(),
        elements: t.elements() as u64,
        bytes: (t.end - t.start) as u64,
        file: 0,
        start: t.start,
    };
    let tensors = contents.tensors.iter().map(tensor).collect();
    let config = contents.metadata.entries.iter().map(|(key, value)| (key.to_string(), plain(value))).collect();
    Ok(Anatomy { format: "GGUF".into(), files: vec![path.into()], tensors, config: Value::Object(config), ..Anatomy::default() }.sum_up())
}

/// A value of a GGUF's metadata as JSON; a vocabulary is told by its first entries and its length.
fn plain(value: &gguf::Value) -> Value {
    match value {
        gguf::Value::Unsigned(n) => (*n).into(),
        gguf::Value::Signed(n) => (*n).into(),
        gguf::Value::Float(x) => (*x).into(),
        gguf::Value::Bool(b) => (*b).into(),
        gguf::Value::Text(bytes) => String::from_utf8_lossy(bytes).into(),
        gguf::Value::Array(list) => {
            let mut out: Vec<Value> = list.iter().take(LISTED).map(plain).collect();
            if list.len() > LISTED {
                out.push(format!("… {} in all", list.len()).into());
            }
            out.into()
        }
    }
}

/// The part of a model that a tensor belongs to, with its place among the parts.
fn part_of(name: &str) -> (u8, &'static str) {
    let has = |words: &[&str]| words.iter().any(|w| name.contains(w));
    match () {
        () if has(&["norm", "ln_", ".ln", "layernorm"]) => (5, "norms"),
        () if has(&["lora_", "adapter"]) => (7, "adapters"),
        () if has(&["lm_head", "embed_out", "score.weight"]) || name == "output.weight" => (6, "head"),
        () if has(&["embed", "wte", "wpe", "token_embd", "position_embd"]) => (0, "embeddings"),
        () if has(&["router", "ffn_gate_inp", "mlp.gate.", "block_sparse_moe.gate."]) => (3, "routers"),
        () if has(&["expert", "_exps"]) => (4, "experts"),
        () if has(&["attn", "attention", "q_proj", "k_proj", "v_proj", "o_proj"]) => (1, "attention"),
        () if has(&["mlp", "ffn", "feed_forward", "dense_h_to_4h", "dense_4h_to_h", "fc1", "fc2"]) => (2, "feed-forward"),
        () => (8, "other"),
    }
}

/// Embeddings, then the layers by their numbers, then what comes after them.
fn order(name: &str) -> (u8, u64, String) {
    let layer = name.split('.').find_map(|part| part.parse::<u64>().ok());
    let before = part_of(name).0 == 0;
    (
        if before {
            0
        } else if layer.is_some() {
            1
        } else {
            2
        },
        layer.unwrap_or(0),
        name.to_string(),
    )
}

/// Looks through the numbers of all tensors. `each` hears every tensor's figures (none for a type that is not read here);
/// `go_on` hears how many more bytes were looked at, and whether to go on is its answer.
pub fn measure(
    anatomy: &Anatomy,
    each: &mut dyn FnMut(&Tensor, Option<Figures>),
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<bool, ModelError> {
    for (index, path) in anatomy.files.iter().enumerate() {
        let map = map(path)?;
        for tensor in anatomy.tensors.iter().filter(|t| t.file == index) {
            // The file may have been exchanged since its head was read.
            let end = tensor.start.checked_add(tensor.bytes as usize);
            let Some(bytes) = end.and_then(|end| map.get(tensor.start..end)) else { return Err(fault(path, "was changed meanwhile")) };
            let Some(figures) = figures(tensor, bytes, go_on) else { return Ok(false) };
            each(tensor, figures);
        }
    }
    Ok(true)
}

/// None where it was stopped; the figures are none where the type is not read.
fn figures(tensor: &Tensor, bytes: &[u8], go_on: &mut dyn FnMut(u64) -> bool) -> Option<Option<Figures>> {
    let Some((size, many)) = width(&tensor.kind) else {
        return go_on(bytes.len() as u64).then_some(None);
    };
    let (mut out, mut squares, mut sum, mut finite) = (Figures::default(), 0.0f64, 0.0f64, 0u64);
    let mut numbers = vec![0f32; PIECE];
    for piece in bytes.chunks(PIECE / many * size) {
        let n = piece.len() / size * many;
        widen(&tensor.kind, piece, &mut numbers[..n]);
        for x in &numbers[..n] {
            if x.is_finite() {
                let x = f64::from(*x);
                (squares, sum, finite) = (squares + x * x, sum + x, finite + 1);
                out.most = out.most.max(x.abs());
                out.zero += u64::from(x == 0.0);
            } else if x.is_nan() {
                out.nan += 1;
            } else {
                out.infinite += 1;
            }
        }
        if !go_on(piece.len() as u64) {
            return None;
        }
    }
    (out.norm, out.mean) = (squares.sqrt(), if finite > 0 { sum / finite as f64 } else { 0.0 });
    Some(Some(out))
}

/// Bytes of a block, and numbers in it.
fn width(kind: &str) -> Option<(usize, usize)> {
    match kind {
        "F64" => Some((8, 1)),
        "F32" => Some((4, 1)),
        "F16" | "BF16" => Some((2, 1)),
        _ => quantized(kind).map(|t| (t.bytes(), t.block())),
    }
}

fn quantized(kind: &str) -> Option<Type> {
    (0..64).filter_map(|n| Type::from_number(n).ok()).find(|t| t.name() == kind)
}

fn widen(kind: &str, bytes: &[u8], out: &mut [f32]) {
    fn each<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
        for (number, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *number = read(*bytes);
        }
    }
    match kind {
        "F64" => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
        "F32" => each(bytes, out, f32::from_le_bytes),
        "F16" => each(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        "BF16" => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        _ => {
            if let Some(kind) = quantized(kind) {
                blocks::dequantize(kind, bytes, out);
            }
        }
    }
}

/// The types of safetensors that hold floating-point numbers and are not read here.
pub fn is_unread(kind: &str) -> bool {
    width(kind).is_none() && kind != format!("{:?}", Dtype::BOOL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_sorted_by_layer_and_told_by_part() {
        let mut names = [
            "lm_head.weight",
            "model.layers.10.mlp.up_proj.weight",
            "model.layers.2.self_attn.q_proj.weight",
            "model.embed_tokens.weight",
            "model.norm.weight",
        ];
        names.sort_by_key(|n| order(n));
        assert_eq!(
            names,
            [
                "model.embed_tokens.weight",
                "model.layers.2.self_attn.q_proj.weight",
                "model.layers.10.mlp.up_proj.weight",
                "lm_head.weight",
                "model.norm.weight"
            ]
        );
        for (name, part) in [
            ("blk.0.attn_q.weight", "attention"),
            ("blk.0.ffn_gate_exps.weight", "experts"),
            ("blk.0.ffn_gate_inp.weight", "routers"),
            ("output.weight", "head"),
            ("transformer.h.0.mlp.c_fc.weight", "feed-forward"),
            ("transformer.wpe.weight", "embeddings"),
            ("model.layers.0.input_layernorm.weight", "norms"),
            ("blk.0.attn_norm.weight", "norms"),
            ("gpt_neox.layers.0.mlp.dense_h_to_4h.bias", "feed-forward"),
            ("base.layers.0.q_proj.lora_A.weight", "adapters"),
        ] {
            assert_eq!(part_of(name).1, part, "{name}");
        }
    }

    #[test]
    fn figures_count_what_is_no_number() {
        let numbers = [3.0f32, -4.0, 0.0, f32::NAN, f32::INFINITY];
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = Tensor { name: "x".into(), shape: vec![5], kind: "F32".into(), elements: 5, bytes: 20, file: 0, start: 0 };
        let found = figures(&tensor, &bytes, &mut |_| true).unwrap().unwrap();
        assert_eq!((found.norm, found.most, found.nan, found.infinite, found.zero), (5.0, 4.0, 1, 1, 1));
        assert!((found.mean + 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(figures(&tensor, &bytes, &mut |_| false), None);
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        let narrow = Tensor { kind: "BF16".into(), bytes: 10, ..tensor.clone() };
        assert_eq!(figures(&narrow, &bytes, &mut |_| true).unwrap().unwrap(), found);
        let unknown = Tensor { kind: "F8_E4M3".into(), ..tensor };
        assert_eq!(figures(&unknown, &bytes, &mut |_| true), Some(None));
        assert!(is_unread("F8_E4M3") && !is_unread("Q4_K"));
    }
}
