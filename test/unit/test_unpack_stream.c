/* A layer's stream: compressed, cut, damaged, longer than its archive. */
#include "test/unit/unpack_fixture.h"

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

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_compressions), TEST(test_truncated),           TEST(test_damaged),
                TEST(test_diff_id_lie),  TEST(test_bytes_after_the_end), TEST(test_broken_off),
        };
        if (!setlocale(LC_CTYPE, "C.UTF-8"))
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
