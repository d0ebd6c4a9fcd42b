/* Layers made in memory, through the same two threads that a pull uses, into a folder below /tmp.
 */
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

static struct archive *begin_archive(char *bytes, size_t size, size_t *used)
{
        struct archive *archive = archive_write_new();
        archive_write_set_format_pax_restricted(archive);
        archive_write_add_filter_none(archive);
        archive_write_set_bytes_per_block(archive, 0);
        assert_int_equal(archive_write_open_memory(archive, bytes, size, used), ARCHIVE_OK);
        return archive;
}

static void add_item(struct archive *archive, const struct item *item)
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

static void make_tar(const struct item *items, size_t count, struct buffer *tar)
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

static void gzip(const char *bytes, size_t length, struct buffer *out)
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

static void zstd(const char *bytes, size_t length, struct buffer *out)
{
        size_t room = ZSTD_compressBound(length);
        size_t used = ZSTD_compress(buffer_reserve(out, room), room, bytes, length, 3);
        assert_false(ZSTD_isError(used));
        out->length += used;
}

static char *sum(const struct buffer *bytes)
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

static int set_up(void **state)
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

static void forget_layer(struct place *place)
{
        tree_free(place->job.tree);
        if (place->root >= 0)
                close(place->root);
        place->root = -1;
        memset(&place->job, 0, sizeof(place->job));
        memset(&place->notes, 0, sizeof(place->notes));
        memset(&place->err, 0, sizeof(place->err));
}

static int tear_down(void **state)
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

static int add_remade(void *argument, const char *bytes, size_t length, struct error *err)
{
        (void)err;
        digest_add(argument, bytes, length);
        return 0;
}

static void damage_told(void *argument, const char *path, const char *how)
{
        (void)argument;
        fail_msg("%s: %s", path, how);
}

/* Every layer that was unpacked gives its stream back, except where a folder was replaced. */
static void check_remade(struct place *place, const char *diff_id)
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
static int unpack_stream(struct place *place, const struct buffer *stream, const char *diff_id)
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

static int unpack_tar(struct place *place, const struct buffer *tar)
{
        AUTO_FREE char *diff_id = sum(tar);
        return unpack_stream(place, tar, diff_id);
}

static int unpack_items(struct place *place, const struct item *items, size_t count)
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

static struct stat look(struct place *place, const char *path)
{
        struct stat status;
        if (fstatat(place->root, path, &status, AT_SYMLINK_NOFOLLOW) < 0)
                fail_msg("%s: %s", path, strerror(errno));
        return status;
}

