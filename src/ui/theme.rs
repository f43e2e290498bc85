//! Colours by role, never by name: panes ask for what a thing means.

use ratatui::style::Style;

#[derive(Clone, Debug)]
pub struct Theme {
    pub name: String,
    pub text: Style,
    pub dim: Style,
    pub title: Style,
    pub border: Style,
    /// The border of the focused part.
    pub focus: Style,
    /// The selected row; always with a glyph or reversal too, so that it is seen without colour.
    pub selected: Style,
    pub key: Style,
    pub good: Style,
    pub warning: Style,
    pub error: Style,
    pub accent: Style,
    /// Lines of a chart, in order; the first is the raw line's colour when drawn strong.
    pub series: Vec<Style>,
    /// A faint line behind a smoothed one.
    pub faint: Style,
    pub mark: Style,
    /// Backgrounds from improbable to probable, for tinted tokens (may be empty where there is no colour).
    pub ramp: Vec<Style>,
    /// Plain ASCII instead of box drawing and braille.
    pub ascii: bool,
}
