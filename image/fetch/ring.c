#include "image/fetch/ring.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/*
 * Neither side gets more at a time than this part of the ring. One that took all of it would have
 * the other one wait until it is done with all of it: they would take turns instead of working side
 * by side.
 */
#define PIECES 8

enum { READER, FOLLOWER, READERS_MAX };

struct ring {
        pthread_mutex_t mutex;
        pthread_cond_t readable[READERS_MAX];
        pthread_cond_t writable;
        unsigned readers;
        size_t size;
        size_t piece;
        size_t head;               /* bytes ever written */
        size_t tails[READERS_MAX]; /* bytes ever read, by each */
        bool finished;
        bool broken;
        char bytes[];
};

struct ring *ring_new(size_t size)
{
        struct ring *ring = xcalloc(1, sizeof(*ring) + size);
        ring->size = size;
        ring->piece = size < PIECES ? 1 : size / PIECES;
        pthread_mutex_init(&ring->mutex, NULL);
        ring->readers = 1;
        for (unsigned i = 0; i < READERS_MAX; i++)
                pthread_cond_init(&ring->readable[i], NULL);
        pthread_cond_init(&ring->writable, NULL);
        return ring;
}

void ring_free(struct ring *ring)
{
        if (!ring)
                return;
        for (unsigned i = 0; i < READERS_MAX; i++)
                pthread_cond_destroy(&ring->readable[i]);
        pthread_cond_destroy(&ring->writable);
        pthread_mutex_destroy(&ring->mutex);
        free(ring);
}

static size_t smaller(size_t a, size_t b)
{
        return a < b ? a : b;
}

/* What the slower reader has still to read. The mutex is held. */
static size_t unread(const struct ring *ring)
{
        size_t most = ring->head - ring->tails[READER];
        if (ring->readers > FOLLOWER && ring->head - ring->tails[FOLLOWER] > most)
                most = ring->head - ring->tails[FOLLOWER];
        return most;
}

/* The mutex is held. */
static void wake_readers(struct ring *ring)
{
        for (unsigned i = 0; i < ring->readers; i++)
                pthread_cond_signal(&ring->readable[i]);
}

size_t ring_write_begin(struct ring *ring, char **space)
{
        size_t count = 0;

        pthread_mutex_lock(&ring->mutex);
        while (!ring->broken && unread(ring) == ring->size)
                pthread_cond_wait(&ring->writable, &ring->mutex);
        if (!ring->broken) {
                size_t at = ring->head % ring->size;
                count = smaller(ring->size - unread(ring), ring->size - at);
                count = smaller(count, ring->piece);
                *space = ring->bytes + at;
        }
        pthread_mutex_unlock(&ring->mutex);
        return count;
}

void ring_write_end(struct ring *ring, size_t count)
{
        pthread_mutex_lock(&ring->mutex);
        ring->head += count;
        wake_readers(ring);
        pthread_mutex_unlock(&ring->mutex);
}

int ring_write(struct ring *ring, const char *bytes, size_t count)
{
        while (count > 0) {
                char *space;
                size_t room = ring_write_begin(ring, &space);
                if (room == 0)
                        return -ECANCELED;
                size_t part = smaller(room, count);
                memcpy(space, bytes, part);
                ring_write_end(ring, part);
                bytes += part;
                count -= part;
        }
        return 0;
}

void ring_finish(struct ring *ring)
{
        pthread_mutex_lock(&ring->mutex);
        ring->finished = true;
        wake_readers(ring);
        pthread_mutex_unlock(&ring->mutex);
}

static ssize_t read_begin(struct ring *ring, unsigned reader, size_t minimum, const char **data)
{
        const size_t *tail = &ring->tails[reader];
        ssize_t count = -ECANCELED;

        pthread_mutex_lock(&ring->mutex);
        while (!ring->broken && !ring->finished && ring->head - *tail < minimum)
                pthread_cond_wait(&ring->readable[reader], &ring->mutex);
        if (!ring->broken) {
                size_t at = *tail % ring->size;
                size_t there = smaller(ring->head - *tail, ring->size - at);
                count = (ssize_t)smaller(there, minimum > ring->piece ? minimum : ring->piece);
                *data = ring->bytes + at;
        }
        pthread_mutex_unlock(&ring->mutex);
        return count;
}

static void read_end(struct ring *ring, unsigned reader, size_t count)
{
        pthread_mutex_lock(&ring->mutex);
        ring->tails[reader] += count;
        pthread_cond_signal(&ring->writable);
        pthread_mutex_unlock(&ring->mutex);
}

ssize_t ring_read_begin(struct ring *ring, size_t minimum, const char **data)
{
        return read_begin(ring, READER, minimum, data);
}

void ring_read_end(struct ring *ring, size_t count)
{
        read_end(ring, READER, count);
}

void ring_follow(struct ring *ring)
{
        ring->readers = READERS_MAX;
}

ssize_t ring_follow_begin(struct ring *ring, const char **data)
{
        return read_begin(ring, FOLLOWER, 1, data);
}

void ring_follow_end(struct ring *ring, size_t count)
{
        read_end(ring, FOLLOWER, count);
}

void ring_break(struct ring *ring)
{
        pthread_mutex_lock(&ring->mutex);
        ring->broken = true;
        wake_readers(ring);
        pthread_cond_signal(&ring->writable);
        pthread_mutex_unlock(&ring->mutex);
}
