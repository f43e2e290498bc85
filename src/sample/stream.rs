//! Bytes that come token by token, given on as text that never ends within a character.
//! Deliberately not here: making control characters visible (`text::visible`), which is the screen's last step.

/// Decodes UTF-8 that arrives in pieces. Bytes that cannot be part of a character become `\u{fffd}` at once;
/// bytes that may yet become one (at most three) wait for what follows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Utf8Stream {
    waiting: Vec<u8>,
}

impl Utf8Stream {
    pub fn new() -> Self {
        Self::default()
    }

    /// The text that is complete with these bytes.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.waiting.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(whole) => {
                    text.push_str(whole);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(good));
                    match error.error_len() {
                        Some(n) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            rest = &bad[n..];
                        }
                        None => {
                            rest = bad;
                            break;
                        }
                    }
                }
            }
        }
        self.waiting = rest.to_vec();
        text
    }

    /// What is left when nothing more comes: a mark for a character that was cut off, else nothing.
    pub fn finish(&mut self) -> String {
        let cut = !self.waiting.is_empty();
        self.waiting.clear();
        if cut { char::REPLACEMENT_CHARACTER.into() } else { String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_come_whole_however_they_are_cut() {
        let text = "aé漢😀z";
        for size in 1..5 {
            let mut stream = Utf8Stream::new();
            let mut out = String::new();
            for piece in text.as_bytes().chunks(size) {
                let new = stream.push(piece);
                assert!(!new.contains('\u{fffd}'));
                out.push_str(&new);
            }
            assert_eq!(out + &stream.finish(), text);
        }
    }

    #[test]
    fn broken_bytes_are_marked_as_the_standard_library_marks_them() {
        for bytes in [&b"a\xff\xfeb"[..], b"\xe6\xbc", b"\xf0\x9f\x98x", b"\x80", b"ok\xc3"] {
            let mut stream = Utf8Stream::new();
            let mut out: String = bytes.iter().map(|b| stream.push(&[*b])).collect();
            out += &stream.finish();
            assert_eq!(out, String::from_utf8_lossy(bytes));
        }
    }
}
