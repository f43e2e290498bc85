//! Experiments: variations of a recipe that answer a question, each started by one Enter.
//! Deliberately not here: the curves; Train lays them over each other.

use std::path::PathBuf;

use crate::data::sample;
use crate::recipe::Recipe;
use crate::spec::{JobSpec, TrainSpec};
use crate::ui::pane::{Effect, Show};
use crate::ui::world::{Run, Status, World};

/// One run of an experiment.
struct Variant {
    /// The beginning of its name.
    slug: &'static str,
    change: fn(&mut Recipe),
}

pub struct Experiment {
    pub name: &'static str,
    pub question: &'static str,
    variants: &'static [Variant],
    /// Whether the curves are compared with the plain recipe's; else the variants with each other.
    against_base: bool,
}

pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "learning rate × 30",
        question: "What does a step do that is far too long?",
        variants: &[Variant {
            slug: "lr-x30",
            change: |r| {
                r.optim.lr = (r.optim.lr * 30.0).min(10.0);
                r.optim.min_lr = r.optim.min_lr.map(|m| m * 30.0);
            },
        }],
        against_base: true,
    },
    Experiment {
        name: "1 layer against 8",
        question: "What does depth buy, at the same number of steps?",
        variants: &[
            Variant { slug: "layers-8", change: |r| r.model.layers = 8 },
            Variant { slug: "layers-1", change: |r| r.model.layers = 1 },
        ],
        against_base: false,
    },
    Experiment {
        name: "half the data",
        question: "Does it learn less, or only learn it by heart sooner?",
        variants: &[Variant {
            slug: "half-data",
            // The other half is held back, so that the loss on it still is of the same kind of text.
            change: |r| r.data.val_fraction = r.data.val_fraction + (1.0 - r.data.val_fraction) / 2.0,
        }],
        against_base: true,
    },
    Experiment {
        name: "no warmup",
        question: "Why does the learning rate begin small?",
        variants: &[Variant { slug: "no-warmup", change: |r| r.optim.warmup = 0 }],
        against_base: true,
    },
];

impl Experiment {
    /// The newest run of each variant, where all were run.
    pub fn results<'a>(&self, world: &'a World) -> Option<Vec<&'a Run>> {
        self.variants.iter().map(|v| latest(world, v.slug)).collect()
    }

    /// The names whose curves belong together.
    pub fn compared(&self, world: &World) -> Option<Vec<String>> {
        let mut names: Vec<String> = self.results(world)?.iter().map(|r| r.name.clone()).collect();
        if self.against_base {
            names.extend(base(world).map(|r| r.name.clone()));
        }
        Some(names)
    }

    /// What is known of the answer: `1.92 against 1.71`.
    pub fn answer(&self, world: &World) -> Option<String> {
        let names = self.compared(world)?;
        let runs: Vec<&Run> = names.iter().filter_map(|n| world.runs.get(n)).collect();
        if let Some(waits) = runs.iter().find(|r| r.status() == Status::Waiting) {
            return Some(if runs.iter().any(|r| r.is_live() && r.name != waits.name) { "2nd half waits" } else { "waits" }.into());
        }
        if runs.iter().any(|r| r.is_live()) {
            return Some("at work".into());
        }
        let loss = |run: &&Run| match (run.status(), run.best) {
            (Status::Failed, _) => "failed".to_string(),
            (_, Some((_, loss))) => format!("{loss:.2}"),
            _ => "?".into(),
        };
        Some(runs.iter().map(loss).collect::<Vec<_>>().join(" against "))
    }

    /// Starts what was not run yet and shows the curves in Train; shows them at once where all is there.
    pub fn run(&self, world: &World, model: Option<&Run>) -> Vec<Effect> {
        if let Some(names) = self.compared(world) {
            return vec![Effect::Open("train", Show::Compare(names))];
        }
        let (text, directory) = match model.filter(|m| !m.recipe.is_empty() && !is_experiment(&m.name)) {
            Some(run) => (run.recipe.clone(), world.project.join("runs").join(&run.name)),
            None => (sample::recipe("sample").unwrap_or_default().to_string(), world.project.clone()),
        };
        let Ok(recipe) = Recipe::parse(&text, "recipe", &[]) else {
            return vec![Effect::Toast("the recipe of this model cannot be read; choose another with m".into())];
        };
        if !recipe.data.val.is_empty() && self.variants.iter().any(|v| v.slug == "half-data") {
            return vec![Effect::Toast("this recipe validates on files of its own; half the data needs a val_fraction".into())];
        }
        let mut effects = Vec::new();
        let mut names = Vec::new();
        if self.against_base {
            let known = model.filter(|m| !m.recipe.is_empty() && !is_experiment(&m.name)).or_else(|| base(world));
            match known {
                Some(run) => names.push(run.name.clone()),
                None => {
                    let name = free_name(world, "sample");
                    effects.push(start(world, &name, recipe.to_toml(), directory.clone()));
                    names.push(name);
                }
            }
        }
        for variant in self.variants {
            let mut changed = recipe.clone();
            (variant.change)(&mut changed);
            let name = free_name(world, variant.slug);
            effects.push(start(world, &name, changed.to_toml(), directory.clone()));
            names.push(name);
        }
        names.reverse();
        effects.push(Effect::Open("train", Show::Compare(names)));
        effects
    }
}

