//! BPF programs of others that can override the guard's programs, or act on the watchdog. One of
//! the guard's programs lists those that were loaded before the guard: the guard did not judge
//! them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};

use watchdog_common::{ForeignProgram, bpf_use};

use super::bpf;
use super::processes::Processes;
use watchdog_core::btf::Btf;
use watchdog_core::text::printable;

/// The name of the program that makes the list.
pub(super) const PROGRAM: &str = "foreign_programs";
/// The most programs that are read from the list. The guard refuses programs that are loaded later.
const MOST: usize = 1 << 12;
/// The hook at which systemd has a program for `RestrictFileSystems=` (src/core/bpf-lsm.c, 250 to
/// 258). A verdict there is only about opening files. It lets nothing through that the guard
/// refuses elsewhere.
const MANAGERS_HOOK: &str = "bpf_lsm_file_open";
/// Where the kernel shows the addresses of its functions, below `/proc`.
const SYMBOLS: &str = "kallsyms";
/// The function that the calls of helpers are relative to.
const BASE: &str = "__bpf_call_base";
/// Helpers and kernel functions by which a program can act on processes.
const HELPERS: [&str; watchdog_common::HELPERS] = [
    "bpf_send_signal",
    "bpf_send_signal_thread",
    "bpf_send_signal_task",
    "bpf_override_return",
    "bpf_probe_write_user",
];

/// Why the guard refuses a program, for a sentence.
pub(super) fn word(usage: u32) -> Option<&'static str> {
    Some(match usage {
        bpf_use::MODIFY_RETURN => "it changes what kernel functions return",
        bpf_use::LSM => "it can decide in place of security modules",
        bpf_use::EXTENSION => "it replaces part of another program",
        bpf_use::SETTINGS => "it can decide about settings",
        bpf_use::SCHEDULER => "it decides which process runs",
        bpf_use::SOCKETS => "it redirects traffic of Unix sockets",
        bpf_use::HELPER => "it signals or writes processes, or changes their system calls",
        bpf_use::REGISTERS => "it changes a process's registers",
        bpf_use::TRACING => "it traces the kernel",
        _ => return None,
    })
}

/// The number that a call of each of [`HELPERS`] has in its instruction; 0 for a helper that the
/// kernel does not have. `None` if the kernel shows no addresses.
pub(super) fn helpers(
    processes: &Processes,
) -> io::Result<Option<[i32; watchdog_common::HELPERS]>> {
    calls(BufReader::new(processes.file(SYMBOLS)?))
}

/// Reads symbols until all are known: the kernel takes long to make the whole list.
fn calls(symbols: impl BufRead) -> io::Result<Option<[i32; watchdog_common::HELPERS]>> {
    let mut addresses = [0_u64; watchdog_common::HELPERS];
    let mut base = 0;
    for line in symbols.split(b'\n') {
        if base != 0 && addresses.iter().all(|it| *it != 0) {
            break;
        }
        // `ffffffff81000000 T _stext`; a module's symbol has the module's name after it.
        let line = line?;
        let mut words = line.split(|&byte| byte == b' ');
        let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let place = HELPERS.iter().position(|it| it.as_bytes() == name);
        let slot = match place.and_then(|place| addresses.get_mut(place)) {
            Some(slot) => slot,
            None if name == BASE.as_bytes() => &mut base,
            None => continue,
        };
        let address = str::from_utf8(address).ok().and_then(|it| u64::from_str_radix(it, 16).ok());
        *slot = address.ok_or_else(|| io::Error::other("a symbol has no address"))?;
    }
    // The kernel keeps the lower half of the difference (`BPF_CALL_IMM`, include/linux/filter.h).
    let call = |address: u64| match address {
        0 => 0,
        address => address.wrapping_sub(base) as u32 as i32,
    };
    Ok((base != 0).then(|| addresses.map(call)))
}

/// The list of other programs.
#[derive(Debug)]
pub(super) struct Foreign {
    program: io::Result<OwnedFd>,
    /// The ids of the programs of earlier guards, while these are in force.
    excepted: BTreeSet<u32>,
    /// The BTF type of [`MANAGERS_HOOK`].
    managers_hook: Option<u32>,
    /// The service manager's programs that were logged already, each once.
    left: RefCell<BTreeSet<u32>>,
    /// Whether the guard knows which helpers programs call.
    pub(super) knows_helpers: bool,
}

