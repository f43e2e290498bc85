//! `pull`: a model or a dataset from the Hugging Face Hub, with a bar for the whole and one for each file under way.
//! Deliberately not here: fetching (`engine::pull`).

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::args::Pull;
use super::follow::follow;
use super::{Failure, Place, out};
use crate::engine::jobs::pull_problem;
use crate::report::{Event, Level, Report};
use crate::spec::{JobSpec, PullSpec};
use crate::text::visible;

pub fn run(place: &Place, args: &Pull) -> Result<(), Failure> {
    let spec = PullSpec { repo: args.repo.clone(), dataset: args.dataset, include: args.include.clone(), exclude: args.exclude.clone() };
    pull_problem(&spec).map_or(Ok(()), |why| Err(Failure::Usage(why)))?;
    let handle = place.engine()?;
    let mut show = (!args.json).then(Show::new);
    let end = follow(&handle, JobSpec::new("pull", &spec), |event| match &mut show {
        Some(show) => show.event(event),
        None => out::json(event),
    });
    if let Some(show) = &show {
        show.clear();
    }
    let end = end?;
    if end.interrupted {
        out::aside(&end.summary);
        return Err(Failure::Interrupted);
    }
    if let Some(show) = show {
        out::line(visible(&end.summary, false))?;
        show.path.map_or(Ok(()), |path| out::line(visible(&path, false)))?;
    }
    Ok(())
}

/// Bars on a terminal; nothing where nobody looks.
struct Show {
    bars: MultiProgress,
    whole: ProgressBar,
    files: BTreeMap<String, ProgressBar>,
    path: Option<String>,
}

impl Show {
    fn new() -> Self {
        let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let whole = bars.add(bar("{bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}  {wide_msg}"));
        whole.enable_steady_tick(Duration::from_millis(250));
        Self { bars, whole, files: BTreeMap::new(), path: None }
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        match &event.report {
            Report::Progress { done, total: Some(total), .. } => {
                self.whole.set_length(*total);
                self.whole.set_position(*done);
            }
            Report::Facts(facts) => {
                let number = |name: &str| facts.get(name).and_then(Value::as_u64).unwrap_or(0);
                self.whole.set_message(format!("{} of {} files", number("files_done"), number("files")));
                self.under_way(facts.get("under_way").and_then(Value::as_array).map_or(&[], Vec::as_slice));
            }
            Report::Note { level, text } => {
                let mark = if *level > Level::Info { "warning: " } else { "" };
                self.bars.suspend(|| out::aside(&format!("{mark}{text}")));
            }
            Report::Artifact { path, .. } => self.path = Some(path.to_string_lossy().into_owned()),
            _ => {}
        }
        Ok(())
    }

    fn under_way(&mut self, files: &[Value]) {
        let named = |file: &Value| file.get("path").and_then(Value::as_str).unwrap_or_default().to_string();
        let open: Vec<String> = files.iter().map(named).collect();
        self.files.retain(|path, bar| {
            let stays = open.contains(path);
            if !stays {
                bar.finish_and_clear();
            }
            stays
        });
        for file in files {
            let path = named(file);
            let number = |key: &str| file.get(key).and_then(Value::as_u64).unwrap_or(0);
            let bars = &self.bars;
            let bar = self.files.entry(path).or_insert_with_key(|path| {
                bars.add(bar("{bar:24} {bytes}/{total_bytes}  {wide_msg}")).with_message(visible(path, false).into_owned())
            });
            bar.set_length(number("total"));
            bar.set_position(number("done"));
        }
    }

    fn clear(&self) {
        self.files.values().for_each(ProgressBar::finish_and_clear);
        self.whole.finish_and_clear();
    }
}

fn bar(template: &str) -> ProgressBar {
    // A template of the program's own; where it does not fit, the usual one does.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("#>-"))
}