/// The effects that train the sample and show it learning.
pub fn train_sample(world: &World) -> Vec<Effect> {
    let Some(text) = sample::recipe("sample") else {
        return vec![Effect::Toast("the sample is not part of this build; open a recipe with o".into())];
    };
    let effect = start(world, &free_name(world, "sample"), text.to_string(), world.project.clone());
    let ticket = match &effect {
        Effect::Start { ticket, .. } => *ticket,
        _ => 0,
    };
    vec![effect, Effect::Open("train", Show::Samples { ticket })]
}

fn start(world: &World, name: &str, recipe: String, base: PathBuf) -> Effect {
    let spec = TrainSpec { recipe, base, name: Some(name.into()), ..TrainSpec::default() };
    Effect::Start { ticket: world.ticket(), spec: JobSpec::new("train", &spec) }
}

/// Whether a run's name is that of a variant.
fn is_experiment(name: &str) -> bool {
    EXPERIMENTS.iter().flat_map(|e| e.variants).any(|v| is_named(name, v.slug))
}

/// `lr-x30`, `lr-x30-2`, `lr-x30-3`.
fn is_named(name: &str, slug: &str) -> bool {
    name.strip_prefix(slug).is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(|n| n.parse::<u32>().is_ok()))
}

fn latest<'a>(world: &'a World, slug: &str) -> Option<&'a Run> {
    world.runs.values().filter(|r| is_named(&r.name, slug)).max_by_key(|r| r.at_ms)
}

/// The run that variants are compared with: the newest that is no experiment itself.
fn base(world: &World) -> Option<&Run> {
    world
        .runs
        .values()
        .filter(|r| !is_experiment(&r.name) && !matches!(r.status(), Status::Failed | Status::Waiting))
        .max_by_key(|r| r.at_ms)
}

fn free_name(world: &World, wanted: &str) -> String {
    let mut name = wanted.to_string();
    let mut n = 2;
    while world.runs.contains_key(&name) {
        name = format!("{wanted}-{n}");
        n += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_experiment_changes_the_sample_into_a_recipe_that_holds() {
        let base = Recipe::parse(sample::recipe("sample").unwrap(), "sample", &[]).unwrap();
        for experiment in EXPERIMENTS {
            for variant in experiment.variants {
                let mut changed = base.clone();
                (variant.change)(&mut changed);
                assert_ne!(changed, base, "{}", variant.slug);
                let again = Recipe::parse(&changed.to_toml(), variant.slug, &[]).unwrap_or_else(|e| panic!("{}: {e}", variant.slug));
                assert!(again.check().is_empty(), "{}: {:?}", variant.slug, again.check());
            }
        }
    }

    #[test]
    fn an_experiment_in_an_empty_project_starts_its_base_too() {
        let world = World::new("p".into());
        let effects = EXPERIMENTS[0].run(&world, None);
        let started = effects.iter().filter(|e| matches!(e, Effect::Start { .. })).count();
        assert_eq!(started, 2);
        assert_eq!(effects.last(), Some(&Effect::Open("train", Show::Compare(vec!["lr-x30".into(), "sample".into()]))));
        assert_eq!(EXPERIMENTS[1].run(&world, None).len(), 3);
    }

    #[test]
    fn names_of_variants_are_told_apart() {
        assert!(is_experiment("layers-1-2") && is_experiment("layers-8") && !is_experiment("layers-10") && !is_experiment("sample-2"));
    }
}
