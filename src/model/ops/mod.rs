//! The decoder's ops: one function each, which takes the fused op where there is one and the composed path elsewhere.
//! Deliberately not here: weights, and which op follows which (`decoder`).

pub mod composed;

use candle_core::{Result, Tensor};

/// How the ops of one forward pass are kept for its backward pass.
#[derive(Default)]
pub struct Graph;

/// x · Wᵀ + bias: x (…, in), weight (out, in), or (in, out) where it is stored `transposed`.
pub fn linear(_: &Graph, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, transposed: bool) -> Result<Tensor> {
    composed::linear(x, weight, bias, transposed)
}
pub fn add(_: &Graph, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a + b
}
pub fn rms_norm(_: &Graph, x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    composed::rms_norm(x, weight, eps)
}
pub fn layer_norm(_: &Graph, x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    composed::layer_norm(x, weight, bias, eps)
}
pub fn rope(_: &Graph, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    composed::rope(x, cos, sin)
}
pub fn attention(_: &Graph, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, kv_heads: usize) -> Result<Tensor> {
    composed::attention(q, k, v, heads, kv_heads)
}
/// Attention of queries, keys and values that stand side by side: (batch, time, 3 · heads · d).
pub fn attention_packed(_: &Graph, qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let width = qkv.dim(2)? / 3;
    let part = |i| qkv.narrow(2, i * width, width);
    composed::attention(&part(0)?, &part(1)?, &part(2)?, heads, heads)
}
pub fn swiglu(_: &Graph, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    composed::swiglu(gate, up)
}
pub fn gelu(_: &Graph, x: &Tensor) -> Result<Tensor> {
    composed::gelu(x)
}
pub fn embedding(_: &Graph, table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    composed::embedding(table, ids)
}
pub fn multiply(_: &Graph, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    x * mask
}
pub fn reshape(_: &Graph, x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    x.reshape(dims)
}
pub fn cross_entropy(hidden: &Tensor, head: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
    composed::cross_entropy(hidden, head, targets, weights)
}
