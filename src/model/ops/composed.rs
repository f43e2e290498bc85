//! Every op of the decoder written with candle's own differentiable ops: the path of any device and type of number
//! that has no fused op, and the reference that the fused ones are tested against. In mixed precision activations are
//! bf16 and weights f32: the type of the activations decides, and sums, norms, softmax, rotations and the loss are made
//! in f32 (as PyTorch's autocast does).
//! Deliberately not here: candle's fused kernels, most of which lose the gradient without a word.

use super::Readout;
use super::attention::Form;
use candle_core::{D, DType, Device, Result, Tensor};

/// x · Wᵀ, for `weight` (out, in), or x · W where it is stored `transposed` (in, out), in the type of x: a weight of
/// another type is cast, and its gradient cast back.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, transposed: bool) -> Result<Tensor> {
    let inputs = x.dim(D::Minus1)?;
    let mut dims = x.dims().to_vec();
    let flat = x.reshape(((), inputs))?;
    let weight = weight.to_dtype(x.dtype())?;
    let weight = if transposed { weight } else { weight.t()? };
    let y = flat.matmul(&weight)?;
    let y = match bias {
        // Wide, so that the bias's gradient is summed in f32.
        Some(b) => wide(&y)?.broadcast_add(&wide(b)?)?.to_dtype(x.dtype())?,
        None => y,
    };
    if let Some(last) = dims.last_mut() {
        *last = y.dim(1)?;
    }
    y.reshape(dims)
}

/// Half-precision reductions are made in f32.
pub(super) fn wide(x: &Tensor) -> Result<Tensor> {
    if matches!(x.dtype(), DType::F16 | DType::BF16) { x.to_dtype(DType::F32) } else { Ok(x.clone()) }
}

/// x / sqrt(mean(x²) + eps) · weight (Zhang and Sennrich 2019).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let w = wide(x)?;
    let scale = (w.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    w.broadcast_div(&scale)?.broadcast_mul(&wide(weight)?)?.to_dtype(x.dtype())
}

/// (x − mean) / sqrt(variance + eps) · weight + bias (Ba et al. 2016).
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let w = wide(x)?;
    let centred = w.broadcast_sub(&w.mean_keepdim(D::Minus1)?)?;
    let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    centred.broadcast_div(&scale)?.broadcast_mul(&wide(weight)?)?.broadcast_add(&wide(bias)?)?.to_dtype(x.dtype())
}

/// Rotates the two halves of each head (Su et al. 2021, in transformers' order). x (batch, time, heads · head_dim);
/// cos and sin (time, head_dim / 2).
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (batch, time, width) = x.dims3()?;
    let half = cos.dim(1)?;
    let dtype = x.dtype();
    let x = wide(x)?.reshape((batch, time, width / (2 * half), 2, half))?;
    let (a, b) = (x.narrow(3, 0, 1)?, x.narrow(3, 1, 1)?); // (batch, time, heads, 1, half)
    let shape = (1, time, 1, 1, half);
    let (cos, sin) = (wide(cos)?.reshape(shape)?, wide(sin)?.reshape(shape)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], 3)?.reshape((batch, time, width))?.to_dtype(dtype)
}

/// The same where `head_dim` is more than the angles turn: the rest of each head stays.
pub fn rope_part(x: &Tensor, cos: &Tensor, sin: &Tensor, head_dim: usize) -> Result<Tensor> {
    let (batch, time, width) = x.dims3()?;
    let turning = 2 * cos.dim(1)?;
    let heads = x.reshape((batch, time, width / head_dim, head_dim))?;
    let turned = heads.narrow(3, 0, turning)?.contiguous()?.reshape((batch, time, width / head_dim * turning))?;
    let turned = rope(&turned, cos, sin)?.reshape((batch, time, width / head_dim, turning))?;
    let rest = heads.narrow(3, turning, head_dim - turning)?;
    Tensor::cat(&[turned, rest.contiguous()?], 3)?.reshape((batch, time, width))
}

/// Causal attention. q (batch, time, heads · d), k and v (batch, keys, kv_heads · d): the last query sees all keys.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, form: Form) -> Result<Tensor> {
    let Form { heads, kv_heads, .. } = form;
    let (batch, time, width) = q.dims3()?;
    let keys = k.dim(1)?;
    let d = width / heads;
    let split = |x: &Tensor, n: usize, t: usize| x.reshape((batch, t, n, d))?.transpose(1, 2)?.contiguous();
    let repeat = |x: Tensor| -> Result<Tensor> {
        // (batch, kv_heads, keys, d) → (batch, heads, keys, d): each key head serves heads / kv_heads queries.
        let x = x.unsqueeze(2)?.broadcast_as((batch, kv_heads, heads / kv_heads, keys, d))?;
        x.reshape((batch, heads, keys, d))
    };
    let q = split(q, heads, time)?;
    let (k, v) = (repeat(split(k, kv_heads, keys)?)?, repeat(split(v, kv_heads, keys)?)?);
    let scores = wide(&q.matmul(&k.transpose(2, 3)?)?)?; // (batch, heads, time, keys)
    let scores = match form.scale {
        None => (scores / (d as f64).sqrt())?,
        Some(scale) => (scores * scale)?,
    };
    let scores = form.cap.map_or(Ok(scores.clone()), |cap| soft_cap(&scores, cap))?;
    let scores = scores.broadcast_add(&mask((time, keys), form.window, scores.dtype(), scores.device())?)?;
    let weights = softmax(&scores)?.to_dtype(v.dtype())?;
    weights.matmul(&v)?.transpose(1, 2)?.reshape((batch, time, width))
}

