//! Stop texts across token borders: holds back the tokens that may turn out to begin a stop text.
//! Deliberately not here: stop tokens by id, which `generate` compares itself.

use crate::report::Token;

/// Tokens on their way to the reader, held while a stop text may have begun in them.
pub struct Stops {
    stops: Vec<Vec<u8>>,
    held: Vec<Token>,
    /// The bytes of `held`.
    bytes: Vec<u8>,
}

/// What a token leads to.
#[derive(Debug, PartialEq)]
pub struct Passed {
    /// Tokens that are now certain to be part of the text, in order.
    pub tokens: Vec<Token>,
    /// Whether a stop text is complete: generation ends, and `tokens` are the last.
    pub stopped: bool,
}

impl Stops {
    /// Empty stop texts are left out: they would stop at once.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|s| !s.is_empty()).map(|s| s.as_bytes().to_vec()).collect();
        Self { stops, held: Vec::new(), bytes: Vec::new() }
    }

    pub fn push(&mut self, token: Token) -> Passed {
        self.bytes.extend_from_slice(&token.bytes);
        self.held.push(token);
        let first = self.stops.iter().filter_map(|stop| find(&self.bytes, stop)).min();
        if let Some(at) = first {
            return Passed { tokens: self.release(at, true), stopped: true };
        }
        let safe = self.bytes.len() - self.stops.iter().map(|stop| begun(&self.bytes, stop)).max().unwrap_or(0);
        Passed { tokens: self.release(safe, false), stopped: false }
    }

    /// What is still held when generation ends for another reason.
    pub fn finish(&mut self) -> Vec<Token> {
        self.release(self.bytes.len(), false)
    }

    /// The tokens that end within the first `len` bytes; with `cut`, the one across that border too, shortened.
    fn release(&mut self, len: usize, cut: bool) -> Vec<Token> {
        let mut end = 0;
        let whole = self
            .held
            .iter()
            .take_while(|t| {
                end += t.bytes.len();
                end <= len
            })
            .count();
        let mut out: Vec<Token> = self.held.drain(..whole).collect();
        let used: usize = out.iter().map(|t| t.bytes.len()).sum();
        self.bytes.drain(..used);
        if cut && len > used && !self.held.is_empty() {
            let mut part = self.held.swap_remove(0);
            part.bytes.truncate(len - used);
            out.push(part);
        }
        out
    }
}

fn find(bytes: &[u8], stop: &[u8]) -> Option<usize> {
    bytes.windows(stop.len()).position(|w| w == stop)
}

/// How many of the last bytes are the beginning of `stop`.
fn begun(bytes: &[u8], stop: &[u8]) -> usize {
    (1..stop.len()).rev().find(|&n| bytes.ends_with(&stop[..n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut filter = Stops::new(&stops.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        let mut out = Vec::new();
        let show = |t: Token| String::from_utf8(t.bytes).unwrap();
        for piece in pieces {
            let bytes = piece.as_bytes().to_vec();
            let token = Token { id: 0, bytes, probability: 1.0, alternatives: Vec::new(), from_prompt: false };
            let passed = filter.push(token);
            out.extend(passed.tokens.into_iter().map(show));
            if passed.stopped {
                return (out, true);
            }
        }
        out.extend(filter.finish().into_iter().map(show));
        (out, false)
    }

    fn texts(out: &[&str], stopped: bool) -> (Vec<String>, bool) {
        (out.iter().map(|s| s.to_string()).collect(), stopped)
    }

    #[test]
    fn a_stop_text_is_found_across_token_borders_and_never_shown() {
        assert_eq!(run(&["\n\n"], &["a", "b\n", "\nc"]), texts(&["a", "b"], true));
        assert_eq!(run(&["STOP"], &["xS", "T", "O", "P", "y"]), texts(&["x"], true));
        assert_eq!(run(&["END", "STOP"], &["a STOP", "END"]), texts(&["a "], true));
        assert_eq!(run(&["END"], &["END"]), texts(&[], true));
    }

    #[test]
    fn what_only_looked_like_a_stop_text_comes_whole() {
        assert_eq!(run(&["STOP"], &["S", "T", "A", "R"]), texts(&["S", "T", "A", "R"], false));
        assert_eq!(run(&["STOP"], &["x", "ST"]), texts(&["x", "ST"], false));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b", "c"]), texts(&["a"], true));
        assert_eq!(run(&["", "x"], &["a", "b"]), texts(&["a", "b"], false));
    }
}
