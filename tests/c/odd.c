/* A system call that can't be routed: it is jumped to, and so is the instruction behind it. Never called. */
__asm__(".globl odd\n"
        "odd:\n"
        "    mov $9, %eax\n"
        "    jmp 1f\n"
        "    nop\n"
        "1:  syscall\n"
        "2:  dec %ecx\n"
        "    jnz 2b\n"
        "    ret\n");
