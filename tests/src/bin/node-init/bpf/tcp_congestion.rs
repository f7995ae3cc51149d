//! A TCP congestion control made of programs (struct_ops). The kernel calls them through a
//! structure of pointers.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use aya_obj::generated::{bpf_cmd, bpf_map_type, bpf_prog_type};
use watchdog_tests::btf::{ANY_SIZE, Btf};

use super::load::{Program, bpf, change, zeroed};
use super::types;

/// The structure, and the one around it that is the value of a table
/// (kernel/bpf/bpf_struct_ops.c, 6.1 to 7.2).
const OPERATIONS: &str = "tcp_congestion_ops";
const VALUE: &str = "bpf_struct_ops_tcp_congestion_ops";
/// The operations without which no congestion control is registered
/// (`tcp_validate_congestion_control`, net/ipv4/tcp_cong.c, 6.12).
const NEEDED: [&str; 3] = ["ssthresh", "cong_avoid", "undo_cwnd"];
/// The longest name (`TCP_CA_NAME_MAX`, include/net/tcp.h), with its zero byte.
const LONGEST_NAME: usize = 16;
/// More bytes than the value has.
const LARGEST_VALUE: usize = 4096;
const POINTER: usize = size_of::<u64>();

/// Registers a congestion control of this name. It stays until the kernel ends.
pub(super) fn register(name: &str, kernel: &Btf) -> Result<Vec<OwnedFd>> {
    ensure!(name.len() < LONGEST_NAME, "{name} is too long");
    let place = |field: &str| -> Result<usize> {
        let data = kernel.offset(VALUE, "data", ANY_SIZE)? as usize;
        Ok(data + kernel.offset(OPERATIONS, field, ANY_SIZE)? as usize)
    };
    let operations = kernel.structure(OPERATIONS).context("no TCP congestion control")?;
    let size = (0..LARGEST_VALUE).find(|size| kernel.check_size(VALUE, *size as u64).is_ok());
    let mut value = vec![0; size.context("a value of unknown size")?];
    let mut put = |at: usize, bytes: &[u8]| {
        let to = value.get_mut(at..at + bytes.len()).context("a field outside of the value")?;
        to.copy_from_slice(bytes);
        anyhow::Ok(())
    };
    let mut kept = Vec::new();
    for operation in NEEDED {
        // The structure begins with the pointers, so their places give their numbers.
        let number = kernel.offset(OPERATIONS, operation, POINTER as u64)? as usize / POINTER;
        let program = Program::new(bpf_prog_type::BPF_PROG_TYPE_STRUCT_OPS);
        let program = program.target(operations).attach(u32::try_from(number)?);
        let program = program.load().with_context(|| format!("no program for {operation}"))?;
        put(place(operation)?, &u64::try_from(program.as_raw_fd())?.to_le_bytes())?;
        kept.push(program);
    }
    put(place("name")?, name.as_bytes())?;
    // The kernel wants the type information of some program (`map_create`, kernel/bpf/syscall.c).
    let of_program = types::of_xdp()?;
    let mut attributes = zeroed();
    // SAFETY: every field is a number, whose bytes are all zero.
    let table = unsafe { &mut attributes.__bindgen_anon_1 };
    table.map_type = bpf_map_type::BPF_MAP_TYPE_STRUCT_OPS as u32;
    table.key_size = u32::try_from(size_of::<u32>())?;
    table.value_size = u32::try_from(value.len())?;
    table.max_entries = 1;
    table.btf_fd = of_program.as_raw_fd().cast_unsigned();
    table.btf_vmlinux_value_type_id = kernel.structure(VALUE).context("no such table")?;
    let table = bpf(bpf_cmd::BPF_MAP_CREATE, &mut attributes).context("no table")?;
    let key = 0_u32;
    let mut attributes = zeroed();
    // SAFETY: every field is a number, whose bytes are all zero.
    let update = unsafe { &mut attributes.__bindgen_anon_2 };
    update.map_fd = table.as_raw_fd().cast_unsigned();
    update.key = &raw const key as u64;
    update.__bindgen_anon_1.value = value.as_ptr() as u64;
    change(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attributes).context("not registered")?;
    kept.push(table);
    Ok(kept)
}
