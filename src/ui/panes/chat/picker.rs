//! The models that one can talk to: the runs of the project, the one in training first, and their checkpoints.
//! Deliberately not here: loading one; a model is a name until the engine opens it.

use crate::sample::eliza;
use crate::ui::world::{Run, Status, World};

/// A model by the name that the engine knows, and what a person reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// A run's name or a checkpoint directory.
    pub model: String,
    pub label: String,
    /// `●` in training, `✓` finished, `◦` a checkpoint, …
    pub mark: char,
    pub about: String,
    /// The run that it belongs to.
    pub run: String,
}

impl Choice {
    /// A model that the list does not know: a directory.
    pub fn named(model: &str) -> Self {
        Self { model: model.into(), label: model.into(), mark: '◦', about: String::new(), run: model.into() }
    }
}

/// All choices, in the order of the list: what is in training, then the newest first; checkpoints below their run.
pub fn choices(world: &World) -> Vec<Choice> {
    let mut runs: Vec<&Run> = world.runs.values().collect();
    runs.sort_by(|a, b| b.is_live().cmp(&a.is_live()).then(b.at_ms.cmp(&a.at_ms)).then(a.name.cmp(&b.name)));
    let mut out = Vec::new();
    for run in runs {
        let (mark, about) = about(run);
        out.push(Choice { model: run.name.clone(), label: run.name.clone(), mark, about, run: run.name.clone() });
        for (step, path) in run.checkpoints.iter().rev() {
            let model = if path.is_absolute() { path.clone() } else { world.project.join(path) };
            out.push(Choice {
                model: model.to_string_lossy().into_owned(),
                label: format!("{} @ step {step}", run.name),
                mark: '◦',
                about: "checkpoint".into(),
                run: run.name.clone(),
            });
        }
    }
    out.push(Choice {
        model: eliza::NAME.into(),
        label: "ELIZA".into(),
        mark: '◇',
        about: "no model: a program of rules like that of 1964, for comparison".into(),
        run: eliza::NAME.into(),
    });
    out
}

/// The model that one talks to when nothing was picked: the world's favourite run.
pub fn default(world: &World) -> Option<Choice> {
    let favourite = world.favourite()?;
    choices(world).into_iter().find(|c| c.model == favourite.name)
}

fn about(run: &Run) -> (char, String) {
    let loss = run.best.map(|(_, loss)| format!(" · val {loss:.3}")).unwrap_or_default();
    match run.status() {
        Status::Running => ('●', format!("in training, step {}{loss}", run.step)),
        Status::Paused => ('‖', format!("paused at step {}{loss}", run.step)),
        Status::Waiting => ('…', "waits for the device".into()),
        Status::Elsewhere => ('◌', format!("in training elsewhere, step {}{loss}", run.step)),
        Status::Interrupted => ('!', format!("interrupted at step {}{loss}", run.step)),
        Status::Stopped => ('■', format!("stopped at step {}{loss}", run.step)),
        Status::Finished => ('✓', format!("{} steps{loss}", run.step)),
        Status::Failed => ('✗', format!("failed at step {}{loss}", run.step)),
    }
}
