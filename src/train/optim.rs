//! AdamW and SGD with moments of our own that can be saved, and the norm of all gradients.
//! Deliberately not here: the learning rate of a step (`schedule`) and when a step is taken (`drive`).

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Storage, Tensor, Var};
use rayon::prelude::*;

use super::drive::TrainError;
use crate::model::ops;
use crate::model::params::{Kind, Param};
use crate::recipe::OptimSection;
use crate::run::checkpoint::Moment;

/// Numbers of one piece of work. Fixed, so that sums over pieces do not depend on the number of threads.
const PIECE: usize = 1 << 15;
/// Independent partial sums within a piece: as many as fill the widest registers.
const LANES: usize = 16;
/// torch.nn.utils.clip_grad_norm_ adds this to the norm before it divides.
const CLIP_EPS: f64 = 1e-6;

/// The rule that turns a gradient into a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Loshchilov & Hutter 2019, as torch.optim.AdamW: decay is apart from the gradient, `eps` is added after the
    /// square root of the corrected second moment.
    AdamW { betas: [f64; 2], eps: f64 },
    /// As torch.optim.SGD without dampening: decay is added to the gradient, `buffer = momentum · buffer + g`.
    Sgd { momentum: f64 },
}

impl Rule {
    fn moments(self) -> &'static [&'static str] {
        match self {
            Self::AdamW { .. } => &["first", "second"],
            Self::Sgd { momentum } if momentum > 0.0 => &["momentum"],
            Self::Sgd { .. } => &[],
        }
    }
}

/// An optimizer over a model's parameters, which it changes in place.
pub struct Optimizer {
    rule: Rule,
    weight_decay: f64,
    slots: Vec<Slot>,
    /// Updates made so far (bias correction).
    updates: u64,
}

struct Slot {
    name: String,
    var: Var,
    decays: bool,
    moments: Moments,
}

/// Where the moments live: beside the fused pass on the CPU, on the device for the composed one.
enum Moments {
    Host(Vec<Vec<f32>>),
    Device(Vec<Tensor>),
}

/// What one update did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// Norm of the change over the norm of the weights before it; 0 where it was not measured.
    pub ratio: f64,
}

impl Optimizer {
    /// Norms, biases and embeddings do not decay unless `decay_all`.
    pub fn of_recipe(optim: &OptimSection, params: &[Param]) -> Result<Self, TrainError> {
        let rule = match optim.kind.as_str() {
            "adamw" => Rule::AdamW { betas: optim.betas, eps: optim.eps },
            "sgd" => Rule::Sgd { momentum: optim.momentum },
            other => return Err(TrainError::Other(format!("optim.kind: {other:?} is not one of adamw, sgd"))),
        };
        Self::new(rule, optim.weight_decay, optim.decay_all, params)
    }

    pub fn new(rule: Rule, weight_decay: f64, decay_all: bool, params: &[Param]) -> Result<Self, TrainError> {
        let slots = params.iter().map(|param| {
            let tensor = param.var.as_tensor();
            let host = tensor.device().is_cpu() && tensor.dtype() == DType::F32 && tensor.is_contiguous();
            let count = rule.moments().len();
            let moments = if host {
                Moments::Host(vec![vec![0.0; tensor.elem_count()]; count])
            } else {
                Moments::Device((0..count).map(|_| tensor.zeros_like()).collect::<Result<_, _>>().map_err(model)?)
            };
            let decays = decay_all || matches!(param.kind, Kind::Matrix | Kind::Expert);
            Ok(Slot { name: param.name.clone(), var: param.var.clone(), decays, moments })
        });
        Ok(Self { rule, weight_decay, slots: slots.collect::<Result<_, TrainError>>()?, updates: 0 })
    }

    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// One update by `scale · grads`, in the order of the parameters. `scale` is how clipping comes in: the gradients
    /// themselves are not touched.
    pub fn step(&mut self, grads: &[Tensor], lr: f64, scale: f64) -> Result<Change, TrainError> {
        self.updates += 1;
        let (rule, weight_decay, updates) = (self.rule, self.weight_decay, self.updates);
        let one = |(slot, grad): (&mut Slot, &Tensor)| -> candle_core::Result<(f64, f64)> {
            let step = Step::new(rule, lr, scale, if slot.decays { weight_decay } else { 0.0 }, updates);
            match &mut slot.moments {
                Moments::Host(moments) => {
                    let pass = Pass { step, moments: RefCell::new(moments), sums: RefCell::new((0.0, 0.0)) };
                    slot.var.as_tensor().inplace_op2(&grad.contiguous()?, &pass)?;
                    Ok(pass.sums.into_inner())
                }
                Moments::Device(moments) => step.composed(&slot.var, grad, moments).map(|()| (0.0, 0.0)),
            }
        };
        let sums: Vec<(f64, f64)> = if shared_out(grads) {
            self.slots.par_iter_mut().zip(grads).map(one).collect::<Result<_, _>>()
        } else {
            self.slots.iter_mut().zip(grads).map(one).collect::<Result<_, _>>()
        }
        .map_err(model)?;
        let (changed, size) = sums.iter().fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
        Ok(Change { ratio: if size > 0.0 { (changed / size).sqrt() } else { 0.0 } })
    }

