//! How packed weights stand in memory: tiles of sixteen rows, in which four columns of all sixteen rows make a vector, so that
//! a product streams through them once and adds nothing up across a vector.
//! Deliberately not here: the products (`kernel`).

use crate::gguf::blocks::{self, Block, Type};
use rayon::prelude::*;

/// Rows of a tile.
pub const ROWS: usize = 16;
/// Columns whose products are summed up as integers.
pub const GROUP: usize = 32;

/// How the tiles of a quantised type look: f16 scales (and minima) of sixteen rows, for blocks of 256 those of their groups as
/// bytes, then the bits of eight vectors of four columns for every 32 columns: the low bits' plane, then the high bits'.
pub trait Form {
    const KIND: Type;
    /// Bits of the low and of the high plane.
    const LOW: usize;
    const HIGH: usize;
    /// Whether blocks have 256 numbers, in groups.
    const GROUPED: bool;
}

macro_rules! forms {
    ($($name:ident: $low:literal + $high:literal, $grouped:literal;)*) => {$(
        pub struct $name;
        impl Form for $name {
            const KIND: Type = Type::$name;
            const LOW: usize = $low;
            const HIGH: usize = $high;
            const GROUPED: bool = $grouped;
        }
    )*};
}
forms! {
    Q4_0: 4 + 0, false;
    Q4_1: 4 + 0, false;
    Q5_0: 4 + 1, false;
    Q5_1: 4 + 1, false;
    Q8_0: 8 + 0, false;
    Q2K: 2 + 0, true;
    Q3K: 2 + 1, true;
    Q4K: 4 + 0, true;
    Q5K: 4 + 1, true;
    Q6K: 4 + 2, true;
}

/// Bits of both planes.
pub fn bits(kind: Type) -> (usize, usize) {
    match kind {
        Type::Q2K => (2, 0),
        Type::Q3K => (2, 1),
        Type::Q5_0 | Type::Q5_1 | Type::Q5K => (4, 1),
        Type::Q6K => (4, 2),
        Type::Q8_0 => (8, 0),
        _ => (4, 0),
    }
}

/// Bytes of a tile of so many columns (whole blocks; of plain numbers an even number).
pub fn tile_bytes(kind: Type, cols: usize) -> usize {
    if kind.plain() {
        return cols * ROWS * kind.bytes();
    }
    let (low, high) = bits(kind);
    let with_min = 1 + usize::from(kind.has_min());
    let scales = 2 * ROWS * with_min + if kind.block() == 256 { 256 / kind.group() * ROWS * with_min } else { 0 };
    cols / kind.block() * scales + cols / GROUP * 4 * ROWS * (low + high)
}

/// A row of memory that the processor loads at once.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line([u8; 64]);

/// Room for packed weights, zeroed.
pub fn room(bytes: usize) -> Vec<Line> {
    vec![Line([0; 64]); bytes.div_ceil(64)]
}

/// The bytes of lines.
pub fn bytes_of(lines: &[Line]) -> &[u8] {
    // SAFETY: a line is 64 bytes without gaps.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) }
}

fn bytes_of_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: as above; any bytes are a line.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 64) }
}

/// Packs a matrix; `row(i)` gives the bytes of row i as a file has them: whole blocks, or little-endian numbers.
pub fn pack<'a>(kind: Type, (rows, cols): (usize, usize), row: impl Fn(usize) -> &'a [u8] + Sync) -> Vec<Line> {
    let size = tile_bytes(kind, padded(kind, cols));
    let mut lines = room(size * rows.div_ceil(ROWS));
    bytes_of_mut(&mut lines).par_chunks_exact_mut(size.max(1)).take(rows.div_ceil(ROWS)).enumerate().for_each(|(t, tile)| {
        let mut block = Block::default();
        for lane in 0..ROWS.min(rows - t * ROWS) {
            let bytes = row(t * ROWS + lane);
            if kind.plain() {
                plain_lane(kind, bytes, lane, tile);
            } else {
                let unit = tile_bytes(kind, kind.block());
                for (tile, bytes) in tile.chunks_exact_mut(unit).zip(bytes.chunks_exact(kind.bytes())) {
                    blocks::unpack(kind, bytes, &mut block);
                    lane_in(kind, &block, lane, tile);
                }
            }
        }
    });
    lines
}

/// Columns with those that make pairs whole.
pub fn padded(kind: Type, cols: usize) -> usize {
    if kind.plain() { cols.next_multiple_of(2) } else { cols }
}

