//! RMSNorm and LayerNorm over the last dimension, fused.
//! Deliberately not here: saved statistics; a row's sums are cheaper to compute again than to keep.

use super::graph::Op;
use super::real::{Real, by_dtype, chunk_rows, fill_rows, sum2, view, wide};
use candle_core::{Result, Tensor};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// x / sqrt(mean(x²) + eps) · weight: arguments x (…, n) and weight (n).
pub struct RmsNorm {
    pub eps: f64,
}

/// (x − mean) / sqrt(variance + eps) · weight + bias: arguments x (…, n), weight (n), bias (n).
pub struct LayerNorm {
    pub eps: f64,
}

fn check(name: &str, x: &Tensor, vectors: &[Tensor]) -> Result<usize> {
    let n = x.dims().last().copied().unwrap_or(0);
    if n == 0 || vectors.iter().any(|w| w.dims() != [n]) {
        candle_core::bail!("{name} of {:?} with vectors of {:?}", x.dims(), vectors.iter().map(Tensor::dims).collect::<Vec<_>>());
    }
    Ok(n)
}

#[inline(always)]
fn rms_scale<T: Real>(x: &[T], eps: T) -> T {
    T::of(1.0) / (sum2(x, x, |a, b| a * b) / T::of(x.len() as f64) + eps).sqrt()
}

#[inline(always)]
fn moments<T: Real>(x: &[T], eps: T) -> (T, T) {
    let n = T::of(x.len() as f64);
    let mean = sum2(x, x, |a, _| a) / n;
    let variance = sum2(x, x, |a, _| (a - mean) * (a - mean)) / n;
    (mean, T::of(1.0) / (variance + eps).sqrt())
}

/// Rows of a gradient that is made, of what the norm was of, and of the gradient that came.
type Rows<'a, T> = ((&'a mut [MaybeUninit<T>], &'a [T]), &'a [T]);

/// `one` of every chunk of `size` numbers, in parallel where there are several.
fn over_rows<T: Real, R: Send>(
    dx: &mut [MaybeUninit<T>],
    x: &[T],
    grad: &[T],
    size: usize,
    one: impl Fn(Rows<T>) -> R + Send + Sync,
) -> Vec<R> {
    if x.len() <= size {
        return vec![one(((dx, x), grad))];
    }
    dx.par_chunks_mut(size).zip(x.par_chunks(size)).zip(grad.par_chunks(size)).map(one).collect()
}

/// Adds up a vector of sums for each chunk of rows; the chunks are added in their order.
fn gather_sums<T: Real>(parts: Vec<Vec<T>>, n: usize) -> Vec<T> {
    let mut total = vec![T::of(0.0); n];
    for part in parts {
        for (t, p) in total.iter_mut().zip(part) {
            *t += p;
        }
    }
    total
}

impl Op for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        let n = check(self.name(), &args[0], &args[1..])?;
        let (x, w) = (args[0].contiguous()?, args[1].contiguous()?);
        let ((sx, lx), (sw, lw)) = (x.storage_and_layout(), w.storage_and_layout());
        by_dtype!(x.dtype(), T => {
            let (xs, w, eps) = (view::<T>(&sx, lx)?, view::<T>(&sw, lw)?, T::of(self.eps));
            let fill = |row: usize, out: &mut [MaybeUninit<T>]| wide(|| {
                for (o, x) in out.chunks_exact_mut(n).zip(xs[row * n..].chunks_exact(n)) {
                    let r = rms_scale(x, eps);
                    for ((o, &x), &w) in o.iter_mut().zip(x).zip(w) {
                        o.write(x * r * w);
                    }
                }
            });
            // SAFETY: rows, inputs and weights are n numbers each, so that every number is written.
            let out = unsafe { fill_rows(xs.len(), n, fill) };
            Tensor::from_vec(out, x.shape(), x.device())
        })
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let n = check(self.name(), &args[0], &args[1..])?;
        let (x, w, grad) = (args[0].contiguous()?, args[1].contiguous()?, grad.contiguous()?);
        let ((sx, lx), (sw, lw), (sg, lg)) = (x.storage_and_layout(), w.storage_and_layout(), grad.storage_and_layout());
        by_dtype!(x.dtype(), T => {
            let (dx, dw) = rms_backward(view::<T>(&sx, lx)?, view::<T>(&sw, lw)?, view::<T>(&sg, lg)?, n, T::of(self.eps));
            Ok(vec![Some(Tensor::from_vec(dx, x.shape(), x.device())?), Some(Tensor::from_vec(dw, n, x.device())?)])
        })
    }
}

