#include "network/cni_config.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

static const char *const version_names[] = {
        [CNI_0_1_0] = "0.1.0", [CNI_0_2_0] = "0.2.0", [CNI_0_3_0] = "0.3.0", [CNI_0_3_1] = "0.3.1",
        [CNI_0_4_0] = "0.4.0", [CNI_1_0_0] = "1.0.0", [CNI_1_1_0] = "1.1.0",
};
#define VERSION_COUNT (sizeof version_names / sizeof *version_names)

int cni_version_parse(const char *text, enum cni_version *version)
{
        if (!text || !*text) {
                *version = CNI_0_1_0;
                return 0;
        }
        for (size_t i = 0; i < VERSION_COUNT; i++)
                if (strcmp(text, version_names[i]) == 0) {
                        *version = (enum cni_version)i;
                        return 0;
                }
        return -EINVAL;
}

const char *cni_version_name(enum cni_version version)
{
        return version_names[version];
}

/* ---- one network ---- */

static bool is_name_byte(char byte, bool first)
{
        return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
               (byte >= '0' && byte <= '9') || (!first && strchr("_.-", byte));
}

/* The specification's alphabet for network names; plugins and caches make file names of them. */
static int check_name(const char *name, const char *place, struct error *err)
{
        size_t length = strlen(name);
        bool right = length > 0 && length <= CNI_CONFIG_NAME_MAX;
        for (size_t i = 0; right && i < length; i++)
                right = is_name_byte(name[i], i == 0);
        if (right)
                return 0;
        return error_set(
                err, ERROR_INVALID_ARGUMENT,
                "%s: name \"%.128s\": must be 1 to %d letters, digits, _ . and -, starting "
                "with a letter or digit",
                place, name, CNI_CONFIG_NAME_MAX);
}

static int check_type(const char *type, const char *place, struct error *err)
{
        size_t length = strlen(type);
        bool right = length > 0 && length <= CNI_CONFIG_NAME_MAX && strcmp(type, ".") != 0 &&
                     strcmp(type, "..") != 0;
        for (size_t i = 0; right && i < length; i++)
                right = type[i] > ' ' && type[i] < 0x7f && type[i] != '/';
        if (right)
                return 0;
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "%s: type \"%.128s\" is no name of a program in a plugin folder", place,
                         type);
}

/* The libraries in use take true and "true" alike. */
static int get_flag(const json_t *object, const char *key, const char *place, bool *flag,
                    struct error *err)
{
        const json_t *value = json_object_get(object, key);
        if (!json_is_string(value))
                return json_get_bool(object, key, place, flag, err);
        const char *text = json_string_value(value);
        if (strcasecmp(text, "true") != 0 && strcasecmp(text, "false") != 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: expected true or false",
                                 place, key);
        *flag = strcasecmp(text, "true") == 0;
        return 0;
}

/* The newest that we speak of cniVersion and cniVersions. */
static int get_version(const json_t *object, const char *place, enum cni_version *version,
                       struct error *err)
{
        const char *text = NULL;
        json_t *list = NULL;
        int result = json_get_string(object, "cniVersion", place, &text, err);
        if (result == 0)
                result = json_get_array(object, "cniVersions", place, &list, err);
        if (result < 0)
                return result;
        enum cni_version newest = CNI_0_1_0, each;
        bool found = (!list || (text && *text)) && cni_version_parse(text, &newest) == 0;
        size_t index;
        json_t *entry;
        json_array_foreach (list, index, entry) {
                if (!json_is_string(entry))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s: cniVersions: expected strings", place);
                if (cni_version_parse(json_string_value(entry), &each) == 0 &&
                    (!found || each > newest)) {
                        newest = each;
                        found = true;
                }
        }
        if (!found)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: cniVersion \"%.32s\" is not one of those that crisp speaks, "
                                 "0.1.0 to %s",
                                 place, text ? text : "", version_names[VERSION_COUNT - 1]);
        *version = newest;
        return 0;
}

static int check_capabilities(const json_t *plugin, const char *place, struct error *err)
{
        json_t *capabilities = NULL;
        int result = json_get_object(plugin, "capabilities", place, &capabilities, err);
        if (result < 0)
                return result;
        const char *key;
        json_t *value;
        json_object_foreach (capabilities, key, value) {
                if (!json_is_boolean(value))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s: capabilities: %.64s: expected true or false", place,
                                         key);
        }
        return 0;
}

