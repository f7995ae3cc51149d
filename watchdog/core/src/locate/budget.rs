//! A limit on the work that foreign bytes may cause.

/// Work that is always granted, in bytes examined. One kernel takes some 20 MiB of it.
const BASE: u64 = 96 << 20;

/// Bytes that may still be examined while signs are followed.
///
/// A node that plants signs decides how many are followed, so all signs share one budget. When it
/// is spent, nothing is located: a search that gave up early might have missed the living kernel.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u64,
    exhausted: bool,
}

impl Budget {
    /// The budget for a search through `bytes` of memory: following signs may take as long as
    /// finding them. The memory of a running kernel is full of remnants of kernel copies, which
    /// must not count as decoys.
    #[must_use]
    pub fn for_memory(bytes: u64) -> Self {
        Self { left: BASE.saturating_add(bytes), exhausted: false }
    }

    /// A budget of `left` bytes.
    #[cfg(test)]
    pub(super) const fn with_left(left: u64) -> Self {
        Self { left, exhausted: false }
    }

    /// Spends `bytes` of work. `None` if less is left, and on every call after that.
    pub(super) fn spend(&mut self, bytes: usize) -> Option<()> {
        let left = self.left.checked_sub(bytes as u64).filter(|_| !self.exhausted);
        self.exhausted = left.is_none();
        self.left = left?;
        Some(())
    }

    /// Whether any work was refused.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that an overdrawn budget stays overdrawn, however small the next request.
    #[test]
    fn overdrawn_is_final() {
        let mut budget = Budget::for_memory(0);
        assert!(budget.spend(BASE as usize).is_some());
        assert!(budget.spend(1).is_none() && budget.is_exhausted());
        assert!(budget.spend(0).is_none());
    }
}
