//! Where the parameters of a model stand in a GGUF file: other names, some rows in another order, some stacked.
//! As github.com/ggml-org/llama.cpp, `gguf-py/gguf/tensor_mapping.py` and `convert_hf_to_gguf.py`, have it.
//! Deliberately not here: the bytes.

/// The place of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tensor's name in the file.
    pub name: String,
    pub turn: Turn,
}

/// What becomes of a parameter on the way into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    None,
    /// The two halves of each head's rows alternate: llama.cpp turns neighbours, transformers halves.
    Alternating {
        heads: usize,
    },
    /// Rows of each head's query, key and value come as all queries, all keys, all values.
    Gathered {
        heads: usize,
    },
    /// (in, out) is stored (out, in).
    Transposed,
    /// Norms that are stored less one are stored whole.
    PlusOne,
    /// One of several that the file holds as one tensor.
    Part {
        index: usize,
        of: usize,
    },
}

impl Turn {
    /// The file's row that holds row i of the parameter, of `rows` rows.
    pub fn row(self, i: usize, rows: usize) -> usize {
        match self {
            Turn::Alternating { heads } => {
                let d = (rows / heads.max(1)).max(1);
                let (head, within) = (i / d, i % d);
                head * d + within % (d / 2).max(1) * 2 + within / (d / 2).max(1)
            }
            Turn::Gathered { heads } => {
                let d = (rows / (3 * heads.max(1))).max(1);
                let (head, part, within) = (i / (3 * d), i / d % 3, i % d);
                (part * heads + head) * d + within
            }
            Turn::Part { index, .. } => index * rows + i,
            _ => i,
        }
    }
}

/// What of a model decides its places.
pub struct Shape<'a> {
    /// As `config.json` writes it.
    pub model_type: &'a str,
    pub heads: usize,
    pub kv_heads: usize,
    pub experts: usize,
}

const OUTSIDE: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    ("transformer.wte", "token_embd"),
    ("gpt_neox.embed_in", "token_embd"),
    ("transformer.wpe", "position_embd"),
    ("model.norm", "output_norm"),
    ("model.final_layernorm", "output_norm"),
    ("transformer.ln_f", "output_norm"),
    ("gpt_neox.final_layer_norm", "output_norm"),
    ("lm_head", "output"),
    ("embed_out", "output"),
];

