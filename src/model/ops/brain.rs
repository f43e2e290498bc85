//! Products of f32 matrices in bf16 on processors with AVX512-BF16: both operands are rounded to bf16 while they are
//! packed, pairs of neighbours along the sum side by side as the instruction wants them, and sums are f32. Half the
//! bytes and twice the multiplications of an f32 product.
//! Deliberately not here: other processors, which stay at f32 (`accelerator::bf16`), and small products (`tiles`).

#[cfg(any(test, not(target_arch = "x86_64")))]
use super::real::Matrix;

/// Whether this processor is served.
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return super::tiles::has_avx512() && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Rows of the left side below which packing the right side costs more than it saves.
const FEW_ROWS: usize = 16;

/// Whether a product of these sizes and layouts is served: rows or columns in one piece on either side.
pub fn serves((m, n, _): (usize, usize, usize), dst_cols: usize, lhs: (usize, usize), rhs: (usize, usize)) -> bool {
    m >= FEW_ROWS && n >= FEW_ROWS && dst_cols == 1 && (lhs.0 == 1 || lhs.1 == 1) && (rhs.0 == 1 || rhs.1 == 1) && available()
}

#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn product(_: (usize, usize, usize), _: Matrix<*mut f32>, _: bool, _: Matrix<*const f32>, _: Matrix<*const f32>) {}

