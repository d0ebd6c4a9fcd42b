#include "image/fetch/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/memory.h"
#include "base/table.h"
#include "image/fetch/beneath.h"
#include "image/fetch/path.h"
#include "image/fetch/spool.h"

#define SHOWN_MAX  200
#define READ_BLOCK (64u << 10)

struct member {
        int64_t offset, size;
        const char *link; /* the name of the member that it stands for, or null */
};

struct archive_index {
        int fd; /* our own */
        bool folder;
        struct arena *arena;
        struct table *members;
        size_t names; /* bytes */
};

void archive_index_free(struct archive_index *index)
{
        if (!index)
                return;
        cleanup_fd(&index->fd);
        table_free(index->members);
        arena_free(index->arena);
        free(index);
}

/* ---- indexing ---- */

/* A member's plain name; empty for what is no file of an archive's. */
static int plain_name(const char *text, char name[2 * FETCH_PATH_MAX], struct error *err)
{
        struct path path;
        int r = text ? path_parse(text, &path, err)
                     : error_set(err, ERROR_INVALID_ARGUMENT, "a name that cannot be read");
        if (r < 0)
                return error_context(err, "archive: %.*s", SHOWN_MAX, text ? text : "");
        name[0] = '\0';
        if (path.kind == PATH_ENTRY)
                path_join(&path, name);
        return 0;
}

/* Where a symlink leads: relative to its own folder, or up from there, but not out. */
static char *resolve_link(const char *name, const char *target)
{
        AUTO_FREE char *joined =
                xprintf("%.*s%s", (int)(strrchr(name, '/') ? strrchr(name, '/') - name + 1 : 0),
                        name, target);
        char *out = xcalloc(1, strlen(joined) + 1);
        size_t length = 0;

        if (target[0] == '/') {
                free(out);
                return NULL;
        }
        for (const char *part = joined; *part; part += strcspn(part, "/"), part += *part == '/') {
                size_t size = strcspn(part, "/");
                if (size == 0 || (size == 1 && part[0] == '.'))
                        continue;
                if (size == 2 && part[0] == '.' && part[1] == '.') {
                        if (length == 0) {
                                free(out);
                                return NULL;
                        }
                        while (length > 0 && out[length - 1] != '/')
                                length--;
                        length -= length > 0;
                        continue;
                }
                if (length > 0)
                        out[length++] = '/';
                memcpy(out + length, part, size);
                length += size;
        }
        out[length] = '\0';
        return out;
}

static int add_member(struct archive_index *index, const char *name, const struct member *member,
                      struct error *err)
{
        if (table_get(index->members, name))
                return error_set(err, ERROR_INVALID_ARGUMENT, "archive: %.*s is there twice",
                                 SHOWN_MAX, name);
        index->names += strlen(name) + (member->link ? strlen(member->link) : 0);
        if (table_size(index->members) >= ARCHIVE_MEMBERS_MAX || index->names > ARCHIVE_NAMES_MAX)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "archive: more than %d files or %u bytes of names",
                                 ARCHIVE_MEMBERS_MAX, ARCHIVE_NAMES_MAX);
        table_put(index->members, name, arena_memdup(index->arena, member, sizeof(*member)));
        return 0;
}

static int index_entry(struct archive_index *index, struct archive *archive,
                       struct archive_entry *entry, struct error *err)
{
        char name[2 * FETCH_PATH_MAX];
        struct member member = {.offset = archive_filter_bytes(archive, 0),
                                .size = archive_entry_size(entry)};
        const char *link = archive_entry_hardlink(entry);

        int r = plain_name(archive_entry_pathname(entry), name, err);
        if (r < 0 || !name[0])
                return r;
        if (link) {
                char target[2 * FETCH_PATH_MAX];
                if ((r = plain_name(link, target, err)) < 0)
                        return r;
                member.link = arena_strdup(index->arena, target);
                return add_member(index, name, &member, err);
        }
        if (S_ISLNK(archive_entry_mode(entry)) && archive_entry_symlink(entry)) {
                AUTO_FREE char *target = resolve_link(name, archive_entry_symlink(entry));
                if (!target)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "archive: %.*s is a symlink out of the archive", SHOWN_MAX,
                                         name);
                member.link = arena_strdup(index->arena, target);
                return add_member(index, name, &member, err);
        }
        if (!S_ISREG(archive_entry_mode(entry)))
                return 0;
        if (archive_entry_sparse_count(entry) > 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "archive: %.*s is a sparse file",
                                 SHOWN_MAX, name);
        return add_member(index, name, &member, err);
}

static void free_archive(struct archive **archive)
{
        archive_read_free(*archive);
}

static int damaged(struct archive *archive, struct error *err)
{
        const char *text = archive_error_string(archive);
        return error_set(err, ERROR_DATA_LOSS, "archive: %s", text ? text : "damaged");
}

