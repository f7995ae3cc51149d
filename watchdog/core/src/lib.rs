//! Finds the kernels of other OS nodes in physical memory, and judges their text.
//!
//! The modules form a pipeline: [`memory`] reads memory, [`locate`] finds kernels in it, and
//! [`verify`] judges their text. [`image`] reads a vendor's kernel image. [`btf`] reads a kernel's
//! own type information, and [`dwarf`] an image's debug information. The other modules use
//! [`text`], [`digest`] and [`files`].
//!
//! # Example
//!
//! Find the kernels in a raw image of memory, and judge the text of each:
//!
//! ```
//! use watchdog_core::locate::{Finding, Search, locate};
//! use watchdog_core::memory::{Memory, PhysAddr, open_raw};
//! use watchdog_core::verify::{Baseline, Verdict, Verifier};
//! # mod made_up {
//! #     #![allow(dead_code)]
//! #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/locate/tests/ram.rs"));
//! # }
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("ram.img");
//! # let mut ram = made_up::Ram::empty();
//! # ram.add(made_up::FIRST);
//! # std::fs::write(&path, ram.0)?;
//!
//! // The first byte of the file is physical address 0.
//! let memory = open_raw(&path, PhysAddr(0))?;
//! let mut progress = |_done, _total| ();
//! for finding in locate(&memory, memory.ranges(), &Search::default(), &mut progress)? {
//!     let Finding::Located(kernel) = finding else {
//!         println!("no kernel: {}", finding.reason());
//! #       panic!("the made-up kernel is located");
//!         continue;
//!     };
//!     println!("Linux {}: text at {}", kernel.release, kernel.text.phys);
//!     // Better: `Baseline::of_image`, with the image from the vendor's package.
//!     let baseline = Baseline::learn(&memory, &kernel)?;
//!     let mut verifier = Verifier::new(baseline, &kernel);
//!     let sweep = verifier.sweep(&memory, &kernel, 100)?;
//!     println!("{}, SHA-256 {}", sweep.verdict, sweep.sha256);
//! #   assert_eq!(sweep.verdict, Verdict::Clean);
//!     for difference in sweep.unexplained {
//!         println!("{} bytes at {}", difference.found.len(), difference.phys);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Bytes of another kernel are hostile. The lints below therefore refuse code that could panic on
//! them, or wrap.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::allow_attributes,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod btf;
pub mod digest;
pub mod dwarf;
pub mod files;
pub mod image;
pub mod locate;
#[cfg(test)]
mod logged;
pub mod memory;
pub mod text;
pub mod verify;
