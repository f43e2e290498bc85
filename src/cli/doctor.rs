//! `doctor`: what this machine is, on one page that can be pasted into a bug report.
//! Deliberately not here: repairs.

use std::io::IsTerminal;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Failure, out};
use crate::engine::{Estimator, device};
use crate::run::directory;
use crate::text::visible;

pub fn run(project: &Path, json: bool) -> Result<(), Failure> {
    let facts = facts(project);
    if json {
        return Ok(out::json(&facts)?);
    }
    for (name, value) in &facts {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        };
        out::line(format!("{name:<20} {}", visible(&text, false)))?;
    }
    Ok(())
}

fn facts(project: &Path) -> Map<String, Value> {
    let (brand, cores, memory) = machine();
    let megabytes = |bytes: u64| bytes / 1_000_000;
    let speed = Estimator::default().flops_per_s().map(|f| (f / 1e9).round());
    let builds: Vec<&str> =
        [("cpu", true), ("cuda", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))].iter().filter(|b| b.1).map(|b| b.0).collect();
    let device = device::describe();
    let mut facts = Map::new();
    let mut fact = |name: &str, value: Value| drop(facts.insert(name.into(), value));
    fact("version", env!("CARGO_PKG_VERSION").into());
    fact(
        "system",
        format!("{} {} {}", std::env::consts::OS, std::env::consts::ARCH, sysinfo::System::kernel_version().unwrap_or_default()).into(),
    );
    fact("cpu", brand.into());
    fact("cores", cores.into());
    fact("threads", device::threads().into());
    fact("cpu_features", json!(cpu_features()));
    fact("matrix_gflops", speed.map_or_else(Value::from, |s| json!(s as u64)));
    fact("memory_mb", megabytes(memory.0).into());
    fact("memory_free_mb", megabytes(memory.1).into());
    for (name, value) in device {
        fact(name, value);
    }
    fact("built_for", json!(builds));
    fact("terminal", std::env::var("TERM").unwrap_or_else(|_| "none".into()).into());
    fact("terminal_size", terminal_size().map_or("none".into(), |(w, h)| format!("{w}x{h}").into()));
    fact("colour", colour().into());
    fact(
        "multiplexer",
        if std::env::var_os("TMUX").is_some() {
            "tmux"
        } else if std::env::var_os("STY").is_some() {
            "screen"
        } else {
            "none"
        }
        .into(),
    );
    fact("ssh", std::env::var_os("SSH_CONNECTION").is_some().into());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
    fact("locale", locale.unwrap_or_else(|| "none".into()).into());
    fact("project", out::shown(project).into());
    fact("writable", tempfile::tempfile_in(project).is_ok().into());
    fact("runs", directory::names(project).len().into());
    fact(
        "engine",
        if std::os::unix::net::UnixStream::connect(crate::engine::socket::path_of(project)).is_ok() { "runs here" } else { "none" }.into(),
    );
    facts
}

/// The processor's name, its logical cores, and memory in bytes: all, and free for programs.
fn machine() -> (String, usize, (u64, u64)) {
    let unknown = || ("unknown".to_string(), device::threads(), (0, 0));
    let Ok(mut system) = sysinfo::System::new() else { return unknown() };
    system.refresh_memory();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    let brand = system.cpus().first().map(|c| c.brand().trim().to_string()).filter(|b| !b.is_empty());
    (brand.unwrap_or_else(|| "unknown".into()), system.cpus().len(), (system.total_memory(), system.available_memory()))
}

/// What the kernels can make use of.
fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let found = [
            ("sse4.2", is_x86_feature_detected!("sse4.2")),
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
        ];
        found.iter().filter(|f| f.1).map(|f| f.0).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

fn terminal_size() -> Option<(u16, u16)> {
    // SAFETY: the structure is plain numbers, for which zeros are valid, and it outlives the call.
    let (done, size) = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        (libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size), size)
    };
    (done == 0 && size.ws_col > 0).then_some((size.ws_col, size.ws_row))
}

fn colour() -> &'static str {
    use termprofile::{DetectorSettings, TermProfile};
    if std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) {
        return "none (NO_COLOR)";
    }
    if !std::io::stdout().is_terminal() {
        return "none (no terminal)";
    }
    match TermProfile::detect(&std::io::stdout(), DetectorSettings::default()) {
        TermProfile::TrueColor => "16 million",
        TermProfile::Ansi256 => "256",
        TermProfile::Ansi16 => "16",
        TermProfile::NoColor | TermProfile::NoTty => "none",
    }
}
