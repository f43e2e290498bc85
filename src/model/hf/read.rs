//! Reading weights from their containers: safetensors, its shards, and PyTorch's zip. Names and shapes are held
//! against what the config says before any number is read.
//! Deliberately not here: anything that runs code from a file; a pickle is parsed, never executed.

use super::super::config::Config;
use super::super::params::{Kind, Spec};
use super::super::weight::{Raw, Weight};
use super::{ModelError, file_error};
use crate::gguf::blocks::Type;
use candle_core::pickle::PthTensors;
use candle_core::{DType, Device, Tensor, Var};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest models have some hundred thousand tensors.
const LARGEST_INDEX: u64 = 64 << 20;
const CONVERT: &str = "convert it with transformers: from_pretrained(…), then save_pretrained(…), which writes model.safetensors";
const ANEW: &str = "fetch the file anew, or go back to an earlier checkpoint";

/// The weights of all specs, in their order, as narrow as the file has them: for inference on the processor.
pub fn weights(path: &Path, config: &Config, specs: &[Spec]) -> Result<Vec<Weight>, ModelError> {
    if is_pickled(path) {
        let vars = pickled(path, config, specs, DType::F32, &Device::Cpu)?;
        return Ok(vars.into_iter().map(|var| var.as_detached_tensor().into()).collect());
    }
    let mut next = specs.iter();
    each_view(path, config, specs, |file, source, view| {
        let kind = match view.dtype() {
            Dtype::F32 => Type::F32,
            Dtype::F16 => Type::F16,
            Dtype::BF16 => Type::Bf16,
            Dtype::F64 => return Ok(tensor(file, source, view)?.to_dtype(DType::F32)?.into()),
            _ => return Err(wrong_type(file, source, view)),
        };
        let Some(spec) = next.next() else { return Err(missing(path, source)) };
        let turns = config.transposed() && spec.kind == Kind::Matrix && spec.name != "lm_head.weight";
        let (rows, cols) = match *spec.shape.as_slice() {
            [inputs, outputs] if turns => (outputs, inputs),
            [rows, cols] => (rows, cols),
            _ => (1, spec.elements() as usize),
        };
        let bytes = if turns { Cow::Owned(turned(view.data(), (cols, rows), kind.bytes())) } else { Cow::Borrowed(view.data()) };
        Raw { kind, bytes, cols, order: Box::new(|i| i), less: 0.0 }.weight(spec, rows)
    })
}

/// The transposed of a matrix (rows, cols) of numbers of `size` bytes.
fn turned(bytes: &[u8], (rows, cols): (usize, usize), size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for col in 0..cols {
        (0..rows).for_each(|row| out.extend_from_slice(&bytes[(row * cols + col) * size..][..size]));
    }
    out
}

/// The variables of all specs, in their order.
pub fn read(path: &Path, config: &Config, specs: &[Spec], dtype: DType, device: &Device) -> Result<Vec<Var>, ModelError> {
    if is_pickled(path) {
        return pickled(path, config, specs, dtype, device);
    }
    each_view(path, config, specs, |file, source, view| variable(&tensor(file, source, view)?, dtype, device))
}

fn is_pickled(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "bin" || e == "pt" || e == "pth")
}

/// Calls `make` with the tensor of each spec, in their order, and gives what it makes.
fn each_view<R>(
    path: &Path,
    config: &Config,
    specs: &[Spec],
    mut make: impl FnMut(&Path, &str, &TensorView) -> Result<R, ModelError>,
) -> Result<Vec<R>, ModelError> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let files = if name.ends_with(".json") { shards(path)? } else { vec![path.to_path_buf()] };
    let maps = files.iter().map(|f| map(f)).collect::<Result<Vec<_>, _>>()?;
    let mut views: BTreeMap<String, (&PathBuf, TensorView)> = BTreeMap::new();
    for (file, map) in files.iter().zip(&maps) {
        for (name, view) in header(file, map)?.tensors() {
            if let Some((other, _)) = views.insert(name.clone(), (file, view)) {
                let what = format!("holds {name}, which {} holds too", other.file_name().and_then(|n| n.to_str()).unwrap_or_default());
                return Err(file_error(file, what, "fetch the model directory anew"));
            }
        }
    }
    let shapes = views.iter().map(|(name, (_, view))| (name.clone(), view.shape().to_vec())).collect();
    let sources = match_names(path, config, specs, &shapes)?;
    let mut made = Vec::with_capacity(specs.len());
    for source in sources {
        let Some((file, view)) = views.get(&source) else { return Err(missing(path, &source)) };
        made.push(make(file, &source, view)?);
    }
    Ok(made)
}

