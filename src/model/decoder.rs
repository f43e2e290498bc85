//! The decoder of all families: embedding, blocks of attention and feed-forward, the last norm, the head.
//! Deliberately not here: a block's weights (`block`), numbers' loops (`ops`), names and shapes (`params`), files (`hf`).

use super::block::{Fed, Norm, Projections, Weights};
pub use super::cache::Cache;
use super::config::Config;
use super::linear::{Linear, Low};
use super::ops::{self, Form, Graph, OpTimes, Readout, Tapes};
use super::params::{self, Param};
use super::positions::Angles;
use super::weight::Weight;
use super::{ModelError, memory};
use crate::rng::Stream;
use candle_core::{DType, Device, Result as CandleResult, Tensor, backprop::GradStore};
use std::collections::HashMap;
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

/// A pass over one batch of equally long rows, or over new tokens of several sequences side by side.
struct Run<'a> {
    /// Each sequence's cache and how many tokens are its; none where there is no cache.
    caches: Vec<(&'a mut Cache, usize)>,
    dropout: Option<&'a mut Stream>,
}

impl Run<'_> {
    /// The first position of each sequence's tokens, and how many they are.
    fn spans(&self, time: usize) -> Vec<(usize, usize)> {
        if self.caches.is_empty() { vec![(0, time)] } else { self.caches.iter().map(|(cache, new)| (cache.len(), *new)).collect() }
    }
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
        let named = params.iter().map(|p| (p.name.clone(), p.var.as_tensor().clone().into()));
        let weights = Weights::new(&config, named)?;
        Ok(Self { config, params, weights, device, dtype, bf16: false, composed: false, recompute: false, tapes: None })
    }

    /// A decoder for inference alone, of weights that stand in the order of `params::specs`: it has no parameters.
    pub(super) fn from_weights(config: Config, weights: Vec<Weight>, device: &Device) -> Result<Self, ModelError> {
        let named = params::specs(&config).into_iter().map(|spec| spec.name).zip(weights);
        let weights = Weights::new(&config, named)?;
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
        let time = ids.dim(1)?;
        let caches = pass.cache.as_deref_mut().map(|cache| (cache, time)).into_iter().collect();
        self.run(ids, &mut Run { caches, dropout: pass.dropout.as_deref_mut() })
    }

    /// New tokens of many sequences in one go, each with a cache of its own, of which each knows as much as it likes:
    /// the hidden states (1, tokens, width) of each part after the final norm, without a graph. All products of weights
    /// are done once for all of them, nothing is padded, and each cache holds its tokens too afterwards.
    ///
    /// What comes of a part does not depend on what stands in the others, but the products of a processor may round
    /// differently for another number of tokens in all.
    pub fn extend(&self, parts: &mut [(&mut Cache, &[u32])]) -> Result<Vec<Tensor>, ModelError> {
        let ids: Vec<u32> = parts.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
        if parts.iter().any(|(_, ids)| ids.is_empty()) {
            return Err(ModelError::Config("a sequence without new tokens; leave it out of the batch".into()));
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let lengths: Vec<usize> = parts.iter().map(|(_, ids)| ids.len()).collect();
        let ids = Tensor::from_vec(ids, (1, lengths.iter().sum::<usize>()), &self.device)?;
        let caches = parts.iter_mut().map(|(cache, ids)| (&mut **cache, ids.len())).collect();
        let hidden = self.run(&ids, &mut Run { caches, dropout: None })?;
        let mut from = 0;
        let part = |n: &usize| {
            from += n;
            Ok(hidden.narrow(1, from - n, *n)?)
        };
        lengths.iter().map(part).collect()
    }

    fn run(&self, ids: &Tensor, run: &mut Run) -> Result<Tensor, ModelError> {
        if !run.caches.is_empty() && self.weights.head.as_tensor().is_none() {
            return ops::Team::during(|team| self.run_by(Some(team), ids, run));
        }
        self.run_by(None, ids, run)
    }
    fn run_by(&self, team: Option<&Arc<ops::Team>>, ids: &Tensor, run: &mut Run) -> Result<Tensor, ModelError> {
        let spans = run.spans(ids.dim(1)?);
        self.check_ids(ids, &spans)?;
        // With a cache the keys of earlier tokens have no graph, so that gradients would be wrong: there are none.
        let cached = !run.caches.is_empty();
        let graph = self.graph(cached).with_team(team);
        for (cache, new) in &mut run.caches {
            cache.begin(*new, &self.device)?;
        }
        let mut x = self.embed(&graph, ids, &spans)?;
        x = self.drop(&graph, x, run)?;
        let angles = self.angles(&spans)?;
        let again = (self.recompute && !cached).then(|| Arc::new(self.twin(None)));
        for i in 0..self.weights.blocks.len() {
            x = match &again {
                Some(twin) => self.block_again(&graph, twin, i, x, &angles, run)?,
                None => self.block(&graph, i, x, &angles, run)?,
            };
        }
        for (cache, new) in &mut run.caches {
            cache.advance(*new);
        }
        let hidden = self.weights.norm.forward(&graph, &x, self.config.norm_eps)?;
        if cached {
            return Ok(hidden.detach());
        }
        Ok(graph.finish(hidden)?)
    }

    /// The embedding of a token: (width).
    pub fn vector_of(&self, id: u32) -> Result<Vec<f32>, ModelError> {
        let ids = Tensor::new(&[[id]], &self.device)?;
        self.check_ids(&ids, &[(0, 1)])?;
        Ok(self.weights.tokens.embedding(&self.graph(true), &ids)?.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
    }
    /// The types of the weights' numbers, the commonest first: `Q4_1, Q8_0`.
    pub fn weights_in_words(&self) -> String {
        let mut bytes: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
        for weight in self.weights.all(&self.config) {
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
        let head = Linear::new(self.weights.head.clone(), self.weights.head_bias.clone(), false);
        let logits = head.forward(&graph, &self.for_products(hidden)?)?;
        let logits = graph.finish(logits)?.to_dtype(hidden.dtype())?;
        Ok(self.config.arch.logit_cap.map_or(Ok(logits.clone()), |cap| ops::composed::soft_cap(&logits, cap))?)
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
        let (head, head_bias) = (self.weights.head.tensor()?, &self.weights.head_bias);
        let readout = Readout { head: &head, bias: head_bias.as_ref(), cap: self.config.arch.logit_cap };
        Ok(ops::cross_entropy_of(self.graph(false), &hidden, readout, &targets.flatten_all()?, &weights.flatten_all()?)?)
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

    /// The gradient of a loss for every parameter, in their order; zeros for experts that no token reached.
    ///
    /// # Errors
    /// Another parameter that the loss does not depend on by ops that have a backward pass.
    pub fn gradients(&self, loss: &Tensor) -> Result<Vec<Tensor>, ModelError> {
        let mut grads = backward(loss)?;
        let take = |param: &Param| grads.remove(param.var.as_tensor()).map_or_else(|| param.absent(), |g| Ok(g.detach()));
        self.params.iter().map(take).collect()
    }

    /// Lays changes of low rank on linear layers, by the names of their modules without the end `.weight`.
    ///
    /// # Errors
    /// A name that no linear layer has, or a change of another shape.
    pub fn adapt(&mut self, mut changes: HashMap<String, Low>) -> Result<(), ModelError> {
        for (i, block) in self.weights.blocks.iter_mut().enumerate() {
            let prefix = params::layer_prefix(&self.config, i);
            for (name, linear) in block.linears_mut(&self.config) {
                let Some(low) = changes.remove(&format!("{prefix}{name}")) else { continue };
                let (inputs, outputs) = linear.sizes()?;
                let rank = low.a.dim(0)?;
                if low.a.dims() != [rank, inputs] || low.b.dims() != [outputs, rank] {
                    let text = format!(
                        "the adapter of {prefix}{name} is {:?} and {:?} for a layer of {inputs} inputs and {outputs} outputs; use the model that it was trained on",
                        low.a.dims(),
                        low.b.dims()
                    );
                    return Err(ModelError::Config(text));
                }
                linear.set_adapter(Some(low));
            }
        }
        match changes.keys().min() {
            Some(name) => {
                Err(ModelError::Config(format!("no linear layer is called {name}; use the adapter with the model that it was trained on")))
            }
            None => Ok(()),
        }
    }

    /// Makes adapters a part of the weights, which are rounded to their type once.
    pub fn merge(&mut self) -> Result<(), ModelError> {
        for (i, block) in self.weights.blocks.iter_mut().enumerate() {
            let prefix = params::layer_prefix(&self.config, i);
            for (name, linear) in block.linears_mut(&self.config) {
                let Some(merged) = linear.merged()? else { continue };
                let name = format!("{prefix}{name}.weight");
                let Some(param) = self.params.iter().find(|param| param.name == name) else {
                    return Err(ModelError::Config(format!("there is no {name} to merge an adapter into; keep the adapter apart")));
                };
                param.var.set(&merged)?;
                linear.set_adapter(None);
            }
        }
        Ok(())
    }

    /// The same weights without a graph: for generation and evaluation. Shares storage, so it sees in-place updates.
    pub fn detached(&self) -> Decoder {
        Decoder {
            config: self.config.clone(),
            params: self.params.clone(),
            weights: self.weights.detached(&self.config),
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

    fn check_ids(&self, ids: &Tensor, spans: &[(usize, usize)]) -> Result<(), ModelError> {
        let (vocab, context) = (self.config.vocab, self.config.context);
        let longest = spans.iter().map(|(start, new)| start + new).max().unwrap_or(0);
        if self.config.arch.learned_positions && longest > context {
            let name = self.config.family.name();
            let text = format!("{longest} tokens do not fit into {name}'s context of {context}; shorten the text");
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

    fn embed(&self, graph: &Graph, ids: &Tensor, spans: &[(usize, usize)]) -> CandleResult<Tensor> {
        let x = self.weights.tokens.embedding(graph, ids)?;
        let x = match self.config.arch.embedding_scale {
            Some(scale) => ops::affine(graph, &x, scale, 0.0)?,
            None => x,
        };
        let Some(table) = &self.weights.positions else { return Ok(x) };
        let (batch, time) = ids.dims2()?;
        let positions = || spans.iter().flat_map(|(start, new)| *start..start + new);
        let places: Vec<u32> = (0..batch).flat_map(|_| positions().map(|p| p as u32)).collect();
        let places = Tensor::from_vec(places, (batch, time), ids.device())?;
        ops::add(graph, &x, &table.embedding(graph, &places)?)
    }

    /// Of each rotation that layers choose from.
    fn angles(&self, spans: &[(usize, usize)]) -> CandleResult<Vec<Angles>> {
        self.config.arch.ropes.iter().map(|rope| rope.angles(spans, self.dtype, &self.device)).collect()
    }

    /// One block: (batch, time, width) → the same shape.
    fn block(&self, graph: &Graph, i: usize, x: Tensor, angles: &[Angles], run: &mut Run) -> CandleResult<Tensor> {
        let (block, parallel) = (&self.weights.blocks[i], self.config.arch.parallel);
        let before = parallel.then(|| x.clone());
        let first = self.normed(graph, block.norm1.as_ref(), &x)?;
        let y = self.attend(graph, i, &first, angles, run)?;
        let x = self.half(graph, &block.output, block.after1.as_ref(), &y, x, run)?;
        // What the second half works on: what came out of the first, or, side by side, what came in.
        let h = match (&block.norm2, &before) {
            (Some(norm), Some(before)) => self.normed(graph, Some(norm), before)?,
            (None, Some(_)) => first,
            (norm, None) => self.normed(graph, norm.as_ref(), &x)?,
        };
        match block.ffn.forward(graph, &h, &self.config)? {
            Fed::Before(y, down) => self.half(graph, down, block.after2.as_ref(), &y, x, run),
            Fed::Done(y) => self.onto_normed(graph, block.after2.as_ref(), y, &x, run),
        }
    }

    /// The norm of x, if there is one, as products want it.
    fn normed(&self, graph: &Graph, norm: Option<&Norm>, x: &Tensor) -> CandleResult<Tensor> {
        match norm {
            Some(norm) => self.for_products(&norm.forward(graph, x, self.config.norm_eps)?),
            None => self.for_products(x),
        }
    }

    /// x + a projection of y, normed where there is a norm after it.
    fn half(&self, graph: &Graph, linear: &Linear, after: Option<&Norm>, y: &Tensor, x: Tensor, run: &mut Run) -> CandleResult<Tensor> {
        if after.is_none() && (run.dropout.is_none() || self.config.dropout == 0.0) {
            return linear.forward_onto(graph, y, &x);
        }
        self.onto_normed(graph, after, linear.forward(graph, y)?, &x, run)
    }
    /// x + y, of which dropout takes its share.
    fn onto_normed(&self, graph: &Graph, after: Option<&Norm>, y: Tensor, x: &Tensor, run: &mut Run) -> CandleResult<Tensor> {
        let y = match after {
            Some(norm) => norm.forward(graph, &y, self.config.norm_eps)?,
            None => y,
        };
        let y = self.drop(graph, y, run)?;
        ops::add(graph, x, &y)
    }

    /// As `block`, of which only the argument is kept for the backward pass; `twin` is this decoder once more.
    fn block_again(
        &self,
        graph: &Graph,
        twin: &Arc<Decoder>,
        i: usize,
        x: Tensor,
        angles: &[Angles],
        run: &mut Run,
    ) -> CandleResult<Tensor> {
        // Both times the same masks.
        let masks = run.dropout.as_deref_mut().map(|stream| Stream::new(stream.next_u64(), "dropout of a block"));
        let (twin, angles) = (twin.clone(), angles.to_vec());
        let part = move |graph: &Graph, x: &Tensor| {
            let mut masks = masks.clone();
            let mut run = Run { caches: Vec::new(), dropout: masks.as_mut() };
            twin.block(graph, i, x.clone(), &angles, &mut run)
        };
        ops::again(graph, &x, self.weights.blocks[i].tensors(&self.config), part)
    }

    /// (batch, time, width) → (batch, time, heads · head_dim), before the output projection.
    fn attend(&self, graph: &Graph, i: usize, h: &Tensor, angles: &[Angles], run: &mut Run) -> CandleResult<Tensor> {
        let (c, block) = (&self.config, &self.weights.blocks[i]);
        let layer = c.arch.layer(i);
        let rope = layer.rope.and_then(|rope| angles.get(rope));
        let form =
            Form { window: layer.window, scale: c.arch.attention_scale, cap: c.arch.attention_cap, ..Form::new(c.heads, c.kv_heads) };
        let (q_width, kv_width, d) = (c.q_width(), c.kv_width(), c.head_dim);
        let (mut q, mut k, v) = match &block.attention {
            Projections::Apart { q, k, v } => Linear::forward_all([q, k, v], graph, h)?.into(),
            Projections::Packed(qkv) => {
                let qkv = qkv.forward(graph, h)?;
                let alike = rope.is_none() && c.kv_heads == c.heads;
                if alike && run.caches.is_empty() {
                    return ops::attention_packed(graph, &qkv, form);
                }
                // Nothing wants a gradient where there are caches, and views are enough where nothing is rotated.
                let part = |from, n| match alike {
                    true => qkv.narrow(2, from, n),
                    false => ops::columns(graph, &qkv, from, n),
                };
                (part(0, q_width)?, part(q_width, kv_width)?, part(q_width + kv_width, kv_width)?)
            }
            Projections::Interleaved(qkv) => {
                let qkv = qkv.forward(graph, h)?;
                let (batch, time, _) = qkv.dims3()?;
                let heads = ops::reshape(graph, &qkv, &[batch, time, c.heads, 3 * d])?;
                let part = |i| ops::reshape(graph, &ops::columns(graph, &heads, i * d, d)?, &[batch, time, q_width]);
                (part(0)?, part(1)?, part(2)?)
            }
        };
        if let Some((q_norm, k_norm)) = &block.head_norms {
            q = q_norm.forward(graph, &q, d, c.norm_eps)?;
            k = k_norm.forward(graph, &k, d, c.norm_eps)?;
        }
        if let Some(a) = rope {
            q = ops::rope_part(graph, &q, &a.cos, &a.sin, d)?;
            k = ops::rope_part(graph, &k, &a.cos, &a.sin, d)?;
        }
        if run.caches.is_empty() {
            return ops::attention(graph, &q, &k, &v, form);
        }
        let mut parts = Vec::with_capacity(run.caches.len());
        let mut from = 0;
        for (cache, new) in &mut run.caches {
            parts.push(cache.extend(i, &k.narrow(1, from, *new)?, &v.narrow(1, from, *new)?)?);
            from += *new;
        }
        ops::attention_cached(graph, &q, &parts, form)
    }

    /// Inverted dropout: what stays is divided by the probability to stay.
    fn drop(&self, graph: &Graph, x: Tensor, run: &mut Run) -> CandleResult<Tensor> {
        let p = self.config.dropout;
        let Some(stream) = run.dropout.as_deref_mut().filter(|_| p > 0.0) else { return Ok(x) };
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

/// The one caller of `Tensor::backward`.
pub fn backward(loss: &Tensor) -> Result<GradStore, ModelError> {
    Ok(loss.backward()?)
}
