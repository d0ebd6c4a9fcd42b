#include "image/fetch/notes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/fetch/limits.h"

#define NOTE_COST 16 /* bytes that a note takes beside its text */

void notes_init(struct notes *notes, _Atomic int64_t *left)
{
        *notes = (struct notes){.left = left, .opaque = table_new(), .implied = table_new()};
        table_put(notes->implied, ".", notes);
}

void notes_fini(struct notes *notes)
{
        for (size_t i = 0; i < notes->link_count; i++) {
                free((char *)(uintptr_t)notes->links[i].path);
                free((char *)(uintptr_t)notes->links[i].target);
        }
        free(notes->links);
        free(notes->opaque_list);
        free(notes->implied_list);
        table_free(notes->opaque);
        table_free(notes->implied);
}

static int pay(struct notes *notes, size_t length, struct error *err)
{
        int64_t cost = (int64_t)length + NOTE_COST;
        if (atomic_fetch_sub(notes->left, cost) < cost)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "more opaque folders, implied folders and links out of a layer "
                                 "than %u bytes of an image may name",
                                 FETCH_NOTES_BYTES_MAX);
        return 0;
}

static int note_path(struct notes *notes, struct table *table, const char *path, struct error *err)
{
        if (table_get(table, path))
                return 0;
        int r = pay(notes, strlen(path), err);
        if (r == 0)
                table_put(table, path, notes);
        return r;
}

int notes_opaque(struct notes *notes, const char *path, struct error *err)
{
        return note_path(notes, notes->opaque, path, err);
}

int notes_implied(struct notes *notes, const char *path, struct error *err)
{
        return note_path(notes, notes->implied, path, err);
}

void notes_explicit(struct notes *notes, const char *path)
{
        table_remove(notes->implied, path);
}

int notes_link(struct notes *notes, const char *path, const char *target, struct error *err)
{
        int r = pay(notes, strlen(path) + strlen(target), err);
        if (r < 0)
                return r;
        if (notes->link_count == notes->link_capacity) {
                notes->link_capacity = notes->link_capacity ? notes->link_capacity * 2 : 16;
                notes->links =
                        xrealloc(notes->links, notes->link_capacity * sizeof(notes->links[0]));
        }
        notes->links[notes->link_count++] =
                (struct fetch_link){.path = xstrdup(path), .target = xstrdup(target)};
        return 0;
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char **list_folders(struct table *table, int root_fd, size_t *count)
{
        const char **list = xcalloc(table_size(table) + 1, sizeof(*list));
        const char *path;
        size_t cursor = 0, found = 0;

        while (table_next(table, &cursor, &path)) {
                AUTO_FD int fd =
                        file_open_in(root_fd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, NULL);
                if (fd >= 0)
                        list[found++] = path;
        }
        qsort(list, found, sizeof(*list), by_text);
        *count = found;
        return list;
}

void notes_finish(struct notes *notes, int root_fd)
{
        notes->opaque_list = list_folders(notes->opaque, root_fd, &notes->opaque_count);
        notes->implied_list = list_folders(notes->implied, root_fd, &notes->implied_count);
}
