//! The key tables of Rank, one for each thing that it shows, and what the footer offers of them.
//! Deliberately not here: what the keys do.

use super::{Part, Rank};
use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Effect, Hint, Pane};
use crate::ui::world::labels::Ask;
use crate::ui::world::{Load, World};

pub(super) fn load(ask: Ask) -> Effect {
    Effect::Load(Load::Labels(ask))
}

const fn bind(action: Action, keys: &'static str, label: &'static str, help: &'static str) -> Binding {
    Binding { action, keys, label, help, footer: false }
}

macro_rules! digits {
    () => {
        [
            bind("rank.1", "1", "best", "The best one's number first, then the next; the last place needs no key."),
            bind("rank.2", "2", "2", "Response 2 is next."),
            bind("rank.3", "3", "3", "Response 3 is next."),
            bind("rank.4", "4", "4", "Response 4 is next."),
            bind("rank.5", "5", "5", "Response 5 is next."),
            bind("rank.6", "6", "6", "Response 6 is next."),
            bind("rank.7", "7", "7", "Response 7 is next."),
            bind("rank.8", "8", "8", "Response 8 is next."),
            bind("rank.9", "9", "9", "Response 9 is next."),
        ]
    };
}

/// What both tables of items have.
macro_rules! shared {
    () => {
        [
            bind("rank.rest", "space", "tie the rest", "The rest is as good as each other; at once: all are equal, of a pair a tie."),
            bind("rank.bad", "-", "all bad", "None of them is acceptable."),
            bind("rank.line", "bar", "acceptable", "Acceptable is what was ranked so far; then Enter makes the decision."),
            bind("rank.enter", "enter", "take it", "Make the decision, while acceptability or criteria are asked."),
            bind("rank.skip", ".", "skip", "Skip this one; from an earlier decision, go on without a change."),
            bind("rank.previous", ",", "previous", "Go back to the decision before; a new order changes it."),
            bind("rank.flag", "x", "flag", "Say what is wrong with this item."),
            bind("rank.comment", "c", "comment", "Write a comment that is kept with the decision."),
            bind("rank.edit", "e", "edit", "Write a better response, from the one that leads or is in focus. Ctrl-s keeps it."),
            bind("rank.undo", "u|ctrl-z", "undo", "Take the last decision back; as often as you like, also after a restart."),
            bind("rank.redo", "ctrl-r", "redo", "Make the decision again that was taken back last."),
            bind("rank.take_back", "backspace", "take back a key", "Take back the last key of this decision."),
            bind("rank.criterion", "n", "criterion", "To the next order that is asked for: overall, then each criterion."),
            bind("rank.rules", "r", "guidelines", "The guidelines of this set."),
            bind("rank.summary", "S", "summary", "How this sitting went, and all figures of the set."),
            bind("rank.view", "v", "view", "Beside each other, two by two, or one at a time."),
            bind("rank.words", "w", "differences", "Mark the words in which the responses differ from the first (or the one in focus)."),
            bind("rank.plain", "m", "as written", "Show Markdown as it was written, or as it is meant."),
            bind(
                "rank.next",
                "tab",
                "next part",
                "The next response (then the prompt) scrolls alone, or is shown where one is shown at a time.",
            ),
            bind("rank.before", "shift-tab", "part before", "The part before."),
            bind("rank.right", "right", "next", "The next response."),
            bind("rank.left", "left", "before", "The response before."),
            bind("rank.down_arrow", "down", "down", "A line down."),
            bind("rank.up_arrow", "up", "up", "A line up."),
            bind("rank.page_down", "ctrl-d|pagedown", "page down", "Half a page down."),
            bind("rank.page_up", "ctrl-u|pageup", "page up", "Half a page up."),
            bind("rank.home", "home", "top", "To the beginning."),
            bind("rank.last", "end", "end", "To the end."),
            bind("rank.quit", "q", "leave", "See how the sitting went; there, q leaves."),
        ]
    };
}

const fn join<const A: usize, const B: usize, const C: usize, const N: usize>(
    a: [Binding; A],
    b: [Binding; B],
    c: [Binding; C],
) -> [Binding; N] {
    let mut out = [a[0]; N];
    let mut i = 0;
    while i < N {
        out[i] = if i < A {
            a[i]
        } else if i < A + B {
            b[i - A]
        } else {
            c[i - A - B]
        };
        i += 1;
    }
    out
}

