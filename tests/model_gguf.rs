//! Models in GGUF files against references, and what is handed on against what it came from.
//! Deliberately not here: the form of the file (tested beside `gguf`) and the products (beside `model::ops::packed`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use candle_core::{DType, Device, IndexOp, Tensor};
use common::asset;
use serde_json::Value;
use std::path::{Path, PathBuf};
use weightroom::data::handover;
use weightroom::data::tokenizer::Tokenizer;
use weightroom::gguf::blocks::{self, Type};
use weightroom::gguf::write::Meta;
use weightroom::model::decoder::{Cache, Decoder, Pass};
use weightroom::model::gguf::{self, write};
use weightroom::model::hf;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn npy(path: &Path) -> Vec<f32> {
    npyz::NpyFile::new(std::io::BufReader::new(std::fs::File::open(path).unwrap())).unwrap().into_vec().unwrap()
}

fn hidden(decoder: &Decoder, cache: &mut Cache, ids: &[u32]) -> Tensor {
    let ids = Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    decoder.hidden(&ids, &mut Pass { cache: Some(cache), ..Pass::default() }).unwrap()
}

/// Logits of all places, one row each.
fn logits(decoder: &Decoder, ids: &[u32]) -> Vec<f32> {
    let hidden = hidden(decoder, &mut Cache::new(), ids);
    decoder.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn probabilities(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|&l| f64::from(l - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

fn greedy(decoder: &Decoder, prompt: &[u32], count: usize) -> Vec<u32> {
    let (mut cache, mut all) = (Cache::new(), prompt.to_vec());
    let mut next = prompt.to_vec();
    for _ in 0..count {
        let hidden = hidden(decoder, &mut cache, &next);
        let last = decoder.logits(&hidden.i((.., next.len() - 1..)).unwrap().contiguous().unwrap()).unwrap();
        next = last.argmax(candle_core::D::Minus1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        all.extend(&next);
    }
    all
}

fn stories(file: &str) -> Option<(Decoder, Value)> {
    let dir = asset("models/stories260K")?;
    Some((gguf::load(&dir.join("gguf").join(file), &Device::Cpu).unwrap(), json(&dir.join("reference/reference.json"))))
}

#[test]
fn stories260k_of_every_type_is_what_the_reference_says() {
    for (file, most) in [("stories260K-f32.gguf", 1e-4), ("stories260K-f16.gguf", 0.02), ("stories260K-q8_0.gguf", 0.5)] {
        let Some((decoder, reference)) = stories(file) else { return };
        let expected = npy(&asset("models/stories260K/reference/logits_prompt.npy").unwrap());
        let off = furthest(&logits(&decoder, &ids(&reference["ids"])), &expected);
        println!("{file}: logits differ by at most {off:e}");
        assert!(off < most, "{file}: {off}");
        let expected = ids(&reference["greedy_from_bos_ids"]);
        let made = greedy(&decoder, &[1], expected.len() - 1);
        let same = made.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        // Eight bits, of weights and of activations, may turn a near tie sooner or later.
        assert!(same == expected.len() || (file.contains("q8_0") && same > 30), "{file}: {same} of {}", expected.len());
    }
}

#[test]
fn a_frozen_model_says_what_the_one_that_trains_says() {
    let Some(dir) = asset("models/tiny-random") else { return };
    for name in ["llama", "gpt2", "qwen3", "llama-variants/bf16", "llama-variants/f16", "llama-variants/sharded"] {
        let dir = dir.join(name);
        let (frozen, whole) = (hf::load_frozen(&dir, &Device::Cpu).unwrap(), hf::load(&dir, DType::F32, &Device::Cpu).unwrap().detached());
        let ids: Vec<u32> = (0..12).map(|i| i * 5 % 30).collect();
        let off = furthest(&logits(&frozen, &ids), &logits(&whole, &ids));
        assert!(off < 1e-5, "{name}: {off}");
        assert_eq!(frozen.vector_of(3).unwrap(), whole.vector_of(3).unwrap());
    }
}

#[test]
fn a_file_can_be_trained_on_from() {
    let Some(dir) = asset("models/stories260K") else { return };
    let file = gguf::open(&dir.join("gguf/stories260K-f32.gguf")).unwrap();
    let (from_file, from_dir) =
        (file.trainable(DType::F32, &Device::Cpu).unwrap(), hf::load(&dir.join("hf"), DType::F32, &Device::Cpu).unwrap());
    for (a, b) in from_file.params().iter().zip(from_dir.params()) {
        assert_eq!(a.name, b.name);
        assert_eq!(numbers(a), numbers(b), "{}", a.name);
    }
}

fn exported(decoder: &Decoder, tokenizer: &Tokenizer, quant: &str, dir: &Path) -> PathBuf {
    let config = decoder.config();
    let keys = handover::metadata(tokenizer, config.vocab, config.eos).unwrap();
    let path = dir.join(format!("{quant}.gguf"));
    assert!(write::save(decoder, ("test", keys), write::Quant::from_name(quant).unwrap(), &path, |_, _| true).unwrap());
    path
}

/// Every family that is written, with the same numbers and logits when it is read again. With `WEIGHTROOM_KEEP=DIR` the files
/// stay there, for other programs to open.
#[test]
fn what_is_exported_comes_back() {
    let Some(random) = asset("models/tiny-random") else { return };
    let temporary = tempfile::tempdir().unwrap();
    let to = std::env::var_os("WEIGHTROOM_KEEP").map_or_else(|| temporary.path().to_path_buf(), PathBuf::from);
    let mut written = Vec::new();
    for entry in std::fs::read_dir(random).unwrap() {
        let from = entry.unwrap().path();
        if !from.join("expected.json").is_file() {
            continue;
        }
        let name = from.file_name().unwrap().to_string_lossy().into_owned();
        let Ok(decoder) = hf::load(&from, DType::F32, &Device::Cpu) else { continue };
        let path = to.join(format!("{name}.gguf"));
        // Without a tokenizer: these models have none.
        let keys = vec![("tokenizer.ggml.model".to_string(), Meta::Text("no_vocab".into()))];
        match write::save(&decoder, (&name, keys), write::Quant::F32, &path, |_, _| true) {
            Ok(done) => assert!(done),
            Err(why) => {
                println!("{name}: {why}");
                assert!(why.to_string().contains("not written as GGUF"), "{name}: {why}");
                continue;
            }
        }
        let back = gguf::open(&path).unwrap().trainable(DType::F32, &Device::Cpu).unwrap();
        for (a, b) in back.params().iter().zip(decoder.params()) {
            assert_eq!(a.name, b.name);
            let off = furthest(&numbers(a), &numbers(b));
            // Gemma's norms are stored less one here, and whole there.
            assert!(off <= if name.starts_with("gemma") { 2e-7 } else { 0.0 }, "{name}: {}: {off}", a.name);
        }
        let input = ids(&json(&from.join("expected.json"))["input_ids"]);
        let off = furthest(&logits(&gguf::load(&path, &Device::Cpu).unwrap(), &input), &npy(&from.join("expected_logits.npy")));
        assert!(off < 1e-4, "{name}: {off}");
        written.push(name);
    }
    println!("written and read: {}", written.join(", "));
    assert!(["llama", "qwen3", "gpt2"].iter().all(|name| written.iter().any(|w| w == name)), "{written:?}");
}

fn numbers(param: &weightroom::model::params::Param) -> Vec<f32> {
    param.var.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn quantised_exports_are_near_and_exceptions_are_told() {
    let Some(dir) = asset("models/stories260K") else { return };
    let tokenizer = Tokenizer::load(&dir.join("hf/tokenizer.json")).unwrap();
    let decoder = hf::load(&dir.join("hf"), DType::F32, &Device::Cpu).unwrap();
    let reference = json(&dir.join("reference/reference.json"));
    let (text, to) = (ids(&reference["greedy_from_bos_ids"]), tempfile::tempdir().unwrap());
    let loss = |decoder: &Decoder| {
        let rows = logits(decoder, &text);
        let each = rows.chunks_exact(512).zip(&text[1..]).map(|(row, &id)| -probabilities(row)[id as usize].ln());
        each.sum::<f64>() / (text.len() - 1) as f64
    };
    let exact = loss(&decoder.detached());
    for (quant, most) in [("f16", 0.001), ("q8_0", 0.01), ("q4_0", 0.2)] {
        let path = exported(&decoder, &tokenizer, quant, to.path());
        let found = loss(&gguf::load(&path, &Device::Cpu).unwrap());
        println!("{quant}: a loss of {found} for {exact}");
        assert!((found - exact).abs() < most, "{quant}: {found} for {exact}");
    }
    // 64 and 172 columns: no blocks of 256, and 172 none of 32 either.
    assert_eq!(write::exceptions(&decoder, write::Quant::Q4K).unwrap(), ["Q8_0", "F16"]);
}

#[test]
fn real_blocks_are_read_as_the_library_reads_them() {
    use candle_core::quantized::gguf_file::Content;
    let Some(dir) = asset("models/stories260K/gguf") else { return };
    for name in ["stories260K-f32.gguf", "stories260K-f16.gguf", "stories260K-q8_0.gguf"] {
        compare_with_library(&dir.join(name));
    }
    match smollm2() {
        Some(path) => compare_with_library(&path),
        None => println!("skipped: SmolLM2 is not there"),
    }

    fn compare_with_library(path: &Path) {
        let bytes = std::fs::read(path).unwrap();
        let mut cursor = std::io::Cursor::new(&bytes);
        let theirs = Content::read(&mut cursor).unwrap();
        let ours = weightroom::gguf::tensors::Contents::read(&bytes).unwrap();
        assert_eq!(theirs.tensor_infos.len(), ours.tensors.len());
        // Of a large file the first few and the last of each type.
        let mut seen: std::collections::HashMap<Type, usize> = std::collections::HashMap::new();
        for tensor in ours.tensors.iter().filter(|t| t.elements() < 2 << 20) {
            let count = seen.entry(tensor.kind).or_default();
            *count += 1;
            if *count > 8 {
                continue;
            }
            let expected = theirs.tensor(&mut cursor, &tensor.name, &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
            assert_eq!(expected.dims(), tensor.shape, "{}", tensor.name);
            let mut numbers = vec![0f32; tensor.elements()];
            blocks::dequantize(tensor.kind, tensor.bytes(&bytes), &mut numbers);
            let off = furthest(&numbers, &expected.flatten_all().unwrap().to_vec1().unwrap());
            assert!(off < 1e-6, "{} {}: {off}", tensor.name, tensor.kind.name());
        }
    }
}

/// A real model of 98 MB, which `../shared/tools/smollm2 target/smollm2` brings. Nobody fetches it for a test.
fn smollm2() -> Option<PathBuf> {
    let dir =
        std::env::var_os("WEIGHTROOM_SMOLLM2").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/smollm2"), PathBuf::from);
    Some(dir.join("SmolLM2-135M-Instruct.Q4_1.gguf")).filter(|path| path.is_file())
}

#[test]
fn smollm2_gives_the_first_token_the_probabilities_of_the_reference() {
    let (Some(path), Some(dir)) = (smollm2(), asset("models/smollm2-135m-instruct")) else {
        println!("skipped: SmolLM2 is not there; ../shared/tools/smollm2 target/smollm2 brings it");
        return;
    };
    let reference = json(&dir.join("reference.json"));
    let decoder = gguf::load(&path, &Device::Cpu).unwrap();
    let tokenizer = Tokenizer::load(&path).unwrap();
    let chat = &reference["chat"];
    assert_eq!(tokenizer.encode(chat["rendered"].as_str().unwrap(), true).unwrap(), ids(&chat["ids"]));
    let rows = logits(&decoder, &ids(&chat["ids"]));
    let p = probabilities(&rows[rows.len() - decoder.config().vocab..]);
    for pair in chat["top10_probs"].as_array().unwrap() {
        let (id, expected) = (pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap());
        println!("{id}: {:.4} for {expected:.4}", p[id]);
        assert!((p[id] - expected).abs() < 0.02, "{id}: {} for {expected}", p[id]);
    }
}
