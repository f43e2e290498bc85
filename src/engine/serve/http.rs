//! The addresses of the server and what each answers; who may ask.
//! Deliberately not here: the model, which has a thread of its own.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::answer::{self, Head};
use super::ask::{self, Asked};
use super::{GRACE, Mail, Said, Shared};
use crate::sample::generator::Completion;

/// The longest request: a long context is a few megabytes of text.
const BODY_BYTES: usize = 16 << 20;

/// Answers connections until the server is over, and then those that are under way.
pub fn run(listener: TcpListener, shared: &Arc<Shared>) -> Result<(), String> {
    let runtime = crate::net::runtime()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|e| format!("{}: {e}", shared.address))?;
        let app = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/models/{*id}", get(model))
            .route("/v1/chat/completions", post(chat))
            .route("/v1/completions", post(complete))
            .fallback(unknown)
            .method_not_allowed_fallback(unknown)
            .layer(from_fn_with_state(shared.clone(), guard))
            .route("/health", get(async || "ok"))
            .layer(DefaultBodyLimit::max(BODY_BYTES))
            .with_state(shared.clone());
        let ending = shared.clone();
        let over = async move {
            while !ending.over.load(Ordering::Acquire) {
                ending.gone.notified().await;
            }
        };
        let serving = axum::serve(listener, app).with_graceful_shutdown(over);
        let late = shared.clone();
        let patience = async move {
            while !late.over.load(Ordering::Acquire) {
                late.gone.notified().await;
            }
            // A client that does not read must not keep the server.
            tokio::time::sleep(GRACE + Duration::from_secs(2)).await;
        };
        tokio::select! {
            ended = async { serving.await } => ended.map_err(|e| format!("{}: {e}", shared.address)),
            () = patience => Ok(()),
        }
    })
}

/// Lets in who has the key. Without a key only this machine is served, and only under its own name: a page in a browser
/// that calls some other name this machine's is kept out.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match keeps_out(&shared, request.headers()) {
        Some(error) => failed(error),
        None => next.run(request).await,
    }
}

fn keeps_out(shared: &Shared, headers: &HeaderMap) -> Option<(u16, Value)> {
    let header = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let refuse = |status, code, message| Some(answer::error(status, "invalid_request_error", None, code, message));
    // Told before it is sent: the rest of such a body is not waited for.
    if header(CONTENT_LENGTH).parse::<u64>().is_ok_and(|n| n > BODY_BYTES as u64) {
        return refuse(413, None, "the body is too long; it has at most 16 MB");
    }
    match &shared.key {
        Some(key) => {
            let given = header(AUTHORIZATION).strip_prefix("Bearer ").unwrap_or_default();
            // Digests take the same time to compare wherever they differ.
            if Sha256::digest(given.trim()) == Sha256::digest(key) {
                return None;
            }
            refuse(401, Some("invalid_api_key"), "the key is missing or wrong; send it as Authorization: Bearer KEY")
        }
        None => {
            let own = format!("http://{}", header(HOST)).parse::<reqwest::Url>().is_ok_and(|url| crate::net::is_loopback(&url));
            if own {
                return None;
            }
            refuse(403, None, "without a key this server answers to 127.0.0.1 and localhost alone; start it with --key")
        }
    }
}

async fn unknown() -> Response {
    failed(answer::error(
        404,
        "invalid_request_error",
        None,
        Some("unknown_url"),
        "there are /v1/models, /v1/chat/completions and /v1/completions (POST)",
    ))
}

fn about(shared: &Shared) -> Value {
    json!({"id": shared.name, "object": "model", "created": shared.started_s, "owned_by": "weightroom", "max_model_len": shared.context})
}

async fn models(State(shared): State<Arc<Shared>>) -> Response {
    json_response(StatusCode::OK, &json!({"object": "list", "data": [about(&shared)]}))
}

async fn model(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    if id == shared.name { json_response(StatusCode::OK, &about(&shared)) } else { failed(no_model(&shared)) }
}

fn no_model(shared: &Shared) -> (u16, Value) {
    answer::error(
        404,
        "invalid_request_error",
        Some("model"),
        Some("model_not_found"),
        &format!("this server has the model {} alone", shared.name),
    )
}

async fn chat(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    take(shared, &headers, body, true).await
}

async fn complete(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    take(shared, &headers, body, false).await
}

async fn take(shared: Arc<Shared>, headers: &HeaderMap, body: Result<Bytes, BytesRejection>, chat: bool) -> Response {
    let asked = match read(&shared, headers, body, chat) {
        Ok(asked) => asked,
        Err(error) => return failed(error),
    };
    let (mail, letters) = unbounded_channel();
    let count = asked.requests.len();
    if !shared.submit(asked.requests.clone(), &mail) {
        let mut response =
            failed(answer::error(503, "server_error", None, Some("overloaded"), "too many requests wait; come back a little later"));
        response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
        return response;
    }
    drop(mail);
    let created = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let head = Head::new(shared.last.load(Ordering::Acquire), created, &shared.name, &asked);
    if asked.stream { streamed(shared, head, asked, letters, count).await } else { whole(&shared, &head, &asked, letters, count).await }
}

