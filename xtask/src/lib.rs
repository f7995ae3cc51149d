//! What the chores of this project and its tests agree on: where things are kept, what kernels are
//! called, and what can be asked for on the command line.

pub mod acts;
pub mod cache;
pub mod kernels;
pub mod options;