static bool is_there(struct place *place, const char *path)
{
        return faccessat(place->root, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void assert_text(struct place *place, const char *path, const char *text)
{
        char contents[256] = "";
        int fd = openat(place->root, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_true(read(fd, contents, sizeof(contents) - 1) >= 0);
        close(fd);
        assert_string_equal(contents, text);
}

static bool has(const char *const *paths, size_t count, const char *path)
{
        for (size_t i = 0; i < count; i++) {
                if (strcmp(paths[i], path) == 0)
                        return true;
        }
        return false;
}

static bool is_whiteout(struct place *place, const char *path)
{
        struct stat status = look(place, path);
        return S_ISCHR(status.st_mode) && status.st_rdev == 0;
}

static bool is_root(void)
{
        return geteuid() == 0;
}

/* ---- what honest layers have ---- */

static void test_ordinary_tree(void **state)
{
        struct place *place = *state;
        if (!is_root())
                skip();

        assert_unpacks(place, {"./", S_IFDIR | 0700, .mtime = 123}, {"etc/", S_IFDIR | 0755},
                       {"etc/passwd", .text = "root", .uid = 5, .gid = 6, .mtime = 42},
                       {"bin", S_IFDIR | 01777, .mtime = 77},
                       {"bin/su", S_IFREG | 04755, .text = "su"}, {"bin/s", .symlink = "su"},
                       {"bin/hard", .hardlink = "bin/su"}, {"fifo", S_IFIFO | 0600},
                       {"null", S_IFCHR | 0666, .device = makedev(1, 3)},
                       {"abs", .symlink = "/etc/passwd"});
        assert_int_equal(place->job.entries, 10);
        assert_int_equal(look(place, ".").st_mode, S_IFDIR | 0700);
        assert_int_equal(look(place, ".").st_mtime, 123);
        assert_int_equal(look(place, "etc/passwd").st_uid, 5);
        assert_int_equal(look(place, "etc/passwd").st_gid, 6);
        assert_int_equal(look(place, "etc/passwd").st_mtime, 42);
        assert_text(place, "etc/passwd", "root");
        assert_int_equal(look(place, "bin").st_mode, S_IFDIR | 01777);
        assert_int_equal(look(place, "bin").st_mtime, 77);
        assert_int_equal(look(place, "bin/su").st_mode, S_IFREG | 04755);
        assert_int_equal(look(place, "bin/hard").st_ino, look(place, "bin/su").st_ino);
        assert_true(S_ISLNK(look(place, "bin/s").st_mode));
        assert_true(S_ISFIFO(look(place, "fifo").st_mode));
        assert_int_equal(look(place, "null").st_rdev, makedev(1, 3));
        assert_int_equal(place->notes.implied_count, 0);
        assert_int_equal(place->notes.opaque_count, 0);
        assert_int_equal(place->notes.link_count, 0);
}

static void test_implied_folders(void **state)
{
        struct place *place = *state;

        assert_unpacks(place, {"a/b/c/file", .text = "x"}, {"a/b", S_IFDIR | 0711});
        assert_int_equal(place->notes.implied_count, 3);
        assert_true(has(place->notes.implied, 3, "."));
        assert_true(has(place->notes.implied, 3, "a"));
        assert_true(has(place->notes.implied, 3, "a/b/c"));
        assert_int_equal(look(place, "a").st_mode, S_IFDIR | 0755);
        assert_int_equal(look(place, "a/b").st_mode, S_IFDIR | 0711);
}

static void test_names(void **state)
{
        struct place *place = *state;
        char long_path[600];

        memset(long_path, 'd', sizeof(long_path));
        long_path[200] = long_path[400] = '/';
        long_path[599] = '\0';
        assert_unpacks(place, {"sch\xc3\xb6n", .text = "pax"}, {"with\nnewline", .text = "n"},
                       {long_path, .text = "long"}, {"/absolute/file", .text = "a"},
                       {"//x///./y//", S_IFDIR | 0755}, {"a%b", .text = "p"});
        assert_text(place, "sch\xc3\xb6n", "pax");
        assert_text(place, "with\nnewline", "n");
        assert_text(place, long_path, "long");
        assert_text(place, "absolute/file", "a");
        assert_true(is_there(place, "x/y"));
}

static void test_names_that_are_not_utf8(void **state)
{
        struct place *place = *state;
        assert_unpacks(place, {"latin\xe9", .text = "x"});
        assert_text(place, "latin\xe9", "x");

        /* The same without PAX headers: the name's byte goes into the old header, whose checksum
         * counts all bytes. */
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        make_tar((const struct item[]){{"latinX", .text = "y"}}, 1, &tar);
        unsigned checksum = 0;
        tar.data[5] = (char)0xe9;
        memset(tar.data + 148, ' ', 8);
        for (int i = 0; i < 512; i++)
                checksum += (unsigned char)tar.data[i];
        snprintf(tar.data + 148, 8, "%06o", checksum);
        assert_int_equal(unpack_tar(place, &tar), 0);
        assert_text(place, "latin\xe9", "y");
}

static void test_later_entry_replaces(void **state)
{
        struct place *place = *state;

        assert_unpacks(place, {"f", .text = "first"}, {"f", .text = "2nd"}, {"d", S_IFDIR | 0755},
                       {"d/x/y", .text = "x"}, {"d", .text = "file now"}, {"l", .symlink = "f"},
                       {"l", .text = "not through the link"}, {"k", .text = "k"},
                       {"k", S_IFDIR | 0700}, {"k/in", .text = "in"}, {"m", S_IFDIR | 0700},
                       {"m/keep", .text = "kept"}, {"m", S_IFDIR | 0755});
        assert_text(place, "f", "2nd");
        assert_text(place, "d", "file now");
        assert_text(place, "l", "not through the link");
        assert_text(place, "k/in", "in");
        assert_text(place, "m/keep", "kept");
        assert_int_equal(look(place, "m").st_mode, S_IFDIR | 0755);
        /* d/x went with d. */
        assert_int_equal(place->notes.implied_count, 1);
}

static void test_extended_attributes(void **state)
{
        struct place *place = *state;
        char value[32] = "";
        static const char capability[] = "\1\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0";
        if (!is_root())
                skip();

        assert_unpacks(place, {"f", .text = "x", .xattr = "user.key", .xattr_value = "value"},
                       {"apple", .xattr = "com.apple.quarantine", .xattr_value = "x"},
                       {"link", .symlink = "f", .xattr = "user.key", .xattr_value = "v"},
                       {"label", .xattr = "security.selinux", .xattr_value = "x"});
        AUTO_FREE char *path = xprintf("%s/%s/f", place->path, place->job.name);
        assert_int_equal(lgetxattr(path, "user.key", value, sizeof(value)), 5);
        assert_string_equal(value, "value");

        /* A capability outlives the change of owner and mode. */
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        size_t used = 0;
        char *bytes = buffer_reserve(&tar, ARCHIVE_SIZE);
        struct archive *archive = begin_archive(bytes, ARCHIVE_SIZE, &used);
        struct archive_entry *entry = archive_entry_new();
        archive_entry_set_pathname(entry, "ping");
        archive_entry_set_mode(entry, S_IFREG | 0755);
        archive_entry_set_uid(entry, 7);
        archive_entry_xattr_add_entry(entry, "security.capability", capability, 20);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        archive_entry_free(entry);
        archive_write_close(archive);
        archive_write_free(archive);
        tar.length = used;
        assert_int_equal(unpack_tar(place, &tar), 0);
        AUTO_FREE char *ping = xprintf("%s/%s/ping", place->path, place->job.name);
        assert_int_equal(lgetxattr(ping, "security.capability", value, sizeof(value)), 20);
        assert_int_equal(look(place, "ping").st_uid, 7);
}

static void test_sparse_file(void **state)
{
        struct place *place = *state;
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        size_t used = 0;
        char *bytes = buffer_reserve(&tar, ARCHIVE_SIZE);
        struct archive *archive = begin_archive(bytes, ARCHIVE_SIZE, &used);
        struct archive_entry *entry = archive_entry_new();
        AUTO_FREE char *zeroes = xcalloc(1, 1 << 20);

        memcpy(zeroes, "head", 4);
        memcpy(zeroes + (1 << 19), "middle", 6);
        archive_entry_set_pathname(entry, "sparse");
        archive_entry_set_mode(entry, S_IFREG | 0644);
        archive_entry_set_size(entry, 1 << 20);
        archive_entry_sparse_add_entry(entry, 0, 4096);
        archive_entry_sparse_add_entry(entry, 1 << 19, 4096);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        archive_write_data(archive, zeroes, 1 << 20);
        archive_entry_free(entry);
        archive_write_close(archive);
        archive_write_free(archive);
        tar.length = used;
        assert_true(used < 100000);

        assert_int_equal(unpack_tar(place, &tar), 0);
        struct stat status = look(place, "sparse");
        assert_int_equal(status.st_size, 1 << 20);
        assert_true(status.st_blocks * 512 < 1 << 19);
        char middle[7] = "";
        int fd = openat(place->root, "sparse", O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, middle, 6, 1 << 19), 6);
        close(fd);
        assert_string_equal(middle, "middle");
}

static void test_empty_layers(void **state)
{
        struct place *place = *state;
        struct buffer nothing = BUFFER_INIT;

        assert_int_equal(unpack_items(place, NULL, 0), 0);
        assert_int_equal(place->job.entries, 0);
        assert_int_equal(unpack_tar(place, &nothing), 0);
}

/* ---- whiteouts ---- */

static void test_whiteouts(void **state)
{
        struct place *place = *state;

        assert_unpacks(place, {"etc", S_IFDIR | 0755}, {"etc/.wh.shadow"}, {"var/.wh..wh..opq"},
                       {"var/new", .text = "new"}, {".wh..wh.plnk", S_IFDIR | 0700},
                       {".wh..wh.plnk/12.34", .text = "aufs"}, {".wh..wh.aufs"});
        assert_true(is_whiteout(place, "etc/shadow"));
        assert_false(is_there(place, "etc/.wh.shadow"));
        assert_false(is_there(place, "var/.wh..wh..opq"));
        assert_false(is_there(place, ".wh..wh.plnk"));
        assert_false(is_there(place, ".wh..wh.aufs"));
        assert_text(place, "var/new", "new");
        assert_int_equal(place->notes.opaque_count, 1);
        assert_string_equal(place->notes.opaque[0], "var");

        assert_unpacks(place, {".wh..wh..opq"});
        assert_string_equal(place->notes.opaque[0], ".");
}

/* A whiteout is about the layers below: what the same layer has stays, whichever comes first. */
static void test_whiteout_of_what_is_replaced(void **state)
{
        struct place *place = *state;

        assert_unpacks(place, {"f", .text = "f"}, {".wh.f"}, {".wh.g"}, {"g", .text = "g"},
                       {"d/x", .text = "x"}, {".wh.d"}, {".wh.e"}, {"e", S_IFDIR | 0755}, {".wh.i"},
                       {"i/deep/x", .text = "x"}, {".wh.twice"}, {".wh.twice"});
        assert_text(place, "f", "f");
        assert_text(place, "g", "g");
        assert_text(place, "i/deep/x", "x");
        assert_true(is_whiteout(place, "twice"));
        assert_int_equal(place->notes.opaque_count, 3);
        assert_true(has(place->notes.opaque, 3, "d"));
        assert_true(has(place->notes.opaque, 3, "e"));
        assert_true(has(place->notes.opaque, 3, "i"));
}

static void test_bad_whiteouts(void **state)
{
        struct place *place = *state;
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "names nothing", {".wh."});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "names nothing", {"a/.wh.."});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "names nothing", {"a/.wh..."});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "in the place of a folder", {".wh.a/b"});
}

