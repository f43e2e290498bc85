//! The form for a new tokenizer: on what, of what kind and size, with which options, and where it goes.
//! Deliberately not here: the training, which is the engine's.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::data::patterns;
use crate::engine::jobs::tokenizer_problem;
use crate::spec::TokenizerSpec;
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, field::Field};
use crate::ui::world::World;

/// What a key did.
pub enum Typed {
    Changed,
    Start,
    Unused,
}

/// The lines, with a sentence for each.
const ROWS: [(&str, &str); 9] = [
    ("files", "What it learns from: files, directories, globs, or sample:stories. Blanks divide several."),
    ("kind", "bpe learns pieces from the text; char takes its characters; byte needs no text at all."),
    ("vocabulary", "How many tokens a bpe has. More make texts shorter, and a model's embedding larger."),
    ("pattern", "How a bpe cuts a text into words, which no token reaches over."),
    ("split digits", "Every digit a token of its own: numbers are then always cut alike."),
    ("blank runs", "Tokens for runs of 2 to so many blanks, as code is indented with; 0 for none."),
    ("byte fallback", "A bpe of characters, with bytes for rare ones (as Llama-2), instead of one of bytes (as GPT-2)."),
    ("special", "Tokens of their own that divide texts, such as <|endoftext|>; blanks divide several."),
    ("save as", "The file that is written, in the project."),
];
const KINDS: [&str; 3] = ["bpe", "char", "byte"];
const NAME: usize = 15;

pub struct Form {
    at: usize,
    fields: [Field; ROWS.len()],
    pub trouble: Option<String>,
}

impl Form {
    pub fn new(world: &World) -> Self {
        let taken = |name: &str| world.shelf.listed.iter().flatten().any(|listed| listed.name == name);
        let name = (1..1_000).map(|n| format!("tokenizers/bpe-{n}.json")).find(|name| !taken(name)).unwrap_or_default();
        let values = ["sample:stories", "bpe", "1024", "gpt2", "no", "0", "no", "<|endoftext|>", &name];
        Self { at: 0, fields: values.map(Field::new), trouble: None }
    }

    fn value(&self, row: usize) -> &str {
        self.fields[row].text().trim()
    }

