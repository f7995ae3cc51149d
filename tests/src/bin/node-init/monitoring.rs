//! Node 0: from the initramfs to systemd on the real root.

use std::{
    convert::Infallible, env, fs, os::unix::process::CommandExt, path::Path, path::PathBuf,
    process::Command, thread, time::Duration, time::Instant,
};

use anyhow::{Context, Result, ensure};
use rustix::{mount::MountFlags, mount::mount, mount::mount_move, process::chroot};

use crate::modules;

/// A script of the host that changes the root file system before systemd starts.
const AT_BOOT: &str = "/host/at-boot";

/// Mounts the root file system and the host's disks, and becomes systemd.
pub(crate) fn hand_over() -> Result<Infallible> {
    modules::load("boot", "")?;
    fs::remove_dir_all("/modules")?;
    // Programs and test data have a disk, and so have the modules of the running kernel. One root
    // image therefore serves every kernel.
    let disks = [
        ("root", "/root", MountFlags::empty()),
        ("host", "/root/host", MountFlags::RDONLY),
        ("modules", "/root/usr/lib/modules", MountFlags::RDONLY),
    ];
    fs::create_dir_all("/root")?;
    for (serial, target, flags) in disks {
        let device = disk(serial)?;
        mount(&device, target, "ext4", flags, c"")
            .with_context(|| format!("cannot mount the disk `{serial}` on {target}"))?;
    }

    for directory in ["proc", "sys", "dev"] {
        mount_move(format!("/{directory}"), format!("/root/{directory}"))?;
    }
    env::set_current_dir("/root")?;
    mount_move(".", "/")?;
    chroot(".")?;
    env::set_current_dir("/")?;
    if Path::new(AT_BOOT).exists() {
        let path = "/usr/sbin:/usr/bin:/sbin:/bin";
        let done = Command::new("/bin/sh").args(["-e", AT_BOOT]).env("PATH", path).status()?;
        ensure!(done.success(), "{AT_BOOT} failed: {done}");
    }
    Err(Command::new("/sbin/init").exec()).context("cannot start /sbin/init of the root image")
}

/// Finds the disk with this serial number. A module's devices appear a moment after it was loaded.
fn disk(serial: &str) -> Result<PathBuf> {
    let begun = Instant::now();
    loop {
        for entry in fs::read_dir("/sys/block")? {
            let entry = entry?;
            let device = Path::new("/dev").join(entry.file_name());
            let its_own = fs::read_to_string(entry.path().join("serial"));
            if its_own.is_ok_and(|its_own| its_own.trim_end() == serial) && device.exists() {
                return Ok(device);
            }
        }
        ensure!(begun.elapsed() < Duration::from_secs(30), "the disk `{serial}` did not appear");
        thread::sleep(Duration::from_millis(10));
    }
}
