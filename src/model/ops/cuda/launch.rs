//! From tensors to kernels: slices of the device's memory, launches, and how a kernel with a backward pass by hand
//! becomes a node of candle's graph. Deliberately not here: any op.

use candle_core::cuda::cudarc::driver::{CudaSlice, CudaView, DeviceRepr, LaunchConfig};
use candle_core::cuda_backend::{CudaDType, CudaDevice};
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, StorageRef, Tensor, WithDType,
};
use half::bf16;
use std::sync::{Mutex, PoisonError};

/// The compiled kernels.
pub const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));
/// Threads of a block where each has an element.
const BLOCK: usize = 256;

/// A number that the kernels take.
pub trait Number: WithDType + CudaDType + DeviceRepr {
    /// Ends the kernels' names.
    const SUFFIX: &'static str;
    /// The name of a kernel for these numbers.
    fn kernel(base: &str) -> String {
        format!("{base}_{}", Self::SUFFIX)
    }
    fn made(slice: CudaSlice<Self>, device: &CudaDevice, shape: impl Into<Shape>) -> Made {
        (Self::wrap_cuda_slice(slice, device.clone()), shape.into())
    }
}
impl Number for f32 {
    const SUFFIX: &'static str = "f32";
}
impl Number for bf16 {
    const SUFFIX: &'static str = "bf16";
}

/// Runs `body` for the type of number that `dtype` says.
macro_rules! by_number {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            other => candle_core::bail!("the kernels compute in f32 and bf16, not in {other:?}; take the composed op"),
        }
    };
}
pub(super) use by_number;

/// A result before it is a tensor.
pub type Made = (CudaStorage, Shape);

/// A result as a tensor without a graph.
pub fn plain((storage, shape): Made) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// A tensor's numbers on the device, for as long as a kernel is launched with them.
pub struct On<'a> {
    storage: StorageRef<'a>,
    pub layout: &'a Layout,
}

impl<'a> On<'a> {
    pub fn of(x: &'a Tensor) -> Self {
        let (storage, layout) = x.storage_and_layout();
        Self { storage, layout }
    }
    pub fn storage(&self) -> Result<&CudaStorage> {
        match &*self.storage {
            Storage::Cuda(storage) => Ok(storage),
            _ => candle_core::bail!("a CUDA kernel got numbers of another device"),
        }
    }
    pub fn device(&self) -> Result<&CudaDevice> {
        Ok(&self.storage()?.device)
    }
    /// The numbers of a contiguous tensor.
    pub fn view<T: CudaDType>(&self) -> Result<CudaView<'_, T>> {
        match self.layout.contiguous_offsets() {
            Some((from, to)) => Ok(self.storage()?.as_cuda_slice::<T>()?.slice(from..to)),
            None => candle_core::bail!("a CUDA kernel got strides; make its inputs contiguous"),
        }
    }
}

/// Room for a result, which the kernel has to fill.
pub fn room<T: Number>(device: &CudaDevice, count: usize) -> Result<CudaSlice<T>> {
    // SAFETY: every kernel here writes each number of its results.
    unsafe { device.alloc::<T>(count) }
}

/// A thread for each of `count` numbers.
pub fn each(count: usize) -> Result<LaunchConfig> {
    grid(count.div_ceil(BLOCK), 1, BLOCK)
}

/// A block for each of `rows` rows of `width` numbers.
pub fn rows(rows: usize, width: usize) -> Result<LaunchConfig> {
    grid(rows, 1, width.next_multiple_of(32).clamp(32, BLOCK))
}

pub fn grid(x: usize, y: usize, block: usize) -> Result<LaunchConfig> {
    let fits = u32::try_from(x).ok().filter(|x| *x <= i32::MAX as u32).zip(u16::try_from(y).ok());
    let Some((x, y)) = fits else { candle_core::bail!("a kernel over {x} × {y} blocks; make the batch smaller") };
    Ok(LaunchConfig { grid_dim: (x, u32::from(y), 1), block_dim: (block as u32, 1, 1), shared_mem_bytes: 0 })
}

