//! What a forward pass leaves for its backward pass. candle's own graph starts each gradient with zeros and an
//! addition and keeps all activations to the end; a tape hands gradients on as they are and drops each node once it
//! is used. A whole pass becomes one node of candle's graph, so that everything after it is ordinary candle.
//! Deliberately not here: any maths.

use super::elementwise::Reshape;
use super::real::{by_dtype, fusable, storage};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, TensorId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A fused op: plain tensors in, one plain tensor out, and gradients by hand.
pub trait Op: Send + Sync {
    fn name(&self) -> &'static str;
    /// `needs` says which arguments will want a gradient.
    fn forward(&self, args: &[Tensor], needs: &[bool]) -> Result<Tensor>;
    /// One gradient an argument; none where `needs` is false.
    fn backward(&self, args: &[Tensor], out: &Tensor, grad: &Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>>;
}

/// The tape of one forward pass.
pub struct Graph {
    tape: RefCell<Tape>,
    records: bool,
    fuses: bool,
}

#[derive(Default)]
struct Tape {
    nodes: Vec<Node>,
    /// Results on the way to which something wants a gradient.
    tracked: HashMap<TensorId, ()>,
    /// Tensors of candle's graph that were used, in order of first use.
    leaves: Vec<Tensor>,
}

struct Node {
    op: Arc<dyn Op>,
    /// Under these ids the arguments' gradients are summed.
    ids: Vec<TensorId>,
    args: Vec<Tensor>,
    needs: Vec<bool>,
    out: Tensor,
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}

impl Graph {
    pub fn new() -> Self {
        Self { tape: RefCell::default(), records: true, fuses: true }
    }
    /// A graph that keeps nothing: for generation.
    pub fn silent() -> Self {
        Self { tape: RefCell::default(), records: false, fuses: true }
    }
    /// A pass of composed ops alone: everything is candle's graph.
    pub fn composed() -> Self {
        Self { tape: RefCell::default(), records: false, fuses: false }
    }
    /// Whether a device's kernels may be taken.
    #[cfg(feature = "cuda")]
    pub(super) fn takes_kernels(&self) -> bool {
        self.fuses
    }
    /// Whether an op on `x` is to be the fused one.
    pub(super) fn fuses(&self, x: &Tensor) -> bool {
        self.fuses && fusable(x)
    }

    /// Applies an op and records it where an argument wants a gradient.
    pub fn apply(&self, op: impl Op + 'static, args: &[&Tensor]) -> Result<Tensor> {
        let plain: Vec<Tensor> = args.iter().map(|a| a.detach()).collect();
        let mut tape = self.tape.borrow_mut();
        let needs: Vec<bool> = args.iter().map(|a| self.records && (a.track_op() || tape.tracked.contains_key(&a.id()))).collect();
        let out = op.forward(&plain, &needs)?;
        if needs.contains(&true) {
            for leaf in args.iter().filter(|a| a.track_op()) {
                if !tape.leaves.iter().any(|l| l.id() == leaf.id()) {
                    tape.leaves.push((*leaf).clone());
                }
            }
            tape.tracked.insert(out.id(), ());
            let ids = args.iter().map(|a| a.id()).collect();
            tape.nodes.push(Node { op: Arc::new(op), ids, args: plain, needs, out: out.clone() });
        }
        Ok(out)
    }

    /// A view of other dimensions.
    pub fn reshape(&self, x: &Tensor, dims: &[usize]) -> Result<Tensor> {
        self.apply(Reshape(dims.to_vec()), &[x])
    }

