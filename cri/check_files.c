/* Files, folders and disks that the configuration names. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cri/check_private.h"
#include "image/sources.h"
#include "oci/seccomp_profile.h"

#define POLICY_MAX      ((size_t)1 << 20)
#define INODES_LEAST    100000 /* an image has some ten thousand files */
#define OVERLAYFS_MAGIC 0x794c7630
#define NFS_MAGIC       0x6969
#define TMPFS_MAGIC     0x01021994
#define RAMFS_MAGIC     0x858458f6

/* The path, or the nearest folder above that is there: it will be made in it. On the heap. */
static char *nearest(const char *path)
{
        char *at = xstrdup(path);
        while (access(at, F_OK) < 0 && at[1]) {
                char *slash = strrchr(at, '/');
                slash[slash == at ? 1 : 0] = '\0';
        }
        return at;
}

static void check_folder(struct check *check, const char *what, const char *path)
{
        AUTO_FREE char *at = nearest(path);
        struct stat info;
        if (stat(at, &info) < 0 || !S_ISDIR(info.st_mode))
                check_fail(check, what, "%s is no folder: take it away, or name another", at);
        else if (access(at, W_OK) < 0)
                check_fail(check, what, "%s cannot be written: %s", at, strerror(errno));
        else
                check_pass(check, what, "%s", path);
}

static void check_disk(struct check *check)
{
        const char *path = check->config->images.dir;
        AUTO_FREE char *at = nearest(path);
        struct statfs info;
        if (statfs(at, &info) < 0) {
                check_fail(check, "disk of images", "%s: %s", at, strerror(errno));
                return;
        }
        unsigned long long unit = (unsigned long long)info.f_bsize;
        unsigned long long mib = info.f_bavail * unit >> 20;
        if ((unsigned long)info.f_type == OVERLAYFS_MAGIC || info.f_type == NFS_MAGIC)
                check_fail(check, "disk of images",
                           "%s is on %s, on which the kernel mounts no containers' roots: put "
                           "state_dir on a local disk (ext4 or xfs)",
                           at, info.f_type == NFS_MAGIC ? "NFS" : "overlayfs");
        else if (info.f_type == TMPFS_MAGIC || (unsigned long)info.f_type == RAMFS_MAGIC)
                check_warn(check, "disk of images", "%s is in memory: all is gone after a reboot",
                           at);
        if (mib < check->config->images.disk_reserve_mib)
                check_fail(
                        check, "free space",
                        "%llu MiB below %s are less than images.disk_reserve_mib (%u): nothing can "
                        "be pulled; make room",
                        mib, at, check->config->images.disk_reserve_mib);
        else
                check_pass(check, "free space", "%llu MiB for images", mib);
        if (info.f_files && info.f_ffree < INODES_LEAST)
                check_warn(check, "free inodes", "%llu below %s are few: make room",
                           (unsigned long long)info.f_ffree, at);
}

static void check_registries(struct check *check)
{
        const struct config *config = check->config;
        struct sources_options options = {
                .registries_conf = config->images.registries_conf,
                .hosts_dirs = config->images.hosts_dirs,
                .certs_dirs = config->images.certs_dirs,
        };
        struct sources *sources = sources_new(&options);
        struct error err;
        if (sources_load(sources, &err) < 0)
                check_fail(check, "registries", "%s: no image can be pulled", err.message);
        else
                check_pass(check, "registries", "%s",
                           access(config->images.registries_conf, F_OK) == 0
                                   ? config->images.registries_conf
                                   : "no registries.conf: names without a registry mean docker.io");
        sources_free(sources);
}

/* Whether it is JSON is all that can be said without an image. A file that is missing is fine. */
static void check_json(struct check *check, const char *what, const char *path)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_JSON json_t *value = NULL;
        struct error err;
        int result = access(path, F_OK) < 0 && errno == ENOENT
                             ? -ENOENT
                             : file_read(path, POLICY_MAX, &text, &err);
        if (result == -ENOENT)
                return;
        if (result == 0)
                result = json_parse(text.data ? text.data : "", text.length, path, &value, &err);
        if (result < 0)
                check_fail(check, what, "%s: mend it", err.message);
        else
                check_pass(check, what, "%s", path);
}

static void check_seccomp(struct check *check, const char *what, const char *path)
{
        AUTO_JSON json_t *profile = NULL;
        struct error err;
        if (!*path || access(path, F_OK) < 0)
                return;
        if (seccomp_profile_load(path, &profile, &err) < 0)
                check_fail(check, what, "%s: containers that it is for are refused", err.message);
        else
                check_pass(check, what, "%s", path);
}

static void check_daemon(struct check *check)
{
        const char *path = check->config->api.listen;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        bool there = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
        check_pass(check, "daemon", there ? "runs, on %s" : "does not run on %s", path);
}

void check_files(struct check *check)
{
        const struct config *config = check->config;
        check_folder(check, "state_dir", config->state_dir);
        check_folder(check, "run_dir", config->run_dir);
        check_folder(check, "images.dir", config->images.dir);
        check_disk(check);
        check_registries(check);
        check_json(check, "signature policy", config->images.signature_policy);
        for (char *const *file = config->images.auth_files; file && *file; file++)
                check_json(check, "credentials", *file);
        check_seccomp(check, "seccomp profile", config->runtime.seccomp_profile);
        check_seccomp(check, "privileged seccomp profile",
                      config->runtime.privileged_seccomp_profile);
        for (size_t i = 0; i < config->runtime.handler_count; i++)
                if (strcmp(config->runtime.handlers[i].seccomp_profile,
                           config->runtime.seccomp_profile) != 0) {
                        AUTO_FREE char *what = xprintf("seccomp profile of handler %s",
                                                       config->runtime.handlers[i].name);
                        check_seccomp(check, what, config->runtime.handlers[i].seccomp_profile);
                }
        check_daemon(check);
}
