//! Field offsets of the structures in which a kernel registers what traces it. They come from the
//! type information (BTF) in the kernel's own image or memory.

use serde::{Deserialize, Serialize};

use crate::btf::{ANY_SIZE, Btf, BtfError};
use crate::image::KernelImage;

/// Offsets in bytes, each from the start of its structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layouts {
    /// Of `struct ftrace_ops` (include/linux/ftrace.h).
    pub ftrace_ops: FtraceOps,
    /// Of `struct kprobe` and `struct optimized_kprobe` (include/linux/kprobes.h).
    pub kprobe: Kprobe,
    /// Of `struct bpf_ksym` (include/linux/bpf.h).
    pub bpf_ksym: BpfKsym,
    /// Of `struct klp_ops` and `struct klp_func`, if the kernel supports livepatching.
    pub livepatch: Option<Livepatch>,
    /// Of `struct module` (include/linux/module.h).
    pub module: Module,
}

/// `struct ftrace_ops`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the field of this name")]
pub struct FtraceOps {
    pub func: u32,
    pub next: u32,
    pub trampoline: u32,
    pub trampoline_size: u32,
}

/// `struct kprobe`, and the fields of `struct optimized_kprobe` behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the field of this name")]
pub struct Kprobe {
    pub hlist: u32,
    pub list: u32,
    pub addr: u32,
    pub pre_handler: u32,
    pub opcode: u32,
    /// `optinsn.copied_insn` and `optinsn.insn`, if the kernel optimises probes.
    pub optimized: Option<(u32, u32)>,
}

/// `struct bpf_ksym`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the field of this name")]
pub struct BpfKsym {
    pub start: u32,
    pub end: u32,
    pub name: u32,
    pub lnode: u32,
}

/// `struct klp_ops` (kernel/livepatch/patch.h) and `struct klp_func` (include/linux/livepatch.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Livepatch {
    /// `klp_ops.func_stack`.
    pub func_stack: u32,
    /// `klp_ops.fops`.
    pub fops: u32,
    /// `klp_func.stack_node`.
    pub stack_node: u32,
    /// `klp_func.new_func`.
    pub new_func: u32,
}

/// `struct module`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the field of this name")]
pub struct Module {
    pub list: u32,
    pub name: u32,
    pub base: u32,
    pub size: u32,
    pub kallsyms: u32,
    /// Of `struct mod_kallsyms`.
    pub symtab: u32,
    pub num_symtab: u32,
    pub strtab: u32,
}

impl Layouts {
    /// Reads the image's `.BTF`; `None` if there is none, or a structure has other fields.
    pub(super) fn of_image(image: &KernelImage) -> Option<Self> {
        Self::of_btf(image.content(image.section(".BTF")?).to_vec())
    }

    /// Reads type information alone, which may come from another node's memory.
    #[must_use]
    pub fn of_btf(bytes: Vec<u8>) -> Option<Self> {
        let log = |error: &BtfError| log::debug!("type information: {error}");
        let btf = Btf::parse(bytes).inspect_err(log).ok()?;
        let offset = |name: &str, field: &str, size| btf.offset(name, field, size).inspect_err(log);
        let pointer = |name: &str, field: &str| offset(name, field, 8).ok();
        let any = |name: &str, field: &str| offset(name, field, ANY_SIZE).ok();
        let word = |name: &str, field: &str| offset(name, field, 4).ok();
        let optimized = || {
            let start = any("optimized_kprobe", "kp")?;
            let copied = any("optimized_kprobe", "optinsn.copied_insn")?;
            let insn = pointer("optimized_kprobe", "optinsn.insn")?;
            Some((copied.checked_sub(start)?, insn.checked_sub(start)?))
        };
        let livepatch = || {
            Some(Livepatch {
                func_stack: any("klp_ops", "func_stack")?,
                fops: any("klp_ops", "fops")?,
                stack_node: any("klp_func", "stack_node")?,
                new_func: pointer("klp_func", "new_func")?,
            })
        };
        // Since 6.4 a module has several parts of memory, with text first.
        let (base, size) =
            any("module", "mem.base").zip(word("module", "mem.size")).or_else(|| {
                any("module", "core_layout.base").zip(word("module", "core_layout.size"))
            })?;
        Some(Self {
            ftrace_ops: FtraceOps {
                func: pointer("ftrace_ops", "func")?,
                next: pointer("ftrace_ops", "next")?,
                trampoline: pointer("ftrace_ops", "trampoline")?,
                trampoline_size: pointer("ftrace_ops", "trampoline_size")?,
            },
            kprobe: Kprobe {
                hlist: any("kprobe", "hlist")?,
                list: any("kprobe", "list")?,
                addr: pointer("kprobe", "addr")?,
                pre_handler: pointer("kprobe", "pre_handler")?,
                opcode: any("kprobe", "opcode")?,
                optimized: optimized(),
            },
            bpf_ksym: BpfKsym {
                start: pointer("bpf_ksym", "start")?,
                end: pointer("bpf_ksym", "end")?,
                name: any("bpf_ksym", "name")?,
                lnode: any("bpf_ksym", "lnode")?,
            },
            livepatch: livepatch(),
            module: Module {
                list: any("module", "list")?,
                name: any("module", "name")?,
                base,
                size,
                kallsyms: pointer("module", "kallsyms")?,
                symtab: pointer("mod_kallsyms", "symtab")?,
                num_symtab: word("mod_kallsyms", "num_symtab")?,
                strtab: pointer("mod_kallsyms", "strtab")?,
            },
        })
    }
}
