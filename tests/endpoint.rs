//! Models behind servers, both ways: asking a server that streams, stalls and lies, and being one.
//! Not here: any server but those on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

#[path = "common/cli.rs"]
mod cli;
#[path = "common/server.rs"]
mod server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Asked, Body, Reply, Server};
use weightroom::data::tokenizer::Tokenizer;
use weightroom::engine::serve::{problem, serve};
use weightroom::net::Patience;
use weightroom::report::{JobId, Monitor, Report, Signal, Silent, Sink};
use weightroom::sample::endpoint::Endpoint;
use weightroom::sample::generator::{AskFault, Completion, Feed, Generator, Piece, Prompt, Question, Request, Score};
use weightroom::spec::{Message, Sampler, ServeSpec};

fn patience() -> Patience {
    let (first_wait, seconds) = (Duration::from_millis(5), Duration::from_secs);
    Patience { attempts: 4, first_wait, connect: seconds(5), silence: seconds(20) }
}

fn open(name: &str, key: Option<&'static str>) -> Result<Endpoint, AskFault> {
    Endpoint::open(name, patience(), |_| key.map(str::to_string))
}

fn message(role: &str, content: &str) -> Message {
    serde_json::from_value(json!({"role": role, "content": content})).unwrap()
}

fn ask(prompt: Prompt) -> Request {
    Request { prompt, max_tokens: 32, sampler: Sampler::default(), stop: vec!["END".into()] }
}

fn chat(text: &str) -> Request {
    ask(Prompt::Chat(vec![message("user", text)]))
}

/// A server-sent event.
fn event(value: Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

fn delta(text: &str) -> Vec<u8> {
    event(json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}))
}

fn end(reason: &str) -> Vec<u8> {
    [
        event(
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}),
        ),
        b"data: [DONE]\n\n".to_vec(),
    ]
    .concat()
}

fn stream(parts: Vec<Vec<u8>>) -> Reply {
    Reply::new(200, "").with("content-type", "text/event-stream").body(Body::Pieces(Box::new(parts.into_iter())))
}

fn one(endpoint: &Endpoint, request: Request) -> (Result<Completion, AskFault>, String) {
    let mut told = String::new();
    let mut tell = |_: usize, piece: Piece| {
        if let Piece::Text(text) = piece {
            told.push_str(text);
        }
    };
    let done = endpoint.generate(&[request], &Silent, &mut tell).pop().unwrap();
    (done, told)
}

fn fault(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (String, usize) {
    let server = Server::start(answer);
    let endpoint = open(&format!("openai:{}#m", server.url()), Some("sk-secret")).unwrap();
    let (done, _) = one(&endpoint, chat("hi"));
    let error = done.unwrap_err().to_string();
    assert!(!error.contains(['\n', '\u{1b}']) && !error.contains("secret") && error.contains(&server.url()), "{error}");
    (error, server.asked().len())
}

#[test]
fn chats_and_completions_stream() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1/models" => Reply::json(json!({"data": [{"id": "only"}]})),
        "/v1/chat/completions" => {
            let likely =
                event(json!({"choices": [{"delta": {"content": "Hé"}, "logprobs": {"content": [{"token": "Hé", "logprob": -0.5}]}}]}));
            // A character is cut between two packets.
            let (left, right) = likely.split_at(likely.iter().position(|b| *b == 0xc3).unwrap() + 1);
            let rest =
                event(json!({"choices": [{"delta": {"content": "llo"}, "logprobs": {"content": [{"token": "llo", "logprob": -1.5}]}}]}));
            stream(vec![b": ping\n\n".to_vec(), left.to_vec(), right.to_vec(), rest, end("stop")])
        }
        // This one does not stream.
        "/v1/completions" => Reply::json(
            json!({"choices": [{"text": " mat", "finish_reason": "length"}], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}),
        ),
        _ => Reply::new(404, ""),
    });
    let endpoint = open(&format!("openai:{}", server.url()), Some("sk-secret")).unwrap();
    let (done, told) = one(&endpoint, chat("hi"));
    let done = done.unwrap();
    assert_eq!((done.text.as_str(), told.as_str(), done.ended.as_str(), done.prompt_tokens), ("Héllo", "Héllo", "end", 7));
    assert_eq!((done.log_probs, done.ids), (vec![-0.5, -1.5], vec![]));
    let (done, told) = one(&endpoint, ask(Prompt::Text("The cat sat on the".into())));
    assert_eq!((done.unwrap().ended.as_str(), told.as_str()), ("length", " mat"));
    let asked = server.asked();
    assert!(asked.iter().all(|a| a.header("authorization") == Some("Bearer sk-secret")));
    let body = asked[1].json();
    assert_eq!(
        (&body["model"], &body["messages"][0]["content"], &body["stop"], &body["stream"]),
        (&json!("only"), &json!("hi"), &json!(["END"]), &json!(true))
    );
    let (ids, _) = one(&endpoint, ask(Prompt::Ids(vec![1])));
    assert!(matches!(ids, Err(AskFault::Refused(_))));
}

