/* Status, RuntimeConfig and UpdateRuntimeConfig: what the node says of itself. */
#include "cri/node_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "base/buffer.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/toml.h"
#include "cri/node.h"
#include "cri/pod_users.h"
#include "cri/status_text.h"

static Runtime__V1__RuntimeCondition *condition(struct arena *arena, const char *type, bool status,
                                                const char *reason, const char *message)
{
        Runtime__V1__RuntimeCondition *made = arena_alloc(arena, sizeof *made);
        runtime__v1__runtime_condition__init(made);
        made->type = (char *)type;
        made->status = status;
        if (!status) {
                made->reason = (char *)reason;
                made->message = arena_strdup(arena, message);
        }
        return made;
}

/* The runtime is ready while its default handler works: then a pod that names none will run. */
static Runtime__V1__RuntimeCondition *runtime_condition(struct arena *arena)
{
        const struct runtime_handler *handler;
        struct error err;
        bool ready = node_handler("", &handler, &err) == 0 && runtime_check(handler, &err) == 0;
        if (ready && handler->problem) {
                ready = false;
                snprintf(err.message, sizeof err.message, "%s", handler->problem);
        }
        return condition(arena, "RuntimeReady", ready, "DefaultHandlerNotUsable",
                         ready ? "" : err.message);
}

/* Whether all handlers can be used: one that cannot fails its own pods alone, so it does not make
 * the node unready, and is told here. */
static Runtime__V1__RuntimeCondition *handlers_condition(struct arena *arena)
{
        AUTO_BUFFER struct buffer problems = BUFFER_INIT;
        for (size_t i = 0; i < node.handler_count; i++) {
                const struct runtime_handler *handler = &node.handlers[i];
                struct error err;
                const char *problem =
                        runtime_check(handler, &err) < 0 ? err.message : handler->problem;
                if (problem)
                        buffer_printf(&problems, "%s%s", problems.length ? "; " : "", problem);
        }
        return condition(arena, "RuntimeHandlersReady", problems.length == 0, "HandlerNotUsable",
                         problems.length ? problems.data : "");
}

static Runtime__V1__RuntimeCondition *network_condition(struct arena *arena)
{
        char reason[NETWORK_REASON_MAX];
        bool ready;
        network_status(node.network, &ready, reason);
        return condition(arena, "NetworkReady", ready, "NetworkPluginNotReady", reason);
}

static Runtime__V1__RuntimeHandler *handler_entry(struct arena *arena, const char *name,
                                                  const struct runtime_handler *handler)
{
        Runtime__V1__RuntimeHandlerFeatures *features = arena_alloc(arena, sizeof *features);
        runtime__v1__runtime_handler_features__init(features);
        features->recursive_read_only_mounts = handler->recursive_read_only;
        features->user_namespaces = handler->user_namespaces && users_possible();
        Runtime__V1__RuntimeHandler *entry = arena_alloc(arena, sizeof *entry);
        runtime__v1__runtime_handler__init(entry);
        entry->name = (char *)name;
        entry->features = features;
        return entry;
}

static void add_handlers(struct arena *arena, Runtime__V1__StatusResponse *response)
{
        response->runtime_handlers =
                arena_array(arena, node.handler_count + 1, sizeof *response->runtime_handlers);
        const struct runtime_handler *handler;
        if (node_handler("", &handler, NULL) == 0)
                response->runtime_handlers[response->n_runtime_handlers++] =
                        handler_entry(arena, "", handler);
        for (size_t i = 0; i < node.handler_count; i++)
                response->runtime_handlers[response->n_runtime_handlers++] =
                        handler_entry(arena, node.handlers[i].name, &node.handlers[i]);
}

/* What `crisp config` prints is all of it, in TOML that reads back. */
static json_t *config_as_json(void)
{
        char *text = NULL;
        size_t length = 0;
        struct toml *document = NULL;
        FILE *out = open_memstream(&text, &length);
        if (!out)
                return NULL;
        config_print(node.config, out);
        fclose(out);
        int result = toml_parse(text, length, "configuration", &document, NULL);
        free(text);
        if (result < 0)
                return NULL;
        json_t *tree = json_incref(document->tree);
        toml_free(document);
        return tree;
}

static void add_entry(struct arena *arena, Runtime__V1__StatusResponse *response, const char *key,
                      const json_t *value)
{
        response->info[response->n_info++] = status_text_entry(
                arena, &runtime__v1__status_response__info_entry__descriptor, key, value);
}

