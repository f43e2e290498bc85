//! Each op of the decoder, forward and with its backward pass, at the middle shape of the peer benchmark. Deliberately not
//! here: whole steps (`weightroom bench train`). Run: `cargo bench --bench ops [-- NAME]`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use candle_core::{DType, Device, Result, Tensor, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use weightroom::model::ops::{self, Form, Graph};
use weightroom::model::params::{Kind, Param};
use weightroom::rng::Stream;
use weightroom::train::optim::{Optimizer, Rule, global_norm};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 8;
const TIME: usize = 256;
const WIDTH: usize = 256;
const HEADS: usize = 8;
const FFN: usize = 680;
const VOCAB: usize = 4096;

fn numbers(name: &str, n: usize) -> Vec<f32> {
    let mut stream = Stream::new(1, name);
    (0..n).map(|_| stream.normal() as f32 * 0.1).collect()
}

fn var(name: &str, dims: &[usize]) -> Var {
    Var::from_vec(numbers(name, dims.iter().product()), dims, &Device::Cpu).unwrap()
}

fn ids(n: usize) -> Tensor {
    let mut stream = Stream::new(2, "ids");
    let ids: Vec<u32> = (0..n).map(|_| stream.below(VOCAB as u64) as u32).collect();
    Tensor::from_vec(ids, (BATCH, n / BATCH), &Device::Cpu).unwrap()
}

/// An op forward alone, and with its gradients.
fn op(c: &mut Criterion, name: &str, run: impl Fn(&Graph) -> Result<Tensor>) {
    let mut group = c.benchmark_group(name);
    group.sample_size(20);
    group.bench_function("forward", |b| b.iter(|| run(&Graph::silent()).unwrap()));
    group.bench_function("forward and backward", |b| {
        b.iter(|| {
            let graph = Graph::new();
            let result = run(&graph).unwrap();
            graph.finish(result).unwrap().backward().unwrap()
        })
    });
    group.finish();
}

fn all(c: &mut Criterion) {
    let (x, wide) = (var("x", &[BATCH, TIME, WIDTH]), var("wide", &[BATCH, TIME, FFN]));
    let (other, up) = (var("other", &[BATCH, TIME, WIDTH]), var("up", &[BATCH, TIME, FFN]));
    let (norm, bias) = (var("norm", &[WIDTH]), var("bias", &[WIDTH]));
    op(c, "rms_norm", |g| ops::rms_norm(g, &x, &norm, 1e-5));
    op(c, "layer_norm", |g| ops::layer_norm(g, &x, &norm, &bias, 1e-5));
    op(c, "add", |g| ops::add(g, &x, &other));
    op(c, "swiglu", |g| ops::swiglu(g, &wide, &up));
    op(c, "gelu", |g| ops::gelu(g, &wide));
    let half = WIDTH / HEADS / 2;
    let angles: Vec<f32> = (0..TIME).flat_map(|t| (0..half).map(move |i| t as f32 / 10f32.powi(i as i32))).collect();
    let angles = Tensor::from_vec(angles, (TIME, half), &Device::Cpu).unwrap();
    let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
    op(c, "rope", |g| ops::rope(g, &x, &cos, &sin));
    let (k, v) = (var("k", &[BATCH, TIME, WIDTH]), var("v", &[BATCH, TIME, WIDTH]));
    op(c, "attention", |g| ops::attention(g, &x, &k, &v, Form::new(HEADS, HEADS)));
    let (kv, vv) = (var("kv", &[BATCH, TIME, WIDTH / 4]), var("vv", &[BATCH, TIME, WIDTH / 4]));
    op(c, "attention, grouped", |g| ops::attention(g, &x, &kv, &vv, Form::new(HEADS, HEADS / 4)));
    let (square, down) = (var("square", &[WIDTH, WIDTH]), var("down", &[WIDTH, FFN]));
    op(c, "linear", |g| ops::linear(g, &x, &square, None, false, None));
    op(c, "linear onto a residual", |g| ops::linear(g, &wide, &down, None, false, Some(&x)));
    let (table, tokens) = (var("table", &[VOCAB, WIDTH]), ids(BATCH * TIME));
    op(c, "embedding", |g| ops::embedding(g, &table, &tokens));
    let (rows, targets) = (x.reshape((BATCH * TIME, WIDTH)).unwrap(), tokens.flatten_all().unwrap());
    let weights = Tensor::ones(BATCH * TIME, DType::F32, &Device::Cpu).unwrap();
    let loss = || ops::cross_entropy(Graph::new(), &rows, &table, &targets, &weights).unwrap();
    c.bench_function("cross_entropy/with its gradients", |b| b.iter(|| loss().backward().unwrap()));
}

fn update(c: &mut Criterion) {
    let params = [Param { name: "w".into(), var: var("w", &[VOCAB, WIDTH]), kind: Kind::Matrix }];
    let grads = [var("grad", &[VOCAB, WIDTH]).into_inner()];
    for (name, rule) in [("adamw", Rule::AdamW { betas: [0.9, 0.95], eps: 1e-8 }), ("sgd", Rule::Sgd { momentum: 0.9 })] {
        let mut optimizer = Optimizer::new(rule, 0.1, false, &params).unwrap();
        c.bench_function(&format!("update/{name}"), |b| b.iter(|| optimizer.step(&grads, 1e-4, 1.0).unwrap()));
    }
    c.bench_function("update/norm", |b| b.iter(|| global_norm(&grads).unwrap()));
}

criterion_group!(benches, all, update);
criterion_main!(benches);
