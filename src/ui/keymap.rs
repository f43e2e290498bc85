//! Actions, bindings and the key table: keys are found by name, rebound by name, and shown from the same table.
//! Deliberately not here: what an action does; that is the pane's or the shell's.

use std::collections::HashMap;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A named thing that a key can do: `train.pause`. Rebindable by name in the config file.
pub type Action = &'static str;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binding {
    pub action: Action,
    /// Default keys: `"p"`, `"G"`, `"ctrl-d"`, `"g t"` for a sequence. Several separated by `|`; a bar itself is `bar`.
    pub keys: &'static str,
    /// One or two words for the footer.
    pub label: &'static str,
    /// A sentence for the help overlay and the palette.
    pub help: &'static str,
    /// Whether the footer shows it (when there is room).
    pub footer: bool,
}

/// What works everywhere. A pane's own keys win over these.
pub const GLOBAL: &[Binding] = &[
    bind("go.life", "g l|ctrl-g l", "life", "Go to Life: the map of this project's models."),
    bind("go.data", "g d|ctrl-g d", "data", "Go to Data: the rows that a model learns from, and what is wrong with them."),
    bind("go.tokens", "g k|ctrl-g k", "tokens", "Go to Tokens: how tokenizers cut a text."),
    bind("go.train", "g t|ctrl-g t", "train", "Go to Train: runs, curves and samples."),
    bind("go.rank", "g r|ctrl-g r", "rank", "Go to Rank: put responses in order, for models to learn what people like."),
    bind("go.eval", "g e|ctrl-g e", "eval", "Go to Eval: tasks and models, scores with intervals, what flipped."),
    bind("go.chat", "g c|ctrl-g c", "chat", "Go to Chat: talk to a model."),
    bind("go.models", "g m|ctrl-g m", "models", "Go to Models: what there is to talk to and train on, what is in it, and pulling more."),
    bind("go.log", "g j|ctrl-g j", "jobs", "Go to Jobs: what runs, what waits, what failed and why, and the log."),
    Binding { footer: true, ..bind("app.help", "?|f1", "help", "Explain this pane, and list its keys.") },
    Binding { footer: true, ..bind("app.palette", ":", "commands", "Find any command by a few of its letters.") },
    bind("app.back", "esc", "back", "Go back one step. Never quits."),
    bind("app.quit", "q", "quit", "Close the overlay; at the top, quit. Asks first when something is running."),
    bind("app.detach", "", "detach", "Leave the workbench; what runs goes on, and weightroom in this directory comes back to it."),
    bind("app.interrupt", "ctrl-c", "stop", "Stop the current generation or prompt; a second one asks whether to quit."),
    bind("app.suspend", "ctrl-z", "suspend", "Suspend to the shell; `fg` comes back."),
    bind("app.redraw", "ctrl-l", "redraw", "Draw the whole screen again."),
];

const fn bind(action: Action, keys: &'static str, label: &'static str, help: &'static str) -> Binding {
    Binding { action, keys, label, help, footer: false }
}

/// One press: a key with the modifiers that matter. Shift is part of a printable character and not kept beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chord {
    code: KeyCode,
    ctrl: bool,
    alt: bool,
    shift: bool,
}

impl Chord {
    pub fn of(event: &KeyEvent) -> Self {
        let (mut code, mut shift) = (event.code, event.modifiers.contains(KeyModifiers::SHIFT));
        let ctrl = event.modifiers.contains(KeyModifiers::CONTROL);
        match code {
            KeyCode::BackTab => (code, shift) = (KeyCode::Tab, true),
            KeyCode::Char(c) => {
                // Terminals differ in the letter's case that comes with Ctrl, and in Shift beside a symbol.
                code = KeyCode::Char(if ctrl { c.to_ascii_lowercase() } else { c });
                shift = false;
            }
            _ => {}
        }
        Self { code, ctrl, alt: event.modifiers.contains(KeyModifiers::ALT), shift }
    }

    /// The event that a terminal sends for it.
    pub fn event(&self) -> KeyEvent {
        let mut modifiers = KeyModifiers::NONE;
        for (on, flag) in [(self.ctrl, KeyModifiers::CONTROL), (self.alt, KeyModifiers::ALT), (self.shift, KeyModifiers::SHIFT)] {
            if on {
                modifiers |= flag;
            }
        }
        KeyEvent::new(self.code, modifiers)
    }

    /// Whether a text field would insert it.
    pub fn is_printable(&self) -> bool {
        matches!(self.code, KeyCode::Char(_)) && !self.ctrl && !self.alt
    }

    pub fn is_escape(&self) -> bool {
        self.code == KeyCode::Esc
    }