#[test]
fn thoughts_are_marked_and_what_a_server_does_not_know_is_left_out() {
    let server = Server::start(|asked| {
        let body = asked.json();
        for key in ["stream_options", "logprobs", "max_tokens"] {
            if body.get(key).is_some() {
                return Reply::new(400, json!({"error": {"message": format!("Unsupported parameter: '{key}'")}}).to_string());
            }
        }
        assert_eq!(body["max_completion_tokens"], 32);
        let thought = event(json!({"choices": [{"delta": {"reasoning_content": "so"}}]}));
        stream(vec![thought.clone(), thought, delta("yes"), end("stop")])
    });
    let endpoint = open(&format!("openai:{}/v1#m", server.url()), None).unwrap();
    assert_eq!(one(&endpoint, chat("hi")).0.unwrap().text, "<think>\nsoso\n</think>\n\nyes");
    assert_eq!(server.asked().len(), 4);
    // It is known from then on.
    one(&endpoint, chat("hi")).0.unwrap();
    assert_eq!(server.asked().len(), 5);
}

#[test]
fn many_are_asked_at_once_and_answered_in_order() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (under_way, peak) = (now.clone(), most.clone());
    let server = Server::start(move |asked| {
        peak.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let text = asked.json()["messages"][0]["content"].as_str().unwrap().to_string();
        std::thread::sleep(Duration::from_millis(20));
        under_way.fetch_sub(1, Ordering::SeqCst);
        stream(vec![delta("answer to "), delta(&text), end("stop")])
    });
    let endpoint = open(&format!("openai:{}#m", server.url()), None).unwrap();
    let requests: Vec<Request> = (0..40).map(|i| chat(&i.to_string())).collect();
    let ends = Mutex::new(Vec::new());
    let done = endpoint.generate(&requests, &Silent, &mut |i, piece| {
        if let Piece::Done(Ok(_)) = piece {
            ends.lock().unwrap().push(i);
        }
    });
    let texts: Vec<String> = done.into_iter().map(|d| d.unwrap().text).collect();
    assert_eq!(texts, (0..40).map(|i| format!("answer to {i}")).collect::<Vec<_>>());
    let mut ends = ends.into_inner().unwrap();
    ends.sort_unstable();
    assert_eq!(ends, (0..40).collect::<Vec<_>>());
    assert!((2..=16).contains(&most.load(Ordering::SeqCst)), "{most:?} at once");
}