/// Where column `col` of a lane stands in a tile of plain numbers. Those of two bytes come in pairs of columns where the
/// second is widened by a mask, which bf16 is.
fn plain_at(kind: Type, col: usize, lane: usize) -> usize {
    match kind {
        Type::Bf16 => (col / 2 * ROWS + lane) * 4 + col % 2 * 2,
        _ => (col * ROWS + lane) * kind.bytes(),
    }
}

fn plain_lane(kind: Type, bytes: &[u8], lane: usize, tile: &mut [u8]) {
    let n = kind.bytes();
    for (col, x) in bytes.chunks_exact(n).enumerate() {
        let at = plain_at(kind, col, lane);
        tile[at..at + n].copy_from_slice(x);
    }
}

/// Where the parts of one block's tile begin: minima of blocks, scales of groups, minima of groups, planes.
struct Places {
    d: usize,
    m: usize,
    scales: usize,
    mins: usize,
    planes: usize,
}

impl Places {
    fn of(kind: Type) -> Self {
        let groups = if kind.block() == 256 { 256 / kind.group() } else { 0 };
        let min = usize::from(kind.has_min());
        let m = 2 * ROWS;
        let scales = m + min * 2 * ROWS;
        let mins = scales + groups * ROWS;
        Self { d: 0, m, scales, mins, planes: mins + min * groups * ROWS }
    }
}

/// Where bits of number i of a block stand in a plane of `width` bits: byte and shift. Vector j of four columns has its bits
/// in vector j % width of the plane.
fn in_plane(i: usize, width: usize, lane: usize) -> (usize, usize) {
    let j = i % GROUP / 4;
    (64 * (j % width) + 4 * lane + i % 4, width * (j / width))
}

fn lane_in(kind: Type, block: &Block, lane: usize, tile: &mut [u8]) {
    let at = Places::of(kind);
    tile[at.d + 2 * lane..][..2].copy_from_slice(&block.d.to_le_bytes());
    if kind.has_min() {
        tile[at.m + 2 * lane..][..2].copy_from_slice(&block.m.to_le_bytes());
    }
    if kind.block() == 256 {
        for g in 0..256 / kind.group() {
            tile[at.scales + g * ROWS + lane] = block.scale[g] as u8;
            if kind.has_min() {
                tile[at.mins + g * ROWS + lane] = block.min[g];
            }
        }
    }
    let (low, high) = bits(kind);
    let of_group = 64 * (low + high);
    for (i, &q) in block.q.iter().enumerate().take(kind.block()) {
        let start = at.planes + i / GROUP * of_group;
        let (byte, shift) = in_plane(i, low, lane);
        let mask = ((1u32 << low) - 1) as u8;
        tile[start + byte] |= (q & mask) << shift;
        if high > 0 {
            let (byte, shift) = in_plane(i, high, lane);
            tile[start + 64 * low + byte] |= (q >> low) << shift;
        }
    }
}

/// The numbers of one row of a tile.
pub fn unpack_lane(kind: Type, tile: &[u8], lane: usize, out: &mut [f32]) {
    if kind.plain() {
        for (col, o) in out.iter_mut().enumerate() {
            blocks::dequantize(kind, &tile[plain_at(kind, col, lane)..][..kind.bytes()], std::slice::from_mut(o));
        }
        return;
    }
    let at = Places::of(kind);
    let (low, high) = bits(kind);
    let mut block = Block::default();
    for (tile, out) in tile.chunks_exact(tile_bytes(kind, kind.block())).zip(out.chunks_exact_mut(kind.block())) {
        let half = |at: usize| half::f16::from_le_bytes([tile[at + 2 * lane], tile[at + 2 * lane + 1]]);
        block.d = half(at.d);
        if kind.has_min() {
            block.m = half(at.m);
        }
        if kind.block() == 256 {
            for g in 0..256 / kind.group() {
                block.scale[g] = tile[at.scales + g * ROWS + lane] as i8;
                if kind.has_min() {
                    block.min[g] = tile[at.mins + g * ROWS + lane];
                }
            }
        }
        for i in 0..kind.block() {
            let start = at.planes + i / GROUP * 64 * (low + high);
            let bits = |from: usize, width: usize| {
                let (byte, shift) = in_plane(i, width, lane);
                (tile[from + byte] >> shift) & ((1u32 << width) - 1) as u8
            };
            block.q[i] = bits(start, low) | if high > 0 { bits(start + 64 * low, high) << low } else { 0 };
        }
        blocks::values(kind, &block, out);
    }
}
