//! What of the set-up a command needs.

/// What a command needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs<'a> {
    /// What the fuzz targets are built with.
    pub(crate) fuzzing: bool,
    /// The emulator, node 0's root file system and these kernels.
    pub(crate) machine: Option<&'a [&'a str]>,
    /// Look for newer kernels.
    pub(crate) refresh: bool,
}
