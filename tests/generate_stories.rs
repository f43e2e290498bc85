//! Generation on a real trained model against its reference. Not here: the sampler's arithmetic, tested beside it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use std::path::Path;
use std::sync::Mutex;

use candle_core::{DType, Device, Tensor};
use weightroom::data::tokenizer::Tokenizer;
use weightroom::model::decoder::{Decoder, Pass};
use weightroom::model::hf;
use weightroom::report::{Distribution, JobId, Monitor, Report, Signal, Sink, Token};
use weightroom::sample::generate::{generate, greedy, next_probabilities};
use weightroom::spec::{GenerateSpec, Message, Sampler};

struct Model {
    decoder: Decoder,
    tokenizer: Tokenizer,
    reference: serde_json::Value,
}

fn stories() -> Option<Model> {
    let dir = common::asset("models/stories260K")?;
    let decoder = hf::load(&dir.join("hf"), DType::F32, &Device::Cpu).unwrap();
    let tokenizer = Tokenizer::load(&dir.join("hf/tokenizer.json")).unwrap();
    let read = |path: &Path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    Some(Model { decoder, tokenizer, reference: read(&dir.join("reference/reference.json")) })
}

impl Model {
    fn ids(&self, key: &str) -> Vec<u32> {
        serde_json::from_value(self.reference[key].clone()).unwrap()
    }
    fn run(&self, spec: &GenerateSpec) -> (weightroom::sample::generate::Generated, Vec<Report>) {
        let heard = Heard::default();
        let out = generate(&self.decoder, &self.tokenizer, spec, &heard).unwrap();
        (out, heard.reports.into_inner().unwrap())
    }
}

/// Keeps reports, and stops after so many tokens.
#[derive(Default)]
struct Heard {
    reports: Mutex<Vec<Report>>,
    stop_after: Option<usize>,
}

impl Monitor for Heard {
    fn report(&self, report: Report) {
        self.reports.lock().unwrap().push(report);
    }
    fn stopped(&self) -> bool {
        let tokens = self.reports.lock().unwrap().iter().filter(|r| matches!(r, Report::Token(t) if !t.from_prompt)).count();
        self.stop_after.is_some_and(|n| tokens >= n)
    }
    fn safepoint(&self) -> Signal {
        Signal::Continue
    }
    fn wait(&self) -> Signal {
        Signal::Continue
    }
    fn child(&self, _: JobId) -> Box<dyn Monitor> {
        Box::new(Heard::default())
    }
    fn attach(&self, _: Box<dyn Sink>) {}
}

fn tokens(reports: &[Report]) -> Vec<&Token> {
    reports.iter().filter_map(|r| if let Report::Token(t) = r { Some(t) } else { None }).collect()
}

fn distribution(reports: &[Report]) -> Option<&Distribution> {
    reports.iter().find_map(|r| if let Report::Distribution(d) = r { Some(d) } else { None })
}

/// The reference without its first token, which is the beginning-of-text that an empty prompt becomes.
fn spec(max_tokens: usize) -> GenerateSpec {
    GenerateSpec { max_tokens, sampler: greedy(), ..GenerateSpec::default() }
}