    /// Turns the result of the pass into a tensor of candle's graph, whose gradient reaches all leaves of the tape.
    pub fn finish(self, result: Tensor) -> Result<Tensor> {
        let tape = self.tape.into_inner();
        if !tape.tracked.contains_key(&result.id()) {
            return Ok(result);
        }
        let leaves = tape.leaves.clone();
        let pass = Arc::new(Finished { tape: Mutex::new(Some(tape)), last: result.id(), grads: Mutex::default() });
        let carriers = carry(leaves, &pass)?;
        carriers.apply_op1(Whole { pass, value: result })
    }
}

/// A recorded pass, and the gradients of its leaves once they are known.
struct Finished {
    tape: Mutex<Option<Tape>>,
    last: TensorId,
    grads: Mutex<HashMap<TensorId, Tensor>>,
}

impl Finished {
    /// Runs the tape backwards. Each node is dropped, with what it holds, when its turn is over.
    fn run(&self, grad: &Tensor) -> Result<()> {
        let taken = self.tape.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut tape) = taken else {
            candle_core::bail!("the backward pass of one forward pass runs once; run the forward pass again");
        };
        let mut grads = HashMap::from([(self.last, grad.detach().contiguous()?)]);
        while let Some(node) = tape.nodes.pop() {
            let Some(grad) = grads.remove(&node.out.id()) else { continue };
            let parts = node.op.backward(&node.args, &node.out, &grad, &node.needs)?;
            for ((id, part), needed) in node.ids.iter().zip(parts).zip(&node.needs) {
                let (Some(part), true) = (part, needed) else { continue };
                let sum = match grads.remove(id) {
                    Some(before) => super::elementwise::sum(&before, &part)?,
                    None => part,
                };
                grads.insert(*id, sum);
            }
        }
        *self.grads.lock().unwrap_or_else(PoisonError::into_inner) = grads;
        Ok(())
    }
    fn take(&self, leaf: &Tensor) -> Option<Tensor> {
        self.grads.lock().unwrap_or_else(PoisonError::into_inner).remove(&leaf.id())
    }
}

/// The pass as one op of candle. Its argument holds no numbers that matter: it leads to the carriers.
struct Whole {
    pass: Arc<Finished>,
    value: Tensor,
}

impl CustomOp1 for Whole {
    fn name(&self) -> &'static str {
        "decoder"
    }
    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((storage(&self.value)?, self.value.shape().clone()))
    }
    fn bwd(&self, arg: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.pass.run(grad)?;
        Ok(Some(arg.zeros_like()?))
    }
}

/// Hands the gradients of three leaves (or of three other carriers: zeros) to candle, whose ops have three arguments
/// at most.
struct Carrier(Arc<Finished>);

/// A tree of carriers over all leaves; its root.
fn carry(mut level: Vec<Tensor>, pass: &Arc<Finished>) -> Result<Tensor> {
    loop {
        let mut next = Vec::with_capacity(level.len().div_ceil(3));
        for group in level.chunks(3) {
            next.push(match group {
                [a, b, c] => a.apply_op3(b, c, Carrier(pass.clone()))?,
                [a, b] => a.apply_op2(b, Carrier(pass.clone()))?,
                [a] => a.apply_op1(Carrier(pass.clone()))?,
                _ => continue,
            });
        }
        if next.len() <= 1 {
            return next.pop().ok_or_else(|| candle_core::Error::Msg("a pass without leaves has no gradient".into()));
        }
        level = next;
    }
}

impl Carrier {
    fn nothing(like: &CpuStorage) -> Result<(CpuStorage, Shape)> {
        use candle_core::WithDType;
        use candle_core::backend::BackendStorage;
        by_dtype!(like.dtype(), T => Ok((T::to_cpu_storage_owned(vec![0.0]), Shape::from(()))))
    }
    fn grad(&self, arg: &Tensor) -> Result<Option<Tensor>> {
        match self.0.take(arg) {
            Some(grad) => Ok(Some(grad)),
            // Another carrier, or a leaf whose gradient is zero: candle wants a value for each.
            None if arg.track_op() => Ok(Some(arg.zeros_like()?)),
            None => Ok(None),
        }
    }
}

impl CustomOp1 for Carrier {
    fn name(&self) -> &'static str {
        "carrier"
    }
    fn cpu_fwd(&self, s: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Self::nothing(s)
    }
    fn bwd(&self, a: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        self.grad(a)
    }
}

impl CustomOp2 for Carrier {
    fn name(&self) -> &'static str {
        "carrier"
    }
    fn cpu_fwd(&self, s: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Self::nothing(s)
    }
    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.grad(a)?, self.grad(b)?))
    }
}

impl CustomOp3 for Carrier {
    fn name(&self) -> &'static str {
        "carrier"
    }
    fn cpu_fwd(&self, s: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Self::nothing(s)
    }
    #[rustfmt::skip]
    fn bwd(&self, a: &Tensor, b: &Tensor, c: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((self.grad(a)?, self.grad(b)?, self.grad(c)?))
    }
}
