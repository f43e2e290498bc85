//! stub: Hugging Face model directories, in and out
use super::ModelError;
use super::config::Config;
use super::decoder::Decoder;
use candle_core::{DType, Device};
use std::path::Path;

/// Reads `config.json` and `model.safetensors` (or shards) of a directory.
pub fn load(dir: &Path, dtype: DType, device: &Device) -> Result<Decoder, ModelError> {
    let _ = (dir, dtype, device);
    todo!()
}
/// Reads `config.json` alone.
pub fn load_config(dir: &Path) -> Result<Config, ModelError> {
    let _ = dir;
    todo!()
}
/// Writes `config.json`, `generation_config.json` and `model.safetensors` into an existing directory, synced.
pub fn save(decoder: &Decoder, dir: &Path) -> Result<(), ModelError> {
    let _ = (decoder, dir);
    todo!()
}
