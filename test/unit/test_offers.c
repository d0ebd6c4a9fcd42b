/* URLs that wait for their clients: unlike any other, good once, and for a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/task.h"
#include "cri/stream/offers.h"
#include "cri/stream/server.h"

#define FOREVER (INT64_C(3600) * NSEC_PER_SEC)

static unsigned closed, wanted;
static struct event one_closed;

static void on_close(void *session)
{
        assert_non_null(session);
        closed++;
        event_signal(&one_closed);
}

static const struct stream_backend backend = {.close = on_close};

static struct bridge *bridge(void)
{
        return bridge_new(NULL, &backend, &closed);
}

static void wait_for_closed(void *argument)
{
        (void)argument;
        while (closed < wanted)
                task_wait(&one_closed, CLOCK_NEVER);
        loop_stop();
}

/* Lets the loop close what was dropped. */
static void run_until_closed(unsigned count)
{
        wanted = count;
        task_start("wait", wait_for_closed, NULL);
        loop_run();
        assert_int_equal(closed, count);
}

static int set_up(void **state)
{
        (void)state;
        closed = 0;
        return loop_init(1, NULL);
}

static int tear_down(void **state)
{
        (void)state;
        loop_fini();
        return 0;
}

static void add(struct offers *offers, enum stream_kind kind, char path[OFFERS_PATH_SIZE])
{
        const struct session_options options = {.kind = kind, .name = "who", .tty = true};
        assert_int_equal(offers_add(offers, bridge(), &options, path, NULL), 0);
}

static void take_and_drop(struct offers *offers, const char *path, enum stream_kind kind)
{
        struct session_options options;
        struct bridge *taken = NULL;
        assert_true(offers_take(offers, path, &taken, &options));
        assert_int_equal(options.kind, kind);
        assert_string_equal(options.name, "who");
        assert_true(options.tty);
        bridge_drop(taken);
}

static bool is_there(struct offers *offers, const char *path)
{
        struct session_options options;
        struct bridge *taken;
        return offers_take(offers, path, &taken, &options);
}

static void test_good_once(void **state)
{
        struct offers *offers = offers_new(FOREVER);
        char paths[3][OFFERS_PATH_SIZE];
        (void)state;
        add(offers, STREAM_EXEC, paths[0]);
        add(offers, STREAM_ATTACH, paths[1]);
        add(offers, STREAM_PORT_FORWARD, paths[2]);
        assert_memory_equal(paths[0], "/exec/", 6);
        assert_memory_equal(paths[1], "/attach/", 8);
        assert_memory_equal(paths[2], "/portforward/", 13);
        take_and_drop(offers, paths[1], STREAM_ATTACH);
        assert_false(is_there(offers, paths[1]));
        take_and_drop(offers, paths[2], STREAM_PORT_FORWARD);
        take_and_drop(offers, paths[0], STREAM_EXEC);
        assert_false(is_there(offers, paths[0]));
        run_until_closed(3);
        offers_free(offers);
}

static void test_no_other_path(void **state)
{
        struct offers *offers = offers_new(FOREVER);
        char path[OFFERS_PATH_SIZE], other[OFFERS_PATH_SIZE + 8];
        (void)state;
        add(offers, STREAM_EXEC, path);
        const char *token = path + 6;
        static const char *const formats[] = {
                "/attach/%s", "/portforward/%s", "/exec//%s", "/exec/%s/", "/exec/%s0",
                "exec/%s",    "/EXEC/%s",        "%s",        "//exec/%s", "/exec/%.31s",
        };
        for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                snprintf(other, sizeof other, formats[i], token);
#pragma GCC diagnostic pop
                assert_false(is_there(offers, other));
        }
        for (size_t i = 6; i < strlen(path); i++) {
                strcpy(other, path);
                other[i] ^= 1;
                assert_false(is_there(offers, other));
        }
        assert_false(is_there(offers, ""));
        assert_false(is_there(offers, "/exec/"));
        take_and_drop(offers, path, STREAM_EXEC);
        run_until_closed(1);
        offers_free(offers);
}

static int by_text(const void *a, const void *b)
{
        return strcmp(a, b);
}

/* 128 random bits: no two are alike, and each digit of each place comes up. */
static void test_unlike_any_other(void **state)
{
        static char paths[STREAM_OFFERS_MAX][OFFERS_PATH_SIZE];
        struct offers *offers = offers_new(FOREVER);
        (void)state;
        for (size_t i = 0; i < STREAM_OFFERS_MAX; i++) {
                add(offers, STREAM_EXEC, paths[i]);
                assert_int_equal(strlen(paths[i]), 6 + 128 / 4);
                assert_int_equal(strspn(paths[i] + 6, "0123456789abcdef"), 128 / 4);
        }
        for (size_t place = 6; place < 6 + 128 / 4; place++) {
                bool seen[256] = {0};
                unsigned count = 0;
                for (size_t i = 0; i < STREAM_OFFERS_MAX; i++) {
                        count += !seen[(unsigned char)paths[i][place]];
                        seen[(unsigned char)paths[i][place]] = true;
                }
                assert_int_equal(count, 16);
        }
        qsort(paths, STREAM_OFFERS_MAX, OFFERS_PATH_SIZE, by_text);
        for (size_t i = 1; i < STREAM_OFFERS_MAX; i++)
                assert_string_not_equal(paths[i - 1], paths[i]);

        /* And as many as may wait: the next one is refused, and stays its giver's. */
        const struct session_options options = {.kind = STREAM_EXEC};
        struct bridge *further = bridge();
        struct error err = {0};
        char path[OFFERS_PATH_SIZE];
        assert_true(offers_add(offers, further, &options, path, &err) < 0);
        assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
        bridge_abandon(further);
        assert_int_equal(closed, 1);
        offers_free(offers); /* gives all of them back */
        assert_int_equal(closed, 1 + STREAM_OFFERS_MAX);
}

static void test_gone_after_their_time(void **state)
{
        struct offers *offers = offers_new(0);
        char path[OFFERS_PATH_SIZE];
        (void)state;
        assert_int_equal(STREAM_OFFER_TIME, 60 * NSEC_PER_SEC);
        add(offers, STREAM_EXEC, path);
        assert_false(is_there(offers, path));
        /* Also when nobody ever asks. */
        add(offers, STREAM_EXEC, path);
        assert_int_equal(offers_expire(offers), CLOCK_NEVER);
        run_until_closed(2);
        offers_free(offers);
        assert_int_equal(closed, 2);
}

static void test_when_the_next_one_goes(void **state)
{
        struct offers *offers = offers_new(FOREVER);
        char path[OFFERS_PATH_SIZE];
        (void)state;
        assert_int_equal(offers_expire(offers), CLOCK_NEVER);
        int64_t before = clock_monotonic();
        add(offers, STREAM_EXEC, path);
        int64_t next = offers_expire(offers);
        assert_in_range(next, before + FOREVER, clock_monotonic() + FOREVER);
        add(offers, STREAM_EXEC, path);
        assert_int_equal(offers_expire(offers), next); /* the older one's */
        offers_free(offers);
        assert_int_equal(closed, 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_good_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_other_path, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_unlike_any_other, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_gone_after_their_time, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_when_the_next_one_goes, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
