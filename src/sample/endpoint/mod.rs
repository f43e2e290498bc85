//! Models that a server generates with, over the OpenAI protocol (vLLM, SGLang, llama.cpp, Ollama, …): `openai:URL#MODEL`.
//! Deliberately not here: the shapes of requests and answers (`wire`), and serving (`engine::serve`).

mod address;
mod score;
mod wire;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use reqwest::{Client, Response};
use serde_json::Value;

use super::generator::{AskFault, Completion, Generator, Piece, Prompt, Question, Request, Score};
use crate::data::tokenizer::Tokenizer;
use crate::net::{self, Patience};
use crate::report::{Level, Monitor, Report};

pub use address::{Address, PREFIX};
use wire::Answer;

/// Requests that a server works on at once; more wait here.
const AT_ONCE: usize = 16;
/// Nobody waits longer for one text.
const LONGEST: Duration = Duration::from_secs(3600);
/// Bodies that are read whole: errors, lists of models, answers of servers that do not stream.
const BODY_BYTES: usize = 16 << 20;

/// A model behind a server.
pub struct Endpoint {
    address: Address,
    client: Client,
    patience: Patience,
    key: Option<String>,
    /// The model's name on the server.
    model: String,
    context: Option<usize>,
    /// Keys of requests that this server refuses and that can be left out.
    shy: Mutex<BTreeSet<&'static str>>,
}

/// Why a request came to nothing, and whether it may be tried again.
enum Trouble {
    Passing(String, Option<reqwest::header::HeaderMap>),
    Final(AskFault),
}

impl From<AskFault> for Trouble {
    fn from(fault: AskFault) -> Self {
        Self::Final(fault)
    }
}

impl Endpoint {
    /// Reads the name, takes the key from the environment, and asks the server for its models where the name leaves the
    /// model open.
    pub fn open(name: &str, patience: Patience, var: impl Fn(&str) -> Option<String>) -> Result<Self, AskFault> {
        let address = Address::parse(name).map_err(AskFault::Broken)?;
        let key = address.key(var).map_err(AskFault::Broken)?;
        let client = patience.client(&address.base).map_err(AskFault::Broken)?;
        let model = address.model.clone();
        let mut endpoint = Self { address, client, patience, key, model, context: None, shy: Mutex::default() };
        if endpoint.model.is_empty() {
            endpoint.model = endpoint.only_model()?;
        }
        Ok(endpoint)
    }

    /// The one model that the server has.
    fn only_model(&self) -> Result<String, AskFault> {
        let runtime = net::runtime().map_err(AskFault::Broken)?;
        let silent = crate::report::Silent;
        let value = runtime.block_on(async {
            let mut response = self.patiently(&silent, || self.send("models", None, &silent)).await?;
            self.body(&mut response, &silent).await
        })?;
        let all: Vec<&str> = value["data"].as_array().into_iter().flatten().filter_map(|m| m["id"].as_str()).collect();
        match all.as_slice() {
            [one] => Ok((*one).to_string()),
            [] => Err(self.broken("names no models", "name one behind a #")),
            many => {
                let listed = many.iter().take(12).map(|m| crate::text::visible(m, false)).collect::<Vec<_>>().join(", ");
                Err(self.broken(&format!("has several models: {listed}"), "name one behind a #, as in openai:URL#MODEL"))
            }
        }
    }

    fn broken(&self, what: &str, remedy: &str) -> AskFault {
        let what: String = crate::text::visible(what, false).chars().take(600).collect();
        AskFault::Broken(format!("{}: {what}; {remedy}", self.address.shown()))
    }

    /// One request, posted where it has a body.
    async fn send(&self, path: &str, body: Option<&Value>, monitor: &dyn Monitor) -> Result<Response, Trouble> {
        let url = self.address.at(path);
        let mut request = match body {
            Some(body) => self.client.post(url).json(body),
            None => self.client.get(url),
        };
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let sent = net::unless_stopped(monitor, request.send()).await.ok_or(AskFault::Stopped)?;
        let mut response = sent.map_err(|e| Trouble::Passing(net::fault(&e), None))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let text = net::unless_stopped(monitor, net::beginning(&mut response, 1 << 16)).await.ok_or(AskFault::Stopped)?;
        let said = wire::said(&text);
        let line = format!("answers {} {}{said}", status.as_u16(), status.canonical_reason().unwrap_or_default());
        if net::is_transient(status) {
            return Err(Trouble::Passing(line, Some(headers)));
        }
        if matches!(status.as_u16(), 400 | 422) && self.is_shy_of(&said, body) {
            return Err(Trouble::Passing(line, Some(headers)));
        }
        Err(self.refusal(status.as_u16(), &line).into())
    }

