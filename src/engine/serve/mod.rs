//! A model behind the OpenAI protocol: a thread for the connections, and this one for the model, which takes waiting
//! requests in while others are under way.
//! Deliberately not here: the protocol's shapes (`ask`, `answer`) and its addresses (`http`).

mod answer;
mod ask;
mod http;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;

use super::jobs::Fault;
use super::lock;
use crate::report::{JobId, Level, Monitor, Report, Signal, Sink};
use crate::sample::generator::{AskFault, Completion, Feed, Generator, Piece, Request};
use crate::spec::ServeSpec;

/// Requests that may wait; more are told to come back.
const WAITING: usize = 1024;
/// How long the model's thread waits for a request before it looks whether it shall end.
const NAP: Duration = Duration::from_millis(50);
/// How long what is under way may go on after the server was told to end.
const GRACE: Duration = Duration::from_secs(10);
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What is wrong with where a server shall listen.
pub fn problem(spec: &ServeSpec) -> Option<String> {
    match address(spec) {
        Err(why) => Some(why),
        Ok(address) if !address.ip().is_loopback() && spec.key.is_none() => Some(format!(
            "{} can be reached from other machines, so a key is required; give one with --key or in WEIGHTROOM_KEY, or leave --host out",
            address.ip()
        )),
        Ok(_) => spec
            .key
            .as_ref()
            .filter(|k| k.len() < 8 || !k.is_ascii() || k.contains(char::is_whitespace))
            .map(|_| "the key has at least 8 characters, all of them ASCII and none a blank".to_string()),
    }
}

fn address(spec: &ServeSpec) -> Result<SocketAddr, String> {
    let host = spec.host.trim_matches(['[', ']']);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, spec.port));
    }
    let shown = crate::text::visible(host, false).into_owned();
    let found = (host, spec.port)
        .to_socket_addrs()
        .map_err(|e| format!("--host {shown}: {e}; name an address of this machine, such as 127.0.0.1"))?;
    found.into_iter().next().ok_or_else(|| format!("--host {shown}: no such address; name one of this machine, such as 127.0.0.1"))
}

/// What was served.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Served {
    pub requests: u64,
    pub tokens: u64,
}

/// Serves until `monitor` is stopped; then what is under way has some seconds more. Reports the fact `url` once it
/// listens, and how many requests were answered.
pub fn serve(spec: &ServeSpec, model: &dyn Generator, monitor: &dyn Monitor) -> Result<Served, Fault> {
    if let Some(why) = problem(spec) {
        return Err(Fault::new(why, ""));
    }
    let address = address(spec).map_err(|why| Fault::new(why, ""))?;
    let taken = |e: std::io::Error| Fault::new(format!("{address}: {e}"), "choose another --port (0 takes a free one)");
    let listener = TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l)).map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    let shared = Arc::new(Shared::new(spec, model, address));
    let (ended, ends) = channel();
    let for_http = shared.clone();
    let spawned = super::thread("weightroom-http", move || {
        let result = http::run(listener, &for_http);
        // Without connections there is nothing to generate for.
        for_http.end();
        let _ = ended.send(result);
    });
    spawned?;
    let url = format!("http://{address}/v1");
    monitor.report(Report::Facts(BTreeMap::from([("url".to_string(), json!(url)), ("model".to_string(), json!(shared.name))])));
    let watch = Watch { monitor, shared: &shared, until: Mutex::new(None), told: Mutex::new((Instant::now(), 0)) };
    while !watch.stopped() && !shared.over.load(Ordering::Acquire) {
        model.serve(&*shared, &watch);
    }
    shared.end();
    let served = Served { requests: shared.requests.load(Ordering::Acquire), tokens: shared.tokens.load(Ordering::Acquire) };
    match ends.recv_timeout(GRACE) {
        Ok(Err(why)) => Err(Fault::new(why, "start it again")),
        Ok(Ok(())) => Ok(served),
        Err(_) => {
            monitor.report(Report::note(Level::Warning, "some clients did not take the rest of their answers"));
            Ok(served)
        }
    }
}

/// One of a client's texts, as far as it has come.
enum Said {
    Text(String),
    Done(Result<Completion, AskFault>),
}

/// What goes to a client: which of its texts, and what of it.
type Mail = (usize, Said);

struct Waiting {
    number: u64,
    request: Request,
}

struct Client {
    choice: usize,
    mail: UnboundedSender<Mail>,
}

/// What the thread of the connections and the thread of the model share.
struct Shared {
    name: String,
    context: Option<usize>,
    tokenizer: Option<crate::data::tokenizer::Tokenizer>,
    key: Option<String>,
    address: SocketAddr,
    started_s: u64,
    last: AtomicU64,
    waiting: Mutex<VecDeque<Waiting>>,
    clients: Mutex<BTreeMap<u64, Client>>,
    bell: Condvar,
    over: AtomicBool,
    /// Rung when it is over, for the thread of the connections.
    gone: tokio::sync::Notify,
    requests: AtomicU64,
    tokens: AtomicU64,
}

