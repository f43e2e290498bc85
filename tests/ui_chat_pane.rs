//! The Chat pane through the shell, with an engine made of its own words. Not here: generation itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weightroom::engine::protocol::{Command, Up};
use weightroom::report::{Candidate, Distribution, JobId, Report, Signal, Token, Values};
use weightroom::spec::GenerateSpec;
use weightroom::ui::harness::Harness;
use weightroom::ui::shell::Out;
use weightroom::ui::world::{Load, Loaded};

/// The harness with an engine that answers when told to.
struct Desk {
    h: Harness,
    next: u64,
    asked: BTreeMap<u64, GenerateSpec>,
    stopped: Vec<u64>,
}

impl Desk {
    /// A workbench on Chat with one finished run called `demo`.
    fn new(width: u16, height: u16) -> Self {
        let mut h = Harness::new(width, height);
        h.report(1, Report::Started { kind: "train".into(), title: "demo".into(), run: Some("demo".into()) });
        h.report(1, Report::Values(Values { step: 600, values: vec![("train/loss".into(), 1.4), ("val/loss".into(), 1.523)] }));
        h.report(1, Report::finished(false, "600 steps"));
        h.keys("ctrl-g c");
        let mut desk = Self { h, next: 10, asked: BTreeMap::new(), stopped: Vec::new() };
        desk.pump();
        desk
    }

    /// Takes what the screen asked for and gives the jobs their numbers.
    fn pump(&mut self) {
        for out in self.h.out() {
            match out {
                Out::Command(Command::Start { ticket, spec }) if spec.kind == "generate" => {
                    let job = self.next;
                    self.next += 1;
                    self.asked.insert(job, serde_json::from_value(spec.params).unwrap());
                    self.h.up(Up::Started { ticket, job: JobId(job) });
                }
                Out::Command(Command::Signal { job, signal: Signal::Stop }) => self.stopped.push(job.0),
                _ => {}
            }
        }
        self.h.draw();
    }

    fn keys(&mut self, keys: &str) {
        self.h.keys(keys);
        self.pump();
    }

    /// The newest job of text (with tokens to draw), or of the distribution alone.
    fn job(&self, text: bool) -> u64 {
        *self.asked.iter().rev().find(|(_, spec)| (spec.max_tokens > 0) == text).expect("a job was asked for").0
    }

    fn begin(&mut self, job: u64) {
        self.h.report(job, Report::Started { kind: "generate".into(), title: "demo".into(), run: None });
        let facts = [("prompt_tokens", 5.into()), ("context", 64.into()), ("rendering", "plain".into())];
        self.h.report(job, Report::Facts(facts.into_iter().map(|(k, v): (&str, serde_json::Value)| (k.to_string(), v)).collect()));
    }

    fn say(&mut self, job: u64, texts: &[&str]) {
        for (i, text) in texts.iter().enumerate() {
            self.h.now_ms += 5;
            let probability = [0.41, 0.02, 0.3, 0.9, 0.0005][i % 5];
            let bytes = text.as_bytes().to_vec();
            self.h.report(job, Report::Token(Token { id: 100 + i as u32, bytes, probability, alternatives: best(), from_prompt: false }));
        }
        self.pump();
    }

    fn end(&mut self, job: u64, ended: &str) {
        let facts = [("tokens_per_s", 312.5.into()), ("first_token_ms", 12.0.into()), ("ended", ended.into())];
        self.h.report(job, Report::Facts(facts.into_iter().map(|(k, v): (&str, serde_json::Value)| (k.to_string(), v)).collect()));
        self.h.report(job, Report::Distribution(Distribution { top: best(), tail: vec![(0.5, 400)] }));
        self.h.report(job, Report::finished(ended == "stopped", ""));
        self.pump();
    }

    /// Answers the question for the next token's distribution.
    fn answer_probe(&mut self) {
        let job = self.job(false);
        self.begin(job);
        self.end(job, "length");
    }

