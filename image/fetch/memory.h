/*
 * memory: the large pieces of it, of which all layers of a pull together get so much and no more.
 *
 * Those are the windows that decompressors of zstd look back in, which the layer's maker chose, and
 * the parts of layers that came before their turn (ranges.h). One account for the process. Any
 * thread.
 */
#ifndef CRISP_IMAGE_FETCH_MEMORY_H
#define CRISP_IMAGE_FETCH_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A window: waits until the others leave room for it; one that is larger than all there is waits
 * until it is alone. For parts it waits for a moment only, since they may be of its own layer and
 * wait for it. Where given_up (asked now and then) says so, it gets nothing: false.
 */
bool memory_take_window(size_t bytes, bool (*given_up)(void *argument), void *argument);
void memory_give_window(size_t bytes); /* as taken */

/* A part: only where there is room, and nobody waits. */
bool memory_take_part(size_t bytes);
void memory_give_part(size_t bytes);

/* Who keeps some for later use: reclaim gives it back when somebody waits. It is called from
 * memory_take_window. One at a time; null: nobody. */
void memory_set_keeper(void (*reclaim)(void *argument), void *argument);

#endif
