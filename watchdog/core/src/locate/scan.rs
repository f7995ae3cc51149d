//! One pass over memory, which finds the signs for all witnesses.

use std::iter;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use super::bytes::{u32_at, u64_at};
use super::{Stop, VendorSign, iomem, kallsyms, page_tables, vmcoreinfo};
use crate::memory::{Memory, PAGE_SIZE, PhysAddr, PhysRange, RangeSet, ReadError};

/// Bytes copied at a time. They fit the second-level cache, so that each byte leaves memory once.
const CHUNK: u64 = 1 << 20;
/// Bytes copied beyond a chunk, for signs that begin at its end. A token index is the longest.
const OVERLAP: usize = kallsyms::INDEX_BYTES;
/// Bytes that the quick check for signs covers at once.
const BLOCK: usize = 64;
/// Most signs of one kind that are followed; far more than any machine has kernels.
const MAX_SIGNS: usize = 1024;
/// Most threads that search. Memory is soon the limit, and the nodes need their cores.
const MAX_THREADS: usize = 4;

/// The signs that a pass found, each kind in ascending order.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Pages with the shape of `level3_kernel_pgt`.
    pub(super) level3: Vec<PhysAddr>,
    /// Addresses of token indexes of kallsyms.
    pub(super) token_indexes: Vec<PhysAddr>,
    /// Addresses of the flags of resources that may be the kernel's text.
    pub(super) resources: Vec<PhysAddr>,
    /// Build-id notes of vendor's images: number of the image, and physical address.
    pub(super) vendor_notes: Vec<(usize, PhysAddr)>,
    /// Copies of pages that hold a VMCOREINFO note, with their addresses.
    pub(super) notes: Vec<(PhysAddr, Vec<u8>)>,
    /// Whether there were more signs of one kind than are followed.
    pub(super) flooded: bool,
}

/// The speed of a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Threads that search.
    pub(super) threads: usize,
}

impl Pace {
    /// As fast as this machine can, on up to [`MAX_THREADS`] threads.
    pub(super) fn fast() -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        Self { threads: threads.min(MAX_THREADS) }
    }

    /// On one thread, which `progress` may delay.
    pub(super) const fn gentle() -> Self {
        Self { threads: 1 }
    }
}

/// Passes once over all of `within`.
pub(super) fn scan(
    memory: &dyn Memory,
    within: &RangeSet,
    images: &[VendorSign],
    pace: Pace,
    stop: &Stop,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Signs, ReadError> {
    let pass = Pass {
        memory,
        images,
        chunks: chunks(within),
        next: AtomicUsize::new(0),
        done: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        stop,
    };
    let total = within.size();
    let helpers = pace.threads.min(pass.chunks.len()).saturating_sub(1);
    let mut signs = thread::scope(|scope| {
        let helping: Vec<_> =
            (0..helpers).map(|_| scope.spawn(|| pass.work(&mut |_| ()))).collect();
        let mut signs = pass.work(&mut |done| progress(done, total))?;
        for helper in helping {
            // A panic of a helper thread continues in this one.
            let helped = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            signs.add(helped);
        }
        Ok(signs)
    })?;
    stop.check()?;
    progress(total, total);
    signs.sort();
    Ok(signs)
}

impl Signs {
    /// Logs how many signs of each kind there are.
    pub(super) fn log(&self, within: &RangeSet) {
        log::debug!(
            "signs in {within}: {} of page tables, {} of kallsyms, {} of iomem, \
             {} of vmcoreinfo, {} of images{}",
            self.level3.len(),
            self.token_indexes.len(),
            self.resources.len(),
            self.notes.len(),
            self.vendor_notes.len(),
            if self.flooded { "; one kind has more than are followed" } else { "" }
        );
    }

    fn add(&mut self, mut other: Self) {
        self.level3.append(&mut other.level3);
        self.token_indexes.append(&mut other.token_indexes);
        self.resources.append(&mut other.resources);
        self.vendor_notes.append(&mut other.vendor_notes);
        self.notes.append(&mut other.notes);
        self.flooded |= other.flooded;
    }

    /// Sorts the signs of several threads, and checks their number.
    fn sort(&mut self) {
        self.level3.sort_unstable();
        self.token_indexes.sort_unstable();
        self.resources.sort_unstable();
        self.vendor_notes.sort_unstable();
        self.notes.sort_unstable();
        let most = [
            self.level3.len(),
            self.token_indexes.len(),
            self.resources.len(),
            self.vendor_notes.len(),
            self.notes.len(),
        ];
        self.flooded |= most.iter().any(|count| *count > MAX_SIGNS);
    }
}

/// Cuts ranges at multiples of [`CHUNK`], so that no page lies in two pieces.
fn chunks(within: &RangeSet) -> Vec<PhysRange> {
    let mut chunks = Vec::new();
    for range in within.ranges() {
        let mut at = range.start();
        while at < range.end() {
            let next = (at.0 | CHUNK.wrapping_sub(1)).checked_add(1).map(PhysAddr);
            let end = next.unwrap_or(range.end()).min(range.end());
            chunks.extend(PhysRange::new(at, end));
            at = end;
        }
    }
    chunks
}

/// A pass that several threads make together. Each thread takes the next chunk.
struct Pass<'a> {
    memory: &'a dyn Memory,
    images: &'a [VendorSign],
    chunks: Vec<PhysRange>,
    next: AtomicUsize,
    done: AtomicU64,
    failed: AtomicBool,
    stop: &'a Stop,
}

