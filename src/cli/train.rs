//! `train`: a recipe, its keys, and a run followed to its end.
//! Deliberately not here: what the keys mean (`recipe`), and the training.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::args::Train;
use super::follow::{detach, follow, follow_shared};
use super::{Failure, Place, out};
use crate::data::sample;
use crate::engine::{catalog, host};
use crate::recipe::{KNOBS, Knob, Recipe};
use crate::report::{Event, JobState, Level, Report, Values};
use crate::run::directory;
use crate::run::read::Validation;
use crate::spec::{JobSpec, TrainSpec};
use crate::text::visible;

pub fn run(place: &Place, args: &Train) -> Result<(), Failure> {
    if args.keys {
        return keys(args.json);
    }
    args.name.as_deref().map_or(Ok(()), |name| directory::check_name(name).map_err(|e| Failure::Usage(format!("--name: {e}"))))?;
    let resume = args.resume.as_deref().map(|name| super::run_name("--resume", name)).transpose()?;
    super::device_name(args.device.as_deref())?;
    let spec = match (&args.recipe, resume) {
        (None, Some(resume)) => TrainSpec { resume: Some(resume.into()), device: args.device.clone(), ..TrainSpec::default() },
        (Some(name), None) if name.is_empty() => {
            return Err(Failure::Usage("train: the recipe's name is empty; name a file, or a built-in recipe".into()));
        }
        (Some(name), None) => {
            let (recipe, base, name) = prepare(&place.project, name, args)?;
            if args.dry_run {
                return super::dry_run::run(&place.project, &recipe, &base, &name, args.device.as_deref(), args.json);
            }
            TrainSpec { recipe: recipe.to_toml(), base, name: Some(name), resume: None, device: args.device.clone() }
        }
        _ => return Err(Failure::Usage("train: name a recipe (weightroom train sample is built in), or --resume RUN".into())),
    };
    let name = spec.name.clone().or(spec.resume.clone()).unwrap_or_default();
    let spec = JobSpec::new("train", &spec);
    if args.detach {
        let handle = host::attach_or_start(&place.project)?;
        let run = detach(&handle, spec, &name)?;
        let told = if args.json { out::json(&json!({"run": run})) } else { out::line(run) };
        return Ok(told?);
    }
    let handle = if args.here { place.engine()? } else { place.shared_engine()? };
    let mut show = (!args.json).then(Show::new);
    let each = |event: &Event| match &mut show {
        Some(show) => show.event(event),
        None => out::json(event),
    };
    let end = if args.here { follow(&handle, spec, each) } else { follow_shared(&handle, &place.project, true, spec, each) };
    if let Some(show) = show {
        show.done();
    }
    let end = end?;
    if end.interrupted {
        out::aside(&format!("interrupted: {}; weightroom train --resume {name} goes on", end.summary));
        return Err(Failure::Interrupted);
    }
    Ok(())
}

/// The recipe with its keys set, where its paths start, and a free name for its run.
fn prepare(project: &Path, given: &str, args: &Train) -> Result<(Recipe, PathBuf, String), Failure> {
    let cwd = std::env::current_dir().map_err(|e| Failure::Failed(format!("the current directory: {e}; change to another")))?;
    let path = cwd.join(given);
    let (text, origin, base, stem) = match sample::recipe(given) {
        Some(text) if !path.exists() => (text.to_string(), given.to_string(), project.to_path_buf(), given.to_string()),
        _ => {
            let text = read(&path, given)?;
            let base = path.parent().unwrap_or(&cwd).to_path_buf();
            let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            (text, given.to_string(), base, stem)
        }
    };
    let knobs = catalog::objective_knobs(&text).map_err(|e| Failure::Failed(format!("{origin}: {e}")))?;
    let mut recipe = Recipe::parse(&text, &origin, knobs).map_err(Failure::failed)?;
    for assignment in &args.set {
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--set {}: write it as key=value", visible(assignment, false))))?;
        recipe.set(key.trim(), value, &cwd, knobs).map_err(|e| Failure::Usage(e.to_string()))?;
    }
    if let Some(problem) = recipe.check().into_iter().next() {
        return Err(Failure::Usage(format!("{origin} with --set: {}: {}", problem.key, problem.message)));
    }
    recipe.absolute(&base);
    let name = args.name.clone().unwrap_or_else(|| free_name(project, &stem));
    Ok((recipe, base, name))
}

