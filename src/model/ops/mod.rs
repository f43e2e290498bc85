//! The decoder's ops: one function each, which takes the fused op where there is one and the composed path elsewhere.
//! A graph goes through a whole pass: fused results are plain numbers to candle until `Graph::finish`.
//! Deliberately not here: weights, and which op follows which (`decoder`).

mod attention;
mod brain;
pub mod composed;
#[cfg(feature = "cuda")]
mod cuda;
mod elementwise;
mod embedding;
mod experts;
mod graph;
mod loss;
mod matmul;
mod norm;
pub mod packed;
mod parts;
mod real;
mod rotary;
mod team;
mod tiles;

pub use attention::{Form, Held};
pub use brain::available as has_bf16;
pub use graph::{Again, Grads, Graph, Hand, Op, OpTimes, Tapes};
pub use packed::{Packed, PackedFactor, packed_embedding, packed_linears};
pub use real::wide;
pub use team::Team;

use candle_core::{Result, Tensor};

/// Returns what a kernel of our own gives, where this build and this pass have one for these tensors.
#[cfg(feature = "cuda")]
macro_rules! try_kernel {
    ($allowed:expr, $x:expr, $weight:expr, $call:expr) => {
        if $allowed && cuda::fits($x, $weight) {
            return $call;
        }
    };
}
#[cfg(not(feature = "cuda"))]
macro_rules! try_kernel {
    ($allowed:expr, $x:expr, $weight:expr, $call:expr) => {};
}

/// x · Wᵀ + bias + residual: x (…, in), weight (out, in), or (in, out) where it is stored `transposed`; the residual
/// has the shape of the result.
pub fn linear(
    graph: &Graph,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    transposed: bool,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    try_kernel!(graph.takes_kernels(), x, Some(weight), {
        let y = cuda::linear(x, weight, bias, transposed)?;
        residual.map_or(Ok(y.clone()), |r| cuda::add(r, &y))
    });
    if !graph.fuses(x) {
        let y = composed::linear(x, weight, bias, transposed)?;
        return match residual {
            // The residual stream keeps its own type: in mixed precision it is wider than what is added to it.
            Some(r) => r + y.to_dtype(r.dtype())?,
            None => Ok(y),
        };
    }
    let args: Vec<&Tensor> = [Some(x), Some(weight), bias, residual].into_iter().flatten().collect();
    graph.apply(matmul::Linear { transposed, bias: bias.is_some(), residual: residual.is_some(), bf16: graph.bf16() }, &args)
}

/// a + b.
pub fn add(graph: &Graph, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    try_kernel!(graph.takes_kernels(), a, None, cuda::add(a, b));
    if graph.fuses(a) { graph.apply(elementwise::Add, &[a, b]) } else { a + b.to_dtype(a.dtype())? }
}

/// RMSNorm over the last dimension.
pub fn rms_norm(graph: &Graph, x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    try_kernel!(graph.takes_kernels(), x, Some(weight), cuda::rms_norm(x, weight, eps));
    if graph.fuses(x) { graph.apply(norm::RmsNorm { eps }, &[x, weight]) } else { composed::rms_norm(x, weight, eps) }
}

/// LayerNorm over the last dimension.
pub fn layer_norm(graph: &Graph, x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    try_kernel!(graph.takes_kernels(), x, Some(weight), cuda::layer_norm(x, weight, bias, eps));
    if graph.fuses(x) { graph.apply(norm::LayerNorm { eps }, &[x, weight, bias]) } else { composed::layer_norm(x, weight, bias, eps) }
}

/// Rotary positions: x (batch, time, heads · head_dim), cos and sin (time, head_dim / 2).
pub fn rope(graph: &Graph, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    rope_part(graph, x, cos, sin, 2 * cos.dim(1)?)
}

/// The same where angles are there for the first numbers of each head alone: the rest stays as it is.
pub fn rope_part(graph: &Graph, x: &Tensor, cos: &Tensor, sin: &Tensor, head_dim: usize) -> Result<Tensor> {
    let whole = head_dim == 2 * cos.dim(1)?;
    try_kernel!(graph.takes_kernels() && whole, x, None, cuda::rope(x, cos, sin));
    match (graph.fuses(x), whole) {
        (true, _) => graph.apply(rotary::Rope { head_dim }, &[x, cos, sin]),
        (false, true) => composed::rope(x, cos, sin),
        (false, false) => composed::rope_part(x, cos, sin, head_dim),
    }
}

/// Causal attention: q (batch, time, heads · d), k and v (batch, keys, kv_heads · d); the last query sees all keys.
pub fn attention(graph: &Graph, q: &Tensor, k: &Tensor, v: &Tensor, form: Form) -> Result<Tensor> {
    try_kernel!(graph.takes_kernels() && form.plain(), q, None, cuda::attention(q, k, v, form.heads, form.kv_heads));
    if graph.fuses(q) {
        return graph.apply(attention::Attention::new(form), &[q, k, v]);
    }
    composed::attention(q, k, v, form)
}

