//! A node without a kernel that could be watched.

use std::time::{Duration, Instant};

use watchdog_core::locate::Kernel;
use watchdog_core::verify::Identity;

/// A node whose kernel is lost, or still boots.
#[derive(Debug, Default)]
pub(super) struct NoKernel {
    /// What it ran before.
    pub(super) before: Option<Box<Kernel>>,
    /// Since when it is booting.
    booting: Option<Instant>,
    /// Whether its loss was reported.
    pub(super) reported: bool,
    /// The kernel that is there, and that no baseline is for.
    refused: Option<Identity>,
}

impl NoKernel {
    /// A node whose kernel is gone, or must be looked for anew.
    pub(super) fn gone(before: Option<Box<Kernel>>) -> Self {
        Self { before, ..Self::default() }
    }

    /// A node that never had one; the loss is reported already.
    pub(super) fn never_seen() -> Self {
        Self { reported: true, ..Self::default() }
    }

    /// A node whose kernel cannot be judged, which was reported.
    pub(super) fn refused(kernel: Box<Kernel>) -> Self {
        let refused = Some(Identity::of(&kernel));
        Self { before: Some(kernel), reported: true, refused, ..Self::default() }
    }

    /// Whether it was reported that this kernel cannot be judged.
    pub(super) fn has_refused(&self, kernel: &Kernel) -> bool {
        self.refused.as_ref() == Some(&Identity::of(kernel))
    }

    /// A node that boots.
    pub(super) fn booting() -> Self {
        Self { booting: Some(Instant::now()), ..Self::default() }
    }

    /// Takes note that a kernel boots; whether that is new.
    pub(super) fn boots(&mut self) -> bool {
        let new = self.booting.is_none();
        self.booting.get_or_insert_with(Instant::now);
        new
    }

    /// Takes note that none boots any more.
    pub(super) fn boots_no_more(&mut self) {
        self.booting = None;
    }

    /// Whether it boots for longer than a boot may take.
    pub(super) fn boots_too_long(&self, limit: Duration) -> bool {
        self.booting.is_some_and(|since| since.elapsed() > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a boot is new once, is bounded, and begins anew after it ended.
    #[test]
    fn boots_are_bounded() {
        let mut no_kernel = NoKernel::never_seen();
        assert!(!no_kernel.boots_too_long(Duration::ZERO));
        assert!(no_kernel.boots() && !no_kernel.boots());
        assert!(!no_kernel.boots_too_long(Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(2));
        assert!(no_kernel.boots_too_long(Duration::ZERO));
        no_kernel.boots_no_more();
        assert!(!no_kernel.boots_too_long(Duration::ZERO) && no_kernel.boots());
    }
}
