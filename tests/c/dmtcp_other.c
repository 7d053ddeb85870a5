/* Another plugin of DMTCP's: writes the events that it is told of to the file $OTHER_PLUGIN. With REGION it has memory that it
 * leaves out of the image; with ASKS it asks the next plugin about all other. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct plugin {
    const char *api, *dmtcp, *name, *author, *email, *description;
    void (*hook)(unsigned event, void *data);
};

void dmtcp_register_plugin(struct plugin plugin);
int dmtcp_pid_real_to_virtual(int pid) __attribute__((weak));
void *dmtcp_dlsym(void *handle, const char *name) __attribute__((weak));

/* DMTCP 4 replaces dlsym by one that looks after itself. */
static void *next(const char *name)
{
    void *(*look)(void *, const char *) = dmtcp_dlsym ? dmtcp_dlsym : dlsym;
    return look(RTLD_NEXT, name);
}

#ifdef REGION
static void *const region = (void *)0x500000000000;
static int (*asked)(void *);

int dmtcp_skip_memory_region_ckpting(void **area)
{
    return *area == region || (asked && asked(area));
}

static void make_region(void)
{
    mmap(region, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
#ifdef ASKS
    asked = (int (*)(void *))next("dmtcp_skip_memory_region_ckpting");
#endif
}
#else
static void make_region(void) {}
#endif

static void hook(unsigned event, void *data)
{
    (void)data;
    const char *file = getenv("OTHER_PLUGIN");
    int fd = file && event >= 15 && event < 20 ? open(file, O_CREAT | O_APPEND | O_WRONLY, 0600) : -1;
    if (fd >= 0) {
        dprintf(fd, "%u\n", event);
        close(fd);
    }
}

void dmtcp_initialize_plugin(void)
{
    struct plugin own = {dmtcp_pid_real_to_virtual ? "4" : "3", "", "other", "", "", "", hook};
    dmtcp_register_plugin(own);
    make_region();
    void (*initialize)(void) = (void (*)(void))next("dmtcp_initialize_plugin");
    if (initialize)
        initialize();
}
