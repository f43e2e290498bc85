//! The panes, in the order of their tabs. A new pane is one file and one line here.
//! Deliberately not here: what a pane is (`ui::pane`).

pub mod chat;
pub mod data;
pub mod eval;
pub mod life;
pub mod log;
pub mod models;
pub mod rank;
pub mod tokens;
pub mod train;

use super::pane::Pane;

type Make = fn() -> Box<dyn Pane>;

/// How each pane is made, in the order of the tabs; the first is home.
pub const PANES: &[Make] = &[
    || Box::new(life::Life::default()),
    || Box::new(data::Data::default()),
    || Box::new(tokens::Tokens::new()),
    || Box::new(train::Train::default()),
    || Box::new(rank::Rank::default()),
    || Box::new(eval::Eval::default()),
    || Box::new(chat::Chat::new()),
    || Box::new(models::Models::default()),
    || Box::new(log::Log::default()),
];

/// Fresh panes.
pub fn all() -> Vec<Box<dyn Pane>> {
    PANES.iter().map(|make| make()).collect()
}
