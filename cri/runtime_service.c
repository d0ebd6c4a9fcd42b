#include "api/cri/runtime_v1.pb-c.h"
#include "cri/container.h"
#include "cri/node_status.h"
#include "cri/pod.h"
#include "cri/services.h"

/* What the kubelet compares with the API that it speaks. */
#define RUNTIME_API_VERSION "v1"

/* The kubelet's own version, which it has sent as 0.1.0 since the first CRI and expects back. */
#define KUBELET_API_VERSION "0.1.0"

static int handle_version(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        Runtime__V1__VersionResponse *version = response;

        (void)rpc;
        (void)request;
        (void)err;
        version->version = (char *)KUBELET_API_VERSION;
        version->runtime_name = (char *)"crisp";
        version->runtime_version = (char *)CRISP_VERSION;
        version->runtime_api_version = (char *)RUNTIME_API_VERSION;
        return 0;
}

static const struct rpc_method methods[] = {
        {.name = "Version", .handler = handle_version},
        {.name = "Status", .handler = node_status_handler},
        {.name = "RuntimeConfig", .handler = node_runtime_config_handler},
        {.name = "UpdateRuntimeConfig", .handler = node_update_runtime_config_handler},
        {.name = "RunPodSandbox", .handler = pod_run_handler, .interruptible = true},
        {.name = "StopPodSandbox", .handler = pod_stop_handler},
        {.name = "RemovePodSandbox", .handler = pod_remove_handler},
        {.name = "PodSandboxStatus", .handler = pod_status_handler},
        {.name = "ListPodSandbox", .handler = pod_list_handler},
        {.name = "CreateContainer", .handler = container_create_handler, .interruptible = true},
        {.name = "StartContainer", .handler = container_start_handler},
        {.name = "StopContainer", .handler = container_stop_handler, .interruptible = true},
        {.name = "RemoveContainer", .handler = container_remove_handler},
        {.name = "ContainerStatus", .handler = container_status_handler},
        {.name = "ListContainers", .handler = container_list_handler},
        {.name = "ExecSync", .handler = container_exec_sync_handler, .interruptible = true},
        {.name = "Exec", .handler = container_exec_handler},
        {.name = "PortForward", .handler = pod_port_forward_handler},
        {.name = "ReopenContainerLog", .handler = container_reopen_log_handler},
};

const struct rpc_service runtime_service = {
        .descriptor = &runtime__v1__runtime_service__descriptor,
        .methods = methods,
        .count = sizeof methods / sizeof *methods,
};
