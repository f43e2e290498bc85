//! Floor 4: one loop, optimizers, schedules, objectives.
//! Deliberately not here: threads and signals' transport (`engine`), and files' formats (`run`).

pub mod drive;
mod evaluate;
mod follow;
mod measure;
pub mod objective;
pub mod optim;
pub mod precision;
mod prepare;
pub mod schedule;

pub use prepare::check_recipe;
