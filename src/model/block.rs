//! The weights of a decoder and what one block does with them: norms, attention, feed-forward, residual sums.
//! Deliberately not here: what comes before and after the blocks (`decoder`), numbers' loops (`ops`).

use super::ModelError;
use super::arch::{Activation, FfnKind, HeadNorm, NormKind, Places, Qkv};
use super::config::Config;
use super::linear::Linear;
use super::ops::{self, Graph};
use super::params::layer_prefix;
use super::weight::Weight;
use candle_core::{Result as CandleResult, Tensor};
use std::collections::HashMap;

#[derive(Clone)]
pub(super) struct Weights {
    /// (vocab, width).
    pub tokens: Weight,
    /// (context, width), of families that learn positions.
    pub positions: Option<Weight>,
    pub blocks: Vec<Block>,
    pub norm: Norm,
    /// (vocab, width); the embedding where the head is tied.
    pub head: Weight,
    /// (vocab).
    pub head_bias: Option<Tensor>,
}

#[derive(Clone)]
pub(super) struct Block {
    pub norm1: Option<Norm>,
    pub attention: Projections,
    /// Of queries and of keys.
    pub head_norms: Option<(HeadWeights, HeadWeights)>,
    pub output: Linear,
    pub after1: Option<Norm>,
    pub norm2: Option<Norm>,
    pub ffn: Ffn,
    pub after2: Option<Norm>,
}

#[derive(Clone)]
pub(super) enum Projections {
    Apart {
        q: Linear,
        k: Linear,
        v: Linear,
    },
    /// One product for all queries, keys and values side by side.
    Packed(Linear),
    /// One product for each head's query, key and value side by side.
    Interleaved(Linear),
}

#[derive(Clone)]
pub(super) enum HeadWeights {
    /// (head_dim).
    Each(Norm),
    /// (heads · head_dim).
    Whole(Norm),
    /// (head_dim) for each head, LayerNorm without bias.
    Own(Vec<Tensor>),
}

#[derive(Clone)]
pub(super) enum Ffn {
    Dense { up: Linear, down: Linear },
    Gated(Gated),
    Packed { gate_up: Linear, down: Linear },
    Experts { router: Linear, experts: Vec<Gated> },
}

#[derive(Clone)]
pub(super) struct Gated {
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

#[derive(Clone)]
pub(super) struct Norm {
    kind: NormKind,
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Norm {
    pub fn forward(&self, graph: &Graph, x: &Tensor, eps: f64) -> CandleResult<Tensor> {
        match (self.kind, &self.bias) {
            (NormKind::Layer, Some(bias)) => ops::layer_norm(graph, x, &self.weight, bias, eps),
            (NormKind::Layer, None) => candle_core::bail!("LayerNorm without a bias"),
            (NormKind::Rms, _) => ops::rms_norm(graph, x, &self.weight, eps),
            (NormKind::RmsLessOne, _) => ops::rms_norm(graph, x, &ops::affine(graph, &self.weight, 1.0, 1.0)?, eps),
        }
    }
    fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        std::iter::once(&mut self.weight).chain(&mut self.bias)
    }
}

impl HeadWeights {
    /// The norm of heads: (batch, time, heads · d).
    pub fn forward(&self, graph: &Graph, x: &Tensor, d: usize, eps: f64) -> CandleResult<Tensor> {
        let (batch, time, width) = x.dims3()?;
        let whole = [batch, time, width];
        let heads = |graph: &Graph| ops::reshape(graph, x, &[batch, time, width / d, d]);
        match self {
            HeadWeights::Whole(norm) => norm.forward(graph, x, eps),
            HeadWeights::Each(norm) => ops::reshape(graph, &norm.forward(graph, &heads(graph)?, eps)?, &whole),
            HeadWeights::Own(weights) => {
                let like = |n: usize| Tensor::zeros(n, weights[0].dtype(), x.device());
                let (ones, zeros) = ((like(d)? + 1.0)?, like(d)?);
                let normed = ops::layer_norm(graph, &heads(graph)?, &ones, &zeros, eps)?;
                let joined = ops::join(graph, &weights.iter().collect::<Vec<_>>())?;
                ops::stretch(graph, &ops::reshape(graph, &normed, &whole)?, &joined)
            }
        }
    }
    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        match self {
            HeadWeights::Each(norm) | HeadWeights::Whole(norm) => norm.tensors_mut().collect(),
            HeadWeights::Own(weights) => weights.iter_mut().collect(),
        }
    }
}

