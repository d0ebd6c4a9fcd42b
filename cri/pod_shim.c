#include "cri/pod_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/annotation.h"
#include "cri/container.h"
#include "cri/pod_resources.h"
#include "oci/cgroup.h"
#include "oci/shim.h"
#include "oci/spec.h"

#define STOP_TIME       (30 * NSEC_PER_SEC)
#define CGROUP_TIME     (5 * NSEC_PER_SEC)
#define CONNECT_TIME    (10 * NSEC_PER_SEC)
#define PAUSE_BYTES_MAX (8 * 1024 * 1024) /* of crisp-pause */
#define OWN_ANNOTATIONS 16
#define NAMESPACES_MAX  5

static bool has_shim(const struct pod *pod)
{
        return pod->handler && pod->handler->kind == RUNTIME_KIND_SHIM;
}

/* ---- the sandbox container's root: one for all pods, which none of them can write to ---- */

static char *pause_root(void)
{
        return xprintf("%s/shim-root", node.config->run_dir);
}

static int copy_pause(const char *root, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/pause", root);
        AUTO_BUFFER struct buffer program = BUFFER_INIT;
        if (access(path, X_OK) == 0)
                return 0;
        int result = file_read(node.pause_program, PAUSE_BYTES_MAX, &program, err);
        return result < 0 ? result
                          : file_replace_volatile(path, program.data, program.length, 0755, err);
}

static int make_pause_root(struct error *err)
{
        static const char *const folders[] = {"dev", "proc", "sys", "etc"};
        AUTO_FREE char *root = pause_root();
        int result = 0;
        for (size_t i = 0; i < sizeof folders / sizeof *folders && result == 0; i++) {
                AUTO_FREE char *path = xprintf("%s/%s", root, folders[i]);
                result = file_make_directories(path, 0755, err);
        }
        return result < 0 ? result : copy_pause(root, err);
}

/* ---- what the shim reads of the pod ---- */

static void put(struct spec_options *spec, const char *key, const char *value)
{
        struct spec_pair *pairs = (struct spec_pair *)spec->annotations;
        pairs[spec->annotation_count++] = (struct spec_pair){key, value};
}

/* As containerd and as CRI-O have them: Kata knows both, runc's shim takes its pod from the first.
 */
static void put_annotations(const struct pod *pod, struct arena *arena, struct spec_options *spec)
{
        const Runtime__V1__PodSandboxConfig *config = pod_config(pod);
        const Runtime__V1__PodSandboxMetadata *metadata = config->metadata;
        const struct config_handler *handler = annotation_handler(pod);
        char *const *defaults = handler ? handler->default_annotations : NULL;
        size_t most = OWN_ANNOTATIONS + POD_RESOURCES_ANNOTATIONS + config->n_annotations +
                      strv_length(defaults) / 2;
        spec->annotations = arena_array(arena, most, sizeof(struct spec_pair));
        for (size_t i = 0; defaults && defaults[i]; i += 2)
                put(spec, defaults[i], defaults[i + 1]);
        for (size_t i = 0; i < config->n_annotations; i++)
                if (annotation_may_pass(node.config, handler, config->annotations[i]->key))
                        put(spec, config->annotations[i]->key, config->annotations[i]->value);
        put(spec, "io.kubernetes.cri.container-type", "sandbox");
        put(spec, "io.kubernetes.cri.sandbox-id", pod->id);
        put(spec, "io.kubernetes.cri.sandbox-name", metadata->name);
        put(spec, "io.kubernetes.cri.sandbox-namespace", metadata->namespace_);
        put(spec, "io.kubernetes.cri.sandbox-uid", metadata->uid);
        put(spec, "io.kubernetes.cri.sandbox-log-directory", config->log_directory);
        put(spec, "io.kubernetes.cri-o.ContainerType", "sandbox");
        put(spec, "io.kubernetes.cri-o.ContainerID", pod->id);
        put(spec, "io.kubernetes.cri-o.SandboxID", pod->id);
        put(spec, "io.kubernetes.cri-o.SandboxName",
            arena_printf(arena, "k8s_%s_%s_%s_%u", metadata->name, metadata->namespace_,
                         metadata->uid, metadata->attempt));
        put(spec, "io.kubernetes.cri-o.Namespace", metadata->namespace_);
        put(spec, "io.kubernetes.cri-o.KubeName", metadata->name);
        put(spec, "io.container.manager", "crisp");
        spec->annotation_count += pod_resources_annotations(
                pod, arena, (struct spec_pair *)spec->annotations + spec->annotation_count);
}

