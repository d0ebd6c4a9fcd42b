/* The devices of a container's specification: the node's, the pod's, the host's, and its own. */
#include "cri/container_spec.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cri/annotation.h"
#include "oci/device.h"

#define ANNOTATION "devices.crio.io"

static bool is_listed(char *const *allowed, const char *path)
{
        for (; allowed && *allowed; allowed++)
                if (strcmp(*allowed, path) == 0)
                        return true;
        return false;
}

static int add_text(struct container_spec *draft, struct device_list *list, const char *text,
                    bool check)
{
        struct device_text device;
        int result = device_parse(draft->arena, text, &device, draft->err);
        if (result < 0)
                return result;
        if (check && !is_listed(node.config->runtime.allowed_devices, device.source))
                return error_set(draft->err, ERROR_PERMISSION_DENIED,
                                 "device %s: it is not in this node's runtime.allowed_devices",
                                 device.source);
        return device_list_add_path(list, device.source, device.destination, device.access, NULL,
                                    draft->err);
}

static int add_of_node(struct container_spec *draft, struct device_list *list)
{
        char *const *texts = node.config->runtime.additional_devices;
        int result = 0;
        for (size_t i = 0; texts && texts[i] && result == 0; i++)
                result = add_text(draft, list, texts[i], false);
        return result < 0 ? error_context(draft->err, "runtime.additional_devices") : 0;
}

static int add_of_annotation(struct container_spec *draft, struct device_list *list)
{
        const char *value = annotation_of_container(draft->container, ANNOTATION);
        if (!value)
                return 0;
        AUTO_FREE char *texts = xstrdup(value);
        char *rest = texts;
        int result = 0;
        for (char *text; result == 0 && (text = strsep(&rest, ","));)
                if (*text)
                        result = add_text(draft, list, text, true);
        return result < 0 ? error_context(draft->err, "annotation %s", ANNOTATION) : 0;
}

/* Whose the devices are that a container asks for: 0 is said by nobody who wants to share. */
static struct device_owner owner_of(const struct container_spec *draft)
{
        const Runtime__V1__LinuxContainerSecurityContext *security = draft->security;
        struct device_owner owner = {-1, -1};
        if (!node.config->runtime.device_ownership_from_security_context)
                return owner;
        if (security->run_as_user && security->run_as_user->value > 0)
                owner.uid = security->run_as_user->value;
        if (security->run_as_group && security->run_as_group->value > 0)
                owner.gid = security->run_as_group->value;
        return owner;
}

static int add_own(struct container_spec *draft, struct device_list *list)
{
        const Runtime__V1__ContainerConfig *config = draft->config;
        struct device_owner owner = owner_of(draft);
        for (size_t i = 0; i < config->n_devices; i++) {
                const Runtime__V1__Device *device = config->devices[i];
                int result = device_list_add_path(
                        list, device->host_path,
                        *device->container_path ? device->container_path : device->host_path,
                        *device->permissions ? device->permissions : "rwm", &owner, draft->err);
                if (result < 0)
                        return error_context(draft->err, "config.devices");
        }
        return 0;
}

int container_spec_devices(struct container_spec *draft)
{
        const struct config_handler *handler = annotation_handler(draft->pod);
        bool privileged = draft->security->privileged;
        bool host = privileged && !(handler && handler->privileged_without_host_devices);
        struct device_list list = {.arena = draft->arena};
        int result = add_of_node(draft, &list);
        if (result == 0)
                result = add_of_annotation(draft, &list);
        if (result == 0 && host)
                result = device_list_add_host(&list, draft->err);
        if (result == 0)
                result = add_own(draft, &list);
        if (result < 0)
                return result;
        draft->spec.devices = list.devices;
        draft->spec.device_count = list.count;
        draft->spec.all_devices =
                host ||
                (privileged && handler->privileged_without_host_devices_all_devices_allowed);
        return 0;
}
