//! `eval`: tasks on a model, and `eval compare`: two of them on the same items.
//! Deliberately not here: what tasks ask, and statistics.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::args::{Eval, EvalWhat};
use super::follow::{follow, follow_shared};
use super::{Failure, Place, out};
use crate::engine::jobs::{EVAL_ASKS, eval_problem};
use crate::eval::compare::compare;
use crate::eval::report::Report as EvalReport;
use crate::eval::scoring::SCORERS;
use crate::eval::store::{EVALS, EvalDir, Whole};
use crate::eval::task::{self, Task};
use crate::eval::tasks::TASKS;
use crate::eval::{render, run::GIVEN};
use crate::report::{Event, Level, Report};
use crate::spec::{EvalSpec, JobSpec};
use crate::text::visible;

pub fn run(place: &Place, args: &Eval) -> Result<(), Failure> {
    if let Some(EvalWhat::Compare { a, b, fail_on_regression, markdown, json }) = &args.what {
        return compared(&place.project, [a, b], *fail_on_regression, *markdown, *json);
    }
    if args.keys {
        return keys(args.json);
    }
    if args.list {
        return list(&place.project, args.json);
    }
    let spec = spec(place, args)?;
    if let Some(what) = eval_problem(&spec) {
        return Err(Failure::Usage(what));
    }
    evaluate(place, args, spec)
}

fn spec(place: &Place, args: &Eval) -> Result<EvalSpec, Failure> {
    super::device_name(args.device.as_deref())?;
    let named = |model: &str| if model == GIVEN { Ok(model.to_owned()) } else { super::generate::model_name(&place.project, model) };
    let cwd = std::env::current_dir().map_err(|e| Failure::Failed(format!("the current directory: {e}; change to another")))?;
    // Files are meant from here, names from the project.
    let task = |name: &String| {
        let here = cwd.join(name);
        if here.is_file() { here.to_string_lossy().into_owned() } else { name.clone() }
    };
    Ok(EvalSpec {
        model: args.model.as_deref().map(named).transpose()?.unwrap_or_default(),
        tasks: args.tasks.iter().map(task).collect(),
        out: args.out.as_ref().map(|dir| cwd.join(dir)),
        limit: args.limit,
        shots: args.shots,
        chat: if args.chat { Some(true) } else { args.no_chat.then_some(false) },
        samples: args.samples,
        seed: args.seed,
        judge: args.judge.as_deref().map(|j| super::generate::model_name(&place.project, j)).transpose()?,
        allow_commands: args.allow_commands,
        fresh: args.fresh,
        device: args.device.clone(),
    })
}

fn evaluate(place: &Place, args: &Eval, mut spec: EvalSpec) -> Result<(), Failure> {
    loop {
        let (handle, shared) = place.any_engine()?;
        let mut show = Show { json: args.json, report: None, asks: Vec::new(), line: 0, terminal: io::stderr().is_terminal() };
        let job = JobSpec::new("eval", &spec);
        let each = |event: &Event| show.event(event);
        let ended = if shared { follow_shared(&handle, &place.project, false, job, each) } else { follow(&handle, job, each) };
        show.clear();
        match ended {
            Ok(end) if end.interrupted => {
                out::aside(&end.summary);
                return Err(Failure::Interrupted);
            }
            Ok(_) => return show.print(),
            // Asked once, before the first run of somebody's task.
            Err(_) if !show.asks.is_empty() && !spec.allow_commands && confirmed(&show.asks)? => spec.allow_commands = true,
            Err(failure) => return Err(failure),
        }
    }
}

/// Asks whether commands may be run; without a terminal the answer is no.
fn confirmed(commands: &[String]) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    for command in commands {
        out::aside(&format!("the task runs this program on this machine, as you: {}", visible(command, false)));
    }
    let mut err = io::stderr().lock();
    write!(err, "run it, now and from now on in this project? [y/N] ").and_then(|()| err.flush())?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

struct Show {
    json: bool,
    report: Option<(String, EvalReport)>,
    asks: Vec<String>,
    /// How many characters the line of progress has.
    line: usize,
    terminal: bool,
}

