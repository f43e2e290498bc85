//! What the metadata of a GGUF file says of a model, said as the `config.json` of the same model would: so that there is one
//! reader of configs. Keys as in github.com/ggml-org/llama.cpp, `gguf-py/gguf/constants.py`.
//! Deliberately not here: what the keys of a `config.json` mean (`hf`).

use crate::gguf::tensors::Contents;
use crate::text::visible;
use serde_json::{Map, Value, json};

/// The architecture's name in GGUF, and the `model_type` of the same in a `config.json`.
pub const ARCHITECTURES: &[(&str, &str)] = &[
    ("llama", "llama"),
    ("llama", "mistral"),
    ("llama", "mixtral"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
    ("qwen3moe", "qwen3_moe"),
    ("gemma", "gemma"),
    ("gemma2", "gemma2"),
    ("gemma3", "gemma3_text"),
    ("phi2", "phi"),
    ("phi3", "phi3"),
    ("gpt2", "gpt2"),
    ("gptneox", "gpt_neox"),
    ("olmo2", "olmo2"),
    ("smollm3", "smollm3"),
    ("stablelm", "stablelm"),
    ("starcoder2", "starcoder2"),
];

/// The keys of one file.
struct Keys<'a> {
    file: &'a Contents,
    /// `general.architecture`.
    architecture: &'a str,
}

/// The `config.json`; what is wrong with the metadata otherwise.
pub fn translate(file: &Contents) -> Result<Map<String, Value>, String> {
    let architecture = file.metadata.get("general.architecture").and_then(|v| v.as_text());
    let architecture = architecture.ok_or("its metadata do not say which architecture it has (general.architecture)")?;
    let Some((_, model_type)) = ARCHITECTURES.iter().find(|(name, _)| *name == architecture) else {
        let mut known: Vec<&str> = ARCHITECTURES.iter().map(|a| a.0).collect();
        known.dedup();
        return Err(format!(
            "its architecture is “{}”, which is not built here (known: {})",
            visible(architecture, false),
            known.join(", ")
        ));
    };
    let keys = Keys { file, architecture };
    let mut map = keys.common()?;
    map.insert("model_type".into(), json!(model_type));
    keys.particular(&mut map)?;
    Ok(map)
}

