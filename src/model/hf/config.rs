//! `config.json` of a model directory, in the dialects of transformers 4 and 5. Every key is either read, or known to
//! change nothing, or refused by its name: a model is never computed in a way that its config does not say.
//! Deliberately not here: what single families read and write (`family`), and settings of generation other than the ids of
//! the first and last token.

use super::super::arch::{Activation, Arch};
use super::super::config::{Config, Family};
use super::super::positions::Scaling;
use super::{ModelError, file_error};
use candle_core::DType;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

mod rope;

/// A config of megabytes is no config.
const LARGEST_FILE: u64 = 8 << 20;
const ANEW: &str = "fetch the model directory anew";

/// Keys that say nothing about the mathematics of a pass: names, ids, training's dropout and losses, generation.
const HARMLESS: &[&str] = &[
    "architectures",
    "model_type",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "use_cache",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "sep_token_id",
    "decoder_start_token_id",
    "unk_token_id",
    "attention_dropout",
    "attn_pdrop",
    "resid_pdrop",
    "embd_pdrop",
    "hidden_dropout",
    "residual_dropout",
    "embedding_dropout",
    "classifier_dropout",
    "layer_norm_elementwise_affine",
    "initializer_range",
    // How weights are cut over machines, and how products are ordered.
    "pretraining_tp",
    "reorder_and_upcast_attn",
    "n_ctx",
    "gradient_checkpointing",
    // Losses beside the one of the next token.
    "output_router_logits",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "summary_type",
    "summary_use_proj",
    "summary_activation",
    "summary_proj_to_labels",
    "summary_first_dropout",
    "task_specific_params",
    "problem_type",
    "id2label",
    "label2id",
    "num_labels",
    "finetuning_task",
    "tokenizer_class",
    "prefix",
    "auto_map",
    "torchscript",
    "tf_legacy_loss",
    "use_bfloat16",
    "return_dict",
    "return_dict_in_generate",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "is_encoder_decoder",
    "cache_implementation",
    // Settings of generation, which older versions wrote here.
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "num_beams",
    "num_beam_groups",
    "num_return_sequences",
    "length_penalty",
    "repetition_penalty",
    "diversity_penalty",
    "encoder_no_repeat_ngram_size",
    "no_repeat_ngram_size",
    "early_stopping",
    "max_length",
    "min_length",
    "max_new_tokens",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "transformers.js_config",
    "model_max_length",
];

/// Reads and checks a `config.json`.
pub fn read(path: &Path) -> Result<Config, ModelError> {
    of_json(path, &object(path)?)
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

/// Checks what a `config.json` would say; `path` is the file that says it.
pub fn of_json(path: &Path, map: &Map<String, Value>) -> Result<Config, ModelError> {
    Reader { path, map, seen: RefCell::default() }.config()
}

/// A file that holds one JSON object.
pub(in super::super) fn object(path: &Path) -> Result<Map<String, Value>, ModelError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("config.json");
    let io =
        |e: std::io::Error| file_error(path, format!("cannot be read ({e})"), &format!("name a model directory, which holds a {name}"));
    let mut text = String::new();
    std::fs::File::open(path).map_err(io)?.take(LARGEST_FILE).read_to_string(&mut text).map_err(io)?;
    let value: Value = serde_json::from_str(&text).map_err(|e| file_error(path, format!("is not JSON ({e})"), ANEW))?;
    let Value::Object(map) = value else {
        return Err(file_error(path, "is not a JSON object".into(), ANEW));
    };
    Ok(map)
}

