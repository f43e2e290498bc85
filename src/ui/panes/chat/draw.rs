//! Drawing the pane: frames, the transcript with its tints, the field, and what lies above them.
//! Deliberately not here: the sampler panel and its bars (`panel`).

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr;

use super::talk::Mode;
use super::view::{Areas, Tag, inner, is_prompt, lines, page, top};
use super::{Chat, Focus, Popup, RENDERED_WIDTH, Seen, Writing, panel, picker};
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets;
use crate::ui::world::{Run, World};

pub fn draw(chat: &Chat, frame: &mut Frame, area: Rect, cx: &Context) {
    let areas = Areas::of(chat, area);
    let mut seen = chat.seen.get();
    if areas.text.area() > 0 {
        seen = text(chat, frame, areas.text, cx);
    }
    chat.seen.set(seen);
    if let Some(strip) = areas.strip {
        panel::strip(chat, frame, strip, cx);
    }
    if areas.input.area() > 0 {
        input(chat, frame, areas.input, cx);
    }
    if let Some(area) = areas.panel {
        panel::draw(chat, frame, area, cx);
    }
    // Over the text, so that the bars beside it stay in sight.
    let below = if areas.text.area() > 0 { areas.text } else { area };
    match chat.popup {
        Some(Popup::Models { at }) => models(chat, at, "talk to", frame, below, cx),
        Some(Popup::Second { at }) => models(chat, at, "ask this one the same", frame, below, cx),
        Some(Popup::Files { at }) => files(at, frame, below, cx),
        Some(Popup::Rendered { top }) => rendered(chat, top, frame, below, cx),
        Some(Popup::Alternatives { at }) => alternatives(chat, at, frame, below, cx),
        None => {}
    }
}

/// `demo ● in training, step 412`.
fn model_line(chat: &Chat, world: &World) -> String {
    match chat.model(world) {
        Some(picked) => {
            // What was picked a while ago may have moved on.
            let now = picker::choices(world).into_iter().find(|c| c.model == picked.model).unwrap_or(picked);
            let why = if chat.picked.is_none() { why_this(&now.run, world) } else { String::new() };
            visible(&format!("{} {} {}{why}", now.label, now.mark, now.about), false).into_owned()
        }
        None => "no model yet".into(),
    }
}

/// Why one talks to this run, where a newer one might be expected.
fn why_this(run: &str, world: &World) -> String {
    let newer = |shown: &Run| world.runs.values().any(|r| r.name != shown.name && r.at_ms > shown.at_ms);
    match world.runs.get(run) {
        Some(shown) if !shown.is_usable() => " · it has no good weights yet".into(),
        Some(shown) if newer(shown) => " · the newest that can talk; m: others".into(),
        _ => String::new(),
    }
}

fn text(chat: &Chat, frame: &mut Frame, area: Rect, cx: &Context) -> Seen {
    let theme = cx.theme;
    let beside = chat.second.as_ref().map_or(String::new(), |second| format!(" | {}", visible(&second.label, false)));
    let title = format!("{}{beside}", model_line(chat, cx.world));
    let title = widgets::fit(&title, usize::from(area.width.saturating_sub(18))).into_owned();
    let mode = if chat.mode == Mode::Chat { " chat " } else { " continue " };
    let mut block = widgets::panel(&title, chat.focus == Focus::Text && chat.popup.is_none(), theme)
        .title(Line::styled(mode, theme.accent).right_aligned());
    if chat.tint {
        block = block.title_bottom(legend(theme).right_aligned());
    }
    frame.render_widget(block, area);
    let inside = page(area);
    let (width, height) = (usize::from(inside.width), usize::from(inside.height));
    if chat.model(cx.world).is_none() && chat.talk.last().is_none() {
        nobody(frame, inside, cx);
        return Seen { width, height, ..Seen::default() };
    }
    let all = lines(chat, width);
    let top = top(chat, &all, height);
    let shown = all.iter().skip(top).take(height).map(|line| {
        Line::from(line.runs.iter().map(|(text, tag)| Span::styled(text.clone(), style(chat, *tag, theme))).collect::<Vec<_>>())
    });
    frame.render_widget(Paragraph::new(shown.collect::<Vec<_>>()), inside);
    if top + height < all.len() {
        let more = format!(" {} more lines below · G ", all.len() - top - height);
        let y = area.y + area.height.saturating_sub(1);
        frame.render_widget(Line::styled(more, theme.key), Rect { x: inside.x, y, width: inside.width, height: 1 });
    }
    Seen { lines: all.len(), top, height, width }
}

