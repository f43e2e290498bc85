//! What a forward pass leaves for its backward pass. candle's own graph starts each gradient with zeros and an
//! addition and keeps all activations to the end; a tape hands gradients on as they are and drops each node once it
//! is used. A whole pass becomes one node of candle's graph, so that everything after it is ordinary candle.
//! Deliberately not here: any maths.

use super::Team;
use super::elementwise::Reshape;
use super::real::{by_dtype, fusable, storage};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, TensorId, Var};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// A fused op: plain tensors in, one plain tensor out, and gradients by hand.
pub trait Op: Send + Sync {
    fn name(&self) -> &'static str;
    /// Whether the backward pass needs no number of this argument: then the tape does not keep it, and an empty tensor
    /// stands in its place.
    fn forgets(&self, _argument: usize) -> bool {
        false
    }
    /// Whether the backward pass needs the result; else it gets an empty tensor.
    fn keeps_result(&self) -> bool {
        false
    }
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
    /// Whether products of fused ops are made in bf16.
    bf16: bool,
    /// Where gradients of variables stay; without it they go to candle.
    tapes: Option<Tapes>,
    /// Threads that stay with the pass.
    team: Option<Arc<Team>>,
}

/// Where gradients of variables go as soon as they are known.
pub type Hand = Box<dyn Fn(TensorId, Tensor) -> Result<()> + Send + Sync>;

/// The passes of one loss. Gradients of variables stay here, so that nobody adds them to zeros or copies them.
#[derive(Clone, Default)]
pub struct Tapes(Arc<Kept>);

#[derive(Default)]
struct Kept {
    passes: Mutex<Vec<Arc<Finished>>>,
    hand: Option<Hand>,
    /// Variables that more than one op uses: their gradients are sums that are known at the end alone.
    shared: Mutex<HashSet<TensorId>>,
    times: Mutex<OpTimes>,
}

/// Seconds in each op's forward and backward pass, by name.
pub type OpTimes = BTreeMap<&'static str, [f64; 2]>;

impl Tapes {
    /// Tapes that give gradients of variables away.
    pub fn handing(hand: Hand) -> Self {
        Self(Arc::new(Kept { hand: Some(hand), ..Kept::default() }))
    }
    /// What ops took since it was last asked.
    pub fn take_times(&self) -> OpTimes {
        std::mem::take(&mut *locked(&self.0.times))
    }
    /// Runs candle's backward pass from `loss`, and with it those of the passes that were recorded here. They are
    /// forgotten then. What was not given away is returned.
    pub fn backward(&self, loss: &Tensor) -> Result<Grads> {
        let passes = std::mem::take(&mut *locked(&self.0.passes));
        let (mut seen, mut shared) = (HashSet::new(), HashSet::new());
        for pass in &passes {
            let Some(tape) = &*locked(&pass.tape) else { continue };
            shared.extend(tape.nodes.iter().flat_map(|node| &node.ids).filter(|id| !seen.insert(**id)));
        }
        *locked(&self.0.shared) = shared;
        Ok(Grads { store: loss.backward()?, passes })
    }
    /// Gives a gradient away.
    pub fn hand(&self, var: &Tensor, grad: Tensor) -> Result<()> {
        self.0.hand.as_ref().map_or(Ok(()), |hand| hand(var.id(), grad))
    }
}

impl Kept {
    /// Gives away what is the whole gradient of a variable; else it comes back.
    fn offer(&self, id: TensorId, grad: Tensor) -> Result<Option<Tensor>> {
        match &self.hand {
            Some(hand) if !locked(&self.shared).contains(&id) => hand(id, grad).map(|()| None),
            _ => Ok(Some(grad)),
        }
    }
}

/// Gradients of variables, from passes of our own and from candle's graph.
pub struct Grads {
    store: GradStore,
    passes: Vec<Arc<Finished>>,
}

