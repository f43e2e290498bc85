//! The families of decoders that open here: a family is one entry of `ENTRIES` and the two functions that it names, which
//! read its `config.json` and say what is its own in one that is written. Everything else follows from `arch::Arch`.
//! Deliberately not here: reading weights (`hf`), and computing with them.

mod gemma;
mod layered;
mod llama;
mod moe;

use super::ModelError;
use super::config::Config;
use super::hf::config::Reader;
use serde_json::{Map, Value};

/// Whose architecture and tensor names a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// RMSNorm, rotary positions, grouped-query attention, SwiGLU.
    Llama,
    /// Llama with RMSNorm on every head of queries and keys, and a head_dim of its own.
    Qwen3,
    /// LayerNorm, learned positions, GELU, biases.
    Gpt2,
    /// Llama with a sliding window.
    Mistral,
    /// Mistral with experts.
    Mixtral,
    /// Llama with biases of queries, keys and values.
    Qwen2,
    /// Qwen3 with experts.
    Qwen3Moe,
    /// Norm weights less one, scaled embeddings, GELU gates.
    Gemma,
    /// Norms around both halves, soft caps, windows in every other layer.
    Gemma2,
    /// Norms of heads, five windows and one whole, with a base of positions each.
    Gemma3,
    /// One LayerNorm, attention beside feed-forward, a part of each head rotated.
    Phi,
    /// Llama with packed weights.
    Phi3,
    /// Attention beside feed-forward, packed heads, a part of each head rotated.
    GptNeox,
    /// Norms after both halves and of all queries and keys.
    Olmo2,
    /// Llama with layers that know no positions.
    Smollm3,
    /// LayerNorm, SwiGLU, a part of each head rotated.
    Stablelm,
    /// LayerNorm, GELU, biases, rotary positions.
    Starcoder2,
}

/// Where a family keeps its tensors; names of a layer follow `layers` and its number.
pub struct Names {
    pub tokens: &'static str,
    pub positions: &'static str,
    pub layers: &'static str,
    pub norm1: &'static str,
    pub q: &'static str,
    pub k: &'static str,
    pub v: &'static str,
    pub qkv: &'static str,
    pub q_norm: &'static str,
    pub k_norm: &'static str,
    pub output: &'static str,
    pub after1: &'static str,
    pub norm2: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub gate_up: &'static str,
    pub down: &'static str,
    pub router: &'static str,
    /// Before the number of an expert.
    pub experts: &'static str,
    pub expert_gate: &'static str,
    pub expert_up: &'static str,
    pub expert_down: &'static str,
    pub after2: &'static str,
    pub norm: &'static str,
    pub head: &'static str,
}

/// The names that most families share.
const NAMES: Names = Names {
    tokens: "model.embed_tokens",
    positions: "model.embed_positions",
    layers: "model.layers.",
    norm1: "input_layernorm",
    q: "self_attn.q_proj",
    k: "self_attn.k_proj",
    v: "self_attn.v_proj",
    qkv: "self_attn.qkv_proj",
    q_norm: "self_attn.q_norm",
    k_norm: "self_attn.k_norm",
    output: "self_attn.o_proj",
    after1: "post_attention_layernorm",
    norm2: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    gate_up: "mlp.gate_up_proj",
    down: "mlp.down_proj",
    router: "mlp.gate",
    experts: "mlp.experts.",
    expert_gate: "gate_proj",
    expert_up: "up_proj",
    expert_down: "down_proj",
    after2: "post_feedforward_layernorm",
    norm: "model.norm",
    head: "lm_head",
};

/// What is to be known of a family.
struct Entry {
    family: Family,
    /// `model_type` of its `config.json`.
    name: &'static str,
    /// The class of transformers.
    architecture: &'static str,
    names: &'static Names,
    read: fn(&Reader) -> Result<Config, ModelError>,
    /// What a `config.json` holds beside the keys that all families share.
    write: fn(&Config, &mut Map<String, Value>),
}

const fn entry(
    family: Family,
    (name, architecture): (&'static str, &'static str),
    names: &'static Names,
    read: fn(&Reader) -> Result<Config, ModelError>,
    write: fn(&Config, &mut Map<String, Value>),
) -> Entry {
    Entry { family, name, architecture, names, read, write }
}

