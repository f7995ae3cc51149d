//! Detects whether a kernel is rewriting its text at this moment.

use super::judge::{Mechanism, State};
use super::reference::Reference;

/// The mutexes that the kernel holds while it rewrites text, each with the mechanisms whose sites
/// it may then rewrite. `text_mutex` protects the text, and the others protect all sites of one
/// mechanism (kernel/extable.c, kernel/jump_label.c, kernel/static_call_inline.c,
/// kernel/trace/ftrace.c, kernel/kprobes.c). Mechanisms of which the kernel rewrites sites only at
/// boot are not among them.
const MUTEXES: [(&str, &[Mechanism]); 5] = [
    (
        "text_mutex",
        &[
            Mechanism::JumpLabel,
            Mechanism::StaticCall,
            Mechanism::Fentry,
            Mechanism::Ftrace,
            Mechanism::SmpLock,
        ],
    ),
    ("jump_label_mutex", &[Mechanism::JumpLabel]),
    ("static_call_mutex", &[Mechanism::StaticCall]),
    ("ftrace_lock", &[Mechanism::Fentry, Mechanism::Ftrace]),
    ("kprobe_mutex", &[Mechanism::Fentry, Mechanism::Ftrace]),
];
/// Offset of the owner in `struct mutex`: at the start, or with PREEMPT_RT behind a lock and a
/// tree.
const OWNER: u32 = 0;
const OWNER_RT: u32 = 24;

/// A mutex: the image offset of its owner field, and what the kernel rewrites while it holds it.
type Mutex = (u32, &'static [Mechanism]);

/// A kernel's mutexes for patching.
#[derive(Clone, Debug)]
pub(super) struct Patching(Vec<Mutex>);

impl Patching {
    /// Finds the mutexes of a kernel by their symbols.
    pub(super) fn of(reference: &Reference) -> Self {
        let owner = if reference.banner.contains("PREEMPT_RT") { OWNER_RT } else { OWNER };
        let mutexes = MUTEXES.iter().filter_map(|(name, mechanisms)| {
            Some((reference.symbols.address(name)?.checked_add(owner)?, *mechanisms))
        });
        let mutexes: Vec<Mutex> = mutexes.collect();
        log::debug!("patching: {} of {} mutexes are known", mutexes.len(), MUTEXES.len());
        Self(mutexes)
    }

    /// Whether any of the mutexes is held.
    pub(super) fn is_on(&self, state: &State<'_>) -> bool {
        self.held(state).next().is_some()
    }

    /// The mechanisms whose sites the kernel may be rewriting.
    pub(super) fn mechanisms(&self, state: &State<'_>) -> Vec<Mechanism> {
        self.held(state).flatten().copied().collect()
    }

    fn held<'a>(&'a self, state: &'a State<'_>) -> impl Iterator<Item = &'static [Mechanism]> + 'a {
        let is_held = |owner: u32| state.word(owner).is_some_and(|owner| owner != 0);
        self.0.iter().filter(move |(owner, _)| is_held(*owner)).map(|(_, mechanisms)| *mechanisms)
    }
}
