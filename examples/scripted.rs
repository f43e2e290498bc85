//! The workbench over a scripted engine, to look at panes without a model: `cargo run --example scripted [DIR]`.
//! Training goes through made-up curves; a generation repeats its prompt. Nothing is computed and nothing written.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weightroom::engine::protocol::{Command, Up};
use weightroom::report::{Candidate, Distribution, Event, JobId, JobState, Report, SCHEMA, Signal, Token, Values};
use weightroom::spec::{GenerateSpec, JobSpec, TrainSpec};

fn main() -> color_eyre::Result<()> {
    let project = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let ((commands, asked), (up, events)) = (channel(), channel());
    let _ = up.send(Up::Hello { schema: SCHEMA, version: "0.1.0".into(), device: "scripted".into(), threads: 2 });
    std::thread::spawn(move || engine(&asked, &up));
    let theme = std::env::var("THEME").ok();
    let ascii = std::env::var_os("ASCII").is_some();
    weightroom::ui::run_over(
        std::path::Path::new(&project),
        commands,
        events,
        weightroom::ui::Options { theme, ascii, ..Default::default() },
    )
}

type Signals = Arc<Mutex<Vec<(JobId, Signal)>>>;

fn engine(asked: &Receiver<Command>, up: &Sender<Up>) {
    let signals = Signals::default();
    let mut next = 1;
    while let Ok(command) = asked.recv() {
        match command {
            Command::Start { ticket, spec } => {
                let job = JobId(next);
                next += 1;
                let _ = up.send(Up::Started { ticket, job });
                let (up, signals) = (up.clone(), signals.clone());
                std::thread::spawn(move || {
                    if spec.kind == "train" { train(job, &spec, &up, &signals) } else { generate(job, &spec, &up, &signals) }
                });
            }
            Command::Signal { job, signal } => {
                if let Ok(mut list) = signals.lock() {
                    list.push((job, signal));
                }
            }
            Command::Shutdown => {
                let _ = up.send(Up::Bye);
                return;
            }
        }
    }
}

/// Sends reports as one job's events.
struct Voice<'a> {
    job: JobId,
    seq: u64,
    up: &'a Sender<Up>,
}

impl Voice<'_> {
    fn say(&mut self, report: Report) {
        let at_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let _ = self.up.send(Up::Events(vec![Event { job: self.job, seq: self.seq, at_ms, report }]));
        self.seq += 1;
    }
}

fn taken(signals: &Signals, job: JobId) -> Option<Signal> {
    let mut list = signals.lock().ok()?;
    let at = list.iter().position(|(j, _)| *j == job)?;
    Some(list.remove(at).1)
}

fn train(job: JobId, spec: &JobSpec, up: &Sender<Up>, signals: &Signals) {
    let asked: TrainSpec = serde_json::from_value(spec.params.clone()).unwrap_or_default();
    let name = asked.name.unwrap_or_else(|| "demo".into());
    let mut voice = Voice { job, seq: 0, up };
    voice.say(Report::Started { kind: "train".into(), title: name.clone(), run: Some(name) });
    let steps = 600u64;
    let mut paused = false;
    let mut step = 0;
    while step < steps {
        match taken(signals, job) {
            Some(Signal::Stop) => return voice.say(Report::Finished { stopped: true, summary: format!("saved at step {step}") }),
            Some(Signal::Pause) => paused = true,
            Some(Signal::Continue) => paused = false,
            _ => {}
        }
        if paused {
            voice.say(Report::State { state: JobState::Paused, why: "asked for".into() });
            std::thread::sleep(Duration::from_millis(100));
            continue;
        }
        step += 1;
        let noise = ((step * 7919) % 97) as f64 / 97.0 - 0.5;
        let loss = 1.2 + 3.0 * (-(step as f64) / 120.0).exp() + 0.15 * noise;
        let mut values = vec![
            ("train/loss".to_string(), loss),
            ("lr".into(), 1e-3 * (step as f64 / 100.0).min(1.0)),
            ("grad_norm".into(), 0.8 + 0.4 * noise),
            ("tokens_per_s".into(), 21_000.0 + 900.0 * noise),
            ("memory_mb".into(), 412.0),
            ("time/forward_ms".into(), 9.0 + noise),
            ("time/backward_ms".into(), 17.0 + noise),
            ("time/update_ms".into(), 3.0),
        ];
        if step % 50 == 0 {
            values.push(("val/loss".into(), loss + 0.1));
            let text = format!("The cat sat on the mat at step {step}.");
            voice.say(Report::Sample { step, prompt: "The cat".into(), text });
        }
        voice.say(Report::Values(Values { step, values }));
        if step == 1 {
            voice.say(Report::Facts([("steps".to_string(), steps.into()), ("parameters".to_string(), 812_000.into())].into()));
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    voice.say(Report::Finished { stopped: false, summary: "600 steps, best validation loss 1.31".into() });
}

fn generate(job: JobId, spec: &JobSpec, up: &Sender<Up>, signals: &Signals) {
    let asked: GenerateSpec = serde_json::from_value(spec.params.clone()).unwrap_or_default();
    let mut voice = Voice { job, seq: 0, up };
    voice.say(Report::Started { kind: "generate".into(), title: asked.model, run: None });
    let top: Vec<Candidate> = ["mat", "floor", "couch", "table", "bed"]
        .iter()
        .enumerate()
        .map(|(i, text)| Candidate { id: i as u32, text: format!(" {text}"), logit: 3.0 - i as f32, probability: 0.6 / (i + 1) as f32 })
        .collect();
    voice.say(Report::Distribution(Distribution { top: top.clone(), tail: vec![(-2.0, 400)] }));
    for i in 0..asked.max_tokens {
        if taken(signals, job) == Some(Signal::Stop) {
            return voice.say(Report::Finished { stopped: true, summary: format!("{i} tokens") });
        }
        let word = ["the", "cat", "sat", "on", "the", "mat"][i % 6];
        let probability = [0.9, 0.3, 0.6, 0.8, 0.5, 0.1][i % 6];
        let bytes = format!(" {word}").into_bytes();
        voice.say(Report::Token(Token { id: i as u32, bytes, probability, alternatives: top.clone(), from_prompt: false }));
        std::thread::sleep(Duration::from_millis(30));
    }
    voice.say(Report::Finished { stopped: false, summary: format!("{} tokens", asked.max_tokens) });
}
