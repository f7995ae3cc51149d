//! A bound on the work that foreign bytes may cause.

/// Work that is always granted, in bytes looked at. One kernel takes some 20 MiB of it.
const BASE: u64 = 96 << 20;

/// Bytes that may still be looked at while signs are followed.
///
/// Who plants signs decides how many are followed; so all of them together get a budget. When it
/// is gone nothing is located: a search that gave up early might have missed the living kernel.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u64,
    exhausted: bool,
}

impl Budget {
    /// The budget for a search through `bytes` of memory: following signs may take as long as
    /// looking for them. Memory that a running kernel uses is full of what is left of copies of
    /// kernels, which must not pass for decoys.
    #[must_use]
    pub fn for_memory(bytes: u64) -> Self {
        Self { left: BASE.saturating_add(bytes), exhausted: false }
    }

    /// A budget of so many bytes.
    #[cfg(test)]
    pub(super) const fn with_left(left: u64) -> Self {
        Self { left, exhausted: false }
    }

    /// Takes `bytes` of work; `None`, now and from now on, when there is not that much left.
    pub(super) fn spend(&mut self, bytes: usize) -> Option<()> {
        let left = self.left.checked_sub(bytes as u64).filter(|_| !self.exhausted);
        self.exhausted = left.is_none();
        self.left = left?;
        Some(())
    }

    /// Whether some work was refused.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a budget once overdrawn stays so, however small the next wish.
    #[test]
    fn overdrawn_is_final() {
        let mut budget = Budget::for_memory(0);
        assert!(budget.spend(BASE as usize).is_some());
        assert!(budget.spend(1).is_none() && budget.is_exhausted());
        assert!(budget.spend(0).is_none());
    }
}
