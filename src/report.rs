//! What a job says about itself, and the one way in which a long computation hears the outside world.
//! Deliberately not here: channels, files and threads; they are the engine's and the run's.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::GenerateSpec;

/// Version of events, frames and files; a reader keeps fields that it does not know.
pub const SCHEMA: u32 = 1;

/// A job's number, given by the engine and unique within one engine process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

/// One report with its job, its place in that job's stream, and when it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub job: JobId,
    /// Counts from 0 within a run, and goes on over resumes.
    pub seq: u64,
    /// Milliseconds since the Unix epoch, by the clock of the engine.
    #[serde(default)]
    pub at_ms: u64,
    pub report: Report,
}

/// Everything that a job can say. Owned plain data, the same on disk, on the wire and in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The first report of a job.
    Started { kind: String, title: String, run: Option<String> },
    /// A run goes on from this step: readers drop what was logged for later steps before it.
    Resumed { step: u64 },
    /// Waiting, running or paused; the end of a job has reports of its own.
    State { state: JobState, why: String },
    /// Something countable moves on.
    Progress { what: String, done: u64, total: Option<u64>, unit: String },
    /// What a metric is: told once, before its first value.
    Metric(Metric),
    /// Values at a step: `{"values":{"step":400,"val/loss":1.91}}`.
    Values(Values),
    /// Text generated for `prompt` at a step of training.
    Sample { step: u64, prompt: String, text: String },
    /// One generated token (or, with `from_prompt`, one token of the prompt as the tokenizer cut it).
    Token(Token),
    /// The distribution of the next token after everything said so far.
    Distribution(Distribution),
    /// Something that a person should read.
    Note { level: Level, text: String },
    /// A file or directory was made.
    Artifact { kind: String, path: PathBuf, step: Option<u64> },
    /// What the job results in, as named values for people and programs.
    Facts(BTreeMap<String, serde_json::Value>),
    /// The job is done (`stopped` where a person ended it early, and what it had was saved). `summary` is for people;
    /// `result` says what came of it to a program that reads the last line alone.
    Finished {
        stopped: bool,
        summary: String,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        result: BTreeMap<String, serde_json::Value>,
    },
    /// The job ended by a fault. `hint` says what usually helps.
    Failed { cause: String, hint: String, log: Option<PathBuf> },
    /// A report of a later version: kept, not understood.
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

impl Report {
    /// Whether the job is over with this report.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Failed { .. })
    }
    /// The end of a job that has nothing to tell to programs.
    pub fn finished(stopped: bool, summary: impl Into<String>) -> Self {
        Self::Finished { stopped, summary: summary.into(), result: BTreeMap::new() }
    }
    pub fn note(level: Level, text: impl Into<String>) -> Self {
        Self::Note { level, text: text.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Waiting,
    Running,
    Paused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Info,
    Warning,
    Error,
}

/// A metric's definition. Names are paths: `train/loss`, `val/loss`, `lr`, `grad_norm`, `time/forward_ms`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    pub name: String,
    pub unit: String,
    pub help: String,
    /// Whether a smaller value is the better one; none where neither is.
    pub lower_is_better: Option<bool>,
}

/// The values of one step. A value that is not finite is written as the string `nan`, `inf` or `-inf`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    pub step: u64,
    pub values: Vec<(String, f64)>,
}

impl Values {
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }
}

impl Serialize for Values {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.values.len() + 1))?;
        map.serialize_entry("step", &self.step)?;
        for (name, value) in &self.values {
            if value.is_finite() {
                map.serialize_entry(name, value)?;
            } else {
                map.serialize_entry(name, non_finite_name(*value))?;
            }
        }
        map.end()
    }
}

fn non_finite_name(value: f64) -> &'static str {
    if value.is_nan() {
        "nan"
    } else if value > 0.0 {
        "inf"
    } else {
        "-inf"
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Values;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object of a step and named values")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let mut out = Values::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "step" {
                        out.step = map.next_value()?;
                        continue;
                    }
                    match map.next_value::<serde_json::Value>()? {
                        serde_json::Value::Number(n) => out.values.push((name, n.as_f64().unwrap_or(f64::NAN))),
                        serde_json::Value::String(s) => match s.as_str() {
                            "nan" => out.values.push((name, f64::NAN)),
                            "inf" => out.values.push((name, f64::INFINITY)),
                            "-inf" => out.values.push((name, f64::NEG_INFINITY)),
                            _ => {}
                        },
                        _ => {}
                    }
                }
                Ok(out)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// One token as it was generated. Streaming text is the concatenation of `bytes`, decoded as UTF-8 by the reader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    pub id: u32,
    /// The raw bytes that this token adds; may end within a character.
    pub bytes: Vec<u8>,
    /// Probability under the model's own distribution (temperature 1, nothing cut).
    pub probability: f32,
    /// The most probable tokens at this place, best first, by the model's own distribution.
    pub alternatives: Vec<Candidate>,
    pub from_prompt: bool,
}

