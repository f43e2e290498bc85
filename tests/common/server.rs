//! A small HTTP server on loopback that answers as a test's function says, broken answers included.
//! Not here: what a hub or a model's server would say.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a client asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
    /// The first byte of a range that was asked for.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What it is answered.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

pub enum Body {
    Whole(Vec<u8>),
    /// The announced length is the whole's; the connection ends after so many bytes.
    Cut(Vec<u8>, usize),
    /// Pieces of unknown number and length, each written by itself; the server goes on until the client leaves or there are
    /// no more.
    Pieces(Box<dyn Iterator<Item = Vec<u8>> + Send>),
    /// No answer at all: the connection is closed.
    Nothing,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Whole(body.into()) }
    }
    pub fn json(value: serde_json::Value) -> Self {
        Self::new(200, value.to_string()).with("content-type", "application/json")
    }
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
    pub fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }
}

pub struct Server {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    ends: Arc<AtomicBool>,
}

impl Server {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, over, answer) = (asked.clone(), ends.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(stream), log, answer) = (stream, log.clone(), answer.clone()) else { continue };
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    // A client that leaves is part of some tests.
                    let _ = write(&stream, answer(&request));
                });
            }
        });
        Self { port, asked, ends }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut first = line.split_whitespace();
    let mut asked = Asked { method: first.next()?.into(), path: first.next()?.into(), ..Asked::default() };
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        asked.headers.push((name.to_ascii_lowercase(), value.trim().into()));
    }
    let length = asked.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

fn write(mut stream: &TcpStream, reply: Reply) -> std::io::Result<()> {
    let length = match &reply.body {
        Body::Whole(bytes) | Body::Cut(bytes, _) => format!("content-length: {}\r\n", bytes.len()),
        Body::Pieces(_) => String::new(),
        Body::Nothing => return Ok(()),
    };
    let mut head = format!("HTTP/1.1 {} x\r\n{length}connection: close\r\n", reply.status);
    reply.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    match reply.body {
        Body::Whole(bytes) => stream.write_all(&bytes)?,
        Body::Cut(bytes, end) => stream.write_all(&bytes[..end.min(bytes.len())])?,
        Body::Pieces(pieces) => {
            for piece in pieces {
                stream.write_all(&piece)?;
                stream.flush()?;
            }
        }
        Body::Nothing => {}
    }
    stream.flush()
}
