//! Memory before it is allocated: what a training step will hold, and whether there is room for it.
//! Deliberately not here: measuring what is used; that is the training's.

use super::ModelError;
use super::arch::{FfnKind, HeadNorm, Places, Qkv};
use super::config::Config;
use candle_core::{DType, Device};

/// What of a training's memory the shape of the model does not say.
#[derive(Clone, Copy, Debug)]
pub struct Training {
    /// Sequences of a micro-batch.
    pub batch: usize,
    /// Whether gradients of several micro-batches are summed, in buffers of their own.
    pub accumulates: bool,
    /// Numbers that the optimizer keeps for every weight.
    pub moments: u64,
    /// Whether blocks are computed once more in the backward pass.
    pub recompute: bool,
    /// Threads that go through the model side by side.
    pub lanes: u64,
}

/// What lies between and beside the kept results, in percent of them: what an operation takes and frees while the tape
/// stands, in blocks that the next one's do not fit into. Measured: 6 to 14, by how the threads fall.
const BETWEEN_PERCENT: u64 = 9;

/// Room for the chunk of logits that a lane's loss holds at a time, and for the packed parts of products.
const CHUNK_BYTES: u64 = 10 << 20;

impl Config {
    /// Numbers that the tape of a forward pass keeps for every token until the backward pass comes by: the results of
    /// all operations, since nearly each is an argument of the next one.
    pub fn kept_per_token(&self, recompute: bool) -> u64 {
        let (width, q, kv, ffn) = (self.width as u64, self.q_width() as u64, self.kv_width() as u64, self.ffn as u64);
        let arch = &self.arch;
        // The stream after either half of a block, both norms' results, attention's result and two f64 a head.
        let mut block = 4 * width + q + 4 * self.heads as u64;
        if arch.places == Places::Around {
            block += 2 * width;
        }
        // Rotated queries and keys, and values; before their norms, and side by side, too.
        block += q + 2 * kv;
        if arch.head_norm != HeadNorm::None {
            block += q + kv;
        }
        if arch.qkv != Qkv::Apart && !arch.learned_positions {
            block += 2 * q + 3 * kv;
        }
        // What the activation is of, and what it gives: gate, up and their product.
        let gates = if arch.activation == super::arch::Activation::Silu { 3 } else { 4 };
        block += match (&arch.experts, arch.ffn) {
            (Some(experts), _) => (experts.per_token as u64).saturating_mul(2 * width + 3 * experts.ffn as u64),
            (None, FfnKind::Dense) => 2 * ffn,
            (None, FfnKind::Gated) => gates * ffn,
            (None, FfnKind::Packed) => (gates + 2) * ffn,
        };
        // The embedding (where positions are learned: of tokens and of places, and their sum), and the last norm's result
        // with its copy.
        let mut rest = if arch.learned_positions { 5 * width } else { 3 * width };
        if self.dropout > 0.0 {
            // What is dropped from, the mask and what is left, for both halves of a block and for the embedding.
            block += 6 * width;
            rest += 2 * width;
        }
        // Computed once more, a block keeps its argument alone, and one block at a time all of it.
        let (kept, once) = if recompute { (width, block) } else { (block, 0) };
        (self.layers as u64).saturating_mul(kept).saturating_add(rest + once)
    }

    /// Bytes that a training step holds at its peak, in f32.
    pub fn training_bytes(&self, training: Training) -> u64 {
        let parameters = self.parameters();
        let tokens = (training.batch as u64).saturating_mul(self.context as u64);
        let (width, widest) = (self.width as u64, (3 * self.ffn as u64).max(3 * self.q_width() as u64));
        let kept = tokens.saturating_mul(self.kept_per_token(training.recompute));
        let kept = kept.saturating_add(kept / 100 * BETWEEN_PERCENT);
        // The loss makes the gradients of the last hidden states and, in each lane, of the head while the whole tape stands.
        let head = (self.vocab as u64).saturating_mul(width).saturating_mul(training.lanes);
        let at_the_loss = kept.saturating_add(tokens.saturating_mul(2 * width)).saturating_add(head);
        // At the other end of the backward pass every weight has its gradient, and one block's are under way.
        let at_the_end = parameters.saturating_add(tokens.saturating_mul(2 * width + widest));
        let held = parameters.saturating_mul(1 + training.moments + u64::from(training.accumulates));
        held.saturating_add(at_the_loss.max(at_the_end)).saturating_mul(4).saturating_add(training.lanes * CHUNK_BYTES)
    }
}

/// Bytes of memory that programs can still have; none where the system does not say.
pub fn available() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some(system.available_memory()).filter(|bytes| *bytes > 0)
}

/// Fails where `elements` numbers of `dtype` cannot fit into the machine's memory. Devices with a memory of their
/// own say so themselves.
pub fn check(elements: u64, dtype: DType, device: &Device, what: &str) -> Result<(), ModelError> {
    if !device.is_cpu() {
        return Ok(());
    }
    let needed = elements.saturating_mul(dtype.size_in_bytes() as u64);
    // Asking the system costs some microseconds, and small models fit anywhere.
    if needed < 1 << 28 {
        return Ok(());
    }
    // Where the system does not say, its allocator will.
    let Some(available) = available().filter(|available| needed > *available) else { return Ok(()) };
    Err(ModelError::Config(format!(
        "{what} needs {} MB of memory and {} MB are free; choose fewer layers, a smaller width or vocabulary, or a machine with more memory",
        needed >> 20,
        available >> 20
    )))
}
