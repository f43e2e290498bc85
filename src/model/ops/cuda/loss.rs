//! The head's product together with cross-entropy, in chunks of rows: a kernel turns each chunk's logits into their
//! gradient where they stand, so that all logits never stand in memory at once.
//! Deliberately not here: means; the loop divides by its own denominators.

use super::launch::{Kernel, Made, Number, On, apply, by_number, grid, launch, plain, room};
use super::products::product;
use candle_core::backend::BackendStorage;
use candle_core::{DType, Result, Tensor};
use std::sync::OnceLock;

/// Σ weight · −log softmax(hidden · headᵀ)[target]: hidden (rows, width), head (vocab, width), targets and weights (rows).
pub fn cross_entropy(hidden: &Tensor, head: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let (targets, weights) = (targets.contiguous()?, weights.to_dtype(DType::F32)?.contiguous()?);
    let needs = [hidden.track_op(), head.track_op()];
    apply(CrossEntropy { targets, weights, needs, grads: OnceLock::new() }, &[hidden, head])
}

struct CrossEntropy {
    /// A row of weight 0 is not looked at.
    targets: Tensor,
    weights: Tensor,
    needs: [bool; 2],
    /// Gradients of the sum, made by the forward pass.
    grads: OnceLock<[Option<Tensor>; 2]>,
}

/// Bytes of logits that are held at a time: products of some thousand rows are as fast as larger ones.
const CHUNK_BYTES: usize = 256 << 20;
/// Threads of a block for a row of logits.
const ROW: usize = 512;

impl CrossEntropy {
    /// The losses of some rows (n) and the gradient of their logits (n, vocab).
    fn chunk(&self, hidden: &Tensor, head: &Tensor, first: usize) -> Result<(Tensor, Tensor)> {
        let (n, vocab) = (hidden.dim(0)?, head.dim(0)?);
        let (targets, weights) = (self.targets.narrow(0, first, n)?, self.weights.narrow(0, first, n)?);
        let (targets_on, weights_on) = (On::of(&targets), On::of(&weights));
        let device = targets_on.device()?;
        let (mut logits, shape) = product(hidden, &head.t()?)?;
        let mut losses = room::<f32>(device, n)?;
        by_number!(hidden.dtype(), T => {
            let rows = logits.as_cuda_slice_mut::<T>()?;
            let (t, w) = (targets_on.view::<u32>()?, weights_on.view::<f32>()?);
            launch!(device, &T::kernel("cross_entropy"), grid(n, 1, ROW)?, rows, &t, &w, &mut losses, &vocab);
        });
        Ok((plain(f32::made(losses, device, n)), plain((logits, shape))))
    }
}

impl Kernel for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }
    fn forward(&self, args: &[Tensor]) -> Result<Made> {
        let (hidden, head) = (args[0].contiguous()?, args[1].to_dtype(args[0].dtype())?.contiguous()?);
        let (rows, (vocab, _)) = (hidden.dim(0)?, head.dims2()?);
        if self.targets.dims() != [rows] || self.weights.dims() != [rows] {
            candle_core::bail!("cross-entropy of {:?} with {:?} targets", hidden.dims(), self.targets.dims());
        }
        let chunk = (CHUNK_BYTES / (vocab * hidden.dtype().size_in_bytes()).max(1)).clamp(1, rows);
        let (mut losses, mut d_hidden, mut d_head) = (Vec::new(), Vec::new(), None::<Tensor>);
        for first in (0..rows).step_by(chunk) {
            let part = hidden.narrow(0, first, chunk.min(rows - first))?;
            let (loss, d_logits) = self.chunk(&part, &head, first)?;
            losses.push(loss);
            if self.needs[0] {
                d_hidden.push(d_logits.matmul(&head)?);
            }
            if self.needs[1] {
                let more = d_logits.t()?.matmul(&part)?.to_dtype(DType::F32)?;
                d_head = Some(match d_head {
                    Some(sum) => (sum + more)?,
                    None => more,
                });
            }
        }
        let d_hidden = if self.needs[0] { Some(Tensor::cat(&d_hidden, 0)?) } else { None };
        let _ = self.grads.set([d_hidden, d_head]);
        let loss = Tensor::cat(&losses, 0)?.sum_all()?;
        let on = On::of(&loss);
        Ok((on.storage()?.try_clone(on.layout)?, ().into()))
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Some(grads) = self.grads.get() else { candle_core::bail!("cross-entropy's backward pass came first") };
        // In f32: the factor is one over the number of targets, which bf16 would round for all of them alike.
        let scaled = |(g, arg): (&Option<Tensor>, &Tensor)| {
            g.as_ref().map(|g| g.to_dtype(DType::F32)?.broadcast_mul(grad)?.to_dtype(arg.dtype())).transpose()
        };
        grads.iter().zip(args).map(scaled).collect()
    }
}
