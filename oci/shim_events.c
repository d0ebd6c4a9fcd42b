/* What shims tell by themselves: our ttrpc server, whose address they get in TTRPC_ADDRESS. */
#include <string.h>

#include "api/ttrpc/server.h"
#include "base/log.h"
#include "oci/shim_private.h"
#include "api/shim/events_v1.pb-c.h"
#include "api/shim/task_events.pb-c.h"

/*
 * Exits are the monitors' to tell, who ask for them and write them down; an event that was lost
 * would be lost for good. What only the shim knows is taken from here.
 */
static void take_event(const Google__Protobuf__Any *event)
{
        /* Newer ones write a URL. */
        const char *slash = strrchr(event->type_url, '/');
        const char *type = slash ? slash + 1 : event->type_url;
        if (strcmp(type, "containerd.events.TaskOOM") != 0)
                return;
        Containerd__Events__TaskOOM *oom =
                containerd__events__task_oom__unpack(NULL, event->value.len, event->value.data);
        if (!oom)
                return;
        if (shims.on_oom && table_get(shims.tasks, oom->container_id))
                shims.on_oom(oom->container_id);
        containerd__events__task_oom__free_unpacked(oom, NULL);
}

static int forward(void *argument, const ProtobufCMessage *message, struct ttrpc_reply *reply,
                   struct error *err)
{
        const Containerd__Services__Events__Ttrpc__V1__ForwardRequest *request =
                (const void *)message;
        (void)argument;
        (void)reply;
        if (!request->envelope)
                return error_set(err, ERROR_INVALID_ARGUMENT, "envelope: missing");
        log_debug("a shim's event", "topic", request->envelope->topic, NULL);
        if (request->envelope->event)
                take_event(request->envelope->event);
        return 0;
}

static const struct ttrpc_method methods[] = {
        {"containerd.services.events.ttrpc.v1.Events", "Forward",
         &containerd__services__events__ttrpc__v1__forward_request__descriptor, forward},
        {0},
};

int shim_events_open(struct error *err)
{
        struct ttrpc_server *server = ttrpc_server_new(methods, NULL);
        int result = ttrpc_server_listen(server, shims.events, err);
        if (result < 0) {
                ttrpc_server_free(server);
                return error_context(err, "events of shims");
        }
        shims.server = server;
        return 0;
}
