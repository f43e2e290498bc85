//! `serve`: a model over the OpenAI protocol, until Ctrl-C.
//! Deliberately not here: the protocol (`engine::serve`).

use super::args::Serve;
use super::follow::follow;
use super::generate::model_name;
use super::{Failure, Place, out};
use crate::engine::serve::problem;
use crate::report::{Event, Level, Report};
use crate::spec::{JobSpec, ServeSpec};
use crate::text::visible;

pub fn run(place: &Place, args: &Serve) -> Result<(), Failure> {
    super::device_name(args.device.as_deref())?;
    let key = args.key.clone().or_else(|| std::env::var("WEIGHTROOM_KEY").ok()).filter(|k| !k.is_empty());
    let spec = ServeSpec {
        model: model_name(&place.project, &args.model)?,
        name: args.name.clone().unwrap_or_else(|| args.model.trim_end_matches('/').to_string()),
        host: args.host.clone(),
        port: args.port,
        key,
        device: args.device.clone(),
    };
    problem(&spec).map_or(Ok(()), |why| Err(Failure::Usage(why)))?;
    let handle = place.engine()?;
    let each = |event: &Event| match &event.report {
        _ if args.json => out::json(event),
        Report::Facts(facts) => match (facts.get("url").and_then(|v| v.as_str()), facts.get("model").and_then(|v| v.as_str())) {
            (Some(url), Some(model)) => out::line(format!("{} is served at {url} · Ctrl-C ends", visible(model, false))),
            _ => Ok(()),
        },
        Report::Note { level, text } if *level > Level::Info => {
            out::aside(&format!("warning: {text}"));
            Ok(())
        }
        _ => Ok(()),
    };
    let end = follow(&handle, JobSpec::new("serve", &spec), each)?;
    if !args.json {
        out::line(visible(&end.summary, false))?;
    }
    // Ctrl-C is how a server is ended: it did what it was asked.
    Ok(())
}
