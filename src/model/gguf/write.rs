//! Writing a model as a GGUF file that llama.cpp opens, tensor by tensor.
//! Deliberately not here: the tokenizer's part of the metadata, which comes from the tokenizer.

use super::config::ARCHITECTURES;
use super::names::{Turn, place};
use super::{DIVISORS, shape_of};
use crate::gguf::blocks::Type;
use crate::gguf::write::{Meta, Plan, Writer};
use crate::model::config::{Config, Family};
use crate::model::decoder::Decoder;
use crate::model::params::{Kind, Param};
use crate::model::positions::{Rope, Scaling};
use crate::model::{ModelError, hf};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Result as CandleResult, Tensor};
use serde_json::Value;
use std::fs::File;
use std::io::{BufWriter, Error, Write};
use std::path::Path;

/// How matrices are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    F32,
    F16,
    Q8_0,
    Q4_0,
    Q4K,
}

/// Names as the command line writes them, and the number that files have for them (`general.file_type`).
pub const QUANTS: &[(&str, Quant, u32)] =
    &[("f32", Quant::F32, 0), ("f16", Quant::F16, 1), ("q8_0", Quant::Q8_0, 7), ("q4_0", Quant::Q4_0, 2), ("q4_K", Quant::Q4K, 14)];

/// Families that are written: what llama.cpp makes of them was compared.
const WRITTEN: &[&str] = &[
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi",
    "phi3",
    "gpt2",
    "gpt_neox",
    "olmo2",
    "smollm3",
    "stablelm",
    "starcoder2",
];

impl Quant {
    pub fn from_name(name: &str) -> Option<Self> {
        QUANTS.iter().find(|q| q.0.eq_ignore_ascii_case(name)).map(|q| q.1)
    }
    pub fn name(self) -> &'static str {
        QUANTS.iter().find(|q| q.1 == self).map_or("f32", |q| q.0)
    }
    /// The type of a matrix of so many columns; `table` is an embedding or a head, which suffer more from four bits.
    fn of(self, cols: usize, table: bool) -> Type {
        let wanted = match self {
            Quant::F32 => Type::F32,
            Quant::F16 => Type::F16,
            Quant::Q4_0 if !table => Type::Q4_0,
            Quant::Q4K if !table => Type::Q4K,
            _ => Type::Q8_0,
        };
        // Rows that make no whole blocks of one type may make some of a finer one.
        [wanted, Type::Q8_0, Type::F16].into_iter().find(|kind| cols.is_multiple_of(kind.block())).unwrap_or(Type::F32)
    }
}

/// One tensor of the file, and the parameters that it is made of.
struct Made<'a> {
    plan: Plan,
    parts: Vec<(&'a Param, Turn)>,
    /// Numbers that are no parameter's.
    numbers: Vec<f32>,
}

/// Divisors of rotations, which llama.cpp reads for this family alone.
fn divisors(config: &Config) -> Option<(Vec<f64>, f64)> {
    config.arch.ropes.first().and_then(Rope::divisors).filter(|_| config.family == Family::Llama)
}

/// Writes a model; `tokenizer` are the keys of its tokenizer, `told` hears how many of how many tensors are written and says
/// whether to go on. Returns whether it did, and the names of types that tensors had to take instead of what was asked for.
pub fn save(
    decoder: &Decoder,
    (name, tokenizer): (&str, Vec<(String, Meta)>),
    quant: Quant,
    path: &Path,
    mut told: impl FnMut(usize, usize) -> bool,
) -> Result<bool, ModelError> {
    let failed = |e: Error| match crate::report::is_full(&e) {
        true => ModelError::Full { path: path.to_path_buf() },
        false => hf::file_error(path, format!("cannot be written ({e})"), "choose a directory that can be written"),
    };
    let made = tensors(decoder, quant)?;
    let mut keys = metadata(decoder, name, quant)?;
    keys.extend(tokenizer);
    let file = File::create(path).map_err(failed)?;
    let plans = made.iter().map(|m| m.plan.clone()).collect();
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, &file), keys, plans).map_err(failed)?;
    let total = made.len();
    for (done, made) in made.iter().enumerate() {
        if !told(done, total) {
            return Ok(false);
        }
        writer
            .tensor(&mut |out| {
                out.write_all(&made.numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
                made.parts.iter().try_for_each(|(param, turn)| part(param, *turn, made.plan.kind, out))
            })
            .map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    file.sync_all().map_err(failed)?;
    told(total, total);
    Ok(true)
}

/// Types that matrices take although another was asked for, by the reason of their size: for a note.
pub fn exceptions(decoder: &Decoder, quant: Quant) -> Result<Vec<&'static str>, ModelError> {
    let mut found: Vec<&'static str> = Vec::new();
    for made in tensors(decoder, quant)? {
        let cols = made.plan.shape.last().copied().unwrap_or(1);
        let table = made.parts.first().is_some_and(|(p, _)| is_table(p));
        let asked = quant.of(256, table);
        if made.plan.shape.len() > 1
            && !made.plan.name.starts_with("position")
            && quant.of(cols, table) != asked
            && !found.contains(&made.plan.kind.name())
        {
            found.push(made.plan.kind.name());
        }
    }
    Ok(found)
}

