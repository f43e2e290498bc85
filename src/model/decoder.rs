//! The decoder of all families: embedding, blocks of attention and feed-forward, the last norm, the head.
//! Deliberately not here: numbers' loops (`ops`), names and shapes (`params`), files (`hf`).

pub use super::cache::Cache;
use super::config::{Config, Family};
use super::linear::Linear;
use super::ops::{self, Graph, OpTimes, Tapes};
use super::params::{self, Param};
use super::weight::Weight;
use super::{ModelError, memory};
use crate::rng::Stream;
use candle_core::{DType, Device, Result as CandleResult, Tensor, backprop::GradStore};
use std::sync::Arc;

/// The configurable decoder.
pub struct Decoder {
    config: Config,
    params: Vec<Param>,
    weights: Weights,
    device: Device,
    dtype: DType,
    /// Whether products and activations are in bf16.
    bf16: bool,
    /// Whether fused ops are left alone.
    composed: bool,
    /// Whether blocks are computed once more in the backward pass.
    recompute: bool,
    /// Where `gradients` finds what the passes recorded.
    tapes: Option<Tapes>,
}

/// Everything about one forward pass that is not weights. `Pass::default()` is a plain full forward.
#[derive(Default)]
pub struct Pass<'a> {
    pub cache: Option<&'a mut Cache>,
    /// Where dropout masks come from; none drops nothing.
    pub dropout: Option<&'a mut Stream>,
}

#[derive(Clone)]
struct Weights {
    /// (vocab, width).
    tokens: Weight,
    /// (context, width), of gpt2.
    positions: Option<Weight>,
    blocks: Vec<Block>,
    norm: Norm,
    /// (vocab, width); the embedding where the head is tied.
    head: Weight,
}

#[derive(Clone)]
struct Block {
    norm1: Norm,
    attention: Projections,
    output: Linear,
    norm2: Norm,
    ffn: Ffn,
}

#[derive(Clone)]
enum Projections {
    Apart {
        q: Linear,
        k: Linear,
        v: Linear,
        /// Of qwen3: (head_dim) each.
        norms: Option<(Tensor, Tensor)>,
    },
    /// One product for queries, keys and values side by side.
    Packed(Linear),
}

#[derive(Clone)]
enum Ffn {
    SwiGlu { gate: Linear, up: Linear, down: Linear },
    Gelu { up: Linear, down: Linear },
}

#[derive(Clone)]
struct Norm {
    weight: Tensor,
    /// With a bias it is LayerNorm, without RMSNorm.
    bias: Option<Tensor>,
}

/// Angles of the positions of one pass: (time, head_dim / 2) each.
#[derive(Clone)]
struct Angles {
    cos: Tensor,
    sin: Tensor,
}

impl Decoder {
    /// New weights from the seed, each drawn from a stream of its own name (normal, `init_std`; residual
    /// projections scaled by 1/sqrt(2 * layers); norms 1, biases 0).
    pub fn new(config: Config, seed: u64, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        memory::check(config.parameters(), dtype, device, "the model")?;
        let specs = params::specs(&config);
        let mut list = Vec::with_capacity(specs.len());
        for spec in specs {
            let var = params::initial(&spec, &config, seed, dtype, device)?;
            list.push(Param { name: spec.name, var, kind: spec.kind });
        }
        Self::from_params(config, list)
    }

    /// A decoder of parameters that stand in the order of `params::specs`.
    pub(super) fn from_params(config: Config, params: Vec<Param>) -> Result<Self, ModelError> {
        let Some(first) = params.first() else {
            return Err(ModelError::Config("a decoder without parameters; give it at least one layer".into()));
        };
        let (device, dtype) = (first.var.device().clone(), first.var.dtype());
        let weights = Weights::new(&config, params.iter().map(|p| p.var.as_tensor().clone().into()).collect())?;
        Ok(Self { config, params, weights, device, dtype, bf16: false, composed: false, recompute: false, tapes: None })
    }

