#include "cri/pod_logs.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "cri/annotation.h"

#define ANNOTATION      "link-logs.crio.io"
#define VOLUME_NAME_MAX 63 /* bytes: a DNS label, as Kubernetes has it for volumes */

static const char *volume_name(const struct pod *pod)
{
        const char *logs = pod_config(pod)->log_directory;
        return *logs ? annotation_of_pod(pod, ANNOTATION) : NULL;
}

static bool is_label(const char *name)
{
        size_t length = strlen(name);
        return length > 0 && length <= VOLUME_NAME_MAX && name[0] != '-' &&
               name[length - 1] != '-' &&
               strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

/* Where the kubelet has the volume; heap. Null, with err, where that cannot be. */
static char *volume_path(const struct pod *pod, const char *name, struct error *err)
{
        const char *uid = pod_config(pod)->metadata->uid;
        if (!is_label(name)) {
                error_set(err, ERROR_INVALID_ARGUMENT,
                          "annotation " ANNOTATION ": \"%.80s\" is no name of a volume", name);
                return NULL;
        }
        if (!*uid || strchr(uid, '/') || strcmp(uid, ".") == 0 || strcmp(uid, "..") == 0) {
                error_set(err, ERROR_INVALID_ARGUMENT,
                          "annotation " ANNOTATION ": the pod's uid is no name of a folder");
                return NULL;
        }
        return xprintf("%s/pods/%s/volumes/kubernetes.io~empty-dir/%s",
                       node.config->runtime.kubelet_dir, uid, name);
}

/* Whether the logs lie there: both are one folder then. */
static bool is_mounted(const char *logs, const char *volume)
{
        struct stat one, other;
        return stat(logs, &one) == 0 && lstat(volume, &other) == 0 && one.st_dev == other.st_dev &&
               one.st_ino == other.st_ino;
}

int pod_logs_mount(const struct pod *pod, struct error *err)
{
        const char *logs = pod_config(pod)->log_directory;
        const char *name = volume_name(pod);
        struct stat status;
        if (!name)
                return 0;
        AUTO_FREE char *volume = volume_path(pod, name, err);
        if (!volume)
                return -EINVAL;
        if (lstat(volume, &status) < 0 || !S_ISDIR(status.st_mode))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "annotation " ANNOTATION ": the pod has no emptyDir volume at %s",
                                 volume);
        if (is_mounted(logs, volume))
                return 0;
        if (mount(logs, volume, NULL, MS_BIND, NULL) < 0)
                return error_errno(err, errno, "mount the pod's logs on %s", volume);
        /* A bind mount takes its flags only when it is remounted. Until then nobody sees it: the
         * pod's containers come later. */
        if (mount(NULL, volume, NULL,
                  MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) {
                int number = errno;
                umount2(volume, MNT_DETACH | UMOUNT_NOFOLLOW);
                return error_errno(err, number, "mount the pod's logs read-only on %s", volume);
        }
        return 0;
}

int pod_logs_unmount(const struct pod *pod, struct error *err)
{
        const char *name = volume_name(pod);
        AUTO_FREE char *volume = name ? volume_path(pod, name, NULL) : NULL;
        if (!volume || !is_mounted(pod_config(pod)->log_directory, volume))
                return 0;
        if (umount2(volume, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
                return error_errno(err, errno, "unmount the pod's logs from %s", volume);
        return 0;
}

int pod_logs_link(const struct container *container, struct error *err)
{
        const char *log = container_config(container)->log_path;
        if (!container->log_path || !volume_name(container->pod))
                return 0;
        AUTO_FREE char *link =
                xprintf("%s/%s.log", pod_config(container->pod)->log_directory, container->id);
        /* A relative one leads to the log in the volume as well as here. */
        if (symlink(log, link) < 0 && errno != EEXIST)
                return error_errno(err, errno, "make link %s", link);
        return 0;
}
