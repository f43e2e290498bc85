//! The optimizers, schedule, clipping and accumulation against PyTorch on a real small model.
//! Deliberately not here: logits and single gradients, which the model's own tests compare.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use weightroom::data::batch::Sequence;
use weightroom::model::decoder::{Decoder, Pass, backward};
use weightroom::model::hf;
use weightroom::train::objective::pretrain::{Batch, Inputs, weigh};
use weightroom::train::optim::{Accumulator, Optimizer, Rule, clip_scale, global_norm};
use weightroom::train::schedule::{Schedule, Shape};

struct Reference {
    values: Value,
    model: std::path::PathBuf,
    weights: std::path::PathBuf,
}

fn reference() -> Option<Reference> {
    let text = std::fs::read_to_string(common::asset("numeric/torch_stories260K/train_reference.json")?).unwrap();
    Some(Reference {
        values: serde_json::from_str(&text).unwrap(),
        model: common::asset("models/stories260K/hf")?,
        weights: common::asset("numeric/torch_stories260K/weights_after_10_adamw.safetensors")?,
    })
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The reference's rows: every token but the first of a row is a target, as far as `targets` says.
fn rows(reference: &Reference, targets: &[usize]) -> Vec<Sequence> {
    let ids = |key: &str, row: usize| numbers(&reference.values[key][row]).into_iter().map(|x| x as u32).collect::<Vec<_>>();
    let row = |(row, &count): (usize, &usize)| {
        let mut all = ids("batch_inputs", row);
        all.push(*ids("batch_targets", row).last().unwrap());
        let weights = (0..all.len()).map(|i| if i > 0 && i <= count { 1.0 } else { 0.0 }).collect();
        Sequence { segments: vec![0; all.len()], ids: all, weights, row: 0 }
    };
    targets.iter().enumerate().map(row).collect()
}

fn load(path: &Path) -> Decoder {
    hf::load(path, DType::F32, &Device::Cpu).unwrap()
}

/// Loss and gradients of a step, summed over its micro-batches as the loop does it.
fn gradients(decoder: &Decoder, step: &[Batch]) -> (f64, Vec<Tensor>) {
    let (mut loss, mut sum) = (0.0, Accumulator::default());
    for batch in step {
        let inputs = Inputs::new(&batch.sequences, decoder.device()).unwrap();
        let hidden = decoder.hidden(&inputs.ids, &mut Pass::default()).unwrap();
        let share = (decoder.loss_sum(&hidden, &inputs.targets, &inputs.weights).unwrap() / batch.denominator).unwrap();
        loss += f64::from(share.to_scalar::<f32>().unwrap());
        let mut store = backward(&share).unwrap();
        let grads: Vec<Tensor> = decoder.params().iter().map(|p| store.remove(p.var.as_tensor()).unwrap().detach()).collect();
        sum.add(grads).unwrap();
    }
    (loss, sum.take())
}

fn step_of(sequences: Vec<Vec<Sequence>>) -> Vec<Batch> {
    let mut step: Vec<Batch> = sequences.into_iter().map(|sequences| Batch { sequences, denominator: 0.0 }).collect();
    weigh(&mut step);
    step
}

/// Ten updates; compares the losses before each and after the last, and the norms where the reference has them.
fn curve(reference: &Reference, key: &str, rule: Rule, decay: f64, lr: impl Fn(u64) -> f64) -> Decoder {
    let expected = &reference.values[key];
    let clip = expected["clip"].as_f64().unwrap_or(0.0);
    let decoder = load(&reference.model);
    let mut optimizer = Optimizer::new(rule, decay, true, decoder.params()).unwrap();
    let step = step_of(vec![rows(reference, &[64; 4])]);
    let (losses, norms) = (numbers(&expected["losses"]), numbers(&expected["pre_clip_grad_norms"]));
    for i in 0..10 {
        let (loss, grads) = gradients(&decoder, &step);
        let norm = global_norm(&grads).unwrap();
        assert!((loss - losses[i]).abs() < 1e-3, "{key} step {i}: {loss} for {}", losses[i]);
        if norms[i] > 0.0 {
            assert!((norm - norms[i]).abs() < 1e-2 * norms[i], "{key} step {i}: norm {norm} for {}", norms[i]);
        }
        optimizer.step(&grads, lr(i as u64), clip_scale(norm, clip)).unwrap();
    }
    let (loss, _) = gradients(&decoder, &step);
    assert!((loss - losses[10]).abs() < 1e-3, "{key}: {loss} at the end for {}", losses[10]);
    decoder
}

#[test]
fn adamw_with_decay_and_clipping_and_its_final_weights() {
    let Some(reference) = reference() else { return };
    let decoder = curve(&reference, "adamw", Rule::AdamW { betas: [0.9, 0.95], eps: 1e-8 }, 0.1, |_| 1e-3);
    let expected = candle_core::safetensors::load(&reference.weights, &Device::Cpu).unwrap();
    for param in decoder.params() {
        let Some(wanted) = expected.get(&param.name) else { panic!("no {} in the reference", param.name) };
        let worst = (param.var.as_tensor() - wanted).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        let worst = worst.to_scalar::<f32>().unwrap();
        assert!(worst < 1e-3, "{}: {worst}", param.name);
    }
}

#[test]
fn adam_without_decay_and_clipping() {
    let Some(reference) = reference() else { return };
    curve(&reference, "adam_no_wd_no_clip", Rule::AdamW { betas: [0.9, 0.999], eps: 1e-8 }, 0.0, |_| 1e-3);
}

#[test]
fn sgd() {
    let Some(reference) = reference() else { return };
    curve(&reference, "sgd", Rule::Sgd { momentum: 0.0 }, 0.0, |_| 0.05);
}

#[test]
fn adamw_under_warmup_and_cosine() {
    let Some(reference) = reference() else { return };
    let schedule = Schedule { shape: Shape::Cosine, lr: 1e-3, min_lr: 1e-4, warmup: 3, steps: 10, decay_fraction: 0.0 };
    for (i, lr) in numbers(&reference.values["adamw_cosine"]["lrs"]).into_iter().enumerate() {
        assert!((schedule.at(i as u64) - lr).abs() < 1e-12, "step {i}");
    }
    curve(&reference, "adamw_cosine", Rule::AdamW { betas: [0.9, 0.95], eps: 1e-8 }, 0.1, |i| schedule.at(i));
}

#[test]
fn micro_batches_of_unequal_length_weigh_by_their_tokens() {
    let Some(reference) = reference() else { return };
    let decoder = load(&reference.model);
    let all = rows(&reference, &[64, 64, 20, 20]);
    let (loss, grads) = gradients(&decoder, &step_of(vec![all[..2].to_vec(), all[2..].to_vec()]));
    assert!((loss - 1.417_563_8).abs() < 1e-5, "{loss}");
    let norm = global_norm(&grads).unwrap();
    assert!((norm - 4.151_645_2).abs() < 1e-3, "{norm}");
    let (whole, one) = gradients(&decoder, &step_of(vec![all]));
    assert!((whole - loss).abs() < 1e-6);
    for (a, b) in grads.iter().zip(&one) {
        let scale = b.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
        let worst = (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
        assert!(worst <= 1e-4 * scale, "{worst} of {scale}");
    }
}
