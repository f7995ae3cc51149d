//! `cargo xtask machine`: the node machine, with a shell on node 0.

use std::{
    io::{self, IsTerminal, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    thread,
};

use anyhow::Result;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use watchdog_tests::machine::Machine;

use xtask::options;

/// Ctrl-], as in telnet.
const ESCAPE: u8 = 0x1d;

/// Boots the machine and connects this terminal to node 0's console.
pub(crate) fn run(options: &options::Machine) -> Result<()> {
    let node_kernel = options.node_kernel.as_ref().unwrap_or(&options.kernel);
    eprintln!("booting (under emulation, half a minute on two cores) …");
    let (console, console_of_qemu) = UnixStream::pair()?;
    let mut builder = Machine::builder()
        .kernel(&options.kernel)
        .service_kernels(node_kernel)
        .service_nodes(options.nodes)
        .memory_mib(options.memory)
        .cpu(&options.cpu)
        .append(0, &options.append);
    for node in 0..=options.nodes {
        builder = builder.kaslr(node, !options.nokaslr);
        if node > 0 {
            builder = builder.append(node, &options.node_append);
        }
    }
    // Read from the start: QEMU blocks if nothing reads a node's output.
    let screen = Screen::begin(console.try_clone()?);
    let machine = builder.boot_with(Some(console_of_qemu), |reached| eprintln!("{reached}"))?;
    for node in 1..=options.nodes {
        eprintln!("node {node}'s console: {}", machine.health().console(node).display());
    }
    eprintln!("the host's path to the machine's memory: {}", machine.ram().path().display());
    eprintln!("this is node 0's console; `poweroff` or Ctrl-] ends the machine");
    screen.show();
    sit_at(console, &machine)
}

/// Node 0's console output: held back during the boot, shown afterwards.
struct Screen {
    show: std::sync::mpsc::Sender<()>,
}

impl Screen {
    fn begin(mut console: UnixStream) -> Self {
        let (show, shown) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 0x1000];
            let mut visible = false;
            while let Ok(length @ 1..) = console.read(&mut buffer) {
                visible = visible || shown.try_recv().is_ok();
                if visible {
                    let mut out = io::stdout().lock();
                    // The output is closed, so the machine ends by other means.
                    let _closed = out.write_all(&buffer[..length]).and_then(|()| out.flush());
                }
            }
        });
        Self { show }
    }

    fn show(&self) {
        // The reader ends with the console.
        let _gone = self.show.send(());
    }
}

/// Sends keys to the console until Ctrl-] or the end of the machine.
fn sit_at(mut console: UnixStream, machine: &Machine) -> Result<()> {
    let _restored_at_the_end = Raw::begin()?;
    console.write_all(b"\n")?;
    let (leave, left) = std::sync::mpsc::channel::<()>();
    thread::spawn(move || {
        let mut key = [0; 1];
        let mut stdin = io::stdin().lock();
        while let Ok(1) = stdin.read(&mut key) {
            if key[0] == ESCAPE {
                let _closed = console.shutdown(Shutdown::Both);
                drop(leave);
                return;
            }
            if console.write_all(&key).is_err() {
                break;
            }
        }
        // The end of the input, such as a script's, does not end the machine.
        std::mem::forget(leave);
    });
    loop {
        match left.recv_timeout(std::time::Duration::from_millis(100)) {
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) if machine.is_running() => {}
            _ => return Ok(()),
        }
    }
}

/// The terminal in raw mode. Dropping this restores its former mode.
struct Raw(Option<Termios>);

impl Raw {
    fn begin() -> Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // If this fails, the terminal no longer exists.
            let _gone = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
