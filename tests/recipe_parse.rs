//! Recipes read, refused with the place of the mistake, set from the command line, and written back.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail loudly too, as the tests do.

use std::path::Path;

use weightroom::recipe::{KNOBS, Knob, Range, Recipe, SECTIONS, validate};

fn error(text: &str) -> String {
    Recipe::parse(text, "r.toml", &[]).unwrap_err().to_string()
}

#[test]
fn knobs_struct_and_defaults_agree() {
    let defaults = toml::Table::try_from(Recipe::default()).unwrap();
    let mut named = Vec::new();
    for (key, value) in &defaults {
        match value {
            toml::Value::Table(section) => named.extend(section.iter().map(|(k, v)| (format!("{key}.{k}"), v.clone()))),
            value => named.push((key.clone(), value.clone())),
        }
    }
    for (name, value) in &named {
        let knob = KNOBS.iter().find(|k| k.name == name).unwrap_or_else(|| panic!("{name} has no knob"));
        let written: toml::Table = format!("x = {}", knob.default).parse().unwrap();
        assert_eq!(&written["x"], value, "default of {name}");
    }
    for knob in KNOBS {
        assert!(SECTIONS.contains(&knob.section()), "{}", knob.name);
        assert!(!knob.help.is_empty());
        assert_eq!(KNOBS.iter().filter(|k| k.name == knob.name).count(), 1, "{} stands twice", knob.name);
        assert_eq!(knob.optional(), !named.iter().any(|(n, _)| n == knob.name), "{}", knob.name);
        // A key that may be absent is a field too: setting it changes the recipe.
        if knob.optional() {
            let value = match &knob.range {
                Range::Int { min, .. } => min.to_string(),
                Range::Float { min, .. } => min.to_string(),
                Range::Bool => "true".into(),
                _ => "something".into(),
            };
            let mut recipe = Recipe::default();
            recipe.set(knob.name, &value, Path::new("/w"), &[]).unwrap();
            assert_ne!(recipe, Recipe::default(), "{} is not a field", knob.name);
            recipe.set(knob.name, "", Path::new("/w"), &[]).unwrap();
            assert_eq!(recipe, Recipe::default());
        }
    }
}

#[test]
fn an_empty_recipe_is_the_default_and_writing_reads_back_equal() {
    assert_eq!(Recipe::parse("", "r.toml", &[]).unwrap(), Recipe::default());
    let text = "seed = 7\n[model]\nfamily = \"gpt2\"\nwidth = 96\ntied = false\n[data]\ntrain = \"a \\\"b\\\".txt\"\n[optim]\nlr = 1\n\
                min_lr = 1e-7\nbetas = [0, 0.95]\n[eval]\nprompts = [\"The\", \"\\u001b[31m\"]\n";
    let recipe = Recipe::parse(text, "r.toml", &[]).unwrap();
    assert_eq!((recipe.optim.lr, recipe.optim.betas, recipe.model.tied), (1.0, [0.0, 0.95], Some(false)));
    assert_eq!(recipe.data.train, ["a \"b\".txt"]);
    let written = recipe.to_toml();
    assert_eq!(Recipe::parse(&written, "w.toml", &[]).unwrap(), recipe, "{written}");
    assert!(written.contains("eps = 1e-8\n") && written.contains("# kv_heads is absent\n"), "{written}");
    assert_eq!(Recipe::parse(&written, "w.toml", &[]).unwrap().to_toml(), written);
}

