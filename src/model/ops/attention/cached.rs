//! Attention of new tokens over what caches hold: of many sequences in one go, each with its own keys, which are read
//! where they stand. A sequence's numbers do not depend on what else is computed, nor on how its cache is cut into pieces.
//! Deliberately not here: a backward pass, and the caches' growth.

use super::super::real::{Real, Shared, by_dtype, whole, wide};
use super::lines::{self, Lines};
use super::{FEW, Form, Kernel, Place, SERIAL, Scores, Sizes, rows_in_one_piece, softmax_row};
use candle_core::{Result, Storage, Tensor};
use rayon::prelude::*;

/// What a cache holds for one sequence (or one batch of equally long ones), its new tokens at the end.
pub struct Held {
    /// Tokens that are new, for each of which there is a query.
    pub new: usize,
    /// Keys and values (batch, room, kv_heads · d) each, and how many of their places are filled, in the order of the text.
    pub pieces: Vec<(Tensor, Tensor, usize)>,
}

impl Held {
    /// Tokens in all.
    fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.2).sum()
    }
    /// All keys and all values in one piece each: views where there is one piece alone.
    pub fn whole(&self) -> Result<(Tensor, Tensor)> {
        if let [(keys, values, len)] = self.pieces.as_slice() {
            return Ok((keys.narrow(1, 0, *len)?, values.narrow(1, 0, *len)?));
        }
        let all = |pick: fn(&(Tensor, Tensor, usize)) -> &Tensor| {
            let parts = self.pieces.iter().map(|piece| pick(piece).narrow(1, 0, piece.2)).collect::<Result<Vec<_>>>()?;
            Tensor::cat(&parts, 1)
        };
        Ok((all(|piece| &piece.0)?, all(|piece| &piece.1)?))
    }
}

/// A part with its storages held open: queries from the row `first` on.
struct Part<'a> {
    first: usize,
    new: usize,
    keys: usize,
    pieces: Vec<Open<'a>>,
}

struct Open<'a> {
    keys: (&'a Storage, Place),
    values: (&'a Storage, Place),
    len: usize,
}

/// As `super::super::attention_cached`, on the CPU.
pub fn attention_cached(q: &Tensor, parts: &[Held], form: Form) -> Result<Tensor> {
    let q = rows_in_one_piece(q)?;
    let (batch, total, width) = q.dims3()?;
    let Form { heads, kv_heads, .. } = form;
    let d = width / heads.max(1);
    if d * heads != width || parts.iter().map(|part| part.new).sum::<usize>() != total || (parts.len() > 1 && batch > 1) {
        candle_core::bail!("attention of {heads} heads over {:?} and the caches of {} sequences", q.dims(), parts.len());
    }
    // Many queries at once want their keys in one piece.
    let joined: Vec<Held> = parts.iter().map(|part| joined(part, (batch, kv_heads * d))).collect::<Result<_>>()?;
    let guards: Vec<Vec<_>> = joined
        .iter()
        .map(|part| part.pieces.iter().map(|(keys, values, _)| (keys.storage_and_layout().0, values.storage_and_layout().0)).collect())
        .collect();
    let mut first = 0;
    let open: Vec<Part> = joined
        .iter()
        .zip(&guards)
        .map(|(part, guards)| {
            let at = first;
            first += part.new;
            let pieces = part.pieces.iter().zip(guards).map(|((keys, values, len), guards)| Open {
                keys: (&*guards.0, Place::of(keys)),
                values: (&*guards.1, Place::of(values)),
                len: *len,
            });
            Part { first: at, new: part.new, keys: part.len(), pieces: pieces.collect() }
        })
        .collect();
    let storage = q.storage_and_layout().0;
    by_dtype!(q.dtype(), T => {
        let mut out: Vec<T> = Vec::with_capacity(batch * total * width);
        let work = Work { q: whole::<T>(&storage)?, place: Place::of(&q), form, d, total, scores: Scores::of(&form, d), out: Shared(out.as_mut_ptr()) };
        let mut tasks = Vec::new();
        for (i, part) in open.iter().enumerate() {
            let n = if part.new < FEW { kv_heads } else { heads };
            tasks.extend((0..batch * n).map(|task| (i, task / n, task % n)));
        }
        let run = |(i, b, head): (usize, usize, usize)| work.run(&open[i], b, head);
        if open.iter().map(|part| part.new * part.keys).sum::<usize>() * batch * width < SERIAL {
            tasks.into_iter().try_for_each(run)?;
        } else {
            tasks.into_par_iter().try_for_each(run)?;
        }
        // SAFETY: there is room for all numbers, and the tasks wrote every head of every row.
        unsafe { out.set_len(batch * total * width) };
        Tensor::from_vec(out, (batch, total, width), q.device())
    })
}

/// The same tokens, checked, in pieces whose rows are in one piece; in one piece alone where there are many queries.
fn joined(part: &Held, (batch, width): (usize, usize)) -> Result<Held> {
    let fits = |x: &Tensor, len: usize| x.rank() == 3 && x.dims()[0] == batch && x.dims()[1] >= len && x.dims()[2] == width;
    if part.len() < part.new || !part.pieces.iter().all(|(k, v, len)| fits(k, *len) && fits(v, *len)) {
        let shapes: Vec<_> = part.pieces.iter().map(|(k, v, len)| (k.dims(), v.dims(), len)).collect();
        candle_core::bail!("a cache of {shapes:?} for {} new tokens of {batch} rows, {width} numbers wide", part.new);
    }
    let pieces = if part.new < FEW || part.pieces.len() < 2 {
        part.pieces.iter().map(|(k, v, len)| Ok((rows_in_one_piece(k)?, rows_in_one_piece(v)?, *len))).collect::<Result<_>>()?
    } else {
        let (keys, values) = part.whole()?;
        vec![(keys, values, part.len())]
    };
    Ok(Held { new: part.new, pieces })
}

struct Work<'a, T> {
    q: &'a [T],
    place: Place,
    form: Form,
    d: usize,
    total: usize,
    scores: Scores<T>,
    out: Shared<T>,
}

