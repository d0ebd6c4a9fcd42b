/* What an OCI specification says of Linux: namespaces, devices, what is hidden. */
#include "oci/spec_private.h"

static json_t *namespaces(struct spec_draft *draft, const struct spec_namespace *list, size_t count)
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
                spec_put(object, "type", json_string(names[list[i].kind]));
                spec_put_text(draft, object, "path", list[i].path);
                json_array_append_new(array, object);
        }
        return array;
}

static json_t *device_rule(bool allow, char type, int64_t device_major, int64_t device_minor,
                           const char *access)
{
        json_t *rule = json_object();
        spec_put(rule, "allow", json_boolean(allow));
        if (type != 'a') {
                char kind[2] = {type, '\0'};
                spec_put(rule, "type", json_string(kind));
                if (device_major >= 0)
                        spec_put(rule, "major", json_integer(device_major));
                if (device_minor >= 0)
                        spec_put(rule, "minor", json_integer(device_minor));
        }
        spec_put(rule, "access", json_string(access ? access : "rwm"));
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
                if (device->type != 'c' && device->type != 'b')
                        continue;
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

static json_t *device_nodes(struct spec_draft *draft, const struct spec_device *list, size_t count)
{
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++) {
                char type[2] = {list[i].type, '\0'};
                json_t *object = json_object();
                spec_put(object, "path", spec_text(draft, list[i].path, "a device's path", NULL));
                spec_put(object, "type", json_string(type));
                spec_put(object, "major", json_integer(list[i].device_major));
                spec_put(object, "minor", json_integer(list[i].device_minor));
                spec_put(object, "fileMode", json_integer(list[i].mode));
                spec_put(object, "uid", json_integer(list[i].uid));
                spec_put(object, "gid", json_integer(list[i].gid));
                json_array_append_new(array, object);
        }
        return array;
}

static json_t *rdt(struct spec_draft *draft, const struct spec_rdt *from)
{
        json_t *object = json_object();
        spec_put_text(draft, object, "closID", from->clos_id);
        spec_put_text(draft, object, "l3CacheSchema", from->l3_cache_schema);
        spec_put_text(draft, object, "memBwSchema", from->mem_bw_schema);
        return object;
}

json_t *spec_linux(struct spec_draft *draft, const struct spec_options *options)
{
        json_t *object = json_object();
        spec_put(object, "namespaces",
                 namespaces(draft, options->namespaces, options->namespace_count));
        spec_put_id_maps(object, "uidMappings", options->uid_maps, options->uid_map_count);
        spec_put_id_maps(object, "gidMappings", options->gid_maps, options->gid_map_count);
        spec_put_pairs(draft, object, "sysctl", options->sysctls, options->sysctl_count);
        spec_put_text(draft, object, "cgroupsPath", options->cgroup_path);
        json_t *limits = spec_resources(draft, &options->resources);
        spec_put(limits, "devices", device_rules(options));
        spec_put(object, "resources", limits);
        if (options->rdt_class && *options->rdt_class) {
                json_t *rdt = json_object();
                spec_put_text(draft, rdt, "closID", options->rdt_class);
                spec_put(object, "intelRdt", rdt);
        }
        if (options->device_count)
                spec_put(object, "devices",
                         device_nodes(draft, options->devices, options->device_count));
        if (options->rdt)
                spec_put(object, "intelRdt", rdt(draft, options->rdt));
        if (options->seccomp)
                spec_put(object, "seccomp", json_incref((json_t *)options->seccomp));
        spec_put_text(draft, object, "rootfsPropagation", options->root_propagation);
        if (options->masked_paths)
                spec_put(object, "maskedPaths",
                         spec_texts(draft, options->masked_paths, "masked path"));
        if (options->readonly_paths)
                spec_put(object, "readonlyPaths",
                         spec_texts(draft, options->readonly_paths, "read-only path"));
        spec_put_text(draft, object, "mountLabel", options->mount_label);
        return object;
}
