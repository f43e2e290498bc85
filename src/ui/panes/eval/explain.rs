//! The Explain page of Eval: what a score is worth, in plain words, with the numbers on the screen.
//! Deliberately not here: keys; they come from the table.

use super::{Eval, View};
use crate::eval::render::number;
use crate::text::visible;
use crate::ui::world::World;

pub fn text(pane: &Eval, world: &World) -> String {
    let columns = pane.columns(world);
    let rows = Eval::rows(&columns);
    let mut out = String::from(
        "# What this shows\nAn evaluation asks a model many small questions whose answers are known, and counts. A task is one set of questions; the table has a \
         line for each task and a column for each evaluation of a model. ↑ means that more is better, ↓ that less is.\n\n",
    );
    let selected = columns.get(pane.column).and_then(|c| Some((c, c.task(rows.get(pane.task)?)?)));
    match selected {
        None => out.push_str("# Now\nNothing was evaluated yet. n opens a form; the tasks that begin with “sample” need no file.\n\n"),
        Some((column, task)) => {
            out.push_str(&format!(
                "# Now\n{} reached {} in {}",
                visible(&column.name, false),
                task.score.map_or("no score".into(), number),
                visible(&task.name, false)
            ));
            if let Some(i) = &task.interval {
                out.push_str(&format!(
                    ". With {} items that is no exact figure: with other questions of the same kind it would have come out between {} and {} in 95 of 100 \
                     cases. Four times as many items halve that width",
                    task.n,
                    number(i.low),
                    number(i.high)
                ));
            }
            out.push_str(".\n\n");
        }
    }
    out.push_str(
        "# Comparing\nTwo models are compared on the same items, and only those on which they differ say anything. ▲ and ▼ stand where the difference is more \
         than chance; b chooses the evaluation that the others are compared with. Models that share a letter cannot be told apart, however their scores are \
         ordered. When many comparisons are made, some look striking by luck alone, which the figures take into account.\n\n# Read the items\nEnter opens \
         them, those that flipped first. A score is only as good as its questions: answers that could not be read (?) are counted apart, since they say more \
         about the reading than about the model. c judges an item by hand; that stands beside the program's score and never in its place. r sends answers to \
         Rank, d keeps items in a file.",
    );
    if pane.view == View::Items {
        out.push_str(
            "\n\n# The tokens\nThe number behind each token is the probability in percent that the model gave it. Of a multiple choice no text is written: \
             the likeliest choice (▸) counts as the answer, and ✓ is the right one.",
        );
    }
    out
}
