//! The numbers that fused ops compute with, f32 and f64, and the few loops that they share: vectorised exp, sums in a
//! fixed order, rows in parallel, matrix products with strides.
//! Deliberately not here: half precision, which takes the composed path.

use super::{brain, tiles};
use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, WithDType};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Neg;

/// A floating-point number of a fused op. f64 exists so that gradients can be checked by differences.
pub trait Real: WithDType + Neg<Output = Self> + Send + Sync {
    fn of(x: f64) -> Self;
    /// Vectorises in f32; not a number stays one.
    fn exp(self) -> Self;
    fn sqrt(self) -> Self;
    fn ln(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;

    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::of(1.0) / (Self::of(1.0) + (-self).exp())
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        Self::of(1.0) - Self::of(2.0) / ((self + self).exp() + Self::of(1.0))
    }
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    /// exp(x) = 2ⁿ · exp(r) with r = x − n · ln 2 and a polynomial of degree 7 for exp(r) (S. Moshier, Cephes, `expf`).
    /// Without branches and calls, so that the compiler makes vectors of it.
    #[inline(always)]
    fn exp(self) -> Self {
        const MAGIC: f32 = 12_582_912.0; // 1.5 · 2²³: adding it leaves the rounded number in the low bits
        let low = if self < -87.3 { -87.3 } else { self };
        let x = if low > 88.3 { 88.3 } else { low };
        let shifted = x * std::f32::consts::LOG2_E + MAGIC;
        let n = shifted - MAGIC;
        let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
        let p = 1.987_569_1e-4 * r + 1.398_2e-3;
        let p = p * r + 8.333_452e-3;
        let p = p * r + 4.166_579_6e-2;
        let p = p * r + 1.666_666_5e-1;
        let p = p * r + 0.5;
        let y = p * r * r + r + 1.0;
        let exponent = (shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
        y * f32::from_bits((exponent.wrapping_add(127) as u32) << 23)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f32::ln(self)
    }
    /// To 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26). Vectorises as `exp` does.
    #[inline(always)]
    fn erf(self) -> Self {
        let x = f32::abs(self);
        let t = 1.0 / (1.0 + 0.327_591_1 * x);
        let p = 1.061_405_4 * t - 1.453_152;
        let p = p * t + 1.421_413_8;
        let p = p * t - 0.284_496_74;
        let p = (p * t + 0.254_829_6) * t;
        let y = 1.0 - p * Real::exp(-x * x);
        if self < 0.0 { -y } else { y }
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f64::ln(self)
    }
    #[inline(always)]
    fn erf(self) -> Self {
        candle_core::cpu::erf::erf_f64(self)
    }
}

/// Runs `body` for the type of number that `dtype` says.
macro_rules! by_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => candle_core::bail!("fused ops compute in f32 and f64, not in {other:?}; take the composed op"),
        }
    };
}
pub(super) use by_dtype;

/// Whether the fused ops can work on this tensor.
pub fn fusable(x: &Tensor) -> bool {
    x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64)
}

/// The numbers of a contiguous tensor.
pub fn view<'a, T: Real>(storage: &'a Storage, layout: &Layout) -> Result<&'a [T]> {
    let all = whole::<T>(storage)?;
    match layout.contiguous_offsets().and_then(|(a, b)| all.get(a..b)) {
        Some(slice) => Ok(slice),
        None => candle_core::bail!("a fused op got strides; make its inputs contiguous"),
    }
}

/// All numbers of a storage, for ops that heed strides themselves.
pub fn whole<T: Real>(storage: &Storage) -> Result<&[T]> {
    match storage {
        Storage::Cpu(storage) => T::cpu_storage_as_slice(storage),
        _ => candle_core::bail!("fused ops run on the CPU; take the composed op"),
    }
}

/// The numbers of a contiguous tensor as a storage of their own.
pub fn storage(x: &Tensor) -> Result<CpuStorage> {
    let (s, l) = x.storage_and_layout();
    by_dtype!(x.dtype(), T => Ok(T::to_cpu_storage(view::<T>(&s, l)?)))
}

/// Runs `f` compiled for the widest vectors that this processor has; what it calls has to be `inline(always)`.
#[inline(always)]
pub fn wide<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
        fn v4<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        #[target_feature(enable = "avx2,fma")]
        fn v3<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512bw") {
            if is_x86_feature_detected!("avx512dq") {
                // SAFETY: all features were just found.
                return unsafe { v4(f) };
            }
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: both features were just found.
            return unsafe { v3(f) };
        }
    }
    f()
}

const LANES: usize = 16;

