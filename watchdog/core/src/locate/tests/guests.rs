//! Kernels that state addresses of another machine: a virtual machine's.

use super::made_up::*;
use super::*;

/// Check that parts of a kernel that itself states another place are lost with the distance, and do
/// not concern a kernel on the machine itself.
#[test]
fn at_a_distance() {
    // A virtual machine's memory: its addresses begin at 0.
    let machine = Machine::with(FIRST);
    machine.copy(FIRST.text, SECOND.text, IMAGE_SIZE);
    machine.write(FIRST.text, &vec![0; IMAGE_SIZE as usize]);
    machine.copy(FIRST.note, 0x190_0000, 4096);
    machine.write(FIRST.note, &[0; 4096]);
    let found = machine.find();
    let guest = found.iter().find(|it| it.text_address() == Some(PhysAddr(SECOND.text))).unwrap();
    assert!(guest.is_displaced(), "{found:?}");
    assert!(guest.reason().contains("at 0x400000, 0xa00000 below"), "{}", guest.reason());
    // Its VMCOREINFO at the right place, or page tables, make it a kernel of the machine's own.
    let note = FIRST.note(FIRST.virt, SECOND.text, SECOND.root());
    machine.write(FIRST.note, note.as_bytes());
    assert!(!machine.find().iter().any(Finding::is_displaced));
    let machine = Machine::with(FIRST);
    machine.write(0x190_0000, FIRST.note(FIRST.virt, SECOND.text, 0).as_bytes());
    machine.write(FIRST.note, &[0; 4096]);
    assert!(!machine.find().iter().any(Finding::is_displaced));
}

/// Check that a kernel is located although a virtual machine's kernel states the same physical
/// address, by its note or by its resource. Check that the other kernel is reported, and that its
/// parts are found at a distance.
#[test]
fn at_the_address_of_another() {
    const VIRT: u64 = FIRST.virt + 0x1e0_0000;
    let note = FIRST.note(VIRT, FIRST.text, FIRST.root()).replace("6.1.0", "6.2.0");
    for (what, at) in [("vmcoreinfo", FIRST.note + 0x2000), ("iomem", FIRST.resource() + 0x40)] {
        let machine = Machine::with(FIRST);
        if what == "vmcoreinfo" {
            machine.write(at, note.as_bytes());
        } else {
            machine.copy(FIRST.resource(), at, 32);
            let mut name = [0; 8];
            crate::memory::Memory::read(&machine, PhysAddr(at + 16), &mut name).unwrap();
            let name = u64::from_le_bytes(name) + (VIRT - FIRST.virt);
            machine.write(at + 16, &name.to_le_bytes());
        }
        let found = machine.find();
        assert_eq!(found.len(), 2, "{what}: {found:?}");
        let Finding::Located(kernel) = &found[0] else { panic!("{what}: {found:?}") };
        assert_eq!((kernel.text.virt.0, kernel.witnesses.len()), (FIRST.virt, 4), "{what}");
        let reason = found[1].reason();
        assert!(reason.starts_with(&format!("only {what} reports")), "{reason}");
        assert!(reason.contains("another kernel") && found[1].text_address().is_none());
    }
    let machine = Machine::with(FIRST);
    machine.add(SECOND);
    machine.entry(SECOND.level3(), 510, 0);
    machine.write(SECOND.resource(), &[0; 32]);
    machine.write(SECOND.note, SECOND.note(SECOND.virt, FIRST.text, 0).as_bytes());
    let found = machine.find();
    assert!(matches!(&found[0], Finding::Located(_)), "{found:?}");
    let guest = found.iter().find(|it| it.is_displaced()).unwrap();
    assert!(guest.reason().contains("at 0x400000, 0xa00000 below"), "{}", guest.reason());
}

/// Check that a note with another virtual address is a contradiction if the kernel has no note of
/// its own. Check that two notes with the kernel's own virtual address are one, too.
#[test]
fn at_no_other_address() {
    let machine = Machine::with(FIRST);
    let other = FIRST.note(FIRST.virt + 0x1e0_0000, FIRST.text, FIRST.root());
    machine.write(FIRST.note, other.as_bytes());
    assert!(machine.not_located()[0].contains("vmcoreinfo says the text is at"));
    // The same address, and another root.
    let machine = Machine::with(FIRST);
    let other = FIRST.note(FIRST.virt, FIRST.text, FIRST.root() + 0x1000);
    machine.write(FIRST.note + 0x2000, other.as_bytes());
    assert!(machine.not_located()[0].contains("several kernel texts"));
}
