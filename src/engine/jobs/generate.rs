//! The `generate` job: continues a prompt or answers in a chat with a model from disk or behind a server.
//! Deliberately not here: a model that is training; the hub sends such a question to the training itself.

use std::path::Path;

use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::engine::{device, models};
use crate::report::{Level, Report, Token};
use crate::sample::generate::generate;
use crate::sample::generator::{AskFault, Piece, Prompt, Request};
use crate::sample::{eliza, endpoint};
use crate::spec::GenerateSpec;

pub const JOB: JobKind =
    JobKind { name: "generate", help: "Continues a prompt, or answers in a chat.", lane: Lane::Model, pausable: false, check, run };

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: GenerateSpec = params(value)?;
    if spec.model.is_empty() {
        return Err("no model is named; name a run, a checkpoint directory or a model directory".into());
    }
    device::known(spec.device.as_deref()).map_err(|e| e.to_string())?;
    if spec.model.starts_with(endpoint::PREFIX) {
        endpoint::Address::parse(&spec.model)?;
    }
    Ok(crate::text::visible(&spec.model, false).into_owned())
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: GenerateSpec = cx.params()?;
    if spec.model == eliza::NAME {
        let (text, tokens) = eliza::generate(&spec, cx.monitor);
        let result = [("text", text.into()), ("tokens", tokens.into()), ("ended", "end".into())].map(|(k, v): (&str, Value)| (k.into(), v));
        return Ok(Done::new(false, format!("{tokens} words")).with(result.into()));
    }
    if spec.model.starts_with(endpoint::PREFIX) {
        return ask_server(cx, spec);
    }
    let device = if cx.beside { device::choose(Some("cpu"))? } else { device::choose(spec.device.as_deref())? };
    let model = cx.models.get(cx.project, &spec.model, &device)?;
    if let Some(newer) = models::passed_over(cx.project, &spec.model, &model.dir) {
        let text = format!("{newer} is damaged or not whole; this is {}", model.dir.file_name().unwrap_or_default().display());
        cx.monitor.report(Report::note(Level::Warning, text));
    }
    let made = generate(&model.decoder, &model.tokenizer, &spec, cx.monitor)?;
    Ok(Done::new(made.ended == "stopped", format!("{} tokens, {:.0} tokens/s", made.ids.len(), made.tokens_per_s)).with(made.result()))
}

/// Asks a model behind a server. Its text comes in pieces, which are not this program's tokens and have no probabilities.
fn ask_server(cx: &Cx, spec: GenerateSpec) -> Result<Done, Fault> {
    let tell = |facts: &[(&str, Value)]| {
        cx.monitor.report(Report::Facts(facts.iter().map(|(k, v)| (k.to_string(), v.clone())).collect()));
    };
    if spec.max_tokens == 0 {
        tell(&[("tokens", json!(0)), ("ended", json!("length"))]);
        return Ok(Done::new(false, "a server does not say the probabilities of the next token"));
    }
    if !(spec.tools.is_empty() && spec.documents.is_empty() && spec.template.is_empty()) {
        let what = "tools, documents and variables of a template are not sent to a server, which renders the chat by itself";
        return Err(Fault::new(what.into(), "leave them out, or ask a model of this machine"));
    }
    let model = cx.models.generator(cx.project, &spec.model, &candle_core::Device::Cpu)?;
    let prompt = if spec.messages.is_empty() { Prompt::Text(spec.prompt) } else { Prompt::Chat(spec.messages) };
    let rendering = if matches!(prompt, Prompt::Chat(_)) { "by the server" } else { "plain" };
    tell(&[("rendering", json!(rendering)), ("probabilities", json!(false))]);
    let request = Request { prompt, max_tokens: spec.max_tokens, sampler: spec.sampler, stop: spec.stop };
    let mut pieces = 0usize;
    let mut hear = |_: usize, piece: Piece| {
        if let Piece::Text(text) = piece {
            pieces += 1;
            cx.monitor.report(Report::Token(Token::of_server(text)));
        }
    };
    let made = model.generate(&[request], cx.monitor, &mut hear).pop().unwrap_or(Err(AskFault::Stopped));
    let made = match made {
        Ok(made) => made,
        Err(AskFault::Stopped) => return Ok(Done::new(true, "stopped before it said anything")),
        Err(fault) => return Err(Fault::new(super::one_line(&fault.to_string()), "")),
    };
    // Servers that say probabilities say how many tokens there are; of others the pieces are the best count.
    let tokens = if made.log_probs.is_empty() { pieces } else { made.log_probs.len() };
    tell(&[
        ("prompt_tokens", json!(made.prompt_tokens)),
        ("tokens", json!(tokens)),
        ("first_token_ms", json!(made.first_token_ms)),
        ("tokens_per_s", json!(made.tokens_per_s)),
        ("ended", json!(made.ended)),
    ]);
    let result = [("text", json!(made.text)), ("tokens", json!(tokens)), ("ended", json!(made.ended))].map(|(k, v)| (k.into(), v)).into();
    Ok(Done::new(made.ended == "stopped", format!("{tokens} tokens, {:.0} tokens/s", made.tokens_per_s)).with(result))
}
