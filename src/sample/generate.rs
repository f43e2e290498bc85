//! Generation with a key/value cache: prompt in, reported tokens out.
//! Deliberately not here: loading a model by name and being a job; they are the engine's.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::clock;
use super::sampler::{draw, log_probabilities};
use super::session::{Session, probabilities_after};
use super::stops::Stops;
use super::stream::Utf8Stream;
use crate::data::template::Template;
use crate::data::tokenizer::Tokenizer;
use crate::model::ModelError;
use crate::model::decoder::Decoder;
use crate::penalties::{Past, breakers};
use crate::report::{Candidate, Distribution, Level, Monitor, Report, Token};
use crate::rng::Stream;
use crate::spec::{GenerateSpec, Sampler};

/// Candidates that a reported distribution names; the rest is its histogram.
pub const DISTRIBUTION_TOP: usize = 64;
/// A spec comes from a screen or a file: this many alternatives a token are enough for anybody.
const MOST_ALTERNATIVES: usize = 256;
/// Characters of a rendered prompt that are reported.
const MOST_SHOWN: usize = 64 << 10;

/// What was generated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// Every token drawn, the end-of-text token and what a stop text cut off excepted.
    pub ids: Vec<u32>,
    pub text: String,
    /// `end`, `length`, `stop`, `stopped`.
    pub ended: String,
    pub prompt_tokens: usize,
    /// From the call to the first token drawn, prefill included; 0 where no token was drawn.
    pub first_token_ms: f64,
    /// Of the tokens after the first; 0 where there are none.
    pub tokens_per_s: f64,
}

impl Generated {
    /// What a program wants of it: the text, how many tokens, and why it ended.
    pub fn result(&self) -> BTreeMap<String, serde_json::Value> {
        [("text", json!(self.text)), ("tokens", json!(self.ids.len())), ("ended", json!(self.ended))].map(|(k, v)| (k.into(), v)).into()
    }
}

/// Generates with a key/value cache, reporting each token to `monitor`, until the end-of-text token, a stop text,
/// `max_tokens` or `monitor.stopped()`. A text longer than the context slides its window: the last half of it is
/// run again from position 0.
///
/// Reports, in order: `Facts` (`prompt_tokens`, `context`, `rendering`); with `alternatives`, the prompt's tokens
/// (`from_prompt`; the first has nothing before it: probability 1, no alternatives); the tokens; with
/// `distribution` or `max_tokens` 0, the `Distribution` of the token after the last one; `Facts` again with
/// `tokens`, `context_used`, `first_token_ms`, `tokens_per_s`, `ended`.
///
/// # Errors
/// A prompt token that the model does not know, a sampler setting out of range, logits that are not numbers.
pub fn generate(decoder: &Decoder, tokenizer: &Tokenizer, spec: &GenerateSpec, monitor: &dyn Monitor) -> Result<Generated, ModelError> {
    let started = Instant::now();
    if let Some(problem) = spec.sampler.problem() {
        return Err(ModelError::Config(problem));
    }
    let prompt = Prompt::of(decoder, tokenizer, spec)?;
    let context = decoder.config().context;
    report_start(&prompt, context, monitor);
    let mut session = start_session(decoder, tokenizer, spec, &prompt, monitor)?;
    let mut out = Generated { prompt_tokens: prompt.ids.len(), ended: "length".into(), ..Generated::default() };
    let mut stops = Stops::new(&[spec.stop.as_slice(), &prompt.stops].concat());
    let mut text = Utf8Stream::new();
    let mut stream = Stream::new(spec.sampler.seed, "sample");
    let mut tell = |tokens: Vec<Token>, out: &mut Generated| {
        for token in tokens {
            out.ids.push(token.id);
            out.text.push_str(&text.push(&token.bytes));
            monitor.report(Report::Token(token));
        }
    };
    let mut drawn = 0usize;
    let mut first_at = started;
    // The last token enters the model only when something is asked after it.
    let mut waiting: Option<u32> = None;
    while drawn < spec.max_tokens {
        if monitor.stopped() {
            out.ended = "stopped".into();
            break;
        }
        if let Some(id) = waiting.take() {
            session.push(id)?;
        }
        let seen = session.window();
        let breaks = breakers(&spec.sampler, seen, |id| tokenizer.token_bytes(id));
        let past = Past { seen, said: drawn.min(seen.len()), breakers: &breaks };
        let id = draw(session.logits(), &past, &spec.sampler, &mut stream)?;
        if drawn == 0 {
            first_at = Instant::now();
            out.first_token_ms = (first_at - started).as_secs_f64() * 1e3;
        }
        if prompt.ends.contains(&id) {
            out.ended = "end".into();
            break;
        }
        drawn += 1;
        waiting = Some(id);
        let passed = stops.push(token(session.logits(), id, tokenizer, spec.alternatives, false)?);
        tell(passed.tokens, &mut out);
        if passed.stopped {
            out.ended = "stop".into();
            break;
        }
    }
    let after_first = first_at.elapsed().as_secs_f64();
    if out.ended != "stop" {
        tell(stops.finish(), &mut out);
    }
    out.text.push_str(&text.finish());
    if drawn > 1 && after_first > 0.0 {
        out.tokens_per_s = (drawn - 1) as f64 / after_first;
    }
    if spec.distribution || spec.max_tokens == 0 {
        if let Some(id) = waiting.take() {
            session.push(id)?;
        }
        log_probabilities(session.logits())?; // refuses what is not a number
        monitor.report(Report::Distribution(Distribution::from_logits(session.logits(), DISTRIBUTION_TOP, |id| name(tokenizer, id))));
    }
    report_end(&out, &session, monitor);
    Ok(out)
}

