//! Pulls a repository of a Hugging Face Hub into the cache that Python's huggingface_hub shares: several files at once, each
//! continued where it broke off and held against its hash.
//! Deliberately not here: what the cache looks like to its readers (`repos`), and being a job (`jobs::pull`).

mod ask;
mod choose;
mod fetch;
mod listing;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use reqwest::Url;
use serde_json::json;

use super::jobs::Fault;
use crate::net::{self, Patience};
use crate::report::{Monitor, Report};
use crate::repos::{self, Cache, Repo};
use crate::spec::PullSpec;
use ask::Asker;
pub use choose::problem;
use listing::Entry;

/// Files that are fetched side by side.
const AT_ONCE: usize = 4;
/// How often the whole and the files under way are told of.
const TOLD_EVERY: Duration = Duration::from_millis(250);
/// Bytes that are left free on the disk.
const SPARE: u64 = 64 << 20;

/// A hub, and where what comes from it lies.
pub struct Hub {
    pub endpoint: Url,
    pub token: Option<Token>,
    pub cache: Cache,
    pub offline: bool,
    pub patience: Patience,
}

/// A key to a hub: goes to the hub itself and nowhere else, and is never shown.
#[derive(Clone, PartialEq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Hub {
    /// By the variables that huggingface_hub knows: `HF_ENDPOINT`, `HF_TOKEN` (or the file at `HF_TOKEN_PATH`),
    /// `HF_HUB_CACHE`, `HF_HOME`, `HF_HUB_OFFLINE`.
    pub fn of(var: impl Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let set = |name: &str| var(name).filter(|v| !v.trim().is_empty());
        let given = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let endpoint = Url::parse(given.trim().trim_end_matches('/')).ok().filter(|u| matches!(u.scheme(), "http" | "https"));
        let Some(endpoint) = endpoint else {
            let shown = crate::text::visible(&given, false).into_owned();
            return Err(Fault::new(
                format!("HF_ENDPOINT={shown}: no address of a hub"),
                "write it like https://huggingface.co, or unset it",
            ));
        };
        let yes = |name: &str| set(name).is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true"));
        let file = || {
            let path = set("HF_TOKEN_PATH").map_or_else(|| repos::home(&var).join("token"), |p| repos::expanded(&p, &var));
            std::fs::read_to_string(path).ok()
        };
        let token = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")).or_else(file).map(|t| t.trim().to_string());
        let token =
            token.filter(|t| !t.is_empty() && t.is_ascii() && !t.contains(char::is_whitespace) && !yes("HF_HUB_DISABLE_IMPLICIT_TOKEN"));
        let offline = yes("HF_HUB_OFFLINE") || yes("TRANSFORMERS_OFFLINE");
        Ok(Self { endpoint, token: token.map(Token), cache: Cache::of(var), offline, patience: Patience::default() })
    }

    pub fn from_env() -> Result<Self, Fault> {
        Self::of(|name| std::env::var(name).ok())
    }

    /// The page of a repository, for people.
    fn page(&self, repo: &Repo) -> String {
        let kind = if repo.kind == repos::Kind::Dataset { "datasets/" } else { "" };
        format!("{}/{kind}{}", self.endpoint.as_str().trim_end_matches('/'), repo.id)
    }
}

/// What was pulled.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulled {
    pub repo: Repo,
    pub commit: String,
    /// The snapshot.
    pub dir: PathBuf,
    pub files: usize,
    /// Of all its files, and those that had to be fetched now.
    pub bytes: u64,
    pub fetched: u64,
    pub seconds: f64,
}

/// Why nothing more was pulled.
#[derive(Debug)]
pub enum Broken {
    Stopped,
    Fault(Fault),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The repository that a spec names.
pub fn repo_of(spec: &PullSpec) -> Result<Repo, String> {
    let mut repo = Repo::parse(&spec.repo)?;
    if spec.dataset {
        repo.kind = repos::Kind::Dataset;
    }
    Ok(repo)
}

/// Pulls what `spec` names from `hub`. What is there already is not fetched again; what was begun is continued.
///
/// # Errors
/// A repository that is missing, gated or private, a hub that cannot be reached, a file that does not have its hash, a name
/// that leads out of its directory, a disk without room.
pub fn pull(hub: &Hub, spec: &PullSpec, monitor: &dyn Monitor) -> Result<Pulled, Broken> {
    let repo = repo_of(spec).map_err(|why| Fault::new(why, ""))?;
    if hub.offline {
        return offline(hub, repo);
    }
    let runtime = net::runtime().map_err(|why| Fault::new(why, "end other programs"))?;
    runtime.block_on(run(hub, spec, repo, monitor))
}

/// Without the network, what is there is what there is.
fn offline(hub: &Hub, repo: Repo) -> Result<Pulled, Broken> {
    let Some(dir) = hub.cache.snapshot(&repo) else {
        let why = format!("{repo} is not on this machine, and HF_HUB_OFFLINE is set");
        return Err(Fault::new(why, "unset HF_HUB_OFFLINE where there is a network").into());
    };
    let commit = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Pulled { repo, commit, dir, files: 0, bytes: 0, fetched: 0, seconds: 0.0 })
}