/// All tensors of a small file, such as an adapter's, by their names.
pub fn all(path: &Path, dtype: DType, device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let here = |tensor: Tensor| Ok::<_, ModelError>(tensor.to_dtype(dtype)?.to_device(device)?);
    if path.extension().is_some_and(|end| end == "bin") {
        let file = unpickled(path)?;
        let mut tensors = BTreeMap::new();
        for name in file.tensor_infos().keys() {
            let tensor = file.get(name).map_err(|e| bad(path, &e))?.ok_or_else(|| missing(path, name))?;
            tensors.insert(name.clone(), here(tensor)?);
        }
        return Ok(tensors);
    }
    let map = map(path)?;
    let found = header(path, &map)?;
    found.tensors().into_iter().map(|(name, view)| here(tensor(path, &name, &view)?).map(|tensor| (name, tensor))).collect()
}

/// The header of a safetensors file. What it says is held against the file's size before anything is read.
fn header<'a>(path: &Path, map: &'a memmap2::Mmap) -> Result<SafeTensors<'a>, ModelError> {
    let found = SafeTensors::deserialize(map).map_err(|e| file_error(path, format!("is damaged or cut short ({e})"), ANEW))?;
    // The names of a JSON object may stand twice, of which its parser keeps the last.
    if let Some(name) = twice(map) {
        return Err(file_error(path, format!("is damaged (its header names {name} twice)"), ANEW));
    }
    Ok(found)
}

/// A name that the header of a safetensors file holds twice.
fn twice(map: &[u8]) -> Option<String> {
    struct Names(Option<String>);
    impl<'de> serde::Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Names;
                fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                    let (mut seen, mut found) = (BTreeSet::new(), None);
                    while let Some(name) = map.next_key::<String>()? {
                        map.next_value::<serde::de::IgnoredAny>()?;
                        if !seen.insert(name.clone()) {
                            found = Some(name);
                        }
                    }
                    Ok(Names(found))
                }
            }
            from.deserialize_map(Visitor)
        }
    }
    let length = u64::from_le_bytes(map.get(..8)?.try_into().ok()?);
    let text = map.get(8..)?.get(..usize::try_from(length).ok()?)?;
    serde_json::from_slice::<Names>(text).ok()?.0
}

/// The numbers of a tensor of a file.
fn tensor(file: &Path, source: &str, view: &TensorView) -> Result<Tensor, ModelError> {
    let from = match view.dtype() {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        _ => return Err(wrong_type(file, source, view)),
    };
    Ok(Tensor::from_raw_buffer(view.data(), from, view.shape(), &Device::Cpu)?)
}

fn wrong_type(file: &Path, source: &str, view: &TensorView) -> ModelError {
    file_error(file, format!("{source} is of type {:?}", view.dtype()), "fetch a model whose weights are F32, F16 or BF16")
}

fn variable(tensor: &Tensor, dtype: DType, device: &Device) -> Result<Var, ModelError> {
    Ok(Var::from_tensor(&tensor.to_dtype(dtype)?.to_device(device)?.contiguous()?)?)
}

/// The bytes of a file.
pub fn map(path: &Path) -> Result<memmap2::Mmap, ModelError> {
    let io = |e: std::io::Error| file_error(path, format!("cannot be read ({e})"), "check that the file is there and may be read");
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() == 0 {
        return Err(file_error(path, "is empty".into(), ANEW));
    }
    // SAFETY: the map is read-only and lives for the length of this read; checkpoints are replaced by renaming,
    // never rewritten in place.
    unsafe { memmap2::Mmap::map(&file) }.map_err(io)
}