impl Show {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match &event.report {
            Report::Facts(facts) => {
                if let Some(Value::Array(asks)) = facts.get(EVAL_ASKS) {
                    self.asks = asks.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                }
                if let Some(eval) = facts.get("eval") {
                    let name = eval["name"].as_str().unwrap_or_default().to_owned();
                    self.report = serde_json::from_value(eval["report"].clone()).ok().map(|r| (name, r));
                }
            }
            Report::Progress { what, done, total, .. } if self.terminal => {
                let score = self.report.iter().flat_map(|(_, r)| &r.tasks).find(|t| t.name == *what).map(render::score).unwrap_or_default();
                self.progress(&format!("{}  {done} of {}  {score}", visible(what, false), total.unwrap_or(0)));
            }
            Report::Note { level, text } => {
                self.clear();
                out::aside(&if *level > Level::Info { format!("warning: {text}") } else { text.clone() });
            }
            _ => {}
        }
        Ok(())
    }

    fn progress(&mut self, text: &str) {
        let text: String = text.chars().take(78).collect();
        let length = text.chars().count();
        let pad = self.line.saturating_sub(length);
        let _ = write!(io::stderr().lock(), "\r{text}{}", " ".repeat(pad));
        self.line = length;
    }

    fn clear(&mut self) {
        if self.line > 0 {
            let _ = write!(io::stderr().lock(), "\r{}\r", " ".repeat(self.line));
            self.line = 0;
        }
    }

    fn print(&self) -> Result<(), Failure> {
        let Some((name, report)) = &self.report else { return Ok(()) };
        if self.json {
            return Ok(out::json(report)?);
        }
        out::foreign(&render::lines(report))?;
        out::aside(&format!("{EVALS}/{}: report.json, items.jsonl, report.md, junit.xml", visible(name, false)));
        Ok(())
    }
}

/// An evaluation by its directory, or by its name.
fn whole(project: &Path, name: &str) -> Result<Whole, Failure> {
    let own = project.join(EVALS).join(name);
    let path = if Path::new(name).join("report.json").is_file() || !own.is_dir() { Path::new(name).to_owned() } else { own };
    EvalDir::new(path).whole().map_err(Failure::failed)
}

fn compared(project: &Path, names: [&String; 2], fail: bool, markdown: bool, json: bool) -> Result<(), Failure> {
    let found = compare(&whole(project, names[0])?, &whole(project, names[1])?);
    if json {
        out::json(&found)?;
    } else if markdown {
        out::foreign(&render::comparison_markdown(&found))?;
    } else {
        out::foreign(&render::comparison_lines(&found))?;
    }
    if found.tasks.is_empty() {
        return Err(Failure::Failed("nothing could be compared; run the same tasks on both models".into()));
    }
    if fail && found.regressed() {
        let worse: Vec<&str> = found.tasks.iter().filter(|t| t.worse).map(|t| t.task.as_str()).collect();
        return Err(Failure::Failed(format!("{} is worse than {} beyond chance in {}", found.b, found.a, worse.join(", "))));
    }
    Ok(())
}

fn list(project: &Path, as_json: bool) -> Result<(), Failure> {
    let tasks = task::listed(project);
    if as_json {
        return Ok(out::json(&tasks.iter().map(|(name, about)| json!({"name": name, "about": about})).collect::<Vec<_>>())?);
    }
    let width = tasks.iter().map(|(n, _)| n.chars().count()).max().unwrap_or(0);
    for (name, about) in &tasks {
        out::line(format!("{:width$}  {}", visible(name, false), visible(about, false)))?;
    }
    Ok(())
}

fn keys(as_json: bool) -> Result<(), Failure> {
    let usual = serde_json::to_value(Task::default()).unwrap_or_default();
    let keys = usual.as_object().into_iter().flatten();
    if as_json {
        let named = |name: &str, help: &str| json!({"name": name, "help": help});
        let kinds: Vec<Value> = TASKS.iter().map(|k| named(k.name, k.help)).collect();
        let scores: Vec<Value> = SCORERS.iter().map(|s| named(s.name, s.help)).collect();
        return Ok(out::json(&json!({"keys": usual, "kinds": kinds, "scores": scores}))?);
    }
    out::line("Keys of a task with their defaults (texts are Jinja over a row's fields, or a field's name):")?;
    for (key, value) in keys {
        out::line(format!("  {key:20} {value}"))?;
    }
    out::line("\nKinds:")?;
    for kind in TASKS {
        out::line(format!("  {:12} {}", kind.name, kind.help))?;
        for measure in kind.measures {
            let arrow = if measure.higher_is_better { '↑' } else { '↓' };
            out::line(format!("  {:12}   {} {arrow}  {}", "", measure.name, measure.help))?;
        }
    }
    out::line("\nRules that score a text (score = …):")?;
    for scorer in SCORERS {
        out::line(format!("  {:12} {}", scorer.name, scorer.help))?;
    }
    Ok(())
}
