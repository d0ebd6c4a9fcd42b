#include "cri/services.h"

#include "api/cri/runtime_v1.pb-c.h"

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
};

const struct rpc_service runtime_service = {
        .descriptor = &runtime__v1__runtime_service__descriptor,
        .methods = methods,
        .count = sizeof methods / sizeof *methods,
};
