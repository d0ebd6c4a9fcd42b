/* The mounts of a container's specification: what every container has. */
#include "cri/container_spec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/tree.h"
#include "cri/annotation.h"
#include "cri/container_pids.h"
#include "cri/pod_users.h"

#define MOUNTS_ROOM 16            /* that the list begins with beside the kernel's file systems */
#define HOSTS_MAX   (1024 * 1024) /* bytes of the node's /etc/hosts */
/* Null-terminated, and as long there as the draft is. */
#define OPTIONS(draft, ...) keep_options(draft, (const char *const[]){__VA_ARGS__, NULL})

static const char *const *keep_options(struct container_spec *draft, const char *const *options)
{
        size_t count = 1;
        while (options[count - 1])
                count++;
        return arena_memdup(draft->arena, options, count * sizeof *options);
}

/* ---- the list ---- */

bool container_spec_has_mount(const struct container_spec *draft, const char *destination)
{
        return spec_find_mount(draft->mounts, draft->spec.mount_count, destination) != NULL;
}

void container_spec_add_mount(struct container_spec *draft, const struct spec_mount *mount)
{
        struct spec_mount *same =
                spec_find_mount(draft->mounts, draft->spec.mount_count, mount->destination);
        if (same) {
                *same = *mount;
                return;
        }
        if (draft->spec.mount_count == draft->mount_room) {
                size_t room = 2 * draft->mount_room;
                struct spec_mount *more = arena_array(draft->arena, room, sizeof *more);
                memcpy(more, draft->mounts, draft->mount_room * sizeof *more);
                draft->mounts = more;
                draft->spec.mounts = more;
                draft->mount_room = room;
        }
        draft->mounts[draft->spec.mount_count++] = *mount;
}

/* What a client mounts itself is complete: nothing of ours goes into it. */
static void drop_below(struct container_spec *draft, const char *folder)
{
        size_t length = strlen(folder), kept = 0;
        for (size_t i = 0; i < draft->spec.mount_count; i++) {
                const char *destination = draft->mounts[i].destination;
                if (strncmp(destination, folder, length) != 0 || destination[length] != '/')
                        draft->mounts[kept++] = draft->mounts[i];
        }
        draft->spec.mount_count = kept;
}

/* ---- the kernel's file systems ---- */

/* With a cgroup namespace of its own (v2) a container sees no more than its own part; without one
 * writing would let it out of its limits. */
static bool cgroup_is_writable(const struct container_spec *draft)
{
        if (draft->security->privileged)
                return true;
        if (node.cgroups.mode != CGROUP_MODE_V2)
                return false;
        const struct config_handler *handler = annotation_handler(draft->pod);
        return draft->init_system || (handler && handler->cgroup_writable) ||
               annotation_is_true(annotation_of_container(draft->container,
                                                          "cgroup2-mount-hierarchy-rw.crio.io"));
}

static void add_kernel_mounts(struct container_spec *draft)
{
        const Runtime__V1__ContainerConfig *config = draft->config;
        struct spec_mount_defaults defaults = {
                .shm_path = pod_has_ipc(draft->pod)
                                    ? container_spec_keep(draft, pod_path(draft->pod, "shm"))
                                    : "/dev/shm",
                .sys_writable = draft->security->privileged,
                .cgroup_writable = cgroup_is_writable(draft),
                /* The kernel mounts sysfs for those whose network namespace is theirs. */
                .host_network_in_user_namespace =
                        draft->pod->users && (!pod_has_network(draft->pod) ||
                                              container_namespaces(draft->container)->network ==
                                                      RUNTIME__V1__NAMESPACE_MODE__NODE),
        };
        draft->mounts =
                spec_default_mounts(draft->arena, &defaults, MOUNTS_ROOM, &draft->spec.mount_count);
        draft->spec.mounts = draft->mounts;
        draft->mount_room = draft->spec.mount_count + MOUNTS_ROOM;
        static const char *const folders[] = {"/dev", "/sys"};
        for (size_t i = 0; i < config->n_mounts; i++) {
                struct spec_mount wanted = {.destination = config->mounts[i]->container_path};
                for (size_t k = 0; k < sizeof folders / sizeof *folders; k++)
                        if (spec_find_mount(&wanted, 1, folders[k]))
                                drop_below(draft, folders[k]);
        }
}

/* ---- files ---- */

static void add_file(struct container_spec *draft, const char *source, const char *destination)
{
        struct spec_mount mount = {
                .destination = destination,
                .source = source,
                .type = "bind",
                .options = OPTIONS(draft, "rbind", "rprivate",
                                   draft->spec.root_readonly ? "ro" : "rw"),
        };
        container_spec_add_mount(draft, &mount);
}

static int add_run_file(struct container_spec *draft, const char *name, const char *text,
                        size_t length, const char *destination)
{
        const char *path = container_spec_keep(draft, container_run_path(draft->container, name));
        int result = file_replace_volatile(path, text, length, 0644, draft->err);
        if (result == 0)
                result = pod_users_own(draft->pod, path, draft->err);
        if (result == 0)
                add_file(draft, path, destination);
        return result;
}

/* A pod in the node's network has the node's names; of its own, so that it cannot change the
 * node's. */