fn nobody(frame: &mut Frame, area: Rect, cx: &Context) {
    let why = if cx.world.runs_loaded || !cx.world.runs.is_empty() { "This project has no model yet." } else { "Looking for models …" };
    let text = format!(
        "{why}\n\nTrain one: the sample in Life takes about a minute (Ctrl-g l, then Enter). You can talk to a model while it is in training, and watch what it says next change as it learns."
    );
    let wrapped = widgets::wrap(&text, usize::from(area.width)).into_iter().map(|l| Line::styled(l, cx.theme.dim));
    frame.render_widget(Paragraph::new(wrapped.collect::<Vec<_>>()), area);
}

fn style(chat: &Chat, tag: Tag, theme: &Theme) -> Style {
    match tag {
        Tag::Plain => theme.text,
        Tag::Dim => theme.dim,
        Tag::Label => theme.accent,
        Tag::Prompt => theme.text.add_modifier(Modifier::BOLD),
        Tag::Warning => theme.warning,
        Tag::Error => theme.error,
        Tag::Caret => theme.accent,
        Tag::Token(spot) | Tag::Thought(spot) => {
            let mut style = if matches!(tag, Tag::Thought(_)) { theme.dim } else { theme.text };
            if is_prompt(chat, spot) {
                style = style.add_modifier(Modifier::BOLD);
            }
            let piece =
                chat.talk.exchanges.get(spot.exchange).and_then(|e| e.versions.get(spot.version)).and_then(|v| v.pieces.get(spot.piece));
            // The first token of all has nothing before it, so it has no probability to show.
            if let Some(piece) = piece.filter(|p| chat.tint && !p.alternatives.is_empty()) {
                style = style.patch(tint(piece.probability, theme));
            }
            if chat.cursor == Some(spot) {
                style = style.add_modifier(Modifier::REVERSED | Modifier::BOLD);
            }
            style
        }
    }
}

/// A probability as a background, on a logarithmic scale from 1 in 1000 up; where there is no colour, as a line below.
fn tint(p: f32, theme: &Theme) -> Style {
    let place = (1.0 + p.max(1e-6).log10() / 3.0).clamp(0.0, 1.0);
    match theme.ramp.len() {
        0 if p < 0.05 => Style::new().add_modifier(Modifier::UNDERLINED | Modifier::BOLD),
        0 if p < 0.3 => Style::new().add_modifier(Modifier::UNDERLINED),
        0 => Style::new(),
        n => theme.ramp[((place * n as f32) as usize).min(n - 1)],
    }
}

fn legend(theme: &Theme) -> Line<'static> {
    let mut spans = vec![Span::styled(" the model's own probability ", theme.dim)];
    for (p, name) in [(0.001, " <1 % "), (0.03, " 3 % "), (0.1, " 10 % "), (0.3, " 30 % "), (0.9, " 90 % ")] {
        spans.push(Span::styled(name, theme.text.patch(tint(p, theme))));
    }
    spans.push(Span::raw(" "));
    Line::from(spans)
}

