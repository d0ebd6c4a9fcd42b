#include "cri/seccomp_artifact.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "cri/annotation.h"
#include "cri/container.h"
#include "image/rootfs.h"
#include "oci/seccomp_profile.h"

#define ANNOTATION "seccomp-profile.crio.io"

const char *seccomp_artifact_name(const struct container *container)
{
        const char *name = annotation_of_container(container, ANNOTATION);
        return name && *name ? name : NULL;
}

struct reading {
        const struct rootfs *rootfs;
        struct buffer *profile;
        struct error *err;
};

/* The name of the one entry, on the heap. */
static int only_name(int folder, char **name, struct error *err)
{
        AUTO_FREE char *found = NULL;
        int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *list = copy < 0 ? NULL : fdopendir(copy);
        size_t count = 0;
        if (!list) {
                int number = errno;
                if (copy >= 0)
                        close(copy);
                return error_errno(err, number, "read its folder");
        }
        for (const struct dirent *entry; (entry = readdir(list));) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                count++;
                free(found);
                found = xstrdup(entry->d_name);
        }
        closedir(list);
        if (count != 1)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "it has %zu files: a profile is one", count);
        *name = take_ptr(found);
        return 0;
}

/* An artifact is one layer, whose tree has its files. */
static int read_on_worker(void *argument)
{
        struct reading *reading = argument;
        struct error *err = reading->err;
        AUTO_FREE char *path = xprintf("%s/%s", reading->rootfs->links, reading->rootfs->lower);
        AUTO_FREE char *name = NULL;
        AUTO_FD int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0)
                return error_errno(err, errno, "open %s", path);
        int result = only_name(folder, &name, err);
        return result < 0
                       ? result
                       : file_read_plain(folder, name, SECCOMP_PROFILE_MAX, reading->profile, err);
}

/* What a digest names does not change: nobody is asked again. */
static const struct image *find_by_digest(const char *name)
{
        return strchr(name, '@') ? sources_find(node.sources, node.images, name) : NULL;
}

static int pull(const struct container *container, const char *name, char **id, struct error *err)
{
        const struct image *image = find_by_digest(name);
        if (image) {
                *id = xstrdup(image->id);
                return 0;
        }
        struct pull_request request = {
                .reference = name,
                .namespace_ = pod_config(container->pod)->metadata->namespace_,
        };
        return pull_image(node.puller, &request, id, err);
}

static int fetch(const struct container *container, const char *name, struct buffer *profile,
                 struct error *err)
{
        AUTO_FREE char *id = NULL;
        AUTO_ROOTFS struct rootfs rootfs = ROOTFS_INIT;
        int result = pull(container, name, &id, err);
        if (result < 0)
                return result;
        const struct image *image = store_find_id(node.images, id);
        if (!image || !image->artifact)
                return error_set(err, ERROR_FAILED_PRECONDITION, "it is no artifact");
        /* Nobody takes it away while it is read. */
        AUTO_FREE char *user = xprintf("seccomp-%s", container->id);
        result = store_use(node.images, id, user, err);
        if (result < 0)
                return result;
        struct reading reading = {.rootfs = &rootfs, .profile = profile, .err = err};
        result = rootfs_prepare(node.images, id, &rootfs, err);
        if (result == 0)
                result = task_offload(read_on_worker, &reading);
        store_release(node.images, id, user);
        return result;
}

int seccomp_artifact_fetch(const struct container *container, const char *name,
                           struct buffer *profile, struct error *err)
{
        int result = fetch(container, name, profile, err);
        return result < 0 ? error_context(err, "seccomp profile %s", name) : 0;
}