static void put_namespaces(const struct pod *pod, struct arena *arena, struct spec_options *spec)
{
        struct spec_namespace *list = arena_array(arena, NAMESPACES_MAX, sizeof *list);
        size_t count = 0;
        list[count++].kind = SPEC_NAMESPACE_MOUNT;
        list[count++].kind = SPEC_NAMESPACE_PID;
        if (pod_has_network(pod)) {
                AUTO_FREE char *net = pod_namespace_path(pod, "net");
                AUTO_FREE char *uts = pod_namespace_path(pod, "uts");
                list[count++] =
                        (struct spec_namespace){SPEC_NAMESPACE_NETWORK, arena_strdup(arena, net)};
                list[count++] =
                        (struct spec_namespace){SPEC_NAMESPACE_UTS, arena_strdup(arena, uts)};
        }
        if (pod_has_ipc(pod)) {
                AUTO_FREE char *ipc = pod_namespace_path(pod, "ipc");
                list[count++] =
                        (struct spec_namespace){SPEC_NAMESPACE_IPC, arena_strdup(arena, ipc)};
        }
        spec->namespaces = list;
        spec->namespace_count = count;
}

static int make_config(const struct pod *pod, struct arena *arena, struct spec_options *spec,
                       char **text, struct error *err)
{
        static char program[] = "/pause", hold[] = "--hold", path[] = "PATH=/";
        static char *const args[] = {program, hold, NULL}, *const env[] = {path, NULL};
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        AUTO_FREE char *root = pause_root();
        const struct spec_mount_defaults mounts = {0};
        int result = cgroup_place(node.cgroup_driver, pod_cgroup_parent(pod), pod->id, &place, err);
        if (result < 0)
                return result;
        *spec = (struct spec_options){.args = args,
                                      .env = env,
                                      .cwd = "/",
                                      .root = arena_strdup(arena, root),
                                      .root_readonly = true,
                                      .no_new_privileges = true,
                                      .masked_paths = SPEC_MASKED_PATHS,
                                      .readonly_paths = SPEC_READONLY_PATHS};
        spec->cgroup_path = arena_strdup(arena, place.runtime_path);
        spec->hostname = pod_has_network(pod) ? pod_config(pod)->hostname : NULL;
        spec->mounts = spec_default_mounts(arena, &mounts, 0, &spec->mount_count);
        put_annotations(pod, arena, spec);
        put_namespaces(pod, arena, spec);
        return spec_build(spec, text, err);
}

/* ---- where the shim itself lives: beside the monitors, not in the pod's memory limit ---- */

static int shim_place(const struct pod *pod, struct cgroup_place *place, struct error *err)
{
        AUTO_FREE char *name = xprintf("%s-shim", pod->id);
        return cgroup_place(CGROUP_DRIVER_CGROUPFS, node.config->runtime.monitor_cgroup, name,
                            place, err);
}

struct prepare {
        const struct pod *pod;
        struct cgroup_leaf *leaf;
        struct arena *arena;
        struct spec_options spec; /* in the arena */
        char *config;             /* the same as JSON, on the heap */
        struct error *err;
};

static int prepare_on_worker(void *argument)
{
        struct prepare *prepare = argument;
        static const char *const controllers[] = {"pids", "memory", NULL};
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        int result = shim_place(prepare->pod, &place, prepare->err);
        if (result == 0)
                result = cgroup_leaf_make(&node.cgroups, place.path, controllers, prepare->leaf,
                                          prepare->err);
        if (result == 0 && prepare->pod->handler->sandbox)
                result = make_pause_root(prepare->err);
        return result < 0 ? result
                          : make_config(prepare->pod, prepare->arena, &prepare->spec,
                                        &prepare->config, prepare->err);
}

/* What the sandbox API tells besides the bundle. */
static void put_sandbox(const struct pod *pod, const struct prepare *prepare,
                        struct shim_start *start)
{
        const ProtobufCMessage *config = &pod_config(pod)->base;
        size_t size = protobuf_c_message_get_packed_size(config);
        uint8_t *packed = arena_alloc(prepare->arena, size + 1);
        AUTO_FREE char *netns = pod_has_network(pod) ? pod_namespace_path(pod, "net") : NULL;
        start->netns = netns ? arena_strdup(prepare->arena, netns) : NULL;
        start->annotations = prepare->spec.annotations;
        start->annotation_count = prepare->spec.annotation_count;
        start->pod_config_type = config->descriptor->name;
        start->pod_config = packed;
        start->pod_config_length = protobuf_c_message_pack(config, packed);
}

