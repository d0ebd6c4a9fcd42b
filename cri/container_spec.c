/* A container's OCI specification: what the request, the pod and the image say, merged as the
 * kubelet expects. */
#include "cri/container_spec.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "cri/init_system.h"
#include "cri/container_pids.h"
#include "cri/pod_users.h"

char *container_spec_keep(struct container_spec *draft, char *heap_text)
{
        char *text = arena_strdup(draft->arena, heap_text);
        free(heap_text);
        return text;
}

/* path is on the heap, or null for a new one. */
static void add_namespace(struct container_spec *draft, enum spec_namespace_kind kind, char *path)
{
        draft->namespaces[draft->spec.namespace_count++] = (struct spec_namespace){
                .kind = kind, .path = path ? container_spec_keep(draft, path) : NULL};
}

/* What a container may have of its own, its pod having one already: the kubelet says the pod's
 * options again for each container. */
static int check_options(const struct container_spec *draft,
                         const Runtime__V1__NamespaceOption *options)
{
        static const char field[] = "config.linux.security_context.namespace_options";
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__POD && !pod_shares_pids(draft->pod))
                return error_set(draft->err, ERROR_INVALID_ARGUMENT,
                                 "%s.pid: POD, but the pod was made without a PID namespace to "
                                 "share",
                                 field);
        if (options->ipc == RUNTIME__V1__NAMESPACE_MODE__NODE && pod_has_ipc(draft->pod))
                return error_set(draft->err, ERROR_INVALID_ARGUMENT,
                                 "%s.ipc: NODE, but the pod has an IPC namespace of its own",
                                 field);
        return pod_users_check_container(draft->pod, options, draft->err);
}

static int set_namespaces(struct container_spec *draft)
{
        const struct pod *pod = draft->pod;
        const Runtime__V1__NamespaceOption *options = container_namespaces(draft->container);
        int result = check_options(draft, options);
        if (result < 0)
                return result;
        add_namespace(draft, SPEC_NAMESPACE_MOUNT, NULL);
        if (pod->users) {
                add_namespace(draft, SPEC_NAMESPACE_USER, pod_namespace_path(pod, "user"));
                draft->spec.uid_maps = pod->users->uids.maps;
                draft->spec.uid_map_count = pod->users->uids.count;
                draft->spec.gid_maps = pod->users->gids.maps;
                draft->spec.gid_map_count = pod->users->gids.count;
        }
        /* A single container of a pod may be on the host's network. */
        if (pod_has_network(pod) && options->network != RUNTIME__V1__NAMESPACE_MODE__NODE)
                add_namespace(draft, SPEC_NAMESPACE_NETWORK, pod_namespace_path(pod, "net"));
        if (pod_has_network(pod))
                add_namespace(draft, SPEC_NAMESPACE_UTS, pod_namespace_path(pod, "uts"));
        if (pod_has_ipc(pod))
                add_namespace(draft, SPEC_NAMESPACE_IPC, pod_namespace_path(pod, "ipc"));
        if (node.cgroups.mode == CGROUP_MODE_V2)
                add_namespace(draft, SPEC_NAMESPACE_CGROUP, NULL);
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__CONTAINER)
                add_namespace(draft, SPEC_NAMESPACE_PID, NULL);
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__POD)
                add_namespace(draft, SPEC_NAMESPACE_PID, pod_namespace_path(pod, "pid"));
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__TARGET)
                add_namespace(draft, SPEC_NAMESPACE_PID, container_target_path(draft->container));
        draft->spec.namespaces = draft->namespaces;
        return 0;
}

static int set_linux(struct container_spec *draft)
{
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        int result = cgroup_place(node.cgroup_driver, pod_cgroup_parent(draft->pod),
                                  draft->container->id, &place, draft->err);
        if (result < 0)
                return result;
        if (draft->pod->handler)
                draft->spec.version = runtime_spec_version(draft->pod->handler);
        draft->spec.cgroup_path = arena_strdup(draft->arena, place.runtime_path);
        result = container_spec_resources(draft);
        if (result < 0)
                return result;
        container_spec_annotations(draft);
        result = container_spec_security(draft);
        return result < 0 ? result : set_namespaces(draft);
}

static int read_hostname(struct container_spec *draft, char *hostname, size_t size)
{
        AUTO_FREE char *path = pod_path(draft->pod, "hostname");
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = file_read(path, size - 1, &text, draft->err);
        if (result < 0)
                return result;
        snprintf(hostname, size, "%.*s", (int)strcspn(text.data, "\n"), text.data);
        return 0;
}

static int write_bundle(struct container_spec *draft)
{
        AUTO_FREE char *bundle = container_state_path(draft->container, "bundle");
        int result = file_make_directories(bundle, 0700, draft->err);
        return result < 0 ? result : spec_write(&draft->spec, bundle, draft->err);
}

int container_make_bundle(void *argument)
{
        struct container_bundle *bundle = argument;
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_USER struct user user = {0};
        char hostname[256];
        struct container_spec draft = {
                .container = bundle->container,
                .config = container_config(bundle->container),
                .security = container_security(bundle->container),
                .image = bundle->image,
                .pod = bundle->container->pod,
                .volumes = bundle->volumes,
                .confinement = bundle->confinement,
                .arena = arena,
                .err = bundle->err,
                .root_fd = -1,
        };
        draft.init_system = init_system_runs(draft.config, bundle->image);
        draft.spec.terminal = draft.config->tty;
        draft.spec.cwd = *draft.config->working_dir          ? draft.config->working_dir
                         : *bundle->image->working_directory ? bundle->image->working_directory
                                                             : "/";
        draft.spec.root =
                container_spec_keep(&draft, container_run_path(bundle->container, "rootfs"));
        int result = read_hostname(&draft, hostname, sizeof hostname);
        if (result == 0)
                result = container_spec_process(&draft, hostname, &user);
        if (result == 0)
                result = container_spec_mounts(&draft);
        if (result == 0)
                result = set_linux(&draft);
        if (result == 0)
                result = container_spec_devices(&draft);
        if (result == 0)
                result = container_spec_files(&draft);
        if (result == 0)
                container_spec_hooks(&draft);
        if (result == 0)
                result = container_spec_cdi(&draft);
        if (result == 0) {
                container_spec_users(&draft);
                result = write_bundle(&draft);
        }
        json_decref(draft.seccomp);
        if (result < 0)
                return result;
        bundle->uid = user.uid;
        bundle->gid = user.gid;
        bundle->gids = take_ptr(user.gids);
        bundle->gid_count = user.gid_count;
        return 0;
}
