#include "network/namespace_sysctl.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

static bool starts_with(const char *text, const char *prefix)
{
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

/*
 * The path below /proc/sys. The first separator says which one is used; the other one then stands
 * for itself inside a component, as in net.ipv4.conf.eth0/100.forwarding, whose interface is
 * eth0.100.
 */
static int to_path(const char *name, char path[NAMESPACE_SYSCTL_NAME_MAX], struct error *err)
{
        size_t length = name ? strlen(name) : 0;
        if (length == 0 || length >= NAMESPACE_SYSCTL_NAME_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "sysctl \"%.64s\": a name has 1 to %d bytes", name ? name : "",
                                 NAMESPACE_SYSCTL_NAME_MAX - 1);
        const char *first = strpbrk(name, "./");
        bool dots = first && *first == '.';
        memcpy(path, name, length + 1);
        for (char *byte = path; *byte; byte++) {
                if (!isascii(*byte) || !isgraph((unsigned char)*byte))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "sysctl: its name has a byte that is no printable ASCII");
                if (dots && (*byte == '.' || *byte == '/'))
                        *byte = *byte == '.' ? '/' : '.';
        }
        for (const char *component = path; component;) {
                size_t size = strcspn(component, "/");
                if (size == 0 || (size == 1 && component[0] == '.') ||
                    (size == 2 && component[0] == '.' && component[1] == '.'))
                        return error_set(err, ERROR_INVALID_ARGUMENT, "sysctl %s: malformed name",
                                         name);
                component = component[size] ? component + size + 1 : NULL;
        }
        return 0;
}

bool namespace_sysctl_is(const char *name, const char *other)
{
        char path[NAMESPACE_SYSCTL_NAME_MAX], other_path[NAMESPACE_SYSCTL_NAME_MAX];
        return to_path(name, path, NULL) == 0 && to_path(other, other_path, NULL) == 0 &&
               strcmp(path, other_path) == 0;
}

int namespace_check_sysctl(const char *name, bool network, bool ipc, struct error *err)
{
        char path[NAMESPACE_SYSCTL_NAME_MAX];
        int result = to_path(name, path, err);
        if (result < 0)
                return result;
        bool of_network = starts_with(path, "net/");
        bool of_ipc = starts_with(path, "kernel/shm") || starts_with(path, "kernel/msg") ||
                      strcmp(path, "kernel/sem") == 0 || starts_with(path, "fs/mqueue/");
        if (!of_network && !of_ipc)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "sysctl %s belongs to the whole machine: a pod may set net.*, "
                                 "kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.*",
                                 name);
        if (of_network && !network)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "sysctl %s: the pod shares the host's network namespace", name);
        if (of_ipc && !ipc)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "sysctl %s: the pod shares the host's IPC namespace", name);
        return 0;
}

int namespace_write_sysctl(const struct namespace_sysctl *sysctl, struct error *err)
{
        char name[NAMESPACE_SYSCTL_NAME_MAX];
        char path[sizeof "/proc/sys/" + NAMESPACE_SYSCTL_NAME_MAX];
        int result = to_path(sysctl->name, name, err);
        if (result < 0)
                return result;
        snprintf(path, sizeof path, "/proc/sys/%s", name);
        AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 && errno == ENOENT && sysctl->optional)
                return 0;
        if (fd < 0 && errno == ENOENT)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "sysctl %s: this kernel has no such setting in a pod's namespace",
                                 sysctl->name);
        if (fd < 0 && (errno == EACCES || errno == EPERM || errno == EISDIR))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "sysctl %s cannot be set in a pod's namespace: %s", sysctl->name,
                                 strerror(errno));
        if (fd < 0)
                return error_errno(err, errno, "sysctl %s: open %s", sysctl->name, path);
        size_t length = strlen(sysctl->value);
        ssize_t count = write(fd, sysctl->value, length);
        if (count < 0)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "sysctl %s: the kernel refuses the value \"%.128s\": %s",
                                 sysctl->name, sysctl->value, strerror(errno));
        if ((size_t)count != length)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "sysctl %s: the kernel took %zd of %zu bytes of \"%.128s\"",
                                 sysctl->name, count, length, sysctl->value);
        return 0;
}
