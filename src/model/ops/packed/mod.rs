//! Weights that are packed for inference: quantised blocks, bf16, f16 and f32 as they came from a file, laid out for the
//! products of a few rows and of many. Numbers stay as narrow as they were: reading them is what a generated token costs.
//! Deliberately not here: gradients; what is trained keeps its weights as tensors.

mod activations;
mod kernel;
mod lanes;
mod layout;
mod tensors;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kernel::Instructions;
pub use tensors::{PackedFactor, packed_embedding, packed_linears};

use super::real::Shared;
use super::team::Team;
use crate::gguf::blocks::Type;
use candle_core::Result;
use kernel::{Input, Job};
use layout::{GROUP, Line, ROWS};
use rayon::prelude::*;
use std::borrow::Cow;

/// A matrix (rows, cols) that is multiplied with rows of activations.
pub struct Packed {
    kind: Type,
    rows: usize,
    cols: usize,
    lines: Vec<Line>,
    /// Bytes of a tile of sixteen rows.
    tile: usize,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} {}×{}", self.kind.name(), self.rows, self.cols)
    }
}

/// A weight, and where its product goes: (n, rows).
pub struct Part<'a> {
    pub weight: &'a Packed,
    pub out: &'a mut [f32],
    /// Whether it is added to what stands there.
    pub add: bool,
}

/// Bytes of weights that a task has at least, so that handing it to another thread pays.
const GRAIN: usize = 1 << 15;
/// Tasks that a thread gets at most, so that one that is held up leaves some to the others.
const TASKS: usize = 4;

impl Packed {
    /// Packs a matrix; `row(i)` gives the bytes of row i as files have them: whole blocks, or little-endian numbers.
    pub fn new<'a>(kind: Type, (rows, cols): (usize, usize), row: impl Fn(usize) -> &'a [u8] + Sync) -> Result<Self> {
        let needed = kind.size_of(cols as u64).and_then(|n| usize::try_from(n).ok());
        let Some(needed) = needed.filter(|_| kind.plain() || cols.is_multiple_of(GROUP)) else {
            candle_core::bail!("{cols} columns make no whole blocks of {}", kind.name());
        };
        if (0..rows).any(|i| row(i).len() != needed) {
            candle_core::bail!("a matrix of {rows}×{cols} {} has rows of other sizes", kind.name());
        }
        let tile = layout::tile_bytes(kind, layout::padded(kind, cols));
        Ok(Self { kind, rows, cols, lines: layout::pack(kind, (rows, cols), row), tile })
    }

    pub fn kind(&self) -> Type {
        self.kind
    }
    pub fn rows(&self) -> usize {
        self.rows
    }
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.lines.len() * 64
    }

    fn tiles(&self) -> &[u8] {
        &layout::bytes_of(&self.lines)[..self.rows.div_ceil(ROWS) * self.tile]
    }

    /// The numbers of a row: `cols` of them.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let tile = &self.tiles()[row / ROWS * self.tile..][..self.tile];
        layout::unpack_lane(self.kind, tile, row % ROWS, out);
    }

    /// x (n, cols) · selfᵀ into new memory.
    pub fn product(&self, x: &[f32]) -> Result<Vec<f32>> {
        let mut out = vec![0.0; x.len() / self.cols.max(1) * self.rows];
        products(None, x, &mut [Part { weight: self, out: &mut out, add: false }])?;
        Ok(out)
    }
}

/// Products of the same rows x (n, cols) with several weights at once, by the pass's team where it has one.
pub fn products(team: Option<&Team>, x: &[f32], parts: &mut [Part]) -> Result<()> {
    products_by(Instructions::best(), team, x, parts)
}

