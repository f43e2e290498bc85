//! Products of packed tiles with rows of activations, written once for all instructions and types. The order of every sum
//! depends on the weight alone: a row's result is the same whatever rows stand beside it, and on any number of threads.
//! Deliberately not here: threads, and whose results go where (`mod`).

use super::activations::{Group, Groups};
use super::lanes::{Lanes, Plain};
use super::layout::{self, Form, GROUP, ROWS};
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::gguf::blocks::Type;

/// Instructions that products can be computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

impl Instructions {
    /// All that this processor has, the fastest first.
    pub fn all() -> Vec<Self> {
        #[allow(unused_mut)] // Other processors have the plain ones alone.
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if x86::has_avx512() {
                all.push(Self::Avx512);
            }
            if x86::has_avx2() {
                all.push(Self::Avx2);
            }
        }
        all.push(Self::Plain);
        all
    }
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if x86::has_avx512() {
                return Self::Avx512;
            }
            if x86::has_avx2() {
                return Self::Avx2;
            }
        }
        Self::Plain
    }
}

/// What tiles are multiplied with.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// `groups` of each row after the other.
    Groups(&'a Groups),
    /// `cols` numbers of each row after the other; an even number.
    Numbers(&'a [f32]),
}

/// Some tiles of a weight, and where their products go.
pub struct Job<'a> {
    pub kind: Type,
    /// Columns, with those that make pairs whole.
    pub cols: usize,
    /// Whole tiles.
    pub tiles: &'a [u8],
    /// Rows of the last tile that are there.
    pub last: usize,
    pub input: Input<'a>,
    /// Rows of activations.
    pub n: usize,
    /// The result of activation row i and row j of the tiles goes to `out + i · stride + j`.
    pub out: *mut f32,
    pub stride: usize,
    /// Whether it is added to what stands there.
    pub add: bool,
}

/// Computes a job.
///
/// # Safety
/// The processor has the instructions; the input has n rows of `cols` columns in the form that the type needs; `tiles` are
/// whole tiles of the type and the columns; `out` is allocated (and initialised where `add`) for all rows, and nobody else
/// touches these columns of it.
pub unsafe fn run(instructions: Instructions, job: &Job) {
    // SAFETY: the caller's promise.
    unsafe {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => by_type_avx512(job),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => by_type_avx2(job),
            Instructions::Plain => by_type_plain(job),
        }
    }
}

