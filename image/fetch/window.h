/*
 * window: what a decompressor of zstd looks back in, where the layer's maker chose a large one.
 *
 * A window beyond WINDOW_IN_MEMORY is a file without a name that is mapped: its pages are the
 * kernel's to take back, and between pieces of work crisp-image has hardly any of them. Where no
 * file can be made it is memory like any other.
 */
#ifndef CRISP_IMAGE_FETCH_WINDOW_H
#define CRISP_IMAGE_FETCH_WINDOW_H

#include <stdbool.h>
#include <stddef.h>

#define WINDOW_IN_MEMORY (32u << 20) /* bytes, the largest that is not in a file */

struct window;

/* Where files are made from then on; borrowed, -1: nowhere. Before there are threads. */
void window_use_folder(int folder_fd);

struct window *window_new(void);
/* What lies in it has been given back; null is allowed. */
void window_free(struct window *window);

/* As ZSTD_customMem has them: argument is the window. One large piece at a time. */
void *window_allocate(void *argument, size_t size);
void window_give_back(void *argument, void *bytes);

/* count more bytes came through the window: lets its pages go when that was enough of them. */
void window_advance(struct window *window, size_t count);

/* Whether the large piece is in a file. */
bool window_is_file(const struct window *window);

#endif