fn input(chat: &Chat, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let focused = chat.captures_text_now();
    let title = match (chat.writing, chat.mode) {
        (Writing::Edit(_), _) => "edit the prompt",
        (Writing::System, _) => "system prompt",
        (Writing::Examples, Mode::Chat) => "examples: question => answer, a line each",
        (Writing::Examples, Mode::Continue) => "text in front of every prompt",
        (Writing::Prompt, Mode::Continue) => "text to go on with",
        (Writing::Prompt, Mode::Chat) => "you",
    };
    let hint = match (focused, chat.writing) {
        (true, Writing::System | Writing::Examples) => " Enter keeps it · Ctrl-j new line · Esc leaves it as it was ",
        (true, _) => " Enter sends · Ctrl-j new line · Esc leaves ",
        (false, _) => " i write ",
    };
    let mut block = widgets::panel(title, focused, theme);
    if usize::from(area.width) > hint.width() + title.width() + 8 {
        block = block.title_bottom(Line::styled(hint, theme.dim).right_aligned());
    }
    frame.render_widget(block, area);
    let inside = Rect { x: area.x + 2.min(area.width), width: area.width.saturating_sub(3), ..inner(area) };
    let placeholder = match (chat.mode, chat.talk.last().is_some()) {
        _ if matches!(chat.writing, Writing::System | Writing::Examples) => "empty: nothing stands in front",
        (Mode::Continue, true) => "Enter goes on with the text above; ↑ brings the last prompt back",
        (Mode::Continue, false) => "write a beginning",
        (Mode::Chat, _) => "say something",
    };
    frame.render_widget(&chat.input.widget(theme.text, theme.dim, focused, placeholder), inside);
}

fn models(chat: &Chat, at: usize, title: &str, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let choices = picker::choices(cx.world);
    let height = (choices.len().max(1) as u16 + 2).min(area.height.saturating_sub(2)).max(3);
    let place = widgets::centered(area, 72, height);
    widgets::blank(frame, place, theme);
    frame.render_widget(widgets::panel(title, true, theme).title_bottom(Line::styled(" Enter takes it · Esc ", theme.dim)), place);
    let inside = inner(place);
    let height = usize::from(inside.height).max(1);
    let first = at.saturating_sub(height - 1);
    let now = chat.model(cx.world).map(|c| c.model);
    for (row, (number, choice)) in choices.iter().enumerate().skip(first).take(height).enumerate() {
        let here = number == at;
        let in_use = if now.as_ref() == Some(&choice.model) { "  in use" } else { "" };
        let indent = if choice.model == choice.run { "" } else { "  " };
        let text = format!("{} {indent}{} {}  {}{in_use}", if here { "▸" } else { " " }, choice.mark, choice.label, choice.about);
        let text = widgets::pad(&visible(&text, false), usize::from(inside.width));
        let style = if here { theme.selected } else { theme.text };
        frame.render_widget(Line::styled(text, style), Rect { y: inside.y + row as u16, height: 1, ..inside });
    }
}

/// Saved conversations.
fn files(at: usize, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let known = cx.world.chats.as_deref();
    let files = known.unwrap_or_default();
    let place = widgets::centered(area, 72, (files.len().max(1) as u16 + 2).min(area.height.saturating_sub(2)).max(3));
    widgets::blank(frame, place, theme);
    frame.render_widget(
        widgets::panel("saved conversations", true, theme).title_bottom(Line::styled(" Enter opens it · Esc ", theme.dim)),
        place,
    );
    let inside = inner(place);
    if files.is_empty() {
        let text = if known.is_some() { "none is saved yet: s saves this one" } else { "looking in chats/ …" };
        return frame.render_widget(Line::styled(text, theme.dim), inside);
    }
    let height = usize::from(inside.height).max(1);
    let first = widgets::window(at, files.len(), height);
    for (row, (number, (path, bytes))) in files.iter().enumerate().skip(first).take(height).enumerate() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = format!("{} {}  {} bytes", if number == at { "▸" } else { " " }, visible(&name, false), widgets::grouped(*bytes));
        let style = if number == at { theme.selected } else { theme.text };
        let line = Line::styled(widgets::pad(&text, usize::from(inside.width)), style);
        frame.render_widget(line, Rect { y: inside.y + row as u16, height: 1, ..inside });
    }
}