#[cfg(target_arch = "x86_64")]
pub use avx512::product;

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::super::real::{Matrix, Shared};
    use super::super::tiles::turned;
    use rayon::prelude::*;
    use std::arch::x86_64::*;

    /// Rows of sums that the registers hold: 24 registers of sums, two of the right side, one for a pair of the left.
    const ROWS: usize = 12;
    /// Columns of sums: two registers.
    const COLUMNS: usize = 32;
    /// Pairs along the sum that are packed together: a panel of the right side then stays in the first-level cache.
    const PAIRS: usize = 128;
    const DEPTH: usize = 2 * PAIRS;
    /// Rows and panels of a task: its left side stays in the second-level cache, and so does what it writes.
    const TASK_ROWS: usize = 8 * ROWS;
    const TASK_PANELS: usize = 8;

    /// Both operands in bf16. Left: for each chunk of the sum, each row's pairs side by side. Right: for each chunk,
    /// panels of `COLUMNS` columns, a pair of each column after the other.
    struct Packed {
        left: Vec<u32>,
        right: Vec<u32>,
        rows: usize,
        panels: usize,
    }

    impl Packed {
        fn left(&self, chunk: usize, row: usize) -> *const u32 {
            self.left.as_ptr().wrapping_add((chunk * self.rows + row) * PAIRS)
        }
        fn right(&self, chunk: usize, panel: usize) -> *const u32 {
            self.right.as_ptr().wrapping_add((chunk * self.panels + panel) * PAIRS * COLUMNS)
        }
    }

    fn each(n: usize, work: impl Fn(usize) + Send + Sync) {
        if rayon::current_num_threads() > 1 && n > 1 { (0..n).into_par_iter().for_each(work) } else { (0..n).for_each(work) }
    }

    /// dst (m × n) = lhs (m × k) · rhs (k × n), or += where `add`, over all threads. The order of each sum depends on k
    /// alone.
    ///
    /// # Safety
    /// `serves` said yes; all elements that shapes and strides reach must be allocated, those of `lhs` and `rhs` (and
    /// of `dst` where `add`) initialised, and no other thread may touch those of `dst`.
    pub unsafe fn product(
        (m, n, k): (usize, usize, usize),
        dst: Matrix<*mut f32>,
        add: bool,
        lhs: Matrix<*const f32>,
        rhs: Matrix<*const f32>,
    ) {
        // SAFETY: the caller's promise.
        let packed = unsafe { pack((m, n, k), lhs, rhs) };
        let chunks = k.div_ceil(DEPTH).max(1);
        let (down, across) = (m.div_ceil(TASK_ROWS), packed.panels.div_ceil(TASK_PANELS));
        let to = Shared(dst.at);
        each(down * across, |task| {
            let (first, panel) = (task % down * TASK_ROWS, task / down * TASK_PANELS);
            let (last, end) = ((first + TASK_ROWS).min(m), (panel + TASK_PANELS).min(packed.panels));
            for chunk in 0..chunks {
                let pairs = (k - (chunk * DEPTH).min(k)).min(DEPTH).div_ceil(2);
                for panel in panel..end {
                    let mut row = first;
                    while row < last {
                        let height = match last - row {
                            ROWS.. => ROWS,
                            8.. => 8,
                            4.. => 4,
                            2.. => 2,
                            _ => 1,
                        };
                        let at = to.at(row * dst.rows + panel * COLUMNS);
                        let width = COLUMNS.min(n - panel * COLUMNS);
                        let (a, b) = (packed.left(chunk, row), packed.right(chunk, panel));
                        let tile = Tile { pairs, a, b, dst: at, dst_rows: dst.rows, add: add || chunk > 0, width };
                        // SAFETY: the caller's promise; tasks have disjoint parts of the destination.
                        unsafe { tile.run(height) };
                        row += height;
                    }
                }
            }
        });
    }

    /// # Safety
    /// As for `product`.
    unsafe fn pack((m, n, k): (usize, usize, usize), lhs: Matrix<*const f32>, rhs: Matrix<*const f32>) -> Packed {
        let (chunks, panels) = (k.div_ceil(DEPTH).max(1), n.div_ceil(COLUMNS));
        let (left, right) = (chunks * m * PAIRS, chunks * panels * PAIRS * COLUMNS);
        // What no pair is written to is never read: a tile takes as many pairs as there are.
        let mut packed = Packed { left: Vec::with_capacity(left), right: Vec::with_capacity(right), rows: m, panels };
        let to = (Shared(packed.left.as_mut_ptr()), Shared(packed.right.as_mut_ptr()));
        let from = (Shared(lhs.at.cast_mut()), Shared(rhs.at.cast_mut()));
        let blocks = m.div_ceil(16);
        each(chunks * (blocks + panels), |task| {
            let (chunk, part) = (task / (blocks + panels), task % (blocks + panels));
            let k0 = chunk * DEPTH;
            let depth = (k - k0.min(k)).min(DEPTH);
            // SAFETY: the caller's promise; every part writes to places of its own, for which there is room.
            unsafe {
                if let Some(panel) = part.checked_sub(blocks) {
                    let at = from.1.at(k0 * rhs.rows + panel * COLUMNS * rhs.cols).cast_const();
                    let to = to.1.at((chunk * panels + panel) * PAIRS * COLUMNS);
                    panel_of(Lines { at, across: rhs.cols, along: rhs.rows, depth }, COLUMNS.min(n - panel * COLUMNS), to);
                } else {
                    let at = from.0.at(part * 16 * lhs.rows + k0 * lhs.cols).cast_const();
                    let to = to.0.at((chunk * m + part * 16) * PAIRS);
                    rows_of(Lines { at, across: lhs.rows, along: lhs.cols, depth }, 16.min(m - part * 16), to);
                }
            }
        });
        packed
    }

    /// Rows of the left or columns of the right side: line c's number at depth d stands at `at + c · across + d · along`.
    #[derive(Clone, Copy)]
    struct Lines {
        at: *const f32,
        across: usize,
        along: usize,
        depth: usize,
    }

    fn mask(n: usize) -> u16 {
        if n >= 16 { 0xffff } else { (1u16 << n) - 1 }
    }

    impl Lines {
        /// Sixteen pairs of line c from depth d on, where its numbers stand side by side; zeros behind the end.
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512bf16")]
        #[inline]
        unsafe fn along(&self, c: usize, d: usize) -> __m512i {
            let left = self.depth.saturating_sub(d);
            let at = self.at.wrapping_add(c * self.across + d);
            // SAFETY: the caller's promise; masked-out numbers are not touched.
            unsafe {
                let low = _mm512_maskz_loadu_ps(mask(left), at);
                let high = _mm512_maskz_loadu_ps(mask(left.saturating_sub(16)), at.wrapping_add(16));
                std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
            }
        }
        /// The pair at depth d of sixteen lines from c on (as many as the mask says), where lines stand side by side.
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512bf16")]
        #[inline]
        unsafe fn across(&self, c: usize, d: usize, lines: u16) -> __m512i {
            const WEAVE: [u16; 32] =
                [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];
            let at = self.at.wrapping_add(c + d * self.along);
            let second = if d + 1 < self.depth { lines } else { 0 };
            // SAFETY: as above.
            unsafe {
                let low = _mm512_maskz_loadu_ps(if d < self.depth { lines } else { 0 }, at);
                let high = _mm512_maskz_loadu_ps(second, at.wrapping_add(self.along));
                let pairs: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_permutexvar_epi16(_mm512_loadu_si512(WEAVE.as_ptr().cast()), pairs)
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512vl,fma")]
    #[inline]
    fn turned_pairs(rows: [__m512i; 16]) -> [__m512i; 16] {
        turned(rows.map(|row| _mm512_castsi512_ps(row))).map(|row| _mm512_castps_si512(row))
    }

    /// Packs `width` columns of the right side, with zeros behind them.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512bf16,fma")]
    unsafe fn panel_of(lines: Lines, width: usize, to: *mut u32) {
        let pairs = lines.depth.div_ceil(2);
        for half in 0..2 {
            let columns = width.saturating_sub(16 * half).min(16);
            // SAFETY: the caller's promise: `width` columns, and room for a whole panel.
            unsafe {
                if lines.across == 1 {
                    for p in 0..pairs {
                        let row = lines.across(16 * half, 2 * p, mask(columns));
                        _mm512_storeu_si512(to.add(p * COLUMNS + 16 * half).cast(), row);
                    }
                    continue;
                }
                for p in (0..pairs).step_by(16) {
                    let mut rows = [_mm512_setzero_si512(); 16];
                    for (c, row) in rows.iter_mut().enumerate().take(columns) {
                        *row = lines.along(16 * half + c, 2 * p);
                    }
                    for (i, row) in turned_pairs(rows).iter().enumerate().take(pairs - p) {
                        _mm512_storeu_si512(to.add((p + i) * COLUMNS + 16 * half).cast(), *row);
                    }
                }
            }
        }
    }

    /// Packs up to sixteen rows of the left side.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512bf16,fma")]
    unsafe fn rows_of(lines: Lines, height: usize, to: *mut u32) {
        for p in (0..lines.depth.div_ceil(2)).step_by(16) {
            // SAFETY: the caller's promise: `height` rows, and room for PAIRS pairs of each.
            unsafe {
                if lines.along == 1 {
                    for r in 0..height {
                        _mm512_storeu_si512(to.add(r * PAIRS + p).cast(), lines.along(r, 2 * p));
                    }
                    continue;
                }
                let mut rows = [_mm512_setzero_si512(); 16];
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = lines.across(0, 2 * (p + i), mask(height));
                }
                for (r, row) in turned_pairs(rows).iter().enumerate().take(height) {
                    _mm512_storeu_si512(to.add(r * PAIRS + p).cast(), *row);
                }
            }
        }
    }

    /// One tile of the destination: its packed operands and where it goes.
    struct Tile {
        pairs: usize,
        a: *const u32,
        b: *const u32,
        dst: *mut f32,
        dst_rows: usize,
        add: bool,
        width: usize,
    }

    impl Tile {
        #[target_feature(enable = "avx512f,avx512vl,avx512bf16,fma")]
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

        #[target_feature(enable = "avx512f,avx512vl,avx512bf16,fma")]
        unsafe fn sums<const HEIGHT: usize, const VECTORS: usize>(&self) {
            let last = mask(self.width - 16 * (VECTORS - 1));
            let mut acc = [[_mm512_setzero_ps(); VECTORS]; HEIGHT];
            let (mut a, mut b) = (self.a, self.b);
            // SAFETY: the caller's promise: HEIGHT rows and a panel of so many pairs; masks cut to the width.
            unsafe {
                for _ in 0..self.pairs {
                    let mut right = [_mm512_setzero_si512(); VECTORS];
                    for (j, right) in right.iter_mut().enumerate() {
                        *right = _mm512_loadu_si512(b.add(16 * j).cast());
                    }
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let left = _mm512_set1_epi32(*a.add(i * PAIRS) as i32);
                        for (acc, &right) in acc.iter_mut().zip(&right) {
                            *acc = _mm512_dpbf16_ps(
                                *acc,
                                std::mem::transmute::<__m512i, __m512bh>(left),
                                std::mem::transmute::<__m512i, __m512bh>(right),
                            );
                        }
                    }
                    a = a.add(1);
                    b = b.add(COLUMNS);
                }
                for (i, acc) in acc.iter().enumerate() {
                    for (j, &sum) in acc.iter().enumerate() {
                        let mask = if j + 1 < VECTORS { 0xffff } else { last };
                        let at = self.dst.add(i * self.dst_rows + 16 * j);
                        let sum = if self.add { _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, at)) } else { sum };
                        _mm512_mask_storeu_ps(at, mask, sum);
                    }
                }
            }
        }
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

    /// All layouts, ragged edges and additions beside sums of the rounded operands written out in f64.
    #[test]
    fn products_are_those_of_the_rounded_operands_and_touch_nothing_else() {
        if !available() {
            return;
        }
        let rounded = |x: &[f32]| x.iter().map(|&x| half::bf16::from_f32(x).to_f64()).collect::<Vec<f64>>();
        for (m, n, k) in [(16, 16, 1), (16, 33, 7), (29, 47, 30), (40, 16, 0), (21, 70, 300), (100, 17, 33), (17, 260, 20)] {
            for layout in 0..8 {
                let (turned_left, turned_right, add) = (layout & 1 > 0, layout & 2 > 0, layout & 4 > 0);
                let (a, b, rows) = (numbers(1, m * k), numbers(2, k * n), n + 3);
                let (a_rounded, b_rounded, before) = (rounded(&a), rounded(&b), numbers(3, m * rows));
                let mut dst = before.clone();
                let lhs = Matrix { at: a.as_ptr(), rows: if turned_left { 1 } else { k }, cols: if turned_left { m } else { 1 } };
                let rhs = Matrix { at: b.as_ptr(), rows: if turned_right { 1 } else { n }, cols: if turned_right { k } else { 1 } };
                let to = Matrix { at: dst.as_mut_ptr(), rows, cols: 1 };
                // SAFETY: all matrices are as long as shapes and strides say.
                unsafe { product((m, n, k), to, add, lhs, rhs) };
                for (i, (&got, &was)) in dst.iter().zip(&before).enumerate() {
                    let (i, j) = (i / rows, i % rows);
                    if j >= n {
                        assert_eq!(got, was, "{m} {n} {k}: beyond the matrix");
                        continue;
                    }
                    let left = |d: usize| if turned_left { a_rounded[d * m + i] } else { a_rounded[i * k + d] };
                    let right = |d: usize| if turned_right { b_rounded[j * k + d] } else { b_rounded[d * n + j] };
                    let exact = (0..k).map(|d| left(d) * right(d)).sum::<f64>() + if add { f64::from(was) } else { 0.0 };
                    assert!((f64::from(got) - exact).abs() < 1e-4, "{m} {n} {k} layout {layout}: {got} for {exact}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        if !available() {
            return;
        }
        let (mut a, b) = (vec![1f32; 16 * 32], vec![1f32; 32 * 16]);
        (a[0], a[32], a[64]) = (f32::NAN, f32::INFINITY, f32::MAX);
        let mut dst = vec![0f32; 256];
        let matrix = |at: *const f32, rows| Matrix { at, rows, cols: 1 };
        let to = Matrix { at: dst.as_mut_ptr(), rows: 16, cols: 1 };
        // SAFETY: all matrices are as long as shapes and strides say.
        unsafe { product((16, 16, 32), to, false, matrix(a.as_ptr(), 32), matrix(b.as_ptr(), 16)) };
        assert!(dst[0].is_nan() && dst[16] == f32::INFINITY && dst[48] == 32.0, "{:?}", &dst[..49]);
    }
}