/// The recipe's own name, with a number behind it where a run has it already.
fn free_name(project: &Path, stem: &str) -> String {
    let taken = directory::names(project);
    let base = directory::safe_name(stem);
    let mut name = base.clone();
    for n in 2.. {
        if !taken.contains(&name) {
            break;
        }
        name = format!("{base}-{n}");
    }
    name
}

/// The largest recipe that is read.
const MAX_RECIPE: u64 = 1 << 20;

fn read(path: &Path, given: &str) -> Result<String, Failure> {
    let given = visible(given, false);
    let known = || sample::recipes().collect::<Vec<_>>().join(", ");
    let size = std::fs::metadata(path)
        .map_err(|e| Failure::Failed(format!("{given}: {e}; name a recipe file, or a built-in recipe: {}", known())))?;
    if size.is_dir() || size.len() > MAX_RECIPE {
        return Err(Failure::Failed(format!("{given}: this is no recipe; name a TOML file of at most 1 MB")));
    }
    let bytes = std::fs::read(path).map_err(|e| Failure::Failed(format!("{given}: {e}; make it readable")))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Failure::Failed(format!("{given}: byte {at} is not UTF-8; save the recipe as UTF-8 text"))
    })
}

fn keys(json: bool) -> Result<(), Failure> {
    let mut section = "-";
    let catalog = catalog();
    let knobs = || KNOBS.iter().chain(catalog.knobs.iter().filter(|k| !KNOBS.contains(k)));
    if json {
        let default = |k: &Knob| (!k.optional()).then_some(k.default);
        let all: Vec<_> =
            knobs().map(|k| json!({"key": k.name, "range": k.range.to_string(), "default": default(k), "help": k.help})).collect();
        return Ok(out::json(&all)?);
    }
    for knob in knobs() {
        if knob.section() != section {
            section = knob.section();
            out::line(if section.is_empty() { String::new() } else { format!("\n[{section}]") })?;
        }
        let default = if knob.optional() { "absent" } else { knob.default };
        out::line(format!("{} = {default}    ({})\n    {}", knob.key(), knob.range, knob.help))?;
    }
    Ok(())
}

/// Shows a training: a bar on a terminal, plain lines elsewhere.
pub(super) struct Show {
    bar: Option<ProgressBar>,
    steps: Option<u64>,
    last: BTreeMap<String, f64>,
    val: Option<Validation>,
    printed: u64,
    began: Instant,
    first_step: Option<u64>,
}

impl Show {
    pub(super) fn new() -> Self {
        let bar = (io::stdout().is_terminal() && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len}  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { bar, steps: None, last: BTreeMap::new(), val: None, printed: 0, began: Instant::now(), first_step: None }
    }

