//! The content of a source: read into memory when small, mapped when large, or built into the program.
//! Deliberately not here: what the bytes mean (`formats`).

use super::DataError;
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::Path;

/// Below this a file is read rather than mapped: an editor that truncates a mapped file kills its reader, and a
/// copy of this size costs nothing.
const MAP_FROM_BYTES: u64 = 16 << 20;

/// Bytes, wherever they are.
pub enum Bytes {
    Owned(Vec<u8>),
    Mapped(memmap2::Mmap),
    Static(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
        }
    }
}

impl Bytes {
    /// Opens a regular file. Errors name the path: missing, a directory, not readable, not a regular file.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::open_mapping_from(path, MAP_FROM_BYTES)
    }

    fn open_mapping_from(path: &Path, map_from: u64) -> Result<Self, DataError> {
        let io = |e: std::io::Error| DataError::io(path, &e);
        // Asked before opening, since opening a pipe would wait for its writer.
        let meta = std::fs::metadata(path).map_err(io)?;
        if meta.is_dir() {
            return Err(DataError::file(path, "is a directory", "name a file in it"));
        }
        if !meta.is_file() {
            return Err(DataError::file(path, "is not a regular file", "copy its content into a file first"));
        }
        let mut file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        if len >= map_from {
            // SAFETY: the map is read-only. A file of this size is a data set, which nothing rewrites in place;
            // token caches, the other large files, are replaced by renaming.
            return Ok(Self::Mapped(unsafe { memmap2::Mmap::map(&file) }.map_err(io)?));
        }
        let mut bytes = Vec::with_capacity(len as usize);
        file.read_to_end(&mut bytes).map_err(io)?;
        Ok(Self::Owned(bytes))
    }
}

/// The line (from 1) that the byte at `offset` stands in.
pub fn line_of(bytes: &[u8], offset: usize) -> usize {
    memchr::memchr_iter(b'\n', &bytes[..offset.min(bytes.len())]).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_reads_as_an_owned_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "one\ntwo\nthree").unwrap();
        let (owned, mapped) = (Bytes::open(&path).unwrap(), Bytes::open_mapping_from(&path, 1).unwrap());
        assert!(matches!(owned, Bytes::Owned(_)) && matches!(mapped, Bytes::Mapped(_)));
        assert_eq!(&*owned, &*mapped);
        assert_eq!((line_of(&owned, 0), line_of(&owned, 4), line_of(&owned, 100)), (1, 2, 3));
    }

    #[test]
    fn what_is_not_a_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Bytes::open(dir.path()).err().unwrap().to_string();
        assert!(directory.contains("is a directory; name a file in it"), "{directory}");
        let missing = Bytes::open(&dir.path().join("gone.txt")).err().unwrap().to_string();
        assert!(missing.contains("gone.txt: no such file"), "{missing}");
    }
}