async fn run(hub: &Hub, spec: &PullSpec, repo: Repo, monitor: &dyn Monitor) -> Result<Pulled, Broken> {
    let started = Instant::now();
    let asker = Asker::new(hub, &repo, monitor)?;
    let commit = listing::commit(&asker).await?;
    let all = listing::files(&asker, &commit).await?;
    let mut files = choose::choose(all, &repo, spec)?;
    // Small ones first: what is wrong with a repository shows before gigabytes are on their way.
    files.sort_by_key(|f| f.size > 1 << 20);
    let place = fetch::Place::new(&hub.cache, &repo, &commit);
    room(&place, &files)?;
    place.make()?;
    let progress = Progress::new(monitor, &repo, &files);
    let mut work =
        stream::iter(files.iter().enumerate().map(|(i, file)| fetch::fetch(&asker, &place, file, i, &progress))).buffer_unordered(AT_ONCE);
    while let Some(done) = work.next().await {
        done?;
    }
    drop(work);
    place.settle(&repo)?;
    progress.tell(true);
    let bytes = files.iter().map(|f| f.size).sum();
    Ok(Pulled {
        commit,
        dir: place.snapshot,
        files: files.len(),
        bytes,
        fetched: progress.fetched.get(),
        seconds: started.elapsed().as_secs_f64(),
        repo,
    })
}

/// Fails where the disk has no room for what is missing.
fn room(place: &fetch::Place, files: &[Entry]) -> Result<(), Fault> {
    let missing: u64 = files.iter().map(|f| place.missing(f)).fold(0, u64::saturating_add);
    let there = place.folder.ancestors().find(|dir| dir.is_dir()).unwrap_or(&place.folder);
    let Ok(free) = fs4::available_space(there) else { return Ok(()) };
    if missing == 0 || missing.saturating_add(SPARE) <= free {
        return Ok(());
    }
    let (missing, free) = (size(missing), size(free));
    Err(Fault::new(
        format!("{}: {missing} are to come, and {free} are free", place.folder.display()),
        "free some space, name fewer files with --include, or set HF_HUB_CACHE to a larger disk",
    ))
}

/// Bytes as people say them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// How far the files are. All of it lives on the job's own thread.
struct Progress<'a> {
    monitor: &'a dyn Monitor,
    what: String,
    files: &'a [Entry],
    /// Of each file, the bytes that are there.
    done: RefCell<Vec<u64>>,
    /// Files under way.
    open: RefCell<Vec<usize>>,
    /// Bytes that came over the network.
    fetched: Cell<u64>,
    told: Cell<Option<Instant>>,
}

impl<'a> Progress<'a> {
    fn new(monitor: &'a dyn Monitor, repo: &Repo, files: &'a [Entry]) -> Self {
        let done = RefCell::new(vec![0; files.len()]);
        let progress =
            Self { monitor, what: repo.to_string(), files, done, open: RefCell::default(), fetched: Cell::new(0), told: Cell::new(None) };
        progress.tell(true);
        progress
    }

    fn begin(&self, file: usize) {
        self.open.borrow_mut().push(file);
    }

    fn end(&self, file: usize) {
        self.open.borrow_mut().retain(|f| *f != file);
        self.set(file, self.files[file].size);
    }

    /// `bytes` of the file are there.
    fn set(&self, file: usize, bytes: u64) {
        if let Some(done) = self.done.borrow_mut().get_mut(file) {
            *done = bytes;
        }
        self.tell(false);
    }

    fn came(&self, bytes: usize) {
        self.fetched.set(self.fetched.get() + bytes as u64);
    }

    fn tell(&self, now: bool) {
        if !now && self.told.get().is_some_and(|t| t.elapsed() < TOLD_EVERY) {
            return;
        }
        self.told.set(Some(Instant::now()));
        let done = self.done.borrow();
        let total = self.files.iter().map(|f| f.size).sum();
        self.monitor.report(Report::Progress {
            what: self.what.clone(),
            done: done.iter().sum(),
            total: Some(total),
            unit: "bytes".into(),
        });
        let whole = self.files.iter().zip(done.iter()).filter(|(f, done)| f.size == **done).count();
        let open: Vec<_> = self
            .open
            .borrow()
            .iter()
            .map(|i| json!({"path": self.files[*i].path, "done": done[*i], "total": self.files[*i].size}))
            .collect();
        let facts = [("files", json!(self.files.len())), ("files_done", json!(whole)), ("under_way", json!(open))];
        self.monitor.report(Report::Facts(facts.into_iter().map(|(k, v)| (k.to_string(), v)).collect::<BTreeMap<_, _>>()));
    }
}
