//! Adapters as PEFT saves them: `adapter_config.json` and `adapter_model.safetensors`, LoRA and rsLoRA, laid on a decoder.
//! Deliberately not here: finding the base model that an adapter belongs to (`engine::models`), and training adapters.

use super::super::decoder::Decoder;
use super::super::linear::Low;
use super::config::{object, says_something, shortened};
use super::{ModelError, file_error, read};
use candle_core::{DType, Device, Tensor};
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

const CONFIG: &str = "adapter_config.json";
/// Keys that say nothing about what a finished adapter computes, or say it again: the tensors tell which modules have one.
const HARMLESS: &[&str] = &[
    "base_model_name_or_path",
    "base_model_class",
    "parent_library",
    "auto_mapping",
    "revision",
    "peft_type",
    "peft_version",
    "task_type",
    "inference_mode",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "r",
    "lora_alpha",
    "alpha_pattern",
    "rank_pattern",
    "use_rslora",
    "lora_dropout",
    "bias",
    "modules_to_save",
    "init_lora_weights",
    "loftq_config",
    "fan_in_fan_out",
    "ensure_weight_tying",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
];

/// Whether a directory holds an adapter and not a whole model.
pub fn is_adapter(dir: &Path) -> bool {
    dir.join(CONFIG).is_file() && !dir.join("config.json").is_file()
}

/// The file with an adapter's numbers.
pub fn weights_path(dir: &Path) -> PathBuf {
    let plain = dir.join("adapter_model.safetensors");
    let older = dir.join("adapter_model.bin");
    if !plain.is_file() && older.is_file() { older } else { plain }
}

/// The model that an adapter says it was trained on, as its maker called it.
pub fn base_of(dir: &Path) -> Result<Option<String>, ModelError> {
    let map = object(&dir.join(CONFIG))?;
    Ok(map.get("base_model_name_or_path").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_string))
}

/// Lays the adapter of a directory on a decoder. `Decoder::merge` makes it a part of the weights.
///
/// # Errors
/// Kinds of adapters that are not built here, each by its name; tensors that fit no module of the decoder.
pub fn apply(decoder: &mut Decoder, dir: &Path) -> Result<(), ModelError> {
    let path = dir.join(CONFIG);
    let config = Settings::read(&path, &object(&path)?)?;
    let file = weights_path(dir);
    let tensors = read::all(&file, decoder.dtype(), decoder.device())?;
    let (mut halves, mut whole): (BTreeMap<String, [Option<Tensor>; 2]>, Vec<(String, Tensor)>) = Default::default();
    for (name, tensor) in tensors {
        let own = name.strip_prefix("base_model.model.").unwrap_or(&name).replace(".base_layer", "");
        let half = [".lora_A.weight", ".lora_B.weight"].into_iter().enumerate().find_map(|(i, end)| Some((i, own.strip_suffix(end)?)));
        match half {
            Some((half, module)) => halves.entry(module.to_string()).or_default()[half] = Some(tensor),
            None if own.contains("lora_") => {
                let what = format!("{name} is of a kind of adapter that is not built here");
                return Err(file_error(&file, what, "use an adapter of plain LoRA on linear layers"));
            }
            None => whole.push((own, tensor)),
        }
    }
    let mut changes = HashMap::new();
    for (module, pair) in halves {
        let [Some(a), Some(b)] = pair else {
            return Err(file_error(&file, format!("lacks one half of the adapter of {module}"), "fetch the file anew"));
        };
        let rank = a.dim(0)?;
        changes.insert(module.clone(), Low { scale: config.scale(&module, rank), a, b });
    }
    replace(decoder, &file, whole)?;
    decoder.adapt(changes).map_err(|e| file_error(&file, e.to_string(), "use the adapter with its own base model"))
}

