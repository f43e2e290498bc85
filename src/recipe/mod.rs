//! Recipes: what to train, on what, how. `knobs` describes every key, `parse` reads and writes them, `fault` says what
//! is wrong with a text that is not TOML.
//! Deliberately not here: files and globs (`data`), and what any value does.

mod fault;
mod knobs;
mod parse;

use serde::{Deserialize, Serialize};

pub use fault::{Fault, line_of};
pub use knobs::{KNOBS, Knob, Range, SECTIONS, knob};
pub use parse::{Problem, RecipeError, validate};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    pub seed: u64,
    pub model: ModelSection,
    pub tokenizer: TokenizerSection,
    pub data: DataSection,
    pub objective: ObjectiveSection,
    pub optim: OptimSection,
    pub eval: EvalSection,
    pub checkpoint: CheckpointSection,
}

/// A new model, or `init` to go on from one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelSection {
    /// A run, a checkpoint directory or a model directory to start from; the shape keys are then that model's.
    pub init: Option<String>,
    /// `llama`, `qwen3`, `gpt2`.
    pub family: String,
    pub layers: usize,
    pub heads: usize,
    /// Absent: as many as `heads`.
    pub kv_heads: Option<usize>,
    /// Absent: `width / heads`.
    pub head_dim: Option<usize>,
    pub width: usize,
    /// Absent: `width * 8 / 3` rounded down to a multiple of 8 (gpt2: `4 * width`).
    pub ffn: Option<usize>,
    pub context: usize,
    /// Whether the head shares the embedding's weights. Absent: the family's habit (gpt2 tied, others not).
    pub tied: Option<bool>,
    pub dropout: f64,
    /// Whether blocks are computed once more in the backward pass, which keeps less memory.
    pub recompute: bool,
    pub rope_theta: f64,
    pub norm_eps: f64,
    /// Standard deviation of the initial weights.
    pub init_std: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenizerSection {
    /// `char`, `byte`, `bpe`.
    pub kind: String,
    /// Of a `bpe`.
    pub vocab: usize,
    /// How a `bpe` cuts words: `gpt2`, `cl100k`, `llama3`, `qwen2`, `o200k`.
    pub pattern: String,
    /// A `bpe` never joins digits.
    pub split_digits: bool,
    /// A `bpe` has tokens for runs of blanks of 2 to this many; 0 for none.
    pub blank_runs: usize,
    /// A `bpe` of characters, with bytes for rare ones, instead of one of bytes.
    pub byte_fallback: bool,
    /// An existing tokenizer's file, used as it is.
    pub path: Option<String>,
    /// Added at the end of every document; in the vocabulary of a new tokenizer, looked up in an existing one.
    pub end_of_text: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSection {
    /// Files and globs; or `sample:NAME`, a text that is built into the program.
    pub train: Vec<String>,
    /// Absent: the end of the training text, by `val_fraction`.
    pub val: Vec<String>,
    pub val_fraction: f64,
    /// The field of a row that holds the text.
    pub field: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectiveSection {
    pub kind: String,
    /// The objective's own keys, checked against its knobs.
    #[serde(flatten)]
    pub rest: toml::Table,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptimSection {
    /// `adamw`, `sgd`.
    pub kind: String,
    pub lr: f64,
    /// Absent: a tenth of `lr`.
    pub min_lr: Option<f64>,
    pub warmup: usize,
    /// `constant`, `cosine`, `wsd`.
    pub schedule: String,
    /// The share of all steps in which `wsd` decays.
    pub decay_fraction: f64,
    pub betas: [f64; 2],
    pub eps: f64,
    /// Of `sgd`.
    pub momentum: f64,
    pub weight_decay: f64,
    /// Whether norms, biases and embeddings decay too.
    pub decay_all: bool,
    /// The largest norm of all gradients together; 0 clips nothing.
    pub clip: f64,
    pub steps: usize,
    /// Instead of `steps`: passes over the training tokens.
    pub epochs: Option<f64>,
    /// Sequences in a micro-batch.
    pub batch: usize,
    /// Micro-batches in a step.
    pub accumulate: usize,
    /// `f32`, `bf16`: of the forward and backward pass; weights, gradients and moments are f32 in both.
    pub precision: String,
    /// Of CUDA: products of f32 in TF32. Absent: yes.
    pub tf32: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvalSection {
    /// Steps between evaluations; 0 evaluates at the end alone.
    pub every: usize,
    /// Batches of an evaluation while training; 0 reads the whole validation split, in windows of the context.
    pub batches: usize,
    /// A prompt to continue at each evaluation; several may be given.
    pub prompts: Vec<String>,
    pub sample_tokens: usize,
    pub temperature: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckpointSection {
    /// Steps between checkpoints; 0 keeps the last one alone.
    pub every: usize,
    /// How many of the newest are kept, beside the best.
    pub keep: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            seed: 1337,
            model: ModelSection::default(),
            tokenizer: TokenizerSection::default(),
            data: DataSection::default(),
            objective: ObjectiveSection::default(),
            optim: OptimSection::default(),
            eval: EvalSection::default(),
            checkpoint: CheckpointSection::default(),
        }
    }
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            init: None,
            family: "llama".into(),
            layers: 4,
            heads: 4,
            kv_heads: None,
            head_dim: None,
            width: 128,
            ffn: None,
            context: 64,
            tied: None,
            dropout: 0.0,
            recompute: false,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
            init_std: 0.02,
        }
    }
}

impl Default for TokenizerSection {
    fn default() -> Self {
        Self {
            kind: "char".into(),
            vocab: 512,
            pattern: "gpt2".into(),
            split_digits: false,
            blank_runs: 0,
            byte_fallback: false,
            path: None,
            end_of_text: None,
        }
    }
}

impl Default for DataSection {
    fn default() -> Self {
        Self { train: Vec::new(), val: Vec::new(), val_fraction: 0.1, field: "text".into() }
    }
}

impl Default for ObjectiveSection {
    fn default() -> Self {
        Self { kind: "pretrain".into(), rest: toml::Table::new() }
    }
}

impl Default for OptimSection {
    fn default() -> Self {
        Self {
            kind: "adamw".into(),
            lr: 1e-3,
            min_lr: None,
            warmup: 100,
            schedule: "cosine".into(),
            decay_fraction: 0.2,
            betas: [0.9, 0.99],
            eps: 1e-8,
            momentum: 0.0,
            weight_decay: 0.1,
            decay_all: false,
            clip: 1.0,
            steps: 2000,
            epochs: None,
            batch: 12,
            accumulate: 1,
            precision: "f32".into(),
            tf32: None,
        }
    }
}

impl Default for EvalSection {
    fn default() -> Self {
        Self { every: 200, batches: 20, prompts: vec![String::new()], sample_tokens: 80, temperature: 0.8 }
    }
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self { every: 500, keep: 3 }
    }
}
