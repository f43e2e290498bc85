//! The decoder against values that other programs computed: logits, loss, gradients, greedy text.
//! Deliberately not here: gradient checks by differences (`model_gradients`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use candle_core::{DType, Device, IndexOp, Tensor};
use common::asset;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use weightroom::model::decoder::{Cache, Decoder, Pass, backward};
use weightroom::model::hf::{self, peft};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

fn npy(path: &Path) -> Vec<f32> {
    let file = npyz::NpyFile::new(std::io::BufReader::new(std::fs::File::open(path).unwrap())).unwrap();
    file.into_vec().unwrap()
}

fn logits(decoder: &Decoder, ids: &[u32]) -> Vec<f32> {
    let ids = Tensor::new(ids, decoder.device()).unwrap().unsqueeze(0).unwrap();
    let hidden = decoder.hidden(&ids, &mut Pass::default()).unwrap();
    decoder.logits(&hidden).unwrap().flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Every model that transformers wrote for these tests.
fn tiny() -> Option<Vec<(String, std::path::PathBuf)>> {
    let dir = asset("models/tiny-random")?;
    let mut list: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.join("config.json").is_file()).collect();
    list.sort();
    assert!(list.len() >= 21, "{} models", list.len());
    Some(list.into_iter().map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), path)).collect())
}

