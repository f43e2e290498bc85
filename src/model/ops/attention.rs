//! Causal attention, fused: block by block over the queries, without the masked half, from the layout in which the
//! projections leave queries, keys and values. Probabilities are computed again for the backward pass from one kept
//! number a row (Dao et al. 2022, FlashAttention; here whole rows of keys fit into the cache, so no running maximum).
//! Deliberately not here: positions (`rotary`) and the cache's growth.

mod cached;
mod lines;

pub use cached::{Held, attention_cached};

use super::graph::Op;
use super::real::{Matrix, Real, Shared, by_dtype, has_tiles, largest, small, sum2, whole, wide};
use super::tiles;
use candle_core::{Result, Tensor};
use rayon::prelude::*;
use std::sync::OnceLock;

/// What of attention differs from family to family, and from layer to layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    pub heads: usize,
    pub kv_heads: usize,
    /// What scores are multiplied with; 1 / √d where none is said.
    pub scale: Option<f64>,
    /// Keys that a query sees at most, its own among them (Beltagy et al. 2020, Longformer).
    pub window: Option<usize>,
    /// Scores become cap · tanh(score / cap) (Gemma 2).
    pub cap: Option<f64>,
}

impl Form {
    pub fn new(heads: usize, kv_heads: usize) -> Self {
        Self { heads, kv_heads, scale: None, window: None, cap: None }
    }
    /// Whether there is nothing special about it.
    pub fn plain(&self) -> bool {
        (self.scale, self.window, self.cap) == (None, None, None)
    }
    fn factor(&self, d: usize) -> f64 {
        self.scale.unwrap_or(1.0 / (d as f64).sqrt())
    }
}

/// Arguments: q (batch, time, heads · d), k and v (batch, keys, kv_heads · d), of which the last query sees all keys;
/// or, `packed`, one (batch, time, 3 · heads · d). Gives (batch, time, heads · d).
pub struct Attention {
    form: Form,
    packed: bool,
    /// log Σ exp of each row of scores: (batch, heads, time).
    lse: OnceLock<Vec<f64>>,
}

/// Queries in a block: two rows of tiles, or as many as pay for packing.
fn block<T: Real>() -> usize {
    if has_tiles::<T>() { 2 * tiles::ROWS } else { 64 }
}
/// Queries below which keys are read where they stand.
const FEW: usize = 8;
/// Multiplications below which one thread is faster.
const SERIAL: usize = 1 << 16;

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    time: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    d: usize,
}

/// Where head 0 of the first token stands, and the way from batch to batch and from token to token. Heads stand
/// side by side.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    batch: usize,
    token: usize,
}

impl Place {
    fn of(x: &Tensor) -> Self {
        let (layout, stride) = (x.layout(), x.stride());
        Self { start: layout.start_offset(), batch: stride[0], token: stride[1] }
    }
    fn packed(width: usize, time: usize, part: usize, start: usize) -> Self {
        Self { start: start + part * width, batch: 3 * width * time, token: 3 * width }
    }
    fn row(&self, b: usize, token: usize, head: usize, d: usize) -> usize {
        self.start + b * self.batch + token * self.token + head * d
    }
}

/// The last dimension has to lie in one piece; the others may have any strides.
fn rows_in_one_piece(x: &Tensor) -> Result<Tensor> {
    if x.stride().last() == Some(&1) { Ok(x.clone()) } else { x.contiguous() }
}

impl Attention {
    pub fn new(form: Form) -> Self {
        Self { form, packed: false, lse: OnceLock::new() }
    }
    pub fn packed(form: Form) -> Self {
        Self { form, packed: true, lse: OnceLock::new() }
    }

