//! Project automation: set-up, builds, the demo and the tests.
fn main() {}
