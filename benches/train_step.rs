//! A training step's forward and backward pass at the shapes of the peer benchmark, without the optimizer.
//! Deliberately not here: the whole step; `weightroom bench train` times that. Run: `cargo bench --bench train_step`,
//! or with shapes of your own: VOCAB WIDTH HEADS LAYERS CONTEXT BATCH [STEPS].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use candle_core::{DType, Device, Tensor};
use std::time::Instant;
use weightroom::model::config::Config;
use weightroom::model::decoder::{Decoder, Pass, backward};
use weightroom::recipe::ModelSection;
use weightroom::rng::Stream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // cargo adds flags of its own to a bench's arguments.
    let given: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let family = std::env::args().find(|a| ["llama", "qwen3", "gpt2"].contains(&a.as_str())).unwrap_or("llama".into());
    if given.len() >= 6 {
        return run(&family, &given);
    }
    run(&family, &[256, 128, 4, 4, 64, 12, 40])?;
    run(&family, &[4096, 256, 8, 6, 256, 8, 5])
}

fn run(family: &str, shape: &[usize]) -> Result<(), Box<dyn std::error::Error>> {
    let [vocab, width, heads, layers, context, batch] = [0, 1, 2, 3, 4, 5].map(|i| shape[i]);
    let steps = shape.get(6).copied().unwrap_or(12);
    let section = ModelSection { family: family.into(), layers, heads, width, context, ..ModelSection::default() };
    let decoder = Decoder::new(Config::from_recipe(&section, vocab, None)?, 0, DType::F32, &Device::Cpu)?;
    let mut stream = Stream::new(0, "ids");
    let mut draw = || -> candle_core::Result<Tensor> {
        let ids: Vec<u32> = (0..batch * context).map(|_| stream.below(vocab as u64) as u32).collect();
        Tensor::from_vec(ids, (batch, context), &Device::Cpu)
    };
    let weights = Tensor::ones((batch, context), DType::F32, &Device::Cpu)?;
    let (mut forward_ms, mut backward_ms) = (Vec::new(), Vec::new());
    for step in 0..steps + 2 {
        let (ids, targets) = (draw()?, draw()?);
        let start = Instant::now();
        let hidden = decoder.hidden(&ids, &mut Pass::default())?;
        let loss = (decoder.loss_sum(&hidden, &targets, &weights)? / (batch * context) as f64)?;
        let middle = Instant::now();
        let grads = backward(&loss)?;
        let end = Instant::now();
        drop(grads);
        if step >= 2 {
            forward_ms.push((middle - start).as_secs_f64() * 1e3);
            backward_ms.push((end - middle).as_secs_f64() * 1e3);
        }
    }
    let median = |v: &mut Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    let (f, b) = (median(&mut forward_ms), median(&mut backward_ms));
    let tokens_per_s = (batch * context) as f64 / (f + b) * 1e3;
    println!("{family} {shape:?}: forward {f:.2} ms, backward {b:.2} ms, {tokens_per_s:.0} tokens/s");
    Ok(())
}
