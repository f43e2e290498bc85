//! What a run measures of itself: the metrics and their meaning, the times of a step's phases, the memory in use.
//! Deliberately not here: where the values go (`drive` reports them).

use std::time::{Duration, Instant};

use candle_core::Device;

use super::drive::TrainError;
use crate::model::ModelError;
use crate::model::accelerator::{self, Gauge};
use crate::report::Metric;

/// The parts of a step, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Batch,
    Forward,
    Loss,
    Backward,
    Update,
}

const PHASES: usize = 5;
const PHASE_METRICS: [&str; PHASES] = ["time/batch_ms", "time/forward_ms", "time/loss_ms", "time/backward_ms", "time/update_ms"];
/// On a device that works asynchronously, waiting for each phase costs time: only every so manieth step is timed.
const TIMED_EVERY: u64 = 16;

/// The times of the phases of one step.
#[derive(Clone)]
pub struct Phases {
    device: Device,
    timed: bool,
    last: Instant,
    ms: [f64; PHASES],
}

impl Phases {
    pub fn begin(device: &Device, step: u64) -> Self {
        let timed = device.is_cpu() || step.is_multiple_of(TIMED_EVERY);
        Self { device: device.clone(), timed, last: Instant::now(), ms: [0.0; PHASES] }
    }

    /// What was done since the last mark belongs to `phase`.
    pub fn mark(&mut self, phase: Phase) -> Result<(), TrainError> {
        if !self.timed {
            return Ok(());
        }
        if !self.device.is_cpu() {
            self.device.synchronize().map_err(ModelError::from)?;
        }
        let now = Instant::now();
        self.ms[phase as usize] += now.duration_since(self.last).as_secs_f64() * 1e3;
        self.last = now;
        Ok(())
    }

    /// The same clock for work that goes on beside others'; `join` brings it back.
    pub fn fork(&self) -> Self {
        Self { ms: [0.0; PHASES], last: Instant::now(), ..self.clone() }
    }

    /// Adds the mean of what was done side by side. What the slowest took longer than that is counted by the next mark.
    pub fn join(&mut self, forks: &[Self]) {
        let count = forks.len().max(1) as f64;
        for fork in forks {
            let ms = fork.ms.iter().map(|ms| ms / count);
            self.last += Duration::from_secs_f64(ms.clone().sum::<f64>() / 1e3);
            self.ms.iter_mut().zip(ms).for_each(|(sum, ms)| *sum += ms);
        }
    }

    /// Does something that belongs to no phase.
    pub fn aside<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let out = work();
        self.last += began.elapsed();
        out
    }

    /// Named values; none for a step that was not timed.
    pub fn values(&self) -> impl Iterator<Item = (String, f64)> {
        let count = if self.timed { PHASES } else { 0 };
        PHASE_METRICS.iter().zip(self.ms).take(count).map(|(name, ms)| (name.to_string(), ms))
    }
}

/// Every metric of a training run on this device.
pub fn metrics(device: &Device) -> Vec<Metric> {
    let lower = Some(true);
    let gpu = matches!(device, Device::Cuda(_));
    let memory = if gpu { "Memory in use on the GPU, by all programs." } else { "Memory of this process." };
    let table: [(&str, &str, &str, Option<bool>); 15] = [
        ("train/loss", "nats", "How surprised the model was by the tokens of this step, before it learned from them.", lower),
        ("val/loss", "nats", "The same on text that it never trains on: what it has learned, not what it remembers.", lower),
        (
            "val/loss_whole",
            "nats",
            "Validation loss over the whole validation split, at the end of a run whose evaluations sample it.",
            lower,
        ),
        ("val/bits_per_byte", "bits", "Validation loss for each byte of text: comparable between tokenizers.", lower),
        ("lr", "", "Learning rate: how far this step went.", None),
        ("grad_norm", "", "Length of the gradient over all parameters, before clipping.", None),
        ("update_ratio", "", "Length of this step's change over the length of the weights; about 0.001 is usual.", None),
        ("tokens_per_s", "tokens/s", "Tokens trained on in a second, with everything that a step does.", Some(false)),
        ("memory_mb", "MB", memory, lower),
        ("epoch", "epochs", "How often the training tokens have been seen, on average.", None),
        ("time/batch_ms", "ms", "Drawing the batch and laying it out.", lower),
        ("time/forward_ms", "ms", "From tokens to the last hidden states.", lower),
        ("time/loss_ms", "ms", "From hidden states to the loss.", lower),
        ("time/backward_ms", "ms", "From the loss back to a gradient for every weight.", lower),
        ("time/update_ms", "ms", "The optimizer's change of every weight.", lower),
    ];
    let metric = |(name, unit, help, lower_is_better): (&str, &str, &str, Option<bool>)| Metric {
        name: name.into(),
        unit: unit.into(),
        help: help.into(),
        lower_is_better,
    };
    let of_gpus: [(&str, &str, &str, Option<bool>); 2] = [
        ("gpu/busy_percent", "%", "Share of the time in which the GPU computed, as its driver says.", Some(false)),
        ("gpu/temperature_c", "°C", "Temperature of the GPU.", lower),
    ];
    table.into_iter().chain(of_gpus.into_iter().filter(|_| gpu)).map(metric).collect()
}

/// The memory that a training is in: the GPU's, else that of this process; and how the GPU does. Asked at most a few
/// times a second.
pub struct Memory {
    device: Device,
    gauge: Gauge,
    asked: Option<Instant>,
    values: Vec<(String, f64)>,
}

impl Memory {
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), gauge: Gauge::open(device), asked: None, values: Vec::new() }
    }

    /// Named values.
    pub fn values(&mut self) -> Vec<(String, f64)> {
        if self.asked.is_none_or(|t| t.elapsed().as_millis() >= 250) {
            self.asked = Some(Instant::now());
            let mb = accelerator::used_bytes(&self.device).map(|bytes| bytes as f64 / (1 << 20) as f64).or_else(resident_mb);
            self.values = mb.map(|mb| ("memory_mb".to_string(), mb)).into_iter().collect();
            if let Some((busy, warm)) = self.gauge.read() {
                self.values.push(("gpu/busy_percent".into(), busy));
                self.values.push(("gpu/temperature_c".into(), warm));
            }
        }
        self.values.clone()
    }
}

#[cfg(target_os = "linux")]
fn resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kb: f64 = line.trim().split(' ').next()?.parse().ok()?;
    Some(kb / 1024.0)
}

#[cfg(not(target_os = "linux"))]
fn resident_mb() -> Option<f64> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[pid]), true);
    system.process(pid).map(|p| p.memory() as f64 / (1 << 20) as f64)
}
