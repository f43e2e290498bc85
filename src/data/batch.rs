//! stub: batches

use super::DataError;
use super::stream::TokenStream;
use serde::{Deserialize, Serialize};

/// The one thing that batches are made of: `ids[i]` predicts `ids[i + 1]`, whose loss counts `weights[i + 1]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    pub ids: Vec<u32>,
    /// As long as `ids`; the first is never a target.
    pub weights: Vec<f32>,
    /// The document that each token belongs to, counted from 0 within the sequence.
    pub segments: Vec<u32>,
    /// Where it came from: the token's place in the stream, or the row.
    pub row: u64,
}

/// Draws windows of `context + 1` tokens at random places of the stream (nanoGPT's sampling), from a seeded
/// stream whose state is saved.
#[derive(Clone, Serialize, Deserialize)]
pub struct Windows {
    pub context: usize,
    pub random: crate::rng::Stream,
}

impl Windows {
    pub fn new(seed: u64, context: usize, stream: &TokenStream) -> Result<Self, DataError> {
        let _ = (seed, context, stream);
        todo!()
    }
    pub fn next(&mut self, stream: &TokenStream, count: usize) -> Vec<Sequence> {
        let _ = (stream, count);
        todo!()
    }
}

/// The whole split once, in windows of `context` that do not overlap; a shorter last one included. Every token
/// but the first of the split is a target exactly once.
pub fn whole(stream: &TokenStream, context: usize) -> impl Iterator<Item = Sequence> {
    let _ = (stream, context);
    std::iter::empty()
}