impl Pass<'_> {
    fn work(&self, progress: &mut dyn FnMut(u64)) -> Result<Signs, ReadError> {
        let mut signs = Signs::default();
        let mut buffer = vec![0; (CHUNK as usize).saturating_add(OVERLAP)];
        while !self.failed.load(Ordering::Relaxed)
            && !self.stop.is_asked()
            && let Some(chunk) = self.chunks.get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            self.look(chunk, &mut buffer, &mut signs)
                .inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
            let before = self.done.fetch_add(chunk.size(), Ordering::Relaxed);
            progress(before.saturating_add(chunk.size()));
        }
        Ok(signs)
    }

    /// Searches one chunk, page by page.
    fn look(
        &self,
        chunk: &PhysRange,
        buffer: &mut [u8],
        signs: &mut Signs,
    ) -> Result<(), ReadError> {
        let size = usize::try_from(chunk.size()).unwrap_or_default();
        // A range of memory may end before the overlap does.
        let range = self.memory.ranges().find(chunk.start());
        let there = range.and_then(|range| range.end().checked_sub(chunk.start()));
        let there = usize::try_from(there.unwrap_or_default()).unwrap_or(usize::MAX);
        let length = size.saturating_add(OVERLAP).min(there).max(size);
        let Some(copied) = buffer.get_mut(..length) else { return Ok(()) };
        self.read(chunk.start(), copied)?;
        self.vendor_notes(chunk.start(), copied, size, signs);
        let mut offset = 0;
        while offset < size {
            let Some(at) = chunk.start().checked_add(offset as u64) else { break };
            // Only the first piece of a range may begin within a page.
            let to_boundary = (PAGE_SIZE as usize).saturating_sub((at.0 % PAGE_SIZE) as usize);
            let next = offset.saturating_add(to_boundary).min(size);
            let piece = copied.get(offset..next).unwrap_or_default();
            if piece.len() == PAGE_SIZE as usize {
                signs.page(at, piece);
            }
            let end = next.saturating_add(OVERLAP).min(length);
            self.words(at, piece, copied.get(offset..end).unwrap_or_default(), signs);
            offset = next;
        }
        Ok(())
    }

    /// Reads memory. Pages that a driver of node 0 claimed since the source was opened are zeros.
    fn read(&self, at: PhysAddr, copied: &mut [u8]) -> Result<(), ReadError> {
        match self.memory.read(at, copied) {
            Err(error) if error.is_claimed() => {
                copied.fill(0);
                log::debug!("a part is not searched: {error}");
            }
            other => return other,
        }
        // Only the first piece of a range may begin within a page.
        let first = (PAGE_SIZE as usize).saturating_sub((at.0 % PAGE_SIZE) as usize);
        let (head, rest) = copied.split_at_mut(first.min(copied.len()));
        let mut next = at;
        for page in iter::once(head).chain(rest.chunks_mut(PAGE_SIZE as usize)) {
            match self.memory.read(next, page) {
                Err(error) if error.is_claimed() => page.fill(0),
                other => other?,
            }
            next = next.checked_add(page.len() as u64).unwrap_or(next);
        }
        Ok(())
    }

    /// Finds the build-id notes of images that begin in the first `size` bytes of a chunk.
    fn vendor_notes(&self, at: PhysAddr, chunk: &[u8], size: usize, signs: &mut Signs) {
        for (n, image) in self.images.iter().enumerate() {
            let end = size.saturating_add(image.length().saturating_sub(1)).min(chunk.len());
            for offset in image.find_in(chunk.get(..end).unwrap_or_default()) {
                let place = at.checked_add(offset as u64).map(|place| (n, place));
                place.into_iter().for_each(|place| {
                    keep(&mut signs.vendor_notes, place, &mut signs.flooded);
                });
            }
        }
    }

    /// Finds signs that begin at any word of `piece`. `more` is `piece` and the bytes behind it.
    fn words(&self, at: PhysAddr, piece: &[u8], more: &[u8], signs: &mut Signs) {
        for (n, block) in piece.chunks(BLOCK).enumerate() {
            if !may_hold_sign(block) {
                continue;
            }
            let begin = n.saturating_mul(BLOCK);
            for offset in (begin..begin.saturating_add(block.len())).step_by(4) {
                let Some(place) = at.checked_add(offset as u64) else { break };
                let word = u32_at(more, offset).unwrap_or_default();
                if word == iomem::FLAGS_LOW && u64_at(more, offset) == Some(iomem::FLAGS) {
                    keep(&mut signs.resources, place, &mut signs.flooded);
                } else if may_begin_index(word) && is_index(more, offset) {
                    keep(&mut signs.token_indexes, place, &mut signs.flooded);
                }
            }
        }
    }
}

