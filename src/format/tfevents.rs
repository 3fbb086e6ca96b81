//! tfevents: TensorBoard's event files: records with checksums, each a message of protocol buffers.
//!
//! The messages are `Event` and `Summary` of TensorFlow's event.proto and summary.proto, which have not changed for years.
//! Only the fields that are written here are named.

use std::io::{self, Write};

/// What the first event says.
const VERSION: &str = "brain.Event:2";
/// Samples of a pixel of an RGB picture, as `Summary.Image` counts them.
const RGB: u64 = 3;

/// Writes events. The same events are the same bytes: the time of each is its step, in seconds from 1970.
pub struct EventWriter<W: Write> {
    out: W,
}

impl<W: Write> EventWriter<W> {
    /// Begins a file.
    pub fn create(out: W) -> io::Result<Self> {
        let mut writer = Self { out };
        writer.event(0, |event| event.bytes(3, VERSION.as_bytes()))?;
        Ok(writer)
    }

    /// Writes a number under a tag.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32) -> io::Result<()> {
        self.value(tag, step, |summary| summary.float(2, value))
    }

    /// Writes a picture, a JPEG or PNG file, under a tag.
    pub fn picture(&mut self, tag: &str, step: u64, width: u32, height: u32, file: &[u8]) -> io::Result<()> {
        let mut picture = Message::default();
        picture.number(1, height.into());
        picture.number(2, width.into());
        picture.number(3, RGB);
        picture.bytes(4, file);
        self.value(tag, step, |value| value.bytes(4, &picture.0))
    }

    /// Ends the file and returns the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn value(&mut self, tag: &str, step: u64, fill: impl FnOnce(&mut Message)) -> io::Result<()> {
        let mut value = Message::default();
        value.bytes(1, tag.as_bytes());
        fill(&mut value);
        let mut summary = Message::default();
        summary.bytes(1, &value.0);
        self.event(step, |event| event.bytes(5, &summary.0))
    }

    fn event(&mut self, step: u64, fill: impl FnOnce(&mut Message)) -> io::Result<()> {
        let mut event = Message::default();
        event.double(1, step as f64);
        event.number(2, step);
        fill(&mut event);
        let length = (event.0.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked(&length).to_le_bytes())?;
        self.out.write_all(&event.0)?;
        self.out.write_all(&masked(&event.0).to_le_bytes())
    }
}

/// A message of protocol buffers.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A field's number, and how its value is written. 0 is a varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
    fn key(&mut self, field: u64, how: u64) {
        self.varint(field << 3 | how);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }
}

/// CRC-32C (Castagnoli), by the byte.
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut crc, mut bit) = (at as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

const TABLE: [u32; 256] = table();

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| crc >> 8 ^ TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize])
}

/// The checksum as records have it, so that a checksum of checksums says something.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, B.4
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_scalar_is_the_bytes_that_tensorflow_writes() {
        let mut writer = EventWriter::create(Vec::new()).unwrap();
        writer.out.clear();
        writer.scalar("loss", 300, 1.5).unwrap();
        let event = [
            &[0x09][..],
            &300_f64.to_le_bytes(),
            &[0x10, 0xac, 0x02, 0x2a, 0x0d, 0x0a, 0x0b, 0x0a, 0x04],
            b"loss",
            &[0x15, 0x00, 0x00, 0xc0, 0x3f],
        ]
        .concat();
        let written = writer.finish().unwrap();
        assert_eq!(written[..8], (event.len() as u64).to_le_bytes());
        assert_eq!(written[12..written.len() - 4], event);
    }
}