/// act(x).
fn activate(graph: &Graph, activation: Activation, x: &Tensor) -> CandleResult<Tensor> {
    match activation {
        Activation::GeluTanh => ops::gelu(graph, x),
        Activation::Gelu => ops::gelu_erf(graph, x),
        // silu(x) · 1.
        Activation::Silu => ops::swiglu(graph, x, &x.ones_like()?),
    }
}

/// act(gate) · up.
fn gated(graph: &Graph, activation: Activation, gate: &Tensor, up: &Tensor) -> CandleResult<Tensor> {
    match activation {
        Activation::Silu => ops::swiglu(graph, gate, up),
        other => ops::times(graph, &activate(graph, other, gate)?, up),
    }
}

impl Gated {
    fn inner(&self, graph: &Graph, activation: Activation, x: &Tensor) -> CandleResult<Tensor> {
        let [gate, up] = Linear::forward_all([&self.gate, &self.up], graph, x)?;
        gated(graph, activation, &gate, &up)
    }
    fn linears_mut(&mut self) -> [&mut Linear; 3] {
        [&mut self.gate, &mut self.up, &mut self.down]
    }
}

/// What a feed-forward part has made.
pub(super) enum Fed<'a> {
    /// The last projection, and what it works on.
    Before(Tensor, &'a Linear),
    /// All of it.
    Done(Tensor),
}

impl Ffn {
    pub fn forward(&self, graph: &Graph, x: &Tensor, c: &Config) -> CandleResult<Fed<'_>> {
        let activation = c.arch.activation;
        Ok(match self {
            Ffn::Gated(parts) => Fed::Before(parts.inner(graph, activation, x)?, &parts.down),
            Ffn::Dense { up, down } => Fed::Before(activate(graph, activation, &up.forward(graph, x)?)?, down),
            Ffn::Packed { gate_up, down } => {
                let both = gate_up.forward(graph, x)?;
                let (gate, up) = (ops::columns(graph, &both, 0, c.ffn)?, ops::columns(graph, &both, c.ffn, c.ffn)?);
                Fed::Before(gated(graph, activation, &gate, &up)?, down)
            }
            Ffn::Experts { router, experts } => Fed::Done(mixture(graph, x, router, experts, c)?),
        })
    }
}

/// Each token goes to the experts of its largest logits, and no expert works on what is not its own.
fn mixture(graph: &Graph, x: &Tensor, router: &Linear, experts: &[Gated], c: &Config) -> CandleResult<Tensor> {
    let Some(shape) = &c.arch.experts else { candle_core::bail!("experts that are not described") };
    let (dims, width) = (x.dims().to_vec(), c.width);
    let x = ops::reshape(graph, x, &[x.elem_count() / width, width])?;
    let logits = router.forward(graph, &x)?;
    let chosen = ops::choose(&logits, shape.per_token)?;
    let shares = ops::gates(graph, &logits, &chosen, shape.normalise)?;
    let mut places: Vec<Vec<(u32, u32)>> = vec![Vec::new(); experts.len()];
    for (i, &expert) in chosen.iter().enumerate() {
        places[expert as usize].push(((i / shape.per_token) as u32, (i % shape.per_token) as u32));
    }
    let (mut results, mut met) = (Vec::new(), Vec::new());
    for (expert, places) in experts.iter().zip(places).filter(|(_, places)| !places.is_empty()) {
        let tokens: Vec<u32> = places.iter().map(|place| place.0).collect();
        let own = ops::rows(graph, &x, &tokens)?;
        results.push(expert.down.forward(graph, &expert.inner(graph, c.arch.activation, &own)?)?);
        met.push(places);
    }
    ops::reshape(graph, &ops::combine(graph, &shares, &results, met)?, &dims)
}

