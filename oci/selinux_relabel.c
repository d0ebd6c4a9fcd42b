/* Files get their labels. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "oci/selinux.h"

#define ATTRIBUTE "security.selinux"
#define DEPTH_MAX 256 /* of folders in a volume: each open one costs a descriptor and stack */

/* Whether it has this very label. The kernel counts the final zero in, or leaves it out. */
static bool has_label(const char *path, const char *label)
{
        char found[SELINUX_LABEL_MAX];
        ssize_t length = lgetxattr(path, ATTRIBUTE, found, sizeof found);
        size_t wanted = strlen(label);
        return length > 0 && ((size_t)length == wanted || (size_t)length == wanted + 1) &&
               memcmp(found, label, wanted) == 0 &&
               ((size_t)length == wanted || found[wanted] == '\0');
}

int selinux_set_label(const char *path, const char *label, struct error *err)
{
        if (has_label(path, label))
                return 0;
        if (lsetxattr(path, ATTRIBUTE, label, strlen(label) + 1, 0) == 0 || errno == ENOTSUP)
                return 0;
        return error_errno(err, errno, "label %s %s", path, label);
}

/* A volume there would take the label of the whole system away. */
static bool is_system_folder(const char *path)
{
        static const char *const folders[] = {
                "/",           "/bin",  "/boot",    "/dev",     "/etc",   "/etc/passwd", "/etc/pki",
                "/etc/shadow", "/home", "/lib",     "/lib64",   "/media", "/opt",        "/proc",
                "/root",       "/run",  "/sbin",    "/srv",     "/sys",   "/sysroot",    "/tmp",
                "/usr",        "/var",  "/var/lib", "/var/log", NULL,
        };
        for (const char *const *folder = folders; *folder; folder++)
                if (strcmp(*folder, path) == 0)
                        return true;
        return false;
}

struct walk {
        const struct selinux_relabel *job;
        dev_t device;
        unsigned depth;
        struct error *err;
};

/* Through the folder's descriptor, so that nobody turns the way to it into another one meanwhile;
 * of the name itself no symlink is followed. */
static int label_in(const struct walk *walk, int folder, const char *name)
{
        AUTO_FREE char *path = xprintf("/proc/self/fd/%d/%s", folder, name);
        int result = selinux_set_label(path, walk->job->label, walk->err);
        /* Gone meanwhile, as files of volumes in use do; or on a read-only file system, whose
         * labels are what they are. */
        if (result == -ENOENT || result == -EROFS)
                return 0;
        return result;
}

static int label_folder(struct walk *walk, int fd);

static int label_entry(struct walk *walk, int folder, const char *name)
{
        struct stat st;
        if (clock_monotonic() > walk->job->deadline)
                return error_set(walk->err, ERROR_DEADLINE_EXCEEDED,
                                 "the time is over; what was labelled stays so");
        if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : error_errno(walk->err, errno, "look at %s", name);
        if (st.st_dev != walk->device)
                return 0;
        int result = label_in(walk, folder, name);
        if (result < 0 || !S_ISDIR(st.st_mode))
                return result;
        int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
                               ? 0
                               : error_errno(walk->err, errno, "open %s", name);
        return label_folder(walk, fd);
}

/* Takes the descriptor. */
static int label_folder(struct walk *walk, int fd)
{
        int result = 0;
        DIR *folder = fdopendir(fd);
        if (!folder) {
                close(fd);
                return error_errno(walk->err, ENOMEM, "read a folder");
        }
        if (++walk->depth > DEPTH_MAX)
                result = error_set(walk->err, ERROR_FAILED_PRECONDITION,
                                   "folders more than %d deep", DEPTH_MAX);
        for (const struct dirent *entry; result == 0 && (entry = readdir(folder));)
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        result = label_entry(walk, dirfd(folder), entry->d_name);
        walk->depth--;
        closedir(folder);
        return result;
}

static int relabel(const struct selinux_relabel *job, struct error *err)
{
        struct stat st;
        /* A volume may be given by a symlink, which stands for what it leads to. */
        AUTO_FREE char *path = realpath(job->path, NULL);
        if (!path)
                return error_errno(err, errno, "find it");
        if (is_system_folder(path))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "a folder of the system itself is not relabelled");
        if (job->trust_top && has_label(path, job->label))
                return 0;
        AUTO_FD int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_errno(err, errno, "open it");
        struct walk walk = {.job = job, .device = st.st_dev, .err = err};
        if (S_ISDIR(st.st_mode)) {
                int folder = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (folder < 0)
                        return error_errno(err, errno, "open it");
                int result = label_folder(&walk, folder);
                if (result < 0)
                        return result;
        }
        /* The top comes last: its label says that the whole has it. */
        int result = selinux_set_label(path, job->label, err);
        return result == -EROFS ? 0 : result;
}

int selinux_relabel(const struct selinux_relabel *job, struct error *err)
{
        int result = relabel(job, err);
        return result < 0 ? error_context(err, "relabel %s", job->path) : 0;
}
