#include "cri/resources.h"

#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/memory.h"
#include "cri/record.h"
#include "oci/cpu_list.h"

#define UNIFIED_MAX   256  /* keys */
#define UNIFIED_VALUE 4096 /* bytes of a value */
#define HUGEPAGES_MAX 64   /* sizes */
#define OOM_SCORE_MAX 1000

typedef Runtime__V1__LinuxContainerResources__UnifiedEntry unified_entry;

/* ---- checked ---- */

/* Zero leaves the kernel's default; -1 lifts a limit where there is one to lift. */
static int check_numbers(const resources_message *resources, const char *field, struct error *err)
{
        const struct {
                const char *name;
                int64_t value, least;
        } numbers[] = {
                {"cpu_period", resources->cpu_period, 0},
                {"cpu_quota", resources->cpu_quota, -1},
                {"cpu_shares", resources->cpu_shares, 0},
                {"memory_limit_in_bytes", resources->memory_limit_in_bytes, -1},
                {"memory_swap_limit_in_bytes", resources->memory_swap_limit_in_bytes, -1},
        };
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
                if (numbers[i].value < numbers[i].least)
                        return error_set(err, ERROR_INVALID_ARGUMENT, "%s.%s: %lld", field,
                                         numbers[i].name, (long long)numbers[i].value);
        if (resources->oom_score_adj < -OOM_SCORE_MAX || resources->oom_score_adj > OOM_SCORE_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s.oom_score_adj: %lld", field,
                                 (long long)resources->oom_score_adj);
        if (resources->memory_swap_limit_in_bytes > 0 &&
            (resources->memory_swap_limit_in_bytes < resources->memory_limit_in_bytes ||
             resources->memory_limit_in_bytes < 0))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s.memory_swap_limit_in_bytes: %lld is less than "
                                 "memory_limit_in_bytes, %lld: it counts memory and swap together",
                                 field, (long long)resources->memory_swap_limit_in_bytes,
                                 (long long)resources->memory_limit_in_bytes);
        return 0;
}

static int check_set(const char *text, const char *field, const char *name, struct error *err)
{
        struct cpu_list ignored;
        int result = cpu_list_parse(text, &ignored, err);
        return result < 0 ? error_context(err, "%s.%s", field, name) : 0;
}

/* A key is the name of a file of the container's own cgroup. */
static int check_unified(const resources_message *resources, const char *field, struct error *err)
{
        if (resources->n_unified > UNIFIED_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s.unified: more than %d keys",
                                 field, UNIFIED_MAX);
        for (size_t i = 0; i < resources->n_unified; i++) {
                const char *key = resources->unified[i]->key;
                if (!*key || *key == '.' || strchr(key, '/') || strlen(key) > 255 ||
                    !strchr(key, '.'))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s.unified: \"%.100s\" is no file of a cgroup", field,
                                         key);
                if (strncmp(key, "cgroup.", 7) == 0)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s.unified: \"%.100s\" is not a limit", field, key);
                if (strlen(resources->unified[i]->value) > UNIFIED_VALUE)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s.unified: the value of %.100s is longer than %d bytes",
                                         field, key, UNIFIED_VALUE);
        }
        return 0;
}

int resources_validate(const resources_message *resources, const char *field, struct error *err)
{
        int result = check_numbers(resources, field, err);
        if (result == 0)
                result = check_set(resources->cpuset_cpus, field, "cpuset_cpus", err);
        if (result == 0)
                result = check_set(resources->cpuset_mems, field, "cpuset_mems", err);
        if (result == 0 && resources->n_hugepage_limits > HUGEPAGES_MAX)
                result = error_set(err, ERROR_INVALID_ARGUMENT,
                                   "%s.hugepage_limits: more than %d sizes", field, HUGEPAGES_MAX);
        return result < 0 ? result : check_unified(resources, field, err);
}

/* ---- copied and merged ---- */

resources_message *resources_copy(struct arena *arena, const resources_message *resources)
{
        static const resources_message none = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
        return (resources_message *)record_copy_message(arena,
                                                        &(resources ? resources : &none)->base);
}

