//! The head's product together with cross-entropy, in chunks of rows: all logits never stand in memory at once, and
//! each chunk's gradient is made while its logits are there.
//! Deliberately not here: means; the loop divides by its own denominators.

use super::graph::Op;
use super::real::{Matrix, Real, by_dtype, gemm_in, largest, par_rows, product_in, sum2, view, wide};
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Σ weight · −log softmax(hidden · headᵀ)[target]: arguments hidden (rows, width), head (vocab, width), and the bias of
/// the logits (vocab) where there is one.
pub struct CrossEntropy {
    /// A row of weight 0 is not looked at.
    pub targets: Vec<u32>,
    pub weights: Vec<f32>,
    /// Whether products are made in bf16.
    bf16: bool,
    /// Logits become cap · tanh(logit / cap).
    cap: Option<f64>,
    /// Gradients of the sum, made by the forward pass, one an argument.
    grads: Mutex<Option<Vec<Option<Tensor>>>>,
}

/// Bytes of logits that are held at a time.
const CHUNK_BYTES: usize = 8 << 20;

impl CrossEntropy {
    pub fn new(targets: Vec<u32>, weights: Vec<f32>, cap: Option<f64>, bf16: bool) -> Self {
        Self { targets, weights, bf16, cap, grads: Mutex::new(None) }
    }

    fn run<T: Real>(
        &self,
        (hidden, head, bias): (&[T], &[T], Option<&[T]>),
        (rows, width, vocab): (usize, usize, usize),
        needs: &[bool],
    ) -> Result<Sums<T>> {
        let chunk = (CHUNK_BYTES / (vocab * size_of::<T>()).max(1)).clamp(1, rows.max(1));
        let mut d_hidden: Vec<T> = Vec::with_capacity(if needs[0] { rows * width } else { 0 });
        let mut d_head = vec![T::of(0.0); if needs[1] { vocab * width } else { 0 }];
        let mut d_bias = vec![T::of(0.0); bias.map_or(0, <[T]>::len)];
        let mut loss = 0f64;
        let mut losses = vec![T::of(0.0); rows];
        for first in (0..rows).step_by(chunk) {
            let n = chunk.min(rows - first);
            let inputs = &hidden[first * width..(first + n) * width];
            let start = bias.map(|bias| bias.repeat(n));
            let mut logits = product_in(self.bf16, (n, vocab, width), (inputs, false), (head, true), start)?;
            self.rows(&mut logits, first, vocab, &mut losses[first..first + n]);
            if bias.is_some() {
                wide(|| logits.chunks_exact(vocab).for_each(|row| d_bias.iter_mut().zip(row).for_each(|(d, &x)| *d += x)));
            }
            if needs[0] {
                d_hidden.extend(product_in(self.bf16, (n, width, vocab), (&logits, false), (head, false), None)?);
            }
            if needs[1] {
                let dst = Matrix { at: d_head.as_mut_ptr(), rows: width, cols: 1 };
                let lhs = Matrix { at: logits.as_ptr(), rows: vocab, cols: 1 };
                let rhs = Matrix { at: inputs.as_ptr(), rows: width, cols: 1 };
                // SAFETY: `d_head` has vocab · width numbers and is ours alone, `logits` n · vocab, `inputs` n · width.
                unsafe { gemm_in(self.bf16, (vocab, width, n), dst, true, lhs.t(), rhs) };
            }
        }
        for x in losses {
            loss += x.to_f64();
        }
        Ok(Sums { loss, d_hidden, d_head, d_bias })
    }

    /// Each row of logits becomes its gradient, weight · (softmax − target), and its loss is written down.
    fn rows<T: Real>(&self, logits: &mut [T], first: usize, vocab: usize, losses: &mut [T]) {
        let kept = super::real::Shared(losses.as_mut_ptr());
        par_rows(logits, vocab, |start, rows| {
            wide(|| {
                for (i, row) in rows.chunks_exact_mut(vocab).enumerate() {
                    let at = start + i;
                    let (target, weight) = (self.targets[first + at] as usize, T::of(f64::from(self.weights[first + at])));
                    let loss = if weight == T::of(0.0) {
                        row.fill(T::of(0.0));
                        T::of(0.0)
                    } else {
                        match self.cap.map(T::of) {
                            None => loss_row(row, target, weight),
                            Some(cap) => capped_row(row, target, weight, cap),
                        }
                    };
                    // SAFETY: every row has one place of its own.
                    unsafe { *kept.at(at) = loss };
                }
            });
        });
    }
}