    /// `ctrl-d`, `G`, `shift-tab`, `f1`; none where the name is unknown.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut ctrl, mut alt, mut shift, mut rest) = (false, false, false, text);
        loop {
            let lower = rest.to_ascii_lowercase();
            let after = |prefix: &str| lower.starts_with(prefix) && rest.len() > prefix.len();
            if after("ctrl-") {
                (ctrl, rest) = (true, &rest[5..]);
            } else if after("alt-") {
                (alt, rest) = (true, &rest[4..]);
            } else if after("shift-") {
                (shift, rest) = (true, &rest[6..]);
            } else {
                break;
            }
        }
        let mut chars = rest.chars();
        let code = match (chars.next(), chars.next()) {
            (Some(c), None) if ctrl => KeyCode::Char(c.to_ascii_lowercase()),
            (Some(c), None) if shift => KeyCode::Char(c.to_ascii_uppercase()),
            (Some(c), None) => KeyCode::Char(c),
            _ => named(&rest.to_ascii_lowercase())?,
        };
        if code == KeyCode::BackTab {
            return Some(Self { code: KeyCode::Tab, ctrl, alt, shift: true });
        }
        let shift = shift && !matches!(code, KeyCode::Char(_));
        Some(Self { code, ctrl, alt, shift })
    }

    /// As it is shown to a person: `Ctrl-d`, `Enter`, `→`.
    pub fn show(&self, ascii: bool) -> String {
        let mut out = String::new();
        for (on, name) in [(self.ctrl, "Ctrl-"), (self.alt, "Alt-"), (self.shift, "Shift-")] {
            if on {
                out.push_str(name);
            }
        }
        match self.code {
            KeyCode::Char(' ') => out.push_str("Space"),
            KeyCode::Char(c) => out.push(c),
            KeyCode::Left => out.push_str(if ascii { "Left" } else { "←" }),
            KeyCode::Right => out.push_str(if ascii { "Right" } else { "→" }),
            KeyCode::Up => out.push_str(if ascii { "Up" } else { "↑" }),
            KeyCode::Down => out.push_str(if ascii { "Down" } else { "↓" }),
            KeyCode::F(n) => out.push_str(&format!("F{n}")),
            KeyCode::PageUp => out.push_str("PgUp"),
            KeyCode::PageDown => out.push_str("PgDn"),
            KeyCode::Delete => out.push_str("Del"),
            other => out.push_str(&format!("{other:?}")),
        }
        out
    }
}

fn named(name: &str) -> Option<KeyCode> {
    Some(match name {
        "esc" => KeyCode::Esc,
        "enter" => KeyCode::Enter,
        "tab" => KeyCode::Tab,
        "backtab" => KeyCode::BackTab,
        "space" => KeyCode::Char(' '),
        "bar" => KeyCode::Char('|'),
        "left" => KeyCode::Left,
        "right" => KeyCode::Right,
        "up" => KeyCode::Up,
        "down" => KeyCode::Down,
        "home" => KeyCode::Home,
        "end" => KeyCode::End,
        "pageup" => KeyCode::PageUp,
        "pagedown" => KeyCode::PageDown,
        "backspace" => KeyCode::Backspace,
        "del" | "delete" => KeyCode::Delete,
        "ins" | "insert" => KeyCode::Insert,
        _ => KeyCode::F(name.strip_prefix('f')?.parse().ok().filter(|n| (1..=24).contains(n))?),
    })
}

/// A key alone or a sequence of keys.
pub type Sequence = Vec<Chord>;

/// `"g t|ctrl-t"` as sequences; the error is the part that is no key.
pub fn parse_keys(keys: &str) -> Result<Vec<Sequence>, String> {
    let alternatives = if keys.trim() == "|" { vec!["bar"] } else { keys.split('|').collect() };
    alternatives
        .into_iter()
        .filter(|one| !one.trim().is_empty())
        .map(|one| one.split_whitespace().map(|key| Chord::parse(key).ok_or_else(|| key.to_string())).collect())
        .collect()
}

/// What a sequence of presses means.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// `own`: bound by the pane itself.
    Act {
        action: Action,
        own: bool,
    },
    /// The beginning of these: the next chord and what it would do.
    Pending(Vec<(Chord, Binding)>),
    Nothing,
}

/// The table in force: the defaults with the person's changes.
#[derive(Clone, Debug, Default)]
pub struct Keymap {
    keys: HashMap<Action, Vec<Sequence>>,
}

impl Keymap {
    /// The defaults of `bindings` with `overrides` (action, keys) applied. Unparsable defaults are left without a key; a test looks for them.
    pub fn new(bindings: &[Binding], overrides: &HashMap<String, Vec<Sequence>>) -> Self {
        let of = |b: &Binding| overrides.get(b.action).cloned().unwrap_or_else(|| parse_keys(b.keys).unwrap_or_default());
        Self { keys: bindings.iter().map(|b| (b.action, of(b))).collect() }
    }

    pub fn sequences(&self, action: &str) -> &[Sequence] {
        self.keys.get(action).map_or(&[], Vec::as_slice)
    }