/// A prompt as the model was given it.
fn rendered(chat: &Chat, top: usize, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let place = widgets::centered(area, RENDERED_WIDTH + 4, area.height.saturating_sub(2).max(3));
    widgets::blank(frame, place, theme);
    let version = chat.version_at_cursor().map(|(v, _)| v).or_else(|| chat.talk.last()?.version());
    let by = version.and_then(|v| v.fact_text("rendering")).unwrap_or("plain");
    let title = format!("the prompt as the model was given it · {}", visible(by, false));
    let panel = widgets::panel(&title, true, theme).title_bottom(Line::styled(" j k · Esc ", theme.dim));
    frame.render_widget(panel, place);
    let inside = inner(place);
    let lines = chat.rendered(usize::from(inside.width));
    let height = usize::from(inside.height);
    let first = top.min(lines.len().saturating_sub(height));
    let more = lines.len() > first + height;
    for (row, line) in lines.into_iter().skip(first).take(height).enumerate() {
        frame.render_widget(Line::styled(line, theme.text), Rect { y: inside.y + row as u16, height: 1, ..inside });
    }
    if more {
        let at = Rect { x: place.right().saturating_sub(2), y: place.bottom().saturating_sub(2), width: 1, height: 1 };
        frame.render_widget(Span::styled("▾", theme.dim), at);
    }
}

fn alternatives(chat: &Chat, at: usize, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let Some((version, piece)) = chat.version_at_cursor() else { return };
    let drawn = version.pieces[piece].id;
    let candidates = chat.candidates();
    let Some(outlook) = chat.outlook() else { return };
    let chances = outlook.distribution.probabilities(&chat.settings.sampler, &outlook.past());
    let place = widgets::centered(area, 70, (candidates.len() as u16 + 3).min(area.height));
    widgets::blank(frame, place, theme);
    let title = "what else it might have said here";
    frame
        .render_widget(widgets::panel(title, true, theme).title_bottom(Line::styled(" Enter goes on from there · Esc ", theme.dim)), place);
    let inside = inner(place);
    let width = usize::from(inside.width);
    let room = width.saturating_sub(50);
    // The same figures as the bars beside the text; what the model itself gives stands apart, under its name.
    let head = format!("  {:>27}  {}{:>12}", format!("at {}", panel::basis(chat)), " ".repeat(room), "model's own");
    frame.render_widget(Line::styled(widgets::fit(&head, width).into_owned(), theme.dim), Rect { height: 1.min(inside.height), ..inside });
    let rows = Rect { y: inside.y + 1, height: inside.height.saturating_sub(1), ..inside };
    let height = usize::from(rows.height).max(1);
    let first = at.saturating_sub(height - 1);
    let longest = chances.iter().map(|c| c.p).fold(1e-6, f32::max);
    for (row, (number, c)) in candidates.iter().enumerate().skip(first).take(height).enumerate() {
        let here = number == at;
        let chance = outlook.distribution.top.iter().position(|t| t.id == c.id).and_then(|i| chances.get(i));
        let (drawn_with, share) = match chance {
            Some(chance) if chance.kept => (panel::percent(chance.p), chance.p / longest),
            _ => ("cut".into(), 0.0),
        };
        let line = Line::from(vec![
            Span::raw(if here { "▸ " } else { "  " }),
            Span::raw(widgets::pad(&panel::name(&c.text), 18)),
            Span::raw(format!("{drawn_with:>9}  ")),
            Span::styled(panel::bar(share, room, theme.ascii), if here { Style::new() } else { theme.accent }),
            Span::styled(format!(" {:>11}", panel::percent(c.probability)), if here { Style::new() } else { theme.dim }),
            Span::raw(if c.id == drawn { " ◂ said" } else { "" }),
        ]);
        let style = if here { theme.selected } else { theme.text };
        frame.render_widget(line.style(style), Rect { y: rows.y + row as u16, height: 1, ..rows });
    }
}
