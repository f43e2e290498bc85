//! The shape of a decoder: what a recipe or a model directory says of it, checked, and what follows from it.
//! Deliberately not here: the JSON of a model directory (`hf::config`) and the list of parameters (`params`).

use super::arch::{Arch, Experts, HeadNorm, Places, Qkv};
pub use super::family::Family;
use super::positions::Rope;
use super::{ModelError, params};
use crate::recipe::ModelSection;

/// The shape of a decoder, independent of the family's names for it.
///
/// `ffn` is the width of a layer without experts; those have their own (`Experts::ffn`).
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
    /// How the parts are built and follow each other.
    pub arch: Arch,
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
        let known = || Family::NEW.map(Family::name).join(", ");
        let Some(family) = Family::from_name(&section.family) else {
            let text = format!("model.family = {:?}: there is no such family; choose one of {}", section.family, known());
            return Err(ModelError::Config(text));
        };
        if !Family::NEW.contains(&family) {
            let text = format!(
                "model.family = {:?} is opened and not begun anew; name a model in model.init, or choose one of {}",
                section.family,
                known()
            );
            return Err(ModelError::Config(text));
        }
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
            arch: fresh(family, Rope::new(section.rope_theta, head_dim)),
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
        if self.arch.ropes.iter().any(|rope| !rope.dims.is_multiple_of(2)) {
            return fail(format!("head_dim = {}: rotary positions turn pairs of numbers; choose an even head_dim", self.head_dim));
        }
        self.check_arch(&fail)?;
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return fail(format!("norm_eps = {} is out of range; choose a small positive number, such as 1e-5", self.norm_eps));
        }
        if let Some(rope) = self.arch.ropes.iter().find(|rope| !(rope.theta >= 1.0 && rope.theta.is_finite())) {
            return fail(format!("rope_theta = {} is out of range; choose 1 or more, such as 10000", rope.theta));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fail(format!("dropout = {} is out of range; choose 0 or more and less than 1", self.dropout));
        }
        if !(self.init_std >= 0.0 && self.init_std.is_finite()) {
            return fail(format!("init_std = {} is out of range; choose a positive number, such as 0.02", self.init_std));
        }
        Ok(())
    }

    /// What of the description does not go together.
    fn check_arch(&self, fail: &dyn Fn(String) -> Result<(), ModelError>) -> Result<(), ModelError> {
        let arch = &self.arch;
        if arch.ropes.iter().any(|rope| rope.dims < 2 || rope.dims > self.head_dim) {
            return fail(format!("head_dim = {}: rotary positions turn at least two of its numbers and at most all", self.head_dim));
        }
        if !arch.learned_positions
            && (0..self.layers.min(arch.layers.len().max(1))).any(|i| arch.layer(i).rope.is_some_and(|r| r >= arch.ropes.len()))
        {
            return fail("layers: one asks for rotary positions that are not described".into());
        }
        if !arch.layers.is_empty() && arch.layers.len() != self.layers {
            return fail(format!("layers = {}, and {} of them are described", self.layers, arch.layers.len()));
        }
        if arch.layers.iter().any(|layer| layer.window == Some(0)) {
            return fail("sliding_window = 0: a token sees itself at least".into());
        }
        if let Some(Experts { count, per_token, ffn, .. }) = &arch.experts
            && (*count == 0 || *per_token == 0 || per_token > count || *count > LARGEST || *ffn == 0 || *ffn > LARGEST)
        {
            return fail(format!("{per_token} of {count} experts, {ffn} wide, are out of range; a token needs one at least"));
        }
        if arch.qkv == Qkv::Interleaved && self.kv_heads != self.heads {
            return fail(format!("kv_heads = {}: packed heads have as many as heads", self.kv_heads));
        }
        if arch.places == Places::Shared && !arch.parallel {
            return fail("one norm for both halves wants them side by side".into());
        }
        if arch.head_norm != HeadNorm::None && arch.qkv != Qkv::Apart {
            return fail("norms of queries and keys want their weights apart".into());
        }
        for (name, value) in [
            ("soft cap", arch.attention_cap),
            ("soft cap", arch.logit_cap),
            ("scale", arch.attention_scale),
            ("scale", arch.embedding_scale),
        ] {
            if let Some(value) = value.filter(|value| !(*value > 0.0 && value.is_finite())) {
                return fail(format!("a {name} of {value} is out of range; it is a positive number"));
            }
        }
        Ok(())
    }

    /// Whether weights of products are stored (in, out).
    pub fn transposed(&self) -> bool {
        self.arch.transposed
    }
    /// Base of the (first) rotary positions.
    pub fn rope_theta(&self) -> f64 {
        self.arch.ropes.first().map_or(10_000.0, |rope| rope.theta)
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

/// How a new model of a family is built.
fn fresh(family: Family, rope: Rope) -> Arch {
    match family {
        Family::Gpt2 => Arch::gpt2(),
        Family::Qwen3 => Arch { head_norm: HeadNorm::Each, ..Arch::llama(rope) },
        _ => Arch::llama(rope),
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
