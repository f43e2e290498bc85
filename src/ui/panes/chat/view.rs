//! The transcript as lines, and the screen as areas: what both drawing and keys that move need to know.
//! Deliberately not here: colours and frames (`draw`).

use ratatui::layout::{Position, Rect};
use unicode_width::UnicodeWidthStr;

use super::flow::{Line, flow};
use super::talk::{Exchange, Mode, Origin, Stage, Version};
use super::{Chat, Focus, Spot};

/// What a run of text is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tag {
    Plain,
    Dim,
    Label,
    Prompt,
    Warning,
    Error,
    Token(Spot),
    /// A token of the model's reasoning.
    Thought(Spot),
    /// Where the next token will stand.
    Caret,
}

impl Tag {
    /// The token that it is.
    pub fn spot(self) -> Option<Spot> {
        match self {
            Self::Token(spot) | Self::Thought(spot) => Some(spot),
            _ => None,
        }
    }
}

/// Where the parts of the pane are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Areas {
    /// With their frames.
    pub text: Rect,
    pub input: Rect,
    pub panel: Option<Rect>,
    /// One line of the likeliest next tokens, where there is no room for the panel.
    pub strip: Option<Rect>,
}

/// From this width on the panel stands beside the text.
const BESIDE: u16 = 100;

impl Areas {
    pub fn of(chat: &Chat, area: Rect) -> Self {
        if chat.zoom && chat.focus == Focus::Panel {
            return Self { panel: Some(area), ..Self::default() };
        }
        let beside = area.width >= BESIDE && !chat.zoom;
        let panel_width = if beside { (area.width * 3 / 10).clamp(38, 64) } else { 0 };
        let left = Rect { width: area.width - panel_width, ..area };
        let rows = chat.input.rows(left.width.saturating_sub(3)).clamp(1, (area.height / 3).max(3).saturating_sub(2));
        let input_height = (rows + 2).min(area.height);
        let strip_height = u16::from(!beside && area.height > input_height + 6);
        let text_height = area.height - input_height - strip_height;
        let part = |y: u16, height: u16| Rect { y: area.y + y, height, ..left };
        let mut out = Self {
            text: part(0, text_height),
            input: part(text_height + strip_height, input_height),
            panel: beside.then_some(Rect { x: area.x + left.width, width: panel_width, ..area }),
            strip: (strip_height > 0).then_some(part(text_height, strip_height)),
        };
        if !beside && chat.focus == Focus::Panel {
            // Too narrow for both: the panel takes their place while one works in it.
            out = Self { panel: Some(area), ..Self::default() };
        }
        out
    }
}

/// Longer lines are hard to read.
const MEASURE: u16 = 112;

/// The transcript within its frame.
pub fn page(area: Rect) -> Rect {
    let inside = inner(area);
    Rect { width: inside.width.min(MEASURE), ..inside }
}

/// What is within a frame, with a blank at both sides.
pub fn inner(area: Rect) -> Rect {
    Rect {
        x: area.x + 2.min(area.width),
        y: area.y + 1.min(area.height),
        width: area.width.saturating_sub(4),
        height: area.height.saturating_sub(2),
    }
}

/// The caption that says what kind of talk this is.
pub fn caption(mode: Mode) -> &'static str {
    match mode {
        Mode::Continue => "A base model goes on with your text. It was never taught to answer.",
        Mode::Chat => {
            "Your words are put into a dialogue, and the model writes the assistant's part. One that was only trained on plain text imitates dialogues as well as it can."
        }
    }
}

/// All lines of the transcript for a width.
pub fn lines(chat: &Chat, width: usize) -> Vec<Line<Tag>> {
    let mut out: Vec<(String, Tag)> = Vec::new();
    let mut say = |text: String, tag: Tag| out.push((text, tag));
    say(format!("{}\n\n", caption(chat.mode)), Tag::Dim);
    front(chat, &mut say);
    let mut lines = Vec::new();
    for (place, at) in chat.talk.path().into_iter().enumerate() {
        let exchange = &chat.talk.exchanges[at];
        let mut say = |text: String, tag: Tag| out.push((text, tag));
        if exchange.fresh && place > 0 {
            say("── a new conversation ──\n\n".into(), Tag::Dim);
        }
        let shown: Vec<usize> = (0..exchange.versions.len()).filter(|number| exchange.shows(*number)).collect();
        if let (true, [left, right], true) = (exchange.pair, shown.as_slice(), width >= TWO_COLUMNS) {
            if exchange.mode == Mode::Chat {
                you(&exchange.versions[*left], &mut say);
            }
            lines.extend(flow(std::mem::take(&mut out), width));
            lines.extend(columns(chat, exchange, at, [*left, *right], width));
            continue;
        }
        for (n, number) in shown.into_iter().enumerate() {
            let version = &exchange.versions[number];
            if n == 0 && exchange.mode == Mode::Chat {
                you(version, &mut say);
            }
            write(chat, exchange, (at, number), version, &mut say);
        }
    }
    lines.extend(flow(out, width));
    lines
}

