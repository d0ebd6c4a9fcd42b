#include "network/namespace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory.h"
#include "network/namespace_sysctl.h"
#include "network/namespace_user.h"
#include "network/visitor.h"

#define DIRECTORY_MODE 0711
#define STACKED_MAX    16 /* mounts on top of each other that interrupted tries may have left */
#define NS_LINK_MAX    64 /* "mnt:[4026531841]" */

/* What may be pinned: also what namespace_unpin touches. */
static const char *const kinds[] = {"net", "ipc", "uts", "pid", "mnt", "user", "cgroup", "time"};
#define KIND_COUNT (sizeof kinds / sizeof *kinds)

static bool is_kind(const char *name)
{
        for (size_t i = 0; i < KIND_COUNT; i++)
                if (strcmp(name, kinds[i]) == 0)
                        return true;
        return false;
}

bool namespace_is_pinned(const char *path)
{
        struct statfs status;
        return statfs(path, &status) == 0 && status.f_type == NSFS_MAGIC;
}

bool namespace_mounts_are_shared_with_init(void)
{
        char own[NS_LINK_MAX], init[NS_LINK_MAX];
        ssize_t own_length = readlink("/proc/self/ns/mnt", own, sizeof own);
        ssize_t init_length = readlink("/proc/1/ns/mnt", init, sizeof init);
        if (own_length < 0 || init_length < 0)
                return true;
        return own_length == init_length && memcmp(own, init, (size_t)own_length) == 0;
}

int namespace_join_mounts(const char *path, struct error *err)
{
        if (!namespace_is_pinned(path))
                return error_set(err, ERROR_FAILED_PRECONDITION, "%s is no pinned namespace", path);
        AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        if (setns(fd, CLONE_NEWNS) < 0)
                return error_errno(err, errno, "join the mount namespace %s", path);
        return 0;
}

/* ---- one pin ---- */

