/*
 * memory: allocations that abort instead of failing (convention 10).
 *
 * For sizes that we chose. Where a stranger chose the size, bound it and call malloc.
 */
#ifndef CRISP_BASE_MEMORY_H
#define CRISP_BASE_MEMORY_H

#include <stdarg.h>
#include <stddef.h>

void *xcalloc(size_t count, size_t size);
void *xrealloc(void *pointer, size_t size);
char *xstrdup(const char *text); /* null gives null */
char *xstrndup(const char *text, size_t length);
char *xprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *xvprintf(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));

/* A null-terminated copy of a null-terminated vector of strings; free with strv_free. Null gives
 * null. */
char **strv_dup(char *const *vector);
void strv_free(char **vector);
size_t strv_length(char *const *vector); /* null counts as empty */
/* Appends a copy of text to a vector that strv_free frees; *vector may be null. */
void strv_push(char ***vector, const char *text);

#endif
