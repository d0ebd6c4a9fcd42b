#include "cri/config_load.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/table.h"
#include "base/toml.h"
#include "cri/config_value.h"

#ifndef CRISP_SYSCONFDIR
#define CRISP_SYSCONFDIR "/etc"
#endif
#define DEFAULT_FILE CRISP_SYSCONFDIR "/crisp/crisp.toml"

#define CPU_PERIOD_LEAST 1000 /* us, the kernel's */
#define FILES_MAX        256  /* in FILE.d */

/* ---- tables ---- */

static int unknown_key(const struct loader *loader, const struct toml_node *node, const char *path)
{
        AUTO_FREE char *table = node->kind == TOML_TABLE ? config_nearest_table(path) : NULL;

        if (table)
                return fail(loader, node, "unknown table (did you mean %s?)", table);
        return fail(loader, node, "unknown key (did you mean %s?)",
                    config_nearest(config_settings, config_setting_count, path));
}

static const struct config_setting *find_setting(const struct config_setting *settings,
                                                 size_t count, const char *name)
{
        for (size_t i = 0; i < count; i++)
                if (strcmp(settings[i].name, name) == 0)
                        return &settings[i];
        return NULL;
}

static bool is_table_name(const char *path)
{
        size_t length = strlen(path);

        for (size_t i = 0; i < config_setting_count; i++)
                if (strncmp(config_settings[i].name, path, length) == 0 &&
                    config_settings[i].name[length] == '.')
                        return true;
        return false;
}

/* Keeps where a handler was named, for what turns out wrong when all files are read. */
static void note_place(const struct loader *loader, const char *name, const struct toml_node *node)
{
        free(table_put(loader->places, name, xprintf("%s:%u", loader->file, node->line)));
}

static int apply_handler(const struct loader *loader, const struct toml_node *table)
{
        struct config *config = loader->config;
        struct config_handler *handler;

        if (strlen(table->key) != table->key_length || !config_is_handler_name(table->key))
                return fail(
                        loader, table,
                        "a handler's name is 1 to %d of a-z, 0-9 and -, with no - at either end",
                        CONFIG_HANDLER_NAME_MAX);
        if (table->kind != TOML_TABLE)
                return config_wrong_kind(loader, table, "a table");
        if (!config_handler_find(config, table->key)) {
                if (config->runtime.handler_count == CONFIG_HANDLERS_MAX)
                        return fail(loader, table, "there are more than %d handlers",
                                    CONFIG_HANDLERS_MAX);
                config_handler_add(config, table->key);
        }
        handler = (struct config_handler *)config_handler_find(config, table->key);
        note_place(loader, table->key, table);
        for (const struct toml_node *node = table->first; node; node = node->next) {
                const struct config_setting *setting = find_setting(
                        config_handler_settings, config_handler_setting_count, node->key);
                int rc;

                if (!setting || strlen(node->key) != node->key_length)
                        return fail(loader, node, "unknown key (did you mean %s?)",
                                    config_nearest(config_handler_settings,
                                                   config_handler_setting_count, node->key));
                rc = config_apply_value(loader, node, setting, handler);
                if (rc < 0)
                        return rc;
        }
        return 0;
}

static int apply_handlers(const struct loader *loader, const struct toml_node *table)
{
        if (table->kind != TOML_TABLE)
                return config_wrong_kind(loader, table, "a table");
        for (const struct toml_node *node = table->first; node; node = node->next) {
                int rc = apply_handler(loader, node);

                if (rc < 0)
                        return rc;
        }
        return 0;
}

static int apply_settings(const struct loader *loader, const struct toml_node *node,
                          const struct config_setting *settings, size_t count, void *object)
{
        const struct config_setting *setting = find_setting(settings, count, node->key);

        if (!setting || strlen(node->key) != node->key_length)
                return fail(loader, node, "unknown key (did you mean %s?)",
                            config_nearest(settings, count, node->key));
        return config_apply_value(loader, node, setting, object);
}

