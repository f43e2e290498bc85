//! One file into the cache: locked against other programs, continued where it broke off, held against its hash, linked
//! into its snapshot. Deliberately not here: which files, and how many at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs4::FileExt;
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::ask::Asker;
use super::listing::{Entry, Hash};
use super::{Broken, Progress, size};
use crate::engine::jobs::Fault;
use crate::net;
use crate::report::{Level, Report, is_full};
use crate::repos::{Cache, Repo};
use crate::text::visible;

/// Connections that may break within one file although each brought something.
const MOST_BREAKS: u32 = 1000;
/// What lies on the disk already is hashed in pieces, between which the other files go on.
const PIECE: usize = 1 << 20;
const LOCK_EVERY: Duration = Duration::from_millis(200);

/// Where a repository lies in the cache.
pub struct Place {
    pub folder: PathBuf,
    pub snapshot: PathBuf,
    commit: String,
    locks: PathBuf,
}

impl Place {
    pub fn new(cache: &Cache, repo: &Repo, commit: &str) -> Self {
        let folder = cache.dir.join(repo.folder());
        let locks = cache.dir.join(".locks").join(repo.folder());
        Self { snapshot: folder.join("snapshots").join(commit), folder, commit: commit.into(), locks }
    }

    /// Makes its directories.
    pub fn make(&self) -> Result<(), Fault> {
        [&self.folder.join("blobs"), &self.snapshot, &self.locks]
            .into_iter()
            .try_for_each(|dir| fs::create_dir_all(dir).map_err(|e| disk(dir, &e)))
    }

    fn blob(&self, entry: &Entry) -> PathBuf {
        self.folder.join("blobs").join(entry.hash.name())
    }

    fn partial(&self, entry: &Entry) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", entry.hash.name()))
    }

    /// Bytes that are not here yet.
    pub fn missing(&self, entry: &Entry) -> u64 {
        let len = |path: PathBuf| fs::metadata(path).map_or(0, |m| m.len());
        if len(self.blob(entry)) == entry.size { 0 } else { entry.size.saturating_sub(len(self.partial(entry))) }
    }

    /// Lets the branch or tag stand for this commit, now that all is there.
    pub fn settle(&self, repo: &Repo) -> Result<(), Fault> {
        if crate::repos::is_commit(repo.revision()) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(repo.revision());
        let dir = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(dir).map_err(|e| disk(dir, &e))?;
        let beside = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&beside, &self.commit).and_then(|()| fs::rename(&beside, &path)).map_err(|e| disk(&path, &e))
    }
}

/// Fetches one file unless it is there, and links it into the snapshot.
pub async fn fetch(asker: &Asker<'_>, place: &Place, entry: &Entry, index: usize, progress: &Progress<'_>) -> Result<(), Broken> {
    progress.begin(index);
    let blob = place.blob(entry);
    if !is_there(&blob, entry) {
        let _lock = lock(asker, &place.locks.join(format!("{}.lock", entry.hash.name())), entry).await?;
        // Another program may have fetched it meanwhile.
        if !is_there(&blob, entry) {
            Download { asker, place, entry, index, progress }.run().await?;
        }
    }
    link(place, entry).map_err(|e| disk(&place.snapshot.join(&entry.path), &e))?;
    progress.end(index);
    Ok(())
}

fn is_there(blob: &Path, entry: &Entry) -> bool {
    fs::metadata(blob).is_ok_and(|m| m.is_file() && m.len() == entry.size)
}

/// The lock that Python's huggingface_hub takes for the same file.
async fn lock(asker: &Asker<'_>, path: &Path, entry: &Entry) -> Result<File, Broken> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(|e| disk(path, &e))?;
    let mut told = false;
    loop {
        match FileExt::try_lock(&file) {
            Ok(()) => return Ok(file),
            // A file system without locks: two programs at once cost a second download, and the hash finds a mixture.
            Err(fs4::TryLockError::Error(_)) => return Ok(file),
            Err(fs4::TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut told, true) {
                    let text = format!("another program fetches {}; waiting for it", visible(&entry.path, false));
                    asker.monitor.report(Report::note(Level::Info, text));
                }
                net::unless_stopped(asker.monitor, tokio::time::sleep(LOCK_EVERY)).await.ok_or(Broken::Stopped)?;
            }
        }
    }
}

enum Sum {
    Sha256(Sha256),
    Git(Sha1),
}

impl Sum {
    fn of(entry: &Entry) -> Self {
        match entry.hash {
            Hash::Sha256(_) => Self::Sha256(Sha256::new()),
            Hash::Git(_) => Self::Git(Sha1::new().chain_update(format!("blob {}\0", entry.size))),
        }
    }
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(sum) => sum.update(bytes),
            Self::Git(sum) => sum.update(bytes),
        }
    }
    fn hex(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
        match self {
            Self::Sha256(sum) => hex(&sum.finalize()),
            Self::Git(sum) => hex(&sum.finalize()),
        }
    }
}

/// A file on its way.
struct Download<'a> {
    asker: &'a Asker<'a>,
    place: &'a Place,
    entry: &'a Entry,
    index: usize,
    progress: &'a Progress<'a>,
}

