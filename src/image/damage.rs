//! damage: what becomes of a picture that is damaged and can be shown all the same.

use crate::image::BadImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What happens to a file that is damaged inside, and that Pillow takes, with a warning or without.
///
/// A missing end marker is no damage where every pixel is there. A picture that ends early is refused in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDamage {
    /// It counts as a bad image.
    #[default]
    Refuse,
    /// It is taken as Pillow shows it.
    Take,
}

const SIGNATURE: usize = 8;
/// Length, name and checksum of a chunk.
const AROUND: usize = 12;
const END: [u8; AROUND] = [0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82];

/// A PNG file with its end marker, and with right checksums of its pixels if damage is taken. Lengths, and the
/// checksums of all other chunks, stay as they are, as with Pillow.
pub(super) fn mended_png(bytes: &[u8], on_damage: OnDamage) -> Result<Cow<'_, [u8]>, BadImage> {
    let mut mended = Cow::Borrowed(bytes);
    let (mut at, mut pixels) = (SIGNATURE, false);
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let end = at.saturating_add(length).saturating_add(AROUND);
        if &head[4..] == b"IEND" && end <= bytes.len() {
            return Ok(mended);
        }
        let Some(chunk) = bytes.get(at..end) else { break };
        let (body, check) = chunk.split_at(chunk.len() - 4);
        if &head[4..] == b"IDAT" {
            pixels = true;
            let right = crc32(&body[4..]).to_be_bytes();
            if check != right && on_damage == OnDamage::Refuse {
                return Err(BadImage::Checksum(format!("the checksum of the pixels at byte {at} is wrong")));
            }
            if check != right {
                mended.to_mut()[end - 4..end].copy_from_slice(&right);
            }
        }
        at = end;
    }
    // Only the end marker or a part of it is missing. The decoder sees whether all pixels are there.
    let rest = bytes.get(at..).unwrap_or_default();
    if pixels && END.starts_with(rest) {
        mended.to_mut().truncate(at);
        mended.to_mut().extend_from_slice(&END);
    }
    Ok(mended)
}

/// PNG's checksum, bit by bit: it is asked for where the decoder has found fault already.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