    /// The moments by parameter and name, in the order of the parameters.
    pub fn moments(&self) -> Result<Vec<Moment<'_>>, TrainError> {
        let mut out = Vec::new();
        for slot in &self.slots {
            let shape = slot.var.as_tensor().dims().to_vec();
            for (i, kind) in self.rule.moments().iter().enumerate() {
                let values = match &slot.moments {
                    Moments::Host(moments) => Cow::Borrowed(moments[i].as_slice()),
                    Moments::Device(moments) => {
                        let flat = moments[i].flatten_all().and_then(|t| t.to_dtype(DType::F32)).and_then(|t| t.to_vec1());
                        Cow::Owned(flat.map_err(model)?)
                    }
                };
                out.push(Moment { name: format!("{}.{kind}", slot.name), shape: shape.clone(), values });
            }
        }
        Ok(out)
    }

    /// Restores what `moments` gave; a row that is missing or of another length is an error that names it.
    pub fn restore(&mut self, mut saved: BTreeMap<String, Vec<f32>>, updates: u64) -> Result<(), TrainError> {
        for slot in &mut self.slots {
            let tensor = slot.var.as_tensor();
            for (i, kind) in self.rule.moments().iter().enumerate() {
                let name = format!("{}.{kind}", slot.name);
                let values = saved.remove(&name).filter(|v| v.len() == tensor.elem_count());
                let Some(values) = values else {
                    return Err(TrainError::Other(format!(
                        "optimizer.safetensors: no fitting row {name}; the recipe's optimizer or model differs from the checkpoint's"
                    )));
                };
                match &mut slot.moments {
                    Moments::Host(moments) => moments[i] = values,
                    Moments::Device(moments) => {
                        let row = Tensor::from_vec(values, tensor.shape(), tensor.device()).and_then(|t| t.to_dtype(tensor.dtype()));
                        moments[i] = row.map_err(model)?;
                    }
                }
            }
        }
        self.updates = updates;
        Ok(())
    }
}

/// The numbers of one update of one parameter.
#[derive(Clone, Copy)]
struct Step {
    rule: Rule,
    lr: f64,
    scale: f64,
    decay: f64,
    /// `1 − beta1^t` and `1 − beta2^t`.
    corrections: [f64; 2],
}

impl Step {
    fn new(rule: Rule, lr: f64, scale: f64, decay: f64, updates: u64) -> Self {
        let corrections = match rule {
            Rule::AdamW { betas, .. } => betas.map(|beta| 1.0 - beta.powf(updates as f64)),
            Rule::Sgd { .. } => [1.0; 2],
        };
        Self { rule, lr, scale, decay, corrections }
    }

    /// The same update from the device's own operations.
    fn composed(&self, var: &Var, grad: &Tensor, moments: &mut [Tensor]) -> candle_core::Result<()> {
        let p = var.as_tensor().detach();
        if let Rule::AdamW { betas, eps } = self.rule {
            let &Self { lr, decay, scale, corrections, .. } = self;
            if ops::adamw(ops::AdamW { betas, eps, lr, decay, scale, corrections }, &p, &grad.contiguous()?, moments)? {
                return Ok(());
            }
        }
        let g = grad.to_dtype(p.dtype())?.affine(self.scale, 0.0)?;
        let next = match self.rule {
            Rule::AdamW { betas: [b1, b2], eps } => {
                moments[0] = (moments[0].affine(b1, 0.0)? + g.affine(1.0 - b1, 0.0)?)?;
                moments[1] = (moments[1].affine(b2, 0.0)? + g.sqr()?.affine(1.0 - b2, 0.0)?)?;
                let below = moments[1].sqrt()?.affine(1.0 / self.corrections[1].sqrt(), eps)?;
                (p.affine(1.0 - self.lr * self.decay, 0.0)? - (&moments[0] / below)?.affine(self.lr / self.corrections[0], 0.0)?)?
            }
            Rule::Sgd { momentum } => {
                let mut g = if self.decay > 0.0 { (g + p.affine(self.decay, 0.0)?)? } else { g };
                if momentum > 0.0 {
                    moments[0] = (moments[0].affine(momentum, 0.0)? + g)?;
                    g = moments[0].clone();
                }
                (p - g.affine(self.lr, 0.0)?)?
            }
        };
        var.set(&next)
    }
}