/// With h = grad · weight and r the scale: dx = r · (h − x · r² · Σ(h · x) / n), dw = Σ grad · x · r over rows.
fn rms_backward<T: Real>(x: &[T], w: &[T], grad: &[T], n: usize, eps: T) -> (Vec<T>, Vec<T>) {
    let mut dx = Vec::with_capacity(x.len());
    let size = chunk_rows(n) * n;
    let one = |((dx, x), grad): Rows<T>| {
        let mut dw = vec![T::of(0.0); n];
        wide(|| {
            for ((dx, x), g) in dx.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(grad.chunks_exact(n)) {
                let r = rms_scale(x, eps);
                for ((d, &g), &w) in dx.iter_mut().zip(g).zip(w) {
                    d.write(g * w);
                }
                // SAFETY: the row, its gradient and the weights are n numbers each: all were written just now.
                let dx = unsafe { dx.assume_init_mut() };
                let slope = sum2(dx, x, |h, x| h * x) * r * r / T::of(n as f64);
                for (((d, dw), &x), &g) in dx.iter_mut().zip(dw.iter_mut()).zip(x).zip(g) {
                    *d = r * (*d - x * slope);
                    *dw += g * x * r;
                }
            }
        });
        dw
    };
    let parts: Vec<Vec<T>> = over_rows(&mut dx.spare_capacity_mut()[..x.len()], x, grad, size, one);
    // SAFETY: the chunks are all rows, and each row was written.
    unsafe { dx.set_len(x.len()) };
    (dx, gather_sums(parts, n))
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        let n = check(self.name(), &args[0], &args[1..])?;
        let (x, w, b) = (args[0].contiguous()?, args[1].contiguous()?, args[2].contiguous()?);
        let ((sx, lx), (sw, lw), (sb, lb)) = (x.storage_and_layout(), w.storage_and_layout(), b.storage_and_layout());
        by_dtype!(x.dtype(), T => {
            let (xs, w, b, eps) = (view::<T>(&sx, lx)?, view::<T>(&sw, lw)?, view::<T>(&sb, lb)?, T::of(self.eps));
            let fill = |row: usize, out: &mut [MaybeUninit<T>]| wide(|| {
                for (o, x) in out.chunks_exact_mut(n).zip(xs[row * n..].chunks_exact(n)) {
                    let (mean, r) = moments(x, eps);
                    for (((o, &x), &w), &b) in o.iter_mut().zip(x).zip(w).zip(b) {
                        o.write((x - mean) * r * w + b);
                    }
                }
            });
            // SAFETY: rows, inputs, weights and biases are n numbers each, so that every number is written.
            let out = unsafe { fill_rows(xs.len(), n, fill) };
            Tensor::from_vec(out, x.shape(), x.device())
        })
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let n = check(self.name(), &args[0], &args[1..])?;
        let (x, w, grad) = (args[0].contiguous()?, args[1].contiguous()?, grad.contiguous()?);
        let ((sx, lx), (sw, lw), (sg, lg)) = (x.storage_and_layout(), w.storage_and_layout(), grad.storage_and_layout());
        by_dtype!(x.dtype(), T => {
            let (dx, dw, db) = layer_backward(view::<T>(&sx, lx)?, view::<T>(&sw, lw)?, view::<T>(&sg, lg)?, n, T::of(self.eps));
            let vector = |v: Vec<T>| Tensor::from_vec(v, n, x.device());
            Ok(vec![Some(Tensor::from_vec(dx, x.shape(), x.device())?), Some(vector(dw)?), Some(vector(db)?)])
        })
    }
}

/// With h = grad · weight and y the normalised row: dx = r · (h − mean(h) − y · mean(h · y)).
fn layer_backward<T: Real>(x: &[T], w: &[T], grad: &[T], n: usize, eps: T) -> (Vec<T>, Vec<T>, Vec<T>) {
    let mut dx = Vec::with_capacity(x.len());
    let size = chunk_rows(n) * n;
    let one = |((dx, x), grad): Rows<T>| {
        let (mut dw, mut db) = (vec![T::of(0.0); n], vec![T::of(0.0); n]);
        wide(|| {
            for ((dx, x), g) in dx.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(grad.chunks_exact(n)) {
                let (mean, r) = moments(x, eps);
                for ((d, &g), &w) in dx.iter_mut().zip(g).zip(w) {
                    d.write(g * w);
                }
                // SAFETY: the row, its gradient and the weights are n numbers each: all were written just now.
                let dx = unsafe { dx.assume_init_mut() };
                let count = T::of(n as f64);
                let level = sum2(dx, x, |h, _| h) / count;
                let slope = sum2(dx, x, |h, x| h * (x - mean)) * r / count;
                for ((((d, dw), db), &x), &g) in dx.iter_mut().zip(dw.iter_mut()).zip(db.iter_mut()).zip(x).zip(g) {
                    let y = (x - mean) * r;
                    *d = r * (*d - level - y * slope);
                    *dw += g * y;
                    *db += g;
                }
            }
        });
        (dw, db)
    };
    let parts: Vec<(Vec<T>, Vec<T>)> = over_rows(&mut dx.spare_capacity_mut()[..x.len()], x, grad, size, one);
    // SAFETY: the chunks are all rows, and each row was written.
    unsafe { dx.set_len(x.len()) };
    let (dw, db) = parts.into_iter().unzip();
    (dx, gather_sums(dw, n), gather_sums(db, n))
}