fn is_table(param: &Param) -> bool {
    param.kind == Kind::Embedding || param.name.starts_with("lm_head") || param.name.starts_with("embed_out")
}

fn tensors(decoder: &Decoder, quant: Quant) -> Result<Vec<Made<'_>>, ModelError> {
    let shape = shape_of(decoder.config());
    let mut all: Vec<Made> = Vec::new();
    if let Some((divisors, _)) = divisors(decoder.config()) {
        let plan = Plan { name: DIVISORS.into(), shape: vec![divisors.len()], kind: Type::F32 };
        all.push(Made { plan, parts: Vec::new(), numbers: divisors.into_iter().map(|x| x as f32).collect() });
    }
    for param in decoder.params() {
        let place = place(&shape, &param.name)
            .ok_or_else(|| ModelError::Config(format!("{} has no place in a GGUF file; export it as hf", param.name)))?;
        let dims = match (place.turn, param.var.dims()) {
            (Turn::Transposed, [inputs, outputs]) => vec![*outputs, *inputs],
            (Turn::Part { of, .. }, dims) => [&[of], dims].concat(),
            (_, dims) => dims.to_vec(),
        };
        let same = all.iter_mut().rev().find(|made| made.plan.name == place.name && matches!(place.turn, Turn::Part { .. }));
        if let Some(made) = same {
            made.parts.push((param, place.turn));
            continue;
        }
        // Positions and routers are small, and read where a quantised row would not do.
        let exact = dims.len() == 1 || place.name.starts_with("position") || place.name.contains("gate_inp") || param.kind == Kind::Norm;
        let cols = dims.last().copied().unwrap_or(1);
        let kind = if exact { Type::F32 } else { quant.of(cols, is_table(param)) };
        all.push(Made { plan: Plan { name: place.name, shape: dims, kind }, parts: vec![(param, place.turn)], numbers: Vec::new() });
    }
    Ok(all)
}

/// A parameter's numbers as the file has them.
fn part(param: &Param, turn: Turn, kind: Type, out: &mut dyn Write) -> std::io::Result<()> {
    let wrong = |e: candle_core::Error| Error::other(e.to_string().lines().next().unwrap_or_default().to_string());
    let (numbers, cols) = turned(param, turn).map_err(wrong)?;
    let bytes = match kind {
        Type::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Type::F16 => numbers.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
        _ => quantised(numbers, cols, kind).map_err(wrong)?,
    };
    out.write_all(&bytes)
}

/// The numbers of a parameter in the order of the file, and how many are in a row.
fn turned(param: &Param, turn: Turn) -> CandleResult<(Vec<f32>, usize)> {
    let mut tensor = param.var.as_detached_tensor().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    if turn == Turn::Transposed {
        tensor = tensor.t()?;
    }
    let cols = if tensor.rank() == 1 && matches!(turn, Turn::Alternating { .. } | Turn::Gathered { .. }) {
        1
    } else {
        tensor.dims().last().copied().unwrap_or(1)
    };
    let mut numbers = tensor.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
    let rows = numbers.len() / cols.max(1);
    match turn {
        Turn::PlusOne => numbers.iter_mut().for_each(|x| *x += 1.0),
        Turn::Alternating { .. } | Turn::Gathered { .. } => {
            let mut ordered = vec![0f32; numbers.len()];
            for (i, row) in numbers.chunks_exact(cols.max(1)).enumerate() {
                let at = turn.row(i, rows) * cols;
                ordered[at..at + cols].copy_from_slice(row);
            }
            numbers = ordered;
        }
        Turn::None | Turn::Transposed | Turn::Part { .. } => {}
    }
    Ok((numbers, cols))
}

fn quantised(numbers: Vec<f32>, cols: usize, kind: Type) -> CandleResult<Vec<u8>> {
    let to = match kind {
        Type::Q4_0 => GgmlDType::Q4_0,
        Type::Q4K => GgmlDType::Q4K,
        _ => GgmlDType::Q8_0,
    };
    let rows = numbers.len() / cols.max(1);
    Ok(QTensor::quantize(&Tensor::from_vec(numbers, (rows, cols), &Device::Cpu)?, to)?.data()?.into_owned())
}

