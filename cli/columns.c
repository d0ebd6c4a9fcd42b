#include "cli/columns.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "cli/text.h"

#define GAP      2  /* blanks between columns */
#define LAST_MIN 12 /* columns that the last one keeps however narrow the terminal is */

struct columns {
        const char *headings[COLUMNS_MAX];
        size_t count; /* of columns */
        char **cells; /* row by row */
        size_t cell_count, capacity;
};

struct columns *columns_new(const char *const *headings)
{
        struct columns *columns = xcalloc(1, sizeof *columns);

        for (; headings[columns->count]; columns->count++) {
                assert(columns->count < COLUMNS_MAX);
                columns->headings[columns->count] = headings[columns->count];
        }
        return columns;
}

void columns_free(struct columns *columns)
{
        if (!columns)
                return;
        for (size_t i = 0; i < columns->cell_count; i++)
                free(columns->cells[i]);
        free(columns->cells);
        free(columns);
}

void columns_add(struct columns *columns, const char *cell)
{
        AUTO_BUFFER struct buffer clean = BUFFER_INIT;

        text_clean(&clean, cell && *cell ? cell : "-");
        if (columns->cell_count == columns->capacity) {
                columns->capacity = columns->capacity ? 2 * columns->capacity : 64;
                columns->cells =
                        xrealloc(columns->cells, columns->capacity * sizeof *columns->cells);
        }
        columns->cells[columns->cell_count++] = buffer_take(&clean);
}

static void measure(const struct columns *columns, size_t widths[COLUMNS_MAX])
{
        for (size_t i = 0; i < columns->count; i++)
                widths[i] = text_width(columns->headings[i]);
        for (size_t i = 0; i < columns->cell_count; i++) {
                size_t width = text_width(columns->cells[i]);
                size_t *widest = &widths[i % columns->count];
                if (width > *widest)
                        *widest = width;
        }
}

/* The last column's width where a line may have this many columns. */
static size_t last_width(const struct columns *columns, const size_t widths[COLUMNS_MAX],
                         size_t width)
{
        size_t before = 0, last = widths[columns->count - 1];

        for (size_t i = 0; i + 1 < columns->count; i++)
                before += widths[i] + GAP;
        if (width == 0 || before + last <= width)
                return last;
        return width >= before + LAST_MIN ? width - before : LAST_MIN;
}

static void write_last(const char *cell, size_t width, struct buffer *out)
{
        if (text_width(cell) <= width) {
                buffer_add_text(out, cell);
        } else {
                buffer_add(out, cell, text_fit(cell, width - strlen("...")));
                buffer_add_text(out, "...");
        }
        buffer_add_text(out, "\n");
}

static void write_row(const struct columns *columns, const char *const *cells,
                      const size_t widths[COLUMNS_MAX], size_t last, struct buffer *out)
{
        for (size_t i = 0; i + 1 < columns->count; i++) {
                size_t blanks = widths[i] - text_width(cells[i]) + GAP;
                buffer_add_text(out, cells[i]);
                memset(buffer_reserve(out, blanks), ' ', blanks);
                out->length += blanks;
        }
        write_last(cells[columns->count - 1], last, out);
}

void columns_write(const struct columns *columns, size_t width, struct buffer *out)
{
        size_t widths[COLUMNS_MAX];

        assert(columns->cell_count % columns->count == 0);
        measure(columns, widths);
        size_t last = last_width(columns, widths, width);
        write_row(columns, columns->headings, widths, last, out);
        for (size_t i = 0; i < columns->cell_count; i += columns->count)
                write_row(columns, (const char *const *)columns->cells + i, widths, last, out);
}
