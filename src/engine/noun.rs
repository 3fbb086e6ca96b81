//! noun: what an artifact is: its name and the version of its files.

/// What an artifact is: its noun and the version of its file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noun {
    /// Such as `clusters`.
    pub name: &'static str,
    /// Counts up when the files change in a way that old readers would misread.
    pub format: u32,
}
