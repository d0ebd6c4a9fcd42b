#include "cri/lookup.h"

#include <string.h>

#include "base/id.h"

int lookup_id(const struct table *table, const char *kind, const char *field, const char *id,
              bool (*is_known)(const void *object), void **object, struct error *err)
{
        if (!*id)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: it must not be empty", field);
        void *found = table_get(table, id);
        if (!found && strlen(id) < ID_LENGTH) {
                size_t cursor = 0;
                const char *key;
                for (void *each; (each = table_next(table, &cursor, &key));) {
                        if (!is_known(each) || strncmp(key, id, strlen(id)) != 0)
                                continue;
                        if (found)
                                return error_set(err, ERROR_INVALID_ARGUMENT,
                                                 "%s %s: several ids begin like this", kind, id);
                        found = each;
                }
        }
        if (!found || !is_known(found))
                return error_set(err, ERROR_NOT_FOUND, "%s %s: there is none", kind, id);
        *object = found;
        return 0;
}

bool lookup_id_matches(const char *id, const char *filter)
{
        return strncmp(id, filter, strlen(filter)) == 0;
}

const char *lookup_value(void *entries, size_t count, const char *key)
{
        struct lookup_entry **entry = entries;
        for (size_t i = 0; i < count; i++)
                if (strcmp(entry[i]->key, key) == 0)
                        return entry[i]->value;
        return NULL;
}

bool lookup_labels_match(void *labels, size_t count, void *selector, size_t selector_count)
{
        struct lookup_entry **wanted = selector;
        for (size_t i = 0; i < selector_count; i++) {
                const char *value = lookup_value(labels, count, wanted[i]->key);
                if (!value || strcmp(value, wanted[i]->value) != 0)
                        return false;
        }
        return true;
}
