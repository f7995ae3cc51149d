//! A kernel's symbols, stored as compactly as in the kernel.

use std::fmt;
use std::sync::Arc;

use super::names::Names;
use crate::memory::VirtAddr;

/// A kernel's symbol table: names, and addresses in ascending order. Addresses stay as in the
/// tables, virtual or (7.x) physical. They are translated relative to `_stext`, so that the table
/// fits any address of the text.
#[derive(Clone)]
pub struct Symbols {
    names: Arc<Names>,
    addresses: Arc<Vec<u64>>,
    /// The address of `_stext` in the tables.
    origin: u64,
    /// Virtual address of `_stext`, set once the witnesses agree on it.
    virt: VirtAddr,
}

impl Symbols {
    /// A table of names and ascending addresses; `origin` is the address of `_stext`.
    pub(super) fn new(names: Arc<Names>, addresses: Vec<u64>, origin: u64) -> Self {
        Self { names, addresses: Arc::new(addresses), origin, virt: VirtAddr(origin) }
    }

    /// The symbols of a kernel without a table.
    pub(in crate::locate) fn none() -> Self {
        Self::new(Arc::new(Names::none()), Vec::new(), 0)
    }

    /// Bytes of memory that the table takes.
    pub(in crate::locate) fn size(&self) -> usize {
        let addresses = self.addresses.len().saturating_mul(size_of::<u64>());
        self.names.size().saturating_add(addresses)
    }

    /// The same symbols for a text at virtual `virt`.
    pub(in crate::locate) fn at(mut self, virt: VirtAddr) -> Self {
        self.virt = virt;
        self
    }

    /// The virtual address of a symbol. Compares every name: not for tight loops.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<VirtAddr> {
        let [place] = self.names.places([name]);
        let address = self.addresses.get(place?)?;
        Some(VirtAddr(self.virt.0.wrapping_add(address.wrapping_sub(self.origin))))
    }

    /// Every symbol, ascending: the letter that `nm` gives, the name, the virtual address.
    pub fn iter(&self) -> impl Iterator<Item = (u8, String, VirtAddr)> + '_ {
        self.addresses.iter().enumerate().filter_map(|(n, address)| {
            let virt = VirtAddr(self.virt.0.wrapping_add(address.wrapping_sub(self.origin)));
            let (kind, name) = self.names.kind_and_name(n)?;
            Some((kind, String::from_utf8_lossy(&name).into_owned(), virt))
        })
    }

    /// The last symbol at or before a virtual address, and the distance from it in bytes.
    ///
    /// The name is foreign text: escape it before printing.
    #[must_use]
    pub fn lookup(&self, at: VirtAddr) -> Option<(String, u64)> {
        // Compare as in the tables, where per-CPU symbols, which are small numbers, stay in front.
        let at = at.0.wrapping_sub(self.virt.0).wrapping_add(self.origin);
        let behind = self.addresses.partition_point(|have| *have <= at);
        let last = *self.addresses.get(behind.checked_sub(1)?)?;
        // Aliases share an address. The kernel itself prints the first.
        let first = self.addresses.partition_point(|have| *have < last);
        let name = self.names.get(first)?;
        Some((String::from_utf8_lossy(&name).into_owned(), at.checked_sub(last)?))
    }
}

/// Omits the table itself, which has some 100,000 entries.
impl fmt::Debug for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.names.count();
        f.debug_struct("Symbols").field("count", &count).field("virt", &self.virt).finish()
    }
}
