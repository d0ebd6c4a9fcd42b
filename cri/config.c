#include "cri/config.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/toml.h"
#include "cri/config_load.h"
#include "cri/config_machine.h"

#define SECONDS_MAX           3600 /* of any time that can be set: what takes longer hangs */
#define PARALLEL_MAX          64
#define LAYER_ENTRIES_MAX     1000000000
#define PULL_RATE_MAX         (1 << 30) /* bytes a second */
#define LAYER_MIB_MAX         (1 << 24)
#define WORKERS_MAX           1024
#define TASKS_MIN             16
#define TASKS_MAX             1000000
#define MESSAGE_MIN           (64 * 1024)
#define MESSAGE_MAX           (256 * 1024 * 1024)
#define PORT_MAX              65535
#define IDLE_MAX              604800 /* seconds: a week */
#define SESSIONS_MAX          65536
#define PLUGIN_DIRS_MAX       64
#define REGISTRY_DIRS_MAX     16
#define AUTH_FILES_MAX        32
#define PINNED_MAX            256
#define ADDITIONAL_STORES_MAX 16

/* ---- what can be set, in the order of printing ---- */

#define PLACE(field) offsetof(struct config, field)

const struct config_setting config_settings[] = {
        {"state_dir", CONFIG_PATH, PLACE(state_dir)},
        {"run_dir", CONFIG_PATH, PLACE(run_dir)},
        {"api.listen", CONFIG_SOCKET, PLACE(api.listen)},
        {"network.config_dir", CONFIG_PATH, PLACE(network.config_dir)},
        {"network.plugin_dirs", CONFIG_PATHS, PLACE(network.plugin_dirs), 1, PLUGIN_DIRS_MAX},
        {"network.timeout", CONFIG_NUMBER, PLACE(network.timeout), 1, SECONDS_MAX},
        {"images.dir", CONFIG_PATH, PLACE(images.dir)},
        {"images.additional_stores", CONFIG_PATHS, PLACE(images.additional_stores), 0,
         ADDITIONAL_STORES_MAX},
        {"images.registries_conf", CONFIG_PATH, PLACE(images.registries_conf)},
        {"images.hosts_dirs", CONFIG_PATHS, PLACE(images.hosts_dirs), 0, REGISTRY_DIRS_MAX},
        {"images.certs_dirs", CONFIG_PATHS, PLACE(images.certs_dirs), 0, REGISTRY_DIRS_MAX},
        {"images.auth_files", CONFIG_PATHS, PLACE(images.auth_files), 0, AUTH_FILES_MAX},
        {"images.namespaced_auth_dir", CONFIG_PATH, PLACE(images.namespaced_auth_dir)},
        {"images.credential_helper_timeout", CONFIG_NUMBER, PLACE(images.credential_helper_timeout),
         1, SECONDS_MAX},
        {"images.signature_policy", CONFIG_PATH, PLACE(images.signature_policy)},
        {"images.signature_policy_dir", CONFIG_PATH, PLACE(images.signature_policy_dir)},
        {"images.registries_d", CONFIG_PATH, PLACE(images.registries_d)},
        {"images.verifier_dir", CONFIG_PATH_OR_NONE, PLACE(images.verifier_dir)},
        {"images.verifier_timeout", CONFIG_NUMBER, PLACE(images.verifier_timeout), 1, SECONDS_MAX},
        {"images.decryption_keys_dir", CONFIG_PATH, PLACE(images.decryption_keys_dir)},
        {"images.pinned", CONFIG_TEXTS, PLACE(images.pinned), 0, PINNED_MAX},
        {"images.max_parallel_pulls", CONFIG_NUMBER, PLACE(images.max_parallel_pulls), 1,
         PARALLEL_MAX},
        {"images.max_parallel_layers", CONFIG_NUMBER, PLACE(images.max_parallel_layers), 1,
         PARALLEL_MAX},
        {"images.pull_stall_timeout", CONFIG_NUMBER, PLACE(images.pull_stall_timeout), 1,
         SECONDS_MAX},
        {"images.min_pull_rate", CONFIG_NUMBER, PLACE(images.min_pull_rate), 1, PULL_RATE_MAX},
        {"images.disk_reserve_mib", CONFIG_NUMBER, PLACE(images.disk_reserve_mib), 0,
         LAYER_MIB_MAX},
        {"images.max_layer_entries", CONFIG_NUMBER, PLACE(images.max_layer_entries), 1,
         LAYER_ENTRIES_MAX},
        {"images.max_layer_mib", CONFIG_NUMBER, PLACE(images.max_layer_mib), 1, LAYER_MIB_MAX},
        {"runtime.default_handler", CONFIG_HANDLER_NAME, PLACE(runtime.default_handler)},
        {"runtime.cgroup_driver", CONFIG_DRIVER, PLACE(runtime.cgroup_driver)},
        {"runtime.create_timeout", CONFIG_NUMBER, PLACE(runtime.create_timeout), 1, SECONDS_MAX},
        {"runtime.monitor_cgroup", CONFIG_CGROUP, PLACE(runtime.monitor_cgroup)},
        {"streaming.address", CONFIG_ADDRESS, PLACE(streaming.address)},
        {"streaming.port", CONFIG_NUMBER, PLACE(streaming.port), 0, PORT_MAX},
        {"streaming.idle_timeout", CONFIG_NUMBER, PLACE(streaming.idle_timeout), 1, IDLE_MAX},
        {"streaming.max_sessions", CONFIG_NUMBER, PLACE(streaming.max_sessions), 1, SESSIONS_MAX},
        {"nri.listen", CONFIG_OFF, PLACE(nri.listen)},
        {"metrics.listen", CONFIG_OFF, PLACE(metrics.listen)},
        {"log.level", CONFIG_LEVEL, PLACE(log.level)},
        {"limits.max_workers", CONFIG_NUMBER, PLACE(limits.max_workers), 1, WORKERS_MAX},
        {"limits.max_message_bytes", CONFIG_NUMBER, PLACE(limits.max_message_bytes), MESSAGE_MIN,
         MESSAGE_MAX},
        {"limits.max_tasks", CONFIG_NUMBER, PLACE(limits.max_tasks), TASKS_MIN, TASKS_MAX},
};
const size_t config_setting_count = sizeof(config_settings) / sizeof(config_settings[0]);

