//! A few queries with the keys and values of a head, one after the other where they stand: sums of products of a row each,
//! and sums of rows by weights. In f32 with AVX-512 where the processor has it.
//! Deliberately not here: which rows are meant (`cached`).

use super::super::real::{Real, has_tiles, sum2, wide};

/// `n` rows of `d` numbers: the first at `start`, the next `stride` further each.
#[derive(Clone, Copy)]
pub struct Lines<'a, T> {
    pub all: &'a [T],
    pub start: usize,
    pub stride: usize,
    pub n: usize,
    pub d: usize,
}

impl<T> Lines<'_, T> {
    fn row(&self, i: usize) -> &[T] {
        &self.all[self.start + i * self.stride..][..self.d]
    }
    /// Whether all rows are there, and whole vectors.
    fn fits_vectors(&self) -> bool {
        let end = self.start + self.n.saturating_sub(1) * self.stride + self.d;
        self.d.is_multiple_of(16) && self.d > 0 && self.n > 0 && end <= self.all.len()
    }
}

/// to[g · row + i] = query g · line i; `queries` are whole rows of d.
pub fn products<T: Real>(queries: &[T], lines: Lines<T>, to: &mut [T], row: usize) {
    let groups = queries.len() / lines.d.max(1);
    if lines.n == 0 {
        return;
    }
    assert!(groups > 0 && to.len() >= (groups - 1) * row + lines.n);
    #[cfg(target_arch = "x86_64")]
    if has_tiles::<T>() && lines.fits_vectors() {
        let (lines, q, to) = (floats(lines), queries.as_ptr().cast::<f32>(), to.as_mut_ptr().cast::<f32>());
        // SAFETY: T is f32 where there are tiles, and the processor has AVX-512; lengths were checked.
        unsafe { avx512::products(q, groups, lines, to, row) };
        return;
    }
    wide(|| {
        for i in 0..lines.n {
            for (g, query) in queries.chunks_exact(lines.d).enumerate() {
                to[g * row + i] = sum2(query, lines.row(i), |a, b| a * b);
            }
        }
    });
}

/// to[g] += Σ weights[g · row + i] · line i, in the order of the lines; `to` are whole rows of d.
pub fn weighted<T: Real>(weights: &[T], row: usize, lines: Lines<T>, to: &mut [T]) {
    let groups = to.len() / lines.d.max(1);
    if lines.n == 0 {
        return;
    }
    assert!(groups > 0 && weights.len() >= (groups - 1) * row + lines.n);
    #[cfg(target_arch = "x86_64")]
    if has_tiles::<T>() && lines.fits_vectors() {
        let (lines, weights, to) = (floats(lines), weights.as_ptr().cast::<f32>(), to.as_mut_ptr().cast::<f32>());
        // SAFETY: as above.
        unsafe { avx512::weighted(weights, row, lines, to, groups) };
        return;
    }
    wide(|| {
        for i in 0..lines.n {
            for (g, to) in to.chunks_exact_mut(lines.d).enumerate() {
                let p = weights[g * row + i];
                to.iter_mut().zip(lines.row(i)).for_each(|(o, &v)| *o += p * v);
            }
        }
    });
}

