//! LLaMA-Factory's `dataset_info.json`: for each file of a directory, which of its columns is what.
//! Deliberately not here: data sets of a hub, which that file names too.

use super::Mapping;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The name of the list, beside the files that it describes.
const NAME: &str = "dataset_info.json";
/// A list of data sets is a few pages; another file may have the name.
const LARGEST: u64 = 16 << 20;

/// A data set of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    /// The file, where the data set is one.
    pub file: Option<PathBuf>,
    pub mapping: Mapping,
}

/// The entries of a list; none where the file is no such list.
pub fn entries(path: &Path) -> Vec<Entry> {
    let small = std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= LARGEST);
    let text = small.then(|| std::fs::read_to_string(path).ok()).flatten().unwrap_or_default();
    let Ok(Value::Object(map)) = serde_json::from_str(&text) else { return Vec::new() };
    let dir = path.parent().unwrap_or(Path::new(""));
    map.iter().filter(|(_, entry)| entry.is_object()).map(|(name, entry)| read(name, entry, dir)).collect()
}

/// What the list beside a file says about it: the data set's name and its mapping.
pub fn beside(path: &Path) -> Option<Entry> {
    let dir = path.parent()?;
    entries(&dir.join(NAME)).into_iter().find(|e| e.file.as_deref() == Some(path))
}

fn read(name: &str, entry: &Value, dir: &Path) -> Entry {
    let file = entry["file_name"].as_str().map(|file| dir.join(file));
    let column = |key: &str| entry["columns"][key].as_str();
    let sharegpt = entry["formatting"] == "sharegpt";
    let ranking = entry["ranking"] == true;
    let kto = column("kto_tag").is_some();
    let shape = match (ranking, kto, sharegpt) {
        (true, ..) => "preference",
        (_, true, _) => "kto",
        (.., true) => {
            if entry["tags"]["role_tag"] == "role" {
                "messages"
            } else {
                "sharegpt"
            }
        }
        _ => "alpaca",
    };
    let mut mapping = Mapping::of(shape);
    let mut put = |slot: &str, field: &str| _ = mapping.fields.insert(slot.into(), field.into());
    let messages = column("messages").unwrap_or("conversations");
    match shape {
        "preference" => {
            put("prompt", if sharegpt { messages } else { column("prompt").unwrap_or("instruction") });
            put("chosen", column("chosen").unwrap_or("chosen"));
            put("rejected", column("rejected").unwrap_or("rejected"));
        }
        "kto" => {
            put("label", column("kto_tag").unwrap_or("label"));
            if sharegpt {
                put("completion", messages);
            } else {
                put("completion", column("response").unwrap_or("output"));
                put("prompt", column("prompt").unwrap_or("instruction"));
            }
        }
        "alpaca" => {
            put("instruction", column("prompt").unwrap_or("instruction"));
            put("input", column("query").unwrap_or("input"));
            put("output", column("response").unwrap_or("output"));
            if let Some(history) = column("history") {
                put("history", history);
            }
        }
        _ => put("messages", messages),
    }
    for slot in ["system", "tools"] {
        if let Some(field) = column(slot).filter(|_| mapping.shape().slots.iter().any(|s| s.name == slot)) {
            mapping.fields.insert(slot.into(), field.into());
        }
    }
    let tags = [
        ("role", "role_tag"),
        ("content", "content_tag"),
        ("user", "user_tag"),
        ("assistant", "assistant_tag"),
        ("system_role", "system_tag"),
        ("observation", "observation_tag"),
        ("function", "function_tag"),
    ];
    for (tag, key) in tags {
        if let Some(name) = entry["tags"][key].as_str() {
            mapping.tags.insert(tag.into(), name.into());
        }
    }
    Entry { name: name.into(), file, mapping }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_say_which_column_is_what() {
        let dir = tempfile::tempdir().unwrap();
        let list = r#"{"a": {"file_name": "a.json"},
            "k": {"file_name": "k.json", "formatting": "sharegpt", "columns": {"messages": "talk", "kto_tag": "good"},
                  "tags": {"role_tag": "who", "user_tag": "U"}},
            "p": {"hf_hub_url": "x/y", "ranking": true, "columns": {"prompt": "question", "chosen": "c", "rejected": "r"}},
            "s": {"file_name": "s.json", "formatting": "sharegpt", "columns": {"tools": "tools"}}}"#;
        std::fs::write(dir.path().join(NAME), list).unwrap();
        let found = beside(&dir.path().join("k.json")).unwrap();
        assert_eq!((found.name.as_str(), found.mapping.to_string().as_str()), ("k", "kto completion=talk label=good role=who user=U"));
        let all = entries(&dir.path().join(NAME));
        let shapes: Vec<String> = all.iter().map(|e| e.mapping.to_string()).collect();
        assert_eq!(shapes[0], "alpaca input=input instruction=instruction output=output");
        assert_eq!(shapes[2], "preference chosen=c prompt=question rejected=r");
        assert_eq!(shapes[3], "sharegpt messages=conversations tools=tools");
        assert!(beside(&dir.path().join("other.json")).is_none() && beside(Path::new("/none/a.json")).is_none());
    }
}