/// Attention of queries, keys and values that stand side by side: (batch, time, 3 · heads · d).
pub fn attention_packed(graph: &Graph, qkv: &Tensor, form: Form) -> Result<Tensor> {
    if graph.fuses(qkv) {
        return graph.apply(attention::Attention::packed(form), &[qkv]);
    }
    let width = qkv.dim(2)? / 3;
    let part = |i| qkv.narrow(2, i * width, width);
    attention(graph, &part(0)?, &part(1)?, &part(2)?, form)
}

/// Attention of new tokens of several sequences, side by side in q (batch, total, heads · d), over what their caches hold.
/// There is no backward pass.
pub fn attention_cached(graph: &Graph, q: &Tensor, parts: &[Held], form: Form) -> Result<Tensor> {
    if graph.fuses(q) {
        return attention::attention_cached(q, parts, form);
    }
    let mut from = 0;
    let mut outs = Vec::with_capacity(parts.len());
    for part in parts {
        let (keys, values) = part.whole()?;
        outs.push(attention(graph, &q.narrow(1, from, part.new)?, &keys, &values, form)?);
        from += part.new;
    }
    if outs.len() == 1 { Ok(outs.swap_remove(0)) } else { Tensor::cat(&outs, 1) }
}

/// silu(gate) · up.
pub fn swiglu(graph: &Graph, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    try_kernel!(graph.takes_kernels(), gate, None, cuda::swiglu(gate, up));
    if graph.fuses(gate) { graph.apply(elementwise::SwiGlu, &[gate, up]) } else { composed::swiglu(gate, up) }
}

/// GELU by the tanh approximation.
pub fn gelu(graph: &Graph, x: &Tensor) -> Result<Tensor> {
    try_kernel!(graph.takes_kernels(), x, None, cuda::gelu(x));
    if graph.fuses(x) { graph.apply(elementwise::Gelu, &[x]) } else { composed::gelu(x) }
}

/// GELU by the error function.
pub fn gelu_erf(graph: &Graph, x: &Tensor) -> Result<Tensor> {
    if graph.fuses(x) { graph.apply(elementwise::GeluErf, &[x]) } else { composed::gelu_erf(x) }
}

/// a · b, number by number.
pub fn times(graph: &Graph, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if graph.fuses(a) { graph.apply(elementwise::Times, &[a, b]) } else { a * b }
}

/// x · factor + shift.
pub fn affine(graph: &Graph, x: &Tensor, factor: f64, shift: f64) -> Result<Tensor> {
    if graph.fuses(x) { graph.apply(elementwise::Affine { factor, shift }, &[x]) } else { x.affine(factor, shift) }
}

/// x (…, n) · w (n).
pub fn stretch(graph: &Graph, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if graph.fuses(x) { graph.apply(parts::Stretch, &[x, w]) } else { x.broadcast_mul(&w.to_dtype(x.dtype())?) }
}

/// Columns of x (…, width): n of them from `from` on.
pub fn columns(graph: &Graph, x: &Tensor, from: usize, n: usize) -> Result<Tensor> {
    if graph.fuses(x) {
        return graph.apply(parts::Columns { from, n }, &[x]);
    }
    x.narrow(candle_core::D::Minus1, from, n)?.contiguous()
}

/// Vectors one after another.
pub fn join(graph: &Graph, vectors: &[&Tensor]) -> Result<Tensor> {
    match vectors.first() {
        Some(first) if graph.fuses(first) => graph.apply(parts::Join, vectors),
        _ => Tensor::cat(vectors, 0),
    }
}

/// For each row of logits (rows, experts) the `k` largest, the largest first, one row after another.
pub fn choose(logits: &Tensor, k: usize) -> Result<Vec<u32>> {
    experts::choose(logits, k)
}

/// Shares of the chosen experts, (rows, k): their part of the softmax over all of `logits` (rows, experts), or, normalised,
/// over the chosen ones.
pub fn gates(graph: &Graph, logits: &Tensor, chosen: &[u32], normalise: bool) -> Result<Tensor> {
    if graph.fuses(logits) {
        return graph.apply(experts::Gates { chosen: chosen.to_vec(), normalise }, &[logits]);
    }
    composed::gates(logits, chosen, normalise)
}

/// Rows of x (rows, width) by their numbers, in any order.
pub fn rows(graph: &Graph, x: &Tensor, numbers: &[u32]) -> Result<Tensor> {
    if !graph.fuses(x) {
        return x.index_select(&Tensor::new(numbers, x.device())?, 0);
    }
    let taken = graph.apply(embedding::Embedding { ids: numbers.to_vec(), batch: 1, time: numbers.len() }, &[x])?;
    graph.reshape(&taken, &[numbers.len(), x.dim(1)?])
}