    /// Queries, keys and values with their places. Packed, all three are one tensor.
    fn inputs(&self, args: &[Tensor]) -> Result<(Sizes, [Tensor; 3], [Place; 3])> {
        let Form { heads, kv_heads, .. } = self.form;
        let q = rows_in_one_piece(&args[0])?;
        let (batch, time, width) = q.dims3()?;
        if self.packed {
            let (q, width) = (q.contiguous()?, width / 3);
            let start = q.layout().start_offset();
            let sizes = Sizes { batch, time, keys: time, heads, kv_heads: heads, d: width / heads };
            self.check(sizes, 3 * width == args[0].dim(2)? && width.is_multiple_of(heads), args)?;
            return Ok((sizes, [q.clone(), q.clone(), q], [0, 1, 2].map(|i| Place::packed(width, time, i, start))));
        }
        let (k, v) = (rows_in_one_piece(&args[1])?, rows_in_one_piece(&args[2])?);
        let keys = k.dim(1)?;
        let sizes = Sizes { batch, time, keys, heads, kv_heads, d: width / heads };
        let fits = width.is_multiple_of(heads)
            && heads.is_multiple_of(kv_heads)
            && keys >= time
            && k.dims() == [batch, keys, kv_heads * sizes.d]
            && v.dims() == k.dims();
        self.check(sizes, fits, args)?;
        let places = [Place::of(&q), Place::of(&k), Place::of(&v)];
        Ok((sizes, [q, k, v], places))
    }
    fn check(&self, sizes: Sizes, fits: bool, args: &[Tensor]) -> Result<()> {
        if !fits || sizes.d == 0 {
            let shapes: Vec<_> = args.iter().map(Tensor::dims).collect();
            candle_core::bail!("attention of {} heads and {} key heads over {shapes:?}", self.form.heads, self.form.kv_heads);
        }
        Ok(())
    }
}

/// Runs the tasks 0..n, over all threads where the work pays for it.
fn tasks(n: usize, sizes: Sizes, f: impl Fn(usize) + Send + Sync) {
    if sizes.batch * sizes.heads * sizes.time * sizes.keys * sizes.d < SERIAL {
        (0..n).for_each(f);
    } else {
        (0..n).into_par_iter().for_each(f);
    }
}

/// The inputs of one pass over one kind of number.
struct Kernel<'a, T> {
    sizes: Sizes,
    data: [&'a [T]; 3],
    places: [Place; 3],
    scores: Scores<T>,
}

/// How scores become weights.
#[derive(Clone, Copy)]
struct Scores<T> {
    scale: T,
    cap: Option<T>,
    window: Option<usize>,
}

impl<T: Real> Scores<T> {
    fn of(form: &Form, d: usize) -> Self {
        Self { scale: T::of(form.factor(d)), cap: form.cap.map(T::of), window: form.window }
    }
    /// The first key that a query sees which sees those before `end`.
    fn first(&self, end: usize) -> usize {
        self.window.map_or(0, |window| end.saturating_sub(window))
    }
}

