/* The node's runtime handlers: what is configured, and what their programs say of themselves. */
#include "cri/node_handlers.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/node.h"
#include "cri/pod_shim.h"
#include "cri/pod_users.h"

#define PROBE_DEADLINE (10 * NSEC_PER_SEC) /* for all that is asked of one program */
#define PROBE_PAUSE    (10 * NSEC_PER_SEC)
#define PROBE_PATIENCE                                                                             \
        (PROBE_DEADLINE + 2 * NSEC_PER_SEC) /* the killing of one that hangs included */

/* ---- probing ---- */

static struct {
        int64_t last; /* monotonic ns: when the last round began; 0: none yet */
        size_t asked; /* handlers that are being asked */
        bool heard;   /* the first round is over */
        struct event over;
        int64_t patience; /* monotonic ns: until when its end is waited for */
} probes;

static void probe_one(void *argument)
{
        struct runtime_handler *handler = argument;
        struct error err;
        /* One that does not work fails its own pods, in words; the others go on. */
        bool told = handler->problem;
        if (runtime_ready(handler, clock_after(PROBE_DEADLINE), &err) < 0 && !told)
                log_failure(&err, "a runtime handler cannot be used", "handler", handler->name,
                            NULL);
        if (--probes.asked)
                return;
        probes.heard = true;
        event_signal(&probes.over);
}

/* Side by side: one that hangs does not keep the others from being known. */
void node_look_at_handlers(void)
{
        if (probes.asked || (probes.last && clock_monotonic() - probes.last < PROBE_PAUSE))
                return;
        for (size_t i = 0; i < node.handler_count; i++) {
                if (runtime_is_known(&node.handlers[i]))
                        continue;
                probes.last = clock_monotonic();
                probes.asked++;
                task_start("probe a runtime handler", probe_one, &node.handlers[i]);
        }
}

void node_hear_handlers(void)
{
        while (probes.asked && !probes.heard)
                if (task_wait(&probes.over, probes.patience) < 0)
                        break;
        users_hear(probes.patience);
}

static void probe_users(void *argument)
{
        (void)argument;
        users_probe();
}

/* ---- the table ---- */

static bool wants_sandbox(const struct runtime_handler *handler, const struct config_handler *from)
{
        if (handler->kind != RUNTIME_KIND_SHIM || from->shim_without_sandbox)
                return false;
        return from->shim_sandbox_api || !runtime_is_shim_of_runc(handler);
}

void node_handlers_open(void)
{
        const struct config *config = node.config;
        node.handler_count = config->runtime.handler_count;
        node.handlers = xcalloc(node.handler_count, sizeof *node.handlers);
        for (size_t i = 0; i < node.handler_count; i++) {
                const struct config_handler *from = &config->runtime.handlers[i];
                struct runtime_handler *handler = &node.handlers[i];
                runtime_handler_init(handler, from->name, from->path, from->root,
                                     from->kind == CONFIG_HANDLER_OCI ? RUNTIME_KIND_OCI
                                                                      : RUNTIME_KIND_SHIM,
                                     node.cgroup_driver == CGROUP_DRIVER_SYSTEMD);
                handler->shim_runtime = xstrdup(from->shim_runtime);
                handler->shim_config = xstrdup(from->shim_config);
                handler->shim_options_type = xstrdup(from->shim_options_type);
                handler->sandbox_api = from->shim_sandbox_api;
                handler->sandbox = wants_sandbox(handler, from);
                handler->no_pivot = config->runtime.no_pivot;
                handler->hybrid = node.cgroups.mode == CGROUP_MODE_HYBRID;
        }
        pod_shim_open();
        probes.patience = clock_after(PROBE_PATIENCE);
        node_look_at_handlers();
        task_start("probe user namespaces", probe_users, NULL);
}

void node_handlers_close(void)
{
        for (size_t i = 0; i < node.handler_count; i++)
                runtime_handler_fini(&node.handlers[i]);
        free(node.handlers);
}

int node_handler_ready(const char *name, const struct runtime_handler **handler, struct error *err)
{
        const struct runtime_handler *found;
        int result = node_handler(name, &found, err);
        if (result < 0)
                return result;
        struct runtime_handler *own = &node.handlers[found - node.handlers];
        result = runtime_ready(own, clock_after(PROBE_DEADLINE), err);
        if (result == 0)
                *handler = own;
        return result;
}

int node_handler(const char *name, const struct runtime_handler **handler, struct error *err)
{
        const char *wanted = *name ? name : node.config->runtime.default_handler;
        for (size_t i = 0; i < node.handler_count; i++) {
                if (strcmp(node.handlers[i].name, wanted) == 0) {
                        *handler = &node.handlers[i];
                        return 0;
                }
        }
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "runtime_handler: \"%s\" is not configured: add "
                         "[runtime.handlers.%s] to crisp.toml, or correct the RuntimeClass",
                         wanted, wanted);
}
