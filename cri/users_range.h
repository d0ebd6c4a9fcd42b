/*
 * users_range: ranges of the host's user and group IDs, from which pods with a user namespace by
 * annotation get their own. Pure functions; any thread.
 */
#ifndef CRISP_CRI_USERS_RANGE_H
#define CRISP_CRI_USERS_RANGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define USERS_RANGES_MAX 256 /* of one user in /etc/subuid; further ones are passed over */

struct users_range {
        uint64_t first, length; /* length is never 0, and first + length at most 2^32 - 1 */
};

/* "FIRST:LENGTH". INVALID_ARGUMENT for other text. */
int users_range_parse(const char *text, struct users_range *range, struct error *err);

/*
 * The ranges of a user in the text of /etc/subuid or /etc/subgid, "NAME:FIRST:LENGTH" lines; those
 * that are malformed are passed over. Returns how many were put into ranges.
 */
size_t users_range_of(const char *text, const char *name, struct users_range *ranges, size_t max);

/* The first place for length IDs within the ranges that overlaps none of the taken ones. -ENOSPC
 * (RESOURCE_EXHAUSTED) where there is none. */
int users_range_find(const struct users_range *ranges, size_t count,
                     const struct users_range *taken, size_t taken_count, uint32_t length,
                     uint32_t *first, struct error *err);

#endif
