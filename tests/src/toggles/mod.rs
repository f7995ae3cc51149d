//! Legitimate causes for a kernel to rewrite its own text, switched on and off on a running node,
//! one by one or at random. A verifier of kernel text must distinguish these changes from
//! tampering.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use watchdog_tests::{machine::Machine, toggles::{self, Toggles}};
//!
//! let machine = toggles::pack(Machine::builder(), 1).boot()?;
//! let mut toggles = Toggles::new(machine.node(1)?, 42)?;
//! for _ in 0..1000 {
//!     println!("{}", toggles.step()?);
//! }
//! toggles.all_off()?;
//! # Ok(())
//! # }
//! ```

mod catalog;
pub mod text;
mod toggle;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub use self::catalog::MODULES;
pub use self::toggle::{Mechanism, Toggle};

use self::catalog::{FILTERED, INSTANCE};
use self::toggle::{How, Shows, TRACING};
use crate::livepatch;
use crate::machine::{Builder, ServiceNode};
use crate::service::Request;

/// Size of each trace buffer in KiB. It is small, since the traced data is not used.
const BUFFER_KIB: &str = "64";

/// If no heavy toggle is on, one of this many random steps switches one on.
const HEAVY_IN: u32 = 40;

/// Number of steps after which a heavy toggle is switched off.
const HEAVY_STEPS: usize = 3;

/// Packs the modules of the toggles into a node's initramfs.
#[must_use]
pub fn pack(mut builder: Builder, node: u8) -> Builder {
    for module in MODULES.into_iter().chain([livepatch::NAME]) {
        builder = builder.module(node, module);
    }
    builder
}

/// One step that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Number of earlier steps.
    pub number: usize,
    /// Name of the toggle.
    pub name: String,
    /// Whether the toggle was switched on or off.
    pub on: bool,
    /// How long the node took.
    pub took: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = if self.on { "on" } else { "off" };
        write!(f, "{}: {} {on} ({:.2?})", self.number, self.name, self.took)
    }
}

/// All toggles of one node, and their current states.
pub struct Toggles<'a> {
    node: &'a ServiceNode,
    seed: u64,
    random: StdRng,
    all: Vec<Toggle>,
    /// The toggles that are on, by index in `all`, with the step that switched each one on.
    on: BTreeMap<usize, usize>,
    steps: usize,
}

impl<'a> Toggles<'a> {
    /// Finds the toggles of this node. The same seed on the same kernel makes the same steps.
    ///
    /// # Errors
    /// If the node does not answer or has no tracefs.
    pub fn new(node: &'a ServiceNode, seed: u64) -> Result<Self> {
        for instance in [INSTANCE, FILTERED] {
            node.request(&Request::MakeDirectory { path: instance.into() })?;
        }
        for buffer in [TRACING, INSTANCE, FILTERED] {
            node.write(&format!("{buffer}/buffer_size_kb"), BUFFER_KIB)?;
        }
        let mut all = Vec::new();
        for toggle in catalog::all() {
            if toggle.exists(node)? {
                all.push(toggle);
            }
        }
        let (random, on) = (StdRng::seed_from_u64(seed), BTreeMap::new());
        Ok(Self { node, seed, random, all, on, steps: 0 })
    }

    /// Returns all toggles.
    #[must_use]
    pub fn all(&self) -> &[Toggle] {
        &self.all
    }

    /// Returns the toggles that are on.
    pub fn on(&self) -> impl Iterator<Item = &Toggle> {
        self.on.keys().filter_map(|index| self.all.get(*index))
    }

    /// Switches a random toggle on or off.
    ///
    /// # Errors
    /// If the node dies or its kernel refuses.
    pub fn step(&mut self) -> Result<Step> {
        let index = self.overdue().unwrap_or_else(|| self.choose());
        self.flip(index)
    }

    /// Switches the toggle of this name on, or off if it is on.
    ///
    /// # Errors
    /// If no toggle has this name, or the node's kernel refuses.
    pub fn flip_named(&mut self, name: &str) -> Result<Step> {
        let index = self.all.iter().position(|toggle| toggle.name == name);
        self.flip(index.with_context(|| format!("the node cannot switch {name}"))?)
    }

    /// Switches all toggles off, the latest one first.
    ///
    /// # Errors
    /// If the node dies or its kernel refuses.
    pub fn all_off(&mut self) -> Result<Vec<Step>> {
        let mut on: Vec<(usize, usize)> = self.on.iter().map(|(at, since)| (*at, *since)).collect();
        on.sort_by_key(|(_, since)| std::cmp::Reverse(*since));
        on.into_iter().map(|(index, _)| self.flip(index)).collect()
    }

    /// Returns a heavy toggle that has been on for long enough.
    fn overdue(&self) -> Option<usize> {
        let is_overdue = |(index, since): &(&usize, &usize)| {
            self.all[**index].heavy && self.steps - **since >= HEAVY_STEPS
        };
        self.on.iter().find(is_overdue).map(|(index, _)| *index)
    }

    fn choose(&mut self) -> usize {
        let heavy = self.random.random_range(0..HEAVY_IN) == 0;
        let of_kind = (0..self.all.len()).filter(|index| self.all[*index].heavy == heavy);
        let of_kind: Vec<usize> = of_kind.collect();
        of_kind[self.random.random_range(0..of_kind.len())]
    }

    fn flip(&mut self, index: usize) -> Result<Step> {
        let (begun, number) = (Instant::now(), self.steps);
        self.steps += 1;
        let on = !self.on.contains_key(&index);
        let toggle = &self.all[index];
        let done = if on { toggle.on(self.node) } else { toggle.off(self.node) };
        done.with_context(|| {
            let others: Vec<&str> = self.on().map(|toggle| toggle.name.as_str()).collect();
            format!("step {number} of seed {} failed while {others:?} were on", self.seed)
        })?;
        let name = toggle.name.clone();
        if on {
            self.replaces(index);
            self.on.insert(index, number);
        } else {
            self.on.remove(&index);
        }
        Ok(Step { number, name, on, took: begun.elapsed() })
    }

    /// Switching a choice on replaces the current choice of its file.
    fn replaces(&mut self, index: usize) {
        let choice = |index: usize| match &self.all[index].how {
            How::Setting { path, shows: Shows::Choice, .. } => Some(path),
            _ => None,
        };
        let same = |other: &usize| choice(*other).is_some() && choice(*other) == choice(index);
        let replaced: Vec<usize> = self.on.keys().copied().filter(same).collect();
        for other in replaced {
            self.on.remove(&other);
        }
    }
}