static int parse_plugins(const json_t *list, const char *place, struct cni_network *network,
                         struct error *err)
{
        size_t count = json_array_size(list);
        if (count == 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: plugins: none", place);
        if (count > CNI_CONFIG_PLUGINS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: plugins: more than %d", place,
                                 CNI_CONFIG_PLUGINS_MAX);
        network->plugins = xcalloc(count, sizeof *network->plugins);
        for (size_t i = 0; i < count; i++) {
                const json_t *plugin = json_array_get(list, i);
                AUTO_FREE char *where = xprintf("%s: plugin %zu of %zu", place, i + 1, count);
                if (!json_is_object(plugin))
                        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected an object",
                                         where);
                const char *type = "";
                int result = json_get_string(plugin, "type", where, &type, err);
                if (result == 0)
                        result = check_type(type, where, err);
                if (result == 0)
                        result = check_capabilities(plugin, where, err);
                if (result < 0)
                        return result;
                network->plugins[network->plugin_count++] =
                        (struct cni_plugin){.type = type, .json = plugin};
        }
        return 0;
}

/* A configuration of one plugin as a chain of one; takes and gives a reference. */
static json_t *wrap_single(json_t *plugin)
{
        json_t *chain = json_object();
        json_t *name = json_object_get(plugin, "name");
        json_t *version = json_object_get(plugin, "cniVersion");
        if (version)
                json_object_set(chain, "cniVersion", version);
        if (name)
                json_object_set(chain, "name", name);
        json_object_set_new(chain, "plugins", json_pack("[o]", plugin));
        return chain;
}

int cni_network_parse(const char *bytes, size_t length, bool single, const char *place,
                      struct cni_network **network, struct error *err)
{
        AUTO_JSON json_t *json = NULL;
        int result = json_parse(bytes, length, place, &json, err);
        if (result < 0)
                return result;
        if (!json_is_object(json))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected an object", place);
        if (single && !json_object_get(json, "plugins"))
                json = wrap_single(json);

        AUTO_CNI_NETWORK struct cni_network *parsed = xcalloc(1, sizeof *parsed);
        parsed->references = 1;
        parsed->json = take_ptr(json);
        parsed->name = "";
        json_t *plugins = NULL;
        result = json_get_string(parsed->json, "name", place, &parsed->name, err);
        if (result == 0)
                result = check_name(parsed->name, place, err);
        if (result == 0)
                result = get_version(parsed->json, place, &parsed->version, err);
        if (result == 0)
                result = get_flag(parsed->json, "disableCheck", place, &parsed->disable_check, err);
        if (result == 0)
                result = get_flag(parsed->json, "disableGC", place, &parsed->disable_gc, err);
        if (result == 0)
                result = json_get_array(parsed->json, "plugins", place, &plugins, err);
        if (result == 0)
                result = parse_plugins(plugins, place, parsed, err);
        if (result < 0)
                return result;
        *network = take_ptr(parsed);
        return 0;
}

struct cni_network *cni_network_ref(struct cni_network *network)
{
        network->references++;
        return network;
}

void cni_network_unref(struct cni_network *network)
{
        if (!network || --network->references)
                return;
        free(network->file);
        free(network->plugins);
        json_decref(network->json);
        free(network);
}

bool cni_plugin_has_capability(const struct cni_plugin *plugin, const char *capability)
{
        const json_t *capabilities = json_object_get(plugin->json, "capabilities");
        return json_is_true(json_object_get(capabilities, capability));
}

bool cni_network_has_capability(const struct cni_network *network, const char *capability)
{
        for (size_t i = 0; i < network->plugin_count; i++)
                if (cni_plugin_has_capability(&network->plugins[i], capability))
                        return true;
        return false;
}

/* ---- the folder ---- */

static bool ends_with(const char *text, const char *ending)
{
        size_t length = strlen(text), size = strlen(ending);
        return length > size && strcmp(text + length - size, ending) == 0;
}

static int compare_names(const void *left, const void *right)
{
        return strcmp(*(char *const *)left, *(char *const *)right);
}