/// The probability of each token of the vocabulary after `prompt`, under the model's own distribution.
pub fn next_probabilities(decoder: &Decoder, tokenizer: &Tokenizer, prompt: &str) -> Result<Vec<f32>, ModelError> {
    let spec = GenerateSpec { prompt: prompt.into(), ..GenerateSpec::default() };
    probabilities_after(decoder, &Prompt::of(decoder, tokenizer, &spec)?.ids)
}

/// What stands before the first generated token, and what ends the text.
struct Prompt {
    ids: Vec<u32>,
    /// Tokens that end the text.
    ends: Vec<u32>,
    /// Stop texts that the rendering brings.
    stops: Vec<String>,
    /// How the prompt was made: `plain`, or the name of a chat template.
    rendering: String,
    /// A chat as the template renders it.
    text: Option<String>,
}

impl Prompt {
    fn of(decoder: &Decoder, tokenizer: &Tokenizer, spec: &GenerateSpec) -> Result<Self, ModelError> {
        let config = decoder.config();
        let mut prompt = Self { ids: Vec::new(), ends: Vec::new(), stops: Vec::new(), rendering: "plain".into(), text: None };
        prompt.ends.extend(config.eos);
        prompt.ends.extend(tokenizer.end_of_text(None));
        let encode = |text: &str| tokenizer.encode(text, true).map_err(|e| ModelError::Config(format!("prompt: {e}")));
        if spec.messages.is_empty() {
            prompt.ids = encode(&spec.prompt)?;
        } else {
            let template = Template::of(tokenizer);
            let rendered = template.prompt(&spec.chat(), tokenizer, clock::now()).map_err(|e| ModelError::Config(e.to_string()))?;
            prompt.ids = rendered.ids;
            prompt.ends.extend(rendered.ends);
            prompt.stops = rendered.stops;
            prompt.rendering = template.name().to_owned();
            prompt.text = Some(rendered.text);
        }
        if prompt.ids.is_empty() {
            // A text begins where the one before it ended; a vocabulary without such a token begins a line.
            let begin = config.bos.or(tokenizer.end_of_text(None)).or(config.eos);
            prompt.ids = begin.map(|id| vec![id]).or_else(|| encode("\n").ok().filter(|ids| !ids.is_empty())).unwrap_or_else(|| vec![0]);
        }
        if let Some(id) = prompt.ids.iter().find(|id| **id as usize >= config.vocab) {
            return Err(ModelError::Config(format!(
                "prompt: the tokenizer gives token {id} ({} ids) and the model knows {}: use the tokenizer that the model was trained with",
                tokenizer.vocab_size(),
                config.vocab
            )));
        }
        Ok(prompt)
    }
}