static json_t *describe_handler(const struct runtime_handler *handler)
{
        json_t *commands = json_array();
        for (unsigned i = 0; i < RUNTIME_COMMANDS; i++)
                if (handler->commands[i])
                        json_array_append_new(commands, json_string(runtime_command_name(i)));
        return json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:s, s:o, s:b, s:b}", "kind",
                         handler->kind == RUNTIME_KIND_SHIM ? "shim" : "oci", "sandbox",
                         !handler->sandbox      ? "none"
                         : handler->sandbox_api ? "api"
                                                : "container",
                         "path", handler->path, "version", handler->version, "problem",
                         handler->problem, "ociVersion", runtime_spec_version(handler), "commands",
                         commands, "recursiveReadOnlyMounts", handler->recursive_read_only,
                         "idmappedMounts", handler->idmapped_mounts);
}

static void add_info(struct rpc *rpc, Runtime__V1__StatusResponse *response)
{
        static const char *const modes[] = {
                [CGROUP_MODE_V1] = "v1", [CGROUP_MODE_HYBRID] = "hybrid", [CGROUP_MODE_V2] = "v2"};
        AUTO_JSON json_t *info = json_object();
        response->info = arena_array(rpc->arena, 2, sizeof *response->info);
        AUTO_JSON json_t *handlers = json_object();
        for (size_t i = 0; i < node.handler_count; i++) {
                const struct runtime_handler *handler = &node.handlers[i];
                json_object_set_new(handlers, handler->name, describe_handler(handler));
        }
        json_object_set_new(info, "version", json_string(CRISP_VERSION));
        json_object_set_new(info, "cgroupMode", json_string(modes[node.cgroups.mode]));
        json_object_set_new(
                info, "cgroupDriver",
                json_string(config_cgroup_driver_name(node.config->runtime.cgroup_driver)));
        json_object_set_new(info, "stateDir", json_string(node.config->state_dir));
        json_object_set_new(info, "runDir", json_string(node.config->run_dir));
        json_object_set_new(info, "cniConfigDir", json_string(node.config->network.config_dir));
        json_object_set(info, "handlers", handlers);
        json_object_set_new(info, "pods", json_integer((json_int_t)table_size(node.pods)));
        json_object_set_new(info, "containers",
                            json_integer((json_int_t)table_size(node.containers)));
        add_entry(rpc->arena, response, "info", info);
        AUTO_JSON json_t *config = config_as_json();
        if (config)
                add_entry(rpc->arena, response, "config", config);
}

int node_status_handler(struct rpc *rpc, const void *request_, void *response_, struct error *err)
{
        const Runtime__V1__StatusRequest *request = request_;
        Runtime__V1__StatusResponse *response = response_;
        (void)err;
        Runtime__V1__RuntimeStatus *status = arena_alloc(rpc->arena, sizeof *status);
        runtime__v1__runtime_status__init(status);
        node_look_at_handlers();
        /* The kubelet admits pods by what is said here. */
        node_hear_handlers();
        status->conditions = arena_array(rpc->arena, 3, sizeof *status->conditions);
        status->conditions[status->n_conditions++] = runtime_condition(rpc->arena);
        status->conditions[status->n_conditions++] = network_condition(rpc->arena);
        status->conditions[status->n_conditions++] = handlers_condition(rpc->arena);
        response->status = status;
        response->features = arena_alloc(rpc->arena, sizeof *response->features);
        runtime__v1__runtime_features__init(response->features);
        response->features->supplemental_groups_policy = true;
        response->features->mount_options = true;
        response->features->user_namespaces_host_network = users_possible();
        add_handlers(rpc->arena, response);
        if (request->verbose)
                add_info(rpc, response);
        return 0;
}

int node_runtime_config_handler(struct rpc *rpc, const void *request, void *response_,
                                struct error *err)
{
        Runtime__V1__RuntimeConfigResponse *response = response_;
        (void)request;
        (void)err;
        response->linux = arena_alloc(rpc->arena, sizeof *response->linux);
        runtime__v1__linux_runtime_configuration__init(response->linux);
        response->linux->cgroup_driver = node.cgroup_driver == CGROUP_DRIVER_SYSTEMD
                                                 ? RUNTIME__V1__CGROUP_DRIVER__SYSTEMD
                                                 : RUNTIME__V1__CGROUP_DRIVER__CGROUPFS;
        return 0;
}

int node_update_runtime_config_handler(struct rpc *rpc, const void *request_, void *response,
                                       struct error *err)
{
        const Runtime__V1__UpdateRuntimeConfigRequest *request = request_;
        (void)rpc;
        (void)response;
        if (!request->runtime_config || !request->runtime_config->network_config)
                return 0;
        int result = network_set_pod_cidr(node.network,
                                          request->runtime_config->network_config->pod_cidr, err);
        if (result < 0)
                return error_context(err, "runtime_config.network_config.pod_cidr");
        const char *template_path = node.config->network.conf_template;
        return *template_path ? network_render(node.network, template_path, err) : 0;
}
