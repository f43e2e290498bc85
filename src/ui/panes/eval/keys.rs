//! The keys of Eval. Deliberately not here: what they do (`act`).

use crate::ui::keymap::{Action, Binding};

const fn bind(action: Action, keys: &'static str, label: &'static str, help: &'static str) -> Binding {
    Binding { action, keys, label, help, footer: false }
}

pub const BINDINGS: &[Binding] = &[
    bind("eval.new", "n|o", "new", "A new evaluation: a form with the model and the tasks."),
    bind("eval.again", "a", "again", "Run the selected evaluation again; what is done already is not asked twice."),
    bind("eval.open", "enter", "open", "The items behind the selected score; there, the selected item in full."),
    bind("eval.base", "b", "compare with this", "Set the other evaluations against the selected one."),
    bind("eval.stop", "x", "stop", "Stop the evaluation that runs; it goes on from there when it is run again. Asks first."),
    bind("eval.left", "h|left", "left", "The evaluation to the left."),
    bind("eval.right", "l|right", "right", "The evaluation to the right."),
    bind("eval.down", "j|down", "down", "The next line."),
    bind("eval.up", "k|up", "up", "The line before."),
    bind("eval.page_down", "ctrl-d|pagedown", "page down", "Half a page down."),
    bind("eval.page_up", "ctrl-u|pageup", "page up", "Half a page up."),
    bind("eval.top", "g g|home", "top", "The first line."),
    bind("eval.end", "G|end", "end", "The last line."),
    bind(
        "eval.filter",
        "/",
        "filter",
        "Keep items with these words; is:wrong, is:flipped, is:unparsed, is:long, is:failed, is:hand, tag:NAME.",
    ),
    bind("eval.only", "f", "only", "All items, those that flipped, are wrong, could not be read, were not graded, or were judged by hand."),
    bind("eval.correct", "c", "by hand", "Judge the item by hand: right, wrong, or not at all. It stands beside the program's score."),
    bind("eval.tag", "t", "tag", "Tag the item."),
    bind("eval.rank", "r", "to Rank", "Send the item's answers to Rank, for people to put in order."),
    bind("eval.rank_all", "R", "all to Rank", "Send the answers of all listed items to Rank."),
    bind("eval.dataset", "d", "to a file", "Add the item to a data file."),
    bind("eval.dataset_all", "D", "all to a file", "Add all listed items to a data file."),
    bind("eval.focus", "tab|shift-tab", "focus", "Move between the list and the item."),
    bind("eval.yank", "y", "copy", "Copy the comparison as Markdown; of an item, its prompt and answer."),
    bind("eval.zoom", "z", "zoom", "Give the whole pane to the focused part."),
];
