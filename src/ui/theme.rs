//! Colours by role, never by name: panes ask for what a thing means. Themes are TOML files.
//! Deliberately not here: which theme is chosen (the shell) and reading files (`config`).

use std::collections::BTreeMap;

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

use crate::recipe::{Fault, line_of};

#[derive(Clone, Debug)]
pub struct Theme {
    pub name: String,
    /// Plain text, with the background of the whole screen.
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

/// The themes that are built in: (name, TOML).
pub const BUILT_IN: &[(&str, &str)] = &[
    ("dark", include_str!("../../themes/dark.toml")),
    ("light", include_str!("../../themes/light.toml")),
    ("high-contrast", include_str!("../../themes/high-contrast.toml")),
    ("colour-blind", include_str!("../../themes/colour-blind.toml")),
    ("16-colour", include_str!("../../themes/16-colour.toml")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    palette: BTreeMap<String, String>,
    text: Role,
    dim: Role,
    title: Role,
    border: Role,
    focus: Role,
    selected: Role,
    key: Role,
    good: Role,
    warning: Role,
    error: Role,
    accent: Role,
    faint: Role,
    mark: Role,
    series: Vec<String>,
    #[serde(default)]
    ramp: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Role {
    fg: Option<String>,
    bg: Option<String>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    reverse: bool,
}

impl Theme {
    /// Reads a theme. The error is one line without the file's name, which the caller knows.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        // What is no TOML at all is told by its own rules, and what is no theme by the parser of this structure.
        toml_edit::Document::parse(text).map_err(|e| format!("line {}", Fault::of_edit(text, &e).placed()))?;
        let file: File = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |s| line_of(text, s.start));
            format!("line {line}: {}", e.message().lines().next().unwrap_or_default())
        })?;
        let colour = |text: &str| {
            let value = file.palette.get(text).map_or(text, String::as_str);
            value.parse::<Color>().map_err(|_| format!("{value:?} is no colour; write #rrggbb, a number to 255, or a name like `cyan`"))
        };
        let style = |role: &Role| -> Result<Style, String> {
            let mut style = Style::new();
            style.fg = role.fg.as_deref().map(colour).transpose()?;
            style.bg = role.bg.as_deref().map(colour).transpose()?;
            for (on, modifier) in [
                (role.bold, Modifier::BOLD),
                (role.dim, Modifier::DIM),
                (role.italic, Modifier::ITALIC),
                (role.underline, Modifier::UNDERLINED),
                (role.reverse, Modifier::REVERSED),
            ] {
                if on {
                    style = style.add_modifier(modifier);
                }
            }
            Ok(style)
        };
        if file.series.is_empty() {
            return Err("`series` needs at least one colour".into());
        }
        Ok(Self {
            name: name.into(),
            text: style(&file.text)?,
            dim: style(&file.dim)?,
            title: style(&file.title)?,
            border: style(&file.border)?,
            focus: style(&file.focus)?,
            selected: style(&file.selected)?,
            key: style(&file.key)?,
            good: style(&file.good)?,
            warning: style(&file.warning)?,
            error: style(&file.error)?,
            accent: style(&file.accent)?,
            series: file.series.iter().map(|c| Ok(Style::new().fg(colour(c)?))).collect::<Result<_, String>>()?,
            faint: style(&file.faint)?,
            mark: style(&file.mark)?,
            ramp: file.ramp.iter().map(|c| Ok(Style::new().bg(colour(c)?))).collect::<Result<_, String>>()?,
            ascii: false,
        })
    }

    /// A theme that is built in.
    pub fn built_in(name: &str) -> Option<Self> {
        let (name, text) = BUILT_IN.iter().find(|(n, _)| *n == name)?;
        Self::parse(name, text).ok()
    }

    pub fn default_dark() -> Self {
        Self::built_in("dark").unwrap_or_else(Self::plain)
    }

    pub fn default_light() -> Self {
        Self::built_in("light").unwrap_or_else(Self::plain)
    }

    /// No colour at all: weight, dimness and reversal alone.
    pub fn plain() -> Self {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let dim = Style::new().add_modifier(Modifier::DIM);
        Self {
            name: "plain".into(),
            text: Style::new(),
            dim,
            title: bold,
            border: dim,
            focus: bold,
            selected: Style::new().add_modifier(Modifier::REVERSED),
            key: bold,
            good: bold,
            warning: bold,
            error: Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD),
            accent: bold,
            series: vec![Style::new(), bold, Style::new().add_modifier(Modifier::UNDERLINED)],
            faint: dim,
            mark: bold,
            ramp: Vec::new(),
            ascii: false,
        }
    }
}

