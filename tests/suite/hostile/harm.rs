//! harm: what bad disks, bad copies and bad people do to the bytes of a file.

use proptest::prelude::*;
use proptest::sample::Index;

/// One thing done to a file.
#[derive(Clone, Debug)]
pub enum Harm {
    /// A bit turns over.
    Flip(Index, u8),
    /// A number of that many bytes says something else, in one byte order or the other.
    Number { at: Index, width: usize, says: i64, big_endian: bool },
    /// A number of seven bits a byte, as Thrift has them, says something else.
    Varint(Index, u64),
    /// The end is missing.
    Cut(Index),
    /// Something in the middle is missing.
    Lose(Index, usize),
    /// Something is there twice.
    Repeat(Index, usize),
    /// Something of another file stands there.
    Splice { at: Index, other: Index, from: Index, length: usize },
    /// Noise stands there.
    Noise(Index, Vec<u8>),
}

/// What a length that lies likes to say.
const LIES: [i64; 16] = [
    -1,
    0,
    1,
    2,
    -2,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    1 << 24,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    1 << 40,
    i64::MAX,
    i64::MIN,
];

fn harm() -> impl Strategy<Value = Harm> {
    let at = any::<Index>;
    let lie = || prop::sample::select(LIES.to_vec());
    prop_oneof![
        2 => (at(), 0..8_u8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        4 => (at(), prop::sample::select(vec![1_usize, 2, 4, 8]), lie(), any::<bool>())
            .prop_map(|(at, width, says, big_endian)| Harm::Number { at, width, says, big_endian }),
        2 => (at(), lie()).prop_map(|(at, says)| Harm::Varint(at, says as u64)),
        1 => at().prop_map(Harm::Cut),
        1 => (at(), 1..40_usize).prop_map(|(at, length)| Harm::Lose(at, length)),
        1 => (at(), 1..200_usize).prop_map(|(at, length)| Harm::Repeat(at, length)),
        1 => (at(), at(), at(), 1..400_usize)
            .prop_map(|(at, other, from, length)| Harm::Splice { at, other, from, length }),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, noise)| Harm::Noise(at, noise)),
    ]
}

/// A few harms.
pub fn harms() -> impl Strategy<Value = Vec<Harm>> {
    prop::collection::vec(harm(), 1..4)
}

/// The bytes after the harms; `others` are the files that pieces of are spliced in.
pub fn harmed(bytes: &[u8], harms: &[Harm], others: &[&[u8]]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for harm in harms {
        if bytes.is_empty() {
            break;
        }
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len());
        match harm {
            Harm::Flip(at, bit) => {
                let at = place(at, &bytes);
                bytes[at] ^= 1 << bit;
            }
            Harm::Number { at, width, says, big_endian } => {
                let mut number = says.to_le_bytes()[..*width].to_vec();
                if *big_endian {
                    number.reverse();
                }
                write_over(&mut bytes, at, &number);
            }
            Harm::Varint(at, says) => write_over(&mut bytes, at, &varint(*says)),
            Harm::Cut(at) => {
                let at = place(at, &bytes);
                bytes.truncate(at);
            }
            Harm::Lose(at, length) => {
                let at = place(at, &bytes);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Harm::Repeat(at, length) => {
                let at = place(at, &bytes);
                let again = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, again);
            }
            Harm::Splice { at, other, from, length } => {
                let other = others[other.index(others.len())];
                let from = from.index(other.len());
                write_over(&mut bytes, at, &other[from..(from + length).min(other.len())]);
            }
            Harm::Noise(at, noise) => write_over(&mut bytes, at, noise),
        }
    }
    bytes
}

fn write_over(bytes: &mut [u8], at: &Index, new: &[u8]) {
    let at = at.index(bytes.len());
    let end = (at + new.len()).min(bytes.len());
    bytes[at..end].copy_from_slice(&new[..end - at]);
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A PNG whose chunks have the checksums that they should have: otherwise its decoder looks no further.
pub fn with_checksums(mut png: Vec<u8>) -> Vec<u8> {
    let mut at = 8;
    while let Some(head) = png.get(at..at + 4) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(end) = at.checked_add(8 + length).filter(|end| end + 4 <= png.len()) else { break };
        let sum = crc32(&png[at + 4..end]);
        png[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |mut sum, byte| {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
        sum
    })
}
