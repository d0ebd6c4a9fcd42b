/* The small modules of base: errors, arenas, buffers, vectors, tables, timers, clocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/table.h"
#include "base/timer.h"

static void test_error_grows_context(void **state)
{
        (void)state;
        struct error err;
        assert_int_equal(error_errno(&err, ENOSPC, "write %s", "record"), -ENOSPC);
        assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
        assert_string_equal(err.message, "write record: No space left on device");
        assert_int_equal(error_context(&err, "pod %d", 7), -ENOSPC);
        assert_string_equal(err.message, "pod 7: write record: No space left on device");
        assert_int_equal(error_set(NULL, ERROR_NOT_FOUND, "x"), -ENOENT);
        assert_int_equal(error_context(NULL, "x"), -EIO);
}

static void test_error_word_stays_first(void **state)
{
        (void)state;
        struct error err;
        char text[64];
        error_set(&err, ERROR_UNAVAILABLE, "503");
        error_word(&err, "RegistryUnavailable");
        error_context(&err, "pull busybox");
        error_render(&err, text, sizeof text);
        assert_string_equal(text, "RegistryUnavailable: pull busybox: 503");
        assert_int_equal(err.code, ERROR_UNKNOWN);
}

static void test_error_hides_the_secrets_of_urls(void **state)
{
        static const struct {
                const char *text, *shown;
        } cases[] = {
                {"no url? a=b", "no url? a=b"},
                {"get https://host/v2/x: 403", "get https://host/v2/x: 403"},
                {"get https://cdn/x?X-Sig=abc&y=z: 403", "get https://cdn/x?... 403"},
                {"\"https://cdn/x?sig=abc\" and http://b/?token=t, no",
                 "\"https://cdn/x?...\" and http://b/?... no"},
                {"https://joe:password@host/x", "https://...@host/x"},
                {"https://host/a@b", "https://host/a@b"},
                {"https://joe:p@ss@host?a=https://other/?b=c d", "https://...@host?... d"},
                {"https://", "https://"},
                {"://?", "://?"},
                {"https://h?x", "https://h?x"},
        };
        char text[128];
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct error err;
                error_set(&err, ERROR_INTERNAL, "%s", cases[i].text);
                error_render(&err, text, sizeof text);
                assert_string_equal(text, cases[i].shown);
        }
}

static void test_error_is_cut_at_a_character(void **state)
{
        (void)state;
        struct error err;
        char text[ERROR_MESSAGE_MAX * 2];
        /* Two bytes each, so that the cut may fall into the middle of one. */
        for (size_t i = 0; i + 2 < sizeof text; i += 2)
                memcpy(text + i, "\xc3\xa4", 3);
        error_set(&err, ERROR_INTERNAL, "%s", text);
        size_t length = strlen(err.message);
        assert_true(length < ERROR_MESSAGE_MAX);
        assert_string_equal(err.message + length - 3, "...");
        assert_int_equal((length - 3) % 2, 0);
        error_context(&err, "%s", "a");
        assert_memory_equal(err.message, "a: ", 3);
        assert_string_equal(err.message + strlen(err.message) - 3, "...");
}

static void test_arena_pieces_are_zeroed_and_apart(void **state)
{
        (void)state;
        AUTO_ARENA struct arena *arena = arena_new();
        unsigned char *pieces[300];
        for (size_t i = 0; i < 300; i++) {
                size_t size = i * 17 % 5000;
                pieces[i] = arena_alloc(arena, size);
                assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
                for (size_t j = 0; j < size; j++)
                        assert_int_equal(pieces[i][j], 0);
                memset(pieces[i], (int)i, size);
        }
        for (size_t i = 0; i < 300; i++)
                for (size_t j = 0; j < i * 17 % 5000; j++)
                        assert_int_equal(pieces[i][j], (unsigned char)i);
        assert_string_equal(arena_printf(arena, "%s-%d", "a", 5), "a-5");
        assert_string_equal(arena_strndup(arena, "hello", 3), "hel");
        assert_null(arena_strdup(arena, NULL));
}

static void test_buffer(void **state)
{
        (void)state;
        AUTO_BUFFER struct buffer buffer = BUFFER_INIT;
        for (int i = 0; i < 1000; i++)
                buffer_printf(&buffer, "%03d,", i);
        assert_int_equal(buffer.length, 4000);
        assert_int_equal(strlen(buffer.data), 4000);
        buffer_consume(&buffer, 3996);
        assert_string_equal(buffer.data, "999,");
        buffer_consume(&buffer, 100);
        assert_int_equal(buffer.length, 0);
        AUTO_FREE char *text = buffer_take(&buffer);
        assert_string_equal(text, "");
        assert_null(buffer.data);
}

