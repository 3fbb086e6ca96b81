//! indices: the four index spaces are four types, none of which can be taken for another.

use dcpipe::base::{ClusterId, ImageId, Position, PseudoLabel};
use std::marker::PhantomData;

/// Whether a type implements a trait: an inherent constant, which needs the trait, goes before one that every type has.
macro_rules! implements {
    ($type:ty: $($bound:tt)+) => {{
        #[allow(dead_code, reason = "used where the answer is no")]
        trait Otherwise {
            const DOES: bool = false;
        }
        impl<T> Otherwise for T {}
        struct Ask<T>(PhantomData<T>);
        #[allow(dead_code, reason = "used where the answer is yes")]
        impl<T: $($bound)+> Ask<T> {
            const DOES: bool = true;
        }
        <Ask<$type>>::DOES
    }};
}

/// Insists that nothing leads from `a` to each of the others: no equality, no conversion, no lending.
macro_rules! stands_apart {
    ($a:ty: $($b:ty),+) => {$(
        assert!(std::any::TypeId::of::<$a>() != std::any::TypeId::of::<$b>());
        assert!(!implements!($a: PartialEq<$b>) && !implements!($a: PartialOrd<$b>));
        assert!(!implements!($a: Into<$b>) && !implements!($a: TryInto<$b>));
        assert!(!implements!($a: AsRef<$b>) && !implements!($a: std::borrow::Borrow<$b>));
        assert!(!implements!($a: std::ops::Deref<Target = $b>) && !implements!($a: std::ops::Deref<Target = u32>));
        assert!(!implements!($a: std::ops::Sub<$b>) && !implements!($a: std::ops::Add<$b>));
    )+};
}

#[test]
fn no_index_of_one_space_passes_for_one_of_another() {
    stands_apart!(ImageId: ClusterId, PseudoLabel, Position, u32, usize);
    stands_apart!(ClusterId: ImageId, PseudoLabel, Position, u32, usize);
    stands_apart!(PseudoLabel: ImageId, ClusterId, Position, u32, usize);
    stands_apart!(Position: ImageId, ClusterId, PseudoLabel, u32, usize);
}

#[test]
fn the_test_of_the_indices_sees_what_a_type_does() {
    assert!(implements!(ImageId: PartialEq<ImageId>) && implements!(u8: Into<u32>) && implements!(u64: TryInto<u32>));
    assert!(implements!(&'static u32: std::ops::Deref<Target = u32>) && implements!(u32: std::ops::Add<u32>));
}