impl<T: Real> Work<'_, T> {
    /// One head of a part with many queries, or all query heads of one key head of a part with few.
    fn run(&self, part: &Part, b: usize, head: usize) -> Result<()> {
        if part.new < FEW { self.few(part, b, head) } else { self.many(part, b, head) }
    }

    fn many(&self, part: &Part, b: usize, head: usize) -> Result<()> {
        let Form { heads, kv_heads, .. } = self.form;
        let [piece] = part.pieces.as_slice() else { candle_core::bail!("many queries want their keys in one piece") };
        // A part is a batch of its own: of one row, which begins at its first query.
        let start = |place: Place, token: usize| Place { start: place.row(b, token, 0, self.d), batch: 0, ..place };
        let kernel = Kernel {
            sizes: Sizes { batch: 1, time: part.new, keys: part.keys, heads, kv_heads, d: self.d },
            data: [self.q, whole::<T>(piece.keys.0)?, whole::<T>(piece.values.0)?],
            places: [start(self.place, part.first), start(piece.keys.1, 0), start(piece.values.1, 0)],
            scores: self.scores,
        };
        let mut lse = vec![0f64; part.new];
        kernel.forward((0, head), Shared(self.out.at((b * self.total + part.first) * heads * self.d)), &mut lse);
        Ok(())
    }

    /// Keys and values are read once for all query heads that share them. Sums over a head's numbers and over the keys are
    /// taken in an order that the pieces do not change.
    fn few(&self, part: &Part, b: usize, kv: usize) -> Result<()> {
        let Form { heads, kv_heads, .. } = self.form;
        let (d, group) = (self.d, heads / kv_heads);
        let mut scores = vec![T::of(0.0); group * part.keys];
        for t in 0..part.new {
            let end = part.keys - part.new + t + 1;
            let first = self.scores.first(end);
            let at = self.place.row(b, part.first + t, kv * group, d);
            let queries = &self.q[at..at + group * d];
            let mut before = 0;
            for piece in &part.pieces {
                let keys = whole::<T>(piece.keys.0)?;
                let (from, to) = (first.max(before), end.min(before + piece.len));
                if from < to {
                    let start = piece.keys.1.row(b, from - before, kv, d);
                    let lines = Lines { all: keys, start, stride: piece.keys.1.token, n: to - from, d };
                    lines::products(queries, lines, &mut scores[from..], part.keys);
                }
                before += piece.len;
            }
            wide(|| {
                for row in scores.chunks_exact_mut(part.keys) {
                    softmax_row(&mut row[..end], (first, end), self.scores);
                }
            });
            let to = self.out.at((b * self.total + part.first + t) * heads * d + kv * group * d);
            // SAFETY: these heads of this row belong to this task alone; zeros are written before anything is read.
            let out = unsafe {
                to.write_bytes(0, group * d);
                std::slice::from_raw_parts_mut(to, group * d)
            };
            let mut before = 0;
            for piece in &part.pieces {
                let values = whole::<T>(piece.values.0)?;
                let (from, to) = (first.max(before), end.min(before + piece.len));
                if from < to {
                    let start = piece.values.1.row(b, from - before, kv, d);
                    let lines = Lines { all: values, start, stride: piece.values.1.token, n: to - from, d };
                    lines::weighted(&scores[from..], part.keys, lines, out);
                }
                before += piece.len;
            }
        }
        Ok(())
    }
}
