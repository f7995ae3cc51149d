//! The banner of a kernel, found in its image where no symbol leads to it.
//!
//! `linux_banner` (init/version-timestamp.c, before 6.2 init/version.c) is the line of
//! `/proc/version` in the read-only data, with its newline. The log holds the same line without
//! one. Since 6.1 a second one, without a number (`# SMP …`), serves the first link of the kernel.

use memchr::memmem;

use super::Budget;
use super::bytes::copy;
use crate::memory::{Memory, PhysAddr, PhysRange};

/// The start of every banner.
const START: &[u8] = b"Linux version ";
/// Most bytes of a banner.
const LONGEST: usize = 512;
/// Bytes behind the text that are searched. The read-only data of distribution kernels takes 10 to
/// 20 MiB.
const SEARCHED: u64 = 64 << 20;
/// Bytes copied at a time.
const CHUNK: u64 = 1 << 20;

/// The banner at the beginning of some bytes, without its end. Foreign text.
pub(super) fn line(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..bytes.len().min(LONGEST)).filter(|it| it.starts_with(START))?;
    let line = bytes.split(|&byte| byte == b'\n' || byte == 0).next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

/// The first banner in the part of an image behind physical `text_end`.
pub(super) fn find(
    memory: &dyn Memory,
    text_end: PhysAddr,
    image: PhysRange,
    budget: &mut Budget,
) -> Option<String> {
    let end = PhysAddr(text_end.0.saturating_add(SEARCHED)).min(image.end());
    let mut at = text_end;
    while at < end {
        let next = PhysAddr(at.0.saturating_add(CHUNK)).min(end);
        // A banner may begin at the end of a chunk.
        let with_rest = PhysAddr(next.0.saturating_add(LONGEST as u64)).min(image.end());
        let length = usize::try_from(with_rest.checked_sub(at)?).ok()?;
        budget.spend(length)?;
        // Freed init memory may lie in a hole of the source.
        if let Some(bytes) = copy(memory, at, length) {
            let found = memmem::find_iter(&bytes, START);
            let whole = found.filter_map(|start| bytes.get(start..)).find(|rest| is_whole(rest));
            if let Some(found) = whole {
                return line(found);
            }
        }
        at = next;
    }
    None
}

/// Whether bytes begin with a banner that ends as `linux_banner` does, and has a release and a
/// number.
fn is_whole(bytes: &[u8]) -> bool {
    let bytes = bytes.get(..bytes.len().min(LONGEST)).unwrap_or_default();
    let end = bytes.iter().position(|&byte| byte == b'\n' || byte == 0);
    let ends = end.and_then(|end| bytes.get(end..)?.get(..2)) == Some(b"\n\0");
    let line = end.and_then(|end| bytes.get(..end)).unwrap_or_default();
    let is_numbered = memmem::find(line, b") # ").is_none();
    ends && is_numbered && bytes.get(START.len()).is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::super::tests::made_up::{FIRST, Machine};
    use super::*;

    /// Check that the banner is found, and that a line of the log, a format and a banner outside
    /// the image are not.
    #[test]
    fn in_the_image() {
        let machine = Machine::with(FIRST);
        let text_end = PhysAddr(FIRST.text + FIRST.text_size);
        let image = |end| PhysRange::new(PhysAddr(FIRST.text), PhysAddr(end)).unwrap();
        let whole = image(FIRST.text + 0x80_0000);
        let find = |image| find(&machine, text_end, image, &mut Budget::for_memory(0));
        let banner = "Linux version 6.1.0-made-up (somebody) #1 SMP";
        assert_eq!(find(whole).as_deref(), Some(banner));
        assert_eq!(find(image(FIRST.banner())), None);
        let unnumbered = b"Linux version 6.1 (somebody) # SMP\n\0";
        let others = [&b"Linux version 6.1 (somebody)\0"[..], b"Linux version %s (a@b)\n\0"];
        for other in others.into_iter().chain([&unnumbered[..]]) {
            machine.write(FIRST.banner(), &[0; 64]);
            machine.write(FIRST.banner(), other);
            assert_eq!(find(whole), None);
        }
    }
}
