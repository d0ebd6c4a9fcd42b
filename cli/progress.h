/*
 * progress: what is under way, a bar for each part, drawn over and over in place.
 *
 * Pure functions that add bytes for a terminal (ECMA-48) to a buffer. Between two drawings the
 * cursor is at the beginning of the line below the last bar: who is interrupted leaves it right.
 */
#ifndef CRISP_CLI_PROGRESS_H
#define CRISP_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

struct progress_bar {
        const char *label;     /* of a few columns: they stand below each other */
        uint64_t bytes, total; /* total 0 where it is not known */
        const char *note;      /* in place of the sizes: "waiting", "done"; or null */
        bool done;
};

/* Adds one line without its end, at most width columns. */
void progress_line(struct buffer *out, const struct progress_bar *bar, size_t width);

/*
 * Adds a drawing: a title, then the bars, in a terminal of width columns and height rows. Where
 * there are more bars than rows, those that are done give way first, then the last; a line tells
 * how many are not shown. *drawn is the number of lines of the drawing before (0 for the first) and
 * becomes that of this one.
 */
void progress_draw(struct buffer *out, const char *title, const struct progress_bar *bars,
                   size_t count, size_t width, size_t height, size_t *drawn);

/* Takes the drawing away, so that lines may stand where it was. Nothing where there is none. */
void progress_erase(struct buffer *out, size_t *drawn);

#endif
