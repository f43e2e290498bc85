//! The Explain page of Models: what is on the screen, in plain words, with its numbers as the example.
//! Deliberately not here: the keys.

use super::Models;
use crate::text::visible;
use crate::ui::widgets::{bytes, count};
use crate::ui::world::World;

pub(super) fn text(pane: &Models, world: &World) -> String {
    let mut out = String::from(
        "# What this shows\nA model is a file of numbers and a page that says how they are to be used. On the left are the models at hand: those of \
         this project's runs, with their checkpoints, what lies in models/, GGUF files, and what was pulled from the Hugging Face Hub into the cache \
         that Python's tools share. Any of their names can be given wherever a model is asked for.\n\n",
    );
    if let Some(shown) = pane.shown(world) {
        let parameters = shown.anatomy.parameters();
        out.push_str(&format!(
            "{} has {} parameters, which take {} as they are stored. ",
            visible(&shown.name, false),
            count(parameters as f64),
            bytes(shown.anatomy.bytes())
        ));
        if let Some((part, n, _)) = shown.anatomy.parts.iter().max_by_key(|p| p.1) {
            out.push_str(&format!("Most of them, {:.0} %, are in its {part}. ", *n as f64 * 100.0 / parameters.max(1) as f64));
        }
        out.push_str("\n\n");
    }
    out.push_str(
        "# Why it matters\nRunning a model takes its weights and a cache that grows with every token of context. Training takes far more: for each weight \
         its gradient and two moments of the optimizer, and what every layer computed for every token until the way back comes by. What the overview says \
         of this machine is whether that fits.\n\n# Tensors\nEach tensor is one table of weights, and its type is how finely its numbers are kept: BF16 \
         and F16 take two bytes each, Q4_K about four and a half bits. Weighing looks through all of them. Norms of neighbouring layers are alike in a healthy \
         model; one that is far off, or a single number that is not finite, explains a model that talks nonsense.\n\n# Pulling\n`p` asks for a name such as \
         org/name, org/name@revision or datasets/org/name. Patterns behind it choose files: org/name *Q4_K_M*. A pull that is broken off goes on where \
         it stopped; every file is held against its hash.",
    );
    out
}
