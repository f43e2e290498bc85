//! Gradients against differences in f64: of every op, fused and composed, with odd shapes and strides, and of every
//! parameter of every family, number by number and along directions in which every number moves; and what a pass leaves
//! behind.
//! Deliberately not here: values that other programs computed (`model_reference`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use weightroom::model::arch::{Activation, Arch, Experts, FfnKind, HeadNorm, Layer, NormKind, Places, Qkv};
use weightroom::model::config::{Config, Family};
use weightroom::model::decoder::{Cache, Decoder, Pass, backward};
use weightroom::model::hf;
use weightroom::model::ops::{self, Form, Graph, composed};
use weightroom::model::params::Kind;
use weightroom::model::positions::Rope;
use weightroom::recipe::ModelSection;
use weightroom::rng::Stream;

fn random(shape: &[usize], seed: &str) -> Tensor {
    let mut stream = Stream::new(5, seed);
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| stream.normal()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn vars(shapes: &[&[usize]]) -> Vec<Var> {
    shapes.iter().enumerate().map(|(i, s)| Var::from_tensor(&random(s, &format!("input {i}"))).unwrap()).collect()
}

/// A scalar in which every number of `out` counts differently.
fn scalar(out: &Tensor) -> Tensor {
    (out * random(out.dims(), "weights of the result")).unwrap().sum_all().unwrap()
}

/// Directions along which a whole tensor is moved.
const DIRECTIONS: usize = 3;

/// Compares ⟨gradient, d⟩ with the derivative of `at(d, h)`, the value where the tensor is moved by h · d, along random
/// directions of length 1 in which every number takes part: a wrong number anywhere shows. Differences of the fourth
/// order leave the rounding alone, of some 1e-11.
fn directions(name: &str, grad: &[f64], at: impl Fn(&[f64], f64) -> f64) {
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut stream = Stream::new(7, name);
    for k in 0..DIRECTIONS {
        let mut d: Vec<f64> = (0..grad.len()).map(|_| stream.normal()).collect();
        let one = length(&d);
        d.iter_mut().for_each(|x| *x /= one);
        let h = 2e-4;
        let expected = (8.0 * (at(&d, h) - at(&d, -h)) - (at(&d, 2.0 * h) - at(&d, -2.0 * h))) / (12.0 * h);
        let found: f64 = grad.iter().zip(&d).map(|(g, d)| g * d).sum();
        // Against the gradient's usual size along a direction, not against what this one happens to meet.
        let size = (length(grad) / (grad.len() as f64).sqrt()).max(1e-4);
        let off = (found - expected).abs() / size;
        assert!(off < 1e-7, "{name}, direction {k}: {found} where differences say {expected}, {off:.1e} apart");
    }
}

/// Compares each gradient with (f(x + h) − f(x − h)) / 2h, and along whole directions.
fn check(name: &str, vars: &[Var], f: impl Fn() -> Tensor) {
    let grads = f().backward().unwrap();
    for (i, var) in vars.iter().enumerate() {
        let grad = grads.get(var).unwrap_or_else(|| panic!("{name}: input {i} got no gradient"));
        let grad = grad.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let start = var.as_tensor().copy().unwrap();
        let values = start.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let size = grad.iter().fold(1e-3f64, |m, g| m.max(g.abs()));
        let at = |j: usize, h: f64| {
            let mut moved = values.clone();
            moved[j] += h;
            var.set(&Tensor::from_vec(moved, start.shape(), &Device::Cpu).unwrap()).unwrap();
            f().to_scalar::<f64>().unwrap()
        };
        directions(&format!("{name}: input {i}"), &grad, |d, h| {
            let moved: Vec<f64> = values.iter().zip(d).map(|(v, d)| v + h * d).collect();
            var.set(&Tensor::from_vec(moved, start.shape(), &Device::Cpu).unwrap()).unwrap();
            f().to_scalar::<f64>().unwrap()
        });
        let step = (values.len() / 24).max(1);
        for j in (0..values.len()).step_by(step) {
            let h = 1e-5;
            let expected = (at(j, h) - at(j, -h)) / (2.0 * h);
            let off = (grad[j] - expected).abs() / size;
            assert!(off < 1e-6, "{name}: input {i}, number {j}: {} where differences say {expected}", grad[j]);
        }
        var.set(&start).unwrap();
    }
}

fn same(name: &str, a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims(), "{name}");
    let off = (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
    assert!(off < 1e-10, "{name}: fused and composed differ by {off}");
}

/// Checks an op in both forms: their values against each other, their gradients against differences.
fn both(name: &str, vars: &[Var], fused: impl Fn(&Graph) -> Result<Tensor>, composed: impl Fn() -> Result<Tensor>) {
    let run = || {
        let graph = Graph::new();
        let out = fused(&graph).unwrap();
        graph.finish(out).unwrap()
    };
    same(name, &run(), &composed().unwrap());
    check(name, vars, || scalar(&run()));
    check(&format!("{name}, composed"), vars, || scalar(&composed().unwrap()));
}

#[test]
fn norms() {
    for n in [1, 5, 16, 37] {
        let v = vars(&[&[2, 3, n], &[n], &[n]]);
        both("rms_norm", &v[..2], |g| ops::rms_norm(g, &v[0], &v[1], 1e-5), || composed::rms_norm(&v[0], &v[1], 1e-5));
        both("layer_norm", &v, |g| ops::layer_norm(g, &v[0], &v[1], &v[2], 1e-5), || composed::layer_norm(&v[0], &v[1], &v[2], 1e-5));
    }
    // More rows than one chunk holds, and a transposed input.
    let v = vars(&[&[3, 6000], &[3], &[3]]);
    let x = || v[0].t().unwrap();
    both("rms_norm, strided", &v[..2], |g| ops::rms_norm(g, &x(), &v[1], 1e-5), || composed::rms_norm(&x().contiguous()?, &v[1], 1e-5));
    let plain = || x().contiguous().unwrap();
    both(
        "layer_norm, strided",
        &v,
        |g| ops::layer_norm(g, &x(), &v[1], &v[2], 1e-5),
        || composed::layer_norm(&plain(), &v[1], &v[2], 1e-5),
    );
}

#[test]
fn linear_layers_in_both_layouts_with_bias_and_residual() {
    let v = vars(&[&[2, 3, 5], &[7, 5], &[7], &[2, 3, 7], &[5, 7]]);
    for (name, w, transposed) in [("linear", &v[1], false), ("conv1d", &v[4], true)] {
        let used = [v[0].clone(), w.clone(), v[2].clone(), v[3].clone()];
        let whole = || composed::linear(&v[0], w, Some(&v[2]), transposed)? + v[3].as_tensor();
        both(name, &used, |g| ops::linear(g, &v[0], w, Some(&v[2]), transposed, Some(&v[3])), whole);
        both(name, &used[..2], |g| ops::linear(g, &v[0], w, None, transposed, None), || composed::linear(&v[0], w, None, transposed));
        both(
            name,
            &used[..3],
            |g| ops::linear(g, &v[0], w, Some(&v[2]), transposed, None),
            || composed::linear(&v[0], w, Some(&v[2]), transposed),
        );
    }
    // Strided input and weight.
    let v = vars(&[&[5, 6], &[5, 7]]);
    both(
        "linear, strided",
        &v,
        |g| ops::linear(g, &v[0].t()?, &v[1].t()?, None, false, None),
        || composed::linear(&v[0].t()?.contiguous()?, &v[1].t()?.contiguous()?, None, false),
    );
}

#[test]
fn rotary_positions() {
    let (time, half) = (5, 3);
    let angles = random(&[time, half], "angles");
    let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
    let v = vars(&[&[2, time, 4 * half]]);
    both("rope", &v, |g| ops::rope(g, &v[0], &cos, &sin), || composed::rope(&v[0], &cos, &sin));
}

#[test]
fn attention_with_grouped_heads_blocks_and_more_keys_than_queries() {
    for (time, keys, heads, kv_heads, d) in [(1, 1, 1, 1, 1), (3, 3, 4, 2, 5), (70, 70, 2, 1, 3), (2, 9, 6, 2, 4), (67, 80, 1, 1, 2)] {
        let v = vars(&[&[2, time, heads * d], &[2, keys, kv_heads * d], &[2, keys, kv_heads * d]]);
        both(
            "attention",
            &v,
            |g| ops::attention(g, &v[0], &v[1], &v[2], Form::new(heads, kv_heads)),
            || composed::attention(&v[0], &v[1], &v[2], Form::new(heads, kv_heads)),
        );
    }
    // Parts of longer buffers, as a cache hands them out.
    let v = vars(&[&[2, 4, 6], &[2, 11, 6], &[2, 11, 6]]);
    let part = |i: usize| v[i].narrow(1, 0, 7).unwrap();
    both(
        "attention, strided",
        &v,
        |g| ops::attention(g, &v[0], &part(1), &part(2), Form::new(2, 2)),
        || composed::attention(&v[0], &part(1), &part(2), Form::new(2, 2)),
    );
    let v = vars(&[&[2, 66, 3 * 8]]);
    let third = |i: usize| v[0].narrow(2, i * 8, 8);
    both(
        "attention, packed",
        &v,
        |g| ops::attention_packed(g, &v[0], Form::new(2, 2)),
        || composed::attention(&third(0)?, &third(1)?, &third(2)?, Form::new(2, 2)),
    );
}

#[test]
fn activations_sums_and_masks() {
    let v = vars(&[&[3, 7], &[3, 7]]);
    both("swiglu", &v, |g| ops::swiglu(g, &v[0], &v[1]), || composed::swiglu(&v[0], &v[1]));
    both("gelu", &v[..1], |g| ops::gelu(g, &v[0]), || composed::gelu(&v[0]));
    both("add", &v, |g| ops::add(g, &v[0], &v[1]), || v[0].as_tensor() + v[1].as_tensor());
    let mask = random(&[3, 7], "mask");
    both("mask", &v[..1], |g| ops::mask(g, &v[0], &mask), || v[0].as_tensor() * &mask);
    both("reshape", &v[..1], |g| ops::reshape(g, &v[0], &[7, 3]), || v[0].reshape((7, 3)));
    // A tensor that is used twice collects both gradients.
    both("twice", &v[..1], |g| ops::add(g, &ops::gelu(g, &v[0])?, &v[0]), || composed::gelu(&v[0])? + v[0].as_tensor());
    let v = vars(&[&[7, 3], &[7, 3]]);
    both("swiglu, strided", &v, |g| ops::swiglu(g, &v[0].t()?, &v[1].t()?), || composed::swiglu(&v[0].t()?, &v[1].t()?));
}

#[test]
fn embeddings_add_up_the_gradients_of_repeated_ids() {
    let v = vars(&[&[19, 3]]);
    let ids = Tensor::new(&[[4u32, 0, 4, 18], [4, 2, 0, 17]], &Device::Cpu).unwrap();
    both("embedding", &v, |g| ops::embedding(g, &v[0], &ids), || composed::embedding(&v[0], &ids));
}

#[test]
fn cross_entropy_with_weights_and_ignored_rows() {
    let v = vars(&[&[6, 5], &[11, 5]]);
    let targets = Tensor::new(&[3u32, 0, 10, 7, 7, 1], &Device::Cpu).unwrap();
    let weights = Tensor::new(&[1f32, 0.5, 0.0, 2.0, 1.0, 0.0], &Device::Cpu).unwrap();
    let fused = || ops::cross_entropy(Graph::new(), &v[0], &v[1], &targets, &weights).unwrap();
    same("cross_entropy", &fused(), &composed::cross_entropy(&v[0], &v[1], &targets, &weights).unwrap());
    check("cross_entropy", &v, || (fused() * 0.7).unwrap());
    check("cross_entropy, composed", &v, || composed::cross_entropy(&v[0], &v[1], &targets, &weights).unwrap());
    // A target beyond the vocabulary is an error where it counts, and nothing where it does not.
    let beyond = Tensor::new(&[3u32, 0, 999, 7, 7, 1], &Device::Cpu).unwrap();
    assert_eq!(
        ops::cross_entropy(Graph::new(), &v[0], &v[1], &beyond, &weights).unwrap().to_scalar::<f64>().unwrap(),
        fused().to_scalar::<f64>().unwrap()
    );
    let ones = Tensor::ones(6, DType::F32, &Device::Cpu).unwrap();
    assert!(ops::cross_entropy(Graph::new(), &v[0], &v[1], &beyond, &ones).unwrap_err().to_string().contains("999"));
}

#[test]
fn cross_entropy_in_several_chunks_equals_one() {
    // 1,400 rows of 1,000 logits in f64 are more than one chunk holds.
    let v = vars(&[&[1400, 4], &[1000, 4]]);
    let targets: Vec<u32> = (0..1400).map(|i| i * 13 % 1000).collect();
    let targets = Tensor::from_vec(targets, 1400, &Device::Cpu).unwrap();
    let weights = Tensor::ones(1400, DType::F32, &Device::Cpu).unwrap();
    check("cross_entropy, chunked", &v, || ops::cross_entropy(Graph::new(), &v[0], &v[1], &targets, &weights).unwrap());
    let a = ops::cross_entropy(Graph::new(), &v[0], &v[1], &targets, &weights).unwrap();
    let b = composed::cross_entropy(&v[0], &v[1], &targets, &weights).unwrap();
    let (ga, gb) = (a.backward().unwrap(), b.backward().unwrap());
    assert!(((a - b).unwrap().to_scalar::<f64>().unwrap()).abs() < 1e-8);
    for var in &v {
        same("chunked gradient", ga.get(var).unwrap(), gb.get(var).unwrap());
    }
}

fn small_section(family: &str, tied: bool) -> ModelSection {
    ModelSection {
        family: family.into(),
        layers: 2,
        heads: 4,
        kv_heads: (family != "gpt2").then_some(2),
        head_dim: (family == "qwen3").then_some(6),
        width: 16,
        ffn: Some(20),
        context: 9,
        tied: Some(tied),
        init_std: 0.3,
        ..ModelSection::default()
    }
}

fn small(family: &str, tied: bool) -> Config {
    Config::from_recipe(&small_section(family, tied), 13, None).unwrap()
}

/// Norms of ones and biases of zeros would hide mistakes.
fn awake(decoder: Decoder) -> Decoder {
    for p in decoder.params() {
        let moved = (p.var.as_tensor() + (random(p.var.dims(), &p.name) * 0.1).unwrap()).unwrap();
        p.var.set(&moved).unwrap();
    }
    decoder
}

fn models() -> Vec<(String, Decoder)> {
    let mut list = Vec::new();
    for family in ["llama", "qwen3", "gpt2"] {
        for tied in [true, false] {
            let decoder = awake(Decoder::new(small(family, tied), 3, DType::F64, &Device::Cpu).unwrap());
            list.push((format!("{family}, {}", if tied { "tied" } else { "untied" }), decoder));
        }
    }
    list
}

fn batch() -> (Tensor, Tensor, Tensor) {
    let ids = Tensor::new(&[[1u32, 5, 5, 12, 0, 3, 7], [2, 2, 9, 4, 11, 6, 8]], &Device::Cpu).unwrap();
    let targets = Tensor::new(&[[5u32, 5, 12, 0, 3, 7, 1], [2, 9, 4, 11, 6, 8, 10]], &Device::Cpu).unwrap();
    let weights = Tensor::new(&[[1f32, 1., 1., 0., 1., 1., 1.], [0.5, 1., 1., 1., 1., 0., 1.]], &Device::Cpu).unwrap();
    (ids, targets, weights)
}

fn loss(decoder: &Decoder, pass: &mut Pass) -> Tensor {
    let (ids, targets, weights) = batch();
    let hidden = decoder.hidden(&ids, pass).unwrap();
    decoder.loss_sum(&hidden, &targets, &weights).unwrap()
}

#[test]
fn every_parameter_of_every_family() {
    for (name, decoder) in models() {
        assert_eq!(decoder.params().iter().map(|p| p.var.elem_count() as u64).sum::<u64>(), decoder.config().parameters());
        let vars: Vec<Var> = decoder.params().iter().map(|p| p.var.clone()).collect();
        check(&name, &vars, || loss(&decoder, &mut Pass::default()));
    }
}

/// Shapes that a mistake in a stride or a group would not survive: an odd number of heads, one head of keys and values for
/// all, as many as heads, groups; heads narrower and wider than the width's share.
fn shapes() -> Vec<(String, Decoder)> {
    let mut list = Vec::new();
    let grouped = [(6, 3, None), (3, 1, None), (3, 3, Some(2)), (4, 2, Some(10))];
    for (family, (heads, kv_heads, head_dim)) in ["llama", "qwen3"].into_iter().flat_map(|f| grouped.map(|g| (f, g))) {
        list.push((family, heads, Some(kv_heads), head_dim));
    }
    list.extend([("gpt2", 3, None, None), ("gpt2", 6, None, None)]);
    let build = |(family, heads, kv_heads, head_dim): (&str, usize, Option<usize>, Option<usize>), tied: bool| {
        // Six heads of two numbers, three of four: both even, as rotary positions want them.
        let section = ModelSection { heads, kv_heads, head_dim, width: 12, ffn: Some(11), layers: 3, ..small_section(family, tied) };
        let config = Config::from_recipe(&section, 17, None).unwrap();
        let name = format!("{family}, {heads} heads, {kv_heads:?} of keys, {head_dim:?} wide, tied {tied}");
        (name, awake(Decoder::new(config, 9, DType::F64, &Device::Cpu).unwrap()))
    };
    list.into_iter().flat_map(|shape| [true, false].map(|tied| build(shape, tied))).collect()
}

#[test]
fn every_number_of_every_parameter_takes_part() {
    for (name, decoder) in models().into_iter().chain(shapes()) {
        let mut store = backward(&loss(&decoder, &mut Pass::default())).unwrap();
        let value = || loss(&decoder, &mut Pass::default()).to_scalar::<f64>().unwrap();
        let mut whole = (Vec::new(), Vec::new());
        for p in decoder.params() {
            let grad = store.remove(&p.var).unwrap_or_else(|| panic!("{name}: {} got no gradient", p.name));
            assert_eq!(grad.dims(), p.var.dims(), "{name}: {}", p.name);
            let grad = grad.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert!(grad.iter().any(|g| *g != 0.0), "{name}: {}: a gradient of zeros alone", p.name);
            let start = p.var.as_tensor().copy().unwrap();
            let values = start.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let set = |moved: Vec<f64>| p.var.set(&Tensor::from_vec(moved, p.var.shape(), &Device::Cpu).unwrap()).unwrap();
            directions(&format!("{name}: {}", p.name), &grad, |d, h| {
                set(values.iter().zip(d).map(|(v, d)| v + h * d).collect());
                value()
            });
            p.var.set(&start).unwrap();
            whole.0.extend(grad);
            whole.1.extend(values);
        }
        // All parameters at once, as a step moves them.
        directions(&format!("{name}: all"), &whole.0, |d, h| {
            let mut from = 0;
            for p in decoder.params() {
                let to = from + p.var.elem_count();
                let moved: Vec<f64> = (from..to).map(|i| whole.1[i] + h * d[i]).collect();
                p.var.set(&Tensor::from_vec(moved, p.var.shape(), &Device::Cpu).unwrap()).unwrap();
                from = to;
            }
            value()
        });
    }
}

#[test]
fn gradients_pass_through_dropout_and_through_logits() {
    for (name, decoder) in models() {
        let mut config = decoder.config().clone();
        config.dropout = 0.4;
        let mut dropping = Decoder::new(config, 3, DType::F64, &Device::Cpu).unwrap();
        let vars: Vec<Var> = dropping.params().iter().map(|p| p.var.clone()).collect();
        let with = || loss(&dropping, &mut Pass { cache: None, dropout: Some(&mut Stream::new(1, "dropout")) });
        check(&format!("{name}, dropout"), &vars, with);
        // Computed once more, a block drops the same again.
        dropping.set_recompute(true);
        let with = || loss(&dropping, &mut Pass { cache: None, dropout: Some(&mut Stream::new(1, "dropout")) });
        check(&format!("{name}, dropout, recomputed"), &vars, with);
        let without = loss(&dropping, &mut Pass::default()).to_scalar::<f64>().unwrap();
        assert!((with().to_scalar::<f64>().unwrap() - without).abs() > 1e-6, "{name}: dropout dropped nothing");

        let vars: Vec<Var> = decoder.params().iter().map(|p| p.var.clone()).collect();
        let (ids, _, _) = batch();
        check(&format!("{name}, logits"), &vars[..1], || {
            let hidden = decoder.hidden(&ids, &mut Pass::default()).unwrap();
            scalar(&composed::softmax(&decoder.logits(&hidden).unwrap()).unwrap())
        });
    }
}

#[test]
fn a_pass_runs_the_same_bit_for_bit_and_backward_once() {
    for (name, decoder) in models() {
        let run = || {
            let mut grads = backward(&loss(&decoder, &mut Pass::default())).unwrap();
            let all: Vec<Vec<f64>> = decoder
                .params()
                .iter()
                .map(|p| grads.remove(&p.var).unwrap_or_else(|| panic!("{name}: {} got no gradient", p.name)))
                .map(|g| g.flatten_all().unwrap().to_vec1().unwrap())
                .collect();
            all
        };
        assert_eq!(run(), run(), "{name}");
        let once = loss(&decoder, &mut Pass::default());
        backward(&once).unwrap();
        assert!(backward(&once).unwrap_err().to_string().contains("runs once"), "{name}");
    }
}

#[test]
fn a_detached_decoder_has_no_graph_and_sees_updates() {
    for (name, decoder) in models() {
        let detached = decoder.detached();
        let before = loss(&detached, &mut Pass::default());
        assert!(!before.track_op(), "{name}");
        assert!(!decoder.detached().logits(&detached.hidden(&batch().0, &mut Pass::default()).unwrap()).unwrap().track_op(), "{name}");
        let param = &decoder.params()[decoder.params().len() / 2];
        param.var.set(&(param.var.as_tensor() * 1.5).unwrap()).unwrap();
        let after = loss(&detached, &mut Pass::default()).to_scalar::<f64>().unwrap();
        assert_ne!(before.to_scalar::<f64>().unwrap(), after, "{name}");
        assert_eq!(loss(&decoder, &mut Pass::default()).to_scalar::<f64>().unwrap(), after, "{name}");
    }
}

#[test]
fn a_cache_gives_what_a_full_pass_gives() {
    for (name, decoder) in models() {
        let (ids, _, _) = batch();
        let full = decoder.hidden(&ids, &mut Pass::default()).unwrap();
        let mut cache = Cache::new();
        let step = |from: usize, n: usize, cache: &mut Cache| {
            let part = ids.narrow(1, from, n).unwrap();
            let hidden = decoder.hidden(&part, &mut Pass { cache: Some(cache), dropout: None }).unwrap();
            assert!(!hidden.track_op(), "{name}");
            same(&name, &hidden, &full.narrow(1, from, n).unwrap().detach());
        };
        step(0, 3, &mut cache);
        step(3, 1, &mut cache);
        step(4, 3, &mut cache);
        assert_eq!(cache.len(), 7);
        cache.truncate(2).unwrap();
        step(2, 4, &mut cache);
        assert!(cache.truncate(7).is_err());
    }
}

#[test]
fn a_long_cache_grows_without_losing_what_it_holds() {
    let mut config = small("llama", true);
    config.context = 400;
    let decoder = Decoder::new(config, 8, DType::F64, &Device::Cpu).unwrap();
    let ids: Vec<u32> = (0..300).map(|i| i * 7 % 13).collect();
    let ids = Tensor::from_vec(ids, (1, 300), &Device::Cpu).unwrap();
    let full = decoder.hidden(&ids, &mut Pass::default()).unwrap().detach();
    let mut cache = Cache::new();
    let mut parts = Vec::new();
    for (from, n) in [(0, 100), (100, 29), (129, 1), (130, 170)] {
        parts.push(decoder.hidden(&ids.narrow(1, from, n).unwrap(), &mut Pass { cache: Some(&mut cache), dropout: None }).unwrap());
    }
    same("grown cache", &Tensor::cat(&parts, 1).unwrap(), &full);
}

#[test]
fn foreign_ids_and_too_long_texts_are_refused() {
    for (name, decoder) in models() {
        let ids = Tensor::new(&[[1u32, 13]], &Device::Cpu).unwrap();
        let message = decoder.hidden(&ids, &mut Pass::default()).unwrap_err().to_string();
        assert!(message.contains("token 13") && message.contains("vocabulary of 13"), "{name}: {message}");
        let long = Tensor::zeros((1, 10), DType::U32, &Device::Cpu).unwrap();
        let result = decoder.hidden(&long, &mut Pass::default());
        assert_eq!(result.is_err(), name.starts_with("gpt2"), "{name}");
    }
}

#[test]
fn fused_and_composed_decoders_agree_in_half_precision() {
    for (name, decoder) in models() {
        let half = Decoder::new(decoder.config().clone(), 3, DType::BF16, &Device::Cpu).unwrap();
        let full = Decoder::new(decoder.config().clone(), 3, DType::F32, &Device::Cpu).unwrap();
        let wide = |t: Tensor| t.to_dtype(DType::F32).unwrap().to_scalar::<f32>().unwrap();
        let (a, b) = (wide(loss(&half, &mut Pass::default())), wide(loss(&full, &mut Pass::default())));
        assert!((a / b - 1.0).abs() < 0.05, "{name}: {a} and {b}");
        let grads = backward(&loss(&half, &mut Pass::default())).unwrap();
        assert!(half.params().iter().all(|p| grads.get(&p.var).is_some()), "{name}");
        assert_eq!(half.logits(&half.hidden(&batch().0, &mut Pass::default()).unwrap()).unwrap().dim(D::Minus1).unwrap(), 13);
    }
}

/// What tells forms of attention apart: windows shorter than a block and longer than the text, caps, scales.
#[test]
fn attention_with_windows_caps_and_scales() {
    let plain = Form::new(4, 2);
    let forms = [
        Form { window: Some(1), ..plain },
        Form { window: Some(5), ..plain },
        Form { window: Some(40), cap: Some(2.0), ..plain },
        Form { window: Some(1000), scale: Some(0.3), ..plain },
        Form { cap: Some(1.5), scale: Some(0.7), ..plain },
    ];
    for (form, (time, keys)) in forms.into_iter().flat_map(|form| [(7, 7), (3, 9), (70, 75)].map(|t| (form, t))) {
        let v = vars(&[&[2, time, 4 * 3], &[2, keys, 2 * 3], &[2, keys, 2 * 3]]);
        both(
            &format!("{form:?} of {time} in {keys}"),
            &v,
            |g| ops::attention(g, &v[0], &v[1], &v[2], form),
            || composed::attention(&v[0], &v[1], &v[2], form),
        );
    }
}

/// Each part's tokens, from `from` on.
fn extended(decoder: &Decoder, parts: &mut [(&mut Cache, &[u32])]) -> Vec<Tensor> {
    decoder.extend(parts).unwrap()
}

#[test]
fn sequences_side_by_side_give_what_each_gives_alone() {
    for (name, decoder) in models() {
        let texts: [&[u32]; 4] = [&[1, 5, 5, 12, 0, 3, 7, 2, 9], &[4], &[2, 2, 9, 4], &[11, 6, 8, 1, 1, 0, 3, 12]];
        let full: Vec<Tensor> = texts
            .iter()
            .map(|ids| {
                decoder.hidden(&Tensor::new(*ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap(), &mut Pass::default()).unwrap().detach()
            })
            .collect();
        // Prompts of several lengths together, then single tokens, of which some come in later and others have ended.
        let mut caches: Vec<Cache> = texts.iter().map(|_| Cache::new()).collect();
        let mut at = [0usize; 4];
        for step in [vec![(0, 3), (3, 8)], vec![(0, 1), (1, 1), (2, 2)], vec![(0, 1), (2, 1)], vec![(2, 1), (0, 4)]] {
            let mut parts: Vec<(&mut Cache, &[u32])> = Vec::new();
            let mut chosen: Vec<(usize, &mut Cache)> = caches.iter_mut().enumerate().collect();
            for &(which, n) in &step {
                let place = chosen.iter().position(|(i, _)| *i == which).unwrap();
                parts.push((chosen.swap_remove(place).1, &texts[which][at[which]..at[which] + n]));
            }
            let outs = extended(&decoder, &mut parts);
            for (out, &(which, n)) in outs.iter().zip(&step) {
                assert!(!out.track_op());
                same(&name, out, &full[which].narrow(1, at[which], n).unwrap());
                at[which] += n;
            }
        }
        assert_eq!(caches.iter().map(Cache::len).collect::<Vec<_>>(), [9, 1, 4, 8], "{name}");
        let empty: &[u32] = &[];
        assert!(decoder.extend(&mut [(&mut caches[1], empty)]).unwrap_err().to_string().contains("without new tokens"));
        assert!(decoder.extend(&mut []).unwrap().is_empty());
    }
}

#[test]
fn forks_share_what_they_have_in_common_and_nothing_else() {
    let mut config = small("llama", false);
    config.context = 1000;
    let decoder = Decoder::new(config, 8, DType::F64, &Device::Cpu).unwrap();
    let text = |n: usize, seed: u32| (0..n as u32).map(|i| (i * i + seed) % 13).collect::<Vec<u32>>();
    let alone = |ids: &[u32]| {
        decoder.hidden(&Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap(), &mut Pass::default()).unwrap().detach()
    };
    let prompt = text(150, 0);
    let mut first = Cache::new();
    extended(&decoder, &mut [(&mut first, &prompt)]);
    let mut second = first.fork();
    let mut third = second.fork();
    assert_eq!(second.bytes(), first.bytes());
    // All three go on differently, past the room that was there, then one is cut back into the shared part and goes on again.
    for (seed, cache) in [(1, &mut first), (2, &mut second), (3, &mut third)] {
        let rest = text(300, seed);
        let whole = alone(&[prompt.clone(), rest.clone()].concat());
        let mut outs = Vec::new();
        let (mut from, mut sizes) = (0, [1usize, 1, 60, 1, 7, 150].into_iter().cycle());
        while from < rest.len() {
            let n = sizes.next().unwrap().min(rest.len() - from);
            outs.push(extended(&decoder, &mut [(cache, &rest[from..from + n])]).remove(0));
            from += n;
        }
        same("a fork", &Tensor::cat(&outs, 1).unwrap(), &whole.narrow(1, 150, 300).unwrap());
    }
    second.truncate(100).unwrap();
    let rest = text(20, 5);
    let out = extended(&decoder, &mut [(&mut second, &rest)]).remove(0);
    same("cut back", &out, &alone(&[&prompt[..100], &rest].concat()).narrow(1, 100, 20).unwrap());
    let out = extended(&decoder, &mut [(&mut first, &[3, 4])]).remove(0);
    let whole = alone(&[prompt.clone(), text(300, 1), vec![3, 4]].concat());
    same("the others stay", &out, &whole.narrow(1, 450, 2).unwrap());
    first.truncate(0).unwrap();
    let out = extended(&decoder, &mut [(&mut first, &prompt)]).remove(0);
    same("emptied", &out, &alone(&prompt));
}

/// What a sequence's numbers depend on: on nothing of what stands in the others. How many tokens there are in all may round the
/// processor's products differently, and no more than that.
#[test]
fn a_sequence_does_not_feel_its_company() {
    let mut config = small("llama", true);
    config.context = 400;
    let decoder = Decoder::new(config, 8, DType::F32, &Device::Cpu).unwrap();
    let run = |others: usize, seed: u32| {
        let mut cache = Cache::new();
        let mut company: Vec<(Cache, Vec<u32>)> =
            (0..others).map(|i| (Cache::new(), vec![(i as u32 * 5 + seed) % 13; 1 + i % 5])).collect();
        let mut outs: Vec<f32> = Vec::new();
        for step in 0..40u32 {
            let own = if step == 0 { vec![1, 2, 3, 4, 5] } else { vec![step % 13] };
            let mut parts: Vec<(&mut Cache, &[u32])> = vec![(&mut cache, &own)];
            parts.extend(company.iter_mut().map(|(cache, ids)| (cache, ids.as_slice())));
            outs.extend(extended(&decoder, &mut parts)[0].flatten_all().unwrap().to_vec1::<f32>().unwrap());
        }
        outs
    };
    let alone = run(0, 0);
    for others in [1, 2, 8] {
        let one = run(others, 0);
        assert_eq!(one, run(others, 7), "{others} others");
        let off = alone.iter().zip(&one).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        println!("alone and beside {others} others differ by at most {off:e}");
        assert!(off < 1e-5, "{off}");
    }
}

/// The number that a gradient has to explain, of one text that is longer than every window.
fn value(decoder: &Decoder, ids: &[u32]) -> Tensor {
    let n = ids.len() - 1;
    let row = |ids: &[u32]| Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let weights: Vec<f32> = (0..n).map(|i| 0.5 + (i % 3) as f32 * 0.3).collect();
    let hidden = decoder.hidden(&row(&ids[..n]), &mut Pass::default()).unwrap();
    decoder.loss_sum(&hidden, &row(&ids[1..]), &Tensor::new(weights, &Device::Cpu).unwrap().unsqueeze(0).unwrap()).unwrap()
}

/// Every parameter of a model has a gradient that explains how the loss moves along a direction in which all of the
/// parameter's numbers take part; experts that no token reached excepted, whose gradient is zero.
fn gradients_explain(name: &str, decoder: &Decoder) {
    let ids: Vec<u32> = (0..15).map(|i| (i * i * 7 + 3) % 500).collect();
    let run = || value(decoder, &ids).to_scalar::<f64>().unwrap();
    let grads = decoder.gradients(&value(decoder, &ids)).unwrap();
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut unreached = 0;
    for (param, grad) in decoder.params().iter().zip(grads) {
        let grad = grad.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        if grad.iter().all(|g| *g == 0.0) {
            assert!(param.kind == Kind::Expert, "{name}: {}: a gradient of zeros alone", param.name);
            unreached += 1;
            continue;
        }
        let start = param.var.as_tensor().copy().unwrap();
        let values = start.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let mut stream = Stream::new(11, &param.name);
        let mut d: Vec<f64> = (0..grad.len()).map(|_| stream.normal()).collect();
        let one = length(&d);
        d.iter_mut().for_each(|x| *x /= one);
        let at = |h: f64| {
            let moved: Vec<f64> = values.iter().zip(&d).map(|(v, d)| v + h * d).collect();
            param.var.set(&Tensor::from_vec(moved, start.shape(), &Device::Cpu).unwrap()).unwrap();
            run()
        };
        let h = 1e-4;
        let expected = (at(h) - at(-h)) / (2.0 * h);
        param.var.set(&start).unwrap();
        let found: f64 = grad.iter().zip(&d).map(|(g, d)| g * d).sum();
        let size = (length(&grad) / (grad.len() as f64).sqrt()).max(1e-4);
        let off = (found - expected).abs() / size;
        assert!(off < 1e-5, "{name}: {}: {found} where differences say {expected}, {off:.1e} apart", param.name);
    }
    assert!(unreached * 4 <= decoder.params().len(), "{name}: {unreached} parameters without a gradient");
}

#[test]
fn every_parameter_of_every_family_that_opens() {
    let Some(dir) = common::asset("models/tiny-random") else { return };
    let mut list: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.join("config.json").is_file()).collect();
    list.sort();
    let next = std::sync::Mutex::new(list.into_iter());
    let work = || {
        loop {
            let Some(path) = next.lock().unwrap().next() else { return };
            let decoder = hf::load(&path, DType::F64, &Device::Cpu).unwrap();
            gradients_explain(path.file_name().unwrap().to_str().unwrap(), &decoder);
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
}

/// What no model of the assets has: norms of each head apart, packed weights beside experts, a dense layer between sparse
/// ones, biases everywhere, each with fused ops and composed, kept and computed once more.
#[test]
fn variants_that_configs_allow() {
    let plain = small("llama", false);
    let llama = Arch::llama(Rope::new(10_000.0, 4));
    let variants: [(&str, Arch); 5] = [
        (
            "own head norms",
            Arch { norm: NormKind::Layer, places: Places::Shared, parallel: true, head_norm: HeadNorm::Own, ..llama.clone() },
        ),
        ("sparse and dense", {
            let experts = Experts { count: 3, per_token: 2, ffn: 6, normalise: false };
            let layers = vec![Layer::default(), Layer { dense: true, window: Some(3), ..Layer::default() }];
            Arch { experts: Some(experts), layers, ..llama.clone() }
        }),
        (
            "packed",
            Arch {
                qkv: Qkv::Packed,
                ffn: FfnKind::Packed,
                qkv_bias: true,
                output_bias: true,
                ffn_bias: true,
                activation: Activation::Gelu,
                ..llama.clone()
            },
        ),
        (
            "after",
            Arch {
                places: Places::After,
                norm: NormKind::RmsLessOne,
                head_norm: HeadNorm::Whole,
                logit_cap: Some(3.0),
                head_bias: true,
                ..llama.clone()
            },
        ),
        (
            "no positions",
            Arch {
                layers: vec![Layer { rope: None, ..Layer::default() }; 2],
                attention_cap: Some(2.0),
                embedding_scale: Some(1.7),
                ..llama.clone()
            },
        ),
    ];
    // Names for everything have to be at hand: of two norms of heads stablelm has them.
    for (name, arch) in variants {
        let family = if arch.head_norm == HeadNorm::Own { Family::Stablelm } else { Family::Gemma2 };
        let config = Config { family, arch, ..plain.clone() };
        config.check("").unwrap();
        let decoder = awake(Decoder::new(config, 3, DType::F64, &Device::Cpu).unwrap());
        assert_eq!(decoder.params().iter().map(|p| p.var.elem_count() as u64).sum::<u64>(), decoder.config().parameters(), "{name}");
        let vars: Vec<Var> = decoder.params().iter().map(|p| p.var.clone()).collect();
        let gradients = |decoder: &Decoder| -> (f64, Vec<Tensor>) {
            let loss = loss(decoder, &mut Pass::default());
            (loss.to_scalar::<f64>().unwrap(), decoder.gradients(&loss).unwrap())
        };
        let (fused, grads) = gradients(&decoder);
        let mut composed = Decoder::new(decoder.config().clone(), 3, DType::F64, &Device::Cpu).unwrap();
        let mut again = Decoder::new(decoder.config().clone(), 3, DType::F64, &Device::Cpu).unwrap();
        for other in [&composed, &again] {
            other.params().iter().zip(&vars).for_each(|(p, v)| p.var.set(v).unwrap());
        }
        composed.set_composed(true);
        again.set_recompute(true);
        for (how, other) in [("composed", &composed), ("recomputed", &again)] {
            let (value, others) = gradients(other);
            assert!((value - fused).abs() < 1e-10, "{name}, {how}: {value} and {fused}");
            for ((a, b), p) in grads.iter().zip(&others).zip(decoder.params()) {
                same(&format!("{name}, {how}: {}", p.name), a, b);
            }
        }
        let ids: Vec<u32> = vec![1, 5, 5, 12, 0, 3, 7, 2, 9];
        let run = || value(&decoder, &ids);
        check(name, &vars, run);
        let full =
            decoder.hidden(&Tensor::new(ids.clone(), &Device::Cpu).unwrap().unsqueeze(0).unwrap(), &mut Pass::default()).unwrap().detach();
        let mut cache = Cache::new();
        let outs = [0..4, 4..5, 5..9].map(|range| extended(&decoder, &mut [(&mut cache, &ids[range])]).remove(0));
        same(name, &Tensor::cat(&outs, 1).unwrap(), &full);
    }
}

#[test]
fn parts_and_experts() {
    let v = vars(&[&[3, 7], &[7], &[3, 7]]);
    both("stretch", &v[..2], |g| ops::stretch(g, &v[0], &v[1]), || v[0].broadcast_mul(v[1].as_tensor()));
    both("columns", &v[..1], |g| ops::columns(g, &v[0], 2, 4), || v[0].narrow(1, 2, 4)?.contiguous());
    both("affine", &v[..1], |g| ops::affine(g, &v[0], 1.5, -0.2), || v[0].affine(1.5, -0.2));
    both("gelu_erf", &v[..1], |g| ops::gelu_erf(g, &v[0]), || composed::gelu_erf(&v[0]));
    let w = vars(&[&[3, 7], &[3, 7]]);
    both("times", &w, |g| ops::times(g, &w[0], &w[1]), || w[0].as_tensor() * w[1].as_tensor());
    both("rows", &w[..1], |g| ops::rows(g, &w[0], &[2, 0, 2]), || w[0].index_select(&Tensor::new(&[2u32, 0, 2], &Device::Cpu)?, 0));
    let u = vars(&[&[4], &[2]]);
    both("join", &u, |g| ops::join(g, &[&u[0], &u[1]]), || Tensor::cat(&[u[0].as_tensor(), u[1].as_tensor()], 0));
    let (cos, sin) = (random(&[5, 2], "cos"), random(&[5, 2], "sin"));
    let x = vars(&[&[2, 5, 14]]);
    both("rope of a part", &x, |g| ops::rope_part(g, &x[0], &cos, &sin, 7), || composed::rope_part(&x[0], &cos, &sin, 7));
    let logits = vars(&[&[4, 5]]);
    let chosen = ops::choose(&logits[0], 2).unwrap();
    for normalise in [true, false] {
        both("gates", &logits, |g| ops::gates(g, &logits[0], &chosen, normalise), || composed::gates(&logits[0], &chosen, normalise));
    }
    let results = vars(&[&[4, 2], &[3, 6], &[1, 6]]);
    let places = || vec![vec![(0u32, 1u32), (3, 0), (2, 0)], vec![(0, 0)]];
    let list = [results[1].as_tensor().clone(), results[2].as_tensor().clone()];
    both("combine", &results, |g| ops::combine(g, &results[0], &list, places()), || composed::combine(&results[0], &list, &places()));
}