/// cap · tanh(x / cap) (Gemma 2).
pub fn soft_cap(x: &Tensor, cap: f64) -> Result<Tensor> {
    ((x / cap)?.tanh()? * cap)?.to_dtype(x.dtype())
}

/// 0 where a query may look and a large negative number elsewhere: (time, keys).
fn mask((time, keys): (usize, usize), window: Option<usize>, dtype: DType, device: &Device) -> Result<Tensor> {
    let before = keys - time;
    let seen = |i: usize, j: usize| j <= before + i && window.is_none_or(|window| j + window > before + i);
    let values: Vec<f32> = (0..time).flat_map(|i| (0..keys).map(move |j| if seen(i, j) { 0.0 } else { -1e30 })).collect();
    Tensor::from_vec(values, (time, keys), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}

/// Softmax over the last dimension, with the gradient that candle's fused one lacks.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

/// silu(gate) · up (Shazeer 2020).
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    (wide(gate)?.silu()? * wide(up)?)?.to_dtype(gate.dtype())
}

/// GELU by the tanh approximation (Hendrycks and Gimpel 2016), which transformers calls `gelu_new`. Written out,
/// since the constants in the backward of candle's own have six digits.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    let w = &wide(x)?;
    let inner = ((w + (w.sqr()? * w)?.affine(0.044715, 0.0)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
    ((w * 0.5)? * (inner.tanh()? + 1.0)?)?.to_dtype(x.dtype())
}

/// GELU by the error function. Written out for the same reason.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    let w = &wide(x)?;
    let inner = (w * std::f64::consts::FRAC_1_SQRT_2)?.erf()?;
    ((w * 0.5)? * (inner + 1.0)?)?.to_dtype(x.dtype())
}

/// Rows of `table` (rows, width) by ids (batch, time).
pub fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (batch, time) = ids.dims2()?;
    table.index_select(&ids.flatten_all()?, 0)?.reshape((batch, time, table.dim(1)?))
}

/// Σ weight · −log softmax(hidden · headᵀ)[target]: hidden (rows, width), head (vocab, width), targets and weights
/// (rows). Holds all logits.
pub fn cross_entropy(hidden: &Tensor, head: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
    cross_entropy_of(hidden, Readout::plain(head), targets, weights)
}

/// The same with what may follow the head's product.
pub fn cross_entropy_of(hidden: &Tensor, readout: Readout, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let logits = wide(&linear(hidden, readout.head, readout.bias, false)?)?;
    let logits = readout.cap.map_or(Ok(logits.clone()), |cap| soft_cap(&logits, cap))?;
    let top = logits.max_keepdim(D::Minus1)?.detach();
    let lse = (logits.broadcast_sub(&top)?.exp()?.sum_keepdim(D::Minus1)?.log()? + top)?; // (rows, 1)
    let chosen = logits.gather(&targets.unsqueeze(1)?, 1)?;
    ((lse - chosen)?.squeeze(1)? * weights.to_dtype(logits.dtype())?)?.sum_all()
}

/// Shares of the chosen experts: softmax of logits (rows, experts) over all, of which the chosen (rows · k) are taken.
pub fn gates(logits: &Tensor, chosen: &[u32], normalise: bool) -> Result<Tensor> {
    let rows = logits.dim(0)?;
    let chosen = Tensor::new(chosen, logits.device())?.reshape((rows, ()))?;
    let shares = softmax(&wide(logits)?)?.gather(&chosen, 1)?;
    if normalise { shares.broadcast_div(&shares.sum_keepdim(1)?) } else { Ok(shares) }
}

/// Σ over experts of share · result, put where each result's token stands: shares (rows, k), one result (n, width) an
/// expert. Gives (rows, width) in the type of the results.
pub fn combine(shares: &Tensor, results: &[Tensor], places: &[Vec<(u32, u32)>]) -> Result<Tensor> {
    let (rows, k) = shares.dims2()?;
    let Some(first) = results.first() else { candle_core::bail!("a mixture of no experts") };
    let mut out = Tensor::zeros((rows, first.dim(1)?), shares.dtype(), shares.device())?;
    let flat = shares.flatten_all()?;
    for (result, places) in results.iter().zip(places) {
        let tokens: Vec<u32> = places.iter().map(|p| p.0).collect();
        let slots: Vec<u32> = places.iter().map(|p| p.0 * k as u32 + p.1).collect();
        let share = flat.index_select(&Tensor::new(slots, shares.device())?, 0)?.unsqueeze(1)?;
        let part = result.to_dtype(shares.dtype())?.broadcast_mul(&share)?;
        out = out.index_add(&Tensor::new(tokens, shares.device())?, &part, 0)?;
    }
    out.to_dtype(first.dtype())
}
