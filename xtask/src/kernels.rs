//! The kernels on which the project is tested, and their names.

/// The Debian suites that they come from: 6.1, 6.12, and the newest.
pub const SUITES: [&str; 3] = ["bookworm", "trixie", "sid"];

/// The versions of those kernels. The newest one changes with Debian.
pub const VERSIONS: [&str; 3] = ["6.1", "6.12", "7.2"];

/// The version in Debian's stable release. Tests that do not depend on the kernel use it.
pub const STABLE: &str = VERSIONS[1];

/// The cache's name for a kernel: `6.1` → `6.1-amd64`.
#[must_use]
pub fn cached_name(name: &str) -> String {
    if name.contains('-') { name.to_owned() } else { format!("{name}-amd64") }
}