/* ---- what wants out ---- */

static void test_dots_are_refused(void **state)
{
        struct place *place = *state;
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "..", {"../escaped", .text = "x"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "..", {"a/../../escaped", .text = "x"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "..", {"a/..", S_IFDIR | 0755});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "..", {"/..", S_IFDIR | 0755});
        AUTO_FREE char *outside = xprintf("%s/escaped", place->path);
        assert_int_not_equal(access(outside, F_OK), 0);
}

static void test_symlinked_parents_stay_inside(void **state)
{
        struct place *place = *state;
        AUTO_FREE char *outside = xprintf("%s/outside", place->path);
        assert_int_equal(mkdir(outside, 0755), 0);

        /* An absolute link and dots lead to where a container would go, which is inside. */
        assert_unpacks(place, {"tmp", S_IFDIR | 0755}, {"abs", .symlink = "/tmp"},
                       {"abs/one", .text = "1"}, {"up", .symlink = "../../../../tmp"},
                       {"up/two", .text = "2"});
        assert_text(place, "tmp/one", "1");
        assert_text(place, "tmp/two", "2");

        assert_refuses(place, ERROR_FAILED_PRECONDITION, "symlink", {"e", .symlink = outside},
                       {"e/escaped", .text = "x"});
        assert_refuses(place, ERROR_FAILED_PRECONDITION, "symlink", {"e", .symlink = "../outside"},
                       {"e/escaped", .text = "x"});
        assert_true(UNPACK(place, {"loop", .symlink = "loop"}, {"loop/x", .text = "x"}) < 0);
        AUTO_FREE char *escaped = xprintf("%s/escaped", outside);
        assert_int_not_equal(access(escaped, F_OK), 0);
}