/// The shards that an index names. They lie beside it; a name that leads elsewhere is refused.
fn shards(index: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let io = |e: std::io::Error| file_error(index, format!("cannot be read ({e})"), ANEW);
    let mut text = String::new();
    File::open(index).map_err(io)?.take(LARGEST_INDEX).read_to_string(&mut text).map_err(io)?;
    let value: Value = serde_json::from_str(&text).map_err(|e| file_error(index, format!("is not JSON ({e})"), ANEW))?;
    let Some(weights) = value.get("weight_map").and_then(Value::as_object) else {
        return Err(file_error(index, "has no weight_map".into(), ANEW));
    };
    let names: BTreeSet<&str> = weights.values().filter_map(Value::as_str).collect();
    let dir = index.parent().unwrap_or(Path::new("."));
    let mut files = Vec::new();
    for name in names {
        if Path::new(name).file_name().and_then(|n| n.to_str()) != Some(name) {
            let what = format!("weight_map names {name:?}, which does not lie beside it");
            return Err(file_error(index, what, "fetch the model from a source that you trust"));
        }
        files.push(dir.join(name));
    }
    Ok(files)
}

/// A `.bin` of PyTorch 1.6 or later: a zip of raw storages and a pickle that says which is which. The parser knows
/// a few constructors by name and calls nothing.
fn pickled(path: &Path, config: &Config, specs: &[Spec], dtype: DType, device: &Device) -> Result<Vec<Var>, ModelError> {
    let file = unpickled(path)?;
    let infos = file.tensor_infos();
    let shapes = infos.iter().map(|(name, info)| (name.clone(), info.layout.dims().to_vec())).collect();
    let sources = match_names(path, config, specs, &shapes)?;
    let mut vars = Vec::with_capacity(specs.len());
    for source in sources {
        let tensor = file.get(&source).map_err(|e| bad(path, &e))?.ok_or_else(|| missing(path, &source))?;
        vars.push(variable(&tensor, dtype, device)?);
    }
    Ok(vars)
}

fn bad(path: &Path, e: &candle_core::Error) -> ModelError {
    let text = e.to_string();
    file_error(path, format!("is no PyTorch zip that can be read ({})", text.lines().next().unwrap_or_default()), CONVERT)
}

fn unpickled(path: &Path) -> Result<PthTensors, ModelError> {
    // The parser indexes what a pickle claims without asking first, so a hostile one may make it panic.
    let guarded = std::panic::AssertUnwindSafe(|| PthTensors::new(path, None));
    match std::panic::catch_unwind(guarded) {
        Ok(file) => file.map_err(|e| bad(path, &e)),
        Err(_) => Err(file_error(path, "holds a pickle that cannot be read".into(), CONVERT)),
    }
}

/// For each spec the name under which the file holds it. Fails on a tensor that is missing, has another shape, or
/// belongs to no place of the architecture.
fn match_names(path: &Path, config: &Config, specs: &[Spec], shapes: &BTreeMap<String, Vec<usize>>) -> Result<Vec<String>, ModelError> {
    let mut taken = BTreeSet::new();
    let mut sources = Vec::with_capacity(specs.len());
    for spec in specs {
        // Base models are saved without the prefix of the causal one.
        let bare = spec.name.split_once('.').map_or(spec.name.as_str(), |(_, rest)| rest);
        let Some(name) = [spec.name.as_str(), bare].into_iter().find(|n| shapes.contains_key(*n)) else {
            return Err(missing(path, &spec.name));
        };
        if shapes[name] != spec.shape {
            let what = format!("{name} has shape {:?} where config.json asks for {:?}", shapes[name], spec.shape);
            return Err(file_error(path, what, "use weights and config.json of the same model"));
        }
        taken.insert(name.to_string());
        sources.push(name.to_string());
    }
    if let Some(name) = shapes.keys().find(|n| !taken.contains(*n) && !derived(config, n)) {
        let what = format!("holds {name}, for which a {} of {} layers has no place", config.family.name(), config.layers);
        return Err(file_error(path, what, "use weights and config.json of the same model"));
    }
    Ok(sources)
}

/// Tensors that older files hold beside the parameters: masks, rotary frequencies, and the copy of a tied head.
fn derived(config: &Config, name: &str) -> bool {
    let ends = [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"];
    let head = config.family.names().head;
    ends.iter().any(|end| name.ends_with(end)) || (config.tied && name.strip_prefix(head) == Some(".weight"))
}

fn missing(path: &Path, name: &str) -> ModelError {
    file_error(path, format!("lacks the tensor {name}"), "use weights and config.json of the same model")
}