static int index_tar(struct archive_index *index, struct error *err)
{
        CLEANUP(free_archive) struct archive *archive = archive_read_new();

        if (!archive || lseek(index->fd, 0, SEEK_SET) < 0)
                return error_errno(err, archive ? errno : ENOMEM, "archive");
        if (archive_read_support_format_tar(archive) != ARCHIVE_OK ||
            archive_read_open_fd(archive, index->fd, READ_BLOCK) != ARCHIVE_OK)
                return damaged(archive, err);
        for (;;) {
                struct archive_entry *entry;
                int code = archive_read_next_header(archive, &entry);
                if (code == ARCHIVE_EOF)
                        return 0;
                if (code != ARCHIVE_OK && code != ARCHIVE_WARN)
                        return damaged(archive, err);
                int r = index_entry(index, archive, entry, err);
                if (r < 0)
                        return r;
        }
}

int archive_index_new(int fd, int staging_fd, int64_t max, struct archive_index **index,
                      struct error *err)
{
        AUTO_ARCHIVE_INDEX struct archive_index *new = xcalloc(1, sizeof(*new));
        struct stat status;
        int r;

        new->fd = -1;
        new->arena = arena_new();
        new->members = table_new();
        if (fstat(fd, &status) < 0)
                return error_errno(err, errno, "archive");
        new->folder = S_ISDIR(status.st_mode);
        if (new->folder || (S_ISREG(status.st_mode) && !spool_is_compressed(fd))) {
                new->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
                if (new->fd < 0)
                        return error_errno(err, errno, "archive");
        } else if ((r = spool_out(fd, staging_fd, max, ARCHIVE_FREE_MIN, &new->fd, err)) < 0) {
                return error_context(err, "archive");
        }
        if (!new->folder && (r = index_tar(new, err)) < 0)
                return r;
        *index = take_ptr(new);
        return 0;
}

/* ---- reading ---- */

static const struct member *find_member(const struct archive_index *index, const char *name)
{
        const struct member *member = table_get(index->members, name);
        if (member && member->link)
                member = table_get(index->members, member->link);
        return member && !member->link ? member : NULL;
}

static int open_in_folder(const struct archive_index *index, const char *name,
                          struct archive_file *file, struct error *err)
{
        struct stat status;
        AUTO_FD int fd = beneath_open(index->fd, name, O_RDONLY | O_NONBLOCK);

        if (fd == -ELOOP)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%.*s is a symlink, or behind one",
                                 SHOWN_MAX, name);
        if (fd == -ENOENT || fd == -ENOTDIR)
                return error_set(err, ERROR_NOT_FOUND, "%.*s is missing", SHOWN_MAX, name);
        if (fd < 0)
                return error_errno(err, fd, "%.*s", SHOWN_MAX, name);
        if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%.*s is not a regular file",
                                 SHOWN_MAX, name);
        *file = (struct archive_file){take_fd(&fd), 0, status.st_size, true};
        return 0;
}

int archive_open(const struct archive_index *index, const char *name, struct archive_file *file,
                 struct error *err)
{
        if (index->folder)
                return open_in_folder(index, name, file, err);
        const struct member *member = find_member(index, name);
        if (!member)
                return error_set(err, ERROR_NOT_FOUND, "%.*s is missing", SHOWN_MAX, name);
        *file = (struct archive_file){index->fd, member->offset, member->size, false};
        return 0;
}

void archive_close(struct archive_file *file)
{
        if (file->own)
                cleanup_fd(&file->fd);
        file->own = false;
}

bool archive_has(const struct archive_index *index, const char *name)
{
        AUTO_ARCHIVE_FILE struct archive_file file = {0};
        return archive_open(index, name, &file, NULL) == 0;
}

ssize_t archive_read_at(const struct archive_file *file, void *bytes, size_t length, int64_t at)
{
        if (at >= file->size)
                return 0;
        if ((int64_t)length > file->size - at)
                length = (size_t)(file->size - at);
        ssize_t count;
        do
                count = pread(file->fd, bytes, length, file->offset + at);
        while (count < 0 && errno == EINTR);
        /* It was longer when it was looked at. */
        return count == 0 ? -EIO : count < 0 ? -errno : count;
}

int archive_get(const struct archive_index *index, const char *name, size_t max,
                struct buffer *contents, struct error *err)
{
        AUTO_ARCHIVE_FILE struct archive_file file = {0};
        int r = archive_open(index, name, &file, err);

        if (r < 0)
                return r;
        if (file.size > (int64_t)max)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED, "%.*s has more than %zu bytes",
                                 SHOWN_MAX, name, max);
        for (int64_t at = 0; at < file.size;) {
                char *space = buffer_reserve(contents, (size_t)(file.size - at));
                ssize_t count = archive_read_at(&file, space, (size_t)(file.size - at), at);
                if (count < 0)
                        return error_errno(err, (int)count, "reading %.*s", SHOWN_MAX, name);
                contents->length += (size_t)count;
                at += count;
        }
        return 0;
}
