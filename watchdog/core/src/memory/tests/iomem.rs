//! Memory maps of every kind, as kernels print them.

use crate::memory::map::parse_iomem;
use crate::memory::{Lent, LentTo, MemoryMap, Reason, instances};

use super::kcore::set;

/// The map of a machine whose firmware calls these ranges System RAM.
fn map(iomem: &str, firmware: &[&str]) -> MemoryMap {
    MemoryMap { firmware_ram: set(firmware), ..parse_iomem(iomem).unwrap() }
}

fn reason(map: &MemoryMap, range: &str) -> String {
    let refusal = map.refusal_of_devmem(&range.parse().unwrap());
    refusal.map_or_else(|| "served".to_owned(), |it| format!("{} {:?}", it.range, it.reason))
}

/// Check that nested claims, other kinds of memory and holes leave nothing of the reserved memory
/// out but what this kernel owns, and that claims are known by name.
#[test]
fn kinds() {
    let iomem = "\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-0009ffff : Reserved
000a0000-000bffff : PCI Bus 0000:00
000c0000-000c99ff : Video ROM
00100000-1fffffff : System RAM
  01000000-01ffffff : Kernel code
  02000000-029fffff : Kernel rodata
  02a00000-02e3ffff : Kernel data
  03200000-035fffff : Kernel bss
20000000-67ffffff : Reserved
  30000000-300fffff : ramoops:dump(0/1)
    30000000-30000fff : inner
  31000000-37ffffff : Soft Reserved
    31000000-31ffffff : dax0.0
      31000000-31ffffff : System RAM (kmem)
68000000-6fffffff : Unknown E820 type
70000000-77ffffff : Persistent Memory (legacy)
  70000000-77ffffff : namespace0.0
78000000-7fffffff : RAM buffer
b0000000-bfffffff : PCI ECAM 0000 [bus 00-ff]
  b0000000-bfffffff : Reserved
    b0000000-bfffffff : pnp 00:00
fee00000-fee00fff : Local APIC
100000000-13fffffff : System RAM (virtio_mem)
140000000-17fffffff : reserved
";
    let map = map(iomem, &["0x0..0x9fc00", "0x100000..0x80000000", "0x100000000..0x180000000"]);
    assert_eq!(
        map.reserved().unwrap(),
        set(&[
            "0x0..0x1000",
            "0x20000000..0x31000000",
            "0x32000000..0x70000000",
            "0x78000000..0x80000000",
            "0x140000000..0x180000000",
        ])
    );
    let claims: Vec<_> = map.claimed.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(claims, ["ramoops:dump(0/1)", "inner", "dax0.0", "namespace0.0", "pnp 00:00"]);
    // A kernel may show claimed memory: that is tried, not assumed.
    assert_eq!(reason(&map, "0x30000000..0x30100000"), "served");
    assert!(reason(&map, "0x31000000..0x31001000").contains("SystemRam"));
    assert!(reason(&map, "0x70000000..0x70001000").ends_with("Persistent"));
    assert!(reason(&map, "0xb0000000..0xb0001000").ends_with("Device"));
    assert_eq!(map.kernel_in_reserved(), None);
    assert!(map.lent.is_empty());
}

/// Check that node 0's kernel in the midst of reserved memory is recognized, and refused as what it
/// is. Check that a kernel in RAM between two reserved ranges is not.
#[test]
fn own_kernel_in_reserved_memory() {
    let iomem = "\
00100000-1fffffff : System RAM
20000000-27ffffff : Reserved
28000000-29dfffff : System RAM
  28000000-28dfffff : Kernel code
  29000000-293fffff : Kernel rodata
  29400000-295fffff : Kernel data
  29a00000-29bfffff : Kernel bss
29e00000-67ffffff : Reserved
";
    let firmware = ["0x100000..0x68000000"];
    let image = map(iomem, &firmware);
    let own = image.kernel_in_reserved().unwrap();
    assert_eq!(own.to_string(), "0x28000000..0x29e00000");
    assert_eq!(
        image.reserved().unwrap(),
        set(&["0x20000000..0x28000000", "0x29e00000..0x68000000"])
    );
    let refusal = image.refusal_of_devmem(&"0x20000000..0x68000000".parse().unwrap()).unwrap();
    assert_eq!(refusal.range, own);
    let text = refusal.to_string();
    assert!(text.contains("nokaslr") && !text.contains("SIZE$START"), "{text}");
    let wide = iomem.replace("29dfffff", "3fffffff").replace("29e00000-", "40000000-");
    assert_eq!(map(&wide, &firmware).kernel_in_reserved(), None);
}

/// Check that lent memory is named at any depth, is not memory of discovered nodes, and that its
/// refusal says how to look at it.
#[test]
fn lent_memory() {
    let pool = "Multikernel Memory Pool";
    let below = format!(
        "\
00100000-7fffffff : System RAM
  20000000-5fffffff : {pool}
    20000000-2fffffff : mk-instance-1-web-region-0
    40000000-4fffffff : mk-instance-1-web-region-1
    50000000-5fffffff : mk-instance-2-db-region-0
  70000000-77ffffff : Crash kernel
"
    );
    let beside = format!(
        "\
00100000-1fffffff : System RAM
20000000-5fffffff : {pool}
  20000000-2fffffff : mk-instance-1-web-region-0
  40000000-4fffffff : mk-instance-1-web-region-1
  50000000-5fffffff : mk-instance-2-db-region-0
60000000-7fffffff : System RAM
  70000000-77ffffff : Crash kernel
"
    );
    for iomem in [below, beside] {
        let map = map(&iomem, &["0x100000..0x80000000"]);
        assert!(map.reserved().unwrap().is_empty(), "{iomem}");
        let web = LentTo::Instance { id: 1, name: "web".to_owned() };
        let all = instances(&map.lent);
        assert_eq!(all.len(), 2);
        assert_eq!(all[&web], set(&["0x20000000..0x30000000", "0x40000000..0x50000000"]));
        for (range, part, hint) in [
            (
                "0x20000000..0x30000000",
                "0x20000000..0x30000000",
                "--node web=0x20000000..0x30000000,0x40000000..0x50000000",
            ),
            ("0x5f000000..0x60000000", "0x5f000000..0x60000000", "--node db=0x50000000.."),
            ("0x30000000..0x31000000", "0x30000000..0x31000000", "--node pool=0x20000000.."),
            ("0x70000000..0x71000000", "0x70000000..0x71000000", "--node crash=0x70000000.."),
        ] {
            let refusal = map.refusal_of_devmem(&range.parse().unwrap()).unwrap();
            assert!(matches!(refusal.reason, Reason::Lent(..)), "{refusal:?}");
            assert_eq!(refusal.range.to_string(), part);
            let text = refusal.to_string();
            assert!(text.contains(hint) && text.contains("--memory live"), "{text}");
        }
        assert!(matches!(&map.lent[0], Lent { to: LentTo::Pool, .. }));
    }
}
