#include "image/fetch/root.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/fetch/http.h"

#define FILE_MAX         (8u << 20) /* bytes of a copied file: hosts can be long */
#define CERTIFICATE_MAX  (64u << 10)
#define CERTIFICATES_MAX 2048
#define HASH_LENGTH      8 /* of a name in a certificate folder: 8 digits, a dot, a number */
#define TMPFS_OPTIONS    "mode=0755,size=32m,nr_inodes=8192"
#define COPY_SIZE        16384

#define HARMLESS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* By what getaddrinfo answers. */
static const char *const NAME_FILES[] = {"/etc/resolv.conf", "/etc/hosts",    "/etc/nsswitch.conf",
                                         "/etc/host.conf",   "/etc/gai.conf", "/etc/services"};

/* ---- copies ---- */

/* Makes the folders above path, which is relative to root_fd. */
static int make_parents(int root_fd, const char *path, struct error *err)
{
        AUTO_FREE char *copy = xstrdup(path);
        for (char *at = strchr(copy, '/'); at; at = strchr(at + 1, '/')) {
                *at = '\0';
                if (mkdirat(root_fd, copy, 0755) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "/%s", copy);
                *at = '/';
        }
        return 0;
}

static int copy_bytes(int from, int to, size_t max)
{
        char bytes[COPY_SIZE];
        size_t total = 0;
        ssize_t count;

        while ((count = read(from, bytes, sizeof(bytes))) > 0) {
                total += (size_t)count;
                if (total > max)
                        return -EFBIG;
                if (write(to, bytes, (size_t)count) != count)
                        return -ENOSPC;
        }
        return count < 0 ? -errno : 0;
}

