//! The `pull` job: a model or a dataset from the Hugging Face Hub.
//! Deliberately not here: how it is fetched (`engine::pull`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::engine::pull::{self, Broken, Hub};
use crate::report::Report;
use crate::repos::Kind;
use crate::spec::PullSpec;

pub const JOB: JobKind = JobKind {
    name: "pull",
    help: "Fetches a model or a dataset from the Hugging Face Hub into the cache that other programs share.",
    lane: Lane::Light,
    pausable: false,
    check,
    run,
};

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: PullSpec = params(value)?;
    problem(&spec).map_or(Ok(()), Err)?;
    pull::repo_of(&spec).map(|repo| repo.to_string())
}

/// What is wrong with what is asked, whatever the hub holds.
pub fn problem(spec: &PullSpec) -> Option<String> {
    pull::repo_of(spec).err().or_else(|| pull::problem(spec))
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: PullSpec = cx.params()?;
    match pull::pull(&Hub::from_env()?, &spec, cx.monitor) {
        Ok(pulled) => {
            let kind = if pulled.repo.kind == Kind::Model { "model" } else { "dataset" };
            cx.monitor.report(Report::Artifact { kind: kind.into(), path: pulled.dir.clone(), step: None });
            let summary = match (pulled.files, pulled.fetched) {
                (0, _) => format!("{} is on this machine; nothing was asked for, since HF_HUB_OFFLINE is set", pulled.repo),
                (n, 0) => format!("{}: {n} files, {}, all of them here already", pulled.repo, pull::size(pulled.bytes)),
                (n, fetched) => {
                    let speed = pull::size((fetched as f64 / pulled.seconds.max(1e-3)) as u64);
                    let of = if fetched < pulled.bytes { format!(" of {}", pull::size(pulled.bytes)) } else { String::new() };
                    format!("{}: {n} files, {}{of} in {:.1} s, {speed}/s", pulled.repo, pull::size(fetched), pulled.seconds)
                }
            };
            let result = [
                ("repo", json!(pulled.repo.to_string())),
                ("commit", json!(pulled.commit)),
                ("path", json!(pulled.dir)),
                ("files", json!(pulled.files)),
                ("bytes", json!(pulled.bytes)),
                ("fetched", json!(pulled.fetched)),
            ];
            Ok(Done::new(false, summary).with(result.into_iter().map(|(k, v)| (k.to_string(), v)).collect::<BTreeMap<_, _>>()))
        }
        Err(Broken::Stopped) => Ok(Done::new(true, "stopped; what came is kept, and pulling again goes on there")),
        Err(Broken::Fault(fault)) => Err(fault),
    }
}
