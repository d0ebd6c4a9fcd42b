#include "cri/pod_sysctl.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cri/pod_users.h"
#include "oci/idmap.h"

#define PORT_START "net.ipv4.ip_unprivileged_port_start"
#define PING_RANGE "net.ipv4.ping_group_range"
#define OWN_COUNT  2

struct list {
        const struct pod *pod;
        struct namespace_sysctl *items;
        size_t count;
};

static bool is_set(const struct list *list, const char *name)
{
        for (size_t i = 0; i < list->count; i++)
                if (namespace_sysctl_is(list->items[i].name, name))
                        return true;
        return false;
}

/* Unless somebody before said otherwise, or its namespace is the host's. */
static void add_default(struct list *list, const char *name, const char *value, bool optional)
{
        if (is_set(list, name) || namespace_check_sysctl(name, pod_has_network(list->pod),
                                                         pod_has_ipc(list->pod), NULL) < 0)
                return;
        list->items[list->count++] =
                (struct namespace_sysctl){.name = name, .value = value, .optional = optional};
}

/* All groups; in a user namespace of its own a pod has not all of them, and the kernel refuses a
 * range that it has not. */
static const char *ping_range(const struct pod *pod, struct arena *arena)
{
        const struct pod_users *users = pod->users;
        for (size_t i = 0; users && i < users->gids.count; i++)
                if (users->gids.maps[i].container_id == 0)
                        return arena_printf(arena, "0 %u", users->gids.maps[i].length - 1);
        return "0 2147483647";
}

struct namespace_sysctl *pod_sysctls(const struct pod *pod, struct arena *arena, size_t *count)
{
        const Runtime__V1__LinuxPodSandboxConfig *config = pod_config(pod)->linux;
        const struct config *defaults = node.config;
        size_t asked = config ? config->n_sysctls : 0;
        size_t given = strv_length(defaults->runtime.default_sysctls);
        struct list list = {.pod = pod};
        list.items = arena_array(arena, asked + given + OWN_COUNT, sizeof *list.items);
        for (size_t i = 0; i < asked; i++)
                list.items[list.count++] = (struct namespace_sysctl){
                        .name = config->sysctls[i]->key, .value = config->sysctls[i]->value};
        for (size_t i = 0; i < given; i++) {
                const char *text = defaults->runtime.default_sysctls[i];
                size_t length = strcspn(text, "=");
                add_default(&list, arena_strndup(arena, text, length), text + length + 1, false);
        }
        if (defaults->runtime.enable_unprivileged_ports)
                add_default(&list, PORT_START, "0", true);
        if (defaults->runtime.enable_unprivileged_icmp)
                add_default(&list, PING_RANGE, ping_range(pod, arena), true);
        *count = list.count;
        return list.items;
}

int pod_sysctls_to_host(const struct pod *pod, struct arena *arena,
                        struct namespace_sysctl *sysctls, size_t count, struct error *err)
{
        const struct pod_users *users = pod->users;
        for (size_t i = 0; users && i < count; i++) {
                uint32_t low, high;
                /* What is no range the kernel refuses in its own words. */
                if (!namespace_sysctl_is(sysctls[i].name, PING_RANGE) ||
                    sscanf(sysctls[i].value, "%u %u", &low, &high) != 2)
                        continue;
                /* A range that is empty, as the kernel writes it, lets nobody. */
                if (low > high)
                        continue;
                if (!idmap_to_host(users->gids.maps, users->gids.count, low, &low) ||
                    !idmap_to_host(users->gids.maps, users->gids.count, high, &high))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "sysctl %s: \"%.40s\" has groups that the pod's user "
                                         "namespace has not",
                                         sysctls[i].name, sysctls[i].value);
                sysctls[i].value = arena_printf(arena, "%u %u", low, high);
        }
        return 0;
}
