//! The `System.map` beside a kernel of one's own configuration: all symbols of its build.

use std::fs;

use anyhow::{Context, Result};
use watchdog_core::verify::reference::ImageSymbols;

use crate::cache;

/// The symbols of a build: link address, type letter and name, in ascending order.
#[derive(Debug)]
pub struct SystemMap(Vec<(u64, u8, String)>);

impl SystemMap {
    /// Reads the symbols of a kernel of the cache.
    ///
    /// # Errors
    /// If the kernel is not built, or a line is not a symbol.
    pub fn of(kernel: &str) -> Result<Self> {
        let path = cache::kernels().join(kernel).join("System.map");
        let map =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let symbol = |line: &str| {
            let mut words = line.split(' ');
            let mut word = || words.next().context("a line without a symbol");
            let (address, kind, name) = (u64::from_str_radix(word()?, 16)?, word()?, word()?);
            let kind = *kind.as_bytes().first().context("a symbol without a type")?;
            Ok((address, kind, name.to_owned()))
        };
        Ok(Self(map.lines().map(symbol).collect::<Result<_>>()?))
    }

    /// The link address of a symbol. Of several with one name, it is the first.
    ///
    /// # Errors
    /// If the kernel does not have it.
    pub fn address(&self, name: &str) -> Result<u64> {
        let found = self.0.iter().find(|(.., have)| have == name);
        found.map(|(at, ..)| *at).with_context(|| format!("no symbol {name}"))
    }

    /// The symbols behind `_stext`, by their distance from it.
    ///
    /// # Errors
    /// If the kernel has no `_stext`.
    pub fn symbols(&self) -> Result<ImageSymbols> {
        let stext = self.address("_stext")?;
        let symbols = self.0.iter().filter_map(|(at, kind, name)| {
            Some((*kind, name.clone(), u32::try_from(at.checked_sub(stext)?).ok()?))
        });
        Ok(ImageSymbols::from_ascending(symbols))
    }
}