impl Token {
    /// The id of a piece of text that a server generated: its tokens and their ids are its own.
    pub const OF_SERVER: u32 = u32::MAX;

    /// A piece of text from a server, which says no probability with it.
    pub fn of_server(text: &str) -> Self {
        Self { id: Self::OF_SERVER, bytes: text.as_bytes().to_vec(), probability: 0.0, alternatives: Vec::new(), from_prompt: false }
    }
    /// Whether its id and its probability mean anything: those of a server's text do not.
    pub fn is_known(&self) -> bool {
        self.id != Self::OF_SERVER
    }
}

/// A possible next token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub id: u32,
    pub text: String,
    pub logit: f32,
    pub probability: f32,
}

/// The next token's distribution: the best candidates exactly, the rest as a histogram of logits, so that a
/// screen can apply any temperature without asking again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Best first, by logit.
    pub top: Vec<Candidate>,
    /// (mean logit, how many tokens) of all that are not in `top`.
    pub tail: Vec<(f32, u32)>,
}

/// One token and one weight through a step that a person took by itself; told as the fact [`Followed::FACT`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Followed {
    /// The step that was taken.
    pub step: u64,
    /// The end of the text before the token, and the token that really came.
    pub before: String,
    pub target: String,
    /// What the model held to be the likeliest, before the update.
    pub guess: String,
    pub guess_probability: f64,
    /// Of the token that came, before and after the update; without dropout.
    pub probability: f64,
    pub probability_after: f64,
    /// In nats, before the update.
    pub loss: f64,
    /// A weight by its parameter and place, `embed_tokens[412, 17]`: the one of the token's own row with
    /// the largest gradient.
    pub weight: String,
    /// Over the whole batch, before clipping.
    pub gradient: f64,
    pub value: f64,
    pub value_after: f64,
    pub lr: f64,
    /// What clipping multiplied the gradients by.
    pub clip: f64,
}

impl Followed {
    pub const FACT: &'static str = "followed";
}

/// What a computation is asked to do at a safepoint; also what a screen sends to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Go on; ends a pause.
    Continue,
    Checkpoint,
    Pause,
    /// While paused: do exactly one step, then pause again.
    Step,
    /// Save and end.
    Stop,
    /// Lend the device to a waiting job.
    Yield,
    /// Generate with the weights as they are now; reports and stop are the job's own (`Monitor::child`).
    Serve(JobId, GenerateSpec),
}

/// Whether a write failed for want of room (of the disk, or of the user's share of it).
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Where a run's events are kept as they are made.
pub trait Sink: Send {
    /// The number of the next event.
    fn next_seq(&self) -> u64;
    /// Where the disk is full, the event is kept in memory and the error says so: `retry` then goes on. After any other
    /// error nothing can be kept any more.
    fn write(&mut self, event: &Event) -> io::Result<()>;
    /// Writes what waits for room.
    fn retry(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The only way in which a long computation hears the outside world.
pub trait Monitor: Send + Sync {
    fn report(&self, report: Report);
    /// Asked per generated token and per item of an evaluation.
    fn stopped(&self) -> bool;
    /// Asked once a training step. Never waits.
    fn safepoint(&self) -> Signal;
    /// Waits for the next signal; asked while paused. Never returns `Pause` twice for one request.
    fn wait(&self) -> Signal;
    /// A monitor for a job that is served within this one.
    fn child(&self, job: JobId) -> Box<dyn Monitor>;
    /// From now on every event of this job is numbered by `sink` and written to it before anybody else sees it.
    fn attach(&self, sink: Box<dyn Sink>);
}

/// A monitor that nobody listens to.
pub struct Silent;

impl Monitor for Silent {
    fn report(&self, _: Report) {}
    fn stopped(&self) -> bool {
        false
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
