#include "image/fetch/compare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/table.h"
#include "image/fetch/compare_private.h"
#include "image/fetch/path.h"

#define ENTRIES_MAX     (16u << 20) /* of one layer: each costs eight bytes */
#define DIFFERENCES_MAX 1000        /* kept; the others are counted with the last */
#define HOW_MAX         512
#define SHOWN_MAX       200

int compare_new(int root_fd, struct compare **compare, struct error *err)
{
        struct compare *new = xcalloc(1, sizeof(*new));

        new->parent_fd = -1;
        new->root_fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
        if (new->root_fd < 0) {
                free(new);
                return error_errno(err, errno, "layer's folder");
        }
        compare_path_of(new->root_fd, new->root_path);
        new->implied = table_new();
        new->links = table_new();
        new->opaque = table_new();
        new->whiteouts = table_new();
        *compare = new;
        return 0;
}

void compare_free(struct compare *compare)
{
        if (!compare)
                return;
        for (size_t i = 0; i < compare->difference_count; i++) {
                free(compare->differences[i].path);
                free(compare->differences[i].how);
        }
        free(compare->differences);
        free(compare->seen);
        free(compare->opaque_list);
        table_free(compare->implied);
        table_free(compare->links);
        table_free(compare->opaque);
        table_free(compare->whiteouts);
        cleanup_fd(&compare->parent_fd);
        cleanup_fd(&compare->root_fd);
        free(compare);
}

/* ---- notes ---- */

int compare_notes(struct compare *compare, const char *bytes, size_t length, struct error *err)
{
        const char *end = bytes + length;

        if (length > 0 && bytes[length - 1] != '\0')
                return error_set(err, ERROR_DATA_LOSS, "the layer's notes are damaged");
        while (bytes < end) {
                char kind = *bytes++;
                const char *path = bytes;
                if (bytes < end)
                        bytes += strlen(bytes) + 1;
                if (kind == 'l' && bytes < end)
                        bytes += strlen(bytes) + 1;
                else if (kind != 'i' || bytes == path)
                        return error_set(err, ERROR_DATA_LOSS, "the layer's notes are damaged");
                table_put(kind == 'l' ? compare->links : compare->implied, path, compare);
        }
        return 0;
}

/* ---- differences ---- */

void compare_differ(struct compare *compare, const char *path, const char *what, const char *format,
                    ...)
{
        char how[HOW_MAX];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(how, sizeof(how), format, arguments);
        va_end(arguments);
        if (compare->difference_count == DIFFERENCES_MAX) {
                compare->more++;
                return;
        }
        if (!compare->differences)
                compare->differences = xcalloc(DIFFERENCES_MAX, sizeof(compare->differences[0]));
        compare->differences[compare->difference_count++] =
                (struct difference){xstrdup(path), what, xstrdup(how)};
}

/* A later entry has taken the path: what was told of it, and with a folder of what is below, was of
 * something that is rightly gone. */
static void forget(struct compare *compare, const char *path, bool is_folder)
{
        size_t kept = 0, length = strlen(path);

        for (size_t i = 0; i < compare->difference_count; i++) {
                struct difference *difference = &compare->differences[i];
                bool same = strcmp(difference->path, path) == 0;
                bool below = !is_folder && strncmp(difference->path, path, length) == 0 &&
                             difference->path[length] == '/';
                if (same || below) {
                        free(difference->path);
                        free(difference->how);
                } else {
                        compare->differences[kept++] = *difference;
                }
        }
        compare->difference_count = kept;
}

/* ---- places ---- */

bool compare_path_of(int fd, char path[2 * FETCH_PATH_MAX])
{
        char link[32];

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, 2 * FETCH_PATH_MAX - 1);
        path[length < 0 ? 0 : length] = '\0';
        return length >= 0;
}

uint64_t compare_hash(const char *parent, const char *name)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
        const char *parts[] = {parent, parent[0] ? "/" : "", name};

        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
                for (const char *c = parts[i]; *c; c++)
                        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
        return hash;
}

static int mark_seen(struct compare *compare, const char *name, struct error *err)
{
        if (compare->seen_count == compare->seen_capacity) {
                if (compare->seen_capacity >= ENTRIES_MAX)
                        return error_set(err, ERROR_RESOURCE_EXHAUSTED, "more than %u entries",
                                         ENTRIES_MAX);
                compare->seen_capacity = compare->seen_capacity ? compare->seen_capacity * 2 : 4096;
                compare->seen =
                        xrealloc(compare->seen, compare->seen_capacity * sizeof(compare->seen[0]));
        }
        compare->seen[compare->seen_count++] = compare_hash(compare->resolved, name);
        return 0;
}

/* Opens the parent; false where there is none. */
static bool enter_parent(struct compare *compare, const char *path)
{
        char resolved[2 * FETCH_PATH_MAX];
        size_t root = strlen(compare->root_path);

        if (compare->parent_fd >= 0 && strcmp(compare->parent, path) == 0)
                return true;
        cleanup_fd(&compare->parent_fd);
        compare->parent_fd = file_open_in(compare->root_fd, path, O_PATH | O_DIRECTORY, 0, NULL);
        if (compare->parent_fd < 0 || !compare_path_of(compare->parent_fd, resolved) ||
            strncmp(resolved, compare->root_path, root) != 0)
                return false;
        const char *below = resolved + root;
        strcpy(compare->resolved, below + (*below == '/'));
        strcpy(compare->parent, path);
        return true;
}

