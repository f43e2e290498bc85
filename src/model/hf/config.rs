//! `config.json` of a model directory, in the dialects of transformers 4 and 5; what would change the maths and is
//! not built is refused by its name.
//! Deliberately not here: generation settings other than the ids of the first and last token.

use super::super::config::{Config, Family};
use super::{ModelError, file_error};
use candle_core::DType;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::Path;

/// A config of megabytes is no config.
const LARGEST_FILE: u64 = 8 << 20;

/// Reads and checks a `config.json`.
pub fn read(path: &Path) -> Result<Config, ModelError> {
    let map = object(path)?;
    Reader { path, map: &map }.config()
}

/// The type of numbers that a `config.json` says the weights have; f32 where it does not say.
pub fn dtype(path: &Path) -> Result<DType, ModelError> {
    let map = object(path)?;
    Ok(match map.get("dtype").or(map.get("torch_dtype")).and_then(Value::as_str) {
        Some("bfloat16") => DType::BF16,
        Some("float16") => DType::F16,
        _ => DType::F32,
    })
}

fn object(path: &Path) -> Result<Map<String, Value>, ModelError> {
    let io = |e: std::io::Error| file_error(path, format!("cannot be read ({e})"), "name a model directory, which holds a config.json");
    let mut text = String::new();
    std::fs::File::open(path).map_err(io)?.take(LARGEST_FILE).read_to_string(&mut text).map_err(io)?;
    let value: Value =
        serde_json::from_str(&text).map_err(|e| file_error(path, format!("is not JSON ({e})"), "fetch the model directory anew"))?;
    let Value::Object(map) = value else {
        return Err(file_error(path, "is not a JSON object".into(), "fetch the model directory anew"));
    };
    Ok(map)
}

/// Checks what a `config.json` would say; `path` is the file that says it.
pub fn of_json(path: &Path, map: &Map<String, Value>) -> Result<Config, ModelError> {
    Reader { path, map }.config()
}

/// The `config.json` of a decoder, with the keys of transformers 4 and of 5.
pub fn write(c: &Config, dtype: DType) -> Value {
    let dtype = match dtype {
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::F64 => "float64",
        _ => "float32",
    };
    let (bos, eos) = (c.bos, c.eos);
    if c.family == Family::Gpt2 {
        return json!({
            "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": c.vocab, "n_positions": c.context,
            "n_ctx": c.context, "n_embd": c.width, "n_layer": c.layers, "n_head": c.heads, "n_inner": c.ffn,
            "activation_function": "gelu_new", "layer_norm_epsilon": c.norm_eps, "initializer_range": c.init_std,
            "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "scale_attn_weights": true,
            "scale_attn_by_inverse_layer_idx": false, "reorder_and_upcast_attn": false, "add_cross_attention": false,
            "tie_word_embeddings": c.tied, "use_cache": true, "bos_token_id": bos, "eos_token_id": eos,
            "dtype": dtype, "torch_dtype": dtype,
        });
    }
    let mut value = json!({
        "architectures": [architecture(c.family)], "model_type": c.family.name(), "vocab_size": c.vocab,
        "max_position_embeddings": c.context, "hidden_size": c.width, "intermediate_size": c.ffn,
        "num_hidden_layers": c.layers, "num_attention_heads": c.heads, "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_dim, "hidden_act": "silu", "rms_norm_eps": c.norm_eps, "rope_theta": c.rope_theta,
        "rope_parameters": { "rope_type": "default", "rope_theta": c.rope_theta }, "initializer_range": c.init_std,
        "attention_bias": false, "attention_dropout": 0.0, "tie_word_embeddings": c.tied, "use_cache": true,
        "bos_token_id": bos, "eos_token_id": eos, "dtype": dtype, "torch_dtype": dtype,
    });
    if c.family == Family::Qwen3 {
        value["use_sliding_window"] = json!(false);
        value["sliding_window"] = Value::Null;
    } else {
        value["mlp_bias"] = json!(false);
    }
    value
}

/// The `generation_config.json` of a decoder.
pub fn generation(c: &Config) -> Value {
    let mut map = Map::new();
    for (key, id) in [("bos_token_id", c.bos), ("eos_token_id", c.eos)] {
        if let Some(id) = id {
            map.insert(key.into(), json!(id));
        }
    }
    Value::Object(map)
}

