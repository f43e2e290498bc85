//! Fused ops that take tensors apart and put them together along their last dimension, and stretch it by a vector.
//! Deliberately not here: views, which need no op of their own.

use super::graph::Op;
use super::real::{Real, by_dtype, view};
use candle_core::{Result, Tensor};

/// n columns from `from` on: argument x (…, width), gives (…, n).
pub struct Columns {
    pub from: usize,
    pub n: usize,
}

impl Columns {
    fn width(&self, x: &Tensor) -> Result<usize> {
        let width = x.dims().last().copied().unwrap_or(0);
        if self.n == 0 || self.from + self.n > width {
            candle_core::bail!("{} columns from {} on of {width}", self.n, self.from);
        }
        Ok(width)
    }
}

impl Op for Columns {
    fn name(&self) -> &'static str {
        "columns"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        let width = self.width(&args[0])?;
        let x = args[0].contiguous()?;
        let mut dims = x.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = self.n;
        }
        let (s, l) = x.storage_and_layout();
        by_dtype!(x.dtype(), T => {
            let rows = view::<T>(&s, l)?.chunks_exact(width);
            let mut out = Vec::with_capacity(rows.len() * self.n);
            rows.for_each(|row| out.extend_from_slice(&row[self.from..self.from + self.n]));
            Tensor::from_vec(out, dims, x.device())
        })
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let width = self.width(&args[0])?;
        let grad = grad.contiguous()?;
        let (s, l) = grad.storage_and_layout();
        by_dtype!(grad.dtype(), T => {
            let mut out = vec![T::of(0.0); args[0].elem_count()];
            for (row, part) in out.chunks_exact_mut(width).zip(view::<T>(&s, l)?.chunks_exact(self.n)) {
                row[self.from..self.from + self.n].copy_from_slice(part);
            }
            Ok(vec![Some(Tensor::from_vec(out, args[0].shape(), grad.device())?)])
        })
    }
}

/// Vectors one after another.
pub struct Join;

impl Op for Join {
    fn name(&self) -> &'static str {
        "join"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        Tensor::cat(args, 0)
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut from = 0;
        let one = |arg: &Tensor| {
            let n = arg.elem_count();
            from += n;
            Ok(Some(grad.narrow(0, from - n, n)?.contiguous()?))
        };
        args.iter().map(one).collect()
    }
}

/// x (…, n) · w (n).
pub struct Stretch;

impl Op for Stretch {
    fn name(&self) -> &'static str {
        "stretch"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        let (x, w) = (args[0].contiguous()?, args[1].contiguous()?);
        let n = w.dims1()?;
        if n == 0 || x.dims().last() != Some(&n) {
            candle_core::bail!("{:?} stretched by {n} numbers", x.dims());
        }
        let ((sx, lx), (sw, lw)) = (x.storage_and_layout(), w.storage_and_layout());
        by_dtype!(x.dtype(), T => {
            let (xs, ws) = (view::<T>(&sx, lx)?, view::<T>(&sw, lw)?);
            let out: Vec<T> = xs.chunks_exact(n).flat_map(|row| row.iter().zip(ws).map(|(&x, &w)| x * w)).collect();
            Tensor::from_vec(out, x.shape(), x.device())
        })
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (x, w, grad) = (args[0].contiguous()?, args[1].contiguous()?, grad.contiguous()?);
        let n = w.dims1()?;
        let ((sx, lx), (sw, lw), (sg, lg)) = (x.storage_and_layout(), w.storage_and_layout(), grad.storage_and_layout());
        by_dtype!(x.dtype(), T => {
            let (xs, ws, gs) = (view::<T>(&sx, lx)?, view::<T>(&sw, lw)?, view::<T>(&sg, lg)?);
            let dx: Vec<T> = gs.chunks_exact(n).flat_map(|row| row.iter().zip(ws).map(|(&g, &w)| g * w)).collect();
            let mut dw = vec![T::of(0.0); n];
            for (x, g) in xs.chunks_exact(n).zip(gs.chunks_exact(n)) {
                dw.iter_mut().zip(x).zip(g).for_each(|((d, &x), &g)| *d += x * g);
            }
            Ok(vec![Some(Tensor::from_vec(dx, x.shape(), x.device())?), Some(Tensor::from_vec(dw, n, x.device())?)])
        })
    }
}
