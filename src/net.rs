//! What every client of an HTTP server needs here: patience with limits, bodies with limits, faults in one line.
//! Deliberately not here: what is asked of whom (`engine::pull`, `sample::endpoint`).

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};

use crate::report::Monitor;

/// How the program names itself to servers.
const USER_AGENT: &str = concat!("weightroom/", env!("CARGO_PKG_VERSION"));
/// How often a wait looks whether its job was stopped.
const TICK: Duration = Duration::from_millis(50);
/// The longest that is waited before a request is tried again, whatever a server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How long a server is waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// Tries of one request, the first one counted.
    pub attempts: u32,
    /// Before the second try; doubled before each further one.
    pub first_wait: Duration,
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { attempts: 6, first_wait: seconds(1), connect: seconds(10), silence: seconds(60) }
    }
}

impl Patience {
    /// The wait before try `attempt` (from 1 on) is repeated: what the server asks for, or twice the one before, within
    /// reason. Part of it is drawn by the clock, so that many clients do not come back at the same moment.
    pub fn wait(&self, attempt: u32, headers: Option<&HeaderMap>) -> Duration {
        let asked = headers.and_then(|h| h.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs));
        let own = self.first_wait.saturating_mul(1 << attempt.saturating_sub(1).min(8));
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
        let spread = own.mul_f64(f64::from(nanos % 1000) / 4000.0);
        asked.unwrap_or(own + spread).min(LONGEST_WAIT)
    }

    /// A client that follows no redirect by itself: who sends a key decides where it goes. Servers of this machine are
    /// never asked through a proxy.
    pub fn client(&self, url: &Url) -> Result<Client, String> {
        let base = || {
            let policy = reqwest::redirect::Policy::none();
            let built = Client::builder().user_agent(USER_AGENT).connect_timeout(self.connect).read_timeout(self.silence).redirect(policy);
            if is_loopback(url) { built.no_proxy() } else { built }
        };
        match base().build() {
            // A machine without certificates can still speak to servers that need none.
            Err(_) if url.scheme() == "http" => base().tls_certs_only([]).build(),
            made => made,
        }
        .map_err(|e| format!("no HTTP client can be made: {}", fault(&e)))
    }
}

/// Whether a URL leads to this machine itself.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The runtime that a job waits for its server on: the thread of the job itself.
pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("no runtime for the network: {e}"))
}

/// Whether the same request may succeed a little later.
pub fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504 | 529)
}

/// The answer of `work`; none where `monitor` was stopped before it came.
pub async fn unless_stopped<T>(monitor: &dyn Monitor, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    loop {
        if monitor.stopped() {
            return None;
        }
        if let Ok(done) = tokio::time::timeout(TICK, &mut work).await {
            return Some(done);
        }
    }
}

/// A body of at most `limit` bytes; a longer one is an error, and so is one that breaks off.
pub async fn body(response: &mut Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| fault(&e))? {
        if out.len() + chunk.len() > limit {
            return Err(format!("the answer is longer than {} KB", limit >> 10));
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out)
}

/// The beginning of a body, whatever its length; what cannot be read is left out.
pub async fn beginning(response: &mut Response, limit: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < limit
        && let Ok(Some(chunk)) = response.chunk().await
    {
        out.extend_from_slice(&chunk[..chunk.len().min(limit - out.len())]);
    }
    out
}

/// A fault of the connection in one line, without the URL: it may hold a key.
pub fn fault(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(next) = deepest.source() {
        deepest = next;
    }
    let cause = if error.source().is_none() { "no answer".to_string() } else { deepest.to_string() };
    let what = match error {
        e if e.is_timeout() => return "no answer in time".into(),
        e if e.is_connect() => format!("no connection ({cause})"),
        _ => format!("the connection broke off ({cause})"),
    };
    crate::text::visible(&what, false).chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_heed_the_server_within_reason() {
        let patience = Patience::default();
        let seconds = |attempt, headers: Option<&HeaderMap>| patience.wait(attempt, headers).as_secs_f64();
        assert!((1.0..1.3).contains(&seconds(1, None)) && (8.0..10.1).contains(&seconds(4, None)));
        assert!(seconds(60, None) <= 300.0);
        let mut headers = HeaderMap::new();
        for (given, expected) in [("7", 7.0), ("999999999", 300.0)] {
            headers.insert(RETRY_AFTER, given.parse().unwrap());
            assert_eq!(seconds(1, Some(&headers)), expected);
        }
        headers.insert(RETRY_AFTER, "soon".parse().unwrap());
        assert!(seconds(1, Some(&headers)) < 2.0);
    }

    #[test]
    fn loopback_is_known_by_its_names() {
        for (url, expected) in
            [("http://127.0.0.1:8/x", true), ("http://localhost", true), ("http://[::1]:1", true), ("http://127.0.0.1.evil.com", false)]
        {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
