//! `export`: writes a model in a format that other programs open.
//! Deliberately not here: the writing.

use std::time::{Duration, Instant};

use super::args::Export;
use super::follow::follow;
use super::{Failure, Place, out};
use crate::engine::jobs::export_problem;
use crate::report::Report;
use crate::spec::{ExportSpec, JobSpec};

/// Time between two lines of progress.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(place: &Place, args: &Export) -> Result<(), Failure> {
    // A path of the command line is taken from the current directory.
    let out = std::env::current_dir().map_or_else(|_| args.out.clone(), |here| here.join(&args.out));
    let spec = ExportSpec { model: args.model.clone(), format: args.format.clone(), quant: args.quant.clone(), out };
    export_problem(&spec).map_or(Ok(()), |what| Err(Failure::Usage(what)))?;
    let handle = place.engine()?;
    let mut last = Instant::now();
    let end = follow(&handle, JobSpec::new("export", &spec), |event| match &event.report {
        _ if args.json => out::json(event),
        Report::Note { text, .. } => {
            out::aside(text);
            Ok(())
        }
        Report::Progress { done, total: Some(total), unit, .. } if last.elapsed() > PATIENCE => {
            last = Instant::now();
            out::aside(&format!("{done} of {total} {unit}"));
            Ok(())
        }
        _ => Ok(()),
    })?;
    if end.interrupted {
        return Err(Failure::Interrupted);
    }
    if args.json { Ok(()) } else { Ok(out::line(end.summary)?) }
}