/// Σ f(a, b), in sixteen running sums that are added in a fixed order: vectorises, and is the same on every run.
#[inline(always)]
pub fn sum2<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::of(0.0); LANES];
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    for (i, (&x, &y)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] += f(x, y);
    }
    let mut step = LANES / 2;
    while step > 0 {
        for i in 0..step {
            let other = lanes[i + step];
            lanes[i] += other;
        }
        step /= 2;
    }
    lanes[0]
}

/// The largest number; not a number where one is, since softmax has to hand it on.
#[inline(always)]
pub fn largest<T: Real>(a: &[T]) -> T {
    let mut lanes = [T::of(f64::NEG_INFINITY); LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for x in chunks {
        for i in 0..LANES {
            lanes[i] = if x[i] > lanes[i] { x[i] } else { lanes[i] };
        }
    }
    let mut best = T::of(f64::NEG_INFINITY);
    for &x in lanes.iter().chain(rest) {
        best = if x > best { x } else { best };
    }
    best
}

/// Numbers that a task of rows should at least have, so that handing it to another thread pays.
const GRAIN: usize = 1 << 14;

/// Rows of `width` numbers in a chunk. Depends on the shape alone, never on the number of threads, so that sums
/// over chunks come out the same everywhere.
pub fn chunk_rows(width: usize) -> usize {
    (GRAIN / width.max(1)).max(1)
}

/// Calls `f(first_row, rows)` for chunks of the rows of `out`, in parallel.
pub fn par_rows<T: Real>(out: &mut [T], width: usize, f: impl Fn(usize, &mut [T]) + Send + Sync) {
    let rows = chunk_rows(width);
    if out.len() <= rows * width {
        return f(0, out);
    }
    out.par_chunks_mut(rows * width).enumerate().for_each(|(i, chunk)| f(i * rows, chunk));
}

/// New memory for `n` numbers, which `f(first_row, rows)` fills in chunks of rows, in parallel.
///
/// # Safety
/// `f` must write every number of what it is given.
pub unsafe fn fill_rows<T: Real>(n: usize, width: usize, f: impl Fn(usize, &mut [MaybeUninit<T>]) + Send + Sync) -> Vec<T> {
    let mut out = Vec::with_capacity(n);
    let (rows, room) = (chunk_rows(width), &mut out.spare_capacity_mut()[..n]);
    if n <= rows * width {
        f(0, room);
    } else {
        room.par_chunks_mut(rows * width).enumerate().for_each(|(i, chunk)| f(i * rows, chunk));
    }
    // SAFETY: there is room for n numbers, and the caller promises that all were written.
    unsafe { out.set_len(n) };
    out
}

/// As `fill_rows`, with two results of the same shape.
///
/// # Safety
/// `f` must write every number of both.
pub unsafe fn fill_rows2<T: Real>(
    n: usize,
    width: usize,
    f: impl Fn(usize, &mut [MaybeUninit<T>], &mut [MaybeUninit<T>]) + Send + Sync,
) -> (Vec<T>, Vec<T>) {
    let (mut a, mut b) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let rows = chunk_rows(width);
    let (room_a, room_b) = (&mut a.spare_capacity_mut()[..n], &mut b.spare_capacity_mut()[..n]);
    if n <= rows * width {
        f(0, room_a, room_b);
    } else {
        let chunks = room_a.par_chunks_mut(rows * width).zip(room_b.par_chunks_mut(rows * width));
        chunks.enumerate().for_each(|(i, (a, b))| f(i * rows, a, b));
    }
    // SAFETY: there is room for n numbers in each, and the caller promises that all were written.
    unsafe {
        a.set_len(n);
        b.set_len(n);
    }
    (a, b)
}

/// A matrix somewhere in memory: element (i, j) stands at `at + i · rows + j · cols`.
#[derive(Clone, Copy)]
pub struct Matrix<P> {
    pub at: P,
    pub rows: usize,
    pub cols: usize,
}

impl<P> Matrix<P> {
    fn map<Q>(self, f: impl Fn(P) -> Q) -> Matrix<Q> {
        Matrix { at: f(self.at), rows: self.rows, cols: self.cols }
    }
    pub fn t(self) -> Self {
        Self { at: self.at, rows: self.cols, cols: self.rows }
    }
}

/// dst (m × n) = lhs (m × k) · rhs (k × n), or += where `add`; over all threads where `parallel`.
///
/// # Safety
/// All elements that shapes and strides reach must be allocated, those of `lhs` and `rhs` (and of `dst` where `add`)
/// initialised, and no other thread may touch those of `dst`.
pub unsafe fn gemm<T: Real>(
    (m, n, k): (usize, usize, usize),
    dst: Matrix<*mut T>,
    add: bool,
    lhs: Matrix<*const T>,
    rhs: Matrix<*const T>,
    parallel: bool,
) {
    let threads = if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    let s = |x: usize| x as isize;
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.at,
            s(dst.cols),
            s(dst.rows),
            add,
            lhs.at,
            s(lhs.cols),
            s(lhs.rows),
            rhs.at,
            s(rhs.cols),
            s(rhs.rows),
            T::of(1.0),
            T::of(1.0),
            false,
            false,
            false,
            threads,
        );
    }
}

