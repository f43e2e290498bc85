//! A text on its way through the model: the window of tokens, the key/value cache and the logits of what comes next.
//! Deliberately not here: choosing a token and ending (`generate`).

use candle_core::{DType, Tensor};

use super::sampler::log_probabilities;
use crate::model::ModelError;
use crate::model::decoder::{Cache, Decoder, Pass};

/// Places whose logits are held at once while a prompt is scored: bounds the memory of a large vocabulary.
const SCORED_AT_ONCE: usize = 64;

pub struct Session {
    decoder: Decoder,
    cache: Cache,
    window: Vec<u32>,
    /// Logits of the token after the window: one a vocabulary entry.
    logits: Vec<f32>,
    /// Tokens that the window left behind.
    dropped: usize,
}

impl Session {
    /// Runs `prompt` (not empty, every id below the vocabulary) through the model. A prompt longer than the
    /// context keeps its last `context` tokens. With `score`, also gives for each token of the window but the
    /// first the logits that the model had before it, to `score(place, logits)`.
    pub fn start(decoder: &Decoder, prompt: &[u32], score: Option<&mut dyn FnMut(usize, Vec<f32>)>) -> Result<Self, ModelError> {
        let dropped = prompt.len().saturating_sub(decoder.config().context.max(1));
        let mut session =
            Self { decoder: decoder.detached(), cache: Cache::new(), window: prompt[dropped..].to_vec(), logits: Vec::new(), dropped };
        let hidden = session.forward(&session.window.clone())?;
        if let Some(score) = score {
            session.score(&hidden, score)?;
        }
        Ok(session)
    }

    /// Takes one more token. A full window first slides: its last half is run again from position 0, since the
    /// cached keys carry the positions of the places where they stood.
    pub fn push(&mut self, id: u32) -> Result<(), ModelError> {
        let context = self.decoder.config().context.max(1);
        self.window.push(id);
        if self.window.len() <= context {
            self.forward(&[id])?;
            return Ok(());
        }
        let keep = (context / 2).max(1);
        let leave = self.window.len() - keep;
        self.window.drain(..leave);
        self.dropped += leave;
        self.cache = Cache::new();
        self.forward(&self.window.clone())?;
        Ok(())
    }

    pub fn logits(&self) -> &[f32] {
        &self.logits
    }
    pub fn window(&self) -> &[u32] {
        &self.window
    }
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Runs `ids` behind the cache; keeps the last place's logits and returns the hidden states (1, time, width).
    fn forward(&mut self, ids: &[u32]) -> Result<Tensor, ModelError> {
        let ids = Tensor::new(ids, self.decoder.device())?.unsqueeze(0)?; // (1, time)
        let hidden = self.decoder.hidden(&ids, &mut Pass { cache: Some(&mut self.cache), ..Pass::default() })?;
        let time = hidden.dim(1)?;
        self.logits = rows(&self.decoder, &hidden.narrow(1, time - 1, 1)?)?.pop().unwrap_or_default();
        Ok(hidden)
    }

    fn score(&self, hidden: &Tensor, score: &mut dyn FnMut(usize, Vec<f32>)) -> Result<(), ModelError> {
        let time = hidden.dim(1)?.saturating_sub(1); // the last place predicts what is not there yet
        let mut at = 0;
        while at < time {
            let n = SCORED_AT_ONCE.min(time - at);
            for (i, logits) in rows(&self.decoder, &hidden.narrow(1, at, n)?)?.into_iter().enumerate() {
                score(at + i + 1, logits);
            }
            at += n;
        }
        Ok(())
    }
}

/// (1, time, width) → logits, one row a place.
fn rows(decoder: &Decoder, hidden: &Tensor) -> Result<Vec<Vec<f32>>, ModelError> {
    Ok(decoder.logits(&hidden.contiguous()?)?.squeeze(0)?.to_dtype(DType::F32)?.to_vec2::<f32>()?)
}

/// Probabilities of the token after `ids`: one a vocabulary entry.
pub fn probabilities_after(decoder: &Decoder, ids: &[u32]) -> Result<Vec<f32>, ModelError> {
    let session = Session::start(decoder, ids, None)?;
    Ok(log_probabilities(session.logits())?.into_iter().map(f32::exp).collect())
}
