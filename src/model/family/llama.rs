//! Families that are a llama with a change: mistral, qwen2, qwen3, phi3, olmo2, smollm3.
//! Deliberately not here: those with experts (`moe`), LayerNorm (`layered`) or scaled embeddings (`gemma`).

use super::super::arch::{FfnKind, HeadNorm, Layer, Places, Qkv};
use super::super::config::Config;
use super::super::hf::config::{Habits, Reader};
use super::{Family, ModelError};
use serde_json::{Map, Value, json};

type Read = Result<Config, ModelError>;
type Json = Map<String, Value>;

/// Defaults for absent keys are those of transformers' configuration classes, here and in the other families.
const HABITS: Habits = Habits::LLAMA;

/// Biases by the key `attention_bias`: of all four products of attention.
fn attention_bias(r: &Reader, c: &mut Config) -> Result<(), ModelError> {
    let biased = r.boolean("attention_bias", false)?;
    (c.arch.qkv_bias, c.arch.output_bias) = (biased, biased);
    Ok(())
}

pub fn llama(r: &Reader) -> Read {
    let mut c = r.rotary(Family::Llama, HABITS)?;
    attention_bias(r, &mut c)?;
    c.arch.ffn_bias = r.boolean("mlp_bias", false)?;
    Ok(c)
}

pub fn write_llama(c: &Config, map: &mut Json) {
    map.insert("head_dim".into(), json!(c.head_dim));
    write_attention_bias(c, map);
    map.insert("mlp_bias".into(), json!(c.arch.ffn_bias));
}

pub fn write_attention_bias(c: &Config, map: &mut Json) {
    map.insert("attention_bias".into(), json!(c.arch.qkv_bias));
}

pub fn mistral(r: &Reader) -> Read {
    let mut c = r.rotary(Family::Mistral, Habits { kv_heads: Some(8), context: 131_072, ..HABITS })?;
    c.arch = c.arch.windowed(c.layers, r.window(Some(4096))?);
    Ok(c)
}

/// The window that all layers share, or null.
pub fn write_windowed(c: &Config, map: &mut Json) {
    map.insert("head_dim".into(), json!(c.head_dim));
    map.insert("sliding_window".into(), json!(c.arch.layer(0).window));
}

/// Windows in the layers that `layer_types` names, or that stand from `max_window_layers` on; none without the switch.
fn switched_windows(r: &Reader, c: &mut Config) -> Result<(), ModelError> {
    let window = r.window(Some(4096))?;
    let first = r.size("max_window_layers", Some(28))?;
    let window = if r.boolean("use_sliding_window", false)? { window } else { None };
    let slides = r.layer_types(c.layers, |i| window.is_some() && i >= first)?;
    if slides.iter().any(|slides| *slides) {
        let Some(window) = window else {
            return Err(r.refuse("layer_types", "sliding layers in a model without a sliding window", "choose another model"));
        };
        c.arch.layers = slides.iter().map(|slides| Layer { window: slides.then_some(window), ..Layer::default() }).collect();
    }
    Ok(())
}

fn write_switched_windows(c: &Config, map: &mut Json) {
    let window = c.arch.layers.iter().find_map(|layer| layer.window);
    let kinds: Vec<_> =
        (0..c.layers).map(|i| if c.arch.layer(i).window.is_some() { "sliding_attention" } else { "full_attention" }).collect();
    map.insert("use_sliding_window".into(), json!(window.is_some()));
    map.insert("sliding_window".into(), json!(window));
    map.insert("layer_types".into(), json!(kinds));
    // For versions that know no `layer_types`: the first of the layers that slide to the end.
    map.insert("max_window_layers".into(), json!(kinds.iter().rposition(|kind| *kind == "full_attention").map_or(0, |i| i + 1)));
}

pub fn qwen2(r: &Reader) -> Read {
    let mut c = r.rotary(Family::Qwen2, Habits { kv_heads: Some(32), context: 32_768, ..HABITS })?;
    c.arch.qkv_bias = true;
    switched_windows(r, &mut c)?;
    Ok(c)
}

pub fn qwen3(r: &Reader) -> Read {
    let mut c = r.rotary(Family::Qwen3, Habits { kv_heads: Some(32), head_dim: Some(128), context: 32_768, ..HABITS })?;
    c.arch.head_norm = HeadNorm::Each;
    attention_bias(r, &mut c)?;
    switched_windows(r, &mut c)?;
    Ok(c)
}

pub fn write_qwen(c: &Config, map: &mut Json) {
    if c.family == Family::Qwen3 {
        write_attention_bias(c, map);
    }
    map.insert("head_dim".into(), json!(c.head_dim));
    write_switched_windows(c, map);
}

pub fn phi3(r: &Reader) -> Read {
    let habits = Habits { context: 4096, eps: ("rms_norm_eps", 1e-5), partial: Some(1.0), ..HABITS };
    let mut c = r.rotary(Family::Phi3, habits)?;
    (c.arch.qkv, c.arch.ffn) = (Qkv::Packed, FfnKind::Packed);
    c.arch = c.arch.windowed(c.layers, r.window(None)?);
    Ok(c)
}

pub fn write_phi3(c: &Config, map: &mut Json) {
    map.insert("sliding_window".into(), json!(c.arch.layer(0).window));
    map.insert("resid_pdrop".into(), json!(0.0));
    map.insert("embd_pdrop".into(), json!(0.0));
}

pub fn olmo2(r: &Reader) -> Read {
    let mut c = r.rotary(Family::Olmo2, Habits { eps: ("rms_norm_eps", 1e-5), ..HABITS })?;
    (c.arch.places, c.arch.head_norm) = (Places::After, HeadNorm::Whole);
    attention_bias(r, &mut c)?;
    Ok(c)
}

pub fn smollm3(r: &Reader) -> Read {
    let habits = Habits { kv_heads: Some(4), context: 32_768, theta: 2_000_000.0, tied: true, ..HABITS };
    let mut c = r.rotary(Family::Smollm3, habits)?;
    attention_bias(r, &mut c)?;
    c.arch.ffn_bias = r.boolean("mlp_bias", false)?;
    let interval = r.size("no_rope_layer_interval", Some(4))?.max(1);
    let rotates = match r.numbers("no_rope_layers", c.layers)? {
        Some(list) => list.iter().map(|n| *n != 0).collect(),
        None => (0..c.layers).map(|i| (i + 1) % interval != 0).collect::<Vec<_>>(),
    };
    let window = r.window(None)?;
    let window = if r.boolean("use_sliding_window", false)? { window } else { None };
    let slides = r.layer_types(c.layers, |i| window.is_some() && !rotates[i])?;
    let layer =
        |(rotates, slides): (&bool, &bool)| Layer { rope: rotates.then_some(0), window: window.filter(|_| *slides), ..Layer::default() };
    c.arch.layers = rotates.iter().zip(&slides).map(layer).collect();
    Ok(c)
}

pub fn write_smollm3(c: &Config, map: &mut Json) {
    write_attention_bias(c, map);
    write_switched_windows(c, map);
    map.remove("max_window_layers");
    map.insert("mlp_bias".into(), json!(c.arch.ffn_bias));
    let rotates: Vec<u8> = (0..c.layers).map(|i| u8::from(c.arch.layer(i).rope.is_some())).collect();
    map.insert("no_rope_layers".into(), json!(rotates));
}
