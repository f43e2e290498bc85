//! What comes next for a model, explained: two or three things worth doing now, each with its key and its reason.
//! Deliberately not here: drawing, and what the stations are (`stations`).

use super::experiments::EXPERIMENTS;
use crate::text::visible;
use crate::ui::widgets;
use crate::ui::world::{Ended, Run, Status, World};

/// One thing to do: the keys that do it (none for what happens by itself), and what it is good for.
pub struct Step {
    pub keys: &'static str,
    pub text: String,
}

fn step(keys: &'static str, text: impl Into<String>) -> Step {
    Step { keys, text: text.into() }
}

/// What is worth doing now, the most useful first.
pub fn steps(world: &World, run: Option<&Run>) -> Vec<Step> {
    let Some(run) = run else { return in_an_empty_project() };
    let name = visible(&run.name, false).into_owned();
    let mut out = match run.status() {
        Status::Running | Status::Paused => at_work(run, &name),
        Status::Waiting => {
            let holder = world.live_run().map_or("another run".to_string(), |live| visible(&live.name, false).into_owned());
            vec![step("", format!("{name} waits: the device is busy with {holder}. It begins by itself."))]
        }
        Status::Elsewhere => vec![step("g t", format!("Another process is training {name}: its curve grows in Train all the same."))],
        Status::Interrupted => {
            vec![step("g t r", format!("{name} ended without a word. r in Train goes on from its last checkpoint, with the same numbers."))]
        }
        Status::Failed => failed(run, &name),
        Status::Stopped => vec![
            step("g c", format!("Talk to {name} as it is: half-trained models are worth a look.")),
            step("g t r", "r in Train goes on where it was stopped, as if it had never been."),
        ],
        Status::Finished => finished(run, &name),
    };
    if let Some(waiting) = world.waiting_runs().first().filter(|w| w.name != run.name) {
        out.push(step("g j", format!("{} waits for the device and begins when it is free.", visible(&waiting.name, false))));
    }
    let untried = EXPERIMENTS.iter().find(|e| e.answer(world).is_none());
    if let Some(experiment) = untried.filter(|_| !matches!(run.status(), Status::Waiting)) {
        out.push(step("Tab", format!("An experiment not run yet: {}. {} Guess first, then look.", experiment.name, experiment.question)));
    }
    out
}

fn in_an_empty_project() -> Vec<Step> {
    vec![
        step(
            "Enter",
            "Train the sample: about a minute on two cores. Train opens and shows the loss fall, and noise turn into words, and words into sentences.",
        ),
        step("g c", "Then talk to it: give it the beginning of a sentence, and see what it takes to be likely next, word by word."),
        step("o", "Or begin with a text of your own: any file of plain text or JSONL. The form says what it would cost before it starts."),
    ]
}

fn at_work(run: &Run, name: &str) -> Vec<Step> {
    let when = match run.eta_ms() {
        Some(ms) if run.status() == Status::Running => format!(", in about {},", widgets::duration(ms / 5_000 * 5_000 + 5_000)),
        _ => String::new(),
    };
    let paused = run.status() == Status::Paused;
    let mut out = vec![if paused {
        step("g t .", "It is paused: in Train each . does one step and shows what it changed; p goes on.")
    } else {
        step("g t", format!("Watch {name} in Train: the curve, what one step does and how long each part of it takes."))
    }];
    if run.step > 0 {
        out.push(step("g c", "Talk to it while it learns: the same prompt now and in a minute shows what was learnt between."));
    }
    if !paused {
        out.push(step("", format!("At the end{when} its loss on text that it never saw says how much of it is understanding.")));
    }
    out
}

fn failed(run: &Run, name: &str) -> Vec<Step> {
    let cause = match &run.ended {
        Some(Ended::Failed { cause, .. }) => visible(cause, false).into_owned(),
        _ => String::new(),
    };
    let mut out = vec![step("", format!("{name} failed: {cause}"))];
    if run.diverged() {
        out.push(step("g t f", "f in Train makes a new run of its recipe: a third of the learning rate is the usual cure."));
    } else if run.newest_checkpoint().is_some() {
        out.push(step("g t r", "r in Train goes on from its last checkpoint, once the cause is gone."));
    }
    out
}

fn finished(run: &Run, name: &str) -> Vec<Step> {
    let mut out = vec![step(
        "g c",
        format!("Talk to {name}. Tint its words by their probability (t), open one (Enter) and take another way from there."),
    )];
    // The last two thirds of a gain in the last third of the steps: it was not done.
    if let Some((at, _)) = run.best.filter(|(at, _)| run.steps.is_some_and(|steps| *at >= steps && steps > 0)) {
        let text = format!(
            "Its best loss came at the last step ({}): more steps would help. f in Train makes a longer run.",
            widgets::grouped(at)
        );
        out.push(step("g t f", text));
    } else if let Some((at, _)) = run.best.filter(|(at, _)| run.steps.is_some_and(|steps| *at < steps)) {
        let text = format!(
            "Its best loss came at step {}, then it rose: it began to learn its text by heart. More text would help.",
            widgets::grouped(at)
        );
        out.push(step("g t f", text));
    }
    out
}
