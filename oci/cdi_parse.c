/* A CDI document as structures. */
#include <stdio.h>
#include <string.h>

#include "oci/cdi_private.h"
#include "oci/device.h"

#define PLACE_MAX 120 /* bytes of an error's place that come from the document */

/* Versions as numbers that compare as they do: 0.3.0 is 3, 1.1.0 is 101. */
static const struct {
        const char *text;
        int number;
} versions[] = {
        {"0.3.0", 3}, {"0.4.0", 4}, {"0.5.0", 5},   {"0.6.0", 6},
        {"0.7.0", 7}, {"0.8.0", 8}, {"1.0.0", 100}, {"1.1.0", 101},
};

/* The first error of a document stays; what is made after that is never used. So the code below
 * reads as the document does. */
struct parser {
        const char *path;
        struct arena *arena;
        struct error *err;
        int result;
        int version;
        const char *version_text;
};

static void wrong(struct parser *parser, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
static void wrong(struct parser *parser, const char *format, ...)
{
        if (parser->result < 0)
                return;
        va_list arguments;
        va_start(arguments, format);
        parser->result = error_vset(parser->err, ERROR_INVALID_ARGUMENT, format, arguments);
        va_end(arguments);
        error_context(parser->err, "%s", parser->path);
}

/* What came with a later version than the document's. */
static void needs(struct parser *parser, int version, const char *what)
{
        if (parser->version >= version)
                return;
        size_t i = 0;
        while (versions[i].number < version)
                i++;
        wrong(parser, "cdiVersion %s: %s needs %s", parser->version_text, what, versions[i].text);
}

/* ---- members ---- */

static void check_members(struct parser *parser, const json_t *object, const char *const *names,
                          const char *place)
{
        const char *key;
        json_t *value;
        if (!json_is_object(object)) {
                wrong(parser, "%s: expected an object", place);
                return;
        }
        json_object_foreach ((json_t *)object, key, value) {
                size_t i = 0;
                while (names[i] && strcmp(names[i], key) != 0)
                        i++;
                if (!names[i])
                        wrong(parser, "%s: \"%.*s\" is not known", place, PLACE_MAX, key);
        }
}

/* A text as other readers of the format see it: YAML's "name: 0" is a text where one is expected.
 */
static const char *to_text(struct parser *parser, const json_t *value, const char *place)
{
        if (json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value))
                return arena_strdup(parser->arena, json_string_value(value));
        if (json_is_integer(value))
                return arena_printf(parser->arena, "%lld", json_integer_value(value));
        if (json_is_boolean(value))
                return json_is_true(value) ? "true" : "false";
        wrong(parser, "%s: expected text", place);
        return "";
}

/* Never null; "" where it is missing. */
static const char *text(struct parser *parser, const json_t *object, const char *key)
{
        const json_t *value = json_object_get(object, key);
        return !value || json_is_null(value) ? "" : to_text(parser, value, key);
}

static const char *required(struct parser *parser, const json_t *object, const char *key,
                            const char *place)
{
        const char *value = text(parser, object, key);
        if (!*value)
                wrong(parser, "%s: %s is missing", place, key);
        return value;
}

/* "" when it is missing; else absolute and without "..". */
static const char *path_member(struct parser *parser, const json_t *object, const char *key,
                               const char *place)
{
        const char *path = text(parser, object, key);
        if (*path && *path != '/')
                wrong(parser, "%s: %s \"%.*s\" is not absolute", place, key, PLACE_MAX, path);
        for (const char *at = strstr(path, "/.."); at; at = strstr(at + 1, "/.."))
                if (!at[3] || at[3] == '/')
                        wrong(parser, "%s: %s \"%.*s\" contains ..", place, key, PLACE_MAX, path);
        return path;
}

/* least to most; fallback where it is missing. */
static int64_t number(struct parser *parser, const json_t *object, const char *key, int64_t least,
                      int64_t most, int64_t fallback)
{
        const json_t *value = json_object_get(object, key);
        if (!value || json_is_null(value))
                return fallback;
        if (!json_is_integer(value) || json_integer_value(value) < least ||
            json_integer_value(value) > most) {
                wrong(parser, "%s: expected a number from %lld to %lld", key, (long long)least,
                      (long long)most);
                return fallback;
        }
        return json_integer_value(value);
}

/* An array; null where it is missing. */
static const json_t *list(struct parser *parser, const json_t *object, const char *key)
{
        const json_t *value = json_object_get(object, key);
        if (!value || json_is_null(value))
                return NULL;
        if (!json_is_array(value)) {
                wrong(parser, "%s: expected an array", key);
                return NULL;
        }
        return value;
}

