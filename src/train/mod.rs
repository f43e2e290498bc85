//! Floor 4: one loop, optimizers, schedules, objectives.
//! Deliberately not here: threads and signals' transport (`engine`), and files' formats (`run`).

pub mod drive;
mod evaluate;
mod follow;
mod gather;
pub mod lanes;
mod measure;
pub mod objective;
pub mod optim;
mod pages;
pub mod precision;
mod prepare;
pub mod rehearse;
pub mod schedule;

pub use prepare::check_recipe;
