#include "image/line.h"

#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/memory.h"
#include "image/request.h"

#define NOTES_MAX (4u << 20) /* opaque folders, implied folders or links of one layer */

/* ---- writing ---- */

void line_put_string(json_t *object, const char *key, const char *value)
{
        if (value)
                json_object_set_new(object, key, json_string(value));
}

void line_put_integer(json_t *object, const char *key, int64_t value)
{
        json_object_set_new(object, key, json_integer(value));
}

char *line_finish(json_t *object)
{
        AUTO_FREE char *text = json_text(object);
        size_t length = strlen(text);
        char *line = xrealloc(NULL, length + 2);

        memcpy(line, text, length);
        memcpy(line + length, "\n", 2);
        request_wipe_text(text);
        return line;
}

/*
 * File names are bytes and JSON is UTF-8: what is not plain ASCII is written as %XX.
 */
json_t *line_path_to_json(const char *path)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;

        for (const char *c = path; *c; c++) {
                unsigned char byte = (unsigned char)*c;
                if (byte < 0x20 || byte >= 0x7f || byte == '%')
                        buffer_printf(&text, "%%%02x", byte);
                else
                        buffer_add(&text, c, 1);
        }
        return json_string(text.data ? text.data : "");
}

void line_put_paths(json_t *object, const char *key, const char *const *paths, size_t count)
{
        if (count == 0)
                return;
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++)
                json_array_append_new(array, line_path_to_json(paths[i]));
        json_object_set_new(object, key, array);
}

void line_put_strings(json_t *object, const char *key, const char *const *list, size_t count)
{
        if (count == 0)
                return;
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++)
                json_array_append_new(array, json_string(list[i]));
        json_object_set_new(object, key, array);
}

/* ---- reading ---- */

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

int line_path_from_json(const json_t *value, struct arena *arena, const char **path,
                        struct error *err)
{
        const char *text = json_string_value(value);
        if (!text)
                return error_set(err, ERROR_INVALID_ARGUMENT, "expected a path");

        char *out = arena_alloc(arena, strlen(text) + 1);
        char *to = out;
        for (const char *c = text; *c; c++) {
                if (*c != '%') {
                        *to++ = *c;
                        continue;
                }
                int high = hex_value(c[1]);
                int low = high < 0 ? -1 : hex_value(c[2]);
                if (low < 0 || (high == 0 && low == 0))
                        return error_set(err, ERROR_INVALID_ARGUMENT, "wrong %% in a path");
                *to++ = (char)(high * 16 + low);
                c += 2;
        }
        *to = '\0';
        *path = out;
        return 0;
}

int line_get_text(const json_t *object, const char *key, const char *place, struct arena *arena,
                  const char **value, struct error *err)
{
        const char *text = NULL;
        int r = json_get_string(object, key, place, &text, err);
        if (r == 0)
                *value = arena_strdup(arena, text);
        return r;
}

/* The same where the member must be there. */
int line_need_text(const json_t *object, const char *key, const char *place, struct arena *arena,
                   const char **value, struct error *err)
{
        int r = line_get_text(object, key, place, arena, value, err);
        if (r == 0 && !*value)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s is missing", place, key);
        return r;
}

int line_get_size(const json_t *object, const char *key, const char *place, int64_t *value,
                  struct error *err)
{
        int64_t number = 0;
        int r = json_get_int(object, key, place, &number, err);
        if (r < 0)
                return r;
        if (number < 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s is negative", place, key);
        *value = number;
        return 0;
}

/* An array of at most max members; *count is 0 when absent. */
int line_get_list(const json_t *object, const char *key, const char *place, size_t max,
                  json_t **array, size_t *count, struct error *err)
{
        json_t *found = NULL;
        int r = json_get_array(object, key, place, &found, err);
        if (r < 0)
                return r;
        if (json_array_size(found) > max)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s has more than %zu members",
                                 place, key, max);
        *array = found;
        *count = json_array_size(found);
        return 0;
}

int line_get_strings(const json_t *object, const char *key, const char *place, size_t max,
                     struct arena *arena, const char *const **list, size_t *count,
                     struct error *err)
{
        json_t *array;
        size_t found;
        int r = line_get_list(object, key, place, max, &array, &found, err);
        if (r < 0 || found == 0)
                return r;

        const char **copy = arena_array(arena, found, sizeof(*copy));
        for (size_t i = 0; i < found; i++) {
                copy[i] = arena_strdup(arena, json_string_value(json_array_get(array, i)));
                if (!copy[i])
                        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: expected strings",
                                         place, key);
        }
        *list = copy;
        *count = found;
        return 0;
}

int line_get_paths(const json_t *object, const char *key, const char *place, struct arena *arena,
                   const char *const **paths, size_t *count, struct error *err)
{
        json_t *array;
        size_t found;
        int r = line_get_list(object, key, place, NOTES_MAX, &array, &found, err);
        if (r < 0 || found == 0)
                return r;

        const char **list = arena_array(arena, found, sizeof(*list));
        for (size_t i = 0; i < found; i++) {
                r = line_path_from_json(json_array_get(array, i), arena, &list[i], err);
                if (r < 0)
                        return error_context(err, "%s: %s", place, key);
        }
        *paths = list;
        *count = found;
        return 0;
}
