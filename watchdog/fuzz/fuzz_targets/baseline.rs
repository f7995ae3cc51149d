//! Stored baselines: their bytes, and what they hold behind a valid digest.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use watchdog_core::verify::{BaselineStore, Verifier};
use watchdog_fuzz::{SparseMemory, bounded, stored, suspect};

const NODE: &str = "fuzzed";

/// The directory in which every input of this process is stored, each over the last.
static STATE: LazyLock<PathBuf> = LazyLock::new(|| {
    let state = Path::new("/dev/shm").join(format!("watchdog-fuzz-{}", std::process::id()));
    fs::create_dir_all(state.join("baselines")).expect("no folder in memory");
    state
});

fuzz_target!(|bytes: &[u8]| {
    let store = BaselineStore::in_state_dir(&STATE, None);
    fs::write(store.path(NODE), stored::file(NODE, bytes)).expect("no memory for an input");
    let Ok(loaded) = bounded(|| store.load(NODE)) else { return };
    let baseline = loaded.expect("it is there");
    assert_eq!(baseline.identity.size, baseline.reference.text.bytes.len() as u64);

    bounded(|| {
        store.save(NODE, &baseline).expect("what was loaded can be stored");
        let again = store.load(NODE).expect("what was stored can be loaded").expect("it is there");
        assert_eq!(again.reference, baseline.reference);
    });
    let kernel = suspect::kernel_for(baseline.identity.size);
    let mut memory = SparseMemory::default();
    memory.set_at_rest();
    bounded(|| {
        let swept = Verifier::new(baseline, &kernel).sweep(&memory, &kernel, 8);
        swept.expect("a text of this size is there");
    });
});