impl Block {
    /// Every linear layer under the name of its module within the block.
    pub fn linears_mut(&mut self, c: &Config) -> Vec<(String, &mut Linear)> {
        let names = c.family.names();
        let mut all: Vec<(String, &mut Linear)> = Vec::new();
        match &mut self.attention {
            Projections::Apart { q, k, v } => all.extend([(names.q, q), (names.k, k), (names.v, v)].map(|(n, l)| (n.to_string(), l))),
            Projections::Packed(qkv) | Projections::Interleaved(qkv) => all.push((names.qkv.into(), qkv)),
        }
        all.push((names.output.into(), &mut self.output));
        match &mut self.ffn {
            Ffn::Dense { up, down } => all.extend([(names.up.into(), up), (names.down.into(), down)]),
            Ffn::Gated(parts) => {
                let own = [names.gate, names.up, names.down].into_iter().zip(parts.linears_mut());
                all.extend(own.map(|(name, linear)| (name.to_string(), linear)));
            }
            Ffn::Packed { gate_up, down } => all.extend([(names.gate_up.into(), gate_up), (names.down.into(), down)]),
            Ffn::Experts { router, experts } => {
                all.push((names.router.into(), router));
                for (e, expert) in experts.iter_mut().enumerate() {
                    let own = [names.expert_gate, names.expert_up, names.expert_down].into_iter().zip(expert.linears_mut());
                    all.extend(own.map(|(name, linear)| (format!("{}{e}.{name}", names.experts), linear)));
                }
            }
        }
        all
    }
    /// Weights and biases of norms.
    fn norms_mut(&mut self) -> Vec<&mut Tensor> {
        let Self { norm1, after1, norm2, after2, head_norms, .. } = self;
        let norms = [norm1, after1, norm2, after2].into_iter().flatten().flat_map(Norm::tensors_mut);
        norms.chain(head_norms.iter_mut().flat_map(|(q, k)| [q, k]).flat_map(HeadWeights::tensors_mut)).collect()
    }
    /// All that it computes with.
    pub fn tensors(&self, c: &Config) -> Vec<Tensor> {
        let mut copy = self.clone();
        let mut all: Vec<Tensor> = copy.norms_mut().into_iter().map(|t| t.clone()).collect();
        for (_, linear) in copy.linears_mut(c) {
            all.extend(linear.tensors().cloned());
        }
        all
    }
    fn detached(&self, c: &Config) -> Self {
        let mut copy = self.clone();
        copy.norms_mut().into_iter().for_each(|t| *t = t.detach());
        copy.linears_mut(c).into_iter().for_each(|(_, linear)| *linear = linear.detached());
        copy
    }
}

impl Weights {
    pub fn detached(&self, c: &Config) -> Self {
        let mut norm = self.norm.clone();
        norm.tensors_mut().for_each(|t| *t = t.detach());
        Self {
            tokens: self.tokens.detached(),
            positions: self.positions.as_ref().map(Weight::detached),
            blocks: self.blocks.iter().map(|block| block.detached(c)).collect(),
            norm,
            head: self.head.detached(),
            head_bias: self.head_bias.as_ref().map(Tensor::detach),
        }
    }

    /// Every weight of a product or a table.
    pub fn all(&self, c: &Config) -> Vec<Weight> {
        let mut all = vec![self.tokens.clone(), self.head.clone()];
        for block in &self.blocks {
            all.extend(block.clone().linears_mut(c).into_iter().map(|(_, linear)| linear.weight().clone()));
        }
        all
    }

    /// Puts parameters into their places by their names.
    pub fn new(c: &Config, named: impl Iterator<Item = (String, Weight)>) -> Result<Self, ModelError> {
        let mut taker = Taker { config: c, left: named.collect() };
        let names = c.family.names();
        let tokens = taker.take(&format!("{}.weight", names.tokens))?;
        let positions = if c.arch.learned_positions { Some(taker.take(&format!("{}.weight", names.positions))?) } else { None };
        let blocks = (0..c.layers).map(|i| taker.block(i)).collect::<Result<_, _>>()?;
        let norm = taker.norm("", names.norm)?;
        let head = if c.tied { tokens.clone() } else { taker.take(&format!("{}.weight", names.head))? };
        let head_bias = if c.arch.head_bias { Some(taker.take(&format!("{}.bias", names.head))?.tensor()?) } else { None };
        Ok(Self { tokens, positions, blocks, norm, head, head_bias })
    }
}

/// Parameters that wait for their places.
struct Taker<'a> {
    config: &'a Config,
    left: HashMap<String, Weight>,
}

