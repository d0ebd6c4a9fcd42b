#include "image/fetch/path.h"

#include <stdio.h>
#include <stdbool.h>
#include <string.h>

#define WHITEOUT_PREFIX ".wh."
#define AUFS_PREFIX     ".wh..wh."
#define OPAQUE_NAME     ".wh..wh..opq"

static bool starts_with(const char *text, size_t length, const char *prefix)
{
        size_t wanted = strlen(prefix);
        return length >= wanted && memcmp(text, prefix, wanted) == 0;
}

static bool is_dots(const char *text, size_t length)
{
        return length == 2 && text[0] == '.' && text[1] == '.';
}

/* The next part of *at that counts; its length, or 0 at the end. */
static size_t next_part(const char **at)
{
        for (;;) {
                while (**at == '/')
                        (*at)++;
                size_t length = strcspn(*at, "/");
                if (length != 1 || **at != '.')
                        return length;
                (*at)++;
        }
}

static int set_name(struct path *path, const char *name, size_t length, struct error *err)
{
        path->kind = PATH_ENTRY;
        if (length == strlen(OPAQUE_NAME) && starts_with(name, length, OPAQUE_NAME)) {
                path->kind = PATH_OPAQUE;
                length = 0;
        } else if (starts_with(name, length, AUFS_PREFIX)) {
                path->kind = PATH_IGNORED;
        } else if (starts_with(name, length, WHITEOUT_PREFIX)) {
                path->kind = PATH_WHITEOUT;
                name += strlen(WHITEOUT_PREFIX);
                length -= strlen(WHITEOUT_PREFIX);
                if (length == 0 || (length == 1 && name[0] == '.') || is_dots(name, length))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "a whiteout that names nothing");
        }
        memcpy(path->name, name, length);
        path->name[length] = '\0';
        return 0;
}

int path_parse(const char *text, struct path *path, struct error *err)
{
        struct path parsed;
        size_t used = 0, depth = 0;
        const char *at = text;
        size_t length = next_part(&at);

        if (strlen(text) >= FETCH_PATH_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "a path of more than %d bytes",
                                 FETCH_PATH_MAX - 1);
        strcpy(parsed.parent, ".");
        parsed.name[0] = '\0';
        parsed.kind = PATH_ROOT;
        while (length > 0) {
                const char *part = at;
                size_t part_length = length;

                if (is_dots(part, part_length))
                        return error_set(err, ERROR_INVALID_ARGUMENT, "a path with .. in it");
                if (part_length >= sizeof(parsed.name))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "a name of more than 255 bytes");
                if (++depth > FETCH_DEPTH_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT, "more than %d folders deep",
                                         FETCH_DEPTH_MAX);
                at += length;
                length = next_part(&at);
                if (length == 0) {
                        int r = set_name(&parsed, part, part_length, err);
                        if (r < 0)
                                return r;
                        break;
                }
                if (starts_with(part, part_length, AUFS_PREFIX)) {
                        parsed.kind = PATH_IGNORED;
                        break;
                }
                if (starts_with(part, part_length, WHITEOUT_PREFIX))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "a whiteout in the place of a folder");
                if (used > 0)
                        parsed.parent[used++] = '/';
                memcpy(parsed.parent + used, part, part_length);
                used += part_length;
                parsed.parent[used] = '\0';
        }
        *path = parsed;
        return 0;
}

void path_join(const struct path *path, char out[2 * FETCH_PATH_MAX])
{
        if (path->name[0] == '\0')
                snprintf(out, 2 * FETCH_PATH_MAX, "%s", path->parent);
        else if (strcmp(path->parent, ".") == 0)
                snprintf(out, 2 * FETCH_PATH_MAX, "%s", path->name);
        else
                snprintf(out, 2 * FETCH_PATH_MAX, "%s/%s", path->parent, path->name);
}
