//! The shape of a decoder: what a recipe or a model directory says of it, checked, and what follows from it.
//! Deliberately not here: the JSON of a model directory (`hf::config`) and the list of parameters (`params`).

use super::{ModelError, params};
use crate::recipe::ModelSection;

/// Whose architecture and tensor names a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// RMSNorm, rotary positions, grouped-query attention, SwiGLU.
    Llama,
    /// Llama with RMSNorm on every head of queries and keys, and a head_dim of its own.
    Qwen3,
    /// LayerNorm, learned positions, GELU, biases.
    Gpt2,
}

impl Family {
    pub const ALL: [Family; 3] = [Family::Llama, Family::Qwen3, Family::Gpt2];

    /// As recipes and `config.json` (`model_type`) write it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen3 => "qwen3",
            Family::Gpt2 => "gpt2",
        }
    }
    /// The family of a name; none where there is no such family.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }
    /// Whether positions are rotations of queries and keys (and not a learned table).
    pub fn rotary(self) -> bool {
        self != Family::Gpt2
    }
}

/// The shape of a decoder, independent of the family's names for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub family: Family,
    pub vocab: usize,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub ffn: usize,
    pub context: usize,
    pub tied: bool,
    pub norm_eps: f64,
    pub rope_theta: f64,
    /// While training alone; not a property of a saved model. Applies to the embedding and to what each half of a
    /// block adds to the residual stream.
    pub dropout: f64,
    pub init_std: f64,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
}

/// No dimension of a model may be larger: a product of three of them still fits into a u64.
const LARGEST: usize = 1 << 20;
/// Vocabularies and contexts may be longer than wide layers.
const LONGEST: usize = 1 << 28;

impl Config {
    /// Checks that heads divide the width, and the like; the message names the key.
    pub fn from_recipe(section: &ModelSection, vocab: usize, eos: Option<u32>) -> Result<Self, ModelError> {
        let Some(family) = Family::from_name(&section.family) else {
            let known: Vec<_> = Family::ALL.iter().map(|f| f.name()).collect();
            return Err(ModelError::Config(format!(
                "model.family = {:?}: there is no such family; choose one of {}",
                section.family,
                known.join(", ")
            )));
        };
        let (width, heads) = (section.width, section.heads);
        if heads == 0 {
            return Err(ModelError::Config("model.heads = 0: a model has at least one head".into()));
        }
        let divided = |own: &str| {
            ModelError::Config(format!(
                "model.heads = {heads} does not divide model.width = {width}; choose heads that divide the width{own}"
            ))
        };
        let head_dim = match (section.head_dim, family) {
            (Some(d), Family::Gpt2) if d.checked_mul(heads) != Some(width) => {
                return Err(ModelError::Config(format!(
                    "model.head_dim = {d}: gpt2 has head_dim = width / heads; leave the key out or use family \"qwen3\""
                )));
            }
            (Some(d), _) => d,
            (None, Family::Gpt2) if !width.is_multiple_of(heads) => return Err(divided("")),
            (None, _) if !width.is_multiple_of(heads) => return Err(divided(", or set model.head_dim")),
            (None, _) => width / heads,
        };
        let ffn = section.ffn.unwrap_or(match family {
            Family::Gpt2 => width.saturating_mul(4),
            _ => (width.saturating_mul(8) / 3 / 8 * 8).max(8),
        });
        let config = Self {
            family,
            vocab,
            width,
            layers: section.layers,
            heads,
            kv_heads: section.kv_heads.unwrap_or(heads),
            head_dim,
            ffn,
            context: section.context,
            tied: section.tied.unwrap_or(family == Family::Gpt2),
            norm_eps: section.norm_eps,
            rope_theta: section.rope_theta,
            dropout: section.dropout,
            init_std: section.init_std,
            bos: None,
            eos,
        };
        config.check("model.")?;
        Ok(config)
    }