/* ---- entries ---- */

static bool is_whiteout(const struct stat *status)
{
        return S_ISCHR(status->st_mode) && status->st_rdev == makedev(0, 0);
}

/* What else there may be in the place of a whiteout, of this layer itself, other entries tell. */
static void compare_whiteout(struct compare *compare, const char *path, const char *name)
{
        struct stat status;

        if (fstatat(compare->parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                compare_differ(compare, path, "whiteout", "it is missing");
        else if (S_ISDIR(status.st_mode))
                table_put(compare->opaque, path, compare);
        else if (is_whiteout(&status))
                table_put(compare->whiteouts, path, compare);
}

static void compare_link(struct compare *compare, const char *path, const char *name,
                         const struct tree_entry *entry)
{
        struct stat status, target_status;
        struct path target;
        char target_path[2 * FETCH_PATH_MAX];

        if (path_parse(entry->hardlink, &target, NULL) < 0)
                return;
        path_join(&target, target_path);
        if (strcmp(path, target_path) == 0)
                return;
        if (fstatat(compare->parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
                /* The fix-up has those whose target is below. */
                if (!table_get(compare->links, path))
                        compare_differ(compare, path, "hard link", "it is missing");
                return;
        }
        AUTO_FD int fd =
                file_open_in(compare->root_fd, target.parent, O_PATH | O_DIRECTORY, 0, NULL);
        if (fd < 0 || fstatat(fd, target.name, &target_status, AT_SYMLINK_NOFOLLOW) < 0)
                compare_differ(compare, path, "hard link", "its target %.*s is missing", SHOWN_MAX,
                               target_path);
        else if (status.st_ino != target_status.st_ino)
                compare_differ(compare, path, "hard link", "it is no link to %.*s", SHOWN_MAX,
                               target_path);
}

int compare_entry(struct compare *compare, const struct tree_entry *entry, int64_t size,
                  struct error *err)
{
        struct path place;
        char path[2 * FETCH_PATH_MAX];

        compare->entries++;
        int r = path_parse(entry->path, &place, err);
        if (r < 0 || place.kind == PATH_IGNORED)
                return r;
        path_join(&place, path);
        if (compare->difference_count > 0)
                forget(compare, path, !entry->hardlink && S_ISDIR(entry->mode));
        if (place.kind == PATH_ROOT) {
                compare_attributes(compare, ".", compare->root_fd, ".", entry, size);
                return 0;
        }
        if (!enter_parent(compare, place.parent)) {
                compare_differ(compare, path, "entry", "its folder is missing");
                return 0;
        }
        if (place.kind == PATH_OPAQUE) {
                table_put(compare->opaque, place.parent, compare);
                return 0;
        }
        if ((r = mark_seen(compare, place.name, err)) < 0)
                return r;
        if (place.kind == PATH_WHITEOUT)
                compare_whiteout(compare, path, place.name);
        else if (entry->hardlink)
                compare_link(compare, path, place.name, entry);
        else
                compare_attributes(compare, path, compare->parent_fd, place.name, entry, size);
        return 0;
}

/* ---- the end ---- */

static int by_value(const void *a, const void *b)
{
        uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
        return one < other ? -1 : one > other;
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void list_opaque(struct compare *compare)
{
        const char *path;
        size_t cursor = 0;

        compare->opaque_list =
                xcalloc(table_size(compare->opaque) + 1, sizeof(*compare->opaque_list));
        while (table_next(compare->opaque, &cursor, &path)) {
                AUTO_FD int fd = file_open_in(compare->root_fd, path,
                                              O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, NULL);
                if (fd >= 0)
                        compare->opaque_list[compare->opaque_count++] = path;
        }
        qsort(compare->opaque_list, compare->opaque_count, sizeof(*compare->opaque_list), by_text);
}

int compare_finish(struct compare *compare, compare_tell *tell, void *argument, struct error *err)
{
        if (compare->seen_count > 0)
                qsort(compare->seen, compare->seen_count, sizeof(compare->seen[0]), by_value);
        int r = compare_walk(compare, err);
        if (r < 0)
                return r;
        list_opaque(compare);
        for (size_t i = 0; i < compare->difference_count; i++) {
                const struct difference *difference = &compare->differences[i];
                tell(argument, difference->path, difference->what, difference->how);
        }
        if (compare->more > 0) {
                char how[64];
                snprintf(how, sizeof(how), "and %zu differences more", compare->more);
                tell(argument, ".", "tree", how);
        }
        return 0;
}

const char *const *compare_opaque(const struct compare *compare, size_t *count)
{
        *count = compare->opaque_count;
        return compare->opaque_list;
}

uint64_t compare_entries(const struct compare *compare)
{
        return compare->entries;
}