/* What an entry makes is never reached through a symlink of the same path. */
static void test_symlinks_are_replaced_not_followed(void **state)
{
        struct place *place = *state;
        AUTO_FREE char *victim = xprintf("%s/victim", place->path);
        int fd = open(victim, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, "safe", 4), 4);
        close(fd);

        assert_unpacks(place, {"l", .symlink = victim}, {"l", .text = "overwritten"},
                       {"d", .symlink = place->path}, {"d", S_IFDIR | 0777},
                       {"d/victim", .text = "x"});
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        assert_int_equal(file_read(victim, 100, &contents, NULL), 0);
        assert_string_equal(contents.data, "safe");
        struct stat status;
        assert_int_equal(stat(place->path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0700);
}

static void test_hard_links_out_are_refused(void **state)
{
        struct place *place = *state;
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "..", {"l", .hardlink = "../../etc/passwd"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "a folder", {"d", S_IFDIR | 0755},
                       {"l", .hardlink = "d"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "a removed file", {".wh.gone"},
                       {"l", .hardlink = "gone"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "not the name of a file",
                       {"l", .hardlink = "."});

        /* A link to a symlink is one to the symlink itself. */
        assert_unpacks(place, {"s", .symlink = "/etc/passwd"}, {"l", .hardlink = "s"});
        assert_true(S_ISLNK(look(place, "l").st_mode));
        /* The host's /etc/passwd is not the layer's. */
        assert_unpacks(place, {"l", .hardlink = "/etc/passwd"});
        assert_false(is_there(place, "l"));
        assert_int_equal(place->notes.link_count, 1);
}

static void test_hard_links_to_lower_layers_are_noted(void **state)
{
        struct place *place = *state;

        assert_unpacks(place, {"bin/a", .hardlink = "usr/bin/b"}, {"late", .hardlink = "target"},
                       {"target", .text = "t"}, {"gone", .hardlink = "nowhere"},
                       {"gone", .text = "replaced"}, {"self", .text = "s"},
                       {"self", .hardlink = "self"});
        assert_int_equal(place->notes.link_count, 1);
        assert_string_equal(place->notes.links[0].path, "bin/a");
        assert_string_equal(place->notes.links[0].target, "usr/bin/b");
        assert_int_equal(look(place, "late").st_ino, look(place, "target").st_ino);
        assert_text(place, "gone", "replaced");
        assert_text(place, "self", "s");
}

static void test_forged_devices_and_attributes(void **state)
{
        struct place *place = *state;
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "forged", {"w", S_IFCHR | 0});
        assert_refuses(
                place, ERROR_INVALID_ARGUMENT, "only overlayfs",
                {"d", S_IFDIR | 0755, .xattr = "trusted.overlay.opaque", .xattr_value = "y"});
        assert_refuses(
                place, ERROR_INVALID_ARGUMENT, "only overlayfs",
                {"d", S_IFDIR | 0755, .xattr = "user.overlay.redirect", .xattr_value = "/etc"});
        assert_refuses(
                place, ERROR_INVALID_ARGUMENT, "only overlayfs",
                {"./", S_IFDIR | 0755, .xattr = "trusted.overlay.origin", .xattr_value = "x"});
        assert_refuses(
                place, ERROR_INVALID_ARGUMENT, "only overlayfs",
                {"s", .symlink = "x", .xattr = "trusted.overlay.metacopy", .xattr_value = "x"});
}

static void test_root_is_a_folder(void **state)
{
        struct place *place = *state;
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "root is not a folder",
                       {".", .symlink = "/etc"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "not a folder", {"f", .text = "x"},
                       {"f/below", .text = "x"});
}

/* ---- bounds ---- */

static void test_bounds(void **state)
{
        struct place *place = *state;
        struct item items[12] = {0};
        char names[12][24];
        char long_path[4200];

        for (int i = 0; i < 12; i++) {
                snprintf(names[i], sizeof(names[i]), "dir%d/x", i);
                items[i].path = names[i];
        }
        place->limits.entries = 12;
        assert_int_equal(unpack_items(place, items, 12), 0);
        place->limits.entries = 11;
        assert_true(unpack_items(place, items, 12) < 0);
        assert_int_equal(place->err.code, ERROR_RESOURCE_EXHAUSTED);
        assert_non_null(strstr(place->err.message, "11 entries"));

        place->limits.entries = 1000;
        place->limits.unpacked_bytes = 4096;
        assert_true(unpack_items(place, items, 12) < 0);
        assert_int_equal(place->err.code, ERROR_RESOURCE_EXHAUSTED);
        assert_non_null(strstr(place->err.message, "4096 bytes"));
        place->limits.unpacked_bytes = 1 << 30;

        place->notes_left = 100;
        assert_true(unpack_items(place, items, 12) < 0);
        assert_int_equal(place->err.code, ERROR_RESOURCE_EXHAUSTED);
        place->notes_left = 1 << 20;

        memset(long_path, 'd', sizeof(long_path));
        for (int i = 200; i < 4199; i += 200)
                long_path[i] = '/';
        long_path[4199] = '\0';
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "bytes", {long_path, .text = "x"});
        memset(long_path, 'd', 300);
        long_path[300] = '\0';
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "255", {long_path, .text = "x"});
}

