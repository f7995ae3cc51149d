//! Field offsets of the structures in which a kernel registers what traces it. They come from the
//! type information (BTF) in the kernel's own image or memory.

use serde::{Deserialize, Serialize};

use crate::btf::{ANY_SIZE, Btf, BtfError};
use crate::image::KernelImage;

/// Offsets in bytes, each from the start of its structure. A structure that the kernel does not
/// describe, or that has other fields, is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layouts {
    /// Of `struct ftrace_ops` (include/linux/ftrace.h).
    pub ftrace_ops: Option<FtraceOps>,
    /// Of `struct kprobe` and `struct optimized_kprobe` (include/linux/kprobes.h).
    pub kprobe: Option<Kprobe>,
    /// Of `struct bpf_ksym` (include/linux/bpf.h).
    pub bpf_ksym: Option<BpfKsym>,
    /// Of `struct klp_ops` and `struct klp_func`, if the kernel supports livepatching.
    pub livepatch: Option<Livepatch>,
    /// Of `struct module` and `struct mod_kallsyms` (include/linux/module.h).
    pub module: Option<Module>,
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
    /// Reads the image's `.BTF`.
    pub(super) fn of_image(image: &KernelImage) -> Self {
        let types = image.section(".BTF");
        types.map_or_else(Self::default, |types| Self::of_btf(image.content(types).to_vec()))
    }

    /// Reads type information alone, which may come from another node's memory.
    #[must_use]
    pub fn of_btf(bytes: Vec<u8>) -> Self {
        match Btf::parse(bytes) {
            Ok(btf) => Self {
                ftrace_ops: FtraceOps::of(&btf),
                kprobe: Kprobe::of(&btf),
                bpf_ksym: BpfKsym::of(&btf),
                livepatch: Livepatch::of(&btf),
                module: Module::of(&btf),
            },
            Err(error) => {
                log::debug!("type information: {error}");
                Self::default()
            }
        }
    }
}

/// The offset of a field of any size.
fn any(btf: &Btf, name: &str, field: &str) -> Option<u32> {
    sized(btf, name, field, ANY_SIZE)
}

/// The offset of a field of eight bytes.
fn pointer(btf: &Btf, name: &str, field: &str) -> Option<u32> {
    sized(btf, name, field, 8)
}

fn sized(btf: &Btf, name: &str, field: &str, size: u64) -> Option<u32> {
    let log = |error: &BtfError| log::debug!("type information: {error}");
    btf.offset(name, field, size).inspect_err(log).ok()
}

impl FtraceOps {
    fn of(btf: &Btf) -> Option<Self> {
        Some(Self {
            func: pointer(btf, "ftrace_ops", "func")?,
            next: pointer(btf, "ftrace_ops", "next")?,
            trampoline: pointer(btf, "ftrace_ops", "trampoline")?,
            trampoline_size: pointer(btf, "ftrace_ops", "trampoline_size")?,
        })
    }
}

impl Kprobe {
    fn of(btf: &Btf) -> Option<Self> {
        let optimized = || {
            let start = any(btf, "optimized_kprobe", "kp")?;
            let copied = any(btf, "optimized_kprobe", "optinsn.copied_insn")?;
            let insn = pointer(btf, "optimized_kprobe", "optinsn.insn")?;
            Some((copied.checked_sub(start)?, insn.checked_sub(start)?))
        };
        Some(Self {
            hlist: any(btf, "kprobe", "hlist")?,
            list: any(btf, "kprobe", "list")?,
            addr: pointer(btf, "kprobe", "addr")?,
            pre_handler: pointer(btf, "kprobe", "pre_handler")?,
            opcode: any(btf, "kprobe", "opcode")?,
            optimized: optimized(),
        })
    }
}

impl BpfKsym {
    fn of(btf: &Btf) -> Option<Self> {
        Some(Self {
            start: pointer(btf, "bpf_ksym", "start")?,
            end: pointer(btf, "bpf_ksym", "end")?,
            name: any(btf, "bpf_ksym", "name")?,
            lnode: any(btf, "bpf_ksym", "lnode")?,
        })
    }
}

impl Livepatch {
    fn of(btf: &Btf) -> Option<Self> {
        Some(Self {
            func_stack: any(btf, "klp_ops", "func_stack")?,
            fops: any(btf, "klp_ops", "fops")?,
            stack_node: any(btf, "klp_func", "stack_node")?,
            new_func: pointer(btf, "klp_func", "new_func")?,
        })
    }
}

impl Module {
    fn of(btf: &Btf) -> Option<Self> {
        let size = |field: &str| sized(btf, "module", field, 4);
        // Since 6.4 a module has several parts of memory, with text first.
        let (base, size) = any(btf, "module", "mem.base")
            .zip(size("mem.size"))
            .or_else(|| any(btf, "module", "core_layout.base").zip(size("core_layout.size")))?;
        Some(Self {
            list: any(btf, "module", "list")?,
            name: any(btf, "module", "name")?,
            base,
            size,
            kallsyms: pointer(btf, "module", "kallsyms")?,
            symtab: pointer(btf, "mod_kallsyms", "symtab")?,
            num_symtab: sized(btf, "mod_kallsyms", "num_symtab", 4)?,
            strtab: pointer(btf, "mod_kallsyms", "strtab")?,
        })
    }
}
