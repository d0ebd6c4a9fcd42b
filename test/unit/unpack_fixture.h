/* Layers made in memory, through the same threads that a pull uses, into a folder below /tmp. */
#ifndef CRISP_TEST_UNPACK_FIXTURE_H
#define CRISP_TEST_UNPACK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/fetch/digest.h"
#include "image/fetch/layer.h"
#include "image/fetch/limits.h"
#include "image/fetch/ring.h"
#include "image/fetch/split.h"

/* ---- making layers ---- */

struct item {
        const char *path;
        mode_t mode; /* 0 is a regular file 0644 */
        const char *text;
        const char *symlink, *hardlink;
        const char *xattr, *xattr_value;
        dev_t device;
        int uid, gid;
        time_t mtime;
};

static inline struct archive *begin_archive(char *bytes, size_t size, size_t *used)
{
        struct archive *archive = archive_write_new();
        archive_write_set_format_pax_restricted(archive);
        archive_write_add_filter_none(archive);
        archive_write_set_bytes_per_block(archive, 0);
        assert_int_equal(archive_write_open_memory(archive, bytes, size, used), ARCHIVE_OK);
        return archive;
}

static inline void add_item(struct archive *archive, const struct item *item)
{
        struct archive_entry *entry = archive_entry_new();
        size_t length = item->text ? strlen(item->text) : 0;

        archive_entry_set_pathname(entry, item->path);
        archive_entry_set_mode(entry, item->mode ? item->mode : S_IFREG | 0644);
        archive_entry_set_uid(entry, item->uid);
        archive_entry_set_gid(entry, item->gid);
        archive_entry_set_mtime(entry, item->mtime ? item->mtime : 1000000000, 0);
        if (item->symlink) {
                archive_entry_set_mode(entry, S_IFLNK | 0777);
                archive_entry_set_symlink(entry, item->symlink);
        }
        if (item->hardlink)
                archive_entry_set_hardlink(entry, item->hardlink);
        else
                archive_entry_set_size(entry, (la_int64_t)length);
        if (item->xattr)
                archive_entry_xattr_add_entry(entry, item->xattr, item->xattr_value,
                                              strlen(item->xattr_value));
        if (S_ISCHR(item->mode) || S_ISBLK(item->mode))
                archive_entry_set_rdev(entry, item->device);
        assert_true(archive_write_header(archive, entry) >= ARCHIVE_WARN);
        if (length > 0 && !item->hardlink)
                assert_int_equal(archive_write_data(archive, item->text, length), length);
        archive_entry_free(entry);
}

#define ARCHIVE_SIZE (4u << 20)

static inline void make_tar(const struct item *items, size_t count, struct buffer *tar)
{
        size_t used = 0;
        char *bytes = buffer_reserve(tar, ARCHIVE_SIZE);
        struct archive *archive = begin_archive(bytes, ARCHIVE_SIZE, &used);
        for (size_t i = 0; i < count; i++)
                add_item(archive, &items[i]);
        assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
        archive_write_free(archive);
        tar->length += used;
}

static inline void gzip(const char *bytes, size_t length, struct buffer *out)
{
        z_stream stream = {0};
        size_t room = length + length / 100 + 100;

        assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, 0), Z_OK);
        stream.next_in = (Bytef *)(uintptr_t)bytes;
        stream.avail_in = (uInt)length;
        stream.next_out = (Bytef *)buffer_reserve(out, room);
        stream.avail_out = (uInt)room;
        assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
        out->length += room - stream.avail_out;
        deflateEnd(&stream);
}

static inline void zstd(const char *bytes, size_t length, struct buffer *out)
{
        size_t room = ZSTD_compressBound(length);
        size_t used = ZSTD_compress(buffer_reserve(out, room), room, bytes, length, 3);
        assert_false(ZSTD_isError(used));
        out->length += used;
}

static inline char *sum(const struct buffer *bytes)
{
        char text[REFERENCE_DIGEST_MAX + 1];
        struct digest *digest = digest_new(NULL);
        digest_add(digest, bytes->data ? bytes->data : "", bytes->length);
        digest_finish(digest, text);
        digest_free(digest);
        return xstrdup(text);
}

/* ---- unpacking them ---- */

struct place {
        char path[64];
        int fd;
        int tars; /* folder of the records */
        int root; /* of the layer, after unpack */
        struct layer_job job;
        struct fetch_limits limits;
        _Atomic int64_t notes_left;
        struct fetch_layer notes;
        struct error err;
        bool recorded; /* the stream can be made again */
};