#[test]
fn passing_faults_pass_and_others_are_told() {
    let count = Arc::new(AtomicUsize::new(0));
    let tries = count.clone();
    let server = Server::start(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(429, "slow down").with("retry-after", "0"),
        1 => Reply::new(503, ""),
        2 => Reply::new(200, "").body(Body::Nothing),
        _ => stream(vec![delta("at last"), end("length")]),
    });
    let endpoint = open(&format!("openai:{}#m", server.url()), None).unwrap();
    assert_eq!(one(&endpoint, chat("hi")).0.unwrap().text, "at last");
    let error = |status: u16, body: &'static str| fault(move |_| Reply::new(status, body));
    let (text, asked) = error(401, "{\"error\": {\"message\": \"bad key\"}}");
    assert!(text.contains("401 Unauthorized (bad key)") && text.contains("OPENAI_API_KEY holds this server's key") && asked == 1, "{text}");
    let (text, _) = error(404, "{\"detail\": \"Not Found\"}");
    assert!(text.contains("404") && text.contains("/v1"), "{text}");
    let (text, asked) = error(500, "<html>\u{1b}[31m");
    assert!(text.contains("500") && asked == 4, "{text}");
    let (text, asked) = error(400, "{\"error\": {\"message\": \"the prompt is too long\"}}");
    assert!(text.contains("too long") && asked == 1, "{text}");
    let gone = Server::start(|_| Reply::new(200, ""));
    let name = format!("openai:{}#m", gone.url());
    let port = gone.port;
    drop(gone);
    if TcpStream::connect(("127.0.0.1", port)).is_err() {
        let text = one(&open(&name, None).unwrap(), chat("hi")).0.unwrap_err().to_string();
        assert!(text.contains("no connection") && text.contains("see that the server runs"), "{text}");
    }
    // What was told cannot be taken back: a text that breaks off is a fault, not a beginning anew.
    let (text, asked) = fault(|_| stream(vec![delta("half a")]));
    assert!(text.contains("after 6 characters") && asked == 1, "{text}");
    let (text, _) = fault(|_| stream(vec![event(json!({"error": {"message": "out of memory"}}))]));
    assert!(text.contains("out of memory"), "{text}");
    let several = Server::start(|_| Reply::json(json!({"data": [{"id": "a"}, {"id": "b\u{1b}"}]})));
    let text = open(&format!("openai:{}", several.url()), None).err().unwrap().to_string();
    assert!(text.contains("several models: a, b␛"), "{text}");
}

#[test]
fn hostile_servers_cost_no_memory_and_no_terminal() {
    let endless = |piece: Vec<u8>| {
        move |_: &Asked| {
            let piece = piece.clone();
            Reply::new(200, "")
                .with("content-type", "text/event-stream")
                .body(Body::Pieces(Box::new(std::iter::repeat_with(move || piece.clone()))))
        }
    };
    let (text, _) = fault(endless(vec![b'x'; 1 << 16]));
    assert!(text.contains("a line without an end"), "{text}");
    let (text, _) = fault(endless(delta(&"x".repeat(4096))));
    assert!(text.contains("far more text than was asked for"), "{text}");
    let (text, _) = fault(endless(event(json!({"choices": [], "padding": "x".repeat(1 << 16)}))));
    assert!(text.contains("far more than was asked for"), "{text}");
    let (text, _) = fault(|_| Reply::new(200, vec![b' '; 20 << 20]).with("content-type", "application/json"));
    assert!(text.contains("longer than"), "{text}");
    let (text, _) = fault(|_| Reply::new(200, "<html>\u{1b}]0;evil\u{7} Welcome to nginx").with("content-type", "text/html"));
    assert!(text.contains("prose instead of JSON") && text.contains("/v1"), "{text}");
    let (text, _) = fault(|_| stream(vec![b"data: not json\n\n".to_vec()]));
    assert!(text.contains("prose instead of JSON (not json"), "{text}");
    let (text, _) = fault(|_| Reply::new(302, "").with("location", "http://elsewhere.example/"));
    assert!(text.contains("302") && text.contains("redirects to"), "{text}");
    // A stream that never ends is left when the person says so.
    let server = Server::start(endless(delta("")));
    let endpoint = open(&format!("openai:{}#m", server.url()), None).unwrap();
    let ear = Ear::default();
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            until(|| !server.asked().is_empty());
            ear.stop.store(true, Ordering::Release);
        });
        endpoint.generate(&[chat("hi")], &ear, &mut |_, _| {}).pop().unwrap()
    });
    assert_eq!(done.unwrap().ended, "stopped");
}

