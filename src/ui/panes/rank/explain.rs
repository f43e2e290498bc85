//! The Explain page of Rank.
//! Deliberately not here: the keys, which their own table explains.

use super::{Part, Rank};
use crate::text::visible;
use crate::ui::world::World;

pub(super) fn text(pane: &Rank, world: &World) -> String {
    let mut out = String::from(
        "# What this shows\nA prompt, and what one or several models answered. You say which answer is better: the best one's number first, then the \
         next; the last place needs no key. That is all a person has to do, and it is what models are taught by after they have learnt to write: a \
         reward model learns to give higher marks to what people put higher, and the model is then trained towards high marks; or it is trained on \
         the pairs directly (DPO).\n\n",
    );
    if let Some(now) = pane.now(world).filter(|_| pane.part == Part::Item) {
        out.push_str(&format!(
            "# Now\n{} of the {} items of {} have a decision of {}. ",
            now.progress.done,
            now.progress.items,
            visible(&now.set, false),
            visible(&now.annotator, false)
        ));
        if let Some(last) = &now.last {
            out.push_str(&format!(
                "The last one, #{}, was {}: the numbers are places on the screen, > is better than, = as good as. ",
                last.number, last.order
            ));
        }
        let count = pane.count(world);
        if count > 2 {
            out.push_str(&format!("{count} answers in order make {} pairs for a reward model to learn from. ", count * (count - 1) / 2));
        }
        out.push_str("\n\n");
    }
    out.push_str(
        "# What keeps it honest\nThe answers stand in an order that is drawn by chance for each item, and kept with the decision. Who wrote them is told \
         only after you decided. Some items come twice without a word: how often you say the same again is the agreement with yourself. A decision in \
         less than 0.4 seconds is asked again. A key means nothing before the terminal has shown what it would judge.\n\n# Nothing is lost\nEach decision \
         is on the disk before the next item is asked, in labels/<set>/<name>.labels.jsonl, a line each. Undo adds a line and removes none, so it \
         works after a restart too.\n\n# The figures\nκ (kappa) and α (alpha) say how far people agree beyond chance: 1 always, 0 no more than chance. \
         Where two people rank alike with κ 0.6 and more, a reward model has something to learn. Position and length bias say whether the first or the \
         longer answer wins too often.",
    );
    out
}
