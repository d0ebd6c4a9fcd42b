#include "image/pinned.h"

#include <string.h>

#include "base/memory.h"

/* Goes back to the last star alone: what an earlier one could do, that one can. */
static bool fits(const char *pattern, const char *text)
{
        const char *star = NULL, *from = NULL;
        while (*text) {
                if (*pattern == '*') {
                        star = pattern++;
                        from = text;
                } else if (*pattern == *text) {
                        pattern++;
                        text++;
                } else if (star) {
                        pattern = star + 1;
                        text = ++from;
                } else {
                        return false;
                }
        }
        return pattern[strspn(pattern, "*")] == '\0';
}

static bool fits_one(const char *pattern, char *const *names)
{
        for (; names && *names; names++)
                if (fits(pattern, *names))
                        return true;
        return false;
}

/* The name as images have it, on the heap; the pattern itself where it is no name. */
static char *full_name(const char *pattern)
{
        struct reference reference;
        if (strchr(pattern, '*') || reference_parse(pattern, &reference, NULL) < 0)
                return xstrdup(pattern);
        if (reference.digest[0])
                return reference_digested(&reference, reference.digest);
        return reference_tagged(&reference);
}

bool pinned_has(char *const *patterns, const struct image *image)
{
        for (; patterns && *patterns; patterns++) {
                AUTO_FREE char *pattern = full_name(*patterns);
                if (strcmp(*patterns, image->id) == 0 || fits_one(pattern, image->tags) ||
                    fits_one(pattern, image->digests))
                        return true;
        }
        return false;
}
