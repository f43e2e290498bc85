//! Labels from end to end without a screen: a person's way through a set, and the way of labels to other programs and back.
//! Not here: keys and screens (`ui_rank_pane`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

#[path = "common/cli.rs"]
mod cli;
mod common;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use weightroom::data::labels::export::{Ai, Who, take, validates};
use weightroom::data::labels::forms::{self, FORMS, Judged};
use weightroom::data::labels::import::{self, Imported};
use weightroom::data::labels::session::{Decision, Progress, Session, Settings, Why};
use weightroom::data::labels::stats::summarise;
use weightroom::data::labels::store::{SetDir, Writer, standing};
use weightroom::data::labels::{Edited, Item, Label, Response, Source, Status, Tiers};
use weightroom::spec::Message;

fn project(items: usize, guidelines: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let set = SetDir::new(dir.path(), "s").unwrap();
    let response = |i: usize, r: usize| Response { id: format!("r{r}"), content: format!("{i} {r}"), ..Response::default() };
    let items: Vec<Item> = (0..items)
        .map(|i| Item {
            id: format!("i{i}"),
            prompt: user(&format!("i{i}")),
            responses: (1..4).map(|r| response(i, r)).collect(),
            ..Item::default()
        })
        .collect();
    set.add(&items).unwrap();
    std::fs::write(set.path.join("guidelines.md"), guidelines).unwrap();
    dir
}

fn ranked(session: &Session, dwell_ms: u64) -> Decision {
    let display = &session.showing().unwrap().display;
    Decision { tiers: display.iter().map(|d| vec![d.clone()]).collect(), dwell_ms, ..Decision::default() }
}

#[test]
fn guidelines_say_what_is_asked_beside_the_order() {
    let settings = Settings::of("# How to rank\ncriteria: accuracy, helpfulness\n- Acceptability: yes\nrepeats: 12 %\nBe kind: always.");
    assert_eq!((settings.criteria.len(), settings.acceptability, settings.repeats), (2, true, 0.12));
    assert_eq!(Settings::of("repeats: many").repeats, 0.05);
}

#[test]
fn a_session_goes_through_all_items_and_finds_its_place_again() {
    let dir = project(3, "repeats: 0");
    let open = || Session::open(dir.path(), "s", "ana", false).unwrap();
    let mut session = open();
    assert_eq!(session.showing().unwrap().item.id, "i0");
    let decision = ranked(&session, 900);
    session.decide(decision).unwrap();
    let asked = session.showing().unwrap().clone();
    drop(session);
    // The same item, in the same places.
    let mut session = open();
    assert_eq!(session.showing(), Some(&asked));
    let skip = Decision { skipped: true, ..Decision::default() };
    session.decide(skip).unwrap();
    let decision = ranked(&session, 900);
    session.decide(decision).unwrap();
    assert_eq!(session.showing(), None);
    assert_eq!(session.progress(), Progress { done: 3, items: 3, decisions: 3, rushed: 0 });
    assert!(Session::open(dir.path(), "s", "ana", false).map(drop).unwrap_err().to_string().contains("another window"));
}

#[test]
fn undo_goes_back_without_limit_and_over_restarts() {
    let dir = project(4, "repeats: 0");
    let open = || Session::open(dir.path(), "s", "ana", false).unwrap();
    let mut session = open();
    for _ in 0..3 {
        let decision = ranked(&session, 900);
        session.decide(decision).unwrap();
    }
    session.undo(1).unwrap();
    assert_eq!(session.showing().unwrap().item.id, "i2");
    session.redo(2).unwrap();
    assert_eq!((session.showing().unwrap().item.id.as_str(), session.progress().decisions), ("i3", 3));
    assert!(session.redo(3).unwrap().is_none());
    drop(session);
    let mut session = open();
    for left in (0..3).rev() {
        assert!(session.undo(3).unwrap().is_some());
        assert_eq!((session.progress().decisions, session.showing().unwrap().item.id.clone()), (left, format!("i{left}")));
    }
    assert!(session.undo(4).unwrap().is_none());
    let decision = ranked(&session, 900);
    let label = session.decide(decision).unwrap().clone();
    assert_eq!(label.item, "i0");
    assert!(label.supersedes.is_some());
    assert_eq!(session.showing().unwrap().item.id, "i1");
}

