/* A container's OCI specification: what the request, the pod and the image say, merged as the
 * kubelet expects. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/container.h"
#include "cri/image_volume.h"
#include "image/config.h"
#include "oci/spec.h"
#include "oci/user.h"

#define DEFAULT_PATH   "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define OWN_MOUNTS     3 /* resolv.conf, hostname, and /dev/shm of the host */
#define NAMESPACES_MAX 6

struct build {
        const struct container *container;
        const Runtime__V1__ContainerConfig *config;
        const Runtime__V1__LinuxContainerSecurityContext *security;
        const struct image_config *image;
        const struct pod *pod;
        char *const *volumes; /* for each of the configuration's mounts */
        struct arena *arena;
        struct spec_options spec;
        struct spec_namespace namespaces[NAMESPACES_MAX];
        struct error *err;
};

static char *keep(struct build *build, char *heap_text)
{
        char *text = arena_strdup(build->arena, heap_text);
        free(heap_text);
        return text;
}

/* ---- the process ---- */

/*
 * A command takes the place of the image's entrypoint, and with it goes the image's cmd; args alone
 * take the place of the image's cmd.
 */
static int set_arguments(struct build *build)
{
        const Runtime__V1__ContainerConfig *config = build->config;
        const struct image_config *image = build->image;
        char **first = config->command;
        size_t first_count = config->n_command;
        char **rest = config->args;
        size_t rest_count = config->n_args;
        if (!first_count) {
                first = image->entrypoint;
                first_count = strv_length(image->entrypoint);
                if (!rest_count) {
                        rest = image->cmd;
                        rest_count = strv_length(image->cmd);
                }
        }
        if (!first_count && !rest_count)
                return error_set(build->err, ERROR_INVALID_ARGUMENT,
                                 "config.command: no command, and the image has none either");
        char **args = arena_array(build->arena, first_count + rest_count + 1, sizeof *args);
        for (size_t i = 0; i < first_count; i++)
                args[i] = first[i];
        for (size_t i = 0; i < rest_count; i++)
                args[first_count + i] = rest[i];
        build->spec.args = args;
        return 0;
}

static size_t name_length(const char *variable)
{
        return strcspn(variable, "=");
}

/* Adds NAME=value, in the place of an earlier one of that name. */
static void set_variable(char **env, size_t *count, char *variable)
{
        size_t length = name_length(variable);
        for (size_t i = 0; i < *count; i++) {
                if (name_length(env[i]) == length && strncmp(env[i], variable, length) == 0) {
                        env[i] = variable;
                        return;
                }
        }
        env[(*count)++] = variable;
}

static bool has_variable(char *const *env, size_t count, const char *name)
{
        for (size_t i = 0; i < count; i++)
                if (name_length(env[i]) == strlen(name) && strncmp(env[i], name, strlen(name)) == 0)
                        return true;
        return false;
}

static void set_environment(struct build *build, const struct user *user, const char *hostname)
{
        const Runtime__V1__ContainerConfig *config = build->config;
        size_t image_count = strv_length(build->image->environment);
        char **env = arena_array(build->arena, image_count + config->n_envs + 5, sizeof *env);
        size_t count = 0;
        for (size_t i = 0; i < image_count; i++)
                set_variable(env, &count, build->image->environment[i]);
        for (size_t i = 0; i < config->n_envs; i++) {
                const Runtime__V1__KeyValue *variable = config->envs[i];
                set_variable(env, &count,
                             arena_printf(build->arena, "%s=%.*s", variable->key,
                                          (int)variable->value.len,
                                          variable->value.len ? (const char *)variable->value.data
                                                              : ""));
        }
        if (!has_variable(env, count, "PATH"))
                env[count++] = (char *)DEFAULT_PATH;
        if (!has_variable(env, count, "HOME"))
                env[count++] = arena_printf(build->arena, "HOME=%s", user->home);
        if (!has_variable(env, count, "HOSTNAME"))
                env[count++] = arena_printf(build->arena, "HOSTNAME=%s", hostname);
        if (config->tty && !has_variable(env, count, "TERM"))
                env[count++] = (char *)"TERM=xterm";
        build->spec.env = env;
}

