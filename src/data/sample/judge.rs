//! The property of a response that a program can judge: it mentions the colour that was asked for, no other, and ends with a stop.
//! Deliberately not here: whether it is a good story; people rank that.

/// The colours of the sample world (the class `colour` of its grammars).
pub const COLOURS: [&str; 7] = ["red", "blue", "green", "yellow", "white", "black", "brown"];

/// What a response to a prompt that asks for a colour does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// It mentions the colour that the prompt asks for; true where the prompt asks for none.
    pub colour: bool,
    /// It mentions no other colour.
    pub faithful: bool,
    /// It ends with a stop.
    pub ended: bool,
}

impl Judgement {
    pub fn passed(self) -> bool {
        self.colour && self.faithful && self.ended
    }
    /// 0 to 1: half for the colour, a quarter each for no other colour and for the stop.
    pub fn score(self) -> f64 {
        0.5 * f64::from(self.colour) + 0.25 * f64::from(self.faithful) + 0.25 * f64::from(self.ended)
    }
}

/// Judges `response` by what `prompt` asks for.
pub fn judge(prompt: &str, response: &str) -> Judgement {
    let asked = colour_of(prompt);
    let mentioned = |colour: &str| words(response).any(|word| word.eq_ignore_ascii_case(colour));
    Judgement {
        colour: asked.is_none_or(mentioned),
        faithful: !COLOURS.iter().any(|colour| Some(*colour) != asked && mentioned(colour)),
        ended: response.trim_end().ends_with('.'),
    }
}

/// The first colour that a prompt mentions.
pub fn colour_of(prompt: &str) -> Option<&'static str> {
    words(prompt).find_map(|word| COLOURS.iter().find(|colour| word.eq_ignore_ascii_case(colour)).copied())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_judged_by_the_colour_that_was_asked_for() {
        let prompt = "Tell me about a red ball.";
        assert!(judge(prompt, "Anna had a Red ball.").passed());
        assert_eq!(judge(prompt, "Anna had a red ball").score(), 0.75);
        assert_eq!(judge(prompt, "Anna had a blue ball.").score(), 0.25);
        assert_eq!(judge(prompt, "The red and blue ball.").score(), 0.75);
        assert!(!judge(prompt, "She was tired and covered.").colour, "a colour inside a word is none");
        assert!(judge("Hello.", "Hello.").passed());
    }
}