#[test]
fn going_back_changes_a_decision_and_going_on_does_not() {
    let dir = project(4, "repeats: 0");
    let mut session = Session::open(dir.path(), "s", "ana", false).unwrap();
    for _ in 0..3 {
        let decision = ranked(&session, 900);
        session.decide(decision).unwrap();
    }
    assert!(session.previous() && session.previous());
    assert_eq!(session.showing().unwrap().item.id, "i1");
    assert!(session.forward());
    assert_eq!(session.showing().unwrap().item.id, "i2");
    assert!(session.forward() && !session.forward());
    assert_eq!(session.showing().unwrap().item.id, "i3");
    session.previous();
    session.previous();
    let decision = Decision { tiers: vec![session.showing().unwrap().display.clone()], dwell_ms: 800, ..Decision::default() };
    session.decide(decision).unwrap();
    assert_eq!(session.showing().unwrap().item.id, "i3");
    let lines = session.lines();
    assert_eq!((lines.len(), lines[3].supersedes.as_deref(), standing(lines).len()), (4, Some("ana-000002"), 3));
}

#[test]
fn what_was_rushed_is_asked_again_once() {
    let dir = project(8, "repeats: 0");
    let mut session = Session::open(dir.path(), "s", "ana", false).unwrap();
    let decision = ranked(&session, 120);
    assert!(session.decide(decision).unwrap().is_rushed());
    for _ in 0..5 {
        assert_eq!(session.showing().unwrap().why, Why::New);
        let decision = ranked(&session, 900);
        session.decide(decision).unwrap();
    }
    assert_eq!(session.showing().unwrap().why, Why::Again("ana-000001".into()));
    let decision = ranked(&session, 120);
    session.decide(decision).unwrap();
    assert_eq!((session.showing().unwrap().why.clone(), session.progress().rushed), (Why::New, 0));
}

#[test]
fn repeats_are_hidden_shuffled_anew_and_end() {
    let dir = project(30, "repeats: 50%");
    let mut session = Session::open(dir.path(), "s", "ana", false).unwrap();
    let mut repeats = 0;
    while let Some(showing) = session.showing().cloned() {
        repeats += usize::from(matches!(showing.why, Why::Repeat(_)));
        let decision = ranked(&session, 900);
        session.decide(decision).unwrap();
        assert!(session.lines().len() < 100);
    }
    assert!((5..26).contains(&repeats), "{repeats}");
    let repeated: Vec<&Label> = session.lines().iter().filter(|l| l.repeats.is_some()).collect();
    assert_eq!(repeated.len(), repeats);
    let of = |l: &Label| session.lines().iter().find(|o| Some(&o.id) == l.repeats.as_ref()).unwrap().display_order.clone();
    assert!(repeated.iter().any(|l| of(l) != l.display_order));
}

