//! The types of numbers that tensors of a GGUF file have: how many stand in a block, how many bytes it takes, and what its
//! bits mean (github.com/ggml-org/ggml, `src/ggml-common.h` and `src/ggml-quants.c`).
//! Deliberately not here: products with blocks (`model::ops::packed`) and making blocks of numbers, which is export's.

use half::{bf16, f16};

/// A type of numbers that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// Type, number in files, name, numbers in a block, bytes of a block.
const TYPES: &[(Type, u32, &str, usize, usize)] = &[
    (Type::F32, 0, "F32", 1, 4),
    (Type::F16, 1, "F16", 1, 2),
    (Type::Q4_0, 2, "Q4_0", 32, 18),
    (Type::Q4_1, 3, "Q4_1", 32, 20),
    (Type::Q5_0, 6, "Q5_0", 32, 22),
    (Type::Q5_1, 7, "Q5_1", 32, 24),
    (Type::Q8_0, 8, "Q8_0", 32, 34),
    (Type::Q2K, 10, "Q2_K", 256, 84),
    (Type::Q3K, 11, "Q3_K", 256, 110),
    (Type::Q4K, 12, "Q4_K", 256, 144),
    (Type::Q5K, 13, "Q5_K", 256, 176),
    (Type::Q6K, 14, "Q6_K", 256, 210),
    (Type::Bf16, 30, "BF16", 1, 2),
];

/// Names of types that exist and are not read here.
const OTHERS: &[(u32, &str)] = &[
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl Type {
    /// The type that a file's number means; else what is known of it.
    pub fn from_number(number: u32) -> Result<Self, String> {
        if let Some(row) = TYPES.iter().find(|row| row.1 == number) {
            return Ok(row.0);
        }
        let known: Vec<&str> = TYPES.iter().map(|row| row.2).collect();
        let name = OTHERS.iter().find(|o| o.0 == number).map_or_else(|| format!("the unknown type {number}"), |o| format!("type {}", o.1));
        Err(format!("{name}, which is not read here (known: {})", known.join(", ")))
    }

    fn row(self) -> &'static (Type, u32, &'static str, usize, usize) {
        // Every type has its row; the first stands in so that nothing can fail.
        TYPES.iter().find(|row| row.0 == self).unwrap_or(&TYPES[0])
    }
    /// As files write it.
    pub fn number(self) -> u32 {
        self.row().1
    }
    pub fn name(self) -> &'static str {
        self.row().2
    }
    /// Numbers in a block.
    pub fn block(self) -> usize {
        self.row().3
    }
    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        self.row().4
    }
    /// Whether each number stands for itself.
    pub fn plain(self) -> bool {
        self.block() == 1
    }
    /// Bytes of `n` numbers; none where they make no whole blocks or no size.
    pub fn size_of(self, n: u64) -> Option<u64> {
        let block = self.block() as u64;
        if !n.is_multiple_of(block) {
            return None;
        }
        (n / block).checked_mul(self.bytes() as u64)
    }
}

/// A block of quantised numbers: number i of group g (of `group` numbers) is `d · scale[g] · (q[i] − zero) + m · min[g]`.
#[derive(Clone, Debug)]
pub struct Block {
    /// As many as the type has in a block.
    pub q: [u8; 256],
    pub d: f16,
    pub m: f16,
    /// One a group of a block of 256; 1 of smaller blocks.
    pub scale: [i8; 16],
    /// As `scale`; not more than 63, and what it is multiplied with is already turned to minus.
    pub min: [u8; 16],
}

impl Default for Block {
    fn default() -> Self {
        Self { q: [0; 256], d: f16::ZERO, m: f16::ZERO, scale: [1; 16], min: [1; 16] }
    }
}

impl Type {
    /// What is taken from every number of a block.
    pub fn zero(self) -> u8 {
        match self {
            Type::Q4_0 => 8,
            Type::Q5_0 => 16,
            Type::Q8_0 => 128,
            Type::Q3K => 4,
            Type::Q6K => 32,
            _ => 0,
        }
    }
    /// Numbers that share a scale.
    pub fn group(self) -> usize {
        match self {
            Type::Q2K | Type::Q3K | Type::Q6K => 16,
            _ => self.block().min(32),
        }
    }
    /// Whether something is added to every number of a group.
    pub fn has_min(self) -> bool {
        matches!(self, Type::Q4_1 | Type::Q5_1 | Type::Q2K | Type::Q4K | Type::Q5K)
    }
}

fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Takes a block apart; `bytes` are those of one block of a quantised type.
pub fn unpack(kind: Type, bytes: &[u8], out: &mut Block) {
    match kind {
        Type::F32 | Type::F16 | Type::Bf16 => {}
        Type::Q4_0 => {
            out.d = half_at(bytes, 0);
            nibbles(&bytes[2..18], &mut out.q);
        }
        Type::Q4_1 => {
            (out.d, out.m) = (half_at(bytes, 0), half_at(bytes, 2));
            nibbles(&bytes[4..20], &mut out.q);
        }
        Type::Q5_0 => {
            out.d = half_at(bytes, 0);
            nibbles(&bytes[6..22], &mut out.q);
            fifth_bits(&bytes[2..6], &mut out.q);
        }
        Type::Q5_1 => {
            (out.d, out.m) = (half_at(bytes, 0), half_at(bytes, 2));
            nibbles(&bytes[8..24], &mut out.q);
            fifth_bits(&bytes[4..8], &mut out.q);
        }
        Type::Q8_0 => {
            out.d = half_at(bytes, 0);
            // From −128 … 127 to 0 … 255, with 128 for zero.
            out.q.iter_mut().zip(&bytes[2..34]).for_each(|(q, &b)| *q = b ^ 0x80);
        }
        Type::Q2K => unpack_q2(bytes, out),
        Type::Q3K => unpack_q3(bytes, out),
        Type::Q4K => {
            scales_q4(bytes, out);
            nibbles_of_64(&bytes[16..144], &mut out.q);
        }
        Type::Q5K => {
            scales_q4(bytes, out);
            nibbles_of_64(&bytes[48..176], &mut out.q);
            for (i, q) in out.q.iter_mut().enumerate() {
                *q |= ((bytes[16 + i % 32] >> (i / 32)) & 1) << 4;
            }
        }
        Type::Q6K => unpack_q6(bytes, out),
    }
}