/// The `config.json` of a decoder, with the keys of transformers 4 and of 5.
pub fn write(c: &Config, dtype: DType) -> Value {
    let dtype = match dtype {
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::F64 => "float64",
        _ => "float32",
    };
    let activation = match c.arch.activation {
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    };
    let value = json!({
        "architectures": [c.family.architecture()], "model_type": c.family.name(), "vocab_size": c.vocab,
        "max_position_embeddings": c.context, "hidden_size": c.width, "intermediate_size": c.ffn,
        "num_hidden_layers": c.layers, "num_attention_heads": c.heads, "num_key_value_heads": c.kv_heads,
        "hidden_act": activation, "rms_norm_eps": c.norm_eps, "initializer_range": c.init_std,
        "attention_dropout": 0.0, "tie_word_embeddings": c.tied, "use_cache": true,
        // Some families have a padding of their own where none is said, beyond a small vocabulary.
        "pad_token_id": Value::Null,
        "bos_token_id": c.bos, "eos_token_id": c.eos, "dtype": dtype, "torch_dtype": dtype,
    });
    let Value::Object(mut map) = value else { return value };
    rope::write(c, &mut map);
    c.family.write(c, &mut map);
    Value::Object(map)
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

/// What a family takes where its config says nothing, and under which keys it says it.
#[derive(Clone, Copy)]
pub struct Habits {
    /// None: as many as heads.
    pub kv_heads: Option<usize>,
    /// None: width / heads.
    pub head_dim: Option<usize>,
    pub context: usize,
    pub tied: bool,
    /// Key and value.
    pub eps: (&'static str, f64),
    pub theta: f64,
    /// Of a family that may turn a part of each head: which part.
    pub partial: Option<f64>,
    /// Key and name; without a key the name is what counts.
    pub activation: (&'static str, &'static str),
    /// Of a family with several rotations: whose this one is.
    pub rope_of: Option<&'static str>,
}

impl Habits {
    pub const LLAMA: Habits = Habits {
        kv_heads: None,
        head_dim: None,
        context: 2048,
        tied: false,
        eps: ("rms_norm_eps", 1e-6),
        theta: 10_000.0,
        partial: None,
        activation: ("hidden_act", "silu"),
        rope_of: None,
    };
}

/// A config on its way to becoming a `Config`; it knows which of its keys were read.
pub struct Reader<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
    seen: RefCell<BTreeSet<String>>,
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
        let config = family.read(self)?;
        self.nothing_else()?;
        config.check("").map_err(|e| file_error(self.path, e.to_string(), ANEW))?;
        Ok(config)
    }

    fn family(&self) -> Result<Family, ModelError> {
        let names: Vec<_> = Family::all().map(Family::name).collect();
        let known = format!("{} are read", names.join(", "));
        let Some(name) = self.map.get("model_type").and_then(Value::as_str) else {
            return Err(self.refuse("model_type", "is missing", &known));
        };
        let Some(family) = Family::from_name(name) else {
            return Err(self.refuse("model_type", &format!("{name:?} is an architecture that is not built here"), &known));
        };
        let ours = |v: &Value| v.as_str() == Some(family.architecture());
        if let Some(Value::Array(list)) = self.present("architectures")
            && !list.is_empty()
            && !list.iter().any(ours)
        {
            let text = format!("{} is not {}", list[0], family.architecture());
            return Err(self.refuse("architectures", &text, "choose a causal language model"));
        }
        Ok(family)
    }

    /// Refuses a key that nobody has read and whose value says something.
    fn nothing_else(&self) -> Result<(), ModelError> {
        let seen = self.seen.borrow();
        for (key, value) in self.map {
            let known = seen.contains(key) || HARMLESS.contains(&key.as_str()) || key.starts_with('_');
            if !known && says_something(value) {
                let what = format!("{} is a setting that is not known here and may change what the model computes", shortened(value));
                return Err(self.refuse(key, &what, "choose another model, or take the key out if it changes nothing"));
            }
        }
        Ok(())
    }

    /// What most families say in the same words: sizes, norm, activation, rotary positions.
    pub fn rotary(&self, family: Family, habits: Habits) -> Result<Config, ModelError> {
        let (width, heads) = (self.size("hidden_size", None)?, self.size("num_attention_heads", None)?);
        let head_dim = self.size("head_dim", Some(habits.head_dim.unwrap_or(width / heads.max(1))))?;
        if self.present("head_dim").is_none() && habits.head_dim.is_none() && (heads == 0 || !width.is_multiple_of(heads)) {
            return Err(self.refuse("num_attention_heads", &format!("{heads} does not divide hidden_size = {width}"), ANEW));
        }
        let context = self.size("max_position_embeddings", Some(habits.context))?;
        let rope = self.rope(head_dim, context, habits)?;
        // Positions beyond the first training's are what this scaling is made for.
        let context = match &rope.scaling {
            Scaling::Dynamic { factor, original } => (*original as f64 * factor) as usize,
            _ => context,
        };
        let (key, named) = habits.activation;
        let named = if key.is_empty() { named.into() } else { self.text(key)?.unwrap_or_else(|| named.into()) };
        Ok(Config {
            family,
            vocab: self.size("vocab_size", None)?,
            width,
            layers: self.size("num_hidden_layers", None)?,
            heads,
            kv_heads: self.size("num_key_value_heads", Some(habits.kv_heads.unwrap_or(heads)))?,
            head_dim,
            ffn: self.size("intermediate_size", None)?,
            context,
            tied: self.boolean("tie_word_embeddings", habits.tied)?,
            norm_eps: self.number(habits.eps.0, habits.eps.1)?,
            arch: Arch { activation: self.activation(key, &named)?, ..Arch::llama(rope) },
            dropout: 0.0,
            init_std: self.number("initializer_range", 0.02)?,
            bos: self.token("bos_token_id")?,
            eos: self.token("eos_token_id")?,
        })
    }

    pub fn activation(&self, key: &str, name: &str) -> Result<Activation, ModelError> {
        match name {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            _ => Err(self.refuse(key, &format!("{name:?} is not built here"), "choose a model with silu, gelu or gelu_new")),
        }
    }

    /// How many keys a query sees: `sliding_window`, where null means all of them.
    pub fn window(&self, default: Option<usize>) -> Result<Option<usize>, ModelError> {
        if self.map.get("sliding_window").is_some_and(Value::is_null) {
            self.present("sliding_window");
            return Ok(None);
        }
        if self.map.contains_key("sliding_window") { self.size("sliding_window", None).map(Some) } else { Ok(default) }
    }

    /// Which layers slide: by `layer_types`, or else as `default` says.
    pub fn layer_types(&self, layers: usize, default: impl Fn(usize) -> bool) -> Result<Vec<bool>, ModelError> {
        let Some(value) = self.present("layer_types") else {
            // A wild number of layers is refused by `Config::check`, after this.
            return Ok((0..layers.min(1 << 20)).map(default).collect());
        };
        let Value::Array(list) = value else { return Err(self.refuse("layer_types", "is not a list", ANEW)) };
        if list.len() != layers {
            return Err(self.refuse("layer_types", &format!("names {} of {layers} layers", list.len()), ANEW));
        }
        let one = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(false),
            Some("sliding_attention") => Ok(true),
            _ => Err(self.refuse("layer_types", &format!("{} is not built here", shortened(kind)), "choose another model")),
        };
        list.iter().map(one).collect()
    }

    pub fn refuse(&self, key: &str, what: &str, remedy: &str) -> ModelError {
        file_error(self.path, format!("{key}: {what}"), remedy)
    }
    /// Keys that are known and change nothing in this family.
    pub fn ignore(&self, keys: &[&str]) {
        self.seen.borrow_mut().extend(keys.iter().map(|key| key.to_string()));
    }
    /// A key's value; `null` is as good as absent, as in transformers.
    fn present(&self, key: &str) -> Option<&Value> {
        self.seen.borrow_mut().insert(key.to_string());
        self.map.get(key).filter(|v| !v.is_null())
    }
    pub fn size(&self, key: &str, default: Option<usize>) -> Result<usize, ModelError> {
        match (self.present(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.refuse(key, "is missing", ANEW)),
            (Some(v), _) => match v.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(n) => Ok(n),
                None => Err(self.refuse(key, &format!("{} is not a whole number", shortened(v)), ANEW)),
            },
        }
    }
    pub fn number(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        match self.present(key) {
            None => Ok(default),
            Some(v) => v.as_f64().ok_or_else(|| self.refuse(key, &format!("{} is not a number", shortened(v)), ANEW)),
        }
    }
    /// A number that null takes away.
    pub fn optional_number(&self, key: &str, default: Option<f64>) -> Result<Option<f64>, ModelError> {
        let given = self.map.contains_key(key);
        match (self.present(key), given) {
            (None, true) => Ok(None),
            (None, false) => Ok(default),
            (Some(_), _) => self.number(key, 0.0).map(Some),
        }
    }
    pub fn boolean(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.present(key) {
            None => Ok(default),
            Some(v) => v.as_bool().ok_or_else(|| self.refuse(key, &format!("{} is not true or false", shortened(v)), ANEW)),
        }
    }
    /// A switch that only one position of is built.
    pub fn flag(&self, key: &str, built: bool) -> Result<(), ModelError> {
        if self.boolean(key, built)? == built {
            return Ok(());
        }
        Err(self.refuse(key, &format!("{} is not built here", !built), "choose another model"))
    }
    pub fn text(&self, key: &str) -> Result<Option<String>, ModelError> {
        match self.present(key) {
            None => Ok(None),
            Some(v) => {
                v.as_str().map(|s| Some(s.to_string())).ok_or_else(|| self.refuse(key, &format!("{} is not a text", shortened(v)), ANEW))
            }
        }
    }
    /// A list of whole numbers.
    pub fn list(&self, key: &str) -> Result<Option<Vec<u64>>, ModelError> {
        match self.present(key) {
            None => Ok(None),
            Some(Value::Array(list)) => match list.iter().map(Value::as_u64).collect::<Option<Vec<_>>>() {
                Some(list) => Ok(Some(list)),
                None => Err(self.refuse(key, "is not a list of whole numbers", ANEW)),
            },
            Some(_) => Err(self.refuse(key, "is not a list", ANEW)),
        }
    }
    /// The same, one number a layer.
    pub fn numbers(&self, key: &str, layers: usize) -> Result<Option<Vec<u64>>, ModelError> {
        match self.list(key)? {
            Some(list) if list.len() != layers => Err(self.refuse(key, &format!("names {} of {layers} layers", list.len()), ANEW)),
            other => Ok(other),
        }
    }
    /// A token id; of a list of ids (Llama 3 has several ends) the first.
    pub fn token(&self, key: &str) -> Result<Option<u32>, ModelError> {
        let value = match self.present(key) {
            Some(Value::Array(list)) => list.first(),
            other => other,
        };
        match value {
            None => Ok(None),
            Some(v) => match v.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(id) => Ok(Some(id)),
                None => Err(self.refuse(key, &format!("{} is not a token id", shortened(v)), ANEW)),
            },
        }
    }
}

/// Whether a value is more than a default: not null, false, 0 or empty.
pub(in super::super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as far as a message has room for it.
pub(in super::super) fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { format!("{}…", text.chars().take(59).collect::<String>()) }
}
