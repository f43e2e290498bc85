//! What the keys of Rank do, and what the pane makes of the answers of the thread that holds the set.
//! Deliberately not here: drawing, and the list of sets (`list`).

use std::time::{Duration, Instant};

use ratatui_textarea::{CursorMove, TextArea};

use super::text::Look;
use super::{Part, Rank, View, Wanted};
use crate::data::labels::draft::{Draft, Outcome, Press};
use crate::data::labels::session::Decision;
use crate::data::labels::{Edited, check_name, safe_name};
use crate::ui::keymap::Action;
use crate::ui::pane::{Context, Effect};
use crate::ui::widgets::field::Field;
use crate::ui::world::labels::{Ask, Now};

/// The digit of the place that needed no key is swallowed for so long: fingers press it out of habit.
const ABSORB: Duration = Duration::from_millis(1_000);
/// After so long at work, and so long again, a break is proposed.
pub(super) const BREAK_MS: u64 = 45 * 60_000;

impl Rank {
    pub(super) fn perform(&mut self, action: Action, cx: &Context) {
        match self.part {
            Part::List => return self.list_action(action, cx),
            Part::Guidelines | Part::Summary => return self.page_action(action, cx),
            Part::Item => {}
        }
        match action {
            "rank.undo" => self.ask_anew(Ask::Undo { at_ms: cx.now_ms }),
            "rank.redo" => self.ask_anew(Ask::Redo { at_ms: cx.now_ms }),
            "rank.previous" => self.ask_anew(Ask::Previous),
            "rank.rules" => (self.part, self.page_scroll) = (Part::Guidelines, 0),
            "rank.summary" => self.show_summary(),
            "rank.quit" => match self.now(cx.world) {
                Some(now) if now.sitting.made > 0 => self.show_summary(),
                _ => self.outbox.push(Effect::Quit),
            },
            "rank.view" => self.next_view(),
            "rank.words" => self.look = if self.look == Look::Words { Look::Markdown } else { Look::Words },
            "rank.plain" => self.look = if self.look == Look::Plain { Look::Markdown } else { Look::Plain },
            "rank.next" | "rank.before" => self.turn_focus(action == "rank.next"),
            "rank.right" | "rank.forth" => self.turn_tab(1),
            "rank.left" | "rank.back" => self.turn_tab(-1),
            "rank.down" | "rank.down_arrow" => self.scroll_part(self.focus, 1),
            "rank.up" | "rank.up_arrow" => self.scroll_part(self.focus, -1),
            "rank.page_down" => self.scroll_part(self.focus, self.half_page()),
            "rank.page_up" => self.scroll_part(self.focus, -self.half_page()),
            "rank.home" => self.scroll_part(self.focus, isize::MIN / 2),
            "rank.end" | "rank.last" => self.scroll_part(self.focus, isize::MAX / 2),
            "rank.off" => self.said = Some("g means nothing while a pair is asked; Ctrl-g goes to another pane".into()),
            _ => self.judge(action, cx),
        }
    }

    /// Keys that say something about the item: they mean nothing before it was seen.
    fn judge(&mut self, action: Action, cx: &Context) {
        let count = self.count(cx.world);
        if let Some((_, true)) = &self.pending {
            // The disk refused it; the same decision is tried again before anything else.
            if action == "rank.enter"
                && let Some((decision, failed)) = &mut self.pending
            {
                *failed = false;
                let decision = Box::new(decision.clone());
                self.ask(Ask::Decide { turn: self.turn, decision });
            }
            return;
        }
        let Some((turn, shown)) = self.shown else { return };
        let read = cx.read.unwrap_or(shown);
        if self.pending.is_some() || turn != self.turn || count == 0 || read <= shown {
            return;
        }
        self.said = None;
        match action {
            "rank.skip" => self.skip(cx, read, shown),
            "rank.flag" => self.field = Some((Wanted::Flag, Field::new(self.flags.first().map_or("", |f| f.as_str())))),
            "rank.comment" => self.field = Some((Wanted::Comment, Field::new(&self.comment))),
            "rank.edit" => self.edit(cx),
            _ => {
                if let Some((press, key)) = press_of(action) {
                    self.press(press, key, count, cx, read, shown);
                }
            }
        }
    }

