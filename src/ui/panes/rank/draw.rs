//! What is asked, drawn: the prompt, the responses beside each other or one at a time, and what was said so far.
//! Deliberately not here: how a response becomes lines (`text`), and other pages (`list`, `page`).

use std::rc::Rc;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType};

use super::text::{self, Look};
use super::{Part, Rank, Seen, View, Wanted, list, page};
use crate::data::labels::session::{Showing, Why};
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets;
use crate::ui::world::labels::Now;

/// At this width all responses stand beside each other, and from that one on two by two.
const BESIDE: u16 = 160;
const TWO_BY_TWO: u16 = 100;

pub(super) fn pane(pane: &Rank, frame: &mut Frame, area: Rect, cx: &Context) {
    match pane.part {
        Part::List => list::draw(pane, frame, area, cx),
        Part::Guidelines | Part::Summary => page::draw(pane, frame, area, cx),
        Part::Item => item(pane, frame, area, cx),
    }
    if let Some((wanted, field)) = &pane.field {
        let title = match wanted {
            Wanted::Name => "your name, for the file that keeps your decisions",
            Wanted::Flag => "what is wrong with this item?",
            Wanted::Comment => "a comment",
        };
        let place = widgets::centered(area, 64, 3);
        widgets::blank(frame, place, cx.theme);
        let block = widgets::panel(title, true, cx.theme);
        let inner = block.inner(place);
        frame.render_widget(block, place);
        field.draw(frame, Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }, cx.theme.text, true);
    }
    if let Some(editor) = &pane.editor {
        let place = widgets::centered(area, area.width.saturating_sub(6), area.height.saturating_sub(4));
        widgets::blank(frame, place, cx.theme);
        let block = widgets::panel("a better response · Ctrl-s keeps it, Esc does not", true, cx.theme);
        let inner = block.inner(place);
        frame.render_widget(block, place);
        frame.render_widget(editor, inner);
    }
}

fn item(pane: &Rank, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let foot = 2;
    let Some(now) = pane.now(cx.world) else { return };
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1 + foot), ..area };
    header(pane, now, frame, Rect { height: 1, ..area }, cx);
    pane.drew.set(now.turn);
    let Some(showing) = &now.showing else {
        pane.seen.replace(Seen::default());
        let text =
            if now.adjudicates { "There is nothing to settle: people agree, or nobody has ranked this yet." } else { waits(pane, now, cx) };
        frame.render_widget(Line::styled(format!("  {text}"), theme.text), Rect { y: body.y + 1, height: 1, ..body });
        bottom(pane, now, frame, Rect { y: body.bottom(), height: foot, ..area }, theme);
        return;
    };
    let mut seen = Seen::default();
    let prompt = prompt_lines(pane, showing, usize::from(body.width.saturating_sub(4)), theme);
    let most = (body.height / 4).max(4);
    let height = (prompt.len() as u16 + 2).min(most).min(body.height);
    let top = Rect { height, ..body };
    part(pane, frame, top, &prompt, 0, Line::from(Span::styled(" prompt ", theme.dim)), &mut seen, theme);
    let rest = Rect { y: body.y + height, height: body.height - height, ..body };
    responses(pane, showing, frame, rest, &mut seen, theme);
    pane.seen.replace(seen);
    bottom(pane, now, frame, Rect { y: body.bottom(), height: foot, ..area }, theme);
}

fn waits(pane: &Rank, now: &Now, cx: &Context) -> &'static str {
    match list::drawing_of(cx.world, &pane.set).filter(|j| j.ended.is_none()) {
        Some(_) => "All that is drawn is ranked. More comes by itself while candidates are drawn.",
        None if now.progress.items == 0 => "This set has no items yet.",
        None => "Nothing is left to ask: thank you. S shows how it went, u takes the last decision back.",
    }
}

/// Who ranks what, how far, and why this one is asked where that is worth knowing.
fn header(pane: &Rank, now: &Now, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let mut left = vec![
        Span::styled(format!(" {}", visible(&now.set, false)), theme.title),
        Span::styled(format!(" · {} of {} · {}", now.progress.done, now.progress.items, visible(&now.annotator, false)), theme.text),
    ];
    if let Some(goal) = pane.goal {
        left.push(Span::styled(format!(" · today {} of {goal}", now.sitting.made), theme.text));
    }
    let why = now.showing.as_ref().map_or("", |s| match &s.why {
        Why::Again(_) => "once more: it went very fast",
        Why::Queued => "a judging model was not sure",
        Why::Review(_) => "a judging model says otherwise",
        Why::Previous(_) => "an earlier decision",
        Why::Undone(_) => "taken back",
        Why::Adjudicate => "people disagree",
        // A hidden repeat looks like any other.
        Why::New | Why::Repeat(_) => "",
    });
    if !why.is_empty() {
        left.push(Span::styled(format!(" · {why}"), theme.warning));
    }
    let drawing = list::drawing_of(cx.world, &now.set).map(list::standing).unwrap_or_default();
    let used: usize = left.iter().map(Span::width).sum();
    let room = usize::from(area.width).saturating_sub(used + 3);
    frame.render_widget(Line::from(left), area);
    if !drawing.is_empty() && room > 12 {
        let text = widgets::fit(&drawing, room).into_owned();
        let width = Span::raw(text.as_str()).width() as u16 + 1;
        frame.render_widget(Line::styled(text, theme.dim), Rect { x: area.right() - width, width, ..area });
    }
}

