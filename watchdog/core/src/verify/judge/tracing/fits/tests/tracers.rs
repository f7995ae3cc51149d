use super::super::tracers::tracers;
use super::*;
use crate::verify::made_up::TRACERS;
use crate::verify::reference::FtraceOps;

const TRACER: u64 = ENTRIES;
const OTHER: u64 = ENTRIES + 0x1000;
const ALLOCATED: u64 = 1 << 11;

/// A kernel with two tracers, whose mutexes have `mutex` bytes. One has a trampoline of its own.
/// The other uses its hash.
fn with(mutex: u64) -> Suspect {
    let suspect = Suspect::new();
    let (list, end) = (TRACERS, image(&suspect, TRACERS + 8));
    let function = image(&suspect, 0x20);
    suspect.image(list, &TRACER.to_le_bytes());
    let hash = 16 + mutex;
    let func_hash = 40 + hash;
    suspect.image(TRACERS + 8 + func_hash as u32, &(end + 40).to_le_bytes());
    suspect.own(TRACER, &[function, OTHER, ALLOCATED | 1]);
    suspect.own(TRACER + func_hash, &[TRACER + 40]);
    suspect.own(TRACER + func_hash + 8 + hash, &[CODE, 0x100]);
    suspect.own(OTHER, &[function, end, 1]);
    suspect.own(OTHER + func_hash, &[TRACER + 40]);
    suspect
}

fn fit(suspect: &Suspect, global: Option<u64>) -> Fit<FtraceOps> {
    let end = image(suspect, TRACERS + 8);
    tracers(&state(suspect), image(suspect, TRACERS), end, global)
}

/// Check that the layout is found by the size of the mutex, in every kernel.
#[test]
fn mutexes_of_all_sizes() {
    for (mutex, trampoline) in [(24, 128), (32, 144), (40, 160), (56, 192), (144, 368)] {
        let layout = FtraceOps { func: 0, next: 8, trampoline, trampoline_size: trampoline + 8 };
        assert_eq!(fit(&with(mutex), None), Fit::One(layout), "{mutex}");
    }
    assert_eq!(fit(&Suspect::new(), None), Fit::Empty);
}

/// Check that each contradiction leaves the layout unknown.
#[test]
fn contradictions() {
    let (func_hash, trampoline) = (88, 144);
    let changes: [(&str, u64, u64); 8] = [
        ("a function that is not code", TRACER, NOWHERE),
        ("a hash of something else", TRACER + func_hash, CODE),
        ("another hash of something else", OTHER + func_hash, OTHER + 48),
        ("a trampoline that is not there", TRACER + trampoline, NOWHERE),
        ("a trampoline without bytes", TRACER + trampoline + 8, 0),
        ("a trampoline that is too large", TRACER + trampoline + 8, 1 << 20),
        ("a trampoline of no one", OTHER + trampoline, CODE),
        ("a list that does not end", OTHER + 8, TRACER),
    ];
    for (what, at, word) in changes {
        let suspect = with(32);
        put(&suspect, at, word);
        assert_eq!(fit(&suspect, None), Fit::Unfit(NONE), "{what}");
    }
    let suspect = with(32);
    suspect.image(TRACERS + 8 + func_hash as u32, &CODE.to_le_bytes());
    assert_eq!(fit(&suspect, None), Fit::Unfit(NONE));
}

/// Check that a tracer may use the hash of `global_ops`, and a trampoline of the kernel's own.
#[test]
fn shared_parts() {
    let suspect = with(32);
    put(&suspect, OTHER + 88, CODE + 40);
    put(&suspect, OTHER + 144, image(&suspect, 0x40));
    assert_eq!(fit(&suspect, None), Fit::Unfit(NONE));
    assert!(matches!(fit(&suspect, Some(CODE)), Fit::One(_)));
}

/// Check that two layouts that fit are none.
#[test]
fn two_layouts() {
    let suspect = with(32);
    let end = image(&suspect, TRACERS + 8);
    suspect.image(TRACERS + 8 + 96, &(end + 40).to_le_bytes());
    for ops in [TRACER, OTHER] {
        put(&suspect, ops + 16, 1);
        put(&suspect, ops + 96, TRACER + 40);
        put(&suspect, ops + 144, 0);
    }
    assert_eq!(fit(&suspect, None), Fit::Unfit(Unfit::Several));
}
