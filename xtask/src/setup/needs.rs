//! The parts of the setup that a command needs.

/// The needs of a command.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs<'a> {
    /// The tools that build the fuzz targets.
    pub(crate) fuzzing: bool,
    /// The emulator, node 0's root file system and these kernels.
    pub(crate) machine: Option<&'a [&'a str]>,
    /// Look for newer kernels.
    pub(crate) refresh: bool,
}
