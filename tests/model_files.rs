//! Model directories: what is saved is read back alike, what transformers needs stands in it, and damaged, foreign or
//! hostile files end in one line that names the thing, the place and the remedy.
//! Deliberately not here: files of transformers itself (`model_reference`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use candle_core::{DType, Device, Tensor};
use common::asset;
use serde_json::{Value, json};
use std::path::Path;
use weightroom::model::config::Config;
use weightroom::model::decoder::{Decoder, Pass};
use weightroom::model::hf;
use weightroom::recipe::ModelSection;

fn decoder(family: &str, tied: bool, dtype: DType) -> Decoder {
    let section = ModelSection {
        family: family.into(),
        layers: 2,
        heads: 2,
        kv_heads: (family != "gpt2").then_some(1),
        head_dim: (family == "qwen3").then_some(12),
        width: 16,
        context: 12,
        tied: Some(tied),
        ..ModelSection::default()
    };
    let mut config = Config::from_recipe(&section, 11, Some(3)).unwrap();
    config.bos = Some(1);
    Decoder::new(config, 1, dtype, &Device::Cpu).unwrap()
}

fn logits(decoder: &Decoder) -> Vec<f32> {
    let ids = Tensor::new(&[[1u32, 4, 10, 0]], &Device::Cpu).unwrap();
    let hidden = decoder.hidden(&ids, &mut Pass::default()).unwrap();
    decoder.logits(&hidden).unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn what_is_saved_is_read_back_bit_for_bit() {
    for family in ["llama", "qwen3", "gpt2"] {
        for (tied, dtype) in [(true, DType::F32), (false, DType::F32), (true, DType::BF16), (false, DType::F64)] {
            let dir = tempfile::tempdir().unwrap();
            let saved = decoder(family, tied, dtype);
            hf::save(&saved, dir.path()).unwrap();
            let loaded = hf::load(dir.path(), dtype, &Device::Cpu).unwrap();
            assert_eq!(loaded.config(), saved.config());
            assert_eq!(logits(&loaded), logits(&saved), "{family} {tied} {dtype:?}");
            let file = std::fs::read(dir.path().join("model.safetensors")).unwrap();
            let (_, header) = safetensors::SafeTensors::read_metadata(&file).unwrap();
            assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
            assert_eq!(header.tensors().len(), saved.params().len());
        }
    }
}

#[test]
fn a_model_of_transformers_is_saved_with_its_own_names_shapes_and_numbers() {
    for (path, family) in [("tiny-random/llama", 0), ("tiny-random/qwen3", 1), ("tiny-random/gpt2", 2), ("stories260K/hf", 0)] {
        let Some(source) = asset(&format!("models/{path}")) else { return };
        let dir = tempfile::tempdir().unwrap();
        hf::save(&hf::load(&source, DType::F32, &Device::Cpu).unwrap(), dir.path()).unwrap();
        let read = |d: &Path| candle_core::safetensors::load(d.join("model.safetensors"), &Device::Cpu).unwrap();
        let (before, after) = (read(&source), read(dir.path()));
        assert_eq!(before.len(), after.len(), "{path}");
        for (name, tensor) in before {
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!((tensor.dims(), flat(&tensor)), (after[&name].dims(), flat(&after[&name])), "{name}");
        }
        let config: Value = serde_json::from_slice(&std::fs::read(dir.path().join("config.json")).unwrap()).unwrap();
        assert_eq!(config["architectures"][0], ["LlamaForCausalLM", "Qwen3ForCausalLM", "GPT2LMHeadModel"][family]);
        assert_eq!(config["dtype"], "float32");
    }
}

/// Saves a model, lets `damage` work on its directory, and gives the error of reading it.
fn error_after(family: &str, damage: impl Fn(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    hf::save(&decoder(family, false, DType::F32), dir.path()).unwrap();
    damage(dir.path());
    let Err(error) = hf::load(dir.path(), DType::F32, &Device::Cpu) else { panic!("the damaged {family} was read") };
    let message = error.to_string();
    assert!(!message.contains('\n') && !message.contains('\u{1b}') && message.contains("; "), "{message}");
    message
}

fn with_config(family: &str, change: impl Fn(&mut Value)) -> String {
    error_after(family, |dir| {
        let path = dir.join("config.json");
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
    })
}

#[test]
fn keys_that_would_change_the_maths_are_refused_by_name() {
    let cases: [(&str, &str, Value, &str); 14] = [
        ("llama", "model_type", json!("mamba"), "model_type: \"mamba\""),
        ("llama", "model_type", json!("\u{1b}[2J"), "model_type"),
        ("llama", "architectures", json!(["LlamaForSequenceClassification"]), "architectures"),
        ("llama", "rope_scaling", json!({"rope_type": "llama3", "factor": 8.0}), "rope_scaling: rope_type \"llama3\""),
        ("llama", "rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e4}), "rope_parameters: rope_type \"yarn\""),
        ("llama", "partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
        ("llama", "hidden_act", json!("gelu"), "hidden_act: \"gelu\""),
        ("llama", "attention_bias", json!(true), "attention_bias"),
        ("llama", "mlp_bias", json!(true), "mlp_bias"),
        ("llama", "quantization_config", json!({"bits": 4}), "quantization_config"),
        ("qwen3", "use_sliding_window", json!(true), "use_sliding_window"),
        ("qwen3", "layer_types", json!(["full_attention", "sliding_attention"]), "layer_types"),
        ("gpt2", "activation_function", json!("relu"), "activation_function: \"relu\""),
        ("gpt2", "scale_attn_by_inverse_layer_idx", json!(true), "scale_attn_by_inverse_layer_idx"),
    ];
    for (family, key, value, expected) in cases {
        let message = with_config(family, |c| c[key] = value.clone());
        assert!(message.contains(expected) && message.contains("config.json"), "{message}");
    }
}

#[test]
fn wild_sizes_are_refused_before_anything_is_allocated() {
    for (family, key, value) in [
        ("llama", "vocab_size", json!(u64::MAX)),
        ("llama", "hidden_size", json!(1u64 << 60)),
        ("llama", "num_hidden_layers", json!(1u64 << 40)),
        ("llama", "num_attention_heads", json!(0)),
        ("llama", "head_dim", json!(7)),
        ("gpt2", "n_head", json!(0)),
        ("gpt2", "n_positions", json!(-4)),
        ("qwen3", "rms_norm_eps", json!("small")),
    ] {
        with_config(family, |c| c[key] = value.clone());
    }
    assert!(with_config("llama", |c| c["vocab_size"] = json!(1 << 27)).contains("embed_tokens"));
    assert!(with_config("llama", |c| c["num_hidden_layers"] = json!(3)).contains("model.layers.2.input_layernorm.weight"));
    assert!(with_config("llama", |c| c["num_hidden_layers"] = json!(1)).contains("holds model.layers.1."));
    assert!(with_config("gpt2", |c| c["n_inner"] = json!(8)).contains("c_fc.weight has shape [16, 64]"));
}

#[test]
fn damaged_weights_are_named_with_their_path_and_a_remedy() {
    let cut = |keep: fn(usize) -> usize| {
        move |dir: &Path| {
            let path = dir.join("model.safetensors");
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..keep(bytes.len())]).unwrap();
        }
    };
    for keep in [|_| 0, |_| 5, |_| 100, |n| n / 2, |n| n - 1] as [fn(usize) -> usize; 5] {
        let message = error_after("llama", cut(keep));
        assert!(message.contains("model.safetensors") && message.contains("anew"), "{message}");
    }
    let huge = |dir: &Path| std::fs::write(dir.join("model.safetensors"), u64::MAX.to_le_bytes()).unwrap();
    assert!(error_after("llama", huge).contains("damaged"));
    let none = |dir: &Path| std::fs::remove_file(dir.join("model.safetensors")).unwrap();
    assert!(error_after("llama", none).contains("no weights"));
    let no_config = |dir: &Path| std::fs::remove_file(dir.join("config.json")).unwrap();
    assert!(error_after("llama", no_config).contains("config.json"));
    let away = |dir: &Path| {
        std::fs::remove_file(dir.join("model.safetensors")).unwrap();
        let index = json!({"weight_map": {"lm_head.weight": "../../secret.safetensors"}});
        std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
    };
    assert!(error_after("llama", away).contains("does not lie beside it"));
    let pickle = |dir: &Path| {
        std::fs::remove_file(dir.join("model.safetensors")).unwrap();
        std::fs::write(dir.join("pytorch_model.bin"), b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.").unwrap();
    };
    assert!(error_after("llama", pickle).contains("convert it with transformers"));
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let message = hf::save(&decoder("llama", true, DType::F32), &dir.path().join("gone")).unwrap_err().to_string();
    assert!(message.contains("gone") && message.contains("choose a directory"), "{message}");
}
