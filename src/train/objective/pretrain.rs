//! Pretraining: predict every next token of plain text.
//! Deliberately not here: where the text comes from (`data`) and the loss's arithmetic (`model`).

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{Context, Example, Extent, Metrics, Objective, Share};
use crate::data::batch::{Sequence, Windows, whole};
use crate::data::stream::TokenStream;
use crate::model::ModelError;
use crate::model::decoder::{Decoder, Pass};
use crate::recipe::Knob;
use crate::train::drive::TrainError;
use crate::train::measure::{Phase, Phases};

/// Tokens that one batch of an evaluation reads at least, so that short contexts do not make many small ones.
const EVAL_TOKENS: usize = 2048;

/// Tokens of a step below which drawing them takes less time than telling another thread to do it.
const WORTH_IT: usize = 2048;

/// Windows that an evaluation reads at once.
pub fn eval_batch(batch: usize, context: usize) -> usize {
    batch.max(EVAL_TOKENS / context.max(1)).max(1)
}

pub struct Pretrain {
    windows: Windows,
    /// The next step's batches, which a thread draws while this step computes.
    ahead: Option<Ahead>,
}

/// Batches on their way: what drew them is a copy, so that a run which ends before they are used is saved as if nobody
/// had looked ahead.
struct Ahead {
    drawn: Mutex<Receiver<(Windows, Vec<Batch>)>>,
    from: Windows,
}

impl Ahead {
    /// Begins to draw, on a thread that computes anyway.
    fn begin(from: Windows, train: &TokenStream, batch: usize, accumulate: usize) -> Self {
        let (mut windows, train, (told, drawn)) = (from.clone(), train.clone(), channel());
        rayon::spawn(move || {
            // A panic here would end the process; without an answer the step draws for itself, and panics as a job may.
            let draw = std::panic::AssertUnwindSafe(|| draw(&mut windows, &train, batch, accumulate));
            if let Ok(batches) = std::panic::catch_unwind(draw) {
                let _ = told.send((windows, batches));
            }
        });
        Self { drawn: Mutex::new(drawn), from }
    }

    /// What was drawn, and the windows after it; none where it is not what comes after `windows`.
    fn end(self, windows: &Windows) -> Option<(Windows, Vec<Batch>)> {
        self.drawn.into_inner().ok()?.recv().ok().filter(|_| self.from == *windows)
    }
}

/// One step's micro-batches.
fn draw(windows: &mut Windows, train: &TokenStream, batch: usize, accumulate: usize) -> Vec<Batch> {
    let mut step: Vec<Batch> = (0..accumulate).map(|_| Batch { sequences: windows.next(train, batch), denominator: 0.0 }).collect();
    weigh(&mut step);
    step
}

/// Sequences of one micro-batch, and the weight of all targets of its step.
#[derive(Serialize, Deserialize)]
pub struct Batch {
    pub sequences: Vec<Sequence>,
    pub denominator: f64,
}

impl Objective for Pretrain {
    const NAME: &'static str = "pretrain";
    const HELP: &'static str = "Learn to continue plain text: predict every next token.";
    const KNOBS: &'static [Knob] = &[];
    type Batch = Batch;

    fn new(cx: &Context, saved: Option<serde_json::Value>) -> Result<Self, TrainError> {
        let windows = match saved {
            Some(state) => serde_json::from_value(state).map_err(|e| TrainError::Other(format!("state.json: objective_state: {e}")))?,
            None => Windows::new(cx.recipe.seed, cx.decoder.config().context, &cx.splits.train)?,
        };
        Ok(Self { windows, ahead: None })
    }

