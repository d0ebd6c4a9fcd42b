#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "image/fetch/ring.h"

#define SIZE  4096u
#define TOTAL (SIZE * 25 + 77)

/* The byte at this place of the stream; no period that the ring's size shares. */
static char byte_at(size_t at)
{
        return (char)(at * 7 + at / 251);
}

struct side {
        struct ring *ring;
        ssize_t (*begin)(struct side *side, const char **data);
        void (*end)(struct ring *ring, size_t count);
        size_t most; /* used at a time */
        size_t count;
        bool right;
        ssize_t last;
};

static ssize_t begin_reading(struct side *side, const char **data)
{
        return ring_read_begin(side->ring, 1, data);
}

static ssize_t begin_following(struct side *side, const char **data)
{
        return ring_follow_begin(side->ring, data);
}

static void *run_side(void *argument)
{
        struct side *side = argument;
        const char *data;

        side->right = true;
        while ((side->last = side->begin(side, &data)) > 0) {
                size_t part = (size_t)side->last < side->most ? (size_t)side->last : side->most;
                for (size_t i = 0; i < part; i++)
                        side->right &= data[i] == byte_at(side->count + i);
                side->count += part;
                side->end(side->ring, part);
        }
        return NULL;
}

static void write_all(struct ring *ring)
{
        for (size_t at = 0; at < TOTAL;) {
                char *space;
                size_t room = ring_write_begin(ring, &space);
                assert_int_not_equal(room, 0);
                if (room > TOTAL - at)
                        room = TOTAL - at;
                for (size_t i = 0; i < room; i++)
                        space[i] = byte_at(at + i);
                ring_write_end(ring, room);
                at += room;
        }
        ring_finish(ring);
}

static void test_nobody_gets_the_whole_ring(void **state)
{
        AUTO_RING struct ring *ring = ring_new(SIZE);
        char *space;
        const char *data;

        size_t room = ring_write_begin(ring, &space);
        assert_in_range(room, 1, SIZE / 4);
        for (size_t filled = 0; filled < SIZE; filled += room) {
                room = ring_write_begin(ring, &space);
                ring_write_end(ring, room);
        }
        assert_in_range(ring_read_begin(ring, 1, &data), 1, SIZE / 4);
        /* But who needs more at a time than that gets it. */
        assert_in_range(ring_read_begin(ring, SIZE / 2, &data), SIZE / 2, SIZE);
}

static void test_both_get_every_byte(void **state)
{
        static const size_t paces[][2] = {{SIZE, SIZE}, {SIZE, 5}, {5, SIZE}};

        for (size_t i = 0; i < sizeof(paces) / sizeof(paces[0]); i++) {
                AUTO_RING struct ring *ring = ring_new(SIZE);
                struct side reader = {ring, begin_reading, ring_read_end, paces[i][0]};
                struct side follower = {ring, begin_following, ring_follow_end, paces[i][1]};
                pthread_t threads[2];

                ring_follow(ring);
                pthread_create(&threads[0], NULL, run_side, &reader);
                pthread_create(&threads[1], NULL, run_side, &follower);
                write_all(ring);
                pthread_join(threads[0], NULL);
                pthread_join(threads[1], NULL);
                assert_int_equal(reader.count, TOTAL);
                assert_int_equal(follower.count, TOTAL);
                assert_true(reader.right);
                assert_true(follower.right);
                assert_int_equal(reader.last, 0);
                assert_int_equal(follower.last, 0);
        }
}

static void test_room_is_what_both_have_read(void **state)
{
        AUTO_RING struct ring *ring = ring_new(SIZE);
        char *space;
        const char *data;

        ring_follow(ring);
        for (size_t filled = 0; filled < SIZE;) {
                size_t room = ring_write_begin(ring, &space);
                ring_write_end(ring, room);
                filled += room;
        }
        ring_read_begin(ring, 1, &data);
        ring_read_end(ring, 100);
        ring_follow_begin(ring, &data);
        ring_follow_end(ring, 10);
        assert_int_equal(ring_write_begin(ring, &space), 10);
}

static void test_breaking_ends_all(void **state)
{
        AUTO_RING struct ring *ring = ring_new(SIZE);
        struct side reader = {ring, begin_reading, ring_read_end, SIZE};
        struct side follower = {ring, begin_following, ring_follow_end, SIZE};
        pthread_t threads[2];
        char *space;

        ring_follow(ring);
        pthread_create(&threads[0], NULL, run_side, &reader);
        pthread_create(&threads[1], NULL, run_side, &follower);
        assert_int_equal(ring_write(ring, "abc", 3), 0);
        ring_break(ring);
        pthread_join(threads[0], NULL);
        pthread_join(threads[1], NULL);
        assert_int_equal(reader.last, -ECANCELED);
        assert_int_equal(follower.last, -ECANCELED);
        assert_int_equal(ring_write_begin(ring, &space), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nobody_gets_the_whole_ring),
                cmocka_unit_test(test_both_get_every_byte),
                cmocka_unit_test(test_room_is_what_both_have_read),
                cmocka_unit_test(test_breaking_ends_all),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
