//! Field offsets of the structures in which a kernel registers what traces it. They come from the
//! type information (BTF) in the kernel's own image or memory, or from the image's debug
//! information (DWARF). For a structure that neither describes, `judge::tracing` looks for a layout
//! that fits the kernel's lists.

use serde::{Deserialize, Serialize};

use crate::btf::{ANY_SIZE, Btf};
use crate::image::KernelImage;

/// Offsets in bytes, each from the start of its structure. A structure that neither the kernel nor
/// its image describes, or that has other fields, is missing.
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

/// Finds a field: the name of its structure, its own, and its bytes. Returns its offset.
type Find<'a> = &'a dyn Fn(&str, &str, u64) -> Option<u32>;

impl Layouts {
    /// Reads the image's `.BTF`, and its debug information for what is not in there.
    pub(super) fn of_image(image: &KernelImage) -> Self {
        let types = image.section(".BTF");
        let types = types.map(|types| Self::of_btf(image.content(types).to_vec()));
        let types = types.unwrap_or_default();
        let debug = Self::by(&|name, field, size| image.fields.offset(name, field, size));
        log::debug!("offsets by type information: {types:?}; by debug information: {debug:?}");
        Self {
            ftrace_ops: types.ftrace_ops.or(debug.ftrace_ops),
            kprobe: types.kprobe.or(debug.kprobe),
            bpf_ksym: types.bpf_ksym.or(debug.bpf_ksym),
            livepatch: types.livepatch.or(debug.livepatch),
            module: types.module.or(debug.module),
        }
    }

    /// Reads type information alone, which may come from another node's memory.
    #[must_use]
    pub fn of_btf(bytes: Vec<u8>) -> Self {
        match Btf::parse(bytes) {
            Ok(btf) => Self::by(&|name, field, size| {
                let log = |error: &_| log::debug!("type information: {error}");
                btf.offset(name, field, size).inspect_err(log).ok()
            }),
            Err(error) => {
                log::debug!("type information: {error}");
                Self::default()
            }
        }
    }

    fn by(find: Find<'_>) -> Self {
        Self {
            ftrace_ops: FtraceOps::by(find),
            kprobe: Kprobe::by(find),
            bpf_ksym: BpfKsym::by(find),
            livepatch: Livepatch::by(find),
            module: Module::by(find),
        }
    }
}

/// The offset of a field of any size.
fn any(find: Find<'_>, name: &str, field: &str) -> Option<u32> {
    find(name, field, ANY_SIZE)
}

/// The offset of a field of eight bytes.
fn pointer(find: Find<'_>, name: &str, field: &str) -> Option<u32> {
    find(name, field, 8)
}

impl FtraceOps {
    fn by(find: Find<'_>) -> Option<Self> {
        Some(Self {
            func: pointer(find, "ftrace_ops", "func")?,
            next: pointer(find, "ftrace_ops", "next")?,
            trampoline: pointer(find, "ftrace_ops", "trampoline")?,
            trampoline_size: pointer(find, "ftrace_ops", "trampoline_size")?,
        })
    }
}

impl Kprobe {
    fn by(find: Find<'_>) -> Option<Self> {
        let optimized = || {
            let start = any(find, "optimized_kprobe", "kp")?;
            let copied = any(find, "optimized_kprobe", "optinsn.copied_insn")?;
            let insn = pointer(find, "optimized_kprobe", "optinsn.insn")?;
            Some((copied.checked_sub(start)?, insn.checked_sub(start)?))
        };
        Some(Self {
            hlist: any(find, "kprobe", "hlist")?,
            list: any(find, "kprobe", "list")?,
            addr: pointer(find, "kprobe", "addr")?,
            pre_handler: pointer(find, "kprobe", "pre_handler")?,
            opcode: any(find, "kprobe", "opcode")?,
            optimized: optimized(),
        })
    }
}

impl BpfKsym {
    fn by(find: Find<'_>) -> Option<Self> {
        Some(Self {
            start: pointer(find, "bpf_ksym", "start")?,
            end: pointer(find, "bpf_ksym", "end")?,
            name: any(find, "bpf_ksym", "name")?,
            lnode: any(find, "bpf_ksym", "lnode")?,
        })
    }
}

impl Livepatch {
    fn by(find: Find<'_>) -> Option<Self> {
        Some(Self {
            func_stack: any(find, "klp_ops", "func_stack")?,
            fops: any(find, "klp_ops", "fops")?,
            stack_node: any(find, "klp_func", "stack_node")?,
            new_func: pointer(find, "klp_func", "new_func")?,
        })
    }
}

impl Module {
    fn by(find: Find<'_>) -> Option<Self> {
        let size = |field: &str| find("module", field, 4);
        // Since 6.4 a module has several parts of memory, with text first.
        let (base, size) = any(find, "module", "mem.base")
            .zip(size("mem.size"))
            .or_else(|| any(find, "module", "core_layout.base").zip(size("core_layout.size")))?;
        Some(Self {
            list: any(find, "module", "list")?,
            name: any(find, "module", "name")?,
            base,
            size,
            kallsyms: pointer(find, "module", "kallsyms")?,
            symtab: pointer(find, "mod_kallsyms", "symtab")?,
            num_symtab: find("mod_kallsyms", "num_symtab", 4)?,
            strtab: pointer(find, "mod_kallsyms", "strtab")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;
    use crate::dwarf::WANTED;

    /// Check that the search of debug information looks for every field that is asked for, and for
    /// no other.
    #[test]
    fn all_fields_are_wanted() {
        let asked = RefCell::new(BTreeSet::new());
        // Without the newer field, the older one is asked for too.
        for newer in [true, false] {
            let _ = Layouts::by(&|name, field, _| {
                asked.borrow_mut().insert((name.to_owned(), field.to_owned()));
                (newer || !field.starts_with("mem.")).then_some(8)
            });
        }
        let owned = |(name, fields): (&'static str, &[&str])| {
            fields.iter().map(|field| (name.to_owned(), (*field).to_owned())).collect::<Vec<_>>()
        };
        let wanted: BTreeSet<_> = WANTED.into_iter().flat_map(owned).collect();
        assert_eq!(asked.into_inner(), wanted);
    }
}
