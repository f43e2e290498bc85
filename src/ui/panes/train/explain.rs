//! The Explain page of Train: what is on the screen, in plain words, with its numbers as the example.
//! Deliberately not here: the keys.

use super::step;
use crate::ui::widgets::{self, number};
use crate::ui::world::{Ended, Run, Series};

pub(super) fn text(run: Option<&Run>) -> String {
    let mut out = String::from(
        "A language model is a function with many adjustable numbers (parameters). Given a piece of text it says, for every \
         possible next token, how probable that token is. Training shows it real text, again and again, and moves each number a \
         little so that the token that really came next becomes more probable. One such move is a step.\n\n",
    );
    let Some(run) = run else {
        out.push_str("There is no run yet. Press n: the built-in sample trains in about a minute.");
        return out;
    };
    loss(run, &mut out);
    validation(run, &mut out);
    curves(run, &mut out);
    phases(run, &mut out);
    ending(run, &mut out);
    out.push_str(
        "Reading the chart\nThe faint line holds every step: each column shows the least and the greatest value in it, so a spike \
         never disappears. The strong line is the same, smoothed. ← and → move a cursor that reads exact values; + and - zoom; L makes \
         the axis logarithmic, which shows slow progress late in a run; Space lays another run under this one.",
    );
    out
}

fn loss(run: &Run, out: &mut String) {
    out.push_str(
        "Loss\nHow surprised the model is by the token that really came: minus the logarithm of the probability that it gave it, \
         averaged over the batch. Smaller is better.",
    );
    if let Some(loss) = run.last("train/loss").filter(|l| l.is_finite()) {
        let odds = loss.exp();
        out.push_str(&format!(
            " It is {} now: on average it gives the right token a probability of about 1 in {}.",
            number::loss(loss),
            number::short(odds)
        ));
    }
    if let Some(vocab) = run.facts.get("vocab").and_then(serde_json::Value::as_f64).filter(|v| *v > 1.0) {
        let even = vocab.ln();
        out.push_str(&format!(" To spread the guess evenly over all {vocab} tokens would cost ln({vocab}) = {even:.2}."));
        let first = run.series.get("train/loss").and_then(Series::first).filter(|p| p.step <= 1 && p.value.is_finite());
        if let Some(first) = first.map(|p| p.value) {
            out.push_str(&match first - even {
                more if more > 0.15 => format!(
                    " This curve begins higher, at {}: the first weights are random numbers wide enough that the model guesses wrongly with \
                     some confidence, which is worse than not to guess. It loses that in the first steps.",
                    number::loss(first)
                ),
                less if less < -0.15 => {
                    format!(" This curve begins lower, at {}: its weights had learnt something before this run.", number::loss(first))
                }
                _ => format!(" This curve begins there, at {}: its first weights know nothing.", number::loss(first)),
            });
        }
    }
    out.push_str("\n\n");
}

fn validation(run: &Run, out: &mut String) {
    out.push_str(
        "Validation ◆\nThe loss on text that is never trained on. While it falls with the training loss the model learns things that \
         hold in general; when it rises while the training loss falls, the model is learning the training text by heart (overfitting).",
    );
    // The two are compared at the same step; the training loss of one batch alone would be chance.
    let (train, val) = (run.series.get("train/loss"), run.series.get("val/loss").and_then(Series::last));
    let Some((train, val)) = train.zip(val).filter(|(_, val)| val.step > 0) else {
        out.push_str("\n\n");
        return;
    };
    let end = train.index_of(val.step.saturating_add(1));
    let near: Vec<f64> = (end.saturating_sub(20)..end).filter_map(|i| train.get(i)).map(|p| p.value).filter(|v| v.is_finite()).collect();
    let (train, val) = (near.iter().sum::<f64>() / near.len().max(1) as f64, val.value);
    let gap = val - train;
    out.push_str(&format!(" Here it is {} against {} in training", number::loss(val), number::loss(train)));
    if let Some((step, best)) = run.best {
        out.push_str(&format!("; the best was {} at step {}", number::loss(best), widgets::grouped(step)));
        if val > best * 1.02 {
            out.push_str(", so it has been rising since");
        }
    }
    out.push_str(if gap > 0.3 { ": a wide gap. More text, dropout, or fewer steps would narrow it.\n\n" } else { ".\n\n" });
}

fn curves(run: &Run, out: &mut String) {
    out.push_str("The small charts\nlr is the learning rate, how far one step goes: it rises in the warmup, since early gradients point anywhere, and falls at the end, to settle.");
    if let Some(lr) = run.last("lr") {
        out.push_str(&format!(" Now {}.", number::short(lr)));
    }
    out.push_str(" grad norm is how strongly the batch pulls at all parameters together; a sudden peak means an unusual batch or a learning rate that is too high, and clipping limits what it can do.");
    if let Some(norm) = run.last("grad_norm") {
        out.push_str(&format!(" Now {}.", number::short(norm)));
    }
    if let Some(speed) = run.last("tokens_per_s") {
        out.push_str(&format!(" tokens/s is the speed: {} tokens are read each second.", number::short(speed)));
    }
    out.push_str("\n\n");
}

fn phases(run: &Run, out: &mut String) {
    out.push_str(
        "What a step does\nbatch draws sequences from the text; forward computes a prediction at every place; loss compares it with \
         what came; backward finds for each parameter in which direction it should move (its gradient); update moves it.",
    );
    if let Some(times) = step::times(run) {
        let total: f64 = times.iter().sum::<f64>().max(1e-9);
        out.push_str(&format!(
            " Here a step takes {:.0} ms, of which forward has {:.0}% and backward {:.0}%: backward does about twice the work, since each product needs two more for its gradients.",
            total,
            times[1] / total * 100.0,
            times[3] / total * 100.0
        ));
    }
    if let (Some(tokens), Some(epoch)) = (run.facts.get("train_tokens").and_then(serde_json::Value::as_u64), run.last("epoch")) {
        out.push_str(&format!(" The training text has {} tokens; it has been read {epoch:.1} times (epochs).", widgets::grouped(tokens)));
    }
    out.push_str(
        " Paused (p), each . takes one step and follows one token through it: how probable the model held what really came, the loss of that, \
         the gradient that it and the rest of the batch put on one weight (the one in the token's own row of the output matrix that is blamed the \
         most), and that weight before and after. A negative gradient says that a larger weight would have made the loss smaller, so the update \
         raises it. The optimizer goes by the gradients of many steps, which is why a single weight may move against its newest one.\n\n",
    );
}

fn ending(run: &Run, out: &mut String) {
    if let Some(Ended::Failed { cause, hint }) = &run.ended {
        let (cause, hint) = (crate::text::visible(cause, false), crate::text::visible(hint, false));
        out.push_str(&format!("Why it ended\n{cause}. {hint} A loss that is not a number usually means that the learning rate was too high for this model: fork the run with f and divide it by three.\n\n"));
    }
}
