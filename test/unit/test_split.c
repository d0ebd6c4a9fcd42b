/* Tar streams taken apart while they are unpacked, and made again from what was kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/fetch/digest.h"
#include "image/fetch/layer.h"
#include "image/fetch/ring.h"
#include "image/fetch/split.h"
#include "image/fetch/split_format.h"

/* ---- streams by hand: libarchive would not write these ---- */

static char *add_header(struct buffer *tar, const char *name, char type, size_t size)
{
        char *block = buffer_reserve(tar, 512);
        memset(block, 0, 512);
        snprintf(block, 100, "%s", name);
        memcpy(block + 100,
               "0000644\0"
               "0000000\0"
               "0000000\0",
               24);
        snprintf(block + 124, 12, "%011o", (unsigned)size);
        memcpy(block + 136, "07346545000\0", 12);
        block[156] = type;
        memcpy(block + 257, "ustar  ", 8);
        tar->length += 512;
        return block;
}

static void seal(char *block)
{
        unsigned sum = 0;
        memset(block + 148, ' ', 8);
        for (int i = 0; i < 512; i++)
                sum += (unsigned char)block[i];
        snprintf(block + 148, 8, "%06o", sum);
        block[155] = ' ';
}

static void add_padding(struct buffer *tar, char with)
{
        while (tar->length % 512)
                buffer_add(tar, &with, 1);
}

static void add_file(struct buffer *tar, const char *name, const char *text)
{
        seal(add_header(tar, name, '0', strlen(text)));
        buffer_add_text(tar, text);
        add_padding(tar, '\0');
}

static void add_link(struct buffer *tar, const char *name, char type, const char *target)
{
        char *block = add_header(tar, name, type, 0);
        snprintf(block + 157, 100, "%s", target);
        seal(block);
}

static void add_folder(struct buffer *tar, const char *name)
{
        char *block = add_header(tar, name, '5', 0);
        memcpy(block + 100, "0000755", 7);
        seal(block);
}

static void add_end(struct buffer *tar)
{
        static const char zeroes[1024];
        buffer_add(tar, zeroes, sizeof(zeroes));
}

/* ---- taking them apart ---- */

struct place {
        char path[64];
        int fd, tars, root, record;
        char name[LAYER_NAME_LENGTH + 1];
        char diff_id[REFERENCE_DIGEST_MAX + 1];
        struct error err;
        /* of the last remake */
        struct buffer stream;
        unsigned damages;
        char damaged[512];
};

