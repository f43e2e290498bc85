//! Floor 6: the command line, a file a subcommand. The only place that prints.
//! Deliberately not here: work; that is the engine's, spoken to through its handle.

mod args;
mod attach;
mod bench;
mod bench_screen;
mod bench_tokenizer;
mod data;
mod doctor;
mod dry_run;
mod engine;
mod eval;
mod export;
mod follow;
mod generate;
mod inspect;
mod labels;
mod out;
#[cfg(feature = "hub")]
mod pull;
mod rank;
mod runs;
mod sample;
mod serve;
mod show;
mod stop;
mod tokenizer;
mod train;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use args::{Args, BenchWhat, Command, Screen};
use out::complain;

use crate::engine::worker::{PanicNotes, on_engine_thread};
use crate::engine::{EngineError, Handle, Settings, device, host, link, socket};
use crate::run::directory;

/// Why a subcommand did not do what it was asked.
#[derive(Debug)]
enum Failure {
    /// It tried: exit code 1.
    Failed(String),
    /// It was asked wrongly: exit code 2.
    Usage(String),
    /// A person stopped it, and what it had was saved: exit code 130.
    Interrupted,
    /// Nobody reads standard output any more: there is nothing to say, and nobody to say it to.
    Pipe,
}

impl Failure {
    fn failed(what: impl std::fmt::Display) -> Self {
        Self::Failed(what.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::Pipe;
        }
        Self::Failed(format!("standard output: {error}; write to another place"))
    }
}

impl From<crate::engine::EngineError> for Failure {
    fn from(error: crate::engine::EngineError) -> Self {
        Self::failed(error)
    }
}

/// Runs the program on the arguments of its process.
pub fn main() -> ExitCode {
    let panics = PanicNotes::default();
    quiet_engine_panics(panics.clone());
    run(std::env::args_os(), panics)
}

/// Runs the program on these arguments, the first of which is its name.
fn run(args: impl IntoIterator<Item = OsString>, panics: PanicNotes) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to standard output; a closed pipe is no fault.
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                let _ = error.print();
            } else {
                complain(&usage_line(&error.to_string()));
            }
            return ExitCode::from(2);
        }
    };
    match dispatch(args, panics) {
        Ok(()) | Err(Failure::Pipe) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => ExitCode::from(130),
        Err(Failure::Failed(what)) => {
            complain(&what);
            ExitCode::from(1)
        }
        Err(Failure::Usage(what)) => {
            complain(&what);
            ExitCode::from(2)
        }
    }
}

/// clap's message in one line: what is wrong and what it proposes; the usage and where help is come last.
fn usage_line(message: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut usage = None;
    for line in message.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("For more information")) {
        match line.strip_prefix("Usage: ") {
            Some(line) => usage = Some(line),
            None => parts.push(line.strip_prefix("error: ").or(line.strip_prefix("tip: ")).unwrap_or(line)),
        }
    }
    let usage = usage.map_or("--help explains".into(), |usage| format!("usage: {usage}; --help explains"));
    format!("{}; {usage}", parts.join("; ").replace(":; ", ": "))
}

fn dispatch(args: Args, panics: PanicNotes) -> Result<(), Failure> {
    let screen = screen(&args)?;
    let place = Place { project: project(&args.project)?, panics };
    let project = &place.project;
    match &args.command {
        None => workbench(&place, screen, None),
        Some(Command::Attach(a)) => attach::run(&place, screen, a),
        Some(Command::Stop(a)) => stop::run(&place, a),
        Some(Command::Train(a)) => train::run(&place, a),
        Some(Command::Generate(a)) => generate::run(&place, a),
        Some(Command::Tokenizer { what }) => tokenizer::run(&place, what),
        Some(Command::Data { what }) => data::run(&place, what),
        #[cfg(feature = "hub")]
        Some(Command::Pull(a)) => pull::run(&place, a),
        Some(Command::Serve(a)) => serve::run(&place, a),
        Some(Command::Eval(a)) => eval::run(&place, a),
        Some(Command::Rank(a)) => rank::run(&place, screen, a),
        Some(Command::Labels { what }) => labels::run(&place, what),
        Some(Command::Runs { json }) => runs::list(project, *json),
        Some(Command::Show(a)) => show::run(&place, a),
        Some(Command::Doctor { json }) => doctor::run(project, *json),
        Some(Command::Sample { what }) => sample::run(&place, what),
        Some(Command::Export(a)) => export::run(&place, a),
        Some(Command::Engine(a)) => engine::run(a, place.settings(true)),
        Some(Command::Bench { what: BenchWhat::Train(a) }) => bench::train(&place, a),
        Some(Command::Bench { what: BenchWhat::Decode(a) }) => bench::decode(&place, a),
        Some(Command::Bench { what: BenchWhat::Tokenizer(a) }) => bench_tokenizer::run(&place.project, a),
        Some(Command::Bench { what: BenchWhat::Screen(a) }) => bench_screen::run(a),
    }
}

