//! Typed addresses. Their arithmetic is checked: it neither wraps nor panics.

use std::fmt;

use serde::{Serialize, Serializer};

/// Smallest page of x86-64, in bytes.
pub const PAGE_SIZE: u64 = 4096;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further up, or `None` past the end of the address space.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// The distance in bytes from `lower` up to `self`, or `None` when `lower` is above.
            #[must_use]
            pub const fn checked_sub(self, lower: Self) -> Option<u64> {
                self.0.checked_sub(lower.0)
            }

            /// The start of the 4 KiB page that holds this address.
            #[must_use]
            pub const fn page(self) -> Self {
                Self(self.0 & !(PAGE_SIZE - 1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        /// Serializes to a hexadecimal string, as everywhere in the JSON output.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

address! {
    /// A physical address of the machine.
    PhysAddr
}
address! {
    /// A virtual address of the watched kernel, never of this process.
    VirtAddr
}
