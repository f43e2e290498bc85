//! `rank`: the ranking pane alone, for a labeler.
//! Deliberately not here: the pane.

use std::io::IsTerminal;

use super::args::Screen;
use super::{Failure, Place};
use crate::data::labels::check_name;
use crate::data::labels::store::SetDir;
use crate::engine::{Settings, link};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The keys: the best response's number, then the next; the last place needs none. = ties with the one before, Space ties the \
                        rest, - none is acceptable, . skips, u takes back, ? explains all. Of pairs: a s d f for the left one, j k l ; for the right.\n\
                        Each decision is on the disk before the next is asked; quit whenever you like."
)]
pub struct Args {
    /// The set to rank.
    pub set: String,
    /// Your name, for the file that keeps your decisions; asked for where none is given.
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
    /// Decisions that are wanted today: after so many, the sitting is summed up.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub goal: Option<u32>,
    /// Ask only what people disagree about, and settle it.
    #[arg(long)]
    pub adjudicate: bool,
    #[command(flatten)]
    pub screen: Screen,
}

pub fn run(place: &Place, screen: Screen, args: &Args) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        check_name("annotator", name).map_err(|why| Failure::Usage(format!("--as: {why}")))?;
    }
    check_name("set", &args.set).map_err(Failure::Usage)?;
    SetDir::open(&place.project, &args.set).map_err(Failure::failed)?;
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("ranking needs a terminal on standard input and output; weightroom labels works without one".into()));
    }
    let panics = place.panics.clone();
    let handle = link::open(&place.project, move || Settings { panics: panics.clone(), ..Settings::default() })?;
    let Screen { ascii, readonly, theme } = screen;
    let options = crate::ui::Options { ascii, readonly, theme, ..Default::default() };
    let options = options.ranking(args.set.clone(), args.name.clone(), args.goal.map(|g| g as usize), args.adjudicate);
    crate::ui::run(&place.project, handle, options).map_err(|e| Failure::Failed(format!("{e:#}")))
}
