/*
 * Any bytes as JSON: read or refused, never nested deeper than what a task's stack holds; what was
 * read is written and read again as the same.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned depth_of(json_t *value)
{
        unsigned deepest = 0;
        const char *key;
        json_t *child;
        size_t i;

        if (json_is_object(value)) {
                json_object_foreach (value, key, child) {
                        unsigned depth = depth_of(child);

                        deepest = depth > deepest ? depth : deepest;
                }
        } else if (json_is_array(value)) {
                json_array_foreach (value, i, child) {
                        unsigned depth = depth_of(child);

                        deepest = depth > deepest ? depth : deepest;
                }
        } else {
                return 0;
        }
        return deepest + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_JSON json_t *value = NULL, *again = NULL;
        AUTO_FREE char *text = NULL;
        struct error err = {0};

        if (json_parse((const char *)data, size, "input", &value, &err) < 0) {
                assert(strncmp(err.message, "input: not valid JSON: ", 23) == 0);
                return 0;
        }
        assert(depth_of(value) <= JSON_DEPTH_MAX);
        text = json_text(value);
        assert(json_parse(text, strlen(text), "again", &again, &err) == 0);
        assert(json_equal(value, again));
        return 0;
}
