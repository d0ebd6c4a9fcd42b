/*
 * table: pointers found by a string key.
 *
 * Open addressing with linear probing. The table copies keys and does not own values. Iteration
 * order is not defined; removing the entry that an iteration stands on is allowed, adding is not.
 */
#ifndef CRISP_BASE_TABLE_H
#define CRISP_BASE_TABLE_H

#include <stddef.h>

#include "base/cleanup.h"

struct table;

struct table *table_new(void);
void table_free(struct table *table); /* keys are freed, values are not; null is allowed */

void *table_get(const struct table *table, const char *key); /* null when absent */
/* Puts value (not null) under key and returns the value that was there before, or null. */
void *table_put(struct table *table, const char *key, void *value);
void *table_remove(struct table *table, const char *key); /* what was there, or null */
size_t table_size(const struct table *table);

/* The entry after *cursor (start with 0); null at the end. key may be null. */
void *table_next(const struct table *table, size_t *cursor, const char **key);

#endif
