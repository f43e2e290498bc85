//! Activations as products with quantised weights want them: groups of 32 with one scale, as bytes.
//! Deliberately not here: the products.

use super::layout::GROUP;
use crate::model::ops::real::{Shared, wide};
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
}

const EMPTY: Group = Group { q: [0; GROUP], scale: 0.0, sum: 0, halves: [0; 2], total: 0.0, half_totals: [0.0; 2] };

/// Adding it to a small number leaves the rounded number in the low bits: 1.5 · 2²³.
const MAGIC: f32 = 12_582_912.0;

/// Numbers that one thread turns before it is worth to ask another.
const PIECE: usize = 1 << 14;

/// Rows of numbers, whole groups each, as groups. What is not a number makes its group's scale one that is not either, so
/// that it is not lost.
pub fn quantize(team: Option<&Team>, x: &[f32]) -> Vec<Group> {
    let mut out = vec![EMPTY; x.len() / GROUP];
    let some = |(x, out): (&[f32], &mut [Group])| wide(|| x.chunks_exact(GROUP).zip(out).for_each(|(x, out)| group(x, out)));
    let pieces = x.par_chunks(PIECE).zip(out.par_chunks_mut(PIECE / GROUP));
    match team {
        _ if x.len() <= PIECE => some((x, &mut out)),
        None => pieces.for_each(some),
        Some(team) => {
            let to = Shared(out.as_mut_ptr());
            team.run(x.len().div_ceil(PIECE), &|i| {
                let x = &x[i * PIECE..x.len().min((i + 1) * PIECE)];
                // SAFETY: each piece has its own groups, which `out` holds.
                some((x, unsafe { std::slice::from_raw_parts_mut(to.at(i * PIECE / GROUP), x.len() / GROUP) }));
            });
        }
    }
    out
}

#[inline(always)]
fn group(x: &[f32], out: &mut Group) {
    let mut most = [0f32; 16];
    let mut broken = [0f32; 16];
    for x in x.chunks_exact(16) {
        for i in 0..16 {
            let size = x[i].abs();
            most[i] = if size > most[i] { size } else { most[i] };
            broken[i] += x[i] * 0.0;
        }
    }
    let most = most.iter().fold(0f32, |a, &b| if b > a { b } else { a });
    let broken: f32 = broken.iter().sum();
    let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
    for (q, &x) in out.q.iter_mut().zip(x) {
        *q = ((x * inverse + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32) as i8;
    }
    out.scale = most / 127.0 + broken;
    for (half, q) in out.halves.iter_mut().zip(out.q.chunks_exact(16)) {
        *half = q.iter().map(|&q| i32::from(q)).sum();
    }
    out.sum = out.halves[0] + out.halves[1];
    out.half_totals = out.halves.map(|sum| out.scale * sum as f32);
    out.total = out.scale * out.sum as f32;
}