/// One pass over a parameter, its gradient and its moments: everything is read once and written once.
struct Pass<'a> {
    step: Step,
    moments: RefCell<&'a mut Vec<Vec<f32>>>,
    /// Squares of the changes and of the weights, summed.
    sums: RefCell<(f64, f64)>,
}

impl InplaceOp2 for Pass<'_> {
    fn name(&self) -> &'static str {
        "optimizer step"
    }

    fn cpu_fwd(&self, dst: &mut CpuStorage, dst_l: &Layout, src: &CpuStorage, src_l: &Layout) -> candle_core::Result<()> {
        let (Some((p0, p1)), Some((g0, g1))) = (dst_l.contiguous_offsets(), src_l.contiguous_offsets()) else {
            candle_core::bail!("an optimizer step needs contiguous parameters and gradients")
        };
        let (CpuStorage::F32(p), CpuStorage::F32(g)) = (dst, src) else {
            candle_core::bail!("an optimizer step in one pass needs f32 parameters and gradients")
        };
        let (p, g) = (&mut p[p0..p1], &g[g0..g1]);
        if p.len() != g.len() {
            candle_core::bail!("a gradient of {} numbers for a parameter of {}", g.len(), p.len())
        }
        let mut moments = self.moments.borrow_mut();
        let step = &self.step;
        let (scale, lr) = (step.scale as f32, step.lr as f32);
        *self.sums.borrow_mut() = match (step.rule, moments.as_mut_slice()) {
            (Rule::AdamW { betas, eps }, [first, second]) => {
                let keep = (1.0 - step.lr * step.decay) as f32;
                let [b1, b2] = betas.map(|b| b as f32);
                let [c1, c2] = betas.map(|b| (1.0 - b) as f32);
                let root = (1.0 / step.corrections[1].sqrt()) as f32;
                let rate = (step.lr / step.corrections[0]) as f32;
                let eps = eps as f32;
                sweep(p, g, first, second, move |p, g, m, v| {
                    let g = g * scale;
                    let (m, v) = (b1 * m + c1 * g, b2 * v + c2 * g * g);
                    (p * keep - rate * m / (v.sqrt() * root + eps), m, v)
                })
            }
            (Rule::Sgd { momentum }, [buffer]) => {
                let (momentum, decay) = (momentum as f32, step.decay as f32);
                let mut none = vec![0.0; buffer.len()];
                sweep(p, g, buffer, &mut none, move |p, g, m, v| {
                    let m = momentum * m + (g * scale + decay * p);
                    (p - lr * m, m, v)
                })
            }
            (Rule::Sgd { .. }, _) => {
                let decay = step.decay as f32;
                let (mut none, mut no_more) = (vec![0.0; p.len()], vec![0.0; p.len()]);
                sweep(p, g, &mut none, &mut no_more, move |p, g, m, v| (p - lr * (g * scale + decay * p), m, v))
            }
            _ => candle_core::bail!("the moments do not fit the rule"),
        };
        Ok(())
    }
}

/// A piece of a parameter and its gradient, and of its two moments.
type Piece<'a> = ((&'a mut [f32], &'a [f32]), (&'a mut [f32], &'a mut [f32]));