impl Foreign {
    pub(super) fn new(
        program: io::Result<OwnedFd>,
        btf: &Btf,
        excepted: BTreeSet<u32>,
        knows_helpers: bool,
    ) -> Self {
        let (managers_hook, left) = (btf.function(MANAGERS_HOOK), RefCell::default());
        Self { program, excepted, managers_hook, left, knows_helpers }
    }

    /// Call this when the earlier guards are gone.
    pub(super) fn is_alone(&mut self) {
        self.excepted.clear();
    }

    /// The programs beside the guard that it would refuse, one sentence each. The service manager's
    /// own program at [`MANAGERS_HOOK`] is left out and logged once. No other program of process 1
    /// is left out: another process may have stored it there (`FDSTORE=1`).
    ///
    /// # Errors
    /// The kernel's, if it cannot make the list.
    pub(super) fn programs(&self) -> io::Result<Vec<String>> {
        let program = self.program.as_ref().map_err(|error| io::Error::other(error.to_string()))?;
        let mut found = read(bpf::list(program.as_fd())?)?;
        found.retain(|program| !self.excepted.contains(&program.id));
        let is_at_hook = |it: &ForeignProgram| {
            it.usage == bpf_use::LSM && it.target != 0 && Some(it.target) == self.managers_hook
        };
        if found.iter().any(is_at_hook) {
            let managers = of_process_one();
            found.retain(|it| {
                let is_left = is_at_hook(it) && managers.contains(&it.id);
                if is_left && self.left.borrow_mut().insert(it.id) {
                    log::warn!(
                        "{}; process 1 holds it and it only judges opening of files: left alone",
                        sentence(it)
                    );
                }
                !is_left
            });
        }
        Ok(found.iter().map(sentence).collect())
    }
}

fn sentence(program: &ForeignProgram) -> String {
    let name = bpf::program_by_id(program.id).and_then(|it| bpf::program_name(it.as_fd()));
    let name = match name {
        Ok(name) if !name.is_empty() => format!(" `{}`", printable(name.as_bytes(), 16)),
        _ => String::new(),
    };
    format!("BPF program {}{name}: {}", program.id, word(program.usage).unwrap_or("unknown"))
}

/// The ids of the programs of which process 1 has a descriptor or a link.
fn of_process_one() -> BTreeSet<u32> {
    let Some(machine) = Processes::of_machine() else { return BTreeSet::new() };
    let numbers = machine.numbers("1/fdinfo").unwrap_or_default().into_iter();
    let info = numbers.filter_map(|number| machine.read(&format!("1/fdinfo/{number}")).ok());
    info.filter_map(|info| {
        info.lines().find_map(|line| line.strip_prefix("prog_id:"))?.trim().parse().ok()
    })
    .collect()
}

/// Reads the list to its end, or to [`MOST`].
fn read(mut list: File) -> io::Result<Vec<ForeignProgram>> {
    let mut bytes = Vec::new();
    let most = MOST * size_of::<ForeignProgram>();
    list.by_ref().take(most as u64).read_to_end(&mut bytes)?;
    let word = |bytes: [u8; 4]| u32::from_ne_bytes(bytes);
    let records = bytes.as_chunks::<4>().0.as_chunks::<3>().0.iter();
    let record = |&[id, usage, target]: &[[u8; 4]; 3]| ForeignProgram {
        id: word(id),
        usage: word(usage),
        target: word(target),
    };
    Ok(records.map(record).collect())
}

#[cfg(test)]
mod tests {
    /// Check that a call is the difference of two addresses. Check that a helper which the kernel
    /// does not have is 0, and that the result is `None` if the kernel shows no addresses.
    #[test]
    fn addresses() {
        let shown = b"ffffffff81200000 T __bpf_call_base\nffffffff811ff000 T bpf_send_signal\n\
            ffffffffc0000000 t bpf_send_signal_x [module]\n";
        let calls = |symbols: &[u8]| super::calls(symbols).unwrap();
        let known = calls(shown).unwrap();
        assert_eq!((known[0], known[1]), (-0x1000, 0));
        assert_eq!(calls(b"0000000000000000 T __bpf_call_base\n"), None);
        assert_eq!(calls(b""), None);
    }
}
