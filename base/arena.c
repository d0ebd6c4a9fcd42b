#include "base/arena.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define CHUNK_SIZE 4064 /* with malloc's own header a page: most requests need one */

struct chunk {
        struct chunk *next;
        size_t used, size;
        alignas(max_align_t) char bytes[];
};

struct arena {
        struct chunk *chunks; /* the one that is being filled comes first */
        size_t used;
};

static struct chunk *chunk_new(size_t size)
{
        struct chunk *chunk = xcalloc(1, sizeof *chunk + size);
        chunk->size = size;
        return chunk;
}

struct arena *arena_new(void)
{
        struct arena *arena = xcalloc(1, sizeof *arena);
        return arena;
}

void arena_free(struct arena *arena)
{
        if (!arena)
                return;
        for (struct chunk *chunk = arena->chunks; chunk;) {
                struct chunk *next = chunk->next;
                free(chunk);
                chunk = next;
        }
        free(arena);
}

void *arena_alloc(struct arena *arena, size_t size)
{
        if (size > SIZE_MAX / 2) {
                fputs("crisp: arena: size overflows\n", stderr);
                abort();
        }
        size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
        struct chunk *chunk = arena->chunks;
        if (!chunk || chunk->size - chunk->used < size) {
                bool big = size > CHUNK_SIZE / 4;
                chunk = chunk_new(big ? size : CHUNK_SIZE - sizeof *chunk);
                if (big && arena->chunks) {
                        /* A big piece gets a chunk of its own; the one being filled stays first. */
                        chunk->next = arena->chunks->next;
                        arena->chunks->next = chunk;
                } else {
                        chunk->next = arena->chunks;
                        arena->chunks = chunk;
                }
        }
        void *piece = chunk->bytes + chunk->used;
        chunk->used += size;
        arena->used += size;
        return piece;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
        size_t total;
        if (__builtin_mul_overflow(count, size, &total))
                total = SIZE_MAX;
        return arena_alloc(arena, total);
}

void *arena_memdup(struct arena *arena, const void *bytes, size_t size)
{
        void *copy = arena_alloc(arena, size);
        if (size)
                memcpy(copy, bytes, size);
        return copy;
}

char *arena_strndup(struct arena *arena, const char *text, size_t length)
{
        length = strnlen(text, length);
        char *copy = arena_alloc(arena, length + 1);
        memcpy(copy, text, length);
        return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
        return text ? arena_strndup(arena, text, strlen(text)) : NULL;
}

char *arena_vprintf(struct arena *arena, const char *format, va_list arguments)
{
        va_list again;
        va_copy(again, arguments);
        int length = vsnprintf(NULL, 0, format, again);
        va_end(again);
        if (length < 0)
                length = 0;
        char *text = arena_alloc(arena, (size_t)length + 1);
        vsnprintf(text, (size_t)length + 1, format, arguments);
        return text;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        char *text = arena_vprintf(arena, format, arguments);
        va_end(arguments);
        return text;
}

size_t arena_used(const struct arena *arena)
{
        return arena->used;
}