static int start_prepared(const struct pod *pod, const struct prepare *prepare, struct error *err)
{
        AUTO_FREE char *folder = pod_path(pod, "shim");
        struct shim_start start = {
                .handler = pod->handler,
                .pod_id = pod->id,
                .folder = folder,
                .config = prepare->config,
                .cgroup_fd = prepare->leaf->fd,
                .cgroup_v1_tasks = (const char *const *)prepare->leaf->tasks,
        };
        put_sandbox(pod, prepare, &start);
        return shim_start(&start,
                          clock_after(config_create_timeout(node.config, pod->handler->name)), err);
}

int pod_shim_start(struct pod *pod, struct error *err)
{
        if (!has_shim(pod))
                return 0;
        AUTO_CGROUP_LEAF struct cgroup_leaf leaf = CGROUP_LEAF_INIT;
        AUTO_ARENA struct arena *arena = arena_new();
        struct prepare prepare = {.pod = pod, .leaf = &leaf, .arena = arena, .err = err};
        pod_step(pod, "starting its shim");
        int result = task_offload(prepare_on_worker, &prepare);
        if (result == 0)
                result = start_prepared(pod, &prepare, err);
        free(prepare.config);
        return result < 0 ? error_context(err, "start its shim") : 0;
}

struct remove_job {
        const struct pod *pod;
        struct error *err;
};

/* Also ends a shim that never came to tell who it is. */
static int remove_cgroup_on_worker(void *argument)
{
        struct remove_job *job = argument;
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        int result = shim_place(job->pod, &place, job->err);
        if (result == 0)
                result = cgroup_kill(&node.cgroups, place.path, clock_after(CGROUP_TIME), job->err);
        return result < 0 ? result
                          : cgroup_remove(&node.cgroups, place.path, clock_after(CGROUP_TIME),
                                          job->err);
}

int pod_shim_stop(struct pod *pod, struct error *err)
{
        /* Of a handler that is not configured any more it may have been, too. */
        if (pod->handler && !has_shim(pod))
                return 0;
        struct remove_job job = {.pod = pod, .err = err};
        pod_step(pod, "ending its shim");
        int result = shim_stop(pod->id, clock_after(STOP_TIME), err);
        return result < 0 ? result : task_offload(remove_cgroup_on_worker, &job);
}

/* ---- when it goes ---- */

/* Nothing can be done in the pod any more: the kubelet makes it anew. */
static void pod_lost(struct pod *pod)
{
        if (pod->phase != POD_READY || pod->stopping)
                return;
        pod->phase = POD_NOTREADY;
        events_tell_pod(pod, EVENT_STOPPED);
        pod_save_later(pod);
}

static void on_gone(const char *pod_id)
{
        struct pod *pod = table_get(node.pods, pod_id);
        if (pod)
                pod_lost(pod);
}

static void on_oom(const char *container_id)
{
        struct container *container = table_get(node.containers, container_id);
        if (container)
                container->oom_told = true;
}

static void reconnect(void *argument)
{
        AUTO_POD struct pod *pod = argument;
        struct error err;
        if (shim_connect_again(pod->id, clock_after(CONNECT_TIME), &err) == 0)
                return;
        log_failure(&err, "a pod's shim is not there any more", "pod", pod->id, NULL);
        pod_lost(pod);
}

void pod_shim_recover(struct pod *pod)
{
        if (!has_shim(pod) || pod->torn_down)
                return;
        AUTO_FREE char *folder = pod_path(pod, "shim");
        shim_know(pod->handler, pod->id, folder);
        if (pod->phase == POD_READY)
                task_start("connect to shim", reconnect, pod_ref(pod));
}

void pod_shim_open(void)
{
        const struct shims_options options = {.run_dir = node.config->run_dir,
                                              .address = node.config->api.listen,
                                              .on_gone = on_gone,
                                              .on_oom = on_oom};
        struct error err;
        bool wanted = false;
        for (size_t i = 0; i < node.handler_count; i++)
                wanted = wanted || node.handlers[i].kind == RUNTIME_KIND_SHIM;
        if (wanted && shims_open(&options, &err) < 0)
                log_failure(&err, "handlers of kind shim cannot be used", NULL);
}

void pod_shim_close(void)
{
        shims_close();
}
