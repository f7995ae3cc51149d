//! Memory with made-up kernels.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::{Finding, Kernel, Search, locate};
pub(crate) use super::ram::*;
use crate::memory::{Memory, PhysAddr, PhysRange, RangeSet, ReadError};

/// Memory with made-up kernels.
pub(crate) struct Machine {
    ram: RwLock<Ram>,
    pub(super) ranges: RangeSet,
    /// Bytes that were read: the cost of a search, equal on every machine.
    pub(crate) read: AtomicU64,
}

impl Memory for Machine {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let ram = self.ram.read().unwrap();
        let source = usize::try_from(at.0)
            .ok()
            .and_then(|start| ram.0.get(start..start.checked_add(buffer.len())?));
        let length = buffer.len() as u64;
        self.read.fetch_add(length, Ordering::Relaxed);
        let outside = || ReadError::Outside { at, length, source_name: "made up".to_owned() };
        buffer.copy_from_slice(source.ok_or_else(outside)?);
        Ok(())
    }
}

impl Machine {
    pub(super) fn empty() -> Self {
        let range = PhysRange::with_size(PhysAddr(0), RAM as u64).unwrap();
        Self {
            ram: RwLock::new(Ram::empty()),
            ranges: RangeSet::from_iter([range]),
            read: AtomicU64::new(0),
        }
    }

    pub(crate) fn with(kernel: MadeUp) -> Self {
        let machine = Self::empty();
        machine.add(kernel);
        machine
    }

    /// Puts a whole kernel into memory.
    pub(super) fn add(&self, kernel: MadeUp) {
        self.ram.write().unwrap().add(kernel);
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        self.ram.write().unwrap().write(at, bytes);
    }

    /// Copies memory to another place.
    pub(super) fn copy(&self, from: u64, to: u64, size: u64) {
        let from = from as usize..(from + size) as usize;
        self.ram.write().unwrap().0.copy_within(from, to as usize);
    }

    pub(crate) fn entry(&self, table: u64, index: u64, value: u64) {
        self.ram.write().unwrap().entry(table, index, value);
    }

    /// Sets a bit in all entries of a kernel's page tables.
    pub(super) fn encrypt(&self, kernel: MadeUp, bit: u64) {
        for at in (kernel.root()..kernel.root() + MadeUp::TABLES).step_by(8) {
            let mut entry = [0; 8];
            self.read(PhysAddr(at), &mut entry).unwrap();
            let entry = u64::from_le_bytes(entry);
            if entry != 0 {
                self.write(at, &(entry | bit).to_le_bytes());
            }
        }
    }

    /// Replaces the usual symbols.
    pub(crate) fn symbols(&self, kernel: MadeUp, more: impl Iterator<Item = (String, u64)>) {
        self.ram.write().unwrap().symbols(kernel, more);
    }

    /// Advances a kernel's clock.
    pub(super) fn tick(&self, kernel: MadeUp, jiffies: u64) {
        self.write(kernel.jiffies(), &jiffies.to_le_bytes());
    }

    pub(super) fn find(&self) -> Vec<Finding> {
        locate(self, &self.ranges, &Search::default(), &mut |_, _| ()).unwrap()
    }

    pub(crate) fn kernel(&self) -> Box<Kernel> {
        match self.find().remove(0) {
            Finding::Located(kernel) => kernel,
            other => panic!("{other:?}"),
        }
    }

    /// Checks that nothing is located, and returns the reasons.
    pub(super) fn not_located(&self) -> Vec<String> {
        let found = self.find();
        assert!(!found.iter().any(|found| matches!(found, Finding::Located(_))), "{found:?}");
        found.iter().map(|found| found.reason().to_owned()).collect()
    }
}