static int add_hosts(struct container_spec *draft)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        const Runtime__V1__ContainerConfig *config = draft->config;
        if (pod_has_network(draft->pod))
                return 0;
        for (size_t i = 0; i < config->n_mounts; i++) {
                struct spec_mount wanted = {.destination = config->mounts[i]->container_path};
                if (spec_find_mount(&wanted, 1, "/etc/hosts"))
                        return 0;
        }
        int result = file_read("/etc/hosts", HOSTS_MAX, &text, draft->err);
        if (result == -ENOENT)
                return 0;
        return result < 0 ? result
                          : add_run_file(draft, "hosts", text.data ? text.data : "", text.length,
                                         "/etc/hosts");
}

/* An image that has something else in this place, or no folder to put it in, keeps it so. */
static int link_mtab(struct container_spec *draft)
{
        uint32_t uid = 0, gid = 0;
        pod_users_to_host(draft->pod, &uid, &gid);
        int result = tree_make_directories(draft->root_fd, "etc", 0755, uid, gid, draft->err);
        if (result == -ENOTDIR || result == -ELOOP)
                return 0;
        if (result < 0)
                return error_context(draft->err, "/etc/mtab");
        AUTO_FD int etc = file_open_in(draft->root_fd, "etc", O_PATH | O_DIRECTORY, 0, draft->err);
        if (etc < 0)
                return error_context(draft->err, "/etc/mtab");
        if (symlinkat("/proc/mounts", etc, "mtab") < 0)
                return errno == EEXIST ? 0 : error_errno(draft->err, errno, "/etc/mtab");
        if (fchownat(etc, "mtab", uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(draft->err, errno, "/etc/mtab");
        return 0;
}

static int add_files(struct container_spec *draft)
{
        add_file(draft, container_spec_keep(draft, pod_path(draft->pod, "resolv.conf")),
                 "/etc/resolv.conf");
        add_file(draft, container_spec_keep(draft, pod_path(draft->pod, "hostname")),
                 "/etc/hostname");
        int result = add_run_file(draft, "containerenv", "", 0, "/run/.containerenv");
        if (result == 0)
                result = add_hosts(draft);
        return result < 0 ? result : link_mtab(draft);
}

/* ---- tmpfs ---- */

static void add_tmpfs(struct container_spec *draft, const char *destination, const char *mode)
{
        struct spec_mount mount = {
                .destination = destination,
                .source = "tmpfs",
                .type = "tmpfs",
                .options = OPTIONS(draft, "rw", "nosuid", "nodev", "noexec", "tmpcopyup", mode),
        };
        if (!container_spec_has_mount(draft, destination))
                container_spec_add_mount(draft, &mount);
}

/* The node's wish for read-only roots leaves programs the places that most of them need. */
static void add_writable_places(struct container_spec *draft)
{
        if (!node.config->runtime.read_only)
                return;
        add_tmpfs(draft, "/run", "mode=0755");
        add_tmpfs(draft, "/tmp", "mode=1777");
        add_tmpfs(draft, "/var/tmp", "mode=1777");
}

#define SYSTEMD_HIERARCHY "/sys/fs/cgroup/systemd"

/*
 * With v1 there is no namespace that shows a container its own cgroup as the root: systemd looks
 * for itself where the kernel says that it is, in the whole hierarchy. Of that it may write to its
 * own part alone.
 */
static void add_systemd_hierarchy(struct container_spec *draft)
{
        const struct spec_mount *cgroup =
                spec_find_mount(draft->mounts, draft->spec.mount_count, "/sys/fs/cgroup");
        if (node.cgroups.mode == CGROUP_MODE_V2 || !cgroup || strcmp(cgroup->type, "cgroup") != 0 ||
            access(SYSTEMD_HIERARCHY, F_OK) < 0)
                return;
        struct spec_mount whole = {
                .destination = SYSTEMD_HIERARCHY,
                .source = SYSTEMD_HIERARCHY,
                .type = "bind",
                .options = OPTIONS(draft, "bind", "rprivate", "nosuid", "nodev", "noexec", "ro"),
        };
        struct spec_mount own = whole;
        own.source = own.destination =
                arena_printf(draft->arena, SYSTEMD_HIERARCHY "%s", draft->container->cgroup_path);
        own.options = OPTIONS(draft, "bind", "rprivate", "nosuid", "nodev", "noexec", "rw");
        container_spec_add_mount(draft, &whole);
        container_spec_add_mount(draft, &own);
}

static void add_init_system(struct container_spec *draft)
{
        if (!draft->init_system)
                return;
        add_tmpfs(draft, "/run", "mode=0755");
        add_tmpfs(draft, "/run/lock", "mode=1777");
        add_tmpfs(draft, "/tmp", "mode=1777");
        add_tmpfs(draft, "/var/log/journal", "mode=0755");
        add_systemd_hierarchy(draft);
}

/* ---- all of them ---- */

int container_spec_mounts(struct container_spec *draft)
{
        AUTO_FREE char *root = container_run_path(draft->container, "rootfs");
        AUTO_FD int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root_fd < 0)
                return error_errno(draft->err, errno, "open %s", root);
        draft->root_fd = root_fd;
        draft->spec.root_readonly =
                draft->security->readonly_rootfs || node.config->runtime.read_only;
        add_kernel_mounts(draft);
        int result = add_files(draft);
        if (result == 0)
                result = container_spec_image_volumes(draft);
        if (result == 0)
                result = container_spec_default_mounts(draft);
        if (result == 0)
                result = container_spec_binds(draft);
        if (result == 0) {
                add_writable_places(draft);
                add_init_system(draft);
        }
        draft->root_fd = -1;
        return result;
}