#[test]
fn what_people_disagree_about_is_adjudicated() {
    let dir = project(3, "repeats: 0");
    for (name, reversed) in [("ana", false), ("ben", true)] {
        let mut session = Session::open(dir.path(), "s", name, false).unwrap();
        while let Some(showing) = session.showing().cloned() {
            let mut ids: Vec<String> = showing.item.responses.iter().map(|r| r.id.clone()).collect();
            if reversed && showing.item.id != "i1" {
                ids.reverse();
            }
            let tiers = ids.into_iter().map(|id| vec![id]).collect();
            session.decide(Decision { tiers, dwell_ms: 900, ..Decision::default() }).unwrap();
        }
    }
    let mut session = Session::open(dir.path(), "s", "eva", true).unwrap();
    let mut asked = Vec::new();
    while let Some(showing) = session.showing().cloned() {
        asked.push(showing.item.id.clone());
        let decision = ranked(&session, 900);
        session.decide(decision).unwrap();
    }
    assert_eq!(asked, ["i0", "i2"]);
    assert!(session.lines().iter().all(|l| l.status == Status::Adjudicated));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]
    /// Whatever a person does, and wherever the program ends: the file alone gives the same state again.
    #[test]
    fn the_file_is_the_state(steps in proptest::collection::vec(0u8..8, 1..40)) {
        let dir = project(6, "repeats: 40%");
        let mut session = Session::open(dir.path(), "s", "ana", false).unwrap();
        for (n, step) in steps.iter().enumerate() {
            match step {
                0 => _ = session.undo(n as u64).unwrap(),
                1 => _ = session.redo(n as u64).unwrap(),
                2 => _ = session.previous(),
                3 => _ = session.forward(),
                4 => {
                    let (progress, stand) = (session.progress(), standing(session.lines()).len());
                    prop_assert_eq!(progress.decisions, stand);
                    drop(session);
                    session = Session::open(dir.path(), "s", "ana", false).unwrap();
                    prop_assert_eq!(session.progress(), progress);
                }
                _ if session.showing().is_some() => {
                    let dwell = if *step == 5 { 100 } else { 900 };
                    let decision = ranked(&session, dwell);
                    session.decide(decision).unwrap();
                }
                _ => {}
            }
        }
    }
}

fn user(text: &str) -> Vec<Message> {
    vec![Message { role: "user".into(), content: text.into() }]
}

/// Rows as another program would read them back, put together again.
fn back(form: &str, judged: &[Judged]) -> Imported {
    let form = forms::named(form).unwrap();
    let rows: Vec<Value> = judged.iter().flat_map(|j| (form.rows)(j).unwrap()).collect();
    import::of_values(rows, None, Imported::default()).unwrap()
}

/// The order of a label by the texts of its responses, each tier sorted.
fn texts(label: &Label) -> Vec<Vec<String>> {
    let text = |id: &String| label.response(id).unwrap().content.clone();
    label
        .tiers
        .iter()
        .map(|t| {
            let mut t: Vec<String> = t.iter().map(text).collect();
            t.sort();
            t
        })
        .collect()
}