#[test]
fn mistakes_name_file_line_key_and_remedy() {
    assert_eq!(error("seed = 1\n[optim]\nlearnin_rate = 1\n"), "r.toml:3: optim.learnin_rate: no such key; nearest valid: optim.lr");
    assert_eq!(error("[optim]\nlearning_rate = 1\n"), "r.toml:2: optim.learning_rate: no such key; nearest valid: optim.lr");
    assert_eq!(error("[model]\nlayes = 1\n"), "r.toml:2: model.layes: no such key; nearest valid: model.layers");
    assert_eq!(error("[model]\nlr = 1\n"), "r.toml:2: model.lr: no such key; nearest valid: optim.lr");
    assert_eq!(error("steps = 10\n"), "r.toml:1: steps: no such key; nearest valid: optim.steps");
    assert!(error("\n[optimizer]\nlr = 1\n").starts_with("r.toml:2: optimizer: no such section; nearest valid: [optim];"));
    assert_eq!(error("[optim]\n\nlr = 1000.0\n"), "r.toml:3: optim.lr: 1000.0 is out of range; it must be a number from 0 to 100");
    assert_eq!(error("[optim]\nlr = nan\n"), "r.toml:2: optim.lr: nan is out of range; it must be a number from 0 to 100");
    assert_eq!(
        error("[optim]\nsteps = \"ten\"\n"),
        "r.toml:2: optim.steps: \"ten\" is a text; it must be a whole number from 1 to 1000000000000"
    );
    assert_eq!(
        error("[model]\nfamily = \"lama\"\n"),
        "r.toml:2: model.family: \"lama\" is not known; nearest valid: \"llama\"; it must be one of llama, qwen3, gpt2, mistral, mixtral, qwen2, qwen3_moe, gemma, gemma2, gemma3_text, phi, phi3, gpt_neox, olmo2, smollm3, stablelm, starcoder2"
    );
    assert!(error("[optim]\nbetas = [0.9]\n").contains("r.toml:2: optim.betas: [0.9] is a list; it must be 2 numbers from 0 to 0.999999"));
    assert_eq!(error("optim = 3\n"), "r.toml:1: optim: is a section; write [optim] and its keys below");
    assert!(error("seed = 1\nmodel = [\n").starts_with("r.toml:"), "{}", error("seed = 1\nmodel = [\n"));
}

#[test]
fn what_stands_twice_is_named_with_both_places() {
    assert_eq!(error("seed = 1\nseed = 2\n"), "r.toml:2: seed: is set twice, the first time in line 1; keep one of the two");
    assert_eq!(
        error("[optim]\nlr = 1\n# again\n lr= 3 # twice\n"),
        "r.toml:4: optim.lr: is set twice, the first time in line 2; keep one of the two"
    );
    assert_eq!(
        error("# r\n[optim]\nlr = 1\n[model]\nwidth = 128\n[ optim ]\nsteps = 3\n"),
        "r.toml:6: optim: the section begins twice, the first time in line 2; put all of its keys below one [optim]"
    );
    // A dotted key opens the section that a header would open again.
    let dotted = error("optim.lr = 1\n[optim]\nsteps = 3\n");
    assert!(dotted.starts_with("r.toml:2: optim: the section begins twice, the first time in line 1; "), "{dotted}");
    assert_eq!(error("optim.lr = 1\noptim.lr = 2\n"), "r.toml:2: optim.lr: is set twice, the first time in line 1; keep one of the two");
    assert_eq!(error("optim.lr = 1\noptim = 2\n"), "r.toml:2: optim: is set twice, the first time in line 1; keep one of the two");
    assert_eq!(error("[optim]\nlr = {a = 1, a = 2}\n"), "r.toml:2: optim.lr: holds one name twice; keep one of the two");
    // In the middle of a list that goes over lines, too, and with control characters in a quoted name.
    assert!(
        error("[data]\ntrain = [\n\"a\",\n\"b\"]\ntrain = []\n")
            .starts_with("r.toml:5: data.train: is set twice, the first time in line 2")
    );
    let control = error("\"a\\u001b\" = 1\n\"a\\u001b\" = 2\n");
    assert!(control.starts_with("r.toml:2: a␛: is set twice"), "{control}");
}