/// From this width on two answers stand beside each other.
const TWO_COLUMNS: usize = 64;

/// What the model is told before the first turn.
fn front(chat: &Chat, say: &mut impl FnMut(String, Tag)) {
    let system = chat.talk.system.trim();
    if chat.mode == Mode::Chat && !system.is_empty() {
        say("system\n".into(), Tag::Label);
        say(format!("{system}\n\n"), Tag::Prompt);
    }
    let examples = chat.talk.examples.trim();
    if !examples.is_empty() {
        say("examples in front\n".into(), Tag::Label);
        say(format!("{examples}\n\n"), Tag::Dim);
    }
}

fn you(version: &Version, say: &mut impl FnMut(String, Tag)) {
    say("you\n".into(), Tag::Label);
    say(format!("{}\n\n", version.prompt), Tag::Prompt);
}

/// Two versions beside each other.
fn columns(chat: &Chat, exchange: &Exchange, at: usize, numbers: [usize; 2], width: usize) -> Vec<Line<Tag>> {
    let wide = (width - 3) / 2;
    let [left, right] = numbers.map(|number| {
        let mut out = Vec::new();
        write(chat, exchange, (at, number), &exchange.versions[number], &mut |text, tag| out.push((text, tag)));
        flow(out, wide)
    });
    let rows = left.len().max(right.len());
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    (0..rows)
        .map(|_| {
            let mut line = left.next().unwrap_or_default();
            let used: usize = line.runs.iter().map(|(text, _)| text.width()).sum();
            line.runs.push((" ".repeat(wide.saturating_sub(used)), Tag::Plain));
            line.runs.push((" │ ".into(), Tag::Dim));
            line.runs.extend(right.next().unwrap_or_default().runs);
            line
        })
        .collect()
}

fn write(chat: &Chat, exchange: &Exchange, place: (usize, usize), version: &Version, say: &mut impl FnMut(String, Tag)) {
    match exchange.mode {
        Mode::Chat => {
            let seed = if exchange.spread { format!(" · seed {}", version.sampler.seed) } else { String::new() };
            say(format!("{}{seed}\n", version.model), Tag::Label);
        }
        Mode::Continue if exchange.spread => say(format!("seed {}\n", version.sampler.seed), Tag::Label),
        Mode::Continue if exchange.pair => say(format!("{}\n", version.model), Tag::Label),
        Mode::Continue => {}
    }
    if !version.prompt_is_pieces() {
        if exchange.mode == Mode::Continue {
            say(version.prompt.clone(), Tag::Prompt);
        }
        say(version.prefix.clone(), Tag::Plain);
    }
    let thought = version.thought();
    for (piece, p) in version.pieces.iter().enumerate() {
        let in_thought = thought.as_ref().is_some_and(|t| t.contains(&piece));
        if in_thought && !chat.unfold {
            if thought.as_ref().is_some_and(|t| t.start == piece) {
                let n = thought.as_ref().map_or(0, ExactSizeIterator::len);
                let ends = thought.as_ref().is_some_and(|t| t.end < version.pieces.len()) || !version.is_open();
                say(format!("▸ {} {n} tokens · T shows them\n", if ends { "thought for" } else { "thinks," }), Tag::Dim);
            }
            continue;
        }
        let spot = Spot { exchange: place.0, version: place.1, piece };
        let here = chat.cursor == Some(spot);
        let text = match p.text.as_str() {
            "" if here => "▯".into(),
            "\n" if here => "␊\n".into(),
            text => text.to_string(),
        };
        say(text, if in_thought { Tag::Thought(spot) } else { Tag::Token(spot) });
    }
    if version.is_open() {
        say("▌".into(), Tag::Caret);
    }
    version.notes.iter().for_each(|note| say(format!("\n{note}"), Tag::Warning));
    match &version.stage {
        Stage::Failed { cause, hint } => {
            say(format!("\n{cause}"), Tag::Error);
            if !hint.is_empty() {
                say(format!("\n{hint}"), Tag::Warning);
            }
        }
        _ => say(format!("\n{}", status(exchange, version)), Tag::Dim),
    }
    say("\n\n".into(), Tag::Plain);
}