/* Null-terminated; null where it is missing or empty. */
static const char **texts(struct parser *parser, const json_t *object, const char *key,
                          size_t *count)
{
        const json_t *array = list(parser, object, key);
        size_t length = json_array_size(array);
        if (count)
                *count = length;
        if (!length)
                return NULL;
        const char **found = arena_array(parser->arena, length + 1, sizeof *found);
        for (size_t i = 0; i < length; i++)
                found[i] = to_text(parser, json_array_get(array, i), key);
        return found;
}

static const char **variables(struct parser *parser, const json_t *object, size_t *count)
{
        const char **found = texts(parser, object, "env", count);
        for (size_t i = 0; found && found[i]; i++) {
                const char *equals = strchr(found[i], '=');
                if (!equals || equals == found[i])
                        wrong(parser, "env: \"%.*s\" is not NAME=value", PLACE_MAX, found[i]);
        }
        return found;
}

/* ---- edits ---- */

static struct cdi_node parse_node(struct parser *parser, const json_t *object)
{
        static const char *const names[] = {"path",     "hostPath", "type", "major",       "minor",
                                            "fileMode", "uid",      "gid",  "permissions", NULL};
        static const char place[] = "deviceNodes";
        check_members(parser, object, names, place);
        struct cdi_node node = {.access = text(parser, object, "permissions")};
        required(parser, object, "path", place);
        node.path = path_member(parser, object, "path", place);
        node.host_path = path_member(parser, object, "hostPath", place);
        if (*node.host_path)
                needs(parser, 5, "a device node's hostPath");
        else
                node.host_path = node.path;
        const char *type = text(parser, object, "type");
        if (strlen(type) > 1 || (*type && !strchr("bcup", *type)))
                wrong(parser, "%s: type \"%.*s\" is none of b, c, u and p", place, PLACE_MAX, type);
        node.type = *type == 'u' ? 'c' : *type;
        node.device_major = number(parser, object, "major", 0, UINT32_MAX, 0);
        node.device_minor = number(parser, object, "minor", 0, UINT32_MAX, 0);
        int64_t mode = number(parser, object, "fileMode", 0, UINT32_MAX, -1);
        node.has_mode = mode >= 0;
        node.mode = node.has_mode ? (mode_t)mode & 07777 : 0;
        node.uid = number(parser, object, "uid", 0, UINT32_MAX, -1);
        node.gid = number(parser, object, "gid", 0, UINT32_MAX, -1);
        if (!*node.access)
                node.access = "rwm";
        else if (!device_is_access(node.access))
                wrong(parser, "%s: permissions \"%.*s\" are not of the letters r, w and m", place,
                      PLACE_MAX, node.access);
        return node;
}

static struct spec_hook parse_hook(struct parser *parser, const json_t *object)
{
        static const char *const names[] = {"hookName", "path", "args", "env", "timeout", NULL};
        check_members(parser, object, names, "hooks");
        const char *name = required(parser, object, "hookName", "hooks");
        struct spec_hook hook = {.stage = spec_hook_stage_of(name)};
        if (hook.stage == SPEC_HOOK_STAGES)
                wrong(parser, "hooks: hookName \"%.*s\" is not known", PLACE_MAX, name);
        required(parser, object, "path", "hooks");
        hook.path = path_member(parser, object, "path", "hooks");
        hook.args = texts(parser, object, "args", NULL);
        hook.env = variables(parser, object, NULL);
        hook.timeout = number(parser, object, "timeout", 0, INT32_MAX, 0);
        return hook;
}

/* Without a type it is a bind. */
static struct spec_mount parse_mount(struct parser *parser, const json_t *object)
{
        static const char *const names[] = {"hostPath", "containerPath", "options", "type", NULL};
        check_members(parser, object, names, "mounts");
        const char *type = text(parser, object, "type");
        if (*type)
                needs(parser, 4, "a mount's type");
        required(parser, object, "containerPath", "mounts");
        struct spec_mount mount = {
                .destination = path_member(parser, object, "containerPath", "mounts"),
                .source = required(parser, object, "hostPath", "mounts"),
                .type = *type ? type : "bind",
        };
        size_t count;
        const char **options = texts(parser, object, "options", &count);
        if (strcmp(mount.type, "bind") == 0) {
                bool bind = false;
                path_member(parser, object, "hostPath", "mounts");
                for (size_t i = 0; i < count; i++)
                        bind |= strcmp(options[i], "bind") == 0 || strcmp(options[i], "rbind") == 0;
                if (!bind) {
                        const char **more = arena_array(parser->arena, count + 2, sizeof *more);
                        more[0] = "rbind";
                        if (count)
                                memcpy(more + 1, options, count * sizeof *more);
                        options = more;
                }
        }
        mount.options = options;
        return mount;
}

