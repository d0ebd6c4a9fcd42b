#include "base/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define BUFFER_FIRST 256

char *buffer_reserve(struct buffer *buffer, size_t length)
{
        size_t needed;
        if (__builtin_add_overflow(buffer->length, length, &needed) || needed == SIZE_MAX)
                abort();
        if (needed + 1 > buffer->capacity) {
                size_t capacity = buffer->capacity ? buffer->capacity : BUFFER_FIRST;
                while (capacity < needed + 1)
                        capacity *= 2;
                buffer->data = xrealloc(buffer->data, capacity);
                buffer->capacity = capacity;
        }
        return buffer->data + buffer->length;
}

void buffer_add(struct buffer *buffer, const void *bytes, size_t length)
{
        char *end = buffer_reserve(buffer, length);
        if (length)
                memcpy(end, bytes, length);
        buffer->length += length;
        assert(buffer->data);
        buffer->data[buffer->length] = '\0';
}

void buffer_add_text(struct buffer *buffer, const char *text)
{
        buffer_add(buffer, text, strlen(text));
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(NULL, 0, format, arguments);
        va_end(arguments);
        if (length < 0)
                return;
        char *end = buffer_reserve(buffer, (size_t)length);
        va_start(arguments, format);
        vsnprintf(end, (size_t)length + 1, format, arguments);
        va_end(arguments);
        buffer->length += (size_t)length;
}

void buffer_consume(struct buffer *buffer, size_t count)
{
        if (count > buffer->length)
                count = buffer->length;
        if (!count)
                return;
        memmove(buffer->data, buffer->data + count, buffer->length - count);
        buffer->length -= count;
        buffer->data[buffer->length] = '\0';
}

char *buffer_take(struct buffer *buffer)
{
        if (!buffer->data)
                buffer_add(buffer, "", 0);
        char *data = buffer->data;
        *buffer = (struct buffer)BUFFER_INIT;
        return data;
}

void buffer_fini(struct buffer *buffer)
{
        int saved = errno;
        free(buffer->data);
        *buffer = (struct buffer)BUFFER_INIT;
        errno = saved;
}
