//! Packed weights among tensors: what the decoder calls. Deliberately not here: a graph; there are no gradients.

use super::{Packed, Part, products};
use crate::model::ops::Graph;
use crate::model::ops::real::view;
use candle_core::{D, DType, Result, Tensor};

/// A weight, its bias (out) and what is added to its product (…, out).
pub struct PackedFactor<'a> {
    pub weight: &'a Packed,
    pub bias: Option<&'a Tensor>,
    pub residual: Option<&'a Tensor>,
}

/// x · Wᵀ + bias + residual of each factor: x (…, in) → (…, out).
pub fn packed_linears(graph: &Graph, x: &Tensor, factors: &[PackedFactor]) -> Result<Vec<Tensor>> {
    let x = plain(x)?;
    let inputs = x.dim(D::Minus1)?;
    let n = x.elem_count() / inputs.max(1);
    let mut outs = Vec::with_capacity(factors.len());
    for factor in factors {
        let rows = factor.weight.rows();
        let mut out = match factor.residual {
            Some(residual) => numbers(residual, n * rows)?,
            None => vec![0f32; n * rows],
        };
        if let Some(bias) = factor.bias {
            let bias = numbers(bias, rows)?;
            out.chunks_exact_mut(rows).for_each(|row| row.iter_mut().zip(&bias).for_each(|(o, &b)| *o += b));
        }
        outs.push(out);
    }
    {
        let (s, l) = x.storage_and_layout();
        let parts = factors.iter().zip(&mut outs);
        let mut parts: Vec<Part> =
            parts.map(|(f, out)| Part { weight: f.weight, out, add: f.residual.is_some() || f.bias.is_some() }).collect();
        products(graph.team(), view::<f32>(&s, l)?, &mut parts)?;
    }
    let shaped = |(out, factor): (Vec<f32>, &PackedFactor)| {
        let mut dims = x.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = factor.weight.rows();
        }
        Tensor::from_vec(out, dims, x.device())
    };
    outs.into_iter().zip(factors).map(shaped).collect()
}

/// Rows of a table by ids (batch, time): (batch, time, width).
pub fn packed_embedding(table: &Packed, ids: &Tensor) -> Result<Tensor> {
    let (batch, time) = ids.dims2()?;
    let (ids, width) = (ids.flatten_all()?.to_vec1::<u32>()?, table.cols());
    if let Some(id) = ids.iter().find(|&&id| id as usize >= table.rows()) {
        candle_core::bail!("row {id} of a table of {}", table.rows());
    }
    let mut out = vec![0f32; ids.len() * width];
    out.chunks_exact_mut(width.max(1)).zip(&ids).for_each(|(out, &id)| table.row(id as usize, out));
    Tensor::from_vec(out, (batch, time, width), &candle_core::Device::Cpu)
}

fn plain(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        candle_core::bail!("packed weights are for the CPU");
    }
    x.to_dtype(DType::F32)?.contiguous()
}

fn numbers(x: &Tensor, n: usize) -> Result<Vec<f32>> {
    let x = plain(x)?;
    let (s, l) = x.storage_and_layout();
    let x = view::<f32>(&s, l)?;
    if x.len() != n {
        candle_core::bail!("{} numbers are added to {n}", x.len());
    }
    Ok(x.to_vec())
}