    fn collect(&mut self, cx: &Context) -> Result<Vec<Vec<Batch>>, TrainError> {
        let (optim, train) = (&cx.recipe.optim, &cx.splits.train);
        let step = match self.ahead.take().and_then(|ahead| ahead.end(&self.windows)) {
            Some((windows, step)) => {
                self.windows = windows;
                step
            }
            None => draw(&mut self.windows, train, optim.batch, optim.accumulate),
        };
        let tokens = optim.batch * optim.accumulate * self.windows.context;
        self.ahead = (tokens >= WORTH_IT).then(|| Ahead::begin(self.windows.clone(), train, optim.batch, optim.accumulate));
        Ok(vec![step])
    }

    fn parts(&self, batch: &Batch, n: usize) -> Vec<Batch> {
        let rows = batch.sequences.len();
        let n = n.clamp(1, rows.max(1));
        // Of 7 rows in 3 parts: 2, 2 and 3.
        let part = |i: usize| &batch.sequences[i * rows / n..(i + 1) * rows / n];
        (0..n).map(|i| Batch { sequences: part(i).to_vec(), denominator: batch.denominator }).collect()
    }

    fn loss(&self, decoder: &Decoder, batch: &Batch, pass: &mut Pass, phases: &mut Phases) -> Result<Share, TrainError> {
        let inputs = Inputs::new(&batch.sequences, decoder.device())?;
        phases.mark(Phase::Batch)?;
        let hidden = decoder.hidden(&inputs.ids, pass)?;
        phases.mark(Phase::Forward)?;
        let sum = decoder.loss_sum(&hidden, &inputs.targets, &inputs.weights)?;
        let loss = (sum / batch.denominator).map_err(ModelError::from)?;
        phases.mark(Phase::Loss)?;
        Ok(Share { loss, tokens: inputs.tokens })
    }

    /// The last target of the first sequence: all of its context stands before it.
    fn example(&self, batch: &Batch) -> Option<Example> {
        let sequence = batch.sequences.first()?;
        let at = sequence.weights.iter().rposition(|weight| *weight > 0.0).filter(|at| *at > 0)?;
        Some(Example { ids: sequence.ids[..at].to_vec(), target: *sequence.ids.get(at)? })
    }

    fn evaluate(&self, cx: &Context, extent: Extent) -> Result<Option<Metrics>, TrainError> {
        let (val, context) = (&cx.splits.val, cx.decoder.config().context);
        if val.len() < 2 {
            return Ok(None);
        }
        let batch = eval_batch(cx.recipe.optim.batch, context);
        let mut nats = Sum::default();
        match extent {
            Extent::Batches(count) => {
                // The same windows at every evaluation: what moves is the model.
                let mut windows = Windows::new(cx.recipe.seed ^ 0x5eed_0e7a, context, val)?;
                let mut left = count * cx.recipe.optim.batch;
                while left > 0 {
                    let sequences = windows.next(val, left.min(batch));
                    left -= left.min(batch);
                    if !nats.add(cx, &sequences)? {
                        return Ok(None);
                    }
                }
            }
            Extent::Whole => {
                let mut all = whole(val, context).peekable();
                while all.peek().is_some() {
                    let sequences: Vec<Sequence> = all.by_ref().take(batch).collect();
                    if !nats.add(cx, &sequences)? {
                        return Ok(None);
                    }
                }
            }
        }
        let loss = nats.nats / nats.targets;
        let mut metrics = vec![("val/loss".to_string(), loss)];
        if cx.splits.val_bytes > 0 {
            // Nats a token, times tokens a byte, in bits: comparable between tokenizers.
            let tokens_per_byte = val.len() as f64 / cx.splits.val_bytes as f64;
            metrics.push(("val/bits_per_byte".to_string(), loss * tokens_per_byte / std::f64::consts::LN_2));
        }
        Ok(Some(metrics))
    }

    fn state(&self) -> Result<serde_json::Value, TrainError> {
        serde_json::to_value(&self.windows).map_err(|e| TrainError::Other(format!("state.json: {e}")))
    }
}

