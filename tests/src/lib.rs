//! The node machine and the cases that run on it.