static ENTRIES: [Entry; 17] = [
    entry(Family::Llama, ("llama", "LlamaForCausalLM"), &NAMES, llama::llama, llama::write_llama),
    entry(Family::Qwen3, ("qwen3", "Qwen3ForCausalLM"), &NAMES, llama::qwen3, llama::write_qwen),
    entry(Family::Gpt2, ("gpt2", "GPT2LMHeadModel"), &layered::GPT2, layered::gpt2, layered::write_gpt2),
    entry(Family::Mistral, ("mistral", "MistralForCausalLM"), &NAMES, llama::mistral, llama::write_windowed),
    entry(Family::Mixtral, ("mixtral", "MixtralForCausalLM"), &moe::MIXTRAL, moe::mixtral, moe::write_mixtral),
    entry(Family::Qwen2, ("qwen2", "Qwen2ForCausalLM"), &NAMES, llama::qwen2, llama::write_qwen),
    entry(Family::Qwen3Moe, ("qwen3_moe", "Qwen3MoeForCausalLM"), &NAMES, moe::qwen3_moe, moe::write_qwen3_moe),
    entry(Family::Gemma, ("gemma", "GemmaForCausalLM"), &NAMES, gemma::gemma, gemma::write_gemma),
    entry(Family::Gemma2, ("gemma2", "Gemma2ForCausalLM"), &gemma::AROUND, gemma::gemma2, gemma::write_gemma2),
    entry(Family::Gemma3, ("gemma3_text", "Gemma3ForCausalLM"), &gemma::AROUND, gemma::gemma3, gemma::write_gemma3),
    entry(Family::Phi, ("phi", "PhiForCausalLM"), &layered::PHI, layered::phi, layered::write_phi),
    entry(Family::Phi3, ("phi3", "Phi3ForCausalLM"), &NAMES, llama::phi3, llama::write_phi3),
    entry(Family::GptNeox, ("gpt_neox", "GPTNeoXForCausalLM"), &layered::NEOX, layered::gpt_neox, layered::write_gpt_neox),
    entry(Family::Olmo2, ("olmo2", "Olmo2ForCausalLM"), &NAMES, llama::olmo2, llama::write_attention_bias),
    entry(Family::Smollm3, ("smollm3", "SmolLM3ForCausalLM"), &NAMES, llama::smollm3, llama::write_smollm3),
    entry(Family::Stablelm, ("stablelm", "StableLmForCausalLM"), &layered::STABLE, layered::stablelm, layered::write_stablelm),
    entry(Family::Starcoder2, ("starcoder2", "Starcoder2ForCausalLM"), &layered::STARCODER, layered::starcoder2, layered::write_starcoder2),
];

impl Family {
    /// Those of which new models are made.
    pub const NEW: [Family; 3] = [Family::Llama, Family::Qwen3, Family::Gpt2];

    /// All that open, in the order in which people are told of them.
    pub fn all() -> impl Iterator<Item = Family> {
        ENTRIES.iter().map(|entry| entry.family)
    }
    fn entry(self) -> &'static Entry {
        // The entries stand in the order of the enumeration, as a test makes sure.
        &ENTRIES[self as usize]
    }
    /// As recipes and `config.json` (`model_type`) write it.
    pub fn name(self) -> &'static str {
        self.entry().name
    }
    /// The family of a name; none where there is no such family.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|f| f.name() == name)
    }
    /// The class of transformers that opens it.
    pub fn architecture(self) -> &'static str {
        self.entry().architecture
    }
    pub(super) fn names(self) -> &'static Names {
        self.entry().names
    }
    pub(super) fn read(self, reader: &Reader) -> Result<Config, ModelError> {
        (self.entry().read)(reader)
    }
    pub(super) fn write(self, config: &Config, map: &mut Map<String, Value>) {
        (self.entry().write)(config, map);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_found_under_its_name() {
        for (i, entry) in ENTRIES.iter().enumerate() {
            assert_eq!(entry.family as usize, i, "{}", entry.name);
            assert_eq!(Family::from_name(entry.name), Some(entry.family));
        }
        assert_eq!(Family::from_name("mamba"), None);
        // Recipes name the same.
        let knob = crate::recipe::KNOBS.iter().find(|knob| knob.name == "model.family").unwrap();
        let crate::recipe::Range::Choice(names) = knob.range else { panic!("a family is no choice") };
        assert_eq!(names, ENTRIES.iter().map(|entry| entry.name).collect::<Vec<_>>());
    }
}
