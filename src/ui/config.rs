//! The person's settings: `$XDG_CONFIG_HOME/weightroom/config.toml` and the themes beside it. A mistake costs one
//! setting and one line that names the file and the line; the rest works.
//! Deliberately not here: defaults of keys (`keymap`) and colours (`theme`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::keymap::{Binding, Sequence, parse_keys};
use super::theme::{BUILT_IN, Theme};
pub use crate::engine::notify::{Notify, directory};
use crate::recipe::{Fault, line_of};
use crate::text::visible;

/// What the file may set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub theme: Option<String>,
    /// Where the theme is named, as `file:line`.
    pub theme_at: String,
    pub mouse: Option<bool>,
    pub ascii: Option<bool>,
    pub notify: Notify,
    pub keys: HashMap<String, Vec<Sequence>>,
    /// What was wrong, one line each.
    pub complaints: Vec<String>,
}

impl Config {
    /// Reads the file if there is one.
    pub fn load(directory: Option<&Path>, known: &[Binding]) -> Self {
        let Some(path) = directory.map(|d| d.join("config.toml")) else { return Self::default() };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text, known),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(e) => Self { complaints: vec![format!("{}: {e}; defaults are used", path.display())], ..Self::default() },
        }
    }

    /// Reads the text of a file; `known` are the actions that keys may be bound to.
    pub fn parse(path: &Path, text: &str, known: &[Binding]) -> Self {
        let mut config = Self::default();
        let document = match toml_edit::Document::parse(text) {
            Ok(document) => document,
            Err(e) => {
                let why = Fault::of_edit(text, &e).placed();
                config.complaints.push(format!("{}:{why}; until then defaults are used", path.display()));
                return config;
            }
        };
        for (key, item) in document.iter() {
            let line = item.span().map_or(1, |s| line_of(text, s.start));
            let wrong = match (key, item.as_str(), item.as_bool()) {
                ("theme", Some(name), _) => {
                    config.theme = Some(name.into());
                    config.theme_at = format!("{}:{line}", path.display());
                    None
                }
                ("mouse", _, Some(on)) => {
                    config.mouse = Some(on);
                    None
                }
                ("ascii", _, Some(on)) => {
                    config.ascii = Some(on);
                    None
                }
                ("notify", text, on) => match Notify::of(text, on) {
                    Some(notify) => {
                        config.notify = notify;
                        None
                    }
                    None => Some("`notify` is true, false, \"off\", \"bell\" or a command in quotes".into()),
                },
                ("keys", ..) => {
                    config.keys(path, text, item, known);
                    None
                }
                ("theme", ..) => Some("`theme` is a name in quotes: theme = \"light\"".into()),
                ("mouse" | "ascii", ..) => Some(format!("`{key}` is true or false, without quotes")),
                _ => Some(format!("unknown key `{key}`; known are theme, mouse, ascii, notify and [keys]")),
            };
            config.complaints.extend(wrong.map(|why| format!("{}:{line}: {why}", path.display())));
        }
        config
    }

    fn keys(&mut self, path: &Path, text: &str, item: &toml_edit::Item, known: &[Binding]) {
        let Some(table) = item.as_table_like() else {
            self.complaints.push(format!("{}: `keys` must be a table: [keys]", path.display()));
            return;
        };
        for (action, value) in table.iter() {
            let line = value.span().map_or(1, |s| line_of(text, s.start));
            let mut complain = |why: String| self.complaints.push(format!("{}:{line}: {why}", path.display()));
            if !known.iter().any(|b| b.action == action) {
                let near = known.iter().map(|b| b.action).max_by(|a, b| strsim::jaro(a, action).total_cmp(&strsim::jaro(b, action)));
                complain(format!("no action is called `{action}`; the nearest is `{}`", near.unwrap_or("app.help")));
                continue;
            }
            match value.as_str().map(parse_keys) {
                Some(Ok(keys)) => {
                    self.keys.insert(action.to_string(), keys);
                }
                Some(Err(bad)) => complain(format!("`{bad}` is no key; write `P`, `ctrl-p`, `g p` or `f5`")),
                None => complain(format!("`{action}` needs its keys as text: \"{action}\" = \"P\"")),
            }
        }
    }
}

/// All themes: the built-in ones, then those of the person's directory, which win by name. Complaints come beside.
pub fn themes(directory: Option<&Path>) -> (Vec<Theme>, Vec<String>) {
    let mut themes: Vec<Theme> = BUILT_IN.iter().filter_map(|(name, _)| Theme::built_in(name)).collect();
    let mut complaints = Vec::new();
    let Some(entries) = directory.and_then(|d| std::fs::read_dir(d.join("themes")).ok()) else { return (themes, complaints) };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|x| x == "toml")).collect();
    paths.sort();
    for path in paths {
        let Some(name) = path.file_stem().and_then(|n| n.to_str()) else { continue };
        match std::fs::read_to_string(&path).map_err(|e| e.to_string()).and_then(|text| Theme::parse(name, &text)) {
            Ok(theme) => {
                themes.retain(|t| t.name != theme.name);
                themes.push(theme);
            }
            Err(why) => complaints.push(format!("{}: {why}; the theme is left out", path.display())),
        }
    }
    (themes, complaints)
}

