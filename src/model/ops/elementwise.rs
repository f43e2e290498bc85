//! Fused ops that work number by number: sums, products, views, SwiGLU, GELU by tanh and by the error function.
//! Deliberately not here: anything that sums over a dimension.

use super::graph::Op;
use super::real::{Real, by_dtype, fill_rows, fill_rows2, view, wide};
use candle_core::{Result, Tensor};
use std::mem::MaybeUninit;

/// A width for cutting flat arrays into chunks.
const FLAT: usize = 1 << 12;

/// f of every number of `a` with that of `b`, in new memory.
fn zip<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T + Send + Sync) -> Vec<T> {
    let n = a.len().min(b.len());
    let fill = |row: usize, out: &mut [MaybeUninit<T>]| {
        let at = row * FLAT;
        let (a, b) = (&a[at..at + out.len()], &b[at..at + out.len()]);
        wide(|| {
            for ((o, &x), &y) in out.iter_mut().zip(a).zip(b) {
                o.write(f(x, y));
            }
        });
    };
    // SAFETY: the slices of a and b are as long as `out`, so that each number is written.
    unsafe { fill_rows(n, FLAT, fill) }
}

fn same_shape(name: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dims() != b.dims() {
        candle_core::bail!("{name} of shapes {:?} and {:?}, which have to be the same", a.dims(), b.dims());
    }
    Ok(())
}

/// a + b, of the same shape.
pub fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_shape("a sum", a, b)?;
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let ((sa, la), (sb, lb)) = (a.storage_and_layout(), b.storage_and_layout());
    by_dtype!(a.dtype(), T => Tensor::from_vec(zip(view::<T>(&sa, la)?, view::<T>(&sb, lb)?, |x, y| x + y), a.shape(), a.device()))
}

fn times(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_shape("a product", a, b)?;
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let ((sa, la), (sb, lb)) = (a.storage_and_layout(), b.storage_and_layout());
    by_dtype!(a.dtype(), T => Tensor::from_vec(zip(view::<T>(&sa, la)?, view::<T>(&sb, lb)?, |x, y| x * y), a.shape(), a.device()))
}

/// a + b.
pub struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }
    fn forgets(&self, _: usize) -> bool {
        true
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        sum(&args[0], &args[1])
    }
    fn backward(&self, _: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(grad.clone()), Some(grad.clone())])
    }
}

/// x · mask, of which the mask is a constant.
pub struct Mask;

impl Op for Mask {
    fn name(&self) -> &'static str {
        "mask"
    }
    fn forgets(&self, argument: usize) -> bool {
        argument == 0
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        times(&args[0], &args[1])
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(times(grad, &args[1])?), None])
    }
}

/// a · b, both of which may want a gradient.
pub struct Times;

impl Op for Times {
    fn name(&self) -> &'static str {
        "times"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        times(&args[0], &args[1])
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(times(grad, &args[1])?), Some(times(grad, &args[0])?)])
    }
}

/// x · factor + shift, of two constants.
pub struct Affine {
    pub factor: f64,
    pub shift: f64,
}

impl Affine {
    fn of(x: &Tensor, factor: f64, shift: f64) -> Result<Tensor> {
        let x = x.contiguous()?;
        let (s, l) = x.storage_and_layout();
        by_dtype!(x.dtype(), T => {
            let (v, factor, shift) = (view::<T>(&s, l)?, T::of(factor), T::of(shift));
            Tensor::from_vec(zip(v, v, |x, _| x * factor + shift), x.shape(), x.device())
        })
    }
}

impl Op for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }
    fn forgets(&self, _: usize) -> bool {
        true
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        Self::of(&args[0], self.factor, self.shift)
    }
    fn backward(&self, _: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(Self::of(grad, self.factor, 0.0)?)])
    }
}

/// Other dimensions of the same numbers.
pub struct Reshape(pub Vec<usize>);

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        args[0].reshape(self.0.as_slice())
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(grad.reshape(args[0].dims())?)])
    }
}

/// silu(gate) · up.
pub struct SwiGlu;

impl Op for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        same_shape("swiglu", &args[0], &args[1])?;
        let (g, u) = (args[0].contiguous()?, args[1].contiguous()?);
        let ((sg, lg), (su, lu)) = (g.storage_and_layout(), u.storage_and_layout());
        by_dtype!(g.dtype(), T => {
            let out = zip(view::<T>(&sg, lg)?, view::<T>(&su, lu)?, |g: T, u| g * g.sigmoid() * u);
            Tensor::from_vec(out, g.shape(), g.device())
        })
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (g, u, grad) = (args[0].contiguous()?, args[1].contiguous()?, grad.contiguous()?);
        let ((sg, lg), (su, lu), (sd, ld)) = (g.storage_and_layout(), u.storage_and_layout(), grad.storage_and_layout());
        by_dtype!(g.dtype(), T => {
            let (dg, du) = swiglu_backward(view::<T>(&sg, lg)?, view::<T>(&su, lu)?, view::<T>(&sd, ld)?);
            let tensor = |v: Vec<T>| Tensor::from_vec(v, g.shape(), g.device());
            Ok(vec![Some(tensor(dg)?), Some(tensor(du)?)])
        })
    }
}

