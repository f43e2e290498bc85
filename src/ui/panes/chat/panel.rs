//! The sampler panel: what the model would say next, as bars that move with the settings, and the settings.
//! Deliberately not here: the arithmetic (`distribution`).

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::act::Outlook;
use super::settings::{ROWS, Row};
use super::view::inner;
use super::{Chat, Focus};
use crate::distribution::Chance;
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets;

/// Settings that are always seen.
const FIRST_ROWS: u16 = 7;
/// So many candidates are listed however improbable they are.
const LISTED: usize = 10;

/// A token's text on one line: a leading blank shows as `·`, an empty one as what it is.
pub fn name(text: &str) -> String {
    if text.is_empty() {
        return "(end)".into();
    }
    visible(&text.replace(' ', "·"), false).into_owned()
}

/// `41.2 %`, with as many digits as mean something.
pub fn percent(p: f32) -> String {
    let percent = p * 100.0;
    match percent {
        x if x >= 10.0 => format!("{x:.1} %"),
        x if x >= 0.1 => format!("{x:.2} %"),
        x if x > 0.0 && x < 0.001 => "<.001 %".into(),
        x => format!("{x:.3} %"),
    }
}

/// A bar of `width` columns for a share of 1, in eighths of a column so that it slides.
pub fn bar(share: f32, width: usize, ascii: bool) -> String {
    let eighths = (share.clamp(0.0, 1.0) * width as f32 * 8.0).round() as usize;
    let (whole, part) = (eighths / 8, eighths % 8);
    if ascii {
        return widgets::pad(&"#".repeat(whole + usize::from(part >= 4)), width);
    }
    let end = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][part];
    widgets::pad(&format!("{}{end}", "█".repeat(whole)), width)
}

/// What the shares of the bars and of the alternatives are taken at: `temperature 0.80`.
pub fn basis(chat: &Chat) -> String {
    match chat.settings.sampler.temperature {
        0.0 => "temperature 0".to_string(),
        t => format!("temperature {t:.2}"),
    }
}

pub fn draw(chat: &Chat, frame: &mut Frame, area: Rect, cx: &Context) {
    let all = ROWS.len() as u16 + 4;
    // Where there is no room for all of them the list moves with the row in focus.
    let settings_height = if area.height >= all + 14 { all } else { (FIRST_ROWS + 2).min(area.height) };
    let bars_area = Rect { height: area.height - settings_height, ..area };
    bars(chat, frame, bars_area, cx);
    let below = Rect { y: area.y + bars_area.height, height: settings_height, ..area };
    settings(chat, frame, below, cx);
}

fn settings(chat: &Chat, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let focused = chat.focus == Focus::Panel && chat.popup.is_none();
    let hint = if focused { " ←→ change · d default " } else { " Tab " };
    frame.render_widget(widgets::panel("sampler", focused, theme).title_bottom(Line::styled(hint, theme.dim).right_aligned()), area);
    let inside = inner(area);
    let height = usize::from(inside.height);
    let first = if focused { widgets::window(chat.row, ROWS.len(), height) } else { 0 };
    for (place, (number, row)) in ROWS.iter().enumerate().skip(first).take(height).enumerate() {
        let here = focused && number == chat.row;
        let line = setting(chat, *row, here, usize::from(inside.width), theme);
        frame.render_widget(line, Rect { y: inside.y + place as u16, height: 1, ..inside });
    }
    let help_rows = usize::from(inside.height).saturating_sub(ROWS.len());
    let help = ROWS[chat.row.min(ROWS.len() - 1)].help();
    for (i, text) in widgets::wrap(help, usize::from(inside.width)).into_iter().enumerate().take(help_rows) {
        let y = inside.y + (ROWS.len() + i) as u16;
        frame.render_widget(Line::styled(text, theme.dim), Rect { y, height: 1, ..inside });
    }
}

fn setting(chat: &Chat, row: Row, here: bool, width: usize, theme: &Theme) -> Line<'static> {
    let value = chat.settings.show(row);
    let style = if here { theme.selected } else { theme.text };
    let quiet = if value == "off" { theme.dim } else { theme.text };
    let mut spans = vec![
        Span::styled(if here { "▸ " } else { "  " }, style),
        Span::styled(widgets::pad(row.name(), 12), style),
        Span::styled(format!("{value:>8} "), if here { style } else { quiet }),
    ];
    let room = width.saturating_sub(24);
    if let Some(place) = chat.settings.place(row).filter(|_| room >= 4) {
        let at = (place * (room - 1) as f64).round() as usize;
        let (rail, knob) = if theme.ascii { ("-", "o") } else { ("─", "●") };
        spans.push(Span::styled(rail.repeat(at), theme.accent));
        spans.push(Span::styled(knob, theme.accent.add_modifier(Modifier::BOLD)));
        spans.push(Span::styled(rail.repeat(room - 1 - at), theme.faint));
    }
    Line::from(spans)
}

fn bars(chat: &Chat, frame: &mut Frame, area: Rect, cx: &Context) {
    if area.height < 3 {
        return;
    }
    let theme = cx.theme;
    // The figures are those that a token is drawn with, after the settings below: the title says so.
    let basis = format!(" {} ", basis(chat));
    frame.render_widget(widgets::panel("what comes next", false, theme).title(Line::styled(basis, theme.dim).right_aligned()), area);
    let inside = inner(area);
    let Some(outlook) = chat.outlook() else {
        let text = match &chat.probe {
            Some(probe) => match &probe.stage {
                super::talk::Stage::Failed { cause, .. } => visible(cause, false).into_owned(),
                _ => "asking the model …".into(),
            },
            None => "bars of the likeliest next tokens stand here once there is a model".into(),
        };
        for (i, line) in widgets::wrap(&text, usize::from(inside.width)).into_iter().enumerate().take(usize::from(inside.height)) {
            frame.render_widget(Line::styled(line, theme.dim), Rect { y: inside.y + i as u16, height: 1, ..inside });
        }
        return;
    };
    let chances = outlook.distribution.probabilities(&chat.settings.sampler, &outlook.past());
    let lines = bar_lines(&outlook, &chances, chat.settings.sampler.temperature, inside, theme);
    for (i, line) in lines.into_iter().enumerate().take(usize::from(inside.height)) {
        frame.render_widget(line, Rect { y: inside.y + i as u16, height: 1, ..inside });
    }
}