    fn screen(&mut self) -> String {
        self.h.draw()
    }
}

fn best() -> Vec<Candidate> {
    let of = |(i, text): (usize, &&str)| Candidate {
        id: i as u32,
        text: text.to_string(),
        logit: 6.0 - i as f32,
        probability: 0.4 * (-(i as f32)).exp(),
    };
    [" mat", " floor", " couch", " table", " bed", " chair", "\n", "\u{1b}", ""].iter().enumerate().map(of).collect()
}

/// A talk with some text, tinted, with the cursor on a token.
fn talk(width: u16, height: u16) -> Desk {
    let mut desk = Desk::new(width, height);
    desk.answer_probe();
    desk.keys("enter");
    let job = desk.job(true);
    desk.begin(job);
    let story = " mat| and| looked| at| the| moon|.| The| dog| barked| at| the| door|,| and| the| cat| did| not| move|.\n|It| was| warm|.";
    desk.say(job, &story.split('|').collect::<Vec<_>>());
    desk.end(job, "end");
    desk
}

#[test]
fn snapshots() {
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let size = format!("{width}x{height}");
        let mut desk = Desk::new(width, height);
        desk.answer_probe();
        insta::assert_snapshot!(format!("chat_first_{size}"), desk.screen());
        let mut desk = talk(width, height);
        desk.keys("esc t l l l");
        insta::assert_snapshot!(format!("chat_talk_{size}"), desk.screen());
        desk.keys("enter j");
        insta::assert_snapshot!(format!("chat_alternatives_{size}"), desk.screen());
        desk.keys("esc tab");
        insta::assert_snapshot!(format!("chat_sampler_{size}"), desk.screen());
        desk.keys("m");
        insta::assert_snapshot!(format!("chat_models_{size}"), desk.screen());
    }
}

#[test]
fn the_first_prompt_is_there_and_enter_streams_its_continuation() {
    let mut desk = Desk::new(120, 36);
    assert!(desk.screen().contains("The cat sat on the") && desk.screen().contains("never taught to answer"));
    desk.answer_probe();
    desk.keys("enter");
    let job = desk.job(true);
    assert_eq!((desk.asked[&job].model.as_str(), desk.asked[&job].prompt.as_str()), ("demo", "The cat sat on the"));
    desk.begin(job);
    desk.say(job, &[" mat", " and"]);
    assert!(desk.screen().contains("The cat sat on the mat and▌"), "{}", desk.screen());
    desk.end(job, "length");
    assert!(desk.screen().contains("312 tok/s · first 12 ms · context 7/64 · seed 0 · max tokens"), "{}", desk.screen());
}

#[test]
fn escape_stops_the_generation_only_then_leaves_the_field_then_goes_back() {
    let mut desk = Desk::new(120, 36);
    desk.keys("enter");
    let job = desk.job(true);
    desk.begin(job);
    desk.say(job, &[" mat"]);
    desk.keys("esc esc");
    desk.say(job, &[" and"]);
    assert_eq!(desk.stopped, [job], "told once, and no other job");
    desk.end(job, "stopped");
    assert!(desk.screen().contains("The cat sat on the mat and") && desk.screen().contains("· stopped"));
    assert!(desk.screen().contains("i write"), "the second Esc left the field");
    desk.keys("esc");
    assert!(desk.screen().contains("[Life]"), "{}", desk.screen());
}

#[test]
fn a_stop_before_the_job_has_a_number_is_not_lost() {
    let mut desk = Desk::new(120, 36);
    desk.h.press(weightroom::ui::harness::key("enter"));
    desk.h.press(weightroom::ui::harness::key("esc"));
    desk.pump();
    desk.begin(desk.job(true));
    desk.pump();
    assert_eq!(desk.stopped, [desk.job(true)]);
}

