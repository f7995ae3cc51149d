//! Tests of memory that was copied while its kernel was patching itself.

use std::sync::Arc;

use jiff::Timestamp;

use super::made_up::{FUNCTION, Suspect, TEXT, reference};
use super::reference::{ImageSymbols, JumpLabel};
use super::*;
use crate::digest::Digest;
use crate::memory::{Memory, PhysAddr, RangeSet, ReadError};

/// Image offsets of the kernel's mutexes and of a static key.
const TEXT_MUTEX: u32 = 0x50_5000;
const FTRACE_LOCK: u32 = 0x50_5040;
const KEY: u32 = 0x50_5080;
/// A jump label in a function.
const LABEL: u32 = 8;

/// Memory in a dump.
struct AtRest<'a>(&'a dyn Memory);

impl Memory for AtRest<'_> {
    fn ranges(&self) -> &RangeSet {
        self.0.ranges()
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.0.read(at, buffer)
    }

    fn is_at_rest(&self) -> bool {
        true
    }
}

fn baseline() -> Baseline {
    let mut reference = reference();
    let kept = reference.symbols.iter().map(|(name, kind, at)| (kind, name.to_owned(), at));
    let mutexes = [("text_mutex", TEXT_MUTEX), ("ftrace_lock", FTRACE_LOCK)];
    let mutexes = mutexes.map(|(name, at)| (b'd', name.to_owned(), at));
    let symbols: Vec<_> = kept.chain(mutexes).collect();
    reference.symbols = ImageSymbols::from_ascending(symbols);
    reference.text.bytes[LABEL as usize..][..5].copy_from_slice(&[0x0f, 0x1f, 0x44, 0, 0]);
    let label = JumpLabel { at: LABEL, target: FUNCTION, key: KEY, inverted: false };
    reference.tables.jump_labels = vec![label];
    let place = None;
    let release = reference.release.clone();
    let identity = Identity { release, build_id: None, place, size: TEXT.into() };
    let (source, sha256) = (String::new(), Digest::of(&[]));
    let origin = Origin { source, sha256, made: Timestamp::UNIX_EPOCH };
    Baseline { kind: BaselineKind::Image, identity, origin, reference: Arc::new(reference) }
}

/// Check that a site that contradicts its key is undecided in a dump if the kernel held a mutex
/// under which it rewrites such sites. Check that it is unexplained under another mutex, and that a
/// change beside the sites always is.
#[test]
fn copied_while_patching() {
    let swept = |held: Option<u32>, change: Option<u32>| {
        let suspect = Suspect::new();
        // The label is still a NOP, and its key is already on.
        suspect.image(LABEL, &[0x0f, 0x1f, 0x44, 0, 0]);
        suspect.image(KEY, &[1, 0, 0, 0]);
        held.iter().for_each(|mutex| suspect.image(*mutex, &[1]));
        change.iter().for_each(|at| suspect.image(*at, &[0x91]));
        let mut verifier = Verifier::new(baseline(), &suspect.kernel);
        verifier.sweep(&AtRest(&suspect.machine), &suspect.kernel, 10).unwrap()
    };
    let sweep = swept(Some(TEXT_MUTEX), None);
    assert_eq!((sweep.verdict, sweep.undecided, sweep.pending), (Verdict::Unverified, 1, 0));
    let [NotJudged { mechanism, sites: 1, why }] = &sweep.not_judged[..] else {
        panic!("{:?}", sweep.not_judged)
    };
    assert!(mechanism == "jump-label" && why.contains("patching itself"), "{why}");
    for (held, change) in [(None, None), (Some(FTRACE_LOCK), None)] {
        let sweep = swept(held, change);
        assert_eq!((sweep.verdict, sweep.undecided), (Verdict::Tampered, 0), "{held:?}");
    }
    let sweep = swept(Some(TEXT_MUTEX), Some(FUNCTION + 9));
    assert_eq!((sweep.verdict, sweep.unexplained_total), (Verdict::Tampered, 1));
}
