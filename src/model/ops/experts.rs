//! Mixtures of experts, fused: which experts a token takes, with what shares, and the sum of what they make of it.
//! Deliberately not here: the experts' products, which are linear layers like all others.

use super::graph::Op;
use super::real::{Real, by_dtype, largest, sum2, view, wide};
use candle_core::{DType, Result, Tensor};

/// For each row the `k` largest of logits (rows, experts); of equal ones the first.
pub fn choose(logits: &Tensor, k: usize) -> Result<Vec<u32>> {
    let rows: Vec<Vec<f64>> = logits.detach().to_dtype(DType::F64)?.to_vec2()?;
    let mut chosen = Vec::with_capacity(rows.len() * k);
    for row in rows {
        if k > row.len() {
            candle_core::bail!("{k} of {} experts", row.len());
        }
        let mut order: Vec<u32> = (0..row.len() as u32).collect();
        order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
        chosen.extend_from_slice(&order[..k]);
    }
    Ok(chosen)
}

/// Shares of the chosen experts: argument logits (rows, experts), gives (rows, k).
pub struct Gates {
    /// k for each row.
    pub chosen: Vec<u32>,
    /// Whether the shares of a row add up to 1.
    pub normalise: bool,
}

impl Gates {
    fn sizes(&self, logits: &Tensor) -> Result<(usize, usize, usize)> {
        let (rows, experts) = logits.dims2()?;
        let k = self.chosen.len() / rows.max(1);
        if rows == 0 || k == 0 || self.chosen.len() != rows * k || self.chosen.iter().any(|&e| e as usize >= experts) {
            candle_core::bail!("{} choices for {rows} rows of {experts} experts", self.chosen.len());
        }
        Ok((rows, experts, k))
    }
    /// A row's softmax over all experts.
    fn softmax<T: Real>(row: &[T]) -> Vec<T> {
        let top = largest(row);
        let powers: Vec<T> = row.iter().map(|&x| (x - top).exp()).collect();
        let sum = sum2(&powers, &powers, |x, _| x);
        powers.into_iter().map(|x| x / sum).collect()
    }
}

impl Op for Gates {
    fn name(&self) -> &'static str {
        "gates"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        let (rows, experts, k) = self.sizes(&args[0])?;
        let logits = args[0].contiguous()?;
        let (s, l) = logits.storage_and_layout();
        by_dtype!(logits.dtype(), T => {
            let mut out: Vec<T> = Vec::with_capacity(rows * k);
            for (row, chosen) in view::<T>(&s, l)?.chunks_exact(experts).zip(self.chosen.chunks_exact(k)) {
                let all = Self::softmax(row);
                let shares: Vec<T> = chosen.iter().map(|&e| all[e as usize]).collect();
                let sum = if self.normalise { sum2(&shares, &shares, |x, _| x) } else { T::of(1.0) };
                out.extend(shares.into_iter().map(|x| x / sum));
            }
            Tensor::from_vec(out, (rows, k), logits.device())
        })
    }
    /// Of the softmax p over all: dx = p · (dp − Σ p · dp), with dp that of the chosen and 0 elsewhere. Normalised, the
    /// shares are the softmax over the chosen alone.
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (rows, experts, k) = self.sizes(&args[0])?;
        let (logits, grad) = (args[0].contiguous()?, grad.contiguous()?);
        let ((s, l), (sg, lg)) = (logits.storage_and_layout(), grad.storage_and_layout());
        by_dtype!(logits.dtype(), T => {
            let mut out = vec![T::of(0.0); rows * experts];
            let parts = view::<T>(&s, l)?.chunks_exact(experts).zip(view::<T>(&sg, lg)?.chunks_exact(k));
            for ((dx, (row, grad)), chosen) in out.chunks_exact_mut(experts).zip(parts).zip(self.chosen.chunks_exact(k)) {
                let mut p = Self::softmax(row);
                if self.normalise {
                    let mut only = vec![T::of(0.0); experts];
                    let shares: Vec<T> = chosen.iter().map(|&e| p[e as usize]).collect();
                    let sum = sum2(&shares, &shares, |x, _| x);
                    chosen.iter().zip(shares).for_each(|(&e, x)| only[e as usize] = x / sum);
                    p = only;
                }
                chosen.iter().zip(grad).for_each(|(&e, &g)| dx[e as usize] = g);
                let level = sum2(&p, dx, |p, d| p * d);
                dx.iter_mut().zip(&p).for_each(|(d, &p)| *d = p * (*d - level));
            }
            Ok(vec![Some(Tensor::from_vec(out, logits.shape(), logits.device())?)])
        })
    }
}

