#include "base/table.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "base/memory.h"

#define TABLE_FIRST 16 /* a power of two, as every capacity */

/* An entry is empty (key null, value null), taken, or a grave (key null, value not) that probing
 * passes over. */
struct entry {
        char *key;
        void *value;
};

struct table {
        struct entry *entries;
        size_t capacity, size, graves;
        uint64_t seed; /* keys come from strangers: they cannot choose collisions */
};

static char grave;

struct table *table_new(void)
{
        struct table *table = xcalloc(1, sizeof *table);
        if (getrandom(&table->seed, sizeof table->seed, GRND_NONBLOCK) != sizeof table->seed)
                table->seed = (uint64_t)(uintptr_t)table;
        return table;
}

void table_free(struct table *table)
{
        if (!table)
                return;
        for (size_t i = 0; i < table->capacity; i++)
                free(table->entries[i].key);
        free(table->entries);
        free(table);
}

static uint64_t hash(const struct table *table, const char *key)
{
        uint64_t value = table->seed ^ 0xcbf29ce484222325u; /* FNV-1a, then mixed */
        for (; *key; key++)
                value = (value ^ (unsigned char)*key) * 0x100000001b3u;
        value ^= value >> 32;
        value *= 0x9e3779b97f4a7c15u;
        return value ^ value >> 29;
}

/* The entry of key, or null. */
static struct entry *find(const struct table *table, const char *key)
{
        if (!table->capacity)
                return NULL;
        for (size_t i = hash(table, key);; i++) {
                struct entry *entry = &table->entries[i & (table->capacity - 1)];
                if (entry->key && strcmp(entry->key, key) == 0)
                        return entry;
                if (!entry->key && !entry->value)
                        return NULL;
        }
}

static void place(struct table *table, char *key, void *value)
{
        for (size_t i = hash(table, key);; i++) {
                struct entry *entry = &table->entries[i & (table->capacity - 1)];
                if (entry->key)
                        continue;
                if (entry->value)
                        table->graves--;
                *entry = (struct entry){key, value};
                table->size++;
                return;
        }
}

static void grow(struct table *table)
{
        struct entry *old = table->entries;
        size_t count = table->capacity;
        size_t capacity = TABLE_FIRST;
        while (capacity < table->size * 2 + 2)
                capacity *= 2;
        table->entries = xcalloc(capacity, sizeof *table->entries);
        table->capacity = capacity;
        table->size = table->graves = 0;
        for (size_t i = 0; i < count; i++)
                if (old[i].key)
                        place(table, old[i].key, old[i].value);
        free(old);
}

void *table_get(const struct table *table, const char *key)
{
        struct entry *entry = find(table, key);
        return entry ? entry->value : NULL;
}

void *table_put(struct table *table, const char *key, void *value)
{
        struct entry *entry = find(table, key);
        if (entry) {
                void *before = entry->value;
                entry->value = value;
                return before;
        }
        if ((table->size + table->graves + 1) * 4 > table->capacity * 3)
                grow(table);
        place(table, xstrdup(key), value);
        return NULL;
}

void *table_remove(struct table *table, const char *key)
{
        struct entry *entry = find(table, key);
        if (!entry)
                return NULL;
        void *value = entry->value;
        free(entry->key);
        *entry = (struct entry){NULL, &grave};
        table->size--;
        table->graves++;
        return value;
}

size_t table_size(const struct table *table)
{
        return table->size;
}

void *table_next(const struct table *table, size_t *cursor, const char **key)
{
        while (*cursor < table->capacity) {
                struct entry *entry = &table->entries[(*cursor)++];
                if (entry->key) {
                        if (key)
                                *key = entry->key;
                        return entry->value;
                }
        }
        return NULL;
}
