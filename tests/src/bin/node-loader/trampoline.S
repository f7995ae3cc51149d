# Executed at physical 0x90000 by a processor that was just started, in real
# mode with %cs = 0x9000. It goes to long mode in one step (paging and
# protection are enabled together), as Intel SDM 3A 9.8.5 allows when paging
# structures and EFER.LME are in place.
#
# The kernel's 64-bit entry wants: %rsi = boot_params, %cs = 0x10 and
# %ds = %es = %ss = 0x18, flat, interrupts off (Documentation/arch/x86/boot.rst).

.set PAGE, 0x90000
.set EFER, 0xc0000080

.section .rodata.trampoline, "a"
.balign 16
.global trampoline_start
.global trampoline_target
.global trampoline_end

trampoline_start:
.code16
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl gdt_pointer - trampoline_start

    movl $0x20, %eax                    # CR4.PAE
    movl %eax, %cr4
    movl trampoline_target - trampoline_start, %eax
    movl %eax, %cr3
    movl $EFER, %ecx
    rdmsr
    orl $0x100, %eax                    # EFER.LME
    wrmsr
    movl $0x80000011, %eax              # CR0.PG, ET, PE; caches on
    movl %eax, %cr0
    ljmpl *(far_pointer - trampoline_start)

.code64
long_mode:
    movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq trampoline_target + 8(%rip), %rsi
    movq trampoline_target + 16(%rip), %rax
    jmpq *%rax

.balign 8
gdt:
    .quad 0
    .quad 0
    .quad 0x00af9b000000ffff            # 0x10: code, 64 bit
    .quad 0x00cf93000000ffff            # 0x18: data
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long PAGE + gdt - trampoline_start
far_pointer:
    .long PAGE + long_mode - trampoline_start
    .word 0x10
.balign 8
trampoline_target:
    .quad 0                             # page tables
    .quad 0                             # boot_params
    .quad 0                             # entry
trampoline_end:

.code64
.text
