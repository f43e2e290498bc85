//! Models in GGUF files: what they are, and their weights as they stand there, packed for the processor.
//! Deliberately not here: the file's form (`crate::gguf`) and its tokenizer (`data::loaders`).

mod config;
pub mod names;
pub mod write;

use super::config::Config;
use super::decoder::Decoder;
use super::params::{self, Param, Spec};
use super::positions::Scaling;
use super::weight::Raw;
use super::{ModelError, hf};
use crate::gguf::blocks::{self, Type};
use crate::gguf::tensors::Contents;
use candle_core::{DType, Device, Tensor, Var};
use memmap2::Mmap;
use names::{Shape, Turn};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

const ANEW: &str = "fetch the file anew, or one of another quantisation";

/// A file whose head was read.
pub struct File {
    path: PathBuf,
    map: Mmap,
    contents: Contents,
    config: Config,
}

/// Whether a path is that of a GGUF file, by its name.
pub fn is(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
}

/// Opens a file and reads its head.
pub fn open(path: &Path) -> Result<File, ModelError> {
    let map = hf::map(path)?;
    let fault = |what: String| hf::file_error(path, what, ANEW);
    let contents = Contents::read(&map).map_err(|e| fault(e.to_string()))?;
    let json = config::translate(&contents).map_err(fault)?;
    let mut config = hf::config::of_json(path, &json)?;
    stretch(&mut config, &contents, &map).map_err(fault)?;
    Ok(File { path: path.to_path_buf(), map, contents, config })
}

/// Loads a model for inference: on the processor weights stay as narrow as they are in the file.
pub fn load(path: &Path, device: &Device) -> Result<Decoder, ModelError> {
    let file = open(path)?;
    if !device.is_cpu() {
        return Ok(file.trainable(DType::F32, device)?.detached());
    }
    let specs = params::specs(&file.config);
    super::memory::check(file.map.len() as u64 / 4, DType::F32, device, "the model")?;
    let weights = specs.iter().map(|spec| {
        let raw = file.raw(spec)?;
        raw.weight(spec, rows(spec, &raw))
    });
    let weights = weights.collect::<Result<Vec<_>, _>>()?;
    Decoder::from_weights(file.config, weights, device)
}

/// Divisors of rotations stand in tensors of their own: those of Llama 3.1, and those of LongRoPE for short and long texts.
fn stretch(config: &mut Config, contents: &Contents, file: &[u8]) -> Result<(), String> {
    let divisors = |name: &str| -> Result<Option<Vec<f64>>, String> {
        let Some(entry) = contents.get(name) else { return Ok(None) };
        if entry.kind != Type::F32 {
            return Err(format!("{name} is of type {} and not F32", entry.kind.name()));
        }
        let mut numbers = vec![0f32; entry.elements()];
        blocks::dequantize(entry.kind, entry.bytes(file), &mut numbers);
        if numbers.iter().any(|x| !(*x > 0.0 && x.is_finite())) {
            return Err(format!("{name} holds a number that divides nothing"));
        }
        Ok(Some(numbers.into_iter().map(f64::from).collect()))
    };
    let (short, long) = match (divisors(DIVISORS)?, divisors("rope_factors_short.weight")?, divisors("rope_factors_long.weight")?) {
        (Some(all), ..) => (all.clone(), all),
        (None, Some(short), Some(long)) => (short, long),
        (None, None, None) => return Ok(()),
        _ => return Err("it has divisors of rotations for short texts or for long ones, and not both".into()),
    };
    let named = |key: &str| {
        let architecture = contents.metadata.get("general.architecture").and_then(|v| v.as_text()).unwrap_or_default();
        contents.metadata.get(&format!("{architecture}.rope.scaling.{key}"))
    };
    let original = named("original_context_length").and_then(|v| v.as_u64()).map_or(config.context, |n| n as usize);
    let gain = named("attn_factor").and_then(|v| v.as_f64()).unwrap_or(1.0);
    for rope in &mut config.arch.ropes {
        if short.len() != rope.dims / 2 || long.len() != rope.dims / 2 {
            return Err(format!("it has {} divisors of rotations for {} pairs of numbers", short.len(), rope.dims / 2));
        }
        rope.scaling = Scaling::Long { short: short.clone(), long: long.clone(), original, gain };
    }
    Ok(())
}

