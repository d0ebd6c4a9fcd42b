/*
 * Stops a process just before its Nth step towards the disk: preloaded into the daemon and what it starts, which count together.
 * A file that all of them map says at which step (0: never), counts, and tells that it was reached. Then every thread that comes to a
 * step stays there, and the test takes the power away.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct shared {
        _Atomic unsigned at, count, reached;
        char name[52];
};

static struct shared *shared;

__attribute__((constructor)) static void map_shared(void)
{
        const char *path = getenv("CUT_FILE");
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (fd >= 0)
                close(fd);
        if (map != MAP_FAILED)
                shared = map;
}

static void step(const char *name)
{
        if (!shared)
                return;
        unsigned number = atomic_fetch_add(&shared->count, 1) + 1;
        if (number == atomic_load(&shared->at)) {
                strncpy(shared->name, name, sizeof(shared->name) - 1);
                atomic_store(&shared->reached, 1);
        }
        /* No system call: a filter may forbid it. */
        while (atomic_load(&shared->reached))
                ;
}

#define STEP(type, name, parameters, ...)                                                                                                 \
        type name parameters                                                                                                              \
        {                                                                                                                                 \
                type(*next) parameters = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                                     \
                step(#name);                                                                                                              \
                return next(__VA_ARGS__);                                                                                                 \
        }

STEP(int, fsync, (int fd), fd)
STEP(int, fdatasync, (int fd), fd)
STEP(int, syncfs, (int fd), fd)
STEP(int, rename, (const char *from, const char *to), from, to)
STEP(int, renameat, (int a, const char *from, int b, const char *to), a, from, b, to)
STEP(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags), a, from, b, to, flags)
STEP(int, unlink, (const char *path), path)
STEP(int, unlinkat, (int fd, const char *path, int flags), fd, path, flags)
STEP(int, rmdir, (const char *path), path)
STEP(int, symlink, (const char *target, const char *path), target, path)
STEP(int, symlinkat, (const char *target, int fd, const char *path), target, fd, path)
STEP(int, linkat, (int a, const char *from, int b, const char *to, int flags), a, from, b, to, flags)