/// As `products`, with instructions that the processor must have.
pub fn products_by(instructions: Instructions, team: Option<&Team>, x: &[f32], parts: &mut [Part]) -> Result<()> {
    let Some(cols) = parts.first().map(|p| p.weight.cols) else { return Ok(()) };
    let n = x.len() / cols.max(1);
    for part in parts.iter() {
        if part.weight.cols != cols || n * cols != x.len() || part.out.len() != n * part.weight.rows {
            candle_core::bail!("a product of {} numbers with a weight of {:?} into {}", x.len(), part.weight, part.out.len());
        }
    }
    if n == 0 || !Instructions::all().contains(&instructions) {
        return Ok(());
    }
    let groups = if parts.iter().any(|p| !p.weight.kind.plain()) { activations::quantize(team, x) } else { activations::Groups::default() };
    let pairs = if parts.iter().any(|p| p.weight.kind.plain()) { in_pairs(x, cols) } else { Cow::Borrowed(x) };
    let outs: Vec<Shared<f32>> = parts.iter_mut().map(|p| Shared(p.out.as_mut_ptr())).collect();
    let parts: Vec<(&Packed, bool, Shared<f32>)> = parts.iter().zip(outs).map(|(p, out)| (p.weight, p.add, out)).collect();
    let one = |(which, from, to): (usize, usize, usize)| {
        let (weight, add, out) = parts[which];
        let last = if to * ROWS > weight.rows { weight.rows % ROWS } else { ROWS };
        let input = if weight.kind.plain() { Input::Numbers(&pairs) } else { Input::Groups(&groups) };
        let tiles = &weight.tiles()[from * weight.tile..to * weight.tile];
        let cols = layout::padded(weight.kind, cols);
        let job = Job { kind: weight.kind, cols, tiles, last, input, n, out: out.at(from * ROWS), stride: weight.rows, add };
        // SAFETY: the instructions were asked for, sizes were checked above, and each task has tiles of its own.
        unsafe { kernel::run(instructions, &job) }
    };
    let tasks = tasks(&parts.iter().map(|p| p.0).collect::<Vec<_>>(), n);
    match (tasks.as_slice(), team) {
        ([task], _) => one(*task),
        (tasks, Some(team)) => team.run(tasks.len(), &|i| one(tasks[i])),
        _ => tasks.into_par_iter().with_max_len(1).for_each(one),
    }
    Ok(())
}

/// Tiles of parts (which, from, to) as tasks of about the same size.
fn tasks(parts: &[&Packed], n: usize) -> Vec<(usize, usize, usize)> {
    let all: usize = parts.iter().map(|p| p.tiles().len()).sum();
    // Many rows make more of the same bytes.
    let work = all.saturating_mul(n.min(64));
    let most = rayon::current_num_threads() * TASKS;
    let count = if rayon::current_num_threads() == 1 { 1 } else { (work / GRAIN).clamp(1, most) };
    let size = all.div_ceil(count).max(1);
    let mut tasks = Vec::with_capacity(count + parts.len());
    for (which, part) in parts.iter().enumerate() {
        let (tiles, step) = (part.rows.div_ceil(ROWS), size.div_ceil(part.tile.max(1)).max(1));
        // Evenly, so that none is left with a rest.
        let pieces = tiles.div_ceil(step).max(1);
        tasks.extend((0..pieces).map(|i| (which, i * tiles / pieces, (i + 1) * tiles / pieces)));
    }
    tasks
}