/// One line of figures below a text.
fn status(exchange: &Exchange, version: &Version) -> String {
    let mut parts = Vec::new();
    match &version.stage {
        Stage::Waiting(why) if why.is_empty() => parts.push("asked …".to_string()),
        Stage::Waiting(why) => parts.push(format!("waits: {why}")),
        _ => {
            parts.push(format!("{} tokens", version.drawn()));
            if let Some(speed) = version.tokens_per_s() {
                parts.push(format!("{speed:.0} tok/s"));
            }
            if let Some(ms) = version.fact("first_token_ms").filter(|ms| *ms > 0.0) {
                parts.push(format!("first {ms:.0} ms"));
            }
            if let Some((used, fit)) = version.context() {
                parts.push(format!("context {used}/{fit}"));
            }
        }
    }
    if !exchange.spread {
        parts.push(format!("seed {}", version.sampler.seed));
    }
    if let Stage::Done(ended) = &version.stage {
        parts.push(
            match ended.as_str() {
                "end" => "end of text",
                "length" => "max tokens",
                "stop" => "its turn ended",
                _ => "stopped",
            }
            .to_string(),
        );
    }
    if exchange.versions.len() > 1 && !exchange.spread && !exchange.pair {
        parts.push(format!("version {}/{} [ ]", exchange.shown + 1, exchange.versions.len()));
    }
    parts.join(" · ")
}

/// The first line to be shown: held where a person reads, at the end else, and always so that the cursor is seen.
pub fn top(chat: &Chat, lines: &[Line<Tag>], height: usize) -> usize {
    let last = lines.len().saturating_sub(height);
    let top = chat.held.unwrap_or(last).min(last);
    match chat.cursor.and_then(|c| line_of(lines, c)) {
        Some(line) if line < top => line,
        Some(line) if line >= top + height.max(1) => line + 1 - height.max(1),
        _ => top,
    }
}

fn line_of(lines: &[Line<Tag>], spot: Spot) -> Option<usize> {
    lines.iter().position(|line| line.runs.iter().any(|(_, tag)| tag.spot() == Some(spot)))
}

/// The token in the next line (or the one before) that has any, nearest below (or above) the cursor.
pub fn beside(chat: &Chat, cursor: Spot, by: i64) -> Option<Spot> {
    let lines = lines(chat, chat.seen.get().width.max(20));
    let from = line_of(&lines, cursor)?;
    let column = lines[from].runs.iter().take_while(|(_, tag)| tag.spot() != Some(cursor)).map(|(text, _)| text.width()).sum();
    let mut at = from as i64;
    loop {
        at += by.signum();
        let line = lines.get(usize::try_from(at).ok()?)?;
        if let Some(spot) = spot_in(line, column) {
            return Some(spot);
        }
    }
}

/// The token at a column of a line, or the last one before it.
fn spot_in(line: &Line<Tag>, column: usize) -> Option<Spot> {
    let mut found = None;
    let mut used = 0;
    for (text, tag) in &line.runs {
        if let Some(spot) = tag.spot() {
            if found.is_some() && used > column {
                break;
            }
            found = Some(spot);
        }
        used += text.width();
    }
    found
}

/// The token at a place of the screen.
pub fn spot_at(chat: &Chat, at: Position, area: Rect) -> Option<Spot> {
    let inside = page(area);
    let seen = chat.seen.get();
    let line = seen.top + usize::from(at.y.checked_sub(inside.y)?);
    let lines = lines(chat, usize::from(inside.width));
    spot_in(lines.get(line)?, usize::from(at.x.saturating_sub(inside.x)))
}

/// Whether a token belongs to what the person wrote.
pub fn is_prompt(chat: &Chat, spot: Spot) -> bool {
    let piece = chat.talk.exchanges.get(spot.exchange).and_then(|e| e.versions.get(spot.version)).and_then(|v| v.pieces.get(spot.piece));
    piece.is_some_and(|p| p.origin == Origin::Prompt)
}
