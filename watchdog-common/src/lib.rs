//! Types on the wire between the watchdog and its eBPF programs.
#![no_std]
