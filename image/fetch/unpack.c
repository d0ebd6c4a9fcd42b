#include "image/fetch/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/clock.h"
#include "image/fetch/limits.h"

#define SHOWN_MAX 200
/* Bytes of a file from which on its way to the disk begins at once. */
#define WRITE_OUT_MIN (128 << 10)

struct source {
        struct ring *ring;
        struct split_writer *split; /* or null */
        size_t lent; /* bytes that libarchive reads in place and that are given back at its next
                        call */
        bool broken;
};

/* What libarchive has used of the stream. */
static int64_t position_of(struct archive *archive)
{
        return archive_filter_bytes(archive, 0);
}

static ssize_t read_source(struct archive *archive, void *argument, const void **bytes)
{
        struct source *source = argument;
        const char *data = NULL;
        struct error err;

        if (source->split && split_return(source->split, position_of(archive), &err) < 0) {
                archive_set_error(archive, -err.number, "%s", err.message);
                return -1;
        }
        ring_read_end(source->ring, source->lent);
        source->lent = 0;
        ssize_t count = ring_read_begin(source->ring, 1, &data);
        if (count < 0) {
                source->broken = true;
                archive_set_error(archive, ECANCELED, "cancelled");
                return -1;
        }
        source->lent = (size_t)count;
        if (source->split)
                split_lend(source->split, data, (size_t)count);
        *bytes = data;
        return count;
}

static int archive_failure(struct archive *archive, const struct source *source, struct error *err)
{
        const char *text = archive_error_string(archive);

        if (source->broken)
                return error_set(err, ERROR_CANCELLED, "cancelled");
        return error_set(err, ERROR_DATA_LOSS, "tar: %s", text ? text : "damaged");
}

/* ---- contents ---- */

static int write_at(int fd, const char *bytes, size_t length, int64_t offset, struct error *err)
{
        while (length > 0) {
                ssize_t written = pwrite(fd, bytes, length, offset);
                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return error_errno(err, errno, "writing");
                bytes += written;
                length -= (size_t)written;
                offset += written;
        }
        return 0;
}

/* Blocks come with their offsets: between them is a hole. */
static int write_contents(struct archive *archive, const struct source *source, int fd,
                          int64_t size, bool recorded, struct error *err)
{
        int64_t end = 0;

        for (;;) {
                const void *bytes;
                size_t length;
                int64_t offset;
                int code = archive_read_data_block(archive, &bytes, &length, &offset);
                if (code == ARCHIVE_EOF)
                        break;
                if (code != ARCHIVE_OK && code != ARCHIVE_WARN)
                        return archive_failure(archive, source, err);
                if (recorded)
                        split_contents_add(source->split, bytes, length);
                int r = write_at(fd, bytes, length, offset, err);
                if (r < 0)
                        return r;
                if (offset + (int64_t)length > end)
                        end = offset + (int64_t)length;
        }
        if (end < size && ftruncate(fd, size) < 0)
                return error_errno(err, errno, "setting the size %lld", (long long)size);
        /* Only begun, not waited for: the disk has something to do meanwhile, and the sync at the
         * layers' end finds less. That one says whether it worked. */
        if (end >= WRITE_OUT_MIN)
                sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        return 0;
}

/* A sparse file's data are not what its contents are: the record has them as they came. */
static int unpack_file(struct archive *archive, const struct source *source,
                       struct archive_entry *from, const struct tree *tree, int fd,
                       struct error *err)
{
        int64_t size = archive_entry_size(from);
        bool recorded = source->split && size > 0 && archive_entry_sparse_count(from) == 0;
        int r = 0;

        if (recorded)
                r = split_contents(source->split, position_of(archive), size, tree_place(tree),
                                   err);
        if (r == 0)
                r = write_contents(archive, source, fd, size, recorded, err);
        if (r == 0 && recorded)
                r = split_contents_end(source->split, position_of(archive), err);
        return r;
}

/* ---- entries ---- */

static int read_xattrs(struct archive_entry *from, struct tree_xattr *xattrs, size_t *count,
                       struct error *err)
{
        size_t found = 0;

        if (archive_entry_xattr_count(from) > FETCH_XATTRS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "more than %d extended attributes",
                                 FETCH_XATTRS_MAX);
        archive_entry_xattr_reset(from);
        while (archive_entry_xattr_next(from, &xattrs[found].name, &xattrs[found].value,
                                        &xattrs[found].size) == ARCHIVE_OK)
                found++;
        *count = found;
        return 0;
}

static struct timespec time_of(struct archive_entry *from)
{
        long nanoseconds = archive_entry_mtime_nsec(from);
        if (nanoseconds < 0 || nanoseconds >= NSEC_PER_SEC)
                nanoseconds = 0;
        struct timespec time = {archive_entry_mtime(from), nanoseconds};
        /* Of a time before 1970 libarchive gives the fraction as it stands behind the point,
         * without the sign. */
        if (time.tv_sec < 0 && nanoseconds > 0) {
                time.tv_sec--;
                time.tv_nsec = NSEC_PER_SEC - nanoseconds;
        }
        return time;
}

static int describe(struct archive_entry *from, struct tree_entry *entry, struct tree_xattr *xattrs,
                    struct error *err)
{
        *entry = (struct tree_entry){
                .path = archive_entry_pathname(from),
                .hardlink = archive_entry_hardlink(from),
                .symlink = archive_entry_symlink(from),
                .mode = archive_entry_mode(from),
                .device = archive_entry_rdev(from),
                .modified = time_of(from),
                .xattrs = xattrs,
        };
        if (!entry->path)
                return error_set(err, ERROR_INVALID_ARGUMENT, "tar: a name that cannot be read");

