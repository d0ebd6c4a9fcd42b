/* The limits of an OCI specification. */
#include "oci/spec_private.h"

#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory.h"

static void put_unless_empty(json_t *object, const char *key, json_t *members)
{
        if (json_object_size(members))
                spec_put(object, key, members);
        else
                json_decref(members);
}

static json_t *block_io(const struct spec_block_io *limits)
{
        static const struct {
                const char *list, *value;
        } names[] = {
                [SPEC_BLOCK_WEIGHT] = {"weightDevice", "weight"},
                [SPEC_BLOCK_READ_BYTES] = {"throttleReadBpsDevice", "rate"},
                [SPEC_BLOCK_WRITE_BYTES] = {"throttleWriteBpsDevice", "rate"},
                [SPEC_BLOCK_READ_OPERATIONS] = {"throttleReadIOPSDevice", "rate"},
                [SPEC_BLOCK_WRITE_OPERATIONS] = {"throttleWriteIOPSDevice", "rate"},
        };
        json_t *object = json_object();
        if (limits->weight)
                spec_put(object, "weight", json_integer(limits->weight));
        for (size_t i = 0; i < SPEC_BLOCK_LIMITS; i++) {
                json_t *array = json_array();
                for (size_t k = 0; k < limits->limits[i].count; k++) {
                        const struct spec_block_device *device = &limits->limits[i].devices[k];
                        json_t *limit = json_object();
                        spec_put(limit, "major", json_integer(device->device_major));
                        spec_put(limit, "minor", json_integer(device->device_minor));
                        spec_put(limit, names[i].value, spec_unsigned(device->value));
                        json_array_append_new(array, limit);
                }
                if (json_array_size(array))
                        spec_put(object, names[i].list, array);
                else
                        json_decref(array);
        }
        return object;
}

json_t *spec_resources(struct spec_draft *draft, const struct spec_resources *limits)
{
        json_t *object = json_object();
        json_t *cpu = json_object();
        json_t *memory = json_object();
        if (limits->cpu_shares)
                spec_put(cpu, "shares", spec_unsigned(limits->cpu_shares));
        spec_put_number(cpu, "quota", limits->cpu_quota);
        if (limits->cpu_period)
                spec_put(cpu, "period", spec_unsigned(limits->cpu_period));
        spec_put_text(draft, cpu, "cpus", limits->cpuset_cpus);
        spec_put_text(draft, cpu, "mems", limits->cpuset_mems);
        spec_put_number(memory, "limit", limits->memory_limit);
        spec_put_number(memory, "swap", limits->memory_swap);
        put_unless_empty(object, "cpu", cpu);
        put_unless_empty(object, "memory", memory);
        if (limits->pids_limit) {
                json_t *pids = json_object();
                spec_put_number(pids, "limit", limits->pids_limit);
                spec_put(object, "pids", pids);
        }
        if (limits->hugepage_count) {
                json_t *array = json_array();
                for (size_t i = 0; i < limits->hugepage_count; i++) {
                        json_t *limit = json_object();
                        spec_put_text(draft, limit, "pageSize", limits->hugepages[i].size);
                        spec_put(limit, "limit", spec_unsigned(limits->hugepages[i].limit));
                        json_array_append_new(array, limit);
                }
                spec_put(object, "hugepageLimits", array);
        }
        if (limits->block_io)
                spec_put(object, "blockIO", block_io(limits->block_io));
        spec_put_pairs(draft, object, "unified", limits->unified, limits->unified_count);
        return object;
}

int spec_resources_build(const struct spec_resources *limits, char **result, struct error *err)
{
        struct spec_draft draft = {.err = err};
        AUTO_JSON json_t *object = spec_resources(&draft, limits);
        if (draft.result < 0)
                return draft.result;
        *result = json_text(object);
        return 0;
}

int spec_change_resources(const char *bundle, const struct spec_resources *resources,
                          bool has_oom_score_adj, int oom_score_adj, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/config.json", bundle);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_JSON json_t *spec = NULL;
        struct spec_draft draft = {.err = err};
        int result = file_read(path, SPEC_FILE_MAX, &text, err);
        if (result == 0)
                result = json_parse(text.data ? text.data : "", text.length, path, &spec, err);
        if (result < 0)
                return result;
        AUTO_JSON json_t *limits = spec_resources(&draft, resources);
        if (draft.result < 0)
                return draft.result;
        json_t *process = json_object_get(spec, "process");
        json_t *now = json_object_get(json_object_get(spec, "linux"), "resources");
        if (!process || !now)
                return error_set(err, ERROR_INTERNAL, "%s: not one of ours", path);
        json_object_update(now, limits);
        if (has_oom_score_adj)
                spec_put(process, "oomScoreAdj", json_integer(oom_score_adj));
        AUTO_FREE char *written = json_text(spec);
        return file_replace_volatile(path, written, strlen(written), 0600, err);
}
