//! Chat templates of twenty vendors against what transformers renders, and templates that a fuzzer writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use weightroom::data::template::{Conversation, Found, Moment, Template, Then};
use weightroom::data::tokenizer::Tokenizer;
use weightroom::report::Silent;
use weightroom::rng::Stream;
use weightroom::spec::Chat;

fn assets() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/assets/templates");
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(std::env::var_os("CI").is_none(), "no assets at {}", dir.display());
    eprintln!("left out: no assets at {}", dir.display());
    None
}

/// Friday, 26 July 2024, noon: when the expected texts were rendered.
fn then() -> Moment {
    Moment::utc(1_721_995_200)
}

fn chat(given: &Value, extra: &Map<String, Value>) -> (Chat, Then) {
    let messages = serde_json::from_value(given["messages"].clone()).unwrap();
    let mut more = extra.clone();
    for (key, value) in given.as_object().unwrap() {
        if !["messages", "tools", "add_generation_prompt"].contains(&key.as_str()) {
            more.insert(key.clone(), value.clone());
        }
    }
    let tools = given["tools"].as_array().cloned().unwrap_or_default();
    let answer = given["add_generation_prompt"] == true;
    (Chat { messages, tools, more, ..Chat::default() }, if answer { Then::Answer } else { Then::Nothing })
}

#[test]
fn vendors_templates_render_as_transformers_renders_them() {
    let Some(dir) = assets() else { return };
    let all: Value = serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
    let mut extra = all["extra_context"].as_object().unwrap().clone();
    extra.remove("strftime_now");
    let (mut equal, mut others, mut wrong, mut differ) = (0, 0, Vec::new(), Vec::new());
    for (name, cases) in all["expected"].as_object().unwrap() {
        let source = std::fs::read_to_string(dir.join(name)).unwrap();
        let template = Template::new(name, &source, Map::new());
        for (case, expected) in cases.as_object().unwrap() {
            let (chat, then_what) = chat(&all["conversations"][case], &extra);
            let got = template.render(&chat, then_what, then()).map_err(|e| e.to_string());
            let same = match (&expected["ok"], &got) {
                (Value::String(want), Ok(got)) => want == got,
                (Value::Null, Err(_)) => true,
                _ => false,
            };
            let agreed = expected["agree_hf_jinja_js"] == true;
            let line = || format!("{name} {case}: {} but {}", expected, got.clone().map_or_else(|e| e, |t| format!("{t:?}")));
            match (same, agreed) {
                (true, true) => equal += 1,
                (true, false) => others += 1,
                (false, true) => wrong.push(line()),
                (false, false) => differ.push(line()),
            }
        }
    }
    println!(
        "{equal} of the cases where two renderers agree are equal; of the others {others} are as transformers', {} are not:",
        differ.len()
    );
    differ.iter().for_each(|d| println!("  {d}"));
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(equal, 202);
    // Where only transformers fails or escapes: Python's generators are no JSON, and a text that was marked safe escapes what is
    // put behind it.
    let known =
        ["llama-cpp-deepseek-r1.jinja tools_def", "llama-cpp-deepseek-r1.jinja tool_roundtrip", "functionary-medium-v3.1.jinja tools_def"];
    assert!(differ.len() == known.len() && differ.iter().zip(known).all(|(line, known)| line.contains(known)), "{differ:?}");
}

/// Assistant spans of vendors' templates: each answer is found, whatever the template does to it.
#[test]
fn answers_are_found_in_vendors_templates() {
    let Some(dir) = assets() else { return };
    let messages = [("user", "1+1?"), ("assistant", "It is two."), ("user", "and 2+2?"), ("assistant", "That is four.")];
    let chat = Chat::of(messages);
    let mut tried = 0;
    for entry in std::fs::read_dir(dir.join("vendor")).unwrap() {
        let path = entry.unwrap().path();
        let mut tokens = Map::new();
        tokens.insert("bos_token".into(), "<BOS>".into());
        tokens.insert("eos_token".into(), "<EOS>".into());
        let template = Template::new("vendor", &std::fs::read_to_string(&path).unwrap(), tokens);
        let Ok(found) = template.segments(&chat, then()) else { continue };
        let said: Vec<&str> = found.spans.iter().map(|s| &found.text[s.start..s.end]).collect();
        assert_eq!(said.len(), 2, "{}: {said:?}", path.display());
        assert!(said[0].contains("It is two.") && said[1].contains("That is four."), "{}: {said:?}", path.display());
        assert!(!said[0].contains("2+2") && !said[1].contains("1+1"), "{}: {said:?}", path.display());
        tried += 1;
    }
    assert!(tried >= 17, "{tried}");
}