    /// What every decoder must fulfil, wherever its config comes from; `prefix` stands before the names of keys.
    pub fn check(&self, prefix: &str) -> Result<(), ModelError> {
        let fail = |text: String| Err(ModelError::Config(format!("{prefix}{text}")));
        let sizes = [
            ("vocab", self.vocab, LONGEST),
            ("width", self.width, LARGEST),
            ("layers", self.layers, LARGEST),
            ("heads", self.heads, LARGEST),
            ("kv_heads", self.kv_heads, LARGEST),
            ("head_dim", self.head_dim, LARGEST),
            ("ffn", self.ffn, LARGEST),
            ("context", self.context, LONGEST),
        ];
        for (key, value, largest) in sizes {
            if value == 0 || value > largest {
                return fail(format!("{key} = {value} is out of range; choose 1 to {largest}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return fail(format!("kv_heads = {} does not divide heads = {}; choose a divisor", self.kv_heads, self.heads));
        }
        if self.family == Family::Gpt2 && self.kv_heads != self.heads {
            return fail(format!("kv_heads = {}: gpt2 has as many as heads; leave the key out or use family \"llama\"", self.kv_heads));
        }
        if self.family.rotary() && !self.head_dim.is_multiple_of(2) {
            return fail(format!("head_dim = {}: rotary positions turn pairs of numbers; choose an even head_dim", self.head_dim));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return fail(format!("norm_eps = {} is out of range; choose a small positive number, such as 1e-5", self.norm_eps));
        }
        if self.family.rotary() && !(self.rope_theta >= 1.0 && self.rope_theta.is_finite()) {
            return fail(format!("rope_theta = {} is out of range; choose 1 or more, such as 10000", self.rope_theta));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fail(format!("dropout = {} is out of range; choose 0 or more and less than 1", self.dropout));
        }
        if !(self.init_std >= 0.0 && self.init_std.is_finite()) {
            return fail(format!("init_std = {} is out of range; choose a positive number, such as 0.02", self.init_std));
        }
        Ok(())
    }

    /// Whether weights of products are stored (in, out).
    pub fn transposed(&self) -> bool {
        self.family == Family::Gpt2
    }
    /// Width of all query heads together.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }
    /// Width of all key (or value) heads together.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// How many parameters a decoder of this shape has.
    pub fn parameters(&self) -> u64 {
        params::count(self)
    }

    /// Floating-point operations of one training step (forward and backward) a token: 6 for every weight of a
    /// matrix product, and 6 a layer for every number of every key that a full context attends to, halved by the
    /// causal mask (Kaplan et al. 2020, appendix B, with the mask counted).
    pub fn flops_per_token(&self) -> f64 {
        let products = params::matrix_weights(self) as f64;
        6.0 * products + 6.0 * (self.layers * self.context) as f64 * self.q_width() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(family: &str) -> ModelSection {
        ModelSection { family: family.into(), ..ModelSection::default() }
    }

    #[test]
    fn counts_the_parameters_of_the_peer_model() {
        let config = Config::from_recipe(&section("llama"), 256, None).unwrap();
        // Embedding and head 2 * 256 * 128; a block 4 * 128² + 3 * 128 * 336 (128 * 8 / 3 is 341) and two norms.
        assert_eq!(config.ffn, 336);
        assert_eq!(config.parameters(), 2 * 256 * 128 + 4 * (4 * 128 * 128 + 3 * 128 * 336 + 2 * 128) + 128);
        let gpt2 = Config::from_recipe(&section("gpt2"), 65, None).unwrap();
        let block = 12 * 128 * 128 + (3 + 1 + 4 + 1) * 128 + 4 * 128;
        assert_eq!(gpt2.parameters(), 65 * 128 + 64 * 128 + 4 * block + 2 * 128);
        assert!(gpt2.tied && !config.tied);
    }

    #[test]
    fn a_bad_shape_is_refused_by_the_name_of_its_key() {
        let cases: [(&str, fn(&mut ModelSection), &str); 8] = [
            ("llama", |s| s.heads = 5, "model.heads = 5 does not divide model.width = 128"),
            ("llama", |s| s.kv_heads = Some(3), "model.kv_heads = 3 does not divide heads = 4"),
            ("gpt2", |s| s.kv_heads = Some(2), "model.kv_heads = 2: gpt2"),
            ("gpt2", |s| s.head_dim = Some(16), "model.head_dim = 16: gpt2"),
            ("llama", |s| s.head_dim = Some(7), "model.head_dim = 7: rotary"),
            ("llama", |s| s.dropout = 1.0, "model.dropout = 1 is out of range"),
            ("llama", |s| s.layers = 0, "model.layers = 0 is out of range"),
            ("mamba", |_| {}, "model.family = \"mamba\": there is no such family; choose one of llama, qwen3, gpt2"),
        ];
        for (family, change, expected) in cases {
            let mut section = section(family);
            change(&mut section);
            let message = Config::from_recipe(&section, 256, None).unwrap_err().to_string();
            assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        }
    }
}
