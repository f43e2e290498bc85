//! From keys to an order: a decision while it is being made. Pure, so that every sequence of keys can be tried.
//! Deliberately not here: which key of the terminal is which (`ui`), and when the decision was made.

use std::collections::BTreeMap;

use super::Tiers;

/// What a person can say of the responses on the screen, whose places count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// The next best one.
    Digit(usize),
    /// The next digit is as good as the one before.
    Tie,
    /// The rest is as good as each other; at once: all are.
    Rest,
    AllBad,
    /// What was ranked so far is acceptable, and nothing else.
    Line,
    /// Of a pair: which one, and how much better, 1 to 4.
    Pair(usize, u8),
    /// Takes the last press back.
    Back,
    /// The decision stands.
    Enter,
    /// To the next order that is asked for (overall, then each criterion).
    Next,
}

/// What came of a press.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Going,
    /// The decision is made. `implied`: the place of the response that nobody had to press.
    Done {
        implied: Option<usize>,
    },
    /// It means nothing here, and why.
    Refused(&'static str),
}

/// One order while it is made, by places on the screen.
#[derive(Clone, Debug, Default, PartialEq)]
struct Order {
    tiers: Vec<Vec<usize>>,
    ties: bool,
    complete: bool,
    strength: Option<u8>,
}

impl Order {
    fn ranked(&self) -> usize {
        self.tiers.iter().map(Vec::len).sum()
    }

    fn rest(&self, count: usize) -> Vec<usize> {
        (0..count).filter(|p| !self.tiers.iter().flatten().any(|r| r == p)).collect()
    }
}

/// A decision while it is being made.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    count: usize,
    /// The overall order, then one for each criterion.
    orders: Vec<Order>,
    names: Vec<String>,
    at: usize,
    /// Whether acceptability is asked: then Enter makes the decision.
    acceptability: bool,
    cut: Option<usize>,
    history: Vec<Snapshot>,
}

type Snapshot = (Vec<Order>, usize, bool, Option<usize>);

impl Draft {
    /// Of `count` responses, with these criteria beside the overall order.
    pub fn new(count: usize, criteria: &[String], acceptability: bool) -> Self {
        let orders = vec![Order::default(); criteria.len() + 1];
        Self { count, orders, names: criteria.to_vec(), at: 0, acceptability, cut: None, history: Vec::new() }
    }

    /// Whether nothing was pressed yet.
    pub fn is_untouched(&self) -> bool {
        self.history.is_empty()
    }

    /// Whether Enter is needed to make the decision.
    pub fn needs_enter(&self) -> bool {
        self.acceptability
    }

    /// The order that keys go to: none for the overall one, else the criterion.
    pub fn criterion(&self) -> Option<&str> {
        self.names.get(self.at.checked_sub(1)?).map(String::as_str)
    }

    pub fn press(&mut self, press: Press) -> Outcome {
        if press == Press::Back {
            return match self.history.pop() {
                Some(before) => {
                    (self.orders, self.at, self.acceptability, self.cut) = before;
                    Outcome::Going
                }
                None => Outcome::Refused("nothing to take back in this one; u undoes the decision before"),
            };
        }
        let before = (self.orders.clone(), self.at, self.acceptability, self.cut);
        let outcome = self.apply(press);
        if !matches!(outcome, Outcome::Refused(_)) {
            self.history.push(before);
        }
        outcome
    }