impl Keys<'_> {
    fn value(&self, key: &str) -> Option<&crate::gguf::Value> {
        self.file.metadata.get(&format!("{}.{key}", self.architecture))
    }
    fn size(&self, key: &str) -> Result<usize, String> {
        self.maybe_size(key)?.ok_or_else(|| format!("its metadata lack {}.{key}", self.architecture))
    }
    /// A number that may be missing; one that is no size is refused (as are lists, which say that layers differ).
    fn maybe_size(&self, key: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        // Some writers give each layer's number where all are the same.
        let one = match value.as_array() {
            Some([first, rest @ ..]) if rest.iter().all(|v| v == first) => first,
            Some(_) => return Err(format!("{}.{key} says that layers differ, which is not built here", self.architecture)),
            None => value,
        };
        one.as_u64().and_then(|n| usize::try_from(n).ok()).map(Some).ok_or_else(|| format!("{}.{key} is no size", self.architecture))
    }
    fn number(&self, key: &str) -> Option<f64> {
        // What was written as f32 is read as the decimal number that it stands for.
        self.value(key)?.as_f64().map(|x| (x as f32).to_string().parse().unwrap_or(x))
    }
    fn has(&self, tensor: &str) -> bool {
        self.file.get(tensor).is_some()
    }

    fn common(&self) -> Result<Map<String, Value>, String> {
        let (width, layers, heads) = (self.size("embedding_length")?, self.size("block_count")?, self.size("attention.head_count")?);
        let table = self.file.get("token_embd.weight").ok_or("it lacks the tensor token_embd.weight")?;
        let head_dim = match (self.maybe_size("attention.key_length")?, heads) {
            (Some(d), _) => d,
            (None, 0) => return Err(format!("{}.attention.head_count is 0", self.architecture)),
            (None, _) => width / heads,
        };
        if self.maybe_size("attention.value_length")?.is_some_and(|v| v != head_dim) {
            return Err("its values are of another length than its keys, which is not built here".into());
        }
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.into(), value);
        put("vocab_size", json!(table.shape.first()));
        put("hidden_size", json!(width));
        put("num_hidden_layers", json!(layers));
        put("num_attention_heads", json!(heads));
        put("num_key_value_heads", json!(self.maybe_size("attention.head_count_kv")?.unwrap_or(heads)));
        put("head_dim", json!(head_dim));
        put("intermediate_size", json!(self.size("feed_forward_length")?));
        put("max_position_embeddings", json!(self.size("context_length")?));
        put("tie_word_embeddings", json!(!self.has("output.weight")));
        put("rope_theta", json!(self.number("rope.freq_base").unwrap_or(10_000.0)));
        if let Some(eps) = self.number("attention.layer_norm_rms_epsilon") {
            put("rms_norm_eps", json!(eps));
        }
        if let Some(eps) = self.number("attention.layer_norm_epsilon") {
            put("layer_norm_eps", json!(eps));
        }
        for (key, name) in [("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id")] {
            if let Some(id) = self.file.metadata.get(&format!("tokenizer.ggml.{name}")).and_then(|v| v.as_u64()) {
                put(key, json!(id));
            }
        }
        self.scaling(&mut map)?;
        Ok(map)
    }

    /// How positions were stretched. Divisors for each pair of numbers stand in tensors, which their loader reads.
    fn scaling(&self, map: &mut Map<String, Value>) -> Result<(), String> {
        let factor = self.number("rope.scaling.factor").or(self.number("rope.scale_linear"));
        let original = self.maybe_size("rope.scaling.original_context_length")?;
        let kind = self.value("rope.scaling.type").and_then(|v| v.as_text()).unwrap_or(if factor.is_some() { "linear" } else { "none" });
        match (kind, factor) {
            ("none", _) | (_, None | Some(1.0)) => Ok(()),
            ("linear", Some(factor)) => {
                map.insert("rope_scaling".into(), json!({"rope_type": "linear", "factor": factor}));
                Ok(())
            }
            ("yarn", Some(factor)) => {
                let mut scaling = json!({"rope_type": "yarn", "factor": factor});
                if let Some(original) = original {
                    scaling["original_max_position_embeddings"] = json!(original);
                }
                map.insert("rope_scaling".into(), scaling);
                Ok(())
            }
            // Its divisors are those of the tensors.
            ("longrope", _) => Ok(()),
            (other, _) => Err(format!("its positions are scaled by “{}”, which is not built here", visible(other, false))),
        }
    }

    /// What the architectures have of their own.
    fn particular(&self, map: &mut Map<String, Value>) -> Result<(), String> {
        let number = |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_u64).unwrap_or(0) as usize;
        let (width, heads, head_dim, layers) =
            (number(map, "hidden_size"), number(map, "num_attention_heads"), number(map, "head_dim"), number(map, "num_hidden_layers"));
        let eps = map.get("layer_norm_eps").cloned().unwrap_or(json!(1e-5));
        let turned = self.maybe_size("rope.dimension_count")?.map_or(1.0, |n| n as f64 / head_dim.max(1) as f64);
        let mut put = |key: &str, value: Value| map.insert(key.into(), value);
        match self.architecture {
            "llama" => {
                put("attention_bias", json!(self.has("blk.0.attn_q.bias")));
                put("mlp_bias", json!(self.has("blk.0.ffn_gate.bias")));
                if let Some(experts) = self.maybe_size("expert_count")?.filter(|n| *n > 0) {
                    put("model_type", json!("mixtral"));
                    put("num_local_experts", json!(experts));
                    put("num_experts_per_tok", json!(self.size("expert_used_count")?));
                }
            }
            "qwen3" => {
                put("attention_bias", json!(false));
            }
            "qwen3moe" => {
                put("num_experts", json!(self.size("expert_count")?));
                put("num_experts_per_tok", json!(self.size("expert_used_count")?));
                put("moe_intermediate_size", json!(self.size("expert_feed_forward_length")?));
                put("norm_topk_prob", json!(true));
                put("decoder_sparse_step", json!(1));
                put("mlp_only_layers", json!([]));
            }
            "gemma" => {
                put("hidden_activation", json!("gelu_pytorch_tanh"));
            }
            "gemma2" | "gemma3" => {
                put("hidden_activation", json!("gelu_pytorch_tanh"));
                // The largest of either generation scales by the width, the others by the heads' own.
                let largest = (self.architecture, layers) == ("gemma2", 46) || (self.architecture, layers) == ("gemma3", 62);
                put("query_pre_attn_scalar", json!(if largest { width / heads.max(1) } else { head_dim }));
                put("attn_logit_softcapping", json!(self.number("attn_logit_softcapping")));
                put("final_logit_softcapping", json!(self.number("final_logit_softcapping")));
                put("sliding_window", json!(self.maybe_size("attention.sliding_window")?.unwrap_or(4096)));
                if self.architecture == "gemma3" {
                    put("rope_local_base_freq", json!(10_000.0));
                    put("sliding_window_pattern", json!(6));
                    put("use_bidirectional_attention", json!(false));
                }
            }
            "phi2" => {
                put("partial_rotary_factor", json!(turned));
                put("hidden_act", json!("gelu_new"));
                put("qk_layernorm", json!(false));
            }
            "phi3" => {
                put("partial_rotary_factor", json!(turned));
                put("sliding_window", json!(self.maybe_size("attention.sliding_window")?.filter(|n| *n > 0)));
                if let Some(original) = self.maybe_size("rope.scaling.original_context_length")? {
                    put("original_max_position_embeddings", json!(original));
                }
            }
            "gpt2" => {
                for (key, from) in [
                    ("n_embd", "hidden_size"),
                    ("n_layer", "num_hidden_layers"),
                    ("n_head", "num_attention_heads"),
                    ("n_inner", "intermediate_size"),
                    ("n_positions", "max_position_embeddings"),
                ] {
                    let value = map.get(from).cloned().unwrap_or_default();
                    map.insert(key.into(), value);
                }
                map.insert("layer_norm_epsilon".into(), eps);
                let other = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings"];
                let other = [other.as_slice(), &["num_key_value_heads", "head_dim", "rope_theta", "layer_norm_eps"]].concat();
                map.retain(|key, _| !other.contains(&key.as_str()));
            }
            "gptneox" => {
                put("rotary_pct", json!(turned));
                put("hidden_act", json!("gelu"));
                put("use_parallel_residual", json!(self.value("use_parallel_residual").and_then(|v| v.as_bool()).unwrap_or(true)));
            }
            "smollm3" => {
                put("no_rope_layer_interval", json!(4));
                put("no_rope_layers", json!((0..layers).map(|i| u8::from(!(i + 1).is_multiple_of(4))).collect::<Vec<_>>()));
                put("attention_bias", json!(false));
                put("mlp_bias", json!(false));
            }
            "stablelm" => {
                put("partial_rotary_factor", json!(turned));
                put("use_parallel_residual", json!(!self.has("blk.0.ffn_norm.weight")));
                put("use_qkv_bias", json!(self.has("blk.0.attn_q.bias")));
                put("qk_layernorm", json!(self.has("blk.0.attn_q_norm.weight")));
            }
            "starcoder2" => {
                put("norm_epsilon", eps);
                map.remove("layer_norm_eps");
                let mut put = |key: &str, value: Value| map.insert(key.into(), value);
                put("use_bias", json!(self.has("blk.0.attn_q.bias")));
                put("hidden_act", json!("gelu_pytorch_tanh"));
                put("sliding_window", json!(self.maybe_size("attention.sliding_window")?.filter(|n| *n > 0)));
            }
            _ => {}
        }
        Ok(())
    }
}
