//! The decoder's ops by kernels of our own, for CUDA: each with its backward pass, in f32 and bf16, beside weights in
//! f32. `kernels.cu` holds their formulas. Deliberately not here: the composed ops, which stand in wherever `fits` says no.

mod attention;
mod launch;
mod loss;
mod products;
mod rows;
mod update;

pub use attention::attention;
pub use loss::cross_entropy;
pub use products::{add, linear};
pub use rows::{embedding, gelu, layer_norm, rms_norm, rope, swiglu};
pub use update::adamw;

use candle_core::{DType, Tensor};

/// Whether the kernels can work on these activations with this weight.
pub fn fits(x: &Tensor, weight: Option<&Tensor>) -> bool {
    let known = matches!(x.dtype(), DType::F32 | DType::BF16) && weight.is_none_or(|w| w.dtype() == DType::F32);
    known && x.device().is_cuda() && x.elem_count() > 0
}
