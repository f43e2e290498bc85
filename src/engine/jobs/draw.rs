//! The `draw` job: lets models answer prompts, several responses to each, into a set that people rank meanwhile.
//! Deliberately not here: where prompts are found (`data::labels::candidates`) and what is done with responses.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::data::labels::store::SetDir;
use crate::data::labels::{Item, Response, SCHEMA, candidates, check_name, prompt_id};
use crate::data::template::Template;
use crate::engine::device;
use crate::report::{Level, Report};
use crate::rng::Stream;

use crate::sample::generator::{AskFault, Completion, Generator, Prompt, Request};
use crate::spec::{DrawSpec, Message, Sampler};

/// With weights of this machine: waits for the device.
pub const JOB: JobKind =
    JobKind { name: "draw", help: "Lets models answer prompts, for people to rank.", lane: Lane::Main, pausable: false, check, run };
/// With servers alone: waits for nobody.
pub const REMOTE: JobKind = JobKind { name: "draw-remote", lane: Lane::Light, ..JOB };

/// Prompts whose responses are drawn together: enough for a batch, few enough that the first are soon there.
const TOGETHER: usize = 4;
/// How often a response that equals another one is drawn again.
const AGAIN: usize = 4;

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: DrawSpec = params(value)?;
    check_name("set", &spec.set)?;
    spec.problem().map_or(Ok(()), Err)?;
    if let Some(problem) = spec.samplers.iter().find_map(Sampler::problem) {
        return Err(problem);
    }
    device::known(spec.device.as_deref()).map_err(|e| e.to_string())?;
    Ok(format!("candidates of {}", spec.set))
}

/// What came of it.
#[derive(Default)]
struct Count {
    items: u64,
    there: u64,
    /// Prompts that some model could not answer (longer than its context, mostly), with the first reason.
    refused: u64,
    why: String,
    /// Prompts to which all responses were the same however often they were drawn.
    equal: u64,
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: DrawSpec = cx.params()?;
    let set = SetDir::new(cx.project, &spec.set)?;
    let (mut prompts, without) = match spec.files.is_empty() {
        true => (Vec::new(), 0),
        false => candidates::prompts(&spec.files, cx.project, spec.limit)?,
    };
    prompts.splice(0..0, spec.prompts.iter().cloned());
    if prompts.is_empty() {
        let hint = "name files of questions, instructions or conversations";
        return Err(Fault::new(format!("{}: no row has a prompt", spec.files.join(" ")), hint));
    }
    if without > 0 {
        cx.monitor.report(Report::note(Level::Warning, format!("{without} rows have no prompt and are left out")));
    }
    let device = if cx.beside { device::choose(Some("cpu"))? } else { device::choose(spec.device.as_deref())? };
    // All are opened before anything is drawn: a wrong name should not be found at the end.
    let models = spec.models.iter().map(|m| cx.models.generator(cx.project, m, &device)).collect::<Result<Vec<_>, _>>()?;
    let known: std::collections::BTreeSet<String> = set.items()?.0.into_iter().map(|i| i.id).collect();
    let mut count = Count::default();
    let total = prompts.len() as u64;
    let mut done = 0;
    let tell = |done| cx.monitor.report(Report::Progress { what: "candidates".into(), done, total: Some(total), unit: "prompts".into() });
    tell(0);
    for some in prompts.chunks(TOGETHER) {
        let new: Vec<&Vec<Message>> = some.iter().filter(|p| !known.contains(&prompt_id(p))).collect();
        count.there += (some.len() - new.len()) as u64;
        let items = draw(&new, &spec, &models, cx, &mut count)?;
        if cx.monitor.stopped() {
            break;
        }
        count.items += set.add(&items)?.0 as u64;
        done += some.len() as u64;
        tell(done);
    }
    Ok(ended(cx, &spec, &count))
}

fn ended(cx: &Cx, spec: &DrawSpec, count: &Count) -> Done {
    let stopped = cx.monitor.stopped();
    let mut parts = vec![format!("{} items for {}", count.items, spec.set)];
    parts.extend((count.there > 0).then(|| format!("{} prompts were there already", count.there)));
    parts.extend((count.equal > 0).then(|| format!("{} prompts got equal responses only, and are left out", count.equal)));
    parts.extend((count.refused > 0).then(|| format!("{} prompts could not be answered ({})", count.refused, count.why)));
    parts.extend(stopped.then(|| "stopped; what is drawn stays".to_string()));
    let result =
        json!({"set": spec.set, "items": count.items, "already_there": count.there, "equal": count.equal, "refused": count.refused});
    let result = result.as_object().cloned().unwrap_or_default().into_iter().collect();
    Done::new(stopped, parts.join("; ")).with(result)
}

/// One response that is to be drawn: of which prompt, as its how-many-th, by which model and sampler.
struct Slot {
    prompt: usize,
    model: usize,
    sampler: Sampler,
    drawn: Option<Completion>,
}

