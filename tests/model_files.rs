//! Model directories: what is saved is read back alike, what transformers needs stands in it, and damaged, foreign or
//! hostile files end in one line that names the thing, the place and the remedy.
//! Deliberately not here: files of transformers itself (`model_reference`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use candle_core::{DType, Device, Tensor};
use common::asset;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use weightroom::model::config::Config;
use weightroom::model::decoder::{Decoder, Pass};
use weightroom::model::hf::{self, peft};
use weightroom::recipe::ModelSection;
use weightroom::rng::Stream;

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
    let cases: [(&str, &str, Value, &str); 19] = [
        ("llama", "model_type", json!("mamba"), "model_type: \"mamba\""),
        ("llama", "model_type", json!("\u{1b}[2J"), "model_type"),
        ("llama", "architectures", json!(["LlamaForSequenceClassification"]), "architectures"),
        ("llama", "rope_scaling", json!({"rope_type": "mrope", "factor": 8.0}), "rope_scaling: rope_type \"mrope\""),
        ("llama", "rope_scaling", json!({"rope_type": "llama3", "factor": 8.0}), "rope_scaling: low_freq_factor is missing"),
        ("llama", "rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e4}), "rope_parameters: factor is missing"),
        ("llama", "rope_parameters", json!({"rope_theta": 1e4, "mrope_section": [1, 2]}), "rope_parameters: mrope_section"),
        ("llama", "partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
        ("llama", "hidden_act", json!("relu2"), "hidden_act: \"relu2\""),
        ("llama", "quantization_config", json!({"bits": 4}), "quantization_config"),
        ("llama", "logit_scale", json!(0.0625), "logit_scale: 0.0625 is a setting that is not known here"),
        ("llama", "alibi", json!(true), "alibi: true"),
        ("llama", "layer_types", json!(["full_attention", "sliding_attention"]), "layer_types"),
        ("qwen3", "layer_types", json!(["full_attention", "sliding_attention"]), "layer_types: sliding layers"),
        ("qwen3", "layer_types", json!(["full_attention"]), "layer_types: names 1 of 2"),
        ("qwen3", "layer_types", json!(["full_attention", "linear_attention"]), "layer_types: \"linear_attention\""),
        ("gpt2", "activation_function", json!("relu"), "activation_function: \"relu\""),
        ("gpt2", "scale_attn_by_inverse_layer_idx", json!(true), "scale_attn_by_inverse_layer_idx"),
        ("gpt2", "some_new_switch", json!("on"), "some_new_switch: \"on\""),
    ];
    for (family, key, value, expected) in cases {
        let message = with_config(family, |c| c[key] = value.clone());
        assert!(message.contains(expected) && message.contains("config.json"), "{message}");
    }
}

/// Keys that say nothing, under names that nobody knows, are no reason to refuse a model.
#[test]
fn unknown_keys_without_a_say_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    hf::save(&decoder("llama", false, DType::F32), dir.path()).unwrap();
    let path = dir.path().join("config.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (key, quiet) in [("a", json!(null)), ("b", json!(false)), ("c", json!(0)), ("d", json!("")), ("e", json!([])), ("_f", json!(7))] {
        value[key] = quiet;
    }
    std::fs::write(&path, value.to_string()).unwrap();
    hf::load(dir.path(), DType::F32, &Device::Cpu).unwrap();
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

/// A safetensors file with this header, and so many bytes after it.
fn with_header(header: &str, bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + bytes, 0);
    file
}

