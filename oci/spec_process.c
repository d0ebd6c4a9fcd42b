/* The process of an OCI specification. */
#include "oci/spec_private.h"

#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/file.h"

static json_t *environment(struct spec_draft *draft, char *const *env)
{
        json_t *array = json_array();
        for (; env && *env; env++) {
                const char *equals = strchr(*env, '=');
                if (!equals || equals == *env)
                        continue;
                json_t *entry = json_string(*env);
                if (!entry)
                        spec_fail(
                                draft,
                                "env \"%.*s\": its value is not UTF-8, which no OCI runtime can be "
                                "told",
                                equals - *env > SPEC_PLACE_MAX ? SPEC_PLACE_MAX
                                                               : (int)(equals - *env),
                                *env);
                json_array_append_new(array, entry);
        }
        return array;
}

static const struct {
        const char *name;
        int resource;
} rlimit_names[] = {
        {"RLIMIT_AS", RLIMIT_AS},
        {"RLIMIT_CORE", RLIMIT_CORE},
        {"RLIMIT_CPU", RLIMIT_CPU},
        {"RLIMIT_DATA", RLIMIT_DATA},
        {"RLIMIT_FSIZE", RLIMIT_FSIZE},
        {"RLIMIT_LOCKS", RLIMIT_LOCKS},
        {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
        {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
        {"RLIMIT_NICE", RLIMIT_NICE},
        {"RLIMIT_NOFILE", RLIMIT_NOFILE},
        {"RLIMIT_NPROC", RLIMIT_NPROC},
        {"RLIMIT_RSS", RLIMIT_RSS},
        {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
        {"RLIMIT_RTTIME", RLIMIT_RTTIME},
        {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
        {"RLIMIT_STACK", RLIMIT_STACK},
};

static int rlimit_resource(const char *name)
{
        for (size_t i = 0; i < sizeof rlimit_names / sizeof *rlimit_names; i++)
                if (strcmp(rlimit_names[i].name, name) == 0)
                        return rlimit_names[i].resource;
        return -1;
}

/* No hard limit above our own: the runtime would fail, or a container would get what the node's
 * owner denied to us. */
static json_t *rlimits(struct spec_draft *draft, const struct spec_rlimit *limits, size_t count)
{
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++) {
                struct rlimit own;
                int resource = rlimit_resource(limits[i].type);
                if (resource < 0) {
                        spec_fail(draft, "rlimit \"%.40s\": no such limit", limits[i].type);
                        continue;
                }
                uint64_t hard = limits[i].hard, soft = limits[i].soft;
                if (getrlimit((__rlimit_resource_t)resource, &own) == 0 &&
                    own.rlim_max != RLIM_INFINITY && hard > own.rlim_max)
                        hard = own.rlim_max;
                json_t *limit = json_object();
                spec_put(limit, "type", json_string(limits[i].type));
                spec_put(limit, "hard", spec_unsigned(hard));
                spec_put(limit, "soft", spec_unsigned(soft < hard ? soft : hard));
                json_array_append_new(array, limit);
        }
        return array;
}

/* Without CAP_SYS_RESOURCE the kernel lets nobody go below the value that he has, and creating the
 * container would fail. */
static int allowed_oom_score_adj(int wanted)
{
        static const char path[] = "/proc/self/oom_score_adj";
        if (spec_capability_own(CAP_SYS_RESOURCE))
                return wanted;
        AUTO_BUFFER struct buffer own = BUFFER_INIT;
        if (file_read(path, 32, &own, NULL) < 0)
                return wanted;
        int lowest = atoi(own.data);
        return wanted < lowest ? lowest : wanted;
}

static json_t *capabilities(struct spec_draft *draft, const struct spec_capabilities *sets)
{
        json_t *object = json_object();
        spec_put(object, "bounding", spec_texts(draft, sets->bounding, "capability"));
        spec_put(object, "effective", spec_texts(draft, sets->effective, "capability"));
        spec_put(object, "permitted", spec_texts(draft, sets->permitted, "capability"));
        spec_put(object, "inheritable", spec_texts(draft, sets->inheritable, "capability"));
        spec_put(object, "ambient", spec_texts(draft, sets->ambient, "capability"));
        return object;
}

static json_t *user(const struct spec_options *options)
{
        json_t *object = json_object();
        spec_put(object, "uid", json_integer(options->uid));
        spec_put(object, "gid", json_integer(options->gid));
        if (options->has_umask)
                spec_put(object, "umask", json_integer(options->umask));
        if (options->additional_gid_count) {
                json_t *gids = json_array();
                for (size_t i = 0; i < options->additional_gid_count; i++)
                        json_array_append_new(gids, json_integer(options->additional_gids[i]));
                spec_put(object, "additionalGids", gids);
        }
        return object;
}

json_t *spec_process(struct spec_draft *draft, const struct spec_options *options)
{
        json_t *object = json_object();
        json_t *args = json_array();
        if (!options->args || !options->args[0])
                spec_fail(draft, "no command: neither the container nor its image names one");
        for (char *const *arg = options->args; arg && *arg; arg++)
                json_array_append_new(args, spec_text(draft, *arg, "command", NULL));
        spec_put(object, "terminal", json_boolean(options->terminal));
        spec_put(object, "user", user(options));
        spec_put(object, "args", args);
        spec_put(object, "env", environment(draft, options->env));
        spec_put(object, "cwd",
                 spec_text(draft, options->cwd && options->cwd[0] ? options->cwd : "/",
                           "working folder", NULL));
        spec_put(object, "capabilities", capabilities(draft, &options->capabilities));
        if (options->rlimit_count)
                spec_put(object, "rlimits",
                         rlimits(draft, options->rlimits, options->rlimit_count));
        spec_put(object, "noNewPrivileges", json_boolean(options->no_new_privileges));
        spec_put_text(draft, object, "apparmorProfile", options->apparmor_profile);
        spec_put_text(draft, object, "selinuxLabel", options->selinux_label);
        if (options->exec_affinity && *options->exec_affinity) {
                json_t *affinity = json_object();
                spec_put_text(draft, affinity, "initial", options->exec_affinity);
                spec_put(object, "execCPUAffinity", affinity);
        }
        if (options->has_oom_score_adj)
                spec_put(object, "oomScoreAdj",
                         json_integer(allowed_oom_score_adj(options->oom_score_adj)));
        return object;
}
