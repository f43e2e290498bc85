//! Sixteen rows in the vectors of x86: AVX-512 with VNNI, and AVX2.
//! Deliberately not here: choosing between them (`kernel`).

use super::lanes::Lanes;
use std::arch::x86_64::*;

/// One register a vector, four products of bytes an instruction.
#[derive(Clone, Copy)]
pub struct Avx512;

/// Two registers a vector.
#[derive(Clone, Copy)]
pub struct Avx2;

/// Whether this processor has all that `Avx512` uses.
pub fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

/// Whether this processor has all that `Avx2` uses.
pub fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// A shift by a number that is known when it is compiled, as `field` calls it.
macro_rules! shifted {
    ($right:ident, $left:ident, $x:expr, $from:expr, $to:expr) => {
        match $from as i32 - $to as i32 {
            1 => $right::<1>($x),
            2 => $right::<2>($x),
            3 => $right::<3>($x),
            4 => $right::<4>($x),
            5 => $right::<5>($x),
            6 => $right::<6>($x),
            7 => $right::<7>($x),
            -1 => $left::<1>($x),
            -2 => $left::<2>($x),
            -3 => $left::<3>($x),
            -4 => $left::<4>($x),
            _ => $x,
        }
    };
}

// SAFETY of everything below: the callers' promises of `Lanes`.
impl Lanes for Avx512 {
    type Bytes = __m512i;
    type Ints = __m512i;
    type Floats = __m512;
    const ROWS: usize = 8;

    #[inline(always)]
    fn soon(at: *const u8) {
        // A hint; no place can be wrong for it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    unsafe fn bytes(at: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(at.cast()) }
    }
    #[inline(always)]
    unsafe fn field(x: __m512i, from: u32, to: u32, mask: u8) -> __m512i {
        // Shifts of sixteen bits bring bits of the neighbour along, which the mask takes away.
        unsafe { _mm512_and_si512(shifted!(_mm512_srli_epi16, _mm512_slli_epi16, x, from, to), _mm512_set1_epi8(mask as i8)) }
    }
    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn ints(x: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512i, w: __m512i, a: *const i8) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sums, w, _mm512_set1_epi32(a.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn dot_wide(sums: __m512i, w: __m512i, a: *const i8) -> __m512i {
        unsafe { Self::dot(sums, w, a) }
    }
    #[inline(always)]
    unsafe fn floats(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn of_ints(x: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(x) }
    }
    #[inline(always)]
    unsafe fn f32s(at: *const u8) -> __m512 {
        unsafe { _mm512_loadu_ps(at.cast()) }
    }
    #[inline(always)]
    unsafe fn f16s(at: *const u8) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
    }
    #[inline(always)]
    unsafe fn i8s(at: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at.cast()))) }
    }
    #[inline(always)]
    unsafe fn bf16s(at: *const u8) -> (__m512, __m512) {
        unsafe {
            let pairs = _mm512_loadu_si512(at.cast());
            let second = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(second))
        }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn store(x: __m512, at: *mut f32) {
        unsafe { _mm512_storeu_ps(at, x) }
    }
}

/// Σ w · a over four bytes a lane. Sums of two products have to fit into sixteen bits: w is less than 128.
#[inline(always)]
unsafe fn dot8(sums: __m256i, w: __m256i, a: __m256i) -> __m256i {
    unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(w, a), _mm256_set1_epi16(1))) }
}

impl Lanes for Avx2 {
    type Bytes = [__m256i; 2];
    type Ints = [__m256i; 2];
    type Floats = [__m256; 2];
    const ROWS: usize = 4;

    #[inline(always)]
    fn soon(at: *const u8) {
        // A hint; no place can be wrong for it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    unsafe fn bytes(at: *const u8) -> [__m256i; 2] {
        unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())] }
    }
    #[inline(always)]
    unsafe fn field(x: [__m256i; 2], from: u32, to: u32, mask: u8) -> [__m256i; 2] {
        x.map(|x| unsafe { _mm256_and_si256(shifted!(_mm256_srli_epi16, _mm256_slli_epi16, x, from, to), _mm256_set1_epi8(mask as i8)) })
    }
    #[inline(always)]
    unsafe fn or(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn ints(x: i32) -> [__m256i; 2] {
        unsafe { [_mm256_set1_epi32(x); 2] }
    }
    #[inline(always)]
    unsafe fn dot(sums: [__m256i; 2], w: [__m256i; 2], a: *const i8) -> [__m256i; 2] {
        unsafe {
            let a = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
            [dot8(sums[0], w[0], a), dot8(sums[1], w[1], a)]
        }
    }
    #[inline(always)]
    unsafe fn dot_wide(sums: [__m256i; 2], w: [__m256i; 2], a: *const i8) -> [__m256i; 2] {
        unsafe {
            let a = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
            let (low, high) = (_mm256_set1_epi8(0x7f), _mm256_set1_epi8(0x80_u8 as i8));
            let one = |sums, w| dot8(dot8(sums, _mm256_and_si256(w, low), a), _mm256_and_si256(w, high), a);
            [one(sums[0], w[0]), one(sums[1], w[1])]
        }
    }
    #[inline(always)]
    unsafe fn floats(x: f32) -> [__m256; 2] {
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    unsafe fn of_ints(x: [__m256i; 2]) -> [__m256; 2] {
        x.map(|x| unsafe { _mm256_cvtepi32_ps(x) })
    }
    #[inline(always)]
    unsafe fn f32s(at: *const u8) -> [__m256; 2] {
        unsafe { [_mm256_loadu_ps(at.cast()), _mm256_loadu_ps(at.add(32).cast())] }
    }
    #[inline(always)]
    unsafe fn f16s(at: *const u8) -> [__m256; 2] {
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(at.cast())), _mm256_cvtph_ps(_mm_loadu_si128(at.add(16).cast()))] }
    }
    #[inline(always)]
    unsafe fn i8s(at: *const u8) -> [__m256; 2] {
        let one = |at: *const u8| unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast()))) };
        unsafe { [one(at), one(at.add(8))] }
    }
    #[inline(always)]
    unsafe fn bf16s(at: *const u8) -> ([__m256; 2], [__m256; 2]) {
        unsafe {
            let pairs = Self::bytes(at);
            let second = pairs.map(|x| _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(0xffff_0000_u32 as i32))));
            (pairs.map(|x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x))), second)
        }
    }
    #[inline(always)]
    unsafe fn add(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn mul(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn fma(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    unsafe fn store(x: [__m256; 2], at: *mut f32) {
        unsafe {
            _mm256_storeu_ps(at, x[0]);
            _mm256_storeu_ps(at.add(8), x[1]);
        }
    }
}