/// What experts made of their tokens, added up by the tokens' shares (rows, k): one result (n, width) an expert, and for each
/// of its rows the token and which of the token's experts it is. Gives (rows, width).
pub fn combine(graph: &Graph, shares: &Tensor, results: &[Tensor], places: Vec<Vec<(u32, u32)>>) -> Result<Tensor> {
    match results.first() {
        Some(first) if graph.fuses(first) => {
            let args: Vec<&Tensor> = std::iter::once(shares).chain(results).collect();
            graph.apply(experts::Combine { places }, &args)
        }
        _ => composed::combine(shares, results, &places),
    }
}

/// Rows of a table (rows, width) by ids (batch, time).
pub fn embedding(graph: &Graph, table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    try_kernel!(graph.takes_kernels(), table, None, cuda::embedding(table, ids));
    if !graph.fuses(table) {
        return composed::embedding(table, ids);
    }
    let (batch, time) = ids.dims2()?;
    graph.apply(embedding::Embedding { ids: ids.flatten_all()?.to_vec1()?, batch, time }, &[table])
}

/// What `part` makes of x, of which the tape keeps x alone; `variables` are all that the part uses. On the CPU alone: the
/// composed path belongs to candle's graph, which keeps everything.
pub fn again(
    graph: &Graph,
    x: &Tensor,
    variables: Vec<Tensor>,
    part: impl Fn(&Graph, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !graph.fuses(x) {
        return part(graph, x);
    }
    let args: Vec<Tensor> = std::iter::once(x.clone()).chain(variables.iter().cloned()).collect();
    graph.apply(Again { part: Box::new(part), variables, bf16: graph.bf16() }, &args.iter().collect::<Vec<_>>())
}

/// x · mask, of which the mask is a constant.
pub fn mask(graph: &Graph, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    if graph.fuses(x) { graph.apply(elementwise::Mask, &[x, mask]) } else { x * mask }
}

/// The same numbers in other dimensions.
pub fn reshape(graph: &Graph, x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    if graph.fuses(x) { graph.reshape(x, dims) } else { x.reshape(dims) }
}

/// What makes logits of hidden states: cap · tanh((hidden · headᵀ + bias) / cap).
#[derive(Clone, Copy)]
pub struct Readout<'a> {
    /// (vocab, width).
    pub head: &'a Tensor,
    /// (vocab).
    pub bias: Option<&'a Tensor>,
    pub cap: Option<f64>,
}

impl<'a> Readout<'a> {
    pub fn plain(head: &'a Tensor) -> Self {
        Self { head, bias: None, cap: None }
    }
}

/// Σ weight · −log softmax(hidden · headᵀ)[target]: hidden (rows, width), head (vocab, width), targets and weights
/// (rows). A scalar of candle's graph.
pub fn cross_entropy(graph: Graph, hidden: &Tensor, head: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
    cross_entropy_of(graph, hidden, Readout::plain(head), targets, weights)
}

/// The same with what may follow the head's product.
pub fn cross_entropy_of(graph: Graph, hidden: &Tensor, readout: Readout, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let Readout { head, bias, cap } = readout;
    try_kernel!(
        graph.takes_kernels() && bias.is_none() && cap.is_none(),
        hidden,
        Some(head),
        cuda::cross_entropy(hidden, head, targets, weights)
    );
    if !graph.fuses(hidden) {
        return composed::cross_entropy_of(hidden, readout, targets, weights);
    }
    let weights = weights.to_dtype(candle_core::DType::F32)?.to_vec1()?;
    let args: Vec<&Tensor> = [Some(hidden), Some(head), bias].into_iter().flatten().collect();
    let loss = graph.apply(loss::CrossEntropy::new(targets.to_vec1()?, weights, cap, graph.bf16()), &args)?;
    graph.finish(loss)
}

/// The numbers of one update by AdamW.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    pub betas: [f64; 2],
    pub eps: f64,
    pub lr: f64,
    pub decay: f64,
    /// What the gradient is multiplied with.
    pub scale: f64,
    /// 1 − beta1ᵗ and 1 − beta2ᵗ.
    pub corrections: [f64; 2],
}

/// Changes a parameter and its two moments in place; false, and nothing is done, where there is no kernel for them.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))] // Without CUDA there is none.
pub fn adamw(step: AdamW, param: &Tensor, grad: &Tensor, moments: &[Tensor]) -> Result<bool> {
    #[cfg(feature = "cuda")]
    return cuda::adamw(step, param, grad, moments);
    #[cfg(not(feature = "cuda"))]
    Ok(false)
}