/// Rows with a zero behind each where their number of columns is odd.
fn in_pairs(x: &[f32], cols: usize) -> Cow<'_, [f32]> {
    if cols.is_multiple_of(2) {
        return Cow::Borrowed(x);
    }
    Cow::Owned(x.chunks_exact(cols).flat_map(|row| row.iter().copied().chain([0.0])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::blocks;
    use crate::rng::Stream;
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    const ALL: [(Type, GgmlDType); 13] = [
        (Type::F32, GgmlDType::F32),
        (Type::F16, GgmlDType::F16),
        (Type::Bf16, GgmlDType::BF16),
        (Type::Q4_0, GgmlDType::Q4_0),
        (Type::Q4_1, GgmlDType::Q4_1),
        (Type::Q5_0, GgmlDType::Q5_0),
        (Type::Q5_1, GgmlDType::Q5_1),
        (Type::Q8_0, GgmlDType::Q8_0),
        (Type::Q2K, GgmlDType::Q2K),
        (Type::Q3K, GgmlDType::Q3K),
        (Type::Q4K, GgmlDType::Q4K),
        (Type::Q5K, GgmlDType::Q5K),
        (Type::Q6K, GgmlDType::Q6K),
    ];

    fn normal(seed: u64, n: usize) -> Vec<f32> {
        let mut stream = Stream::new(seed, "packed");
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    /// A matrix as the library quantises it: bytes, and the numbers that the library reads from them.
    fn quantised(kind: GgmlDType, rows: usize, cols: usize) -> (Vec<u8>, Vec<f32>) {
        let tensor = Tensor::from_vec(normal(7, rows * cols), (rows, cols), &Device::Cpu).unwrap();
        let quantised = QTensor::quantize(&tensor, kind).unwrap();
        let numbers = quantised.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        (quantised.data().unwrap().to_vec(), numbers)
    }

    fn packed(kind: Type, bytes: &[u8], rows: usize, cols: usize) -> Packed {
        let row = kind.size_of(cols as u64).unwrap() as usize;
        Packed::new(kind, (rows, cols), |i| &bytes[i * row..(i + 1) * row]).unwrap()
    }

    #[test]
    fn every_type_is_read_as_the_library_reads_it() {
        for (kind, theirs) in ALL {
            let (rows, cols) = (37, 512);
            let (bytes, expected) = quantised(theirs, rows, cols);
            let mut ours = vec![0f32; rows * cols];
            blocks::dequantize(kind, &bytes, &mut ours);
            let packed = packed(kind, &bytes, rows, cols);
            let mut row = vec![0f32; cols];
            for i in 0..rows {
                packed.row(i, &mut row);
                for (j, (&ours, (&row, &theirs))) in ours[i * cols..].iter().zip(row.iter().zip(&expected[i * cols..])).enumerate() {
                    assert_eq!(ours, row, "{} {i} {j}: packed", kind.name());
                    assert!((ours - theirs).abs() <= theirs.abs() * 1e-6, "{} {i} {j}: {ours} for {theirs}", kind.name());
                }
            }
        }
    }

    #[test]
    fn products_by_all_instructions_are_those_of_the_numbers() {
        for (kind, theirs) in ALL {
            let (rows, cols, n) = (53, 768, 13);
            let (bytes, weights) = quantised(theirs, rows, cols);
            let packed = packed(kind, &bytes, rows, cols);
            let mut x = normal(8, n * cols);
            // One number outweighs its group, once of one row and once of all.
            (0..n).for_each(|row| x[row * cols + 70] *= 100.0);
            x[2 * cols + 300] *= 50.0;
            // What the product works with: activations of eight bits where the weight is quantised.
            let seen: Vec<f32> = match kind.plain() {
                true => x.clone(),
                false => {
                    let groups = activations::quantize(None, &x);
                    let numbers = |groups: &[activations::Group]| -> Vec<f32> {
                        groups.iter().flat_map(|g| g.q.map(|q| f32::from(q) * g.scale)).collect()
                    };
                    numbers(&groups.first).iter().zip(numbers(&groups.rest)).map(|(a, b)| a + b).collect()
                }
            };
            let off = seen.iter().zip(&x).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 4.5 / 127.0 / 1.9, "{off}");
            for instructions in Instructions::all() {
                let mut out = vec![1f32; n * rows];
                products_by(instructions, None, &x, &mut [Part { weight: &packed, out: &mut out, add: true }]).unwrap();
                for (i, &got) in out.iter().enumerate() {
                    let (row, col) = (i / rows, i % rows);
                    let pairs = seen[row * cols..(row + 1) * cols].iter().zip(&weights[col * cols..]);
                    let exact = 1.0 + pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
                    assert!(
                        (f64::from(got) - exact).abs() < 2e-4 + exact.abs() * 1e-6,
                        "{} {instructions:?}: {got} for {exact}",
                        kind.name()
                    );
                }
            }
        }
    }

    /// So that a text does not depend on what is generated beside it.
    #[test]
    fn a_row_has_the_same_product_alone_and_among_others() {
        for (kind, theirs) in ALL {
            let (rows, cols, n) = (48, 256, 23);
            let packed = packed(kind, &quantised(theirs, rows, cols).0, rows, cols);
            let mut x = normal(9, n * cols);
            x[5 * cols + 3] = 40.0;
            let all = packed.product(&x).unwrap();
            for i in 0..n {
                let one = packed.product(&x[i * cols..(i + 1) * cols]).unwrap();
                assert_eq!(one, all[i * rows..(i + 1) * rows], "{}", kind.name());
            }
        }
    }

    #[test]
    fn several_weights_share_one_pass_and_odd_columns_have_their_place() {
        let (a, b) = (quantised(GgmlDType::Q6K, 40, 256).0, quantised(GgmlDType::BF16, 24, 256).0);
        let (a, b) = (packed(Type::Q6K, &a, 40, 256), packed(Type::Bf16, &b, 24, 256));
        let x = normal(10, 2 * 256);
        let (mut to_a, mut to_b) = (vec![0.0; 80], vec![0.0; 48]);
        products(None, &x, &mut [Part { weight: &a, out: &mut to_a, add: false }, Part { weight: &b, out: &mut to_b, add: false }])
            .unwrap();
        assert_eq!((to_a, to_b), (a.product(&x).unwrap(), b.product(&x).unwrap()));
        let bytes: Vec<u8> = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let odd = packed(Type::F32, &bytes, 2, 3);
        assert_eq!(odd.product(&[1.0, 10.0, 100.0, f32::NAN, 1.0, 1.0]).unwrap()[..2], [321.0, 654.0]);
        assert!(odd.product(&[1.0; 3]).unwrap()[0] == 6.0 && odd.product(&[1.0; 4]).is_err());
        assert!(Packed::new(Type::Q4K, (1, 128), |_| &[]).is_err());
    }

    #[test]
    fn what_is_not_a_number_is_not_lost() {
        let packed = packed(Type::Q4_0, &quantised(GgmlDType::Q4_0, 16, 64).0, 16, 64);
        for broken in [f32::NAN, f32::INFINITY] {
            let mut x = vec![1f32; 64];
            x[40] = broken;
            assert!(packed.product(&x).unwrap().iter().all(|y| y.is_nan()));
        }
    }
}
