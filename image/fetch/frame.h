/*
 * frame: what the first bytes of a zstd frame say (RFC 8878, section 3.1.1).
 */
#ifndef CRISP_IMAGE_FETCH_FRAME_H
#define CRISP_IMAGE_FETCH_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD_MAX 18 /* bytes that are looked at, at most */

/* Whether the frame's window, in bytes, can be said from its first count bytes; with
 * FRAME_HEAD_MAX of them it always can. 0 for what needs none, or is no frame. Pure. */
bool frame_window(const unsigned char *bytes, size_t count, uint64_t *window);

/* Whether a frame, or one of the sixteen kinds of skippable frames, begins so. magic: 4 bytes. */
bool frame_begins(const unsigned char *magic);

#endif
