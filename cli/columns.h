/*
 * columns: a table as plain text, each column as wide as its widest cell.
 */
#ifndef CRISP_CLI_COLUMNS_H
#define CRISP_CLI_COLUMNS_H

#include "base/buffer.h"

#define COLUMNS_MAX 16

struct columns;

/* headings are borrowed, ended by null, and at most COLUMNS_MAX. */
struct columns *columns_new(const char *const *headings);
void columns_free(struct columns *columns); /* null is allowed */

/* Adds the next cell, copied and cleaned (text_clean); "-" for an empty one or null. A row is full
 * after as many as there are headings. */
void columns_add(struct columns *columns, const char *cell);

/*
 * Adds the table to out: headings, then the rows, without trailing blanks. Where lines would be
 * wider than width, the last column is cut and ends in "..."; 0 is any width.
 */
void columns_write(const struct columns *columns, size_t width, struct buffer *out);

static inline void cleanup_columns(struct columns **columns)
{
        columns_free(*columns);
}
#define AUTO_COLUMNS CLEANUP(cleanup_columns)

#endif
