//! A made-up kernel for tests: an ELF file with a kernel's sections, in a bzImage.

mod elf;
mod packing;

pub(crate) use elf::*;
pub(crate) use packing::*;
