//! What works on one row or one number at a time: norms, rotary positions, SwiGLU, GELU, the embedding.
//! Deliberately not here: anything with a matrix product.

use super::launch::{Kernel, Made, Number, On, apply, by_number, each, grid, launch, plain, room, rows};
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::CudaSlice;
use candle_core::{D, DType, Result, Tensor};
use std::sync::OnceLock;

pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    apply(Norm { eps: eps as f32, centred: false, stats: OnceLock::new() }, &[x, weight])
}
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    apply(Norm { eps: eps as f32, centred: true, stats: OnceLock::new() }, &[x, weight, bias])
}
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    apply(Rope, &[x, &cos.to_dtype(DType::F32)?, &sin.to_dtype(DType::F32)?])
}
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    apply(SwiGlu, &[gate, up])
}
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    apply(Gelu, &[x])
}
/// Rows of a table (rows, width) by ids (batch, time).
pub fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (batch, time) = ids.dims2()?;
    let ids = ids.flatten_all()?.contiguous()?;
    apply(Embedding { ids }, &[table])?.reshape((batch, time, table.dim(1)?))
}

/// RMSNorm, or LayerNorm where `centred`: arguments x (…, n), weight (n), and of the latter a bias (n).
struct Norm {
    eps: f32,
    centred: bool,
    /// Means and scales of the rows: (2, rows).
    stats: OnceLock<CudaSlice<f32>>,
}

/// Rows whose part of the weights' gradient one thread sums, at least.
const HEIGHT: usize = 64;

impl Norm {
    fn sizes(&self, args: &[Tensor]) -> Result<(usize, usize)> {
        let n = args[0].dim(D::Minus1)?;
        if args[1..].iter().any(|w| w.dims() != [n]) {
            candle_core::bail!("{} of {:?} with {:?}", self.name(), args[0].dims(), args[1].dims());
        }
        Ok((args[0].elem_count() / n.max(1), n))
    }
    fn kernel<T: Number>(&self, base: &str) -> String {
        T::kernel(&format!("{}_{base}", if self.centred { "layer" } else { "rms" }))
    }
}

impl Kernel for Norm {
    fn name(&self) -> &'static str {
        if self.centred { "layer_norm" } else { "rms_norm" }
    }
    fn forward(&self, args: &[Tensor]) -> Result<Made> {
        let (count, n) = self.sizes(args)?;
        let args: Vec<Tensor> = args.iter().map(Tensor::contiguous).collect::<Result<_>>()?;
        let on: Vec<On> = args.iter().map(On::of).collect();
        let device = on[0].device()?;
        let mut stats = room::<f32>(device, 2 * count)?;
        by_number!(args[0].dtype(), T => {
            let (x, w) = (on[0].view::<T>()?, on[1].view::<f32>()?);
            let mut out = room::<T>(device, count * n)?;
            let name = self.kernel::<T>("forward");
            if self.centred {
                let b = on[2].view::<f32>()?;
                launch!(device, &name, rows(count, n)?, &x, &w, &b, &mut out, &mut stats, &n, &self.eps);
            } else {
                launch!(device, &name, rows(count, n)?, &x, &w, &mut out, &mut stats, &n, &self.eps);
            }
            let _ = self.stats.set(stats);
            Ok(T::made(out, device, args[0].shape()))
        })
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (count, n) = self.sizes(args)?;
        let Some(stats) = self.stats.get() else { candle_core::bail!("{}'s backward pass came first", self.name()) };
        let (x, w) = (args[0].contiguous()?, args[1].contiguous()?);
        let (x_on, w_on, g_on) = (On::of(&x), On::of(&w), On::of(grad));
        let device = x_on.device()?;
        let height = HEIGHT.max(count.div_ceil(1024));
        let chunks = count.div_ceil(height);
        let (mut dw, mut db) = (room::<f32>(device, chunks * n)?, room::<f32>(device, chunks * n)?);
        by_number!(x.dtype(), T => {
            let (xs, ws, gs) = (x_on.view::<T>()?, w_on.view::<f32>()?, g_on.view::<T>()?);
            let mut dx = room::<T>(device, count * n)?;
            launch!(device, &self.kernel::<T>("backward"), rows(count, n)?, &xs, &ws, &gs, stats, &mut dx, &n);
            let config = grid(n.div_ceil(128), chunks, 128)?;
            launch!(device, &T::kernel("norm_weights"), config, &xs, &gs, stats, &mut dw, &mut db, &count, &n, &height);
            let sums = |parts: CudaSlice<f32>| plain(f32::made(parts, device, (chunks, n))).sum(0).map(Some);
            let mut grads = vec![Some(plain(T::made(dx, device, x.shape()))), sums(dw)?];
            if self.centred {
                grads.push(sums(db)?);
            }
            Ok(grads)
        })
    }
}

/// Arguments x (batch, time, heads · head_dim), cos and sin (time, head_dim / 2).
struct Rope;

fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor, sign: f32) -> Result<Made> {
    let (_, time, width) = x.dims3()?;
    let (angles, half) = cos.dims2()?;
    if angles != time || sin.dims() != cos.dims() || half == 0 || !width.is_multiple_of(2 * half) {
        candle_core::bail!("rotary positions of {:?} with angles {:?}", x.dims(), cos.dims());
    }
    let (x, cos, sin) = (x.contiguous()?, cos.contiguous()?, sin.contiguous()?);
    let (x_on, cos_on, sin_on) = (On::of(&x), On::of(&cos), On::of(&sin));
    let device = x_on.device()?;
    let (pairs, heads) = (x.elem_count() / 2, width / (2 * half));
    by_number!(x.dtype(), T => {
        let (xs, c, s) = (x_on.view::<T>()?, cos_on.view::<f32>()?, sin_on.view::<f32>()?);
        let mut out = room::<T>(device, 2 * pairs)?;
        launch!(device, &T::kernel("rope"), each(pairs)?, &xs, &c, &s, &mut out, &pairs, &time, &heads, &half, &sign);
        Ok(T::made(out, device, x.shape()))
    })
}

impl Kernel for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }
    fn forward(&self, args: &[Tensor]) -> Result<Made> {
        rotate(&args[0], &args[1], &args[2], 1.0)
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(plain(rotate(grad, &args[1], &args[2], -1.0)?)), None, None])
    }
}

/// Arguments gate and up, of one shape.
struct SwiGlu;

impl Kernel for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }
    fn forward(&self, args: &[Tensor]) -> Result<Made> {
        if args[0].dims() != args[1].dims() || args[0].dtype() != args[1].dtype() {
            candle_core::bail!("swiglu of {:?} and {:?}", args[0].dims(), args[1].dims());
        }
        let (gate, up, count) = (args[0].contiguous()?, args[1].contiguous()?, args[0].elem_count());
        let (gate_on, up_on) = (On::of(&gate), On::of(&up));
        let device = gate_on.device()?;
        by_number!(gate.dtype(), T => {
            let (g, u) = (gate_on.view::<T>()?, up_on.view::<T>()?);
            let mut out = room::<T>(device, count)?;
            launch!(device, &T::kernel("swiglu_forward"), each(count)?, &g, &u, &mut out, &count);
            Ok(T::made(out, device, gate.shape()))
        })
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (gate, up, count) = (args[0].contiguous()?, args[1].contiguous()?, args[0].elem_count());
        let (gate_on, up_on, grad_on) = (On::of(&gate), On::of(&up), On::of(grad));
        let device = gate_on.device()?;
        by_number!(gate.dtype(), T => {
            let (g, u, d) = (gate_on.view::<T>()?, up_on.view::<T>()?, grad_on.view::<T>()?);
            let (mut dg, mut du) = (room::<T>(device, count)?, room::<T>(device, count)?);
            launch!(device, &T::kernel("swiglu_backward"), each(count)?, &g, &u, &d, &mut dg, &mut du, &count);
            let tensor = |slice| Some(plain(T::made(slice, device, gate.shape())));
            Ok(vec![tensor(dg), tensor(du)])
        })
    }
}

/// GELU by the tanh approximation.
struct Gelu;

impl Kernel for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }
    fn forward(&self, args: &[Tensor]) -> Result<Made> {
        let (x, count) = (args[0].contiguous()?, args[0].elem_count());
        let x_on = On::of(&x);
        let device = x_on.device()?;
        by_number!(x.dtype(), T => {
            let (xs, mut out) = (x_on.view::<T>()?, room::<T>(device, count)?);
            launch!(device, &T::kernel("gelu_forward"), each(count)?, &xs, &mut out, &count);
            Ok(T::made(out, device, x.shape()))
        })
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (x, count) = (args[0].contiguous()?, args[0].elem_count());
        let (x_on, grad_on) = (On::of(&x), On::of(grad));
        let device = x_on.device()?;
        by_number!(x.dtype(), T => {
            let mut dx = room::<T>(device, count)?;
            let (x, grad) = (x_on.view::<T>()?, grad_on.view::<T>()?);
            launch!(device, &T::kernel("gelu_backward"), each(count)?, &x, &grad, &mut dx, &count);
            Ok(vec![Some(plain(T::made(dx, device, args[0].shape())))])
        })
    }
}

/// Argument: the table (rows, width). Gives (tokens, width).
struct Embedding {
    /// (tokens).
    ids: Tensor,
}

impl Kernel for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }
    fn forward(&self, args: &[Tensor]) -> Result<Made> {
        let table = args[0].contiguous()?;
        let (table_on, ids_on) = (On::of(&table), On::of(&self.ids));
        let out = table_on.storage()?.index_select(ids_on.storage()?, table_on.layout, ids_on.layout, 0)?;
        Ok((out, (self.ids.elem_count(), table.dim(1)?).into()))
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (vocab, width) = args[0].dims2()?;
        let tokens = self.ids.elem_count();
        let (grad_on, ids_on) = (On::of(grad), On::of(&self.ids));
        let device = grad_on.device()?;
        by_number!(grad.dtype(), T => {
            let (ids, g) = (ids_on.view::<u32>()?, grad_on.view::<T>()?);
            let mut table = room::<T>(device, vocab * width)?;
            launch!(device, &T::kernel("embedding_backward"), rows(vocab, width)?, &ids, &g, &mut table, &tokens, &width);
            Ok(vec![Some(plain(T::made(table, device, (vocab, width))))])
        })
    }
}