/// Replaces every (p, m, v) by `rule(p, g, m, v)`, on all threads where it is worth it. Returns the sums of the squares
/// of the changes and of the old values. The rule is a copy with its constants, so that the compiler makes vectors of it.
fn sweep(
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    rule: impl Fn(f32, f32, f32, f32) -> (f32, f32, f32) + Copy + Sync + Send,
) -> (f64, f64) {
    let piece = move |((p, g), (m, v)): Piece| {
        let (mut changed, mut size) = ([0f32; LANES], [0f32; LANES]);
        let ((p, p_rest), (g, g_rest)) = (p.as_chunks_mut::<LANES>(), g.as_chunks::<LANES>());
        let ((m, m_rest), (v, v_rest)) = (m.as_chunks_mut::<LANES>(), v.as_chunks_mut::<LANES>());
        ops::wide(|| {
            for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                chunk(rule, (p, g, m, v), &mut changed, &mut size);
            }
        });
        for (i, (((p, g), m), v)) in p_rest.iter_mut().zip(g_rest).zip(m_rest).zip(v_rest).enumerate() {
            let old = *p;
            (*p, *m, *v) = rule(old, *g, *m, *v);
            changed[i] += (*p - old) * (*p - old);
            size[i] += old * old;
        }
        (sum_lanes(&changed), sum_lanes(&size))
    };
    let add = |a: (f64, f64), b: (f64, f64)| (a.0 + b.0, a.1 + b.1);
    if p.len() <= 2 * PIECE {
        let pieces = p.chunks_mut(PIECE).zip(g.chunks(PIECE)).zip(m.chunks_mut(PIECE).zip(v.chunks_mut(PIECE)));
        return pieces.map(piece).fold((0.0, 0.0), add);
    }
    let left = p.par_chunks_mut(PIECE).zip(g.par_chunks(PIECE));
    let sums: Vec<(f64, f64)> = left.zip(m.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE))).map(piece).collect();
    sums.into_iter().fold((0.0, 0.0), add)
}

type Chunk = [f32; LANES];

/// The update of one register's numbers.
#[inline(always)]
fn chunk(
    rule: impl Fn(f32, f32, f32, f32) -> (f32, f32, f32) + Copy,
    (p, g, m, v): (&mut Chunk, &Chunk, &mut Chunk, &mut Chunk),
    changed: &mut Chunk,
    size: &mut Chunk,
) {
    let (old, grads, first, second) = (*p, *g, *m, *v);
    let (mut new, mut new_first, mut new_second) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
    for i in 0..LANES {
        (new[i], new_first[i], new_second[i]) = rule(old[i], grads[i], first[i], second[i]);
        changed[i] += (new[i] - old[i]) * (new[i] - old[i]);
        size[i] += old[i] * old[i];
    }
    (*p, *m, *v) = (new, new_first, new_second);
}

fn sum_lanes(lanes: &[f32; LANES]) -> f64 {
    lanes.iter().map(|&x| f64::from(x)).sum()
}

/// Whether parameters are shared out among threads: a device has one queue of work, which one thread fills, and little
/// work is done before another thread is awake.
fn shared_out(grads: &[Tensor]) -> bool {
    grads.first().is_some_and(|grad| grad.device().is_cpu()) && grads.iter().map(Tensor::elem_count).sum::<usize>() > 4 * PIECE
}

/// The norm of all gradients together, summed in f64 in an order that does not depend on threads.
pub fn global_norm(grads: &[Tensor]) -> Result<f64, TrainError> {
    if grads.first().is_some_and(|grad| !grad.device().is_cpu()) {
        return on_device(grads).map_err(model);
    }
    let sums: candle_core::Result<Vec<f64>> =
        if shared_out(grads) { grads.par_iter().map(squares).collect() } else { grads.iter().map(squares).collect() };
    let sums = sums.map_err(model)?;
    Ok(sums.iter().sum::<f64>().sqrt())
}

/// All sums are added up on the device: each number that is read back waits for everything before it.
fn on_device(grads: &[Tensor]) -> candle_core::Result<f64> {
    let sums: Vec<Tensor> = grads.iter().map(|g| g.to_dtype(DType::F32)?.sqr()?.sum_all()).collect::<Result<_, _>>()?;
    let sum = Tensor::stack(&sums, 0)?.sum_all()?.to_scalar::<f32>()?;
    Ok(f64::from(sum).sqrt())
}

/// What gradients are multiplied with so that their norm is at most `clip` (0 clips nothing), as
/// torch.nn.utils.clip_grad_norm_ does.
pub fn clip_scale(norm: f64, clip: f64) -> f64 {
    if clip > 0.0 { (clip / (norm + CLIP_EPS)).min(1.0) } else { 1.0 }
}