#[test]
fn likelihoods_come_where_a_server_echoes() {
    let server = Server::start(|asked| {
        let body = asked.json();
        assert_eq!((&body["echo"], &body["prompt"]), (&json!(true), &json!("The cat sat")));
        Reply::json(json!({"choices": [{"text": "", "logprobs": {"text_offset": [0, 3, 7, 11], "token_logprobs": [null, -1.0, -2.0, -0.1],
            "top_logprobs": [null, {"x": -1.0}, {"y": -2.0}, {"z": -0.1}]}}]}))
    });
    let endpoint = open(&format!("openai:{}#m", server.url()), None).unwrap();
    let question = |context: &str, continuation: &str| Question::Text { context: context.into(), continuation: continuation.into() };
    let scores = endpoint.score(&[question("The cat ", "sat"), question("The", " cat sat")], &Silent, &mut |_| {});
    assert_eq!(scores[0], Ok(Score { ids: vec![], log_probs: vec![-2.0], greedy: true }));
    assert_eq!(scores[1].as_ref().unwrap().log_probs, [-1.0, -2.0]);
    let deaf = Server::start(|_| Reply::json(json!({"choices": [{"text": "sat"}]})));
    let endpoint = open(&format!("openai:{}#m", deaf.url()), None).unwrap();
    let error = endpoint.score(&[question("The cat", " sat")], &Silent, &mut |_| {}).pop().unwrap().unwrap_err();
    assert!(matches!(&error, AskFault::Broken(why) if why.contains("does not say the likelihood")), "{error}");
}

#[test]
fn generate_asks_a_server_by_its_name() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1/chat/completions" => stream(vec![delta("Good "), delta("day\u{1b}."), end("stop")]),
        _ => stream(vec![
            event(json!({"choices": [{"text": " once"}]})),
            event(json!({"choices": [{"text": "", "finish_reason": "length"}]})),
        ]),
    });
    let dir = tempfile::tempdir().unwrap();
    let name = format!("openai:{}#m", server.url());
    let ran = cli::run(dir.path(), &["generate", &name, "--prompt", "Hello", "--chat", "--raw"]).good();
    assert_eq!(ran.out, "Good day\u{1b}.");
    let ran = cli::run(dir.path(), &["generate", &name, "--prompt", "There was", "--json"]).good();
    let reports: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["report"].take()).collect();
    assert_eq!(reports.last().unwrap()["finished"]["result"]["text"], " once");
    let token = reports.iter().find_map(|r| r.get("token")).unwrap();
    assert_eq!((&token["id"], &token["probability"], &token["alternatives"]), (&json!(u32::MAX), &json!(0.0), &json!([])));
    cli::run(dir.path(), &["generate", "openai:nowhere", "--prompt", "x"]).bad(1, &["openai:nowhere", "no address of a server"]);
    cli::run(dir.path(), &["sample", "score", &name]).bad(1, &["a server generates text and does not give its weights"]);
}