    fn apply(&mut self, press: Press) -> Outcome {
        let (count, overall, orders) = (self.count, self.at == 0, self.orders.len());
        let order = &mut self.orders[self.at];
        match press {
            Press::Enter => return self.enter(),
            Press::Next if orders > 1 => {
                self.at = (self.at + 1) % orders;
                return Outcome::Going;
            }
            Press::Next => return Outcome::Refused("no criteria are asked for here"),
            Press::Line if !overall => return Outcome::Refused("the line is of the overall order"),
            Press::Line => {
                (self.acceptability, self.cut) = (true, Some(order.tiers.len()));
                return Outcome::Going;
            }
            Press::AllBad if !overall => return Outcome::Refused("all bad is said of the overall order"),
            Press::AllBad => {
                *order = Order { tiers: vec![(0..count).collect()], complete: true, ..Order::default() };
                self.cut = Some(0);
                // Nothing is left to say.
                return Outcome::Done { implied: None };
            }
            _ if order.complete => return Outcome::Refused("the order is complete; Enter takes it, Backspace takes a key back"),
            Press::Pair(place, strength) if count == 2 && place < 2 => {
                *order = Order { tiers: vec![vec![place], vec![1 - place]], complete: true, strength: Some(strength), ..Order::default() };
            }
            Press::Pair(..) => return Outcome::Refused("this key is for pairs"),
            Press::Digit(place) if place >= count => return Outcome::Refused("there is no response of this number"),
            Press::Digit(place) if order.tiers.iter().flatten().any(|r| *r == place) => {
                return Outcome::Refused("this one has its place already; Backspace takes a key back");
            }
            Press::Digit(place) => {
                match order.tiers.last_mut() {
                    Some(tier) if order.ties => tier.push(place),
                    _ => order.tiers.push(vec![place]),
                }
                order.ties = false;
            }
            Press::Tie if order.tiers.is_empty() => return Outcome::Refused("= ties with the one before: press the best one first"),
            Press::Tie => {
                order.ties = true;
                return Outcome::Going;
            }
            Press::Rest => {
                let rest = order.rest(count);
                match order.tiers.last_mut() {
                    // `3 = Space`: all the rest is as good as the last.
                    Some(tier) if order.ties => tier.extend(rest),
                    _ => order.tiers.push(rest),
                }
                (order.ties, order.complete) = (false, true);
                if count == 2 && order.tiers.len() == 1 {
                    order.strength = Some(0);
                }
            }
            Press::Back => {}
        }
        let mut implied = None;
        if order.ranked() == count {
            order.complete = true;
        } else if order.ranked() + 1 == count && !order.ties && !order.complete {
            // The last one needs no key.
            let rest = order.rest(count);
            implied = rest.first().copied();
            order.tiers.push(rest);
            order.complete = true;
        }
        if !order.complete {
            return Outcome::Going;
        }
        // Once all are made, the overall one is at hand again: the line and Enter are of it.
        let next = (0..self.orders.len()).find(|o| !self.orders[*o].complete);
        self.at = next.unwrap_or(0);
        if next.is_some() {
            return Outcome::Going;
        }
        if self.acceptability { Outcome::Going } else { Outcome::Done { implied } }
    }

    fn enter(&mut self) -> Outcome {
        if !self.orders[0].complete {
            self.at = 0;
            return Outcome::Refused("the order is not complete yet; Space ties the rest");
        }
        if self.acceptability && self.cut.is_none() {
            return Outcome::Refused("say what is acceptable first: | draws the line below what was ranked so far, - is all bad");
        }
        if self.acceptability || self.orders.len() > 1 {
            return Outcome::Done { implied: None };
        }
        Outcome::Refused("Enter has nothing to take here")
    }

    /// The place in the order that a response has so far, from 1.
    pub fn place_of(&self, response: usize) -> Option<usize> {
        let order = &self.orders[self.at];
        order.tiers.iter().position(|t| t.contains(&response)).map(|p| p + 1)
    }

    /// What was said so far, for the line below: `3>1=`.
    pub fn in_short(&self) -> String {
        let order = &self.orders[self.at];
        let tier = |t: &Vec<usize>| t.iter().map(|p| (p + 1).to_string()).collect::<Vec<_>>().join("=");
        let mut out = String::new();
        for (i, t) in order.tiers.iter().enumerate() {
            out.push_str(match (i, self.cut == Some(i) && self.at == 0) {
                (0, false) => "",
                (0, true) => "| ",
                (_, false) => ">",
                (_, true) => " | ",
            });
            out.push_str(&tier(t));
        }
        if self.at == 0 && self.cut == Some(order.tiers.len()) {
            out.push_str(if order.tiers.is_empty() { "|" } else { " |" });
        }
        if order.ties {
            out.push('=');
        } else if !order.complete && !out.is_empty() {
            out.push('>');
        }
        out
    }

    /// The overall order and the acceptable tiers, by the ids that stand at the places.
    pub fn tiers(&self, display: &[String]) -> Tiers {
        named(&self.orders[0], display)
    }

    pub fn accept_cut(&self) -> Option<usize> {
        self.cut
    }

    pub fn strength(&self) -> Option<u8> {
        self.orders[0].strength
    }

    /// Orders by criteria, those that were made.
    pub fn criteria(&self, display: &[String]) -> BTreeMap<String, Tiers> {
        let made = self.names.iter().zip(&self.orders[1..]).filter(|(_, order)| order.complete);
        made.map(|(name, order)| (name.clone(), named(order, display))).collect()
    }
}

