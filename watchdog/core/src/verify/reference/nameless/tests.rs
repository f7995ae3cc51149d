//! Tests with made-up images without symbols.

use super::made_up::*;
use super::*;
use crate::image::made_up::{Elf, TEXT, place};
use crate::verify::reference::{REGISTERS, Reference};

fn symbols_of(elf: &Elf) -> ImageSymbols {
    let symbols = symbols(&KernelImage::lay_out(&elf.build()).unwrap()).unwrap();
    assert!(symbols.is_sound() && symbols.is_nameless() && !symbols.has_data());
    symbols
}

/// Check that names are decided by what bytes do, and that functions are found without a name.
#[test]
fn names_and_functions() {
    let symbols = symbols_of(&kernel());
    for (name, expected) in [
        ("__fentry__", FENTRY),
        ("ftrace_caller", CALLER),
        ("ftrace_call", CALLER + 0x18),
        ("ftrace_regs_caller", CALLER_REGS),
        ("ftrace_regs_call", CALLER_REGS + 0x24),
        ("__x86_return_thunk", RETURN),
        ("its_return_thunk", ALIGNED_RETURN),
        ("x86_return_thunk", VARIABLE),
        ("__start_mcount_loc", ENTRIES),
        ("__stop_mcount_loc", ENTRIES + COUNT * 8),
        ("__SCT__text+0x1300", TRAMPOLINE),
    ] {
        assert_eq!(symbols.address(name), Some(expected), "{name}");
    }
    for (number, register) in (0..).zip(REGISTERS) {
        let address = |use_: &str| symbols.address(&format!("__x86_indirect_{use_}{register}"));
        assert_eq!(address("thunk_"), Some(thunk(number)), "{register}");
        assert_eq!(address("its_thunk_"), Some(LINES + 0x20 + number * 0x40), "{register}");
    }
    for at in (0..COUNT).map(function).chain([PADDED, PAD]) {
        assert!(symbols.is_function(at) && symbols.at(at).is_none(), "{at:#x}");
    }
    for at in [FUNCTIONS + 0x10, PADDED - 16, PAD + 4, 0x10] {
        assert!(!symbols.is_function(at), "{at:#x}");
    }
}

/// Check that a place without a name is shown by its section.
#[test]
fn places_are_shown() {
    let symbols = symbols_of(&kernel());
    let shown =
        |at: u32| symbols.lookup(at).map(|(name, distance)| format!("{name}+{distance:#x}"));
    assert_eq!(shown(FENTRY).unwrap(), "__fentry__+0x0");
    assert_eq!(shown(FENTRY + 1).unwrap(), "text+0x41");
    assert_eq!(shown(function(2)).unwrap(), "text+0x280");
    assert_eq!(shown(0x4010).unwrap(), ".rodata+0x10");
    assert_eq!(shown(ENTRIES + 9).unwrap(), ".init.data+0x9");
}

/// Check that a name that two things may have is given to neither.
#[test]
fn what_is_not_clear() {
    let with = |at: u32, code: &[u8]| {
        let mut elf = kernel();
        place(&mut elf.section(".text").bytes, at.into(), code);
        symbols_of(&elf)
    };
    let second = [&[0xcc; 32][..], &[0xc3, 0xcc]].concat();
    assert_eq!(with(0x1700, &second).address("its_return_thunk"), None);
    let (other, jump) = (function(4) + 0x10, branch(0xe9, function(4) + 0x10, STUB));
    assert_eq!(with(other, &jump).address("__x86_return_thunk"), None);
    let broken = with(thunk(3) + 6, &[0x90; 4]);
    assert_eq!(broken.address("__x86_indirect_thunk_rbx"), None);
    assert!(broken.address("__x86_indirect_thunk_rdx").is_some());
    let call = branch(0xe8, FENTRY + 0x1a, STUB);
    assert_eq!(with(FENTRY + 0x1a, &call).address("ftrace_call"), None);
}

/// Check that sites whose branches lead to no known thunk are not judged, and are counted.
#[test]
fn sites_that_are_not_judged() {
    let reference = |change: &dyn Fn(&mut Elf)| {
        let mut elf =
            kernel().with_section(".altinstr_replacement", 1, 6, TEXT + 0x6000, vec![0x90; 16]);
        change(&mut elf);
        Reference::of_image(&KernelImage::lay_out(&elf.build()).unwrap()).unwrap()
    };
    let counts = |reference: Reference| -> Vec<(String, u32)> {
        let listed = reference.not_judged.into_iter().filter(|it| it.sites > 0);
        listed.map(|it| (it.mechanism, it.sites)).collect()
    };
    assert_eq!(counts(reference(&|_| {})), []);
    let without_variable = reference(&|elf| elf.section(".data").bytes.fill(0));
    assert_eq!(counts(without_variable), [(".return_sites".to_owned(), COUNT)]);
    let without_thunk = reference(&|elf| {
        place(&mut elf.section(".text").bytes, (thunk(2) + 6).into(), &[0x90; 4]);
    });
    // The functions 2 and 18 branch through it.
    assert_eq!(counts(without_thunk), [(".retpoline_sites".to_owned(), 2)]);
}

/// Check that an image of an old kernel is refused, with what to give.
#[test]
fn old_kernels() {
    let mut elf = kernel();
    let rodata = &mut elf.section(".rodata").bytes;
    *rodata = String::from_utf8(rodata.clone()).unwrap().replace("6.12.1", "5.12.1").into_bytes();
    let error = symbols(&KernelImage::lay_out(&elf.build()).unwrap()).unwrap_err().to_string();
    assert!(error.contains("5.13") && error.contains("vmlinux"), "{error}");
    assert_eq!(version("5.13.0-rc1"), Some((5, 13)));
    assert_eq!(version("next"), None);
}