impl Signs {
    /// Checks a whole page for signs that begin at a page boundary.
    fn page(&mut self, at: PhysAddr, page: &[u8]) {
        if page_tables::looks_like_level3(page) {
            keep(&mut self.level3, at, &mut self.flooded);
        }
        if vmcoreinfo::looks_like_note(page) {
            // Keep this copy: the bytes may have changed before a second one.
            keep(&mut self.notes, (at, page.to_vec()), &mut self.flooded);
        }
    }
}

/// Whether a token index begins `offset` bytes into a copy. Only copied bytes are examined: any
/// word of hostile memory may begin like an index, so no word may cause another read.
fn is_index(copied: &[u8], offset: usize) -> bool {
    let index = copied.get(offset..).and_then(|rest| rest.get(..kallsyms::INDEX_BYTES));
    index.is_some_and(kallsyms::is_index)
}

/// Keeps a sign, unless there are too many of its kind.
fn keep<T>(signs: &mut Vec<T>, sign: T, flooded: &mut bool) {
    if signs.len() < MAX_SIGNS {
        signs.push(sign);
    } else {
        *flooded = true;
    }
}

/// Whether a word can be the first two entries of a token index: 0, and the length of the first
/// token with its NUL (2 to 129).
const fn may_begin_index(word: u32) -> bool {
    word.rotate_left(16).wrapping_sub(2) & !127 == 0
}

/// Whether any word of a block can be a sign. It has no branches, so that the compiler vectorizes
/// it: this check rejects most of memory.
fn may_hold_sign(block: &[u8]) -> bool {
    let words = block.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    words.fold(false, |found, word| found | (may_begin_index(word) | (word == iomem::FLAGS_LOW)))
}
