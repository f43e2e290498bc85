//! `generate`: a prompt in, its continuation out, token by token.
//! Deliberately not here: sampling, and finding the model.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use super::args::Generate;
use super::follow::{follow, follow_shared};
use super::{Failure, Place, out};
use crate::report::{Event, Level, Report};
use crate::sample::stream::Utf8Stream;
use crate::spec::{GenerateSpec, JobSpec, Message, Sampler};

pub fn run(place: &Place, args: &Generate) -> Result<(), Failure> {
    check(args)?;
    let prompt = if args.prompt == "-" { standard_input()? } else { args.prompt.clone() };
    let system = args.system.iter().map(|text| Message::new("system", text));
    let messages = if args.chat { system.chain([Message::new("user", &prompt)]).collect() } else { Vec::new() };
    let spec = GenerateSpec {
        model: model_name(&place.project, &args.model)?,
        prompt: prompt.clone(),
        messages,
        max_tokens: args.max_tokens,
        sampler: sampler(args),
        stop: args.stop.clone(),
        device: args.device.clone(),
        ..GenerateSpec::default()
    };
    let (handle, shared) = place.any_engine()?;
    let spec = JobSpec::new("generate", &spec);
    let mut show = Show { text: Utf8Stream::new(), raw: args.raw, prompt: (!args.raw && !args.chat).then_some(prompt), line_ended: false };
    let each = |event: &Event| if args.json { out::json(event) } else { show.event(event) };
    let end = if shared { follow_shared(&handle, &place.project, false, spec, each)? } else { follow(&handle, spec, each)? };
    if end.interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

fn sampler(args: &Generate) -> Sampler {
    let penalties = &args.penalties;
    Sampler {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        typical_p: args.typical_p,
        repetition_penalty: penalties.repetition_penalty,
        presence_penalty: penalties.presence_penalty,
        frequency_penalty: penalties.frequency_penalty,
        dry_multiplier: penalties.dry_multiplier,
        dry_base: penalties.dry_base,
        dry_allowed_length: penalties.dry_allowed_length,
        logit_bias: penalties.logit_bias.iter().copied().collect(),
        seed: args.seed,
        ..Sampler::default()
    }
}

/// Settings that no model can be asked with.
fn check(args: &Generate) -> Result<(), Failure> {
    let within = |name: &str, value: f32, most: f32| {
        if (0.0..=most).contains(&value) {
            return Ok(());
        }
        Err(Failure::Usage(format!("--{name} {value} is out of range; it is 0 to {most}")))
    };
    within("temperature", args.temperature, 100.0)?;
    within("top-p", args.top_p, 1.0)?;
    within("min-p", args.min_p, 1.0)?;
    within("typical-p", args.typical_p, 1.0)?;
    // The rest says itself what it may be, by the names of a request's keys.
    if let Some(problem) = sampler(args).problem() {
        let (key, rest) = problem.split_once(' ').unwrap_or((&problem, ""));
        return Err(Failure::Usage(format!("--{} {rest}", key.replace('_', "-"))));
    }
    if args.stop.iter().any(String::is_empty) {
        return Err(Failure::Usage("--stop: an empty text would end every text before it begins; name one, or leave it out".into()));
    }
    if args.chat && args.prompt.is_empty() {
        return Err(Failure::Usage("--chat: nothing is asked; give the question by --prompt".into()));
    }
    super::device_name(args.device.as_deref())
}

/// A model's name for the engine, whose relative paths start at the project and not at the current directory.
pub fn model_name(project: &Path, given: &str) -> Result<String, Failure> {
    let cwd = std::env::current_dir().map_err(|e| Failure::Failed(format!("the current directory: {e}; change to another")))?;
    let path = cwd.join(given);
    let is_run = crate::run::directory::RunDir::open(project, given).is_ok();
    Ok(if !is_run && path.exists() && !given.is_empty() { path.to_string_lossy().into_owned() } else { given.into() })
}

/// The largest text that is read from standard input.
const MAX_INPUT: u64 = 16 << 20;

/// All of standard input as text, without a last line feed.
pub fn standard_input() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_INPUT + 1).read_to_end(&mut bytes).map_err(|e| Failure::Failed(format!("standard input: {e}")))?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(Failure::Failed("standard input: more than 16 MB; give less".into()));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Failure::Failed(format!("standard input: byte {at} is not UTF-8; give UTF-8 text"))
    })?;
    Ok(text.strip_suffix('\n').map_or(text.clone(), str::to_string))
}

struct Show {
    text: Utf8Stream,
    raw: bool,
    /// Printed before the first token.
    prompt: Option<String>,
    /// Whether the line feed after the text is out already.
    line_ended: bool,
}

impl Show {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match &event.report {
            Report::Token(token) if !token.from_prompt => {
                self.begin()?;
                out::foreign(&self.text.push(&token.bytes))
            }
            Report::Note { level, text } if *level > Level::Info => {
                out::aside(&format!("warning: {text}"));
                Ok(())
            }
            Report::Finished { .. } => {
                self.begin()?;
                let rest = self.text.finish();
                out::foreign(&rest)?;
                if self.raw || self.line_ended { Ok(()) } else { out::line("") }
            }
            Report::Facts(facts) if !self.raw && io::stdout().is_terminal() => {
                let number = |name: &str| facts.get(name).and_then(serde_json::Value::as_f64);
                if let (Some(tokens), Some(speed)) = (number("tokens"), number("tokens_per_s")) {
                    // The text's own line ends before the figures begin theirs.
                    self.begin()?;
                    out::foreign(&self.text.finish())?;
                    out::line("")?;
                    self.line_ended = true;
                    out::aside(&format!("[{tokens:.0} tokens, {speed:.0} tokens/s]"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.prompt.take().map_or(Ok(()), |prompt| out::foreign(&prompt))
    }
}
