//! `attach`: comes back to a run from any terminal. Its log is read from the first event on and followed to its end,
//! whichever process writes it: nothing is missing, nothing comes twice, and no reader can slow the training.
//! Deliberately not here: the workbench, which shows the same on a screen.

use std::io::IsTerminal;
use std::time::Duration;

use super::args::{Attach, Screen};
use super::train::Show;
use super::{Failure, Place, out, workbench};
use crate::run::directory::RunDir;
use crate::run::read::Tail;

/// How often a log that nothing came from is looked at again.
const LOOK: Duration = Duration::from_millis(100);

pub fn run(place: &Place, screen: Screen, attach: &Attach) -> Result<(), Failure> {
    let run = RunDir::open(&place.project, super::run_name("attach", &attach.run)?).map_err(Failure::failed)?;
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if terminal && !attach.json && !attach.text {
        return workbench(place, screen, Some(run.name));
    }
    let mut show = (!attach.json).then(Show::new);
    let result = stream(&run, attach, show.as_mut());
    if let Some(show) = show {
        show.done();
    }
    result
}

fn stream(run: &RunDir, attach: &Attach, mut show: Option<&mut Show>) -> Result<(), Failure> {
    let mut tail = Tail::open(&run.path);
    loop {
        // Asked before reading: what is written by the time it is let go is read below.
        let over = !run.is_locked();
        let events = tail.more().map_err(Failure::failed)?;
        if events.is_empty() {
            if over {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        for event in events {
            match &mut show {
                Some(show) => show.event(&event)?,
                None if event.seq >= attach.from => out::json(&event)?,
                None => {}
            }
        }
    }
}
