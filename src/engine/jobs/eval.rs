//! The `eval` job: tasks on a model, kept item by item so that a kill costs nothing that was done.
//! Deliberately not here: what tasks ask and how they grade (`eval`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::engine::{device, identity};
use crate::eval::report::{ItemResult, Report as EvalReport, SCHEMA, TaskReport};
use crate::eval::run::{GIVEN, Given, Run};
use crate::eval::store::{self, EvalDir, Items};
use crate::eval::task::{self, Overrides, Prepared};
use crate::eval::{EvalError, render};
use crate::report::{Level, Report};
use crate::sample::generator::Generator;
use crate::spec::EvalSpec;
use crate::text::visible;

pub const JOB: JobKind = JobKind {
    name: "eval",
    help: "Runs tasks on a model: scores with intervals, item by item, resumable.",
    lane: Lane::Main,
    pausable: false,
    check,
    run,
};

/// The fact that names the commands which a task would run, where nobody has allowed them yet.
pub const ASKS: &str = "asks_for_commands";
/// How often the report on disk is written while it goes on.
const WRITE_EVERY: Duration = Duration::from_secs(2);

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: EvalSpec = params(value)?;
    problem(&spec).map_or(Ok(()), Err)?;
    device::known(spec.device.as_deref()).map_err(|e| e.to_string())?;
    let short = |t: &String| visible(t.rsplit('/').next().unwrap_or(t), false).into_owned();
    let first = spec.tasks.first().map(short).unwrap_or_default();
    let more = if spec.tasks.len() > 1 { format!(" and {} more", spec.tasks.len() - 1) } else { String::new() };
    Ok(format!("{} on {first}{more}", visible(&spec.model, false)))
}

/// What is wrong with what is asked, whatever the files hold.
pub fn problem(spec: &EvalSpec) -> Option<String> {
    if spec.model.is_empty() {
        return Some("no model is named; name a run, a model directory, or given for answers that the data brings along".into());
    }
    if spec.tasks.is_empty() {
        return Some("no task is named; name one with --task, for example --task sample-questions".into());
    }
    if spec.limit == Some(0) || spec.samples == Some(0) {
        return Some("a limit and a number of samples are 1 or more".into());
    }
    None
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: EvalSpec = cx.params()?;
    let tasks = load(cx, &spec)?;
    allowed(cx, &spec, &tasks)?;
    let device = if cx.beside { device::choose(Some("cpu"))? } else { device::choose(spec.device.as_deref())? };
    let model: Arc<dyn Generator> =
        if spec.model == GIVEN { Arc::new(Given) } else { cx.models.generator(cx.project, &spec.model, &device)? };
    let known = identity::of(cx.project, &spec.model)?;
    let (out, name) = directory(cx, &spec, &known.hash, &tasks)?;
    let earlier = if spec.fresh { HashMap::new() } else { store::earlier(cx.project, &known.hash, &out.path) };
    let started = Instant::now();
    let mut report = EvalReport {
        schema: SCHEMA,
        program: format!("weightroom {}", env!("CARGO_PKG_VERSION")),
        model: spec.model.clone(),
        model_hash: known.hash,
        device: format!("{:?}", device.location()).to_lowercase(),
        parameters: known.parameters,
        bytes: known.bytes,
        context: model.context(),
        started_ms: now_ms(),
        recipe_hash: known.recipe,
        again: again(&spec, &name),
        tasks: kept_tasks(&out, &tasks),
        ..EvalReport::default()
    };
    let kept_names: Vec<String> = report.tasks.iter().map(|t| t.name.clone()).collect();
    let mut all: Vec<ItemResult> = out.items().into_iter().filter(|i| kept_names.contains(&i.task)).collect();
    out.write_report(&report)?;
    let mut items = out.open_items()?;
    let mut judges: HashMap<String, Arc<dyn Generator>> = HashMap::new();
    for prepared in &tasks {
        for note in &prepared.notes {
            cx.monitor.report(Report::note(Level::Info, format!("{}: {}", visible(&prepared.task.name, false), visible(note, false))));
        }
        let judge = match prepared.task.judge.as_str() {
            "" => None,
            name if name == spec.model => Some(model.clone()),
            name => Some(match judges.get(name) {
                Some(judge) => judge.clone(),
                None => {
                    let judge = cx.models.generator(cx.project, name, &device)?;
                    judges.insert(name.to_owned(), judge.clone());
                    judge
                }
            }),
        };
        let parts = Parts { cx, prepared, model: model.as_ref(), judge: judge.as_deref(), earlier: &earlier, out: &out, name: &name };
        match one(&parts, &mut report, &mut items) {
            Ok(results) => all.extend(results),
            Err(EvalError::Stopped) => {
                report.seconds = started.elapsed().as_secs_f64();
                out.write_report(&report)?;
                return Ok(Done::new(true, format!("stopped; the same command goes on from here ({name})")));
            }
            Err(other) => return Err(other.into()),
        }
    }
    (report.complete, report.finished_ms, report.seconds) = (true, Some(now_ms()), started.elapsed().as_secs_f64());
    finish(cx, &out, &name, &report, &all)
}

