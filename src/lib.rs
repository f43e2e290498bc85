//! weightroom: a terminal workbench for the whole life of a language model. This page is the map of the house.
//!
//! # Floors
//! Imports go down only (`tests/tidy.rs` fails on one that goes up):
//! ```text
//! 7  main
//! 6  ui | cli             mutually blind; both speak to the engine through its handle and protocol
//! 5  engine               threads, lanes, devices, commands and events
//! 4  train                one loop, optimizers, schedules, objectives
//! 3  eval                 tasks, scoring, statistics
//! 2  run | sample         run directories and checkpoints | generation
//! 1  data | model         readers, tokenizers, batches | decoder, ops, file formats
//! 0  recipe, report, spec, rng, text, distribution, penalties, gguf, net, repos   plain types with serde; no candle, no ratatui
//! ```
//! `data` and `model` do not know each other. candle appears in floors 1 to 5 and not in `data`; ratatui and
//! crossterm only in `ui`; printing only in `cli`, which opens the workbench by `ui::run` (and asks before whether there is such a
//! theme) and knows no more of it.
//!
//! # Where to add what: one file and one line
//! | new | file in | line in |
//! |---|---|---|
//! | objective | `train/objective/` | `OBJECTIVES` |
//! | job | `engine/jobs/` | `JOBS` |
//! | file format | `data/formats/` | `FORMATS` |
//! | pane | `ui/panes/` | `PANES` |
//! | kind of task | `eval/tasks/` | `TASKS` |
//! | rule that scores a text | `eval/scoring/` | `SCORERS` |
//! | recipe key | a field of its section | `KNOBS` |
//! | theme | `themes/` | `BUILT_IN` |
//!
//! # What always holds
//! - A long computation hears the world through [`report::Monitor`] alone, and says everything as a [`report::Report`].
//!   The same stream is a run's `events.jsonl`, what `--json` prints, what a socket carries and what a screen folds.
//! - A run's log, checkpoint and data order are enough to go on bit for bit; a checkpoint is written beside, synced, renamed.
//! - Sums are taken in an order that does not depend on timing, so that a run repeats itself on the same number of threads.
//! - Random numbers come from [`rng::Stream`] by seed and name, on every device alike.
//! - Foreign text passes [`text::visible`] before it reaches a terminal; sizes are checked before they are allocated.
//! - The screen's thread never waits and never touches a file: its loader thread and the engine do.

pub mod distribution;
pub mod gguf;
pub mod net;
pub mod penalties;
pub mod recipe;
pub mod report;
pub mod repos;
pub mod rng;
pub mod spec;
pub mod text;

pub mod data;
pub mod model;

pub mod run;
pub mod sample;

pub mod eval;

pub mod train;

pub mod engine;

pub mod cli;
pub mod ui;