    /// A decoder for inference alone, of weights that stand in the order of `params::specs`: it has no parameters.
    pub(super) fn from_weights(config: Config, weights: Vec<Weight>, device: &Device) -> Result<Self, ModelError> {
        let weights = Weights::new(&config, weights)?;
        let (device, dtype) = (device.clone(), DType::F32);
        Ok(Self { config, params: Vec::new(), weights, device, dtype, bf16: false, composed: false, recompute: false, tapes: None })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }
    /// The share of activations that is dropped while training; a model that was loaded knows none.
    pub fn set_dropout(&mut self, dropout: f64) {
        self.config.dropout = dropout;
    }
    pub fn device(&self) -> &Device {
        &self.device
    }
    /// The type of the weights' numbers.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Whether forward and backward pass work in mixed precision: products and what goes from op to op in bf16; the
    /// weights themselves, their gradients, the residual stream, norms, softmax, rotations and the loss in f32.
    pub fn set_bf16(&mut self, bf16: bool) {
        self.bf16 = bf16;
    }
    /// Whether the backward pass computes each block once more instead of keeping what it computed: a third more time for
    /// a fraction of the memory. On the CPU alone.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.recompute = recompute;
    }
    pub fn bf16(&self) -> bool {
        self.bf16
    }
    /// Takes candle's own ops for everything, on any device: what fused ops and kernels are compared with.
    pub fn set_composed(&mut self, composed: bool) {
        self.composed = composed;
    }
    /// All parameters, always in the same order. A tied head stands once, as the embedding.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// `ids`: (batch, time) u32. Returns (batch, time, width), after the final norm.
    ///
    /// With a cache, `ids` are the tokens after those that it holds, and it holds them too afterwards.
    pub fn hidden(&self, ids: &Tensor, pass: &mut Pass) -> Result<Tensor, ModelError> {
        if pass.cache.is_some() && self.weights.head.as_tensor().is_none() {
            return ops::Team::during(|team| self.hidden_by(Some(team), ids, pass));
        }
        self.hidden_by(None, ids, pass)
    }
    fn hidden_by(&self, team: Option<&Arc<ops::Team>>, ids: &Tensor, pass: &mut Pass) -> Result<Tensor, ModelError> {
        let (_, time) = ids.dims2()?;
        let start = pass.cache.as_ref().map_or(0, |c| c.len());
        self.check_ids(ids, start, time)?;
        // With a cache the keys of earlier tokens have no graph, so that gradients would be wrong: there are none.
        let graph = self.graph(pass.cache.is_some()).with_team(team);
        let mut x = self.embed(&graph, ids, start)?;
        x = self.drop(&graph, x, pass)?;
        let angles = if self.config.family.rotary() { Some(self.angles(start, time)?) } else { None };
        let again = (self.recompute && pass.cache.is_none()).then(|| Arc::new(self.twin(None)));
        for i in 0..self.weights.blocks.len() {
            x = match &again {
                Some(twin) => self.block_again(&graph, twin, i, x, angles.as_ref(), pass)?,
                None => self.block(&graph, i, x, angles.as_ref(), pass)?,
            };
        }
        if let Some(cache) = pass.cache.as_deref_mut() {
            cache.advance(time);
        }
        let hidden = self.weights.norm.forward(&graph, &x, &self.config)?;
        if pass.cache.is_some() {
            return Ok(hidden.detach());
        }
        Ok(graph.finish(hidden)?)
    }

    /// The embedding of a token: (width).
    pub fn vector_of(&self, id: u32) -> Result<Vec<f32>, ModelError> {
        let ids = Tensor::new(&[[id]], &self.device)?;
        self.check_ids(&ids, 0, 1)?;
        Ok(self.weights.tokens.embedding(&self.graph(true), &ids)?.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
    }
    /// The types of the weights' numbers, the commonest first: `Q4_1, Q8_0`.
    pub fn weights_in_words(&self) -> String {
        let mut bytes: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
        for weight in self.weights.all() {
            let (name, size) = weight.in_words();
            *bytes.entry(name).or_default() += size;
        }
        let mut all: Vec<(String, usize)> = bytes.into_iter().collect();
        all.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        all.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    }

    /// (…, width) → (…, vocab).
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        let graph = self.graph(false);
        let head = Linear { weight: self.weights.head.clone(), bias: None, transposed: false };
        let logits = head.forward(&graph, &self.for_products(hidden)?)?;
        Ok(graph.finish(logits)?.to_dtype(hidden.dtype())?)
    }

    /// Σ weight · −log p(target) over all places: a scalar. hidden (batch, time, width), targets (batch, time)
    /// u32, weights (batch, time) f32. Divide by the step's sum of weights for the mean.
    ///
    /// A target whose weight is 0 is not looked at, and may be any number.
    pub fn loss_sum(&self, hidden: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, time, width) = hidden.dims3()?;
        if targets.dims() != [batch, time] || weights.dims() != [batch, time] {
            return Err(ModelError::Config(format!(
                "targets {:?} and weights {:?} do not fit the hidden states of {batch} rows and {time} places; give one of each a place",
                targets.dims(),
                weights.dims()
            )));
        }
        let hidden = self.for_products(&hidden.reshape((batch * time, width))?)?;
        Ok(ops::cross_entropy(self.graph(false), &hidden, &self.weights.head.tensor()?, &targets.flatten_all()?, &weights.flatten_all()?)?)
    }

    /// The same decoder, weights shared, whose gradients go to `hand`: see `hand_gradients`.
    pub fn lane(&self, hand: ops::Hand) -> Decoder {
        self.twin(Some(Tapes::handing(hand)))
    }
    fn twin(&self, tapes: Option<Tapes>) -> Decoder {
        Decoder {
            params: self.params.clone(),
            config: self.config.clone(),
            weights: self.weights.clone(),
            device: self.device.clone(),
            tapes,
            ..*self
        }
    }
    /// What a lane's fused ops took since it was last asked.
    pub fn op_times(&self) -> OpTimes {
        self.tapes.as_ref().map(Tapes::take_times).unwrap_or_default()
    }
    /// Of a lane: gives each parameter's gradient away as soon as it is known, once for each that the loss depends on.
    pub fn hand_gradients(&self, loss: &Tensor) -> Result<(), ModelError> {
        let Some(tapes) = &self.tapes else { return Err(ModelError::Config("only a lane hands gradients on".into())) };
        let mut grads = tapes.backward(loss)?;
        for var in self.params.iter().map(|p| p.var.as_tensor()) {
            if let Some(grad) = grads.take(var)? {
                tapes.hand(var, grad)?;
            }
        }
        Ok(())
    }

    /// The gradient of a loss for every parameter, in their order.
    ///
    /// # Errors
    /// A parameter that the loss does not depend on by ops that have a backward pass.
    pub fn gradients(&self, loss: &Tensor) -> Result<Vec<Tensor>, ModelError> {
        let mut grads = backward(loss)?;
        let take =
            |param: &Param| grads.remove(param.var.as_tensor()).map(|g| g.detach()).ok_or_else(|| ModelError::no_gradient(&param.name));
        self.params.iter().map(take).collect()
    }

    /// The same weights without a graph: for generation and evaluation. Shares storage, so it sees in-place updates.
    pub fn detached(&self) -> Decoder {
        Decoder {
            config: self.config.clone(),
            params: self.params.clone(),
            weights: self.weights.detached(),
            device: self.device.clone(),
            dtype: self.dtype,
            bf16: self.bf16,
            composed: self.composed,
            recompute: false,
            tapes: None,
        }
    }

    /// On the CPU fused ops alone compute in bf16, and only inside their products.
    fn composes(&self) -> bool {
        self.composed || (self.bf16 && self.device.is_cpu() && !ops::has_bf16())
    }
    fn in_products_alone(&self) -> bool {
        self.bf16 && self.device.is_cpu() && !self.composes()
    }
    fn graph(&self, silent: bool) -> Graph {
        let graph = match silent {
            _ if self.composes() => Graph::composed(),
            true => Graph::silent(),
            false => self.tapes.as_ref().map_or_else(Graph::new, Graph::on),
        };
        graph.in_bf16(self.in_products_alone())
    }
    /// What products work on: bf16 in mixed precision.
    fn for_products(&self, x: &Tensor) -> CandleResult<Tensor> {
        if self.bf16 && !self.in_products_alone() { x.to_dtype(DType::BF16) } else { Ok(x.clone()) }
    }

    fn check_ids(&self, ids: &Tensor, start: usize, time: usize) -> Result<(), ModelError> {
        let (vocab, context) = (self.config.vocab, self.config.context);
        if self.config.family == Family::Gpt2 && start + time > context {
            let text = format!("{} tokens do not fit into gpt2's context of {context}; shorten the text", start + time);
            return Err(ModelError::Config(text));
        }
        // On other devices a look at the ids would wait for everything before; their kernels check for themselves.
        if ids.device().is_cpu() {
            let largest = ids.flatten_all()?.to_vec1::<u32>()?.into_iter().max();
            if let Some(id) = largest.filter(|&id| id as usize >= vocab) {
                let text =
                    format!("token {id} is beyond the model's vocabulary of {vocab}; use the tokenizer that the model was trained with");
                return Err(ModelError::Config(text));
            }
        }
        Ok(())
    }

    fn embed(&self, graph: &Graph, ids: &Tensor, start: usize) -> CandleResult<Tensor> {
        let x = self.weights.tokens.embedding(graph, ids)?;
        let Some(table) = &self.weights.positions else { return Ok(x) };
        let (batch, time) = ids.dims2()?;
        let places: Vec<u32> = (0..batch).flat_map(|_| (start..start + time).map(|p| p as u32)).collect();
        let places = Tensor::from_vec(places, (batch, time), ids.device())?;
        ops::add(graph, &x, &table.embedding(graph, &places)?)
    }

    fn angles(&self, start: usize, time: usize) -> CandleResult<Angles> {
        let d = self.config.head_dim;
        let angles: Vec<f64> = (start..start + time)
            .flat_map(|p| (0..d / 2).map(move |i| (p, i)))
            .map(|(p, i)| p as f64 * self.config.rope_theta.powf(-2.0 * i as f64 / d as f64))
            .collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f64> = angles.iter().map(|&a| f(a)).collect();
            Tensor::from_vec(values, (time, d / 2), &Device::Cpu)?.to_dtype(self.dtype)?.to_device(&self.device)
        };
        Ok(Angles { cos: table(f64::cos)?, sin: table(f64::sin)? })
    }

    /// One block: (batch, time, width) → the same shape.
    fn block(&self, graph: &Graph, i: usize, x: Tensor, angles: Option<&Angles>, pass: &mut Pass) -> CandleResult<Tensor> {
        let block = &self.weights.blocks[i];
        let h = self.for_products(&block.norm1.forward(graph, &x, &self.config)?)?;
        let y = self.attend(graph, block, &h, angles, i, pass)?;
        let x = self.onto(graph, &block.output, &y, x, pass)?;
        let h = self.for_products(&block.norm2.forward(graph, &x, &self.config)?)?;
        let (y, down) = block.ffn.inner(graph, &h)?;
        self.onto(graph, down, &y, x, pass)
    }

    /// As `block`, of which only the argument is kept for the backward pass; `twin` is this decoder once more.
    fn block_again(
        &self,
        graph: &Graph,
        twin: &Arc<Decoder>,
        i: usize,
        x: Tensor,
        angles: Option<&Angles>,
        pass: &mut Pass,
    ) -> CandleResult<Tensor> {
        // Both times the same masks.
        let masks = pass.dropout.as_deref_mut().map(|stream| Stream::new(stream.next_u64(), "dropout of a block"));
        let (twin, angles) = (twin.clone(), angles.cloned());
        let part = move |graph: &Graph, x: &Tensor| {
            let mut masks = masks.clone();
            let mut pass = Pass { dropout: masks.as_mut(), ..Pass::default() };
            twin.block(graph, i, x.clone(), angles.as_ref(), &mut pass)
        };
        ops::again(graph, &x, self.weights.blocks[i].tensors(), part)
    }

    /// (batch, time, width) → (batch, time, heads · head_dim), before the output projection.
    fn attend(
        &self,
        graph: &Graph,
        block: &Block,
        h: &Tensor,
        angles: Option<&Angles>,
        layer: usize,
        pass: &mut Pass,
    ) -> CandleResult<Tensor> {
        let c = &self.config;
        let (mut q, mut k, v) = match &block.attention {
            Projections::Packed(qkv) => {
                let qkv = qkv.forward(graph, h)?;
                if pass.cache.is_none() {
                    return ops::attention_packed(graph, &qkv, c.heads);
                }
                let part = |i| qkv.narrow(2, i * c.width, c.width);
                (part(0)?, part(1)?, part(2)?)
            }
            Projections::Apart { q, k, v, .. } => Linear::forward_all([q, k, v], graph, h)?.into(),
        };
        if let Projections::Apart { norms: Some((q_norm, k_norm)), .. } = &block.attention {
            q = self.norm_heads(graph, &q, q_norm)?;
            k = self.norm_heads(graph, &k, k_norm)?;
        }
        if let Some(a) = angles {
            q = ops::rope(graph, &q, &a.cos, &a.sin)?;
            k = ops::rope(graph, &k, &a.cos, &a.sin)?;
        }
        let Some(cache) = pass.cache.as_deref_mut() else { return ops::attention(graph, &q, &k, &v, c.heads, c.kv_heads) };
        let (k, v) = cache.extend(layer, &k, &v)?;
        ops::attention(graph, &q, &k, &v, c.heads, c.kv_heads)
    }

    /// RMSNorm of each head: (batch, time, heads · head_dim), weight (head_dim).
    fn norm_heads(&self, graph: &Graph, x: &Tensor, weight: &Tensor) -> CandleResult<Tensor> {
        let (batch, time, width) = x.dims3()?;
        let d = self.config.head_dim;
        let heads = ops::reshape(graph, x, &[batch, time, width / d, d])?;
        ops::reshape(graph, &ops::rms_norm(graph, &heads, weight, self.config.norm_eps)?, &[batch, time, width])
    }

    /// x + a projection of y, of which dropout takes its share.
    fn onto(&self, graph: &Graph, linear: &Linear, y: &Tensor, x: Tensor, pass: &mut Pass) -> CandleResult<Tensor> {
        if pass.dropout.is_none() || self.config.dropout == 0.0 {
            return linear.forward_onto(graph, y, &x);
        }
        let y = self.drop(graph, linear.forward(graph, y)?, pass)?;
        ops::add(graph, &x, &y)
    }

    /// Inverted dropout: what stays is divided by the probability to stay.
    fn drop(&self, graph: &Graph, x: Tensor, pass: &mut Pass) -> CandleResult<Tensor> {
        let p = self.config.dropout;
        let Some(stream) = pass.dropout.as_deref_mut().filter(|_| p > 0.0) else { return Ok(x) };
        let (kept, scale) = (((1.0 - p) * 65536.0) as u64, (1.0 / (1.0 - p)) as f32);
        let n = x.elem_count();
        let mut mask = Vec::with_capacity(n + 3);
        while mask.len() < n {
            // Four places from each draw: sixteen bits are fine enough for a probability.
            let bits = stream.next_u64();
            mask.extend((0..4).map(|i| if (bits >> (16 * i)) & 0xffff < kept { scale } else { 0.0 }));
        }
        mask.truncate(n);
        let mask = Tensor::from_vec(mask, x.shape(), &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())?;
        ops::mask(graph, &x, &mask)
    }
}