fn judged(prompt: &str, places: &[usize], cut: Option<usize>) -> Judged {
    let id = |i: usize| format!("r{}", i + 1);
    let mut levels = places.to_vec();
    levels.sort_unstable();
    levels.dedup();
    let tiers: Tiers = levels.iter().map(|l| (0..places.len()).filter(|i| places[*i] == *l).map(id).collect()).collect();
    let response =
        |i: usize| Response { id: id(i), content: format!("{prompt} answer {i}"), model: Some(format!("m{i}")), ..Response::default() };
    let accept_cut = cut.map(|c| c.min(tiers.len()));
    let responses = (0..places.len()).map(response).collect();
    Judged { id: prompt.into(), prompt: user(prompt), responses, tiers, accept_cut, annotators: vec!["ana".into()], ..Judged::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// import → export → import keeps tiers and order in every form that holds them.
    #[test]
    fn orders_survive_the_way_through_every_form(all in proptest::collection::vec((proptest::collection::vec(0usize..4, 2..6), proptest::option::of(0usize..5)), 1..6)) {
        let all: Vec<Judged> = all.iter().enumerate().map(|(i, (places, cut))| judged(&format!("prompt {i}"), places, *cut)).collect();
        // What is tied as a whole has no pair to give.
        let with_pairs: Vec<Judged> = all.iter().filter(|j| j.tiers.len() > 1).cloned().collect();
        for (form, given) in [("trl", &with_pairs), ("llamafactory", &with_pairs), ("hh", &with_pairs), ("ultrafeedback", &with_pairs), ("arena", &all), ("argilla", &all)] {
            if given.is_empty() {
                continue;
            }
            let first = back(form, given);
            prop_assert!(first.left_out.is_empty(), "{}: {:?}", form, first.left_out);
            prop_assert_eq!(first.labels.len(), given.len(), "{}", form);
            for ((_, label), judged) in first.labels.iter().zip(given) {
                let whole = Label { tiers: judged.tiers.clone(), responses: judged.responses.clone(), ..Label::default() };
                prop_assert_eq!(texts(label), texts(&whole), "{}", form);
                prop_assert_eq!(&label.prompt, &judged.prompt, "{}", form);
            }
            let again: Vec<Judged> = first.labels.iter().map(|(at, l)| Judged {
                id: first.items[*at].id.clone(), prompt: l.prompt.clone(), responses: l.responses.clone(), tiers: l.tiers.clone(),
                accept_cut: l.accept_cut, strength: l.strength, ..Judged::default() }).collect();
            let second = back(form, &again);
            let orders = |i: &Imported| i.labels.iter().map(|(_, l)| texts(l)).collect::<Vec<_>>();
            prop_assert_eq!(orders(&second), orders(&first), "{}", form);
        }
        // Where a line was drawn, what is acceptable survives the unpaired forms, which hold nothing else.
        let drawn: Vec<Judged> = all.iter().filter(|j| j.accept_cut.is_some()).cloned().collect();
        for form in ["trl-unpaired", "llamafactory-kto"] {
            if drawn.is_empty() {
                continue;
            }
            for ((_, label), judged) in back(form, &drawn).labels.iter().zip(&drawn) {
                let good = |tiers: &Tiers, cut: usize, text: &dyn Fn(&String) -> String| {
                    let mut t: Vec<String> = tiers[..cut].iter().flatten().map(text).collect();
                    t.sort();
                    t
                };
                let of_label = good(&label.tiers, label.accept_cut.unwrap(), &|id| label.response(id).unwrap().content.clone());
                let of_judged = good(&judged.tiers, judged.accept_cut.unwrap(), &|id| judged.responses.iter().find(|r| r.id == *id).unwrap().content.clone());
                prop_assert_eq!(of_label, of_judged, "{}", form);
            }
        }
    }
}

#[test]
fn pairs_that_contradict_each_other_stay_pairs() {
    let row = |a: &str, b: &str| json!({"prompt": "q", "chosen": a, "rejected": b});
    let found = import::of_values(vec![row("x", "y"), row("y", "x"), row("y", "z")], None, Imported::default()).unwrap();
    assert_eq!((found.items.len(), found.labels.len()), (3, 3));
    let ids: std::collections::BTreeSet<&str> = found.items.iter().map(|i| i.id.as_str()).collect();
    assert_eq!(ids.len(), 3, "each has an id of its own: {ids:?}");
    let same = import::of_values(vec![row("x", "x"), row("x", "y")], None, Imported::default()).unwrap();
    assert_eq!((same.labels.len(), same.left_out.values().sum::<u64>()), (1, 1));
}

#[test]
fn battles_margins_ranks_and_ratings_are_understood() {
    let talk = |text: &str| json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]);
    let battle =
        |winner: &str| json!({"model_a": "A", "model_b": "B", "winner": winner, "conversation_a": talk("x"), "conversation_b": talk("y")});
    let one = |rows: Vec<Value>| import::of_values(rows, None, Imported::default()).unwrap();
    let bad = one(vec![battle("tie (bothbad)")]);
    assert_eq!((bad.labels[0].1.tiers.len(), bad.labels[0].1.accept_cut), (1, Some(0)));
    assert_eq!(bad.items[0].responses[1].model.as_deref(), Some("B"));
    assert_eq!(one(vec![battle("model_b")]).labels[0].1.tiers, [["r2"], ["r1"]]);
    let odd = import::of_values(vec![battle("model_b"), battle("nobody at all")], None, Imported::default()).unwrap();
    assert_eq!(odd.left_out.keys().next().unwrap(), "the winner is “nobody at all”");
    // Ranks decide, not the places in the list; equal ranks are ties.
    let argilla = json!({"prompt": "q", "response-1": "x", "response-2": "y", "response-3": "z", "ranking": [{"user_id": "u", "status": "submitted",
        "value": [{"value": "response-3", "rank": 2}, {"value": "response-1", "rank": 2}, {"value": "response-2", "rank": 1}]}]});
    assert_eq!(one(vec![argilla]).labels[0].1.tiers, vec![vec!["r2".to_string()], vec!["r1".into(), "r3".into()]]);
    let flat = json!({"prompt": "q", "response-1": "x", "response-2": "y", "ranking.responses": [["response-2", "response-1"]], "ranking.responses.ranks": [[1, 2]]});
    assert_eq!(one(vec![flat]).labels[0].1.tiers, [["r2"], ["r1"]]);
    let margin = one(vec![json!({"prompt": "q", "chosen": "x", "rejected": "y", "margin": 3.0})]);
    assert_eq!(margin.labels[0].1.strength, Some(3));
    let rated = one(vec![
        json!({"instruction": "q", "completions": [{"response": "x", "overall_score": 2}, {"response": "y", "overall_score": 7}, {"response": "z", "overall_score": 2}]}),
    ]);
    assert_eq!(rated.labels[0].1.tiers, vec![vec!["r2".to_string()], vec!["r1".into(), "r3".into()]]);
    // Candidates alone are items and no labels.
    let candidates = one(vec![
        json!({"prompt": "q", "responses": [{"content": "x", "model": "m", "seed": 7, "ids": [1, 2]}, {"content": "y", "score": 3}]}),
    ]);
    assert_eq!((candidates.items.len(), candidates.labels.len()), (1, 0));
    assert_eq!((candidates.items[0].responses[0].seed, candidates.items[0].responses[1].more["score"].clone()), (Some(7), json!(3)));
    assert!(
        import::of_values(vec![json!({"text": "x"})], None, Imported::default())
            .unwrap_err()
            .to_string()
            .contains("says nothing of several responses")
    );
}