/// Sixteen bytes: the low halves first, then the high ones.
fn nibbles(bytes: &[u8], q: &mut [u8; 256]) {
    for (i, b) in bytes.iter().enumerate() {
        (q[i], q[i + 16]) = (b & 15, b >> 4);
    }
}

fn fifth_bits(bytes: &[u8], q: &mut [u8; 256]) {
    for (i, q) in q.iter_mut().enumerate().take(32) {
        *q |= ((bytes[i / 8] >> (i % 8)) & 1) << 4;
    }
}

/// As `nibbles`, 32 bytes for 64 numbers each.
fn nibbles_of_64(bytes: &[u8], q: &mut [u8; 256]) {
    for (part, bytes) in bytes.chunks_exact(32).enumerate() {
        for (i, b) in bytes.iter().enumerate() {
            (q[64 * part + i], q[64 * part + 32 + i]) = (b & 15, b >> 4);
        }
    }
}

/// Two bits of number i stand in byte i % 32 of the half that it is in, from bit 2 · (i / 32 % 4) on.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    (bytes[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3
}

fn unpack_q2(bytes: &[u8], out: &mut Block) {
    (out.d, out.m) = (half_at(bytes, 80), -half_at(bytes, 82));
    for (g, byte) in bytes[..16].iter().enumerate() {
        (out.scale[g], out.min[g]) = ((byte & 15) as i8, byte >> 4);
    }
    for (i, q) in out.q.iter_mut().enumerate() {
        *q = two_bits(&bytes[16..80], i);
    }
}

fn unpack_q3(bytes: &[u8], out: &mut Block) {
    let (high, low, scales) = (&bytes[..32], &bytes[32..96], &bytes[96..108]);
    out.d = half_at(bytes, 108);
    for g in 0..16 {
        let four = (scales[g % 8] >> (4 * (g / 8))) & 15;
        let two = (scales[8 + g % 4] >> (2 * (g / 4))) & 3;
        out.scale[g] = (four | (two << 4)) as i8 - 32;
    }
    for (i, q) in out.q.iter_mut().enumerate() {
        *q = two_bits(low, i) | (((high[i % 32] >> (i / 32)) & 1) << 2);
    }
}

/// Six bits each for eight scales and eight minima.
fn scales_q4(bytes: &[u8], out: &mut Block) {
    (out.d, out.m) = (half_at(bytes, 0), -half_at(bytes, 2));
    let s = &bytes[4..16];
    for g in 0..8 {
        let (scale, min) = match g {
            0..4 => (s[g] & 63, s[g + 4] & 63),
            _ => ((s[g + 4] & 15) | ((s[g - 4] >> 6) << 4), (s[g + 4] >> 4) | ((s[g] >> 6) << 4)),
        };
        (out.scale[g], out.min[g]) = (scale as i8, min);
    }
}

fn unpack_q6(bytes: &[u8], out: &mut Block) {
    let (low, high) = (&bytes[..128], &bytes[128..192]);
    out.d = half_at(bytes, 208);
    for g in 0..16 {
        out.scale[g] = bytes[192 + g] as i8;
    }
    for (i, q) in out.q.iter_mut().enumerate() {
        // Quarters 0 and 1 of each half are the low nibbles of its 64 bytes, 2 and 3 the high ones.
        let (part, quarter, l) = (i / 128, i / 32 % 4, i % 32);
        let four = (low[64 * part + 32 * (quarter % 2) + l] >> (4 * (quarter / 2))) & 15;
        *q = four | (two_bits(high, i) << 4);
    }
}

/// The numbers of whole blocks: as many as fit into `out`.
pub fn dequantize(kind: Type, bytes: &[u8], out: &mut [f32]) {
    match kind {
        Type::F32 => out.iter_mut().zip(bytes.chunks_exact(4)).for_each(|(o, b)| *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        Type::F16 => out.iter_mut().zip(bytes.chunks_exact(2)).for_each(|(o, b)| *o = f16::from_le_bytes([b[0], b[1]]).to_f32()),
        Type::Bf16 => out.iter_mut().zip(bytes.chunks_exact(2)).for_each(|(o, b)| *o = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        _ => {
            let mut block = Block::default();
            for (out, bytes) in out.chunks_exact_mut(kind.block()).zip(bytes.chunks_exact(kind.bytes())) {
                unpack(kind, bytes, &mut block);
                values(kind, &block, out);
            }
        }
    }
}

/// The numbers of a block that was taken apart.
pub fn values(kind: Type, block: &Block, out: &mut [f32]) {
    let (d, m, zero) = (block.d.to_f32(), block.m.to_f32(), f32::from(kind.zero()));
    for (g, (out, q)) in out.chunks_mut(kind.group()).zip(block.q.chunks(kind.group())).enumerate() {
        let (scale, min) = (d * f32::from(block.scale[g]), if kind.has_min() { m * f32::from(block.min[g]) } else { 0.0 });
        out.iter_mut().zip(q).for_each(|(o, &q)| *o = scale * (f32::from(q) - zero) + min);
    }
}
