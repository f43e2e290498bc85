//! Vectors of sixteen rows: what the kernels of packed weights compute with, by the instructions that the processor has.
//! Deliberately not here: x86's own instructions (`x86`), and the layout of weights (`layout`).

/// Sixteen lanes of numbers and sixteen times four bytes. Everything is inlined into a function that has the instructions.
///
/// # Safety
/// Of all functions: the processor has the instructions, and pointers reach as many bytes as the result holds (`dot`: four).
pub trait Lanes: Copy {
    /// 64 bytes.
    type Bytes: Copy;
    /// 16 sums.
    type Ints: Copy;
    /// 16 numbers.
    type Floats: Copy;
    /// Rows of activations that the registers have room for.
    const ROWS: usize;

    unsafe fn bytes(at: *const u8) -> Self::Bytes;
    /// Says that the line at this place, which need not be there, will be wanted.
    #[inline(always)]
    fn soon(_at: *const u8) {}
    /// Each byte's bits from `from` on moved to `to`, of which `mask` stays.
    unsafe fn field(x: Self::Bytes, from: u32, to: u32, mask: u8) -> Self::Bytes;
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// Sixteen times x.
    unsafe fn ints(x: i32) -> Self::Ints;
    /// sums + Σ w · a over four bytes a lane, the same four of `a` for all; w is unsigned and less than 128.
    unsafe fn dot(sums: Self::Ints, w: Self::Bytes, a: *const i8) -> Self::Ints;
    /// As `dot`, with any w.
    unsafe fn dot_wide(sums: Self::Ints, w: Self::Bytes, a: *const i8) -> Self::Ints;

    unsafe fn floats(x: f32) -> Self::Floats;
    unsafe fn of_ints(x: Self::Ints) -> Self::Floats;
    unsafe fn f32s(at: *const u8) -> Self::Floats;
    unsafe fn f16s(at: *const u8) -> Self::Floats;
    unsafe fn i8s(at: *const u8) -> Self::Floats;
    /// Sixteen pairs of bf16: the first of each, and the second.
    unsafe fn bf16s(at: *const u8) -> (Self::Floats, Self::Floats);
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a · b + c.
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    unsafe fn store(x: Self::Floats, at: *mut f32);
}

/// For every processor: the compiler makes of it what it can.
#[derive(Clone, Copy)]
pub struct Plain;

type F = [f32; 16];

#[inline(always)]
fn each(f: impl FnMut(usize) -> f32) -> F {
    std::array::from_fn(f)
}

impl Lanes for Plain {
    type Bytes = [u8; 64];
    type Ints = [i32; 16];
    type Floats = F;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn bytes(at: *const u8) -> [u8; 64] {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[u8; 64]>().read() }
    }
    #[inline(always)]
    unsafe fn field(x: [u8; 64], from: u32, to: u32, mask: u8) -> [u8; 64] {
        x.map(|b| ((b >> from) << to) & mask)
    }
    #[inline(always)]
    unsafe fn or(a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        std::array::from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    unsafe fn ints(x: i32) -> [i32; 16] {
        [x; 16]
    }
    #[inline(always)]
    unsafe fn dot(sums: [i32; 16], w: [u8; 64], a: *const i8) -> [i32; 16] {
        // SAFETY: the caller's promise.
        let a = unsafe { a.cast::<[i8; 4]>().read() };
        std::array::from_fn(|i| sums[i] + (0..4).map(|j| i32::from(w[4 * i + j]) * i32::from(a[j])).sum::<i32>())
    }
    #[inline(always)]
    unsafe fn dot_wide(sums: [i32; 16], w: [u8; 64], a: *const i8) -> [i32; 16] {
        // SAFETY: the caller's promise.
        unsafe { Self::dot(sums, w, a) }
    }
    #[inline(always)]
    unsafe fn floats(x: f32) -> F {
        [x; 16]
    }
    #[inline(always)]
    unsafe fn of_ints(x: [i32; 16]) -> F {
        x.map(|i| i as f32)
    }
    #[inline(always)]
    unsafe fn f32s(at: *const u8) -> F {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn f16s(at: *const u8) -> F {
        // SAFETY: the caller's promise.
        let bits = unsafe { at.cast::<[u16; 16]>().read_unaligned() };
        each(|i| half::f16::from_bits(bits[i]).to_f32())
    }
    #[inline(always)]
    unsafe fn i8s(at: *const u8) -> F {
        // SAFETY: the caller's promise.
        let x = unsafe { at.cast::<[i8; 16]>().read() };
        each(|i| f32::from(x[i]))
    }
    #[inline(always)]
    unsafe fn bf16s(at: *const u8) -> (F, F) {
        // SAFETY: the caller's promise.
        let bits = unsafe { at.cast::<[u32; 16]>().read_unaligned() };
        (each(|i| f32::from_bits(bits[i] << 16)), each(|i| f32::from_bits(bits[i] & 0xffff_0000)))
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        // Not `mul_add`: without the instruction it is a call.
        each(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn store(x: F, at: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<F>().write_unaligned(x) }
    }
}