/// Σ x² of a gradient, in an order that does not depend on threads.
pub(super) fn squares(grad: &Tensor) -> candle_core::Result<f64> {
    let grad = grad.contiguous()?;
    let (storage, layout) = grad.storage_and_layout();
    if let (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) = (&*storage, layout.contiguous_offsets()) {
        let piece = |values: &[f32]| {
            let mut lanes = [0f64; LANES];
            let (whole, rest) = values.as_chunks::<LANES>();
            ops::wide(|| {
                for chunk in whole {
                    for i in 0..LANES {
                        lanes[i] += f64::from(chunk[i]) * f64::from(chunk[i]);
                    }
                }
            });
            for (lane, &x) in lanes.iter_mut().zip(rest) {
                *lane += f64::from(x) * f64::from(x);
            }
            lanes.iter().sum::<f64>()
        };
        let values = &values[from..to];
        if values.len() <= 2 * PIECE {
            return Ok(values.chunks(PIECE).map(piece).sum());
        }
        let sums: Vec<f64> = values.par_chunks(PIECE).map(piece).collect();
        return Ok(sums.into_iter().sum());
    }
    drop(storage);
    grad.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>().map(f64::from)
}

/// Sums the gradients of micro-batches and of lanes.
#[derive(Default)]
pub struct Accumulator {
    sums: Vec<Tensor>,
}

impl Accumulator {
    /// Adds gradients, in the order of the parameters. The first ones are summed into where they stand.
    pub fn add(&mut self, grads: Vec<Tensor>) -> Result<(), TrainError> {
        if self.sums.is_empty() {
            // Two parameters whose gradients are one tensor must not be added to twice.
            let mut seen = HashSet::new();
            let own = |grad: Tensor| if seen.insert(place(&grad)) { Ok(grad) } else { grad.copy() };
            self.sums = grads.into_iter().map(own).collect::<Result<_, _>>().map_err(model)?;
            return Ok(());
        }
        let sums = std::mem::take(&mut self.sums);
        let one = |(sum, grad): (Tensor, Tensor)| added(sum, &grad);
        let all: candle_core::Result<_> = if shared_out(&grads) {
            sums.into_par_iter().zip(grads).map(one).collect()
        } else {
            sums.into_iter().zip(grads).map(one).collect()
        };
        self.sums = all.map_err(model)?;
        Ok(())
    }

    pub fn take(&mut self) -> Vec<Tensor> {
        std::mem::take(&mut self.sums)
    }
}

/// a + b, in a's own place where that can be: a must be nobody else's.
pub(super) fn added(a: Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    let host = a.device().is_cpu() && a.dtype() == DType::F32 && a.is_contiguous();
    if !host {
        return &a + b;
    }
    a.inplace_op2(&b.contiguous()?, &Add)?;
    Ok(a)
}

/// Where the numbers of a tensor stand in memory, on the CPU.
fn place(tensor: &Tensor) -> (usize, usize) {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => (values.as_ptr() as usize, 0),
        // Elsewhere sums are new tensors: any number that no other tensor has will do.
        _ => (layout.start_offset(), std::ptr::from_ref(tensor) as usize),
    }
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add gradients"
    }

    fn cpu_fwd(&self, dst: &mut CpuStorage, dst_l: &Layout, src: &CpuStorage, src_l: &Layout) -> candle_core::Result<()> {
        let (Some((d0, d1)), Some((s0, s1))) = (dst_l.contiguous_offsets(), src_l.contiguous_offsets()) else {
            candle_core::bail!("gradients are summed contiguous")
        };
        let (CpuStorage::F32(dst), CpuStorage::F32(src)) = (dst, src) else { candle_core::bail!("gradients are summed in f32") };
        dst[d0..d1].par_chunks_mut(PIECE).zip(src[s0..s1].par_chunks(PIECE)).for_each(|(dst, src)| {
            dst.iter_mut().zip(src).for_each(|(d, s)| *d += s);
        });
        Ok(())
    }
}