    fn press(&mut self, press: Press, key: String, count: usize, cx: &Context, read: Instant, shown: Instant) {
        if let (Press::Digit(place), Some((implied, at))) = (press, self.absorb.take())
            && place == implied
            && self.draft.is_untouched()
            && read.saturating_duration_since(at) < ABSORB
        {
            // Somebody may have meant it for this item, and should see that it does not count.
            self.said =
                Some(format!("{key} went with the last decision, whose last place it is; press it again if it was meant for this one"));
            return;
        }
        match self.draft.press(press) {
            Outcome::Going => self.keys.push(key),
            Outcome::Refused(why) => self.said = Some(why.into()),
            Outcome::Done { implied } => {
                self.keys.push(key);
                // Of a pair, one key is the habit: there is no second one to swallow.
                self.absorb = implied.filter(|_| count > 2).map(|place| (place, read));
                self.decide(false, cx, read, shown);
            }
        }
    }

    fn skip(&mut self, cx: &Context, read: Instant, shown: Instant) {
        use crate::data::labels::session::Why;
        let back = self.now(cx.world).and_then(|n| n.showing.as_ref()).is_some_and(|s| matches!(s.why, Why::Previous(_)));
        if back && self.draft.is_untouched() {
            return self.ask_anew(Ask::Forward);
        }
        self.keys.push(".".into());
        self.decide(true, cx, read, shown);
    }

    fn decide(&mut self, skipped: bool, cx: &Context, read: Instant, shown: Instant) {
        let Some(showing) = self.now(cx.world).and_then(|n| n.showing.as_ref()) else { return };
        let dwell_ms = read.saturating_duration_since(shown).as_millis() as u64;
        let mut decision = Decision {
            skipped,
            flags: self.flags.clone(),
            comment: self.comment.clone(),
            edited: self.edited.clone().filter(|e| !e.content.trim().is_empty()),
            shown_at: cx.now_ms.saturating_sub(dwell_ms),
            decided_at: cx.now_ms,
            dwell_ms,
            keys: std::mem::take(&mut self.keys),
            ..Decision::default()
        };
        if !skipped {
            decision.tiers = self.draft.tiers(&showing.display);
            decision.criteria = self.draft.criteria(&showing.display);
            (decision.accept_cut, decision.strength) = (self.draft.accept_cut(), self.draft.strength());
        }
        self.pending = Some((decision.clone(), false));
        self.ask(Ask::Decide { turn: self.turn, decision: Box::new(decision) });
    }

    /// Asks for another item in the place of this one.
    fn ask_anew(&mut self, ask: Ask) {
        if self.pending.as_ref().is_some_and(|(_, failed)| !failed) {
            // The answer to what was decided comes first.
            return;
        }
        self.pending = None;
        self.absorb = None;
        self.ask(ask);
    }

    pub(super) fn show_summary(&mut self) {
        (self.part, self.page_scroll) = (Part::Summary, 0);
        let set = self.set.clone();
        self.ask(Ask::Summary { set });
    }

    /// Takes in what the world heard since the last call.
    pub(super) fn hear(&mut self, cx: &Context) {
        let labels = &cx.world.labels;
        if labels.sets.is_none() && !std::mem::replace(&mut self.asked_sets, true) {
            self.ask(Ask::Sets);
        }
        if let (Some(_), Some(opening)) = (&labels.sets, self.opening.clone())
            && self.set.is_empty()
        {
            (self.set, self.adjudicates) = (opening.set.clone(), opening.adjudicates);
            match opening.annotator {
                Some(annotator) => self.ask(Ask::Open { set: opening.set, annotator, adjudicates: opening.adjudicates }),
                None => self.ask_name(cx),
            }
        }
        if labels.answers != self.heard.0 {
            self.heard.0 = labels.answers;
            if labels.failed.as_ref().is_some_and(|(at, _)| *at > self.heard.1) {
                self.heard.1 = labels.failed.as_ref().map_or(0, |(at, _)| *at);
                self.failed(labels.failed.as_ref().map_or("", |(_, why)| why));
            }
            if let Some(now) = labels.now.as_deref().filter(|now| now.turn != self.turn && now.set == self.set) {
                self.begin(now, cx);
            }
        }
        self.look_for_items(cx);
    }

    fn failed(&mut self, why: &str) {
        if let Some((_, failed)) = &mut self.pending {
            *failed = true;
            self.said = Some(format!("not kept: {why} · Enter tries again"));
        } else if self.turn == 0 {
            (self.part, self.said) = (Part::List, Some(why.to_owned()));
            if self.opening.is_none() {
                self.set.clear();
            }
        }
    }

