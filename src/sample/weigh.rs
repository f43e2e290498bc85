//! Likelihoods of many continuations: questions with the same beginning stand next to each other, and what they share is
//! computed once. Deliberately not here: tokenizing, and generation.

use candle_core::{DType, Tensor};

use super::SampleError;
use super::generator::{AskFault, Score};
use crate::model::ModelError;
use crate::model::decoder::{Cache, Decoder, Pass};

/// Places whose logits are held at once: bounds the memory of a large vocabulary.
const AT_ONCE: usize = 64;

/// A context and its continuation as one sequence.
pub struct Weighed {
    /// Both, neither empty, every id below the vocabulary, and all but the last within the context that the model sees.
    pub ids: Vec<u32>,
    /// Where the continuation begins.
    pub first: usize,
}

/// The likelihood of each continuation, in the order of the questions. `tell` hears of each that is done.
pub fn weigh(
    decoder: &Decoder,
    asked: &[Weighed],
    stopped: &dyn Fn() -> bool,
    tell: &mut dyn FnMut(usize),
) -> Vec<Result<Score, AskFault>> {
    let mut order: Vec<usize> = (0..asked.len()).collect();
    order.sort_by(|a, b| asked[*a].ids.cmp(&asked[*b].ids));
    let mut out: Vec<Result<Score, AskFault>> = asked.iter().map(|_| Err(AskFault::Stopped)).collect();
    let mut reader = Reader { decoder: decoder.detached(), cache: Cache::new(), held: Vec::new(), border: None };
    for at in order {
        if stopped() {
            break;
        }
        out[at] = reader.read(&asked[at]).map_err(AskFault::from);
        if out[at].is_err() {
            // What a failed pass left in the cache is not known.
            (reader.cache, reader.held, reader.border) = (Cache::new(), Vec::new(), None);
        }
        tell(at);
    }
    out
}

/// A text that the model has read, of which the next question may share a beginning.
struct Reader {
    decoder: Decoder,
    cache: Cache,
    /// The tokens in the cache.
    held: Vec<u32>,
    /// The logits behind one of them, where a continuation began: other continuations often begin there too.
    border: Option<(usize, Vec<f32>)>,
}

impl Reader {
    fn read(&mut self, asked: &Weighed) -> Result<Score, ModelError> {
        let entered = &asked.ids[..asked.ids.len() - 1]; // the last token is asked for and never entered
        let shared = self.held.iter().zip(entered).take_while(|(a, b)| a == b).count();
        self.border = self.border.take().filter(|(place, _)| *place < shared);
        let mut score = Score { ids: asked.ids[asked.first..].to_vec(), greedy: true, ..Score::default() };
        // The place before the continuation predicts its first token.
        let mut from = asked.first - 1;
        if let Some((_, logits)) = self.border.as_ref().filter(|(place, _)| *place == from) {
            note(&mut score, logits, asked.ids[from + 1])?;
            from += 1;
        }
        let keep = shared.min(from);
        if self.cache.truncate(keep).is_err() {
            (self.cache, self.held) = (Cache::new(), Vec::new());
        }
        self.held.truncate(keep.min(self.cache.len()));
        let begin = self.held.len();
        if begin >= entered.len() {
            return Ok(score);
        }
        let ids = Tensor::new(&entered[begin..], self.decoder.device())?.unsqueeze(0)?; // (1, time)
        let hidden = self.decoder.hidden(&ids, &mut Pass { cache: Some(&mut self.cache), ..Pass::default() })?;
        self.held.extend_from_slice(&entered[begin..]);
        let mut at = from.max(begin);
        while at < entered.len() {
            let n = AT_ONCE.min(entered.len() - at);
            let part = hidden.narrow(1, at - begin, n)?.contiguous()?;
            let rows = self.decoder.logits(&part)?.squeeze(0)?.to_dtype(DType::F32)?.to_vec2::<f32>()?; // n × vocab
            for (i, logits) in rows.into_iter().enumerate() {
                note(&mut score, &logits, asked.ids[at + i + 1])?;
                if at + i == asked.first - 1 {
                    self.border = Some((at + i, logits));
                }
            }
            at += n;
        }
        Ok(score)
    }
}

/// Adds a token's ln p by the logits before it.
fn note(score: &mut Score, logits: &[f32], id: u32) -> Result<(), ModelError> {
    let (best, most) = logits.iter().copied().enumerate().fold((0, f32::NEG_INFINITY), |a, b| if b.1 > a.1 { b } else { a });
    let sum: f64 = logits.iter().map(|l| f64::from(l - most).exp()).sum();
    let Some(own) = logits.get(id as usize).filter(|_| most.is_finite() && sum.is_finite()) else {
        let id = logits.iter().position(|l| !l.is_finite()).unwrap_or(best);
        return Err(SampleError::NotFinite { id, value: logits.get(id).copied().unwrap_or(f32::NAN) }.into());
    };
    score.log_probs.push((f64::from(own - most) - sum.ln()) as f32);
    score.greedy &= *own >= most;
    Ok(())
}