/* Of runtime.handlers.NAME, whose name is not known before. */
const struct config_setting config_handler_settings[] = {
        {"kind", CONFIG_KIND, offsetof(struct config_handler, kind)},
        {"path", CONFIG_PATH, offsetof(struct config_handler, path)},
        {"root", CONFIG_PATH, offsetof(struct config_handler, root)},
};
const size_t config_handler_setting_count =
        sizeof(config_handler_settings) / sizeof(config_handler_settings[0]);

static const char *const driver_names[] = {
        [CONFIG_CGROUP_SYSTEMD] = "systemd",
        [CONFIG_CGROUP_CGROUPFS] = "cgroupfs",
};
static const char *const kind_names[] = {
        [CONFIG_HANDLER_OCI] = "oci",
        [CONFIG_HANDLER_SHIM] = "shim",
};
static const char *const level_names[] = {
        [LOG_LEVEL_DEBUG] = "debug",
        [LOG_LEVEL_INFO] = "info",
        [LOG_LEVEL_WARNING] = "warning",
        [LOG_LEVEL_ERROR] = "error",
};

/* ---- defaults ---- */

void config_handler_add(struct config *config, const char *name)
{
        struct config_handler *handlers = config->runtime.handlers;
        size_t count = config->runtime.handler_count, at = 0;

        assert(count < CONFIG_HANDLERS_MAX);
        while (at < count && strcmp(handlers[at].name, name) < 0)
                at++;
        handlers = xrealloc(handlers, (count + 1) * sizeof(*handlers));
        memmove(&handlers[at + 1], &handlers[at], (count - at) * sizeof(*handlers));
        handlers[at] = (struct config_handler){.name = xstrdup(name)};
        config->runtime.handlers = handlers;
        config->runtime.handler_count = count + 1;
}

struct config *config_new(const struct config_machine *machine)
{
        static const char *const plugin_dirs[] = {
                "/opt/cni/bin",
                "/usr/lib/cni",
                "/usr/libexec/cni",
        };
        static const char *const auth_files[] = {
                "/run/containers/0/auth.json",
                "/root/.config/containers/auth.json",
                "/root/.docker/config.json",
        };
        struct config *config = xcalloc(1, sizeof(*config));