fn prompt_lines(pane: &Rank, showing: &Showing, width: usize, theme: &Theme) -> Rc<Vec<Line<'static>>> {
    laid(pane, (pane.turn, usize::MAX, width, Look::Markdown, 0, theme.name.clone()), || {
        let several = showing.item.prompt.len() > 1;
        let mut out = Vec::new();
        for message in &showing.item.prompt {
            if several {
                out.push(Line::styled(format!("{}:", visible(&message.role, false)), theme.dim));
            }
            out.extend(text::lines(&message.content, None, Look::Markdown, width, theme));
        }
        out
    })
}

/// Lines as they were laid out before, or anew.
fn laid(pane: &Rank, key: super::LaidKey, make: impl FnOnce() -> Vec<Line<'static>>) -> Rc<Vec<Line<'static>>> {
    if let Some((_, lines)) = pane.laid.borrow().lines.iter().find(|(k, _)| *k == key) {
        return lines.clone();
    }
    let lines = Rc::new(make());
    let mut laid = pane.laid.borrow_mut();
    // A resize or another view leaves old ones behind.
    if laid.lines.len() > 40 {
        laid.lines.clear();
    }
    laid.lines.push((key, lines.clone()));
    lines
}

/// How many columns and rows the responses take; none where one is shown at a time.
fn grid(view: View, width: u16, count: usize) -> Option<(usize, usize)> {
    let halves = count.div_ceil(2);
    match view {
        View::One => None,
        View::Columns => Some((count, 1)),
        View::Grid => Some((halves, 2.min(count))),
        View::Auto if width >= BESIDE && count <= 4 => Some((count, 1)),
        View::Auto if width >= BESIDE => Some((halves, 2)),
        View::Auto if width >= TWO_BY_TWO && count == 2 => Some((2, 1)),
        View::Auto if width >= TWO_BY_TWO && count <= 4 => Some((2, 2)),
        View::Auto => None,
    }
}

fn responses(pane: &Rank, showing: &Showing, frame: &mut Frame, area: Rect, seen: &mut Seen, theme: &Theme) {
    let count = showing.display.len();
    let Some((columns, rows)) = grid(pane.view, area.width, count) else {
        return one(pane, showing, frame, area, seen, theme);
    };
    for place in 0..count {
        let (row, column) = (place / columns, place % columns);
        // The last row's responses share its whole width.
        let here = if row + 1 == rows { count - row * columns } else { columns }.max(1);
        let x = |c: usize| area.x + (usize::from(area.width) * c / here) as u16;
        let y = |r: usize| area.y + (usize::from(area.height) * r / rows) as u16;
        let cell = Rect { x: x(column), y: y(row), width: x(column + 1) - x(column), height: y(row + 1) - y(row) };
        let lines = response_lines(pane, showing, place, usize::from(cell.width.saturating_sub(4)), theme);
        let title = title(pane, showing, place, theme);
        part(pane, frame, cell, &lines, place + 1, title, seen, theme);
    }
}

fn one(pane: &Rank, showing: &Showing, frame: &mut Frame, area: Rect, seen: &mut Seen, theme: &Theme) {
    let count = showing.display.len();
    let tab = pane.tab.min(count.saturating_sub(1));
    let mut tabs = vec![Span::raw(" ")];
    for place in 0..count {
        let mark = pane.draft.place_of(place).map(|p| format!(" #{p}")).unwrap_or_default();
        let text = if place == tab { format!("[{}{mark}]", place + 1) } else { format!(" {}{mark} ", place + 1) };
        tabs.push(Span::styled(text, if place == tab { theme.accent.patch(theme.title) } else { theme.dim }));
    }
    tabs.push(Span::styled("  Tab shows the next", theme.dim));
    frame.render_widget(Line::from(tabs), Rect { height: 1.min(area.height), ..area });
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let lines = response_lines(pane, showing, tab, usize::from(body.width.saturating_sub(4)), theme);
    // Parts that are not drawn keep their places, so that the numbers of the others stay.
    for _ in 0..tab {
        seen.parts.push((Rect { height: body.height.saturating_sub(2), width: 0, ..body }, 0));
    }
    part(pane, frame, body, &lines, tab + 1, title(pane, showing, tab, theme), seen, theme);
}

fn response_lines(pane: &Rank, showing: &Showing, place: usize, width: usize, theme: &Theme) -> Rc<Vec<Line<'static>>> {
    // Differences are from the one in focus, else from the first.
    let base = pane.focus.and_then(|f| f.checked_sub(1)).unwrap_or(0);
    let look = if pane.look == Look::Words && base == place { Look::Plain } else { pane.look };
    let content = |place: usize| {
        let id = showing.display.get(place);
        id.and_then(|id| showing.item.responses.iter().find(|r| r.id == *id)).map_or("", |r| r.content.as_str())
    };
    let compared = if look == Look::Words { base } else { 0 };
    laid(pane, (pane.turn, place, width, look, compared, theme.name.clone()), || {
        text::lines(content(place), (look == Look::Words).then(|| content(base)), look, width, theme)
    })
}

