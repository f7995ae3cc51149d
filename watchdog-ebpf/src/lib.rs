//! The guard's eBPF programs.
#![no_std]