#[test]
fn control_characters_of_a_model_are_marks() {
    let mut desk = Desk::new(120, 36);
    desk.keys("enter");
    let job = desk.job(true);
    desk.begin(job);
    desk.say(job, &["\u{1b}[31mred\u{7}", "\u{9b}x", "\u{202e}"]);
    desk.end(job, "length");
    assert!(desk.screen().contains("␛[31mred␇"));
    assert!(!desk.screen().chars().any(|c| c.is_control() && c != '\n'));
    desk.keys("esc tab");
    assert!(desk.screen().contains('␛'), "the bars show names as marks too");
}

#[test]
fn the_bars_follow_the_temperature_without_asking_again() {
    let mut desk = Desk::new(120, 36);
    desk.answer_probe();
    let (asked, before) = (desk.asked.len(), desk.screen());
    assert!(before.contains("·mat") && before.contains("after “The cat sat on the”"), "{before}");
    desk.keys("esc tab left left left left left left left left");
    let after = desk.screen();
    assert_eq!(desk.asked.len(), asked);
    assert!(after.contains("0 greedy") && after.contains("100.0 %") && after.contains("cut"), "{after}");
    // One question at a time, and the next is about the text as it is by then.
    desk.keys("i");
    desk.h.type_text("ab");
    desk.pump();
    assert_eq!(desk.asked.len(), asked + 1);
    desk.answer_probe();
    assert_eq!(desk.asked[&desk.job(false)].prompt, "ab", "what was offered gives way to what is typed");
}

#[test]
fn again_takes_a_new_seed_and_versions_can_be_turned() {
    let mut desk = talk(120, 36);
    desk.keys("esc a");
    let job = desk.job(true);
    assert_eq!((desk.asked[&job].prompt.as_str(), desk.asked[&job].sampler.seed), ("The cat sat on the", 1));
    desk.begin(job);
    desk.say(job, &[" floor"]);
    desk.end(job, "end");
    assert!(desk.screen().contains("The cat sat on the floor") && desk.screen().contains("version 2/2"));
    desk.keys("[");
    assert!(desk.screen().contains("on the mat and looked") && desk.screen().contains("version 1/2"));
    let asked = desk.asked.len();
    desk.keys("f");
    let seeds: Vec<u64> = desk.asked.values().skip(asked).map(|s| s.sampler.seed).collect();
    assert_eq!(seeds, [2, 3, 4, 5, 6]);
}

#[test]
fn tokens_that_are_never_drawn_do_not_fill_the_panel() {
    let mut desk = Desk::new(200, 60);
    let job = desk.job(false);
    desk.begin(job);
    let of = |i: u32| Candidate { id: i, text: format!("token{i}"), logit: if i == 0 { 30.0 } else { 1.0 }, probability: 0.0 };
    desk.h.report(job, Report::Distribution(Distribution { top: (0..40).map(of).collect(), tail: vec![(0.5, 400)] }));
    desk.h.report(job, Report::finished(false, ""));
    desk.pump();
    let screen = desk.screen();
    assert_eq!(screen.matches("token").count() - screen.matches("max tokens").count(), 10, "{screen}");
    assert!(screen.contains("430 others"), "{screen}");
}

#[test]
fn five_seeds_are_five_texts() {
    // From an untouched field, and beside a text that is there: it is one of the five.
    for before in ["esc", "enter"] {
        let mut desk = Desk::new(120, 60);
        desk.answer_probe();
        desk.keys(before);
        if before == "enter" {
            let job = desk.job(true);
            desk.begin(job);
            desk.say(job, &[" mat"]);
            desk.end(job, "end");
            desk.keys("esc");
        }
        desk.keys("f");
        let asked = desk.asked.values().filter(|spec| spec.max_tokens > 0);
        let seeds: std::collections::BTreeSet<u64> = asked.map(|spec| spec.sampler.seed).collect();
        assert_eq!(seeds.len(), 5, "after {before}");
        let screen = desk.screen();
        let titles = screen.lines().filter(|line| line.contains("│ seed ")).count();
        assert_eq!(titles, 5, "after {before}: {screen}");
    }
}