/// Pieces that templates are made of, put together at random: whatever comes of it, it ends, in little memory.
#[test]
fn made_up_templates_come_to_an_end() {
    const PIECES: &[&str] = &[
        "{% for m in messages %}",
        "{% for i in range(100000) %}",
        "{% endfor %}",
        "{% if m.role == 'user' %}",
        "{% else %}",
        "{% endif %}",
        "{% macro f(x) %}",
        "{% endmacro %}",
        "{{ f(f) }}",
        "{{ f('x' * 99) }}",
        "{% set x = x ~ x ~ 'xx' %}",
        "{% set ns = namespace(v='v') %}",
        "{% set ns.v = ns.v ~ ns.v %}",
        "{{ ns.v }}",
        "{{ m.content }}",
        "{{ messages | tojson(indent=4) }}",
        "{% generation %}",
        "{% endgeneration %}",
        "{%- generation -%}",
        "{% raw %}",
        "{% endraw %}",
        "{#",
        "#}",
        "{{",
        "}}",
        "{%",
        "%}",
        "'",
        "\\",
        "-",
        "\n",
        " ",
        "{% call f(1) %}",
        "{% endcall %}",
        "{% filter upper %}",
        "{% endfilter %}",
        "{% break %}",
        "{% continue %}",
        "{% set y %}",
        "{% endset %}",
        "{{ messages[::-1] }}",
        "{{ loop(messages) }}",
        "{% for m in messages recursive %}",
        "{{ raise_exception('no') }}",
        "{{ [x] * 99999 }}",
        "{{ strftime_now('%d %Q') }}",
        "{{ 9 ** 99 }}",
        "{{ 1 // 0 }}",
        "{{ x.y.z }}",
        "{{ 'a'.join(messages) }}",
        "é😀\u{fdd0}0\u{fdd1}",
        "{{ self }}",
        "{{ x | map('upper') | list }}",
        "{{ messages | sort(attribute='role') }}",
        "{{ '%s' | format(x) }}",
        "{{ 'a'.replace('', x) }}",
    ];
    let seconds: u64 = std::env::var("WEIGHTROOM_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    let until = Instant::now() + Duration::from_secs(seconds);
    let chat = Chat::of([("user", "hi"), ("assistant", "ho")]);
    let mut random = Stream::new(7, "templates");
    let (mut tried, mut rendered, mut slowest) = (0u64, 0u64, Duration::ZERO);
    while Instant::now() < until {
        let source: String = (0..1 + random.below(14)).map(|_| PIECES[random.below(PIECES.len() as u64) as usize]).collect();
        let begun = Instant::now();
        let template = Template::new("fuzz", &source, Map::new());
        let found = template.segments(&chat, Moment::default());
        if let Ok(found) = found {
            assert!(found.text.len() < 64 << 20);
            assert!(found.spans.iter().all(|s| s.start <= s.end && found.text.get(s.start..s.end).is_some()));
            rendered += 1;
        }
        slowest = slowest.max(begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(60), "{source}");
        tried += 1;
    }
    println!("{tried} templates, {rendered} of them rendered, the slowest in {slowest:?}");
    assert!(rendered > 0);
}

fn said(turns: &[(&str, &str)]) -> Chat {
    Chat::of(turns.iter().copied())
}

fn given(source: &str, chat: &Chat, then: Then) -> Result<String, String> {
    Template::new("test", source, Map::new()).render(chat, then, Moment::utc(1_721_995_200)).map_err(|e| e.to_string())
}

fn shown(source: &str) -> String {
    let mut chat = said(&[("user", "hé \"q\" <b>")]);
    chat.more.insert("x".into(), json!({"b": [1, 2.0, 1e16, null, true], "a": {}, "ü": "é\u{1f600}\n"}));
    given(source, &chat, Then::Nothing).unwrap_or_else(|e| format!("ERROR {e}"))
}

#[test]
fn json_is_written_as_python_writes_it() {
    // json.dumps(x, …) of CPython 3.12.
    assert_eq!(shown("{{ x | tojson }}"), r#"{"b": [1, 2.0, 1e+16, null, true], "a": {}, "ü": "é😀\n"}"#);
    assert_eq!(shown("{{ x.b | tojson(indent=2) }}"), "[\n  1,\n  2.0,\n  1e+16,\n  null,\n  true\n]");
    assert_eq!(shown("{{ x['ü'] | tojson(ensure_ascii=true) }}"), r#""\u00e9\ud83d\ude00\n""#);
    assert_eq!(shown("{{ x | tojson(separators=(',', ':'), sort_keys=true) }}"), r#"{"a":{},"b":[1,2.0,1e+16,null,true],"ü":"é😀\n"}"#);
    assert_eq!(shown("{{ messages | tojson }}"), r#"[{"role": "user", "content": "hé \"q\" <b>"}]"#);
    assert!(shown("{{ nothing | tojson }}").contains("Object of type Undefined is not JSON serializable"));
    assert!(shown("{{ x | tojson(indnt=2) }}").starts_with("ERROR"));
}

#[test]
fn blocks_are_trimmed_and_functions_are_there() {
    assert_eq!(shown("a\n  {% if true %}\n b\n  {% endif %}\nc"), "a\n b\nc");
    assert_eq!(
        shown("{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}"),
        "013"
    );
    assert_eq!(shown("{{ strftime_now('%d %b %Y') }}"), "26 Jul 2024");
    assert_eq!(shown("{{ [true, none, 'a'] }} {{ true }} {{ none }}"), "[True, None, 'a'] True None");
    assert_eq!(
        shown("{{ '<think>a</think>b'.split('</think>')[-1] }}{{ ' x '.strip() }}{{ 'abc'.removeprefix('a').partition('c')[0] }}"),
        "bxb"
    );
    assert_eq!(
        shown("{{ 'a-b-c'.rsplit('-', 1)[0] }}{{ messages[::-1][0].role }}{{ messages[0].get('name', 'nobody') }}"),
        "a-busernobody"
    );
    assert_eq!(shown("{{ tools is none }}{{ documents is none }}{{ missing is defined }}"), "TrueTrueFalse");
    assert!(shown("\n{{ raise_exception('only ' ~ messages[0].role) }}").ends_with("line 2: only user"));
    assert!(shown("{{ messages[3].role }}").starts_with("ERROR"));
    assert_eq!(
        shown("{% set a = 'x' if true else '=' -%}  {{ a }}{% set a, b = 1, 2 %}{{ a + b }}{% set c %}q=1{% endset %}{{ c }}"),
        "x3q=1"
    );
    assert_eq!(
        shown("{% set ns = namespace(l=[]) %}{% for i in range(3) %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l | tojson }}"),
        "[0, 1, 2]"
    );
    assert_eq!(shown("{% macro f(a, b='%}', c=[1, 2]) %}{{ a ~ b ~ c[1] }}{% endmacro %}{{ f('x') }}{{ f(1, b=2) }}"), "x%}2122");
    assert_eq!(shown("{% raw %}{% generation %}{% endraw %}{# {% generation %} #}x"), "{% generation %}x");
}

#[test]
fn a_template_that_means_no_good_comes_to_an_end() {
    for source in [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(10000) %}{{ 'x' * 10000 }}{% endfor %}",
        "{% set ns = namespace(x='x') %}{% for a in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(l=[1]) %}{% for a in range(100) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}",
        "{% set ns = namespace(l=[1]) %}{% for a in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l }}",
        "{% macro f(l) %}{{ f(l + l) }}{% endmacro %}{{ f([1]) }}",
        "{% macro f(a, l=[1, 'x,y'], b=2) %}{{ f(a, l + l) }}{% endmacro %}{{ f(0) }}",
        "{% set l = [1] %}{% set m = l + l %}{% for a in range(99) %}{% set l = m + l %}{% endfor %}{{ l }}",
        "{{ 'x'.replace('', 'y' * 100000) * 1000 }}",
        "{% include 'chat' %}",
        "{% for a in messages recursive %}{{ loop([a]) }}{% endfor %}",
        "{{ range(10 ** 18) | list }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ 'a'.join(range(100000)) * 100000 }}",
        "{{ {} | tojson(indent=999999999) }}{{ [[[[[[1]]]]]] | tojson(indent='x' * 1000000) }}",
    ] {
        let error = given(source, &said(&[("user", "hi")]), Then::Nothing).map(|t| t.len());
        assert!(error.is_err() || error.as_ref().is_ok_and(|n| *n < 8 << 20), "{source}: {error:?}");
    }
    let doubled = "{% set l = l + l %}".repeat(60);
    assert!(given(&format!("{{% set l = [1] %}}{doubled}"), &said(&[]), Then::Nothing).unwrap_err().contains("a list of"));
    assert!(given(&format!("{{{{ [1]{} }}}}", " + [1]".repeat(5000)), &said(&[]), Then::Nothing).unwrap_err().contains("additions"));
    let deep = "(".repeat(100_000);
    assert!(given(&format!("{{{{ {deep} }}}}"), &said(&[]), Then::Nothing).is_err());
    assert!(given(&"{% if 1 %}".repeat(50_000), &said(&[]), Then::Nothing).is_err());
    assert!(given(&"x".repeat((256 << 10) + 1), &said(&[]), Then::Nothing).is_err());
}

const TURNS: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}[/{{ m.role }}]\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

#[test]
fn an_answer_is_gone_on_with_where_it_stands() {
    let begun = said(&[("user", "hi"), ("assistant", "Well, I ")]);
    assert_eq!(given(TURNS, &begun, Then::Continue).unwrap(), "[user]hi[/user]\n[assistant]Well, I");
    assert_eq!(given("{% for m in messages %}{{ m.content }}|{% endfor %}", &begun, Then::Continue).unwrap(), "hi|Well, I ");
    assert!(given("{{ messages[0].content }}", &begun, Then::Continue).unwrap_err().contains("cannot be gone on with"));
}

fn spans(source: &str, chat: &Chat) -> (Vec<String>, Found, usize) {
    let found = Template::new("t", source, Map::new()).segments(chat, Moment::default()).unwrap();
    (found.spans.iter().map(|s| found.text[s.start..s.end].to_owned()).collect(), found.found, found.warnings.len())
}

#[test]
fn the_assistants_part_is_known_marked_rendered_or_searched() {
    let talk = said(&[("user", "a"), ("assistant", "b"), ("user", "b"), ("assistant", "b c ")]);
    assert_eq!(spans(TURNS, &talk), (vec!["b[/assistant]\n".into(), "b c[/assistant]\n".into()], Found::Rendered, 0));
    let marked = "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{%- generation -%}  {{ m.content }};{%- endgeneration %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}";
    assert_eq!(spans(marked, &talk), (vec!["b;".into(), "b c ;".into()], Found::Marked, 0));
    // Reasoning is left out of an answer once another follows, and an opened answer begins otherwise than a given one.
    let thinking = "{% for m in messages %}<|{{ m.role }}|>{% if loop.last %}{{ m.content }}{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|><think>{% endif %}";
    let thought = said(&[("user", "a"), ("assistant", "<think>x</think>y"), ("user", "b"), ("assistant", "z")]);
    let (texts, found, warnings) = spans(thinking, &thought);
    assert_eq!((texts, found, warnings), (vec!["y<|end|>".into(), "z<|end|>".into()], Found::Searched, 2));
}

#[test]
fn the_built_in_ones_fit_the_vocabulary() {
    let tokenizer = |names: &[&str]| {
        let wish = weightroom::data::fresh::Wish::new("byte", 0, names);
        Tokenizer::make(&wish, &[], &Silent).unwrap()
    };
    let talk = said(&[("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]);
    let text = |names: &[&str], chat: &Chat, then| {
        let template = Template::of(&tokenizer(names));
        (template.render(chat, then, Moment::default()).unwrap(), template.name().to_owned())
    };
    let (lines, name) = text(&[], &talk, Then::Answer);
    assert_eq!((lines.as_str(), name.as_str()), ("system: Be kind.\nuser: Hi\nassistant: Hello\nuser: Bye\nassistant:", "lines, built in"));
    let begun = said(&[("user", "Hi"), ("assistant", "Hel")]);
    assert_eq!(text(&[], &begun, Then::Continue).0, "user: Hi\nassistant: Hel");
    assert_eq!(text(&[], &said(&[("user", "Hi"), ("assistant", " Hel")]), Then::Continue).0, "user: Hi\nassistant: Hel");
    assert_eq!(
        text(&["<|im_start|>", "<|im_end|>"], &said(&[("user", "Hi")]), Then::Answer).0,
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        text(&["<|user|>", "<|assistant|>", "<|end|>"], &begun, Then::Nothing).0,
        "<|user|>\nHi<|end|>\n<|assistant|>\nHel<|end|>\n"
    );
    let chatml = tokenizer(&["<|im_start|>", "<|im_end|>"]);
    let template = Template::of(&chatml);
    assert_eq!(template.ends(&chatml), [chatml.token_id("<|im_end|>").unwrap()]);
    assert!(Template::taught(&chatml) && !Template::taught(&tokenizer(&[])));
    let (spans, how) = (template.segments(&begun, Moment::default()).unwrap().spans, Found::Marked);
    assert_eq!((spans.len(), template.segments(&begun, Moment::default()).unwrap().found), (1, how));
}

#[test]
fn a_conversation_becomes_tokens_of_which_the_answers_are_targets() {
    let wish = weightroom::data::fresh::Wish::new("byte", 0, &["<|im_start|>", "<|im_end|>"]);
    let tokenizer = Tokenizer::make(&wish, &[], &Silent).unwrap();
    let template = Template::of(&tokenizer);
    let talk = said(&[("user", "é"), ("assistant", "ab"), ("user", "?"), ("assistant", "c")]);
    let learn =
        |weights: &[Option<f64>], context| template.conversation(&talk, weights, &tokenizer, None, context, 5, Moment::default()).unwrap();
    let all = learn(&[], 1000);
    let targets = |c: &Conversation| {
        let kept = c.sequence.ids.iter().zip(&c.sequence.weights).filter(|(_, w)| **w > 0.0);
        kept.map(|(id, w)| (String::from_utf8_lossy(&tokenizer.token_bytes(*id)).into_owned(), *w)).collect::<Vec<_>>()
    };
    let want = |items: &[(&str, f32)]| items.iter().map(|(t, w)| ((*t).to_owned(), *w)).collect::<Vec<_>>();
    assert_eq!(targets(&all), want(&[("a", 1.0), ("b", 1.0), ("<|im_end|>", 1.0), ("c", 1.0), ("<|im_end|>", 1.0)]));
    assert!(all.learns_end && all.cut == 0 && all.warnings.is_empty() && all.sequence.row == 5);
    assert_eq!(tokenizer.decode(&all.sequence.ids, false), all.text);
    // What generation is asked with is what stands before the answer.
    let prompt = template.prompt(&said(&[("user", "é")]), &tokenizer, Moment::default()).unwrap();
    assert!(all.sequence.ids.starts_with(&prompt.ids) && prompt.ends == [tokenizer.token_id("<|im_end|>").unwrap()]);
    let weighted = learn(&[None, Some(0.0), None, Some(0.5)], 1000);
    assert_eq!(targets(&weighted), want(&[("c", 0.5), ("<|im_end|>", 0.5)]));
    let cut = learn(&[], prompt.ids.len() + 1);
    assert_eq!((targets(&cut), cut.learns_end, cut.cut_targets), (want(&[("a", 1.0), ("b", 1.0)]), false, 3));
}