fn bar_lines(outlook: &Outlook, chances: &[Chance], temperature: f32, area: Rect, theme: &Theme) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut out = vec![Line::styled(after(&outlook.after, width), theme.dim)];
    let candidates = &outlook.distribution.top;
    let name_width = (width / 4).clamp(10, 18);
    let bar_width = width.saturating_sub(name_width + 12);
    // Beyond the first ones only what is drawn once in two thousand times or more is worth a row.
    let worth = chances.iter().filter(|c| c.p.max(c.before) >= 5e-4).count().max(LISTED);
    let rows = height.saturating_sub(3).min(candidates.len()).min(worth);
    // Bars fill the room: the likeliest one is as long as it can be, and the figures say how much that is.
    let longest = chances.iter().map(|c| c.p.max(c.before)).fold(0.0f32, f32::max).max(1e-6);
    for (c, chance) in candidates.iter().zip(chances).take(rows) {
        let drawn = outlook.drawn == Some(c.id);
        let mark = if drawn && !theme.ascii {
            "◂"
        } else if drawn {
            "<"
        } else {
            " "
        };
        let (style, bar_style, figure) = match chance.kept {
            true => (theme.text, theme.accent, percent(chance.p)),
            false => (theme.dim, theme.faint, "cut".into()),
        };
        let style = if drawn { style.add_modifier(Modifier::BOLD) } else { style };
        out.push(Line::from(vec![
            Span::styled(widgets::pad(&name(&c.text), name_width), style),
            Span::styled(format!(" {figure:>8} "), style),
            // A cut candidate's bar is what it would have had.
            Span::styled(bar(if chance.kept { chance.p } else { chance.before } / longest, bar_width, theme.ascii), bar_style),
            Span::styled(mark, style),
        ]));
    }
    let shown: f32 = chances.iter().take(rows).map(|c| c.p).sum();
    let others = outlook.distribution.tokens().saturating_sub(rows as u64);
    let others = if outlook.drawn.is_some() { "all others".to_string() } else { format!("{} others", widgets::grouped(others)) };
    out.push(Line::from(vec![
        Span::styled(widgets::pad(&others, name_width), theme.dim),
        Span::styled(format!(" {:>8} ", percent((1.0 - shown).max(0.0))), theme.dim),
    ]));
    // Of a token in the text only its alternatives are known, and how unsure the model was needs all the others.
    if outlook.drawn.is_none() {
        let choices = 2f64.powf(outlook.distribution.entropy_bits(temperature));
        out.push(Line::styled(widgets::fit(&format!("as unsure as {choices:.1} equal choices"), width).into_owned(), theme.dim));
    }
    out
}

/// The end of the text that the bars come after.
fn after(text: &str, width: usize) -> String {
    let text = visible(text, false);
    let room = width.saturating_sub(9);
    if text.is_empty() {
        return "at the beginning of a text".into();
    }
    let mut end: Vec<char> = Vec::new();
    let mut used = 0;
    for c in text.chars().rev() {
        used += c.to_string().width();
        if used > room {
            end.push('…');
            break;
        }
        end.push(c);
    }
    format!("after “{}”", end.into_iter().rev().collect::<String>())
}

/// One line for a narrow screen: `next ·mat 41 % ·floor 20 % …`.
pub fn strip(chat: &Chat, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let mut spans = vec![Span::styled(" next ", theme.title)];
    let mut used = 6;
    let width = usize::from(area.width);
    match chat.outlook() {
        Some(outlook) => {
            let chances = outlook.distribution.probabilities(&chat.settings.sampler, &outlook.past());
            for (c, chance) in outlook.distribution.top.iter().zip(&chances).filter(|(_, chance)| chance.kept) {
                let (token, share) = (name(&c.text), format!(" {}  ", percent(chance.p)));
                used += token.width() + share.width();
                if used > width {
                    break;
                }
                spans.push(Span::styled(token, theme.accent));
                spans.push(Span::styled(share, theme.dim));
            }
        }
        None => spans.push(Span::styled(widgets::fit(&chat.settings.line(), width.saturating_sub(6)).into_owned(), theme.dim)),
    }
    frame.render_widget(Line::from(spans).style(Style::new()), area);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_slide_in_eighths_and_names_show_blanks_and_controls() {
        assert_eq!(bar(1.0, 3, false), "███");
        assert_eq!(bar(0.5, 3, false), "█▌ ");
        assert_eq!(bar(0.5, 4, true), "##  ");
        assert_eq!(bar(f32::NAN, 2, false).chars().count(), 2);
        assert_eq!(name(" mat"), "·mat");
        assert_eq!(name("\u{1b}\n"), "␛␊");
        assert_eq!(name(""), "(end)");
        assert_eq!(after("the cat sat on the", 16), "after “… on the”");
        assert_eq!([percent(0.5), percent(0.0123), percent(0.0001), percent(1e-7)], ["50.0 %", "1.23 %", "0.010 %", "<.001 %"]);
    }
}
