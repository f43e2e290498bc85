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
    use candle_core::Device;

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
}
