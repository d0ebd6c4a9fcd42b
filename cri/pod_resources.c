/* What a pod as a whole may use, as the kubelet tells it: kept, shown, and told to runtimes. */
#include "cri/pod_resources.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

const resources_message *pod_overhead(const struct pod *pod)
{
        const Runtime__V1__LinuxPodSandboxConfig *config = pod_config(pod)->linux;
        return pod->overhead ? pod->overhead : config ? config->overhead : NULL;
}

const resources_message *pod_resources(const struct pod *pod)
{
        const Runtime__V1__LinuxPodSandboxConfig *config = pod_config(pod)->linux;
        return pod->resources ? pod->resources : config ? config->resources : NULL;
}

/* ---- for runtimes ---- */

static char *json_kept(struct arena *arena, const resources_message *resources)
{
        AUTO_JSON json_t *object = resources_json(resources);
        AUTO_FREE char *text = json_text(object);
        return arena_strdup(arena, text);
}

size_t pod_resources_annotations(const struct pod *pod, struct arena *arena,
                                 struct spec_pair pairs[POD_RESOURCES_ANNOTATIONS])
{
        const resources_message *overhead = pod_overhead(pod), *resources = pod_resources(pod);
        size_t count = 0;
        if (overhead)
                pairs[count++] = (struct spec_pair){"pod-linux-overhead.crio.io",
                                                    json_kept(arena, overhead)};
        if (!resources)
                return count;
        pairs[count++] =
                (struct spec_pair){"pod-linux-resources.crio.io", json_kept(arena, resources)};
        /* What runtimes that make a virtual machine for the pod look at, under containerd's names.
         */
        const struct {
                const char *key;
                int64_t value;
        } numbers[] = {
                {"io.kubernetes.cri.sandbox-cpu-period", resources->cpu_period},
                {"io.kubernetes.cri.sandbox-cpu-quota", resources->cpu_quota},
                {"io.kubernetes.cri.sandbox-cpu-shares", resources->cpu_shares},
                {"io.kubernetes.cri.sandbox-memory", resources->memory_limit_in_bytes},
        };
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
                pairs[count++] = (struct spec_pair){
                        numbers[i].key, arena_printf(arena, "%lld", (long long)numbers[i].value)};
        return count;
}

/* ---- records ---- */

void pod_resources_put(const struct pod *pod, json_t *record)
{
        resources_put(record, "overhead", pod->overhead);
        resources_put(record, "resources", pod->resources);
}

int pod_resources_restore(struct pod *pod, const json_t *record, struct error *err)
{
        int result = resources_get(record, "overhead", pod->arena, &pod->overhead, err);
        return result < 0 ? result
                          : resources_get(record, "resources", pod->arena, &pod->resources, err);
}

/* ---- the call ---- */

static int check(const resources_message *resources, const char *field, struct error *err)
{
        return resources ? resources_validate(resources, field, err) : 0;
}

static int update_locked(struct pod *pod, const Runtime__V1__UpdatePodSandboxResourcesRequest *said,
                         struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct arena *old_arena = pod->resources_arena;
        resources_message *old_overhead = pod->overhead, *old_resources = pod->resources;
        if (said->overhead || old_overhead)
                pod->overhead =
                        resources_copy(arena, said->overhead ? said->overhead : old_overhead);
        if (said->resources || old_resources)
                pod->resources =
                        resources_copy(arena, said->resources ? said->resources : old_resources);
        pod_step(pod, "writing the record");
        int result = pod_save(pod, true, err);
        pod_step(pod, NULL);
        if (result < 0) {
                pod->overhead = old_overhead;
                pod->resources = old_resources;
                return result;
        }
        pod->resources_arena = take_ptr(arena);
        arena_free(old_arena);
        return 0;
}

int pod_update_handler(struct rpc *rpc, const void *request_, void *response, struct error *err)
{
        const Runtime__V1__UpdatePodSandboxResourcesRequest *request = request_;
        AUTO_POD struct pod *pod = NULL;
        (void)rpc;
        (void)response;
        int result = check(request->overhead, "overhead", err);
        if (result == 0)
                result = check(request->resources, "resources", err);
        if (result == 0)
                result = pod_find(request->pod_sandbox_id, &pod, err);
        if (result < 0 || !pod)
                return result;
        task_lock(&pod->lock, CLOCK_NEVER);
        result = pod->phase == POD_REMOVED || pod->stopping
                         ? error_set(err, ERROR_FAILED_PRECONDITION, "pod %s is being removed",
                                     pod->id)
                         : update_locked(pod, request, err);
        task_unlock(&pod->lock);
        return result;
}