/* What cannot be read is left out, as it would be without the box. */
static int copy_file(int root_fd, const char *path, size_t max, struct error *err)
{
        struct stat status;
        AUTO_FD int from = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (from < 0 || fstat(from, &status) < 0 || !S_ISREG(status.st_mode))
                return 0;
        int r = make_parents(root_fd, path + 1, err);
        if (r < 0)
                return r;
        AUTO_FD int to = openat(root_fd, path + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (to < 0)
                return errno == EEXIST ? 0 : error_errno(err, errno, "%s", path);
        r = copy_bytes(from, to, max);
        return r < 0 ? error_errno(err, r, "copying %s", path) : 0;
}

/* What TLS libraries look for: links that are named for the hash of a certificate's subject. */
static bool is_hash_name(const char *name)
{
        size_t digits = strspn(name, "0123456789abcdef");
        return digits == HASH_LENGTH && name[digits] == '.' &&
               isdigit((unsigned char)name[digits + 1]);
}

/* From these update-ca-certificates makes the links, and the bundle with the same certificates. */
static bool is_bundled(int folder_fd, const char *name)
{
        static const char *const sources[] = {"/usr/share/ca-certificates/",
                                              "/usr/local/share/ca-certificates/"};
        char target[PATH_MAX];

        /* HASH.0 -> NAME.pem -> /usr/share/ca-certificates/... */
        for (int i = 0; i < 2; i++) {
                ssize_t length = readlinkat(folder_fd, name, target, sizeof(target) - 1);
                if (length < 0)
                        return false;
                target[length] = '\0';
                name = target;
        }
        for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
                if (strncmp(target, sources[i], strlen(sources[i])) == 0)
                        return true;
        return false;
}

/* With complete the folder goes as a whole: there is a hundred times one file to be opened. */
static int copy_certificates(int root_fd, const char *folder, bool complete, struct error *err)
{
        AUTO_DIR DIR *dir = opendir(folder);
        struct dirent *entry;
        unsigned count = 0;

        while (dir && (entry = readdir(dir)) && count < CERTIFICATES_MAX) {
                if (!is_hash_name(entry->d_name) ||
                    (!complete && is_bundled(dirfd(dir), entry->d_name)))
                        continue;
                count++;
                AUTO_FREE char *path = xprintf("%s/%s", folder, entry->d_name);
                int r = copy_file(root_fd, path, CERTIFICATE_MAX, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int copy_network_files(int root_fd, struct error *err)
{
        const char *bundle = http_authorities_file();
        const char *folder = http_authorities_folder();
        bool complete = getenv("SSL_CERT_FILE") != NULL;
        int r = 0;

        for (size_t i = 0; i < sizeof(NAME_FILES) / sizeof(NAME_FILES[0]) && r == 0; i++)
                r = copy_file(root_fd, NAME_FILES[i], FILE_MAX, err);
        if (r == 0 && bundle)
                r = copy_file(root_fd, bundle, FILE_MAX, err);
        if (r == 0 && folder)
                r = copy_certificates(root_fd, folder, complete, err);
        return r;
}

/* ---- mounts ---- */

static int bind_folder(int root_fd, int folder_fd, const char *place, unsigned long flags,
                       struct error *err)
{
        char from[32], to[64];
        int r = make_parents(root_fd, place + 1, err);
        if (r < 0)
                return r;
        if (mkdirat(root_fd, place + 1, 0755) < 0)
                return error_errno(err, errno, "%s", place);
        snprintf(from, sizeof(from), "/proc/self/fd/%d", folder_fd);
        snprintf(to, sizeof(to), "/proc/self/fd/%d%s", root_fd, place);
        if (mount(from, to, NULL, MS_BIND, NULL) < 0 ||
            mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | HARMLESS | flags, NULL) < 0)
                return error_errno(err, errno, "mounting %s", place);
        return 0;
}

static int fill(int root_fd, const struct confine_box *box, const int *folder_fds,
                struct error *err)
{
        int r = 0;

        for (size_t i = 0; i < box->folder_count && r == 0; i++)
                r = bind_folder(root_fd, folder_fds[i], box->folders[i].place,
                                box->folders[i].writable ? 0 : MS_RDONLY, err);
        if (r < 0)
                return r;
        AUTO_FD int descriptors = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (descriptors < 0)
                return error_errno(err, errno, "/proc/self/fd");
        r = bind_folder(root_fd, descriptors, "/proc/self/fd", MS_RDONLY, err);
        if (r == 0 && box->network)
                r = copy_network_files(root_fd, err);
        return r;
}

/* The tmpfs becomes the root, and nothing is left of the old one. */
static int enter(int root_fd, struct error *err)
{
        if (fchdir(root_fd) < 0 ||
            mount(NULL, ".", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | HARMLESS, NULL) < 0)
                return error_errno(err, errno, "making it read-only");
        /* With both names the same the old root comes to lie on top of the new one. */
        if (syscall(SYS_pivot_root, ".", ".") < 0)
                return error_errno(err, errno, "pivot_root");
        if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                return error_errno(err, errno, "leaving the old root");
        return 0;
}

static void close_all(const int *fds, size_t count)
{
        for (size_t i = 0; i < count; i++)
                close(fds[i]);
}

static int open_all(const struct confine_box *box, int *fds, struct error *err)
{
        for (size_t i = 0; i < box->folder_count; i++) {
                fds[i] = open(box->folders[i].path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fds[i] < 0) {
                        error_errno(err, errno, "%s", box->folders[i].path);
                        close_all(fds, i);
                        return err->number;
                }
        }
        return 0;
}

/* In a mount namespace of our own. The first folder is where the tmpfs is mounted: it is certain to
 * be there, and nothing of it shows outside. */
static int make_root(const struct confine_box *box, struct error *err)
{
        const char *point = box->folders[0].path;
        int fds[CONFINE_FOLDERS_MAX];
        memset(fds, -1, sizeof(fds));
        int r = open_all(box, fds, err);
        if (r < 0)
                return r;
        if (mount("crisp-image", point, "tmpfs", HARMLESS, TMPFS_OPTIONS) < 0) {
                error_errno(err, errno, "tmpfs");
                close_all(fds, box->folder_count);
                return err->number;
        }
        AUTO_FD int root_fd = open(point, O_PATH | O_DIRECTORY | O_CLOEXEC);
        r = root_fd < 0 ? error_errno(err, errno, "tmpfs") : fill(root_fd, box, fds, err);
        close_all(fds, box->folder_count);
        if (r == 0)
                r = enter(root_fd, err);
        if (r < 0)
                umount2(point, MNT_DETACH);
        return r;
}

/* ---- the whole ---- */

static bool is_refusal(int number)
{
        return number == -EPERM || number == -EACCES || number == -EINVAL || number == -ENOSPC ||
               number == -EUSERS;
}

static void enter_others(void)
{
        static const struct {
                int flag;
                const char *name;
        } others[] = {{CLONE_NEWIPC, "IPC"}, {CLONE_NEWUTS, "UTS"}, {CLONE_NEWCGROUP, "cgroup"}};

        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
                if (unshare(others[i].flag) < 0)
                        log_warning("no namespace of its own", "kind", others[i].name, "error",
                                    strerror(errno), NULL);
}

int root_close(struct confine_box *box, struct error *err)
{
        struct error why = {0};
        int r = 0;

        /* To one of our own mounts go no more; a slave's still end with the machine's, so that
         * nothing is kept busy until the old root is left. */
        if (unshare(CLONE_NEWNS) < 0)
                r = error_errno(&why, errno, "a mount namespace");
        else if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
                r = error_errno(&why, errno, "mount propagation");
        else
                r = make_root(box, &why);
        if (r < 0 && !is_refusal(r)) {
                *err = why;
                return error_context(err, "a root of its own");
        }
        if (r < 0) {
                log_warning("no root of its own: it can read what root can", "error", why.message,
                            NULL);
                return 0;
        }
        enter_others();
        for (size_t i = 0; i < box->folder_count; i++)
                box->folders[i].path = box->folders[i].place;
        return 0;
}
