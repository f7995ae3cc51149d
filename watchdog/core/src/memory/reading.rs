//! The trait of readable memory, and the errors of reads.

use super::{PhysAddr, PhysRange, RangeSet, Reason, Refusal};

/// Physical memory that can be read.
pub trait Memory: Send + Sync {
    /// The physical ranges this source can serve.
    fn ranges(&self) -> &RangeSet;

    /// The first part of `range` that this source cannot serve, and why. `None` if it can serve all
    /// of it.
    fn refusal(&self, range: &PhysRange) -> Option<Refusal> {
        let missing = self.ranges().first_missing(range)?;
        Some(Refusal { range: missing, reason: Reason::NotAsked })
    }

    /// Fills `buffer` with the bytes from physical address `at` on.
    ///
    /// The memory may belong to a running kernel: two reads of one place may differ.
    ///
    /// # Errors
    /// When part of it is outside [`Memory::ranges`] or the source refuses.
    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// Whether the memory is known not to change. Memory in a core file does not; a raw image may
    /// be the live memory of a machine.
    fn is_at_rest(&self) -> bool {
        false
    }
}

/// Why physical memory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No memory has these addresses.
    #[error("{length} bytes at physical {at} are outside the memory source ({source_name})")]
    Outside {
        /// First physical address of the read.
        at: PhysAddr,
        /// Length of the read in bytes.
        length: u64,
        /// The source, as the user named it.
        source_name: String,
    },
    /// The source does not serve a part of the range.
    #[error("cannot read {length} bytes at physical {at} from {source_name}: {refusal}")]
    Refused {
        /// First physical address of the read.
        at: PhysAddr,
        /// Length of the read in bytes.
        length: u64,
        /// The source, as the user named it.
        source_name: String,
        /// Which part, and why.
        refusal: Box<Refusal>,
    },
    /// The search was asked to stop.
    #[error("the search of memory was stopped")]
    Stopped,
    /// The operating system refused.
    #[error("cannot read {length} bytes at physical {at} from {source_name}")]
    Io {
        /// First physical address of the read.
        at: PhysAddr,
        /// Length of the read in bytes.
        length: u64,
        /// The source, as the user named it.
        source_name: String,
        /// The operating system's error.
        #[source]
        error: std::io::Error,
    },
}

impl ReadError {
    /// Whether a driver of node 0 claimed a part of the range. Memory beside it is readable.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        let Self::Refused { refusal, .. } = self else { return false };
        matches!(refusal.reason, Reason::Claimed(_))
    }
}

/// Admits a read of `length` bytes at `at`: its range if `memory` serves all of it, `None` if
/// `length` is 0.
///
/// # Errors
/// [`ReadError`], which names the part that is not served.
pub(super) fn admit(
    memory: &dyn Memory,
    at: PhysAddr,
    length: usize,
    source_name: impl FnOnce() -> String,
) -> Result<Option<PhysRange>, ReadError> {
    if length == 0 {
        return Ok(None);
    }
    let length = length as u64;
    let Some(range) = PhysRange::with_size(at, length) else {
        return Err(ReadError::Outside { at, length, source_name: source_name() });
    };
    match memory.refusal(&range) {
        None => Ok(Some(range)),
        Some(refusal) => {
            let (source_name, refusal) = (source_name(), Box::new(refusal));
            Err(ReadError::Refused { at, length, source_name, refusal })
        }
    }
}
