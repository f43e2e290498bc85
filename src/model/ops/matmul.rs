//! The fused linear layer: one product forward, two backward, straight from the layouts in which weights are stored,
//! with bias and residual added by the product itself.
//! Deliberately not here: batches of matrices; attention makes its own products.

use super::graph::Op;
use super::real::{Real, by_dtype, chunk_rows, product_in, view, wide};
use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

/// x · Wᵀ (+ bias) (+ residual). Arguments: x (…, in), the weight, then the bias (out) and the residual (…, out)
/// where there are any.
pub struct Linear {
    /// The weight is stored (in, out) and not (out, in).
    pub transposed: bool,
    pub bias: bool,
    pub residual: bool,
    /// Whether products are made in bf16.
    pub bf16: bool,
}

/// Rows, inputs and outputs of a product.
struct Sizes {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    fn sizes(&self, x: &Tensor, weight: &Tensor) -> Result<Sizes> {
        let (a, b) = weight.dims2()?;
        let (outputs, inputs) = if self.transposed { (b, a) } else { (a, b) };
        if x.dim(D::Minus1)? != inputs {
            candle_core::bail!("a linear layer of {inputs} inputs got {:?}", x.dims());
        }
        Ok(Sizes { rows: x.elem_count() / inputs.max(1), inputs, outputs })
    }
    /// What the product is added to.
    fn start<T: Real>(&self, args: &[Tensor], sizes: &Sizes) -> Result<Option<Vec<T>>> {
        let mut start: Option<Vec<T>> = None;
        if self.residual {
            let r = args[args.len() - 1].contiguous()?;
            let (s, l) = r.storage_and_layout();
            start = Some(view::<T>(&s, l)?.to_vec());
        }
        if self.bias {
            let b = args[2].contiguous()?;
            let (s, l) = b.storage_and_layout();
            let bias = view::<T>(&s, l)?;
            if bias.len() != sizes.outputs {
                candle_core::bail!("a linear layer of {} outputs got a bias of {}", sizes.outputs, bias.len());
            }
            match &mut start {
                Some(start) => start.chunks_exact_mut(bias.len()).for_each(|row| row.iter_mut().zip(bias).for_each(|(x, &b)| *x += b)),
                None => {
                    let mut rows = Vec::with_capacity(sizes.rows * sizes.outputs);
                    (0..sizes.rows).for_each(|_| rows.extend_from_slice(bias));
                    start = Some(rows);
                }
            }
        }
        Ok(start)
    }
}

/// Sums of columns of a (rows × n) matrix, in chunks of rows that depend on the shape alone.
fn column_sums<T: Real>(x: &[T], n: usize) -> Vec<T> {
    let parts: Vec<Vec<T>> = x
        .par_chunks(chunk_rows(n) * n)
        .map(|rows| {
            let mut sums = vec![T::of(0.0); n];
            wide(|| rows.chunks_exact(n).for_each(|row| sums.iter_mut().zip(row).for_each(|(s, &x)| *s += x)));
            sums
        })
        .collect();
    let mut total = vec![T::of(0.0); n];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }
    /// Bias and residual.
    fn forgets(&self, argument: usize) -> bool {
        argument > 1
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        let sizes = self.sizes(&args[0], &args[1])?;
        let (x, w) = (args[0].contiguous()?, args[1].contiguous()?);
        let mut dims = x.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = sizes.outputs;
        }
        let ((sx, lx), (sw, lw)) = (x.storage_and_layout(), w.storage_and_layout());
        by_dtype!(x.dtype(), T => {
            let start = self.start::<T>(args, &sizes)?;
            let dims3 = (sizes.rows, sizes.outputs, sizes.inputs);
            let out = product_in(self.bf16, dims3, (view::<T>(&sx, lx)?, false), (view::<T>(&sw, lw)?, !self.transposed), start)?;
            Tensor::from_vec(out, dims, x.device())
        })
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Sizes { rows, inputs, outputs } = self.sizes(&args[0], &args[1])?;
        let (x, w, grad) = (args[0].contiguous()?, args[1].contiguous()?, grad.contiguous()?);
        let ((sx, lx), (sw, lw), (sg, lg)) = (x.storage_and_layout(), w.storage_and_layout(), grad.storage_and_layout());
        let mut grads = vec![None; args.len()];
        by_dtype!(x.dtype(), T => {
            let (xs, ws, gs) = (view::<T>(&sx, lx)?, view::<T>(&sw, lw)?, view::<T>(&sg, lg)?);
            if needs[0] {
                let dx = product_in(self.bf16, (rows, inputs, outputs), (gs, false), (ws, self.transposed), None)?;
                grads[0] = Some(Tensor::from_vec(dx, x.shape(), x.device())?);
            }
            if needs[1] {
                let dw = if self.transposed {
                    product_in(self.bf16, (inputs, outputs, rows), (xs, true), (gs, false), None)?
                } else {
                    product_in(self.bf16, (outputs, inputs, rows), (gs, true), (xs, false), None)?
                };
                grads[1] = Some(Tensor::from_vec(dw, w.shape(), x.device())?);
            }
            if self.bias && needs[2] {
                grads[2] = Some(Tensor::from_vec(column_sums(gs, outputs), outputs, x.device())?);
            }
        });
        if self.residual {
            grads[args.len() - 1] = Some(grad.clone());
        }
        Ok(grads)
    }
}
