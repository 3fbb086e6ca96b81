//! element: the Rust numbers that may fill a column.

use super::kind::Scalar;
use arrow::datatypes::{ArrowNativeType, ToByteSlice};
use half::f16;

/// A number with the same bytes in memory and in a file (little endian; dcpipe runs on no other machines).
pub trait Element: ArrowNativeType {
    /// Its type in a schema.
    const SCALAR: Scalar;
}

macro_rules! element {
    ($($native:ty => $scalar:ident),*) => {
        $(impl Element for $native {
            const SCALAR: Scalar = Scalar::$scalar;
        })*
    };
}
element!(u8 => U8, i32 => I32, i64 => I64, f16 => F16, f32 => F32, f64 => F64);

const _: () = assert!(cfg!(target_endian = "little"), "files are little endian and mapped as they are");

/// The numbers' bytes, not copied.
pub fn bytes_of<T: Element>(numbers: &[T]) -> &[u8] {
    numbers.to_byte_slice()
}
