//! The templates for models that bring none, by the tokens that their vocabulary has for turns.
//! Deliberately not here: any vendor's template; a chat that a model was taught in another way is guessed at best.

use super::{Template, special_tokens};
use crate::data::tokenizer::Tokenizer;
use serde_json::Value;

struct BuiltIn {
    name: &'static str,
    /// All of these must be tokens of the vocabulary; none where any vocabulary will do.
    needs: &'static [&'static str],
    source: &'static str,
    stops: &'static [&'static str],
}

/// Tried in order; the last fits every vocabulary.
const TEMPLATES: &[BuiltIn] = &[
    BuiltIn {
        name: "chatml",
        needs: &["<|im_start|>", "<|im_end|>"],
        source: "\
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{{- '<|im_start|>assistant\\n' }}{% generation %}{{ message.content ~ '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}
{%- else %}
{{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        stops: &[],
    },
    BuiltIn {
        name: "roles",
        needs: &["<|user|>", "<|assistant|>", "<|end|>"],
        source: "\
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{{- '<|assistant|>\\n' }}{% generation %}{{ message.content ~ '<|end|>' }}{% endgeneration %}{{ '\\n' }}
{%- else %}
{{- '<|' ~ message.role ~ '|>\\n' ~ message.content ~ '<|end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
        stops: &[],
    },
    // A blank at the end of a prompt would be a token of its own, where the answer's first word brings one with it.
    BuiltIn {
        name: "lines",
        needs: &[],
        source: "\
{%- for message in messages %}
{%- set said = message.content if message.content.startswith(' ') else ' ' ~ message.content %}
{%- if message.role == 'assistant' %}
{{- 'assistant:' }}{% generation %}{{ said ~ '\\n' }}{% endgeneration %}
{%- else %}
{{- message.role ~ ':' ~ said ~ '\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'assistant:' }}{% endif %}",
        stops: &["\nuser:", "\nassistant:", "\nsystem:", "\n\n"],
    },
];

/// The first that fits the vocabulary.
pub fn choose(tokenizer: &Tokenizer) -> Template {
    let fits = |t: &&BuiltIn| t.needs.iter().all(|name| tokenizer.token_id(name).is_some());
    let found = TEMPLATES.iter().find(fits).unwrap_or(&TEMPLATES[TEMPLATES.len() - 1]);
    Template {
        source: found.source.into(),
        with_tools: None,
        name: format!("{}, built in", found.name),
        tokens: tokenizer.config().map(special_tokens).unwrap_or_default(),
        stops: found.stops,
        built_in: true,
    }
}

/// Whether the vocabulary has tokens of its own for the turns of a chat.
pub fn knows_turns(tokenizer: &Tokenizer) -> bool {
    TEMPLATES.iter().any(|t| !t.needs.is_empty() && t.needs.iter().all(|name| tokenizer.token_id(name).is_some()))
}

impl Template {
    /// Whether the model may have been taught to chat: it brings a template, or its vocabulary has tokens for turns.
    pub fn taught(tokenizer: &Tokenizer) -> bool {
        let own = tokenizer.config().map(|c| &c["chat_template"]);
        own.is_some_and(|t| matches!(t, Value::String(_) | Value::Array(_) | Value::Object(_))) || knows_turns(tokenizer)
    }
}