    /// The first way to reach an action, for the footer: `p`, `g t`. Empty where nothing is bound.
    pub fn show(&self, action: &str, ascii: bool) -> String {
        self.sequences(action).first().map(|s| show(s, ascii)).unwrap_or_default()
    }

    /// All ways to reach an action, for the help overlay.
    pub fn show_all(&self, action: &str, ascii: bool) -> String {
        self.sequences(action).iter().map(|s| show(s, ascii)).collect::<Vec<_>>().join("  ")
    }

    /// What `pressed` means in a pane: its own exact match, then the beginning of any sequence, then a global match.
    pub fn resolve(&self, own: &[Binding], global: &[Binding], pressed: &[Chord]) -> Resolved {
        if let Some(b) = own.iter().find(|b| self.sequences(b.action).iter().any(|s| s == pressed)) {
            return Resolved::Act { action: b.action, own: true };
        }
        let next = |list: &[Binding]| -> Vec<(Chord, Binding)> {
            let begins = |s: &Sequence| s.len() > pressed.len() && s.starts_with(pressed);
            list.iter()
                .flat_map(|b| self.sequences(b.action).iter().filter(|s| begins(s)).map(|s| (s[pressed.len()], *b)).collect::<Vec<_>>())
                .collect()
        };
        let mut pending = next(own);
        let exact = global.iter().find(|b| self.sequences(b.action).iter().any(|s| s == pressed));
        if let (Some(b), true) = (exact, pending.is_empty()) {
            return Resolved::Act { action: b.action, own: false };
        }
        for (chord, binding) in next(global) {
            if !pending.iter().any(|(c, _)| *c == chord) {
                pending.push((chord, binding));
            }
        }
        if pending.is_empty() { Resolved::Nothing } else { Resolved::Pending(pending) }
    }
}

fn show(sequence: &Sequence, ascii: bool) -> String {
    sequence.iter().map(|c| c.show(ascii)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(text: &str) -> Vec<Chord> {
        text.split(' ').map(|k| Chord::parse(k).unwrap()).collect()
    }

    #[test]
    fn chords_of_events_equal_chords_of_names() {
        let event = |code, modifiers| Chord::of(&KeyEvent::new(code, modifiers));
        assert_eq!(Chord::parse("G"), Some(event(KeyCode::Char('G'), KeyModifiers::SHIFT)));
        assert_eq!(Chord::parse("?"), Some(event(KeyCode::Char('?'), KeyModifiers::SHIFT)));
        assert_eq!(Chord::parse("ctrl-D"), Some(event(KeyCode::Char('d'), KeyModifiers::CONTROL)));
        assert_eq!(Chord::parse("shift-tab"), Some(event(KeyCode::BackTab, KeyModifiers::SHIFT)));
        assert_eq!(Chord::parse("backtab"), Some(event(KeyCode::BackTab, KeyModifiers::SHIFT)));
        assert_eq!(Chord::parse("-"), Some(event(KeyCode::Char('-'), KeyModifiers::NONE)));
        assert_eq!(Chord::parse("ctrl--"), Some(event(KeyCode::Char('-'), KeyModifiers::CONTROL)));
        assert_eq!(Chord::parse("hyper-x"), None);
        assert_eq!(Chord::parse(""), None);
    }

    #[test]
    fn a_pane_wins_over_the_frame_and_sequences_wait() {
        let own = [bind("rank.left", "g", "", ""), bind("rank.help", "?", "", "")];
        let all: Vec<Binding> = own.iter().chain(GLOBAL).copied().collect();
        let map = Keymap::new(&all, &HashMap::new());
        assert_eq!(map.resolve(&own, GLOBAL, &press("g")), Resolved::Act { action: "rank.left", own: true });
        assert_eq!(map.resolve(&own, GLOBAL, &press("?")), Resolved::Act { action: "rank.help", own: true });
        assert_eq!(map.resolve(&[], GLOBAL, &press("?")), Resolved::Act { action: "app.help", own: false });
        let Resolved::Pending(next) = map.resolve(&[], GLOBAL, &press("g")) else { panic!("g must wait") };
        assert!(next.iter().any(|(c, b)| *c == press("t")[0] && b.action == "go.train"));
        assert_eq!(map.resolve(&[], GLOBAL, &press("g t")), Resolved::Act { action: "go.train", own: false });
        assert_eq!(map.resolve(&[], GLOBAL, &press("g x")), Resolved::Nothing);
    }

    #[test]
    fn a_rebound_action_loses_its_default_key() {
        let own = [bind("train.pause", "p", "", "")];
        let overrides = HashMap::from([("train.pause".to_string(), parse_keys("P|ctrl-p").unwrap())]);
        let map = Keymap::new(&own, &overrides);
        assert_eq!(map.resolve(&own, &[], &press("p")), Resolved::Nothing);
        assert_eq!(map.resolve(&own, &[], &press("P")), Resolved::Act { action: "train.pause", own: true });
        assert_eq!(map.show_all("train.pause", false), "P  Ctrl-p");
    }
}
