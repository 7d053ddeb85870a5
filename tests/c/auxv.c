/* What a program can see of how it was started: printed so that two runs can be compared, whatever their
   addresses are. With -DWHERE=dir, it also uses a library of its own there: where() must say so. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifdef WHERE
const char *where(void);
#endif
extern char **environ;
extern void _start(void);

static struct dl_phdr_info first;
static int note(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size, (void)data;
    first = *info;
    return 1;
}

static const char *yes(int b) { return b ? "yes" : "NO"; }

static int same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

int main(int argc, char **argv)
{
    static const int plain[] = {AT_HWCAP, AT_PAGESZ, AT_CLKTCK, AT_PHENT, AT_PHNUM, AT_FLAGS, AT_UID, AT_EUID,
                                AT_GID, AT_EGID, AT_SECURE, AT_HWCAP2, AT_MINSIGSTKSZ};
    char link[4096] = "", first_bytes[5] = "", comm[16] = "";
    Dl_info ld;
    struct timespec t, res;
    struct timeval tv;
    unsigned cpu, node;

    for (int i = 0; i < argc; i++)
        printf("argv %s\n", argv[i]);
    printf("argv ends %s\n", yes(argv[argc] == NULL && environ == argv + argc + 1));
    printf("program %s, %s\n", program_invocation_name, program_invocation_short_name);
    printf("AUXV_TEST=%s\n", getenv("AUXV_TEST") ? getenv("AUXV_TEST") : "(null)");
    printf("hidden %s\n", yes(!getenv("SPLITPROC_CKPT_DIR") && !getenv("SPLITPROC_PRELOAD")));
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        errno = 0;
        unsigned long v = getauxval(plain[i]);
        printf("auxv %d: %lx %d\n", plain[i], v, errno);
    }
    printf("execfn %s\n", (char *)getauxval(AT_EXECFN));
    printf("platform %s\n", (char *)getauxval(AT_PLATFORM));
    dl_iterate_phdr(note, NULL);
    printf("phdr %s\n", yes((uintptr_t)first.dlpi_phdr == getauxval(AT_PHDR)));
    printf("entry %s\n", yes((uintptr_t)_start == getauxval(AT_ENTRY)));
    void *handle = dlopen("ld-linux-x86-64.so.2", RTLD_NOW | RTLD_NOLOAD);
    struct link_map *map = NULL;
    dlinfo(handle, RTLD_DI_LINKMAP, &map);
    printf("base %s\n", yes(map && map->l_addr == getauxval(AT_BASE)));
    printf("interpreter %s\n", dladdr((void *)getauxval(AT_BASE), &ld) ? ld.dli_fname : "?");
    unsigned char *random = (void *)getauxval(AT_RANDOM);
    int set = 0;
    for (int i = 0; i < 16; i++)
        set |= random[i];
    uintptr_t guard;
    __asm__("mov %%fs:0x28, %0" : "=r"(guard));
    printf("random %s, guard %s\n", yes(set != 0), yes(guard >> 8 == *(uint64_t *)random >> 8));
    Elf64_Ehdr *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
    printf("vdso %s\n", yes(vdso && memcmp(vdso->e_ident, ELFMAG, SELFMAG) == 0 && vdso->e_type == ET_DYN));
    printf("clock %s", yes(clock_gettime(CLOCK_REALTIME, &t) == 0 && gettimeofday(&tv, NULL) == 0));
    printf(" %s", yes(labs(t.tv_sec - tv.tv_sec) < 2 && labs(t.tv_sec - time(NULL)) < 2));
    printf(" %s", yes(clock_getres(CLOCK_REALTIME, &res) == 0 && res.tv_sec == 0));
    printf(" %s", yes(getcpu(&cpu, &node) == 0 && cpu < 4096));
    printf(" %s\n", yes(clock_gettime(-17, &t) == -1 && errno == EINVAL));
    printf("getrandom %s\n", yes(getrandom(&t, sizeof t, 0) == sizeof t));
    ssize_t n = readlink("/proc/self/exe", link, sizeof link - 1);
    printf("exe %zd %s\n", n, link);
    int fd = open("/proc/self/exe", O_RDONLY);
    n = read(fd, first_bytes, 4);
    struct stat a, b;
    printf("exe opens %s\n", yes(n == 4 && fstat(fd, &a) == 0 && stat(link, &b) == 0 && a.st_ino == b.st_ino));
    printf("exe is %s %s\n", yes(same_file("/proc/self/exe", link)), yes(access("/proc/self/exe", X_OK) == 0));
    fd = open("/proc/self/comm", O_RDONLY);
    n = read(fd, comm, sizeof comm - 1);
    printf("comm %s", comm);
#ifdef WHERE
    printf("library %s\n", where());
#endif
    void *later = dlopen("liblater.so", RTLD_NOW);
    const char *(*say)(void) = later ? (const char *(*)(void))dlsym(later, "where") : NULL;
    printf("later %s\n", say ? say() : "not found");
    return 0;
}