static void set_hugepages(struct arena *arena, resources_message *resources,
                          Runtime__V1__HugepageLimit *limit)
{
        size_t count = resources->n_hugepage_limits;
        for (size_t i = 0; i < count; i++) {
                if (strcmp(resources->hugepage_limits[i]->page_size, limit->page_size) == 0) {
                        resources->hugepage_limits[i] = limit;
                        return;
                }
        }
        Runtime__V1__HugepageLimit **grown = arena_array(arena, count + 1, sizeof(*grown));
        if (count)
                memcpy(grown, resources->hugepage_limits, count * sizeof(*grown));
        grown[count] = limit;
        resources->hugepage_limits = grown;
        resources->n_hugepage_limits = count + 1;
}

void resources_set_unified(struct arena *arena, resources_message *resources, const char *key,
                           const char *value)
{
        size_t count = resources->n_unified;
        for (size_t i = 0; i < count; i++) {
                if (strcmp(resources->unified[i]->key, key) == 0) {
                        resources->unified[i]->value = (char *)value;
                        return;
                }
        }
        unified_entry **grown = arena_array(arena, count + 1, sizeof(*grown));
        if (count)
                memcpy(grown, resources->unified, count * sizeof(*grown));
        grown[count] = arena_alloc(arena, sizeof **grown);
        runtime__v1__linux_container_resources__unified_entry__init(grown[count]);
        grown[count]->key = (char *)key;
        grown[count]->value = (char *)value;
        resources->unified = grown;
        resources->n_unified = count + 1;
}

/* The limit of memory and swap together beside a new limit of memory. */
static int64_t swap_beside(const resources_message *base, int64_t memory)
{
        int64_t swap = base->memory_swap_limit_in_bytes;
        if (memory < 0)
                return swap ? -1 : 0;
        if (swap <= 0 || base->memory_limit_in_bytes <= 0)
                return swap < 0 ? -1 : 0;
        int64_t extra = swap - base->memory_limit_in_bytes;
        return memory > INT64_MAX - extra ? INT64_MAX : memory + extra;
}

#define TAKE(field)                                                                                \
        do {                                                                                       \
                if (said->field)                                                                   \
                        merged->field = said->field;                                               \
        } while (0)

resources_message *resources_merge(struct arena *arena, const resources_message *base,
                                   const resources_message *change)
{
        resources_message *merged = resources_copy(arena, base);
        resources_message *said = resources_copy(arena, change);
        if (said->memory_limit_in_bytes && !said->memory_swap_limit_in_bytes)
                said->memory_swap_limit_in_bytes = swap_beside(merged, said->memory_limit_in_bytes);
        TAKE(cpu_period);
        TAKE(cpu_quota);
        TAKE(cpu_shares);
        TAKE(memory_limit_in_bytes);
        TAKE(memory_swap_limit_in_bytes);
        TAKE(oom_score_adj);
        if (*said->cpuset_cpus)
                merged->cpuset_cpus = said->cpuset_cpus;
        if (*said->cpuset_mems)
                merged->cpuset_mems = said->cpuset_mems;
        for (size_t i = 0; i < said->n_hugepage_limits; i++)
                set_hugepages(arena, merged, said->hugepage_limits[i]);
        for (size_t i = 0; i < said->n_unified; i++)
                resources_set_unified(arena, merged, said->unified[i]->key,
                                      said->unified[i]->value);
        return merged;
}

/* ---- translated ---- */

