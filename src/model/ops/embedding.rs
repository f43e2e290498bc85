//! Rows of a table by ids, fused; backward adds each row's gradients up in the order of the tokens.
//! Deliberately not here: positions; a learned table of them is one more embedding.

use super::graph::Op;
use super::real::{Real, by_dtype, fill_rows, view};
use candle_core::{Result, Tensor};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Argument: the table (rows, width). Gives (batch, time, width).
pub struct Embedding {
    pub ids: Vec<u32>,
    pub batch: usize,
    pub time: usize,
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        let table = args[0].contiguous()?;
        let (rows, width) = table.dims2()?;
        if let Some(id) = self.ids.iter().find(|&&id| id as usize >= rows) {
            candle_core::bail!("row {id} of a table of {rows}");
        }
        let (s, l) = table.storage_and_layout();
        by_dtype!(table.dtype(), T => {
            let values = view::<T>(&s, l)?;
            let fill = |row: usize, out: &mut [MaybeUninit<T>]| {
                for (o, &id) in out.chunks_exact_mut(width).zip(&self.ids[row..]) {
                    o.write_copy_of_slice(&values[id as usize * width..(id as usize + 1) * width]);
                }
            };
            // SAFETY: there is an id for every row, and each row is copied whole.
            let out = unsafe { fill_rows(self.ids.len() * width, width, fill) };
            Tensor::from_vec(out, (self.batch, self.time, width), table.device())
        })
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (rows, width) = args[0].dims2()?;
        let grad = grad.contiguous()?;
        let (s, l) = grad.storage_and_layout();
        by_dtype!(grad.dtype(), T => {
            let out = scatter(view::<T>(&s, l)?, &self.ids, rows, width);
            Ok(vec![Some(Tensor::from_vec(out, (rows, width), grad.device())?)])
        })
    }
}

/// Numbers that one thread adds up faster than it wakes another.
const SMALL: usize = 1 << 15;

/// Each task owns a range of the table and reads all ids, so that no two write one row and the order is that of the text.
fn scatter<T: Real>(grad: &[T], ids: &[u32], rows: usize, width: usize) -> Vec<T> {
    let mut out = vec![T::of(0.0); rows * width];
    if grad.len() < SMALL || rayon::current_num_threads() == 1 {
        for (g, &id) in grad.chunks_exact(width).zip(ids) {
            let at = id as usize * width;
            out[at..at + width].iter_mut().zip(g).for_each(|(o, &g)| *o += g);
        }
        return out;
    }
    let per_task = rows.div_ceil(16).max(1);
    out.par_chunks_mut(per_task * width).enumerate().for_each(|(task, out)| {
        let first = task * per_task;
        for (g, &id) in grad.chunks_exact(width).zip(ids) {
            let Some(at) = (id as usize).checked_sub(first).filter(|&at| at < per_task) else { continue };
            out[at * width..(at + 1) * width].iter_mut().zip(g).for_each(|(o, &g)| *o += g);
        }
    });
    out
}