#[cfg(target_arch = "x86_64")]
fn floats<'a, T: Real>(lines: Lines<'a, T>) -> Lines<'a, f32> {
    debug_assert_eq!(size_of::<T>(), 4);
    // SAFETY: only called where T is f32.
    let all = unsafe { std::slice::from_raw_parts(lines.all.as_ptr().cast::<f32>(), lines.all.len()) };
    Lines { all, start: lines.start, stride: lines.stride, n: lines.n, d: lines.d }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::Lines;
    use std::arch::x86_64::*;

    /// Sixteen lanes to four, of which the sum is wanted.
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    #[inline]
    fn quarter(x: __m512) -> __m128 {
        let half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x))));
        _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half))
    }

    /// Lines ahead that are asked for: a head's lines lie apart, where the processor does not look for them by itself.
    const AHEAD: usize = 8;

    /// Says that a line of d numbers, which need not be there, will be wanted.
    #[inline(always)]
    fn soon(at: *const f32, d: usize) {
        for c in (0..d).step_by(16) {
            // SAFETY: a hint; no place can be wrong for it.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(c).cast()) }
        }
    }

    /// # Safety
    /// The processor has AVX-512; `lines` are all there and d is a multiple of 16; q has `groups` rows of d, and `to` has room
    /// for n numbers at every multiple of `row`.
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    pub unsafe fn products(q: *const f32, groups: usize, lines: Lines<f32>, to: *mut f32, row: usize) {
        let Lines { all, start, stride, n, d } = lines;
        let first = all.as_ptr().wrapping_add(start);
        for i in (0..n).step_by(4) {
            // Of the last few, the last stands in for those that are missing.
            let at = [0, 1, 2, 3].map(|j| first.wrapping_add((i + j).min(n - 1) * stride));
            (0..4).for_each(|j| soon(first.wrapping_add((i + j + AHEAD) * stride), d));
            for g in 0..groups {
                let mut sums = [_mm512_setzero_ps(); 4];
                for c in (0..d).step_by(16) {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let q = _mm512_loadu_ps(q.add(g * d + c));
                        for (sum, at) in sums.iter_mut().zip(at) {
                            *sum = _mm512_fmadd_ps(q, _mm512_loadu_ps(at.add(c)), *sum);
                        }
                    }
                }
                let [a, b, c, d] = sums.map(|sum| quarter(sum));
                let (ab, cd) = (_mm_hadd_ps(a, b), _mm_hadd_ps(c, d));
                let mask = ((1u32 << (n - i).min(4)) - 1) as u8;
                // SAFETY: the caller's promise; what is missing is masked out.
                unsafe { _mm_mask_storeu_ps(to.add(g * row + i), mask, _mm_hadd_ps(ab, cd)) };
            }
        }
    }

    /// # Safety
    /// As above, with weights for q and whole rows of d for `to`.
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    pub unsafe fn weighted(weights: *const f32, row: usize, lines: Lines<f32>, to: *mut f32, groups: usize) {
        let Lines { all, start, stride, n, d } = lines;
        let first = all.as_ptr().wrapping_add(start);
        for g in 0..groups {
            let mut c = 0;
            while c < d {
                // Up to four vectors of a row at a time stay in registers.
                let vectors = ((d - c) / 16).min(4);
                // SAFETY: the caller's promise.
                unsafe {
                    let to = to.add(g * d + c);
                    let mut sums = [_mm512_setzero_ps(); 4];
                    for (j, sum) in sums.iter_mut().enumerate().take(vectors) {
                        *sum = _mm512_loadu_ps(to.add(16 * j));
                    }
                    let weights = weights.add(g * row);
                    if vectors == 4 {
                        for i in 0..n {
                            let (p, at) = (_mm512_set1_ps(*weights.add(i)), first.add(i * stride + c));
                            if g == 0 {
                                soon(at.wrapping_add(AHEAD * stride), 64);
                            }
                            for (j, sum) in sums.iter_mut().enumerate() {
                                *sum = _mm512_fmadd_ps(p, _mm512_loadu_ps(at.add(16 * j)), *sum);
                            }
                        }
                    } else {
                        for i in 0..n {
                            let (p, at) = (_mm512_set1_ps(*weights.add(i)), first.add(i * stride + c));
                            for (j, sum) in sums.iter_mut().enumerate().take(vectors) {
                                *sum = _mm512_fmadd_ps(p, _mm512_loadu_ps(at.add(16 * j)), *sum);
                            }
                        }
                    }
                    for (j, sum) in sums.iter().enumerate().take(vectors) {
                        _mm512_storeu_ps(to.add(16 * j), *sum);
                    }
                }
                c += 16 * vectors;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn lines_are_multiplied_and_summed_in_place() {
        let mut stream = Stream::new(4, "lines");
        let mut numbers = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        for (n, d, stride, groups) in [(1, 16, 20, 1), (7, 64, 192, 3), (9, 8, 8, 2), (4, 80, 80, 1), (13, 128, 256, 4), (3, 17, 20, 2)] {
            let (all, q, row) = (numbers(5 + n * stride + d), numbers(groups * d), n + 2);
            let lines = Lines { all: &all, start: 5, stride, n, d };
            let line = |i: usize| &all[5 + i * stride..][..d];
            let mut to = vec![7f32; groups * row];
            products(&q, lines, &mut to, row);
            for (at, &got) in to.iter().enumerate() {
                let (g, i) = (at / row, at % row);
                let exact: f64 = if i < n { q[g * d..][..d].iter().zip(line(i)).map(|(a, b)| f64::from(a * b)).sum() } else { 7.0 };
                assert!((f64::from(got) - exact).abs() < 1e-4, "{n} {d} {g} {i}: {got} for {exact}");
            }
            let (weights, before) = (numbers(groups * row), numbers(groups * d));
            let mut sums = before.clone();
            weighted(&weights, row, lines, &mut sums);
            for (at, &got) in sums.iter().enumerate() {
                let (g, c) = (at / d, at % d);
                let exact = f64::from(before[at]) + (0..n).map(|i| f64::from(weights[g * row + i] * line(i)[c])).sum::<f64>();
                assert!((f64::from(got) - exact).abs() < 1e-4, "{n} {d} {g} {c}: {got} for {exact}");
            }
            // In two pieces it is the same, to the last bit.
            let mut halves = before;
            weighted(&weights, row, Lines { n: n / 2, ..lines }, &mut halves);
            weighted(&weights[n / 2..], row, Lines { start: 5 + n / 2 * stride, n: n - n / 2, ..lines }, &mut halves);
            assert_eq!(sums, halves);
        }
    }
}
