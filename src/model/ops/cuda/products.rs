//! Products with weights, by cuBLAS from the layouts in which weights are stored, and sums onto the residual stream.
//! Deliberately not here: attention's products and the head's with the loss.

use super::launch::{Kernel, Made, Number, On, apply, by_number, each, launch, room};
use crate::model::ops::composed;
use candle_core::backend::BackendStorage;
use candle_core::{D, DType, Result, Tensor};
use std::sync::OnceLock;

/// x · Wᵀ + bias: x (…, in), weight (out, in), or (in, out) where it is stored `transposed`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, transposed: bool) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let inputs = x.dim(D::Minus1)?;
    let flat = x.reshape(((), inputs))?;
    let y = apply(Linear { transposed, cast: OnceLock::new() }, &[&flat, weight])?;
    let y = match bias {
        // Wide, so that the bias's gradient is summed in f32.
        Some(b) => composed::wide(&y)?.broadcast_add(&composed::wide(b)?)?.to_dtype(x.dtype())?,
        None => y,
    };
    if let Some(last) = dims.last_mut() {
        *last = y.dim(1)?;
    }
    y.reshape(dims)
}

/// The residual stream and what is added to it, which may be narrower.
pub fn add(stream: &Tensor, y: &Tensor) -> Result<Tensor> {
    if stream.dtype() != DType::F32 || y.dtype() != DType::BF16 || stream.dims() != y.dims() {
        return stream + y.to_dtype(stream.dtype())?;
    }
    apply(AddToWide, &[stream, y])
}

/// lhs · rhs of two matrices, as a storage.
pub fn product(lhs: &Tensor, rhs: &Tensor) -> Result<Made> {
    let ((m, k), (inner, n)) = (lhs.dims2()?, rhs.dims2()?);
    if k != inner {
        candle_core::bail!("a product of {m}×{k} and {inner}×{n}");
    }
    let (l, r) = (On::of(lhs), On::of(rhs));
    Ok((l.storage()?.matmul(r.storage()?, (1, m, n, k), l.layout, r.layout)?, (m, n).into()))
}

/// Arguments x (rows, in) and the weight.
struct Linear {
    transposed: bool,
    /// The weight in the type of x.
    cast: OnceLock<Tensor>,
}

impl Kernel for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }
    fn forward(&self, args: &[Tensor]) -> Result<Made> {
        let (x, w) = (args[0].contiguous()?, args[1].to_dtype(args[0].dtype())?.contiguous()?);
        let made = if self.transposed { product(&x, &w) } else { product(&x, &w.t()?) };
        let _ = self.cast.set(w);
        made
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Some(w) = self.cast.get() else { candle_core::bail!("a linear layer's backward pass came first") };
        let x = args[0].contiguous()?;
        let dx = || if self.transposed { grad.matmul(&w.t()?) } else { grad.matmul(w) };
        let dw = || if self.transposed { x.t()?.matmul(grad) } else { grad.t()?.matmul(&x) };
        let dw = || dw()?.to_dtype(args[1].dtype());
        Ok(vec![needs[0].then(dx).transpose()?, needs[1].then(dw).transpose()?])
    }
}

/// Arguments of one shape: f32 and another type.
struct AddToWide;

impl Kernel for AddToWide {
    fn name(&self) -> &'static str {
        "add"
    }
    fn forward(&self, args: &[Tensor]) -> Result<Made> {
        let (x, y, count) = (args[0].contiguous()?, args[1].contiguous()?, args[0].elem_count());
        let (x_on, y_on) = (On::of(&x), On::of(&y));
        let device = x_on.device()?;
        let mut out = room::<f32>(device, count)?;
        by_number!(y.dtype(), T => {
            let (a, b) = (x_on.view::<f32>()?, y_on.view::<T>()?);
            launch!(device, &T::kernel("add_to_wide"), each(count)?, &a, &b, &mut out, &count);
        });
        Ok(f32::made(out, device, x.shape()))
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(grad.clone()), Some(grad.to_dtype(args[1].dtype())?)])
    }
}