    pub(super) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: String) -> io::Result<()> {
        let said = match &self.bar {
            Some(bar) => bar.suspend(|| out::line(text)),
            None => out::line(text),
        };
        match said {
            // Whoever read the lines has seen enough (`| head`); the training is what matters, and goes on.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            said => said,
        }
    }

    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        match &event.report {
            Report::Started { title, run: Some(run), .. } => {
                if let Some(bar) = &self.bar {
                    bar.set_prefix(visible(title, false).into_owned());
                }
                self.began = Instant::now();
                self.line(format!("run {}", visible(run, false)))
            }
            Report::Resumed { step } => self.line(format!("going on from step {step}")),
            Report::State { state: JobState::Paused, why } => self.line(format!("paused: {}", visible(why, false))),
            Report::State { state: JobState::Waiting, why } => self.line(format!("waiting: {}", visible(why, false))),
            Report::Progress { what, done, total, unit } => self.progress(what, *done, *total, unit),
            Report::Values(values) => self.values(values),
            Report::Sample { step, prompt, text } => {
                let text = format!("{}{}", visible(prompt, true), visible(text, true));
                self.line(format!("  step {step} writes: {}", text.replace('\n', "\n    ")))
            }
            Report::Note { level: Level::Info, text } => self.line(visible(text, true).into_owned()),
            Report::Note { text, .. } => {
                self.suspend(|| out::aside(&format!("warning: {text}")));
                Ok(())
            }
            Report::Artifact { kind, path, .. } if kind == "checkpoint" => self.line(format!("  saved {}", out::shown(path))),
            Report::Facts(facts) => {
                self.steps = facts.get("steps").and_then(serde_json::Value::as_u64).or(self.steps);
                let number = |name: &str| facts.get(name).and_then(serde_json::Value::as_u64).map(out::grouped);
                match (number("parameters"), number("train_tokens"), number("val_tokens")) {
                    (Some(parameters), Some(train), Some(val)) => {
                        self.line(format!("{parameters} parameters, {train} training tokens, {val} validation tokens"))
                    }
                    _ => Ok(()),
                }
            }
            Report::Finished { summary, .. } => self.line(visible(summary, false).into_owned()),
            _ => Ok(()),
        }
    }

    fn suspend(&self, work: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(work),
            None => work(),
        }
    }

    fn progress(&mut self, what: &str, done: u64, total: Option<u64>, unit: &str) -> io::Result<()> {
        if what == "train" {
            self.steps = total.or(self.steps);
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total.unwrap_or(0));
            bar.set_position(done);
            if what != "train" {
                bar.set_message(format!("{} {}", visible(what, false), visible(unit, false)));
            }
        }
        Ok(())
    }

    fn values(&mut self, values: &Values) -> io::Result<()> {
        self.last.extend(values.values.iter().cloned());
        let first = *self.first_step.get_or_insert(values.step.saturating_sub(1));
        let steps = self.steps.unwrap_or(0);
        let (part, whole) = (values.get("val/loss"), values.get("val/loss_whole"));
        let evaluated = part.is_some() || whole.is_some();
        let validation = |loss| Validation { loss, step: values.step, whole: whole.is_some() };
        self.val = whole.or(part).map(validation).or(self.val);
        let message = self.message(values.step, first, steps);
        if let Some(bar) = &self.bar {
            bar.set_length(steps);
            bar.set_position(values.step);
            bar.set_message(message.clone());
        }
        // Twenty lines tell how it went; a log of every step is what --json is for.
        let due = values.step == 1 || values.step >= self.printed + (steps / 20).max(1) || values.step == steps;
        if evaluated || (self.bar.is_none() && due && values.get("train/loss").is_some()) {
            self.printed = values.step;
            return self.line(format!("step {}/{steps}  {message}", values.step));
        }
        Ok(())
    }

    fn message(&self, step: u64, first: u64, steps: u64) -> String {
        let value = |name: &str| self.last.get(name).copied();
        let mut parts = Vec::new();
        parts.extend(value("train/loss").map(|v| format!("loss {v:.4}")));
        parts.extend(self.val.map(|val| val.to_string()));
        parts.extend(value("lr").map(|v| format!("lr {v:.2e}")));
        parts.extend(value("tokens_per_s").map(|v| format!("{} tok/s", out::grouped(v as u64))));
        let done = step.saturating_sub(first);
        if done > 0 && steps > step {
            let eta = self.began.elapsed().as_secs_f64() / done as f64 * (steps - step) as f64;
            parts.push(format!("eta {}", out::duration(eta)));
        }
        parts.join("  ")
    }
}
