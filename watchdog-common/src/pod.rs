//! Marks the types that aya sends to the kernel.

use crate::{DmaDevices, FileKey, Lease, Offsets, PageTables, Rules, State};

macro_rules! plain_data {
    ($($name:ty),+) => {
        $(
            // SAFETY: `repr(C)`, integers only, and no padding, as the proof beside the type says.
            unsafe impl aya::Pod for $name {}
        )+
    };
}
plain_data!(Rules, Offsets, FileKey, State, Lease, DmaDevices, PageTables);