        int64_t uid = archive_entry_uid(from), gid = archive_entry_gid(from);
        /* All ones means "leave it" to chown. */
        if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%.*s: no such owner: %lld:%lld",
                                 SHOWN_MAX, entry->path, (long long)uid, (long long)gid);
        entry->uid = (uid_t)uid;
        entry->gid = (gid_t)gid;
        if (!entry->hardlink && S_ISLNK(entry->mode) && !entry->symlink)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%.*s: a symlink to nowhere",
                                 SHOWN_MAX, entry->path);
        int r = read_xattrs(from, xattrs, &entry->xattr_count, err);
        return r < 0 ? error_context(err, "%.*s", SHOWN_MAX, entry->path) : 0;
}

static int unpack_entry(struct archive *archive, const struct source *source,
                        struct archive_entry *from, struct tree *tree, struct error *err)
{
        struct tree_xattr xattrs[FETCH_XATTRS_MAX + 1];
        struct tree_entry entry;
        int fd = -1;
        int r;

        if ((r = describe(from, &entry, xattrs, err)) < 0 ||
            (r = tree_add(tree, &entry, &fd, err)) < 0 || fd < 0)
                return r;
        r = unpack_file(archive, source, from, tree, fd, err);
        if (r < 0) {
                close(fd);
                return error_context(err, "%.*s", SHOWN_MAX, entry.path);
        }
        return tree_file_done(tree, &entry, fd, err);
}

static int unpack_entries(struct archive *archive, const struct source *source, struct tree *tree,
                          int64_t max_entries, int64_t *entries, struct error *err)
{
        int64_t count = 0;

        for (;;) {
                struct archive_entry *from;
                int code = archive_read_next_header(archive, &from);
                if (code == ARCHIVE_EOF)
                        break;
                /* A warning is about a name's charset: then the name's bytes are what counts. */
                if (code != ARCHIVE_OK && code != ARCHIVE_WARN)
                        return archive_failure(archive, source, err);
                if (++count > max_entries)
                        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                         "more than %lld entries, the bound for a layer",
                                         (long long)max_entries);
                int r = unpack_entry(archive, source, from, tree, err);
                if (r < 0)
                        return r;
        }
        *entries = count;
        return 0;
}

/* Padding follows an archive's end, and it counts for the layer's digest. */
static int drain(struct source *source, struct error *err)
{
        const char *data;
        ssize_t count;

        if (source->split && split_return(source->split, INT64_MAX, err) < 0)
                return err->number;
        ring_read_end(source->ring, source->lent);
        source->lent = 0;
        while ((count = ring_read_begin(source->ring, 1, &data)) > 0) {
                if (source->split) {
                        split_lend(source->split, data, (size_t)count);
                        int r = split_return(source->split, INT64_MAX, err);
                        if (r < 0)
                                return r;
                }
                ring_read_end(source->ring, (size_t)count);
        }
        return count < 0 ? error_set(err, ERROR_CANCELLED, "cancelled") : 0;
}

static int on_replaced(void *argument, int parent_fd, const char *name, const char *path,
                       bool is_folder, struct error *err)
{
        struct split_writer *split = argument;

        if (!is_folder)
                return split_replaced(split, parent_fd, name, path, err);
        split_spoil(split);
        return 0;
}

static void free_archive(struct archive **archive)
{
        archive_read_free(*archive);
}

/* Opens the archive; *archive is the caller's to free. */
static int open_archive(struct source *source, struct archive *archive, struct error *err)
{
        if (!archive)
                return error_errno(err, ENOMEM, "tar");
        /* A layer without entries may be an empty stream. */
        if (archive_read_support_format_tar(archive) != ARCHIVE_OK ||
            archive_read_support_format_empty(archive) != ARCHIVE_OK ||
            archive_read_open2(archive, source, NULL, read_source, NULL, NULL) != ARCHIVE_OK)
                return archive_failure(archive, source, err);
        return 0;
}

static int run(struct source *source, struct tree *tree, int64_t max_entries, int64_t *entries,
               struct error *err)
{
        CLEANUP(free_archive) struct archive *archive = archive_read_new();
        int r;

        if ((r = open_archive(source, archive, err)) < 0 ||
            (r = unpack_entries(archive, source, tree, max_entries, entries, err)) < 0 ||
            (r = drain(source, err)) < 0)
                return r;
        if (source->split && (r = split_finish(source->split, err)) < 0)
                return r;
        return tree_finish(tree, err);
}

int unpack_run(struct ring *in, struct tree *tree, struct split_writer *split, int64_t max_entries,
               int64_t *entries, struct error *err)
{
        struct source source = {.ring = in, .split = split};

        if (split)
                tree_watch_replaced(tree, on_replaced, split);
        int r = run(&source, tree, max_entries, entries, err);
        if (r < 0)
                ring_break(in);
        return r;
}

static int look(struct source *source, unpack_visit *visit, void *argument, struct error *err)
{
        CLEANUP(free_archive) struct archive *archive = archive_read_new();
        int r = open_archive(source, archive, err);

        while (r == 0) {
                struct tree_xattr xattrs[FETCH_XATTRS_MAX + 1];
                struct tree_entry entry;
                struct archive_entry *from;
                int code = archive_read_next_header(archive, &from);
                if (code == ARCHIVE_EOF)
                        return drain(source, err);
                if (code != ARCHIVE_OK && code != ARCHIVE_WARN)
                        return archive_failure(archive, source, err);
                r = describe(from, &entry, xattrs, err);
                if (r == 0)
                        r = visit(argument, &entry, archive_entry_size(from), err);
        }
        return r;
}

int unpack_look(struct ring *in, unpack_visit *visit, void *argument, struct error *err)
{
        struct source source = {.ring = in};
        int r = look(&source, visit, argument, err);

        if (r < 0)
                ring_break(in);
        return r;
}
