#include "cri/workload.h"

#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cri/lookup.h"

#define PERIOD_DEFAULT 100000 /* us */
#define QUOTA_LEAST    1000   /* us, the kernel's */
#define THOUSANDTHS    1000   /* of a processor */
#define VALUE_MAX      4096   /* bytes of the annotation */
#define NUMBER_MOST    INT64_C(1000000000)

const struct config_workload *workload_of(const struct config *config, const struct pod *pod)
{
        const Runtime__V1__PodSandboxConfig *asked = pod_config(pod);
        for (size_t i = 0; i < config->runtime.workload_count; i++)
                if (lookup_value(asked->annotations, asked->n_annotations,
                                 config->runtime.workloads[i].activation_annotation))
                        return &config->runtime.workloads[i];
        return NULL;
}

struct limits {
        int64_t shares, quota, period, thousandths;
        const char *cpuset;
};

static int get_number(const json_t *object, const char *key, const char *place, int64_t *value,
                      struct error *err)
{
        int64_t number = 0;
        int result = json_get_int(object, key, place, &number, err);
        if (result < 0)
                return result;
        if (number < 0 || number > NUMBER_MOST)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: %lld", place, key,
                                 (long long)number);
        if (number)
                *value = number;
        return 0;
}

static int read_annotation(const char *text, const char *key, struct arena *arena,
                           struct limits *limits, struct error *err)
{
        AUTO_JSON json_t *object = NULL;
        const char *cpuset = NULL;
        if (strlen(text) > VALUE_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "longer than %d bytes", VALUE_MAX);
        int result = json_parse(text, strlen(text), key, &object, err);
        if (result == 0 && !json_is_object(object))
                result = error_set(err, ERROR_INVALID_ARGUMENT, "no JSON object");
        if (result == 0)
                result = get_number(object, "cpushares", key, &limits->shares, err);
        if (result == 0)
                result = get_number(object, "cpuquota", key, &limits->quota, err);
        if (result == 0)
                result = get_number(object, "cpuperiod", key, &limits->period, err);
        if (result == 0)
                result = get_number(object, "cpulimit", key, &limits->thousandths, err);
        if (result == 0)
                result = json_get_string(object, "cpuset", key, &cpuset, err);
        if (result == 0 && cpuset && *cpuset)
                limits->cpuset = arena_strdup(arena, cpuset);
        return result;
}

int workload_apply(const struct config_workload *workload, const struct container *container,
                   struct arena *arena, resources_message *resources, struct error *err)
{
        const Runtime__V1__PodSandboxConfig *asked = pod_config(container->pod);
        struct limits limits = {.shares = workload->cpushares,
                                .quota = workload->cpuquota,
                                .period = workload->cpuperiod,
                                .thousandths = workload->cpulimit,
                                .cpuset = workload->cpuset};
        AUTO_FREE char *key = xprintf("%s/%s", workload->annotation_prefix,
                                      container_config(container)->metadata->name);
        const char *text = *workload->annotation_prefix
                                   ? lookup_value(asked->annotations, asked->n_annotations, key)
                                   : NULL;
        int result = text ? read_annotation(text, key, arena, &limits, err) : 0;
        if (result < 0) {
                /* Whatever reads JSON has codes of its own; it is the pod that is wrong. */
                err->code = ERROR_INVALID_ARGUMENT;
                return error_context(err, "annotation %s of workload %s", key, workload->name);
        }
        if (limits.thousandths) {
                int64_t period = limits.period ? limits.period : PERIOD_DEFAULT;
                limits.quota = limits.thousandths * period / THOUSANDTHS;
                if (limits.quota < QUOTA_LEAST)
                        limits.quota = QUOTA_LEAST;
        }
        if (limits.shares)
                resources->cpu_shares = limits.shares;
        if (limits.quota)
                resources->cpu_quota = limits.quota;
        if (limits.period)
                resources->cpu_period = limits.period;
        if (*limits.cpuset)
                resources->cpuset_cpus = (char *)limits.cpuset;
        return 0;
}
