#include "base/json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/*
 * The deepest nesting of brackets outside strings. jansson's parser recurses for each level and its
 * own bound (2048 levels) is more than a task's stack can hold; so the depth is counted before it
 * starts. What is no JSON at all may be counted wrongly, never too low.
 */
static bool too_deep(const char *bytes, size_t length)
{
        unsigned depth = 0;
        bool in_string = false;

        for (size_t i = 0; i < length; i++) {
                char c = bytes[i];

                if (in_string) {
                        if (c == '\\')
                                i++;
                        else if (c == '"')
                                in_string = false;
                } else if (c == '"') {
                        in_string = true;
                } else if (c == '[' || c == '{') {
                        if (++depth > JSON_DEPTH_MAX)
                                return true;
                } else if ((c == ']' || c == '}') && depth > 0) {
                        depth--;
                }
        }
        return false;
}

int json_parse(const char *bytes, size_t length, const char *place, json_t **value,
               struct error *err)
{
        json_error_t why;
        json_t *parsed;

        if (too_deep(bytes, length))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: not valid JSON: nested deeper than %d levels", place,
                                 JSON_DEPTH_MAX);
        parsed = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &why);
        if (!parsed)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: not valid JSON: line %d, column %d: %s", place, why.line,
                                 why.column, why.text);
        *value = parsed;
        return 0;
}

/* Stores the member, null when it is absent or null. A null object has no members. */
static int find_member(const json_t *object, const char *key, const char *place,
                       const json_t **member, struct error *err)
{
        const json_t *found;

        if (object && !json_is_object(object))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected an object", place);
        found = json_object_get(object, key);
        *member = json_is_null(found) ? NULL : found;
        return 0;
}

static int wrong_type(const char *key, const char *place, const char *expected, struct error *err)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: expected %s", place, key, expected);
}

int json_get_string(const json_t *object, const char *key, const char *place, const char **value,
                    struct error *err)
{
        const json_t *member;
        int rc = find_member(object, key, place, &member, err);

        if (rc < 0 || !member)
                return rc;
        if (!json_is_string(member))
                return wrong_type(key, place, "a string", err);
        *value = json_string_value(member);
        return 0;
}

int json_get_int(const json_t *object, const char *key, const char *place, int64_t *value,
                 struct error *err)
{
        const json_t *member;
        int rc = find_member(object, key, place, &member, err);

        if (rc < 0 || !member)
                return rc;
        if (!json_is_integer(member))
                return wrong_type(key, place, "an integer", err);
        *value = json_integer_value(member);
        return 0;
}

int json_get_bool(const json_t *object, const char *key, const char *place, bool *value,
                  struct error *err)
{
        const json_t *member;
        int rc = find_member(object, key, place, &member, err);

        if (rc < 0 || !member)
                return rc;
        if (!json_is_boolean(member))
                return wrong_type(key, place, "true or false", err);
        *value = json_is_true(member);
        return 0;
}

int json_get_object(const json_t *object, const char *key, const char *place, json_t **value,
                    struct error *err)
{
        const json_t *member;
        int rc = find_member(object, key, place, &member, err);

        if (rc < 0)
                return rc;
        if (member && !json_is_object(member))
                return wrong_type(key, place, "an object", err);
        *value = (json_t *)member;
        return 0;
}

int json_get_array(const json_t *object, const char *key, const char *place, json_t **value,
                   struct error *err)
{
        const json_t *member;
        int rc = find_member(object, key, place, &member, err);

        if (rc < 0)
                return rc;
        if (member && !json_is_array(member))
                return wrong_type(key, place, "an array", err);
        *value = (json_t *)member;
        return 0;
}

int json_get_strings(const json_t *object, const char *key, const char *place, char ***value,
                     struct error *err)
{
        json_t *array, *item;
        char **strings;
        size_t i;
        int rc = json_get_array(object, key, place, &array, err);

        if (rc < 0)
                return rc;
        if (!array) {
                *value = NULL;
                return 0;
        }
        json_array_foreach (array, i, item)
                if (!json_is_string(item))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s: %s: [%zu]: expected a string", place, key, i);
        /* Each pointer here stands for a parsed string, which took more memory than the pointer
         * does. */
        strings = xcalloc(json_array_size(array) + 1, sizeof(*strings));
        json_array_foreach (array, i, item)
                strings[i] = xstrdup(json_string_value(item));
        *value = strings;
        return 0;
}

char *json_text(const json_t *value)
{
        char *text;

        assert(value);
        text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        if (!text)
                abort();
        return text;
}
