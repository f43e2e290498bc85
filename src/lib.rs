//! weightroom: a terminal workbench for the whole life of a language model. This page is the map of the house.
//!
//! # Floors
//! Imports go down only (`tests/tidy.rs` fails on one that goes up):
//! ```text
//! 7  main
//! 6  ui | cli             mutually blind; both speak to the engine through its handle and protocol
//! 5  engine               threads, lanes, devices, commands and events
//! 4  train                one loop, optimizers, schedules, objectives
//! 2  run | sample         run directories and checkpoints | generation
//! 1  data | model         readers, tokenizers, batches | decoder, ops, file formats
//! 0  recipe, report, spec, rng, text   plain types with serde; no candle, no ratatui
//! ```
//! `data` and `model` do not know each other. candle appears in floors 1 to 5 and not in `data`; ratatui and
//! crossterm only in `ui`; printing only in `cli`.

pub mod distribution;
pub mod recipe;
pub mod report;
pub mod rng;
pub mod spec;
pub mod text;

pub mod data;
pub mod model;

pub mod run;
pub mod sample;

pub mod train;

pub mod engine;

pub mod cli;
pub mod ui;
