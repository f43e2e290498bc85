//! Requests to a hub: tried again while that can help, redirected by hand so that the key goes to the hub alone, and
//! explained where they fail. Deliberately not here: what the answers mean.

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, Url};

use super::{Broken, Hub};
use crate::engine::jobs::Fault;
use crate::net;
use crate::report::{Level, Monitor, Report};
use crate::repos::{Kind, Repo};
use crate::text::visible;

/// A renamed repository and a content network are two hops.
const HOPS: usize = 8;
/// Of an error's body, so much is looked at.
const EXCERPT: usize = 4096;

pub struct Asker<'a> {
    pub hub: &'a Hub,
    pub repo: &'a Repo,
    pub monitor: &'a dyn Monitor,
    client: Client,
}

impl<'a> Asker<'a> {
    pub fn new(hub: &'a Hub, repo: &'a Repo, monitor: &'a dyn Monitor) -> Result<Self, Fault> {
        let client =
            hub.patience.client(&hub.endpoint).map_err(|why| Fault::new(why, "look at the proxy's and certificates' variables"))?;
        Ok(Self { hub, repo, monitor, client })
    }

    /// An address of the hub, of segments that are escaped here.
    pub fn url(&self, segments: &[&str]) -> Result<Url, Fault> {
        let mut url = self.hub.endpoint.clone();
        match url.path_segments_mut() {
            Ok(mut path) => drop(path.pop_if_empty().extend(segments)),
            Err(()) => return Err(Fault::new(format!("{}: no address of a hub", self.hub.endpoint), "set HF_ENDPOINT to one")),
        }
        Ok(url)
    }

    /// `api/models/org/name/…`.
    pub fn api(&self, rest: &[&str]) -> Result<Url, Fault> {
        let id: Vec<&str> = self.repo.id.split('/').collect();
        self.url(&[&["api", self.repo.kind.plural()], id.as_slice(), rest].concat())
    }

    /// Where a file of a commit is.
    pub fn file(&self, commit: &str, path: &str) -> Result<Url, Fault> {
        let kind: &[&str] = if self.repo.kind == Kind::Dataset { &["datasets"] } else { &[] };
        let (id, path): (Vec<&str>, Vec<&str>) = (self.repo.id.split('/').collect(), path.split('/').collect());
        self.url(&[kind, id.as_slice(), &["resolve", commit], path.as_slice()].concat())
    }

