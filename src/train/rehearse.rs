//! A rehearsal: the first steps of a training by the very loop that trains, timed, of which nothing is kept.
//! Deliberately not here: what is trained on; whoever rehearses brings a recipe and its files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use candle_core::Device;

use super::drive::{Keep, TrainError, Trainer};
use super::objective::Flow;
use super::objective::pretrain::Pretrain;
use super::prepare;
use crate::model::ops::OpTimes;
use crate::recipe::Recipe;
use crate::report::{Event, JobId, Monitor, Report, Signal, Sink};
use crate::run::directory::RunDir;

/// What the steps took.
pub struct Rehearsal {
    /// Of each step after the warm ones: batch, forward, loss, backward, norm, clipping, update, log.
    pub seconds: Vec<f64>,
    /// Means of the steps' phases in ms, by metric.
    pub phases: Vec<(String, f64)>,
    /// Means of a step, over the lanes.
    pub ops: OpTimes,
    pub lanes: usize,
    pub parameters: usize,
    pub flops_per_token: f64,
    pub precision: &'static str,
    /// What was asked for and not given.
    pub notes: Vec<String>,
    /// A person wanted the end.
    pub stopped: bool,
}

/// Pretrains `warm + steps` steps in `dir`, which has to be empty, without evaluations and checkpoints. `told` hears
/// of every step.
pub fn rehearse(
    recipe: Recipe,
    dir: &Path,
    device: Device,
    (warm, steps): (usize, usize),
    monitor: &dyn Monitor,
    mut told: impl FnMut(usize),
) -> Result<Rehearsal, TrainError> {
    let closed = Closed { outer: monitor, kept: Mutex::default() };
    let from = prepare::From { project: dir, checkpoint: None, tokenizer: None, device: &device };
    let material = prepare::material(recipe, &from, &closed)?;
    let (run, lock) = RunDir::create(dir, Some("rehearsal"), "", &material.recipe.to_toml())?;
    let mut trainer = Trainer::new(run, lock, material, device.clone(), None, &closed)?;
    let mut keep = Keep::<Pretrain>::of(&trainer, None)?;
    let mut seconds = Vec::new();
    let mut stopped = false;
    for step in 0..warm + steps {
        stopped = monitor.stopped();
        if stopped {
            break;
        }
        if step == warm {
            trainer.twins.iter().for_each(|twin| drop(twin.op_times()));
            closed.kept().phases.clear();
        }
        let began = Instant::now();
        let flow = trainer.advance(&mut keep)?;
        device.synchronize().map_err(crate::model::ModelError::from)?;
        if step >= warm {
            seconds.push(began.elapsed().as_secs_f64());
        }
        told(step + 1);
        if flow == Flow::Finish {
            break;
        }
    }
    let share = 1.0 / (trainer.twins.len() * seconds.len()).max(1) as f64;
    let mut ops = OpTimes::new();
    for (name, times) in trainer.twins.iter().flat_map(|twin| twin.op_times()) {
        let sum = ops.entry(name).or_default();
        sum.iter_mut().zip(times).for_each(|(sum, time)| *sum += time * share);
    }
    let phases = std::mem::take(&mut closed.kept().phases);
    Ok(Rehearsal {
        seconds,
        ops,
        phases: phases.into_iter().map(|(name, (sum, count))| (name, sum / count)).collect(),
        lanes: trainer.twins.len(),
        parameters: trainer.decoder.params().iter().map(|p| p.var.elem_count()).sum(),
        flops_per_token: trainer.decoder.config().flops_per_token(),
        precision: trainer.precision.name(&trainer.decoder),
        notes: trainer.precision.notes.clone(),
        stopped,
    })
}

/// Hears its job's end from outside, and tells nobody: reports go to the rehearsal's own log.
struct Closed<'a> {
    outer: &'a dyn Monitor,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    sink: Option<Box<dyn Sink>>,
    /// Sums and counts of the phases' times.
    phases: BTreeMap<String, (f64, f64)>,
}

impl Closed<'_> {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor for Closed<'_> {
    fn report(&self, report: Report) {
        let mut kept = self.kept();
        if let Report::Values(values) = &report {
            for (name, value) in values.values.iter().filter(|(name, _)| name.starts_with("time/")) {
                let (sum, count) = kept.phases.entry(name.clone()).or_default();
                (*sum, *count) = (*sum + value, *count + 1.0);
            }
        }
        if let Some(sink) = &mut kept.sink {
            let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64);
            // The trainer asks its log for faults after every step.
            let _ = sink.write(&Event { job: JobId(0), seq: sink.next_seq(), at_ms, report });
        }
    }
    fn stopped(&self) -> bool {
        self.outer.stopped()
    }
    fn safepoint(&self) -> Signal {
        Signal::Continue
    }
    fn wait(&self) -> Signal {
        Signal::Continue
    }
    fn child(&self, job: JobId) -> Box<dyn Monitor> {
        self.outer.child(job)
    }
    fn attach(&self, sink: Box<dyn Sink>) {
        self.kept().sink = Some(sink);
    }
}
