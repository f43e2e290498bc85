//! Batches: windows of a token stream, drawn at random while training and in order while validating.
//! Deliberately not here: tensors, and where tokens come from (`stream`).

use super::DataError;
use super::stream::{TokenStream, too_short};
use crate::rng::Stream;
use serde::{Deserialize, Serialize};

/// The one thing that batches are made of: `ids[i]` predicts `ids[i + 1]`, whose loss counts `weights[i + 1]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    pub ids: Vec<u32>,
    /// As long as `ids`; the first is never a target.
    pub weights: Vec<f32>,
    /// The document that each token belongs to, counted from 0 within the sequence. An end-of-text token belongs
    /// to the document that it ends; it predicts how the next one begins.
    pub segments: Vec<u32>,
    /// Where it came from: the token's place in the stream, or the row.
    pub row: u64,
}

impl Sequence {
    /// The sum of the weights: what a mean loss is divided by.
    pub fn targets(&self) -> f64 {
        self.weights.iter().skip(1).map(|w| f64::from(*w)).sum()
    }

    /// A prompt and its completion: only the completion's tokens, and the end that follows them, are targets. What is
    /// longer than `context` tokens and the one after them is cut at its end.
    pub fn of_pair(prompt: &[u32], completion: &[u32], end: Option<u32>, context: usize, row: u64) -> Self {
        let ids: Vec<u32> = prompt.iter().chain(completion).copied().chain(end).take(context + 1).collect();
        // The first token is never a target: nothing stands before it.
        let weights = (0..ids.len()).map(|i| if i >= prompt.len().max(1) { 1.0 } else { 0.0 }).collect();
        Self { segments: vec![0; ids.len()], weights, ids, row }
    }

    /// `len` tokens of a stream from `start` on, which must be in it; every token but the first is a target.
    fn window(stream: &TokenStream, start: usize, len: usize) -> Self {
        let mut ids = vec![0; len];
        stream.read(start, &mut ids);
        let mut weights = vec![1.0; len];
        if let Some(first) = weights.first_mut() {
            *first = 0.0;
        }
        let mut segments = vec![0; len];
        if let Some(end) = stream.end_of_text() {
            let mut document = 0;
            for (id, segment) in ids.iter().zip(&mut segments) {
                *segment = document;
                document += u32::from(*id == end);
            }
        }
        Self { ids, weights, segments, row: start as u64 }
    }
}

/// Draws windows of `context + 1` tokens at random places of the stream (nanoGPT's sampling), from a seeded
/// stream whose state is saved: a reader that goes on from the saved state draws what this one would have drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    pub context: usize,
    pub random: Stream,
}

impl Windows {
    /// The same seed draws the same windows from streams of the same length. A stream without one whole window,
    /// and a context of 0, is an error.
    pub fn new(seed: u64, context: usize, stream: &TokenStream) -> Result<Self, DataError> {
        if context == 0 {
            return Err(DataError::Other("model.context = 0 has no token to predict; set it to 1 or more".into()));
        }
        if stream.len() < context + 1 {
            return Err(too_short(stream, context));
        }
        Ok(Self { context, random: Stream::new(seed, "data") })
    }

    /// The next `count` windows; none from a stream that is shorter than a window.
    pub fn next(&mut self, stream: &TokenStream, count: usize) -> Vec<Sequence> {
        let places = stream.len().saturating_sub(self.context) as u64;
        if places == 0 {
            return Vec::new();
        }
        (0..count).map(|_| Sequence::window(stream, self.random.below(places) as usize, self.context + 1)).collect()
    }
}