/// Whether `small` has products of its own for these numbers on this processor.
pub fn has_tiles<T: Real>() -> bool {
    T::DTYPE == DType::F32 && tiles::has_avx512()
}

/// dst (m × n) = lhs (m × k) · rhs (k × n), or += where `add`, on the calling thread, for matrices too small to pack.
///
/// # Safety
/// As for `gemm`.
pub unsafe fn small<T: Real>(dims: (usize, usize, usize), dst: Matrix<*mut T>, add: bool, lhs: Matrix<*const T>, rhs: Matrix<*const T>) {
    let in_rows = dst.cols == 1 && rhs.cols == 1 && (lhs.cols == 1 || lhs.rows == 1);
    // SAFETY: the caller's promise; T is f32 where there are tiles.
    unsafe {
        if in_rows && has_tiles::<T>() {
            let (dst, lhs, rhs) = (dst.map(|p| p.cast::<f32>()), lhs.map(|p| p.cast::<f32>()), rhs.map(|p| p.cast::<f32>()));
            tiles::product(dims, dst, add, lhs, rhs);
        } else {
            gemm(dims, dst, add, lhs, rhs, false);
        }
    }
}

/// As `gemm` over all threads, in bf16 with sums in f32 where that is wanted and served.
///
/// # Safety
/// As for `gemm`.
pub unsafe fn gemm_in<T: Real>(
    bf16: bool,
    dims: (usize, usize, usize),
    dst: Matrix<*mut T>,
    add: bool,
    lhs: Matrix<*const T>,
    rhs: Matrix<*const T>,
) {
    let served = bf16 && T::DTYPE == DType::F32 && brain::serves(dims, dst.cols, (lhs.rows, lhs.cols), (rhs.rows, rhs.cols));
    // SAFETY: the caller's promise; T is f32 where bf16 serves.
    unsafe {
        if served {
            brain::product(dims, dst.map(|p| p.cast()), add, lhs.map(|p| p.cast()), rhs.map(|p| p.cast()));
        } else {
            gemm(dims, dst, add, lhs, rhs, true);
        }
    }
}

/// As `product_in`, in the numbers' own type.
#[cfg(test)]
pub fn product<T: Real>(dims: (usize, usize, usize), lhs: (&[T], bool), rhs: (&[T], bool), start: Option<Vec<T>>) -> Result<Vec<T>> {
    product_in(false, dims, lhs, rhs, start)
}

/// A product of whole matrices into new memory, in bf16 where that is wanted and served: lhs (m × k) · rhs (k × n), row-major; `start` is what the product is
/// added to. The slices are row-major too, `lhs_t` and `rhs_t` say that they hold the transposed matrix.
pub fn product_in<T: Real>(
    bf16: bool,
    dims: (usize, usize, usize),
    lhs: (&[T], bool),
    rhs: (&[T], bool),
    start: Option<Vec<T>>,
) -> Result<Vec<T>> {
    let (m, n, k) = dims;
    if lhs.0.len() != m * k || rhs.0.len() != k * n || start.as_ref().is_some_and(|s| s.len() != m * n) {
        candle_core::bail!("a product of {m}×{k} and {k}×{n} got {} and {} numbers", lhs.0.len(), rhs.0.len());
    }
    let matrix = |(slice, transposed): (&[T], bool), rows: usize, cols: usize| {
        let at = slice.as_ptr();
        if transposed { Matrix { at, rows: 1, cols: rows } } else { Matrix { at, rows: cols, cols: 1 } }
    };
    let add = start.is_some();
    let mut out = start.unwrap_or_else(|| Vec::with_capacity(m * n));
    let dst = Matrix { at: out.as_mut_ptr(), rows: n, cols: 1 };
    // SAFETY: the lengths were checked above; `out` has room for m · n numbers and is ours alone. gemm writes every
    // element of a destination that it does not read (zeros where k is 0), so all of them are initialised after it.
    unsafe {
        gemm_in(bf16, dims, dst, add, matrix(lhs, m, k), matrix(rhs, k, n));
        out.set_len(m * n);
    }
    Ok(out)
}