/* Neither by its names nor through symlinks does a layer get deeper than whoever removes it can go.
 */
static void test_depth(void **state)
{
        struct place *place = *state;
        AUTO_BUFFER struct buffer deep = BUFFER_INIT;

        for (int i = 0; i < 150; i++)
                buffer_add_text(&deep, "d/");
        AUTO_FREE char *again = xprintf("link/%s", deep.data);
        AUTO_FREE char *third = xprintf("again/%s", deep.data);
        AUTO_FREE char *there = xprintf("link/%s", deep.data);
        assert_unpacks(place, {deep.data, S_IFDIR | 0755});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "folders deep", {deep.data, S_IFDIR | 0755},
                       {"link", .symlink = deep.data}, {again, S_IFDIR | 0755},
                       {"again", .symlink = there}, {third, S_IFDIR | 0755});
        for (int i = 0; i < 150; i++)
                buffer_add_text(&deep, "d/");
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "folders deep", {deep.data, .text = "x"});
}

/* ---- compression and integrity ---- */

static void make_sample(struct buffer *tar)
{
        AUTO_FREE char *text = xcalloc(1, 300001);
        for (unsigned i = 0; i < 300000; i++)
                text[i] = (char)('a' + (i % 9973 * 7919 + i / 251) % 26);
        make_tar((const struct item[]){{"one", .text = text}, {"two", .text = "2"}}, 2, tar);
}

