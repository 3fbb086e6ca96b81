//! error: why a file of an artifact could not be read or written.

/// What is wrong, in which kind of file. The caller adds the object or path.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The bytes are not a whole file of that container, or contradict themselves.
    #[error("read {kind}: the file is damaged or cut short ({reason}); delete it and run again, which rebuilds it")]
    Damaged {
        /// The schema that was expected, such as `clusters/v1`, or the file's name.
        kind: String,
        /// What does not fit.
        reason: String,
    },
    /// A whole file, but of another kind or version.
    #[error("read {expected}: the file says that it holds {found}; open it with the version that wrote it")]
    OtherKind {
        /// The schema that was expected.
        expected: String,
        /// What the file's `dcpipe.schema` says.
        found: String,
    },
    /// A column is missing, too many, or of another type.
    #[error("read {kind}: column {column:?} should be {expected}, found {found}")]
    OtherColumn {
        /// The schema that was expected.
        kind: String,
        /// The column's name.
        column: String,
        /// The type it should have.
        expected: String,
        /// The type it has.
        found: String,
    },
    /// A metadata key is missing or does not parse.
    #[error("read {kind}: metadata {key} should be {expected}, found {found:?}")]
    OtherMetadata {
        /// The schema that was expected.
        kind: String,
        /// The key.
        key: String,
        /// The right value.
        expected: String,
        /// The value in the file, if any.
        found: Option<String>,
    },
    /// A value that cannot be true, such as a cluster id beyond k.
    #[error("read {kind}: column {column:?}, row {row}: {reason}")]
    BadValue {
        /// The schema that was expected.
        kind: String,
        /// The column's name.
        column: String,
        /// Row of the file, from 0.
        row: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A writer's rows differ from the announced ones.
    #[error("write {kind}: {reason}")]
    Rows {
        /// The schema to be written.
        kind: String,
        /// What does not fit.
        reason: String,
    },
    /// The bytes could not be written.
    #[error("write {kind}")]
    Write {
        /// The schema to be written.
        kind: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What the format room returns.
pub type Result<T, E = FormatError> = std::result::Result<T, E>;

/// A shorthand for [`FormatError::Damaged`].
pub(super) fn damaged(kind: impl Into<String>, reason: impl Into<String>) -> FormatError {
    FormatError::Damaged { kind: kind.into(), reason: reason.into() }
}

/// A shorthand for [`FormatError::Rows`].
pub(super) fn wrong_rows(kind: impl Into<String>, reason: impl Into<String>) -> FormatError {
    FormatError::Rows { kind: kind.into(), reason: reason.into() }
}

/// A shorthand for [`FormatError::BadValue`].
pub(super) fn bad_value(kind: impl Into<String>, column: &str, row: usize, reason: impl Into<String>) -> FormatError {
    FormatError::BadValue { kind: kind.into(), column: column.to_owned(), row, reason: reason.into() }
}

/// Turns a failed write into a [`FormatError::Write`].
pub(super) fn unwritten(kind: &str) -> impl Fn(std::io::Error) -> FormatError {
    let kind = kind.to_owned();
    move |source| FormatError::Write { kind: kind.clone(), source }
}

/// Runs a library's reader, whose panics on hostile bytes become errors.
pub(super) fn guarded<T>(kind: &str, read: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(damaged(kind, "its reader gave up on it")))
}
