/*
 * queue: bytes that come in at one end and go out at the other.
 *
 * Zeroes are a valid empty queue. How much it may hold is its user's to watch: those that read from
 * outside stop reading at STREAM_QUEUE_MAX. Not locked.
 */
#ifndef CRISP_CRI_STREAM_QUEUE_H
#define CRISP_CRI_STREAM_QUEUE_H

#include <stddef.h>

#define STREAM_QUEUE_MAX (256 * 1024) /* bytes; who fills it waits from there on */

struct queue {
        char *data;
        size_t head; /* where the first byte is */
        size_t length;
        size_t capacity;
};

void queue_add(struct queue *queue, const void *bytes, size_t length);
/* Room for length bytes at the end; queue_added says how many of them were written. */
char *queue_reserve(struct queue *queue, size_t length);
void queue_added(struct queue *queue, size_t length);
/* The first bytes; length is how many there are. Null perhaps where there are none. */
static inline const char *queue_front(const struct queue *queue)
{
        return queue->data ? queue->data + queue->head : NULL;
}
void queue_drop(struct queue *queue, size_t length);
void queue_fini(struct queue *queue);

#endif