/// With s = sigmoid(g): d gate = grad · up · s · (1 + g · (1 − s)), d up = grad · g · s.
fn swiglu_backward<T: Real>(gate: &[T], up: &[T], grad: &[T]) -> (Vec<T>, Vec<T>) {
    let one = T::of(1.0);
    let fill = |row: usize, dg: &mut [MaybeUninit<T>], du: &mut [MaybeUninit<T>]| {
        let range = row * FLAT..row * FLAT + dg.len();
        let (gate, up, grad) = (&gate[range.clone()], &up[range.clone()], &grad[range]);
        wide(|| {
            for ((((dg, du), &g), &u), &d) in dg.iter_mut().zip(du).zip(gate).zip(up).zip(grad) {
                let s = g.sigmoid();
                dg.write(d * u * s * (one + g * (one - s)));
                du.write(d * g * s);
            }
        });
    };
    // SAFETY: all five slices of a chunk are equally long, so that each number is written.
    unsafe { fill_rows2(gate.len(), FLAT, fill) }
}

/// GELU by the tanh approximation.
pub struct Gelu;

const CUBIC: f64 = 0.044715;

#[inline(always)]
fn gelu_tanh<T: Real>(x: T) -> T {
    (T::of((2.0 / std::f64::consts::PI).sqrt()) * (x + T::of(CUBIC) * x * x * x)).tanh()
}

impl Op for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        let x = args[0].contiguous()?;
        let (s, l) = x.storage_and_layout();
        by_dtype!(x.dtype(), T => {
            let v = view::<T>(&s, l)?;
            let out = zip(v, v, |x: T, _| T::of(0.5) * x * (T::of(1.0) + gelu_tanh(x)));
            Tensor::from_vec(out, x.shape(), x.device())
        })
    }
    /// d/dx = (1 + t) / 2 + x · (1 − t²) · √(2/π) · (1 + 3 · 0.044715 · x²) / 2, with t the tanh.
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (x, grad) = (args[0].contiguous()?, grad.contiguous()?);
        let ((sx, lx), (sg, lg)) = (x.storage_and_layout(), grad.storage_and_layout());
        by_dtype!(x.dtype(), T => {
            let (half, one, root) = (T::of(0.5), T::of(1.0), T::of((2.0 / std::f64::consts::PI).sqrt()));
            let out = zip(view::<T>(&sx, lx)?, view::<T>(&sg, lg)?, |x: T, d| {
                let t = gelu_tanh(x);
                d * half * (one + t + x * (one - t * t) * root * (one + T::of(3.0 * CUBIC) * x * x))
            });
            Ok(vec![Some(Tensor::from_vec(out, x.shape(), x.device())?)])
        })
    }
}

/// GELU by the error function (Hendrycks and Gimpel 2016).
pub struct GeluErf;

impl Op for GeluErf {
    fn name(&self) -> &'static str {
        "gelu_erf"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        let x = args[0].contiguous()?;
        let (s, l) = x.storage_and_layout();
        by_dtype!(x.dtype(), T => {
            let (v, half, one, root) = (view::<T>(&s, l)?, T::of(0.5), T::of(1.0), T::of(std::f64::consts::FRAC_1_SQRT_2));
            Tensor::from_vec(zip(v, v, |x: T, _| half * x * (one + Real::erf(x * root))), x.shape(), x.device())
        })
    }
    /// d/dx = (1 + erf(x / √2)) / 2 + x · exp(−x² / 2) / √(2π).
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (x, grad) = (args[0].contiguous()?, grad.contiguous()?);
        let ((sx, lx), (sg, lg)) = (x.storage_and_layout(), grad.storage_and_layout());
        by_dtype!(x.dtype(), T => {
            let (half, one, root) = (T::of(0.5), T::of(1.0), T::of(std::f64::consts::FRAC_1_SQRT_2));
            let density = T::of(1.0 / (2.0 * std::f64::consts::PI).sqrt());
            let out = zip(view::<T>(&sx, lx)?, view::<T>(&sg, lg)?, |x: T, d| {
                d * (half * (one + Real::erf(x * root)) + x * (-half * x * x).exp() * density)
            });
            Ok(vec![Some(Tensor::from_vec(out, x.shape(), x.device())?)])
        })
    }
}
