//! Families with experts: mixtral, qwen3_moe.
//! Deliberately not here: how tokens find their experts (`ops::experts`).

use super::super::arch::{Experts, HeadNorm, Layer};
use super::super::config::Config;
use super::super::hf::config::{Habits, Reader};
use super::{Family, ModelError, NAMES, Names};
use serde_json::{Map, Value, json};

pub const MIXTRAL: Names = Names {
    router: "block_sparse_moe.gate",
    experts: "block_sparse_moe.experts.",
    expert_gate: "w1",
    expert_up: "w3",
    expert_down: "w2",
    ..NAMES
};

pub fn mixtral(r: &Reader) -> Result<Config, ModelError> {
    let habits = Habits { kv_heads: Some(8), context: 131_072, theta: 1_000_000.0, eps: ("rms_norm_eps", 1e-5), ..Habits::LLAMA };
    let mut c = r.rotary(Family::Mixtral, habits)?;
    c.arch.experts = Some(Experts {
        count: r.size("num_local_experts", Some(8))?,
        per_token: r.size("num_experts_per_tok", Some(2))?,
        ffn: c.ffn,
        normalise: true,
    });
    c.arch = c.arch.windowed(c.layers, r.window(None)?);
    Ok(c)
}

pub fn write_mixtral(c: &Config, map: &mut Map<String, Value>) {
    map.insert("head_dim".into(), json!(c.head_dim));
    map.insert("sliding_window".into(), json!(c.arch.layer(0).window));
    if let Some(experts) = &c.arch.experts {
        map.insert("num_local_experts".into(), json!(experts.count));
        map.insert("num_experts_per_tok".into(), json!(experts.per_token));
        map.insert("intermediate_size".into(), json!(experts.ffn));
    }
}

pub fn qwen3_moe(r: &Reader) -> Result<Config, ModelError> {
    let habits = Habits { kv_heads: Some(4), context: 32_768, ..Habits::LLAMA };
    let mut c = r.rotary(Family::Qwen3Moe, habits)?;
    c.arch.head_norm = HeadNorm::Each;
    let biased = r.boolean("attention_bias", false)?;
    (c.arch.qkv_bias, c.arch.output_bias) = (biased, biased);
    r.flag("use_sliding_window", false)?;
    r.ignore(&["sliding_window", "max_window_layers"]);
    // transformers 5 calls it by another family's name.
    let count = r.size("num_experts", None).or_else(|_| r.size("num_local_experts", Some(128)))?;
    c.arch.experts = Some(Experts {
        count,
        per_token: r.size("num_experts_per_tok", Some(8))?,
        ffn: r.size("moe_intermediate_size", Some(768))?,
        normalise: r.boolean("norm_topk_prob", false)?,
    });
    let step = r.size("decoder_sparse_step", Some(1))?.max(1);
    let alone = r.list("mlp_only_layers")?.unwrap_or_default();
    if step > 1 || !alone.is_empty() {
        let dense = |i: usize| alone.contains(&(i as u64)) || !(i + 1).is_multiple_of(step);
        c.arch.layers = (0..c.layers).map(|i| Layer { dense: dense(i), ..Layer::default() }).collect();
    }
    Ok(c)
}

pub fn write_qwen3_moe(c: &Config, map: &mut Map<String, Value>) {
    map.insert("head_dim".into(), json!(c.head_dim));
    map.insert("attention_bias".into(), json!(c.arch.qkv_bias));
    map.insert("use_sliding_window".into(), json!(false));
    map.insert("sliding_window".into(), Value::Null);
    if let Some(experts) = &c.arch.experts {
        map.insert("num_experts".into(), json!(experts.count));
        map.insert("num_experts_per_tok".into(), json!(experts.per_token));
        map.insert("moe_intermediate_size".into(), json!(experts.ffn));
        map.insert("norm_topk_prob".into(), json!(experts.normalise));
    }
    map.insert("decoder_sparse_step".into(), json!(1));
    map.insert("mlp_only_layers".into(), json!((0..c.layers).filter(|&i| c.arch.layer(i).dense).collect::<Vec<_>>()));
}