/// The model's part of the metadata.
fn metadata(decoder: &Decoder, name: &str, quant: Quant) -> Result<Vec<(String, Meta)>, ModelError> {
    let config = decoder.config();
    let json = hf::config::write(config, DType::F32);
    let model_type = config.family.name();
    let refused = |why: String| Err(ModelError::Config(format!("{why}; export it as hf")));
    let Some((arch, _)) = ARCHITECTURES.iter().find(|a| a.1 == model_type && WRITTEN.contains(&model_type)) else {
        return refused(format!("models of the family {model_type} are not written as GGUF (those of {} are)", WRITTEN.join(", ")));
    };
    let scaled = config.arch.ropes.iter().any(|rope| rope.scaling != Scaling::None);
    let stretched = divisors(config);
    if scaled && stretched.is_none() {
        return refused(format!("the scaled positions of this {model_type} are not written as GGUF"));
    }
    let experts = config.arch.experts.as_ref();
    if experts.is_some_and(|e| !e.normalise || config.arch.layers.iter().any(|layer| layer.dense)) {
        return refused("experts whose shares do not add up to 1, and layers without experts among others, are not written as GGUF".into());
    }
    let window = json["sliding_window"].as_u64().filter(|_| json["use_sliding_window"] != false);
    // Of the other families llama.cpp does not ask for one.
    let windowed = ["gemma2", "gemma3_text", "phi3"].contains(&model_type);
    if !windowed && window.is_some_and(|n| (n as usize) < config.context) {
        return refused(format!("the sliding window of a {model_type} is not written as GGUF"));
    }
    let size = |n: usize| Meta::U32(u32::try_from(n).unwrap_or(u32::MAX));
    let number = |value: &Value| value.as_f64().map(|x| Meta::F32(x as f32));
    let mut keys: Vec<(String, Option<Meta>)> = vec![
        ("general.architecture".into(), Some(Meta::Text((*arch).into()))),
        ("general.name".into(), Some(Meta::Text(name.into()))),
        ("general.file_type".into(), QUANTS.iter().find(|q| q.1 == quant).map(|q| Meta::U32(q.2))),
        ("general.quantization_version".into(), Some(Meta::U32(2))),
    ];
    let mut own = |key: &str, value: Option<Meta>| keys.push((format!("{arch}.{key}"), value));
    own("context_length", Some(size(config.context)));
    own("embedding_length", Some(size(config.width)));
    own("block_count", Some(size(config.layers)));
    own("feed_forward_length", Some(size(config.ffn)));
    own("attention.head_count", Some(size(config.heads)));
    own("attention.head_count_kv", Some(size(config.kv_heads)));
    own("vocab_size", Some(size(config.vocab)));
    own("attention.layer_norm_rms_epsilon", number(&json["rms_norm_eps"]));
    let layer_norm = ["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"].iter().find_map(|key| number(&json[*key]));
    own("attention.layer_norm_epsilon", layer_norm);
    if model_type != "gpt2" {
        let rope = |key: &str| json["rope_parameters"][key].as_f64().or(json[key].as_f64());
        let turned = rope("partial_rotary_factor").or(rope("rotary_pct")).unwrap_or(1.0);
        own("attention.key_length", Some(size(config.head_dim)));
        own("attention.value_length", Some(size(config.head_dim)));
        own("rope.dimension_count", Some(size((config.head_dim as f64 * turned).round() as usize)));
        let base = rope("rope_theta").or(rope("rotary_emb_base")).or(json["rope_parameters"]["full_attention"]["rope_theta"].as_f64());
        own("rope.freq_base", base.map(|x| Meta::F32(x as f32)));
    }
    own("rope.scaling.attn_factor", stretched.map(|(_, gain)| Meta::F32(gain as f32)));
    own("attention.sliding_window", window.filter(|_| windowed).map(|n| size(n as usize)));
    own("attn_logit_softcapping", number(&json["attn_logit_softcapping"]));
    own("final_logit_softcapping", number(&json["final_logit_softcapping"]));
    let count = |key: &str| json[key].as_u64().map(|n| size(n as usize));
    own("expert_count", count("num_local_experts").or(count("num_experts")));
    own("expert_used_count", count("num_experts_per_tok"));
    own("expert_feed_forward_length", count("moe_intermediate_size"));
    own("use_parallel_residual", json["use_parallel_residual"].as_bool().map(Meta::Bool).filter(|_| model_type == "gpt_neox"));
    Ok(keys.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
}
