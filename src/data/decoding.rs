//! The raw bytes that one token adds to a text, by the rules of its tokenizer's decoder.
//! Deliberately not here: decoding of whole texts, which is the tokenizers library's.

use tokenizers::decoders::DecoderWrapper;
use tokenizers::{Decoder, TokenizerImpl};

/// What becomes of a token's string, in the order of the decoder's parts.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Every character stands for a byte (GPT-2's table); a token with any other character is its own UTF-8.
    ByteLevel,
    /// `<0x0A>` is a byte.
    ByteFallback,
    /// A part of the library's that treats each token alone.
    Each(Box<DecoderWrapper>),
    /// The mark stands for a blank.
    Blank(char),
    /// A token begins a word, so a blank comes before it, unless it has this prefix, which is dropped.
    Continued(String),
    /// A suffix stands for a blank.
    Suffix(String),
    /// The library joins tokens with blanks.
    Apart,
}

/// The rules of a tokenizer's decoder.
pub fn rules<M, N, P, Q>(tokenizer: &TokenizerImpl<M, N, P, Q, DecoderWrapper>) -> Vec<Rule>
where
    M: tokenizers::Model,
    N: tokenizers::Normalizer,
    P: tokenizers::PreTokenizer,
    Q: tokenizers::PostProcessor,
{
    let Some(decoder) = tokenizer.get_decoder() else {
        return vec![Rule::Apart];
    };
    let mut out = Vec::new();
    let mut fused = false;
    collect(decoder, &mut out, &mut fused);
    out
}

fn collect(decoder: &DecoderWrapper, out: &mut Vec<Rule>, fused: &mut bool) {
    match decoder {
        DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().for_each(|d| collect(d, out, fused)),
        DecoderWrapper::ByteLevel(_) => {
            out.push(Rule::ByteLevel);
            *fused = true;
        }
        DecoderWrapper::ByteFallback(_) => out.push(Rule::ByteFallback),
        DecoderWrapper::Fuse(_) => *fused = true,
        // Once the tokens are one string, stripping concerns the text's ends and no single token.
        DecoderWrapper::Strip(_) if *fused => {}
        DecoderWrapper::Strip(_) | DecoderWrapper::Replace(_) => out.push(Rule::Each(Box::new(decoder.clone()))),
        DecoderWrapper::Metaspace(m) => out.push(Rule::Blank(m.get_replacement())),
        DecoderWrapper::WordPiece(w) => out.push(Rule::Continued(w.prefix.clone())),
        DecoderWrapper::BPE(b) => out.push(Rule::Suffix(b.suffix.clone())),
        DecoderWrapper::CTC(_) => {}
    }
}

/// The bytes of a token by its string in the vocabulary. A blank that the decoder strips at the very beginning
/// of a text is kept, since a token does not know where it stands.
pub fn bytes(token: &str, rules: &[Rule]) -> Vec<u8> {
    let mut text = token.to_owned();
    for rule in rules {
        match rule {
            Rule::ByteLevel => return byte_level(&text),
            Rule::ByteFallback => {
                if let Some(byte) = fallback(&text) {
                    return vec![byte];
                }
            }
            Rule::Each(part) => text = part.decode_chain(vec![text.clone()]).map(|parts| parts.concat()).unwrap_or(text),
            Rule::Blank(mark) => text = text.replace(*mark, " "),
            Rule::Continued(prefix) => {
                text = match text.strip_prefix(prefix.as_str()) {
                    Some(rest) if !prefix.is_empty() => rest.to_owned(),
                    _ => format!(" {text}"),
                }
            }
            Rule::Suffix(suffix) => text = text.replace(suffix.as_str(), " "),
            Rule::Apart => text.insert(0, ' '),
        }
    }
    text.into_bytes()
}

fn fallback(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

fn byte_level(token: &str) -> Vec<u8> {
    token.chars().map(|c| byte_of(c).ok_or(())).collect::<Result<_, ()>>().unwrap_or_else(|()| token.as_bytes().to_vec())
}

/// The character that stands for a byte in byte-level vocabularies: printable Latin-1 for itself, the other 68
/// from U+0100 on, in order (GPT-2, Radford et al. 2019, `encoder.py`).
pub fn char_of(byte: u8) -> char {
    ALPHABET[usize::from(byte)]
}

const ALPHABET: [char; 256] = alphabet();

const fn alphabet() -> [char; 256] {
    let mut out = ['\0'; 256];
    let (mut byte, mut beyond) = (0, 0x100);
    while byte < 256 {
        out[byte] = if printable(byte as u8) {
            byte as u8 as char
        } else {
            beyond += 1;
            match char::from_u32(beyond - 1) {
                Some(c) => c,
                None => '\u{fffd}',
            }
        };
        byte += 1;
    }
    out
}

/// The byte that a character of the byte alphabet stands for.
pub fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ 0..=0xff => u8::try_from(code).ok().filter(|b| printable(*b)),
        0x100..=0x143 => ALPHABET.iter().position(|a| *a == c).and_then(|b| u8::try_from(b).ok()),
        _ => None,
    }
}

const fn printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_gpt2s() {
        let mut library: Vec<char> = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
        let mut own: Vec<char> = (0..=255).map(char_of).collect();
        assert!((0..=255u8).all(|b| byte_of(char_of(b)) == Some(b)));
        library.sort_unstable();
        own.sort_unstable();
        assert_eq!(own, library);
        assert_eq!((char_of(b' '), char_of(b'\n'), char_of(b'a')), ('Ġ', 'Ċ', 'a'));
    }

    #[test]
    fn every_kind_of_decoder_has_its_bytes() {
        assert_eq!(bytes("Ġcaf", &[Rule::ByteLevel]), b" caf");
        assert_eq!(bytes("Ã", &[Rule::ByteLevel]), [0xc3]);
        assert_eq!(bytes("<|a b|>", &[Rule::ByteLevel]), b"<|a b|>");
        let llama = [Rule::Blank('▁'), Rule::ByteFallback];
        assert_eq!(bytes("▁the", &llama), b" the");
        assert_eq!(bytes("<0x0A>", &llama), b"\n");
        assert_eq!(bytes("<0x0G>", &llama), b"<0x0G>");
        assert_eq!(bytes("##ing", &[Rule::Continued("##".into())]), b"ing");
        assert_eq!(bytes("go", &[Rule::Continued("##".into())]), b" go");
        assert_eq!(bytes("go</w>", &[Rule::Suffix("</w>".into())]), b"go ");
        assert_eq!(bytes("\n", &[]), b"\n");
    }
}