/// The number that ranks it, and the place that it got.
fn title(pane: &Rank, showing: &Showing, place: usize, theme: &Theme) -> Line<'static> {
    let mut spans = vec![Span::styled(format!(" {} ", place + 1), theme.key)];
    if let Some(rank) = pane.draft.place_of(place) {
        let best = if rank == 1 { " best" } else { "" };
        spans.push(Span::styled(format!("#{rank}{best} "), theme.accent.patch(theme.title)));
    }
    let content = |id: &String| showing.item.responses.iter().find(|r| r.id == *id).map(|r| r.content.as_str());
    let same = showing.display[..place].iter().position(|id| content(id) == content(&showing.display[place]));
    if let Some(same) = same {
        spans.push(Span::styled(format!("the same text as {} ", same + 1), theme.warning));
    }
    Line::from(spans)
}

/// A framed part with its lines from where it was scrolled to, and how much there is above and below.
#[allow(clippy::too_many_arguments)] // All of it is what a part is.
fn part(
    pane: &Rank,
    frame: &mut Frame,
    area: Rect,
    lines: &[Line<'static>],
    at: usize,
    title: Line<'static>,
    seen: &mut Seen,
    theme: &Theme,
) {
    let focused = pane.focus == Some(at);
    let ranked = at > 0 && pane.draft.place_of(at - 1).is_some();
    let border = if focused { theme.focus } else { theme.border };
    let mut block =
        Block::bordered().border_type(if ranked { BorderType::Double } else { BorderType::Rounded }).border_style(border).style(theme.text);
    block = block.title(title);
    let inner = block.inner(area);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let height = usize::from(inner.height);
    let from = pane.scroll.get(at).copied().unwrap_or(0).min(lines.len().saturating_sub(height));
    let below = lines.len().saturating_sub(from + height);
    if from > 0 || below > 0 {
        let up = if from > 0 { format!("↑ {from} ") } else { String::new() };
        let down = if below > 0 { format!("↓ {below} more ") } else { String::new() };
        block = block.title_bottom(Line::styled(format!(" {up}{down}"), theme.dim).right_aligned());
    }
    frame.render_widget(block, area);
    for (line, y) in lines.iter().skip(from).zip(inner.y..inner.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..inner });
    }
    seen.parts.push((inner, lines.len()));
}

/// What was said of this one so far; and the last decision, with the key that takes it back.
fn bottom(pane: &Rank, now: &Now, frame: &mut Frame, area: Rect, theme: &Theme) {
    let mut first = vec![Span::raw(" ")];
    if let Some(criterion) = pane.draft.criterion() {
        first.push(Span::styled(format!("{}: ", visible(criterion, false)), theme.accent));
    } else if !now.settings.criteria.is_empty() {
        first.push(Span::styled("overall: ", theme.accent));
    }
    let order = pane.draft.in_short();
    if !order.is_empty() {
        first.push(Span::styled(format!("{order} "), theme.title));
    }
    for mark in pane.flags.iter().map(|f| format!("flag: {f}")).chain((!pane.comment.is_empty()).then(|| "with a comment".to_string())) {
        first.push(Span::styled(format!(" {} ·", visible(&mark, false)), theme.warning));
    }
    if let Some(said) = &pane.said {
        first.push(Span::styled(format!(" {}", visible(said, false)), theme.text));
    } else if pane.pending.is_some() {
        first.push(Span::styled(" keeping …", theme.dim));
    } else if order.is_empty() && now.showing.is_some() {
        let ask = if pane.is_pair() { "which one is better? a s d f left · j k l ; right · Space neither" } else { "which one is best?" };
        first.push(Span::styled(format!(" {ask}"), theme.dim));
    }
    let mut second = vec![Span::raw(" ")];
    if let Some(last) = &now.last {
        second.push(Span::styled(format!("#{} {}", last.number, last.order), theme.title));
        if last.rushed {
            second.push(Span::styled(" · very fast: asked again later", theme.warning));
        }
        second.push(Span::styled(" · u undo", theme.dim));
        if last.models.iter().any(|m| !m.is_empty()) {
            let models = last.models.iter().enumerate().map(|(i, m)| format!("{} {m}", i + 1)).collect::<Vec<_>>().join("  ");
            second.push(Span::styled(format!(" · {}", visible(&models, false)), theme.dim));
        }
    }
    for (spans, y) in [first, second].into_iter().zip(area.y..area.bottom()) {
        frame.render_widget(Line::from(spans), Rect { y, height: 1, ..area });
    }
}