static int apply_workload(const struct loader *loader, const struct toml_node *table)
{
        struct config *config = loader->config;
        AUTO_FREE char *place = xprintf("workload %s", table->key);
        int rc = 0;

        if (strlen(table->key) != table->key_length || !config_is_handler_name(table->key))
                return fail(loader, table, "a workload's name is made as a handler's is");
        if (table->kind != TOML_TABLE)
                return config_wrong_kind(loader, table, "a table");
        if (config->runtime.workload_count == CONFIG_WORKLOADS_MAX)
                return fail(loader, table, "there are more than %d workloads",
                            CONFIG_WORKLOADS_MAX - 1);
        struct config_workload *workload = config_workload_add(config, table->key);
        note_place(loader, place, table);
        for (const struct toml_node *node = table->first; node && rc == 0; node = node->next) {
                if (strcmp(node->key, "resources") != 0) {
                        rc = apply_settings(loader, node, config_workload_settings,
                                            config_workload_setting_count, workload);
                        continue;
                }
                if (node->kind != TOML_TABLE)
                        return config_wrong_kind(loader, node, "a table");
                for (const struct toml_node *item = node->first; item && rc == 0; item = item->next)
                        rc = apply_settings(loader, item, config_workload_resources,
                                            config_workload_resource_count, workload);
        }
        return rc;
}

static int apply_workloads(const struct loader *loader, const struct toml_node *table)
{
        int rc = 0;

        if (table->kind != TOML_TABLE)
                return config_wrong_kind(loader, table, "a table");
        for (const struct toml_node *node = table->first; node && rc == 0; node = node->next)
                rc = apply_workload(loader, node);
        return rc;
}

static int apply_table(const struct loader *loader, const struct toml_node *table);

static int apply_member(const struct loader *loader, const struct toml_node *node)
{
        AUTO_BUFFER struct buffer path = BUFFER_INIT;
        const struct config_setting *setting;

        /* a key that needs quotes comes out with them, and no setting's name has any */
        toml_add_path(&path, node);
        if (strcmp(path.data, "runtime.handlers") == 0)
                return apply_handlers(loader, node);
        if (strcmp(path.data, "runtime.workloads") == 0)
                return apply_workloads(loader, node);
        if (is_table_name(path.data)) {
                if (node->kind != TOML_TABLE)
                        return config_wrong_kind(loader, node, "a table");
                return apply_table(loader, node);
        }
        setting = find_setting(config_settings, config_setting_count, path.data);
        if (!setting)
                return unknown_key(loader, node, path.data);
        if (setting->offset == offsetof(struct config, runtime.default_handler))
                note_place(loader, "", node);
        return config_apply_value(loader, node, setting, loader->config);
}

static int apply_table(const struct loader *loader, const struct toml_node *table)
{
        for (const struct toml_node *node = table->first; node; node = node->next) {
                int rc = apply_member(loader, node);

                if (rc < 0)
                        return rc;
        }
        return 0;
}

/* ---- files ---- */

static int apply_file(struct loader *loader, const char *file)
{
        AUTO_TOML struct toml *document = NULL;
        int rc = toml_load(file, &document, loader->err);

        if (rc < 0)
                return rc;
        loader->file = file;
        return apply_table(loader, document->root);
}

static int is_drop_in(const struct dirent *entry)
{
        const char *name = entry->d_name;
        size_t length = strlen(name);

        return name[0] != '.' && length > 5 && strcmp(name + length - 5, ".toml") == 0;
}

static int compare_names(const struct dirent **one, const struct dirent **other)
{
        return strcmp((*one)->d_name, (*other)->d_name); /* whatever the locale is */
}

static int apply_folder(struct loader *loader, const char *folder)
{
        struct dirent **entries;
        int rc = 0, count = scandir(folder, &entries, is_drop_in, compare_names);

        if (count < 0 && errno == ENOENT)
                return 0;
        if (count < 0)
                return error_errno(loader->err, errno, "read folder %s", folder);
        if (count > FILES_MAX)
                rc = error_set(loader->err, ERROR_INVALID_ARGUMENT,
                               "%s: more than %d configuration files", folder, FILES_MAX);
        for (int i = 0; i < count; i++) {
                if (rc == 0) {
                        AUTO_FREE char *file = xprintf("%s/%s", folder, entries[i]->d_name);

                        rc = apply_file(loader, file);
                }
                free(entries[i]);
        }
        free(entries);
        return rc;
}

/* ---- the whole ---- */

static bool is_inside(const char *path, const char *folder)
{
        size_t length = strlen(folder);

        return strncmp(path, folder, length) == 0 && (path[length] == '/' || !path[length]);
}