impl Download<'_> {
    async fn run(&self) -> Result<(), Broken> {
        let path = self.place.partial(self.entry);
        let failed = |e: &io::Error| disk(&path, e);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(|e| failed(&e))?;
        let mut continued = file.metadata().map_err(|e| failed(&e))?.len() > 0;
        loop {
            let sum = self.bring(&mut file, &path).await?;
            if sum == self.entry.hash.name() {
                break;
            }
            file.set_len(0).map_err(|e| failed(&e))?;
            // What lay there may have been another's: once, it is fetched from its beginning.
            if !std::mem::replace(&mut continued, false) {
                let _ = fs::remove_file(&path);
                let cause = format!(
                    "{}: {} came with another content than the listing says (hash {sum})",
                    self.asker.repo,
                    visible(&self.entry.path, false)
                );
                return Err(Fault::new(cause, "it was not kept; pull again, and if it stays so do not trust this hub").into());
            }
        }
        file.sync_all().map_err(|e| failed(&e))?;
        let blob = self.place.blob(self.entry);
        fs::rename(&path, &blob).map_err(|e| disk(&blob, &e))?;
        Ok(())
    }

    /// Brings the file to its full length, over as many connections as that takes; the hash of what is there then.
    async fn bring(&self, file: &mut File, path: &Path) -> Result<String, Broken> {
        let mut sum = Sum::of(self.entry);
        let mut at = self.take_up(file, &mut sum).await.map_err(|e| disk(path, &e))?;
        let url = self.asker.file(&self.place.commit, &self.entry.path)?;
        let (mut attempt, mut breaks) = (0, 0);
        while at < self.entry.size {
            if self.asker.monitor.stopped() {
                return Err(Broken::Stopped);
            }
            let before = at;
            let mut response = self.asker.get(&url, Some(at)).await?;
            if at > 0 && !continues(&response, at) {
                // A server that knows no ranges begins again, and so do we.
                (at, sum) = (0, Sum::of(self.entry));
                file.set_len(0).and_then(|()| file.rewind()).map_err(|e| disk(path, &e))?;
                if response.status() == StatusCode::RANGE_NOT_SATISFIABLE || response.status() == StatusCode::PARTIAL_CONTENT {
                    continue;
                }
            }
            let why = loop {
                match net::unless_stopped(self.asker.monitor, response.chunk()).await.ok_or(Broken::Stopped)? {
                    Ok(Some(bytes)) => {
                        if at + bytes.len() as u64 > self.entry.size {
                            let cause = format!(
                                "{}: more of {} came than the listing says ({})",
                                self.asker.repo,
                                visible(&self.entry.path, false),
                                size(self.entry.size)
                            );
                            let _ = fs::remove_file(path);
                            return Err(Fault::new(cause, "it was not kept; see that HF_ENDPOINT names a hub that you trust").into());
                        }
                        file.write_all(&bytes).map_err(|e| disk(path, &e))?;
                        sum.update(&bytes);
                        at += bytes.len() as u64;
                        self.progress.came(bytes.len());
                        self.progress.set(self.index, at);
                    }
                    Ok(None) => break "the connection ended early".to_string(),
                    Err(error) => break net::fault(&error),
                }
            };
            if at == self.entry.size {
                break;
            }
            (attempt, breaks) = (if at > before { 1 } else { attempt + 1 }, breaks + 1);
            if attempt >= self.asker.hub.patience.attempts || breaks >= MOST_BREAKS {
                let cause = format!(
                    "{}: {} stops at {} of {}: {why}",
                    self.asker.repo,
                    visible(&self.entry.path, false),
                    size(at),
                    size(self.entry.size)
                );
                return Err(Fault::new(cause, "what came is kept; pull again to go on there").into());
            }
            self.asker.wait(attempt, &why, None).await?;
        }
        Ok(sum.hex())
    }

    /// Hashes what lies there, and stands at its end. More than the file can have is none of it.
    async fn take_up(&self, file: &mut File, sum: &mut Sum) -> io::Result<u64> {
        let mut len = file.metadata()?.len();
        if len > self.entry.size {
            file.set_len(0)?;
            len = 0;
        }
        file.rewind()?;
        let mut buffer = vec![0; PIECE];
        let mut at = 0;
        while at < len {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            sum.update(&buffer[..n]);
            at += n as u64;
            self.progress.set(self.index, at);
            tokio::task::yield_now().await;
        }
        file.seek(SeekFrom::Start(at))?;
        Ok(at)
    }
}

/// Whether an answer is the part from byte `at` on.
fn continues(response: &reqwest::Response, at: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|r| r.to_str().ok()).unwrap_or_default();
    response.status() == StatusCode::PARTIAL_CONTENT && range.trim().starts_with(&format!("bytes {at}-"))
}

/// The name of the file in its snapshot: a link to the blob, relative as Python makes it.
fn link(place: &Place, entry: &Entry) -> io::Result<()> {
    let pointer = place.snapshot.join(&entry.path);
    fs::create_dir_all(pointer.parent().unwrap_or(&place.snapshot))?;
    let up = "../".repeat(entry.path.matches('/').count() + 2);
    let target = PathBuf::from(format!("{up}blobs/{}", entry.hash.name()));
    if fs::read_link(&pointer).is_ok_and(|now| now == target) {
        return Ok(());
    }
    match fs::remove_file(&pointer) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    #[cfg(unix)]
    return std::os::unix::fs::symlink(&target, &pointer);
    #[cfg(not(unix))]
    return fs::copy(place.blob(entry), &pointer).map(drop);
}

fn disk(path: &Path, error: &io::Error) -> Fault {
    let shown = visible(&path.to_string_lossy(), false).into_owned();
    if is_full(error) {
        return Fault::new(format!("{shown}: the disk is full"), "free some space and pull again: it goes on where it stopped");
    }
    Fault::new(format!("{shown}: {error}"), "see that the cache can be written, or set HF_HUB_CACHE to another directory")
}
