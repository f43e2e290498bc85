//! AdamW's update of one parameter and its moments, in place. Deliberately not here: when and by how much (`train::optim`).

use super::super::AdamW;
use super::launch::{On, each, launch};
use candle_core::{CpuStorage, CudaStorage, DType, InplaceOp2, Layout, Result, Tensor};

/// Changes `param` and its two moments; false, and nothing is done, where they are not f32 on CUDA.
pub fn adamw(step: AdamW, param: &Tensor, grad: &Tensor, moments: &[Tensor]) -> Result<bool> {
    let [first, second] = moments else { return Ok(false) };
    let all = [param, grad, first, second];
    if all.iter().any(|t| !t.device().is_cuda() || t.dtype() != DType::F32 || !t.is_contiguous() || t.dims() != param.dims()) {
        return Ok(false);
    }
    param.inplace_op2(grad, &Update { step, first, second })?;
    Ok(true)
}

struct Update<'a> {
    step: AdamW,
    first: &'a Tensor,
    second: &'a Tensor,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }
    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("this update is CUDA's")
    }
    fn cuda_fwd(&self, param: &mut CudaStorage, param_l: &Layout, grad: &CudaStorage, grad_l: &Layout) -> Result<()> {
        let (Some((from, to)), Some((g_from, g_to))) = (param_l.contiguous_offsets(), grad_l.contiguous_offsets()) else {
            candle_core::bail!("an update needs contiguous parameters and gradients")
        };
        let device = param.device.clone();
        // The kernel writes the moments as well. All work of a device is on one stream, in order, and nobody else holds
        // their storage but the optimizer, so that reading locks are enough.
        let (first_on, second_on) = (On::of(self.first), On::of(self.second));
        let (first, second) = (first_on.view::<f32>()?, second_on.view::<f32>()?);
        let g = grad.as_cuda_slice::<f32>()?.slice(g_from..g_to);
        let mut p = param.as_cuda_slice_mut::<f32>()?.slice_mut(from..to);
        let AdamW { betas, eps, lr, decay, scale, corrections } = self.step;
        let count = to - from;
        let [b1, b2] = betas.map(|b| b as f32);
        let [c1, c2] = betas.map(|b| (1.0 - b) as f32);
        let (keep, root, rate) = ((1.0 - lr * decay) as f32, (1.0 / corrections[1].sqrt()) as f32, (lr / corrections[0]) as f32);
        let (scale, eps) = (scale as f32, eps as f32);
        launch!(
            &device,
            "adamw_f32",
            each(count)?,
            &mut p,
            &g,
            &first,
            &second,
            &count,
            &scale,
            &keep,
            &b1,
            &c1,
            &b2,
            &c2,
            &root,
            &rate,
            &eps
        );
        Ok(())
    }
}