/// A function of one set of instructions that chooses by type, with one function a type, so that each is compiled for itself.
macro_rules! by_type {
    ($by_type:ident, $lanes:ty, $(#[$features:meta])*) => {
        unsafe fn $by_type(job: &Job) {
            $(#[$features])*
            unsafe fn blocks<F: Form>(job: &Job, groups: &Groups) {
                // SAFETY: the caller's promise.
                unsafe { block_tiles::<$lanes, F>(job, groups) }
            }
            $(#[$features])*
            unsafe fn numbers<W: Number>(job: &Job, x: &[f32]) {
                // SAFETY: the caller's promise.
                unsafe { number_tiles::<$lanes, W>(job, x) }
            }
            // SAFETY: the caller's promise.
            unsafe {
                match (job.kind, job.input) {
                    (Type::F32, Input::Numbers(x)) => numbers::<F32>(job, x),
                    (Type::F16, Input::Numbers(x)) => numbers::<F16>(job, x),
                    (Type::Bf16, Input::Numbers(x)) => numbers::<Bf16>(job, x),
                    (Type::Q4_0, Input::Groups(x)) => blocks::<layout::Q4_0>(job, x),
                    (Type::Q4_1, Input::Groups(x)) => blocks::<layout::Q4_1>(job, x),
                    (Type::Q5_0, Input::Groups(x)) => blocks::<layout::Q5_0>(job, x),
                    (Type::Q5_1, Input::Groups(x)) => blocks::<layout::Q5_1>(job, x),
                    (Type::Q8_0, Input::Groups(x)) => blocks::<layout::Q8_0>(job, x),
                    (Type::Q2K, Input::Groups(x)) => blocks::<layout::Q2K>(job, x),
                    (Type::Q3K, Input::Groups(x)) => blocks::<layout::Q3K>(job, x),
                    (Type::Q4K, Input::Groups(x)) => blocks::<layout::Q4K>(job, x),
                    (Type::Q5K, Input::Groups(x)) => blocks::<layout::Q5K>(job, x),
                    (Type::Q6K, Input::Groups(x)) => blocks::<layout::Q6K>(job, x),
                    // `Packed` gives each type its form of input.
                    _ => {}
                }
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
by_type!(by_type_avx512, x86::Avx512, #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]);
#[cfg(target_arch = "x86_64")]
by_type!(by_type_avx2, x86::Avx2, #[target_feature(enable = "avx2,fma,f16c")]);
by_type!(by_type_plain, Plain,);

/// Rows of activations that are taken through all tiles of a job before the next: they and a tile stay in the cache.
const CHUNK: usize = 64;

/// Calls `$kernel::<…, T>` for `n` rows in steps of as many as the registers hold.
macro_rules! in_steps {
    ($rows:expr, $from:expr, $to:expr, $kernel:ident::<$lanes:ty, $form:ty>($first:expr, $($rest:expr),*)) => {
        let (mut i, to) = ($from, $to);
        while i < to {
            if $rows >= 8 && to - i >= 8 {
                $kernel::<$lanes, $form, 8>(i, $first, $($rest),*);
                i += 8;
            } else if to - i >= 4 {
                $kernel::<$lanes, $form, 4>(i, $first, $($rest),*);
                i += 4;
            } else {
                $kernel::<$lanes, $form, 1>(i, $first, $($rest),*);
                i += 1;
            }
        }
    };
}

#[inline(always)]
unsafe fn block_tiles<L: Lanes, F: Form>(job: &Job, groups: &Groups) {
    let size = layout::tile_bytes(F::KIND, job.cols);
    for from in (0..job.n).step_by(CHUNK) {
        let to = (from + CHUNK).min(job.n);
        for (t, tile) in job.tiles.chunks_exact(size).enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                in_steps!(L::ROWS, from, to, block_tile::<L, F>(job, t, tile.as_ptr(), groups));
            }
        }
    }
}

/// One tile with T rows from `row` on.
#[inline(always)]
unsafe fn block_tile<L: Lanes, F: Form, const T: usize>(row: usize, job: &Job, t: usize, tile: *const u8, groups: &Groups) {
    let count = job.cols / GROUP;
    let ahead = layout::tile_bytes(F::KIND, job.cols);
    let (min, block, group) = (F::KIND.has_min(), F::KIND.block(), F::KIND.group());
    // SAFETY: the caller's promise: `count` groups a row, and a tile as `layout` says.
    unsafe {
        let mut sums = [L::floats(0.0); T];
        let mut at = tile;
        let first = groups.first.as_ptr().add(row * count);
        let rest = groups.rest.as_ptr().add(row * count);
        for b in 0..job.cols / block {
            let d = L::f16s(at);
            at = at.add(2 * ROWS);
            let m = if min { L::f16s(at) } else { d };
            at = at.add(if min { 2 * ROWS } else { 0 });
            let (scales, of_scales) = (at, if F::GROUPED { block / group * ROWS } else { 0 });
            let mins = at.add(of_scales);
            at = at.add(of_scales * if min { 2 } else { 1 });
            for g in 0..block / GROUP {
                let place = b * (block / GROUP) + g;
                let mut x = first.add(place);
                loop {
                    if group == GROUP {
                        let scale = if F::GROUPED { L::mul(d, L::i8s(scales.add(g * ROWS))) } else { d };
                        let min = if F::GROUPED && min { L::mul(m, L::i8s(mins.add(g * ROWS))) } else { m };
                        part::<L, F, T, 0, 8>(&mut sums, at, x, count, scale, min, ahead);
                    } else {
                        let half = |h: usize| L::mul(d, L::i8s(scales.add((2 * g + h) * ROWS)));
                        let half_min = |h: usize| if min { L::mul(m, L::i8s(mins.add((2 * g + h) * ROWS))) } else { m };
                        part::<L, F, T, 0, 4>(&mut sums, at, x, count, half(0), half_min(0), ahead);
                        part::<L, F, T, 4, 8>(&mut sums, at, x, count, half(1), half_min(1), ahead);
                    }
                    // What one of the rows has more of; the zeros of the others change nothing.
                    if (0..T).all(|t| (*x.add(t * count)).more == 0) {
                        break;
                    }
                    x = rest.add(place);
                }
                at = at.add(4 * ROWS * (F::LOW + F::HIGH));
            }
        }
        put::<L, T>(job, row, t, &sums);
    }
}

/// Vectors A to B (of four columns each) of a group of 32 columns, which share their scales.
#[inline(always)]
unsafe fn part<L: Lanes, F: Form, const T: usize, const A: usize, const B: usize>(
    sums: &mut [L::Floats; T],
    planes: *const u8,
    x: *const Group,
    stride: usize,
    scale: L::Floats,
    min: L::Floats,
    ahead: usize,
) {
    let zero = i32::from(F::KIND.zero());
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [L::ints(0); T];
        for (t, acc) in acc.iter_mut().enumerate() {
            let x = &*x.add(t * stride);
            // Σ (q − zero) · a = Σ q · a − zero · Σ a.
            let sum = if B - A == 8 { x.sum } else { x.halves[A / 4] };
            *acc = L::ints((-zero).wrapping_mul(sum));
        }
        // Written out, so that every shift is a constant.
        macro_rules! vectors {
            ($($j:literal)*) => {$(
                if $j >= A && $j < B {
                    let w = vector::<L, F, $j>(planes);
                    for (t, acc) in acc.iter_mut().enumerate() {
                        let a = (*x.add(t * stride)).q.as_ptr().add(4 * $j);
                        *acc = if F::LOW == 8 { L::dot_wide(*acc, w, a) } else { L::dot(*acc, w, a) };
                    }
                }
            )*};
        }
        vectors!(0 1 2 3 4 5 6 7);
        if T > 1 {
            // Several rows keep the processor busy with a tile for so long that it does not look ahead to the next.
            for line in A * (F::LOW + F::HIGH) / 8..B * (F::LOW + F::HIGH) / 8 {
                L::soon(planes.wrapping_add(ahead + 64 * line));
            }
        }
        for (t, (sum, acc)) in sums.iter_mut().zip(acc).enumerate() {
            let x = &*x.add(t * stride);
            *sum = L::fma(L::mul(scale, L::floats(x.scale)), L::of_ints(acc), *sum);
            if F::KIND.has_min() {
                *sum = L::fma(min, L::floats(if B - A == 8 { x.total } else { x.half_totals[A / 4] }), *sum);
            }
        }
    }
}

/// Four columns of all rows: vector J of a group, put together from its planes.
#[inline(always)]
unsafe fn vector<L: Lanes, F: Form, const J: usize>(planes: *const u8) -> L::Bytes {
    // SAFETY: the caller's promise: a plane has as many vectors as a number has bits in it.
    unsafe {
        let bytes = L::bytes(planes.add(4 * ROWS * (J % F::LOW)));
        if F::LOW == 8 {
            return bytes;
        }
        let low = L::field(bytes, (F::LOW * (J / F::LOW)) as u32, 0, ((1u32 << F::LOW) - 1) as u8);
        if F::HIGH == 0 {
            return low;
        }
        let bytes = L::bytes(planes.add(4 * ROWS * (F::LOW + J % F::HIGH.max(1))));
        L::or(low, L::field(bytes, (F::HIGH * (J / F::HIGH.max(1))) as u32, F::LOW as u32, (((1u32 << F::HIGH) - 1) << F::LOW) as u8))
    }
}

/// Numbers of two columns of all rows.
trait Number {
    const BYTES: usize;
    /// # Safety
    /// As of `Lanes`.
    unsafe fn two<L: Lanes>(at: *const u8) -> (L::Floats, L::Floats);
}

struct F32;
struct F16;
struct Bf16;

impl Number for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn two<L: Lanes>(at: *const u8) -> (L::Floats, L::Floats) {
        // SAFETY: the caller's promise.
        unsafe { (L::f32s(at), L::f32s(at.add(4 * ROWS))) }
    }
}
impl Number for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn two<L: Lanes>(at: *const u8) -> (L::Floats, L::Floats) {
        // SAFETY: the caller's promise.
        unsafe { (L::f16s(at), L::f16s(at.add(2 * ROWS))) }
    }
}
impl Number for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn two<L: Lanes>(at: *const u8) -> (L::Floats, L::Floats) {
        // SAFETY: the caller's promise.
        unsafe { L::bf16s(at) }
    }
}

#[inline(always)]
unsafe fn number_tiles<L: Lanes, W: Number>(job: &Job, x: &[f32]) {
    let size = layout::tile_bytes(job.kind, job.cols);
    for from in (0..job.n).step_by(CHUNK) {
        let to = (from + CHUNK).min(job.n);
        for (t, tile) in job.tiles.chunks_exact(size).enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                in_steps!(L::ROWS, from, to, number_tile::<L, W>(job, t, tile.as_ptr(), x));
            }
        }
    }
}

#[inline(always)]
unsafe fn number_tile<L: Lanes, W: Number, const T: usize>(row: usize, job: &Job, t: usize, tile: *const u8, x: &[f32]) {
    // SAFETY: the caller's promise: `cols` numbers a row, an even number of them.
    unsafe {
        // Even and odd columns apart, so that one sum need not wait for the other.
        let mut even = [L::floats(0.0); T];
        let mut odd = [L::floats(0.0); T];
        let x = x.as_ptr().add(row * job.cols);
        let ahead = layout::tile_bytes(job.kind, job.cols);
        for col in (0..job.cols).step_by(2) {
            let at = tile.add(col * ROWS * W::BYTES);
            let (w0, w1) = W::two::<L>(at);
            if T > 1 {
                L::soon(at.wrapping_add(ahead));
            }
            for i in 0..T {
                let x = x.add(i * job.cols + col);
                even[i] = L::fma(w0, L::floats(*x), even[i]);
                odd[i] = L::fma(w1, L::floats(*x.add(1)), odd[i]);
            }
        }
        let mut sums = even;
        for (sum, odd) in sums.iter_mut().zip(odd) {
            *sum = L::add(*sum, odd);
        }
        put::<L, T>(job, row, t, &sums);
    }
}

/// Puts the sums of tile t where they belong.
#[inline(always)]
unsafe fn put<L: Lanes, const T: usize>(job: &Job, row: usize, t: usize, sums: &[L::Floats; T]) {
    let count = job.tiles.len() / layout::tile_bytes(job.kind, job.cols);
    let there = if t + 1 == count { job.last } else { ROWS };
    for (i, &sum) in sums.iter().enumerate() {
        // SAFETY: the caller's promise: `there` rows of this tile have their place in `out`.
        unsafe {
            let out = job.out.add((row + i) * job.stride + t * ROWS);
            if there == ROWS {
                L::store(if job.add { L::add(sum, L::f32s(out.cast())) } else { sum }, out);
            } else {
                let mut all = [0f32; ROWS];
                L::store(sum, all.as_mut_ptr());
                for (j, &x) in all.iter().enumerate().take(there) {
                    *out.add(j) = if job.add { *out.add(j) + x } else { x };
                }
            }
        }
    }
}
