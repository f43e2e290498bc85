//! Small products of f32 matrices on processors with AVX-512, from where the operands stand: twelve by thirty-two sums
//! held in registers, nothing packed. Attention's products are so narrow that packing would cost as much as they do.
//! Deliberately not here: large products, and other processors and numbers, which take the `gemm` crate (`real`).

use super::real::Matrix;

/// Rows of sums that the registers hold: 24 registers of sums, two of the right side, one for a number of the left.
pub const ROWS: usize = 12;
/// Columns of sums: two registers.
#[cfg(target_arch = "x86_64")]
const COLUMNS: usize = 32;

/// Whether this processor is served.
pub fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn product(_: (usize, usize, usize), _: Matrix<*mut f32>, _: bool, _: Matrix<*const f32>, _: Matrix<*const f32>) {}

/// to (n × m, rows of `row` numbers) = the transposed of from (m × n): 16 by 16 at a time.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn transposed(_: (usize, usize), _: Matrix<*const f32>, _: *mut f32, _: usize) {}

#[cfg(target_arch = "x86_64")]
pub use avx512::{product, transposed, turned};

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{COLUMNS, Matrix, ROWS};
    use std::arch::x86_64::*;

    /// dst (m × n) = lhs (m × k) · rhs (k × n), or += where `add`. The rows of `dst` and `rhs` are in one piece each,
    /// and of `lhs` either the rows or the columns.
    ///
    /// # Safety
    /// `has_avx512`; all elements that shapes and strides reach must be allocated, those of `lhs` and `rhs` (and of
    /// `dst` where `add`) initialised, and no other thread may touch those of `dst`.
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    pub unsafe fn product(
        (m, n, k): (usize, usize, usize),
        dst: Matrix<*mut f32>,
        add: bool,
        lhs: Matrix<*const f32>,
        rhs: Matrix<*const f32>,
    ) {
        debug_assert!(dst.cols == 1 && rhs.cols == 1 && (lhs.cols == 1 || lhs.rows == 1));
        for j in (0..n).step_by(COLUMNS) {
            let width = COLUMNS.min(n - j);
            let mut i = 0;
            while i < m {
                let height = match m - i {
                    ROWS.. => ROWS,
                    8.. => 8,
                    4.. => 4,
                    2.. => 2,
                    _ => 1,
                };
                let tile = Tile {
                    k,
                    a: lhs.at.wrapping_add(i * lhs.rows),
                    lhs,
                    b: rhs.at.wrapping_add(j),
                    b_rows: rhs.rows,
                    dst: dst.at.wrapping_add(i * dst.rows + j),
                    dst_rows: dst.rows,
                    add,
                    width,
                };
                // SAFETY: the caller's promise; the tile's rows and columns lie within the operands.
                unsafe { tile.run(height) }
                i += height;
            }
        }
    }

    /// One tile of the destination: its operands and where it goes.
    struct Tile {
        k: usize,
        a: *const f32,
        lhs: Matrix<*const f32>,
        b: *const f32,
        b_rows: usize,
        dst: *mut f32,
        dst_rows: usize,
        add: bool,
        width: usize,
    }

    impl Tile {
        #[target_feature(enable = "avx512f,avx512vl,fma")]
        #[inline]
        unsafe fn run(&self, height: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                match (height, self.width > 16) {
                    (ROWS, true) => self.sums::<ROWS, 2>(),
                    (ROWS, false) => self.sums::<ROWS, 1>(),
                    (8, true) => self.sums::<8, 2>(),
                    (8, false) => self.sums::<8, 1>(),
                    (4, true) => self.sums::<4, 2>(),
                    (4, false) => self.sums::<4, 1>(),
                    (2, true) => self.sums::<2, 2>(),
                    (2, false) => self.sums::<2, 1>(),
                    (_, true) => self.sums::<1, 2>(),
                    (_, false) => self.sums::<1, 1>(),
                }
            }
        }

        #[target_feature(enable = "avx512f,avx512vl,fma")]
        unsafe fn sums<const HEIGHT: usize, const VECTORS: usize>(&self) {
            let mask = |j: usize| if j + 1 < VECTORS { 0xffff } else { ((1u32 << (self.width - 16 * j)) - 1) as u16 };
            let mut sums = [[_mm512_setzero_ps(); VECTORS]; HEIGHT];
            // SAFETY: the caller's promise: HEIGHT rows, and columns that the masks cut to the width.
            unsafe {
                match (self.lhs.cols == 1, self.width == 16 * VECTORS) {
                    (true, true) => self.multiply::<HEIGHT, VECTORS, true, true>(&mut sums),
                    (true, false) => self.multiply::<HEIGHT, VECTORS, true, false>(&mut sums),
                    (false, true) => self.multiply::<HEIGHT, VECTORS, false, true>(&mut sums),
                    (false, false) => self.multiply::<HEIGHT, VECTORS, false, false>(&mut sums),
                }
                for (i, sums) in sums.iter().enumerate() {
                    for (j, &sum) in sums.iter().enumerate() {
                        let at = self.dst.add(i * self.dst_rows + 16 * j);
                        let sum = if self.add { _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask(j), at)) } else { sum };
                        _mm512_mask_storeu_ps(at, mask(j), sum);
                    }
                }
            }
        }

        /// `BY_ROWS`: the numbers of a row of the left side stand side by side; else those of a column do.
        #[target_feature(enable = "avx512f,avx512vl,fma")]
        #[inline]
        unsafe fn multiply<const HEIGHT: usize, const VECTORS: usize, const BY_ROWS: bool, const WHOLE: bool>(
            &self,
            sums: &mut [[__m512; VECTORS]; HEIGHT],
        ) {
            let last = ((1u32 << (self.width - 16 * (VECTORS - 1))) - 1) as u16;
            let mut acc = *sums;
            let (mut a, mut b) = (self.a, self.b);
            for _ in 0..self.k {
                let mut right = [_mm512_setzero_ps(); VECTORS];
                for (j, right) in right.iter_mut().enumerate() {
                    let at = b.wrapping_add(16 * j);
                    // SAFETY: the caller's promise; masked-out numbers are not touched.
                    *right = unsafe { if WHOLE || j + 1 < VECTORS { _mm512_loadu_ps(at) } else { _mm512_maskz_loadu_ps(last, at) } };
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let at = a.wrapping_add(if BY_ROWS { i * self.lhs.rows } else { i });
                    // SAFETY: the caller's promise: the left side has HEIGHT rows and k columns.
                    let a = _mm512_set1_ps(unsafe { *at });
                    for (acc, &right) in acc.iter_mut().zip(&right) {
                        *acc = _mm512_fmadd_ps(a, right, *acc);
                    }
                }
                b = b.wrapping_add(self.b_rows);
                a = a.wrapping_add(if BY_ROWS { 1 } else { self.lhs.cols });
            }
            *sums = acc;
        }
    }

    /// to (n × m, rows of `row` numbers) = the transposed of from (m × n), whose rows are in one piece.
    ///
    /// # Safety
    /// `has_avx512`; `from` is initialised as far as its shape and stride reach, `to` is allocated for n rows, and
    /// `row` is at least m.
    #[target_feature(enable = "avx512f,avx512vl")]
    pub unsafe fn transposed((m, n): (usize, usize), from: Matrix<*const f32>, to: *mut f32, row: usize) {
        debug_assert!(from.cols == 1 && row >= m);
        for i in (0..m).step_by(16) {
            let height = (m - i).min(16);
            let down = ((1u32 << height) - 1) as u16;
            for j in (0..n).step_by(16) {
                let width = (n - j).min(16);
                let across = ((1u32 << width) - 1) as u16;
                let mut rows = [_mm512_setzero_ps(); 16];
                for (r, out) in rows.iter_mut().enumerate().take(height) {
                    // SAFETY: row i + r and the columns of the mask lie within `from`.
                    *out = unsafe { _mm512_maskz_loadu_ps(across, from.at.add((i + r) * from.rows + j)) };
                }
                for (c, column) in turned(rows).iter().enumerate().take(width) {
                    // SAFETY: row j + c of `to` has room for m numbers.
                    unsafe { _mm512_mask_storeu_ps(to.add((j + c) * row + i), down, *column) };
                }
            }
        }
    }

    /// Rows to columns.
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    #[inline]
    pub fn turned(r: [__m512; 16]) -> [__m512; 16] {
        let mut a = r;
        // Pairs, then fours within each quarter of a register.
        for i in 0..8 {
            a[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            a[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        let mut b = a;
        let low = |x: __m512, y: __m512| _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
        let high = |x: __m512, y: __m512| _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
        for i in 0..4 {
            b[4 * i] = low(a[4 * i], a[4 * i + 2]);
            b[4 * i + 1] = high(a[4 * i], a[4 * i + 2]);
            b[4 * i + 2] = low(a[4 * i + 1], a[4 * i + 3]);
            b[4 * i + 3] = high(a[4 * i + 1], a[4 * i + 3]);
        }
        // b[4 i + c] holds, in quarter q, column 4 q + c of rows 4 i … 4 i + 3: gather the quarters.
        let mut out = b;
        for c in 0..4 {
            let lo01 = _mm512_shuffle_f32x4::<0b10_00_10_00>(b[c], b[4 + c]);
            let hi01 = _mm512_shuffle_f32x4::<0b11_01_11_01>(b[c], b[4 + c]);
            let lo23 = _mm512_shuffle_f32x4::<0b10_00_10_00>(b[8 + c], b[12 + c]);
            let hi23 = _mm512_shuffle_f32x4::<0b11_01_11_01>(b[8 + c], b[12 + c]);
            out[c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(lo01, lo23);
            out[4 + c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(hi01, hi23);
            out[8 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(lo01, lo23);
            out[12 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(hi01, hi23);
        }
        out
    }
}
