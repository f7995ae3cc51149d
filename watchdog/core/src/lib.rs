//! Finds the kernels of other OS nodes in physical memory, and judges their text.
//!
//! The modules are the pipeline, in the order a byte takes: [`memory`] → [`locate`] → [`verify`].
//! What a vendor's [`image`] says of a kernel, and what a kernel says of its own types ([`btf`]),
//! stands beside it. [`text`], [`digest`] and [`files`] are what all of them use.
//!
//! Bytes of another kernel are hostile: code that could panic on them, or wrap, is not let in.
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
pub mod files;
pub mod image;
pub mod locate;
#[cfg(test)]
mod logged;
pub mod memory;
pub mod text;
pub mod verify;
