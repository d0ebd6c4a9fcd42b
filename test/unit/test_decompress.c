/* Streams of zstd by the windows that they need, and the memory that all of them share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zstd.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "image/fetch/decompress.h"
#include "image/fetch/digest.h"
#include "image/fetch/frame.h"
#include "image/fetch/limits.h"
#include "image/fetch/memory.h"
#include "image/fetch/ring.h"
#include "image/fetch/window.h"

#define PLAIN (300 * 1024)
#define MIB   (1u << 20)

/* A frame with a window of 2^log bytes; sized: it says how much it holds. */
static void add_frame(struct buffer *out, int log, bool sized, size_t length)
{
        AUTO_FREE char *plain = xcalloc(1, length);
        ZSTD_CCtx *context = ZSTD_createCCtx();
        for (size_t i = 0; i < length; i++)
                plain[i] = (char)(i * i >> 7);
        ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, log);
        ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, sized);
        if (sized)
                ZSTD_CCtx_setPledgedSrcSize(context, length);
        ZSTD_inBuffer in = {plain, length, 0};
        size_t left;
        do {
                char *space = buffer_reserve(out, 4096);
                ZSTD_outBuffer to = {space, 4096, 0};
                /* In two steps, so that the size is not known to the first one. */
                left = ZSTD_compressStream2(context, &to, &in,
                                            in.pos < in.size ? ZSTD_e_continue : ZSTD_e_end);
                assert_false(ZSTD_isError(left));
                out->length += to.pos;
                if (in.pos < in.size)
                        left = 1;
                else if (left == 0 && to.pos < 4096) {
                        space = buffer_reserve(out, 4096);
                        to = (ZSTD_outBuffer){space, 4096, 0};
                        left = ZSTD_compressStream2(context, &to, &in, ZSTD_e_end);
                        out->length += to.pos;
                }
        } while (left > 0);
        ZSTD_freeCCtx(context);
}

struct feed {
        struct ring *ring;
        const struct buffer *bytes;
        size_t step;
};

static void *feed(void *argument)
{
        struct feed *feed = argument;
        for (size_t at = 0; at < feed->bytes->length; at += feed->step) {
                size_t left = feed->bytes->length - at;
                if (ring_write(feed->ring, feed->bytes->data + at,
                               left < feed->step ? left : feed->step) < 0)
                        return NULL;
        }
        ring_finish(feed->ring);
        return NULL;
}

static void *swallow(void *argument)
{
        struct ring *ring = argument;
        const char *data;
        ssize_t count;
        while ((count = ring_read_begin(ring, 1, &data)) > 0)
                ring_read_end(ring, (size_t)count);
        return NULL;
}

static int decompress(const struct buffer *bytes, size_t step, int64_t *total, struct error *err)
{
        AUTO_RING struct ring *in = ring_new(4096);
        AUTO_RING struct ring *out = ring_new(4096);
        AUTO_DIGEST struct digest *digest = digest_new(NULL);
        struct feed feeding = {in, bytes, step};
        pthread_t feeder, swallower;
        pthread_create(&feeder, NULL, feed, &feeding);
        pthread_create(&swallower, NULL, swallow, out);
        int r = decompress_run(in, out, digest, INT64_C(1) << 30, total, err);
        pthread_join(feeder, NULL);
        pthread_join(swallower, NULL);
        return r;
}

static void windows_are_read_from_the_first_bytes(void **state)
{
        (void)state;
        for (int log = 10; log <= 27; log++) {
                AUTO_BUFFER struct buffer frame = BUFFER_INIT;
                uint64_t window = 1;
                add_frame(&frame, log, false, PLAIN);
                const unsigned char *bytes = (const unsigned char *)frame.data;
                assert_true(frame_begins(bytes));
                assert_false(frame_window(bytes, 5, &window));
                assert_true(frame_window(bytes, 6, &window));
                assert_int_equal(window, UINT64_C(1) << log);
        }
        static const unsigned char skippable[] = {0x5a, 0x2a, 0x4d, 0x18};
        static const unsigned char mantissa[] = {0x28, 0xb5, 0x2f, 0xfd, 0, 1 << 3 | 3};
        static const unsigned char one[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 200};
        static const unsigned char two[] = {0x28, 0xb5, 0x2f, 0xfd, 0x61, 9, 1, 2};
        static const unsigned char eight[] = {0x28, 0xb5, 0x2f, 0xfd, 0xe3, 9, 9, 9, 9,
                                              1,    0,    0,    0,    0,    0, 0, 1};
        uint64_t window;
        assert_true(frame_window(skippable, 4, &window) && window == 0);
        assert_true(frame_window(mantissa, 6, &window) && window == 2048 + 3 * 256);
        assert_true(frame_window(one, 6, &window) && window == 200);
        assert_false(frame_window(two, 7, &window));
        assert_true(frame_window(two, 8, &window) && window == 256 + 513);
        assert_false(frame_window(eight, 16, &window));
        assert_true(frame_window(eight, 17, &window) && window == ((UINT64_C(1) << 56) | 1));
}