fn model(error: candle_core::Error) -> TrainError {
    TrainError::Model(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn params(values: &[f32]) -> (Vec<Param>, Var) {
        let var = Var::from_vec(values.to_vec(), values.len(), &Device::Cpu).unwrap();
        (vec![Param { name: "w".into(), var: var.clone(), kind: Kind::Matrix }], var)
    }

    /// Long enough for several pieces and a rest that fills no lane.
    fn numbers(seed: u64, n: usize) -> Vec<f32> {
        let mut stream = crate::rng::Stream::new(seed, "optim");
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    #[test]
    fn the_fused_pass_and_the_composed_one_agree() {
        for rule in [Rule::AdamW { betas: [0.9, 0.99], eps: 1e-8 }, Rule::Sgd { momentum: 0.9 }, Rule::Sgd { momentum: 0.0 }] {
            let n = 3 * PIECE + 5;
            let (params, var) = params(&numbers(1, n));
            let mut optimizer = Optimizer::new(rule, 0.1, false, &params).unwrap();
            let other = Var::from_vec(numbers(1, n), n, &Device::Cpu).unwrap();
            let mut moments: Vec<Tensor> = rule.moments().iter().map(|_| other.zeros_like().unwrap()).collect();
            for t in 1..4 {
                let grad = Tensor::from_vec(numbers(t + 1, n), n, &Device::Cpu).unwrap();
                let change = optimizer.step(std::slice::from_ref(&grad), 1e-2, 0.5).unwrap();
                assert!(change.ratio > 0.0);
                Step::new(rule, 1e-2, 0.5, 0.1, t).composed(&other, &grad, &mut moments).unwrap();
            }
            let (a, b) = (var.to_vec1::<f32>().unwrap(), other.to_vec1::<f32>().unwrap());
            let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{rule:?}: {worst}");
        }
    }

    #[test]
    fn the_norm_is_the_same_whole_and_in_a_view() {
        let values = numbers(3, 70_003);
        let exact = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        let tensor = Tensor::from_vec(values, 70_003, &Device::Cpu).unwrap();
        let halves = [tensor.narrow(0, 0, 100).unwrap(), tensor.narrow(0, 100, 69_903).unwrap()];
        assert!((global_norm(&[tensor]).unwrap() - exact).abs() < 1e-9 * exact);
        assert!((global_norm(&halves).unwrap() - exact).abs() < 1e-9 * exact);
    }

    #[test]
    fn clipping_is_torchs() {
        assert_eq!(clip_scale(0.5, 1.0), 1.0);
        assert_eq!(clip_scale(4.0, 0.0), 1.0);
        assert!((clip_scale(4.0, 1.0) - 1.0 / (4.0 + 1e-6)).abs() < 1e-15);
    }

    #[test]
    fn gradients_that_are_one_tensor_are_summed_apart() {
        let a = Tensor::from_vec(vec![1f32, 2.0], 2, &Device::Cpu).unwrap();
        let b = Tensor::from_vec(vec![5f32, 6.0], 2, &Device::Cpu).unwrap();
        let mut sum = Accumulator::default();
        sum.add(vec![a.clone(), a.clone()]).unwrap();
        sum.add(vec![b.clone(), b.clone()]).unwrap();
        for s in sum.take() {
            assert_eq!(s.to_vec1::<f32>().unwrap(), [6.0, 8.0]);
        }
        assert_eq!(b.to_vec1::<f32>().unwrap(), [5.0, 6.0]);
    }

    #[test]
    fn moments_come_back() {
        let (first_params, _) = params(&[1.0, 2.0, 3.0]);
        let rule = Rule::AdamW { betas: [0.9, 0.99], eps: 1e-8 };
        let mut first = Optimizer::new(rule, 0.0, false, &first_params).unwrap();
        let grad = Tensor::from_vec(vec![0.1f32, -0.2, 0.3], 3, &Device::Cpu).unwrap();
        first.step(std::slice::from_ref(&grad), 1e-3, 1.0).unwrap();
        let saved: BTreeMap<String, Vec<f32>> = first.moments().unwrap().into_iter().map(|m| (m.name, m.values.into_owned())).collect();
        let (second_params, second_var) = params(&first_params[0].var.to_vec1::<f32>().unwrap());
        let mut second = Optimizer::new(rule, 0.0, false, &second_params).unwrap();
        second.restore(saved.clone(), first.updates()).unwrap();
        first.step(std::slice::from_ref(&grad), 1e-3, 1.0).unwrap();
        second.step(std::slice::from_ref(&grad), 1e-3, 1.0).unwrap();
        assert_eq!(first_params[0].var.to_vec1::<f32>().unwrap(), second_var.to_vec1::<f32>().unwrap());
        let error = second.restore(BTreeMap::new(), 1).unwrap_err().to_string();
        assert!(error.contains("w.first"), "{error}");
    }
}