#[test]
fn what_a_form_cannot_hold_is_said() {
    let mut odd = judged("q", &[0, 1], None);
    odd.prompt.push(Message { role: "assistant".into(), content: "a".into() });
    for form in ["llamafactory", "llamafactory-kto", "hh"] {
        assert_eq!((forms::named(form).unwrap().rows)(&odd).unwrap_err(), "its prompt does not end with a turn of the person");
    }
    odd.prompt.push(Message { role: "assistant".into(), content: "b".into() });
    assert!((forms::named("llamafactory").unwrap().rows)(&odd).unwrap_err().contains("turn 3 of its prompt is of the role “assistant”"));
    let mut system = judged("q", &[0, 1], None);
    system.prompt.insert(0, Message { role: "system".into(), content: "s".into() });
    assert_eq!((forms::named("llamafactory").unwrap().rows)(&system).unwrap().len(), 1);
    assert!((forms::named("hh").unwrap().rows)(&system).unwrap_err().contains("“system”"));
    assert!(forms::named("xml").unwrap_err().contains("it is one of trl, trl-unpaired"));
    assert!(FORMS.iter().all(|f| (f.rows)(&judged("q", &[0, 1, 1, 2], Some(2))).is_ok_and(|rows| !rows.is_empty())));
}

/// A set in which these people ranked items `i0`, `i1`, … by tiers of `r1`, `r2`, `r3`, written `3>1=2`; `-` was not ranked.
fn set_of(people: &[(&str, Source, &[&str])]) -> tempfile::TempDir {
    let dir = project(people[0].2.len(), "repeats: 0");
    let set = SetDir::open(dir.path(), "s").unwrap();
    let items = set.items().unwrap().0;
    for (name, source, orders) in people {
        let (mut writer, ..) = Writer::open(&set, name).unwrap();
        for (item, order) in items.iter().zip(*orders).filter(|(_, o)| **o != "-") {
            let tiers = order.split('>').map(|t| t.split('=').map(|n| format!("r{n}")).collect()).collect();
            let display_order = item.responses.iter().map(|r| r.id.clone()).collect();
            let mut responses = item.responses.clone();
            responses.iter_mut().enumerate().for_each(|(i, r)| r.model = Some(format!("m{}", i + 1)));
            let label = Label {
                item: item.id.clone(),
                prompt: user(&item.id),
                responses,
                display_order,
                tiers,
                source: source.clone(),
                dwell_ms: 900,
                ..Label::default()
            };
            writer.write(vec![label]).unwrap();
        }
    }
    dir
}

