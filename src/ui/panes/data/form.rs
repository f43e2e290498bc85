//! The form of a cleaning: which rules, and which file. Deliberately not here: what rules do (`data::clean`).

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::data::clean::{RULES, USUAL};
use crate::data::facts::Facts;
use crate::engine::jobs::clean_problem;
use crate::spec::{CleanSpec, InspectSpec};
use crate::ui::desk::State;
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, field::Field};

/// What a key of the form leads to.
pub enum Outcome {
    Stay,
    Close,
    /// It cannot start like this.
    Refuse(String),
    Start(Box<CleanSpec>),
}

/// What is chosen so far.
pub struct Form {
    at: usize,
    drop: Vec<bool>,
    /// How many rows each rule would drop, where the facts say it.
    known: Vec<Option<u64>>,
    normalise: bool,
    redact: bool,
    against: Field,
    out: Field,
    files: Vec<String>,
    shape: Option<String>,
}

/// Items after the rules: two switches and two texts.
const NORMALISE: usize = RULES.len();
const REDACT: usize = NORMALISE + 1;
const AGAINST: usize = REDACT + 1;
const OUT: usize = AGAINST + 1;

impl Form {
    pub fn new(state: &State, facts: Option<&Facts>) -> Self {
        let known = RULES.iter().map(|rule| {
            let facts = facts?;
            Some(match rule.name {
                "broken" => facts.broken.rows,
                "unfit" => facts.unfit.rows,
                "empty" => facts.empty.rows,
                "roles" => facts.role_order.rows,
                "secrets" => facts.secrets.rows,
                "duplicates" => facts.duplicates.exact.rows,
                "near-duplicates" => facts.duplicates.near.rows,
                _ => return None,
            })
        });
        Self {
            at: 0,
            drop: RULES.iter().map(|r| USUAL.contains(&r.name)).collect(),
            known: known.collect(),
            normalise: false,
            redact: false,
            against: Field::default(),
            out: Field::new(&proposed(state)),
            files: state.entries.clone(),
            shape: state.mapping.as_ref().filter(|_| state.mapping_from == "by hand").map(ToString::to_string),
        }
    }

    pub fn paste(&mut self, text: &str) {
        if let Some(field) = self.field() {
            field.insert(text);
        }
    }

    fn field(&mut self) -> Option<&mut Field> {
        match self.at {
            AGAINST => Some(&mut self.against),
            OUT => Some(&mut self.out),
            _ => None,
        }
    }

    pub fn key(&mut self, key: &KeyEvent) -> Outcome {
        match key.code {
            KeyCode::Esc => return Outcome::Close,
            KeyCode::Enter => return self.start(),
            KeyCode::Down | KeyCode::Tab => self.at = (self.at + 1).min(OUT),
            KeyCode::Up | KeyCode::BackTab => self.at = self.at.saturating_sub(1),
            _ => {
                if let Some(field) = self.field() {
                    field.key(key);
                    return Outcome::Stay;
                }
                match key.code {
                    KeyCode::Char('j') => self.at = (self.at + 1).min(OUT),
                    KeyCode::Char('k') => self.at = self.at.saturating_sub(1),
                    KeyCode::Char(' ' | 'x') => match self.at {
                        NORMALISE => self.normalise = !self.normalise,
                        REDACT => self.redact = !self.redact,
                        at => self.drop[at] = !self.drop[at],
                    },
                    _ => {}
                }
            }
        }
        Outcome::Stay
    }

    fn start(&self) -> Outcome {
        let rules = RULES.iter().zip(&self.drop).filter(|(_, on)| **on);
        let spec = CleanSpec {
            data: InspectSpec {
                files: self.files.clone(),
                shape: self.shape.clone(),
                against: self.against.text().split_whitespace().map(str::to_owned).collect(),
                ..InspectSpec::default()
            },
            out: self.out.text().trim().into(),
            drop: rules.map(|(rule, _)| rule.name.to_owned()).collect(),
            normalise: self.normalise,
            redact: self.redact,
            ..CleanSpec::default()
        };
        match clean_problem(&spec) {
            Some(why) => Outcome::Refuse(why.replace("--against", "the line below the rules")),
            None => Outcome::Start(Box::new(spec)),
        }
    }

    pub fn draw(&self, frame: &mut Frame, area: Rect, theme: &Theme) {
        let area = widgets::centered(area, 92, OUT as u16 + 7);
        widgets::blank(frame, area, theme);
        let block = widgets::panel("Write a clean copy", true, theme);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let mut lines: Vec<Line> = Vec::new();
        let name = |text: &str| widgets::pad(text, 17);
        for item in 0..=OUT {
            let (on, what, help) = match item {
                NORMALISE => (Some(self.normalise), "normalise", "one kind of line end, no blanks at line ends, nothing unseen".to_owned()),
                REDACT => (Some(self.redact), "redact", "marks in the place of e-mail addresses and keys".to_owned()),
                AGAINST => (None, "evaluation files", String::new()),
                OUT => (None, "write to", String::new()),
                rule => {
                    let known = self.known[rule].map_or(String::new(), |n| format!(" · {} now", widgets::grouped(n)));
                    (Some(self.drop[rule]), RULES[rule].name, format!("drop {}{known}", RULES[rule].help))
                }
            };
            let chosen = item == self.at;
            let mark = match on {
                Some(true) => "[x] ",
                Some(false) => "[ ] ",
                None => "    ",
            };
            lines.push(Line::from(vec![
                Span::styled(if chosen { "▸" } else { " " }, theme.accent),
                Span::styled(format!("{mark}{}", name(what)), if chosen { theme.title } else { theme.text }),
                Span::styled(widgets::fit(&help, usize::from(inner.width).saturating_sub(24)).into_owned(), theme.dim),
            ]));
            if matches!(item, REDACT) {
                lines.push(Line::default());
            }
        }
        let row = |item: usize| inner.y + item as u16 + u16::from(item > REDACT);
        for (y, line) in (inner.y..inner.bottom()).zip(&lines) {
            frame.render_widget(line.clone(), Rect { y, height: 1, ..inner });
        }
        for (item, field) in [(AGAINST, &self.against), (OUT, &self.out)] {
            let place = Rect { x: inner.x + 22, y: row(item), width: inner.width.saturating_sub(23), height: 1 };
            if place.y < inner.bottom() {
                field.draw(frame, place, theme.text, item == self.at);
            }
        }
        let foot = Rect { y: inner.bottom().saturating_sub(1), height: 1, ..inner };
        frame.render_widget(Span::styled(" Space chooses · Enter writes · Esc leaves · the source is never touched", theme.dim), foot);
    }
}

/// A name beside the source's.
fn proposed(state: &State) -> String {
    let first = state.entries.first().map(String::as_str).unwrap_or_default();
    let text = state.files.iter().all(|f| f.format == "text");
    let base = first.strip_prefix("sample:").unwrap_or(first).trim_end_matches('/');
    let base = base.strip_suffix(".gz").or(base.strip_suffix(".zst")).unwrap_or(base);
    let stem = base.rsplit_once('.').filter(|(stem, _)| !stem.is_empty() && !stem.ends_with('/')).map_or(base, |(stem, _)| stem);
    let stem = stem.replace(['*', '?', '[', ']'], "");
    format!("{}-clean.{}", if stem.is_empty() { "data" } else { &stem }, if text { "txt" } else { "jsonl" })
}