static void test_compressions(void **state)
{
        struct place *place = *state;
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        AUTO_BUFFER struct buffer whole = BUFFER_INIT;
        AUTO_BUFFER struct buffer parts = BUFFER_INIT;
        AUTO_BUFFER struct buffer frame = BUFFER_INIT;
        AUTO_BUFFER struct buffer frames = BUFFER_INIT;

        make_sample(&tar);
        AUTO_FREE char *diff_id = sum(&tar);
        gzip(tar.data, tar.length, &whole);
        gzip(tar.data, 70000, &parts);
        gzip(tar.data + 70000, 1, &parts);
        gzip(tar.data, 0, &parts);
        gzip(tar.data + 70001, tar.length - 70001, &parts);
        zstd(tar.data, tar.length, &frame);
        buffer_add(&frames, "\x52\x2a\x4d\x18\x03\x00\x00\x00xyz", 11); /* skippable */
        zstd(tar.data, 100, &frames);
        zstd(tar.data + 100, tar.length - 100, &frames);
        const struct buffer *all[] = {&tar, &whole, &parts, &frame, &frames};
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                if (unpack_stream(place, all[i], diff_id) != 0)
                        fail_msg("%zu: %s", i, place->err.message);
                assert_int_equal(place->job.unpacked, tar.length);
                assert_int_equal(look(place, "one").st_size, 300000);
                assert_text(place, "two", "2");
        }
}

static void assert_damaged(struct place *place, const struct buffer *stream, const char *diff_id)
{
        assert_true(unpack_stream(place, stream, diff_id) < 0);
        assert_int_equal(place->err.code, ERROR_DATA_LOSS);
}

static void test_truncated(void **state)
{
        struct place *place = *state;
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        AUTO_BUFFER struct buffer gz = BUFFER_INIT;
        AUTO_BUFFER struct buffer zst = BUFFER_INIT;

        make_sample(&tar);
        AUTO_FREE char *diff_id = sum(&tar);
        gzip(tar.data, tar.length, &gz);
        zstd(tar.data, tar.length, &zst);
        size_t lengths[] = {gz.length - 1, gz.length - 8, gz.length / 2, 11, 5, 2};
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
                gz.length = lengths[i];
                assert_damaged(place, &gz, diff_id);
        }
        zst.length -= 1;
        assert_damaged(place, &zst, diff_id);
        zst.length /= 2;
        assert_damaged(place, &zst, diff_id);
        tar.length = tar.length / 2;
        assert_damaged(place, &tar, diff_id);
}

