//! blocks: files of what was seen of image files, in blocks that each prove themselves.
//!
//! A block has 64 KiB: a check (32 bytes), the number of bytes in use (4, little-endian), entries, zeros. The check is
//! BLAKE3 keyed by the memory's name, over all that follows it. A block that is damaged or cut off counts as absent.

use crate::base::Digest;
use crate::store::io::Found;
use crate::store::{Disk, StoreIo};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::path::Path;

/// Bytes of a block; the longest path that Linux opens fits sixteen times.
pub(super) const BLOCK: usize = 64 << 10;
const CHECK: usize = 32;
const HEAD: usize = CHECK + 4;
/// Bytes of an entry besides its path.
const FIXED: usize = 2 + 8 + 16 + 16 + 8 + 32 + 4 + 4;

/// What is remembered of a good file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) bytes: u64,
    pub(super) mtime_ns: i128,
    pub(super) ctime_ns: i128,
    pub(super) inode: u64,
    pub(super) digest: Digest,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The check of a block.
fn check(name: &str, block: &[u8]) -> [u8; CHECK] {
    let key = Digest::of(name.as_bytes());
    *blake3::Hasher::new_keyed(key.as_bytes()).update(&block[CHECK..]).finalize().as_bytes()
}

/// Writes entries, a block at a time.
pub(super) struct Writer<W: Write> {
    file: W,
    name: String,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn to(file: W, name: &str) -> Self {
        Self { file, name: name.to_owned(), block: vec![0; HEAD] }
    }

    pub(super) fn push(&mut self, path: &str, seen: &Seen) -> io::Result<()> {
        let Ok(length) = u16::try_from(path.len()) else { return Ok(()) };
        if HEAD + FIXED + path.len() > BLOCK {
            return Ok(());
        }
        if self.block.len() + FIXED + path.len() > BLOCK {
            self.flush()?;
        }
        let Seen { bytes, mtime_ns, ctime_ns, inode, digest, width, height } = seen;
        let block = &mut self.block;
        block.extend(length.to_le_bytes());
        block.extend(path.as_bytes());
        block.extend(bytes.to_le_bytes());
        block.extend(mtime_ns.to_le_bytes());
        block.extend(ctime_ns.to_le_bytes());
        block.extend(inode.to_le_bytes());
        block.extend(digest.as_bytes());
        block.extend(width.to_le_bytes());
        block.extend(height.to_le_bytes());
        Ok(())
    }

    /// Writes what is not written yet; nothing is added to such a block any more.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let used = self.block.len();
        if used == HEAD {
            return Ok(());
        }
        self.block.resize(BLOCK, 0);
        self.block[CHECK..HEAD].copy_from_slice(&(used as u32).to_le_bytes());
        let check = check(&self.name, &self.block);
        self.block[..CHECK].copy_from_slice(&check);
        let written = self.file.write_all(&self.block);
        self.block.clear();
        self.block.resize(HEAD, 0);
        written
    }
}

/// The entries of a file, as far as its blocks are whole; one block is held at a time.
pub(super) struct Reader {
    file: Option<Box<dyn Read>>,
    name: String,
    entries: VecDeque<(String, Seen)>,
}

impl Reader {
    pub(super) fn open(path: &Path, name: &str) -> Self {
        let file = match Disk.look(path) {
            Ok(Found::File(len)) => Disk.open(path, len).ok(),
            _ => None,
        };
        Self { file, name: name.to_owned(), entries: VecDeque::new() }
    }
}

impl Iterator for Reader {
    type Item = (String, Seen);

    fn next(&mut self) -> Option<Self::Item> {
        let mut block = Vec::new();
        while self.entries.is_empty() {
            block.resize(BLOCK, 0);
            self.file.as_mut()?.read_exact(&mut block).ok()?;
            if check(&self.name, &block) == block[..CHECK] {
                self.entries = entries(&block);
            }
        }
        self.entries.pop_front()
    }
}

/// The entries of a whole block.
fn entries(block: &[u8]) -> VecDeque<(String, Seen)> {
    let used = Fields(&block[CHECK..]).number().map_or(0, |used| u32::from_le_bytes(used) as usize);
    let mut fields = Fields(block.get(HEAD..used).unwrap_or_default());
    std::iter::from_fn(|| fields.entry()).collect()
}

/// The fields of a block that are still to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*number)
    }

    fn entry(&mut self) -> Option<(String, Seen)> {
        let length = u16::from_le_bytes(self.number()?);
        let (path, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        let seen = Seen {
            bytes: u64::from_le_bytes(self.number()?),
            mtime_ns: i128::from_le_bytes(self.number()?),
            ctime_ns: i128::from_le_bytes(self.number()?),
            inode: u64::from_le_bytes(self.number()?),
            digest: Digest::from_bytes(self.number()?),
            width: u32::from_le_bytes(self.number()?),
            height: u32::from_le_bytes(self.number()?),
        };
        Some((std::str::from_utf8(path).ok()?.to_owned(), seen))
    }
}
