//! The `judge` job: a model ranks the items of a set by a rubric, in both orders. What it does not say the same in both, or
//! otherwise than people did, is queued for people. Its labels are marked as a model's and kept in a file of their own.
//! Deliberately not here: judging in evaluations, which scores and does not rank.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::data::labels::session::contradicts;
use crate::data::labels::store::{SetDir, Writer, standing};
use crate::data::labels::{Item, Label, Source, Status, Tiers, check_name, hash, order, safe_name};
use crate::engine::device;
use crate::report::Report;
use crate::sample::generator::{AskFault, Prompt, Request};
use crate::spec::{JudgeSpec, Message, Sampler};

pub const JOB: JobKind =
    JobKind { name: "judge", help: "Lets a model rank the items of a set, in both orders.", lane: Lane::Main, pausable: false, check, run };
pub const REMOTE: JobKind = JobKind { name: "judge-remote", lane: Lane::Light, ..JOB };

/// Written to `rubric.md` of a set that has none, to be changed by a person.
pub const RUBRIC: &str = "You compare answers to the same request.\n\
Judge in this order: is it correct; does it do what was asked; is it clear and no longer than it needs to be; is it harmless.\n\
Neither the length of an answer nor its place in the list is a merit.\n\
Think briefly, then end with one line that has the numbers of the answers, the best first, in double brackets: > means better than, = as good as.\n\
Example: [[2>1=3]]\n";

/// Items that are asked about together.
const TOGETHER: usize = 8;
/// Of what a judge said, so much is kept.
const KEPT: usize = 4_000;

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: JudgeSpec = params(value)?;
    check_name("set", &spec.set)?;
    if spec.model.is_empty() {
        return Err("no judge is named; name a model, or openai:URL#MODEL".into());
    }
    if !spec.name.is_empty() {
        check_name("annotator", &spec.name)?;
    }
    device::known(spec.device.as_deref()).map_err(|e| e.to_string())?;
    Ok(format!("judging {}", spec.set))
}

#[derive(Default)]
struct Count {
    ranked: u64,
    inconsistent: u64,
    /// Replies without an order.
    prose: u64,
    refused: u64,
    why: String,
    contradicts: u64,
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: JudgeSpec = cx.params()?;
    let set = SetDir::open(cx.project, &spec.set)?;
    let mut rubric = set.page("rubric.md")?;
    if rubric.trim().is_empty() {
        rubric = RUBRIC.into();
        let path = set.path.join("rubric.md");
        std::fs::write(&path, RUBRIC).map_err(|e| Fault::from(crate::data::DataError::io(&path, &e)))?;
        cx.monitor.report(Report::Artifact { kind: "rubric".into(), path, step: None });
    }
    let name = if spec.name.is_empty() {
        safe_name(&format!("judge-{}", spec.model.rsplit(['#', '/']).next().unwrap_or_default())).unwrap_or("judge".into())
    } else {
        spec.name.clone()
    };
    let (mut writer, lines, _) = Writer::open(&set, &name)?;
    if lines.iter().any(|l| !l.is_ai()) {
        let cause = format!("{name} is a person who labelled this set; a judging model's labels are kept apart");
        return Err(Fault::new(cause, "choose another name with --as"));
    }
    // What was judged by this rubric is not judged again; a new rubric asks anew.
    let rubric_hash = hash(&rubric);
    let judged: std::collections::BTreeSet<&str> =
        standing(&lines).into_iter().filter(|l| l.guideline_hash == rubric_hash).map(|l| l.item.as_str()).collect();
    let old: BTreeMap<String, String> = standing(&lines).into_iter().map(|l| (l.item.clone(), l.id.clone())).collect();
    let items: Vec<Item> = set.items()?.0.into_iter().filter(|i| !judged.contains(i.id.as_str())).take(spec.limit).collect();
    let people = people(&set)?;
    let device = if cx.beside { device::choose(Some("cpu"))? } else { device::choose(spec.device.as_deref())? };
    let model = cx.models.generator(cx.project, &spec.model, &device)?;
    let mut count = Count::default();
    let total = items.len() as u64;
    let tell = |done| cx.monitor.report(Report::Progress { what: "judging".into(), done, total: Some(total), unit: "items".into() });
    tell(0);
    let mut done = 0;
    for some in items.chunks(TOGETHER) {
        let requests: Vec<Request> = some.iter().flat_map(|item| [false, true].map(|back| request(item, &rubric, back, &spec))).collect();
        let made = model.generate(&requests, cx.monitor, &mut |_, _| {});
        if cx.monitor.stopped() {
            break;
        }
        let mut labels = Vec::new();
        for (item, both) in some.iter().zip(made.chunks(2)) {
            match both {
                [Ok(forth), Ok(back)] => {
                    let made = label(item, [&forth.text, &back.text], &spec, &rubric_hash, &mut count);
                    labels.push(Label { supersedes: old.get(&item.id).cloned(), ..made });
                }
                other => match other.iter().find_map(|r| r.as_ref().err()) {
                    Some(AskFault::Broken(why)) => {
                        writer.write(labels)?;
                        return Err(Fault::new(
                            super::one_line(&format!("{}: {why}", model.name())),
                            "what was judged before is kept; start it again to go on",
                        ));
                    }
                    fault => {
                        count.refused += 1;
                        count.why = fault.map(ToString::to_string).unwrap_or_default();
                    }
                },
            }
        }
        count.contradicts +=
            labels.iter().filter(|l| people.get(&l.item).is_some_and(|t| l.ranks() && contradicts(&l.tiers, t))).count() as u64;
        writer.write(labels)?;
        done += some.len() as u64;
        tell(done);
    }
    Ok(ended(cx, &name, &count))
}

