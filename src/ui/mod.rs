//! Floor 6: the workbench.

pub mod keymap;
pub mod loader;
pub mod pane;
pub mod panes;
pub mod terminal;
pub mod theme;
pub mod widgets;
pub mod world;

use crate::engine::Handle;
use std::path::Path;

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub ascii: bool,
    pub readonly: bool,
    pub theme: Option<String>,
    pub mouse: Option<bool>,
}

/// Opens the workbench on a project and returns when the person quits; the terminal is as it was.
pub fn run(project: &Path, handle: Handle, options: Options) -> color_eyre::Result<()> {
    let _ = (project, handle, options);
    Ok(())
}