    /// Asks until there is an answer that is no passing fault; with `from`, for what follows that byte. Success, and 416
    /// where `from` was given, are for the caller; all else is explained.
    pub async fn get(&self, url: &Url, from: Option<u64>) -> Result<Response, Broken> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (why, headers) = match self.once(url.clone(), from).await? {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && from.is_some() => return Ok(response),
                Ok(response) if net::is_transient(response.status()) && attempt < self.hub.patience.attempts => {
                    (status_line(response.status()), Some(response.headers().clone()))
                }
                Ok(response) => return Err(self.explain(response).await.into()),
                Err(why) if attempt < self.hub.patience.attempts => (why, None),
                Err(why) => {
                    let host = self.hub.endpoint.as_str().trim_end_matches('/').to_string();
                    return Err(Fault::new(
                        format!("{host}: {why}"),
                        "see that the network is there and HF_ENDPOINT is right, then pull again: it goes on where it stopped",
                    )
                    .into());
                }
            };
            self.wait(attempt, &why, headers.as_ref()).await?;
        }
    }

    /// Waits before the next try, and says so where it takes long.
    pub async fn wait(&self, attempt: u32, why: &str, headers: Option<&HeaderMap>) -> Result<(), Broken> {
        let time = self.hub.patience.wait(attempt, headers);
        if time.as_secs() >= 2 {
            let text = format!("{}: {why}; tried again in {} s", self.repo, time.as_secs());
            self.monitor.report(Report::note(Level::Warning, text));
        }
        net::unless_stopped(self.monitor, tokio::time::sleep(time)).await.ok_or(Broken::Stopped)
    }

    /// One request with its redirects. The key goes along only while the address is the hub's own: host, port and scheme.
    async fn once(&self, mut url: Url, from: Option<u64>) -> Result<Result<Response, String>, Broken> {
        for _ in 0..HOPS {
            // Compressed on the way, neither sizes nor ranges would mean the file's.
            let mut request = self.client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if let Some(token) = self.hub.token.as_ref().filter(|_| url.origin() == self.hub.endpoint.origin()) {
                request = request.bearer_auth(&token.0);
            }
            if let Some(from) = from.filter(|from| *from > 0) {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = match net::unless_stopped(self.monitor, request.send()).await.ok_or(Broken::Stopped)? {
                Ok(response) => response,
                Err(error) => return Ok(Err(net::fault(&error))),
            };
            let Some(next) = Some(&response).filter(|r| r.status().is_redirection()).and_then(|r| r.headers().get(LOCATION)) else {
                return Ok(Ok(response));
            };
            url = match redirected(&url, next) {
                Some(next) => next,
                None => return Ok(Err("it sends to an address that is not to be followed".into())),
            };
        }
        Ok(Err(format!("more than {HOPS} redirects")))
    }

    /// What a refusal means and what to do, in one line each.
    async fn explain(&self, mut response: Response) -> Fault {
        let status = response.status();
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_string);
        let (code, said) = (header("x-error-code").unwrap_or_default(), header("x-error-message"));
        let said = match said {
            Some(said) => said,
            None => error_text(&net::beginning(&mut response, EXCERPT).await),
        };
        let (repo, page) = (self.repo, self.hub.page(self.repo));
        let known = self.hub.token.is_some();
        let log_in = "put a token of yours into HF_TOKEN (or log in with `hf auth login`)";
        let spelling = "check the name";
        let whether = if repo.kind == Kind::Model { "; a dataset is named datasets/org/name" } else { "" };
        match (status.as_u16(), code.as_str()) {
            (401 | 403, "GatedRepo") | (403, "") if !known => Fault::new(
                format!("{repo} is gated: its owner gives it to people who ask"),
                format!("accept its conditions at {page}, then {log_in}"),
            ),
            (401 | 403, "GatedRepo") => Fault::new(
                format!("{repo} is gated, and your token has no access to it"),
                format!("accept its conditions at {page}, and see that the token may read gated repositories"),
            ),
            (401, _) if !known => Fault::new(
                format!("there is no public repository {repo}"),
                format!("{spelling}{whether}; if it is private or gated, {log_in}"),
            ),
            (401, _) => Fault::new(
                format!("the hub does not take the token, or there is no {repo} that it may see"),
                format!("renew HF_TOKEN or the token file, and {spelling}"),
            ),
            (403, _) => {
                Fault::new(format!("{repo}: access is refused{}", quoted(&said)), format!("look at {page} with the account of your token"))
            }
            (404, "RevisionNotFound") => Fault::new(
                format!("{repo}: there is no revision {}", repo.revision()),
                format!("{page}/tree/main lists its branches and tags"),
            ),
            (404, "EntryNotFound") => Fault::new(format!("{repo}: a file of its listing is not there{}", quoted(&said)), "pull again"),
            (404, _) => Fault::new(
                format!("there is no repository {repo} at {}", self.hub.endpoint.as_str().trim_end_matches('/')),
                format!("{spelling}{whether}"),
            ),
            (429, _) => {
                let hint = if known {
                    "wait some minutes and pull again: it goes on where it stopped".to_string()
                } else {
                    format!("wait some minutes, or {log_in}, which allows more")
                };
                Fault::new(format!("{repo}: the hub has had too many requests of this address"), hint)
            }
            _ => Fault::new(
                format!("{repo}: the hub answers {}{}", status_line(status), quoted(&said)),
                "pull again later: it goes on where it stopped",
            ),
        }
    }
}

/// Where a redirect leads; none for what is no web address, and for one that would go on without encryption.
fn redirected(from: &Url, location: &HeaderValue) -> Option<Url> {
    let next = from.join(location.to_str().ok()?).ok()?;
    let safe = next.scheme() == "https" || next.scheme() == "http" && from.scheme() == "http";
    safe.then_some(next)
}

pub fn status_line(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default()).trim_end().to_string()
}

/// The message in an error's body, where it is one.
fn error_text(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    value.get("error").and_then(|e| e.as_str()).unwrap_or_default().to_string()
}

fn quoted(said: &str) -> String {
    let said: String = visible(said.trim(), false).chars().take(200).collect();
    if said.is_empty() { said } else { format!(" ({said})") }
}
