//! Type information of programs (BTF).

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use aya_obj::generated::bpf_cmd;

use super::load::{bpf, zeroed};

/// The names in [`of_xdp`]: the type of integers, an XDP program's context, the parameter and
/// the function.
const NAMES: &[u8] = b"\0int\0xdp_md\0context\0main\0";
/// The type of the function in [`of_xdp`].
pub(super) const MAIN: u32 = 5;

/// Gives the kernel the types of `int main(struct xdp_md *)`, without which a program cannot be
/// extended (Documentation/bpf/btf.rst).
pub(super) fn of_xdp() -> Result<OwnedFd> {
    let name = |name: &[u8]| {
        let at = NAMES.windows(name.len()).position(|it| it == name);
        at.and_then(|at| u32::try_from(at).ok()).context("no such name")
    };
    let words = [
        // 1: `int`, signed, of 32 bits.
        &[name(b"int")?, 1 << 24, 4, (1 << 24) | 32][..],
        // 2: `struct xdp_md`, without its members.
        &[name(b"xdp_md")?, 4 << 24, 24],
        // 3: a pointer to it.
        &[0, 2 << 24, 2],
        // 4: the prototype: it returns 1, and takes a 3. A function needs its parameter's name.
        &[0, (13 << 24) | 1, 1, name(b"context")?, 3],
        // 5: the function, which is global.
        &[name(b"main")?, (12 << 24) | 1, 4],
    ];
    let words = words.concat();
    let (types, names) = (u32::try_from(4 * words.len())?, u32::try_from(NAMES.len())?);
    // Magic number, version 1, no flags; then the length of the header, and the two sections.
    let header = [0x0001_eb9f, 24, 0, types, types, names];
    let bytes = header.iter().chain(&words).flat_map(|word| word.to_le_bytes());
    let bytes: Vec<u8> = bytes.chain(NAMES.iter().copied()).collect();
    let mut attributes = zeroed();
    // SAFETY: every field is a number, whose bytes are all zero.
    let load = unsafe { &mut attributes.__bindgen_anon_7 };
    load.btf = bytes.as_ptr() as u64;
    load.btf_size = u32::try_from(bytes.len())?;
    bpf(bpf_cmd::BPF_BTF_LOAD, &mut attributes).context("the kernel takes no such types")
}
