//! error: why a file is no picture, as a code for tables and a sentence for people.

/// A file that cannot be used as an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadImage {
    /// Zero bytes.
    #[error("the file is empty")]
    Empty,
    /// The first bytes belong to no format that is read here.
    #[error("not an image: the first bytes are those of no known format (jpeg png bmp webp ppm pgm tiff gif)")]
    UnknownFormat,
    /// The file ends before the picture does.
    #[error("truncated: the file ends before the picture does ({0}); fetch it again")]
    Truncated(String),
    /// The bytes contradict their own format.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// The header claims more pixels than the limit; no memory was taken.
    #[error("too large: the header claims {width} x {height} pixels, the limit is {max_pixels} pixels in all")]
    TooLarge {
        /// Columns claimed.
        width: u32,
        /// Rows claimed.
        height: u32,
        /// The limit that was passed.
        max_pixels: u64,
    },
    /// A variant of the format that is not read here.
    #[error("unsupported: {0}; convert the file to an ordinary JPEG or PNG")]
    Unsupported(String),
}

impl BadImage {
    /// A stable name for the reason, for tables.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::UnknownFormat => "unknown_format",
            Self::Truncated(_) => "truncated",
            Self::Corrupt(_) => "corrupt",
            Self::TooLarge { .. } => "too_large",
            Self::Unsupported(_) => "unsupported",
        }
    }
}