/// Writes everything that an evaluation leaves behind.
fn finish(cx: &Cx, out: &EvalDir, name: &str, report: &EvalReport, items: &[ItemResult]) -> Result<Done, Fault> {
    out.write_items(items)?;
    out.replace("report.md", render::markdown(report).as_bytes())?;
    out.replace("junit.xml", render::junit(report, items).as_bytes())?;
    out.write_report(report)?;
    cx.monitor.report(Report::Artifact { kind: "eval".into(), path: out.path.clone(), step: None });
    tell(cx, name, report);
    let summary = report.tasks.iter().map(|t| format!("{} {} {}", t.name, t.metric, render::score(t))).collect::<Vec<_>>().join(" · ");
    let scores: serde_json::Map<String, Value> = report.tasks.iter().map(|t| (t.name.clone(), json!(t.score))).collect();
    let result =
        [("eval".to_string(), json!(name)), ("directory".to_string(), json!(out.path)), ("scores".to_string(), Value::Object(scores))];
    Ok(Done::new(false, visible(&summary, false).into_owned()).with(result.into()))
}

/// What one task needs.
struct Parts<'a> {
    cx: &'a Cx<'a>,
    prepared: &'a Prepared,
    model: &'a dyn Generator,
    judge: Option<&'a dyn Generator>,
    earlier: &'a HashMap<String, ItemResult>,
    out: &'a EvalDir,
    name: &'a str,
}

fn one(parts: &Parts, report: &mut EvalReport, items: &mut Items) -> Result<Vec<ItemResult>, EvalError> {
    let Parts { cx, prepared, .. } = parts;
    let hash = report.model_hash.clone();
    let run = Run {
        prepared,
        model: parts.model,
        model_hash: &hash,
        judge: parts.judge,
        monitor: cx.monitor,
        dir: cx.project,
        earlier: parts.earlier,
    };
    let mut written = Instant::now();
    let mut trouble = None;
    let results = {
        let mut hear = |task: &TaskReport| {
            set(report, task.clone());
            tell(cx, parts.name, report);
            if written.elapsed() >= WRITE_EVERY {
                written = Instant::now();
                trouble = parts.out.write_report(report).err();
            }
        };
        run.run(&mut |item| items.push(item), &mut hear)?.0
    };
    // Results of earlier evaluations are written into this one too, with the rest at the end.
    trouble.map_or(Ok(results), |e| Err(e.into()))
}

fn set(report: &mut EvalReport, task: TaskReport) {
    match report.tasks.iter_mut().find(|t| t.name == task.name) {
        Some(known) => *known = task,
        None => report.tasks.push(task),
    }
}

/// The evaluation as far as it is, for screens.
fn tell(cx: &Cx, name: &str, report: &EvalReport) {
    cx.monitor.report(Report::Facts([("eval".to_string(), json!({"name": name, "report": report}))].into()));
}

/// Reads all tasks before anything is asked; two of one name could not be told apart.
fn load(cx: &Cx, spec: &EvalSpec) -> Result<Vec<Prepared>, Fault> {
    let overrides = Overrides {
        limit: spec.limit,
        shots: spec.shots,
        chat: spec.chat,
        samples: spec.samples,
        seed: spec.seed,
        judge: spec.judge.clone(),
    };
    let mut tasks: Vec<Prepared> = Vec::new();
    for name in &spec.tasks {
        let prepared = task::load(name, cx.project, &overrides)?;
        if tasks.iter().any(|t| t.task.name == prepared.task.name) {
            return Err(Fault::new(
                format!("{}: two tasks have this name", visible(&prepared.task.name, false)),
                "give one of them another name",
            ));
        }
        tasks.push(prepared);
    }
    Ok(tasks)
}