fn ended(cx: &Cx, name: &str, count: &Count) -> Done {
    let stopped = cx.monitor.stopped();
    let mut parts = vec![format!("{name} ranked {} items", count.ranked)];
    parts.extend((count.inconsistent > 0).then(|| format!("{} not the same in both orders", count.inconsistent)));
    parts.extend((count.prose > 0).then(|| format!("{} answered without an order", count.prose)));
    parts.extend((count.contradicts > 0).then(|| format!("{} otherwise than people", count.contradicts)));
    parts.extend((count.refused > 0).then(|| format!("{} could not be asked ({})", count.refused, count.why)));
    if count.inconsistent + count.prose + count.contradicts > 0 {
        parts.push("these are asked of people first".into());
    }
    parts.extend(stopped.then(|| "stopped; what was judged stays".to_string()));
    let result = json!({"annotator": name, "ranked": count.ranked, "inconsistent": count.inconsistent, "without_order": count.prose,
        "contradicting_people": count.contradicts, "refused": count.refused});
    Done::new(stopped, parts.join("; ")).with(result.as_object().cloned().unwrap_or_default().into_iter().collect())
}

/// What people said of each item, as one order.
fn people(set: &SetDir) -> Result<BTreeMap<String, Tiers>, Fault> {
    let (all, _) = set.all_lines()?;
    let mut of: BTreeMap<String, Vec<&Tiers>> = Default::default();
    for label in all.values().flat_map(|lines| standing(lines)).filter(|l| !l.is_ai() && l.ranks()) {
        of.entry(label.item.clone()).or_default().push(&label.tiers);
    }
    Ok(of.into_iter().map(|(item, orders)| (item, order::consensus(&orders))).collect())
}

fn request(item: &Item, rubric: &str, back: bool, spec: &JudgeSpec) -> Request {
    let mut text = format!("{rubric}\n# The request\n");
    for message in &item.prompt {
        if item.prompt.len() > 1 {
            text.push_str(&format!("{}: ", message.role));
        }
        text.push_str(&message.content);
        text.push('\n');
    }
    for (number, at) in places(item.responses.len(), back).into_iter().enumerate() {
        text.push_str(&format!("\n# Answer {}\n{}\n", number + 1, item.responses[at].content));
    }
    text.push_str("\nWhich is better? End with the order in double brackets.");
    Request {
        prompt: Prompt::Chat(vec![Message { role: "user".into(), content: text }]),
        max_tokens: spec.max_tokens,
        sampler: Sampler { temperature: 0.0, ..Sampler::default() },
        stop: Vec::new(),
    }
}

/// The responses in the order in which they are shown.
fn places(count: usize, back: bool) -> Vec<usize> {
    if back { (0..count).rev().collect() } else { (0..count).collect() }
}

