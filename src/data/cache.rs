//! One file of tokens on disk: a header that is checked against the file before anything is mapped, then the ids.
//! Deliberately not here: what decides a file's name, and how tokens are made (`stream`).

use super::tokenizer::write_beside;
use super::{DataError, stream::Stats};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

const MAGIC: &[u8; 8] = b"WRTOKENS";
/// Version of this file's layout and of everything that decides which ids stand in it.
pub const VERSION: u32 = 1;
/// A multiple of every id width, and room for later fields.
const HEADER_BYTES: usize = 160;

/// Ids on disk, little-endian, two bytes each where the vocabulary allows it and four otherwise.
pub struct TokenFile {
    map: memmap2::Mmap,
    width: usize,
    pub stats: Stats,
}

impl TokenFile {
    /// How many ids the file holds.
    pub fn ids(&self) -> usize {
        (self.map.len() - HEADER_BYTES) / self.width
    }

    /// Ids `start..start + out.len()`, which must be in the file.
    pub fn read(&self, start: usize, out: &mut [u32]) {
        let ids = &self.map[HEADER_BYTES + start * self.width..HEADER_BYTES + (start + out.len()) * self.width];
        match self.width {
            2 => ids.chunks_exact(2).zip(out).for_each(|(b, id)| *id = u32::from(u16::from_le_bytes([b[0], b[1]]))),
            _ => ids.chunks_exact(4).zip(out).for_each(|(b, id)| *id = u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        }
    }

    /// Maps a file that holds what `key` names. Any fault (no file, another key or version, a length or a
    /// checksum that does not fit) is told as text; the file is then made again.
    pub fn open(path: &Path, key: &[u8; 32]) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        let len = file.metadata().map_err(|e| e.to_string())?.len();
        let mut head = [0; HEADER_BYTES];
        file.read_exact(&mut head).map_err(|_| "shorter than a header".to_owned())?;
        let number = |at: usize| head[at..at + 8].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        if &head[..8] != MAGIC {
            return Err("not a token file".into());
        }
        let (version, width, count) = (number(8), number(16), number(24));
        if version != u64::from(VERSION) {
            return Err(format!("written by version {version} of the format, not {VERSION}"));
        }
        if width != 2 && width != 4 {
            return Err(format!("ids of {width} bytes"));
        }
        if count.checked_mul(width).and_then(|n| n.checked_add(HEADER_BYTES as u64)) != Some(len) {
            return Err(format!("{len} bytes do not hold {count} ids of {width} bytes"));
        }
        if head[56..88] != key[..] {
            return Err("made from other files or by another tokenizer".into());
        }
        // SAFETY: the map is read-only, and token files are replaced by renaming, never rewritten in place.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| e.to_string())?;
        if map.len() as u64 != len || checksum(&head[..88], Sha256::new_with_prefix(&map[HEADER_BYTES..])) != head[88..120] {
            return Err("the checksum does not fit".into());
        }
        let stats = Stats { documents: number(32), characters: number(40), bytes: number(48), tokens: count };
        Ok(Self { map, width: width as usize, stats })
    }
}

/// SHA-256 of the header's fields and of the ids' own SHA-256.
fn checksum(head: &[u8], ids: Sha256) -> [u8; 32] {
    Sha256::new_with_prefix(head).chain_update(ids.finalize()).finalize().into()
}

/// Where the ids of one split go while they are made.
pub struct Writer<'w, 'f> {
    out: &'w mut BufWriter<&'f File>,
    hash: Sha256,
    width: usize,
    count: u64,
    scratch: Vec<u8>,
}

impl Writer<'_, '_> {
    pub fn push(&mut self, ids: &[u32]) -> std::io::Result<()> {
        self.scratch.clear();
        for id in ids {
            self.scratch.extend_from_slice(&id.to_le_bytes()[..self.width]);
        }
        self.count += ids.len() as u64;
        self.hash.update(&self.scratch);
        self.out.write_all(&self.scratch)
    }
}

/// Writes a token file through `fill`, which pushes all ids and returns their statistics. The file appears under
/// its name when it is whole and synced. `fill`'s own fault comes back as the inner result.
pub fn write<E>(
    path: &Path,
    key: &[u8; 32],
    vocab: usize,
    fill: impl FnOnce(&mut Writer) -> Result<Stats, E>,
) -> Result<Result<(), E>, DataError> {
    let width = if vocab <= 1 << 16 { 2 } else { 4 };
    let mut outcome = Ok(());
    let wrote = write_beside(path, |out| {
        out.write_all(&[0; HEADER_BYTES])?;
        let mut writer = Writer { out, hash: Sha256::new(), width, count: 0, scratch: Vec::new() };
        let filled = fill(&mut writer);
        let Writer { out, hash, count, .. } = writer;
        let stats = match filled {
            Ok(stats) => stats,
            Err(e) => {
                outcome = Err(e);
                // Any error keeps the file from appearing; this one is not told to anybody.
                return Err(std::io::ErrorKind::Other.into());
            }
        };
        let mut head = Vec::with_capacity(HEADER_BYTES);
        head.extend_from_slice(MAGIC);
        for number in [u64::from(VERSION), width as u64, count, stats.documents, stats.characters, stats.bytes] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.extend_from_slice(key);
        let sum = checksum(&head, hash);
        head.extend_from_slice(&sum);
        head.resize(HEADER_BYTES, 0);
        out.flush()?;
        let mut file = *out.get_ref();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&head)
    });
    match (outcome, wrote) {
        (Err(e), _) => Ok(Err(e)),
        (Ok(()), wrote) => wrote.map(Ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path, vocab: usize, ids: &[u32]) -> std::path::PathBuf {
        let path = dir.join("a.tokens");
        let stats = Stats { documents: 1, characters: 5, bytes: 6, tokens: ids.len() as u64 };
        write(&path, &[7; 32], vocab, |w| w.push(ids).map(|()| stats)).unwrap().unwrap();
        path
    }

    #[test]
    fn both_widths_read_back() {
        let dir = tempfile::tempdir().unwrap();
        for (vocab, ids, bytes) in [(65_536, [1, 2, 65_535], 2), (65_537, [1, 65_536, 70_000], 4)] {
            let path = written(dir.path(), vocab, &ids);
            assert_eq!(std::fs::metadata(&path).unwrap().len() as usize, HEADER_BYTES + 3 * bytes);
            let file = TokenFile::open(&path, &[7; 32]).unwrap();
            let mut out = [0; 2];
            file.read(1, &mut out);
            assert_eq!((file.ids(), out), (3, [ids[1], ids[2]]));
            assert_eq!(file.stats, Stats { documents: 1, characters: 5, bytes: 6, tokens: 3 });
        }
    }

    #[test]
    fn every_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), 300, &[1, 2, 3, 299]);
        let whole = std::fs::read(&path).unwrap();
        assert!(TokenFile::open(&path, &[8; 32]).err().unwrap().contains("other files"));
        for at in (0..120).chain(HEADER_BYTES..whole.len()) {
            let mut bad = whole.clone();
            bad[at] ^= 0x40;
            std::fs::write(&path, &bad).unwrap();
            assert!(TokenFile::open(&path, &[7; 32]).is_err(), "byte {at}");
        }
        for len in [0, 7, HEADER_BYTES, whole.len() - 1] {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(TokenFile::open(&path, &[7; 32]).is_err(), "length {len}");
        }
    }

    #[test]
    fn a_fault_while_filling_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tokens");
        let outcome = write(&path, &[0; 32], 10, |w| w.push(&[1]).map_err(|_| "io").and(Err("mine"))).unwrap();
        assert_eq!(outcome, Err("mine"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
