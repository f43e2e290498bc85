//! Google's families: gemma, gemma2, gemma3_text.
//! Deliberately not here: pictures; of Gemma 3 the part that reads text alone opens.

use super::super::arch::{HeadNorm, Layer, NormKind, Places};
use super::super::config::Config;
use super::super::hf::config::{Habits, Reader};
use super::super::positions::Rope;
use super::{Family, ModelError, NAMES, Names};
use serde_json::{Map, Value, json};

pub const AROUND: Names = Names { norm2: "pre_feedforward_layernorm", ..NAMES };

type Read = Result<Config, ModelError>;
type Json = Map<String, Value>;

const HABITS: Habits = Habits {
    kv_heads: Some(4),
    head_dim: Some(256),
    context: 8192,
    tied: true,
    activation: ("hidden_activation", "gelu_pytorch_tanh"),
    ..Habits::LLAMA
};

fn common(r: &Reader, family: Family, habits: Habits) -> Read {
    r.flag("use_bidirectional_attention", false)?;
    let mut c = r.rotary(family, habits)?;
    c.arch.norm = NormKind::RmsLessOne;
    c.arch.embedding_scale = Some((c.width as f64).sqrt());
    let biased = r.boolean("attention_bias", false)?;
    (c.arch.qkv_bias, c.arch.output_bias) = (biased, biased);
    Ok(c)
}

pub fn gemma(r: &Reader) -> Read {
    // `gelu` in the first releases means the approximation, and a second key wins over it.
    let named = r.text("hidden_act")?.filter(|name| name != "gelu");
    let named = r.text("hidden_activation")?.or(named);
    let activation = match named.as_deref() {
        None | Some("gelu_pytorch_tanh" | "gelu_new") => "gelu_pytorch_tanh",
        Some(other) => {
            return Err(r.refuse("hidden_act", &format!("{other:?} is not built here"), "choose a model with gelu_pytorch_tanh"));
        }
    };
    common(r, Family::Gemma, Habits { kv_heads: Some(16), activation: ("", activation), ..HABITS })
}

pub fn write_gemma(c: &Config, map: &mut Json) {
    map.insert("head_dim".into(), json!(c.head_dim));
    map.insert("hidden_activation".into(), json!("gelu_pytorch_tanh"));
    map.insert("attention_bias".into(), json!(c.arch.qkv_bias));
}

/// Norms around both halves, scores scaled by a number of their own, windows.
fn later(r: &Reader, c: &mut Config, caps: (Option<f64>, Option<f64>)) -> Result<(), ModelError> {
    c.arch.places = Places::Around;
    let square = r.number("query_pre_attn_scalar", 256.0)?;
    c.arch.attention_scale = (square != c.head_dim as f64).then(|| square.powf(-0.5));
    c.arch.attention_cap = r.optional_number("attn_logit_softcapping", caps.0)?;
    c.arch.logit_cap = r.optional_number("final_logit_softcapping", caps.1)?;
    Ok(())
}

pub fn gemma2(r: &Reader) -> Read {
    let mut c = common(r, Family::Gemma2, HABITS)?;
    later(r, &mut c, (Some(50.0), Some(30.0)))?;
    let window = r.window(Some(4096))?;
    let slides = r.layer_types(c.layers, |i| i % 2 == 0)?;
    c.arch.layers = slides.iter().map(|slides| Layer { window: window.filter(|_| *slides), ..Layer::default() }).collect();
    Ok(c)
}

pub fn gemma3(r: &Reader) -> Read {
    let mut c = common(r, Family::Gemma3, Habits { context: 131_072, theta: 1_000_000.0, rope_of: Some("full_attention"), ..HABITS })?;
    later(r, &mut c, (None, None))?;
    c.arch.head_norm = HeadNorm::Each;
    let near = r.rope(c.head_dim, c.context, Habits { theta: 10_000.0, rope_of: Some("sliding_attention"), ..HABITS })?;
    c.arch.ropes.push(near);
    let window = r.window(Some(4096))?;
    let every = r.size("sliding_window_pattern", Some(r.size("_sliding_window_pattern", Some(6))?))?.max(1);
    let slides = r.layer_types(c.layers, |i| (i + 1) % every != 0)?;
    let layer = |slides: &bool| Layer { window: window.filter(|_| *slides), rope: Some(usize::from(*slides)), ..Layer::default() };
    c.arch.layers = slides.iter().map(layer).collect();
    Ok(c)
}

pub fn write_gemma2(c: &Config, map: &mut Json) {
    write_gemma(c, map);
    map.remove("hidden_act");
    let square = c.arch.attention_scale.map_or(c.head_dim as f64, |scale| scale.powf(-2.0));
    map.insert("query_pre_attn_scalar".into(), json!(rounded(square)));
    map.insert("attn_logit_softcapping".into(), json!(c.arch.attention_cap));
    map.insert("final_logit_softcapping".into(), json!(c.arch.logit_cap));
    map.insert("sliding_window".into(), json!(c.arch.layers.iter().find_map(|layer| layer.window)));
    let kind = |layer: &Layer| if layer.window.is_some() { "sliding_attention" } else { "full_attention" };
    map.insert("layer_types".into(), json!(c.arch.layers.iter().map(kind).collect::<Vec<_>>()));
}

/// A whole number where it is one but for its last bits, since transformers declares one.
fn rounded(x: f64) -> Value {
    if (x - x.round()).abs() < 1e-9 * x.abs() { json!(x.round() as u64) } else { json!(x) }
}

pub fn write_gemma3(c: &Config, map: &mut Json) {
    write_gemma2(c, map);
    let near = c.arch.ropes.get(1).map_or(10_000.0, |rope: &Rope| rope.theta);
    // The dialect of version 4 beside that of 5.
    map.insert("rope_local_base_freq".into(), json!(near));
    let far = map.remove("rope_parameters").unwrap_or(Value::Null);
    let near = json!({ "rope_type": "default", "rope_theta": near });
    map.insert("rope_parameters".into(), json!({ "full_attention": far, "sliding_attention": near }));
}