/// Launches the kernel `name` with the arguments, in the kernel's order and of the kernel's types.
macro_rules! launch {
    ($device:expr, $name:expr, $config:expr, $($arg:expr),+ $(,)?) => {{
        use candle_core::cuda::cudarc::driver::PushKernelArg as _;
        let kernel = $device.get_or_load_custom_func($name, "weightroom", crate::model::ops::cuda::launch::PTX)?;
        let mut builder = kernel.builder();
        $(builder.arg($arg);)+
        // SAFETY: the arguments are those of the kernel, and the slices as long as its sizes say.
        candle_core::cuda::WrapErr::w(unsafe { builder.launch($config) })?;
    }};
}
pub(super) use launch;

/// An op by kernels: plain tensors in, one result out, gradients by hand. At most three arguments.
pub trait Kernel: Send + Sync {
    fn name(&self) -> &'static str;
    fn forward(&self, args: &[Tensor]) -> Result<Made>;
    /// One gradient an argument; none where `needs` is false.
    fn backward(&self, args: &[Tensor], out: &Tensor, grad: &Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>>;
}

/// Applies an op; its result is part of candle's graph where an argument is.
pub fn apply(op: impl Kernel + 'static, args: &[&Tensor]) -> Result<Tensor> {
    let detached: Vec<Tensor> = args.iter().map(|a| a.detach()).collect();
    let made = op.forward(&detached)?;
    if !args.iter().any(|a| a.track_op()) {
        return Ok(plain(made));
    }
    let node = Node { op, made: Mutex::new(Some(made)) };
    match args {
        [a] => a.apply_op1(node),
        [a, b] => a.apply_op2(b, node),
        [a, b, c] => a.apply_op3(b, c, node),
        _ => candle_core::bail!("an op of {} arguments; candle's graph takes three", args.len()),
    }
}

/// An op whose result is made before candle asks for it, so that it may be made of tensors.
struct Node<K> {
    op: K,
    made: Mutex<Option<Made>>,
}

impl<K: Kernel> Node<K> {
    fn give(&self) -> Result<Made> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).take();
        made.ok_or_else(|| candle_core::Error::Msg(format!("{} was applied twice", self.op.name())))
    }
    fn grads<const N: usize>(&self, args: [&Tensor; N], out: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; N]> {
        let needs = args.map(Tensor::track_op);
        let detached = args.map(Tensor::detach);
        let grads = self.op.backward(&detached, &out.detach(), &grad.contiguous()?, &needs)?;
        let mut grads = grads.into_iter();
        Ok(needs.map(|needed| grads.next().flatten().filter(|_| needed)))
    }
    fn elsewhere(&self) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("{} is a CUDA kernel; take the composed op on other devices", self.op.name())
    }
}

impl<K: Kernel> CustomOp1 for Node<K> {
    fn name(&self) -> &'static str {
        self.op.name()
    }
    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.elsewhere()
    }
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<Made> {
        self.give()
    }
    fn bwd(&self, a: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [a] = self.grads([a], out, grad)?;
        Ok(a)
    }
}

impl<K: Kernel> CustomOp2 for Node<K> {
    fn name(&self) -> &'static str {
        self.op.name()
    }
    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.elsewhere()
    }
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<Made> {
        self.give()
    }
    fn bwd(&self, a: &Tensor, b: &Tensor, out: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = self.grads([a, b], out, grad)?;
        Ok((a, b))
    }
}

#[rustfmt::skip]
impl<K: Kernel> CustomOp3 for Node<K> {
    fn name(&self) -> &'static str {
        self.op.name()
    }
    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.elsewhere()
    }
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<Made> {
        self.give()
    }
    fn bwd(&self, a: &Tensor, b: &Tensor, c: &Tensor, out: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = self.grads([a, b, c], out, grad)?;
        Ok((a, b, c))
    }
}