#[test]
fn one_order_an_item_is_taken_and_models_stay_apart() {
    let dir = set_of(&[
        ("ana", Source::Human, &["1>2>3", "1>2>3", "-"]),
        ("ben", Source::Human, &["2>1>3", "1>2>3", "3>2>1"]),
        ("judge", Source::Ai, &["3>2>1", "3>2>1", "3>2>1"]),
    ]);
    let set = SetDir::open(dir.path(), "s").unwrap();
    let order = |j: &Judged| j.tiers.iter().map(|t| t.join("=")).collect::<Vec<_>>().join(">");
    let all = take(&set, &Who::default()).unwrap();
    assert_eq!(all.judged.iter().map(order).collect::<Vec<_>>(), ["r1=r2>r3", "r1>r2>r3", "r3>r2>r1"]);
    assert_eq!((all.human, all.ai, all.merged), (5, 0, 2));
    let ana = take(&set, &Who { names: vec!["ana".into()], ..Who::default() }).unwrap();
    assert_eq!((ana.judged.len(), ana.human), (2, 2));
    let only = take(&set, &Who { ai: Ai::Only, ..Who::default() }).unwrap();
    assert_eq!((only.judged.len(), only.human, only.ai), (3, 0, 3));
    assert!(Session::open(dir.path(), "s", "judge", false).map(drop).unwrap_err().to_string().contains("the labels of a judging model"));
    let also = take(&set, &Who { ai: Ai::Also, ..Who::default() }).unwrap();
    assert_eq!((also.human, also.ai), (5, 3));
    assert!(
        take(&set, &Who { names: vec!["eva".into()], ..Who::default() }).unwrap_err().to_string().contains("there are ana, ben, judge")
    );
    // What is adjudicated is settled.
    let mut eva = Session::open(dir.path(), "s", "eva", true).unwrap();
    assert_eq!(eva.showing().unwrap().item.id, "i0");
    let tiers = vec![vec!["r2".to_string()], vec!["r1".into()], vec!["r3".into()]];
    eva.decide(Decision {
        tiers,
        dwell_ms: 900,
        edited: Some(Edited { from: "r2".into(), content: "better".into() }),
        ..Decision::default()
    })
    .unwrap();
    let settled = take(&set, &Who::default()).unwrap();
    assert_eq!((order(&settled.judged[0]), settled.edited), ("edited>r2>r1>r3".to_string(), 1));
    // All that is said of a prompt falls on one side.
    let sides: BTreeMap<String, bool> = settled.judged.iter().map(|j| (j.prompt[0].content.clone(), validates(j, 0.5, 7))).collect();
    assert!(ana.judged.iter().all(|j| sides[&j.prompt[0].content] == validates(j, 0.5, 7)));
}

