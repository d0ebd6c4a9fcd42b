/*
 * compare_private: what compare's two files share. Nobody else includes this.
 */
#ifndef CRISP_IMAGE_FETCH_COMPARE_PRIVATE_H
#define CRISP_IMAGE_FETCH_COMPARE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/table.h"
#include "image/fetch/compare.h"
#include "image/fetch/limits.h"

struct difference {
        char *path;
        const char *what;
        char *how;
};

struct compare {
        int root_fd;
        char root_path[2 * FETCH_PATH_MAX]; /* as the kernel knows it */

        /* The parent of the last entry. */
        char parent[FETCH_PATH_MAX];
        char resolved[2 * FETCH_PATH_MAX]; /* its path without symlinks; empty: the root */
        int parent_fd;

        struct table *implied, *links;    /* from the notes: the keys are the paths */
        struct table *opaque, *whiteouts; /* likewise, as the entries say */
        uint64_t *seen;                   /* hashes of the entries' resolved paths */
        size_t seen_count, seen_capacity;
        uint64_t entries;

        struct difference *differences; /* provisional until the end */
        size_t difference_count;
        size_t more; /* that were not kept */
        const char **opaque_list;
        size_t opaque_count;
};

bool compare_path_of(int fd, char path[2 * FETCH_PATH_MAX]);
uint64_t compare_hash(const char *parent, const char *name);
void compare_differ(struct compare *compare, const char *path, const char *what, const char *format,
                    ...) __attribute__((format(printf, 4, 5)));

/* The attributes of what is name in the open parent. */
void compare_attributes(struct compare *compare, const char *path, int parent_fd, const char *name,
                        const struct tree_entry *entry, int64_t size);
/* Looks for what no entry named. */
int compare_walk(struct compare *compare, struct error *err);

#endif