static int set_user(struct build *build, struct user *user)
{
        const Runtime__V1__LinuxContainerSecurityContext *security = build->security;
        AUTO_FREE char *path = container_run_path(build->container, "rootfs");
        AUTO_FD int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return error_errno(build->err, errno, "open %s", path);
        struct user_request request = {
                .has_uid = security->run_as_user != NULL,
                .uid = security->run_as_user ? security->run_as_user->value : 0,
                .name = security->run_as_username,
                .image_user = build->image->user,
                .has_gid = security->run_as_group != NULL,
                .gid = security->run_as_group ? security->run_as_group->value : 0,
                .supplemental_groups = security->supplemental_groups,
                .supplemental_group_count = security->n_supplemental_groups,
                .strict = security->supplemental_groups_policy ==
                          RUNTIME__V1__SUPPLEMENTAL_GROUPS_POLICY__Strict,
        };
        int result = user_resolve(root, &request, user, build->err);
        if (result < 0)
                return result;
        build->spec.uid = user->uid;
        build->spec.gid = user->gid;
        build->spec.additional_gids = user->gids;
        build->spec.additional_gid_count = user->gid_count;
        return 0;
}

static int set_capabilities(struct build *build)
{
        const Runtime__V1__Capability *wanted = build->security->capabilities;
        const char *const *set;
        if (build->security->privileged) {
                set = spec_capabilities_all(build->arena);
        } else {
                int result = spec_capabilities_apply(
                        build->arena, NULL, wanted ? wanted->add_capabilities : NULL,
                        wanted ? wanted->n_add_capabilities : 0,
                        wanted ? wanted->drop_capabilities : NULL,
                        wanted ? wanted->n_drop_capabilities : 0, &set, build->err);
                if (result < 0)
                        return error_context(build->err,
                                             "config.linux.security_context.capabilities");
        }
        build->spec.capabilities =
                (struct spec_capabilities){.bounding = set, .effective = set, .permitted = set};
        return 0;
}

/* ---- mounts ---- */

static const char *const *bind_options(struct build *build, const Runtime__V1__Mount *mount)
{
        static const char *const propagation[] = {"rprivate", "rslave", "rshared"};
        const char **options = arena_array(build->arena, 4, sizeof *options);
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

static void add_pod_file(struct build *build, struct spec_mount *mounts, size_t *count,
                         const char *name, const char *destination)
{
        static const char *const writable[] = {"rbind", "rprivate", "rw", NULL};
        static const char *const readonly[] = {"rbind", "rprivate", "ro", NULL};
        struct spec_mount mount = {
                .destination = destination,
                .source = keep(build, pod_path(build->pod, name)),
                .type = "bind",
                .options = build->security->readonly_rootfs ? readonly : writable,
        };
        add_mount(mounts, count, &mount);
}

static int set_mounts(struct build *build)
{
        const Runtime__V1__ContainerConfig *config = build->config;
        const Runtime__V1__LinuxContainerSecurityContext *security = build->security;
        struct spec_mount_defaults defaults = {
                .shm_path = pod_has_ipc(build->pod) ? keep(build, pod_path(build->pod, "shm"))
                                                    : "/dev/shm",
                .sys_writable = security->privileged,
                .cgroup_writable = security->privileged,
        };
        size_t count;
        struct spec_mount *mounts =
                spec_default_mounts(build->arena, &defaults, OWN_MOUNTS + config->n_mounts, &count);
        add_pod_file(build, mounts, &count, "resolv.conf", "/etc/resolv.conf");
        add_pod_file(build, mounts, &count, "hostname", "/etc/hostname");
        for (size_t i = 0; i < config->n_mounts; i++) {
                const Runtime__V1__Mount *wanted = config->mounts[i];
                if (image_volume_is(wanted)) {
                        struct spec_mount mount = image_mount(wanted, build->volumes[i]);
                        add_mount(mounts, &count, &mount);
                        continue;
                }
                int result = ensure_host_path(wanted->host_path, build->err);
                if (result < 0)
                        return result;
                struct spec_mount mount = {
                        .destination = wanted->container_path,
                        .source = wanted->host_path,
                        .type = "bind",
                        .options = bind_options(build, wanted),
                };
                add_mount(mounts, &count, &mount);
                /* The container sees the host's mounts only if its root is not private itself. */
                if (wanted->propagation ==
                    RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
                        build->spec.root_propagation = "rshared";
                else if (wanted->propagation ==
                                 RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER &&
                         !build->spec.root_propagation)
                        build->spec.root_propagation = "rslave";
        }
        build->spec.mounts = mounts;
        build->spec.mount_count = count;
        return 0;
}

/* ---- Linux ---- */

static void add_namespace(struct build *build, enum spec_namespace_kind kind, const char *pin)
{
        build->namespaces[build->spec.namespace_count++] = (struct spec_namespace){
                .kind = kind, .path = pin ? keep(build, pod_path(build->pod, pin)) : NULL};
}

static int set_namespaces(struct build *build)
{
        const struct pod *pod = build->pod;
        const Runtime__V1__NamespaceOption *options = build->security->namespace_options;
        if (!options)
                options = pod_namespaces(pod);
        add_namespace(build, SPEC_NAMESPACE_MOUNT, NULL);
        if (pod_has_network(pod)) {
                add_namespace(build, SPEC_NAMESPACE_NETWORK, "ns/net");
                add_namespace(build, SPEC_NAMESPACE_UTS, "ns/uts");
        }
        if (pod_has_ipc(pod))
                add_namespace(build, SPEC_NAMESPACE_IPC, "ns/ipc");
        if (node.cgroups.mode == CGROUP_MODE_V2)
                add_namespace(build, SPEC_NAMESPACE_CGROUP, NULL);
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__CONTAINER)
                add_namespace(build, SPEC_NAMESPACE_PID, NULL);
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__POD) {
                if (!pod_shares_pids(pod))
                        return error_set(build->err, ERROR_INVALID_ARGUMENT,
                                         "config.linux.security_context.namespace_options.pid: "
                                         "POD, but the pod was made without a PID namespace to "
                                         "share");
                add_namespace(build, SPEC_NAMESPACE_PID, "ns/pid");
        }
        build->spec.namespaces = build->namespaces;
        return 0;
}