#[test]
fn figures_of_a_set_know_people_from_models() {
    let dir = set_of(&[
        ("ana", Source::Human, &["1>2>3", "1>2>3", "2>1=3", "3>1>2", "1>3>2"]),
        ("ben", Source::Human, &["2>1>3", "1>2>3", "2>1>3", "3>2>1", "1>3>2"]),
        ("judge", Source::Ai, &["3>2>1", "3>2>1", "3>2>1", "3>2>1", "-"]),
    ]);
    let summary = summarise(&SetDir::open(dir.path(), "s").unwrap()).unwrap();
    assert_eq!(
        summary.people.iter().map(|p| (p.name.as_str(), p.ai, p.labels)).collect::<Vec<_>>(),
        [("ana", false, 5), ("ben", false, 5), ("judge", true, 4)]
    );
    let pair = &summary.between[0];
    assert_eq!((pair.a.as_str(), pair.b.as_str(), pair.ai, pair.items), ("ana", "ben", false, 5));
    // Of fifteen pairs of responses, ana and ben say otherwise on three: `cohen_kappa_score` and `krippendorff.alpha` on the same tables.
    let near = |found: Option<weightroom::data::labels::stats::Figure>, want: f64| {
        let figure = found.unwrap();
        assert!(
            (figure.value - want).abs() < 1e-6 && figure.low <= figure.value && figure.value <= figure.high,
            "{figure:?}, wanted {want}"
        );
    };
    near(pair.same, 0.8);
    near(pair.kappa, KAPPA);
    near(summary.alpha_pairs, ALPHA_PAIRS);
    near(summary.alpha_ranks, ALPHA_RANKS);
    assert_eq!(summary.alpha_acceptable, None);
    assert_eq!(summary.disagreeing, 3);
    assert_eq!(summary.models.len(), 3);
    let ana = &summary.people[0];
    assert_eq!((ana.positions.len(), ana.positions[0].0.value, ana.positions[0].1), (3, 0.6, 1.0 / 3.0));
}

const KAPPA: f64 = 0.594_594_594_594_594_6;
const ALPHA_PAIRS: f64 = 0.602_739_726_027_397_3;
const ALPHA_RANKS: f64 = 0.771_631_205_673_758_9;

#[test]
fn a_set_goes_from_the_command_line_to_other_programs_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let here = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let run = |args: &[&str]| cli::run(dir.path(), args).good().out;
    let row = |q: &str, a: &str, b: &str, m: f64| json!({"prompt": user(q), "chosen": [{"role": "assistant", "content": a}], "rejected": [{"role": "assistant", "content": b}], "margin": m});
    let rows: Vec<String> = (0..40)
        .flat_map(|i| [row(&format!("q{i}"), "x", "y", 1.0), row(&format!("q{i}"), "x", "z", 2.0), row(&format!("q{i}"), "y", "z", 1.0)])
        .map(|r| r.to_string())
        .collect();
    std::fs::write(here("pairs.jsonl"), rows.join("\n") + "\n").unwrap();
    assert!(run(&["labels", "import", "s", &here("pairs.jsonl"), "--as", "ana"]).contains("labels  40 new of ana"));
    assert!(run(&["labels", "import", "s", &here("pairs.jsonl"), "--as", "ana"]).contains("labels  0 new of ana, 40 there already"));
    for form in FORMS {
        let out = here(&format!("{}.jsonl", form.name));
        let said = run(&["labels", "export", "s", "--format", form.name, "-o", &out, "--val", "0.25"]);
        assert!(said.contains("from 40 items and 40 labels"), "{}: {said}", form.name);
        // Every prompt falls on one side, and the same prompts in every form.
        let text = |path: &str| std::fs::read_to_string(path).unwrap();
        let (train, val) = (text(&out), text(&here(&format!("{}.val.jsonl", form.name))));
        let of = |t: &str| (0..40).filter(|i| t.contains(&format!("q{i}\"")) || t.contains(&format!("q{i}\\n"))).collect::<Vec<_>>();
        assert_eq!((of(&train).len() + of(&val).len(), of(&val).len() > 3), (40, true), "{}", form.name);
    }
    let info: Value = serde_json::from_str(&std::fs::read_to_string(here("dataset_info.json")).unwrap()).unwrap();
    assert_eq!(info["s_val"]["columns"]["kto_tag"], "label", "the last one written under this name");
    let bad = |args: &[&str], code, what| drop(cli::run(dir.path(), args).bad(code, &[what]));
    bad(&["labels", "export", "s", "--format", "trl", "-o", &here("trl.jsonl")], 1, "overwrite it with --force");
    // Somebody else's copy comes in once.
    std::fs::copy(dir.path().join("labels/s/ana.labels.jsonl"), here("ben.labels.jsonl")).unwrap();
    assert!(run(&["labels", "merge", "t", &here("ben.labels.jsonl")]).contains("ben  40 labels new, 0 there already; 40 items new"));
    assert!(run(&["labels", "merge", "t", &here("ben.labels.jsonl")]).contains("ben  0 labels new, 40 there already; 0 items new"));
    let stats: Value = serde_json::from_str(&run(&["labels", "stats", "t", "--json"])).unwrap();
    assert_eq!((&stats["items"], &stats["people"][0]["name"]), (&json!(40), &json!("ben")));
    for (args, what) in [
        (&["labels", "stats", "../x"][..], "cannot be part of a name"),
        (&["labels", "import", "s", "pairs.jsonl", "--as", "a/b"], "cannot be part of a name"),
        (&["rank", "s", "--as", "a.b"], "cannot be part of a name"),
        (&["labels", "export", "s", "--format", "xml", "-o", "x"], "it is one of trl"),
        (&["labels", "draw", "s", "--model", "m"], "there is nothing to answer"),
        (&["labels", "draw", "s", "--model", "m", "--prompt", "x", "-n", "12"], "cannot be ranked"),
        (&["rank", "s"], "needs a terminal"),
    ] {
        bad(args, 2, what);
    }
    bad(&["rank", "nothing", "--as", "ana"], 1, "sets here: s, t");
}