impl Taker<'_> {
    fn take(&mut self, name: &str) -> Result<Weight, ModelError> {
        self.left
            .remove(name)
            .ok_or_else(|| ModelError::Config(format!("the parameter {name} is missing; give all that the architecture has")))
    }
    fn linear(&mut self, prefix: &str, name: &str) -> Result<Linear, ModelError> {
        let weight = self.take(&format!("{prefix}{name}.weight"))?;
        let bias = self.left.remove(&format!("{prefix}{name}.bias")).map(|bias| bias.tensor()).transpose()?;
        Ok(Linear::new(weight, bias, self.config.arch.transposed))
    }
    fn norm(&mut self, prefix: &str, name: &str) -> Result<Norm, ModelError> {
        let weight = self.take(&format!("{prefix}{name}.weight"))?.tensor()?;
        let kind = self.config.arch.norm;
        let bias = if kind == NormKind::Layer { Some(self.take(&format!("{prefix}{name}.bias"))?.tensor()?) } else { None };
        Ok(Norm { kind, weight, bias })
    }
    fn norm_where(&mut self, there: bool, prefix: &str, name: &str) -> Result<Option<Norm>, ModelError> {
        if there { self.norm(prefix, name).map(Some) } else { Ok(None) }
    }

    fn block(&mut self, i: usize) -> Result<Block, ModelError> {
        let (names, places) = (self.config.family.names(), self.config.arch.places);
        let prefix = layer_prefix(self.config, i);
        let p = prefix.as_str();
        let after = matches!(places, Places::After | Places::Around);
        Ok(Block {
            norm1: self.norm_where(places != Places::After, p, names.norm1)?,
            attention: match self.config.arch.qkv {
                Qkv::Apart => Projections::Apart { q: self.linear(p, names.q)?, k: self.linear(p, names.k)?, v: self.linear(p, names.v)? },
                Qkv::Packed => Projections::Packed(self.linear(p, names.qkv)?),
                Qkv::Interleaved => Projections::Interleaved(self.linear(p, names.qkv)?),
            },
            head_norms: match self.config.arch.head_norm {
                HeadNorm::None => None,
                _ => Some((self.heads(p, names.q_norm, self.config.heads)?, self.heads(p, names.k_norm, self.config.kv_heads)?)),
            },
            output: self.linear(p, names.output)?,
            after1: self.norm_where(after, p, names.after1)?,
            norm2: self.norm_where(matches!(places, Places::Before | Places::Around), p, names.norm2)?,
            ffn: self.ffn(p, i)?,
            after2: self.norm_where(after, p, names.after2)?,
        })
    }

    fn heads(&mut self, prefix: &str, name: &str, heads: usize) -> Result<HeadWeights, ModelError> {
        Ok(match self.config.arch.head_norm {
            HeadNorm::Whole => HeadWeights::Whole(self.norm(prefix, name)?),
            HeadNorm::Own => HeadWeights::Own(
                (0..heads).map(|h| self.take(&format!("{prefix}{name}.norms.{h}.weight"))?.tensor()).collect::<Result<_, _>>()?,
            ),
            HeadNorm::Each | HeadNorm::None => HeadWeights::Each(self.norm(prefix, name)?),
        })
    }

    fn ffn(&mut self, prefix: &str, layer: usize) -> Result<Ffn, ModelError> {
        let config = self.config;
        let names = config.family.names();
        if let Some(experts) = config.arch.experts_of(layer) {
            let one = |e: usize| {
                let at = format!("{prefix}{}{e}.", names.experts);
                let gate = self.linear(&at, names.expert_gate)?;
                Ok(Gated { gate, up: self.linear(&at, names.expert_up)?, down: self.linear(&at, names.expert_down)? })
            };
            let experts = (0..experts.count).map(one).collect::<Result<_, ModelError>>()?;
            return Ok(Ffn::Experts { router: self.linear(prefix, names.router)?, experts });
        }
        Ok(match config.arch.ffn {
            FfnKind::Dense => Ffn::Dense { up: self.linear(prefix, names.up)?, down: self.linear(prefix, names.down)? },
            FfnKind::Packed => Ffn::Packed { gate_up: self.linear(prefix, names.gate_up)?, down: self.linear(prefix, names.down)? },
            FfnKind::Gated => Ffn::Gated(Gated {
                gate: self.linear(prefix, names.gate)?,
                up: self.linear(prefix, names.up)?,
                down: self.linear(prefix, names.down)?,
            }),
        })
    }
}
