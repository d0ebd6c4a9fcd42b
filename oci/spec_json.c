/* The words that the files of oci/spec*.c are written in. */
#include "oci/spec_private.h"

#include <stdarg.h>

#include "base/memory.h"

void spec_fail(struct spec_draft *draft, const char *format, ...)
{
        if (draft->result < 0)
                return;
        va_list arguments;
        va_start(arguments, format);
        draft->result = error_vset(draft->err, ERROR_INVALID_ARGUMENT, format, arguments);
        va_end(arguments);
}

json_t *spec_text(struct spec_draft *draft, const char *value, const char *place, const char *name)
{
        json_t *string = json_string(value);
        if (!string)
                spec_fail(draft, name ? "%s \"%.*s\": not UTF-8" : "%s: not UTF-8", place,
                          SPEC_PLACE_MAX, name);
        return string;
}

void spec_put(json_t *object, const char *key, json_t *value)
{
        json_object_set_new_nocheck(object, key, value);
}

void spec_put_text(struct spec_draft *draft, json_t *object, const char *key, const char *value)
{
        if (value && value[0])
                spec_put(object, key, spec_text(draft, value, key, NULL));
}

void spec_put_number(json_t *object, const char *key, int64_t value)
{
        if (value)
                spec_put(object, key, json_integer(value));
}

json_t *spec_unsigned(uint64_t value)
{
        return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

json_t *spec_texts(struct spec_draft *draft, const char *const *values, const char *place)
{
        json_t *array = json_array();
        for (; values && *values; values++)
                json_array_append_new(array, spec_text(draft, *values, place, *values));
        return array;
}

void spec_put_pairs(struct spec_draft *draft, json_t *object, const char *key,
                    const struct spec_pair *pairs, size_t count)
{
        if (count == 0)
                return;
        json_t *members = json_object();
        for (size_t i = 0; i < count; i++) {
                json_t *value =
                        spec_text(draft, pairs[i].value ? pairs[i].value : "", key, pairs[i].key);
                if (value && json_object_set_new(members, pairs[i].key, value) < 0)
                        spec_fail(draft, "%s: a name that is not UTF-8", key);
        }
        spec_put(object, key, members);
}

void spec_put_id_maps(json_t *object, const char *key, const struct spec_id_map *maps, size_t count)
{
        if (count == 0)
                return;
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++) {
                json_t *map = json_object();
                spec_put(map, "containerID", json_integer(maps[i].container_id));
                spec_put(map, "hostID", json_integer(maps[i].host_id));
                spec_put(map, "size", json_integer(maps[i].length));
                json_array_append_new(array, map);
        }
        spec_put(object, key, array);
}
