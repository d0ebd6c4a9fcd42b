#include "network/namespace_user.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/process.h"

struct kind {
        const char *name;
        int flag;
        bool wanted;
};

#define KINDS(options)                                                                             \
        {                                                                                          \
                {"user", CLONE_NEWUSER, true}, {"net", CLONE_NEWNET, (options)->network},          \
                        {"ipc", CLONE_NEWIPC, (options)->ipc},                                     \
                        {"uts", CLONE_NEWUTS, (options)->uts},                                     \
        }
#define KIND_COUNT 4

/* process_start goes on without namespaces where the kernel refuses them. */
static int check_namespace(pid_t pid, struct error *err)
{
        struct stat own, other;
        AUTO_FREE char *path = xprintf("/proc/%d/ns/user", (int)pid);
        if (stat("/proc/self/ns/user", &own) < 0 || stat(path, &other) < 0)
                return error_errno(err, errno, "look at %s", path);
        if (own.st_ino != other.st_ino || own.st_dev != other.st_dev)
                return 0;
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "the kernel makes no user namespaces "
                         "(/proc/sys/user/max_user_namespaces)");
}

static int write_map(pid_t pid, const char *name, const char *map, struct error *err)
{
        AUTO_FREE char *path = xprintf("/proc/%d/%s", (int)pid, name);
        return file_write(path, map, err);
}

static int pin_all(const struct namespace_options *options, pid_t pid, struct error *err)
{
        const struct kind kinds[KIND_COUNT] = KINDS(options);
        int result = check_namespace(pid, err);
        if (result == 0)
                result = write_map(pid, "uid_map", options->users->uid_map, err);
        if (result == 0)
                result = write_map(pid, "gid_map", options->users->gid_map, err);
        for (size_t i = 0; result == 0 && i < KIND_COUNT; i++) {
                AUTO_FREE char *path = xprintf("%s/%s", options->directory, kinds[i].name);
                if (kinds[i].wanted)
                        result = namespace_pin_process(pid, kinds[i].name, path, err);
        }
        return result;
}

int namespace_user_pin(const struct namespace_options *options, struct error *err)
{
        const struct kind kinds[KIND_COUNT] = KINDS(options);
        char name[] = "namespaces", flag[] = "--wait";
        char *argv[] = {name, flag, NULL};
        struct process_options child = PROCESS_OPTIONS_INIT;
        struct process process;
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return error_errno(err, errno, "make a user namespace: pipe");
        AUTO_FD int input = ends[0];
        AUTO_FD __attribute__((unused)) int kept =
                ends[1]; /* the child ends when it is closed, whatever becomes of us */
        child.path = options->users->program;
        child.argv = argv;
        child.stdin_fd = input;
        for (size_t i = 0; i < KIND_COUNT; i++)
                if (kinds[i].wanted)
                        child.namespaces |= kinds[i].flag;
        int result = process_start(&child, &process, err);
        if (result < 0)
                return error_context(err, "make a user namespace");
        result = pin_all(options, process.pid, err);
        process_abandon(&process);
        return result < 0 ? error_context(err, "make a user namespace") : 0;
}

int namespace_user_join(const struct namespace_options *options, struct error *err)
{
        const struct kind kinds[KIND_COUNT] = KINDS(options);
        for (size_t i = 1; i < KIND_COUNT; i++) {
                if (!kinds[i].wanted)
                        continue;
                AUTO_FREE char *path = xprintf("%s/%s", options->directory, kinds[i].name);
                AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        return error_errno(err, errno, "open %s", path);
                if (setns(fd, kinds[i].flag) < 0)
                        return error_errno(err, errno, "join %s", path);
        }
        return 0;
}