impl<T: Real> Kernel<'_, T> {
    /// Rows of a head of queries (0), keys (1) or values (2), from `token` on.
    fn input(&self, which: usize, b: usize, token: usize, head: usize) -> Matrix<*const T> {
        let place = &self.places[which];
        let at = self.data[which].as_ptr().wrapping_add(place.row(b, token, head, self.sizes.d));
        Matrix { at, rows: place.token, cols: 1 }
    }

    /// A head of keys (1) or values (2) with columns for rows: a copy in `room` where products want rows in one piece.
    fn turned(&self, which: usize, b: usize, head: usize, room: &mut Vec<T>) -> Matrix<*const T> {
        let (keys, d, source) = (self.sizes.keys, self.sizes.d, self.input(which, b, 0, head));
        // For a few queries, as when one token is generated, turning the keys would take longer than the product itself.
        if !has_tiles::<T>() || self.sizes.time < FEW {
            return source.t();
        }
        room.resize(d * row_of(keys), T::of(0.0));
        let from = Matrix { at: source.at.cast::<f32>(), rows: source.rows, cols: 1 };
        // SAFETY: T is f32 where there are tiles; a head has `keys` rows of d numbers, and `room` was just made for them.
        unsafe { tiles::transposed((keys, d), from, room.as_mut_ptr().cast::<f32>(), row_of(keys)) };
        Matrix { at: room.as_ptr(), rows: row_of(keys), cols: 1 }
    }

    /// One head of one batch row: writes its part of `out`, and its part of `lse`.
    fn forward(&self, (b, head): (usize, usize), out: Shared<T>, lse: &mut [f64]) {
        let Sizes { time, keys, heads, kv_heads, d, .. } = self.sizes;
        let (before, kv, row) = (keys - time, head / (heads / kv_heads), row_of(keys));
        let mut scores = vec![T::of(0.0); block::<T>().min(time) * row];
        let mut room = Vec::new();
        let keys_turned = self.turned(1, b, kv, &mut room);
        for i0 in (0..time).step_by(block::<T>()) {
            let i1 = (i0 + block::<T>()).min(time);
            // Keys that some query of the block sees.
            let from = self.scores.first(before + i0 + 1);
            let (n, seen) = (i1 - i0, before + i1 - from);
            let to = Matrix { at: scores.as_mut_ptr(), rows: row, cols: 1 };
            // SAFETY: shapes were checked against the layouts; `scores` is this task's own and long enough.
            unsafe { small((n, seen, d), to, false, self.input(0, b, i0, head), columns(keys_turned, from)) };
            wide(|| {
                for (i, scores) in scores.chunks_exact_mut(row).enumerate().take(n) {
                    let end = before + i0 + i + 1;
                    lse[i0 + i] = softmax_row(&mut scores[..seen], (self.scores.first(end) - from, end - from), self.scores);
                }
            });
            let to = Matrix { at: out.at((b * time + i0) * heads * d + head * d), rows: heads * d, cols: 1 };
            let lhs = Matrix { at: scores.as_ptr(), rows: row, cols: 1 };
            // SAFETY: these columns of these rows belong to this head alone.
            unsafe { small((n, d, seen), to, false, lhs, self.input(2, b, from, kv)) };
        }
    }
}

/// Places for a row of scores: whole registers.
fn row_of(keys: usize) -> usize {
    keys.next_multiple_of(16)
}

/// A matrix from its column `from` on.
fn columns<T>(matrix: Matrix<*const T>, from: usize) -> Matrix<*const T> {
    Matrix { at: matrix.at.wrapping_add(from * matrix.cols), ..matrix }
}

/// Turns a row of scores into probabilities over the keys from `first` to `end`, zeros elsewhere; returns log Σ exp.
#[inline(always)]
fn softmax_row<T: Real>(row: &mut [T], (first, end): (usize, usize), scores: Scores<T>) -> f64 {
    let (row, masked) = row.split_at_mut(end);
    masked.fill(T::of(0.0));
    let (masked, row) = row.split_at_mut(first);
    masked.fill(T::of(0.0));
    let mut scale = scores.scale;
    if let Some(cap) = scores.cap {
        row.iter_mut().for_each(|x| *x = cap * (*x * scale / cap).tanh());
        scale = T::of(1.0);
    }
    let top = largest(row) * scale;
    for x in row.iter_mut() {
        *x = (*x * scale - top).exp();
    }
    let sum = sum2(row, row, |x, _| x);
    let inverse = T::of(1.0) / sum;
    for x in row.iter_mut() {
        *x *= inverse;
    }
    (top + sum.ln()).to_f64()
}

/// Where gradients go: the same shapes as the inputs, contiguous.
struct Grads<T> {
    to: [Shared<T>; 3],
    places: [Place; 3],
}

impl<T: Real> Grads<T> {
    fn rows(&self, which: usize, b: usize, token: usize, head: usize, d: usize) -> Matrix<*mut T> {
        let place = &self.places[which];
        Matrix { at: self.to[which].at(place.row(b, token, head, d)), rows: place.token, cols: 1 }
    }
}

