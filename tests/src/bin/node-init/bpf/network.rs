//! Programs for packets: XDP, an extension of an XDP program, and traffic control.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::tc::{NlOptions, TcAttachOptions, qdisc_add_clsact};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya_obj::generated::{bpf_attach_type, bpf_prog_type};
use watchdog_tests::bpf_object;

use super::load::{Program, zeroed};
use super::types::{self, MAIN};
use super::{attach_link, attach_tracing};

/// The result of an XDP program that lets a packet pass (include/uapi/linux/bpf.h).
const XDP_PASS: i32 = 2;
/// The result of a traffic control program that leaves a packet to the next one
/// (`TC_ACT_UNSPEC`, include/uapi/linux/pkt_cls.h). For tcx it is `TCX_NEXT`.
const NEXT: i32 = -1;
/// Attaches a program to a network interface. The program lets all packets pass.
pub(super) fn attach_xdp(interface: u32) -> Result<Vec<OwnedFd>> {
    let attach = bpf_attach_type::BPF_XDP as u32;
    let types = types::of_xdp()?;
    let program = Program::new(bpf_prog_type::BPF_PROG_TYPE_XDP).attach(attach);
    let program = program.typed(types.as_fd(), MAIN).returning(XDP_PASS).load()?;
    let mut attributes = zeroed();
    attributes.link_create.__bindgen_anon_2.target_ifindex = interface;
    attach_link(program, attach, attributes)
}

/// Replaces the main function of an XDP program by an extension, which lets all packets pass.
pub(super) fn extend_xdp(target: &OwnedFd) -> Result<Vec<OwnedFd>> {
    let types = types::of_xdp()?;
    let program = Program::new(bpf_prog_type::BPF_PROG_TYPE_EXT).extends(target.as_fd());
    let program = program.target(MAIN).typed(types.as_fd(), MAIN).returning(XDP_PASS).load()?;
    attach_tracing(program, None)
}

/// Attaches a program to the queueing discipline `clsact` of an interface, which it adds.
pub(super) fn attach_to_clsact(interface: &str) -> Result<Ebpf> {
    qdisc_add_clsact(interface)?;
    attach_to_traffic(interface, TcAttachOptions::Netlink(NlOptions::default()))
}

/// Attaches a program to an interface by a link (`tcx_link_attach`, kernel/bpf/tcx.c, since 6.6).
pub(super) fn attach_to_tcx(interface: &str) -> Result<Ebpf> {
    attach_to_traffic(interface, TcAttachOptions::TcxOrder(LinkOrder::default()))
}

fn attach_to_traffic(interface: &str, options: TcAttachOptions) -> Result<Ebpf> {
    let mut programs = Ebpf::load(&bpf_object::returning("classifier", NEXT)?)?;
    let (_, program) = programs.programs_mut().next().context("an object without a program")?;
    let program: &mut SchedClassifier = program.try_into()?;
    program.load()?;
    program.attach_with_options(interface, TcAttachType::Ingress, options)?;
    Ok(programs)
}
