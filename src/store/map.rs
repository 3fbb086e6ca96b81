//! map: a file's bytes, memory-mapped and shared without copies.

use bytes::Bytes;
use std::fs::File;
use std::io;

/// Maps a whole file of `len` bytes for reading. The map stays valid when the file is unlinked.
#[expect(unsafe_code, reason = "a memory map is only as immutable as its file")]
pub fn map(file: &File, len: u64) -> io::Result<Bytes> {
    if len == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: objects are read-only files that dcpipe never writes again once they have their name. One risk remains:
    // another program may truncate the file while it is mapped. The size was checked on this very descriptor.
    let map = unsafe { memmap2::Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}