#[test]
fn logits_of_tiny_random_models_equal_those_of_transformers() {
    let Some(models) = tiny() else { return };
    for (name, dir) in models {
        let ids = ids(&json(&dir.join("expected.json"))["input_ids"]);
        let expected = npy(&dir.join("expected_logits.npy"));
        let decoder = hf::load(&dir, DType::F32, &Device::Cpu).unwrap();
        let off = furthest(&logits(&decoder, &ids), &expected);
        println!("{name}: logits differ by at most {off:e}");
        assert!(off < 1e-4, "{name}: {off}");

        let vocab = decoder.config().vocab;
        let head = |hidden: &Tensor| -> Vec<f32> { decoder.logits(hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap() };
        // Several rows at once, the second of other tokens.
        let other: Vec<u32> = ids.iter().rev().copied().collect();
        let rows = Tensor::new([ids.clone(), other.clone(), ids.clone()].concat(), &Device::Cpu).unwrap().reshape((3, ids.len())).unwrap();
        let hidden = decoder.hidden(&rows, &mut Pass::default()).unwrap();
        for row in [0, 2] {
            let off = furthest(&head(&hidden.narrow(0, row, 1).unwrap().detach()), &expected);
            assert!(off < 1e-4, "{name}, row {row}: {off}");
        }

        // With caches: beside others of other lengths, a prompt first and then tokens one by one. Positions that grow with
        // the text turn what is already cached otherwise, in transformers too: there the text comes in one piece.
        let grows = name == "llama-rope-dynamic";
        let steps = if grows { vec![ids.len()] } else { [vec![9], vec![1; ids.len() - 11], vec![2]].concat() };
        let (mut own, mut left, mut right) = (Cache::new(), Cache::new(), Cache::new());
        let (mut at, mut got) = (0, Vec::new());
        for n in steps {
            let mut parts: Vec<(&mut Cache, &[u32])> =
                vec![(&mut left, &other[..1]), (&mut own, &ids[at..at + n]), (&mut right, &other[..3])];
            if at == 0 {
                parts.remove(0);
                parts.rotate_left(1);
                let outs = decoder.extend(&mut parts).unwrap();
                got.extend(head(&outs[1]));
            } else {
                got.extend(head(&decoder.extend(&mut parts).unwrap()[1]));
            }
            at += n;
        }
        assert_eq!(got.len(), ids.len() * vocab);
        let off = furthest(&got, &expected);
        assert!(off < 1e-4, "{name}, with a cache and company: {off}");
        let mut cache = Cache::new();
        let alone = Tensor::new(ids.clone(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let hidden = decoder.hidden(&alone, &mut Pass { cache: Some(&mut cache), dropout: None }).unwrap();
        assert!(furthest(&head(&hidden), &expected) < 1e-4, "{name}, with a cache");
    }
}

#[test]
fn what_is_saved_of_every_family_is_read_back_alike() {
    let Some(models) = tiny() else { return };
    for (name, dir) in models {
        let decoder = hf::load(&dir, DType::F32, &Device::Cpu).unwrap();
        let copy = tempfile::tempdir().unwrap();
        hf::save(&decoder, copy.path()).unwrap();
        let again = hf::load(copy.path(), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(again.config(), decoder.config(), "{name}");
        let ids = ids(&json(&dir.join("expected.json"))["input_ids"]);
        assert_eq!(logits(&again, &ids), logits(&decoder, &ids), "{name}");
        let names = |dir: &Path| {
            let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
            let mut names: Vec<String> =
                safetensors::SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(|n| n.to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(names(copy.path()), names(&dir), "{name}");
    }
}

#[test]
fn adapters_of_peft_give_their_expected_logits() {
    let Some(dir) = asset("models/stories260K") else { return };
    let expected = json(&dir.join("peft/expected.json"));
    for name in ["lora_qv_r4", "rslora_all_r8"] {
        let adapter = dir.join("peft").join(name);
        assert!(peft::is_adapter(&adapter) && !peft::is_adapter(&dir.join("hf")));
        assert_eq!(peft::base_of(&adapter).unwrap().as_deref(), Some("stories260K/hf"));
        let prompt = ids(&expected[name]["prompt_ids"]);
        let wanted = npy(&adapter.join("expected_logits.npy"));
        let mut decoder = peft::load(&dir.join("hf"), &adapter, DType::F32, &Device::Cpu).unwrap();
        let off = furthest(&logits(&decoder, &prompt), &wanted);
        println!("{name}: logits differ by at most {off:e}");
        assert!(off < 1e-4, "{name}: {off}");
        assert!(furthest(&logits(&decoder.detached(), &prompt), &wanted) < 1e-4);
        decoder.merge().unwrap();
        let off = furthest(&logits(&decoder, &prompt), &wanted);
        println!("{name}, merged: logits differ by at most {off:e}");
        assert!(off < 1e-4, "{name}, merged: {off}");
        // Merged, it is a model like any other.
        let copy = tempfile::tempdir().unwrap();
        hf::save(&decoder, copy.path()).unwrap();
        let saved = hf::load(copy.path(), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(logits(&saved, &prompt), logits(&decoder, &prompt));
    }
}

#[test]
fn every_container_gives_the_same_llama() {
    let Some(dir) = asset("models/tiny-random") else { return };
    let variants = dir.join("llama-variants");
    let input = ids(&json(&dir.join("llama/expected.json"))["input_ids"]);
    let whole = npy(&dir.join("llama/expected_logits.npy"));
    let config = hf::load_config(&dir.join("llama")).unwrap();
    let bin = hf::load_weights(config, &variants.join("pytorch_model.bin"), DType::F32, &Device::Cpu).unwrap();
    let cases = [
        ("sharded", hf::load(&variants.join("sharded"), DType::F32, &Device::Cpu).unwrap(), whole.clone()),
        ("bin", bin, whole),
        ("f16", hf::load(&variants.join("f16"), DType::F32, &Device::Cpu).unwrap(), npy(&variants.join("f16/expected_logits.npy"))),
        ("bf16", hf::load(&variants.join("bf16"), DType::F32, &Device::Cpu).unwrap(), npy(&variants.join("bf16/expected_logits.npy"))),
    ];
    for (name, decoder, expected) in cases {
        let off = furthest(&logits(&decoder, &input), &expected);
        println!("{name}: logits differ by at most {off:e}");
        assert!(off < 1e-4, "{name}: {off}");
    }
}

fn stories() -> Option<(Decoder, Value)> {
    let dir = asset("models/stories260K")?;
    Some((hf::load(&dir.join("hf"), DType::F32, &Device::Cpu).unwrap(), json(&dir.join("reference/reference.json"))))
}

#[test]
fn logits_of_stories260k_equal_the_reference() {
    let Some((decoder, reference)) = stories() else { return };
    let expected = npy(&asset("models/stories260K/reference/logits_prompt.npy").unwrap());
    let off = furthest(&logits(&decoder, &ids(&reference["ids"])), &expected);
    println!("stories260K: logits differ by at most {off:e}");
    assert!(off < 1e-4, "{off}");
}

fn best(logits: &Tensor) -> u32 {
    logits.argmax(candle_core::D::Minus1).unwrap().to_vec1::<u32>().unwrap()[0]
}

#[test]
fn greedy_text_is_the_same_with_and_without_cache_and_equals_the_reference() {
    let Some((decoder, reference)) = stories() else { return };
    let decoder = decoder.detached();
    let (mut with, mut without) = (vec![1u32], vec![1u32]);
    let mut cache = Cache::new();
    for i in 0..200 {
        let next = Tensor::new(&with[i..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let hidden = decoder.hidden(&next, &mut Pass { cache: Some(&mut cache), dropout: None }).unwrap();
        with.push(best(&decoder.logits(&hidden.i((.., 0)).unwrap()).unwrap()));
        let all = Tensor::new(&without[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let hidden = decoder.hidden(&all, &mut Pass::default()).unwrap();
        without.push(best(&decoder.logits(&hidden.i((.., i)).unwrap()).unwrap()));
    }
    assert_eq!(with, without);
    assert_eq!(cache.len(), 200);
    let expected = ids(&reference["greedy_from_bos_ids"]);
    let n = expected.len().min(with.len());
    assert!(n > 60);
    assert_eq!(with[..n], expected[..n]);
}

#[test]
fn loss_and_every_gradient_equal_those_of_pytorch() {
    let (Some((decoder, _)), Some(dir)) = (stories(), asset("numeric/torch_stories260K")) else { return };
    let reference = json(&dir.join("train_reference.json"));
    let rows = |key: &str| -> Vec<u32> { reference[key].as_array().unwrap().iter().flat_map(ids).collect() };
    let (inputs, targets) = (rows("batch_inputs"), rows("batch_targets"));
    let batch = reference["batch_inputs"].as_array().unwrap().len();
    let shape = (batch, inputs.len() / batch);
    let inputs = Tensor::from_vec(inputs, shape, &Device::Cpu).unwrap();
    let targets = Tensor::from_vec(targets, shape, &Device::Cpu).unwrap();
    let loss_of = |weights: Tensor| {
        let hidden = decoder.hidden(&inputs, &mut Pass::default()).unwrap();
        let sum = weights.sum_all().unwrap().to_scalar::<f32>().unwrap() as f64;
        (decoder.loss_sum(&hidden, &targets, &weights).unwrap() / sum).unwrap()
    };
    let loss = loss_of(Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap());
    let off = (loss.to_scalar::<f32>().unwrap() as f64 - reference["loss0"].as_f64().unwrap()).abs();
    println!("loss differs by {off:e}");
    assert!(off < 1e-5, "{off}");

    let mut grads = backward(&loss).unwrap();
    let expected: HashMap<String, Tensor> = candle_core::safetensors::load(dir.join("grads_step0.safetensors"), &Device::Cpu).unwrap();
    let mut worst = (0f32, String::new());
    for p in decoder.params() {
        let ours = grads.remove(&p.var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let theirs = expected[&p.name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let off = furthest(&ours, &theirs) / theirs.iter().fold(0f32, |m, g| m.max(g.abs()));
        if off > worst.0 {
            worst = (off, p.name.clone());
        }
        assert!(off < 1e-4, "{}: {off}", p.name);
    }
    println!("gradients differ by at most {:e} of the largest ({})", worst.0, worst.1);

    // Rows 2 and 3 count for their first twenty places alone.
    let weights: Vec<f32> = (0..shape.0 * shape.1).map(|i| if i / shape.1 < 2 || i % shape.1 < 20 { 1.0 } else { 0.0 }).collect();
    let masked = loss_of(Tensor::from_vec(weights, shape, &Device::Cpu).unwrap()).to_scalar::<f32>().unwrap() as f64;
    assert!((masked - reference["accum"]["token_mean_loss"].as_f64().unwrap()).abs() < 1e-5, "{masked}");
}
