/* The mounts of a container's specification. */
#include "cri/container_spec.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cri/image_volume.h"

#define OWN_MOUNTS 3 /* resolv.conf, hostname, and /dev/shm of the host */

static const char *const *bind_options(struct container_spec *draft,
                                       const Runtime__V1__Mount *mount)
{
        static const char *const propagation[] = {"rprivate", "rslave", "rshared"};
        const char **options = arena_array(draft->arena, 4, sizeof *options);
        options[0] = "rbind";
        options[1] = propagation[mount->propagation];
        options[2] = mount->readonly ? "ro" : "rw";
        return options;
}

/* Of an image's files, as Kubernetes promises it: read-only. Programs among them may run. */
static const char *const IMAGE_OPTIONS[] = {"rbind", "rprivate", "ro", "nosuid", "nodev", NULL};

static struct spec_mount image_mount(const Runtime__V1__Mount *wanted, const char *source)
{
        return (struct spec_mount){
                .destination = wanted->container_path,
                .source = source,
                .type = "bind",
                .options = IMAGE_OPTIONS,
        };
}

static int ensure_host_path(const char *path, struct error *err)
{
        struct stat st;
        if (stat(path, &st) == 0)
                return 0;
        if (errno != ENOENT)
                return error_errno(err, errno, "config.mounts: host path %s", path);
        int result = file_make_directories(path, 0755, err);
        return result < 0 ? error_context(err, "config.mounts: host path") : 0;
}

static void add_mount(struct spec_mount *mounts, size_t *count, const struct spec_mount *mount)
{
        struct spec_mount *same = spec_find_mount(mounts, *count, mount->destination);
        if (same)
                *same = *mount;
        else
                mounts[(*count)++] = *mount;
}

static void add_pod_file(struct container_spec *draft, struct spec_mount *mounts, size_t *count,
                         const char *name, const char *destination)
{
        static const char *const writable[] = {"rbind", "rprivate", "rw", NULL};
        static const char *const readonly[] = {"rbind", "rprivate", "ro", NULL};
        struct spec_mount mount = {
                .destination = destination,
                .source = container_spec_keep(draft, pod_path(draft->pod, name)),
                .type = "bind",
                .options = draft->security->readonly_rootfs ? readonly : writable,
        };
        add_mount(mounts, count, &mount);
}

int container_spec_mounts(struct container_spec *draft)
{
        const Runtime__V1__ContainerConfig *config = draft->config;
        const Runtime__V1__LinuxContainerSecurityContext *security = draft->security;
        struct spec_mount_defaults defaults = {
                .shm_path = pod_has_ipc(draft->pod)
                                    ? container_spec_keep(draft, pod_path(draft->pod, "shm"))
                                    : "/dev/shm",
                .sys_writable = security->privileged,
                .cgroup_writable = security->privileged,
        };
        size_t count;
        struct spec_mount *mounts =
                spec_default_mounts(draft->arena, &defaults, OWN_MOUNTS + config->n_mounts, &count);
        add_pod_file(draft, mounts, &count, "resolv.conf", "/etc/resolv.conf");
        add_pod_file(draft, mounts, &count, "hostname", "/etc/hostname");
        for (size_t i = 0; i < config->n_mounts; i++) {
                const Runtime__V1__Mount *wanted = config->mounts[i];
                if (image_volume_is(wanted)) {
                        struct spec_mount mount = image_mount(wanted, draft->volumes[i]);
                        add_mount(mounts, &count, &mount);
                        continue;
                }
                int result = ensure_host_path(wanted->host_path, draft->err);
                if (result < 0)
                        return result;
                struct spec_mount mount = {
                        .destination = wanted->container_path,
                        .source = wanted->host_path,
                        .type = "bind",
                        .options = bind_options(draft, wanted),
                };
                add_mount(mounts, &count, &mount);
                /* The container sees the host's mounts only if its root is not private itself. */
                if (wanted->propagation ==
                    RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
                        draft->spec.root_propagation = "rshared";
                else if (wanted->propagation ==
                                 RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER &&
                         !draft->spec.root_propagation)
                        draft->spec.root_propagation = "rslave";
        }
        draft->spec.mounts = mounts;
        draft->spec.mount_count = count;
        return 0;
}
