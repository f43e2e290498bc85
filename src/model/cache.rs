//! Keys and values of the tokens so far, so that generation computes each token once. They stand in pieces, each about as
//! long as all before it: growing copies nothing, and texts that begin alike share the pieces of their beginning.
//! Deliberately not here: a graph; a cache is for generation and holds plain numbers.

use super::ModelError;
use super::ops::Held;
use candle_core::{Device, Result as CandleResult, Tensor};
use std::sync::Arc;

/// Keys and values of the tokens so far, one pair a layer. Batch rows advance together.
#[derive(Default)]
pub struct Cache {
    pieces: Vec<Piece>,
    len: usize,
    /// Tokens for which room is made at least.
    reserved: usize,
}

#[derive(Clone)]
struct Piece {
    /// Of each layer (batch, room, kv_heads · head_dim); none before the layer has seen the piece's first tokens.
    layers: Vec<Option<(Tensor, Tensor)>>,
    room: usize,
    /// Places that this cache looks at.
    used: usize,
    /// As many caches share the piece as there are owners; a shared piece is only read.
    owners: Arc<()>,
}

/// Room is made in multiples of so many tokens.
const GROWTH: usize = 128;

impl Piece {
    fn new(room: usize) -> Self {
        Self { layers: Vec::new(), room: room.next_multiple_of(GROWTH), used: 0, owners: Arc::new(()) }
    }
    /// Whether `new` tokens can be written behind those that are used.
    fn takes(&self, new: usize) -> bool {
        Arc::strong_count(&self.owners) == 1 && self.room - self.used >= new
    }
}

impl Cache {
    pub fn new() -> Self {
        Self::default()
    }
    /// An empty cache that makes room for so many tokens at once.
    pub fn with_room(tokens: usize) -> Self {
        Self { reserved: tokens, ..Self::default() }
    }
    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Keeps the first `len` tokens.
    pub fn truncate(&mut self, len: usize) -> Result<(), ModelError> {
        if len > self.len {
            let text = format!("the cache holds {} tokens and was asked to keep {len}; keep at most what it holds", self.len);
            return Err(ModelError::Config(text));
        }
        let mut left = len;
        for piece in &mut self.pieces {
            piece.used = piece.used.min(left);
            left -= piece.used;
        }
        // The first piece stays, empty or not: its room is used again.
        while self.pieces.len() > 1 && self.pieces.last().is_some_and(|piece| piece.used == 0) {
            self.pieces.pop();
        }
        self.len = len;
        Ok(())
    }
    /// Another cache that holds the same tokens. They are shared and copied by neither, whatever both go on with.
    pub fn fork(&self) -> Self {
        Self { pieces: self.pieces.iter().filter(|piece| piece.used > 0).cloned().collect(), len: self.len, reserved: self.reserved }
    }
    /// Bytes that the cache keeps allocated; what it shares counts in each that shares it.
    pub fn bytes(&self) -> u64 {
        let of = |x: &Tensor| (x.elem_count() * x.dtype().size_in_bytes()) as u64;
        self.pieces.iter().flat_map(|piece| piece.layers.iter().flatten()).map(|(k, v)| of(k) + of(v)).sum()
    }

    /// Makes room for `new` tokens. A pass begins with it, then all layers `extend`, and `advance` ends it.
    pub(super) fn begin(&mut self, new: usize, device: &Device) -> CandleResult<()> {
        if self.pieces.last().is_some_and(|piece| piece.takes(new)) {
            return Ok(());
        }
        let room = (self.len.max(new) + GROWTH / 2).max(self.reserved.saturating_sub(self.len)).max(new);
        // Kernels of other devices want all keys in one piece: there the pieces are copied together.
        let piece = if device.is_cpu() || self.len == 0 { Piece::new(room) } else { self.joined(self.len + room)? };
        if self.len == 0 || !device.is_cpu() {
            self.pieces.clear();
        }
        self.pieces.push(piece);
        Ok(())
    }

    /// All tokens in one new piece.
    fn joined(&self, room: usize) -> CandleResult<Piece> {
        let mut all = Piece::new(room);
        all.used = self.len;
        for layer in 0..self.pieces.first().map_or(0, |piece| piece.layers.len()) {
            let mut pair: Option<(Tensor, Tensor)> = None;
            let mut at = 0;
            for piece in &self.pieces {
                let Some((keys, values)) = piece.layers.get(layer).and_then(Option::as_ref) else { continue };
                if pair.is_none() {
                    pair = Some(empty(keys, all.room)?);
                }
                if let Some((all_keys, all_values)) = &pair {
                    all_keys.slice_set(&keys.narrow(1, 0, piece.used)?.contiguous()?, 1, at)?;
                    all_values.slice_set(&values.narrow(1, 0, piece.used)?.contiguous()?, 1, at)?;
                }
                at += piece.used;
            }
            all.layers.push(pair);
        }
        Ok(all)
    }

    /// Adds a layer's keys and values of new tokens, (batch, new, width) each, and says where those of all tokens stand.
    pub(super) fn extend(&mut self, layer: usize, keys: &Tensor, values: &Tensor) -> CandleResult<Held> {
        let (batch, new, _) = keys.dims3()?;
        let Some(last) = self.pieces.last_mut() else { candle_core::bail!("a cache was extended that made no room before") };
        if last.layers.len() <= layer {
            last.layers.resize(layer + 1, None);
        }
        let pair = match &last.layers[layer] {
            Some((own, _)) if own.dim(0)? != batch => {
                candle_core::bail!("the cache holds {} sequences and got {batch}; use one cache a batch", own.dim(0)?)
            }
            Some((own_keys, own_values)) => (own_keys.clone(), own_values.clone()),
            None => empty(keys, last.room)?,
        };
        pair.0.slice_set(&keys.detach().contiguous()?, 1, last.used)?;
        pair.1.slice_set(&values.detach().contiguous()?, 1, last.used)?;
        last.layers[layer] = Some(pair);
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for (i, piece) in self.pieces.iter().enumerate() {
            let used = piece.used + if i + 1 == self.pieces.len() { new } else { 0 };
            let Some((keys, values)) = piece.layers.get(layer).and_then(Option::as_ref) else {
                candle_core::bail!("layer {layer} did not see all tokens of the cache")
            };
            pieces.push((keys.clone(), values.clone(), used));
        }
        Ok(Held { new, pieces })
    }

    /// All layers have taken `new` tokens.
    pub(super) fn advance(&mut self, new: usize) {
        if let Some(last) = self.pieces.last_mut() {
            last.used += new;
            self.len += new;
        }
    }
}

/// Room for keys and for values, as wide and of the type of `like` (batch, …, width).
fn empty(like: &Tensor, room: usize) -> CandleResult<(Tensor, Tensor)> {
    let (batch, _, width) = like.dims3()?;
    let make = || Tensor::zeros((batch, room, width), like.dtype(), like.device());
    Ok((make()?, make()?))
}