static void test_vector(void **state)
{
        (void)state;
        char **vector = NULL;
        assert_int_equal(strv_length(vector), 0);
        strv_push(&vector, "a");
        strv_push(&vector, "b");
        char **copy = strv_dup(vector);
        strv_free(vector);
        assert_int_equal(strv_length(copy), 2);
        assert_string_equal(copy[1], "b");
        assert_null(copy[2]);
        strv_free(copy);
}

static void test_table_against_a_list(void **state)
{
        (void)state;
        enum { KEYS = 200, STEPS = 20000 };
        static int values[KEYS];
        bool there[KEYS] = {false};
        size_t size = 0;
        struct table *table = table_new();
        unsigned random = 1;
        for (int step = 0; step < STEPS; step++) {
                random = random * 1103515245 + 12345;
                int i = (int)(random >> 16) % KEYS;
                char key[16];
                snprintf(key, sizeof key, "key%d", i);
                if (random >> 12 & 1) {
                        assert_ptr_equal(table_put(table, key, &values[i]),
                                         there[i] ? &values[i] : NULL);
                        size += !there[i];
                        there[i] = true;
                } else {
                        assert_ptr_equal(table_remove(table, key), there[i] ? &values[i] : NULL);
                        size -= there[i];
                        there[i] = false;
                }
                assert_int_equal(table_size(table), size);
        }
        size_t seen = 0, cursor = 0;
        const char *key;
        for (int *value; (value = table_next(table, &cursor, &key));) {
                assert_true(there[value - values]);
                assert_int_equal(atoi(key + 3), value - values);
                seen++;
                table_remove(table, key); /* the one it stands on */
        }
        assert_int_equal(seen, size);
        assert_int_equal(table_size(table), 0);
        assert_null(table_get(table, "key1"));
        table_free(table);
}

static int64_t last_due;
static int due_count;

static void note_due(void *argument)
{
        struct timer_entry *entry = argument;
        assert_true(entry->deadline >= last_due);
        last_due = entry->deadline;
        due_count++;
}

static void test_timers_go_off_in_order(void **state)
{
        (void)state;
        enum { TIMERS = 500 };
        static struct timer_entry timers[TIMERS];
        unsigned random = 7;
        assert_true(timer_next() == CLOCK_NEVER);
        for (int i = 0; i < TIMERS; i++) {
                random = random * 1103515245 + 12345;
                timer_add(&timers[i], 1000 + (random >> 16) % 1000, note_due, &timers[i]);
        }
        for (int i = 0; i < TIMERS; i += 3)
                timer_remove(&timers[i]);
        timer_remove(&timers[0]); /* once more is fine */
        due_count = 0;
        last_due = 0;
        timer_run_due(1500);
        assert_true(last_due <= 1500);
        assert_true(timer_next() > 1500);
        timer_run_due(3000);
        assert_int_equal(due_count, TIMERS - (TIMERS + 2) / 3);
        assert_true(timer_next() == CLOCK_NEVER);
}

static void test_clock(void **state)
{
        (void)state;
        assert_true(clock_after(INT64_MAX) == CLOCK_NEVER);
        assert_int_equal(clock_poll_timeout(CLOCK_NEVER), -1);
        assert_int_equal(clock_poll_timeout(0), 0);
        /* Rounded up, so that nobody spins through the last millisecond. */
        assert_true(clock_poll_timeout(clock_after(500 * NSEC_PER_USEC)) >= 0);
        assert_true(clock_poll_timeout(clock_after(100 * NSEC_PER_SEC)) > 99000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_error_grows_context),
                cmocka_unit_test(test_error_word_stays_first),
                cmocka_unit_test(test_error_hides_the_secrets_of_urls),
                cmocka_unit_test(test_error_is_cut_at_a_character),
                cmocka_unit_test(test_arena_pieces_are_zeroed_and_apart),
                cmocka_unit_test(test_buffer),
                cmocka_unit_test(test_vector),
                cmocka_unit_test(test_table_against_a_list),
                cmocka_unit_test(test_timers_go_off_in_order),
                cmocka_unit_test(test_clock),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
