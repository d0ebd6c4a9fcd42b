#include "cri/stream/queue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define KEPT_MAX 4096 /* bytes that an empty queue keeps: a thousand idle sessions cost little */

char *queue_reserve(struct queue *queue, size_t length)
{
        if (queue->head + queue->length + length <= queue->capacity)
                return queue->data + queue->head + queue->length;
        if (queue->head) {
                memmove(queue->data, queue->data + queue->head, queue->length);
                queue->head = 0;
        }
        if (queue->length + length > queue->capacity) {
                size_t capacity = queue->capacity ? queue->capacity : 1024;
                while (capacity < queue->length + length)
                        capacity *= 2;
                queue->data = xrealloc(queue->data, capacity);
                queue->capacity = capacity;
        }
        return queue->data + queue->length;
}

void queue_added(struct queue *queue, size_t length)
{
        assert(queue->head + queue->length + length <= queue->capacity);
        queue->length += length;
}

void queue_add(struct queue *queue, const void *bytes, size_t length)
{
        if (!length)
                return;
        memcpy(queue_reserve(queue, length), bytes, length);
        queue_added(queue, length);
}

void queue_drop(struct queue *queue, size_t length)
{
        assert(length <= queue->length);
        queue->head += length;
        queue->length -= length;
        if (queue->length)
                return;
        queue->head = 0;
        if (queue->capacity > KEPT_MAX)
                queue_fini(queue);
}

void queue_fini(struct queue *queue)
{
        free(queue->data);
        *queue = (struct queue){0};
}