static int set_up(void **state)
{
        struct place *place = xcalloc(1, sizeof(*place));
        strcpy(place->path, "/tmp/crisp-split-XXXXXX");
        assert_non_null(mkdtemp(place->path));
        place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(mkdirat(place->fd, "tars", 0700), 0);
        place->tars = openat(place->fd, "tars", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        place->root = place->record = -1;
        *state = place;
        return 0;
}

static int tear_down(void **state)
{
        struct place *place = *state;
        cleanup_fd(&place->root);
        cleanup_fd(&place->record);
        close(place->tars);
        close(place->fd);
        buffer_fini(&place->stream);
        assert_int_equal(file_remove_tree(place->path, NULL), 0);
        free(place);
        return 0;
}

/* Unpacks the stream, in parts of this size. */
static void take_apart(struct place *place, const struct buffer *tar, size_t part)
{
        AUTO_RING struct ring *ring = ring_new(65536);
        struct fetch_limits limits = {.unpacked_bytes = 1 << 30, .entries = 1000};
        _Atomic int64_t notes_left = 1 << 20;
        struct layer_unpacker *unpacker;
        struct digest *digest = digest_new(NULL);

        digest_add(digest, tar->data ? tar->data : "", tar->length);
        digest_finish(digest, place->diff_id);
        digest_free(digest);
        struct layer_job job = {.diff_id = place->diff_id,
                                .layers_fd = place->fd,
                                .tars_fd = place->tars,
                                .limits = &limits,
                                .notes_left = &notes_left};
        assert_int_equal(layer_unpacker_start(&job, ring, &unpacker, &place->err), 0);
        for (size_t at = 0; at < tar->length; at += part)
                ring_write(ring, tar->data + at, part < tar->length - at ? part : tar->length - at);
        ring_finish(ring);
        if (layer_unpacker_join(unpacker, &place->err) < 0)
                fail_msg("%s", place->err.message);
        tree_free(job.tree);
        strcpy(place->name, job.name);
        cleanup_fd(&place->root);
        cleanup_fd(&place->record);
        place->root = openat(place->fd, job.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        place->record = openat(place->tars, job.name, O_RDWR | O_CLOEXEC);
}

static int add_remade(void *argument, const char *bytes, size_t length, struct error *err)
{
        struct place *place = argument;
        (void)err;
        buffer_add(&place->stream, bytes, length);
        return 0;
}

static void note_damage(void *argument, const char *path, const char *how)
{
        struct place *place = argument;
        place->damages++;
        snprintf(place->damaged, sizeof(place->damaged), "%.200s: %.200s", path, how);
}

static int remake(struct place *place)
{
        struct split_sink sink = {add_remade, note_damage, place};
        place->stream.length = 0;
        place->damages = 0;
        return split_remake(place->record, place->root, &sink, &place->err);
}

static void assert_same(struct place *place, const struct buffer *tar)
{
        if (place->record < 0)
                fail_msg("there is no record");
        if (remake(place) < 0)
                fail_msg("%s", place->err.message);
        assert_int_equal(place->damages, 0);
        assert_int_equal(place->stream.length, tar->length);
        assert_memory_equal(place->stream.data, tar->data, tar->length);
        int64_t length = 0;
        assert_int_equal(split_length(place->record, &length, NULL), 0);
        assert_int_equal(length, (int64_t)tar->length);
}

static void assert_comes_back(struct place *place, const struct buffer *tar)
{
        static const size_t parts[] = {65536, 512, 1000, 7};
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
                take_apart(place, tar, parts[i]);
                assert_same(place, tar);
        }
}

/* ---- what comes back ---- */

static void test_plain(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        add_folder(&tar, "a/");
        add_file(&tar, "a/empty", "");
        add_file(&tar, "a/one", "contents");
        add_link(&tar, "a/two", '1', "a/one");
        add_link(&tar, "a/three", '2', "one");
        add_end(&tar);
        assert_comes_back(*state, &tar);
}

/* Padding that is not zeroes, what follows the end, and a second archive behind it. */
static void test_bytes_that_mean_nothing(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        seal(add_header(&tar, "file", '0', 5));
        buffer_add_text(&tar, "hello");
        add_padding(&tar, 'x');
        add_end(&tar);
        add_file(&tar, "never-seen", "after the end");
        add_end(&tar);
        buffer_add_text(&tar, "garbage");
        assert_comes_back(*state, &tar);
}

static void test_nothing_and_zeroes(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        struct place *place = *state;
        take_apart(place, &tar, 1);
        assert_int_equal(remake(place), 0);
        assert_int_equal(place->stream.length, 0);
        add_end(&tar);
        add_end(&tar);
        assert_comes_back(place, &tar);
}

static void test_long_names(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        char name[200] = {0}, pax[64];
        memset(name, 'n', 150);
        seal(add_header(&tar, "././@LongLink", 'L', strlen(name) + 1));
        buffer_add(&tar, name, strlen(name) + 1);
        add_padding(&tar, '\0');
        add_file(&tar, "cut", "gnu");
        snprintf(pax, sizeof(pax),
                 "22 path=gr\xc3\xbc\xc3\x9f"
                 "e/name\n");
        pax[0] = (char)('0' + strlen(pax) / 10);
        pax[1] = (char)('0' + strlen(pax) % 10);
        seal(add_header(&tar, "pax", 'x', strlen(pax)));
        buffer_add_text(&tar, pax);
        add_padding(&tar, '\0');
        add_file(&tar, "cut", "pax");
        add_end(&tar);
        assert_comes_back(*state, &tar);
}

static void test_sparse(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        char *block = add_header(&tar, "sparse", 'S', 1024);
        snprintf(block + 386, 12, "%011o", 4096);
        snprintf(block + 398, 12, "%011o", 512);
        snprintf(block + 410, 12, "%011o", 65536);
        snprintf(block + 422, 12, "%011o", 512);
        snprintf(block + 483, 12, "%011o", 100000);
        seal(block);
        for (int i = 0; i < 1024; i++)
                buffer_add(&tar, &"sparse"[i % 6], 1);
        add_file(&tar, "next", "text");
        add_end(&tar);
        assert_comes_back(*state, &tar);
        struct stat status;
        assert_int_equal(fstatat(((struct place *)*state)->root, "sparse", &status, 0), 0);
        assert_int_equal(status.st_size, 100000);
}

/* The replaced contents are in no tree any more. */
static void test_replaced(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        add_file(&tar, "file", "the first");
        add_file(&tar, "other", "untouched");
        add_file(&tar, "./file", "the second, longer");
        add_link(&tar, "hard", '1', "file");
        add_file(&tar, "file", "third");
        add_link(&tar, "file", '2', "other");
        add_end(&tar);
        assert_comes_back(*state, &tar);
}

/* Through a symlink, which is replaced by a folder afterwards. */
static void test_resolved(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        add_folder(&tar, "real/");
        add_link(&tar, "link", '2', "real");
        add_file(&tar, "link/file", "through a link");
        add_folder(&tar, "link/");
        add_end(&tar);
        take_apart(*state, &tar, 65536);
        struct place *place = *state;
        struct stat status;
        assert_int_equal(fstatat(place->root, "real/file", &status, 0), 0);
        assert_same(place, &tar);
}

/* ---- what does not ---- */

static void test_a_folder_replaced_leaves_no_record(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        struct place *place = *state;
        add_file(&tar, "d/file", "text");
        add_file(&tar, "d", "no folder any more");
        add_end(&tar);
        take_apart(place, &tar, 65536);
        assert_true(place->record < 0);
}

static void test_too_much_replaced_leaves_no_record(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        struct place *place = *state;
        size_t size = SPLIT_KEPT_MAX + 1;
        seal(add_header(&tar, "big", '0', size));
        memset(buffer_reserve(&tar, size), 'b', size);
        tar.length += size;
        add_padding(&tar, '\0');
        add_file(&tar, "big", "small");
        add_end(&tar);
        take_apart(place, &tar, 65536);
        assert_true(place->record < 0);
}

static void test_changed_files_are_told(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        struct place *place = *state;
        add_file(&tar, "file", "contents");
        add_end(&tar);
        take_apart(place, &tar, 65536);

        AUTO_FD int fd = openat(place->root, "file", O_RDWR);
        assert_int_equal(pwrite(fd, "C", 1, 0), 1);
        assert_int_equal(remake(place), 0);
        assert_int_equal(place->damages, 1);
        assert_string_equal(place->damaged, "file: its contents have changed");
        assert_int_equal(pwrite(fd, "c", 1, 0), 1);
        assert_same(place, &tar);

        assert_int_equal(ftruncate(fd, 3), 0);
        assert_int_equal(remake(place), 0);
        assert_int_equal(place->damages, 1);
        assert_string_equal(place->damaged, "file: it has 3 bytes instead of 8");
        assert_int_equal(place->stream.length, tar.length);

        assert_int_equal(unlinkat(place->root, "file", 0), 0);
        assert_int_equal(remake(place), 0);
        assert_string_equal(place->damaged, "file: the file is missing");
        assert_int_equal(symlinkat("/etc/passwd", place->root, "file"), 0);
        assert_int_equal(remake(place), 0);
        assert_int_equal(place->damages, 1);
        assert_null(strstr(place->stream.data + 512, "root:"));
}

/* Each byte of a record in turn: nothing but the same stream or an error comes of it. */
static void test_damaged_records(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        struct place *place = *state;
        struct stat status;
        add_file(&tar, "file", "the first");
        add_file(&tar, "file", "the second");
        add_end(&tar);
        take_apart(place, &tar, 65536);
        assert_int_equal(fstat(place->record, &status), 0);
        for (off_t i = 0; i < status.st_size; i++) {
                unsigned char byte, other;
                assert_int_equal(pread(place->record, &byte, 1, i), 1);
                other = byte ^ 0x41;
                assert_int_equal(pwrite(place->record, &other, 1, i), 1);
                /* Six bytes of the header are not in use. */
                if (remake(place) == 0)
                        assert_memory_equal(place->stream.data, tar.data, tar.length);
                else
                        assert_true(place->err.message[0]);
                assert_int_equal(pwrite(place->record, &byte, 1, i), 1);
        }
        for (off_t i = 0; i < status.st_size; i++) {
                assert_int_equal(ftruncate(place->record, status.st_size - 1 - i), 0);
                assert_true(remake(place) < 0);
        }
}

static void test_unknown_version(void **state)
{
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        struct place *place = *state;
        add_end(&tar);
        take_apart(place, &tar, 65536);
        assert_int_equal(pwrite(place->record, "\x02", 1, SPLIT_VERSION_AT), 1);
        assert_true(remake(place) < 0);
        assert_non_null(strstr(place->err.message, "version 2"));
}

int main(void)
{
        setlocale(LC_CTYPE, "C.UTF-8");
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_plain, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bytes_that_mean_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_nothing_and_zeroes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_long_names, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_sparse, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_replaced, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_resolved, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_folder_replaced_leaves_no_record, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_too_much_replaced_leaves_no_record, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_changed_files_are_told, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_damaged_records, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_unknown_version, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