/// The largest theme that is read.
const MAX_THEME: u64 = 1 << 20;

/// The theme that is meant: one of these by its name, or a file by its path. The error names the nearest there is.
pub fn find_theme(themes: &[Theme], wanted: &str) -> Result<Theme, String> {
    let shown = visible(wanted, false);
    if let Some(theme) = themes.iter().find(|t| t.name == wanted) {
        return Ok(theme.clone());
    }
    let path = Path::new(wanted);
    if wanted.contains('/') || path.extension().is_some_and(|x| x == "toml") {
        let size = std::fs::metadata(path).map_err(|e| format!("{shown}: {e}; name a theme file, or a theme: {}", names(themes)))?.len();
        if size > MAX_THEME {
            return Err(format!("{shown}: this is no theme; name a TOML file of at most 1 MB"));
        }
        let text = std::fs::read_to_string(path).map_err(|e| format!("{shown}: {e}; name a theme file"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        return Theme::parse(&name, &text).map_err(|why| format!("{shown}: {why}"));
    }
    let near = themes.iter().map(|t| t.name.as_str()).max_by(|a, b| strsim::jaro(a, wanted).total_cmp(&strsim::jaro(b, wanted)));
    Err(format!("{shown}: no theme has this name; the nearest is {}; there are {}", near.unwrap_or("dark"), names(themes)))
}

fn names(themes: &[Theme]) -> String {
    themes.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::keymap::GLOBAL;
    use super::*;

    #[test]
    fn mistakes_name_their_line_and_the_rest_works() {
        let text = "theme = \"light\"\nmouse = 3\ncolour = 1\nnotify = \"notify-send done\"\n[keys]\n\"app.help\" = \"f2\"\n\"app.halp\" = \"x\"\n\"app.quit\" = \"hyper-q\"\n";
        let config = Config::parse(Path::new("config.toml"), text, GLOBAL);
        assert_eq!(config.theme.as_deref(), Some("light"));
        assert_eq!(config.notify, Notify::Command("notify-send done".into()));
        assert_eq!(config.keys.len(), 1);
        let expected = [
            "config.toml:2: `mouse`",
            "config.toml:3: unknown",
            "config.toml:7: no action is called `app.halp`; the nearest is `app.help`",
            "config.toml:8: `hyper-q`",
        ];
        assert_eq!(config.complaints.len(), expected.len(), "{:?}", config.complaints);
        for (complaint, start) in config.complaints.iter().zip(expected) {
            assert!(complaint.starts_with(start), "{complaint} against {start}");
        }
    }

    #[test]
    fn a_broken_file_leaves_the_defaults() {
        let config = Config::parse(Path::new("c.toml"), "a = 1\nb = [\n", GLOBAL);
        assert!(config.complaints[0].starts_with("c.toml:"), "{:?}", config.complaints);
        assert_eq!(config.keys.len(), 0);
    }

    #[test]
    fn a_theme_is_found_by_name_or_file_and_else_the_nearest_is_named() {
        let (themes, _) = themes(None);
        assert_eq!(find_theme(&themes, "light").unwrap().name, "light");
        let why = find_theme(&themes, "drak").unwrap_err();
        assert!(why.starts_with("drak: no theme has this name; the nearest is dark; there are dark, light, "), "{why}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("own.toml");
        assert!(find_theme(&themes, file.to_str().unwrap()).unwrap_err().contains("own.toml: No such file"));
        std::fs::write(&file, BUILT_IN[1].1).unwrap();
        assert_eq!(find_theme(&themes, file.to_str().unwrap()).unwrap().text, Theme::default_light().text);
        std::fs::write(&file, "[text]\n[text]\n").unwrap();
        let why = find_theme(&themes, file.to_str().unwrap()).unwrap_err();
        assert!(
            why.ends_with(
                "own.toml: line 2: text: the section begins twice, the first time in line 1; put all of its keys below one [text]"
            ),
            "{why}"
        );
    }

    #[test]
    fn own_themes_win_by_name() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("themes")).unwrap();
        std::fs::write(directory.path().join("themes/dark.toml"), BUILT_IN[1].1).unwrap();
        std::fs::write(directory.path().join("themes/bad.toml"), "nonsense").unwrap();
        let (themes, complaints) = themes(Some(directory.path()));
        assert_eq!(themes.len(), BUILT_IN.len());
        assert_eq!(themes.iter().find(|t| t.name == "dark").unwrap().text, Theme::default_light().text);
        assert!(complaints.len() == 1 && complaints[0].contains("bad.toml"), "{complaints:?}");
    }
}