    /// Another item is asked.
    fn begin(&mut self, now: &Now, cx: &Context) {
        let first = self.turn == 0;
        self.turn = now.turn;
        self.pending = None;
        let settings = &now.settings;
        let count = now.showing.as_ref().map_or(0, |s| s.display.len());
        self.draft = Draft::new(count, &settings.criteria, settings.acceptability);
        (self.keys, self.flags, self.comment, self.edited) = Default::default();
        if let Some(before) = now.showing.as_ref().and_then(|s| s.before.as_ref()) {
            self.flags = before.flags.iter().filter(|f| *f != crate::data::labels::RUSHED).cloned().collect();
            (self.comment, self.edited) = (before.comment.clone(), before.edited.clone());
        }
        (self.focus, self.scroll, self.tab) = (None, vec![0; count + 1], 0);
        (self.field, self.editor) = (None, None);
        self.laid.borrow_mut().lines.clear();
        self.said = now.told.first().cloned();
        if first {
            self.part = Part::Item;
            self.reminded_ms = cx.now_ms;
            if let Some((at, count)) = now.sitting.before {
                let ago = crate::ui::widgets::duration(cx.now_ms.saturating_sub(at));
                let plural = if count == 1 { "" } else { "s" };
                let back = format!("welcome back: {count} decision{plural} in the sitting that ended {ago} ago");
                self.said = Some(now.told.first().map_or(back.clone(), |told| format!("{told} · {back}")));
            }
        }
        if cx.now_ms.saturating_sub(self.reminded_ms) >= BREAK_MS {
            self.reminded_ms = cx.now_ms;
            let worked = crate::ui::widgets::duration(cx.now_ms.saturating_sub(now.sitting.began_ms));
            self.outbox.push(Effect::Toast(format!("{worked} of ranking: a short break keeps judgements steady")));
        }
        let reached = self.goal.is_some_and(|goal| now.sitting.made >= goal) && !self.goal_told;
        if reached || (count == 0 && now.sitting.made > 0 && self.part == Part::Item) {
            self.goal_told |= reached;
            self.show_summary();
        }
    }

    /// Looks for more items whenever the job that draws them got further.
    fn look_for_items(&mut self, cx: &Context) {
        if self.turn == 0 {
            return;
        }
        let Some(job) = super::list::drawing_of(cx.world, &self.set) else { return };
        let at = (job.id.0, job.progress.as_ref().map_or(0, |p| p.done) + u64::from(job.ended.is_some()));
        if at != self.drawn {
            self.drawn = at;
            self.ask(Ask::Look);
        }
    }

    pub(super) fn ask_name(&mut self, cx: &Context) {
        let user = safe_name(&cx.world.labels.user).unwrap_or_default();
        self.field = Some((Wanted::Name, Field::new(&user)));
    }

    /// A line of text is written.
    pub(super) fn answered(&mut self, cx: &Context) {
        let Some((wanted, field)) = self.field.take() else { return };
        let text = field.text().trim().to_owned();
        match wanted {
            Wanted::Name => match check_name("annotator", &text) {
                Ok(()) => {
                    let (set, adjudicates) = (self.set.clone(), self.adjudicates);
                    self.ask(Ask::Open { set, annotator: text, adjudicates });
                }
                Err(why) => {
                    self.outbox.push(Effect::Toast(why));
                    self.field = Some((Wanted::Name, Field::new(&safe_name(&text).unwrap_or_default())));
                }
            },
            Wanted::Flag => {
                self.flags = if text.is_empty() { Vec::new() } else { vec![text] };
                self.said = Some("flagged: rank it all the same, or . skips it".into());
            }
            Wanted::Comment => self.comment = text,
        }
        let _ = cx;
    }