static void frames_with_growing_windows_come_one_after_the_other(void **state)
{
        (void)state;
        static const size_t steps[] = {1, 7, 4096, 1 << 20};
        static const char skippable[] = "\x50\x2a\x4d\x18\x05\0\0\0abcde";
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        add_frame(&bytes, 12, false, PLAIN);
        buffer_add(&bytes, skippable, sizeof(skippable) - 1);
        add_frame(&bytes, 20, true, 0);
        add_frame(&bytes, 20, false, 0);
        add_frame(&bytes, 20, true, PLAIN);
        add_frame(&bytes, 27, false, PLAIN);
        add_frame(&bytes, 10, false, 1);
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
                struct error err;
                int64_t total = 0;
                int r = decompress(&bytes, steps[i], &total, &err);
                if (r < 0)
                        fail_msg("%s", err.message);
                assert_int_equal(total, 3 * PLAIN + 1);
        }
        /* Cut anywhere it is told. */
        bytes.length -= 1;
        struct error err;
        int64_t total;
        assert_true(decompress(&bytes, 100, &total, &err) < 0);
        assert_non_null(strstr(err.message, "ends in its middle"));
}

static void a_window_beyond_the_bound_is_refused_in_words(void **state)
{
        (void)state;
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        struct error err;
        int64_t total;
        add_frame(&bytes, 30, false, 10);
        assert_true(decompress(&bytes, 100, &total, &err) < 0);
        assert_non_null(strstr(err.message, "a window of 1024 MiB, and 512 are the bound"));
        assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
}

/* ---- large windows ---- */

#define FAR (36u * MIB) /* how far back the second half has to look */

/* Twice the same bytes, which no shorter window would find again. */
static void add_far_matches(struct buffer *out, struct digest *digest)
{
        AUTO_FREE char *plain = xcalloc(2, FAR);
        ZSTD_CCtx *context = ZSTD_createCCtx();
        uint64_t x = 88172645463325252u;
        for (size_t i = 0; i < FAR; i += sizeof(x)) {
                x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                memcpy(plain + i, &x, sizeof(x));
                memcpy(plain + FAR + i, &x, sizeof(x));
        }
        digest_add(digest, plain, 2u * FAR);
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, 1);
        ZSTD_CCtx_setParameter(context, ZSTD_c_enableLongDistanceMatching, 1);
        ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 26);
        size_t most = ZSTD_compressBound(2u * FAR);
        out->length = ZSTD_compress2(context, buffer_reserve(out, most), most, plain, 2u * FAR);
        assert_false(ZSTD_isError(out->length));
        assert_in_range(out->length, FAR, FAR + MIB);
        ZSTD_freeCCtx(context);
}

static void expect_far_matches(const struct buffer *bytes, const char *expected)
{
        AUTO_RING struct ring *in = ring_new(MIB);
        AUTO_RING struct ring *out = ring_new(MIB);
        AUTO_DIGEST struct digest *digest = digest_new(NULL);
        struct feed feeding = {in, bytes, MIB};
        pthread_t feeder, swallower;
        struct error err;
        int64_t total = 0;

        pthread_create(&feeder, NULL, feed, &feeding);
        pthread_create(&swallower, NULL, swallow, out);
        int r = decompress_run(in, out, digest, INT64_C(1) << 30, &total, &err);
        pthread_join(feeder, NULL);
        pthread_join(swallower, NULL);
        if (r < 0)
                fail_msg("%s", err.message);
        assert_int_equal(total, 2u * FAR);
        assert_int_equal(digest_check(digest, expected, &err), 0);
}

