//! The parameters of a decoder: their Hugging Face names, shapes, order and first values, derived from its shape alone.
//! Deliberately not here: what the parameters are used for (`decoder`) and how they are stored (`hf`).

use super::ModelError;
use super::arch::{FfnKind, HeadNorm, NormKind, Places, Qkv};
use super::config::Config;
use super::family::Names;
use crate::rng::Stream;
use candle_core::{DType, Device, Tensor, Var};

/// What a parameter is, for weight decay and display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Matrix,
    /// A matrix of an expert, which a batch may not reach.
    Expert,
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

impl Param {
    /// The gradient where a loss does not depend on the parameter: zeros of an expert that no token reached.
    pub fn absent(&self) -> Result<Tensor, ModelError> {
        if self.kind == Kind::Expert { Ok(self.var.zeros_like()?) } else { Err(ModelError::no_gradient(&self.name)) }
    }
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
    let ends = sum(before(config)).saturating_add(sum(after(config)));
    over_layers(config, |i| sum(block(config, i))).saturating_add(ends)
}

/// How many weights stand in matrix products, with a tied head counted once; of experts those that a token meets.
pub(super) fn matrix_weights(config: &Config) -> u64 {
    let met = |spec: &Spec| match (&config.arch.experts, spec.kind) {
        (_, Kind::Matrix) => spec.elements(),
        (Some(e), Kind::Expert) => spec.elements().saturating_mul(e.per_token as u64) / e.count.max(1) as u64,
        _ => 0,
    };
    let sum = |list: Vec<Spec>| list.iter().fold(0u64, |n, s| n.saturating_add(met(s)));
    over_layers(config, |i| sum(block(config, i))).saturating_add(config.vocab as u64 * config.width as u64)
}

/// The sum of a number of each layer, of which there are two kinds at most.
fn over_layers(config: &Config, number: impl Fn(usize) -> u64) -> u64 {
    let dense = |i: usize| config.arch.experts_of(i).is_none();
    let listed = config.arch.layers.len();
    match (0..listed).find(|&i| dense(i) != dense(0)) {
        None => number(0).saturating_mul(config.layers as u64),
        Some(other) => {
            let alike = (0..listed).filter(|&i| dense(i) == dense(0)).count() as u64;
            number(0).saturating_mul(alike).saturating_add(number(other).saturating_mul(listed as u64 - alike))
        }
    }
}

fn spec(name: String, shape: &[usize], kind: Kind, init: Init) -> Spec {
    Spec { name, shape: shape.to_vec(), kind, init }
}

/// A list of parameters in the making.
struct List<'a> {
    config: &'a Config,
    names: &'a Names,
    prefix: String,
    list: Vec<Spec>,
}

impl<'a> List<'a> {
    fn new(config: &'a Config, prefix: String) -> Self {
        Self { config, names: config.family.names(), prefix, list: Vec::new() }
    }
    fn push(&mut self, name: &str, end: &str, shape: &[usize], kind: Kind, init: Init) {
        self.list.push(spec(format!("{}{name}.{end}", self.prefix), shape, kind, init));
    }
    /// A matrix of a product and its bias.
    fn linear(&mut self, name: &str, (inputs, outputs): (usize, usize), bias: bool, init: Init) {
        let shape = if self.config.arch.transposed { [inputs, outputs] } else { [outputs, inputs] };
        self.push(name, "weight", &shape, Kind::Matrix, init);
        if bias {
            self.push(name, "bias", &[outputs], Kind::Bias, Init::Zeros);
        }
    }
    fn norm(&mut self, name: &str, n: usize) {
        let kind = self.config.arch.norm;
        self.push(name, "weight", &[n], Kind::Norm, if kind == NormKind::RmsLessOne { Init::Zeros } else { Init::Ones });
        if kind == NormKind::Layer {
            self.push(name, "bias", &[n], Kind::Bias, Init::Zeros);
        }
    }