static int check_workloads(const struct loader *loader)
{
        for (size_t i = 0; i < loader->config->runtime.workload_count; i++) {
                const struct config_workload *workload = &loader->config->runtime.workloads[i];
                AUTO_FREE char *place = xprintf("workload %s", workload->name);

                if (!*workload->activation_annotation)
                        return error_set(loader->err, ERROR_INVALID_ARGUMENT,
                                         "%s: runtime.workloads.%s: activation_annotation is "
                                         "missing",
                                         (const char *)table_get(loader->places, place),
                                         workload->name);
                if (workload->cpuperiod && workload->cpuperiod < CPU_PERIOD_LEAST)
                        return error_set(loader->err, ERROR_INVALID_ARGUMENT,
                                         "%s: runtime.workloads.%s.resources.cpuperiod: less than "
                                         "%d microseconds",
                                         (const char *)table_get(loader->places, place),
                                         workload->name, CPU_PERIOD_LEAST);
        }
        return 0;
}

static int check_handlers(const struct loader *loader)
{
        for (size_t i = 0; i < loader->config->runtime.handler_count; i++) {
                const struct config_handler *handler = &loader->config->runtime.handlers[i];

                if (!handler->path)
                        return error_set(loader->err, ERROR_INVALID_ARGUMENT,
                                         "%s: runtime.handlers.%s: path is missing",
                                         (const char *)table_get(loader->places, handler->name),
                                         handler->name);
                if (handler->kind == CONFIG_HANDLER_SHIM && *handler->exec_cpu_affinity)
                        return error_set(loader->err, ERROR_INVALID_ARGUMENT,
                                         "%s: runtime.handlers.%s: exec_cpu_affinity is not for "
                                         "shims, which start commands themselves",
                                         (const char *)table_get(loader->places, handler->name),
                                         handler->name);
                if (handler->shim_sandbox_api && handler->shim_without_sandbox)
                        return error_set(loader->err, ERROR_INVALID_ARGUMENT,
                                         "%s: runtime.handlers.%s: shim_sandbox_api and "
                                         "shim_without_sandbox cannot be together",
                                         (const char *)table_get(loader->places, handler->name),
                                         handler->name);
        }
        return 0;
}

static int check_whole(const struct loader *loader)
{
        const struct config *config = loader->config;
        int rc = check_workloads(loader);

        if (rc == 0)
                rc = check_handlers(loader);
        if (rc < 0)
                return rc;
        if (!config_handler_find(config, config->runtime.default_handler))
                return error_set(
                        loader->err, ERROR_INVALID_ARGUMENT,
                        "%s: runtime.default_handler: there is no "
                        "[runtime.handlers.%s] with a path, and no such program is installed",
                        (const char *)table_get(loader->places, ""),
                        config->runtime.default_handler);
        if (is_inside(config->state_dir, config->run_dir) ||
            is_inside(config->run_dir, config->state_dir))
                return error_set(loader->err, ERROR_INVALID_ARGUMENT,
                                 "state_dir (%s) and run_dir (%s) must lie outside each other: one "
                                 "survives a reboot, the other does not",
                                 config->state_dir, config->run_dir);
        if (strlen(config->api.listen) > CONFIG_SOCKET_PATH_MAX)
                return error_set(
                        loader->err, ERROR_INVALID_ARGUMENT,
                        "run_dir (%s) is too long for the sockets in it: %s has more than %d "
                        "bytes",
                        config->run_dir, config->api.listen, CONFIG_SOCKET_PATH_MAX);
        return 0;
}

static int load_all(struct loader *loader, const char *path, const struct config_machine *machine)
{
        const char *file = path ? path : DEFAULT_FILE;
        AUTO_FREE char *folder = xprintf("%s.d", file);
        struct stat info;
        int rc;

        if (path || stat(file, &info) == 0 || errno != ENOENT) {
                rc = apply_file(loader, file);
                if (rc < 0)
                        return rc;
        }
        rc = apply_folder(loader, folder);
        if (rc < 0)
                return rc;
        config_complete(loader->config, machine);
        return check_whole(loader);
}

int config_load_on(const struct config_machine *machine, const char *path, struct config **config,
                   struct error *err)
{
        AUTO_CONFIG struct config *made = config_new(machine);
        struct loader loader = {.config = made, .places = table_new(), .err = err};
        size_t cursor = 0;
        void *place;
        int rc = load_all(&loader, path, machine);

        while ((place = table_next(loader.places, &cursor, NULL)))
                free(place);
        table_free(loader.places);
        if (rc < 0)
                return rc;
        *config = take_ptr(made);
        return 0;
}

int config_load(const char *path, struct config **config, struct error *err)
{
        AUTO_CONFIG_MACHINE struct config_machine machine;

        config_machine_probe("", &machine);
        return config_load_on(&machine, path, config, err);
}
