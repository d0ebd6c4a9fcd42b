/* PortForward: connections to ports inside a pod's network namespace. */
#include <stdlib.h>

#include "base/memory.h"
#include "base/task.h"
#include "cri/pod.h"
#include "cri/streaming.h"
#include "network/connect.h"

#define CONNECT_TIME (30 * NSEC_PER_SEC)

struct forward {
        struct pod *pod; /* counted */
        bool connected;  /* once; it is one of the pod's sessions */
};

static int require_ready(struct pod *pod, struct error *err)
{
        pod_check(pod);
        if (pod->phase == POD_READY)
                return 0;
        return error_set(err, ERROR_FAILED_PRECONDITION, "pod %s is not ready", pod->id);
}

static int connect_forward(void *forward_, uint16_t port, int *fd, struct error *err)
{
        struct forward *forward = forward_;
        struct pod *pod = forward->pod;
        int result = require_ready(pod, err);
        if (result < 0)
                return result;
        if (!forward->connected)
                pod->sessions++;
        forward->connected = true;
        AUTO_FREE char *path = pod_has_network(pod) ? pod_path(pod, "ns/net") : NULL;
        return connect_loopback(path, port, clock_after(CONNECT_TIME), fd, err);
}

static void close_forward(void *forward_)
{
        struct forward *forward = forward_;
        if (forward->connected)
                forward->pod->sessions--;
        pod_unref(forward->pod);
        free(forward);
}

static const struct stream_backend backend = {
        .connect = connect_forward,
        .close = close_forward,
};

int pod_port_forward_handler(struct rpc *rpc, const void *request_, void *response_,
                             struct error *err)
{
        const Runtime__V1__PortForwardRequest *request = request_;
        Runtime__V1__PortForwardResponse *response = response_;
        AUTO_POD struct pod *pod = NULL;
        int result = pod_find(request->pod_sandbox_id, &pod, err);
        if (result == 0)
                result = require_ready(pod, err);
        if (result < 0)
                return error_context(err, "port-forward");
        struct forward *forward = xcalloc(1, sizeof *forward);
        forward->pod = pod_ref(pod);
        const struct stream_offer offer = {
                .kind = STREAM_PORT_FORWARD,
                .ports = request->port,
                .port_count = request->n_port,
                .name = pod->id,
                .backend = &backend,
                .session = forward,
        };
        result = streaming_offer(&offer, rpc, &response->url, err);
        if (result < 0)
                close_forward(forward);
        return result < 0 ? error_context(err, "port-forward") : 0;
}