/* Unmounts all that is on path and removes the file. Not there is fine. */
static int pin_remove(const char *path, struct error *err)
{
        for (unsigned i = 0; i < STACKED_MAX; i++) {
                if (umount2(path, UMOUNT_NOFOLLOW) == 0)
                        continue;
                /* Somebody has the file open: the name goes now, the mount when he closes it. */
                if (errno == EBUSY && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
                        continue;
                if (errno == ENOENT)
                        return 0;
                if (errno == EINVAL) /* not mounted */
                        break;
                return error_errno(err, errno, "unmount %s", path);
        }
        if (unlink(path) < 0 && errno != ENOENT)
                return error_errno(err, errno, "remove %s", path);
        return 0;
}

static int pin_make(const char *source, const char *path, struct error *err)
{
        AUTO_FD int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return error_errno(err, errno, "create %s", path);
        if (mount(source, path, NULL, MS_BIND, NULL) < 0) {
                int number = errno;
                unlink(path);
                return error_errno(err, number, "mount %s on %s", source, path);
        }
        return 0;
}

int namespace_pin_process(pid_t pid, const char *kind, const char *path, struct error *err)
{
        if (!is_kind(kind))
                return error_set(err, ERROR_INVALID_ARGUMENT, "unknown kind of namespace %s", kind);
        const char *slash = strrchr(path, '/');
        AUTO_FREE char *directory =
                slash && slash > path ? xstrndup(path, (size_t)(slash - path)) : xstrdup("/");
        AUTO_FREE char *source = xprintf("/proc/%d/ns/%s", (int)pid, kind);
        int result = file_make_directories(directory, DIRECTORY_MODE, err);
        if (result == 0)
                result = pin_remove(path, err);
        if (result == 0)
                result = pin_make(source, path, err);
        if (result < 0)
                return error_context(err, "pin %s namespace of process %d", kind, (int)pid);
        return 0;
}

/* ---- what runs inside the new namespaces ---- */

struct maker {
        const struct namespace_options *options;
        struct error *err;
};

static int raise_loopback(struct error *err)
{
        AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return error_errno(err, errno, "bring up lo: socket");
        struct ifreq request = {.ifr_name = "lo"};
        if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
                return error_errno(err, errno, "bring up lo: read its flags");
        request.ifr_flags |= IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
                return error_errno(err, errno, "bring up lo");
        return 0;
}

static int set_hostname(const char *hostname, struct error *err)
{
        if (!hostname || !*hostname)
                return 0;
        if (sethostname(hostname, strlen(hostname)) < 0)
                return error_errno(err, errno, "set hostname %s", hostname);
        return 0;
}

static int pin_own(const char *directory, const char *kind, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/%s", directory, kind);
        AUTO_FREE char *source = xprintf("/proc/thread-self/ns/%s", kind);
        return pin_make(source, path, err);
}

static int unshare_all(const struct namespace_options *options, struct error *err)
{
        int flags = (options->network ? CLONE_NEWNET : 0) | (options->ipc ? CLONE_NEWIPC : 0) |
                    (options->uts ? CLONE_NEWUTS : 0);
        if (unshare(flags) < 0)
                return error_errno(err, errno, "unshare%s%s%s", options->network ? " net" : "",
                                   options->ipc ? " ipc" : "", options->uts ? " uts" : "");
        return 0;
}

static int pin_all(const struct namespace_options *options, struct error *err)
{
        int result = 0;
        if (options->network)
                result = pin_own(options->directory, "net", err);
        if (result == 0 && options->ipc)
                result = pin_own(options->directory, "ipc", err);
        if (result == 0 && options->uts)
                result = pin_own(options->directory, "uts", err);
        return result;
}

/*
 * What belongs to an IPC namespace may be written by its user namespace's root alone, whatever else
 * who writes is capable of. The C library would change the whole process; this is the thread.
 */
static int write_sysctl(const struct namespace_options *options,
                        const struct namespace_sysctl *sysctl, struct error *err)
{
        bool of_network = namespace_check_sysctl(sysctl->name, true, false, NULL) == 0;
        bool change = options->users && !of_network;
        if (change && syscall(SYS_setresuid, -1, options->users->root, -1) < 0)
                return error_errno(err, errno, "become root of the user namespace");
        int result = namespace_write_sysctl(sysctl, err);
        if (change && syscall(SYS_setresuid, -1, 0, -1) < 0)
                return error_errno(err, errno, "become the host's root again");
        return result;
}

static int make_all(const struct namespace_options *options, struct error *err)
{
        int result = options->users ? namespace_user_join(options, err) : unshare_all(options, err);
        if (result == 0 && options->uts)
                result = set_hostname(options->hostname, err);
        if (result == 0 && options->network)
                result = raise_loopback(err);
        for (size_t i = 0; result == 0 && i < options->sysctl_count; i++)
                result = write_sysctl(options, &options->sysctls[i], err);
        if (result == 0 && !options->users)
                result = pin_all(options, err);
        return result;
}

static int run_maker(void *maker_)
{
        struct maker *maker = maker_;
        return make_all(maker->options, maker->err);
}

/* ---- a pod's ---- */

static int remove_pins(const char *directory, struct error *err)
{
        int first = 0;
        for (size_t i = 0; i < KIND_COUNT; i++) {
                AUTO_FREE char *path = xprintf("%s/%s", directory, kinds[i]);
                /* One that does not go does not keep the others. */
                int result = pin_remove(path, first ? NULL : err);
                if (result < 0 && !first)
                        first = result;
        }
        return first;
}

static int check_options(const struct namespace_options *options, struct error *err)
{
        if (options->uts && options->hostname && strlen(options->hostname) > NAMESPACE_HOSTNAME_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "hostname %s: more than %d bytes",
                                 options->hostname, NAMESPACE_HOSTNAME_MAX);
        if (options->sysctl_count > NAMESPACE_SYSCTLS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%zu sysctls: more than %d",
                                 options->sysctl_count, NAMESPACE_SYSCTLS_MAX);
        for (size_t i = 0; i < options->sysctl_count; i++) {
                const struct namespace_sysctl *sysctl = &options->sysctls[i];
                int result =
                        namespace_check_sysctl(sysctl->name, options->network, options->ipc, err);
                if (result < 0)
                        return result;
                if (!sysctl->value || strlen(sysctl->value) >= NAMESPACE_SYSCTL_VALUE_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "sysctl %s: its value is missing or too long",
                                         sysctl->name);
        }
        return 0;
}

int namespace_pin(const struct namespace_options *options, struct error *err)
{
        int result = check_options(options, err);
        if (result < 0)
                return result;
        if (!options->network && !options->ipc && !options->uts && !options->users)
                return 0;
        result = file_make_directories(options->directory, DIRECTORY_MODE, err);
        if (result == 0)
                result = remove_pins(options->directory, err);
        if (result < 0)
                return error_context(err, "pin namespaces");
        struct maker maker = {.options = options, .err = err};
        if (options->users)
                result = namespace_user_pin(options, err);
        if (result == 0)
                result = visitor_run(run_maker, &maker, err);
        if (result < 0) {
                namespace_unpin(options->directory, NULL);
                return error_context(err, "pin namespaces");
        }
        return 0;
}

int namespace_unpin(const char *directory, struct error *err)
{
        struct stat status;
        if (lstat(directory, &status) < 0) {
                if (errno == ENOENT)
                        return 0;
                return error_errno(err, errno, "unpin namespaces: %s", directory);
        }
        int result = remove_pins(directory, err);
        if (result < 0)
                return error_context(err, "unpin namespaces");
        if (rmdir(directory) < 0 && errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT)
                return error_errno(err, errno, "unpin namespaces: remove %s", directory);
        return 0;
}