#[test]
fn lying_headers_are_refused_before_anything_is_allocated() {
    let one =
        |offsets: &str, shape: &str| format!("{{\"lm_head.weight\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}");
    let two = |first: &str, second: &str| {
        format!(
            "{{\"a\":{{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":{first}}},\"b\":{{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":{second}}}}}"
        )
    };
    let twice =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    let cases = [
        ("beyond the end", with_header(&one("[0,64]", "[16]"), 8)),
        ("2^60 numbers", with_header(&one("[0,4611686018427387904]", "[1152921504606846976]"), 8)),
        ("a product that overflows", with_header(&one("[0,8]", "[4294967296,4294967296]"), 8)),
        ("backwards", with_header(&one("[8,0]", "[2]"), 8)),
        ("overlapping", with_header(&two("[0,8]", "[4,12]"), 12)),
        ("the same place twice", with_header(&two("[0,8]", "[0,8]"), 8)),
        ("a hole", with_header(&two("[0,8]", "[12,20]"), 20)),
        ("a name twice", with_header(twice, 8)),
        ("a header beyond the file", [u64::MAX.to_le_bytes().to_vec(), b"{}".to_vec()].concat()),
        ("a header of a terabyte", [(1u64 << 40).to_le_bytes().to_vec(), b"{}".to_vec()].concat()),
        ("no JSON", with_header("{\"a\":", 8)),
        ("deep JSON", with_header(&"[".repeat(100_000), 0)),
        ("negative", with_header(&one("[0,8]", "[-2]"), 8)),
        ("an unknown type", with_header(&one("[0,8]", "[2]").replace("F32", "F99"), 8)),
        ("whole numbers", with_header(&one("[0,704]", "[11,16]").replace("F32", "I32"), 704)),
    ];
    for (name, bytes) in cases {
        let message = error_after("llama", |dir| std::fs::write(dir.join("model.safetensors"), &bytes).unwrap());
        println!("{name}: {message}");
        assert!(message.contains("model.safetensors"), "{name}: {message}");
    }
    // A tensor that two shards hold.
    let shards = |dir: &Path| {
        for name in ["one.safetensors", "two.safetensors"] {
            std::fs::copy(dir.join("model.safetensors"), dir.join(name)).unwrap();
        }
        std::fs::remove_file(dir.join("model.safetensors")).unwrap();
        let index = json!({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}});
        std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
    };
    assert!(error_after("llama", shards).contains("which one.safetensors holds too"));
    for name in ["../one.safetensors", "/etc/passwd", "a/../b.safetensors", "..", ""] {
        let message = error_after("llama", |dir| {
            std::fs::remove_file(dir.join("model.safetensors")).unwrap();
            std::fs::write(dir.join("model.safetensors.index.json"), json!({"weight_map": {"a": name}}).to_string()).unwrap();
        });
        assert!(message.contains("does not lie beside it"), "{name}: {message}");
    }
}

/// Changes a few bytes, cuts, doubles a part, or puts a number of another size in the place of one.
fn mutated(bytes: &[u8], random: &mut Stream) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..1 + random.below(6) {
        if out.is_empty() {
            break;
        }
        let at = random.below(out.len() as u64) as usize;
        match random.below(6) {
            0 => out.truncate(at),
            1 => out[at] = random.below(256) as u8,
            2 => out[at] ^= 1 << random.below(8),
            3 => {
                let to = (at + random.below(40) as usize).min(out.len());
                let part = out[at..to].to_vec();
                out.splice(at..at, part);
            }
            _ => {
                // The next digits become another number.
                let Some(from) = out[at..].iter().position(u8::is_ascii_digit).map(|i| i + at) else { continue };
                let to = out[from..].iter().position(|b| !b.is_ascii_digit()).map_or(out.len(), |i| i + from);
                let numbers =
                    ["0", "-1", "1", "65536", "4294967296", "1152921504606846976", "18446744073709551615", "1e308", "0.5", "null"];
                out.splice(from..to, numbers[random.below(numbers.len() as u64) as usize].bytes());
            }
        }
    }
    out
}

