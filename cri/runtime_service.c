#include "api/cri/runtime_v1.pb-c.h"
#include "cri/container.h"
#include "cri/events.h"
#include "cri/node_status.h"
#include "cri/pod.h"
#include "cri/pod_metrics.h"
#include "cri/services.h"
#include "cri/stats.h"

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
        {.name = "StreamPodSandboxes", .handler = pod_stream_handler, .streaming = true},
        {.name = "CreateContainer", .handler = container_create_handler, .interruptible = true},
        {.name = "StartContainer", .handler = container_start_handler},
        {.name = "StopContainer", .handler = container_stop_handler, .interruptible = true},
        {.name = "RemoveContainer", .handler = container_remove_handler},
        {.name = "ContainerStatus", .handler = container_status_handler},
        {.name = "ListContainers", .handler = container_list_handler},
        {.name = "StreamContainers", .handler = container_stream_handler, .streaming = true},
        {.name = "GetContainerEvents",
         .handler = events_stream_handler,
         .interruptible = true,
         .streaming = true},
        {.name = "ExecSync", .handler = container_exec_sync_handler, .interruptible = true},
        {.name = "UpdateContainerResources", .handler = container_update_handler},
        {.name = "UpdatePodSandboxResources", .handler = pod_update_handler},
        {.name = "Exec", .handler = container_exec_handler},
        {.name = "Attach", .handler = container_attach_handler},
        {.name = "PortForward", .handler = pod_port_forward_handler},
        {.name = "ReopenContainerLog", .handler = container_reopen_log_handler},
        {.name = "ContainerStats", .handler = stats_container_handler},
        {.name = "ListContainerStats", .handler = stats_container_list_handler},
        {.name = "StreamContainerStats",
         .handler = stats_container_stream_handler,
         .streaming = true},
        {.name = "PodSandboxStats", .handler = stats_pod_handler},
        {.name = "ListPodSandboxStats", .handler = stats_pod_list_handler},
        {.name = "StreamPodSandboxStats", .handler = stats_pod_stream_handler, .streaming = true},
        {.name = "ListMetricDescriptors", .handler = pod_metrics_descriptors_handler},
        {.name = "ListPodSandboxMetrics", .handler = pod_metrics_list_handler},
        {.name = "StreamPodSandboxMetrics",
         .handler = pod_metrics_stream_handler,
         .streaming = true},
};

const struct rpc_service runtime_service = {
        .descriptor = &runtime__v1__runtime_service__descriptor,
        .methods = methods,
        .count = sizeof methods / sizeof *methods,
};
