//! Families with LayerNorm: gpt2, gpt_neox, phi, stablelm, starcoder2.
//! Deliberately not here: encoders, and cross-attention to them.

use super::super::arch::{Activation, Arch, FfnKind, HeadNorm, NormKind, Places, Qkv};
use super::super::config::Config;
use super::super::hf::config::{Habits, Reader};
use super::{Family, ModelError, NAMES, Names};
use serde_json::{Map, Value, json};

type Read = Result<Config, ModelError>;
type Json = Map<String, Value>;

pub const GPT2: Names = Names {
    tokens: "transformer.wte",
    positions: "transformer.wpe",
    layers: "transformer.h.",
    norm1: "ln_1",
    qkv: "attn.c_attn",
    output: "attn.c_proj",
    norm2: "ln_2",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    norm: "transformer.ln_f",
    ..NAMES
};
pub const NEOX: Names = Names {
    tokens: "gpt_neox.embed_in",
    layers: "gpt_neox.layers.",
    qkv: "attention.query_key_value",
    output: "attention.dense",
    up: "mlp.dense_h_to_4h",
    down: "mlp.dense_4h_to_h",
    norm: "gpt_neox.final_layer_norm",
    head: "embed_out",
    ..NAMES
};
pub const PHI: Names = Names {
    q_norm: "self_attn.q_layernorm",
    k_norm: "self_attn.k_layernorm",
    output: "self_attn.dense",
    up: "mlp.fc1",
    down: "mlp.fc2",
    norm: "model.final_layernorm",
    ..NAMES
};
pub const STABLE: Names = Names { q_norm: "self_attn.q_layernorm", k_norm: "self_attn.k_layernorm", ..NAMES };
pub const STARCODER: Names = Names { up: "mlp.c_fc", down: "mlp.c_proj", ..NAMES };

pub fn gpt2(r: &Reader) -> Read {
    let named = r.text("activation_function")?.unwrap_or_else(|| "gelu_new".into());
    let activation = match r.activation("activation_function", &named)? {
        Activation::Silu => {
            return Err(r.refuse("activation_function", &format!("{named:?} is not built here"), "choose a model with gelu_new"));
        }
        gelu => gelu,
    };
    r.flag("scale_attn_weights", true)?;
    r.flag("scale_attn_by_inverse_layer_idx", false)?;
    r.flag("add_cross_attention", false)?;
    let (width, heads) = (r.size("n_embd", Some(768))?, r.size("n_head", Some(12))?);
    if heads == 0 || !width.is_multiple_of(heads) {
        return Err(r.refuse("n_head", &format!("{heads} does not divide n_embd = {width}"), "fetch the model directory anew"));
    }
    Ok(Config {
        family: Family::Gpt2,
        vocab: r.size("vocab_size", None)?,
        width,
        layers: r.size("n_layer", Some(12))?,
        heads,
        kv_heads: heads,
        head_dim: width / heads,
        ffn: r.size("n_inner", Some(width.saturating_mul(4)))?,
        context: r.size("n_positions", Some(1024))?,
        tied: r.boolean("tie_word_embeddings", true)?,
        norm_eps: r.number("layer_norm_epsilon", 1e-5)?,
        arch: Arch { activation, ..Arch::gpt2() },
        dropout: 0.0,
        init_std: r.number("initializer_range", 0.02)?,
        bos: r.token("bos_token_id")?,
        eos: r.token("eos_token_id")?,
    })
}

/// All of it: nothing of what the other families share has the same name here.
pub fn write_gpt2(c: &Config, map: &mut Json) {
    let kept = ["architectures", "model_type", "vocab_size", "initializer_range", "tie_word_embeddings", "use_cache"];
    let kept = [kept.as_slice(), &["bos_token_id", "eos_token_id", "dtype", "torch_dtype"]].concat();
    map.retain(|key, _| kept.contains(&key.as_str()));
    let activation = if c.arch.activation == Activation::Gelu { "gelu" } else { "gelu_new" };
    let own = json!({
        "n_positions": c.context, "n_ctx": c.context, "n_embd": c.width, "n_layer": c.layers, "n_head": c.heads, "n_inner": c.ffn,
        "activation_function": activation, "layer_norm_epsilon": c.norm_eps, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
        "scale_attn_weights": true, "scale_attn_by_inverse_layer_idx": false, "reorder_and_upcast_attn": false,
        "add_cross_attention": false,
    });
    map.extend(own.as_object().cloned().unwrap_or_default());
}

const HABITS: Habits = Habits { eps: ("layer_norm_eps", 1e-5), ..Habits::LLAMA };

