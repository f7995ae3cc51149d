//! Detects whether a kernel is rewriting its text at this moment.

use super::judge::State;
use super::reference::Reference;

/// The mutexes that the kernel holds while it rewrites text. `text_mutex` protects the text, and
/// the others protect all sites of one mechanism (kernel/extable.c, kernel/jump_label.c,
/// kernel/static_call_inline.c, kernel/trace/ftrace.c, kernel/kprobes.c).
const MUTEXES: [&str; 5] =
    ["text_mutex", "jump_label_mutex", "static_call_mutex", "ftrace_lock", "kprobe_mutex"];
/// Offset of the owner in `struct mutex`: at the start, or with PREEMPT_RT behind a lock and a
/// tree.
const OWNER: u32 = 0;
const OWNER_RT: u32 = 24;

/// The owner fields of a kernel's mutexes, by image offset.
#[derive(Clone, Debug)]
pub(super) struct Patching(Vec<u32>);

impl Patching {
    /// Finds the mutexes of a kernel by their symbols.
    pub(super) fn of(reference: &Reference) -> Self {
        let owner = if reference.banner.contains("PREEMPT_RT") { OWNER_RT } else { OWNER };
        let mutexes = MUTEXES.iter().filter_map(|name| reference.symbols.address(name));
        let owners: Vec<u32> = mutexes.filter_map(|at| at.checked_add(owner)).collect();
        log::debug!("patching: {} of {} mutexes are known", owners.len(), MUTEXES.len());
        Self(owners)
    }

    /// Whether any of the mutexes is held.
    pub(super) fn is_on(&self, state: &State<'_>) -> bool {
        self.0.iter().any(|owner| state.word(*owner).is_some_and(|owner| owner != 0))
    }
}
