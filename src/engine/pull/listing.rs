//! What a repository holds at a revision: its commit, and its files with their sizes and hashes.
//! Deliberately not here: which of them are wanted (`choose`).

use reqwest::header::{HeaderMap, LINK};
use serde_json::Value;

use super::Broken;
use super::ask::Asker;
use crate::engine::jobs::Fault;
use crate::net;
use crate::repos;
use crate::text::visible;

/// A page of a listing has a thousand entries at most, of some hundred bytes each.
const PAGE_BYTES: usize = 32 << 20;
/// More files than any repository has.
const MOST_FILES: usize = 200_000;

/// A file of a repository.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub path: String,
    pub size: u64,
    pub hash: Hash,
}

/// What a file's content is known by; also its name among the blobs.
#[derive(Clone, Debug, PartialEq)]
pub enum Hash {
    /// Of large files: SHA-256 of the content.
    Sha256(String),
    /// Of all others: SHA-1 of git's header and the content.
    Git(String),
}

impl Hash {
    pub fn name(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Git(hex) => hex,
        }
    }
}

/// The commit that the revision stands for now.
pub async fn commit(asker: &Asker<'_>) -> Result<String, Broken> {
    let (value, _) = page(asker, asker.api(&["revision", asker.repo.revision()])?).await?;
    match value.get("sha").and_then(Value::as_str) {
        Some(sha) if repos::is_commit(sha) => Ok(sha.to_string()),
        _ => Err(strange(asker, "names no commit").into()),
    }
}

/// All files of a commit.
pub async fn files(asker: &Asker<'_>, commit: &str) -> Result<Vec<Entry>, Broken> {
    let mut url = asker.api(&["tree", commit])?;
    url.set_query(Some("recursive=true"));
    let mut out = Vec::new();
    loop {
        let (value, headers) = page(asker, url.clone()).await?;
        let Value::Array(entries) = value else { return Err(strange(asker, "is no list of files").into()) };
        for entry in entries.iter().filter(|e| e.get("type").and_then(Value::as_str) != Some("directory")) {
            out.push(read(asker, entry)?);
        }
        if out.len() > MOST_FILES {
            return Err(strange(asker, "names more files than a repository can have").into());
        }
        match next(&url, &headers) {
            Some(next) if next != url => url = next,
            _ => return Ok(out),
        }
    }
}

/// One page of JSON. A page that breaks off is asked for again.
async fn page(asker: &Asker<'_>, url: reqwest::Url) -> Result<(Value, HeaderMap), Broken> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut response = asker.get(&url, None).await?;
        let headers = response.headers().clone();
        let body = net::unless_stopped(asker.monitor, net::body(&mut response, PAGE_BYTES)).await.ok_or(Broken::Stopped)?;
        match body.and_then(|body| serde_json::from_slice(&body).map_err(|_| "the answer is no JSON".to_string())) {
            Ok(value) => return Ok((value, headers)),
            Err(why) if attempt < asker.hub.patience.attempts => asker.wait(attempt, &why, None).await?,
            Err(why) => return Err(strange(asker, &format!("cannot be read ({why})")).into()),
        }
    }
}

fn read(asker: &Asker, entry: &Value) -> Result<Entry, Fault> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_string);
    let hex = |text: &String, digits: usize| text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let path = text(entry, "path").unwrap_or_default();
    if !repos::is_path(&path) {
        let shown: String = visible(&path, false).chars().take(80).collect();
        return Err(strange(asker, &format!("names {shown:?}, which is no path within it")));
    }
    let lfs = entry.get("lfs").filter(|lfs| lfs.is_object());
    let size = lfs.unwrap_or(entry).get("size").and_then(Value::as_u64);
    let hash = match lfs {
        Some(lfs) => text(lfs, "oid").map(|h| h.trim_start_matches("sha256:").to_string()).filter(|h| hex(h, 64)).map(Hash::Sha256),
        None => text(entry, "oid").filter(|h| hex(h, 40)).map(Hash::Git),
    };
    match (size, hash) {
        (Some(size), Some(hash)) => Ok(Entry { path, size, hash }),
        _ => Err(strange(asker, &format!("does not say the size and the hash of {}", visible(&path, false)))),
    }
}

/// The next page, where there is one and it is the same hub's: the key goes along.
fn next(url: &reqwest::Url, headers: &HeaderMap) -> Option<reqwest::Url> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let target = next.split_once('<')?.1.split_once('>')?.0;
    url.join(target).ok().filter(|next| next.origin() == url.origin())
}

fn strange(asker: &Asker, what: &str) -> Fault {
    Fault::new(format!("{}: the listing {what}", asker.repo), "see that HF_ENDPOINT names a hub that you trust, and pull again")
}
