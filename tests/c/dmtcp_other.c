/* Another plugin of DMTCP's: writes the events that it is told of to the file $OTHER_PLUGIN. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct plugin {
    const char *api, *dmtcp, *name, *author, *email, *description;
    void (*hook)(unsigned event, void *data);
};

void dmtcp_register_plugin(struct plugin plugin);
int dmtcp_pid_real_to_virtual(int pid) __attribute__((weak));
void *dmtcp_dlsym(void *handle, const char *name) __attribute__((weak));

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
    /* DMTCP 4 replaces dlsym by one that looks after itself. */
    void *(*look)(void *, const char *) = dmtcp_dlsym ? dmtcp_dlsym : dlsym;
    void (*next)(void) = look(RTLD_NEXT, "dmtcp_initialize_plugin");
    if (next)
        next();
}
