//! Attempts on what belongs to the guard: each must fail, by the guard.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::bpf;
use super::bpffs::{BPFFS, SYSFS, is_bpf};

/// What the attempts aim at.
#[derive(Clone, Debug)]
pub(super) struct SelfProbes {
    /// A pin of a table.
    pub(super) pin: PathBuf,
    /// The id of a program.
    pub(super) program: u32,
    /// The watchdog's process id.
    pub(super) watchdog: u32,
}

/// An attempt, and what it does.
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

    /// With flags that no unmount may have together: the kernel refuses them behind the hook
    /// (`do_umount()`, fs/namespace.c). Where the pins' file system is gone, the attempt is on the
    /// one below it.
    fn unmount(&self) -> io::Result<()> {
        let target = if is_bpf(Path::new(BPFFS)) { BPFFS } else { SYSFS };
        let target = CString::new(target)?;
        // SAFETY: the kernel reads the name.
        let result = unsafe { libc::umount2(target.as_ptr(), libc::MNT_EXPIRE | libc::MNT_FORCE) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Signal 0, which is not delivered.
    fn signal(&self) -> io::Result<()> {
        let watchdog = libc::pid_t::try_from(self.watchdog).map_err(io::Error::other)?;
        // SAFETY: the kernel only checks the permission for signal 0.
        let result = unsafe { libc::kill(watchdog, 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
