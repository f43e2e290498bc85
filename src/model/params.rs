//! The parameters of a decoder: their Hugging Face names, shapes, order and first values, derived from its shape alone.
//! Deliberately not here: what the parameters are used for (`decoder`) and how they are stored (`hf`).

use super::ModelError;
use super::config::{Config, Family};
use crate::rng::Stream;
use candle_core::{DType, Device, Tensor, Var};

/// What a parameter is, for weight decay and display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Matrix,
    Embedding,
    Norm,
    Bias,
}

/// A trainable parameter under its Hugging Face name. Order is fixed by the architecture.
#[derive(Clone, Debug)]
pub struct Param {
    pub name: String,
    pub var: Var,
    pub kind: Kind,
}

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Normal with `init_std`.
    Normal,
    /// Normal with `init_std / sqrt(2 * layers)`: what adds to the residual stream (GPT-2).
    Residual,
}

/// A parameter before it has values.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub name: String,
    /// As transformers stores it: linear layers (out, in), those of gpt2 (in, out).
    pub shape: Vec<usize>,
    pub kind: Kind,
    pub init: Init,
}

impl Spec {
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64))
    }
}

/// All parameters of a decoder of this shape, in the order of `Decoder::params`.
pub fn specs(config: &Config) -> Vec<Spec> {
    let mut list = before(config);
    for i in 0..config.layers {
        list.extend(block(config, i));
    }
    list.extend(after(config));
    list
}

/// How many parameters there are; needs no list of all layers, so a wild number of them costs nothing.
pub(super) fn count(config: &Config) -> u64 {
    let sum = |list: Vec<Spec>| list.iter().fold(0u64, |n, s| n.saturating_add(s.elements()));
    sum(block(config, 0)).saturating_mul(config.layers as u64).saturating_add(sum(before(config))).saturating_add(sum(after(config)))
}

/// How many weights stand in matrix products, with a tied head counted once.
pub(super) fn matrix_weights(config: &Config) -> u64 {
    let sum = |list: Vec<Spec>| list.iter().filter(|s| s.kind == Kind::Matrix).fold(0u64, |n, s| n.saturating_add(s.elements()));
    sum(block(config, 0)).saturating_mul(config.layers as u64).saturating_add(config.vocab as u64 * config.width as u64)
}

fn spec(name: String, shape: &[usize], kind: Kind, init: Init) -> Spec {
    Spec { name, shape: shape.to_vec(), kind, init }
}

fn before(c: &Config) -> Vec<Spec> {
    let table = |name: &str, rows| spec(name.into(), &[rows, c.width], Kind::Embedding, Init::Normal);
    match c.family {
        Family::Gpt2 => vec![table("transformer.wte.weight", c.vocab), table("transformer.wpe.weight", c.context)],
        _ => vec![table("model.embed_tokens.weight", c.vocab)],
    }
}

fn after(c: &Config) -> Vec<Spec> {
    let mut list = match c.family {
        Family::Gpt2 => vec![
            spec("transformer.ln_f.weight".into(), &[c.width], Kind::Norm, Init::Ones),
            spec("transformer.ln_f.bias".into(), &[c.width], Kind::Bias, Init::Zeros),
        ],
        _ => vec![spec("model.norm.weight".into(), &[c.width], Kind::Norm, Init::Ones)],
    };
    if !c.tied {
        list.push(spec("lm_head.weight".into(), &[c.vocab, c.width], Kind::Matrix, Init::Normal));
    }
    list
}

fn block(c: &Config, i: usize) -> Vec<Spec> {
    if c.family == Family::Gpt2 {
        return gpt2_block(c, i);
    }
    let at = |name: &str| format!("model.layers.{i}.{name}.weight");
    let matrix = |name: &str, out: usize, inputs: usize, init| spec(at(name), &[out, inputs], Kind::Matrix, init);
    let norm = |name: &str, n: usize| spec(at(name), &[n], Kind::Norm, Init::Ones);
    let mut list = vec![
        norm("input_layernorm", c.width),
        matrix("self_attn.q_proj", c.q_width(), c.width, Init::Normal),
        matrix("self_attn.k_proj", c.kv_width(), c.width, Init::Normal),
        matrix("self_attn.v_proj", c.kv_width(), c.width, Init::Normal),
    ];
    if c.family == Family::Qwen3 {
        list.push(norm("self_attn.q_norm", c.head_dim));
        list.push(norm("self_attn.k_norm", c.head_dim));
    }
    list.extend([
        matrix("self_attn.o_proj", c.width, c.q_width(), Init::Residual),
        norm("post_attention_layernorm", c.width),
        matrix("mlp.gate_proj", c.ffn, c.width, Init::Normal),
        matrix("mlp.up_proj", c.ffn, c.width, Init::Normal),
        matrix("mlp.down_proj", c.width, c.ffn, Init::Residual),
    ]);
    list
}

fn gpt2_block(c: &Config, i: usize) -> Vec<Spec> {
    let at = |name: &str| format!("transformer.h.{i}.{name}");
    // transformers keeps these as `Conv1D`: (in, out).
    let matrix = |name: &str, inputs: usize, out: usize, init| spec(at(name), &[inputs, out], Kind::Matrix, init);
    let scale = |name: &str| spec(at(name), &[c.width], Kind::Norm, Init::Ones);
    let bias = |name: &str, n: usize| spec(at(name), &[n], Kind::Bias, Init::Zeros);
    vec![
        scale("ln_1.weight"),
        bias("ln_1.bias", c.width),
        matrix("attn.c_attn.weight", c.width, 3 * c.width, Init::Normal),
        bias("attn.c_attn.bias", 3 * c.width),
        matrix("attn.c_proj.weight", c.width, c.width, Init::Residual),
        bias("attn.c_proj.bias", c.width),
        scale("ln_2.weight"),
        bias("ln_2.bias", c.width),
        matrix("mlp.c_fc.weight", c.width, c.ffn, Init::Normal),
        bias("mlp.c_fc.bias", c.ffn),
        matrix("mlp.c_proj.weight", c.ffn, c.width, Init::Residual),
        bias("mlp.c_proj.bias", c.width),
    ]
}

/// First values, each parameter from a stream of its own name, so that a seed means the same on every device.
pub(super) fn initial(spec: &Spec, config: &Config, seed: u64, dtype: DType, device: &Device) -> Result<Var, ModelError> {
    let n = spec.shape.iter().product();
    let normal = |std: f64| {
        let mut stream = Stream::new(seed, &spec.name);
        (0..n).map(|_| (stream.normal() * std) as f32).collect::<Vec<f32>>()
    };
    let values = match spec.init {
        Init::Zeros => vec![0f32; n],
        Init::Ones => vec![1f32; n],
        Init::Normal => normal(config.init_std),
        Init::Residual => normal(config.init_std / (2.0 * config.layers as f64).sqrt()),
    };
    let tensor = Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?;
    Ok(Var::from_tensor(&tensor)?)
}
