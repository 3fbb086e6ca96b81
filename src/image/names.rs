//! names: what an entry's name says: an image, a picture of a kind not read, or neither.

/// File name endings of images, in any case: torchvision's IMG_EXTENSIONS, GIF, and two more of JPEG.
pub(super) const ENDINGS: [&str; 12] =
    ["jpg", "jpeg", "png", "bmp", "webp", "ppm", "pgm", "tif", "tiff", "gif", "jfif", "jpe"];
/// A file of this name marks a folder into which dcpipe wrote images. Exports have it, and so have the folder beside a
/// report and that of drawn images.
pub const OURS: &str = ".dcpipe-export.json";
/// Letters of the longest ending that other files are counted by.
const LONGEST: usize = 10;

/// Names that systems and tools leave in folders of images, some of them with copies of the images.
const LEFT_BEHIND: [&str; 15] = [
    "__MACOSX",
    ".DS_Store",
    ".Spotlight-V100",
    ".Trashes",
    ".fseventsd",
    ".TemporaryItems",
    "Thumbs.db",
    "desktop.ini",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "@eaDir",
    ".ipynb_checkpoints",
    ".git",
    ".dcpipe",
];

const CONVERT: &str = "convert it to JPEG or PNG";
const RENDER: &str = "render it to PNG";
const RENAME_JPG: &str = "its bytes may be those of a JPEG: rename it to .jpg, or convert it to JPEG or PNG";

/// A kind of picture that is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unread {
    /// One word, such as `heic`.
    pub(super) name: &'static str,
    /// What to do with a file of it.
    pub(super) advice: &'static str,
    endings: &'static [&'static str],
}

const fn unread(name: &'static str, endings: &'static [&'static str], advice: &'static str) -> Unread {
    Unread { name, advice, endings }
}

static UNREAD: [Unread; 24] = [
    unread("heic", &["heic", "heif", "hif"], CONVERT),
    unread("avif", &["avif", "avifs"], CONVERT),
    unread("jpeg_xl", &["jxl"], CONVERT),
    unread("jpeg_2000", &["jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "jpm"], CONVERT),
    unread("jpeg_xr", &["jxr", "wdp", "hdp"], CONVERT),
    unread("jpeg_ls", &["jls"], CONVERT),
    unread("jpeg_by_another_ending", &["jif", "jfi", "mpo"], RENAME_JPG),
    unread("apng", &["apng"], "its bytes are those of a PNG: rename it to .png"),
    unread("dib", &["dib"], CONVERT),
    unread("pnm", &["pbm", "pnm"], "its bytes may be those of a PPM or PGM: rename it to .ppm, or convert it to PNG"),
    unread("pam", &["pam", "pfm"], CONVERT),
    unread("ico", &["ico", "cur", "icns"], CONVERT),
    unread("tga", &["tga", "targa"], CONVERT),
    unread("pcx", &["pcx"], CONVERT),
    unread("dds", &["dds"], CONVERT),
    unread("qoi", &["qoi", "flif", "bpg"], CONVERT),
    unread("xbm", &["xbm", "xpm", "ras", "sgi"], CONVERT),
    unread("mng", &["mng", "jng"], CONVERT),
    unread("exr", &["exr", "hdr"], CONVERT),
    unread("psd", &["psd", "psb", "xcf", "kra"], "export it to JPEG or PNG"),
    unread("svg", &["svg", "svgz"], RENDER),
    unread("metafile", &["wmf", "emf", "eps"], RENDER),
    unread("dicom", &["dcm", "dicom", "fits"], CONVERT),
    unread(
        "raw",
        &[
            "dng", "cr2", "cr3", "crw", "nef", "nrw", "arw", "srf", "sr2", "orf", "rw2", "rwl", "raf", "pef", "srw",
            "x3f", "3fr", "fff", "iiq", "mef", "mos", "mrw", "dcr", "kdc", "erf", "gpr", "raw",
        ],
        "develop this camera's raw file to JPEG or PNG",
    ),
];

/// What a name says of its file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// An image that is read.
    Image,
    /// A picture of a kind that is not.
    Unread(&'static Unread),
    /// Nobody's image, whether file or folder, by this rule.
    LeftBehind(&'static str),
    /// No picture. Its ending in small letters; empty where there is none to speak of.
    Other(String),
}

impl Named {
    /// What `name` says.
    pub(super) fn of(name: &str) -> Self {
        if let Some(rule) = left_behind(name) {
            return Self::LeftBehind(rule);
        }
        let Some((stem, ending)) = name.rsplit_once('.') else { return Self::Other(String::new()) };
        let is = |known: &&str| known.eq_ignore_ascii_case(ending);
        if ENDINGS.iter().any(&is) {
            return Self::Image;
        }
        if let Some(kind) = UNREAD.iter().find(|kind| kind.endings.iter().any(&is)) {
            return Self::Unread(kind);
        }
        let is_plain = (1..=LONGEST).contains(&ending.len())
            && ending.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'_' | b'-'));
        Self::Other(if is_plain && !stem.is_empty() { ending.to_ascii_lowercase() } else { String::new() })
    }

    /// Whether a link of this name that leads nowhere may have led to a folder.
    pub(super) fn may_be_a_folder(&self) -> bool {
        matches!(self, Self::Other(ending) if !(2..=4).contains(&ending.len()) || ending.bytes().any(|byte| byte.is_ascii_digit()))
    }
}

/// The rule by which a name is passed over.
fn left_behind(name: &str) -> Option<&'static str> {
    if name.starts_with("._") {
        return Some("._*"); // What macOS keeps of a file beside it; the file's own ending follows.
    }
    if name.starts_with(".#") {
        return Some(".#*"); // An editor's lock: a link that leads nowhere, and is gone in a moment.
    }
    LEFT_BEHIND.into_iter().find(|known| known.eq_ignore_ascii_case(name))
}