#[test]
fn alternatives_show_the_shares_of_the_bars_and_say_which() {
    let mut desk = talk(120, 36);
    desk.keys("esc l l enter");
    let screen = desk.screen();
    assert!(screen.contains("at temperature 0.80") && screen.contains("model's own"), "{screen}");
    // In the bars beside the text, then in the list: first what it is drawn with, then what the model itself gives.
    let lines: Vec<&str> = screen.lines().filter(|l| l.contains("·floor")).collect();
    let words: Vec<&str> = lines.iter().flat_map(|l| l.split_whitespace()).collect();
    let shares: Vec<&str> = words.windows(2).filter(|w| w[1] == "%").map(|w| w[0]).collect();
    assert_eq!(shares, ["19.1", "19.1", "14.7"], "{screen}");
}

#[test]
fn picking_an_alternative_branches_from_there() {
    let mut desk = talk(120, 36);
    desk.keys("esc l l enter j enter");
    let job = desk.job(true);
    assert_eq!(desk.asked[&job].prompt, "The cat sat on the mat floor");
    desk.begin(job);
    desk.say(job, &[" boards"]);
    assert!(desk.screen().contains("The cat sat on the mat floor boards"), "{}", desk.screen());
    // What has no text cannot be gone on from.
    desk.end(job, "end");
    let asked = desk.asked.len();
    desk.keys("l enter G enter");
    assert_eq!(desk.asked.len(), asked);
    assert!(desk.screen().contains("marks an end"), "{}", desk.screen());
}

