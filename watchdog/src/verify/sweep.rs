//! One pass over a node's kernel text.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::measure::{page_count, page_extent, unpredictable_order};
use super::{Baseline, Difference, Digest, MeasureError, Verdict, difference};
use crate::locate::Text;
use crate::memory::{Memory, PAGE_SIZE};

/// How long a page that differs is left alone before it is read again. The kernel patches itself
/// in steps (text_poke, arch/x86/kernel/alternative.c): a byte seen in the middle is no finding.
const DWELL: Duration = Duration::from_millis(10);

/// What a sweep found.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The verdict: clean or tampered.
    pub verdict: Verdict,
    /// SHA-256 over the text bytes as they were read.
    pub sha256: Digest,
    /// Pages of the text.
    pub pages: usize,
    /// Pages that differ from the baseline.
    pub pages_differing: usize,
    /// Every difference, in ascending order of address.
    pub differences: Vec<Difference>,
    /// Time taken.
    pub elapsed: Duration,
}

/// Compares a text with its baseline, page by page in an unpredictable order.
///
/// # Errors
/// [`MeasureError`] when the text and the baseline are not of one size or memory cannot be read.
pub fn sweep(memory: &dyn Memory, text: &Text, baseline: &Baseline) -> Result<Sweep, MeasureError> {
    let begun = Instant::now();
    let pages = page_count(text.size)?;
    if pages != baseline.page_digests().len() || text.size != baseline.text().bytes().len() as u64 {
        return Err(MeasureError::Size(text.size));
    }
    let suspects = differing_pages(memory, text, baseline, unpredictable_order(pages))?;
    let differing = if suspects.is_empty() {
        BTreeMap::new()
    } else {
        thread::sleep(DWELL);
        differing_pages(memory, text, baseline, suspects.into_keys().collect())?
    };
    let differences = differing.iter().flat_map(|(&page, found)| {
        let expected = baseline.text().pages().nth(page).unwrap_or_default();
        difference::of_page(text, page as u64 * PAGE_SIZE, expected, found)
    });
    let differences: Vec<_> = differences.collect();
    Ok(Sweep {
        verdict: if differences.is_empty() { Verdict::Clean } else { Verdict::Tampered },
        sha256: text_digest(baseline, &differing),
        pages,
        pages_differing: differing.len(),
        differences,
        elapsed: begun.elapsed(),
    })
}

/// The pages, of those in `order`, whose digest is not the baseline's: number and bytes.
fn differing_pages(
    memory: &dyn Memory,
    text: &Text,
    baseline: &Baseline,
    order: Vec<usize>,
) -> Result<BTreeMap<usize, Vec<u8>>, MeasureError> {
    let mut buffer = [0; PAGE_SIZE as usize];
    let mut differing = BTreeMap::new();
    for page in order {
        let (at, length) = page_extent(text, page).ok_or(MeasureError::Size(text.size))?;
        let copy = buffer.get_mut(..length).ok_or(MeasureError::Size(text.size))?;
        memory.read(at, copy)?;
        if baseline.page_digests().get(page) != Some(&Digest::of(copy)) {
            differing.insert(page, copy.to_vec());
        }
    }
    Ok(differing)
}

/// The digest over the whole text as read. Pages equal to the baseline's need no second look:
/// without any other page it is the baseline's own digest.
fn text_digest(baseline: &Baseline, differing: &BTreeMap<usize, Vec<u8>>) -> Digest {
    if differing.is_empty() {
        return baseline.sha256();
    }
    let pages = baseline.text().pages().enumerate();
    Digest::of_pieces(
        pages.map(|(page, expected)| {
            differing.get(&page).map_or(expected, |found| found.as_slice())
        }),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::{Identity, copy_text};
    use super::*;
    use crate::memory::{PhysAddr, PhysRange, RangeSet, ReadError, VirtAddr};

    const SIZE: usize = 5 * 4096 + 123;
    const TEXT: Text = Text {
        phys: PhysAddr(0x20_0000),
        virt: VirtAddr(0xffff_ffff_8100_0000),
        size: SIZE as u64,
    };

    /// A memory that can change between two reads, and that remembers the order of reads.
    struct Changing {
        bytes: Mutex<Vec<u8>>,
        heals: bool,
        order: Mutex<Vec<u64>>,
        ranges: RangeSet,
    }

    impl Changing {
        fn new(bytes: Vec<u8>, heals: bool) -> Self {
            let range = PhysRange::with_size(TEXT.phys, bytes.len() as u64).unwrap();
            Self {
                bytes: Mutex::new(bytes),
                heals,
                order: Mutex::default(),
                ranges: RangeSet::from_iter([range]),
            }
        }
    }

    impl Memory for Changing {
        fn ranges(&self) -> &RangeSet {
            &self.ranges
        }
        fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
            let offset = (at.0 - TEXT.phys.0) as usize;
            let mut bytes = self.bytes.lock().unwrap();
            buffer.copy_from_slice(&bytes[offset..offset + buffer.len()]);
            self.order.lock().unwrap().push(at.0);
            if self.heals && buffer.contains(&0xcc) {
                bytes[offset..offset + buffer.len()].fill(0x90);
            }
            Ok(())
        }
    }

    fn baseline(bytes: &[u8]) -> Baseline {
        let identity = Identity {
            release: "6.1".into(),
            build_id: None,
            phys: TEXT.phys.0,
            virt: TEXT.virt.0,
            size: TEXT.size,
        };
        let memory = Changing::new(bytes.to_vec(), false);
        Baseline::learn(identity, copy_text(&memory, &TEXT).unwrap())
    }

    /// Check that every single changed byte, the last one before `_etext` included, is found,
    /// named with its address, and that the digest is that of the bytes in memory.
    #[test]
    fn changes_are_found() {
        let clean = vec![0x90; SIZE];
        let baseline = baseline(&clean);
        for at in [0, 4095, 4096, SIZE / 2, SIZE - 1] {
            let mut bytes = clean.clone();
            bytes[at] = 0xe9;
            let found = sweep(&Changing::new(bytes.clone(), false), &TEXT, &baseline).unwrap();
            assert_eq!((found.verdict, found.pages_differing), (Verdict::Tampered, 1));
            assert_eq!(found.differences[0].phys.0, TEXT.phys.0 + at as u64);
            assert_eq!(found.differences[0].found, [0xe9]);
            assert_eq!(found.sha256, Digest::of(&bytes));
        }
        let found = sweep(&Changing::new(clean.clone(), false), &TEXT, &baseline).unwrap();
        assert_eq!((found.verdict, found.sha256), (Verdict::Clean, Digest::of(&clean)));
    }

    /// Check that a change that is gone within the dwell is no finding.
    #[test]
    fn text_poke_in_flight() {
        let clean = vec![0x90; SIZE];
        let mut poked = clean.clone();
        poked[5000] = 0xcc;
        let found = sweep(&Changing::new(poked, true), &TEXT, &baseline(&clean)).unwrap();
        assert_eq!(found.verdict, Verdict::Clean);
    }

    /// Check that two sweeps read in different orders, each page once.
    #[test]
    fn order_is_not_repeated() {
        let size = 64 * 4096;
        let text = Text { size, ..TEXT };
        let orders: Vec<_> = (0..2)
            .map(|_| {
                let memory = Changing::new(vec![0; size as usize], false);
                copy_text(&memory, &text).unwrap();
                memory.order.into_inner().unwrap()
            })
            .collect();
        assert_ne!(orders[0], orders[1]);
        let mut sorted = orders[0].clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 64);
    }
}