fn named(order: &Order, display: &[String]) -> Tiers {
    order.tiers.iter().map(|t| t.iter().filter_map(|p| display.get(*p).cloned()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Presses by the keys that they stand on.
    fn type_in(draft: &mut Draft, keys: &str) -> Outcome {
        let mut last = Outcome::Going;
        for key in keys.chars().filter(|c| *c != ' ') {
            last = draft.press(match key {
                '1'..='9' => Press::Digit(key as usize - '1' as usize),
                '=' => Press::Tie,
                '_' => Press::Rest,
                '-' => Press::AllBad,
                '|' => Press::Line,
                '<' => Press::Back,
                '!' => Press::Enter,
                '>' => Press::Next,
                'a' | 's' | 'd' | 'f' => Press::Pair(0, 4 - "asdf".find(key).unwrap() as u8),
                _ => Press::Pair(1, 1 + "jkl;".find(key).unwrap() as u8),
            });
        }
        last
    }

    fn made(count: usize, keys: &str) -> (String, Outcome) {
        let mut draft = Draft::new(count, &[], false);
        let last = type_in(&mut draft, keys);
        (draft.in_short(), last)
    }

    #[test]
    fn n_less_one_keys_rank_n() {
        let done = |implied| Outcome::Done { implied };
        for (count, keys, order, outcome) in [
            (4, "314", "3>1>4>2", done(Some(1))),
            (4, "31=4", "3>1=4>2", done(Some(1))),
            (4, "3_", "3>1=2=4", done(None)),
            (4, "_", "1=2=3=4", done(None)),
            (4, "3=1_", "3=1>2=4", done(None)),
            (4, "3=_", "3=1=2=4", done(None)),
            (4, "31=", "3>1=", Outcome::Going),
            (4, "31=2=4", "3>1=2>4", Outcome::Refused("the order is complete; Enter takes it, Backspace takes a key back")),
            (4, "-", "| 1=2=3=4", done(None)),
            (4, "31<4", "3>4>", Outcome::Going),
            (2, "2", "2>1", done(Some(0))),
            (2, "a", "1>2", done(None)),
            (2, ";", "2>1", done(None)),
            (2, "_", "1=2", done(None)),
            (9, "12345678", "1>2>3>4>5>6>7>8>9", done(Some(8))),
            (4, "3 |1 4", "3 | 1>4>2", Outcome::Going),
            (4, "3 |1 4!", "3 | 1>4>2", done(None)),
            (4, "|314!", "| 3>1>4>2", done(None)),
            (4, "3|<14", "3>1>4>2", done(Some(1))),
        ] {
            assert_eq!(made(count, keys), (order.to_string(), outcome), "{count}: {keys}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused_and_changes_nothing() {
        for (count, keys) in [(4, "5"), (4, "33"), (4, "="), (4, "a"), (4, "!"), (4, "<"), (4, ">")] {
            let mut draft = Draft::new(count, &[], false);
            let (first, last) = keys.split_at(keys.len() - 1);
            type_in(&mut draft, first);
            let before = draft.in_short();
            assert!(matches!(type_in(&mut draft, last), Outcome::Refused(_)), "{keys}");
            assert_eq!(draft.in_short(), before);
        }
    }

    #[test]
    fn strength_criteria_and_lines() {
        let mut pair = Draft::new(2, &[], false);
        type_in(&mut pair, "f");
        assert_eq!((pair.strength(), pair.tiers(&["x".into(), "y".into()])), (Some(1), vec![vec!["x".to_string()], vec!["y".to_string()]]));
        let names = ["accuracy".to_string(), "helpfulness".to_string()];
        let mut draft = Draft::new(3, &names, false);
        assert_eq!(type_in(&mut draft, "31"), Outcome::Going);
        assert_eq!(draft.criterion(), Some("accuracy"));
        assert_eq!(type_in(&mut draft, "1_"), Outcome::Going);
        assert_eq!(type_in(&mut draft, "21"), Outcome::Done { implied: Some(2) });
        let display = ["a", "b", "c"].map(String::from);
        let criteria = draft.criteria(&display);
        assert_eq!(criteria["accuracy"], [vec!["a".to_string()], vec!["b".into(), "c".into()]]);
        assert_eq!(draft.tiers(&display).concat(), ["c", "a", "b"]);
        // Enter takes it without the criteria.
        let mut short = Draft::new(3, &names, false);
        assert_eq!(type_in(&mut short, "31!"), Outcome::Done { implied: None });
        assert!(short.criteria(&display).is_empty());
        // Where acceptability is asked, the line must be drawn.
        let mut asked = Draft::new(3, &[], true);
        assert!(matches!(type_in(&mut asked, "31!"), Outcome::Refused(_)));
        assert_eq!(type_in(&mut asked, "|!"), Outcome::Done { implied: None });
        assert_eq!(asked.accept_cut(), Some(3));
    }

    proptest! {
        #[test]
        fn any_keys_make_an_order_of_each_response_once(count in 2usize..10, keys in "[1-9=_|<!>asdfjkl;-]{0,40}") {
            let names = ["x".to_string()];
            let mut draft = Draft::new(count, if keys.len() % 2 == 0 { &names } else { &[] }, keys.len() % 3 == 0);
            let display: Vec<String> = (0..count).map(|i| format!("r{i}")).collect();
            for key in keys.chars() {
                if let Outcome::Done { .. } = type_in(&mut draft, &key.to_string()) {
                    let tiers = draft.tiers(&display);
                    let mut all = tiers.concat();
                    all.sort();
                    prop_assert_eq!(&all, &display);
                    prop_assert!(draft.accept_cut().is_none_or(|cut| cut <= tiers.len()));
                    break;
                }
            }
        }
    }
}
