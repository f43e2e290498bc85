//! SentencePiece's `.model` files: a reader of the few fields of its protocol buffers that matter here.
//! Deliberately not here: what the fields mean for tokens (`spm`), and any other protocol buffer.

use super::spm::{Algorithm, Model, Piece, kind};
use super::{Beside, Origin, Read, configured};

/// Pieces beyond this are no vocabulary's.
const MAX_PIECES: usize = 1 << 21;

/// Reads `ModelProto` (google/sentencepiece, `src/sentencepiece_model.proto`).
pub fn read(file: &[u8], beside: Beside) -> Result<Read, String> {
    let parsed = parse(file)?;
    let spec = parsed.trainer;
    let algorithm = match spec.model_type {
        1 => Algorithm::Unigram,
        2 => Algorithm::Bpe,
        4 => Algorithm::Char,
        3 => return Err("it is a SentencePiece model of whole words, which is not supported".into()),
        n => return Err(format!("it is a SentencePiece model of the unknown type {n}")),
    };
    let name_of = |id: i64| usize::try_from(id).ok().filter(|id| parsed.pieces.get(*id).is_some_and(|p| p.kind == kind::CONTROL));
    let (bos, eos) = (name_of(spec.bos_id), name_of(spec.eos_id));
    // What is put around a text is not the model's to say but its program's; Llama's and Mistral's put the beginning.
    let (begins, ends) = (beside.flag("add_bos_token").unwrap_or(true), beside.flag("add_eos_token").unwrap_or(false));
    let names = (bos.map(|id| parsed.pieces[id].text.clone()), eos.map(|id| parsed.pieces[id].text.clone()));
    let mut notes = Vec::new();
    if begins && beside.flag("add_bos_token").is_none() && bos.is_some() {
        notes.push("a beginning is put before a text, as Llama does: the file does not say whether".to_owned());
    }
    let model = Model {
        pieces: parsed.pieces,
        algorithm,
        byte_fallback: spec.byte_fallback,
        charsmap: parsed.normalizer.charsmap,
        dummy_prefix: parsed.normalizer.dummy_prefix,
        remove_extra_blanks: parsed.normalizer.remove_extra_blanks,
        around: (bos.filter(|_| begins), eos.filter(|_| ends)),
    };
    let config = configured(beside.config, &[("bos_token", names.0.as_deref()), ("eos_token", names.1.as_deref())]);
    let format = if algorithm == Algorithm::Unigram { "SentencePiece (unigram)" } else { "SentencePiece (BPE)" };
    Ok(Read { json: model.json()?, config, origin: Origin { format, notes } })
}

struct Trainer {
    model_type: u64,
    byte_fallback: bool,
    bos_id: i64,
    eos_id: i64,
}

struct Normalizer {
    charsmap: Vec<u8>,
    dummy_prefix: bool,
    remove_extra_blanks: bool,
}

struct Parsed {
    pieces: Vec<Piece>,
    trainer: Trainer,
    normalizer: Normalizer,
}

fn parse(file: &[u8]) -> Result<Parsed, String> {
    let mut pieces = Vec::new();
    // The defaults of the format.
    let mut trainer = Trainer { model_type: 1, byte_fallback: false, bos_id: 1, eos_id: 2 };
    let mut normalizer = Normalizer { charsmap: Vec::new(), dummy_prefix: true, remove_extra_blanks: true };
    let mut known = false;
    let damaged = || "it is no SentencePiece model, or damaged".to_string();
    for field in Fields(file) {
        match field.ok_or_else(damaged)? {
            (1, Field::Bytes(message)) => {
                if pieces.len() == MAX_PIECES {
                    return Err("it has too many pieces for a vocabulary".into());
                }
                pieces.push(piece(message).ok_or_else(|| format!("piece {} is damaged", pieces.len()))?);
            }
            (2, Field::Bytes(message)) => {
                known = true;
                for field in Fields(message) {
                    match field.ok_or_else(damaged)? {
                        (3, Field::Number(n)) => trainer.model_type = n,
                        (35, Field::Number(n)) => trainer.byte_fallback = n != 0,
                        // Negative numbers of 32 bits are written as 64 bits.
                        (41, Field::Number(n)) => trainer.bos_id = n as i64,
                        (42, Field::Number(n)) => trainer.eos_id = n as i64,
                        _ => {}
                    }
                }
            }
            (3, Field::Bytes(message)) => {
                for field in Fields(message) {
                    match field.ok_or_else(damaged)? {
                        (2, Field::Bytes(map)) => normalizer.charsmap = map.to_vec(),
                        (3, Field::Number(n)) => normalizer.dummy_prefix = n != 0,
                        (4, Field::Number(n)) => normalizer.remove_extra_blanks = n != 0,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if pieces.is_empty() || !known {
        return Err(damaged());
    }
    Ok(Parsed { pieces, trainer, normalizer })
}

fn piece(message: &[u8]) -> Option<Piece> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: 1 };
    for field in Fields(message) {
        match field? {
            (1, Field::Bytes(text)) => piece.text = std::str::from_utf8(text).ok()?.to_owned(),
            (2, Field::Four(bits)) => piece.score = f32::from_le_bytes(bits).into(),
            (3, Field::Number(n)) => piece.kind = n,
            _ => {}
        }
    }
    Some(piece)
}

enum Field<'a> {
    Number(u64),
    Four([u8; 4]),
    Bytes(&'a [u8]),
    /// Eight bytes, which no field here has.
    Other,
}

/// The fields of a message, one after another; the last item is none where the bytes are no message.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => {
                self.take(8)?;
                Field::Other
            }
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(len)?)
            }
            5 => Field::Four(self.take(4)?.try_into().ok()?),
            _ => return None,
        };
        Some((tag >> 3, field)).filter(|(number, _)| *number > 0)
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_is_told_and_never_read_past() {
        for bytes in [
            &b"\x0a"[..],
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\xff\xff\xff\xff\x0f",
            b"\x0b",
            b"\x00\x01",
            b"\x10\x01",
        ] {
            assert!(parse(bytes).err().unwrap().contains("no SentencePiece model"), "{bytes:?}");
        }
        assert!(parse(b"\x0a\x02\x0a\x05").err().unwrap().contains("piece 0 is damaged"));
    }

    #[test]
    fn fields_are_read_by_their_numbers() {
        let piece =
            [b"\x0a\x08".as_slice(), b"\x0a\x01a\x15", &(-1.5f32).to_le_bytes(), b"\x12\x03\x98\x02\x01", b"\x1a\x02\x18\x00"].concat();
        let parsed = parse(&piece).unwrap();
        assert_eq!(parsed.pieces, [Piece { text: "a".into(), score: -1.5, kind: 1 }]);
        assert!(parsed.trainer.byte_fallback && !parsed.normalizer.dummy_prefix && parsed.normalizer.remove_extra_blanks);
    }
}