/// How the workbench shall show itself. What it is told where no workbench opens would be ignored, and who writes
/// `--readonly` means it.
fn screen(args: &Args) -> Result<Screen, Failure> {
    let screen = match &args.command {
        Some(Command::Attach(attach)) => args.screen.with(&attach.screen),
        Some(Command::Rank(rank)) => args.screen.with(&rank.screen),
        _ => args.screen.clone(),
    };
    if let Some(name) = &screen.theme {
        crate::ui::check_theme(name).map_err(|why| Failure::Usage(format!("--theme {why}")))?;
    }
    match (&args.command, args.screen.given()) {
        (None | Some(Command::Attach(_) | Command::Rank(_)), _) | (_, None) => Ok(screen),
        (_, Some(flag)) => {
            Err(Failure::Usage(format!("{flag} is for the workbench, and this subcommand does not open it; leave {flag} out")))
        }
    }
}

/// A run's name as it was given, perhaps as the path that a shell completes. What can be the name of no run is wrong
/// usage, wherever it is given.
fn run_name<'a>(place: &str, given: &'a str) -> Result<&'a str, Failure> {
    let name = given.trim_start_matches("./");
    let name = name.strip_prefix("runs/").map_or(given, |rest| rest.trim_end_matches('/'));
    directory::check_name(name).map_err(|e| Failure::Usage(format!("{place}: {e}")))?;
    Ok(name)
}

/// What is a device nowhere is wrong usage; one that this build or machine lacks is not.
fn device_name(name: Option<&str>) -> Result<(), Failure> {
    name.map_or(Ok(()), |name| device::parse(name).map(drop).map_err(|e| Failure::Usage(e.to_string())))
}

/// Where a subcommand works.
struct Place {
    project: PathBuf,
    panics: PanicNotes,
}

impl Place {
    fn settings(&self, lower_priority: bool) -> Settings {
        Settings { lower_priority, panics: self.panics.clone(), ..Settings::default() }
    }
    /// An engine for one job of a subcommand: with no screen beside it, it need not give way.
    fn engine(&self) -> Result<Handle, Failure> {
        Ok(Handle::spawn_with(&self.project, self.settings(false))?)
    }
    /// The project's engine where one runs already, so that a model in training answers too; else one of this process.
    /// Whether others use it.
    fn any_engine(&self) -> Result<(Handle, bool), Failure> {
        match Handle::connect(&socket::path_of(&self.project)) {
            Ok(handle) => Ok((handle, true)),
            Err(_) => Ok((self.engine()?, false)),
        }
    }
    /// The project's engine, which goes on when this process goes; where none can be had, one of this process, with
    /// the reason told.
    fn shared_engine(&self) -> Result<Handle, Failure> {
        match host::attach_or_start(&self.project) {
            Ok(handle) => Ok(handle),
            Err(why @ EngineError::Version(_)) => Err(why.into()),
            Err(why) => {
                // Where nothing can be written at all, the job itself says so, and how to mend it.
                if std::fs::create_dir_all(self.project.join(".weightroom")).is_ok() {
                    out::aside(&format!("{why}; until then the job ends with this command"));
                }
                self.engine()
            }
        }
    }
}

/// The project's directory, in full: the working directory may be another one for the engine.
fn project(given: &Path) -> Result<PathBuf, Failure> {
    let there = given.canonicalize();
    match there {
        Ok(path) if path.is_dir() => Ok(path),
        Ok(path) => Err(Failure::Usage(format!("-C {}: is a file; name a directory", path.display()))),
        Err(e) => Err(Failure::Usage(format!("-C {}: {e}; make the directory first, or name another", out::shown(given)))),
    }
}

/// Opens the workbench, on a run where one is named.
fn workbench(place: &Place, screen: Screen, run: Option<String>) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "the workbench needs a terminal on standard input and output; without one use a subcommand: train, generate, \
             tokenizer, data, labels, eval, runs, show, attach, stop, sample, doctor, bench (weightroom --help explains them)"
                .into(),
        ));
    }
    let panics = place.panics.clone();
    let handle = link::open(&place.project, move || Settings { panics: panics.clone(), ..Settings::default() })?;
    let Screen { ascii, readonly, theme } = screen;
    let options = crate::ui::Options { ascii, readonly, theme, run, ..Default::default() };
    crate::ui::run(&place.project, handle, options).map_err(|e| Failure::Failed(format!("{e:#}")))
}

/// A panic on a thread of the engine becomes a failed job; its place goes into the job's log, not over the screen.
fn quiet_engine_panics(panics: PanicNotes) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if on_engine_thread() {
            let trace = std::backtrace::Backtrace::force_capture();
            panics.keep(format!("{info}\n{trace}"));
        } else {
            usual(info);
        }
    }));
}