/// A stranger's task must not run a program because somebody looked at its score.
fn allowed(cx: &Cx, spec: &EvalSpec, tasks: &[Prepared]) -> Result<(), Fault> {
    let known = store::allowed(cx.project);
    let mut asked = Vec::new();
    for command in tasks.iter().filter(|t| t.task.kind == "command").map(|t| &t.task.command) {
        let hash = store::command_hash(command, cx.project);
        if known.contains(&hash) {
            continue;
        }
        if spec.allow_commands {
            store::allow(cx.project, &hash, command)?;
        } else {
            asked.push(command.join(" "));
        }
    }
    if asked.is_empty() {
        return Ok(());
    }
    cx.monitor.report(Report::Facts([(ASKS.to_string(), json!(asked))].into()));
    let shown = asked.iter().map(|c| format!("“{}”", visible(c, false))).collect::<Vec<_>>().join(", ");
    Err(Fault::new(format!("a task runs {shown} on this machine, as you"), "--allow-commands allows it, now and from now on"))
}

/// Where it is written: the directory that is named, the one that an evaluation of the same was broken off in, or a new one.
fn directory(cx: &Cx, spec: &EvalSpec, hash: &str, tasks: &[Prepared]) -> Result<(EvalDir, String), Fault> {
    let make = |path: PathBuf| {
        let made = std::fs::create_dir_all(&path);
        made.map_err(|e| {
            Fault::new(
                format!("{}: cannot be made: {e}", visible(&path.to_string_lossy(), false)),
                "choose a directory that can be written",
            )
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((EvalDir::new(path), name))
    };
    if let Some(out) = &spec.out {
        let path = cx.project.join(out);
        if let Ok(there) = EvalDir::new(&path).report()
            && there.model_hash != hash
        {
            let what = format!("{}: holds an evaluation of {}", visible(&path.to_string_lossy(), false), visible(&there.model, false));
            return Err(Fault::new(what, "choose another directory with -o"));
        }
        return make(path);
    }
    let base = crate::run::directory::safe_name(spec.model.rsplit('/').find(|p| !p.is_empty()).unwrap_or("model"));
    let wanted: Vec<&str> = tasks.iter().map(|t| t.task.name.as_str()).collect();
    for n in 1..10_000 {
        let path = cx.project.join(store::EVALS).join(if n == 1 { base.clone() } else { format!("{base}-{n}") });
        let free = match EvalDir::new(&path).report() {
            Err(_) => !path.exists(),
            Ok(there) => !there.complete && there.model_hash == hash && there.tasks.iter().all(|t| wanted.contains(&t.name.as_str())),
        };
        if free {
            return make(path);
        }
    }
    Err(Fault::new(format!("evals/{base}: ten thousand evaluations have this name"), "name a directory with -o"))
}

/// Reports of other tasks that stand in the directory already.
fn kept_tasks(out: &EvalDir, tasks: &[Prepared]) -> Vec<TaskReport> {
    let there = out.report().map(|r| r.tasks).unwrap_or_default();
    there.into_iter().filter(|t| !tasks.iter().any(|p| p.task.name == t.name)).collect()
}

/// The command line that gives the same.
fn again(spec: &EvalSpec, name: &str) -> String {
    let quote = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:#=@,".contains(c);
        if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
    };
    let mut out = format!("weightroom eval {}", quote(&spec.model));
    spec.tasks.iter().for_each(|t| out.push_str(&format!(" --task {}", quote(t))));
    let numbers = [
        ("limit", spec.limit.map(|n| n as u64)),
        ("shots", spec.shots.map(|n| n as u64)),
        ("samples", spec.samples.map(|n| n as u64)),
        ("seed", spec.seed),
    ];
    numbers.iter().filter_map(|(k, v)| Some((k, (*v)?))).for_each(|(k, v)| out.push_str(&format!(" --{k} {v}")));
    if let Some(chat) = spec.chat {
        out.push_str(if chat { " --chat" } else { " --no-chat" });
    }
    if let Some(judge) = &spec.judge {
        out.push_str(&format!(" --judge {}", quote(judge)));
    }
    match &spec.out {
        Some(out_dir) => out.push_str(&format!(" -o {}", quote(&out_dir.to_string_lossy()))),
        None => out.push_str(&format!(" -o {}", quote(&format!("{}/{name}", store::EVALS)))),
    }
    visible(&out, false).into_owned()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