impl<T: Real> Kernel<'_, T> {
    /// All query heads of one key head of one batch row, so that no two tasks add to the same keys.
    fn backward(&self, (b, kv): (usize, usize), out: &[T], grad: &[T], lse: &[f64], to: &Grads<T>) {
        let Sizes { time, keys, heads, kv_heads, d, .. } = self.sizes;
        let (before, row, group) = (keys - time, row_of(keys), heads / kv_heads);
        let places = block::<T>().min(time) * row;
        let (mut p, mut ds) = (vec![T::of(0.0); places], vec![T::of(0.0); places]);
        let (mut keys_room, mut values_room) = (Vec::new(), Vec::new());
        let (keys_turned, values_turned) = (self.turned(1, b, kv, &mut keys_room), self.turned(2, b, kv, &mut values_room));
        let blocks = (0..time).step_by(block::<T>()).map(|i0| (i0, (i0 + block::<T>()).min(time)));
        for (head, (i0, i1)) in (kv * group..(kv + 1) * group).flat_map(|head| blocks.clone().map(move |block| (head, block))) {
            let from = self.scores.first(before + i0 + 1);
            let (n, seen) = (i1 - i0, before + i1 - from);
            let at = (b * time + i0) * heads * d + head * d;
            let d_out = Matrix { at: grad.as_ptr().wrapping_add(at), rows: heads * d, cols: 1 };
            let own = |s: &mut [T]| Matrix { at: s.as_mut_ptr(), rows: row, cols: 1 };
            // SAFETY: `p` and `ds` are this task's own; grad has the shape of the output.
            unsafe {
                small((n, seen, d), own(&mut p), false, self.input(0, b, i0, head), columns(keys_turned, from));
                small((n, seen, d), own(&mut ds), false, d_out, columns(values_turned, from));
            }
            wide(|| {
                for (i, (p, ds)) in p.chunks_exact_mut(row).zip(ds.chunks_exact_mut(row)).enumerate().take(n) {
                    let row = at + i * heads * d;
                    // Σ p · dp = Σ out · grad: the output is already at hand.
                    let delta = sum2(&out[row..row + d], &grad[row..row + d], |a, b| a * b);
                    let lse = T::of(lse[(b * heads + head) * time + i0 + i]);
                    let end = before + i0 + i + 1;
                    let range = (self.scores.first(end) - from, end - from);
                    scores_backward(&mut p[..seen], &mut ds[..seen], range, self.scores, (lse, delta));
                }
            });
            let rows = |s: &[T]| Matrix { at: s.as_ptr(), rows: row, cols: 1 };
            // SAFETY: rows of this query head, and keys and values of this key head, belong to this task alone.
            unsafe {
                small((n, d, seen), to.rows(0, b, i0, head, d), false, rows(&ds), self.input(1, b, from, kv));
                small((seen, d, n), to.rows(1, b, from, kv, d), true, rows(&ds).t(), self.input(0, b, i0, head));
                small((seen, d, n), to.rows(2, b, from, kv, d), true, rows(&p).t(), d_out);
            }
        }
    }
}