    /// Whether the server complains of a key that can do without: it is left out from now on.
    fn is_shy_of(&self, said: &str, body: Option<&Value>) -> bool {
        let mut shy = self.shy.lock().unwrap_or_else(PoisonError::into_inner);
        let has = |key: &&&str| said.contains(**key) && body.is_some_and(|b| b.get(**key).is_some()) && !shy.contains(**key);
        match wire::OPTIONAL.iter().find(has) {
            Some(key) => shy.insert(key),
            None => false,
        }
    }

    /// What a status that will not change by itself means.
    fn refusal(&self, status: u16, line: &str) -> AskFault {
        let key = self.address.key_name();
        match status {
            401 | 403 if self.key.is_some() => self.broken(line, &format!("see that {key} holds this server's key")),
            401 | 403 => self.broken(line, &format!("put this server's key into {key}{}", self.address.key_hint())),
            404 => self.broken(line, "see that the URL ends like /v1, and that the model is one of its list"),
            300..400 => self.broken(line, "name the address that it redirects to"),
            // A request that is wrong in itself says nothing of the others.
            400 | 413 | 422 => AskFault::Refused(format!("{}: {}", self.address.shown(), crate::text::visible(line, false))),
            _ => self.broken(line, "look at the server's log"),
        }
    }

    /// Tries until there is an answer or no hope of one.
    async fn patiently<F: Future<Output = Result<T, Trouble>>, T>(
        &self,
        monitor: &dyn Monitor,
        ask: impl Fn() -> F,
    ) -> Result<T, AskFault> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (why, headers) = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Final(fault)) => return Err(fault),
                Err(Trouble::Passing(why, headers)) => (why, headers),
            };
            if attempt >= self.patience.attempts {
                return Err(self.broken(&why, "see that the server runs and is not overloaded"));
            }
            let refused = why.contains("answers 4") && !why.contains("answers 429") && !why.contains("answers 408");
            let time = if refused { Duration::ZERO } else { self.patience.wait(attempt, headers.as_ref()) };
            if time.as_secs() >= 2 {
                let text = format!("{}: {why}; asked again in {} s", self.address.shown(), time.as_secs());
                monitor.report(Report::note(Level::Warning, crate::text::visible(&text, false)));
            }
            net::unless_stopped(monitor, tokio::time::sleep(time)).await.ok_or(AskFault::Stopped)?;
        }
    }

    /// A body of JSON, whole.
    async fn body(&self, response: &mut Response, monitor: &dyn Monitor) -> Result<Value, AskFault> {
        let body = net::unless_stopped(monitor, net::body(response, BODY_BYTES)).await.ok_or(AskFault::Stopped)?;
        let body = body.map_err(|why| self.broken(&why, "ask again, or look at the server's log"))?;
        serde_json::from_slice(&body).map_err(|_| self.broken(&wire::prose(&body), "see that the URL is that of the API, ending like /v1"))
    }

    /// One text: asked for, heard as it comes, and asked for again as long as nothing of it was told.
    async fn complete(&self, request: &Request, monitor: &dyn Monitor, tell: &mut dyn FnMut(&str)) -> Result<Completion, AskFault> {
        if request.max_tokens == 0 {
            return Err(AskFault::Refused("a server does not say the distribution of the next token; ask for one token or more".into()));
        }
        let path = match &request.prompt {
            Prompt::Text(_) => "completions",
            Prompt::Chat(_) => "chat/completions",
            Prompt::Ids(_) => return Err(AskFault::Refused("a server is asked in text, not in tokens".into())),
        };
        let teller = std::cell::RefCell::new((tell, false));
        let hear = |text: &str| {
            let (tell, told) = &mut *teller.borrow_mut();
            *told = true;
            tell(text);
        };
        let once = || async {
            let shy = self.shy.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let body = wire::request(&self.model, request, &shy);
            let started = Instant::now();
            let mut response = self.send(path, Some(&body), monitor).await?;
            let mut answer = Answer::new(request);
            let heard = self.hear(&mut response, &mut answer, monitor, started, &hear).await;
            match heard {
                Ok(()) => Ok(answer.completion(started)),
                // What was told cannot be taken back, and another try would say something else.
                Err(Trouble::Passing(why, _)) if teller.borrow().1 => {
                    Err(self.broken(&format!("{why}, after {} characters", answer.text.chars().count()), "ask again").into())
                }
                Err(trouble) => Err(trouble),
            }
        };
        self.patiently(monitor, once).await
    }

    /// Reads a stream to its end, or the one body of a server that does not stream.
    async fn hear(
        &self,
        response: &mut Response,
        answer: &mut Answer,
        monitor: &dyn Monitor,
        started: Instant,
        tell: &dyn Fn(&str),
    ) -> Result<(), Trouble> {
        let kind = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if kind.starts_with("application/json") {
            let value = self.body(response, monitor).await?;
            answer.whole(&value, tell).map_err(|why| self.broken(&why, "look at the server's log"))?;
            return Ok(());
        }
        let mut lines = wire::Lines::default();
        loop {
            let chunk = match net::unless_stopped(monitor, response.chunk()).await {
                None => {
                    answer.stopped();
                    return Ok(());
                }
                Some(chunk) => chunk.map_err(|e| Trouble::Passing(net::fault(&e), None))?,
            };
            let over = chunk.is_none();
            let events =
                lines.push(chunk.as_deref().unwrap_or(b"\n\n")).map_err(|why| self.broken(why, "see what answers at this address"))?;
            for event in events {
                if answer.event(&event, started, tell).map_err(|why| self.broken(&why, "look at the server's log"))? {
                    return Ok(());
                }
            }
            if answer.ended.is_some() && over {
                return Ok(());
            }
            if over {
                let why =
                    if lines.is_stream() { "the stream ended before its text did".to_string() } else { wire::prose(lines.beginning()) };
                return Err(if lines.is_stream() {
                    Trouble::Passing(why, None)
                } else {
                    self.broken(&why, "see that the URL is that of the API, ending like /v1").into()
                });
            }
            if started.elapsed() > LONGEST {
                return Err(self.broken("did not end its text within an hour", "ask for fewer tokens").into());
            }
        }
    }
}

