/* The mounts that a request asks for: what of the host, or of images, the container sees. */
#include "cri/container_spec.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/memory.h"
#include "base/tree.h"
#include "cri/image_volume.h"
#include "cri/mount_idmap.h"
#include "cri/mount_source.h"
#include "cri/pod_users.h"

/* What our own mounts lie below. */
static bool has_our_mounts(const struct mount_source *source)
{
        const struct config *config = node.config;
        const char *const folders[] = {config->state_dir, config->run_dir, config->images.dir};
        char path[PATH_MAX];
        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
                if (realpath(folders[i], path) && mount_source_is_below(path, source->path))
                        return true;
        return false;
}

/*
 * A container that saw a private copy of our mounts would keep each of them for as long as it runs:
 * it is told when they go. Not where all that it sees has to stay read-only, which a mount that
 * comes later would not be.
 */
static bool is_forced_to_follow(const Runtime__V1__Mount *wanted, const struct mount_source *source)
{
        return wanted->propagation == RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE &&
               !wanted->recursive_read_only && S_ISDIR(source->type) && has_our_mounts(source);
}

static int find_propagation(struct container_spec *draft, const Runtime__V1__Mount *wanted,
                            const struct mount_source *source, const char **propagation)
{
        int result = 0;
        switch (wanted->propagation) {
        case RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL:
                *propagation = "rshared";
                result = mount_source_require(source, MOUNT_SOURCE_SHARED, draft->err);
                break;
        case RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER:
                *propagation = "rslave";
                result = mount_source_require(source, MOUNT_SOURCE_SLAVE, draft->err);
                break;
        default:
                *propagation = is_forced_to_follow(wanted, source) ? "rslave" : "rprivate";
        }
        if (result < 0)
                return error_context(draft->err, "propagation");
        /* The container sees the host's mounts only if its root is not private itself. */
        if (strcmp(*propagation, "rshared") == 0 ||
            (strcmp(*propagation, "rslave") == 0 && !draft->spec.root_propagation))
                draft->spec.root_propagation = *propagation;
        return 0;
}

static int require_recursive_read_only(struct container_spec *draft)
{
        const struct runtime_handler *handler = draft->pod->handler;
        if (handler && handler->recursive_read_only)
                return 0;
        error_set(draft->err, ERROR_FAILED_PRECONDITION,
                  "runtime handler %s has no recursive read-only mounts",
                  handler ? handler->name : "of the pod");
        return error_word(draft->err, "RROUnsupported");
}

/* Our own options (null-terminated), and those of the request after them. */
static const char *const *options_of(struct container_spec *draft, const char *const *own,
                                     const Runtime__V1__Mount *wanted)
{
        size_t count = 0;
        while (own[count])
                count++;
        const char **options =
                arena_array(draft->arena, count + wanted->n_mount_options + 1, sizeof *options);
        memcpy(options, own, count * sizeof *options);
        for (size_t i = 0; i < wanted->n_mount_options; i++)
                options[count + i] = wanted->mount_options[i];
        return options;
}

/* An image's files are as Kubernetes promises them: read-only. Programs among them may run. */
static int add_image(struct container_spec *draft, size_t index)
{
        static const char *const own[] = {"rbind", "rprivate", "ro", "nosuid", "nodev", NULL};
        const Runtime__V1__Mount *wanted = draft->config->mounts[index];
        struct spec_mount mount = {
                .destination = wanted->container_path,
                .source = draft->volumes[index],
                .type = "bind",
                .options = options_of(draft, own, wanted),
        };
        container_spec_add_mount(draft, &mount);
        return 0;
}

/*
 * The folder to mount on, or that of the file to mount on. Runtimes make them, but not all of them
 * find their way through a symlink whose target is missing, such as /var/run in an image without
 * /run. What cannot be made the runtime refuses in its own words.
 */
static void make_place(const struct container_spec *draft, const char *destination, mode_t type)
{
        const char *slash = strrchr(destination, '/');
        AUTO_FREE char *folder = S_ISDIR(type)
                                         ? xstrdup(destination)
                                         : xstrndup(destination, (size_t)(slash - destination));
        uint32_t uid = 0, gid = 0;
        pod_users_to_host(draft->pod, &uid, &gid);
        tree_make_directories(draft->root_fd, folder, 0755, uid, gid, NULL);
}

/* A bind of what is mounted read-only stays so with some runtimes, and others would take that away.
 * What cannot be asked (it hangs, or we may not) is left to them. */
static bool is_read_only(const struct mount_source *source)
{
        struct statvfs info;
        return statvfs(source->path, &info) == 0 && (info.f_flag & ST_RDONLY);
}

static int add_bind(struct container_spec *draft, size_t index)
{
        const Runtime__V1__Mount *wanted = draft->config->mounts[index];
        AUTO_MOUNT_SOURCE struct mount_source source = MOUNT_SOURCE_INIT;
        const char *propagation = NULL;
        const struct config *config = node.config;
        int result = mount_source_find(config->runtime.bind_mount_prefix, wanted->host_path,
                                       config->runtime.absent_mount_sources_to_reject, &source,
                                       draft->err);
        if (result == 0)
                result = find_propagation(draft, wanted, &source, &propagation);
        if (result == 0 && wanted->recursive_read_only)
                result = require_recursive_read_only(draft);
        char *path = NULL;
        if (result == 0 && mount_idmap_is(wanted)) {
                result = mount_idmap_make(draft->container, index, &source,
                                          strcmp(propagation, "rprivate") != 0, &path, draft->err);
                if (result < 0)
                        error_context(draft->err, "uidMappings and gidMappings of host path %s",
                                      wanted->host_path);
        }
        if (result < 0)
                return result;
        const char *const own[] = {"rbind", propagation,
                                   wanted->recursive_read_only                 ? "rro"
                                   : wanted->readonly || is_read_only(&source) ? "ro"
                                                                               : "rw",
                                   NULL};
        struct spec_mount mount = {
                .destination = wanted->container_path,
                .source = path ? container_spec_keep(draft, path)
                               : arena_strdup(draft->arena, source.path),
                .type = "bind",
                .options = options_of(draft, own, wanted),
        };
        make_place(draft, wanted->container_path, source.type);
        container_spec_add_mount(draft, &mount);
        return 0;
}

int container_spec_binds(struct container_spec *draft)
{
        const Runtime__V1__ContainerConfig *config = draft->config;
        for (size_t i = 0; i < config->n_mounts; i++) {
                int result = image_volume_is(config->mounts[i]) ? add_image(draft, i)
                                                                : add_bind(draft, i);
                if (result < 0)
                        return error_context(draft->err, "config.mounts: %.200s",
                                             config->mounts[i]->container_path);
        }
        return 0;
}
