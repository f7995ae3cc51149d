//! Shared parts of the fuzz targets: physical memory made from an input's bytes, and the properties
//! that every result must have.
//!
//! A target is a file in `fuzz_targets/` and a `[[bin]]` in `Cargo.toml`. Its seeds are in
//! `seeds/TARGET/`: the fuzzer starts from them, and `cargo xtask test` replays them. Inputs that
//! once failed are there as well, under a name that says what they did.
//!
//! `src/bin/seeds.rs` makes the seeds. They come from kernels [made up](made_up) in a kilobyte,
//! from real kernels [cut](mod@cut) out of an image of a machine's memory, and from [dumps](dump).
//! The vendor's images among the seeds are the made-up kernel of the unit tests
//! (watchdog/core/src/image/made_up) in each packing. The judge gets a [suspect], and its seeds
//! are changes to the suspect.

mod bound;
pub mod check;
pub mod cut;
pub mod debug_info;
pub mod dump;
mod encode;
pub mod image;
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