static void add_problem(struct cni_config *config, const char *file, const char *reason)
{
        config->problems =
                xrealloc(config->problems, (config->problem_count + 1) * sizeof *config->problems);
        config->problems[config->problem_count++] =
                (struct cni_problem){.file = xstrdup(file), .reason = xstrdup(reason)};
}

/* Puts a network where it belongs; takes the reference. */
static void add_network(struct cni_config *config, const struct cni_choice *choice,
                        struct cni_network *network)
{
        bool named = choice->name && *choice->name;
        if (!config->network && (!named || strcmp(network->name, choice->name) == 0)) {
                config->network = network;
                return;
        }
        config->others =
                xrealloc(config->others, (config->other_count + 1) * sizeof(struct cni_network *));
        config->others[config->other_count++] = network;
}

/* Whether more files need not be looked at. */
static bool is_enough(const struct cni_config *config, const struct cni_choice *choice)
{
        return config->network && config->other_count + 1 >= choice->most;
}

/* Without the default one the others are no network either. */
static void drop_surplus(struct cni_config *config, const struct cni_choice *choice)
{
        size_t most = config->network ? choice->most - 1 : 0;
        while (config->other_count > most)
                cni_network_unref(config->others[--config->other_count]);
}

static void load_file(const char *path, const struct cni_choice *choice, struct cni_config *config)
{
        struct error err = {0};
        struct stat status;
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        int result = 0;
        if (stat(path, &status) < 0)
                result = error_errno(&err, errno, "stat");
        else if (S_ISDIR(status.st_mode))
                return;
        else if (!S_ISREG(status.st_mode)) /* a FIFO would hold the worker up for good */
                result = error_set(&err, ERROR_INVALID_ARGUMENT, "not a regular file");
        if (result == 0)
                result = file_read(path, CNI_CONFIG_FILE_MAX, &contents, &err);
        struct cni_network *network = NULL;
        if (result == 0)
                cni_network_parse(contents.data, contents.length, !ends_with(path, ".conflist"),
                                  "CNI configuration", &network, &err);
        if (!network) {
                add_problem(config, path, err.message);
                return;
        }
        network->file = xstrdup(path);
        add_network(config, choice, network);
}

int cni_config_load(const char *directory, const struct cni_choice *wanted,
                    struct cni_config *config, struct error *err)
{
        AUTO_CNI_CONFIG struct cni_config loaded = {0};
        struct cni_choice choice = wanted ? *wanted : (struct cni_choice){.most = 1};
        if (choice.most == 0 || choice.most > CNI_CONFIG_NETWORKS_MAX)
                choice.most = CNI_CONFIG_NETWORKS_MAX;
        AUTO_DIR DIR *folder = opendir(directory);
        if (!folder && errno != ENOENT)
                return error_errno(err, errno, "read folder %s", directory);
        char *names[CNI_CONFIG_FILES_MAX];
        size_t count = 0;
        for (struct dirent *entry; folder && (entry = readdir(folder));) {
                if (!ends_with(entry->d_name, ".conflist") && !ends_with(entry->d_name, ".conf") &&
                    !ends_with(entry->d_name, ".json"))
                        continue;
                if (count == CNI_CONFIG_FILES_MAX) {
                        add_problem(&loaded, directory,
                                    "too many configuration files: some are not looked at");
                        break;
                }
                names[count++] = xstrdup(entry->d_name);
        }
        qsort(names, count, sizeof *names, compare_names);
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *path = xprintf("%s/%s", directory, names[i]);
                if (!is_enough(&loaded, &choice))
                        load_file(path, &choice, &loaded);
                free(names[i]);
        }
        drop_surplus(&loaded, &choice);
        *config = loaded;
        loaded = (struct cni_config){0};
        return 0;
}

void cni_config_fini(struct cni_config *config)
{
        cni_network_unref(config->network);
        for (size_t i = 0; i < config->other_count; i++)
                cni_network_unref(config->others[i]);
        free(config->others);
        for (size_t i = 0; i < config->problem_count; i++) {
                free(config->problems[i].file);
                free(config->problems[i].reason);
        }
        free(config->problems);
        *config = (struct cni_config){0};
}