/// The tensor with a divisor for each pair of numbers that turns.
const DIVISORS: &str = "rope_freqs.weight";

/// Rows of a parameter as they stand in a file: a vector is one of single numbers.
fn rows(spec: &Spec, raw: &Raw) -> usize {
    spec.shape.iter().product::<usize>() / raw.cols.max(1)
}

impl File {
    pub fn config(&self) -> &Config {
        &self.config
    }
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The model with all numbers widened, as one that can be trained.
    pub fn trainable(&self, dtype: DType, device: &Device) -> Result<Decoder, ModelError> {
        super::memory::check(self.config.parameters(), dtype, device, "the model")?;
        let param = |spec: Spec| {
            let raw = self.raw(&spec)?;
            let (rows, cols) = (rows(&spec, &raw), raw.cols);
            let mut tensor = Tensor::from_vec(raw.numbers(rows), (rows, cols), &Device::Cpu)?;
            if self.place(&spec.name)?.turn == Turn::Transposed {
                tensor = tensor.t()?.contiguous()?;
            }
            let tensor = tensor.reshape(spec.shape.as_slice())?.to_dtype(dtype)?.to_device(device)?;
            Ok(Param { name: spec.name, var: Var::from_tensor(&tensor)?, kind: spec.kind })
        };
        let list = params::specs(&self.config).into_iter().map(param).collect::<Result<Vec<_>, ModelError>>()?;
        Decoder::from_params(self.config.clone(), list)
    }

    fn place(&self, parameter: &str) -> Result<names::Place, ModelError> {
        names::place(&shape_of(&self.config), parameter)
            .ok_or_else(|| hf::file_error(&self.path, format!("has no place for {parameter}"), "take the model's safetensors"))
    }

    /// The parameter as it stands in the file.
    fn raw(&self, spec: &Spec) -> Result<Raw<'_>, ModelError> {
        let place = self.place(&spec.name)?;
        let fault = |what: String| hf::file_error(&self.path, what, ANEW);
        let entry = self.contents.get(&place.name).ok_or_else(|| fault(format!("lacks the tensor {}", place.name)))?;
        let expected = match (place.turn, spec.shape.as_slice()) {
            (Turn::Transposed, [inputs, outputs]) => vec![*outputs, *inputs],
            (Turn::Part { of, .. }, shape) => [&[of], shape].concat(),
            (_, shape) => shape.to_vec(),
        };
        if entry.shape != expected {
            return Err(fault(format!("{} has shape {:?} where its metadata ask for {expected:?}", place.name, entry.shape)));
        }
        // A vector is a column of single numbers, so that its rows can be put into order.
        let cols = if spec.shape.len() == 1 { 1 } else { expected.last().copied().unwrap_or(1) };
        if spec.shape.len() == 1 && !entry.kind.plain() {
            return Err(fault(format!("{} is of type {}, which a vector should not be", place.name, entry.kind.name())));
        }
        let (turn, rows) = (place.turn, spec.shape.iter().product::<usize>() / cols.max(1));
        let less = if turn == Turn::PlusOne { 1.0 } else { 0.0 };
        let order = Box::new(move |i| turn.row(i, rows));
        Ok(Raw { kind: entry.kind, bytes: Cow::Borrowed(entry.bytes(&self.map)), cols, order, less })
    }
}

/// What of a config decides the places of its parameters.
pub fn shape_of(config: &Config) -> Shape<'static> {
    Shape {
        model_type: config.family.name(),
        heads: config.heads,
        kv_heads: config.kv_heads,
        experts: config.arch.experts.as_ref().map_or(0, |e| e.count),
    }
}