impl Norm {
    fn forward(&self, graph: &Graph, x: &Tensor, config: &Config) -> CandleResult<Tensor> {
        match &self.bias {
            Some(bias) => ops::layer_norm(graph, x, &self.weight, bias, config.norm_eps),
            None => ops::rms_norm(graph, x, &self.weight, config.norm_eps),
        }
    }
}

impl Ffn {
    /// What the last projection works on, and that projection.
    fn inner(&self, graph: &Graph, x: &Tensor) -> CandleResult<(Tensor, &Linear)> {
        Ok(match self {
            Ffn::SwiGlu { gate, up, down } => {
                let [gate, up] = Linear::forward_all([gate, up], graph, x)?;
                (ops::swiglu(graph, &gate, &up)?, down)
            }
            Ffn::Gelu { up, down } => (ops::gelu(graph, &up.forward(graph, x)?)?, down),
        })
    }
}

impl Weights {
    /// Takes the tensors in the order of `params::specs`.
    fn new(c: &Config, weights: Vec<Weight>) -> Result<Self, ModelError> {
        let mut rest = weights.into_iter();
        let mut next =
            || rest.next().ok_or_else(|| ModelError::Config("parameters are missing; give all that the architecture has".into()));
        let gpt2 = c.family == Family::Gpt2;
        let tokens = next()?;
        let positions = if gpt2 { Some(next()?) } else { None };
        let mut blocks = Vec::with_capacity(c.layers);
        for _ in 0..c.layers {
            blocks.push(if gpt2 { Block::gpt2(&mut next)? } else { Block::rotary(c.family == Family::Qwen3, &mut next)? });
        }
        let norm = Norm { weight: next()?.tensor()?, bias: if gpt2 { Some(next()?.tensor()?) } else { None } };
        let head = if c.tied { tokens.clone() } else { next()? };
        Ok(Self { tokens, positions, blocks, norm, head })
    }

