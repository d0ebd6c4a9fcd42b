#include "cli/progress.h"

#include <stdio.h>
#include <string.h>

#include "cli/text.h"

#define BAR_MIN      10 /* columns between the brackets; with less there is none */
#define BAR_MAX      50
#define DETAIL_WIDTH 19 /* "12.3 MB / 45.6 MB" */

/* ECMA-48 */
#define ESCAPE_UP         "\x1b[%zuA"
#define ESCAPE_ERASE_LINE "\x1b[K"
#define ESCAPE_ERASE_REST "\x1b[J"

static void add_repeated(struct buffer *out, char byte, size_t count)
{
        memset(buffer_reserve(out, count), byte, count);
        out->length += count;
}

static void add_bar(struct buffer *out, const struct progress_bar *bar, size_t columns)
{
        double part = bar->total ? (double)bar->bytes / (double)bar->total : 0;
        size_t filled = (size_t)(part * (double)columns);

        if (bar->done || filled > columns)
                filled = columns;
        buffer_add_text(out, "[");
        add_repeated(out, '=', filled);
        if (filled < columns) {
                buffer_add_text(out, filled ? ">" : " ");
                add_repeated(out, ' ', columns - filled - 1);
        }
        buffer_add_text(out, "]  ");
}

static void describe(char out[2 * TEXT_VALUE_MAX + 8], const struct progress_bar *bar)
{
        char bytes[TEXT_VALUE_MAX], total[TEXT_VALUE_MAX];

        text_size(bytes, bar->bytes);
        text_size(total, bar->total);
        if (bar->note)
                snprintf(out, 2 * TEXT_VALUE_MAX + 8, "%s", bar->note);
        else if (bar->done || bar->total == 0)
                snprintf(out, 2 * TEXT_VALUE_MAX + 8, "%s", bar->total ? total : bytes);
        else
                snprintf(out, 2 * TEXT_VALUE_MAX + 8, "%s / %s", bytes, total);
}

void progress_line(struct buffer *out, const struct progress_bar *bar, size_t width)
{
        AUTO_BUFFER struct buffer line = BUFFER_INIT;
        char detail[2 * TEXT_VALUE_MAX + 8];
        size_t taken = text_width(bar->label) + strlen("  []  ") + DETAIL_WIDTH;

        describe(detail, bar);
        buffer_printf(&line, "%s  ", bar->label);
        if (width >= taken + BAR_MIN)
                add_bar(&line, bar, width - taken < BAR_MAX ? width - taken : BAR_MAX);
        buffer_add_text(&line, detail);
        buffer_add(out, line.data, text_fit(line.data, width));
}

/* ---- a drawing ---- */

static void end_line(struct buffer *out)
{
        buffer_add_text(out, ESCAPE_ERASE_LINE "\n");
}

void progress_draw(struct buffer *out, const char *title, const struct progress_bar *bars,
                   size_t count, size_t width, size_t height, size_t *drawn)
{
        /* A full last column would wrap on some terminals; the cursor's row and the title's are not
         * for bars. */
        size_t columns = width > 1 ? width - 1 : 1;
        size_t rows = height > 2 ? height - 2 : 1;
        size_t to_hide = count > rows ? count - rows + 1 : 0; /* and a line that tells of them */
        size_t room = count - to_hide, hide_done = 0, lines = 1;

        for (size_t i = 0; i < count && hide_done < to_hide; i++)
                hide_done += bars[i].done;
        if (*drawn)
                buffer_printf(out, ESCAPE_UP, *drawn);
        buffer_add(out, title, text_fit(title, columns));
        end_line(out);
        for (size_t i = 0; i < count && room > 0; i++) {
                if (bars[i].done && hide_done > 0) {
                        hide_done--;
                        continue;
                }
                progress_line(out, &bars[i], columns);
                end_line(out);
                lines++;
                room--;
        }
        if (to_hide) {
                buffer_printf(out, "(%zu more)", to_hide);
                end_line(out);
                lines++;
        }
        buffer_add_text(out, ESCAPE_ERASE_REST);
        *drawn = lines;
}

void progress_erase(struct buffer *out, size_t *drawn)
{
        if (*drawn)
                buffer_printf(out, ESCAPE_UP ESCAPE_ERASE_REST, *drawn);
        *drawn = 0;
}
