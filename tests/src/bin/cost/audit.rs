//! The kernel's audit system, configured as `auditctl` does. Like the guard, it may watch processes
//! that open `/dev/mem`.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};

// include/uapi/linux/audit.h and netlink.h.
const NETLINK_AUDIT: i32 = 9;
const AUDIT_SET: u16 = 1001;
const AUDIT_ADD_RULE: u16 = 1011;
const AUDIT_DEL_RULE: u16 = 1012;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const STATUS_ENABLED: u32 = 1;
const FILTER_TASK: u32 = 1;
const FILTER_EXIT: u32 = 4;
const NEVER: u32 = 0;
const ALWAYS: u32 = 2;
const FIELD_WATCH: u32 = 105;
const FIELD_PERMISSIONS: u32 = 106;
const WRITE: u32 = 2;
const ATTRIBUTES: u32 = 8;
const EQUAL: u32 = 0x4000_0000;
const WORDS: usize = 64;
const HEADER: usize = 16;

/// Sets `-a task,never`: the kernel audits no process that starts from now on, whatever other rules
/// exist.
pub(crate) fn no_process() -> Result<()> {
    tell(AUDIT_DEL_RULE, &watch(), &[libc::ENOENT]).context("the rule on /dev/mem stays")?;
    tell(AUDIT_ADD_RULE, &task_never(), &[libc::EEXIST]).context("no rule against auditing")
}

/// Sets `-w /dev/mem -p wa`, and switches auditing on.
pub(crate) fn dev_mem() -> Result<()> {
    tell(AUDIT_DEL_RULE, &task_never(), &[libc::ENOENT]).context("auditing stays off")?;
    // `struct audit_status`: the mask of the fields to set, then `enabled`.
    tell(AUDIT_SET, &words(&[STATUS_ENABLED, 1, 0, 0, 0, 0, 0, 0]), &[])
        .context("auditing cannot be switched on")?;
    tell(AUDIT_ADD_RULE, &watch(), &[libc::EEXIST]).context("no rule on /dev/mem")
}

fn task_never() -> Vec<u8> {
    rule(FILTER_TASK, NEVER, 0, &[], "")
}

fn watch() -> Vec<u8> {
    const PATH: &str = "/dev/mem";
    let fields = [(FIELD_WATCH, PATH.len() as u32), (FIELD_PERMISSIONS, WRITE | ATTRIBUTES)];
    rule(FILTER_EXIT, ALWAYS, u32::MAX, &fields, PATH)
}

/// Builds a `struct audit_rule_data`. `calls` selects every system call or none.
fn rule(list: u32, action: u32, calls: u32, fields: &[(u32, u32)], text: &str) -> Vec<u8> {
    let column = |value: fn(&(u32, u32)) -> u32| {
        let mut column = [0; WORDS];
        column.iter_mut().zip(fields).for_each(|(to, field)| *to = value(field));
        column
    };
    let mut rule = words(&[list, action, fields.len() as u32]);
    rule.extend(words(&[calls; WORDS]));
    rule.extend(words(&column(|field| field.0)));
    rule.extend(words(&column(|field| field.1)));
    rule.extend(words(&column(|_| EQUAL)));
    rule.extend(words(&[text.len() as u32]));
    rule.extend(text.as_bytes());
    rule
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Sends one message and waits for the kernel's answer. The errors in `as_good` count as success.
fn tell(kind: u16, body: &[u8], as_good: &[i32]) -> Result<()> {
    // SAFETY: the descriptor is new and has no other owner.
    let socket = unsafe {
        let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        let descriptor = libc::socket(libc::AF_NETLINK, flags, NETLINK_AUDIT);
        ensure!(descriptor >= 0, "no audit in this kernel: {}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(descriptor)
    };
    let mut message = words(&[(HEADER + body.len()) as u32]);
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST | ACKNOWLEDGE).to_ne_bytes());
    message.extend(words(&[1, 0]));
    message.extend(body);
    let descriptor = socket.as_raw_fd();
    // SAFETY: the bytes belong to a local.
    let sent = unsafe { libc::send(descriptor, message.as_ptr().cast(), message.len(), 0) };
    ensure!(sent == message.len() as isize, "not sent: {}", io::Error::last_os_error());
    loop {
        let mut answer = [0_u8; 8192];
        // SAFETY: as above.
        let got = unsafe { libc::recv(descriptor, answer.as_mut_ptr().cast(), answer.len(), 0) };
        ensure!(got >= (HEADER + size_of::<i32>()) as isize, "{}", io::Error::last_os_error());
        if u16::from_ne_bytes([answer[4], answer[5]]) != NLMSG_ERROR {
            continue;
        }
        let error = -i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        if error != 0 && !as_good.contains(&error) {
            return Err(io::Error::from_raw_os_error(error).into());
        }
        return Ok(());
    }
}