    /// The weights of all products and tables.
    fn all(&self) -> Vec<&Weight> {
        let mut all = vec![&self.tokens, &self.head];
        for block in &self.blocks {
            match &block.attention {
                Projections::Apart { q, k, v, .. } => all.extend([q, k, v].map(|l| &l.weight)),
                Projections::Packed(qkv) => all.push(&qkv.weight),
            }
            all.push(&block.output.weight);
            match &block.ffn {
                Ffn::SwiGlu { gate, up, down } => all.extend([gate, up, down].map(|l| &l.weight)),
                Ffn::Gelu { up, down } => all.extend([up, down].map(|l| &l.weight)),
            }
        }
        all
    }

    fn detached(&self) -> Self {
        let tokens = self.tokens.detached();
        let positions = self.positions.as_ref().map(Weight::detached);
        Self {
            tokens,
            positions,
            blocks: self.blocks.iter().map(Block::detached).collect(),
            norm: self.norm.detached(),
            head: self.head.detached(),
        }
    }
}

impl Block {
    fn rotary(head_norms: bool, next: &mut dyn FnMut() -> Result<Weight, ModelError>) -> Result<Self, ModelError> {
        let linear = |weight| Linear { weight, bias: None, transposed: false };
        let norm1 = Norm { weight: next()?.tensor()?, bias: None };
        let (q, k, v) = (linear(next()?), linear(next()?), linear(next()?));
        let norms = if head_norms { Some((next()?.tensor()?, next()?.tensor()?)) } else { None };
        Ok(Self {
            norm1,
            attention: Projections::Apart { q, k, v, norms },
            output: linear(next()?),
            norm2: Norm { weight: next()?.tensor()?, bias: None },
            ffn: Ffn::SwiGlu { gate: linear(next()?), up: linear(next()?), down: linear(next()?) },
        })
    }