/// Three responses and more.
pub(super) const ITEM: &[Binding] = &join::<9, 29, 6, 44>(
    digits!(),
    shared!(),
    [
        bind("rank.tie", "=", "tie", "The next digit is as good as the one before."),
        bind("rank.down", "j", "down", "A line down."),
        bind("rank.up", "k", "up", "A line up."),
        bind("rank.forth", "l", "next", "The next response."),
        bind("rank.back", "h", "before", "The response before."),
        bind("rank.end", "G", "end", "To the end."),
    ],
);

/// Pairs: one key says which and how much. `g` leads nowhere here, since a finger on `f` slips to it.
pub(super) const PAIR: &[Binding] = &join::<9, 29, 9, 47>(
    digits!(),
    shared!(),
    [
        bind("rank.left_4", "a", "left, far", "The left one is far better."),
        bind("rank.left_3", "s", "left, clearly", "The left one is clearly better."),
        bind("rank.left_2", "d", "left", "The left one is better."),
        bind("rank.left_1", "f", "left, hardly", "The left one is hardly better."),
        bind("rank.right_1", "j", "right, hardly", "The right one is hardly better."),
        bind("rank.right_2", "k", "right", "The right one is better."),
        bind("rank.right_3", "l", "right, clearly", "The right one is clearly better."),
        bind("rank.right_4", ";", "right, far", "The right one is far better."),
        bind("rank.off", "g", "nothing", "Means nothing while a pair is asked; Ctrl-g and a letter go to another pane."),
    ],
);

pub(super) const LIST: &[Binding] = &[
    bind("rank.open", "enter", "rank", "Rank the set under the cursor."),
    bind("rank.adjudicate", "a", "adjudicate", "Settle what people disagree about in the set under the cursor."),
    bind("rank.figures", "s", "summary", "All figures of the set under the cursor."),
    bind("rank.new", "o", "new set", "Let models answer prompts: the responses become a set to rank."),
    bind("rank.stop", "x", "stop drawing", "Stop the drawing of candidates. Asks first."),
    bind("rank.list_down", "j|down", "down", "The next set."),
    bind("rank.list_up", "k|up", "up", "The set before."),
];

pub(super) const PAGE: &[Binding] = &[
    bind("rank.close", "enter", "go on", "Back to what is asked."),
    bind("rank.list_down", "j|down", "down", "A line down."),
    bind("rank.list_up", "k|up", "up", "A line up."),
    bind("rank.page_down", "ctrl-d|pagedown", "page down", "Half a page down."),
    bind("rank.page_up", "ctrl-u|pageup", "page up", "Half a page up."),
    bind("rank.undo", "u|ctrl-z", "undo", "Take the last decision back; as often as you like, also after a restart."),
    bind("rank.copy", "y", "copy", "Copy the page."),
];

/// What the footer offers now.
pub(super) fn hints(pane: &Rank, world: &World) -> Vec<Hint> {
    if pane.captures_text() {
        return Vec::new();
    }
    match pane.part {
        Part::List => {
            let mut out = Vec::new();
            if world.labels.sets.as_ref().is_some_and(|s| !s.is_empty()) {
                out.extend([("rank.open", "rank"), ("rank.figures", "summary"), ("rank.adjudicate", "adjudicate")]);
            }
            out.push(("rank.new", "new set"));
            if super::list::drawing(world).is_some() {
                out.push(("rank.stop", "stop drawing"));
            }
            out
        }
        Part::Guidelines | Part::Summary => {
            vec![("rank.close", "go on"), ("rank.undo", "undo"), ("rank.copy", "copy"), ("app.quit", "leave")]
        }
        Part::Item if pane.count(world) == 0 => vec![("rank.undo", "undo"), ("rank.summary", "summary")],
        Part::Item => {
            let mut out = Vec::new();
            if pane.draft.needs_enter() {
                out.push(("rank.enter", "take it"));
            }
            if pane.is_pair() {
                out.extend([("rank.left_2", "left"), ("rank.right_2", "right"), ("rank.rest", "tie")]);
            } else if pane.draft.is_untouched() {
                out.extend([("rank.1", "…best first"), ("rank.rest", "all equal")]);
            } else {
                out.extend([("rank.rest", "tie the rest"), ("rank.tie", "tie"), ("rank.take_back", "take back")]);
            }
            out.extend([("rank.skip", "skip"), ("rank.undo", "undo"), ("rank.rules", "guidelines"), ("rank.view", "view")]);
            out
        }
    }
}
