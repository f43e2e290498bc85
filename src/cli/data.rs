//! `data inspect|clean`. Deliberately not here: what is looked for (`data::facts`) and left out (`data::clean`).

use std::io::{self, IsTerminal};
use std::path::Path;

use serde_json::Value;

use super::args::{Data as What, DataFiles};
use super::follow::follow;
use super::{Failure, Place, out};
use crate::data::clean::Cleaned;
use crate::data::facts::{Facts, Found, Place as Row};
use crate::engine::jobs::{clean_problem, inspect_problem};
use crate::report::{Event, Report};
use crate::spec::{CleanSpec, InspectSpec, JobSpec};
use crate::text::visible;

pub fn run(place: &Place, what: &What) -> Result<(), Failure> {
    match what {
        What::Inspect { given, json } => {
            let spec = spec(given)?;
            inspect_problem(&spec).map_or(Ok(()), |what| Err(Failure::Usage(what)))?;
            let (facts, interrupted) = facts_of(place, JobSpec::new("inspect", &spec))?;
            if let Some(facts) = facts {
                if *json { out::json(&facts)? } else { tell(&read(facts)?)? }
            }
            if interrupted { Err(Failure::Interrupted) } else { Ok(()) }
        }
        What::Clean { given, out: file, drop, min, max, normalise, redact, json } => {
            let cwd = std::env::current_dir().map_err(|e| Failure::Failed(format!("the current directory: {e}; change to another")))?;
            let drop = drop.iter().map(|r| r.trim().to_owned()).filter(|r| !r.is_empty() && r != "none").collect();
            let spec =
                CleanSpec { data: spec(given)?, out: cwd.join(file), drop, min: *min, max: *max, normalise: *normalise, redact: *redact };
            clean_problem(&spec).map_or(Ok(()), |what| Err(Failure::Usage(what)))?;
            let (done, interrupted) = facts_of(place, JobSpec::new("clean", &spec))?;
            if let Some(done) = done {
                if *json { out::json(&done)? } else { tell_cleaned(&read(done)?, file)? }
            }
            if interrupted { Err(Failure::Interrupted) } else { Ok(()) }
        }
    }
}

/// Paths are taken from the current directory; the project may be another.
fn spec(given: &DataFiles) -> Result<InspectSpec, Failure> {
    let cwd = std::env::current_dir().map_err(|e| Failure::Failed(format!("the current directory: {e}; change to another")))?;
    let full = |entry: &String| {
        if entry.starts_with("sample:") || entry.starts_with(crate::repos::PREFIX) {
            entry.clone()
        } else {
            cwd.join(entry).to_string_lossy().into_owned()
        }
    };
    let tokenizer = given.tokenizer.as_ref().map(|name| if Path::new(name).exists() { full(name) } else { name.clone() });
    Ok(InspectSpec {
        files: given.files.iter().map(full).collect(),
        shape: given.shape.clone(),
        tokenizer,
        context: given.context,
        against: given.against.iter().map(full).collect(),
    })
}

fn read<T: serde::de::DeserializeOwned>(facts: Value) -> Result<T, Failure> {
    serde_json::from_value(facts).map_err(Failure::failed)
}

/// Runs a job to its end: what it found, and whether a person broke it off.
fn facts_of(place: &Place, spec: JobSpec) -> Result<(Option<Value>, bool), Failure> {
    let handle = place.engine()?;
    let (mut last, mut found) = (0, None);
    let end = follow(&handle, spec, |event| {
        if let Report::Facts(facts) = &event.report {
            found = Some(Value::Object(facts.clone().into_iter().collect()));
        }
        progress(event, &mut last)
    })?;
    Ok((found, end.interrupted))
}

/// A line for each tenth, on a terminal alone.
fn progress(event: &Event, last: &mut u64) -> io::Result<()> {
    if let Report::Progress { what, done, total: Some(total), unit } = &event.report {
        let tenth = done * 10 / total.max(&1);
        if io::stderr().is_terminal() && tenth != *last && *total > 50_000_000 {
            *last = tenth;
            out::aside(&format!("{what}: {} of {} {unit}", out::grouped(*done), out::grouped(*total)));
        }
    }
    Ok(())
}

fn line(name: &str, what: impl std::fmt::Display) -> io::Result<()> {
    out::line(format!("{name:<16}{}", visible(&what.to_string(), false)))
}

