/*
 * What may have been meant by a key that is not known.
 */
#include "cri/config_load.h"

#include <limits.h>
#include <string.h>

#include "base/memory.h"

#define COMPARE_MAX 64 /* bytes of a key that are compared */

/* How many letters have to be put in, left out or changed to make one text of the other
 * (Levenshtein). */
static unsigned distance(const char *one, const char *other)
{
        size_t one_length = strnlen(one, COMPARE_MAX), other_length = strnlen(other, COMPARE_MAX);
        unsigned row[COMPARE_MAX + 1];

        for (size_t k = 0; k <= other_length; k++)
                row[k] = (unsigned)k;
        for (size_t i = 1; i <= one_length; i++) {
                unsigned before = row[0]; /* of the row above, one to the left */

                row[0] = (unsigned)i;
                for (size_t k = 1; k <= other_length; k++) {
                        unsigned above = row[k], best = before + (one[i - 1] != other[k - 1]);

                        if (above + 1 < best)
                                best = above + 1;
                        if (row[k - 1] + 1 < best)
                                best = row[k - 1] + 1;
                        row[k] = best;
                        before = above;
                }
        }
        return row[other_length];
}

static const char *last_part(const char *name)
{
        const char *dot = strrchr(name, '.');

        return dot ? dot + 1 : name;
}

const char *config_nearest(const struct config_setting *settings, size_t count, const char *path)
{
        const char *best = settings[0].name;
        unsigned least = UINT_MAX;

        for (size_t i = 0; i < count; i++) {
                unsigned whole = distance(path, settings[i].name);
                unsigned part = distance(last_part(path), last_part(settings[i].name)) + 1;
                unsigned away = whole < part ? whole : part;

                if (away < least) {
                        least = away;
                        best = settings[i].name;
                }
        }
        return best;
}

char *config_nearest_table(const char *path)
{
        char *best = xstrdup("runtime.handlers");
        unsigned least = distance(path, best);

        for (size_t i = 0; i < config_setting_count; i++) {
                const char *name = config_settings[i].name, *dot = strchr(name, '.');
                AUTO_FREE char *table = dot ? xstrndup(name, (size_t)(dot - name)) : NULL;
                unsigned away = table ? distance(path, table) : UINT_MAX;

                if (away < least) {
                        least = away;
                        free(best);
                        best = take_ptr(table);
                }
        }
        return best;
}