/// Whole parameters that were trained beside the adapter: biases, and `modules_to_save`.
fn replace(decoder: &Decoder, file: &Path, whole: Vec<(String, Tensor)>) -> Result<(), ModelError> {
    for (name, tensor) in whole {
        let Some(param) = decoder.params().iter().find(|param| param.name == name) else {
            return Err(file_error(
                file,
                format!("holds {name}, for which the base model has no place"),
                "use the adapter with its own base model",
            ));
        };
        if param.var.dims() != tensor.dims() {
            let what = format!("{name} has shape {:?} where the base model has {:?}", tensor.dims(), param.var.dims());
            return Err(file_error(file, what, "use the adapter with its own base model"));
        }
        param.var.set(&tensor)?;
    }
    Ok(())
}

struct Settings {
    alpha: f64,
    root: bool,
    /// Other values of alpha for modules whose names end so.
    patterns: Vec<(Regex, f64)>,
}

impl Settings {
    fn read(path: &Path, map: &Map<String, Value>) -> Result<Self, ModelError> {
        let refuse = |what: String| file_error(path, what, "use an adapter of plain LoRA or rsLoRA, or merge it into its base with peft");
        let kind = map.get("peft_type").and_then(Value::as_str).unwrap_or("?");
        if !kind.eq_ignore_ascii_case("LORA") {
            return Err(refuse(format!("peft_type: {kind:?} is a kind of adapter that is not built here")));
        }
        if map.get("use_dora").is_some_and(says_something) {
            return Err(refuse("use_dora: DoRA is not built here".into()));
        }
        // These change the base model before training, and an adapter that was not converted does not say how.
        if let Some(init) = map.get("init_lora_weights").and_then(Value::as_str)
            && ["pissa", "olora", "corda", "loftq", "lora_ga"].iter().any(|kind| init.starts_with(kind))
        {
            return Err(refuse(format!("init_lora_weights: {init:?} changes the base model, which the adapter does not hold")));
        }
        if let Some((key, value)) = map.iter().find(|(key, value)| !HARMLESS.contains(&key.as_str()) && says_something(value)) {
            return Err(refuse(format!(
                "{key}: {} is a setting that is not known here and may change what the adapter computes",
                shortened(value)
            )));
        }
        let number = |value: &Value, key: &str| {
            value.as_f64().filter(|x| x.is_finite()).ok_or_else(|| refuse(format!("{key}: {} is not a number", shortened(value))))
        };
        let Some(alpha) = map.get("lora_alpha") else { return Err(refuse("lora_alpha: is missing".into())) };
        let mut patterns = Vec::new();
        for (pattern, value) in map.get("alpha_pattern").and_then(Value::as_object).into_iter().flatten() {
            // As PEFT matches them: the pattern is the end of a module's name, at a dot.
            let regex =
                Regex::new(&format!(r"^(.*\.)?({pattern})$")).map_err(|_| refuse(format!("alpha_pattern: {pattern:?} is no pattern")))?;
            patterns.push((regex, number(value, "alpha_pattern")?));
        }
        let root = map.get("use_rslora").is_some_and(says_something);
        Ok(Self { alpha: number(alpha, "lora_alpha")?, root, patterns })
    }

    /// alpha / rank, or alpha / √rank (Kalajdzievski 2023, rsLoRA).
    fn scale(&self, module: &str, rank: usize) -> f64 {
        let alpha = self.patterns.iter().find(|(pattern, _)| pattern.is_match(module)).map_or(self.alpha, |(_, alpha)| *alpha);
        let rank = rank.max(1) as f64;
        alpha / if self.root { rank.sqrt() } else { rank }
    }
}

/// Whether an adapter also brings whole parameters, which replace those of its base.
pub fn replaces(dir: &Path) -> Result<bool, ModelError> {
    let tensors = read::all(&weights_path(dir), DType::F32, &Device::Cpu)?;
    Ok(tensors.keys().any(|name| !name.contains("lora_")))
}

/// The base with the adapter laid on it, on this device.
pub fn load(base: &Path, adapter: &Path, dtype: DType, device: &Device) -> Result<Decoder, ModelError> {
    let mut decoder = super::load(base, dtype, device)?;
    apply(&mut decoder, adapter)?;
    Ok(decoder)
}
