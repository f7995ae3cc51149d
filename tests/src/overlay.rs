//! A kernel's memory with some changed bytes, as an attacker would leave it.

use watchdog_core::memory::{Memory, PhysAddr, PhysRange, RangeSet, RawImage, ReadError, Refusal};

/// A change: the image offset and the bytes to write there.
pub type Patch = (u32, Vec<u8>);

/// Unchanging memory with a few patches over it.
pub struct Overlay<'a> {
    below: &'a RawImage,
    patches: Vec<(u64, Vec<u8>)>,
}

impl<'a> Overlay<'a> {
    /// Patches the image that begins at physical `stext`.
    #[must_use]
    pub fn of(below: &'a RawImage, stext: PhysAddr, patches: &[Patch]) -> Self {
        let place = |(at, bytes): &Patch| (stext.0 + u64::from(*at), bytes.clone());
        Self { below, patches: patches.iter().map(place).collect() }
    }
}

impl Memory for Overlay<'_> {
    fn ranges(&self) -> &RangeSet {
        self.below.ranges()
    }

    fn refusal(&self, range: &PhysRange) -> Option<Refusal> {
        self.below.refusal(range)
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.below.read(at, buffer)?;
        let end = at.0 + buffer.len() as u64;
        for (start, bytes) in &self.patches {
            let first = (*start).max(at.0);
            let last = (start + bytes.len() as u64).min(end);
            if first < last {
                let (from, to) = ((first - start) as usize, (first - at.0) as usize);
                let count = (last - first) as usize;
                buffer[to..to + count].copy_from_slice(&bytes[from..from + count]);
            }
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        true
    }
}