        config->state_dir = xstrdup("/var/lib/crisp");
        config->run_dir = xstrdup("/run/crisp");
        config->network.config_dir = xstrdup("/etc/cni/net.d");
        for (size_t i = 0; i < sizeof(plugin_dirs) / sizeof(plugin_dirs[0]); i++)
                strv_push(&config->network.plugin_dirs, plugin_dirs[i]);
        config->network.timeout = 60;
        config->images.registries_conf = xstrdup("/etc/containers/registries.conf");
        strv_push(&config->images.hosts_dirs, "/etc/containerd/certs.d");
        strv_push(&config->images.certs_dirs, "/etc/containers/certs.d");
        strv_push(&config->images.certs_dirs, "/etc/docker/certs.d");
        for (size_t i = 0; i < sizeof(auth_files) / sizeof(auth_files[0]); i++)
                strv_push(&config->images.auth_files, auth_files[i]);
        config->images.namespaced_auth_dir = xstrdup("/etc/crisp/auth");
        config->images.credential_helper_timeout = 30;
        config->images.signature_policy = xstrdup("/etc/containers/policy.json");
        config->images.signature_policy_dir = xstrdup("/etc/crisp/policies");
        config->images.registries_d = xstrdup("/etc/containers/registries.d");
        config->images.verifier_dir = xstrdup("");
        config->images.verifier_timeout = 10;
        config->images.decryption_keys_dir = xstrdup("/etc/crisp/keys");
        config->images.max_parallel_pulls = 4;
        config->images.max_parallel_layers = 3;
        config->images.pull_stall_timeout = 60;
        config->images.min_pull_rate = 1024;
        config->images.disk_reserve_mib = 512;
        config->images.max_layer_entries = 2000000;
        config->images.max_layer_mib = 65536;
        config->runtime.cgroup_driver =
                machine->systemd ? CONFIG_CGROUP_SYSTEMD : CONFIG_CGROUP_CGROUPFS;
        config->runtime.create_timeout = 120;
        config->runtime.monitor_cgroup = xstrdup("/crisp-monitors");
        config->streaming.address = xstrdup("127.0.0.1");
        config->streaming.idle_timeout = 4 * 3600;
        config->streaming.max_sessions = 1024;
        config->nri.listen = xstrdup("");
        config->metrics.listen = xstrdup("");
        config->log.level = LOG_LEVEL_INFO;
        config->limits.max_workers = 64;
        config->limits.max_message_bytes = 16 * 1024 * 1024;
        config->limits.max_tasks = 10000;
        if (machine->crun)
                config_handler_add(config, "crun");
        if (machine->runc)
                config_handler_add(config, "runc");
        return config;
}

static const char *installed_path(const struct config_machine *machine, const char *name)
{
        if (strcmp(name, "runc") == 0)
                return machine->runc;
        if (strcmp(name, "crun") == 0)
                return machine->crun;
        return NULL;
}

void config_complete(struct config *config, const struct config_machine *machine)
{
        /* Where nothing is installed, what fails names the program that is missing. */
        if (config->runtime.handler_count == 0) {
                config_handler_add(config, "runc");
                config->runtime.handlers[0].path = xstrdup("/usr/sbin/runc");
        }
        for (size_t i = 0; i < config->runtime.handler_count; i++) {
                struct config_handler *handler = &config->runtime.handlers[i];

                if (!handler->path)
                        handler->path = xstrdup(installed_path(machine, handler->name));
                if (!handler->root)
                        handler->root = xprintf("%s/runtimes/%s", config->run_dir, handler->name);
        }
        if (!config->api.listen)
                config->api.listen = xprintf("%s/crisp.sock", config->run_dir);
        if (!config->images.dir)
                config->images.dir = xprintf("%s/images", config->state_dir);
        if (!config->runtime.default_handler) {
                const char *best = config_machine_handler(machine);

                if (!config_handler_find(config, best))
                        best = config->runtime.handlers[0].name;
                config->runtime.default_handler = xstrdup(best);
        }
}