struct Sums<T> {
    loss: f64,
    d_hidden: Vec<T>,
    d_head: Vec<T>,
    d_bias: Vec<T>,
}

#[inline(always)]
fn loss_row<T: Real>(row: &mut [T], target: usize, weight: T) -> T {
    let top = largest(row);
    let chosen = row[target] - top;
    for x in row.iter_mut() {
        *x = (*x - top).exp();
    }
    let sum = sum2(row, row, |x, _| x);
    let share = weight / sum;
    for x in row.iter_mut() {
        *x *= share;
    }
    row[target] -= weight;
    weight * (sum.ln() - chosen)
}

/// The same of cap · tanh(logit / cap), whose slope is 1 − tanh².
#[inline(always)]
fn capped_row<T: Real>(row: &mut [T], target: usize, weight: T, cap: T) -> T {
    let slopes: Vec<T> = row
        .iter_mut()
        .map(|x| {
            let t = (*x / cap).tanh();
            *x = cap * t;
            T::of(1.0) - t * t
        })
        .collect();
    let loss = loss_row(row, target, weight);
    row.iter_mut().zip(slopes).for_each(|(x, slope)| *x *= slope);
    loss
}

/// x · factor, in x's own place.
struct Scale(f64);

impl InplaceOp1 for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }
    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        const PIECE: usize = 1 << 16;
        match storage {
            CpuStorage::F32(x) => x.par_chunks_mut(PIECE).for_each(|x| wide(|| x.iter_mut().for_each(|x| *x *= self.0 as f32))),
            CpuStorage::F64(x) => x.iter_mut().for_each(|x| *x *= self.0),
            _ => candle_core::bail!("cross-entropy's gradients are f32 or f64"),
        }
        Ok(())
    }
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }
    fn forward(&self, args: &[Tensor], needs: &[bool]) -> Result<Tensor> {
        let (hidden, head) = (args[0].contiguous()?, args[1].contiguous()?);
        let bias = args.get(2).map(Tensor::contiguous).transpose()?;
        let ((rows, width), (vocab, inputs)) = (hidden.dims2()?, head.dims2()?);
        if bias.as_ref().is_some_and(|bias| bias.dims() != [vocab]) {
            candle_core::bail!("cross-entropy over {vocab} logits with a bias of another length");
        }
        if inputs != width || self.targets.len() != rows || self.weights.len() != rows {
            candle_core::bail!("cross-entropy of {:?} with a head of {:?} and {} targets", hidden.dims(), head.dims(), self.targets.len());
        }
        let beyond = self.targets.iter().zip(&self.weights).find(|(t, w)| **w != 0.0 && **t as usize >= vocab);
        if let Some((target, _)) = beyond {
            candle_core::bail!("target {target} is beyond the vocabulary of {vocab}");
        }
        let ((sh, lh), (sw, lw)) = (hidden.storage_and_layout(), head.storage_and_layout());
        let held = bias.as_ref().map(Tensor::storage_and_layout);
        by_dtype!(hidden.dtype(), T => {
            let bias_values = held.as_ref().map(|(s, l)| view::<T>(s, l)).transpose()?;
            let sums = self.run((view::<T>(&sh, lh)?, view::<T>(&sw, lw)?, bias_values), (rows, width, vocab), needs)?;
            let keep = |v: Vec<T>, needed: bool, like: &Tensor| -> Result<Option<Tensor>> {
                if needed { Ok(Some(Tensor::from_vec(v, like.shape(), like.device())?)) } else { Ok(None) }
            };
            let mut grads = vec![keep(sums.d_hidden, needs[0], &hidden)?, keep(sums.d_head, needs[1], &head)?];
            if let Some(bias) = &bias {
                grads.push(keep(sums.d_bias, needs[2], bias)?);
            }
            *self.grads.lock().unwrap_or_else(PoisonError::into_inner) = Some(grads);
            Tensor::from_vec(vec![T::of(sums.loss)], (), hidden.device())
        })
    }
    fn backward(&self, _: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Some(grads) = self.grads.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            candle_core::bail!("cross-entropy's backward pass came before its forward pass");
        };
        let factor = grad.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
        grads.into_iter().map(|g| g.map(|g| g.inplace_op1(&Scale(factor)).map(|()| g)).transpose()).collect()
    }
}
