//! What legitimately makes a kernel rewrite its own text, switched on and off on a running node,
//! one by one or at random: what a judge of kernel text must tell from tampering.
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

/// Kibibytes of each trace buffer: what is traced is of no interest.
const BUFFER_KIB: &str = "64";

/// One random step in so many switches something heavy on, where nothing heavy is on.
const HEAVY_IN: u32 = 40;

/// Steps after which something heavy is switched off.
const HEAVY_STEPS: usize = 3;

/// Packs what is loaded here into a node's initramfs.
#[must_use]
pub fn pack(mut builder: Builder, node: u8) -> Builder {
    for module in MODULES.into_iter().chain([livepatch::NAME]) {
        builder = builder.module(node, module);
    }
    builder
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How many were done before it.
    pub number: usize,
    /// What was switched.
    pub name: String,
    /// On or off.
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

/// All that can be switched on one node, and what is on.
pub struct Toggles<'a> {
    node: &'a ServiceNode,
    seed: u64,
    random: StdRng,
    all: Vec<Toggle>,
    /// What is on, by its place in `all`, with the step that switched it on.
    on: BTreeMap<usize, usize>,
    steps: usize,
}

impl<'a> Toggles<'a> {
    /// What this node can switch; the same seed on the same kernel makes the same steps.
    ///
    /// # Errors
    /// When the node does not answer, or has no tracefs.
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

    /// All that can be switched.
    #[must_use]
    pub fn all(&self) -> &[Toggle] {
        &self.all
    }

    /// What is on.
    pub fn on(&self) -> impl Iterator<Item = &Toggle> {
        self.on.keys().filter_map(|index| self.all.get(*index))
    }

    /// Switches something, chosen at random, on or off.
    ///
    /// # Errors
    /// When the node dies, or its kernel refuses.
    pub fn step(&mut self) -> Result<Step> {
        let index = self.overdue().unwrap_or_else(|| self.choose());
        self.flip(index)
    }

    /// Switches on what has this name, or off when it is on.
    ///
    /// # Errors
    /// When nothing has, or the node's kernel refuses.
    pub fn flip_named(&mut self, name: &str) -> Result<Step> {
        let index = self.all.iter().position(|toggle| toggle.name == name);
        self.flip(index.with_context(|| format!("the node cannot switch {name}"))?)
    }

    /// Switches off all that is on, the latest first.
    ///
    /// # Errors
    /// When the node dies, or its kernel refuses.
    pub fn all_off(&mut self) -> Result<Vec<Step>> {
        let mut on: Vec<(usize, usize)> = self.on.iter().map(|(at, since)| (*at, *since)).collect();
        on.sort_by_key(|(_, since)| std::cmp::Reverse(*since));
        on.into_iter().map(|(index, _)| self.flip(index)).collect()
    }

    /// Something heavy that has been on for long enough.
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

    /// A choice replaces any other of its file.
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