impl Shared {
    fn new(spec: &ServeSpec, model: &dyn Generator, address: SocketAddr) -> Self {
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            name: if spec.name.is_empty() { model.name().to_string() } else { spec.name.clone() },
            context: model.context(),
            tokenizer: model.tokenizer().cloned(),
            key: spec.key.clone(),
            address,
            started_s: started.map_or(0, |d| d.as_secs()),
            last: AtomicU64::new(0),
            waiting: Mutex::default(),
            clients: Mutex::default(),
            bell: Condvar::new(),
            over: AtomicBool::new(false),
            gone: tokio::sync::Notify::new(),
            requests: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
        }
    }

    /// Puts a client's texts into the line; false where it is full or ended.
    fn submit(&self, requests: Vec<Request>, mail: &UnboundedSender<Mail>) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.len() + requests.len() > WAITING || self.over.load(Ordering::Acquire) {
            return false;
        }
        let mut clients = lock(&self.clients);
        for (choice, request) in requests.into_iter().enumerate() {
            let number = self.last.fetch_add(1, Ordering::AcqRel) + 1;
            clients.insert(number, Client { choice, mail: mail.clone() });
            waiting.push_back(Waiting { number, request });
        }
        self.bell.notify_all();
        true
    }

    /// Ends the line: what waits is told so.
    fn end(&self) {
        self.over.store(true, Ordering::Release);
        let waiting: Vec<Waiting> = lock(&self.waiting).drain(..).collect();
        for one in waiting {
            self.tell(one.number, Piece::Done(&Err(AskFault::Stopped)));
        }
        self.gone.notify_waiters();
        self.gone.notify_one();
        self.bell.notify_all();
    }
}

impl Feed for Shared {
    fn take(&self, most: usize, idle: bool) -> Vec<(u64, Request)> {
        let mut waiting = lock(&self.waiting);
        if idle && waiting.is_empty() && !self.over.load(Ordering::Acquire) {
            waiting = self.bell.wait_timeout(waiting, NAP).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut clients = lock(&self.clients);
        let mut out = Vec::new();
        while out.len() < most
            && let Some(one) = waiting.pop_front()
        {
            // Who has left while it waited is not generated for.
            if clients.get(&one.number).is_some_and(|c| !c.mail.is_closed()) {
                out.push((one.number, one.request));
            } else {
                clients.remove(&one.number);
            }
        }
        out
    }

    fn tell(&self, number: u64, piece: Piece) -> bool {
        let mut clients = lock(&self.clients);
        let Some(client) = clients.get(&number) else { return false };
        let (said, over) = match piece {
            Piece::Text(text) => (Said::Text(text.to_string()), false),
            Piece::Done(result) => (Said::Done(result.clone()), true),
        };
        if let Said::Done(Ok(done)) = &said {
            self.requests.fetch_add(1, Ordering::AcqRel);
            self.tokens.fetch_add(done.ids.len() as u64, Ordering::AcqRel);
        }
        let heard = client.mail.send((client.choice, said)).is_ok();
        if over || !heard {
            clients.remove(&number);
        }
        heard
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// The job's monitor as the generator sees it: told to stop, the line ends at once, and what is under way a little later.
struct Watch<'a> {
    monitor: &'a dyn Monitor,
    shared: &'a Shared,
    until: Mutex<Option<Instant>>,
    told: Mutex<(Instant, u64)>,
}

impl Watch<'_> {
    fn tell(&self) {
        let mut told = lock(&self.told);
        let done = self.shared.requests.load(Ordering::Acquire);
        if done != told.1 && told.0.elapsed() >= TOLD_EVERY {
            *told = (Instant::now(), done);
            self.monitor.report(Report::Progress { what: "answered".into(), done, total: None, unit: "requests".into() });
        }
    }
}

impl Monitor for Watch<'_> {
    /// What a single text has to say is its client's, not the job's.
    fn report(&self, report: Report) {
        if matches!(report, Report::Note { .. }) {
            self.monitor.report(report);
        }
    }
    fn stopped(&self) -> bool {
        self.tell();
        if !self.monitor.stopped() {
            return false;
        }
        self.shared.end();
        let mut until = lock(&self.until);
        let idle = lock(&self.shared.clients).is_empty();
        idle || Instant::now() >= *until.get_or_insert_with(|| Instant::now() + GRACE)
    }
    fn safepoint(&self) -> Signal {
        self.monitor.safepoint()
    }
    fn wait(&self) -> Signal {
        self.monitor.wait()
    }
    fn child(&self, job: JobId) -> Box<dyn Monitor> {
        self.monitor.child(job)
    }
    fn attach(&self, _: Box<dyn Sink>) {}
}
