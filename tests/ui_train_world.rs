//! The reducer: a live run and the replay of its events make the same world, whatever is repeated or missing.
//! Not here: drawing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use proptest::prelude::*;
use weightroom::engine::protocol::Up;
use weightroom::report::{Event, JobId, JobState, Level, Report, Values};
use weightroom::ui::world::{Loaded, Run, Status, World};

fn started(run: Option<&str>) -> Report {
    Report::Started { kind: "train".into(), title: "demo".into(), run: run.map(Into::into) }
}

fn loss(step: u64, value: f64) -> Report {
    Report::Values(Values { step, values: vec![("train/loss".into(), value), ("val/loss".into(), value + 0.1)] })
}

fn numbered(reports: Vec<Report>) -> Vec<Event> {
    let number = |(i, report)| Event { job: JobId(1), seq: i as u64, at_ms: 1000 + 400 * i as u64, report };
    reports.into_iter().enumerate().map(number).collect()
}

fn world(frames: impl IntoIterator<Item = Vec<Event>>) -> World {
    let mut world = World::new("p".into());
    frames.into_iter().for_each(|events| world.fold(Up::Events(events)));
    world
}

/// Everything that a pane could see of a run.
fn picture(world: &World) -> String {
    let mut out = String::new();
    for run in world.runs.values() {
        let series: Vec<_> = run.series.iter().map(|(name, s)| (name, (0..s.len()).filter_map(|i| s.get(i)).collect::<Vec<_>>())).collect();
        out += &format!(
            "{} {:?} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {series:?}\n",
            run.name,
            run.status(),
            run.step,
            run.steps,
            run.best,
            run.samples,
            run.notes,
            run.checkpoints,
            run.ended,
            run.eta_ms()
        );
    }
    out + &format!("{:?}", world.log)
}

fn report() -> impl Strategy<Value = Report> {
    prop_oneof![
        6 => (1u64..60, prop_oneof![5 => 0.1..9.0f64, 1 => Just(f64::NAN)]).prop_map(|(step, value)| loss(step, value)),
        1 => (0u64..60).prop_map(|step| Report::Resumed { step }),
        1 => (0u64..60).prop_map(|step| Report::Sample { step, prompt: "a".into(), text: "b".into() }),
        1 => Just(Report::note(Level::Warning, "careful")),
        1 => (0u64..60).prop_map(|step| Report::Artifact { kind: "checkpoint".into(), path: format!("step-{step}").into(), step: Some(step) }),
        1 => Just(Report::State { state: JobState::Paused, why: String::new() }),
        1 => Just(Report::Unknown(serde_json::json!({"hologram": {"step": 1}}))),
    ]
}

proptest! {
    #[test]
    fn a_live_run_equals_its_replay_however_it_arrives(
        reports in prop::collection::vec(report(), 0..60), cut in 0usize..60, repeated in 0usize..60,
    ) {
        let mut all = vec![started(Some("demo"))];
        all.extend(reports);
        let events = numbered(all);
        let whole = picture(&world([events.clone()]));
        let one_by_one = picture(&world(events.iter().map(|e| vec![e.clone()])));
        prop_assert_eq!(&whole, &one_by_one);
        // A subscriber that was cut off reads again from an earlier event.
        let cut = cut.min(events.len());
        let again = repeated.min(cut);
        let twice = picture(&world([events[..cut].to_vec(), events[again..].to_vec()]));
        prop_assert_eq!(&whole, &twice);
    }

    #[test]
    fn steps_of_a_series_rise_whatever_comes(reports in prop::collection::vec(report(), 0..80)) {
        let mut all = vec![started(Some("demo"))];
        all.extend(reports);
        let world = world([numbered(all)]);
        for series in world.runs["demo"].series.values() {
            let steps: Vec<u64> = (0..series.len()).map(|i| series.get(i).unwrap().step).collect();
            prop_assert!(steps.windows(2).all(|w| w[0] < w[1]), "{steps:?}");
        }
    }
}

#[test]
fn a_resume_drops_what_came_after_it() {
    let sample = |step| Report::Sample { step, prompt: String::new(), text: "x".into() };
    let world = world([numbered(vec![
        started(Some("demo")),
        loss(1, 3.0),
        loss(2, 2.0),
        sample(2),
        loss(3, 1.0),
        sample(3),
        Report::Resumed { step: 2 },
        loss(3, 1.5),
    ])]);
    let run = &world.runs["demo"];
    assert_eq!(run.series["train/loss"].len(), 3);
    assert_eq!(run.series["train/loss"].at(3), Some(1.5));
    assert_eq!(run.samples.len(), 1);
    assert_eq!(run.best, Some((3, 1.6)));
}

#[test]
fn a_gap_is_counted_and_asks_for_the_run_to_be_read_again() {
    let mut events = numbered(vec![started(Some("demo")), loss(1, 3.0), loss(2, 2.0), loss(3, 1.0)]);
    events.remove(2);
    let mut world = world([events]);
    assert_eq!(world.jobs[&JobId(1)].missed, 1);
    assert!(world.runs["demo"].stale);
    let mut disk = Run::named("demo");
    numbered(vec![started(Some("demo")), loss(1, 3.0), loss(2, 2.0)]).iter().for_each(|e| disk.fold(e));
    world.loaded(Loaded::Run(Box::new(disk)));
    let run = &world.runs["demo"];
    assert!(!run.stale && run.is_live());
    assert_eq!(run.series["train/loss"].len(), 3);
}

#[test]
fn files_read_before_a_resume_do_not_bring_back_what_it_dropped() {
    let events = numbered(vec![started(Some("demo")), loss(1, 3.0), loss(2, 2.0), Report::Resumed { step: 1 }, loss(2, 2.5)]);
    let mut disk = Run::named("demo");
    events[..3].iter().for_each(|e| disk.fold(e));
    let mut world = world([events]);
    world.loaded(Loaded::Run(Box::new(disk)));
    assert_eq!(world.runs["demo"].series["train/loss"].at(2), Some(2.5));
}

#[test]
fn a_job_becomes_a_run_when_its_log_takes_the_numbering_over() {
    let mut events = numbered(vec![started(None), Report::State { state: JobState::Running, why: String::new() }]);
    // A resumed run goes on with its own numbers.
    for (i, report) in [started(Some("demo")), Report::Resumed { step: 7 }, loss(8, 1.0)].into_iter().enumerate() {
        events.push(Event { job: JobId(1), seq: 500 + i as u64, at_ms: 3000, report });
    }
    let world = world([events]);
    let run = &world.runs["demo"];
    assert_eq!((run.step, run.status(), run.stale, run.opened), (8, Status::Running, false, false));
    assert!(world.jobs[&JobId(1)].reports.is_empty());
    assert_eq!(world.live_run().map(|r| r.name.as_str()), Some("demo"));
}

#[test]
fn a_list_from_disk_does_not_forget_what_is_open() {
    let mut world = world([numbered(vec![started(Some("demo")), loss(1, 3.0)])]);
    let mut old = Run::named("demo");
    old.step = 0;
    world.loaded(Loaded::Runs(vec![old, Run::named("other")]));
    assert_eq!(world.runs["demo"].step, 1);
    assert_eq!(world.runs["other"].status(), Status::Interrupted);
    world.loaded(Loaded::Runs(Vec::new()));
    assert!(world.runs.contains_key("demo") && !world.runs.contains_key("other"));
}