/// Mutated headers, indexes, configs and adapters for WEIGHTROOM_FUZZ_SECONDS (2 unless told): each opens or ends in one line.
#[test]
fn mutated_files_open_or_are_refused_in_one_line() {
    let seconds = std::env::var("WEIGHTROOM_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Stream::new(seed, "fuzz");
    let mut sources: Vec<PathBuf> = Vec::new();
    let own = tempfile::tempdir().unwrap();
    for family in ["llama", "qwen3", "gpt2"] {
        let dir = own.path().join(family);
        std::fs::create_dir(&dir).unwrap();
        hf::save(&decoder(family, false, DType::F32), &dir).unwrap();
        sources.push(dir);
    }
    if let Some(tiny) = asset("models/tiny-random") {
        sources.extend(
            ["gemma3_text", "qwen3_moe", "phi3", "smollm3", "llama-rope-yarn", "llama-variants/sharded"].map(|name| tiny.join(name)),
        );
    }
    let base = sources[0].clone();
    let adapter = asset("models/stories260K/peft/rslora_all_r8");
    let work = tempfile::tempdir().unwrap();
    let (mut opened, mut refused) = (0u64, 0u64);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end || opened + refused < 60 {
        let source = match &adapter {
            Some(adapter) if random.below(6) == 0 => adapter.clone(),
            _ => sources[random.below(sources.len() as u64) as usize].clone(),
        };
        let files: Vec<PathBuf> = std::fs::read_dir(&source)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.ends_with("config.json") || n.contains(".safetensors")))
            .collect();
        let target = work.path().join("model");
        let _ = std::fs::remove_dir_all(&target);
        std::fs::create_dir(&target).unwrap();
        let chosen = random.below(files.len() as u64) as usize;
        for (i, file) in files.iter().enumerate() {
            let mut bytes = std::fs::read(file).unwrap();
            if i == chosen {
                // Numbers behind a header say nothing: the header is what is read.
                let header = if file.extension().is_some_and(|e| e == "safetensors") {
                    8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
                } else {
                    bytes.len()
                };
                let rest = bytes.split_off(header.min(bytes.len()));
                bytes = [mutated(&bytes, &mut random), rest].concat();
            }
            std::fs::write(target.join(file.file_name().unwrap()), bytes).unwrap();
        }
        let result = if peft::is_adapter(&target) {
            peft::load(&base, &target, DType::F32, &Device::Cpu).map(drop)
        } else {
            hf::load(&target, DType::F32, &Device::Cpu).map(|decoder| {
                // What opens also runs.
                let ids = Tensor::new(&[[1u32, 2, 3]], &Device::Cpu).unwrap();
                let _ = decoder.hidden(&ids, &mut Pass::default()).and_then(|hidden| decoder.logits(&hidden));
            })
        };
        match result {
            Ok(()) => opened += 1,
            Err(error) => {
                refused += 1;
                let message = error.to_string();
                assert!(!message.contains('\n') && !message.contains('\u{1b}'), "{message}");
            }
        }
    }
    println!("{opened} opened, {refused} refused");
    assert!(refused > 0);
}

#[test]
fn adapters_of_other_kinds_are_refused_by_their_names() {
    let Some(source) = asset("models/stories260K/peft/lora_qv_r4") else { return };
    let base = asset("models/stories260K/hf").unwrap();
    let cases: [(&str, Value, &str); 7] = [
        ("peft_type", json!("IA3"), "peft_type: \"IA3\""),
        ("use_dora", json!(true), "use_dora: DoRA"),
        ("init_lora_weights", json!("pissa_niter_4"), "init_lora_weights: \"pissa_niter_4\""),
        ("layer_replication", json!([[0, 2]]), "layer_replication"),
        ("target_parameters", json!(["experts.gate_up_proj"]), "target_parameters"),
        ("lora_alpha", json!("much"), "lora_alpha: \"much\" is not a number"),
        ("alpha_pattern", json!({"(": 3}), "alpha_pattern: \"(\" is no pattern"),
    ];
    for (key, value, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut config: Value = serde_json::from_slice(&std::fs::read(source.join("adapter_config.json")).unwrap()).unwrap();
        config[key] = value;
        std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).unwrap();
        std::fs::copy(source.join("adapter_model.safetensors"), dir.path().join("adapter_model.safetensors")).unwrap();
        let Err(error) = peft::load(&base, dir.path(), DType::F32, &Device::Cpu) else { panic!("{key} was read") };
        assert!(error.to_string().contains(expected), "{error}");
    }
    // Of a model of another shape.
    let Some(other) = asset("models/tiny-random/llama") else { return };
    let Err(error) = peft::load(&other, &source, DType::F32, &Device::Cpu) else { panic!("a foreign adapter was read") };
    assert!(error.to_string().contains("use the adapter with its own base model"), "{error}");
    let message = hf::load(&source, DType::F32, &Device::Cpu).map(drop).unwrap_err().to_string();
    assert!(message.contains("holds an adapter"), "{message}");
}