fn tell(facts: &Facts) -> io::Result<()> {
    for file in facts.files.iter().take(8) {
        let plural = if file.rows == 1 { "" } else { "s" };
        let remark = if file.remark.is_empty() { String::new() } else { format!(" · {}", file.remark) };
        line("file", format!("{}: {} {}{plural}, {}{remark}", file.name, out::grouped(file.rows), file.unit, file.format))?;
        if let Some(fault) = &file.fault {
            line("", format!("! {fault}"))?;
        }
    }
    if facts.files.len() > 8 {
        line("", format!("and {} more files", facts.files.len() - 8))?;
    }
    if let Some(shape) = &facts.shape {
        let variant = if shape.variant.is_empty() { String::new() } else { format!(" ({})", shape.variant) };
        line("shape", format!("{}{variant}: {}", shape, shape.shape().about))?;
    }
    line("rows", format!("{}, of which {} can be used", out::grouped(facts.rows), out::grouped(facts.good())))?;
    let tokens = facts.tokens.map(|t| format!(", {} tokens", out::grouped(t))).unwrap_or_default();
    line(
        "text",
        format!(
            "{} bytes, {} characters, {} words{tokens}",
            out::grouped(facts.bytes),
            out::grouped(facts.characters),
            out::grouped(facts.words)
        ),
    )?;
    tell_lengths(facts)?;
    for (name, found) in facts.findings() {
        let compared = facts.duplicates.compared || !name.ends_with("duplicates");
        if !compared {
            line(name, "not compared: it was stopped before")?;
        } else if found.rows > 0 || matches!(name, "exact duplicates" | "near duplicates") {
            tell_found(facts, name, found)?;
        }
    }
    if let Some(overlap) = &facts.overlap {
        let of = format!(
            "{} of {} evaluation rows stand in the data, in whole or in part",
            out::grouped(overlap.touched),
            out::grouped(overlap.evaluation_rows)
        );
        line("evaluation", of)?;
    }
    let listed = |all: &[(String, u64)]| all.iter().take(5).map(|(text, n)| format!("{} × {}", out::grouped(*n), text)).collect::<Vec<_>>();
    let letters: u64 = facts.scripts.iter().map(|s| s.1).sum();
    let scripts: Vec<String> =
        facts.scripts.iter().take(6).map(|(name, n)| format!("{name} {:.1} %", *n as f64 * 100.0 / letters.max(1) as f64)).collect();
    line("scripts", scripts.join(", "))?;
    for (name, all) in [("frequent lines", listed(&facts.frequent_lines)), ("frequent words", listed(&facts.frequent_phrases))] {
        for (i, text) in all.iter().enumerate() {
            line(if i == 0 { name } else { "" }, text)?;
        }
    }
    let speed = facts.bytes as f64 / 1e6 / facts.seconds.max(1e-9);
    line("took", format!("{:.1} s, {speed:.0} MB/s{}", facts.seconds, if facts.stopped { "; stopped before the end" } else { "" }))
}

/// Percentiles, and the histogram as bars that read without colour.
fn tell_lengths(facts: &Facts) -> io::Result<()> {
    let lengths = &facts.lengths;
    if lengths.histogram.is_empty() {
        return Ok(());
    }
    let percentiles: Vec<String> = lengths
        .percentiles
        .iter()
        .map(|(p, n)| match *p {
            0.0 => format!("least {}", out::grouped(*n)),
            50.0 => format!("median {}", out::grouped(*n)),
            100.0 => format!("most {}", out::grouped(*n)),
            p => format!("{p} % {}", out::grouped(*n)),
        })
        .collect();
    line("length", format!("in {}: {} · mean {:.1}", lengths.unit, percentiles.join(", "), lengths.mean))?;
    let most = lengths.histogram.iter().map(|h| h.1).max().unwrap_or(1).max(1);
    let first = lengths.histogram.iter().position(|h| h.1 > 0).unwrap_or(0);
    for (from, rows) in &lengths.histogram[first..] {
        let bar = "#".repeat((rows * 50).div_ceil(most) as usize);
        out::line(format!("{:>14}+ {bar} {}", out::grouped(*from), out::grouped(*rows)))?;
    }
    if let Some(context) = lengths.context {
        let share = lengths.cut_rows as f64 * 100.0 / facts.good().max(1) as f64;
        line(
            "context",
            format!(
                "{} rows ({share:.1} %) are longer than {} tokens and lose {} tokens where rows are cut",
                out::grouped(lengths.cut_rows),
                out::grouped(context),
                out::grouped(lengths.cut)
            ),
        )?;
    }
    Ok(())
}

fn tell_found(facts: &Facts, name: &str, found: &Found) -> io::Result<()> {
    let more = if name == "near duplicates" {
        let (groups, threshold) = (facts.duplicates.near_groups, facts.duplicates.threshold);
        format!(" in {} groups, at {threshold} and more of common runs of three words", out::grouped(groups))
    } else {
        String::new()
    };
    out::line(format!("{name}: {}{more}", out::grouped(found.rows)))?;
    found.examples.iter().take(3).try_for_each(|row| tell_row(facts.files.get(row.file).map(|f| f.name.as_str()).unwrap_or_default(), row))
}

fn tell_row(file: &str, row: &Row) -> io::Result<()> {
    let file = file.rsplit('/').next().unwrap_or(file);
    line("", format!("{file} line {} (row {}): {}", row.line, row.row + 1, row.why))
}

fn tell_cleaned(done: &Cleaned, file: &Path) -> io::Result<()> {
    line(
        "written",
        format!(
            "{}: {} of {} rows, {} bytes",
            out::shown(file),
            out::grouped(done.written),
            out::grouped(done.rows),
            out::grouped(done.bytes)
        ),
    )?;
    for (rule, found) in &done.dropped {
        out::line(format!("dropped {}: {rule}", out::grouped(found.rows)))?;
        found.examples.iter().take(3).try_for_each(|row| line("", format!("line {} (row {}): {}", row.line, row.row + 1, row.why)))?;
    }
    if done.normalised > 0 {
        line("put in order", format!("{} rows", out::grouped(done.normalised)))?;
    }
    if done.redacted > 0 {
        line("redacted", format!("{} rows", out::grouped(done.redacted)))?;
    }
    Ok(())
}