/// Gives every micro-batch of a step the weight of all of the step's targets: the mean over micro-batches of
/// unequal length would weigh their tokens unequally.
pub fn weigh(step: &mut [Batch]) {
    let total: f64 = step.iter().flat_map(|b| &b.sequences).map(Sequence::targets).sum();
    step.iter_mut().for_each(|b| b.denominator = total.max(f64::MIN_POSITIVE));
}

/// Nats and targets so far.
#[derive(Default)]
struct Sum {
    nats: f64,
    targets: f64,
}

impl Sum {
    /// False where a person asked for the end.
    fn add(&mut self, cx: &Context, sequences: &[Sequence]) -> Result<bool, TrainError> {
        if cx.monitor.stopped() {
            return Ok(false);
        }
        let inputs = Inputs::new(sequences, cx.decoder.device())?;
        let hidden = cx.decoder.hidden(&inputs.ids, &mut Pass::default())?;
        let sum = cx.decoder.loss_sum(&hidden, &inputs.targets, &inputs.weights)?;
        self.nats += scalar(&sum)?;
        self.targets += sequences.iter().map(Sequence::targets).sum::<f64>();
        Ok(true)
    }
}

/// The one number of a scalar tensor.
pub(in crate::train) fn scalar(tensor: &Tensor) -> Result<f64, TrainError> {
    let value = tensor.to_dtype(candle_core::DType::F64).and_then(|t| t.to_scalar::<f64>());
    Ok(value.map_err(ModelError::from)?)
}

/// Sequences as tensors: (batch, time) each. A shorter sequence is filled up at its end with targets of no weight,
/// which nothing before them sees.
pub struct Inputs {
    pub ids: Tensor,
    pub targets: Tensor,
    pub weights: Tensor,
    pub tokens: u64,
}

impl Inputs {
    pub fn new(sequences: &[Sequence], device: &Device) -> Result<Self, TrainError> {
        let time = sequences.iter().map(|s| s.ids.len().saturating_sub(1)).max().unwrap_or(0);
        let shape = (sequences.len(), time);
        let mut ids = vec![0u32; shape.0 * time];
        let (mut targets, mut weights) = (ids.clone(), vec![0f32; shape.0 * time]);
        let mut tokens = 0;
        for (row, sequence) in sequences.iter().enumerate() {
            let n = sequence.ids.len().saturating_sub(1);
            let at = row * time..row * time + n;
            ids[at.clone()].copy_from_slice(&sequence.ids[..n]);
            targets[at.clone()].copy_from_slice(&sequence.ids[1..=n]);
            weights[at].copy_from_slice(&sequence.weights[1..=n]);
            tokens += n as u64;
        }
        let tensor = |values: Vec<u32>| Tensor::from_vec(values, shape, device).map_err(ModelError::from);
        let weights = Tensor::from_vec(weights, shape, device).map_err(ModelError::from)?;
        Ok(Self { ids: tensor(ids)?, targets: tensor(targets)?, weights, tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_ahead_is_what_comes_next() {
        let train = TokenStream::from_ids((0..500).collect(), None);
        let mut plain = Windows::new(7, 8, &train).unwrap();
        let mut windows = plain.clone();
        let rows = |step: Vec<Batch>| step.iter().flat_map(|b| &b.sequences).map(|s| s.row).collect::<Vec<_>>();
        for _ in 0..5 {
            let expected = rows(draw(&mut plain, &train, 3, 2));
            let ahead = Ahead::begin(windows.clone(), &train, 3, 2);
            let (after, step) = ahead.end(&windows).unwrap();
            assert!(step.iter().all(|b| b.denominator == 2.0 * 3.0 * 8.0));
            assert_eq!(rows(step), expected);
            windows = after;
        }
        assert_eq!(windows, plain);
        // Another state than the one that it began from: nothing is taken.
        let ahead = Ahead::begin(windows.clone(), &train, 3, 2);
        draw(&mut windows, &train, 3, 2);
        assert!(ahead.end(&windows).is_none());
    }
}
