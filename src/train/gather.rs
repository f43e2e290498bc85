//! The gradients of all lanes, added up as they come: whoever brings the second of two parts adds it to the first, while
//! it is still in its cache, so that no lane keeps a gradient of its own. Two lanes' parts are always the same two, and
//! a sum of two does not depend on their order: the result is the same however fast the lanes are.
//! Deliberately not here: micro-batches, whose sums `optim::Accumulator` makes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor, TensorId};

use super::optim;
use crate::model::ops::Hand;

/// A gradient, and the sum of its squares where that is had at once: on other devices, reading a number waits for
/// everything before it.
pub type Whole = (Tensor, Option<f64>);

/// Where the lanes of one micro-batch meet.
pub struct Gather {
    lanes: usize,
    /// Parts that wait for their other half, by parameter, level of the tree and place in it.
    waiting: Mutex<HashMap<(TensorId, u32, usize), Tensor>>,
    whole: Mutex<HashMap<TensorId, Whole>>,
}

impl Gather {
    pub fn new(lanes: usize) -> Arc<Self> {
        Arc::new(Self { lanes, waiting: Mutex::default(), whole: Mutex::default() })
    }

    /// What a lane gives its gradients to; each of them once a micro-batch.
    pub fn hand(self: &Arc<Self>, lane: usize) -> Hand {
        let gather = self.clone();
        Box::new(move |id, grad| gather.bring(lane, id, grad))
    }

    fn bring(&self, lane: usize, id: TensorId, grad: Tensor) -> Result<()> {
        let (mut grad, mut at, mut level, mut count) = (grad, lane, 0, self.lanes);
        while count > 1 {
            let alone = at ^ 1 >= count;
            if !alone {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(other) = waiting.remove(&(id, level, at ^ 1)) else {
                    waiting.insert((id, level, at), grad);
                    return Ok(());
                };
                drop(waiting);
                grad = optim::added(other, &grad)?;
            }
            (at, level, count) = (at / 2, level + 1, count.div_ceil(2));
        }
        self.put(id, grad)
    }