pub fn gpt_neox(r: &Reader) -> Read {
    let theta = r.number("rotary_emb_base", 10_000.0)?;
    let partial = r.number("rotary_pct", 0.25)?;
    let habits = Habits { theta, partial: Some(partial), activation: ("hidden_act", "gelu"), ..HABITS };
    let mut c = r.rotary(Family::GptNeox, habits)?;
    let biased = r.boolean("attention_bias", true)?;
    c.arch = Arch {
        norm: NormKind::Layer,
        qkv: Qkv::Interleaved,
        parallel: r.boolean("use_parallel_residual", true)?,
        qkv_bias: biased,
        output_bias: biased,
        ffn_bias: true,
        ffn: FfnKind::Dense,
        ..c.arch
    };
    Ok(c)
}

pub fn write_gpt_neox(c: &Config, map: &mut Json) {
    map.remove("num_key_value_heads");
    map.remove("rms_norm_eps");
    map.insert("layer_norm_eps".into(), json!(c.norm_eps));
    map.insert("attention_bias".into(), json!(c.arch.qkv_bias));
    map.insert("use_parallel_residual".into(), json!(c.arch.parallel));
    map.insert("rotary_emb_base".into(), json!(c.rope_theta()));
    map.insert("rotary_pct".into(), json!(partial(c)));
    map.insert("hidden_dropout".into(), json!(0.0));
}

/// The share of each head that turns.
pub fn partial(c: &Config) -> f64 {
    c.arch.ropes.first().map_or(1.0, |rope| rope.dims as f64 / c.head_dim as f64)
}

pub fn phi(r: &Reader) -> Read {
    let mut c = r.rotary(Family::Phi, Habits { partial: Some(0.5), activation: ("hidden_act", "gelu_new"), ..HABITS })?;
    c.arch = Arch {
        norm: NormKind::Layer,
        places: Places::Shared,
        parallel: true,
        head_norm: if r.boolean("qk_layernorm", false)? { HeadNorm::Each } else { HeadNorm::None },
        qkv_bias: true,
        output_bias: true,
        ffn_bias: true,
        head_bias: true,
        ffn: FfnKind::Dense,
        ..c.arch
    };
    Ok(c)
}

pub fn write_phi(c: &Config, map: &mut Json) {
    map.remove("rms_norm_eps");
    map.insert("layer_norm_eps".into(), json!(c.norm_eps));
    map.insert("partial_rotary_factor".into(), json!(partial(c)));
    map.insert("qk_layernorm".into(), json!(c.arch.head_norm == HeadNorm::Each));
    map.insert("resid_pdrop".into(), json!(0.0));
    map.insert("embd_pdrop".into(), json!(0.0));
}

pub fn stablelm(r: &Reader) -> Read {
    let mut c = r.rotary(Family::Stablelm, Habits { kv_heads: Some(32), context: 4096, partial: Some(0.25), ..HABITS })?;
    let parallel = r.boolean("use_parallel_residual", false)?;
    c.arch = Arch {
        norm: NormKind::Layer,
        places: if parallel { Places::Shared } else { Places::Before },
        parallel,
        head_norm: if r.boolean("qk_layernorm", false)? { HeadNorm::Own } else { HeadNorm::None },
        qkv_bias: r.boolean("use_qkv_bias", false)?,
        ..c.arch
    };
    Ok(c)
}

pub fn write_stablelm(c: &Config, map: &mut Json) {
    map.remove("rms_norm_eps");
    map.insert("layer_norm_eps".into(), json!(c.norm_eps));
    map.insert("partial_rotary_factor".into(), json!(partial(c)));
    map.insert("use_parallel_residual".into(), json!(c.arch.parallel));
    map.insert("qk_layernorm".into(), json!(c.arch.head_norm == HeadNorm::Own));
    map.insert("use_qkv_bias".into(), json!(c.arch.qkv_bias));
    map.insert("hidden_dropout".into(), json!(0.0));
}

pub fn starcoder2(r: &Reader) -> Read {
    let habits = Habits {
        kv_heads: Some(2),
        context: 4096,
        tied: true,
        eps: ("norm_epsilon", 1e-5),
        activation: ("hidden_act", "gelu_pytorch_tanh"),
        ..HABITS
    };
    let mut c = r.rotary(Family::Starcoder2, habits)?;
    let biased = r.boolean("use_bias", true)?;
    c.arch = Arch { norm: NormKind::Layer, qkv_bias: biased, output_bias: biased, ffn_bias: biased, ffn: FfnKind::Dense, ..c.arch };
    c.arch = c.arch.windowed(c.layers, r.window(None)?);
    Ok(c)
}

pub fn write_starcoder2(c: &Config, map: &mut Json) {
    map.remove("rms_norm_eps");
    map.insert("norm_epsilon".into(), json!(c.norm_eps));
    map.insert("use_bias".into(), json!(c.arch.ffn_bias));
    map.insert("sliding_window".into(), json!(c.arch.layer(0).window));
    map.insert("residual_dropout".into(), json!(0.0));
    map.insert("embedding_dropout".into(), json!(0.0));
}