void resources_to_spec(struct arena *arena, const resources_message *resources,
                       struct spec_resources *spec)
{
        *spec = (struct spec_resources){
                .cpu_shares = (uint64_t)resources->cpu_shares,
                .cpu_quota = resources->cpu_quota,
                .cpu_period = (uint64_t)resources->cpu_period,
                .cpuset_cpus = resources->cpuset_cpus,
                .cpuset_mems = resources->cpuset_mems,
                .memory_limit = resources->memory_limit_in_bytes,
                .memory_swap = resources->memory_swap_limit_in_bytes,
        };
        struct spec_hugepage *pages =
                arena_array(arena, resources->n_hugepage_limits, sizeof *pages);
        for (size_t i = 0; i < resources->n_hugepage_limits; i++)
                pages[i] = (struct spec_hugepage){.size = resources->hugepage_limits[i]->page_size,
                                                  .limit = resources->hugepage_limits[i]->limit};
        spec->hugepages = pages;
        spec->hugepage_count = resources->n_hugepage_limits;
        struct spec_pair *unified = arena_array(arena, resources->n_unified, sizeof *unified);
        for (size_t i = 0; i < resources->n_unified; i++)
                unified[i] = (struct spec_pair){resources->unified[i]->key,
                                                resources->unified[i]->value};
        spec->unified = unified;
        spec->unified_count = resources->n_unified;
}

static void put_number(json_t *object, const char *key, int64_t value)
{
        if (value)
                json_object_set_new(object, key, json_integer(value));
}

static void put_text(json_t *object, const char *key, const char *value)
{
        if (*value)
                json_object_set_new(object, key, json_string(value));
}

json_t *resources_json(const resources_message *resources)
{
        json_t *object = json_object();
        put_number(object, "cpu_period", resources->cpu_period);
        put_number(object, "cpu_quota", resources->cpu_quota);
        put_number(object, "cpu_shares", resources->cpu_shares);
        put_number(object, "memory_limit_in_bytes", resources->memory_limit_in_bytes);
        put_number(object, "oom_score_adj", resources->oom_score_adj);
        put_text(object, "cpuset_cpus", resources->cpuset_cpus);
        put_text(object, "cpuset_mems", resources->cpuset_mems);
        if (resources->n_hugepage_limits) {
                json_t *limits = json_array();
                for (size_t i = 0; i < resources->n_hugepage_limits; i++) {
                        const Runtime__V1__HugepageLimit *from = resources->hugepage_limits[i];
                        json_t *limit = json_object();
                        put_text(limit, "page_size", from->page_size);
                        put_number(limit, "limit",
                                   from->limit > INT64_MAX ? INT64_MAX : (int64_t)from->limit);
                        json_array_append_new(limits, limit);
                }
                json_object_set_new(object, "hugepage_limits", limits);
        }
        if (resources->n_unified) {
                json_t *unified = json_object();
                for (size_t i = 0; i < resources->n_unified; i++)
                        put_text(unified, resources->unified[i]->key, resources->unified[i]->value);
                json_object_set_new(object, "unified", unified);
        }
        put_number(object, "memory_swap_limit_in_bytes", resources->memory_swap_limit_in_bytes);
        return object;
}

/* ---- in records ---- */

void resources_put(json_t *record, const char *key, const resources_message *resources)
{
        if (!resources)
                return;
        size_t size = protobuf_c_message_get_packed_size(&resources->base);
        AUTO_FREE uint8_t *bytes = xcalloc(1, size + 1);
        protobuf_c_message_pack(&resources->base, bytes);
        AUTO_FREE char *text = base64_encode(bytes, size);
        json_object_set_new(record, key, json_string(text));
}

int resources_get(const json_t *record, const char *key, struct arena *arena,
                  resources_message **resources, struct error *err)
{
        const char *text = NULL;
        int result = json_get_string(record, key, "record.json", &text, err);
        if (result < 0)
                return result;
        if (!text) {
                *resources = NULL;
                return 0;
        }
        size_t count = 0;
        AUTO_FREE unsigned char *bytes = base64_decode(text, strlen(text), &count);
        ProtobufCAllocator allocator;
        record_arena_allocator(arena, &allocator);
        ProtobufCMessage *message =
                bytes ? protobuf_c_message_unpack(
                                &runtime__v1__linux_container_resources__descriptor, &allocator,
                                count, bytes)
                      : NULL;
        if (!message)
                return error_set(err, ERROR_DATA_LOSS, "record.json: %s is damaged", key);
        *resources = (resources_message *)message;
        return 0;
}