static void a_window_in_a_file_is_as_good_as_one_in_memory(void **state)
{
        char path[] = "/tmp/crisp-window-XXXXXX", expected[REFERENCE_DIGEST_MAX + 1];
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        AUTO_DIGEST struct digest *digest = digest_new(NULL);

        (void)state;
        add_far_matches(&bytes, digest);
        digest_finish(digest, expected);
        expect_far_matches(&bytes, expected);
        assert_non_null(mkdtemp(path));
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        window_use_folder(fd);
        expect_far_matches(&bytes, expected);
        window_use_folder(-1);
        close(fd);
        /* Nothing of it has a name. */
        assert_int_equal(rmdir(path), 0);
}

static void a_large_window_is_in_a_file_and_its_pages_go(void **state)
{
        static const size_t page = 4096, size = 64u * MIB;
        char path[] = "/tmp/crisp-window-XXXXXX";
        struct window *window = window_new();

        (void)state;
        assert_non_null(mkdtemp(path));
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        window_use_folder(fd);
        char *small = window_allocate(window, 100);
        assert_false(window_is_file(window));
        char *bytes = window_allocate(window, size);
        assert_true(window_is_file(window));
        memset(bytes, 'x', size);
        struct rusage before;
        getrusage(RUSAGE_SELF, &before);
        window_advance(window, size);
        /* Gone from us, and still there. */
        for (size_t i = 0; i < size; i += page)
                assert_int_equal(bytes[i], 'x');
        struct rusage after;
        getrusage(RUSAGE_SELF, &after);
        assert_true(after.ru_minflt > before.ru_minflt);
        window_give_back(window, bytes);
        assert_false(window_is_file(window));
        window_give_back(window, small);
        window_give_back(window, NULL);
        window_free(window);
        window_use_folder(-1);
        close(fd);
        rmdir(path);
}

/* ---- memory ---- */

static bool never(void *argument)
{
        (void)argument;
        return false;
}

static bool always(void *argument)
{
        (void)argument;
        return true;
}

static atomic_int got;

static void *take_much(void *argument)
{
        size_t *bytes = argument;
        if (memory_take_window(*bytes, never, NULL))
                atomic_fetch_add(&got, 1);
        return NULL;
}

static void windows_wait_for_each_other(void **state)
{
        (void)state;
        size_t all = 128 * MIB;
        pthread_t thread;
        atomic_store(&got, 0);
        assert_true(memory_take_window(20 * MIB, never, NULL));
        assert_true(memory_take_window(10 * MIB, never, NULL));
        assert_false(memory_take_window(10 * MIB, always, NULL));
        pthread_create(&thread, NULL, take_much, &all);
        memory_give_window(10 * MIB);
        usleep(300000);
        assert_int_equal(atomic_load(&got), 0);
        /* Nobody gets in between: what waits gets the next. */
        assert_false(memory_take_part(MIB));
        memory_give_window(20 * MIB);
        pthread_join(thread, NULL);
        assert_int_equal(atomic_load(&got), 1);
        assert_false(memory_take_part(MIB));
        memory_give_window(all);
        assert_true(memory_take_part(MIB));
        memory_give_part(MIB);
}

static void give_back(void *argument)
{
        size_t *kept = argument;
        if (*kept)
                memory_give_part(*kept);
        *kept = 0;
}

static void idle_parts_are_given_back(void **state)
{
        (void)state;
        size_t kept = 20 * MIB;
        assert_true(memory_take_part(kept));
        memory_set_keeper(give_back, &kept);
        assert_true(memory_take_window(32 * MIB, never, NULL));
        assert_int_equal(kept, 0);
        memory_set_keeper(NULL, NULL);
        memory_give_window(32 * MIB);
}

/* They may be of the very layer whose window waits. */
static void a_window_does_not_wait_for_parts_for_ever(void **state)
{
        (void)state;
        assert_true(memory_take_part(20 * MIB));
        assert_true(memory_take_window(32 * MIB, never, NULL));
        assert_false(memory_take_part(MIB));
        memory_give_window(32 * MIB);
        memory_give_part(20 * MIB);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(windows_are_read_from_the_first_bytes),
                cmocka_unit_test(frames_with_growing_windows_come_one_after_the_other),
                cmocka_unit_test(a_window_beyond_the_bound_is_refused_in_words),
                cmocka_unit_test(a_window_in_a_file_is_as_good_as_one_in_memory),
                cmocka_unit_test(a_large_window_is_in_a_file_and_its_pages_go),
                cmocka_unit_test(windows_wait_for_each_other),
                cmocka_unit_test(idle_parts_are_given_back),
                cmocka_unit_test(a_window_does_not_wait_for_parts_for_ever),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