void config_free(struct config *config)
{
        if (!config)
                return;
        for (size_t i = 0; i < config->runtime.handler_count; i++) {
                struct config_handler *handler = &config->runtime.handlers[i];

                free(handler->name);
                free(handler->path);
                free(handler->root);
        }
        free(config->runtime.handlers);
        free(config->state_dir);
        free(config->run_dir);
        free(config->api.listen);
        free(config->network.config_dir);
        strv_free(config->network.plugin_dirs);
        free(config->images.dir);
        strv_free(config->images.additional_stores);
        free(config->images.registries_conf);
        strv_free(config->images.hosts_dirs);
        strv_free(config->images.certs_dirs);
        strv_free(config->images.auth_files);
        strv_free(config->images.pinned);
        free(config->images.namespaced_auth_dir);
        free(config->images.signature_policy);
        free(config->images.signature_policy_dir);
        free(config->images.registries_d);
        free(config->images.verifier_dir);
        free(config->images.decryption_keys_dir);
        free(config->runtime.default_handler);
        free(config->runtime.monitor_cgroup);
        free(config->streaming.address);
        free(config->nri.listen);
        free(config->metrics.listen);
        free(config);
}

const struct config_handler *config_handler_find(const struct config *config, const char *name)
{
        if (!*name)
                name = config->runtime.default_handler;
        assert(name);
        for (size_t i = 0; i < config->runtime.handler_count; i++)
                if (strcmp(config->runtime.handlers[i].name, name) == 0)
                        return &config->runtime.handlers[i];
        return NULL;
}

const char *config_cgroup_driver_name(enum config_cgroup_driver driver)
{
        return driver_names[driver];
}

/* ---- printing ---- */

static void add_value(struct buffer *out, const struct config_setting *setting, const void *object)
{
        const void *field = (const char *)object + setting->offset;

        switch (setting->type) {
        case CONFIG_NUMBER:
                buffer_printf(out, "%u", *(const unsigned *)field);
                return;
        case CONFIG_TEXTS:
        case CONFIG_PATHS: {
                char *const *paths = *(char *const *const *)field;

                buffer_add_text(out, "[");
                for (size_t i = 0; paths && paths[i]; i++) {
                        buffer_add_text(out, i > 0 ? ", " : "");
                        toml_add_string(out, paths[i]);
                }
                buffer_add_text(out, "]");
                return;
        }
        case CONFIG_DRIVER:
                toml_add_string(out, driver_names[*(const enum config_cgroup_driver *)field]);
                return;
        case CONFIG_KIND:
                toml_add_string(out, kind_names[*(const enum config_handler_kind *)field]);
                return;
        case CONFIG_LEVEL:
                toml_add_string(out, level_names[*(const enum log_level *)field]);
                return;
        case CONFIG_PATH:
        case CONFIG_PATH_OR_NONE:
        case CONFIG_SOCKET:
        case CONFIG_CGROUP:
        case CONFIG_ADDRESS:
        case CONFIG_HANDLER_NAME:
        case CONFIG_OFF:
                toml_add_string(out, *(const char *const *)field);
                return;
        }
}

static void add_handlers(struct buffer *out, const struct config *config)
{
        for (size_t i = 0; i < config->runtime.handler_count; i++) {
                const struct config_handler *handler = &config->runtime.handlers[i];

                /* a name is made of characters that need no quotes in a key */
                buffer_printf(out, "\n[runtime.handlers.%s]\n", handler->name);
                for (size_t k = 0; k < config_handler_setting_count; k++) {
                        buffer_printf(out, "%s = ", config_handler_settings[k].name);
                        add_value(out, &config_handler_settings[k], handler);
                        buffer_add_text(out, "\n");
                }
        }
}

void config_print(const struct config *config, FILE *out)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        size_t table_length = 0; /* of the name of the table that the last setting stood in */

        for (size_t i = 0; i < config_setting_count; i++) {
                const struct config_setting *setting = &config_settings[i];
                const char *dot = strchr(setting->name, '.');
                size_t length = dot ? (size_t)(dot - setting->name) : 0;

                if (length > 0 && (length != table_length ||
                                   memcmp(setting->name, setting[-1].name, length + 1) != 0)) {
                        if (strncmp(setting[-1].name, "runtime.", 8) == 0)
                                add_handlers(&text, config);
                        buffer_printf(&text, "\n[%.*s]\n", (int)length, setting->name);
                }
                table_length = length;
                buffer_printf(&text, "%s = ", dot ? dot + 1 : setting->name);
                add_value(&text, setting, config);
                buffer_add_text(&text, "\n");
        }
        fwrite(text.data, 1, text.length, out);
}
