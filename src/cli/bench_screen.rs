//! `bench screen`: drives the real binary in a terminal of its own and measures the screen.
//! Deliberately not here: the workbench itself, which this meets only from outside.

use super::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_: &Args) -> Result<(), Failure> {
    Err(Failure::Failed("bench screen is not built into this version; use a newer one".into()))
}
