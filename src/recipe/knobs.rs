//! The knobs: every key of a recipe with its help, range and default; what the parser, `--set`, the recipe form,
//! `--help` and the reference page read. Deliberately not here: the keys of an objective, which are the objective's own.

use std::fmt;

/// One key of a recipe: the parser, `--set`, the recipe form, `--help` and the reference page all read this.
#[derive(Clone, Debug, PartialEq)]
pub struct Knob {
    /// With its section: `optim.lr`.
    pub name: &'static str,
    pub help: &'static str,
    pub range: Range,
    /// As it would be written in TOML; empty where the key may be absent.
    pub default: &'static str,
}

impl Knob {
    /// `optim` of `optim.lr`; empty for a key that stands before all sections.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }
    /// `lr` of `optim.lr`.
    pub fn key(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, key)| key)
    }
    /// Whether the key may be left out and then has no value at all.
    pub fn optional(&self) -> bool {
        self.default.is_empty()
    }
}

/// What values a knob takes. Bounds are inclusive, unless `Float` says otherwise in its name.
#[derive(Clone, Debug, PartialEq)]
pub enum Range {
    Int {
        min: i64,
        max: i64,
    },
    Float {
        min: f64,
        max: f64,
    },
    Bool,
    Choice(&'static [&'static str]),
    Text,
    Texts,
    /// A file, directory or glob.
    Path,
    Paths,
    Floats {
        len: usize,
        min: f64,
        max: f64,
    },
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int { min, max } if *max == i64::MAX => write!(f, "a whole number from {min} on"),
            Self::Int { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Float { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Bool => f.write_str("true or false"),
            Self::Choice(names) => write!(f, "one of {}", names.join(", ")),
            Self::Text => f.write_str("a text"),
            Self::Texts => f.write_str("a text or a list of texts"),
            Self::Path => f.write_str("a path"),
            Self::Paths => f.write_str("a path or a list of paths"),
            Self::Floats { len, min, max } => write!(f, "{len} numbers from {min} to {max}"),
        }
    }
}

/// The sections in the order in which they are written; the empty one holds what stands before all.
pub const SECTIONS: &[&str] = &["", "model", "tokenizer", "data", "objective", "optim", "eval", "checkpoint"];

/// The knob of this name among a recipe's own and an objective's.
pub fn knob<'a>(name: &str, objective: &'a [Knob]) -> Option<&'a Knob> {
    KNOBS.iter().chain(objective).find(|k| k.name == name)
}

const fn int(name: &'static str, min: i64, max: i64, default: &'static str, help: &'static str) -> Knob {
    Knob { name, help, range: Range::Int { min, max }, default }
}

const fn float(name: &'static str, min: f64, max: f64, default: &'static str, help: &'static str) -> Knob {
    Knob { name, help, range: Range::Float { min, max }, default }
}

const fn other(name: &'static str, range: Range, default: &'static str, help: &'static str) -> Knob {
    Knob { name, help, range, default }
}

/// Families of models, of which the first three are also made anew.
#[rustfmt::skip]
const FAMILIES: &[&str] = &[
    "llama", "qwen3", "gpt2", "mistral", "mixtral", "qwen2", "qwen3_moe", "gemma", "gemma2", "gemma3_text", "phi", "phi3",
    "gpt_neox", "olmo2", "smollm3", "stablelm", "starcoder2",
];

