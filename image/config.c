#include "image/config.h"

#include <string.h>

#include "base/json.h"
#include "base/memory.h"

/* A member's string, or "" where it is absent, on the heap. */
static int take_string(const json_t *object, const char *key, const char *place, char **value,
                       struct error *err)
{
        const char *text = "";
        int result = json_get_string(object, key, place, &text, err);
        if (result < 0)
                return result;
        *value = xstrdup(text);
        return 0;
}

static int too_many(const char *key, const char *place, size_t max, struct error *err)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: more than %zu entries", place, key,
                         max);
}

static int take_strings(const json_t *object, const char *key, const char *place, size_t max,
                        char ***value, struct error *err)
{
        json_t *array = NULL;
        int result = json_get_array(object, key, place, &array, err);
        if (result < 0)
                return result;
        if (json_array_size(array) > max)
                return too_many(key, place, max, err);
        return json_get_strings(object, key, place, value, err);
}

/* Docker writes sets as objects whose values are empty objects. */
static int take_set(const json_t *object, const char *key, const char *place, char ***value,
                    struct error *err)
{
        json_t *set = NULL;
        int result = json_get_object(object, key, place, &set, err);
        if (result < 0)
                return result;
        if (json_object_size(set) > IMAGE_CONFIG_STRINGS_MAX)
                return too_many(key, place, IMAGE_CONFIG_STRINGS_MAX, err);
        if (json_object_size(set) == 0)
                return 0;
        char **names = xcalloc(json_object_size(set) + 1, sizeof(*names));
        size_t count = 0;
        const char *name;
        json_t *nothing;
        json_object_foreach (set, name, nothing)
                names[count++] = xstrdup(name);
        *value = names;
        return 0;
}

static int take_labels(const json_t *object, const char *place, struct image_config *config,
                       struct error *err)
{
        json_t *labels = NULL;
        int result = json_get_object(object, "Labels", place, &labels, err);
        if (result < 0)
                return result;
        if (json_object_size(labels) > IMAGE_CONFIG_STRINGS_MAX)
                return too_many("Labels", place, IMAGE_CONFIG_STRINGS_MAX, err);
        config->labels = xcalloc(json_object_size(labels) + 1, sizeof(*config->labels));
        const char *name;
        json_t *value;
        json_object_foreach (labels, name, value) {
                if (!json_is_string(value) && !json_is_null(value))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s: Labels: %.100s: expected a string", place, name);
                struct image_label *label = &config->labels[config->label_count++];
                label->name = xstrdup(name);
                label->value = xstrdup(json_is_string(value) ? json_string_value(value) : "");
        }
        return 0;
}

static int take_members(const json_t *document, const char *place, struct image_config *config,
                        struct error *err)
{
        json_t *run = NULL, *rootfs = NULL;
        int r;

        if (!json_is_object(document))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected an object", place);
        if ((r = take_string(document, "os", place, &config->os, err)) < 0 ||
            (r = take_string(document, "architecture", place, &config->architecture, err)) < 0 ||
            (r = take_string(document, "variant", place, &config->variant, err)) < 0 ||
            (r = take_string(document, "created", place, &config->created, err)) < 0 ||
            (r = json_get_object(document, "config", place, &run, err)) < 0 ||
            (r = json_get_object(document, "rootfs", place, &rootfs, err)) < 0)
                return r;

        const size_t max = IMAGE_CONFIG_STRINGS_MAX;
        if ((r = take_strings(run, "Entrypoint", place, max, &config->entrypoint, err)) < 0 ||
            (r = take_strings(run, "Cmd", place, max, &config->cmd, err)) < 0 ||
            (r = take_strings(run, "Env", place, max, &config->environment, err)) < 0 ||
            (r = take_string(run, "User", place, &config->user, err)) < 0 ||
            (r = take_string(run, "WorkingDir", place, &config->working_directory, err)) < 0 ||
            (r = take_string(run, "StopSignal", place, &config->stop_signal, err)) < 0 ||
            (r = take_set(run, "Volumes", place, &config->volumes, err)) < 0 ||
            (r = take_set(run, "ExposedPorts", place, &config->exposed_ports, err)) < 0 ||
            (r = take_labels(run, place, config, err)) < 0)
                return r;
        return take_strings(rootfs, "diff_ids", place, IMAGE_CONFIG_LAYERS_MAX, &config->diff_ids,
                            err);
}

int image_config_parse(const char *bytes, size_t length, const char *place,
                       struct image_config **config, struct error *err)
{
        if (length > IMAGE_CONFIG_BYTES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: more than %u bytes", place,
                                 IMAGE_CONFIG_BYTES_MAX);
        AUTO_JSON json_t *document = NULL;
        int result = json_parse(bytes, length, place, &document, err);
        if (result < 0)
                return result;
        AUTO_IMAGE_CONFIG struct image_config *parsed = xcalloc(1, sizeof(*parsed));
        result = take_members(document, place, parsed, err);
        if (result < 0)
                return result;
        *config = take_ptr(parsed);
        return 0;
}

void image_config_free(struct image_config *config)
{
        if (!config)
                return;
        int saved = errno;
        strv_free(config->entrypoint);
        strv_free(config->cmd);
        strv_free(config->environment);
        strv_free(config->volumes);
        strv_free(config->exposed_ports);
        strv_free(config->diff_ids);
        for (size_t i = 0; i < config->label_count; i++) {
                free(config->labels[i].name);
                free(config->labels[i].value);
        }
        free(config->labels);
        free(config->user);
        free(config->working_directory);
        free(config->stop_signal);
        free(config->os);
        free(config->architecture);
        free(config->variant);
        free(config->created);
        free(config);
        errno = saved;
}
