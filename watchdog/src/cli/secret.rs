//! Reads the secret that disarms the guard.

use std::fs::{File, FileType};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use watchdog_core::files;

/// The largest secret that is read, in bytes. No typed secret is longer.
const LONGEST: u64 = 4096;
/// How long a pipe may stay without data: a password manager first asks its user.
const PIPE_TIMEOUT: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Reads a secret from a file, from a pipe such as the shell's `<(pass show watchdog)`, or from
/// standard input (`-`). Leaves out the end of its line.
pub(super) fn secret_of(path: &Path) -> anyhow::Result<Vec<u8>> {
    let secret =
        if path == Path::new("-") { read(io::stdin().lock()) } else { open(path).and_then(read) };
    let mut secret =
        secret.with_context(|| format!("cannot read the secret from {}", path.display()))?;
    while secret.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        secret.pop();
    }
    Ok(secret)
}

/// Opens a file or a pipe. Waits until a pipe has data.
fn open(path: &Path) -> anyhow::Result<File> {
    let is_wanted = |kind: &FileType| kind.is_file() || kind.is_fifo();
    let file = files::open_as(path, is_wanted, "it is neither a regular file nor a pipe")?;
    if file.metadata()?.file_type().is_fifo() {
        let mut end = [PollFd::new(&file, PollFlags::IN)];
        if poll(&mut end, Some(&PIPE_TIMEOUT))? == 0 {
            bail!("nothing came through the pipe within {} s", PIPE_TIMEOUT.tv_sec);
        }
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    }
    Ok(file)
}

fn read(from: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut secret = Vec::new();
    from.take(LONGEST + 1).read_to_end(&mut secret)?;
    if secret.len() as u64 > LONGEST {
        bail!("it is longer than {LONGEST} bytes");
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Check that a secret is read from a file and from a pipe whose writer is late. Check that a
    /// device, a folder and a long secret are refused.
    #[test]
    fn files_and_pipes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "open sesame\r\n").unwrap();
        assert_eq!(secret_of(&file).unwrap(), b"open sesame");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let late = pipe.clone();
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            fs::write(late, "from a pipe\n")
        });
        assert_eq!(secret_of(&pipe).unwrap(), b"from a pipe");
        writer.join().unwrap().unwrap();
        fs::write(&file, "a".repeat(4097)).unwrap();
        for (path, why) in [
            (file.as_path(), "longer"),
            (folder.path(), "neither"),
            (Path::new("/dev/zero"), "neither"),
        ] {
            let error = format!("{:#}", secret_of(path).unwrap_err());
            assert!(
                error.contains(why) && error.contains("cannot read the secret from"),
                "{error}"
            );
        }
    }
}
