//! Attempts on the guard's own objects. The guard must deny each of them.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::bpf;
use super::bpffs::{BPFFS, SYSFS, is_bpf};

/// The targets of the attempts.
#[derive(Clone, Debug)]
pub(super) struct SelfProbes {
    /// The pin of the canary table.
    pub(super) pin: PathBuf,
    /// The id of the canary program.
    pub(super) program: u32,
    /// The watchdog's process id.
    pub(super) watchdog: u32,
}

/// The name of an attempt, and the attempt.
pub(super) type SelfProbe = (&'static str, fn(&SelfProbes) -> io::Result<()>);

impl SelfProbes {
    /// All attempts.
    pub(super) const ALL: [SelfProbe; 6] = [
        ("opening a table", Self::table),
        ("opening a program", Self::program),
        ("removing a pin", Self::unlink),
        ("renaming a pin", Self::rename),
        ("unmounting the pins", Self::unmount),
        ("sending a signal to the watchdog", Self::signal),
    ];

    fn table(&self) -> io::Result<()> {
        bpf::pinned(&self.pin).map(drop)
    }

    fn program(&self) -> io::Result<()> {
        bpf::program_by_id(self.program).map(drop)
    }

    fn unlink(&self) -> io::Result<()> {
        fs::remove_file(&self.pin)
    }

    fn rename(&self) -> io::Result<()> {
        fs::rename(&self.pin, self.pin.with_file_name("moved"))
    }

    /// Unmounts with flags that exclude each other. The kernel refuses them only after the hook
    /// (`do_umount()`, fs/namespace.c). If the pins' file system is not mounted, the attempt is on
    /// the file system below it.
    fn unmount(&self) -> io::Result<()> {
        let target = if is_bpf(Path::new(BPFFS)) { BPFFS } else { SYSFS };
        let target = CString::new(target)?;
        // SAFETY: the kernel only reads the name.
        let result = unsafe { libc::umount2(target.as_ptr(), libc::MNT_EXPIRE | libc::MNT_FORCE) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends signal 0, which the kernel does not deliver.
    fn signal(&self) -> io::Result<()> {
        let watchdog = libc::pid_t::try_from(self.watchdog).map_err(io::Error::other)?;
        // SAFETY: the kernel only checks the permission for signal 0.
        let result = unsafe { libc::kill(watchdog, 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