fn until(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "it did not happen within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Keeps the facts; stops when told to.
#[derive(Default)]
struct Ear {
    stop: AtomicBool,
    url: Mutex<Option<String>>,
}

impl Monitor for Ear {
    fn report(&self, report: Report) {
        if let Report::Facts(facts) = &report {
            *self.url.lock().unwrap() = facts.get("url").and_then(Value::as_str).map(str::to_string);
        }
    }
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
    fn safepoint(&self) -> Signal {
        Signal::Continue
    }
    fn wait(&self) -> Signal {
        Signal::Continue
    }
    fn child(&self, _: JobId) -> Box<dyn Monitor> {
        Box::new(Silent)
    }
    fn attach(&self, _: Box<dyn Sink>) {}
}

/// A generator without weights: says the prompt's words one by one, waits for a word that says `wait`, and takes requests
/// in while others are under way.
#[derive(Default)]
struct Parrot {
    under_way: AtomicUsize,
    most: AtomicUsize,
    /// While set, texts that say `wait` go on without an end.
    held: AtomicBool,
    dropped: AtomicUsize,
}

/// A text under way: its number, its words, how many are out.
struct Slot {
    number: u64,
    words: Vec<String>,
    request: Request,
    at: usize,
}

impl Generator for Parrot {
    fn name(&self) -> &str {
        "parrot"
    }
    fn context(&self) -> Option<usize> {
        Some(256)
    }
    fn tokenizer(&self) -> Option<&Tokenizer> {
        None
    }
    fn generate(&self, _: &[Request], _: &dyn Monitor, _: &mut (dyn FnMut(usize, Piece) + Send)) -> Vec<Result<Completion, AskFault>> {
        Vec::new()
    }
    fn score(&self, _: &[Question], _: &dyn Monitor, _: &mut (dyn FnMut(usize) + Send)) -> Vec<Result<Score, AskFault>> {
        Vec::new()
    }
    fn serve(&self, feed: &dyn Feed, monitor: &dyn Monitor) {
        let mut slots: Vec<Slot> = Vec::new();
        while !(monitor.stopped() || feed.is_over() && slots.is_empty()) {
            for (number, request) in feed.take(8 - slots.len(), slots.is_empty()) {
                let text = match &request.prompt {
                    Prompt::Chat(messages) => messages.last().unwrap().content.clone(),
                    Prompt::Text(text) => text.clone(),
                    Prompt::Ids(ids) => format!("{ids:?}"),
                };
                if text.starts_with("refuse") {
                    feed.tell(number, Piece::Done(&Err(AskFault::Refused("it is too long".into()))));
                    continue;
                }
                slots.push(Slot { number, words: text.split_inclusive(' ').map(str::to_string).collect(), request, at: 0 });
            }
            self.under_way.store(slots.len(), Ordering::SeqCst);
            self.most.fetch_max(slots.len(), Ordering::SeqCst);
            slots.retain_mut(|slot| self.step(slot, feed));
            std::thread::sleep(Duration::from_millis(1));
        }
        let completion = |slot: &Slot| Completion {
            text: slot.words[..slot.at.min(slot.words.len())].concat(),
            ended: "stopped".into(),
            ..Completion::default()
        };
        for slot in &slots {
            feed.tell(slot.number, Piece::Done(&Ok(completion(slot))));
        }
    }
}

impl Parrot {
    /// One word; whether the text goes on.
    fn step(&self, slot: &mut Slot, feed: &dyn Feed) -> bool {
        let word = slot.words[slot.at].clone();
        if !feed.tell(slot.number, Piece::Text(&word)) {
            self.dropped.fetch_add(1, Ordering::SeqCst);
            return false;
        }
        if word == "wait" && self.held.load(Ordering::SeqCst) {
            return true;
        }
        slot.at += 1;
        let ended = match slot.at {
            at if at == slot.words.len() => "end",
            at if at == slot.request.max_tokens => "length",
            _ => return true,
        };
        let ids: Vec<u32> = (0..slot.at as u32).collect();
        let log_probs = ids.iter().map(|i| -(*i as f32)).collect();
        let done = Completion {
            text: slot.words[..slot.at].concat(),
            log_probs,
            ids,
            ended: ended.into(),
            prompt_tokens: 5,
            ..Completion::default()
        };
        feed.tell(slot.number, Piece::Done(&Ok(done)));
        false
    }
}

/// Serves the parrot while `test` runs.
fn served(key: Option<&str>, test: impl FnOnce(&str, &Parrot, &Ear)) {
    let (parrot, ear) = (Parrot::default(), Ear::default());
    let spec = ServeSpec { model: "parrot".into(), port: 0, key: key.map(str::to_string), ..ServeSpec::default() };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(&spec, &parrot, &ear));
        until(|| ear.url.lock().unwrap().is_some() || server.is_finished());
        let url = ear.url.lock().unwrap().clone().unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&url, &parrot, &ear)));
        ear.stop.store(true, Ordering::Release);
        parrot.held.store(false, Ordering::SeqCst);
        server.join().unwrap().map_err(|f| f.cause).unwrap();
        result.unwrap();
    });
}

/// Sends a request and gives the connection, to be read.
fn send(url: &str, path: &str, headers: &str, body: &str) -> BufReader<TcpStream> {
    let host = url.trim_start_matches("http://").trim_end_matches("/v1");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let method = if body.is_empty() { "GET" } else { "POST" };
    let host = if headers.contains("host:") { String::new() } else { format!("host: {host}\r\n") };
    let length = if headers.contains("content-length:") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let kind = if headers.contains("content-type:") { "" } else { "content-type: application/json\r\n" };
    write!(stream, "{method} /v1/{path} HTTP/1.1\r\n{host}{length}{kind}{headers}connection: close\r\n\r\n{body}").unwrap();
    BufReader::new(stream)
}

/// Status and body, chunks put together.
fn receive(mut reader: BufReader<TcpStream>) -> (u16, String) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut chunked = false;
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        chunked |= line.to_ascii_lowercase().contains("transfer-encoding: chunked");
    }
    let mut body = Vec::new();
    if !chunked {
        reader.read_to_end(&mut body).unwrap();
        return (status, String::from_utf8(body).unwrap());
    }
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
        if length == 0 {
            return (status, String::from_utf8(body).unwrap());
        }
        let from = body.len();
        body.resize(from + length, 0);
        reader.read_exact(&mut body[from..]).unwrap();
        reader.read_line(&mut line).unwrap();
    }
}

