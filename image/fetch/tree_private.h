/*
 * tree_private: what the tree's own files share. Nobody else includes it.
 */
#ifndef CRISP_IMAGE_FETCH_TREE_PRIVATE_H
#define CRISP_IMAGE_FETCH_TREE_PRIVATE_H

#include <limits.h>
#include <sys/stat.h>

#include "image/fetch/limits.h"
#include "image/fetch/notes.h"
#include "image/fetch/tree.h"

#define SHOWN_MAX 200 /* bytes of a path in an error */

struct folder_time {
        char *path;
        struct timespec modified;
};

struct tree {
        int root_fd;
        char root_path[2 * FETCH_PATH_MAX]; /* as the kernel knows it */
        tree_replaced *replaced;
        void *replaced_argument;

        /* The parent of the last entry: most entries share it with the one before. */
        char parent[FETCH_PATH_MAX];
        char resolved[2 * FETCH_PATH_MAX]; /* the parent's path without symlinks; empty: the root */
        int parent_fd;
        char place[2 * FETCH_PATH_MAX + NAME_MAX + 2]; /* as tree_place gives it */

        struct notes notes;
        struct folder_time *folders;
        size_t folder_count, folder_capacity;
        size_t folder_bytes;
};

/* The path by which the kernel knows an open folder; false where it is longer than paths are. */
bool tree_path_of(int fd, char path[2 * FETCH_PATH_MAX]);

/* overlayfs's whiteout. Nothing but the tree makes one: archives may not have such devices. */
bool tree_is_whiteout(const struct stat *status);

/* What tree_place gives: name in the open parent. */
void tree_set_place(struct tree *tree, const char *name);

/* Makes path the tree's open parent, with what is missing of it. */
int tree_enter_parent(struct tree *tree, const char *path, struct error *err);

/*
 * Makes room for an entry where one of the same path is: sets *hidden where that was a whiteout.
 * With keep_folder a folder may stay, and -EEXIST says so.
 */
int tree_clear_way(struct tree *tree, const char *name, bool keep_folder, bool *hidden,
                   struct error *err);

#endif
