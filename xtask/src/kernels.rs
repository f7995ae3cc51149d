//! The kernels that the project is tried on, and what they are called.

/// Debian's suites that they come from: 6.1, 6.12, and whatever is newest.
pub const SUITES: [&str; 3] = ["bookworm", "trixie", "sid"];

/// The versions of those kernels; the newest changes with Debian.
pub const VERSIONS: [&str; 3] = ["6.1", "6.12", "7.2"];

/// The one of Debian's stable release: what does not depend on the kernel is tried on it.
pub const STABLE: &str = VERSIONS[1];

/// The cache's name for a kernel: `6.1` → `6.1-amd64`.
#[must_use]
pub fn cached_name(name: &str) -> String {
    match name.contains('-') {
        true => name.to_owned(),
        false => format!("{name}-amd64"),
    }
}