impl Generator for Endpoint {
    fn name(&self) -> &str {
        &self.address.name
    }
    fn context(&self) -> Option<usize> {
        self.context
    }
    fn tokenizer(&self) -> Option<&Tokenizer> {
        None
    }

    fn generate(
        &self,
        requests: &[Request],
        monitor: &dyn Monitor,
        tell: &mut (dyn FnMut(usize, Piece) + Send),
    ) -> Vec<Result<Completion, AskFault>> {
        let teller = std::cell::RefCell::new(tell);
        let one = |index: usize| {
            let teller = &teller;
            async move {
                let done = self.complete(&requests[index], monitor, &mut |text| (teller.borrow_mut())(index, Piece::Text(text))).await;
                (teller.borrow_mut())(index, Piece::Done(&done));
                (index, done)
            }
        };
        many(requests.len(), one)
    }

    fn score(&self, questions: &[Question], monitor: &dyn Monitor, tell: &mut (dyn FnMut(usize) + Send)) -> Vec<Result<Score, AskFault>> {
        let teller = std::cell::RefCell::new(tell);
        let one = |index: usize| {
            let teller = &teller;
            async move {
                let done = self.likelihood(&questions[index], monitor).await;
                (teller.borrow_mut())(index);
                (index, done)
            }
        };
        many(questions.len(), one)
    }
}

/// The answers to so many questions in their order, some of them asked side by side.
fn many<T, F: Future<Output = (usize, Result<T, AskFault>)>>(count: usize, one: impl Fn(usize) -> F) -> Vec<Result<T, AskFault>> {
    let runtime = match net::runtime() {
        Ok(runtime) => runtime,
        Err(why) => return (0..count).map(|_| Err(AskFault::Broken(why.clone()))).collect(),
    };
    let mut done: Vec<(usize, Result<T, AskFault>)> = runtime.block_on(stream::iter(0..count).map(one).buffer_unordered(AT_ONCE).collect());
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
