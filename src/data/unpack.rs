//! Files that are packed (`.gz`, `.zst`) or no text (Parquet), written out so that any row of them is at hand: in memory
//! while small, then in a file without a name that the system drops with the process.
//! Deliberately not here: what the bytes mean (`formats`) and which rows are read (`table`).

use super::bytes::Bytes;
use super::{DataError, formats::Format};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        [Self::Gzip, Self::Zstd].into_iter().find(|p| name.strip_suffix(p.extension()).is_some_and(|rest| rest.ends_with('.')))
    }

    /// Without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
        }
    }

    fn reader(self, file: File) -> io::Result<Box<dyn Read + Send>> {
        let file = BufReader::with_capacity(256 << 10, file);
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Self::Zstd => {
                let mut reader = zstd::stream::read::Decoder::with_buffer(file)?;
                // Larger windows take more memory than a reader of text may ask for.
                reader.window_log_max(27)?;
                Box::new(reader)
            }
        })
    }
}

/// Up to here what was written out stays in memory.
const MEMORY_BYTES: u64 = 16 << 20;
/// A file that grows larger than this is refused, and so is one that would leave less than `SPARE_BYTES` of the disk.
const LARGEST_BYTES: u64 = 256 << 30;
const SPARE_BYTES: u64 = 1 << 30;
const CHUNK_BYTES: usize = 256 << 10;

/// Bytes that were written out. Cloning is cheap, and a clone sees what is written later.
#[derive(Clone)]
pub struct Spill {
    inner: Arc<Mutex<Inner>>,
    /// Where its file is made.
    scratch: Arc<PathBuf>,
}

struct Inner {
    memory: Vec<u8>,
    file: Option<Arc<File>>,
    len: u64,
}

impl Spill {
    /// `scratch` is a directory; where it is none, the system's own is taken.
    pub fn new(scratch: &Path) -> Self {
        let scratch = if scratch.is_dir() { scratch.to_owned() } else { std::env::temp_dir() };
        let inner = Inner { memory: Vec::new(), file: None, len: 0 };
        Self { inner: Arc::new(Mutex::new(inner)), scratch: Arc::new(scratch) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> u64 {
        self.lock().len
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        let after = inner.len + bytes.len() as u64;
        if inner.file.is_none() && after <= MEMORY_BYTES {
            inner.memory.extend_from_slice(bytes);
        } else {
            if inner.len / SPARE_BYTES != after / SPARE_BYTES || inner.file.is_none() {
                room(&self.scratch, after)?;
            }
            let file = match &inner.file {
                Some(file) => file.clone(),
                None => {
                    let file = Arc::new(tempfile::tempfile_in(&*self.scratch)?);
                    file.write_all_at(&inner.memory, 0)?;
                    inner.memory = Vec::new();
                    inner.file = Some(file.clone());
                    file
                }
            };
            file.write_all_at(bytes, inner.len)?;
        }
        inner.len = after;
        Ok(())
    }

    /// Fills `out` from `offset` on; an error where that much is not there.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let file = {
            let inner = self.lock();
            match &inner.file {
                Some(file) => file.clone(),
                None => {
                    let from = offset as usize;
                    let part = inner.memory.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
                    out.copy_from_slice(part);
                    return Ok(());
                }
            }
        };
        file.read_exact_at(out, offset)
    }

    fn into_bytes(self) -> io::Result<Bytes> {
        let mut inner = self.lock();
        match inner.file.take() {
            None => Ok(Bytes::Owned(std::mem::take(&mut inner.memory))),
            // SAFETY: the file has no name, so that nobody else can change it.
            Some(file) => Ok(Bytes::Mapped(unsafe { memmap2::Mmap::map(&*file) }?)),
        }
    }
}

