//! jpeg: libjpeg-turbo behind the C shim `native/jpeg.c`, which keeps its long jumps to itself.

use crate::image::{BadImage, Limits, OnDamage, Picture};
use std::ffi::{CStr, c_char, c_int};

/// The library that decodes JPEG files, with its version: other versions may give other pixels.
pub const JPEG_LIBRARY: &str = concat!("libjpeg-turbo ", env!("DCPIPE_LIBJPEG_TURBO"));

/// `struct dcpipe_jpeg_info` of the shim; JMSG_LENGTH_MAX is 200 in every jpeglib.h.
#[repr(C)]
struct Info {
    width: u32,
    height: u32,
    message: [c_char; 200],
}

/// The library reads no side above 65,500 pixels.
const TOO_LONG_A_SIDE: c_int = 6;

#[expect(unsafe_code, reason = "libjpeg is a C library; this is the whole of its interface here")]
unsafe extern "C" {
    fn dcpipe_jpeg_probe(data: *const u8, length: usize, info: *mut Info) -> c_int;
    fn dcpipe_jpeg_decode(data: *const u8, length: usize, out: *mut u8, take: c_int, info: *mut Info) -> c_int;
    fn dcpipe_jpeg_encode(
        rgb: *const u8,
        width: u32,
        height: u32,
        quality: c_int,
        bytes: *mut *mut u8,
        length: *mut usize,
        info: *mut Info,
    ) -> c_int;
    fn dcpipe_jpeg_free(bytes: *mut u8);
}

impl Info {
    fn new(width: u32, height: u32) -> Self {
        Self { width, height, message: [0; 200] }
    }

    /// The shim's return code as a result.
    fn check(&self, code: c_int) -> Result<(), BadImage> {
        let bytes = self.message.map(c_char::cast_unsigned);
        let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default().to_string_lossy().into_owned();
        match code {
            0 => Ok(()),
            2 => Err(BadImage::Truncated(text)),
            3 | TOO_LONG_A_SIDE => Err(BadImage::Unsupported(text)),
            4 => Err(BadImage::Unsupported(format!("libjpeg found no memory for it: {text}"))),
            5 => Err(BadImage::Unsupported("a progressive JPEG of more than 100 scans".to_owned())),
            _ => Err(BadImage::Corrupt(text)),
        }
    }
}

/// Width and height, from the header alone.
pub(super) fn probe(bytes: &[u8], limits: &Limits) -> Result<(u32, u32), BadImage> {
    let mut info = Info::new(0, 0);
    // SAFETY: `bytes` is valid for its length and `info` for writing; the shim keeps neither.
    #[expect(unsafe_code, reason = "a call into C")]
    let code = unsafe { dcpipe_jpeg_probe(bytes.as_ptr(), bytes.len(), &raw mut info) };
    if code == 0 || code == TOO_LONG_A_SIDE {
        limits.check(info.width, info.height)?;
    }
    info.check(code)?;
    Ok((info.width, info.height))
}

/// Decodes to RGB exactly as Pillow does: accurate IDCT, fancy upsampling, grey replicated, inks to light.
pub(super) fn decode(bytes: &[u8], limits: &Limits, on_damage: OnDamage) -> Result<Picture, BadImage> {
    let (width, height) = probe(bytes, limits)?;
    let mut rgb = vec![0; width as usize * height as usize * 3];
    let mut info = Info::new(width, height);
    let take = c_int::from(on_damage == OnDamage::Take);
    // SAFETY: `rgb` holds width x height x 3 bytes; the shim compares the header again before it writes.
    #[expect(unsafe_code, reason = "a call into C")]
    let code = unsafe { dcpipe_jpeg_decode(bytes.as_ptr(), bytes.len(), rgb.as_mut_ptr(), take, &raw mut info) };
    info.check(code)?;
    Ok(Picture { width, height, rgb })
}

/// Encodes with libjpeg's defaults (4:2:0, quality 1-100); empty if the picture has no pixels or over 65,500 a side.
pub fn encode_jpeg(picture: &Picture, quality: u8) -> Vec<u8> {
    let (width, height) = (picture.width, picture.height);
    if picture.rgb.len() != width as usize * height as usize * 3 {
        return Vec::new();
    }
    let mut info = Info::new(width, height);
    let (mut bytes, mut length) = (std::ptr::null_mut(), 0);
    let quality = c_int::from(quality.clamp(1, 100));
    // SAFETY: the picture holds width x height x 3 samples (checked above); the out-pointers are ours.
    #[expect(unsafe_code, reason = "a call into C")]
    let code = unsafe {
        let rgb = picture.rgb.as_ptr();
        dcpipe_jpeg_encode(rgb, width, height, quality, &raw mut bytes, &raw mut length, &raw mut info)
    };
    if code != 0 || bytes.is_null() {
        return Vec::new();
    }
    // SAFETY: on success the shim gives `length` bytes, which are copied and then given back exactly once.
    #[expect(unsafe_code, reason = "memory that C allocated")]
    unsafe {
        let copy = std::slice::from_raw_parts(bytes, length).to_vec();
        dcpipe_jpeg_free(bytes);
        copy
    }
}