    fn choices(row: usize) -> &'static [&'static str] {
        match row {
            1 => &KINDS,
            3 => patterns::NAMES,
            4 | 6 => &["no", "yes"],
            _ => &[],
        }
    }

    /// Whether a row says anything for this kind.
    fn counts(&self, row: usize) -> bool {
        match self.value(1) {
            "bpe" => true,
            "char" => !(2..=6).contains(&row),
            _ => !(2..=6).contains(&row) && row != 0,
        }
    }

    pub fn key(&mut self, key: KeyEvent) -> Typed {
        let choices = Self::choices(self.at);
        let by = match key.code {
            KeyCode::Esc | KeyCode::F(_) => return Typed::Unused,
            KeyCode::Enter => return Typed::Start,
            KeyCode::Up | KeyCode::BackTab => {
                self.turn(ROWS.len() - 1);
                return Typed::Changed;
            }
            KeyCode::Down | KeyCode::Tab => {
                self.turn(1);
                return Typed::Changed;
            }
            KeyCode::Left if !choices.is_empty() => choices.len() - 1,
            KeyCode::Right | KeyCode::Char(' ') if !choices.is_empty() => 1,
            _ if !choices.is_empty() => return Typed::Unused,
            _ if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') => return Typed::Unused,
            _ => {
                self.trouble = None;
                return if self.fields[self.at].key(&key) { Typed::Changed } else { Typed::Unused };
            }
        };
        let at = choices.iter().position(|c| *c == self.value(self.at)).unwrap_or(0);
        self.fields[self.at] = Field::new(choices[(at + by) % choices.len()]);
        self.trouble = None;
        Typed::Changed
    }

    fn turn(&mut self, by: usize) {
        for _ in 0..ROWS.len() {
            self.at = (self.at + by) % ROWS.len();
            if self.counts(self.at) {
                return;
            }
        }
    }

    pub fn paste(&mut self, text: &str) {
        if Self::choices(self.at).is_empty() {
            self.fields[self.at].insert(text);
        }
    }

    /// What the fields ask for, or what is wrong with it.
    pub fn spec(&self, world: &World) -> Result<TokenizerSpec, String> {
        let number = |row: usize| {
            let text = self.value(row).replace([',', '_'], "");
            text.parse::<usize>().map_err(|_| format!("{}: “{}” is no whole number", ROWS[row].0, self.value(row)))
        };
        let bpe = self.value(1) == "bpe";
        let words = |row: usize| self.value(row).split_whitespace();
        let out = self.value(8);
        if out.is_empty() || out.ends_with('/') {
            return Err("save as: name a file, such as tokenizers/mine.json".into());
        }
        if world.shelf.listed.iter().flatten().any(|listed| listed.name == out) {
            return Err(format!("save as: {} is there already; choose another name", crate::text::visible(out, false)));
        }
        let spec = TokenizerSpec {
            files: if self.counts(0) { words(0).map(Into::into).collect() } else { Vec::new() },
            kind: self.value(1).into(),
            vocab: if bpe { number(2)? } else { 0 },
            special: words(7).map(str::to_owned).collect(),
            pattern: if bpe { self.value(3).into() } else { String::new() },
            split_digits: bpe && self.value(4) == "yes",
            blank_runs: if bpe { number(5)? } else { 0 },
            byte_fallback: bpe && self.value(6) == "yes",
            out: out.into(),
        };
        tokenizer_problem(&spec).map_or(Ok(spec), Err)
    }

    pub fn draw(&self, frame: &mut Frame, area: Rect, theme: &Theme) {
        let area = widgets::centered(area, 76, ROWS.len() as u16 + 8);
        widgets::blank(frame, area, theme);
        let block = widgets::panel("new tokenizer", true, theme)
            .title_bottom(Line::styled(" Enter trains it · ↑↓ rows · ←→ choices · Esc leaves ", theme.dim).right_aligned());
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
        let line = |n: usize| Rect { y: inner.y + n as u16, height: 1, ..inner };
        for (row, (name, _)) in ROWS.iter().enumerate().take(usize::from(inner.height)) {
            let focused = row == self.at;
            let style = if focused { theme.title } else { theme.dim };
            let head = vec![Span::styled(if focused { "▸ " } else { "  " }, theme.accent), Span::styled(widgets::pad(name, NAME), style)];
            frame.render_widget(Line::from(head), line(row));
            let field = Rect { x: inner.x + NAME as u16 + 2, width: inner.width.saturating_sub(NAME as u16 + 2), ..line(row) };
            if !self.counts(row) {
                frame.render_widget(Span::styled("-", theme.faint), field);
            } else if Self::choices(row).is_empty() {
                self.fields[row].draw(frame, field, theme.text, focused);
            } else {
                let choice = vec![
                    Span::styled("‹ ", theme.dim),
                    Span::styled(self.value(row).to_owned(), theme.text),
                    Span::styled(" ›", theme.dim),
                ];
                frame.render_widget(Line::from(choice), field);
            }
        }
        let mut help = match &self.trouble {
            Some(why) => widgets::wrap(&crate::text::visible(why, false), usize::from(inner.width)),
            None => widgets::wrap(ROWS[self.at].1, usize::from(inner.width)),
        };
        if let (3, Some(pattern), None) = (self.at, patterns::find(self.value(3)), &self.trouble) {
            help.push(format!("{}: {}", pattern.name, pattern.help));
        }
        let style = if self.trouble.is_some() { theme.error } else { theme.dim };
        for (n, text) in help.into_iter().enumerate().take(usize::from(inner.height).saturating_sub(ROWS.len() + 1)) {
            let mark = if self.trouble.is_some() && n == 0 { "✗ " } else { "" };
            frame.render_widget(Line::styled(format!("{mark}{text}"), style), line(ROWS.len() + 1 + n));
        }
    }
}
