//! The Explain page: what happens when a model writes, with the numbers now on the screen.
//! Deliberately not here: keys, which the help overlay takes from the table.

use super::panel::{name, percent};
use super::talk::Mode;
use super::{Chat, view};
use crate::spec::Sampler;
use crate::text::visible;
use crate::ui::world::World;

pub fn page(chat: &Chat, world: &World) -> String {
    let mut out = String::new();
    let mut say = |text: String| {
        out.push_str(&text);
        out.push_str("\n\n");
    };
    say("A language model does one thing: for a text it gives every token of its vocabulary a probability of standing next. \
         To write, one token is drawn by these probabilities, put at the end of the text, and the question is asked again."
        .into());
    if let Some(choice) = chat.model(world) {
        say(format!("You are talking to {}: {}.", visible(&choice.label, false), visible(&choice.about, false)));
    }
    next(chat, &mut say);
    say(sampler(&chat.settings.sampler));
    let last = chat.talk.last().and_then(|e| e.version());
    if let Some(version) = last.filter(|v| v.drawn() > 0) {
        let mut text = format!("The last text has {} tokens", version.drawn());
        if let Some(speed) = version.tokens_per_s() {
            text += &format!(", {speed:.0} a second");
        }
        if let Some(ms) = version.fact("first_token_ms").filter(|ms| *ms > 0.0) {
            text += &format!("; the first one came after {ms:.0} ms, in which the model read the prompt");
        }
        if let Some((used, fit)) = version.context() {
            text += &format!(". It sees {fit} tokens at once and holds {used} now; beyond that the oldest half is forgotten");
        }
        say(text + ".");
    }
    say("The colours (t) tell how probable each token was to the model itself. Go over the tokens with h and l: Enter shows what else it \
         might have said, and another Enter goes on from there. The same prompt under five seeds (f) shows how much of a text is chance."
        .into());
    say(match chat.mode {
        Mode::Continue => format!(
            "{} Asked a question, it may go on with more questions: that is what texts do. Answering is taught later, by fine-tuning.",
            view::caption(Mode::Continue)
        ),
        Mode::Chat => view::caption(Mode::Chat).to_string(),
    });
    out
}

fn next(chat: &Chat, say: &mut impl FnMut(String)) {
    let Some(outlook) = chat.outlook() else { return };
    let chances = outlook.distribution.probabilities(&chat.settings.sampler, &outlook.past());
    let Some((best, chance)) = outlook.distribution.top.first().zip(chances.first()) else { return };
    let unsure = match outlook.drawn {
        Some(_) => String::new(),
        None => {
            format!(" The model is as unsure here as between {:.1} equal choices.", 2f64.powf(outlook.distribution.entropy_bits(1.0)))
        }
    };
    say(format!(
        "The bars show the likeliest tokens now. The first is “{}”: the model gives it {}, and with the settings below it is drawn with {}.{}",
        name(&best.text),
        percent(best.probability),
        percent(chance.p),
        unsure
    ));
}

fn sampler(s: &Sampler) -> String {
    let mut out = match s.temperature {
        0.0 => "The temperature is 0: the likeliest token is always taken, so the text is the same every time.".to_string(),
        t => format!(
            "The temperature is {t:.2}. Logits are divided by it before they become probabilities: {}.",
            if t < 1.0 {
                "below 1 the likely gets likelier"
            } else if t > 1.0 {
                "above 1 the unlikely gets its chance, and the text wilder"
            } else {
                "at 1 the model's own probabilities stand"
            }
        ),
    };
    if s.top_k > 0 {
        out += &format!(" Top-k keeps the {} likeliest tokens.", s.top_k);
    }
    if s.top_p < 1.0 {
        out += &format!(" Top-p keeps the likeliest tokens that make up {:.0} %.", s.top_p * 100.0);
    }
    if s.min_p > 0.0 {
        out += &format!(" Min-p keeps tokens that are at least {:.0} % as likely as the best.", s.min_p * 100.0);
    }
    if s.repetition_penalty != 1.0 {
        out += &format!(" The repetition penalty of {:.2} moves tokens that are in the text already.", s.repetition_penalty);
    }
    out + &format!(" The seed is {}: the same seed and settings draw the same text again.", s.seed)
}
