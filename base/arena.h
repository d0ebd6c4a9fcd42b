/*
 * arena: memory that is taken piece by piece and given back in one go.
 *
 * Each request has one: what is decoded, everything temporary and the response live in it. An arena
 * belongs to one thread at a time. Allocation never fails: the process aborts when the machine has
 * no memory (convention 10); whoever lets a stranger choose a size bounds it first.
 */
#ifndef CRISP_BASE_ARENA_H
#define CRISP_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/cleanup.h"

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena *arena); /* null is allowed */

/* size bytes of zeroes, aligned for any type. */
void *arena_alloc(struct arena *arena, size_t size);

/* Room for count elements of size bytes, zeroed. Aborts when the product overflows. */
void *arena_array(struct arena *arena, size_t count, size_t size);

char *arena_strdup(struct arena *arena, const char *text); /* null gives null */
char *arena_strndup(struct arena *arena, const char *text, size_t length);
void *arena_memdup(struct arena *arena, const void *bytes, size_t size);
char *arena_printf(struct arena *arena, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *arena, const char *format, va_list arguments)
        __attribute__((format(printf, 2, 0), nonnull(2)));

/* Bytes handed out so far. */
size_t arena_used(const struct arena *arena);

static inline void cleanup_arena(struct arena **arena)
{
        arena_free(*arena);
}
#define AUTO_ARENA CLEANUP(cleanup_arena)

#endif
