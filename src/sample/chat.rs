//! Chats as text: the built-in renderings for models that bring no template of their own.
//! Deliberately not here: vendors' Jinja templates, which a model directory brings with it.

use crate::data::tokenizer::Tokenizer;
use crate::spec::Message;

/// A chat turned into a prompt that the model goes on with as the assistant.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    pub text: String,
    /// The rendering's name, as `Facts` say it.
    pub name: &'static str,
    /// Tokens that end the assistant's turn.
    pub ends: Vec<u32>,
    /// Texts that end it, where there are no such tokens.
    pub stops: Vec<String>,
}

/// How turns are marked. `{role}` stands for the role's name.
#[derive(Clone, Copy, Debug)]
struct Style {
    name: &'static str,
    /// All of these must be tokens of the vocabulary; none where any vocabulary will do.
    needs: &'static [&'static str],
    open: &'static str,
    close: &'static str,
    /// Tokens that end a turn, if the vocabulary has them.
    ends: &'static [&'static str],
    stops: &'static [&'static str],
}

/// Tried in order; the last fits every vocabulary.
const STYLES: &[Style] = &[
    Style {
        name: "chatml",
        needs: &["<|im_start|>", "<|im_end|>"],
        open: "<|im_start|>{role}\n",
        close: "<|im_end|>\n",
        ends: &["<|im_end|>", "<|im_start|>"],
        stops: &[],
    },
    Style {
        name: "roles",
        needs: &["<|user|>", "<|assistant|>"],
        open: "<|{role}|>\n",
        close: "<|end|>\n",
        ends: &["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"],
        stops: &[],
    },
    Style { name: "lines", needs: &[], open: "{role}: ", close: "\n", ends: &[], stops: &["\nuser:", "\nassistant:", "\nsystem:", "\n\n"] },
];

/// Whether the vocabulary has tokens of its own for the turns of a chat, so that the model may have been taught one.
pub fn knows_turns(tokenizer: &Tokenizer) -> bool {
    !style(tokenizer).needs.is_empty()
}

/// Renders `messages` and opens the assistant's turn; a last message of the assistant is left open to go on with.
pub fn render(messages: &[Message], tokenizer: &Tokenizer) -> Rendered {
    let style = style(tokenizer);
    Rendered {
        text: text(&style, messages),
        name: style.name,
        ends: style.ends.iter().filter_map(|t| tokenizer.token_id(t)).collect(),
        stops: style.stops.iter().map(|s| s.to_string()).collect(),
    }
}

fn style(tokenizer: &Tokenizer) -> Style {
    let fits = |style: &&Style| style.needs.iter().all(|t| tokenizer.token_id(t).is_some());
    STYLES.iter().find(fits).copied().unwrap_or(STYLES[STYLES.len() - 1])
}

fn text(style: &Style, messages: &[Message]) -> String {
    let (begun, said) = match messages.split_last() {
        Some((last, before)) if last.role == "assistant" => (last.content.as_str(), before),
        _ => ("", messages),
    };
    let mut out = String::new();
    for message in said {
        out.push_str(&style.open.replace("{role}", &message.role));
        out.push_str(&message.content);
        out.push_str(style.close);
    }
    let open = style.open.replace("{role}", "assistant");
    // A blank at the end of a prompt would be a token of its own, where the answer's first word brings one with it.
    out.push_str(open.trim_end_matches(' '));
    if !begun.is_empty() {
        let blank = if open.ends_with(' ') && !begun.starts_with(' ') { " " } else { "" };
        out.push_str(blank);
        out.push_str(begun);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    #[test]
    fn turns_are_marked_and_the_assistants_is_left_open() {
        let chat = [say("system", "Be kind."), say("user", "Hi"), say("assistant", "Hello"), say("user", "Bye")];
        assert_eq!(text(&STYLES[0], &chat[1..2]), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
        assert_eq!(text(&STYLES[2], &chat), "system: Be kind.\nuser: Hi\nassistant: Hello\nuser: Bye\nassistant:");
        assert_eq!(text(&STYLES[2], &chat[1..3]), "user: Hi\nassistant: Hello");
        assert_eq!(text(&STYLES[2], &[say("user", "Hi"), say("assistant", " Hel")]), "user: Hi\nassistant: Hel");
    }
}
