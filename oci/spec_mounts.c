/* What every container's tree has, and what of it stays hidden. */
#include <fcntl.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "oci/spec.h"

#define STRINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

const char *const SPEC_MASKED_PATHS[] = {
        "/proc/asound",      "/proc/acpi",
        "/proc/interrupts",  "/proc/kcore",
        "/proc/keys",        "/proc/latency_stats",
        "/proc/timer_list",  "/proc/timer_stats",
        "/proc/sched_debug", "/proc/scsi",
        "/sys/firmware",     "/sys/devices/virtual/powercap",
        "/sys/fs/selinux",   NULL,
};

const char *const SPEC_READONLY_PATHS[] = {
        "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL,
};

static const char *const proc_options[] = {"nosuid", "noexec", "nodev", NULL};
static const char *const dev_options[] = {"nosuid", "strictatime", "mode=755", "size=65536k", NULL};
static const char *const pts_options[] = {"nosuid",    "noexec", "newinstance", "ptmxmode=0666",
                                          "mode=0620", "gid=5",  NULL};
static const char *const mqueue_options[] = {"nosuid", "noexec", "nodev", NULL};
static const char *const sys_ro_options[] = {"nosuid", "noexec", "nodev", "ro", NULL};
static const char *const sys_rw_options[] = {"nosuid", "noexec", "nodev", "rw", NULL};
static const char *const sys_bind_options[] = {"rbind", "nosuid", "noexec", "nodev", "ro", NULL};
static const char *const cgroup_ro_options[] = {"nosuid",   "noexec", "nodev",
                                                "relatime", "ro",     NULL};
static const char *const cgroup_rw_options[] = {"nosuid",   "noexec", "nodev",
                                                "relatime", "rw",     NULL};
static const char *const shm_options[] = {"rbind", "rw", NULL};

struct spec_mount *spec_default_mounts(struct arena *arena,
                                       const struct spec_mount_defaults *defaults, size_t extra,
                                       size_t *count)
{
        struct spec_mount own[] = {
                {"/proc", "proc", "proc", proc_options},
                {"/dev", "tmpfs", "tmpfs", dev_options},
                {"/dev/pts", "devpts", "devpts", pts_options},
                {"/dev/mqueue", "mqueue", "mqueue", mqueue_options},
                {"/sys", "sysfs", "sysfs",
                 defaults->sys_writable ? sys_rw_options : sys_ro_options},
                {"/sys/fs/cgroup", "cgroup", "cgroup",
                 defaults->cgroup_writable ? cgroup_rw_options : cgroup_ro_options},
                {"/dev/shm", defaults->shm_path, "bind", shm_options},
        };
        if (defaults->host_network_in_user_namespace)
                own[4] = (struct spec_mount){"/sys", "/sys", "bind", sys_bind_options};
        size_t own_count = sizeof own / sizeof *own - (defaults->shm_path ? 0 : 1);
        struct spec_mount *mounts = arena_array(arena, own_count + extra, sizeof *mounts);
        memcpy(mounts, own, own_count * sizeof *mounts);
        *count = own_count;
        return mounts;
}

/* Whether two absolute paths name the same place once "//", "/." and a final "/" are gone. */
static bool same_path(const char *a, const char *b)
{
        for (;;) {
                while (*a == '/' || (*a == '.' && (a[1] == '/' || a[1] == '\0')))
                        a++;
                while (*b == '/' || (*b == '.' && (b[1] == '/' || b[1] == '\0')))
                        b++;
                size_t length = strcspn(a, "/");
                if (length != strcspn(b, "/") || memcmp(a, b, length) != 0)
                        return false;
                if (length == 0)
                        return true;
                a += length;
                b += length;
        }
}

struct spec_mount *spec_find_mount(struct spec_mount *mounts, size_t count, const char *destination)
{
        for (size_t i = 0; i < count; i++)
                if (same_path(mounts[i].destination, destination))
                        return &mounts[i];
        return NULL;
}

int spec_device_read(const char *host_path, const char *path, const char *access,
                     struct spec_device *device, struct error *err)
{
        struct stat st;
        if (stat(host_path, &st) < 0)
                return error_errno(err, errno, "device %s", host_path);
        if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
                return error_set(err, ERROR_INVALID_ARGUMENT, "device %s: not a device node",
                                 host_path);
        *device = (struct spec_device){
                .path = path,
                .source = host_path,
                .type = S_ISCHR(st.st_mode) ? 'c' : 'b',
                .device_major = major(st.st_rdev),
                .device_minor = minor(st.st_rdev),
                .mode = st.st_mode & 07777,
                .uid = st.st_uid,
                .gid = st.st_gid,
                .access = access,
        };
        return 0;
}