const WITHIN: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("ln_1", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("attn.c_attn", "attn_qkv"),
    ("attention.query_key_value", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.dense", "attn_output"),
    ("attn.c_proj", "attn_output"),
    ("attention.dense", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.q_layernorm", "attn_q_norm"),
    ("self_attn.k_layernorm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("ln_2", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.fc1", "ffn_up"),
    ("mlp.fc2", "ffn_down"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
    ("mlp.dense_h_to_4h", "ffn_up"),
    ("mlp.dense_4h_to_h", "ffn_down"),
    ("mlp.gate", "ffn_gate_inp"),
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("mlp.experts.gate_proj", "ffn_gate_exps"),
    ("mlp.experts.up_proj", "ffn_up_exps"),
    ("mlp.experts.down_proj", "ffn_down_exps"),
    ("block_sparse_moe.experts.w1", "ffn_gate_exps"),
    ("block_sparse_moe.experts.w3", "ffn_up_exps"),
    ("block_sparse_moe.experts.w2", "ffn_down_exps"),
];

/// Where the parameter of this name stands; none where GGUF has no place for it.
pub fn place(shape: &Shape, parameter: &str) -> Option<Place> {
    let (base, suffix) = parameter.rsplit_once('.')?;
    let find = |table: &[(&str, &'static str)], base: &str| table.iter().find(|(name, _)| *name == base).map(|(_, to)| *to);
    let (name, within) = match find(OUTSIDE, base) {
        Some(name) => (name.to_string(), name),
        None => {
            let rest = ["model.layers.", "transformer.h.", "gpt_neox.layers."].iter().find_map(|p| base.strip_prefix(p))?;
            let (layer, rest) = rest.split_once('.')?;
            let (rest, part) = numbered(rest);
            // Norms behind attention have a name of their own where others stand before the feed-forward part.
            let behind = matches!(shape.model_type, "gemma2" | "gemma3_text" | "olmo2") && rest == "post_attention_layernorm";
            let within = if behind { "post_attention_norm" } else { find(WITHIN, &rest)? };
            let name = format!("blk.{layer}.{within}");
            if let Some(index) = part {
                let of = match within {
                    "attn_q_norm" => shape.heads,
                    "attn_k_norm" => shape.kv_heads,
                    _ => shape.experts,
                };
                return Some(Place { name: format!("{name}.{suffix}"), turn: Turn::Part { index, of } });
            }
            (name, within)
        }
    };
    Some(Place { name: format!("{name}.{suffix}"), turn: turn(shape, within, suffix) })
}

fn turn(shape: &Shape, name: &str, suffix: &str) -> Turn {
    let alternates = matches!(shape.model_type, "llama" | "mistral" | "mixtral" | "smollm3");
    match name {
        "attn_q" if alternates => Turn::Alternating { heads: shape.heads },
        "attn_k" if alternates => Turn::Alternating { heads: shape.kv_heads },
        "attn_qkv" if shape.model_type == "gpt_neox" => Turn::Gathered { heads: shape.heads },
        "attn_qkv" | "attn_output" | "ffn_up" | "ffn_down" if shape.model_type == "gpt2" && suffix == "weight" => Turn::Transposed,
        norm if norm.ends_with("_norm") && shape.model_type.starts_with("gemma") => Turn::PlusOne,
        _ => Turn::None,
    }
}

/// A name without the number of one of several, and that number: experts, and norms of single heads.
fn numbered(name: &str) -> (String, Option<usize>) {
    let parts: Vec<&str> = name.split('.').collect();
    let Some(at) = parts.iter().position(|p| p.bytes().all(|b| b.is_ascii_digit())) else { return (name.into(), None) };
    let index = parts[at].parse().ok();
    let rest: Vec<&str> = parts.iter().enumerate().filter(|(i, p)| *i != at && **p != "norms").map(|(_, p)| *p).collect();
    (rest.join("."), index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(model_type: &str, parameter: &str) -> Option<(String, Turn)> {
        place(&Shape { model_type, heads: 4, kv_heads: 2, experts: 8 }, parameter).map(|p| (p.name, p.turn))
    }

    #[test]
    fn parameters_have_their_places() {
        let some = |name: &str, turn| Some((name.to_string(), turn));
        assert_eq!(of("llama", "model.embed_tokens.weight"), some("token_embd.weight", Turn::None));
        assert_eq!(of("llama", "model.layers.3.self_attn.k_proj.weight"), some("blk.3.attn_k.weight", Turn::Alternating { heads: 2 }));
        assert_eq!(of("qwen3", "model.layers.3.self_attn.k_proj.weight"), some("blk.3.attn_k.weight", Turn::None));
        assert_eq!(of("gpt2", "transformer.h.0.mlp.c_proj.weight"), some("blk.0.ffn_down.weight", Turn::Transposed));
        assert_eq!(of("gpt2", "transformer.h.0.mlp.c_proj.bias"), some("blk.0.ffn_down.bias", Turn::None));
        assert_eq!(of("gemma2", "model.layers.1.post_attention_layernorm.weight"), some("blk.1.post_attention_norm.weight", Turn::PlusOne));
        assert_eq!(of("llama", "model.layers.1.post_attention_layernorm.weight"), some("blk.1.ffn_norm.weight", Turn::None));
        assert_eq!(
            of("mixtral", "model.layers.1.block_sparse_moe.experts.5.w2.weight"),
            some("blk.1.ffn_down_exps.weight", Turn::Part { index: 5, of: 8 })
        );
        assert_eq!(
            of("stablelm", "model.layers.1.self_attn.k_layernorm.norms.1.weight"),
            some("blk.1.attn_k_norm.weight", Turn::Part { index: 1, of: 2 })
        );
        assert_eq!(
            of("gpt_neox", "gpt_neox.layers.0.attention.query_key_value.bias"),
            some("blk.0.attn_qkv.bias", Turn::Gathered { heads: 4 })
        );
        assert_eq!(of("llama", "model.layers.1.something.weight"), None);
    }

    #[test]
    fn rows_go_each_to_a_place_of_its_own() {
        let turn = Turn::Alternating { heads: 2 };
        // Halves 0 1 2 and 3 4 5 of a head stand as 0 3 1 4 2 5.
        assert_eq!((0..12).map(|i| turn.row(i, 12)).collect::<Vec<_>>(), [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        let turn = Turn::Gathered { heads: 2 };
        assert_eq!((0..12).map(|i| turn.row(i, 12)).collect::<Vec<_>>(), [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]);
        assert_eq!(Turn::Part { index: 2, of: 3 }.row(1, 4), 9);
    }
}
