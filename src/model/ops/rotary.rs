//! Rotary positions, fused: the backward pass is the rotation by the opposite angle.
//! Deliberately not here: the angles; the decoder computes them once a pass.

use super::graph::Op;
use super::real::{Real, by_dtype, fill_rows, view, wide};
use candle_core::{Result, Tensor};
use std::mem::MaybeUninit;

/// Rotates the two halves of the first numbers of each head: arguments x (batch, time, heads · head_dim), cos and sin
/// (time, half).
pub struct Rope {
    /// Numbers of a head, of which the first two halves turn and the rest stay.
    pub head_dim: usize,
}

fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor, head_dim: usize, back: bool) -> Result<Tensor> {
    let (_, time, width) = x.dims3()?;
    let (rows, half) = cos.dims2()?;
    if rows != time || sin.dims() != cos.dims() || half == 0 || head_dim < 2 * half || width % head_dim != 0 {
        candle_core::bail!("rotary positions of {:?} with angles {:?}", x.dims(), cos.dims());
    }
    let (x, cos, sin) = (x.contiguous()?, cos.contiguous()?, sin.contiguous()?);
    let ((sx, lx), (sc, lc), (ss, ls)) = (x.storage_and_layout(), cos.storage_and_layout(), sin.storage_and_layout());
    by_dtype!(x.dtype(), T => {
        let (xs, cos, sin) = (view::<T>(&sx, lx)?, view::<T>(&sc, lc)?, view::<T>(&ss, ls)?);
        let sign = T::of(if back { -1.0 } else { 1.0 });
        let fill = |row: usize, out: &mut [MaybeUninit<T>]| wide(|| {
            for (i, (o, x)) in out.chunks_exact_mut(width).zip(xs[row * width..].chunks_exact(width)).enumerate() {
                let at = (row + i) % time * half;
                rotate_row(o, x, &cos[at..at + half], &sin[at..at + half], head_dim, sign);
            }
        });
        // SAFETY: a row is as many heads of two halves and a rest, each number of which is written.
        let out = unsafe { fill_rows(xs.len(), width, fill) };
        Tensor::from_vec(out, x.shape(), x.device())
    })
}

#[inline(always)]
fn rotate_row<T: Real>(out: &mut [MaybeUninit<T>], x: &[T], cos: &[T], sin: &[T], head_dim: usize, sign: T) {
    let half = cos.len();
    for (o, x) in out.chunks_exact_mut(head_dim).zip(x.chunks_exact(head_dim)) {
        let (o, rest) = o.split_at_mut(2 * half);
        rest.write_copy_of_slice(&x[2 * half..]);
        let ((first, second), (a, b)) = (o.split_at_mut(half), x.split_at(half));
        for i in 0..half {
            first[i].write(a[i] * cos[i] - b[i] * sin[i] * sign);
            second[i].write(b[i] * cos[i] + a[i] * sin[i] * sign);
        }
    }
}

impl Op for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }
    fn forgets(&self, argument: usize) -> bool {
        argument == 0
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        rotate(&args[0], &args[1], &args[2], self.head_dim, false)
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(rotate(grad, &args[1], &args[2], self.head_dim, true)?), None, None])
    }
}
