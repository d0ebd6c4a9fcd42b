#include "image/fetch/window.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"

/*
 * Bytes that come out of the window between two times that its pages are let go. What comes back of
 * them costs a fault for each, without reading: they are still in the kernel's cache.
 */
#define KEPT_FOR (2u << 20)

struct window {
        void *file; /* mapped; null: none */
        size_t length;
        size_t advanced;
};

static int folder = -1;

void window_use_folder(int folder_fd)
{
        folder = folder_fd;
}

struct window *window_new(void)
{
        return xcalloc(1, sizeof(struct window));
}

void window_free(struct window *window)
{
        free(window);
}

bool window_is_file(const struct window *window)
{
        return window->file != NULL;
}

/* A file of this size, with room on the disk for all of it: a full disk would kill who writes to
 * the mapping. */
static void *map_file(size_t size)
{
        if (folder < 0)
                return NULL;
        AUTO_FD int fd = openat(folder, ".", O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0)
                return NULL;
        if (fallocate(fd, 0, 0, (off_t)size) < 0)
                return NULL;
        void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        return mapped == MAP_FAILED ? NULL : mapped;
}

void *window_allocate(void *argument, size_t size)
{
        struct window *window = argument;

        if (size > WINDOW_IN_MEMORY && !window->file) {
                window->file = map_file(size);
                window->length = size;
                if (window->file)
                        return window->file;
        }
        return malloc(size);
}

void window_give_back(void *argument, void *bytes)
{
        struct window *window = argument;

        if (!bytes || bytes != window->file) {
                free(bytes);
                return;
        }
        munmap(window->file, window->length);
        window->file = NULL;
}

void window_advance(struct window *window, size_t count)
{
        window->advanced += count;
        if (!window->file || window->advanced < KEPT_FOR)
                return;
        window->advanced = 0;
        madvise(window->file, window->length, MADV_DONTNEED);
}
