#include "cri/status_info.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/container.h"
#include "cri/lookup.h"
#include "cri/pod.h"
#include "cri/pod_resources.h"
#include "cri/status_text.h"
#include "oci/spec.h"

/* ---- containers ---- */

struct spec_job {
        const char *path;
        json_t *spec;
        struct error err;
};

static int read_spec_on_worker(void *argument)
{
        struct spec_job *job = argument;
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = file_read(job->path, STATUS_INFO_SPEC_MAX, &text, &job->err);
        return result < 0
                       ? result
                       : json_parse(text.data, text.length, "config.json", &job->spec, &job->err);
}

/* The specification as the runtime got it; or null. */
static json_t *read_spec(const struct container *container, const char *bundle)
{
        AUTO_FREE char *path = xprintf("%s/config.json", bundle);
        struct spec_job job = {.path = path};
        if (task_offload(read_spec_on_worker, &job) == 0)
                return job.spec;
        /* One that was removed meanwhile has none. */
        if (container->phase != CONTAINER_REMOVED)
                log_failure(&job.err, "a container's specification cannot be shown", "container",
                            container->id, NULL);
        return NULL;
}

static const char *namespace_file(const char *type)
{
        return strcmp(type, "network") == 0 ? "net" : strcmp(type, "mount") == 0 ? "mnt" : type;
}

/* Where each namespace can be found now: its pin, or the first process's. */
static json_t *namespaces_of(const struct container *container, const json_t *spec)
{
        json_t *paths = json_object(), *each;
        size_t i;
        json_array_foreach (json_object_get(json_object_get(spec, "linux"), "namespaces"), i,
                            each) {
                const char *type = json_string_value(json_object_get(each, "type"));
                json_t *path = json_object_get(each, "path");
                if (type && path)
                        json_object_set(paths, type, path);
                else if (type && container->pid)
                        json_object_set_new(paths, type,
                                            json_sprintf("/proc/%d/ns/%s", (int)container->pid,
                                                         namespace_file(type)));
        }
        return paths;
}

json_t *status_info_container(const struct container *container)
{
        const struct pod *pod = container->pod;
        AUTO_FREE char *bundle = container_state_path(container, "bundle");
        AUTO_FREE char *rootfs = container_run_path(container, "rootfs");
        json_t *spec = read_spec(container, bundle);
        json_t *info = json_object();
        json_object_set_new(info, "sandboxID", json_string(pod->id));
        json_object_set_new(info, "pid", json_integer(container->pid));
        json_object_set_new(info, "privileged",
                            json_boolean(container_security(container)->privileged));
        json_object_set_new(info, "runtimeHandler",
                            json_string(pod->handler ? pod->handler->name : ""));
        json_object_set_new(info, "runtimeType",
                            json_string(pod->handler && pod->handler->kind == RUNTIME_KIND_SHIM
                                                ? "shim"
                                                : "oci"));
        json_object_set_new(info, "runtimePath",
                            json_string(pod->handler ? pod->handler->path : ""));
        json_object_set_new(info, "bundle", json_string(bundle));
        json_object_set_new(info, "rootfs", json_string(rootfs));
        json_object_set_new(info, "cgroupPath", json_string(container->cgroup_path));
        json_object_set_new(info, "namespaces", namespaces_of(container, spec));
        status_text_add_step(info, container->step, container->step_since);
        if (spec)
                json_object_set_new(info, "runtimeSpec", spec);
        return info;
}

/* ---- pods ---- */

static void add_namespace(json_t *list, const struct pod *pod, const char *type, const char *name)
{
        AUTO_FREE char *path = pod_namespace_path(pod, name);
        json_array_append_new(list, json_pack("{s:s, s:s}", "type", type, "path", path));
}

static json_t *pinned(const struct pod *pod)
{
        json_t *list = json_array();
        if (pod->torn_down)
                return list;
        if (pod_has_network(pod)) {
                add_namespace(list, pod, "network", "net");
                add_namespace(list, pod, "uts", "uts");
        }
        if (pod->users)
                add_namespace(list, pod, "user", "user");
        if (pod_has_ipc(pod))
                add_namespace(list, pod, "ipc", "ipc");
        if (pod_shares_pids(pod))
                add_namespace(list, pod, "pid", "pid");
        return list;
}

/* A map of the protocol's. What is not UTF-8 is left out: jansson takes none of it. */
static json_t *map_of(void *entries, size_t count)
{
        struct lookup_entry **entry = entries;
        json_t *map = json_object();
        for (size_t i = 0; i < count; i++)
                json_object_set_new(map, entry[i]->key, json_string(entry[i]->value));
        return map;
}

static json_t *spec_of(const struct pod *pod)
{
        const Runtime__V1__PodSandboxConfig *config = pod_config(pod);
        json_t *for_linux = json_object();
        json_object_set_new(for_linux, "namespaces", pinned(pod));
        json_object_set_new(for_linux, "cgroupsPath", json_string(pod_cgroup_parent(pod)));
        if (config->linux)
                json_object_set_new(for_linux, "sysctl",
                                    map_of(config->linux->sysctls, config->linux->n_sysctls));
        json_t *spec = json_object();
        json_object_set_new(
                spec, "ociVersion",
                json_string(pod->handler ? runtime_spec_version(pod->handler) : SPEC_VERSION));
        json_object_set_new(spec, "hostname", json_string(config->hostname));
        json_object_set_new(spec, "annotations",
                            map_of(config->annotations, config->n_annotations));
        json_object_set_new(spec, "linux", for_linux);
        return spec;
}

static json_t *network_of(const struct pod *pod)
{
        json_t *ips = json_array();
        for (size_t i = 0; pod->ips && pod->ips[i]; i++)
                json_array_append_new(ips, json_string(pod->ips[i]));
        json_t *network = json_object();
        json_object_set_new(network, "attached", json_boolean(pod->attached));
        json_object_set_new(network, "interface", json_string(NETWORK_INTERFACE));
        json_object_set_new(network, "ips", ips);
        return network;
}

json_t *status_info_pod(const struct pod *pod)
{
        json_t *info = json_object();
        /* There is no image of a pause container. */
        json_object_set_new(info, "image", json_string(""));
        json_object_set_new(info, "pid", json_integer(pod->holder_pid));
        json_object_set_new(info, "runtimeHandler",
                            json_string(pod->handler ? pod->handler->name : ""));
        json_object_set_new(info, "namespaces", json_string(pod->namespaces));
        json_object_set_new(info, "cgroupParent", json_string(pod_cgroup_parent(pod)));
        json_object_set_new(info, "networkAttached", json_boolean(pod->attached));
        if (pod_has_network(pod))
                json_object_set_new(info, "network", network_of(pod));
        if (pod_overhead(pod))
                json_object_set_new(info, "overhead", resources_json(pod_overhead(pod)));
        if (pod_resources(pod))
                json_object_set_new(info, "resources", resources_json(pod_resources(pod)));
        status_text_add_step(info, pod->step, pod->step_since);
        json_object_set_new(info, "runtimeSpec", spec_of(pod));
        return info;
}
