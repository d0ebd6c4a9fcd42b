/*
 * path: names as archives have them, made plain.
 */
#ifndef CRISP_IMAGE_FETCH_PATH_H
#define CRISP_IMAGE_FETCH_PATH_H

#include "base/error.h"
#include "image/fetch/limits.h"

enum path_kind {
        PATH_ROOT,     /* the root itself: "", ".", "/" */
        PATH_ENTRY,    /* an ordinary name */
        PATH_WHITEOUT, /* .wh.NAME: parent and name are those of what it hides */
        PATH_OPAQUE,   /* .wh..wh..opq: parent is the folder, name is empty */
        PATH_IGNORED,  /* aufs's own bookkeeping */
};

struct path {
        enum path_kind kind;
        char parent[FETCH_PATH_MAX]; /* "." for the root */
        char name[256];
};

/*
 * Leading slashes, "." and empty parts are dropped, as all tools do. INVALID_ARGUMENT for "..", for
 * a whiteout as a folder and for what is too long; the message does not name the path. Pure.
 */
int path_parse(const char *text, struct path *path, struct error *err);

/* Writes parent/name into out, or the one of them that is there. */
void path_join(const struct path *path, char out[2 * FETCH_PATH_MAX]);

#endif