/// How many colours the terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    Mono,
    Ansi16,
    Ansi256,
    TrueColor,
}

impl Depth {
    /// The nearest colour that this depth can show.
    pub fn adapt(self, colour: Color) -> Color {
        match (self, colour) {
            (Self::Mono, _) => Color::Reset,
            (Self::Ansi256, Color::Rgb(r, g, b)) => Color::Indexed(nearest_256(r, g, b)),
            (Self::Ansi16, Color::Rgb(r, g, b)) => nearest_16(r, g, b),
            (Self::Ansi16, Color::Indexed(i)) if i >= 16 => {
                let (r, g, b) = rgb_of_index(i);
                nearest_16(r, g, b)
            }
            _ => colour,
        }
    }
}

const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

fn rgb_of_index(i: u8) -> (u8, u8, u8) {
    if i >= 232 {
        let v = 8 + 10 * (i - 232);
        return (v, v, v);
    }
    let i = usize::from(i.saturating_sub(16));
    (CUBE[i / 36 % 6], CUBE[i / 6 % 6], CUBE[i % 6])
}

fn distance(a: (u8, u8, u8), b: (u8, u8, u8)) -> i32 {
    let d = |x: u8, y: u8| (i32::from(x) - i32::from(y)).pow(2);
    // The eye weighs green above red above blue.
    3 * d(a.0, b.0) + 4 * d(a.1, b.1) + 2 * d(a.2, b.2)
}

fn nearest_256(r: u8, g: u8, b: u8) -> u8 {
    (16..=255u8).min_by_key(|i| distance(rgb_of_index(*i), (r, g, b))).unwrap_or(16)
}

fn nearest_16(r: u8, g: u8, b: u8) -> Color {
    const NAMES: [(Color, (u8, u8, u8)); 16] = [
        (Color::Black, (0, 0, 0)),
        (Color::Red, (170, 30, 30)),
        (Color::Green, (30, 150, 50)),
        (Color::Yellow, (170, 130, 20)),
        (Color::Blue, (40, 80, 190)),
        (Color::Magenta, (160, 50, 160)),
        (Color::Cyan, (30, 150, 160)),
        (Color::Gray, (190, 190, 190)),
        (Color::DarkGray, (110, 110, 110)),
        (Color::LightRed, (250, 100, 100)),
        (Color::LightGreen, (110, 230, 120)),
        (Color::LightYellow, (250, 220, 100)),
        (Color::LightBlue, (110, 160, 250)),
        (Color::LightMagenta, (230, 130, 240)),
        (Color::LightCyan, (110, 220, 230)),
        (Color::White, (255, 255, 255)),
    ];
    NAMES.iter().min_by_key(|(_, c)| distance(*c, (r, g, b))).map_or(Color::Reset, |(n, _)| *n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_theme_parses_and_shows_a_selection_without_colour() {
        for (name, text) in BUILT_IN {
            let theme = Theme::parse(name, text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(theme.series.len() >= 4, "{name}: too few series colours");
            assert!(theme.selected.bg.is_some() || theme.selected.add_modifier.contains(Modifier::REVERSED), "{name}");
        }
    }

    #[test]
    fn a_wrong_theme_names_its_line() {
        let text = BUILT_IN[0].1.replace("[text]", "[tekst]");
        let error = Theme::parse("x", &text).unwrap_err();
        assert!(error.starts_with("line ") && error.contains("tekst"), "{error}");
        let error = Theme::parse("x", &BUILT_IN[0].1.replace("#d6d8de", "%d6d8de")).unwrap_err();
        assert!(error.contains("is no colour"), "{error}");
    }

    #[test]
    fn the_ladder_goes_down() {
        let red = Color::Rgb(250, 100, 100);
        assert_eq!(Depth::TrueColor.adapt(red), red);
        assert!(matches!(Depth::Ansi256.adapt(red), Color::Indexed(203 | 210)), "{:?}", Depth::Ansi256.adapt(red));
        assert_eq!(Depth::Ansi16.adapt(red), Color::LightRed);
        assert_eq!(Depth::Ansi16.adapt(Color::Indexed(255)), Color::White);
        assert_eq!(Depth::Mono.adapt(red), Color::Reset);
    }
}
