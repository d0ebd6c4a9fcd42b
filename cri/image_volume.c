#include "cri/image_volume.h"
#include "cri/pod_users.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/rootfs.h"

#define FAILED_WORD "ImageVolumeMountFailed"

bool image_volume_is(const Runtime__V1__Mount *mount)
{
        return mount->image && *mount->image->image;
}

static int failed(const Runtime__V1__Mount *mount, struct error *err)
{
        error_context(err, "image %.200s at %.200s", mount->image->image, mount->container_path);
        return error_word(err, FAILED_WORD);
}

/* The next of the configuration's mounts that is an image's, or null: *index is behind it. */
static const Runtime__V1__Mount *next_volume(const struct container *container, size_t *index)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        while (*index < config->n_mounts) {
                const Runtime__V1__Mount *mount = config->mounts[(*index)++];
                if (image_volume_is(mount))
                        return mount;
        }
        return NULL;
}

/* ---- images ---- */

static int take(struct container *container, const Runtime__V1__Mount *mount, struct error *err)
{
        const struct image *image = sources_find(node.sources, node.images, mount->image->image);
        if (!image)
                return error_set(err, ERROR_NOT_FOUND, "it is not here: pull it first");
        int result = store_use(node.images, image->id, container->id, err);
        if (result == 0)
                strv_push(&container->volume_ids, image->id);
        return result;
}

int image_volumes_take(struct container *container, struct error *err)
{
        const Runtime__V1__Mount *mount;
        size_t index = 0;
        while ((mount = next_volume(container, &index))) {
                if (take(container, mount, err) == 0)
                        continue;
                image_volumes_release(container);
                return failed(mount, err);
        }
        return 0;
}

void image_volumes_keep(struct container *container)
{
        for (char **id = container->volume_ids; id && *id; id++) {
                struct error err;
                if (store_use(node.images, *id, container->id, &err) < 0)
                        log_failure(&err,
                                    "an image that a container has mounted is not here any "
                                    "more",
                                    "container", container->id, NULL);
        }
}

void image_volumes_release(struct container *container)
{
        for (char **id = container->volume_ids; id && *id; id++)
                store_release(node.images, *id, container->id);
}

int image_volumes_check_trust(struct container *container, struct error *err)
{
        const char *space = pod_config(container->pod)->metadata->namespace_;
        const Runtime__V1__Mount *mount;
        size_t index = 0;
        for (char **id = container->volume_ids; (mount = next_volume(container, &index)); id++) {
                const Runtime__V1__ImageSpec *spec = mount->image;
                const char *asked = spec->user_specified_image && *spec->user_specified_image
                                            ? spec->user_specified_image
                                            : spec->image;
                int result = trust_check_image(node.trust, node.images, *id, asked, space, err);
                if (result < 0)
                        return error_context(err, "mount at %.200s", mount->container_path);
        }
        return 0;
}

/* ---- mounting ---- */

struct volume {
        const Runtime__V1__Mount *mount;
        struct rootfs rootfs;
        char *target;  /* where the whole image is mounted */
        bool artifact; /* a file of it may be mounted, too */
        char *source;  /* the result */
};

struct volumes_job {
        struct volume *volumes;
        size_t count;
        const char *pin; /* of the pod's user namespace */
        struct error *err;
};

/* Whether the path stays below where it starts, as it is written. */
static bool is_plain(const char *path)
{
        if (path[0] == '/' || strlen(path) >= PATH_MAX)
                return false;
        for (const char *part = path; *part; part += strspn(part, "/")) {
                size_t length = strcspn(part, "/");
                if (length == 2 && strncmp(part, "..", 2) == 0)
                        return false;
                part += length;
        }
        return true;
}

/*
 * Where a path of the image is. The image does not change, so that what is found stays true. Its
 * symlinks lead to places inside it.
 */
static int find_inside(const char *root, const char *path, bool artifact, char **found,
                       struct error *err)
{
        char link[64], place[PATH_MAX];
        struct stat st;
        if (!is_plain(path))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "image_sub_path %.200s: it must be relative, without \"..\"",
                                 path);
        AUTO_FD int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root_fd < 0)
                return error_errno(err, errno, "open %s", root);
        AUTO_FD int fd = file_open_in(root_fd, path, O_PATH, 0, err);
        if (fd < 0)
                return error_context(err, "image_sub_path %.200s", path);
        if (fstat(fd, &st) < 0 || !(S_ISDIR(st.st_mode) || (artifact && S_ISREG(st.st_mode))))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "image_sub_path %.200s: not a directory", path);
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, place, sizeof(place));
        if (length <= 0 || (size_t)length >= sizeof(place))
                return error_errno(err, length < 0 ? errno : ENAMETOOLONG, "image_sub_path %.200s",
                                   path);
        *found = xstrndup(place, (size_t)length);
        return 0;
}