    fn attention(&mut self) {
        let (c, names, arch) = (self.config, self.names, &self.config.arch);
        let (q, kv) = (c.q_width(), c.kv_width());
        match arch.qkv {
            Qkv::Apart => {
                for (name, outputs) in [(names.q, q), (names.k, kv), (names.v, kv)] {
                    self.linear(name, (c.width, outputs), arch.qkv_bias, Init::Normal);
                }
            }
            Qkv::Packed | Qkv::Interleaved => self.linear(names.qkv, (c.width, q + 2 * kv), arch.qkv_bias, Init::Normal),
        }
        for (name, heads) in [(names.q_norm, c.heads), (names.k_norm, c.kv_heads)] {
            match arch.head_norm {
                HeadNorm::None => {}
                HeadNorm::Each => self.norm(name, c.head_dim),
                HeadNorm::Whole => self.norm(name, heads * c.head_dim),
                HeadNorm::Own => {
                    for head in 0..heads {
                        self.push(&format!("{name}.norms.{head}"), "weight", &[c.head_dim], Kind::Norm, Init::Ones);
                    }
                }
            }
        }
        self.linear(names.output, (q, c.width), arch.output_bias, Init::Residual);
    }

    fn ffn(&mut self, layer: usize) {
        let (c, names, arch) = (self.config, self.names, &self.config.arch);
        if let Some(experts) = arch.experts_of(layer) {
            self.linear(names.router, (c.width, experts.count), false, Init::Normal);
            for e in 0..experts.count {
                for (name, sizes, init) in [
                    (names.expert_gate, (c.width, experts.ffn), Init::Normal),
                    (names.expert_up, (c.width, experts.ffn), Init::Normal),
                    (names.expert_down, (experts.ffn, c.width), Init::Residual),
                ] {
                    self.linear(&format!("{}{e}.{name}", names.experts), sizes, false, init);
                    if let Some(last) = self.list.last_mut() {
                        last.kind = Kind::Expert;
                    }
                }
            }
            return;
        }
        match arch.ffn {
            FfnKind::Dense => self.linear(names.up, (c.width, c.ffn), arch.ffn_bias, Init::Normal),
            FfnKind::Gated => {
                self.linear(names.gate, (c.width, c.ffn), arch.ffn_bias, Init::Normal);
                self.linear(names.up, (c.width, c.ffn), arch.ffn_bias, Init::Normal);
            }
            FfnKind::Packed => self.linear(names.gate_up, (c.width, 2 * c.ffn), arch.ffn_bias, Init::Normal),
        }
        self.linear(names.down, (c.ffn, c.width), arch.ffn_bias, Init::Residual);
    }
}

fn before(c: &Config) -> Vec<Spec> {
    let names = c.family.names();
    let table = |name: &str, rows| spec(format!("{name}.weight"), &[rows, c.width], Kind::Embedding, Init::Normal);
    let mut list = vec![table(names.tokens, c.vocab)];
    if c.arch.learned_positions {
        list.push(table(names.positions, c.context));
    }
    list
}

fn after(c: &Config) -> Vec<Spec> {
    let mut list = List::new(c, String::new());
    let names = list.names;
    list.norm(names.norm, c.width);
    if !c.tied {
        list.push(names.head, "weight", &[c.vocab, c.width], Kind::Matrix, Init::Normal);
    }
    if c.arch.head_bias {
        list.push(names.head, "bias", &[c.vocab], Kind::Bias, Init::Zeros);
    }
    list.list
}

/// What stands before the names of a layer's parameters.
pub(super) fn layer_prefix(c: &Config, i: usize) -> String {
    format!("{}{i}.", c.family.names().layers)
}

fn block(c: &Config, i: usize) -> Vec<Spec> {
    let mut list = List::new(c, layer_prefix(c, i));
    let (names, places) = (list.names, c.arch.places);
    if places != Places::After {
        list.norm(names.norm1, c.width);
    }
    list.attention();
    if matches!(places, Places::After | Places::Around) {
        list.norm(names.after1, c.width);
    }
    if matches!(places, Places::Before | Places::Around) {
        list.norm(names.norm2, c.width);
    }
    list.ffn(i);
    if matches!(places, Places::After | Places::Around) {
        list.norm(names.after2, c.width);
    }
    list.list
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
