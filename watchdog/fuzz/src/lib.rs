//! What the fuzz targets share: physical memory made of an input's bytes, and what must hold of
//! whatever is found in it.
//!
//! A target is a file in `fuzz_targets/` and a `[[bin]]` in `Cargo.toml`; its seeds, which the
//! fuzzer starts from and `cargo xtask test` replays, are in `seeds/TARGET/`. Inputs that once
//! failed are kept there as well, under a name that says what they did.
//!
//! `src/bin/seeds.rs` makes the seeds: of kernels [made up](made_up) in a kilobyte, and of real
//! ones [cut](mod@cut) out of an image of a machine's memory; and of [dumps](dump). The vendor's
//! images among the seeds are the made-up kernel of the unit tests
//! (watchdog/core/src/image/made_up.rs) in each packing. What is judged is a [suspect], and seeds
//! are what may be done to it.

mod bound;
pub mod check;
pub mod cut;
pub mod dump;
mod encode;
mod input;
pub mod made_up;
mod memory;
pub mod stored;
pub mod suspect;
pub mod traced;
pub mod types;

pub use bound::{bounded, search};
pub use encode::Encoder;
pub use input::Input;
pub use memory::SparseMemory;