    fn edit(&mut self, cx: &Context) {
        let Some(showing) = self.now(cx.world).and_then(|n| n.showing.as_ref()) else { return };
        let focused = self.focus.and_then(|f| f.checked_sub(1));
        let place = focused.or_else(|| (0..showing.display.len()).find(|p| self.draft.place_of(*p) == Some(1))).unwrap_or(self.tab);
        let Some(id) = showing.display.get(place) else { return };
        let written = self.edited.as_ref().map(|e| e.content.clone());
        let content = written.or_else(|| Some(showing.item.responses.iter().find(|r| r.id == *id)?.content.clone())).unwrap_or_default();
        let from = self.edited.as_ref().map_or(id.clone(), |e| e.from.clone());
        let mut editor = TextArea::new(crate::text::visible(&content, true).split('\n').map(str::to_owned).collect());
        editor.set_hard_tab_indent(true);
        editor.move_cursor(CursorMove::Bottom);
        editor.move_cursor(CursorMove::End);
        self.edited.get_or_insert(Edited { from, content: String::new() });
        self.editor = Some(editor);
    }

    pub(super) fn keep_edit(&mut self, _: &Context) {
        let Some(editor) = self.editor.take() else { return };
        let content = editor.lines().join("\n");
        match &mut self.edited {
            Some(edited) if !content.trim().is_empty() => edited.content = content,
            _ => self.edited = None,
        }
        self.said = Some(if self.edited.is_some() { "the better response is kept with the decision" } else { "no better response" }.into());
    }

    fn next_view(&mut self) {
        self.view = match self.view {
            View::Auto => View::Columns,
            View::Columns => View::Grid,
            View::Grid => View::One,
            View::One => View::Auto,
        };
        self.said = Some(
            match self.view {
                View::Auto => "view: by the width of the screen",
                View::Columns => "view: beside each other",
                View::Grid => "view: two by two",
                View::One => "view: one at a time",
            }
            .into(),
        );
    }

    fn turn_focus(&mut self, forth: bool) {
        let parts = self.scroll.len();
        if parts == 0 {
            return;
        }
        self.focus = match (self.focus, forth) {
            (None, true) => Some(1 % parts),
            (None, false) => Some(0),
            // Once around, and all scroll together again.
            (Some(0), true) => None,
            (Some(at), true) => Some((at + 1) % parts),
            (Some(1), false) => None,
            (Some(at), false) => Some((at + parts - 1) % parts),
        };
        if let Some(at) = self.focus.and_then(|f| f.checked_sub(1)) {
            self.tab = at;
        }
    }

    fn turn_tab(&mut self, by: isize) {
        let count = self.scroll.len().saturating_sub(1);
        if count > 0 {
            self.tab = (self.tab as isize + by).rem_euclid(count as isize) as usize;
            self.focus = Some(self.tab + 1);
        }
    }

    fn half_page(&self) -> isize {
        let seen = self.seen.borrow();
        let height = seen.parts.get(1).map_or(10, |(area, _)| usize::from(area.height));
        (height / 2).max(1) as isize
    }

    /// Scrolls one part, or all responses together, within what was drawn.
    pub(super) fn scroll_part(&mut self, part: Option<usize>, by: isize) {
        let seen = self.seen.borrow();
        let places = match part {
            Some(at) => at..at + 1,
            None => 1..self.scroll.len(),
        };
        for at in places {
            let (Some(scroll), Some((area, lines))) = (self.scroll.get_mut(at), seen.parts.get(at)) else { continue };
            let most = lines.saturating_sub(usize::from(area.height));
            *scroll = scroll.saturating_add_signed(by).min(most);
        }
    }
}

/// What an action says, and the key that is kept of it.
fn press_of(action: Action) -> Option<(Press, String)> {
    let name = action.strip_prefix("rank.")?;
    if let Ok(digit) = name.parse::<usize>() {
        return Some((Press::Digit(digit.checked_sub(1)?), digit.to_string()));
    }
    if let Some((side, strength)) = name.split_once('_')
        && let ("left" | "right", Ok(strength)) = (side, strength.parse::<u8>())
    {
        let keys = if side == "left" { ["f", "d", "s", "a"] } else { ["j", "k", "l", ";"] };
        let key = keys.get(usize::from(strength.checked_sub(1)?))?;
        return Some((Press::Pair(usize::from(side == "right"), strength), (*key).into()));
    }
    let (press, key) = match name {
        "tie" => (Press::Tie, "="),
        "rest" => (Press::Rest, "space"),
        "bad" => (Press::AllBad, "-"),
        "line" => (Press::Line, "|"),
        "enter" => (Press::Enter, "enter"),
        "take_back" => (Press::Back, "backspace"),
        "criterion" => (Press::Next, "n"),
        _ => return None,
    };
    Some((press, key.into()))
}