/// A pointer that tasks share, each of which writes to places of its own.
#[derive(Clone, Copy)]
pub struct Shared<T>(pub *mut T);
// SAFETY: whoever dereferences it answers for disjoint places; the numbers themselves are Send and Sync.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Shared<T> {}
impl<T> Shared<T> {
    pub fn at(self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn numbers(seed: u64, n: usize) -> Vec<f32> {
        let mut stream = Stream::new(seed, "numbers");
        (0..n).map(|_| stream.below(2001) as f32 / 1000.0 - 1.0).collect()
    }

    /// Ragged edges, both layouts of the left side, sums and additions, beside sums written out in f64.
    #[test]
    fn small_products_are_right_and_touch_nothing_else() {
        for (m, n, k) in [(1, 1, 1), (12, 32, 16), (13, 33, 17), (25, 47, 30), (40, 16, 5), (31, 130, 51), (9, 5, 0), (24, 64, 64)] {
            for (turned, add) in [(false, false), (true, false), (false, true), (true, true)] {
                let (a, b, rows) = (numbers(1, m * k), numbers(2, k * n), n + 3);
                let before = numbers(3, m * rows);
                let mut dst = before.clone();
                let at = a.as_ptr();
                let lhs = if turned { Matrix { at, rows: 1, cols: m } } else { Matrix { at, rows: k, cols: 1 } };
                let to = Matrix { at: dst.as_mut_ptr(), rows, cols: 1 };
                // SAFETY: all matrices are as long as shapes and strides say.
                unsafe { small((m, n, k), to, add, lhs, Matrix { at: b.as_ptr(), rows: n, cols: 1 }) };
                for (i, (&got, &was)) in dst.iter().zip(&before).enumerate() {
                    let (i, j) = (i / rows, i % rows);
                    if j >= n {
                        assert_eq!(got, was, "{m} {n} {k}: beyond the matrix");
                        continue;
                    }
                    let left = |d: usize| f64::from(if turned { a[d * m + i] } else { a[i * k + d] });
                    let sum: f64 = (0..k).map(|d| left(d) * f64::from(b[d * n + j])).sum();
                    let exact = sum + if add { f64::from(was) } else { 0.0 };
                    assert!((f64::from(got) - exact).abs() < 1e-5, "{m} {n} {k} {turned} {add}: {got} for {exact}");
                }
            }
        }
    }

    #[test]
    fn turned_matrices_have_their_numbers_in_place() {
        if !has_tiles::<f32>() {
            return;
        }
        for (m, n, row) in [(1, 1, 1), (16, 16, 16), (17, 33, 20), (40, 7, 48)] {
            let a = numbers(1, m * (n + 2));
            let mut out = vec![9f32; n * row];
            // SAFETY: both are as long as shapes and strides say.
            unsafe { tiles::transposed((m, n), Matrix { at: a.as_ptr(), rows: n + 2, cols: 1 }, out.as_mut_ptr(), row) };
            for (i, &x) in out.iter().enumerate() {
                let (j, i) = (i / row, i % row);
                assert_eq!(x, if i < m { a[i * (n + 2) + j] } else { 9.0 }, "{m} {n}");
            }
        }
    }

    #[test]
    fn exp_is_right_to_a_few_units_in_the_last_place_and_hands_on_nan() {
        let mut worst = 0f64;
        for i in -8700..8830 {
            let x = i as f32 * 0.01;
            let (ours, exact) = (f64::from(Real::exp(x)), f64::from(x).exp());
            worst = worst.max((ours / exact - 1.0).abs());
        }
        assert!(worst < 3e-7, "{worst}");
        assert!(Real::exp(f32::NAN).is_nan());
        assert!(Real::exp(-1000f32) < 1e-37 && Real::exp(1000f32) > 1e38);
        assert_eq!(Real::exp(0f32), 1.0);
    }

    #[test]
    fn products_heed_transposition() {
        let a = [1f64, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 × 3
        let b = [1f64, 0.0, 2.0, 1.0, 0.0, 3.0]; // 3 × 2
        let expected = [5.0, 11.0, 14.0, 23.0];
        assert_eq!(product((2, 2, 3), (&a, false), (&b, false), None).unwrap(), expected);
        let (at, bt) = ([1f64, 4.0, 2.0, 5.0, 3.0, 6.0], [1f64, 2.0, 0.0, 0.0, 1.0, 3.0]);
        assert_eq!(product((2, 2, 3), (&at, true), (&bt, true), None).unwrap(), expected);
        assert_eq!(product((2, 2, 3), (&a, false), (&b, false), Some(vec![1.0; 4])).unwrap(), expected.map(|x| x + 1.0));
        assert!(product((2, 2, 4), (&a, false), (&b, false), None).is_err());
    }
}