static void test_damaged(void **state)
{
        struct place *place = *state;
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        AUTO_BUFFER struct buffer gz = BUFFER_INIT;

        make_sample(&tar);
        AUTO_FREE char *diff_id = sum(&tar);
        gzip(tar.data, tar.length, &gz);
        buffer_add(&gz, "garbage", 7);
        assert_damaged(place, &gz, diff_id);
        assert_non_null(strstr(place->err.message, "follows a gzip member"));
        gz.length -= 7;
        gz.data[gz.length - 6] ^= 1;
        assert_damaged(place, &gz, diff_id);
        assert_non_null(strstr(place->err.message, "checksum"));
        gz.data[gz.length - 6] ^= 1;
        gz.data[gz.length / 2] ^= 0x55;
        assert_damaged(place, &gz, diff_id);

        struct buffer rubbish = BUFFER_INIT;
        for (int i = 0; i < 5000; i++)
                buffer_add_text(&rubbish, "<html>");
        assert_damaged(place, &rubbish, diff_id);
        buffer_fini(&rubbish);
}

static void test_diff_id_lie(void **state)
{
        struct place *place = *state;
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;

        make_sample(&tar);
        AUTO_FREE char *diff_id = sum(&tar);
        diff_id[10] = diff_id[10] == '0' ? '1' : '0';
        assert_damaged(place, &tar, diff_id);
        assert_non_null(strstr(place->err.message, "uncompressed: its digest is sha256:"));
}

/* Bytes after the archive's end count for the diff ID, and nothing in them becomes a file. */
static void test_bytes_after_the_end(void **state)
{
        struct place *place = *state;
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;

        make_sample(&tar);
        make_tar((const struct item[]){{"hidden", .text = "x"}}, 1, &tar);
        assert_int_equal(unpack_tar(place, &tar), 0);
        assert_false(is_there(place, "hidden"));
        assert_int_equal(place->job.unpacked, tar.length);
}

static void test_broken_off(void **state)
{
        struct place *place = *state;
        struct ring *ring = ring_new(65536);
        struct layer_unpacker *unpacker;
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;

        make_sample(&tar);
        place->job = (struct layer_job){.diff_id = "sha256:",
                                        .layers_fd = place->fd,
                                        .limits = &place->limits,
                                        .notes_left = &place->notes_left};
        assert_int_equal(layer_unpacker_start(&place->job, ring, &unpacker, &place->err), 0);
        assert_int_equal(ring_write(ring, tar.data, 1000), 0);
        ring_break(ring);
        assert_true(layer_unpacker_join(unpacker, &place->err) < 0);
        assert_int_equal(place->err.code, ERROR_CANCELLED);
        ring_free(ring);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_ordinary_tree),
                TEST(test_implied_folders),
                TEST(test_names),
                TEST(test_names_that_are_not_utf8),
                TEST(test_later_entry_replaces),
                TEST(test_extended_attributes),
                TEST(test_sparse_file),
                TEST(test_empty_layers),
                TEST(test_whiteouts),
                TEST(test_whiteout_of_what_is_replaced),
                TEST(test_bad_whiteouts),
                TEST(test_dots_are_refused),
                TEST(test_symlinked_parents_stay_inside),
                TEST(test_symlinks_are_replaced_not_followed),
                TEST(test_hard_links_out_are_refused),
                TEST(test_hard_links_to_lower_layers_are_noted),
                TEST(test_forged_devices_and_attributes),
                TEST(test_root_is_a_folder),
                TEST(test_bounds),
                TEST(test_depth),
                TEST(test_compressions),
                TEST(test_truncated),
                TEST(test_damaged),
                TEST(test_diff_id_lie),
                TEST(test_bytes_after_the_end),
                TEST(test_broken_off),
        };
        if (!setlocale(LC_CTYPE, "C.UTF-8"))
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
