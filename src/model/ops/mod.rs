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
mod graph;
mod loss;
mod matmul;
mod norm;
pub mod packed;
mod real;
mod rotary;
mod team;
mod tiles;

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
    try_kernel!(graph.takes_kernels(), x, None, cuda::rope(x, cos, sin));
    if graph.fuses(x) { graph.apply(rotary::Rope, &[x, cos, sin]) } else { composed::rope(x, cos, sin) }
}

/// Causal attention: q (batch, time, heads · d), k and v (batch, keys, kv_heads · d); the last query sees all keys.
pub fn attention(graph: &Graph, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, kv_heads: usize) -> Result<Tensor> {
    try_kernel!(graph.takes_kernels(), q, None, cuda::attention(q, k, v, heads, kv_heads));
    if graph.fuses(q) {
        return graph.apply(attention::Attention::new(heads, kv_heads), &[q, k, v]);
    }
    composed::attention(q, k, v, heads, kv_heads)
}

/// Attention of queries, keys and values that stand side by side: (batch, time, 3 · heads · d).
pub fn attention_packed(graph: &Graph, qkv: &Tensor, heads: usize) -> Result<Tensor> {
    if graph.fuses(qkv) {
        return graph.apply(attention::Attention::packed(heads), &[qkv]);
    }
    let width = qkv.dim(2)? / 3;
    let part = |i| qkv.narrow(2, i * width, width);
    attention(graph, &part(0)?, &part(1)?, &part(2)?, heads, heads)
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

/// Σ weight · −log softmax(hidden · headᵀ)[target]: hidden (rows, width), head (vocab, width), targets and weights
/// (rows). A scalar of candle's graph.
pub fn cross_entropy(graph: Graph, hidden: &Tensor, head: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
    try_kernel!(graph.takes_kernels(), hidden, Some(head), cuda::cross_entropy(hidden, head, targets, weights));
    if !graph.fuses(hidden) {
        return composed::cross_entropy(hidden, head, targets, weights);
    }
    let weights = weights.to_dtype(candle_core::DType::F32)?.to_vec1()?;
    let loss = graph.apply(loss::CrossEntropy::new(targets.to_vec1()?, weights, graph.bf16()), &[hidden, head])?;
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
