#include "base/timer.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/task.h"

/* A binary heap; heap[0] is unused, the children of i are 2i and 2i + 1. */
static struct timer_entry **heap;
static size_t count, capacity;

static void put(size_t position, struct timer_entry *entry)
{
        heap[position] = entry;
        entry->position = position;
}

static void rise(size_t position, struct timer_entry *entry)
{
        while (position > 1 && heap[position / 2]->deadline > entry->deadline) {
                put(position, heap[position / 2]);
                position /= 2;
        }
        put(position, entry);
}

static void sink(size_t position, struct timer_entry *entry)
{
        for (;;) {
                size_t child = position * 2;
                if (child < count && heap[child + 1]->deadline < heap[child]->deadline)
                        child++;
                if (child > count || heap[child]->deadline >= entry->deadline)
                        break;
                put(position, heap[child]);
                position = child;
        }
        put(position, entry);
}

void timer_add(struct timer_entry *entry, int64_t deadline, void (*callback)(void *),
               void *argument)
{
        timer_remove(entry);
        *entry = (struct timer_entry){
                .deadline = deadline, .callback = callback, .argument = argument};
        if (count + 2 > capacity) {
                capacity = capacity ? capacity * 2 : 64;
                heap = xrealloc(heap, capacity * sizeof *heap);
        }
        rise(++count, entry);
}

void timer_remove(struct timer_entry *entry)
{
        size_t position = entry->position;
        if (!position)
                return;
        entry->position = 0;
        struct timer_entry *last = heap[count--];
        if (last != entry) {
                if (position > 1 && heap[position / 2]->deadline > last->deadline)
                        rise(position, last);
                else
                        sink(position, last);
        }
        if (!count) {
                free(heap);
                heap = NULL;
                capacity = 0;
        }
}

int64_t timer_next(void)
{
        return count ? heap[1]->deadline : CLOCK_NEVER;
}

void timer_run_due(int64_t now)
{
        while (count && heap[1]->deadline <= now) {
                struct timer_entry *due = heap[1];
                timer_remove(due);
                due->callback(due->argument);
        }
}

struct timer {
        struct timer_entry entry;
};

struct timer *timer_new(int64_t deadline, void (*callback)(void *), void *argument)
{
        struct timer *timer = xcalloc(1, sizeof *timer);
        timer_add(&timer->entry, deadline, callback, argument);
        return timer;
}

void timer_free(struct timer *timer)
{
        if (!timer)
                return;
        timer_remove(&timer->entry);
        free(timer);
}