/// Every key of a recipe except an objective's own, section by section.
pub const KNOBS: &[Knob] = &[
    int("seed", 0, i64::MAX, "1337", "Where all randomness comes from: the same seed on the same machine gives the same run."),
    other("model.init", Range::Path, "", "A run, a checkpoint or a model directory to go on from; the shape is then that model's."),
    other(
        "model.family",
        Range::Choice(FAMILIES),
        "\"llama\"",
        "The architecture, by the family that introduced it: llama, qwen3 or gpt2 for a new model; with model.init that model's.",
    ),
    int("model.layers", 1, 512, "4", "How many blocks of attention and feed-forward stand one above the other."),
    int("model.heads", 1, 1024, "4", "Attention heads of a block; must divide the width unless head_dim is given."),
    int("model.kv_heads", 1, 1024, "", "Heads of keys and values, shared by groups of heads; must divide heads. Absent: as many as heads."),
    int("model.head_dim", 2, 4096, "", "Numbers in one head. Absent: width / heads."),
    int("model.width", 2, 131_072, "128", "Numbers that represent one token between the blocks."),
    int("model.ffn", 1, 1_048_576, "", "Width inside the feed-forward part. Absent: width * 8 / 3, a multiple of 8 (gpt2: 4 * width)."),
    int("model.context", 2, 1_048_576, "64", "How many tokens the model sees at once."),
    other("model.tied", Range::Bool, "", "Whether the output head shares the embedding's weights. Absent: gpt2 yes, others no."),
    float("model.dropout", 0.0, 0.95, "0.0", "The share of activations that are zeroed while training."),
    other(
        "model.recompute",
        Range::Bool,
        "false",
        "Whether the backward pass computes each block once more instead of keeping it: a third more time, far less memory (CPU).",
    ),
    float("model.rope_theta", 1.0, 1e12, "10000.0", "Base of the rotary positions' wavelengths (llama, qwen3)."),
    float("model.norm_eps", 1e-12, 0.1, "1e-5", "What keeps a norm from dividing by zero."),
    float("model.init_std", 1e-6, 10.0, "0.02", "Standard deviation of the initial weights."),
    other(
        "tokenizer.kind",
        Range::Choice(&["char", "byte", "bpe"]),
        "\"char\"",
        "What a token is in a new tokenizer: a character, a byte, or a learned piece.",
    ),
    int("tokenizer.vocab", 2, 1_000_000, "512", "How many tokens a bpe tokenizer learns."),
    other(
        "tokenizer.pattern",
        Range::Choice(&["gpt2", "cl100k", "llama3", "qwen2", "o200k"]),
        "\"gpt2\"",
        "How a bpe cuts a text into words, which no token reaches over.",
    ),
    other("tokenizer.split_digits", Range::Bool, "false", "Whether a bpe keeps every digit a token of its own."),
    int("tokenizer.blank_runs", 0, 64, "0", "A bpe gets tokens for runs of 2 to so many blanks, as code is indented with; 0 for none."),
    other(
        "tokenizer.byte_fallback",
        Range::Bool,
        "false",
        "Whether a bpe is made of characters, with bytes for rare ones, instead of bytes.",
    ),
    other(
        "tokenizer.path",
        Range::Path,
        "",
        "An existing tokenizer, used as it is instead of a new one: tokenizer.json, vocab.json, .tiktoken, .model or .gguf.",
    ),
    other(
        "tokenizer.end_of_text",
        Range::Text,
        "",
        "The token at the end of every document; added to a new vocabulary, looked up in an existing one.",
    ),
    other(
        "data.train",
        Range::Paths,
        "[]",
        "Files, directories and globs to train on (text, or JSONL, JSON, CSV or Parquet with a text field; also as .gz or .zst); or sample:NAME, a text built into the program.",
    ),
    other("data.val", Range::Paths, "[]", "Files and globs to validate on. Empty: the end of the training text, by val_fraction."),
    float("data.val_fraction", 0.0, 0.9, "0.1", "The share of the training text that is kept for validation where data.val is empty."),
    other("data.field", Range::Text, "\"text\"", "The field of a row that holds the text."),
    other("objective.kind", Range::Text, "\"pretrain\"", "What a training step optimises."),
    other("optim.kind", Range::Choice(&["adamw", "sgd"]), "\"adamw\"", "The rule that turns gradients into changes of weights."),
    float("optim.lr", 0.0, 100.0, "0.001", "Learning rate: how far one step goes, at the height of the schedule."),
    float("optim.min_lr", 0.0, 100.0, "", "Learning rate at the end of the schedule. Absent: a tenth of lr."),
    int("optim.warmup", 0, 1_000_000_000, "100", "Steps in which the learning rate rises from 0 to lr."),
    other("optim.schedule", Range::Choice(&["constant", "cosine", "wsd"]), "\"cosine\"", "How the learning rate goes on after the warmup."),
    float("optim.decay_fraction", 0.0, 1.0, "0.2", "The share of all steps in which the wsd schedule decays."),
    other(
        "optim.betas",
        Range::Floats { len: 2, min: 0.0, max: 0.999_999 },
        "[0.9, 0.99]",
        "How long adamw remembers gradients and their squares.",
    ),
    float("optim.eps", 1e-16, 1.0, "1e-8", "What keeps adamw from dividing by zero."),
    float("optim.momentum", 0.0, 0.9999, "0.0", "How long sgd remembers gradients."),
    float("optim.weight_decay", 0.0, 10.0, "0.1", "How strongly weights are pulled to zero."),
    other("optim.decay_all", Range::Bool, "false", "Whether norms, biases and embeddings decay too."),
    float("optim.clip", 0.0, 1e9, "1.0", "The largest norm of all gradients together; 0 clips nothing."),
    int("optim.steps", 1, 1_000_000_000_000, "2000", "Updates of the weights in the whole run."),
    float("optim.epochs", 1e-6, 1e6, "", "Passes over the training tokens, instead of steps."),
    int("optim.batch", 1, 1_048_576, "12", "Sequences in a micro-batch."),
    int("optim.accumulate", 1, 1_048_576, "1", "Micro-batches whose gradients are summed for one step."),
    other(
        "optim.precision",
        Range::Choice(&["f32", "bf16"]),
        "\"f32\"",
        "Numbers of the forward and backward pass; bf16 pays on GPUs and on CPUs with AVX512-BF16. Weights are f32 in both.",
    ),
    other("optim.tf32", Range::Bool, "", "Whether CUDA may round the inputs of f32 products to 10 bits: much faster. Absent: yes."),
    int("eval.every", 0, 1_000_000_000_000, "200", "Steps between evaluations; 0 evaluates at the end alone."),
    int("eval.batches", 0, 1_000_000_000, "20", "Batches of an evaluation while training; 0 reads the whole validation split."),
    other("eval.prompts", Range::Texts, "[\"\"]", "Prompts that are continued at each evaluation."),
    int("eval.sample_tokens", 0, 1_000_000, "80", "Tokens of each continuation."),
    float("eval.temperature", 0.0, 100.0, "0.8", "How freely the continuations are drawn; 0 takes the most probable token always."),
    int("checkpoint.every", 0, 1_000_000_000_000, "500", "Steps between checkpoints; 0 keeps the last one alone."),
    int("checkpoint.keep", 1, 1_000_000, "3", "How many of the newest checkpoints are kept, beside the best."),
];
