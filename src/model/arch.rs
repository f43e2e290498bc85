//! What tells one family of decoders from another, as data: norms and their places, positions, attention, feed-forward.
//! Deliberately not here: how a `config.json` says it (`family`), and the passes that heed it (`block`).

use super::positions::Rope;

/// The description that a family gives. `Arch::llama` is where most of them begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Arch {
    pub norm: NormKind,
    pub places: Places,
    /// Attention and feed-forward both work on what came in, and are added to it together (Wang and Komatsuzaki 2021).
    pub parallel: bool,
    pub head_norm: HeadNorm,
    pub qkv: Qkv,
    pub qkv_bias: bool,
    pub output_bias: bool,
    pub ffn_bias: bool,
    pub head_bias: bool,
    pub activation: Activation,
    pub ffn: FfnKind,
    /// Instead of the feed-forward part, in every layer that is not `dense`.
    pub experts: Option<Experts>,
    /// A learned table of positions instead of rotations.
    pub learned_positions: bool,
    /// Weights of products are stored (in, out): transformers' `Conv1D`.
    pub transposed: bool,
    /// The rotations that layers choose from.
    pub ropes: Vec<Rope>,
    /// One a layer; empty where all are as `Layer::default` says.
    pub layers: Vec<Layer>,
    /// What scores are multiplied with; 1 / √head_dim where none is said.
    pub attention_scale: Option<f64>,
    /// Scores become cap · tanh(score / cap).
    pub attention_cap: Option<f64>,
    /// The same for logits.
    pub logit_cap: Option<f64>,
    /// What embeddings are multiplied with.
    pub embedding_scale: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// RMSNorm.
    Rms,
    /// RMSNorm whose weights are stored less one (Gemma).
    RmsLessOne,
    /// LayerNorm with a bias.
    Layer,
}

/// Where a block's norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// Before attention and before the feed-forward part.
    Before,
    /// After each, before the sum.
    After,
    /// Before and after each.
    Around,
    /// One, whose result both halves work on.
    Shared,
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadNorm {
    None,
    /// Of each head, all heads with the same weights (head_dim), of the block's kind.
    Each,
    /// Of all heads together: weights (heads · head_dim).
    Whole,
    /// LayerNorm of each head without bias, each head with weights of its own, stored apart.
    Own,
}

/// How the weights of queries, keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qkv {
    Apart,
    /// In one matrix: all queries, all keys, all values.
    Packed,
    /// In one matrix: of each head its query, key and value.
    Interleaved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Silu,
    /// By the error function.
    Gelu,
    /// By the tanh approximation.
    GeluTanh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FfnKind {
    /// down(act(up(x))).
    Dense,
    /// down(act(gate(x)) · up(x)) (Shazeer 2020).
    Gated,
    /// The same with gate and up in one matrix.
    Packed,
}

/// A mixture of gated feed-forward parts (Fedus et al. 2021; Jiang et al. 2024).
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    pub count: usize,
    pub per_token: usize,
    /// Width of one expert.
    pub ffn: usize,
    /// Whether the shares of the chosen ones add up to 1.
    pub normalise: bool,
}

/// What distinguishes a layer from its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Keys that a query sees at most, its own among them.
    pub window: Option<usize>,
    /// Which of the rotations; none for no positions at all.
    pub rope: Option<usize>,
    /// Without experts in a model that has some.
    pub dense: bool,
}

impl Default for Layer {
    fn default() -> Self {
        Self { window: None, rope: Some(0), dense: false }
    }
}

impl Arch {
    /// RMSNorm before either half, rotary positions, SwiGLU, no biases.
    pub fn llama(rope: Rope) -> Self {
        Self {
            norm: NormKind::Rms,
            places: Places::Before,
            parallel: false,
            head_norm: HeadNorm::None,
            qkv: Qkv::Apart,
            qkv_bias: false,
            output_bias: false,
            ffn_bias: false,
            head_bias: false,
            activation: Activation::Silu,
            ffn: FfnKind::Gated,
            experts: None,
            learned_positions: false,
            transposed: false,
            ropes: vec![rope],
            layers: Vec::new(),
            attention_scale: None,
            attention_cap: None,
            logit_cap: None,
            embedding_scale: None,
        }
    }

    /// LayerNorm, a learned table of positions, GELU, biases everywhere.
    pub fn gpt2() -> Self {
        Self {
            norm: NormKind::Layer,
            qkv: Qkv::Packed,
            qkv_bias: true,
            output_bias: true,
            ffn_bias: true,
            activation: Activation::GeluTanh,
            ffn: FfnKind::Dense,
            learned_positions: true,
            transposed: true,
            ropes: Vec::new(),
            ..Self::llama(Rope::new(10_000.0, 2))
        }
    }

    pub fn layer(&self, i: usize) -> Layer {
        self.layers.get(i).copied().unwrap_or_default()
    }
    /// The experts of a layer that has some.
    pub fn experts_of(&self, i: usize) -> Option<&Experts> {
        self.experts.as_ref().filter(|_| !self.layer(i).dense)
    }
    /// All layers see so many keys at most.
    pub fn windowed(mut self, layers: usize, window: Option<usize>) -> Self {
        if window.is_some() {
            self.layers = vec![Layer { window, ..Layer::default() }; layers];
        }
        self
    }
}