static int mount_volume(struct volume *volume, struct error *err)
{
        const char *path = volume->mount->image_sub_path;
        int result = file_make_directories(volume->target, 0700, err);
        if (result == 0)
                result = rootfs_mount(&volume->rootfs, NULL, volume->target, err);
        if (result < 0)
                return result;
        if (*path)
                return find_inside(volume->target, path, volume->artifact, &volume->source, err);
        volume->source = xstrdup(volume->target);
        return 0;
}

static int mount_work(void *argument)
{
        struct volumes_job *job = argument;
        for (size_t i = 0; i < job->count; i++)
                if (mount_volume(&job->volumes[i], job->err) < 0)
                        return failed(job->volumes[i].mount, job->err);
        return 0;
}

static char *volume_path(const struct container *container, size_t index)
{
        AUTO_FREE char *name = xprintf("volumes/%zu", index);
        return container_run_path(container, name);
}

static int prepare(struct container *container, struct volumes_job *job)
{
        const Runtime__V1__Mount *mount;
        size_t index = 0;
        while ((mount = next_volume(container, &index))) {
                struct volume *volume = &job->volumes[job->count];
                *volume = (struct volume){.mount = mount,
                                          .target = volume_path(container, index - 1)};
                const char *id = container->volume_ids[job->count++];
                const struct image *image = store_find_id(node.images, id);
                volume->artifact = image && image->artifact;
                if (rootfs_prepare(node.images, id, &volume->rootfs, job->err) < 0)
                        return failed(mount, job->err);
                pod_users_map_rootfs(container->pod, job->pin, &volume->rootfs);
                volume->rootfs.label = container->pod->selinux_mount_label;
        }
        return 0;
}

int image_volumes_mount(struct container *container, char ***sources, struct error *err)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        AUTO_FREE char *pin = pod_namespace_path(container->pod, "user");
        struct volumes_job job = {.pin = pin, .err = err};
        job.volumes = xcalloc(config->n_mounts + 1, sizeof(*job.volumes));
        int result = prepare(container, &job);
        if (result == 0 && job.count > 0)
                result = task_offload(mount_work, &job);
        char **found = NULL;
        for (size_t i = 0, next = 0; result == 0 && i < config->n_mounts; i++)
                strv_push(&found,
                          image_volume_is(config->mounts[i]) ? job.volumes[next++].source : "");
        for (size_t i = 0; i < job.count; i++) {
                rootfs_fini(&job.volumes[i].rootfs);
                free(job.volumes[i].target);
                free(job.volumes[i].source);
        }
        free(job.volumes);
        if (result == 0)
                *sources = found;
        return result;
}

int image_volumes_unmount(const struct container *container, struct error *err)
{
        size_t index = 0;
        while (next_volume(container, &index)) {
                AUTO_FREE char *target = volume_path(container, index - 1);
                int result = rootfs_unmount(target, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

/* ---- status ---- */

Runtime__V1__Mount **image_volumes_status(const struct container *container, struct arena *arena)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        if (!container->volume_ids)
                return config->mounts;
        Runtime__V1__Mount **mounts = arena_array(arena, config->n_mounts, sizeof(*mounts));
        char **id = container->volume_ids;
        for (size_t i = 0; i < config->n_mounts; i++) {
                mounts[i] = config->mounts[i];
                if (!image_volume_is(mounts[i]) || !*id)
                        continue;
                Runtime__V1__ImageSpec *spec = arena_memdup(arena, mounts[i]->image, sizeof(*spec));
                mounts[i] = arena_memdup(arena, mounts[i], sizeof(*mounts[i]));
                mounts[i]->image = spec;
                mounts[i]->readonly = true;
                if (!*spec->user_specified_image)
                        spec->user_specified_image = spec->image;
                spec->image = spec->image_ref = *id++;
        }
        return mounts;
}
