#include "cri/pod_sysctl.h"

#include <string.h>

#include "base/memory.h"

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

/* In a user namespace of its own a pod has not all of the groups that the range names. */
static bool has_all_groups(const struct pod *pod)
{
        const Runtime__V1__UserNamespace *users = pod_namespaces(pod)->userns_options;
        return !users || users->mode == RUNTIME__V1__NAMESPACE_MODE__NODE;
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
        if (defaults->runtime.enable_unprivileged_icmp && has_all_groups(pod))
                add_default(&list, PING_RANGE, "0 2147483647", true);
        *count = list.count;
        return list.items;
}
