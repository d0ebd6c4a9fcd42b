#include "oci/spec.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "oci/spec_private.h"

#define PLACE_MAX 160 /* bytes of an error's place that come from outside */

/*
 * The first error of a build stays in it; what is made after that is never used. So the code below
 * reads as the document does.
 */
struct build {
        struct error *err;
        int result;
};

static void fail(struct build *build, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
static void fail(struct build *build, const char *format, ...)
{
        if (build->result < 0)
                return;
        va_list arguments;
        va_start(arguments, format);
        build->result = error_vset(build->err, ERROR_INVALID_ARGUMENT, format, arguments);
        va_end(arguments);
}

/* A string; place and name say what holds it when it is not UTF-8. name may be null. */
static json_t *text(struct build *build, const char *value, const char *place, const char *name)
{
        json_t *string = json_string(value);
        if (!string)
                fail(build, name ? "%s \"%.*s\": not UTF-8" : "%s: not UTF-8", place, PLACE_MAX,
                     name);
        return string;
}

static void put(json_t *object, const char *key, json_t *value)
{
        json_object_set_new_nocheck(object, key, value);
}

static void put_text(struct build *build, json_t *object, const char *key, const char *value)
{
        if (value && value[0])
                put(object, key, text(build, value, key, NULL));
}

static void put_number(json_t *object, const char *key, int64_t value)
{
        if (value)
                put(object, key, json_integer(value));
}

/*
 * A limit that the kernel counts in 64 bits. jansson reads and writes signed numbers alone;
 * "unlimited" becomes the largest of them, which no resource reaches.
 */
static json_t *unsigned_number(uint64_t value)
{
        return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *texts(struct build *build, const char *const *values, const char *place)
{
        json_t *array = json_array();
        for (; values && *values; values++)
                json_array_append_new(array, text(build, *values, place, *values));
        return array;
}

static void put_pairs(struct build *build, json_t *object, const char *key,
                      const struct spec_pair *pairs, size_t count)
{
        if (count == 0)
                return;
        json_t *members = json_object();
        for (size_t i = 0; i < count; i++) {
                json_t *value =
                        text(build, pairs[i].value ? pairs[i].value : "", key, pairs[i].key);
                if (value && json_object_set_new(members, pairs[i].key, value) < 0)
                        fail(build, "%s: a name that is not UTF-8", key);
        }
        put(object, key, members);
}

static void put_id_maps(json_t *object, const char *key, const struct spec_id_map *maps,
                        size_t count)
{
        if (count == 0)
                return;
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++) {
                json_t *map = json_object();
                put(map, "containerID", json_integer(maps[i].container_id));
                put(map, "hostID", json_integer(maps[i].host_id));
                put(map, "size", json_integer(maps[i].length));
                json_array_append_new(array, map);
        }
        put(object, key, array);
}

/* ---- process ---- */

static json_t *environment(struct build *build, char *const *env)
{
        json_t *array = json_array();
        for (; env && *env; env++) {
                const char *equals = strchr(*env, '=');
                if (!equals || equals == *env)
                        continue;
                json_t *entry = json_string(*env);
                if (!entry)
                        fail(build,
                             "env \"%.*s\": its value is not UTF-8, which no OCI runtime can be "
                             "told",
                             equals - *env > PLACE_MAX ? PLACE_MAX : (int)(equals - *env), *env);
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
static json_t *rlimits(struct build *build, const struct spec_rlimit *limits, size_t count)
{
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++) {
                struct rlimit own;
                int resource = rlimit_resource(limits[i].type);
                if (resource < 0) {
                        fail(build, "rlimit \"%.40s\": no such limit", limits[i].type);
                        continue;
                }
                uint64_t hard = limits[i].hard, soft = limits[i].soft;
                if (getrlimit((__rlimit_resource_t)resource, &own) == 0 &&
                    own.rlim_max != RLIM_INFINITY && hard > own.rlim_max)
                        hard = own.rlim_max;
                json_t *limit = json_object();
                put(limit, "type", json_string(limits[i].type));
                put(limit, "hard", unsigned_number(hard));
                put(limit, "soft", unsigned_number(soft < hard ? soft : hard));
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

static json_t *capabilities(struct build *build, const struct spec_capabilities *sets)
{
        json_t *object = json_object();
        put(object, "bounding", texts(build, sets->bounding, "capability"));
        put(object, "effective", texts(build, sets->effective, "capability"));
        put(object, "permitted", texts(build, sets->permitted, "capability"));
        put(object, "inheritable", texts(build, sets->inheritable, "capability"));
        put(object, "ambient", texts(build, sets->ambient, "capability"));
        return object;
}

static json_t *user(const struct spec_options *options)
{
        json_t *object = json_object();
        put(object, "uid", json_integer(options->uid));
        put(object, "gid", json_integer(options->gid));
        if (options->has_umask)
                put(object, "umask", json_integer(options->umask));
        if (options->additional_gid_count) {
                json_t *gids = json_array();
                for (size_t i = 0; i < options->additional_gid_count; i++)
                        json_array_append_new(gids, json_integer(options->additional_gids[i]));
                put(object, "additionalGids", gids);
        }
        return object;
}

static json_t *process(struct build *build, const struct spec_options *options)
{
        json_t *object = json_object();
        json_t *args = json_array();
        if (!options->args || !options->args[0])
                fail(build, "no command: neither the container nor its image names one");
        for (char *const *arg = options->args; arg && *arg; arg++)
                json_array_append_new(args, text(build, *arg, "command", NULL));
        put(object, "terminal", json_boolean(options->terminal));
        put(object, "user", user(options));
        put(object, "args", args);
        put(object, "env", environment(build, options->env));
        put(object, "cwd",
            text(build, options->cwd && options->cwd[0] ? options->cwd : "/", "working folder",
                 NULL));
        put(object, "capabilities", capabilities(build, &options->capabilities));
        if (options->rlimit_count)
                put(object, "rlimits", rlimits(build, options->rlimits, options->rlimit_count));
        put(object, "noNewPrivileges", json_boolean(options->no_new_privileges));
        put_text(build, object, "apparmorProfile", options->apparmor_profile);
        put_text(build, object, "selinuxLabel", options->selinux_label);
        if (options->has_oom_score_adj)
                put(object, "oomScoreAdj",
                    json_integer(allowed_oom_score_adj(options->oom_score_adj)));
        return object;
}

/* ---- mounts ---- */

static size_t depth_of(const char *path)
{
        size_t depth = 0;
        while (*path) {
                path += strspn(path, "/");
                size_t length = strcspn(path, "/");
                if (length && !(length == 1 && path[0] == '.'))
                        depth++;
                path += length;
        }
        return depth;
}

struct ordered_mount {
        const struct spec_mount *mount;
        size_t depth;
};

static int by_depth(const void *a, const void *b)
{
        const struct ordered_mount *left = a, *right = b;
        if (left->depth != right->depth)
                return left->depth < right->depth ? -1 : 1;
        return left->mount < right->mount ? -1 : 1;
}

static json_t *mount_object(struct build *build, const struct spec_mount *mount)
{
        json_t *object = json_object();
        if (mount->destination[0] != '/')
                fail(build, "mount \"%.*s\": its path in the container is not absolute", PLACE_MAX,
                     mount->destination);
        put(object, "destination", text(build, mount->destination, "a mount's path", NULL));
        if (mount->type)
                put(object, "type", text(build, mount->type, "type of mount", mount->destination));
        if (mount->source)
                put(object, "source",
                    text(build, mount->source, "source of mount", mount->destination));
        if (mount->options)
                put(object, "options", texts(build, mount->options, "mount option"));
        put_id_maps(object, "uidMappings", mount->uid_maps, mount->uid_map_count);
        put_id_maps(object, "gidMappings", mount->gid_maps, mount->gid_map_count);
        return object;
}

static json_t *mounts(struct build *build, const struct spec_mount *list, size_t count)
{
        json_t *array = json_array();
        AUTO_FREE struct ordered_mount *ordered = xcalloc(count + 1, sizeof *ordered);
        for (size_t i = 0; i < count; i++)
                ordered[i] = (struct ordered_mount){&list[i], depth_of(list[i].destination)};
        qsort(ordered, count, sizeof *ordered, by_depth);
        for (size_t i = 0; i < count; i++)
                json_array_append_new(array, mount_object(build, ordered[i].mount));
        return array;
}

/* ---- linux ---- */

static json_t *namespaces(struct build *build, const struct spec_namespace *list, size_t count)
{
        static const char *const names[] = {
                [SPEC_NAMESPACE_MOUNT] = "mount",     [SPEC_NAMESPACE_PID] = "pid",
                [SPEC_NAMESPACE_NETWORK] = "network", [SPEC_NAMESPACE_IPC] = "ipc",
                [SPEC_NAMESPACE_UTS] = "uts",         [SPEC_NAMESPACE_USER] = "user",
                [SPEC_NAMESPACE_CGROUP] = "cgroup",
        };
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++) {
                json_t *object = json_object();
                put(object, "type", json_string(names[list[i].kind]));
                put_text(build, object, "path", list[i].path);
                json_array_append_new(array, object);
        }
        return array;
}

static json_t *device_rule(bool allow, char type, int64_t device_major, int64_t device_minor,
                           const char *access)
{
        json_t *rule = json_object();
        put(rule, "allow", json_boolean(allow));
        if (type != 'a') {
                char kind[2] = {type, '\0'};
                put(rule, "type", json_string(kind));
                if (device_major >= 0)
                        put(rule, "major", json_integer(device_major));
                if (device_minor >= 0)
                        put(rule, "minor", json_integer(device_minor));
        }
        put(rule, "access", json_string(access ? access : "rwm"));
        return rule;
}

/* The runtime itself adds the nodes that every container has (null, zero, full, random, urandom,
 * tty) and their rules. */
static json_t *device_rules(const struct spec_options *options)
{
        json_t *array = json_array();
        json_array_append_new(array, device_rule(options->all_devices, 'a', -1, -1, "rwm"));
        for (size_t i = 0; !options->all_devices && i < options->device_count; i++) {
                const struct spec_device *device = &options->devices[i];
                json_array_append_new(array, device_rule(true, device->type, device->device_major,
                                                         device->device_minor, device->access));
        }
        for (size_t i = 0; i < options->device_rule_count; i++) {
                const struct spec_device_rule *rule = &options->device_rules[i];
                json_array_append_new(array,
                                      device_rule(rule->allow, rule->type, rule->device_major,
                                                  rule->device_minor, rule->access));
        }
        return array;
}

static json_t *device_nodes(struct build *build, const struct spec_device *list, size_t count)
{
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++) {
                char type[2] = {list[i].type, '\0'};
                json_t *object = json_object();
                put(object, "path", text(build, list[i].path, "a device's path", NULL));
                put(object, "type", json_string(type));
                put(object, "major", json_integer(list[i].device_major));
                put(object, "minor", json_integer(list[i].device_minor));
                put(object, "fileMode", json_integer(list[i].mode));
                put(object, "uid", json_integer(list[i].uid));
                put(object, "gid", json_integer(list[i].gid));
                json_array_append_new(array, object);
        }
        return array;
}

static void put_unless_empty(json_t *object, const char *key, json_t *members)
{
        if (json_object_size(members))
                put(object, key, members);
        else
                json_decref(members);
}

static json_t *resources(struct build *build, const struct spec_resources *limits)
{
        json_t *object = json_object();
        json_t *cpu = json_object();
        json_t *memory = json_object();
        if (limits->cpu_shares)
                put(cpu, "shares", unsigned_number(limits->cpu_shares));
        put_number(cpu, "quota", limits->cpu_quota);
        if (limits->cpu_period)
                put(cpu, "period", unsigned_number(limits->cpu_period));
        put_text(build, cpu, "cpus", limits->cpuset_cpus);
        put_text(build, cpu, "mems", limits->cpuset_mems);
        put_number(memory, "limit", limits->memory_limit);
        put_number(memory, "swap", limits->memory_swap);
        put_unless_empty(object, "cpu", cpu);
        put_unless_empty(object, "memory", memory);
        if (limits->pids_limit) {
                json_t *pids = json_object();
                put_number(pids, "limit", limits->pids_limit);
                put(object, "pids", pids);
        }
        if (limits->hugepage_count) {
                json_t *array = json_array();
                for (size_t i = 0; i < limits->hugepage_count; i++) {
                        json_t *limit = json_object();
                        put_text(build, limit, "pageSize", limits->hugepages[i].size);
                        put(limit, "limit", unsigned_number(limits->hugepages[i].limit));
                        json_array_append_new(array, limit);
                }
                put(object, "hugepageLimits", array);
        }
        put_pairs(build, object, "unified", limits->unified, limits->unified_count);
        return object;
}

static json_t *linux_part(struct build *build, const struct spec_options *options)
{
        json_t *object = json_object();
        put(object, "namespaces", namespaces(build, options->namespaces, options->namespace_count));
        put_id_maps(object, "uidMappings", options->uid_maps, options->uid_map_count);
        put_id_maps(object, "gidMappings", options->gid_maps, options->gid_map_count);
        put_pairs(build, object, "sysctl", options->sysctls, options->sysctl_count);
        put_text(build, object, "cgroupsPath", options->cgroup_path);
        json_t *limits = resources(build, &options->resources);
        put(limits, "devices", device_rules(options));
        put(object, "resources", limits);
        if (options->device_count)
                put(object, "devices",
                    device_nodes(build, options->devices, options->device_count));
        if (options->seccomp)
                put(object, "seccomp", json_incref((json_t *)options->seccomp));
        put_text(build, object, "rootfsPropagation", options->root_propagation);
        if (options->masked_paths)
                put(object, "maskedPaths", texts(build, options->masked_paths, "masked path"));
        if (options->readonly_paths)
                put(object, "readonlyPaths",
                    texts(build, options->readonly_paths, "read-only path"));
        put_text(build, object, "mountLabel", options->mount_label);
        return object;
}

/*
 * With systemd, crun puts a container into a cgroup "container" below the scope unless told
 * otherwise; then limits, statistics and what we kill would be one level off from runc's.
 */
#define CRUN_SUBGROUP "run.oci.systemd.subgroup"

static void put_annotations(struct build *build, json_t *object, const struct spec_options *options)
{
        put_pairs(build, object, "annotations", options->annotations, options->annotation_count);
        if (!options->cgroup_path || !strchr(options->cgroup_path, ':'))
                return;
        json_t *annotations = json_object_get(object, "annotations");
        if (!annotations) {
                annotations = json_object();
                put(object, "annotations", annotations);
        }
        if (!json_object_get(annotations, CRUN_SUBGROUP))
                put(annotations, CRUN_SUBGROUP, json_string(""));
}

/* ---- the whole ---- */

int spec_build(const struct spec_options *options, char **result, struct error *err)
{
        struct build build = {.err = err};
        AUTO_JSON json_t *spec = json_object();
        json_t *root = json_object();
        put(spec, "ociVersion", json_string(SPEC_VERSION));
        put(spec, "process", process(&build, options));
        put_text(&build, root, "path", options->root);
        put(root, "readonly", json_boolean(options->root_readonly));
        put(spec, "root", root);
        put_text(&build, spec, "hostname", options->hostname);
        put(spec, "mounts", mounts(&build, options->mounts, options->mount_count));
        put_annotations(&build, spec, options);
        put(spec, "linux", linux_part(&build, options));
        if (build.result < 0)
                return build.result;
        *result = json_text(spec);
        return 0;
}

int spec_write(const struct spec_options *options, const char *bundle, struct error *err)
{
        AUTO_FREE char *contents = NULL;
        int result = spec_build(options, &contents, err);
        if (result < 0)
                return result;
        AUTO_FREE char *path = xprintf("%s/config.json", bundle);
        return file_replace_volatile(path, contents, strlen(contents), 0600, err);
}

int spec_resources_build(const struct spec_resources *limits, char **result, struct error *err)
{
        struct build build = {.err = err};
        AUTO_JSON json_t *object = resources(&build, limits);
        if (build.result < 0)
                return build.result;
        *result = json_text(object);
        return 0;
}