/* The kubelet sends these limits unasked, also where the kernel has no hugetlb controller: then
 * there is nothing to limit. */
static void set_hugepages(struct build *build, const Runtime__V1__LinuxContainerResources *wanted)
{
        AUTO_FREE char *probe = cgroup_file(&node.cgroups, "/", "hugetlb", "cgroup.procs");
        if (!probe || access(probe, F_OK) < 0)
                return;
        struct spec_hugepage *pages =
                arena_array(build->arena, wanted->n_hugepage_limits, sizeof *pages);
        for (size_t i = 0; i < wanted->n_hugepage_limits; i++)
                pages[i] = (struct spec_hugepage){.size = wanted->hugepage_limits[i]->page_size,
                                                  .limit = wanted->hugepage_limits[i]->limit};
        build->spec.resources.hugepages = pages;
        build->spec.resources.hugepage_count = wanted->n_hugepage_limits;
}

static void set_resources(struct build *build)
{
        const Runtime__V1__LinuxContainerResources *wanted =
                build->config->linux ? build->config->linux->resources : NULL;
        if (!wanted)
                return;
        struct spec_resources *resources = &build->spec.resources;
        resources->cpu_shares = wanted->cpu_shares > 0 ? (uint64_t)wanted->cpu_shares : 0;
        resources->cpu_quota = wanted->cpu_quota;
        resources->cpu_period = wanted->cpu_period > 0 ? (uint64_t)wanted->cpu_period : 0;
        resources->cpuset_cpus = wanted->cpuset_cpus;
        resources->cpuset_mems = wanted->cpuset_mems;
        resources->memory_limit = wanted->memory_limit_in_bytes;
        resources->memory_swap = wanted->memory_swap_limit_in_bytes;
        struct spec_pair *unified = arena_array(build->arena, wanted->n_unified, sizeof *unified);
        for (size_t i = 0; i < wanted->n_unified; i++)
                unified[i] = (struct spec_pair){wanted->unified[i]->key, wanted->unified[i]->value};
        resources->unified = unified;
        resources->unified_count = wanted->n_unified;
        build->spec.has_oom_score_adj = true;
        build->spec.oom_score_adj = (int)wanted->oom_score_adj;
        set_hugepages(build, wanted);
}

static const char *const *path_list(struct build *build, char **paths, size_t count)
{
        const char **list = arena_array(build->arena, count + 1, sizeof *list);
        for (size_t i = 0; i < count; i++)
                list[i] = paths[i];
        return list;
}