/// Candidates of a real small model: distinct, with what made them; drawn once. The same model as a judge says nothing that
/// could be read, so people are asked first.
#[test]
fn a_model_draws_candidates_and_is_no_judge() {
    let Some(model) = common::asset("models/stories260K/hf") else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = model.canonicalize().unwrap().to_string_lossy().into_owned();
    let run = |args: &[&str]| cli::run(dir.path(), args).good().out;
    let draw = [
        "labels",
        "draw",
        "s",
        "--prompt",
        "Once upon a time",
        "--prompt",
        "The cat",
        "--model",
        &model,
        "-n",
        "3",
        "--max-tokens",
        "12",
        "--raw",
        "--temperature",
        "0.6",
        "--temperature",
        "1.2",
        "--json",
    ];
    let said = run(&draw);
    assert!(said.contains("2 items for s"), "{said}");
    let set = SetDir::open(dir.path(), "s").unwrap();
    let items = set.items().unwrap().0;
    assert_eq!(items.len(), 2);
    for item in &items {
        let texts: std::collections::BTreeSet<&str> = item.responses.iter().map(|r| r.content.trim()).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(item.responses.iter().all(|r| r.seed.is_some() && !r.ids.is_empty() && r.model.is_some()));
        assert_ne!(item.responses[0].sampler.as_ref().unwrap()["temperature"], item.responses[1].sampler.as_ref().unwrap()["temperature"]);
    }
    assert!(run(&draw).contains("2 prompts were there already"));
    let said = run(&["labels", "judge", "s", "--model", &model, "--as", "robot", "--max-tokens", "4"]);
    let (lines, _) = set.lines("robot").unwrap();
    // The rubric is longer than what this model sees at once: that is counted and said, or it answers in prose.
    assert!(lines.iter().all(|l| l.is_ai() && l.status == Status::Inconsistent), "{said}");
    assert!(said.contains("could not be asked") || said.contains("without an order"), "{said}");
    assert!(set.page("rubric.md").unwrap().contains("[[2>1=3]]"));
}