static inline int set_up(void **state)
{
        struct place *place = xcalloc(1, sizeof(*place));
        strcpy(place->path, "/tmp/crisp-unpack-XXXXXX");
        assert_non_null(mkdtemp(place->path));
        place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(place->fd >= 0);
        assert_int_equal(mkdirat(place->fd, "tars", 0700), 0);
        place->tars = openat(place->fd, "tars", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(place->tars >= 0);
        place->root = -1;
        place->limits = (struct fetch_limits){.unpacked_bytes = 1 << 30, .entries = 1000};
        place->notes_left = 1 << 20;
        *state = place;
        return 0;
}

static inline void forget_layer(struct place *place)
{
        tree_free(place->job.tree);
        if (place->root >= 0)
                close(place->root);
        place->root = -1;
        memset(&place->job, 0, sizeof(place->job));
        memset(&place->notes, 0, sizeof(place->notes));
        memset(&place->err, 0, sizeof(place->err));
}

static inline int tear_down(void **state)
{
        struct place *place = *state;
        forget_layer(place);
        close(place->tars);
        close(place->fd);
        /* Nothing was made beside the layers' own folders. */
        assert_int_equal(file_remove_tree(place->path, NULL), 0);
        free(place);
        return 0;
}

/* ---- making their streams again ---- */

static inline int add_remade(void *argument, const char *bytes, size_t length, struct error *err)
{
        (void)err;
        digest_add(argument, bytes, length);
        return 0;
}

static inline void damage_told(void *argument, const char *path, const char *how)
{
        (void)argument;
        fail_msg("%s: %s", path, how);
}

/* Every layer that was unpacked gives its stream back, except where a folder was replaced. */
static inline void check_remade(struct place *place, const char *diff_id)
{
        AUTO_FD int record = openat(place->tars, place->job.name, O_RDONLY | O_CLOEXEC);
        char remade[REFERENCE_DIGEST_MAX + 1];
        struct error err = {0};
        AUTO_DIGEST struct digest *digest = digest_new(diff_id);
        struct split_sink sink = {add_remade, damage_told, digest};

        place->recorded = record >= 0;
        if (!place->recorded)
                return;
        if (split_remake(record, place->root, &sink, &err) < 0)
                fail_msg("%s", err.message);
        digest_finish(digest, remade);
        assert_string_equal(remade, diff_id);
}

/* Unpacks a stream whose diff ID should be diff_id; the result of layer_unpacker_join. */
static inline int unpack_stream(struct place *place, const struct buffer *stream,
                                const char *diff_id)
{
        AUTO_RING struct ring *ring = ring_new(65536);
        struct layer_unpacker *unpacker;

        forget_layer(place);
        place->job = (struct layer_job){.diff_id = diff_id,
                                        .layers_fd = place->fd,
                                        .tars_fd = place->tars,
                                        .limits = &place->limits,
                                        .notes_left = &place->notes_left};
        assert_int_equal(layer_unpacker_start(&place->job, ring, &unpacker, &place->err), 0);
        if (ring_write(ring, stream->data ? stream->data : "", stream->length) == 0)
                ring_finish(ring);
        int r = layer_unpacker_join(unpacker, &place->err);
        place->root = openat(place->fd, place->job.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(place->root >= 0);
        if (r == 0) {
                tree_notes(place->job.tree, &place->notes);
                check_remade(place, diff_id);
        }
        return r;
}

static inline int unpack_tar(struct place *place, const struct buffer *tar)
{
        AUTO_FREE char *diff_id = sum(tar);
        return unpack_stream(place, tar, diff_id);
}

static inline int unpack_items(struct place *place, const struct item *items, size_t count)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        make_tar(items, count, &tar);
        return unpack_tar(place, &tar);
}

#define UNPACK(place, ...)                                                                         \
        unpack_items(place, (const struct item[]){__VA_ARGS__},                                    \
                     sizeof((const struct item[]){__VA_ARGS__}) / sizeof(struct item))

#define assert_unpacks(place, ...)                                                                 \
        do {                                                                                       \
                if (UNPACK(place, __VA_ARGS__) != 0)                                               \
                        fail_msg("%s", (place)->err.message);                                      \
        } while (0)

#define assert_refuses(place, expected_code, part, ...)                                            \
        do {                                                                                       \
                assert_true(UNPACK(place, __VA_ARGS__) < 0);                                       \
                if (!strstr((place)->err.message, part))                                           \
                        fail_msg("\"%s\" lacks \"%s\"", (place)->err.message, part);               \
                assert_int_equal((place)->err.code, expected_code);                                \
        } while (0)

static inline struct stat look(struct place *place, const char *path)
{
        struct stat status;
        if (fstatat(place->root, path, &status, AT_SYMLINK_NOFOLLOW) < 0)
                fail_msg("%s: %s", path, strerror(errno));
        return status;
}

static inline bool is_there(struct place *place, const char *path)
{
        return faccessat(place->root, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline void assert_text(struct place *place, const char *path, const char *text)
{
        char contents[256] = "";
        int fd = openat(place->root, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_true(read(fd, contents, sizeof(contents) - 1) >= 0);
        close(fd);
        assert_string_equal(contents, text);
}

static inline bool has(const char *const *paths, size_t count, const char *path)
{
        for (size_t i = 0; i < count; i++) {
                if (strcmp(paths[i], path) == 0)
                        return true;
        }
        return false;
}

static inline bool is_whiteout(struct place *place, const char *path)
{
        struct stat status = look(place, path);
        return S_ISCHR(status.st_mode) && status.st_rdev == 0;
}

static inline bool is_root(void)
{
        return geteuid() == 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