    fn put(&self, id: TensorId, grad: Tensor) -> Result<()> {
        let squares = if grad.device().is_cpu() { Some(optim::squares(&grad)?) } else { None };
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (grad, squares));
        Ok(())
    }

    /// The gradients of these variables and the sums of their squares, in their order; none for a variable that no lane
    /// brought a gradient of. Nothing is kept.
    pub fn take<'a>(&self, vars: impl Iterator<Item = &'a Tensor>) -> Result<Vec<Option<Whole>>> {
        // What some lanes alone have a gradient of, still in parts.
        let mut parts: Vec<_> = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain().collect();
        parts.sort_by_key(|((_, level, at), _)| (*level, *at));
        let mut sums: HashMap<TensorId, Tensor> = HashMap::new();
        for ((id, ..), part) in parts {
            let sum = match sums.remove(&id) {
                Some(sum) => optim::added(sum, &part)?,
                None => part,
            };
            sums.insert(id, sum);
        }
        sums.into_iter().try_for_each(|(id, sum)| self.put(id, sum))?;
        let mut whole = std::mem::take(&mut *self.whole.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(vars.map(|var| whole.remove(&var.id())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Config;
    use crate::model::decoder::{Decoder, Pass};
    use crate::recipe::ModelSection;
    use crate::rng::Stream;
    use crate::train::lanes::Lanes;
    use candle_core::{DType, Device};

    fn tensor(values: [f32; 2]) -> Tensor {
        Tensor::new(&values, &Device::Cpu).unwrap()
    }

    #[test]
    fn every_order_gives_the_same_sum_and_a_missing_lane_none_the_less() {
        let (var, other, third) = (tensor([0.0; 2]), tensor([0.0; 2]), tensor([0.0; 2]));
        for lanes in 1..7 {
            let mut first: Option<Vec<f32>> = None;
            for turn in 0..lanes {
                let gather = Gather::new(lanes);
                for i in 0..lanes {
                    let lane = (i * 5 + turn) % lanes;
                    // Five and three have no lane in common but at 5.
                    let lane = if lanes == 5 { (i + turn) % lanes } else { lane };
                    gather.hand(lane)(var.id(), tensor([0.1 * (lane as f32 + 1.0), 1e7 * lane as f32])).unwrap();
                    if lane % 2 == 0 {
                        gather.hand(lane)(other.id(), tensor([lane as f32, 1.0])).unwrap();
                    }
                }
                let got = gather.take([&var, &other, &third].into_iter()).unwrap();
                let (sum, squares) = got[0].clone().unwrap();
                let sum = sum.to_vec1::<f32>().unwrap();
                assert!((f64::from(sum[0]).powi(2) + f64::from(sum[1]).powi(2) - squares.unwrap()).abs() <= 1e-9 * squares.unwrap());
                assert_eq!(*first.get_or_insert(sum.clone()), sum, "{lanes} lanes");
                let even = lanes.div_ceil(2);
                assert_eq!(got[1].clone().unwrap().0.to_vec1::<f32>().unwrap(), [(even * (even - 1)) as f32, even as f32]);
                assert!(got[2].is_none());
                assert!(gather.take([&var].into_iter()).unwrap()[0].is_none(), "nothing is kept");
            }
        }
    }

    /// The gradients of a loss over `rows` rows, by lanes that each have some of them.
    fn by_lanes(decoder: &Decoder, ids: &[Vec<u32>], lanes: usize) -> (f64, Vec<Vec<f32>>) {
        let pools = Lanes::new(&Device::Cpu, lanes, ids.len(), 1e9);
        assert_eq!(pools.count(), lanes);
        let gather = Gather::new(lanes);
        let twins: Vec<Decoder> = (0..lanes).map(|lane| decoder.lane(gather.hand(lane))).collect();
        let parts = twins.iter().enumerate().map(|(i, twin)| (twin, &ids[i * ids.len() / lanes..(i + 1) * ids.len() / lanes]));
        let losses = pools.run(parts.collect(), |(twin, rows): (&Decoder, &[Vec<u32>])| {
            let loss = loss(twin, rows);
            twin.hand_gradients(&loss).unwrap();
            f64::from(loss.to_scalar::<f32>().unwrap())
        });
        let all = gather.take(decoder.params().iter().map(|p| p.var.as_tensor())).unwrap();
        (losses.iter().sum(), all.into_iter().map(|g| g.unwrap().0.flatten_all().unwrap().to_vec1().unwrap()).collect())
    }

    fn loss(decoder: &Decoder, rows: &[Vec<u32>]) -> Tensor {
        let time = rows[0].len() - 1;
        let part = |from: usize| {
            let ids: Vec<u32> = rows.iter().flat_map(|row| row[from..from + time].to_vec()).collect();
            Tensor::from_vec(ids, (rows.len(), time), &Device::Cpu).unwrap()
        };
        let hidden = decoder.hidden(&part(0), &mut Pass::default()).unwrap();
        let weights = Tensor::ones((rows.len(), time), DType::F32, &Device::Cpu).unwrap();
        (decoder.loss_sum(&hidden, &part(1), &weights).unwrap() / 91.0).unwrap()
    }

    #[test]
    fn lanes_learn_what_one_pass_learns_and_the_same_each_time() {
        for (family, tied) in [("llama", false), ("qwen3", true), ("gpt2", true)] {
            let section =
                ModelSection { family: family.into(), layers: 2, width: 32, tied: Some(tied), context: 13, ..ModelSection::default() };
            let mut decoder = Decoder::new(Config::from_recipe(&section, 19, None).unwrap(), 5, DType::F32, &Device::Cpu).unwrap();
            let mut stream = Stream::new(3, "ids");
            let ids: Vec<Vec<u32>> = (0..7).map(|_| (0..14).map(|_| stream.below(19) as u32).collect()).collect();
            let whole = loss(&decoder, &ids);
            let expected: Vec<Vec<f32>> =
                decoder.gradients(&whole).unwrap().iter().map(|g| g.flatten_all().unwrap().to_vec1().unwrap()).collect();
            for lanes in [2, 3, 5] {
                let (sum, grads) = by_lanes(&decoder, &ids, lanes);
                assert!((sum - f64::from(whole.to_scalar::<f32>().unwrap())).abs() < 1e-5);
                for ((got, wanted), param) in grads.iter().zip(&expected).zip(decoder.params()) {
                    let largest = wanted.iter().fold(1e-6f32, |a, x| a.max(x.abs()));
                    let off = got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(off < 1e-5 * largest.max(1e-2), "{family}, {lanes} lanes, {}: {off} of {largest}", param.name);
                }
                assert_eq!(by_lanes(&decoder, &ids, lanes), (sum, grads), "{family}: bit for bit");
            }
            // Blocks that are computed once more learn the same.
            decoder.set_recompute(true);
            assert_eq!(by_lanes(&decoder, &ids, 1).1, expected, "{family}: recomputed");
        }
    }
}