fn draw(prompts: &[&Vec<Message>], spec: &DrawSpec, models: &[Arc<dyn Generator>], cx: &Cx, count: &mut Count) -> Result<Vec<Item>, Fault> {
    let usual = [Sampler { temperature: 0.9, ..Sampler::default() }];
    let samplers = if spec.samplers.is_empty() { &usual[..] } else { &spec.samplers };
    let mut slots: Vec<Slot> = Vec::new();
    for prompt in 0..prompts.len() {
        for k in 0..spec.responses {
            let sampler = samplers[k / models.len() % samplers.len()].clone();
            slots.push(Slot { prompt, model: k % models.len(), sampler, drawn: None });
        }
    }
    let mut refused = vec![None; prompts.len()];
    for round in 0..=AGAIN {
        for (i, slot) in slots.iter_mut().enumerate() {
            let name = format!("draw/{}/{}/{round}", prompt_id(prompts[slot.prompt]), i % spec.responses);
            // 53 bits, so that every reader of JSON keeps it whole.
            slot.sampler.seed = if slot.drawn.is_none() { Stream::new(spec.seed, &name).next_u64() >> 11 } else { slot.sampler.seed };
        }
        for (at, model) in models.iter().enumerate() {
            fill(&mut slots, at, model.as_ref(), prompts, spec, cx, &mut refused)?;
            if cx.monitor.stopped() {
                return Ok(Vec::new());
            }
        }
        if !forget_equal(&mut slots) {
            break;
        }
    }
    let mut items = Vec::new();
    for (at, prompt) in prompts.iter().enumerate() {
        let mut responses: Vec<Response> = Vec::new();
        for slot in slots.iter().filter(|s| s.prompt == at) {
            if let Some(drawn) = &slot.drawn {
                responses.push(response(responses.len() + 1, slot, drawn, models[slot.model].name()));
            }
        }
        match (responses.len(), &refused[at]) {
            (2.., _) => {
                let item = Item { schema: SCHEMA, id: prompt_id(prompt), prompt: (*prompt).clone(), responses, ..Item::default() };
                items.push(item);
            }
            (_, Some(why)) => {
                count.refused += 1;
                if count.why.is_empty() {
                    count.why.clone_from(why);
                }
            }
            _ => count.equal += 1,
        }
    }
    Ok(items)
}

/// Draws the responses of one model that are missing.
fn fill(
    slots: &mut [Slot],
    at: usize,
    model: &dyn Generator,
    prompts: &[&Vec<Message>],
    spec: &DrawSpec,
    cx: &Cx,
    refused: &mut [Option<String>],
) -> Result<(), Fault> {
    let open: Vec<usize> =
        (0..slots.len()).filter(|i| slots[*i].model == at && slots[*i].drawn.is_none() && refused[slots[*i].prompt].is_none()).collect();
    if open.is_empty() {
        return Ok(());
    }
    let requests: Vec<Request> = open
        .iter()
        .map(|i| Request {
            prompt: asked(prompts[slots[*i].prompt], model, spec.raw),
            max_tokens: spec.max_tokens,
            sampler: slots[*i].sampler.clone(),
            stop: Vec::new(),
        })
        .collect();
    let made = model.generate(&requests, cx.monitor, &mut |_, _| {});
    for (i, made) in open.into_iter().zip(made) {
        match made {
            Ok(made) => slots[i].drawn = Some(made),
            Err(AskFault::Refused(why)) => refused[slots[i].prompt] = Some(format!("{}: {why}", model.name())),
            Err(AskFault::Broken(why)) => {
                return Err(Fault::new(
                    super::one_line(&format!("{}: {why}", model.name())),
                    "what was drawn before is kept; start it again to go on",
                ));
            }
            Err(AskFault::Stopped) => return Ok(()),
        }
    }
    Ok(())
}

/// A prompt as the model is asked: one that was never taught turns goes on with the text.
fn asked(prompt: &[Message], model: &dyn Generator, raw: Option<bool>) -> Prompt {
    let taught = || model.tokenizer().is_none_or(Template::taught);
    match prompt {
        [one] if raw.unwrap_or_else(|| !taught()) => Prompt::Text(one.content.clone()),
        all => Prompt::Chat(all.to_vec()),
    }
}

/// Takes responses back that are empty or equal one before of the same prompt; whether there was one.
fn forget_equal(slots: &mut [Slot]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    let mut any = false;
    for slot in slots {
        let Some(drawn) = &slot.drawn else { continue };
        let text = drawn.text.trim().to_owned();
        if text.is_empty() || !seen.insert((slot.prompt, text)) {
            slot.drawn = None;
            any = true;
        }
    }
    any
}

fn response(number: usize, slot: &Slot, drawn: &Completion, model: &str) -> Response {
    let more = [("ended".to_string(), drawn.ended.clone().into())].into_iter().collect();
    Response {
        id: format!("r{number}"),
        content: drawn.text.clone(),
        model: Some(model.into()),
        sampler: serde_json::to_value(&slot.sampler).ok(),
        seed: Some(slot.sampler.seed),
        ids: drawn.ids.clone(),
        more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_and_empty_responses_are_taken_back() {
        let slot = |prompt, text: &str| Slot {
            prompt,
            model: 0,
            sampler: Sampler::default(),
            drawn: Some(Completion { text: text.into(), ..Completion::default() }),
        };
        let mut slots = [slot(0, "a"), slot(0, " a "), slot(1, "a"), slot(1, "  "), slot(1, "b")];
        assert!(forget_equal(&mut slots));
        assert_eq!(slots.iter().map(|s| s.drawn.is_some()).collect::<Vec<_>>(), [true, false, true, false, true]);
        assert!(!forget_equal(&mut slots));
    }
}
