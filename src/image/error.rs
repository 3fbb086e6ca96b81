//! error: why a file is no picture, as a code for tables and a sentence for people.

/// A file that cannot be used as an image. Its text is the whole story; `detail` is the same without the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.kind(), self.detail())]
pub enum BadImage {
    /// Zero bytes.
    Empty,
    /// The first bytes belong to no format that is known here.
    UnknownFormat,
    /// A format that is known and not read.
    OtherFormat(&'static str),
    /// The file ends before the picture does.
    Truncated(String),
    /// The bytes contradict their own format.
    Corrupt(String),
    /// A checksum in the file is not that of its bytes.
    Checksum(String),
    /// The header claims more pixels than the limit; no memory was taken.
    TooLarge {
        /// Columns claimed.
        width: u32,
        /// Rows claimed.
        height: u32,
        /// The limit that was passed.
        max_pixels: u64,
    },
    /// A variant of the format that is not read here.
    Unsupported(String),
    /// The decoder broke down, which is its fault or the file's; nobody knows.
    DecoderFailed(String),
}

impl BadImage {
    /// A stable name for the reason, for tables.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::UnknownFormat => "unknown_format",
            Self::OtherFormat(_) => "other_format",
            Self::Truncated(_) => "truncated",
            Self::Corrupt(_) => "corrupt",
            Self::Checksum(_) => "checksum",
            Self::TooLarge { .. } => "too_large",
            Self::Unsupported(_) => "unsupported",
            Self::DecoderFailed(_) => "decoder_failed",
        }
    }

    /// What is so, and what to do; to stand behind the reason.
    pub fn detail(&self) -> String {
        match self {
            Self::Empty => "the file has no bytes; fetch it again, or delete it".to_owned(),
            Self::UnknownFormat => {
                "the first bytes are of no known format; convert it to JPEG or PNG, or delete it".to_owned()
            }
            Self::OtherFormat(name) => format!("the file is {name}, which is not read; convert it to JPEG or PNG"),
            Self::Truncated(text) => format!("the file ends before the picture does ({text}); fetch it again"),
            Self::Corrupt(text) => format!("{text}; fetch the file again"),
            Self::Checksum(text) => format!("{text}; fetch the file again"),
            Self::TooLarge { width, height, max_pixels } => {
                format!(
                    "the header claims {width} x {height} pixels, above the {max_pixels} of max_pixels; raise it, or scale the image down"
                )
            }
            Self::Unsupported(text) => format!("{text}; convert the file to an ordinary JPEG or PNG"),
            Self::DecoderFailed(text) => {
                format!("the decoder of dcpipe broke down ({text}); the file may be sound: convert it to JPEG or PNG")
            }
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::UnknownFormat => "not an image",
            Self::OtherFormat(_) => "another format",
            Self::Truncated(_) => "ends early",
            Self::Corrupt(_) => "damaged inside",
            Self::Checksum(_) => "checksum wrong",
            Self::TooLarge { .. } => "too large",
            Self::Unsupported(_) => "unsupported flavour",
            Self::DecoderFailed(_) => "decoder failed",
        }
    }
}
