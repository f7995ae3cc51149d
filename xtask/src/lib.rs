//! Definitions that the project's chores and tests share: the places of files, the names of
//! kernels, and the options of the command line.

pub mod acts;
pub mod cache;
pub mod kernels;
pub mod options;
pub mod own_kernels;