fn post(url: &str, path: &str, body: Value) -> (u16, Value) {
    let (status, text) = receive(send(url, path, "", &body.to_string()));
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn user(text: &str) -> Value {
    json!({"model": "parrot", "messages": [{"role": "user", "content": text}]})
}

#[test]
fn a_served_model_speaks_the_protocol() {
    served(None, |url, _, _| {
        let (status, list) = receive(send(url, "models", "", ""));
        assert_eq!((status, &serde_json::from_str::<Value>(&list).unwrap()["data"][0]["id"]), (200, &json!("parrot")));
        let (status, made) =
            post(url, "chat/completions", json!({"messages": [{"role": "user", "content": "one two three"}], "n": 2, "logprobs": true}));
        assert_eq!(
            (status, &made["object"], &made["choices"][1]["message"]["content"]),
            (200, &json!("chat.completion"), &json!("one two three"))
        );
        assert_eq!(
            (&made["choices"][0]["finish_reason"], &made["usage"]["completion_tokens"], &made["usage"]["total_tokens"]),
            (&json!("stop"), &json!(6), &json!(11))
        );
        assert_eq!(made["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), 3);
        let (_, made) = post(url, "completions", json!({"prompt": ["a b c", "d"], "max_tokens": 2, "model": "parrot"}));
        let choice = |i: usize| {
            (made["choices"][i]["text"].as_str().unwrap().to_string(), made["choices"][i]["finish_reason"].as_str().unwrap().to_string())
        };
        assert_eq!((choice(0), choice(1)), (("a b ".into(), "length".into()), ("d".into(), "stop".into())));
        let (_, made) = post(url, "completions", json!({"prompt": "a b", "echo": true}));
        assert_eq!(made["choices"][0]["text"], "a ba b");
        // As a stream: who speaks, the words, the end, the count, done.
        let mut body = user("one two");
        (body["stream"], body["stream_options"]) = (json!(true), json!({"include_usage": true}));
        let (status, text) = receive(send(url, "chat/completions", "", &body.to_string()));
        let events: Vec<&str> = text.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).collect();
        assert_eq!((status, events.len(), events[5]), (200, 6, "[DONE]"), "{text}");
        let event = |i: usize| serde_json::from_str::<Value>(events[i]).unwrap();
        assert_eq!(event(0)["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(
            (&event(1)["choices"][0]["delta"]["content"], &event(2)["choices"][0]["delta"]["content"]),
            (&json!("one "), &json!("two"))
        );
        assert_eq!((&event(3)["choices"][0]["finish_reason"], &event(4)["usage"]["completion_tokens"]), (&json!("stop"), &json!(2)));
        // And our own client understands our own server.
        let endpoint = open(&format!("openai:{url}"), None).unwrap();
        assert_eq!(one(&endpoint, chat("to and fro")).0.unwrap().text, "to and fro");
        assert_eq!(one(&endpoint, ask(Prompt::Text("there and back".into()))).1, "there and back");
    });
}

#[test]
fn errors_have_the_protocols_shape() {
    served(None, |url, _, _| {
        let long = "x".repeat(100);
        for (path, body, status, word) in [
            ("chat/completions", json!({"model": "other", "messages": []}), 404, "parrot alone"),
            ("chat/completions", json!({"messages": []}), 400, "messages"),
            ("chat/completions", user("refuse"), 400, "too long"),
            ("completions", json!({"prompt": "a", "temperature": -1}), 400, "temperature"),
            ("embeddings", json!({"input": "a"}), 404, "/v1/completions"),
            ("models", json!({}), 404, "POST"),
        ] {
            let (got, answer) = post(url, path, body.clone());
            assert_eq!(got, status, "{path} {body}: {answer}");
            let error = &answer["error"];
            assert!(error["message"].as_str().unwrap().contains(word) && error["type"].is_string(), "{path} {body}: {answer}");
        }
        let mut streamed = user("refuse");
        streamed["stream"] = json!(true);
        assert_eq!(post(url, "chat/completions", streamed).0, 400, "a refusal is no stream");
        let raw = |headers: &str, body: &str| receive(send(url, "completions", headers, body));
        assert_eq!(raw("", "{\"prompt\": ").0, 400);
        assert_eq!(raw("content-type: text/plain\r\n", "{\"prompt\": \"a\"}").0, 415, "a page in a browser may send plain text unasked");
        assert_eq!(raw("host: evil.example\r\n", "{\"prompt\": \"a\"}").0, 403);
        assert_eq!(raw("content-length: 99999999\r\n", &long).0, 413);
    });
}

#[test]
fn a_key_is_asked_for() {
    served(Some("a-long-key"), |url, _, _| {
        let with = |headers: &str| receive(send(url, "models", headers, ""));
        assert_eq!(
            [with("").0, with("authorization: Bearer wrong\r\n").0, with("authorization: Bearer a-long-key\r\n").0],
            [401, 401, 200]
        );
        assert!(with("").1.contains("invalid_api_key"));
        assert_eq!(with("host: evil.example\r\nauthorization: Bearer a-long-key\r\n").0, 200);
        assert!(!format!("{:?}", ServeSpec { key: Some("a-long-key".into()), ..ServeSpec::default() }).contains("long"));
    });
    let at =
        |host: &str, key: Option<&str>| problem(&ServeSpec { host: host.into(), key: key.map(str::to_string), ..ServeSpec::default() });
    assert!(at("0.0.0.0", None).unwrap().contains("--key") && at("::", None).unwrap().contains("--key"));
    assert_eq!([at("127.0.0.1", None), at("localhost", None), at("[::1]", None), at("0.0.0.0", Some("a-long-key"))], [const { None }; 4]);
    assert!(at("0.0.0.0", Some("short")).is_some() && at("no such host", None).is_some());
}

#[test]
fn many_clients_at_once_lose_nothing_and_one_that_leaves_frees_its_place() {
    served(None, |url, parrot, _| {
        // Eight who read a word and leave, more than there are places.
        parrot.held.store(true, Ordering::SeqCst);
        let mut leaving = Vec::new();
        for _ in 0..8 {
            let mut body = user("wait for me");
            body["messages"][0]["content"] = json!("wait");
            body["stream"] = json!(true);
            let mut reader = send(url, "chat/completions", "", &body.to_string());
            let mut line = String::new();
            while !line.contains("\"wait\"") {
                line.clear();
                assert!(reader.read_line(&mut line).unwrap() > 0);
            }
            leaving.push(reader);
        }
        assert_eq!(parrot.under_way.load(Ordering::SeqCst), 8);
        // One that does not stream, and waits for a place; it leaves too.
        let waiting = send(url, "chat/completions", "", &user("wait").to_string());
        drop(waiting);
        drop(leaving);
        until(|| parrot.dropped.load(Ordering::SeqCst) >= 8);
        parrot.held.store(false, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for client in 0..16 {
                scope.spawn(move || {
                    for round in 0..10 {
                        let text = format!("client {client} in round {round} says this");
                        let (status, made) = post(url, "chat/completions", user(&text));
                        assert_eq!((status, made["choices"][0]["message"]["content"].as_str()), (200, Some(text.as_str())));
                    }
                });
            }
        });
        assert!(parrot.most.load(Ordering::SeqCst) > 1, "requests join while others are under way");
    });
}

#[test]
fn the_end_lets_what_is_under_way_finish() {
    served(None, |url, parrot, ear| {
        parrot.held.store(true, Ordering::SeqCst);
        let mut body = user("wait and see");
        body["messages"][0]["content"] = json!("so wait");
        let reader = send(url, "chat/completions", "", &body.to_string());
        until(|| parrot.under_way.load(Ordering::SeqCst) == 1);
        ear.stop.store(true, Ordering::Release);
        until(|| {
            TcpStream::connect(url.trim_start_matches("http://").trim_end_matches("/v1")).is_err()
                || !parrot.held.swap(false, Ordering::SeqCst)
        });
        let (status, text) = receive(reader);
        assert_eq!(status, 200, "{text}");
        assert!(text.contains("so wait"), "{text}");
    });
}