impl Grads {
    /// Takes the gradient of a variable out; none where nothing of the loss depends on it.
    pub fn take(&mut self, var: &Tensor) -> Result<Option<Tensor>> {
        let mut total = self.store.remove(var).map(|g| g.detach());
        for pass in &self.passes {
            let Some(grad) = pass.take(var) else { continue };
            total = Some(match total {
                Some(before) => super::elementwise::sum(&before, &grad)?,
                None => grad,
            });
        }
        Ok(total)
    }
}

/// Does one op's pass, forward (0) or backward (1), and writes down how long it took where there are tapes.
fn clocked<R>(tapes: Option<&Kept>, name: &'static str, way: usize, work: impl FnOnce() -> R) -> R {
    let Some(kept) = tapes else { return work() };
    let began = Instant::now();
    let result = work();
    locked(&kept.times).entry(name).or_default()[way] += began.elapsed().as_secs_f64();
    result
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Tape {
    nodes: Vec<Node>,
    /// Results on the way to which something wants a gradient.
    tracked: HashMap<TensorId, ()>,
    /// Tensors of candle's graph that were used, in order of first use.
    leaves: Vec<Tensor>,
}

impl Tape {
    /// Goes back from the result `last`, whose gradient is `grad`, to what the tape began with. Each node is dropped, with
    /// what it holds, when its turn is over. Gradients of variables are offered to `kept`; the others come back by id.
    fn walk(mut self, last: TensorId, grad: &Tensor, kept: Option<&Kept>) -> Result<HashMap<TensorId, Tensor>> {
        let variables: HashSet<TensorId> = self.leaves.iter().filter(|leaf| leaf.is_variable()).map(Tensor::id).collect();
        let mut grads = HashMap::from([(last, grad.detach().contiguous()?)]);
        while let Some(node) = self.nodes.pop() {
            let Some(grad) = grads.remove(&node.id) else { continue };
            let parts = clocked(kept, node.op.name(), 1, || node.op.backward(&node.args, &node.result, &grad, &node.needs))?;
            for ((id, part), needed) in node.ids.iter().zip(parts).zip(&node.needs) {
                let (Some(part), true) = (part, needed) else { continue };
                let sum = match grads.remove(id) {
                    Some(before) => clocked(kept, "sums of gradients", 1, || super::elementwise::sum(&before, &part))?,
                    None => part,
                };
                let rest = match kept.filter(|_| variables.contains(id)) {
                    Some(kept) => kept.offer(*id, sum)?,
                    None => Some(sum),
                };
                grads.extend(rest.map(|sum| (*id, sum)));
            }
        }
        Ok(grads)
    }
}

struct Node {
    op: Arc<dyn Op>,
    /// Under these ids the arguments' gradients are summed.
    ids: Vec<TensorId>,
    args: Vec<Tensor>,
    needs: Vec<bool>,
    result: Tensor,
    /// Under this id the result's gradient is found.
    id: TensorId,
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}

impl Graph {
    pub fn new() -> Self {
        Self { tape: RefCell::default(), records: true, fuses: true, bf16: false, tapes: None, team: None }
    }
    /// Gradients of variables stay with `tapes`.
    pub fn on(tapes: &Tapes) -> Self {
        Self { tapes: Some(tapes.clone()), ..Self::new() }
    }
    /// A graph that keeps nothing: for generation.
    pub fn silent() -> Self {
        Self { records: false, ..Self::new() }
    }
    /// The same graph, whose products are shared out to threads that stay with the pass.
    pub fn with_team(self, team: Option<&Arc<Team>>) -> Self {
        Self { team: team.cloned(), ..self }
    }
    /// Threads that stay with the pass.
    pub fn team(&self) -> Option<&Team> {
        self.team.as_deref()
    }
    /// A pass of composed ops alone: everything is candle's graph.
    pub fn composed() -> Self {
        Self { records: false, fuses: false, ..Self::new() }
    }
    /// The same, whose fused ops make their products in bf16 where `bf16`.
    pub fn in_bf16(self, bf16: bool) -> Self {
        Self { bf16, ..self }
    }
    pub(super) fn bf16(&self) -> bool {
        self.bf16
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
        let kept = self.tapes.as_ref().map(|tapes| &*tapes.0);
        let out = clocked(kept, op.name(), 0, || op.forward(&plain, &needs))?;
        if needs.contains(&true) {
            for leaf in args.iter().filter(|a| a.track_op()) {
                if !tape.leaves.iter().any(|l| l.id() == leaf.id()) {
                    tape.leaves.push((*leaf).clone());
                }
            }
            tape.tracked.insert(out.id(), ());
            let ids = args.iter().map(|a| a.id()).collect();
            let nothing = Tensor::zeros(0, out.dtype(), out.device())?;
            let kept = plain.into_iter().enumerate().map(|(i, arg)| if op.forgets(i) { nothing.clone() } else { arg }).collect();
            let result = if op.keeps_result() { out.clone() } else { nothing };
            tape.nodes.push(Node { op: Arc::new(op), ids, args: kept, needs, result, id: out.id() });
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
        let mut leaves = tape.leaves.clone();
        let kept = self.tapes.as_ref().map(|tapes| Arc::downgrade(&tapes.0));
        let pass = Arc::new(Finished { tape: Mutex::new(Some(tape)), last: result.id(), grads: Mutex::default(), kept });
        if let Some(tapes) = &self.tapes {
            leaves.retain(|leaf| !leaf.is_variable());
            locked(&tapes.0.passes).push(pass.clone());
        }
        if leaves.is_empty() {
            // candle goes back through what depends on a variable: this one stands for all that stay here.
            leaves.push(Var::zeros((), result.dtype(), result.device())?.into_inner());
        }
        let carriers = carry(leaves, &pass)?;
        carriers.apply_op1(Whole { pass, value: result })
    }
}

/// A part of a pass of which the tape keeps the argument alone: the backward pass goes forward through it once more
/// (Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost). Arguments: x, then the variables that the part uses.
pub struct Again {
    pub part: Box<dyn Fn(&Graph, &Tensor) -> Result<Tensor> + Send + Sync>,
    /// In the order of the arguments after x.
    pub variables: Vec<Tensor>,
    /// Whether its products are made in bf16.
    pub bf16: bool,
}

impl Op for Again {
    fn name(&self) -> &'static str {
        "recompute"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        (self.part)(&Graph::silent().in_bf16(self.bf16), &args[0])
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let graph = Graph::new().in_bf16(self.bf16);
        graph.tape.borrow_mut().tracked.insert(args[0].id(), ());
        let result = (self.part)(&graph, &args[0])?;
        let mut grads = graph.tape.into_inner().walk(result.id(), grad, None)?;
        let ids = std::iter::once(args[0].id()).chain(self.variables.iter().map(Tensor::id));
        Ok(ids.map(|id| grads.remove(&id)).collect())
    }
}

/// A recorded pass, and the gradients of its leaves once they are known.
pub(super) struct Finished {
    tape: Mutex<Option<Tape>>,
    last: TensorId,
    grads: Mutex<HashMap<TensorId, Tensor>>,
    /// The tapes that it belongs to.
    kept: Option<Weak<Kept>>,
}

impl Finished {
    /// Runs the tape backwards.
    fn run(&self, grad: &Tensor) -> Result<()> {
        let taken = locked(&self.tape).take();
        let Some(tape) = taken else {
            candle_core::bail!("the backward pass of one forward pass runs once; run the forward pass again");
        };
        let kept = self.kept.as_ref().and_then(Weak::upgrade);
        *locked(&self.grads) = tape.walk(self.last, grad, kept.as_deref())?;
        Ok(())
    }
    fn take(&self, leaf: &Tensor) -> Option<Tensor> {
        locked(&self.grads).remove(&leaf.id())
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