#[test]
fn combinations_are_checked_where_the_key_stands() {
    assert_eq!(error("[model]\nheads = 5\nwidth = 128\n"), "r.toml:2: model.heads: 5 does not divide model.width = 128; use 4 or 8");
    assert_eq!(error("[model]\nwidth = 126\n"), "r.toml:1: model.heads: 4 does not divide model.width = 126; use 3 or 6");
    assert_eq!(error("[model]\nkv_heads = 3\n"), "r.toml:2: model.kv_heads: 3 does not divide model.heads = 4; use 2 or 4");
    assert!(error("[model]\nhead_dim = 7\n").contains("r.toml:2: model.head_dim: gives heads of 7 numbers"));
    assert!(error("[model]\nfamily = \"gpt2\"\nkv_heads = 2\n").contains("r.toml:3: model.kv_heads: gpt2 has no grouped"));
    assert!(error("[tokenizer]\nkind = \"bpe\"\nvocab = 100\n").contains("r.toml:3: tokenizer.vocab: 100 is too small"));
    assert!(error("[optim]\nmin_lr = 0.5\n").contains("r.toml:2: optim.min_lr: 0.5 is above optim.lr = 0.001"));
    assert!(error("[data]\nval_fraction = 0\n").contains("r.toml:2: data.val_fraction"));
    assert!(Recipe::parse("[model]\ninit = \"base\"\nheads = 5\n", "r.toml", &[]).is_ok(), "the shape is then the model's own");
}

#[test]
fn every_mistake_is_listed_for_a_form() {
    let problems = validate("[optim]\nlr = -1.0\nstep = 3\n[model]\nheads = 3\n", &[]);
    let places: Vec<_> = problems.iter().map(|p| (p.key.as_str(), p.line)).collect();
    assert_eq!(places, [("optim.lr", Some(2)), ("optim.step", Some(3)), ("model.heads", Some(5))]);
    assert!(validate("seed = 3\n", &[]).is_empty());
}

#[test]
fn set_takes_bare_words_and_paths_from_the_current_directory() {
    let mut recipe = Recipe::default();
    let cwd = Path::new("/w/here");
    let mut set = |key: &str, value: &str| recipe.set(key, value, cwd, &[]).map_err(|e| e.to_string());
    set("optim.lr", "3e-4").unwrap();
    set("seed", "1_000").unwrap();
    set("optim.betas", "0.8,0.9").unwrap();
    set("model.family", "gpt2").unwrap();
    set("data.train", "../a.txt,./b.txt").unwrap();
    set("data.val", "[\"c.txt\", \"/d.txt\", \"sample:stories\"]").unwrap();
    set("eval.prompts", "Well, then").unwrap();
    assert_eq!(set("optim.lr", "fast").unwrap_err(), "--set optim.lr=fast: \"fast\" is not a number from 0 to 100");
    assert_eq!(set("optim.lrr", "1").unwrap_err(), "--set optim.lrr=1: no such key; nearest valid: optim.lr");
    assert_eq!(set("optim.lr", "-1").unwrap_err(), "--set optim.lr=-1: -1.0 is out of range; it must be a number from 0 to 100");
    assert!(set("a\u{1b}b", "1").unwrap_err().starts_with("--set a␛b=1"));
    assert_eq!((recipe.optim.lr, recipe.seed, recipe.optim.betas), (3e-4, 1000, [0.8, 0.9]));
    assert_eq!(recipe.data.train, ["/w/here/../a.txt", "/w/here/b.txt"]);
    assert_eq!(recipe.data.val, ["/w/here/c.txt", "/d.txt", "sample:stories"]);
    assert_eq!((recipe.eval.prompts.clone(), recipe.model.family.as_str()), (vec!["Well, then".to_string()], "gpt2"));
}

#[test]
fn an_objective_brings_keys_of_its_own() {
    const OWN: &[Knob] = &[Knob { name: "objective.beta", help: "b", range: Range::Float { min: 0.0, max: 1.0 }, default: "0.1" }];
    let recipe = Recipe::parse("[objective]\nkind = \"dpo\"\nbeta = 0.5\n", "r.toml", OWN).unwrap();
    assert_eq!(recipe.objective.rest["beta"].as_float(), Some(0.5));
    assert_eq!(Recipe::parse(&recipe.to_toml(), "w.toml", OWN).unwrap(), recipe);
    assert!(Recipe::parse("[objective]\nbeta = 0.5\n", "r.toml", &[]).is_err());
    let mut recipe = recipe;
    recipe.set("objective.beta", "0.25", Path::new("/"), OWN).unwrap();
    assert_eq!(recipe.objective.rest["beta"].as_float(), Some(0.25));
}