    fn gpt2(next: &mut dyn FnMut() -> Result<Weight, ModelError>) -> Result<Self, ModelError> {
        fn linear(next: &mut dyn FnMut() -> Result<Weight, ModelError>) -> Result<Linear, ModelError> {
            Ok(Linear { weight: next()?, bias: Some(next()?.tensor()?), transposed: true })
        }
        fn norm(next: &mut dyn FnMut() -> Result<Weight, ModelError>) -> Result<Norm, ModelError> {
            Ok(Norm { weight: next()?.tensor()?, bias: Some(next()?.tensor()?) })
        }
        Ok(Self {
            norm1: norm(next)?,
            attention: Projections::Packed(linear(next)?),
            output: linear(next)?,
            norm2: norm(next)?,
            ffn: Ffn::Gelu { up: linear(next)?, down: linear(next)? },
        })
    }
}

impl Norm {
    fn detached(&self) -> Self {
        Self { weight: self.weight.detach(), bias: self.bias.as_ref().map(Tensor::detach) }
    }
}

impl Linear {
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.weight.as_tensor().into_iter().chain(&self.bias)
    }
}

impl Norm {
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(&self.weight).chain(&self.bias)
    }
}

impl Block {
    /// All that it computes with.
    fn tensors(&self) -> Vec<Tensor> {
        let mut all: Vec<&Tensor> = self.norm1.tensors().collect();
        match &self.attention {
            Projections::Packed(qkv) => all.extend(qkv.tensors()),
            Projections::Apart { q, k, v, norms } => {
                all.extend([q, k, v].into_iter().flat_map(Linear::tensors));
                all.extend(norms.iter().flat_map(|(q, k)| [q, k]));
            }
        }
        all.extend(self.output.tensors().chain(self.norm2.tensors()));
        match &self.ffn {
            Ffn::SwiGlu { gate, up, down } => all.extend([gate, up, down].into_iter().flat_map(Linear::tensors)),
            Ffn::Gelu { up, down } => all.extend([up, down].into_iter().flat_map(Linear::tensors)),
        }
        all.into_iter().cloned().collect()
    }
    fn detached(&self) -> Self {
        let attention = match &self.attention {
            Projections::Packed(qkv) => Projections::Packed(qkv.detached()),
            Projections::Apart { q, k, v, norms } => {
                let norms = norms.as_ref().map(|(q, k)| (q.detach(), k.detach()));
                Projections::Apart { q: q.detached(), k: k.detached(), v: v.detached(), norms }
            }
        };
        let ffn = match &self.ffn {
            Ffn::SwiGlu { gate, up, down } => Ffn::SwiGlu { gate: gate.detached(), up: up.detached(), down: down.detached() },
            Ffn::Gelu { up, down } => Ffn::Gelu { up: up.detached(), down: down.detached() },
        };
        Self { norm1: self.norm1.detached(), attention, output: self.output.detached(), norm2: self.norm2.detached(), ffn }
    }
}

/// The one caller of `Tensor::backward`.
pub fn backward(loss: &Tensor) -> Result<GradStore, ModelError> {
    Ok(loss.backward()?)
}