fn label(item: &Item, said: [&str; 2], spec: &JudgeSpec, rubric_hash: &str, count: &mut Count) -> Label {
    let read = |text: &str, back: bool| -> Option<Tiers> {
        let shown = places(item.responses.len(), back);
        let tiers = verdict(text, shown.len())?;
        let mut named: Tiers = tiers.iter().map(|t| t.iter().map(|n| item.responses[shown[*n]].id.clone()).collect()).collect();
        named.iter_mut().for_each(|t| t.sort());
        Some(named)
    };
    let (forth, back) = (read(said[0], false), read(said[1], true));
    let (status, tiers) = match (forth, back) {
        (Some(a), Some(b)) if a == b => (Status::Ranked, a),
        (Some(_), Some(_)) => (Status::Inconsistent, Vec::new()),
        _ => {
            count.prose += 1;
            (Status::Inconsistent, Vec::new())
        }
    };
    match status {
        Status::Ranked => count.ranked += 1,
        _ if said.iter().all(|s| verdict(s, item.responses.len()).is_some()) => count.inconsistent += 1,
        _ => {}
    }
    let cut = |text: &str| text.chars().take(KEPT).collect::<String>();
    let mut more = Map::new();
    more.insert("judge".into(), json!({"model": spec.model, "forth": cut(said[0]), "back": cut(said[1])}));
    Label {
        item: item.id.clone(),
        prompt: item.prompt.clone(),
        responses: item.responses.clone(),
        display_order: item.responses.iter().map(|r| r.id.clone()).collect(),
        tiers,
        status,
        source: Source::Ai,
        guideline_hash: rubric_hash.into(),
        decided_at: now_ms(),
        more,
        ..Label::default()
    }
}

/// The order in the last double brackets of a reply, by numbers from 0; none where it has none, or not of every answer once.
fn verdict(text: &str, count: usize) -> Option<Vec<Vec<usize>>> {
    let (_, rest) = text.rsplit_once("[[")?;
    let (inside, _) = rest.split_once("]]")?;
    let mut seen = vec![false; count];
    let mut tiers = Vec::new();
    for tier in inside.split('>') {
        let mut one = Vec::new();
        for number in tier.split('=') {
            let at = number.trim().parse::<usize>().ok()?.checked_sub(1).filter(|at| *at < count)?;
            if std::mem::replace(&mut seen[at], true) {
                return None;
            }
            one.push(at);
        }
        tiers.push(one);
    }
    seen.into_iter().all(|s| s).then_some(tiers)
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::labels::Response;

    #[test]
    fn only_an_order_of_all_answers_is_a_verdict() {
        assert_eq!(verdict("I think [[1>2]] no: [[2 > 1=3]].", 3), Some(vec![vec![1], vec![0, 2]]));
        for prose in ["2 is best", "[[2]]", "[[2>2>1]]", "[[4>1>2]]", "[[a>b>c]]", "[[1>2>3", "[[0>1>2]]", "[[]]"] {
            assert_eq!(verdict(prose, 3), None, "{prose}");
        }
    }

    #[test]
    fn what_differs_between_both_orders_is_left_to_people() {
        let response = |id: &str| Response { id: id.into(), content: id.into(), ..Response::default() };
        let item = Item { id: "i".into(), responses: vec![response("a"), response("b")], ..Item::default() };
        let judge = |forth: &str, back: &str| {
            let mut count = Count::default();
            let label = label(&item, [forth, back], &JudgeSpec::default(), "h", &mut count);
            (label.status.clone(), label.tiers.concat().concat(), (count.ranked, count.inconsistent, count.prose), label.is_ai())
        };
        // Shown backwards, the same answer has the other number.
        assert_eq!(judge("[[2>1]]", "[[1>2]]"), (Status::Ranked, "ba".into(), (1, 0, 0), true));
        assert_eq!(judge("[[1>2]]", "[[1>2]]"), (Status::Inconsistent, String::new(), (0, 1, 0), true));
        assert_eq!(judge("[[1=2]]", "[[2=1]]").0, Status::Ranked);
        assert_eq!(judge("Both are fine.", "[[1>2]]"), (Status::Inconsistent, String::new(), (0, 0, 1), true));
    }
}
