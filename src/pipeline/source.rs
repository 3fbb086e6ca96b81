//! source: a text that was parsed, and what it is called.

/// A pipeline file or an override; a [`Span`](crate::base::tree::Span) names it by its number.
#[derive(Debug)]
pub(super) struct Source {
    /// As the file was named, or `--set`.
    pub(super) name: String,
    /// The whole text.
    pub(super) text: String,
}