/// p: scores to probabilities by their kept log Σ exp; ds: from the gradient of p to that of the unscaled scores. Of keys
/// from `first` to `end` alone.
#[inline(always)]
fn scores_backward<T: Real>(p: &mut [T], ds: &mut [T], (first, end): (usize, usize), scores: Scores<T>, (lse, delta): (T, T)) {
    for x in [&mut *p, &mut *ds] {
        x[..first].fill(T::of(0.0));
        x[end..].fill(T::of(0.0));
    }
    let (scale, pairs) = (scores.scale, p[first..end].iter_mut().zip(&mut ds[first..end]));
    match scores.cap {
        None => pairs.for_each(|(p, ds)| {
            *p = (*p * scale - lse).exp();
            *ds = *p * (*ds - delta) * scale;
        }),
        Some(cap) => pairs.for_each(|(p, ds)| {
            let t = (*p * scale / cap).tanh();
            *p = (cap * t - lse).exp();
            *ds = *p * (*ds - delta) * (T::of(1.0) - t * t) * scale;
        }),
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }
    fn keeps_result(&self) -> bool {
        true
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        let (sizes, tensors, places) = self.inputs(args)?;
        let Sizes { batch, time, heads, d, .. } = sizes;
        let storages = tensors.each_ref().map(|t| t.storage_and_layout().0);
        let mut lse = vec![0f64; batch * heads * time];
        let out = by_dtype!(tensors[0].dtype(), T => {
            let data = [whole::<T>(&storages[0])?, whole::<T>(&storages[1])?, whole::<T>(&storages[2])?];
            let kernel = Kernel { sizes, data, places, scores: Scores::of(&self.form, d) };
            let n = batch * time * heads * d;
            let mut out: Vec<T> = Vec::with_capacity(n);
            let (shared, kept) = (Shared(out.as_mut_ptr()), Shared(lse.as_mut_ptr()));
            tasks(batch * heads, sizes, |task| {
                // SAFETY: each task has a row of `lse` of its own.
                let lse = unsafe { std::slice::from_raw_parts_mut(kept.at(task * time), time) };
                kernel.forward((task / heads, task % heads), shared, lse);
            });
            // SAFETY: there is room for n numbers, and the tasks' products wrote all rows of all heads.
            unsafe { out.set_len(n) };
            Tensor::from_vec(out, (batch, time, heads * d), tensors[0].device())?
        });
        let _ = self.lse.set(lse);
        Ok(out)
    }

    fn backward(&self, args: &[Tensor], out: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (sizes, tensors, places) = self.inputs(args)?;
        let Sizes { batch, time, keys, heads, kv_heads, d } = sizes;
        let Some(lse) = self.lse.get() else { candle_core::bail!("attention's backward pass came before its forward pass") };
        let (out, grad) = (out.contiguous()?, grad.contiguous()?);
        let storages = tensors.each_ref().map(|t| t.storage_and_layout().0);
        let ((so, lo), (sg, lg)) = (out.storage_and_layout(), grad.storage_and_layout());
        by_dtype!(grad.dtype(), T => {
            let data = [whole::<T>(&storages[0])?, whole::<T>(&storages[1])?, whole::<T>(&storages[2])?];
            let kernel = Kernel { sizes, data, places, scores: Scores::of(&self.form, d) };
            let (out, g) = (super::real::view::<T>(&so, lo)?, super::real::view::<T>(&sg, lg)?);
            let (width, kv_width) = (heads * d, kv_heads * d);
            let (sizes3, widths) = if self.packed { (vec![3 * width * time], [0; 3]) } else { (vec![width * time, kv_width * keys, kv_width * keys], [width, kv_width, kv_width]) };
            let mut room: Vec<Vec<T>> = sizes3.iter().map(|n| vec![T::of(0.0); n * batch]).collect();
            let to = if self.packed {
                let all = Shared(room[0].as_mut_ptr());
                Grads { to: [all; 3], places: [0, 1, 2].map(|i| Place::packed(width, time, i, 0)) }
            } else {
                let place = |i: usize, rows: usize| Place { start: 0, batch: rows * widths[i], token: widths[i] };
                let to = [Shared(room[0].as_mut_ptr()), Shared(room[1].as_mut_ptr()), Shared(room[2].as_mut_ptr())];
                Grads { to, places: [place(0, time), place(1, keys), place(2, keys)] }
            };
            tasks(batch * kv_heads, sizes, |task| kernel.backward((task / kv_heads, task % kv_heads), out, g, lse, &to));
            room.into_iter().zip(args).map(|(v, a)| Ok(Some(Tensor::from_vec(v, a.shape(), a.device())?))).collect()
        })
    }
}
