//! Likelihoods of given texts from a server: its completions with `echo` and `logprobs`, as vLLM and SGLang have them.
//! Deliberately not here: generation.

use serde_json::{Value, json};

use super::Endpoint;
use crate::report::Monitor;
use crate::sample::generator::{AskFault, Question, Score};

impl Endpoint {
    /// ln p of the continuation's tokens as the server cuts them; blanks at the context's end go over to the continuation.
    pub(super) async fn likelihood(&self, question: &Question, monitor: &dyn Monitor) -> Result<Score, AskFault> {
        let Question::Text { context, continuation } = question else {
            return Err(AskFault::Refused("a server is asked in text, not in tokens".into()));
        };
        let kept = context.trim_end();
        if kept.is_empty() || continuation.is_empty() {
            return Err(AskFault::Refused("the context or the continuation is empty".into()));
        }
        let prompt = format!("{context}{continuation}");
        let body = json!({"model": self.model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": true, "logprobs": 1});
        let ask = || async {
            let mut response = self.send("completions", Some(&body), monitor).await?;
            Ok(self.body(&mut response, monitor).await?)
        };
        let value = self.patiently(monitor, ask).await?;
        read(&value, kept.chars().count(), prompt.chars().count()).map_err(|why| match why {
            Unfit::Silent => self.broken(
                "does not say the likelihood of a given text (echo with logprobs)",
                "use vLLM, SGLang or a model of this machine for scoring",
            ),
            Unfit::Across => AskFault::Refused("one of the server's tokens reaches from the context into the continuation".into()),
        })
    }
}

#[derive(Debug, PartialEq)]
enum Unfit {
    Silent,
    Across,
}

/// The tokens that begin at character `from` or later and before `to`; servers count offsets in characters.
fn read(value: &Value, from: usize, to: usize) -> Result<Score, Unfit> {
    let said = value.pointer("/choices/0/logprobs").ok_or(Unfit::Silent)?;
    let list = |key: &str| said.get(key).and_then(Value::as_array).ok_or(Unfit::Silent);
    let (log_probs, offsets) = (list("token_logprobs")?, list("text_offset")?);
    let top = said.get("top_logprobs").and_then(Value::as_array);
    let mut score = Score { greedy: true, ..Score::default() };
    let mut begins = false;
    for (i, offset) in offsets.iter().enumerate() {
        let at = offset.as_u64().unwrap_or(0) as usize;
        if at < from || at >= to {
            continue;
        }
        begins |= at == from;
        let own = log_probs.get(i).and_then(Value::as_f64).ok_or(Unfit::Silent)?;
        let best = top.and_then(|t| t.get(i)?.as_object()?.values().filter_map(Value::as_f64).max_by(f64::total_cmp));
        score.greedy &= best.is_none_or(|best| own >= best - 1e-6);
        score.log_probs.push(own as f32);
    }
    match (score.log_probs.is_empty(), begins) {
        (true, _) => Err(Unfit::Silent),
        (false, false) => Err(Unfit::Across),
        (false, true) => Ok(score),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_continuations_tokens_are_found_by_their_offsets() {
        let value = json!({"choices": [{"logprobs": {
            "tokens": ["The", " cat", " sat", "."], "text_offset": [0, 3, 7, 11], "token_logprobs": [null, -1.0, -2.0, -0.5],
            "top_logprobs": [null, {" cat": -1.0}, {" ran": -0.2}, {".": -0.5}]}}]});
        let score = read(&value, 7, 11).unwrap();
        assert_eq!((score.log_probs, score.greedy), (vec![-2.0], false));
        assert!(read(&value, 3, 7).unwrap().greedy);
        assert_eq!(read(&value, 5, 11), Err(Unfit::Across));
        assert_eq!(read(&json!({"choices": [{"logprobs": null, "text": "x"}]}), 0, 1), Err(Unfit::Silent));
    }
}
