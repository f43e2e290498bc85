//! Floor 4: one loop, optimizers, schedules, objectives.

pub mod drive;
pub mod objective;
pub mod optim;
pub mod schedule;
