#include "image/setting.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/log.h"
#include "base/memory.h"

#define WHY_MAX   600 /* bytes */
#define PLACE_MAX 300 /* bytes of a dotted key that are told */

int setting_refuse(const struct toml_node *node, const char *file, struct error *err,
                   const char *format, ...)
{
        AUTO_BUFFER struct buffer path = BUFFER_INIT;
        char why[WHY_MAX];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(why, sizeof(why), format, arguments);
        va_end(arguments);
        toml_add_path(&path, node);
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s:%u: %.*s: %s", file, node->line,
                         PLACE_MAX, path.length ? path.data : "the file", why);
}

int setting_need(const struct toml_node *node, enum toml_kind kind, const char *file,
                 struct error *err)
{
        if (node->kind == kind)
                return 0;
        return setting_refuse(node, file, err, "expected %s, and it is %s", toml_kind_name(kind),
                              toml_kind_name(node->kind));
}

int setting_text(const struct toml_node *node, const char *file, const char **value,
                 struct error *err)
{
        int r = setting_need(node, TOML_STRING, file, err);
        if (r < 0)
                return r;
        const char *text = json_string_value(node->value);
        if (strlen(text) != json_string_length(node->value))
                return setting_refuse(node, file, err, "it has a zero byte in it");
        *value = text;
        return 0;
}

int setting_bool(const struct toml_node *node, const char *file, bool *value, struct error *err)
{
        int r = setting_need(node, TOML_BOOLEAN, file, err);
        if (r == 0)
                *value = json_is_true(node->value);
        return r;
}

int setting_texts(const struct toml_node *node, const char *file, char ***value, struct error *err)
{
        char **list = xcalloc(1, sizeof(*list));
        size_t count = 0;
        int r = setting_need(node, TOML_ARRAY, file, err);

        for (const struct toml_node *item = node->first; r == 0 && item; item = item->next) {
                const char *text = "";
                r = setting_text(item, file, &text, err);
                if (r == 0 && ++count > SETTING_LIST_MAX)
                        r = setting_refuse(node, file, err, "more than %d", SETTING_LIST_MAX);
                if (r == 0)
                        strv_push(&list, text);
        }
        if (r < 0) {
                strv_free(list);
                return r;
        }
        strv_free(*value);
        *value = list;
        return 0;
}

void setting_unknown(const struct toml_node *node, const char *file)
{
        AUTO_BUFFER struct buffer path = BUFFER_INIT;
        char line[16];

        toml_add_path(&path, node);
        snprintf(line, sizeof(line), "%u", node->line);
        log_warning("a key is not read by crisp", "file", file, "line", line, "key", path.data,
                    NULL);
}