static void set_security(struct build *build)
{
        const Runtime__V1__LinuxContainerSecurityContext *security = build->security;
        build->spec.no_new_privileges = security->no_new_privs;
        build->spec.root_readonly = security->readonly_rootfs;
        build->spec.all_devices = security->privileged;
        if (security->privileged)
                return;
        /* An empty list from a client that knows the fields means unmasked; without any security
         * context it is the default. */
        bool said = build->config->linux && build->config->linux->security_context;
        build->spec.masked_paths =
                said ? path_list(build, security->masked_paths, security->n_masked_paths)
                     : SPEC_MASKED_PATHS;
        build->spec.readonly_paths =
                said ? path_list(build, security->readonly_paths, security->n_readonly_paths)
                     : SPEC_READONLY_PATHS;
}

static void set_annotations(struct build *build)
{
        const Runtime__V1__ContainerConfig *config = build->config;
        const struct pod *pod = build->pod;
        const Runtime__V1__PodSandboxMetadata *metadata = pod_config(pod)->metadata;
        const struct spec_pair own[] = {
                {"io.kubernetes.cri.container-type", "container"},
                {"io.kubernetes.cri.sandbox-id", pod->id},
                {"io.kubernetes.cri.sandbox-name", metadata->name},
                {"io.kubernetes.cri.sandbox-namespace", metadata->namespace_},
                {"io.kubernetes.cri.sandbox-uid", metadata->uid},
                {"io.kubernetes.cri.container-name", config->metadata->name},
                {"io.kubernetes.cri.image-name", build->container->image_name},
        };
        size_t own_count = sizeof own / sizeof *own;
        struct spec_pair *pairs =
                arena_array(build->arena, own_count + config->n_annotations, sizeof *pairs);
        memcpy(pairs, own, sizeof own);
        size_t count = own_count;
        for (size_t i = 0; i < config->n_annotations; i++)
                pairs[count++] = (struct spec_pair){config->annotations[i]->key,
                                                    config->annotations[i]->value};
        build->spec.annotations = pairs;
        build->spec.annotation_count = count;
}

static int set_linux(struct build *build)
{
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        int result = cgroup_place(node.cgroup_driver, pod_cgroup_parent(build->pod),
                                  build->container->id, &place, build->err);
        if (result < 0)
                return result;
        build->spec.cgroup_path = arena_strdup(build->arena, place.runtime_path);
        set_security(build);
        set_resources(build);
        set_annotations(build);
        result = set_capabilities(build);
        return result < 0 ? result : set_namespaces(build);
}

static int read_hostname(struct build *build, char *hostname, size_t size)
{
        AUTO_FREE char *path = pod_path(build->pod, "hostname");
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = file_read(path, size - 1, &text, build->err);
        if (result < 0)
                return result;
        snprintf(hostname, size, "%.*s", (int)strcspn(text.data, "\n"), text.data);
        return 0;
}

static int write_bundle(struct build *build)
{
        AUTO_FREE char *bundle = container_state_path(build->container, "bundle");
        int result = file_make_directories(bundle, 0700, build->err);
        return result < 0 ? result : spec_write(&build->spec, bundle, build->err);
}

int container_make_bundle(void *argument)
{
        struct container_bundle *bundle = argument;
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_USER struct user user = {0};
        char hostname[256];
        struct build build = {
                .container = bundle->container,
                .config = container_config(bundle->container),
                .security = container_security(bundle->container),
                .image = bundle->image,
                .pod = bundle->container->pod,
                .volumes = bundle->volumes,
                .arena = arena,
                .err = bundle->err,
        };
        build.spec.terminal = build.config->tty;
        build.spec.cwd = *build.config->working_dir          ? build.config->working_dir
                         : *bundle->image->working_directory ? bundle->image->working_directory
                                                             : "/";
        build.spec.root = keep(&build, container_run_path(bundle->container, "rootfs"));
        int result = read_hostname(&build, hostname, sizeof hostname);
        if (result == 0)
                result = set_arguments(&build);
        if (result == 0)
                result = set_user(&build, &user);
        if (result == 0)
                set_environment(&build, &user, hostname);
        if (result == 0)
                result = set_mounts(&build);
        if (result == 0)
                result = set_linux(&build);
        if (result == 0)
                result = write_bundle(&build);
        if (result < 0)
                return result;
        bundle->uid = user.uid;
        bundle->gid = user.gid;
        bundle->gids = take_ptr(user.gids);
        bundle->gid_count = user.gid_count;
        return 0;
}