static struct spec_rdt *parse_rdt(struct parser *parser, const json_t *object,
                                  const char **unsupported)
{
        static const char *const names[] = {"closID",   "l3CacheSchema",    "memBwSchema",
                                            "schemata", "enableMonitoring", NULL};
        check_members(parser, object, names, "intelRdt");
        needs(parser, 7, "intelRdt");
        struct spec_rdt *rdt = arena_alloc(parser->arena, sizeof *rdt);
        rdt->clos_id = text(parser, object, "closID");
        rdt->l3_cache_schema = text(parser, object, "l3CacheSchema");
        rdt->mem_bw_schema = text(parser, object, "memBwSchema");
        const char *id = rdt->clos_id;
        if (strcmp(id, "/") != 0 && (strlen(id) >= 4096 || strcmp(id, ".") == 0 ||
                                     strcmp(id, "..") == 0 || strpbrk(id, "/\n")))
                wrong(parser, "intelRdt: closID is not a file's name");
        if (json_array_size(list(parser, object, "schemata"))) {
                needs(parser, 101, "intelRdt.schemata");
                *unsupported = "intelRdt.schemata";
        }
        if (json_is_true(json_object_get(object, "enableMonitoring"))) {
                needs(parser, 101, "intelRdt.enableMonitoring");
                *unsupported = "intelRdt.enableMonitoring";
        }
        return rdt;
}

static void parse_net_devices(struct parser *parser, const json_t *array, struct cdi_edits *edits)
{
        static const char *const names[] = {"hostInterfaceName", "name", NULL};
        for (size_t i = 0; i < json_array_size(array); i++) {
                const json_t *object = json_array_get(array, i);
                check_members(parser, object, names, "netDevices");
                required(parser, object, "hostInterfaceName", "netDevices");
                required(parser, object, "name", "netDevices");
                needs(parser, 101, "netDevices");
                edits->unsupported = "netDevices";
        }
}

static void parse_gids(struct parser *parser, const json_t *array, struct cdi_edits *edits)
{
        if (!json_array_size(array))
                return;
        needs(parser, 7, "additionalGids");
        edits->gids = arena_array(parser->arena, json_array_size(array), sizeof *edits->gids);
        for (size_t i = 0; i < json_array_size(array); i++) {
                const json_t *value = json_array_get(array, i);
                if (!json_is_integer(value) || json_integer_value(value) < 0 ||
                    json_integer_value(value) > UINT32_MAX)
                        wrong(parser, "additionalGids: expected group IDs");
                else if (json_integer_value(value) > 0)
                        edits->gids[edits->gid_count++] = (uint32_t)json_integer_value(value);
        }
}

static void parse_edits(struct parser *parser, const json_t *object, struct cdi_edits *edits)
{
        static const char *const names[] = {"env",    "deviceNodes", "netDevices",     "hooks",
                                            "mounts", "intelRdt",    "additionalGids", NULL};
        check_members(parser, object, names, "containerEdits");
        edits->env = (char **)variables(parser, object, &edits->env_count);
        const json_t *array = list(parser, object, "deviceNodes");
        edits->nodes = arena_array(parser->arena, json_array_size(array) + 1, sizeof *edits->nodes);
        while (edits->node_count < json_array_size(array)) {
                edits->nodes[edits->node_count] =
                        parse_node(parser, json_array_get(array, edits->node_count));
                edits->node_count++;
        }
        array = list(parser, object, "hooks");
        edits->hooks = arena_array(parser->arena, json_array_size(array) + 1, sizeof *edits->hooks);
        while (edits->hook_count < json_array_size(array)) {
                edits->hooks[edits->hook_count] =
                        parse_hook(parser, json_array_get(array, edits->hook_count));
                edits->hook_count++;
        }
        array = list(parser, object, "mounts");
        edits->mounts =
                arena_array(parser->arena, json_array_size(array) + 1, sizeof *edits->mounts);
        while (edits->mount_count < json_array_size(array)) {
                edits->mounts[edits->mount_count] =
                        parse_mount(parser, json_array_get(array, edits->mount_count));
                edits->mount_count++;
        }
        const json_t *rdt = json_object_get(object, "intelRdt");
        if (rdt && !json_is_null(rdt))
                edits->rdt = parse_rdt(parser, rdt, &edits->unsupported);
        parse_net_devices(parser, list(parser, object, "netDevices"), edits);
        parse_gids(parser, list(parser, object, "additionalGids"), edits);
}

/* ---- names ---- */

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_letter_or_digit(char c)
{
        return is_letter(c) || (c >= '0' && c <= '9');
}

/* Letters, digits and some of `more` in between. */
static bool is_word(const char *word, size_t length, const char *more)
{
        for (size_t i = 0; i < length; i++)
                if (!is_letter_or_digit(word[i]) &&
                    (!strchr(more, word[i]) || i == 0 || i + 1 == length))
                        return false;
        return length > 0;
}