/// Σ share · result: arguments shares (rows, k), then one result (n, width) an expert. Gives (rows, width).
pub struct Combine {
    /// Of each expert, for each row of its result: the token, and which of the token's k experts it is.
    pub places: Vec<Vec<(u32, u32)>>,
}

impl Combine {
    fn sizes(&self, args: &[Tensor]) -> Result<(usize, usize, usize)> {
        let (rows, k) = args[0].dims2()?;
        let width = args.get(1).map_or(Ok(0), |result| result.dim(1))?;
        let fits = |(result, places): (&Tensor, &Vec<(u32, u32)>)| {
            result.dims() == [places.len(), width] && places.iter().all(|&(row, slot)| (row as usize) < rows && (slot as usize) < k)
        };
        if width == 0 || args.len() != self.places.len() + 1 || !args[1..].iter().zip(&self.places).all(fits) {
            candle_core::bail!(
                "a mixture of {} experts with results {:?}",
                self.places.len(),
                args.iter().map(Tensor::dims).collect::<Vec<_>>()
            );
        }
        Ok((rows, k, width))
    }
}

impl Op for Combine {
    fn name(&self) -> &'static str {
        "combine"
    }
    fn forward(&self, args: &[Tensor], _: &[bool]) -> Result<Tensor> {
        let (rows, k, width) = self.sizes(args)?;
        let shares = args[0].contiguous()?;
        let (s, l) = shares.storage_and_layout();
        by_dtype!(shares.dtype(), T => {
            let shares = view::<T>(&s, l)?;
            let mut out = vec![T::of(0.0); rows * width];
            for (result, places) in args[1..].iter().zip(&self.places) {
                let result = result.contiguous()?;
                let (s, l) = result.storage_and_layout();
                let parts = view::<T>(&s, l)?.chunks_exact(width).zip(places);
                wide(|| parts.for_each(|(part, &(row, slot))| {
                    let (row, share) = (row as usize, shares[row as usize * k + slot as usize]);
                    out[row * width..(row + 1) * width].iter_mut().zip(part).for_each(|(o, &x)| *o += share * x);
                }));
            }
            Tensor::from_vec(out, (rows, width), args[0].device())
        })
    }
    fn backward(&self, args: &[Tensor], _: &Tensor, grad: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (rows, k, width) = self.sizes(args)?;
        let (shares, grad) = (args[0].contiguous()?, grad.contiguous()?);
        let ((s, l), (sg, lg)) = (shares.storage_and_layout(), grad.storage_and_layout());
        by_dtype!(shares.dtype(), T => {
            let (values, grads) = (view::<T>(&s, l)?, view::<T>(&sg, lg)?);
            let mut d_shares = vec![T::of(0.0); rows * k];
            let mut list = Vec::with_capacity(args.len());
            for (result, places) in args[1..].iter().zip(&self.places) {
                let result = result.contiguous()?;
                let (s, l) = result.storage_and_layout();
                let mut d_result: Vec<T> = Vec::with_capacity(places.len() * width);
                for (part, &(row, slot)) in view::<T>(&s, l)?.chunks_exact(width).zip(places) {
                    let (row, at) = (row as usize, row as usize * k + slot as usize);
                    let g = &grads[row * width..(row + 1) * width];
                    d_shares[at] = wide(|| sum2(part, g, |x, g| x * g));
                    d_result.extend(g.iter().map(|&g| g * values[at]));
                }
                list.push(Some(Tensor::from_vec(d_result, (places.len(), width), grad.device())?));
            }
            list.insert(0, Some(Tensor::from_vec(d_shares, (rows, k), grad.device())?));
            Ok(list)
        })
    }
}
