//! A guard that denies writes: its programs are attached, and know the guard's own objects.

use super::attach;
use super::error::GuardError;
use super::loaded::Loaded;
use super::processes::Processes;
use super::self_protection::{protect_files_of, register_files, register_ids};
use watchdog_core::locate::Stop;

/// A guard whose programs run. Dropping it removes the guard from the kernel.
pub(super) struct Armed(pub(super) Loaded);

impl Armed {
    /// Attaches the programs, and registers the guard's own files, tables and programs with them.
    ///
    /// # Errors
    /// [`GuardError`] if the kernel refuses a program, or a file cannot be opened.
    pub(super) fn new(
        mut guard: Loaded,
        processes: &Processes,
        stop: &Stop,
    ) -> Result<Self, GuardError> {
        let Loaded { programs, pinned, tables, plan, earlier, .. } = &mut guard;
        for attachment in plan.attachments(false) {
            stop.check().map_err(|_| GuardError::Stopped)?;
            attach::attach(programs, attachment, &pinned.generation)?;
        }
        let (generation, state) = pinned.parts()?;
        register_files(state, generation, &plan.record.kept, processes)?;
        earlier.iter().try_for_each(|guard| protect_files_of(&guard.generation, programs))?;
        // From here on the programs recognize this process. It may load programs that others may
        // not.
        for attachment in plan.attachments(true) {
            attach::attach(programs, attachment, &pinned.generation)?;
        }
        plan.record.programs = register_ids(programs, tables)?;
        Ok(Self(guard))
    }
}
