//! `labels draw|import|export|merge|stats|judge|list`: all that is done with labels without a screen.
//! Deliberately not here: forms, figures, and models.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::follow::{follow, follow_shared};
use super::{Failure, Place, out};
use crate::data::DataError;
use crate::data::labels::export::{self, Ai, Who};
use crate::data::labels::stats::{self, words};
use crate::data::labels::store::{self, SetDir};
use crate::data::labels::{Source, check_name, forms, import, merge};
use crate::report::{Event, JobState, Level, Report};
use crate::spec::{DrawSpec, JobSpec, JudgeSpec, Message, Sampler};
use crate::text::visible;

#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Let models answer prompts: the responses become items to rank, also while somebody ranks.
    Draw(Draw),
    /// Take items and labels of other programs into a set: TRL, LLaMA-Factory, Argilla, hh-rlhf, UltraFeedback, Arena, candidates.
    Import {
        set: String,
        /// Files of rows; what they are is seen by their look.
        #[arg(required = true)]
        files: Vec<String>,
        /// Whose labels they are.
        #[arg(long = "as", value_name = "NAME", default_value = "imported")]
        name: String,
        /// They are the labels of a judging model, and are kept apart from people's.
        #[arg(long)]
        ai: bool,
        /// Take the prompts and responses alone, to be ranked here.
        #[arg(long, conflicts_with = "ai")]
        items_only: bool,
        #[arg(long)]
        json: bool,
    },
    /// Write labels in the form of another program: all pairs across tiers, no ties, split by prompt.
    Export(Export),
    /// Take over the label files of others who ranked copies of this set.
    Merge {
        set: String,
        /// Files named NAME.labels.jsonl.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Whose labels they are, where the file's name does not say it.
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Say how fast, how consistent and how biased people are, where they disagree, and which model wins.
    Stats {
        set: String,
        #[arg(long)]
        json: bool,
    },
    /// Let a model rank a set by rubric.md, in both orders; what it is not sure of is asked of people.
    Judge {
        set: String,
        /// A run, a directory, or openai:URL#MODEL.
        #[arg(long, value_name = "M")]
        model: String,
        /// The name that its labels are kept under.
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
        /// Items at most.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// The longest reply.
        #[arg(long, value_name = "N", default_value_t = 512)]
        max_tokens: usize,
        #[arg(long)]
        device: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// List the sets of this project.
    List {
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Draw {
    /// A new set, or one that gets more items.
    set: String,
    /// Files of questions, instructions or conversations (directories, globs, sample:NAME); may be given several times.
    #[arg(long, value_name = "FILE")]
    prompts: Vec<String>,
    /// A prompt; may be given several times.
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// A run, a directory, or openai:URL#MODEL; several take turns.
    #[arg(long, value_name = "M", required = true)]
    model: Vec<String>,
    /// Responses to each prompt, 2 to 9.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 4)]
    responses: usize,
    /// Prompts of the files at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Several take turns.
    #[arg(long, value_name = "T", default_value = "0.9")]
    temperature: Vec<f32>,
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Go on with the prompt's text instead of answering it as a chat.
    #[arg(long)]
    raw: bool,
    /// cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
    /// Print the job's events, one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Of several annotators, the adjudicated order is taken, else the mean of their ranks. Judging models' labels are left out unless \
                        --ai says otherwise. With --val, FILE.val.jsonl gets that share of the prompts."
)]
pub struct Export {
    set: String,
    /// trl, trl-unpaired, llamafactory, llamafactory-kto, argilla, hh, ultrafeedback or arena.
    #[arg(long, value_name = "F")]
    format: String,
    /// The file to write: JSON lines.
    #[arg(short, value_name = "FILE")]
    out: PathBuf,
    /// These annotators alone; may be given several times.
    #[arg(long = "of", value_name = "NAME")]
    of: Vec<String>,
    /// Judging models' labels: no, also, or only.
    #[arg(long, value_name = "WHICH", default_value = "no", value_parser = ["no", "also", "only"])]
    ai: String,
    /// This share of the prompts goes into a file for validation.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    val: f64,
    /// Which prompts these are.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Overwrite FILE.
    #[arg(long)]
    force: bool,
    #[arg(long)]
    json: bool,
}

pub fn run(place: &Place, what: &What) -> Result<(), Failure> {
    let project = &place.project;
    match what {
        What::Draw(args) => draw(place, args),
        What::Import { set, files, name, ai, items_only, json } => {
            let source = if *ai { Source::Ai } else { Source::Human };
            take_in(project, set, files, (!items_only).then_some((name.as_str(), source)), *json)
        }
        What::Export(args) => write_out(project, args),
        What::Merge { set, files, name, json } => merged(project, set, files, name.as_deref(), *json),
        What::Stats { set, json } => {
            let summary = stats::summarise(&open(project, set)?).map_err(Failure::failed)?;
            if *json {
                return Ok(out::json(&summary)?);
            }
            for (i, (head, line)) in words::page(&summary).into_iter().enumerate() {
                let blank = if head && i > 0 { "\n" } else { "" };
                out::line(format!("{blank}{}{}", if head { "" } else { "  " }, visible(&line, false)))?;
            }
            Ok(())
        }
        What::Judge { set, model, name, limit, max_tokens, device, json } => {
            open(project, set)?;
            super::device_name(device.as_deref())?;
            if let Some(name) = name {
                check_name("annotator", name).map_err(|why| Failure::Usage(format!("--as: {why}")))?;
            }
            let spec = JudgeSpec {
                set: set.clone(),
                model: super::generate::model_name(project, model)?,
                name: name.clone().unwrap_or_default(),
                limit: limit.unwrap_or(JudgeSpec::default().limit),
                max_tokens: *max_tokens,
                device: device.clone(),
            };
            job(place, JobSpec::new(spec.kind(), &spec), *json)
        }
        What::List { json } => list(project, *json),
    }
}

/// A name that cannot be one is wrong usage; a set that is not there is a failure.
fn named(project: &Path, set: &str) -> Result<SetDir, Failure> {
    SetDir::new(project, set).map_err(|e| Failure::Usage(e.to_string()))
}

fn open(project: &Path, set: &str) -> Result<SetDir, Failure> {
    named(project, set)?;
    SetDir::open(project, set).map_err(Failure::failed)
}

/// Paths are taken from the current directory; the project may be another.
fn full(entries: &[String]) -> Result<Vec<String>, Failure> {
    let cwd = std::env::current_dir().map_err(|e| Failure::Failed(format!("the current directory: {e}; change to another")))?;
    let one = |e: &String| if e.starts_with("sample:") { e.clone() } else { cwd.join(e).to_string_lossy().into_owned() };
    Ok(entries.iter().map(one).collect())
}

fn draw(place: &Place, args: &Draw) -> Result<(), Failure> {
    named(&place.project, &args.set)?;
    super::device_name(args.device.as_deref())?;
    let sampler = |t: &f32| Sampler { temperature: *t, top_p: args.top_p, ..Sampler::default() };
    let user = |text: &String| vec![Message { role: "user".into(), content: text.clone() }];
    let models = args.model.iter().map(|m| super::generate::model_name(&place.project, m)).collect::<Result<Vec<_>, _>>()?;
    let spec = DrawSpec {
        set: args.set.clone(),
        files: full(&args.prompts)?,
        prompts: args.prompt.iter().map(user).collect(),
        models,
        responses: args.responses,
        limit: args.limit,
        samplers: args.temperature.iter().map(sampler).collect(),
        max_tokens: args.max_tokens,
        raw: args.raw.then_some(true),
        seed: args.seed,
        device: args.device.clone(),
    };
    if let Some(problem) = spec.problem().or_else(|| spec.samplers.iter().find_map(Sampler::problem)) {
        return Err(Failure::Usage(problem));
    }
    job(place, JobSpec::new(spec.kind(), &spec), args.json)
}

/// Runs a job where the project's models are, and says how far it is.
fn job(place: &Place, spec: JobSpec, json: bool) -> Result<(), Failure> {
    let (handle, shared) = place.any_engine()?;
    let mut last = 0;
    let each = |event: &Event| if json { out::json(event) } else { progress(event, &mut last) };
    let end = if shared { follow_shared(&handle, &place.project, false, spec, each)? } else { follow(&handle, spec, each)? };
    if !json {
        out::line(visible(&end.summary, false))?;
    }
    if end.interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

fn progress(event: &Event, last: &mut u64) -> io::Result<()> {
    match &event.report {
        Report::Progress { what, done, total: Some(total), unit } => {
            let tenth = done * 10 / total.max(&1);
            if io::stderr().is_terminal() && tenth != *last {
                *last = tenth;
                out::aside(&format!("{what}: {} of {} {unit}", out::grouped(*done), out::grouped(*total)));
            }
        }
        Report::State { state: JobState::Waiting, why } => out::aside(&format!("waits: {why}")),
        Report::Note { level, text } if *level > Level::Info => out::aside(&format!("warning: {text}")),
        _ => {}
    }
    Ok(())
}

fn take_in(project: &Path, set: &str, files: &[String], annotator: Option<(&str, Source)>, json: bool) -> Result<(), Failure> {
    let dir = named(project, set)?;
    if let Some((name, _)) = &annotator {
        check_name("annotator", name).map_err(|why| Failure::Usage(format!("--as: {why}")))?;
    }
    let imported = import::read(&full(files)?, project).map_err(Failure::failed)?;
    let name = annotator.as_ref().map(|(n, _)| (*n).to_owned());
    let put = merge::put(&dir, &imported, annotator).map_err(Failure::failed)?;
    if json {
        return Ok(out::json(
            &json!({"set": set, "rows": imported.rows, "what": imported.what, "items": put.items, "items_there": put.items_there,
            "labels": put.labels, "labels_there": put.labels_there, "left_out": imported.left_out}),
        )?);
    }
    out::line(format!("{} rows: {}", out::grouped(imported.rows), imported.what))?;
    out::line(format!("items   {} new, {} there already", out::grouped(put.items as u64), out::grouped(put.items_there as u64)))?;
    if let Some(name) = name.filter(|_| !imported.labels.is_empty()) {
        out::line(format!(
            "labels  {} new of {name}, {} there already",
            out::grouped(put.labels as u64),
            out::grouped(put.labels_there as u64)
        ))?;
    }
    tell(&put.told, &imported.left_out)
}

fn tell(told: &[String], left_out: &std::collections::BTreeMap<String, u64>) -> Result<(), Failure> {
    told.iter().for_each(|t| out::aside(&format!("! {t}")));
    for (why, count) in left_out {
        out::line(format!("left out {}: {}", out::grouped(*count), visible(why, false)))?;
    }
    Ok(())
}

fn merged(project: &Path, set: &str, files: &[PathBuf], name: Option<&str>, json: bool) -> Result<(), Failure> {
    let dir = named(project, set)?;
    let mut all = Vec::new();
    for file in files {
        let (who, put) = merge::merge(&dir, file, name).map_err(Failure::failed)?;
        put.told.iter().for_each(|t| out::aside(&format!("! {t}")));
        if !json {
            out::line(format!("{who}  {} labels new, {} there already; {} items new", put.labels, put.labels_there, put.items))?;
        }
        all.push(json!({"annotator": who, "labels": put.labels, "labels_there": put.labels_there, "items": put.items}));
    }
    if json { Ok(out::json(&all)?) } else { Ok(()) }
}

fn write_out(project: &Path, args: &Export) -> Result<(), Failure> {
    let set = open(project, &args.set)?;
    let form = forms::named(&args.format).map_err(|why| Failure::Usage(format!("--format: {why}")))?;
    if !(0.0..1.0).contains(&args.val) {
        return Err(Failure::Usage(format!("--val {} is no share; it is 0 to less than 1", args.val)));
    }
    let ai = match args.ai.as_str() {
        "also" => Ai::Also,
        "only" => Ai::Only,
        _ => Ai::No,
    };
    let mut taken = export::take(&set, &Who { names: args.of.clone(), ai }).map_err(Failure::failed)?;
    let (mut train, mut val) = (Vec::new(), Vec::new());
    for judged in &taken.judged {
        match (form.rows)(judged) {
            Ok(rows) if rows.is_empty() => *taken.left_out.entry("all of its responses are as good as each other".into()).or_default() += 1,
            Ok(rows) if export::validates(judged, args.val, args.seed) => val.extend(rows),
            Ok(rows) => train.extend(rows),
            Err(why) => *taken.left_out.entry(why).or_default() += 1,
        }
    }
    let mut files = vec![(args.out.clone(), train)];
    if args.val > 0.0 {
        files.push((args.out.with_extension("val.jsonl"), val));
    }
    if let Some((path, _)) = files.iter().find(|(path, _)| path.exists() && !args.force) {
        return Err(Failure::Failed(format!("{}: is there already; choose another name, or overwrite it with --force", out::shown(path))));
    }
    let mut told = Vec::new();
    for (path, rows) in &files {
        write_rows(path, rows).map_err(|e| Failure::failed(DataError::io(path, &e)))?;
        let mut one = json!({"file": path, "rows": rows.len()});
        if let Some(entry) = form.entry {
            one["dataset_info"] = list_beside(path, &set.name, entry)?.into();
        }
        told.push(one);
    }
    if args.json {
        return Ok(out::json(
            &json!({"files": told, "items": taken.judged.len(), "human_labels": taken.human, "ai_labels": taken.ai, "merged": taken.merged,
            "edited": taken.edited, "left_out": taken.left_out}),
        )?);
    }
    for (path, rows) in &files {
        out::line(format!("{}: {} rows ({})", out::shown(path), out::grouped(rows.len() as u64), form.about))?;
    }
    let whose = if taken.ai == 0 { String::new() } else { format!(", of which {} are a judging model's", taken.ai) };
    out::line(format!("from {} items and {} labels{whose}", taken.judged.len(), taken.human + taken.ai))?;
    if taken.merged > 0 {
        out::line(format!("{} items have several annotators: their ranks were averaged", taken.merged))?;
    }
    if taken.edited > 0 {
        out::line(format!("{} items have a response that a person wrote, above all others", taken.edited))?;
    }
    tell(&taken.told, &taken.left_out)
}

/// Written beside and renamed, so that a file is whole or not there.
fn write_rows(path: &Path, rows: &[Value]) -> io::Result<()> {
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    let mut writer = io::BufWriter::new(file.as_file_mut());
    for row in rows {
        serde_json::to_writer(&mut writer, row)?;
        writer.write_all(b"\n")?;
    }
    writer.flush()?;
    drop(writer);
    file.as_file().sync_all()?;
    let written = file.persist(path).map_err(|e| e.error)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A temporary file is for nobody else; what was asked for is a file like any other.
        written.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    let _ = written;
    Ok(())
}

/// Adds a file's entry to the `dataset_info.json` beside it; the name of the data set.
fn list_beside(path: &Path, set: &str, entry: fn(&str) -> Value) -> Result<String, Failure> {
    let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let list = path.with_file_name("dataset_info.json");
    let mut all: Value = match fs::read_to_string(&list) {
        Ok(text) => {
            serde_json::from_str(&text).map_err(|e| Failure::Failed(format!("{}: {e}; mend it or move it away", out::shown(&list))))?
        }
        Err(_) => json!({}),
    };
    let Some(map) = all.as_object_mut() else {
        return Err(Failure::Failed(format!("{}: is no object of data sets; mend it or move it away", out::shown(&list))));
    };
    let name = if file.ends_with(".val.jsonl") { format!("{set}_val") } else { set.to_owned() };
    map.insert(name.clone(), entry(&file));
    let text = serde_json::to_string_pretty(&all).map_err(Failure::failed)?;
    fs::write(&list, text + "\n").map_err(|e| Failure::failed(DataError::io(&list, &e)))?;
    Ok(name)
}

fn list(project: &Path, json: bool) -> Result<(), Failure> {
    let mut all = Vec::new();
    for name in store::list(project) {
        let set = SetDir::open(project, &name).map_err(Failure::failed)?;
        let (items, _) = set.items().map_err(Failure::failed)?;
        let mut people = Vec::new();
        for who in set.annotators() {
            let (lines, _) = set.lines(&who).map_err(Failure::failed)?;
            people.push(json!({"name": who, "labels": store::standing(&lines).len(), "ai": lines.iter().any(|l| l.is_ai())}));
        }
        if !json {
            let who: Vec<String> = people.iter().map(|p| format!("{} {}", p["name"].as_str().unwrap_or_default(), p["labels"])).collect();
            out::line(format!("{name:<24} {:>7} items  {}", items.len(), who.join(" · ")))?;
        }
        all.push(json!({"set": name, "items": items.len(), "annotators": people}));
    }
    if json {
        return Ok(out::json(&all)?);
    }
    if all.is_empty() {
        out::line("no sets here; weightroom labels draw or weightroom labels import makes one")?;
    }
    Ok(())
}