bool cdi_is_kind(const char *text_, size_t length)
{
        const char *slash = memchr(text_, '/', length);
        size_t vendor = slash ? (size_t)(slash - text_) : 0;
        return slash && is_letter(text_[0]) && is_word(text_, vendor, "_-.") &&
               is_letter(slash[1]) && is_word(slash + 1, length - vendor - 1, "_-.");
}

bool cdi_is_device(const char *text_)
{
        return is_word(text_, strlen(text_), "_-.:");
}

bool cdi_is_name(const char *text_)
{
        size_t length = strcspn(text_, "=");
        return strlen(text_) <= CDI_NAME_MAX && text_[length] && cdi_is_kind(text_, length) &&
               cdi_is_device(text_ + length + 1);
}

/* ---- documents ---- */

/* Notes for people, of which nothing follows but that they are text. */
static void check_annotations(struct parser *parser, const json_t *object)
{
        const json_t *annotations = json_object_get(object, "annotations");
        const char *key;
        json_t *value;
        if (!annotations || json_is_null(annotations))
                return;
        if (!json_is_object(annotations))
                wrong(parser, "annotations: expected an object");
        if (json_object_size(annotations))
                needs(parser, 6, "annotations");
        json_object_foreach ((json_t *)annotations, key, value)
                to_text(parser, value, "annotations");
}

static bool is_empty(const json_t *edits)
{
        const char *key;
        json_t *value;
        json_object_foreach ((json_t *)edits, key, value)
                if (json_array_size(value) || json_is_object(value))
                        return false;
        return true;
}

static void parse_device(struct parser *parser, const json_t *object, struct cdi_file *file)
{
        static const char *const names[] = {"name", "annotations", "containerEdits", NULL};
        struct cdi_device *device = &file->devices[file->device_count];
        check_members(parser, object, names, "devices");
        device->name = required(parser, object, "name", "devices");
        if (!cdi_is_device(device->name))
                wrong(parser, "devices: \"%.*s\" is not a device's name", PLACE_MAX, device->name);
        if (!is_letter(device->name[0]))
                needs(parser, 5, "a device's name that begins with a digit");
        for (size_t i = 0; i < file->device_count; i++)
                if (strcmp(file->devices[i].name, device->name) == 0)
                        wrong(parser, "devices: %s is there twice", device->name);
        check_annotations(parser, object);
        const json_t *edits = json_object_get(object, "containerEdits");
        if (is_empty(edits))
                wrong(parser, "devices: %.*s has no containerEdits", PLACE_MAX, device->name);
        else
                parse_edits(parser, edits, &device->edits);
        file->device_count++;
}

static void parse_version(struct parser *parser, const json_t *document)
{
        parser->version_text = required(parser, document, "cdiVersion", "document");
        const char *number_ = parser->version_text + (parser->version_text[0] == 'v');
        for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
                if (strcmp(versions[i].text, number_) == 0)
                        parser->version = versions[i].number;
        if (!parser->version)
                wrong(parser, "cdiVersion \"%.*s\" is not supported: 0.3.0 to 1.1.0 are", PLACE_MAX,
                      parser->version_text);
}

int cdi_parse(const json_t *document, const char *path, struct arena *arena, struct cdi_file *file,
              struct error *err)
{
        static const char *const names[] = {"cdiVersion", "kind",           "annotations",
                                            "devices",    "containerEdits", NULL};
        struct parser parser = {.path = path, .arena = arena, .err = err};
        struct cdi_file found = {.path = arena_strdup(arena, path)};
        check_members(&parser, document, names, "document");
        parse_version(&parser, document);
        found.kind = required(&parser, document, "kind", "document");
        if (!cdi_is_kind(found.kind, strlen(found.kind)))
                wrong(&parser, "kind \"%.*s\" is not VENDOR/CLASS", PLACE_MAX, found.kind);
        else if (strchr(strchr(found.kind, '/'), '.'))
                needs(&parser, 6, "a class with a dot");
        check_annotations(&parser, document);
        const json_t *edits = json_object_get(document, "containerEdits");
        if (edits && !json_is_null(edits))
                parse_edits(&parser, edits, &found.edits);
        const json_t *devices = list(&parser, document, "devices");
        if (!json_array_size(devices))
                wrong(&parser, "there are no devices");
        found.devices = arena_array(arena, json_array_size(devices) + 1, sizeof *found.devices);
        for (size_t i = 0; parser.result == 0 && i < json_array_size(devices); i++)
                parse_device(&parser, json_array_get(devices, i), &found);
        if (parser.result == 0)
                *file = found;
        return parser.result;
}
