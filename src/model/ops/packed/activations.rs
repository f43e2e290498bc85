//! Activations as products with quantised weights want them: groups of 32 with one scale, as bytes. A group in which one
//! number far outweighs all others would lose those; what is left of it after the first bytes is kept as a second group.
//! Deliberately not here: the products.

use super::layout::GROUP;
use crate::model::ops::real::Shared;
use crate::model::ops::team::Team;
use rayon::prelude::*;

/// 32 numbers: number i is about `scale · q[i]`. A line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Group {
    pub q: [i8; GROUP],
    pub scale: f32,
    /// Σ q.
    pub sum: i32,
    /// Σ q of the first 16 and of the last.
    pub halves: [i32; 2],
    /// The same sums times the scale.
    pub total: f32,
    pub half_totals: [f32; 2],
    /// Not 0 where there is more of it.
    pub more: u32,
}

const EMPTY: Group = Group { q: [0; GROUP], scale: 0.0, sum: 0, halves: [0; 2], total: 0.0, half_totals: [0.0; 2], more: 0 };

/// Rows of activations.
#[derive(Debug, Default)]
pub struct Groups {
    pub first: Vec<Group>,
    /// What the first ones leave of the groups that have more; zeros of the others.
    pub rest: Vec<Group>,
}

/// Adding it to a small number leaves the rounded number in the low bits: 1.5 · 2²³.
const MAGIC: f32 = 12_582_912.0;

/// Numbers that one thread turns before it is worth to ask another.
const PIECE: usize = 1 << 14;

/// Rows of numbers, whole groups each, as groups. What is not a number makes its group's scale one that is not either, so
/// that it is not lost.
pub fn quantize(team: Option<&Team>, x: &[f32]) -> Groups {
    let n = x.len() / GROUP;
    let mut out = Groups { first: vec![EMPTY; n], rest: vec![EMPTY; n] };
    let some = |x: &[f32], first: &mut [Group], rest: &mut [Group]| {
        // A closure that is handed to `wide` is not always compiled for its vectors.
        #[cfg(target_arch = "x86_64")]
        if super::x86::has_avx512() {
            // SAFETY: the instructions were just found.
            return unsafe { all_avx512(x, first, rest) };
        }
        all(x, first, rest);
    };
    match team {
        _ if x.len() <= PIECE => some(x, &mut out.first, &mut out.rest),
        None => {
            let groups = out.first.par_chunks_mut(PIECE / GROUP).zip(out.rest.par_chunks_mut(PIECE / GROUP));
            x.par_chunks(PIECE).zip(groups).for_each(|(x, (first, rest))| some(x, first, rest));
        }
        Some(team) => {
            let (first, rest) = (Shared(out.first.as_mut_ptr()), Shared(out.rest.as_mut_ptr()));
            team.run(x.len().div_ceil(PIECE), &|i| {
                let (x, at) = (&x[i * PIECE..x.len().min((i + 1) * PIECE)], i * PIECE / GROUP);
                let own = |to: Shared<Group>| {
                    // SAFETY: each piece has its own groups, which both vectors hold.
                    unsafe { std::slice::from_raw_parts_mut(to.at(at), x.len() / GROUP) }
                };
                some(x, own(first), own(rest));
            });
        }
    }
    out
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn all_avx512(x: &[f32], first: &mut [Group], rest: &mut [Group]) {
    all(x, first, rest);
}

#[inline(always)]
fn all(x: &[f32], first: &mut [Group], rest: &mut [Group]) {
    for (x, (first, rest)) in x.chunks_exact(GROUP).zip(first.iter_mut().zip(rest)) {
        both(x, first, rest);
    }
}

#[inline(always)]
fn both(x: &[f32], first: &mut Group, rest: &mut Group) {
    let (low, high) = x.split_at(16);
    let mut most = [0f32; 16];
    let mut broken = [0f32; 16];
    let mut energy = [0f32; 16];
    for i in 0..16 {
        let (a, b) = (low[i].abs(), high[i].abs());
        most[i] = if a > b { a } else { b };
        broken[i] = (low[i] + high[i]) * 0.0;
        energy[i] = low[i] * low[i] + high[i] * high[i];
    }
    let most = halved(most, |a, b| if a > b { a } else { b });
    let energy = halved(energy, |a, b| a + b);
    let scale = most / 127.0 + halved(broken, |a, b| a + b);
    bytes(x, if most > 0.0 { 127.0 / most } else { 0.0 }, scale, first);
    // One number has twice the energy of all others together.
    if most * most * 3.0 > energy * 2.0 && scale > 0.0 {
        first.more = 1;
        let mut left = [0f32; GROUP];
        for ((left, &x), &q) in left.iter_mut().zip(x).zip(&first.q) {
            *left = x - scale * f32::from(q);
        }
        // What is left is half a step at most, and 127 steps of the second bytes.
        bytes(&left, 254.0 / scale, scale / 254.0, rest);
    }
}

#[inline(always)]
fn bytes(x: &[f32], inverse: f32, scale: f32, out: &mut Group) {
    let mut whole = [0i32; GROUP];
    for (q, &x) in whole.iter_mut().zip(x) {
        // What is not a number gives any byte, and a scale that says so.
        *q = i32::from(((x * inverse + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32) as i8);
    }
    for (q, &whole) in out.q.iter_mut().zip(&whole) {
        *q = whole as i8;
    }
    for (half, q) in out.halves.iter_mut().zip(whole.chunks_exact(16)) {
        let mut lanes = [0i32; 16];
        lanes.copy_from_slice(q);
        *half = halved(lanes, |a, b| a + b);
    }
    out.scale = scale;
    out.sum = out.halves[0] + out.halves[1];
    out.half_totals = out.halves.map(|sum| scale * sum as f32);
    out.total = scale * out.sum as f32;
}

/// Sixteen numbers to one, by halves, so that none waits for all before it.
#[inline(always)]
fn halved<T: Copy>(mut x: [T; 16], f: impl Fn(T, T) -> T) -> T {
    let mut step = 8;
    while step > 0 {
        for i in 0..step {
            x[i] = f(x[i], x[i + step]);
        }
        step /= 2;
    }
    x[0]
}
