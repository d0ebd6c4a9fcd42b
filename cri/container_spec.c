/* A container's OCI specification: what the request, the pod and the image say, merged as the
 * kubelet expects. */
#include "cri/container_spec.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

char *container_spec_keep(struct container_spec *draft, char *heap_text)
{
        char *text = arena_strdup(draft->arena, heap_text);
        free(heap_text);
        return text;
}

static void add_namespace(struct container_spec *draft, enum spec_namespace_kind kind,
                          const char *pin)
{
        draft->namespaces[draft->spec.namespace_count++] = (struct spec_namespace){
                .kind = kind,
                .path = pin ? container_spec_keep(draft, pod_path(draft->pod, pin)) : NULL};
}

static int set_namespaces(struct container_spec *draft)
{
        const struct pod *pod = draft->pod;
        const Runtime__V1__NamespaceOption *options = draft->security->namespace_options;
        if (!options)
                options = pod_namespaces(pod);
        add_namespace(draft, SPEC_NAMESPACE_MOUNT, NULL);
        if (pod_has_network(pod)) {
                add_namespace(draft, SPEC_NAMESPACE_NETWORK, "ns/net");
                add_namespace(draft, SPEC_NAMESPACE_UTS, "ns/uts");
        }
        if (pod_has_ipc(pod))
                add_namespace(draft, SPEC_NAMESPACE_IPC, "ns/ipc");
        if (node.cgroups.mode == CGROUP_MODE_V2)
                add_namespace(draft, SPEC_NAMESPACE_CGROUP, NULL);
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__CONTAINER)
                add_namespace(draft, SPEC_NAMESPACE_PID, NULL);
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__POD) {
                if (!pod_shares_pids(pod))
                        return error_set(draft->err, ERROR_INVALID_ARGUMENT,
                                         "config.linux.security_context.namespace_options.pid: "
                                         "POD, but the pod was made without a PID namespace to "
                                         "share");
                add_namespace(draft, SPEC_NAMESPACE_PID, "ns/pid");
        }
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
                .arena = arena,
                .err = bundle->err,
        };
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
        if (result == 0)
                result = write_bundle(&draft);
        if (result < 0)
                return result;
        bundle->uid = user.uid;
        bundle->gid = user.gid;
        bundle->gids = take_ptr(user.gids);
        bundle->gid_count = user.gid_count;
        return 0;
}