#[test]
fn the_text_stays_where_a_person_reads() {
    let mut desk = Desk::new(100, 24);
    desk.keys("enter");
    let job = desk.job(true);
    desk.begin(job);
    let many: Vec<String> = (0..60).map(|i| format!("line {i}\n")).collect();
    desk.say(job, &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(desk.screen().contains("line 59"));
    desk.keys("pageup pageup");
    let held = desk.screen();
    let text = |screen: &str| screen.lines().nth(2).unwrap().chars().take(40).collect::<String>();
    let first = text(&held);
    assert!(!held.contains("line 59"));
    desk.say(job, &["more\n", "and more\n"]);
    assert_eq!(text(&desk.screen()), first);
    desk.keys("pagedown pagedown pagedown");
    assert!(desk.screen().contains("and more"));
}

#[test]
fn a_chat_sends_messages_and_a_failure_is_told() {
    let mut desk = Desk::new(120, 36);
    desk.keys("esc c i ctrl-c");
    desk.h.type_text("Hello");
    desk.keys("enter");
    let job = desk.job(true);
    assert_eq!(desk.asked[&job].messages.last().unwrap().content, "Hello");
    desk.begin(job);
    desk.say(job, &[" Hi there."]);
    desk.end(job, "stop");
    desk.h.type_text("And?");
    desk.keys("enter");
    let said: Vec<String> = desk.asked[&desk.job(true)].messages.iter().map(|m| m.content.clone()).collect();
    assert_eq!(said, ["Hello", "Hi there.", "And?"]);
    let job = desk.job(true);
    desk.begin(job);
    desk.h.report(job, Report::Failed { cause: "the weights are gone".into(), hint: "pick another model".into(), log: None });
    desk.pump();
    assert!(desk.screen().contains("the weights are gone") && desk.screen().contains("pick another model"));
}

/// A chat of two exchanges, the field left.
fn dialogue(width: u16, height: u16) -> Desk {
    let mut desk = Desk::new(width, height);
    desk.keys("esc c i ctrl-c");
    for (said, answer) in [("Hello", " Hi there."), ("And you?", " Well.")] {
        desk.h.type_text(said);
        desk.keys("enter");
        let job = desk.job(true);
        desk.begin(job);
        desk.say(job, &[answer]);
        desk.end(job, "end");
    }
    desk.keys("esc");
    desk
}

fn contents(spec: &GenerateSpec) -> Vec<String> {
    spec.messages.iter().map(|m| format!("{}: {}", m.role, m.content)).collect()
}

#[test]
fn a_system_prompt_and_examples_stand_in_front() {
    let mut desk = dialogue(120, 36);
    desk.keys("p");
    desk.h.type_text("Be kind.");
    desk.keys("enter esc x");
    desk.h.type_text("1 => one");
    desk.keys("enter");
    desk.h.type_text("Now?");
    desk.keys("enter");
    let said = contents(&desk.asked[&desk.job(true)]);
    let want = [
        "system: Be kind.",
        "user: 1",
        "assistant: one",
        "user: Hello",
        "assistant: Hi there.",
        "user: And you?",
        "assistant: Well.",
        "user: Now?",
    ];
    assert_eq!(said, want);
    let screen = desk.screen();
    assert!(screen.contains("system") && screen.contains("Be kind.") && screen.contains("1 => one"), "{screen}");
    // A text that is gone on with has them in front as they stand.
    let mut desk = Desk::new(120, 36);
    desk.keys("esc x");
    desk.h.type_text("sea => mer");
    desk.keys("enter");
    assert!(desk.screen().contains("The cat sat on the"), "what was being written is back: {}", desk.screen());
    desk.keys("enter");
    assert_eq!(desk.asked[&desk.job(true)].prompt, "sea => mer\nThe cat sat on the");
}

#[test]
fn an_earlier_prompt_is_edited_into_a_branch_of_its_own() {
    let mut desk = dialogue(120, 40);
    desk.keys("l h e");
    desk.keys("ctrl-u");
    desk.h.type_text("Good day");
    desk.keys("enter");
    let job = desk.job(true);
    let edited = contents(&desk.asked[&job]);
    assert_eq!(edited.len(), 1, "{edited:?}");
    assert!(edited[0].contains("Good day"), "{edited:?}");
    desk.begin(job);
    desk.say(job, &[" Good day to you."]);
    desk.end(job, "end");
    let screen = desk.screen();
    assert!(screen.contains("Good day to you.") && !screen.contains("And you?") && screen.contains("version 2/2"), "{screen}");
    desk.h.type_text("More");
    desk.keys("enter");
    assert_eq!(contents(&desk.asked[&desk.job(true)])[1..], ["assistant: Good day to you.", "user: More"]);
    let job = desk.job(true);
    desk.begin(job);
    desk.say(job, &[" More."]);
    desk.end(job, "end");
    // The old branch is where it was.
    desk.keys("esc g g k l h [");
    let screen = desk.screen();
    assert!(screen.contains("And you?") && screen.contains("Well.") && !screen.contains("Good day to you."), "{screen}");
}

#[test]
fn two_partners_stand_beside_each_other() {
    let mut desk = dialogue(140, 40);
    desk.keys("b G enter");
    assert!(desk.screen().contains("| ELIZA"), "{}", desk.screen());
    let before = desk.asked.values().filter(|s| s.max_tokens > 0).count();
    desk.h.type_text("I am sad");
    desk.keys("enter");
    let asked: Vec<(u64, String)> =
        desk.asked.iter().filter(|(_, s)| s.max_tokens > 0).skip(before).map(|(job, s)| (*job, s.model.clone())).collect();
    assert_eq!(asked.iter().map(|a| a.1.as_str()).collect::<Vec<_>>(), ["demo", "builtin:eliza"]);
    for ((job, _), text) in asked.iter().zip(["LEFT words", "RIGHT words"]) {
        desk.begin(*job);
        desk.say(*job, &[text]);
        desk.end(*job, "end");
    }
    let screen = desk.screen();
    assert!(screen.lines().any(|l| l.contains("LEFT words") && l.contains("│") && l.contains("RIGHT words")), "{screen}");
    desk.keys("esc b");
    desk.h.type_text("");
    desk.keys("i");
    desk.h.type_text("And?");
    desk.keys("enter");
    let said = contents(&desk.asked[&desk.job(true)]);
    assert_eq!(said[said.len() - 2..], ["assistant: LEFT words", "user: And?"]);
}

#[test]
fn what_is_kept_is_written_in_the_forms_of_the_others() {
    let mut desk = dialogue(120, 36);
    let lines = |desk: &mut Desk, keys: &str| -> Vec<(String, serde_json::Value)> {
        desk.h.keys(keys);
        let out = desk.h.out();
        desk.h.draw();
        let lines = out.into_iter().filter_map(|out| match out {
            Out::Load(Load::Append { path, line }) => Some((path.display().to_string(), serde_json::from_str(&line).unwrap())),
            _ => None,
        });
        lines.collect()
    };
    let liked = lines(&mut desk, "L");
    assert_eq!((liked[0].0.as_str(), &liked[0].1["label"]), ("labels/liked.jsonl", &true.into()));
    assert_eq!((&liked[0].1["prompt"][2]["content"], &liked[0].1["completion"][0]["content"]), (&"And you?".into(), &" Well.".into()));
    let kept = lines(&mut desk, "K");
    assert_eq!(
        (kept[0].0.as_str(), &kept[0].1["question"], &kept[0].1["answer"]),
        ("evals/kept.jsonl", &"And you?".into(), &"Well.".into())
    );
    // Ranking: the answer that is there and three more.
    let before = desk.asked.len();
    desk.keys("r");
    let jobs: Vec<u64> = desk.asked.iter().skip(before).filter(|(_, s)| s.max_tokens > 0).map(|(job, _)| *job).collect();
    assert_eq!(jobs.len(), 3);
    for (i, job) in jobs.iter().enumerate() {
        desk.begin(*job);
        desk.h.report(
            *job,
            Report::Token(Token {
                id: 7,
                bytes: format!(" answer {}", i.min(1)).into_bytes(),
                probability: 0.5,
                alternatives: Vec::new(),
                from_prompt: false,
            }),
        );
        if i + 1 < jobs.len() {
            desk.end(*job, "end");
        } else {
            desk.h.report(*job, Report::finished(false, ""));
        }
    }
    let items = lines(&mut desk, "t");
    assert_eq!(items[0].0, "labels/chat/items.jsonl");
    let item = &items[0].1;
    let contents: Vec<&str> = item["responses"].as_array().unwrap().iter().map(|r| r["content"].as_str().unwrap()).collect();
    assert_eq!(contents, [" Well.", " answer 0", " answer 1"], "equal answers are one");
    assert_eq!((&item["responses"][1]["id"], &item["responses"][1]["ids"]), (&"r2".into(), &serde_json::json!([7])));
    assert_eq!(item["prompt"].as_array().unwrap().len(), 3);
}

#[test]
fn a_saved_conversation_is_opened_again() {
    let mut desk = dialogue(120, 36);
    desk.h.keys("s");
    let saved = desk.h.out().into_iter().find_map(|out| match out {
        Out::Load(Load::Write { path, text }) => Some((path, text)),
        _ => None,
    });
    let (path, text) = saved.unwrap();
    assert!(path.starts_with("chats") && path.extension().unwrap() == "jsonl");
    let mut other = Desk::new(120, 36);
    other.h.keys("esc w");
    other.h.loaded(Loaded::Chats(vec![(path.clone(), text.len() as u64)]));
    assert!(other.screen().contains("saved conversations"), "{}", other.screen());
    other.h.keys("enter");
    let ticket = other.h.out().into_iter().find_map(|out| match out {
        Out::Load(Load::Chat { ticket, .. }) => Some(ticket),
        _ => None,
    });
    other.h.loaded(Loaded::Chat { ticket: ticket.unwrap(), result: Ok(text) });
    other.pump();
    let screen = other.screen();
    assert!(screen.contains("Hello") && screen.contains("Hi there.") && screen.contains("Well."), "{screen}");
    other.keys("i");
    other.h.type_text("On");
    other.keys("enter");
    assert_eq!(contents(&other.asked[&other.job(true)]).len(), 5);
    // A file that is none says so and changes nothing.
    other.h.keys("esc esc w enter");
    let ticket = other.h.out().into_iter().find_map(|out| match out {
        Out::Load(Load::Chat { ticket, .. }) => Some(ticket),
        _ => None,
    });
    if let Some(ticket) = ticket {
        other.h.loaded(Loaded::Chat { ticket, result: Ok("no".into()) });
        assert!(other.screen().contains("line 1"), "{}", other.screen());
    }
}

#[test]
fn reasoning_folds_and_the_rendered_prompt_can_be_looked_at() {
    let mut desk = Desk::new(120, 36);
    desk.keys("esc c i ctrl-c");
    desk.h.type_text("Why?");
    desk.keys("enter");
    let job = desk.job(true);
    desk.begin(job);
    let text = [("prompt_text", "<|im_start|>user\nWhy?<|im_end|>".into()), ("rendering", "the model's own".into())];
    desk.h.report(job, Report::Facts(text.into_iter().map(|(k, v): (&str, serde_json::Value)| (k.to_string(), v)).collect()));
    desk.say(job, &["<think>", "a secret", " thought"]);
    assert!(desk.screen().contains("▸ thinks, 3 tokens") && !desk.screen().contains("secret thought"), "{}", desk.screen());
    desk.say(job, &["</think>", "Because."]);
    desk.end(job, "end");
    assert!(desk.screen().contains("▸ thought for 4 tokens") && desk.screen().contains("Because."), "{}", desk.screen());
    desk.keys("esc T");
    assert!(desk.screen().contains("a secret thought"), "{}", desk.screen());
    desk.keys("v");
    let screen = desk.screen();
    assert!(screen.contains("as the model was given it · the model's own") && screen.contains("<|im_start|>user"), "{screen}");
    desk.keys("esc");
    assert!(!desk.screen().contains("<|im_start|>user"));
}

#[test]
fn a_paste_keeps_its_lines_and_is_not_sent() {
    let mut desk = Desk::new(120, 36);
    desk.keys("ctrl-c");
    let asked = desk.asked.values().filter(|s| s.max_tokens > 0).count();
    desk.h.input(crossterm::event::Event::Paste("one\r\ntwo\u{1b}[0m".into()));
    desk.pump();
    assert_eq!(desk.asked.values().filter(|s| s.max_tokens > 0).count(), asked);
    desk.keys("enter");
    assert_eq!(desk.asked[&desk.job(true)].prompt, "one\ntwo␛[0m");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn no_keys_at_any_size_break_it(
        keys in prop::collection::vec(prop::sample::select(vec![
            "i", "enter", "esc", "tab", "shift-tab", "h", "j", "k", "l", "t", "a", "f", "e", "m", "c", "n", "o", "z", "s", "y", "d", "G",
            "g g", "[", "]", "ctrl-d", "ctrl-u", "ctrl-j", "up", "down", "left", "right", "x", "漢", "ctrl-c", "pageup", "backspace", "?", "b", "p", "v", "w", "r", "L", "D", "K", "M", "T",
        ]), 0..40),
        width in 0u16..130,
        height in 0u16..50,
    ) {
        let mut desk = talk(120, 36);
        desk.keys("esc");
        desk.h.resize(width, height);
        for key in keys {
            desk.keys(key);
            if let Some((&job, spec)) = desk.asked.iter().next_back() && spec.max_tokens > 0 {
                desk.say(job, &[" x", "漢\n"]);
            }
        }
        desk.screen();
    }
}