/// Whether so much may be written out.
fn room(scratch: &Path, bytes: u64) -> io::Result<()> {
    if bytes > LARGEST_BYTES {
        return Err(io::Error::other("unpacked it is larger than 256 GB"));
    }
    let Ok(path) = std::ffi::CString::new(scratch.as_os_str().as_encoded_bytes()) else { return Ok(()) };
    // SAFETY: the structure is plain numbers, for which all zeroes are values; the call fills it for a path that ends in a zero.
    let free = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &mut stat) != 0 {
            return Ok(());
        }
        (stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64)
    };
    if free < SPARE_BYTES { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

/// What is done with the next bytes; `false` ends the reading.
type Push<'p> = &'p mut dyn FnMut(&[u8]) -> Result<bool, DataError>;

/// Whether a file has to be written out before its rows can be read.
pub fn is_needed(path: &Path, format: &Format) -> bool {
    format.written_out.is_some() || Packing::of_name(&path.to_string_lossy()).is_some()
}

/// Hands on the content of a file that is packed or no text, piece by piece.
pub fn unpack(path: &Path, format: &Format, scratch: &Path, push: Push) -> Result<(), DataError> {
    let packing = Packing::of_name(&path.to_string_lossy());
    match (packing, format.written_out) {
        (None, Some(write_out)) => write_out(path, push),
        (Some(packing), None) => stream(path, packing, push),
        (Some(packing), Some(write_out)) => {
            // A packed file that is no text needs a name for its own reader.
            let mut whole = tempfile::Builder::new()
                .tempfile_in(if scratch.is_dir() { scratch.to_owned() } else { std::env::temp_dir() })
                .map_err(|e| DataError::io(path, &e))?;
            stream(path, packing, &mut |bytes| whole.write_all(bytes).map(|()| true).map_err(|e| DataError::io(path, &e)))?;
            write_out(whole.path(), push)
        }
        (None, None) => Err(DataError::file(path, "is not packed", "read it as it is")),
    }
}

fn stream(path: &Path, packing: Packing, push: Push) -> Result<(), DataError> {
    let io = |e: io::Error| DataError::io(path, &e);
    let meta = std::fs::metadata(path).map_err(io)?;
    if !meta.is_file() {
        return Err(DataError::file(path, "is not a regular file", "name a file"));
    }
    let mut reader = packing.reader(File::open(path).map_err(io)?).map_err(io)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut done = 0u64;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                done += n as u64;
                if !push(&buffer[..n])? {
                    return Ok(());
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(broken(path, packing, done, &e)),
        }
    }
}

fn broken(path: &Path, packing: Packing, done: u64, error: &io::Error) -> DataError {
    let name = match packing {
        Packing::Gzip => "gzip",
        Packing::Zstd => "zstd",
    };
    let cut = error.kind() == io::ErrorKind::UnexpectedEof || error.to_string().contains("incomplete");
    let what = if cut { "is cut off".to_owned() } else { format!("is damaged ({})", super::visible(&error.to_string())) };
    DataError::file(path, format!("the {name} file {what} after {} bytes of content", super::thousands(done)), "fetch the file again")
}

/// All of a file that is packed or no text, for who needs it in one piece.
pub fn whole(path: &Path, format: &Format, scratch: &Path) -> Result<Bytes, DataError> {
    let spill = Spill::new(scratch);
    unpack(path, format, scratch, &mut |bytes| spill.push(bytes).map(|()| true).map_err(|e| DataError::io(path, &e)))?;
    spill.into_bytes().map_err(|e| DataError::io(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spill_reads_back_in_memory_and_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let spill = Spill::new(dir.path());
        let block: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
        let mut out = vec![0; 1000];
        for n in 0..20 {
            spill.push(&block).unwrap();
            spill.read((n << 20) + 77, &mut out).unwrap();
            assert_eq!(out, block[77..1077], "{n}");
        }
        assert!(spill.read(spill.len() - 10, &mut out).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "its file has no name");
        assert!(matches!(spill.into_bytes().unwrap(), Bytes::Mapped(map) if map.len() == 20 << 20));
    }

    #[test]
    fn names_tell_how_a_file_is_packed() {
        assert_eq!(Packing::of_name("a.jsonl.GZ"), Some(Packing::Gzip));
        assert_eq!(Packing::of_name("a.zst"), Some(Packing::Zstd));
        assert_eq!((Packing::of_name("agz"), Packing::of_name("a.txt")), (None, None));
        assert_eq!(crate::data::formats::of_name("x/a.csv.gz").name, "csv");
        assert!(crate::data::formats::known("a.parquet") && !crate::data::formats::known("a.bin.gz"));
    }
}
