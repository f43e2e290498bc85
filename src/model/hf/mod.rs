//! Hugging Face model directories, in and out, with transformers' own names and layouts: nothing here is a format of ours.
//! Deliberately not here: tokenizers and everything else that may lie in such a directory.

pub mod config;
pub mod peft;
mod read;
mod write;

pub(super) use read::map;

use super::ModelError;
use super::config::Config;
use super::decoder::Decoder;
use super::params::{self, Param};
use candle_core::{DType, Device};
use std::path::{Path, PathBuf};

/// Reads `config.json` and `model.safetensors` (or shards, or a `pytorch_model.bin`) of a directory.
///
/// Every tensor must be there with the shape that the config says; what the file holds is checked before anything
/// is allocated. Numbers are widened or narrowed to `dtype`.
pub fn load(dir: &Path, dtype: DType, device: &Device) -> Result<Decoder, ModelError> {
    load_weights(load_config(dir)?, &weights_path(dir)?, dtype, device)
}

/// As `load`, for inference alone: on the processor numbers stay as narrow as the file has them.
pub fn load_frozen(dir: &Path, device: &Device) -> Result<Decoder, ModelError> {
    if !device.is_cpu() {
        return Ok(load(dir, DType::F32, device)?.detached());
    }
    let (config, path) = (load_config(dir)?, weights_path(dir)?);
    // Half of four bytes at least.
    super::memory::check(config.parameters(), DType::F16, device, "the model")?;
    let weights = read::weights(&path, &config, &params::specs(&config))?;
    Decoder::from_weights(config, weights, device)
}

/// The type of numbers that a directory says its weights have; f32 where it does not say.
pub fn dtype_of(dir: &Path) -> Result<DType, ModelError> {
    config::dtype(&dir.join("config.json"))
}

/// Reads `config.json` alone.
pub fn load_config(dir: &Path) -> Result<Config, ModelError> {
    if peft::is_adapter(dir) {
        return Err(file_error(
            dir,
            "holds an adapter and no whole model".into(),
            "merge it into its base model first, or name the base model",
        ));
    }
    config::read(&dir.join("config.json"))
}

/// Reads the weights of a decoder of this shape from one container: a `.safetensors` file, an index of shards, or
/// a `.bin` of PyTorch (which is read without running what it says).
pub fn load_weights(config: Config, path: &Path, dtype: DType, device: &Device) -> Result<Decoder, ModelError> {
    super::memory::check(config.parameters(), dtype, device, "the model")?;
    let specs = params::specs(&config);
    let vars = read::read(path, &config, &specs, dtype, device)?;
    let params = specs.into_iter().zip(vars).map(|(s, var)| Param { name: s.name, var, kind: s.kind }).collect();
    Decoder::from_params(config, params)
}

/// Writes `config.json`, `generation_config.json` and `model.safetensors` into an existing directory, synced.
pub fn save(decoder: &Decoder, dir: &Path) -> Result<(), ModelError> {
    let dtype = decoder.dtype();
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |e: std::io::Error| match crate::report::is_full(&e) {
            true => ModelError::Full { path },
            false => file_error(&path, format!("cannot be written ({e})"), "choose a directory that can be written"),
        }
    };
    let text = |value: &serde_json::Value| format!("{value:#}\n");
    for (name, body) in [
        ("config.json", text(&config::write(decoder.config(), dtype))),
        ("generation_config.json", text(&config::generation(decoder.config()))),
    ] {
        let path = dir.join(name);
        write::synced(&path, body.as_bytes()).map_err(failed(&path))?;
    }
    let path = dir.join("model.safetensors");
    write::safetensors(&path, decoder.params()).map_err(|e| match e {
        write::Fault::Io(e) => failed(&path)(e),
        write::Fault::Candle(e) => ModelError::Candle(e),
    })?;
    // The names stand in the directory, which has to reach the disk as well.
    std::fs::File::open(dir).and_then(|d| d.sync_all()).map_err(failed(dir))
}

fn weights_path(dir: &Path) -> Result<PathBuf, ModelError> {
    for name in ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"] {
        let path = dir.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    let remedy = if dir.join("pytorch_model.bin.index.json").is_file() {
        "convert its PyTorch shards with transformers: from_pretrained(…), then save_pretrained(…)"
    } else {
        "name a directory that holds model.safetensors, its shards with their index, or pytorch_model.bin"
    };
    Err(file_error(dir, "holds no weights that can be read".into(), remedy))
}

/// An error about a file; what came from the file is made safe to show.
pub(super) fn file_error(path: &Path, what: String, remedy: &str) -> ModelError {
    ModelError::File { path: path.to_path_buf(), what: crate::text::visible(&what, false).into_owned(), remedy: remedy.into() }
}