#[test]
fn greedy_text_equals_the_reference_with_and_without_cache() {
    let Some(model) = stories() else { return };
    let want = model.ids("greedy_from_bos_ids");
    assert!(want.len() > 200);
    let (out, reports) = model.run(&spec(want.len() - 1));
    assert_eq!(out.ids, want[1..]);
    assert_eq!(out.ended, "length");
    assert_eq!(out.text.trim_start(), model.reference["greedy_from_bos_text"].as_str().unwrap());
    assert_eq!(tokens(&reports).len(), want.len() - 1);
    let plain = model.decoder.detached();
    let mut ids = vec![want[0]];
    while ids.len() < want.len() {
        let input = Tensor::new(ids.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let hidden = plain.hidden(&input, &mut Pass::default()).unwrap();
        let last = plain.logits(&hidden.narrow(1, ids.len() - 1, 1).unwrap().contiguous().unwrap()).unwrap();
        let logits = last.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        ids.push((0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32);
    }
    assert_eq!(ids, want);
}

#[test]
fn a_prompt_is_scored_as_the_reference_scores_it() {
    let Some(model) = stories() else { return };
    let prompt = model.reference["prompt"].as_str().unwrap();
    let (out, reports) = model.run(&GenerateSpec { prompt: prompt.into(), alternatives: 5, distribution: true, ..spec(0) });
    let tokens = tokens(&reports);
    assert_eq!(tokens.iter().map(|t| t.id).collect::<Vec<_>>(), model.ids("ids"));
    assert!(tokens.iter().all(|t| t.from_prompt) && out.ids.is_empty());
    let nll: f64 = tokens[1..].iter().map(|t| -f64::from(t.probability).ln()).sum::<f64>() / (tokens.len() - 1) as f64;
    assert!((nll - model.reference["mean_nll_next_token"].as_f64().unwrap()).abs() < 1e-4, "{nll}");
    let top = &distribution(&reports).unwrap().top;
    for (got, want) in top.iter().zip(model.reference["last_logits_top5"].as_array().unwrap()) {
        assert_eq!(u64::from(got.id), want[0].as_u64().unwrap());
        assert!((f64::from(got.logit) - want[1].as_f64().unwrap()).abs() < 1e-3);
    }
    let all = next_probabilities(&model.decoder, &model.tokenizer, prompt).unwrap();
    assert!((all.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    assert!((all[top[0].id as usize] - top[0].probability).abs() < 1e-6);
}

#[test]
fn a_seed_repeats_and_another_differs() {
    let Some(model) = stories() else { return };
    let with = |seed| model.run(&GenerateSpec { sampler: Sampler { seed, temperature: 1.0, ..Sampler::default() }, ..spec(60) }).0.text;
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

#[test]
fn a_text_longer_than_the_context_slides_and_goes_on() {
    let Some(model) = stories() else { return };
    let context = model.decoder.config().context;
    let sampler = Sampler { seed: 3, temperature: 1.0, ..Sampler::default() };
    let (out, reports) = model.run(&GenerateSpec { prompt: "Once upon a time".repeat(context / 4), sampler, ..spec(40) });
    assert!(out.prompt_tokens > context && !out.ids.is_empty());
    assert!(reports.iter().any(|r| matches!(r, Report::Note { text, .. } if text.contains("left out"))));
    let facts = reports.iter().rev().find_map(|r| if let Report::Facts(f) = r { Some(f) } else { None }).unwrap();
    assert!(facts["context_used"].as_u64().unwrap() <= context as u64 && facts["dropped"].as_u64().unwrap() > 0);
}

#[test]
fn stopping_and_stop_texts_end_early() {
    let Some(model) = stories() else { return };
    let heard = Heard { stop_after: Some(7), ..Heard::default() };
    let out = generate(&model.decoder, &model.tokenizer, &spec(200), &heard).unwrap();
    assert_eq!((out.ids.len(), out.ended.as_str()), (7, "stopped"));
    let (out, reports) = model.run(&GenerateSpec { stop: vec!["named Lily".into()], ..spec(200) });
    assert_eq!(out.ended, "stop");
    assert_eq!(out.text.trim_start(), "Once upon a time, there was a little girl ");
    let bytes: Vec<u8> = tokens(&reports).iter().flat_map(|t| t.bytes.clone()).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), out.text);
}

#[test]
fn a_chat_without_turn_tokens_is_rendered_as_lines() {
    let Some(model) = stories() else { return };
    let messages = vec![Message::new("user", "Hello")];
    let (_, reports) = model.run(&GenerateSpec { messages, ..spec(3) });
    assert!(
        matches!(&reports[0], Report::Facts(f) if f["rendering"] == "lines, built in" && f["prompt_text"] == "user: Hello\nassistant:")
    );
}

#[test]
fn a_foreign_tokenizer_and_wrong_settings_are_refused() {
    let Some(model) = stories() else { return };
    let Some(foreign) = common::asset("tokenizers/smollm2/tokenizer.json") else { return };
    let foreign = Tokenizer::load(&foreign).unwrap();
    let error = generate(&model.decoder, &foreign, &GenerateSpec { prompt: "Hello world".into(), ..spec(3) }, &Heard::default());
    assert!(error.unwrap_err().to_string().contains("use the tokenizer that the model was trained with"));
    let sampler = Sampler { temperature: -1.0, ..Sampler::default() };
    let error = generate(&model.decoder, &model.tokenizer, &GenerateSpec { sampler, ..spec(3) }, &Heard::default());
    assert!(error.unwrap_err().to_string().contains("temperature"));
}