fn architecture(family: Family) -> &'static str {
    match family {
        Family::Llama => "LlamaForCausalLM",
        Family::Qwen3 => "Qwen3ForCausalLM",
        Family::Gpt2 => "GPT2LMHeadModel",
    }
}

struct Reader<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

impl Reader<'_> {
    fn config(&self) -> Result<Config, ModelError> {
        let family = self.family()?;
        if self.present("quantization_config").is_some() {
            return Err(self.refuse(
                "quantization_config",
                "quantized weights are not read here",
                "fetch the model that was not quantized",
            ));
        }
        let config = if family == Family::Gpt2 { self.gpt2()? } else { self.rotary(family)? };
        config.check("").map_err(|e| file_error(self.path, e.to_string(), "fetch the model directory anew"))?;
        Ok(config)
    }

    fn family(&self) -> Result<Family, ModelError> {
        let known = "llama, qwen3 and gpt2 are read";
        let Some(name) = self.map.get("model_type").and_then(Value::as_str) else {
            return Err(self.refuse("model_type", "is missing", known));
        };
        let Some(family) = Family::from_name(name) else {
            return Err(self.refuse("model_type", &format!("{name:?} is an architecture that is not built here"), known));
        };
        let ours = |v: &Value| v.as_str() == Some(architecture(family));
        if let Some(Value::Array(list)) = self.present("architectures")
            && !list.is_empty()
            && !list.iter().any(ours)
        {
            let text = format!("{} is not {}", list[0], architecture(family));
            return Err(self.refuse("architectures", &text, "choose a causal language model"));
        }
        Ok(family)
    }

    fn gpt2(&self) -> Result<Config, ModelError> {
        self.choice("activation_function", &["gelu_new", "gelu_pytorch_tanh", "gelu_fast"], "gelu_new")?;
        self.flag("scale_attn_weights", true)?;
        self.flag("scale_attn_by_inverse_layer_idx", false)?;
        self.flag("add_cross_attention", false)?;
        let (width, heads) = (self.size("n_embd", Some(768))?, self.size("n_head", Some(12))?);
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(self.refuse("n_head", &format!("{heads} does not divide n_embd = {width}"), "fetch the model directory anew"));
        }
        Ok(Config {
            family: Family::Gpt2,
            vocab: self.size("vocab_size", None)?,
            width,
            layers: self.size("n_layer", Some(12))?,
            heads,
            kv_heads: heads,
            head_dim: width / heads,
            ffn: self.size("n_inner", Some(width.saturating_mul(4)))?,
            context: self.size("n_positions", Some(1024))?,
            tied: self.boolean("tie_word_embeddings", true)?,
            norm_eps: self.number(self.map, "layer_norm_epsilon", 1e-5)?,
            rope_theta: 10_000.0,
            dropout: 0.0,
            init_std: self.number(self.map, "initializer_range", 0.02)?,
            bos: self.token("bos_token_id")?,
            eos: self.token("eos_token_id")?,
        })
    }

    /// Defaults for absent keys are those of transformers' `LlamaConfig` and `Qwen3Config`.
    fn rotary(&self, family: Family) -> Result<Config, ModelError> {
        self.choice("hidden_act", &["silu", "swish"], "silu")?;
        self.flag("attention_bias", false)?;
        self.flag("mlp_bias", false)?;
        self.flag("use_sliding_window", false)?;
        if let Some(Value::Array(types)) = self.present("layer_types")
            && let Some(other) = types.iter().find(|t| t.as_str() != Some("full_attention"))
        {
            return Err(self.refuse("layer_types", &format!("{other} is not built here"), "choose a model with full attention"));
        }
        let (width, heads) = (self.size("hidden_size", None)?, self.size("num_attention_heads", None)?);
        let qwen3 = family == Family::Qwen3;
        let head_dim = if qwen3 { 128 } else { width / heads.max(1) };
        Ok(Config {
            family,
            vocab: self.size("vocab_size", None)?,
            width,
            layers: self.size("num_hidden_layers", None)?,
            heads,
            kv_heads: self.size("num_key_value_heads", Some(if qwen3 { 32 } else { heads }))?,
            head_dim: self.size("head_dim", Some(head_dim))?,
            ffn: self.size("intermediate_size", None)?,
            context: self.size("max_position_embeddings", Some(if qwen3 { 32_768 } else { 2048 }))?,
            tied: self.boolean("tie_word_embeddings", false)?,
            norm_eps: self.number(self.map, "rms_norm_eps", 1e-6)?,
            rope_theta: self.rope()?,
            dropout: 0.0,
            init_std: self.number(self.map, "initializer_range", 0.02)?,
            bos: self.token("bos_token_id")?,
            eos: self.token("eos_token_id")?,
        })
    }

    /// The base of rotary positions: `rope_parameters.rope_theta` (transformers 5) or `rope_theta` (4); scaled
    /// positions are refused under the key that asks for them.
    fn rope(&self) -> Result<f64, ModelError> {
        let mut theta = self.number(self.map, "rope_theta", 10_000.0)?;
        for key in ["rope_scaling", "rope_parameters"] {
            let Some(value) = self.present(key) else { continue };
            let Value::Object(rope) = value else { return Err(self.refuse(key, "is not an object", "fetch the model directory anew")) };
            let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str).unwrap_or("default");
            if kind != "default" {
                return Err(self.refuse(
                    key,
                    &format!("rope_type {kind:?} is not built here"),
                    "choose a model with unscaled rotary positions",
                ));
            }
            theta = self.number(rope, "rope_theta", theta)?;
            self.whole_head(rope, key)?;
        }
        self.whole_head(self.map, "partial_rotary_factor")?;
        Ok(theta)
    }

    /// Refuses rotations of a part of each head.
    fn whole_head(&self, map: &Map<String, Value>, key: &str) -> Result<(), ModelError> {
        if self.number(map, "partial_rotary_factor", 1.0)? == 1.0 {
            return Ok(());
        }
        Err(self.refuse(key, "partial_rotary_factor other than 1 is not built here", "choose a model whose heads are rotated whole"))
    }

    fn refuse(&self, key: &str, what: &str, remedy: &str) -> ModelError {
        file_error(self.path, format!("{key}: {what}"), remedy)
    }
    /// A key's value; `null` is as good as absent, as in transformers.
    fn present(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }
    fn size(&self, key: &str, default: Option<usize>) -> Result<usize, ModelError> {
        match (self.present(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.refuse(key, "is missing", "fetch the model directory anew")),
            (Some(v), _) => match v.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(n) => Ok(n),
                None => Err(self.refuse(key, &format!("{v} is not a whole number"), "fetch the model directory anew")),
            },
        }
    }
    fn number(&self, map: &Map<String, Value>, key: &str, default: f64) -> Result<f64, ModelError> {
        match map.get(key).filter(|v| !v.is_null()) {
            None => Ok(default),
            Some(v) => v.as_f64().ok_or_else(|| self.refuse(key, &format!("{v} is not a number"), "fetch the model directory anew")),
        }
    }
    fn boolean(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.present(key) {
            None => Ok(default),
            Some(v) => v.as_bool().ok_or_else(|| self.refuse(key, &format!("{v} is not true or false"), "fetch the model directory anew")),
        }
    }
    /// A switch that only one position of is built.
    fn flag(&self, key: &str, built: bool) -> Result<(), ModelError> {
        if self.boolean(key, built)? == built {
            return Ok(());
        }
        Err(self.refuse(key, &format!("{} is not built here", !built), "choose another model"))
    }
    fn choice(&self, key: &str, built: &[&str], default: &str) -> Result<(), ModelError> {
        let value = match self.present(key) {
            None => default,
            Some(v) => v.as_str().unwrap_or("?"),
        };
        if built.contains(&value) {
            return Ok(());
        }
        Err(self.refuse(key, &format!("{value:?} is not built here"), &format!("choose a model with {}", built[0])))
    }
    /// A token id; of a list of ids (Llama 3 has several ends) the first.
    fn token(&self, key: &str) -> Result<Option<u32>, ModelError> {
        let value = match self.present(key) {
            Some(Value::Array(list)) => list.first(),
            other => other,
        };
        match value {
            None => Ok(None),
            Some(v) => match v.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(id) => Ok(Some(id)),
                None => Err(self.refuse(key, &format!("{v} is not a token id"), "fetch the model directory anew")),
            },
        }
    }
}
