#include "base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *pointer)
{
        if (!pointer) {
                static const char message[] = "crisp: out of memory\n";
                fputs(message, stderr);
                abort();
        }
        return pointer;
}

void *xcalloc(size_t count, size_t size)
{
        return checked(calloc(count ? count : 1, size ? size : 1));
}

void *xrealloc(void *pointer, size_t size)
{
        return checked(realloc(pointer, size ? size : 1));
}

char *xstrdup(const char *text)
{
        return text ? checked(strdup(text)) : NULL;
}

char *xstrndup(const char *text, size_t length)
{
        return checked(strndup(text, length));
}

char *xvprintf(const char *format, va_list arguments)
{
        char *text;
        if (vasprintf(&text, format, arguments) < 0)
                checked(NULL);
        return text;
}

char *xprintf(const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        char *text = xvprintf(format, arguments);
        va_end(arguments);
        return text;
}

size_t strv_length(char *const *vector)
{
        size_t length = 0;
        while (vector && vector[length])
                length++;
        return length;
}

char **strv_dup(char *const *vector)
{
        if (!vector)
                return NULL;
        size_t length = strv_length(vector);
        char **copy = xcalloc(length + 1, sizeof *copy);
        for (size_t i = 0; i < length; i++)
                copy[i] = xstrdup(vector[i]);
        return copy;
}

void strv_free(char **vector)
{
        for (size_t i = 0; vector && vector[i]; i++)
                free(vector[i]);
        free(vector);
}

void strv_push(char ***vector, const char *text)
{
        size_t length = strv_length(*vector);
        *vector = xrealloc(*vector, (length + 2) * sizeof **vector);
        (*vector)[length] = xstrdup(text);
        (*vector)[length + 1] = NULL;
}