fn read(shared: &Shared, headers: &HeaderMap, body: Result<Bytes, BytesRejection>, chat: bool) -> Result<Asked, (u16, Value)> {
    let wrong = |status, message: &str| answer::error(status, "invalid_request_error", None, None, message);
    let body =
        body.map_err(|e| wrong(e.status().as_u16(), &format!("the body cannot be read ({}); it has at most 16 MB", e.body_text())))?;
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.trim().to_ascii_lowercase().starts_with("application/json") {
        return Err(wrong(415, "the body is JSON: send Content-Type: application/json"));
    }
    let body: Value = serde_json::from_slice(&body).map_err(|e| wrong(400, &format!("the body is no JSON: {e}")))?;
    match body.get("model") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) if *name == shared.name => {}
        Some(_) => return Err(no_model(shared)),
    }
    let asked = ask::read(&body, chat, shared.context);
    asked.map_err(|refusal| answer::error(400, "invalid_request_error", refusal.param, None, &refusal.message))
}

/// All texts, or the first fault. Where the client leaves, this is dropped, and its place in the model with it.
async fn whole(shared: &Shared, head: &Head, asked: &Asked, mut letters: UnboundedReceiver<Mail>, count: usize) -> Response {
    let mut done: Vec<Option<Completion>> = vec![None; count];
    while let Some((choice, said)) = letters.recv().await {
        match said {
            Said::Text(_) => {}
            Said::Done(Ok(completion)) => done[choice] = Some(completion),
            Said::Done(Err(fault)) => return failed(answer::fault(&fault)),
        }
    }
    match done.into_iter().collect::<Option<Vec<_>>>() {
        Some(done) => json_response(StatusCode::OK, &head.whole(&done, asked.echo.as_deref(), shared.tokenizer.as_ref())),
        None => failed(answer::error(500, "server_error", None, None, "the model ended before the text did")),
    }
}

/// A stream under way.
struct Streaming {
    shared: Arc<Shared>,
    head: Head,
    usage: bool,
    letters: UnboundedReceiver<Mail>,
    ready: std::collections::VecDeque<Value>,
    done: Vec<Option<Completion>>,
    /// Whether the last event is out.
    over: bool,
}

async fn streamed(shared: Arc<Shared>, head: Head, asked: Asked, mut letters: UnboundedReceiver<Mail>, count: usize) -> Response {
    // A request that is refused at once is answered with its status, and not with a stream.
    let first = letters.recv().await;
    if let Some((_, Said::Done(Err(fault)))) = &first {
        return failed(answer::fault(fault));
    }
    let mut state =
        Streaming { shared, usage: asked.usage, letters, ready: Default::default(), done: vec![None; count], over: false, head };
    for index in 0..count {
        state.ready.extend(state.head.chat.then(|| state.head.opening(index)));
        state.ready.extend(asked.echo.as_ref().map(|text| state.head.piece(index, text)));
    }
    match first {
        Some(mail) => state.take(mail),
        None => state.ready.push_back(answer::error(500, "server_error", None, None, "the model ended before the text did").1),
    }
    let body = stream::unfold(state, async |mut state| {
        let event = state.next().await?;
        Some((Ok::<_, Infallible>(event), state))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(body)).into_response()
}

impl Streaming {
    fn take(&mut self, (choice, said): Mail) {
        match said {
            Said::Text(text) => self.ready.push_back(self.head.piece(choice, &text)),
            Said::Done(Ok(done)) => {
                self.ready.push_back(self.head.closing(choice, &done, self.shared.tokenizer.as_ref()));
                self.done[choice] = Some(done);
            }
            Said::Done(Err(fault)) => self.ready.push_back(answer::fault(&fault).1),
        }
    }

    /// The next event as the stream writes it; none after the last.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(value) = self.ready.pop_front() {
                return Some(format!("data: {value}\n\n"));
            }
            if self.over {
                return None;
            }
            match self.letters.recv().await {
                Some(mail) => self.take(mail),
                None => {
                    self.over = true;
                    let done: Vec<Completion> = self.done.iter().flatten().cloned().collect();
                    let usage = if self.usage { format!("data: {}\n\n", self.head.usage_chunk(&done)) } else { String::new() };
                    return Some(format!("{usage}data: [DONE]\n\n"));
                }
            }
        }
    }
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn failed((status, value): (u16, Value)) -> Response {
    json_response(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &value)
}