/// Runs the prompt, reporting its tokens where alternatives are asked for.
fn start_session(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    spec: &GenerateSpec,
    prompt: &Prompt,
    monitor: &dyn Monitor,
) -> Result<Session, ModelError> {
    if spec.alternatives == 0 {
        return Session::start(decoder, &prompt.ids, None);
    }
    let window = &prompt.ids[prompt.ids.len().saturating_sub(decoder.config().context.max(1))..];
    let first =
        Token { id: window[0], bytes: tokenizer.token_bytes(window[0]), probability: 1.0, alternatives: Vec::new(), from_prompt: true };
    let mut tokens = vec![Ok(first)];
    let mut score = |place: usize, logits: Vec<f32>| tokens.push(token(&logits, window[place], tokenizer, spec.alternatives, true));
    let session = Session::start(decoder, &prompt.ids, Some(&mut score))?;
    for token in tokens {
        monitor.report(Report::Token(token?));
    }
    Ok(session)
}

/// A drawn (or given) token with its probability and alternatives under the model's own distribution.
fn token(logits: &[f32], id: u32, tokenizer: &Tokenizer, alternatives: usize, from_prompt: bool) -> Result<Token, ModelError> {
    let log_p = log_probabilities(logits)?;
    let best = if alternatives == 0 {
        Vec::<Candidate>::new()
    } else {
        Distribution::from_logits(logits, alternatives.min(MOST_ALTERNATIVES), |id| name(tokenizer, id)).top
    };
    let probability = log_p.get(id as usize).map_or(0.0, |l| l.exp());
    Ok(Token { id, bytes: tokenizer.token_bytes(id), probability, alternatives: best, from_prompt })
}

/// A token's text for people; bytes that are no whole character show as `�`.
fn name(tokenizer: &Tokenizer, id: u32) -> String {
    String::from_utf8_lossy(&tokenizer.token_bytes(id)).into_owned()
}

fn report_start(prompt: &Prompt, context: usize, monitor: &dyn Monitor) {
    let facts = [("prompt_tokens", json!(prompt.ids.len())), ("context", json!(context)), ("rendering", json!(prompt.rendering))];
    // The text is for people who look at it; nobody reads more than that.
    let text = prompt.text.as_ref().map(|text| ("prompt_text", json!(text.chars().take(MOST_SHOWN).collect::<String>())));
    monitor.report(Report::Facts(facts.into_iter().chain(text).map(|(k, v)| (k.to_string(), v)).collect::<BTreeMap<_, _>>()));
    if prompt.ids.len() > context {
        let text = format!(
            "the prompt has {} tokens and the model sees {context} at once: the first {} are left out",
            prompt.ids.len(),
            prompt.ids.len() - context
        );
        monitor.report(Report::note(Level::Warning, text));
    }
}

fn report_end(out: &Generated, session: &Session, monitor: &dyn Monitor) {
    let facts = [
        ("prompt_tokens", json!(out.prompt_tokens)),
        ("tokens", json!(out.ids.len())),
        ("context_used", json!(session.window().len())),
        ("dropped", json!(session.dropped())),
        ("first_token_ms", json!(out.first_token_ms)),
        ("tokens_per_s", json!(out.tokens_per_s)),
        ("ended", json!(out.ended)),
    ];
    monitor.report(Report::Facts(facts.into_iter().map(|(k, v)| (k.to_string(), v)).collect::<BTreeMap<_, _>>()));
}

/// The sampler that always takes the most probable token.
pub fn greedy() -> Sampler {
    Sampler { temperature: 0.0, ..Sampler::default() }
}
