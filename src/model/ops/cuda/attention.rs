//! Causal attention: cuBLAS's products around one kernel that scales, masks and normalises, and its backward pass,
//! which makes the probabilities again instead of keeping them. Query heads that share a key head stand one above the
//! other in one product, so that keys are never repeated.
//! Deliberately not here: a product that skips the masked half; that takes tensor cores by hand.

use super::launch::{Kernel, Made, Number, On, apply, by_number, each, grid, launch, plain, room};
use candle_core::{Result, Tensor};

/// q (batch, time, heads · d), k and v (batch, keys, kv_heads · d), of which the last query sees all keys.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, kv_heads: usize) -> Result<Tensor> {
    apply(Attention { heads, kv_heads }, &[q, k, v])
}

struct Attention {
    heads: usize,
    kv_heads: usize,
}

/// (n, a, b, d) to (n, b, a, d), of a tensor of any shape that holds as many numbers.
fn swap(x: &Tensor, (n, a, b, d): (usize, usize, usize, usize)) -> Result<Made> {
    let x = x.contiguous()?;
    let x_on = On::of(&x);
    let device = x_on.device()?;
    let count = n * a * b * d;
    if x.elem_count() != count {
        candle_core::bail!("{:?} is not {n}×{a}×{b}×{d} numbers", x.dims());
    }
    by_number!(x.dtype(), T => {
        let (xs, mut out) = (x_on.view::<T>()?, room::<T>(device, count)?);
        launch!(device, &T::kernel("swap_middle"), each(count)?, &xs, &mut out, &count, &a, &b, &d);
        Ok(T::made(out, device, (n, b, a, d)))
    })
}

/// Threads of a block for a row of scores.
const ROW: usize = 128;

struct Sizes {
    batch: usize,
    time: usize,
    keys: usize,
    group: usize,
    d: usize,
}

impl Attention {
    fn sizes(&self, args: &[Tensor]) -> Result<Sizes> {
        let (batch, time, width) = args[0].dims3()?;
        let (keys, d) = (args[1].dim(1)?, width / self.heads);
        let fits = width.is_multiple_of(self.heads)
            && self.heads.is_multiple_of(self.kv_heads)
            && keys >= time
            && args[1].dims() == [batch, keys, self.kv_heads * d]
            && args[2].dims() == args[1].dims();
        if !fits {
            let shapes: Vec<_> = args.iter().map(Tensor::dims).collect();
            candle_core::bail!("attention of {} heads and {} key heads over {shapes:?}", self.heads, self.kv_heads);
        }
        Ok(Sizes { batch, time, keys, group: self.heads / self.kv_heads, d })
    }
    /// Queries (batch · kv_heads, group · time, d).
    fn queries(&self, x: &Tensor, s: &Sizes) -> Result<Tensor> {
        plain(swap(x, (s.batch, s.time, self.heads, s.d))?).reshape((s.batch * self.kv_heads, s.group * s.time, s.d))
    }
    /// Keys or values (batch · kv_heads, keys, d).
    fn keys(&self, x: &Tensor, s: &Sizes) -> Result<Tensor> {
        plain(swap(x, (s.batch, s.keys, self.kv_heads, s.d))?).reshape((s.batch * self.kv_heads, s.keys, s.d))
    }
    /// A gradient of queries, or of keys, where they came from: (batch, places, heads · d).
    fn back(x: &Tensor, batch: usize, heads: usize, places: usize, d: usize) -> Result<Option<Tensor>> {
        plain(swap(x, (batch, heads, places, d))?).reshape((batch, places, heads * d)).map(Some)
    }
    /// softmax(q · kᵀ / √d): (batch · kv_heads, group · time, keys).
    fn probabilities(q: &Tensor, k: &Tensor, s: &Sizes) -> Result<Tensor> {
        let scores = q.matmul(&k.t()?)?;
        let on = On::of(&scores);
        let device = on.device()?;
        let scale = 1.0 / (s.d as f32).sqrt();
        by_number!(scores.dtype(), T => {
            let (all, mut out) = (on.view::<T>()?, room::<T>(device, scores.elem_count())?);
            let config = grid(scores.elem_count() / s.keys, 1, ROW)?;
            launch!(device, &T::kernel("softmax_forward"), config, &all, &mut out, &s.time, &s.keys, &scale);
            Ok(plain(T::made(out, device, scores.shape())))
        })
    }
    /// The gradient of the scores from that of the probabilities.
    fn scores_backward(p: &Tensor, dp: &Tensor, s: &Sizes) -> Result<Tensor> {
        let (p_on, dp_on) = (On::of(p), On::of(dp));
        let device = p_on.device()?;
        let scale = 1.0 / (s.d as f32).sqrt();
        by_number!(p.dtype(), T => {
            let mut out = room::<T>(device, p.elem_count())?;
            let config = grid(p.elem_count() / s.keys, 1, ROW)?;
            let (ps, dps) = (p_on.view::<T>()?, dp_on.view::<T>()?);
            launch!(device, &T::kernel("softmax_backward"), config, &ps, &dps, &mut out, &s.time, &s.keys, &scale);
            Ok(plain(T::made(out, device, p.shape())))
        })
    }
}

impl Kernel for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }
    fn forward(&self, args: &[Tensor]) -> Result<Made> {
        let s = self.sizes(args)?;
        let (q, k, v) = (self.queries(&args[0], &s)?, self.keys(&args[1], &s)?, self.keys(&args[2], &s)?);
        let out = Self::probabilities(&q, &k, &s)?.matmul(&v)?; // (batch · kv_heads, group · time, d)
        let (storage, _) = swap(&out, (s.batch, self.heads, s.time, s.d))?;
        Ok((storage, (s.batch, s.time, self.heads * s.d).into()))
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let s = self.sizes(args)?;
        let (q, k, v) = (self.queries(&args[0], &s)?, self.keys(&args[1], &s)?, self.keys(&args[2], &s)?);
        let grad = self.queries(grad, &s)?;
        let p = Self::probabilities(&q, &k, &s)?;
        let dv = p.t()?.matmul(&grad)?;
        let ds = Self::scores_backward(&p, &grad.matmul(&v.t()?)?, &s)?;
        drop(p);
        let (dq, dk) = (ds.matmul(&k)?, ds.t()?.matmul(&q)?);
        Ok(vec![
            Self::back(&dq, s.batch, self.heads, s.time, s.d)?,
            Self::back(&dk, s.batch, self.kv_heads, s.keys, s.d)?,
            Self::back(&dv, s.batch, self.kv_heads, s.keys, s.d)?,
        ])
    }
}