/// The whole split once, in windows of `context` targets that do not overlap (each begins with the last token
/// of the one before); a shorter last one included. Every token but the first of the split is a target exactly
/// once. Nothing for a split of fewer than two tokens.
pub fn whole(stream: &TokenStream, context: usize) -> impl Iterator<Item = Sequence> + use<> {
    let stream = stream.clone();
    let last = stream.len().saturating_sub(1);
    (0..last).step_by(context.max(1)).map(move |start| Sequence::window(&stream, start, (context.max(1)).min(last - start) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(ids: impl Iterator<Item = u32>) -> TokenStream {
        TokenStream::from_ids(ids.collect(), Some(9))
    }

    #[test]
    fn windows_lie_in_the_stream_reach_both_ends_and_repeat_by_seed() {
        let stream = stream(100..110);
        let mut windows = Windows::new(1, 4, &stream).unwrap();
        let drawn = windows.next(&stream, 400);
        assert!(drawn.iter().all(|s| s.ids.len() == 5 && s.ids.windows(2).all(|p| p[1] == p[0] + 1)));
        assert!(drawn.iter().all(|s| s.weights == [0.0, 1.0, 1.0, 1.0, 1.0] && s.ids[0] == 100 + s.row as u32));
        let places: std::collections::BTreeSet<u64> = drawn.iter().map(|s| s.row).collect();
        assert_eq!(places.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(Windows::new(1, 4, &stream).unwrap().next(&stream, 400), drawn);
        assert_ne!(Windows::new(2, 4, &stream).unwrap().next(&stream, 400), drawn);
    }

    #[test]
    fn a_saved_reader_goes_on_exactly() {
        let stream = stream(0..5000);
        let mut whole = Windows::new(3, 8, &stream).unwrap();
        let mut part = whole.clone();
        let all: Vec<Sequence> = (0..10).flat_map(|_| whole.next(&stream, 12)).collect();
        let mut drawn = part.next(&stream, 12 * 4);
        let saved = serde_json::to_string(&part).unwrap();
        let mut again: Windows = serde_json::from_str(&saved).unwrap();
        drawn.extend(again.next(&stream, 12 * 6));
        assert_eq!(drawn, all);
    }

    #[test]
    fn every_token_but_the_first_is_a_target_once() {
        for len in [0, 1, 2, 64, 65, 66, 129, 1000] {
            let stream = stream((0..len).map(|i| i + 100));
            let windows: Vec<Sequence> = whole(&stream, 64).collect();
            let targets: Vec<u32> = windows.iter().flat_map(|s| s.ids[1..].to_vec()).collect();
            assert_eq!(targets, (101..100 + len.max(1)).collect::<Vec<u32>>(), "{len}");
            assert!(windows.iter().all(|s| (2..=65).contains(&s.ids.len()) && s.weights[0] == 0.0));
            let sum: f64 = windows.iter().map(Sequence::targets).sum();
            assert_eq!(sum as u32, len.saturating_sub(1));
        }
    }

    #[test]
    fn only_a_completion_and_its_end_are_targets() {
        let pair = Sequence::of_pair(&[1, 2], &[3, 4], Some(9), 10, 7);
        assert_eq!((pair.ids, pair.weights, pair.row), (vec![1, 2, 3, 4, 9], vec![0.0, 0.0, 1.0, 1.0, 1.0], 7));
        let cut = Sequence::of_pair(&[1, 2], &[3, 4], Some(9), 2, 0);
        assert_eq!((cut.targets(), cut.ids), (1.0, vec![1, 2, 3]));
        assert_eq!(Sequence::of_pair(&[], &[3, 4], None, 8, 0).weights, [0.0, 1.0]);
    }

    #[test]
    fn segments_count_documents() {
        let stream = stream([1, 2, 9, 3, 9, 9, 4].into_iter());
        let window = whole(&stream, 10).next().unwrap();
        assert_eq!(window.segments, [0, 0, 0, 1, 1, 2, 3]);
        let plain = TokenStream::from_ids(vec![1, 9, 2], None);
        assert_eq!(whole(&plain, 10).next().unwrap().segments, [0, 0, 0]);
    }

    #[test]
    fn a_stream_without_a_window_is_an_error() {
        let stream = stream(0..64);
        let error = Windows::new(1, 64, &stream).unwrap_err().to_string();
        assert!(error.contains("64 tokens of training text are fewer than one window of 65"), "{error}");
        assert!(Windows::new(1, 63, &stream).is_ok());
        assert!(Windows::new(1, 0, &stream).is_err());
    }
}
