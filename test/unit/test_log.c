#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#define STAMP_LENGTH (sizeof("time=2026-11-24T02:04:54.258447Z ") - 1)

/*
 * Standard error is a socket that keeps messages apart: one receive is one write(2) of the log. It
 * must not block, so that a line too many fails a test instead of hanging it.
 */
static int capture[2], old_stderr;

static int begin(void **state)
{
        old_stderr = dup(STDERR_FILENO);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, capture) < 0 ||
            dup2(capture[1], STDERR_FILENO) < 0)
                return -1;
        log_set_level(LOG_LEVEL_INFO);
        return 0;
}

static int end(void **state)
{
        dup2(old_stderr, STDERR_FILENO);
        close(old_stderr);
        close(capture[0]);
        close(capture[1]);
        return 0;
}

/* The next line without its time; the empty string when there is none. */
static const char *next_line(void)
{
        static char line[8192];
        ssize_t got = recv(capture[0], line, sizeof(line) - 1, 0);

        if (got <= 0)
                return "";
        line[got] = '\0';
        assert_true(got <= 4096);
        assert_int_equal(strlen(line), got);
        assert_int_equal(strncmp(line, "time=", 5), 0);
        assert_ptr_equal(strchr(line, '\n'), line + got - 1);
        return line + STAMP_LENGTH;
}

static void test_line(void **state)
{
        log_info("pod is running", "pod", "1234", "ip", "10.0.0.1", NULL);
        assert_string_equal(next_line(),
                            "level=info msg=\"pod is running\" pod=1234 ip=10.0.0.1\n");
        log_warning("late", NULL);
        assert_string_equal(next_line(), "level=warning msg=late\n");
        log_error("a=b", "none", NULL, "empty", "", "minus", "-", NULL);
        assert_string_equal(next_line(), "level=error msg=\"a=b\" none=- empty=\"\" minus=-\n");
}

static void test_time(void **state)
{
        char line[256] = "", zone;
        struct tm when = {0};
        int micro;
        time_t seconds, before = time(NULL);

        log_info("now", NULL);
        assert_true(recv(capture[0], line, sizeof(line) - 1, 0) > 0);
        assert_int_equal(sscanf(line, "time=%d-%d-%dT%d:%d:%d.%6d%c", &when.tm_year, &when.tm_mon,
                                &when.tm_mday, &when.tm_hour, &when.tm_min, &when.tm_sec, &micro,
                                &zone),
                         8);
        assert_int_equal(zone, 'Z');
        when.tm_year -= 1900;
        when.tm_mon -= 1;
        seconds = timegm(&when);
        assert_true(seconds >= before && seconds <= time(NULL));
}

static void test_levels(void **state)
{
        enum log_level level = LOG_LEVEL_ERROR;

        log_debug("hidden", NULL);
        assert_string_equal(next_line(), "");
        assert_int_equal(log_level_parse("debug", &level), 0);
        assert_int_equal(level, LOG_LEVEL_DEBUG);
        log_set_level(level);
        log_debug("shown", NULL);
        assert_string_equal(next_line(), "level=debug msg=shown\n");
        log_set_level(LOG_LEVEL_ERROR);
        log_warning("hidden", NULL);
        assert_string_equal(next_line(), "");
        log_error("shown", NULL);
        assert_string_equal(next_line(), "level=error msg=shown\n");
        assert_int_equal(log_level_parse("loud", &level), -EINVAL);
        assert_int_equal(log_level_parse("", &level), -EINVAL);
        assert_int_equal(log_level_parse("INFO", &level), -EINVAL);
        assert_int_equal(level, LOG_LEVEL_DEBUG);
}

static void test_escapes(void **state)
{
        static const struct {
                const char *value, *written;
        } cases[] = {
                {"a b", "\"a b\""},
                {"a\nlevel=error msg=forged", "\"a\\nlevel=error msg=forged\""},
                {"\"quoted\" \\", "\"\\\"quoted\\\" \\\\\""},
                {"tab\tcr\r", "\"tab\\tcr\\r\""},
                {"\x1b[31m\x01\x7f", "\"\\x1b[31m\\x01\\x7f\""},
                {"h\xc3\xa9 \xf0\x9f\x98\x82", "\"h\xc3\xa9 \xf0\x9f\x98\x82\""},
                {"\xff\xc3", "\"\\xff\\xc3\""},
                {"\xc3(", "\"\\xc3(\""},
                {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""},
                {"\xc0\xaf", "\"\\xc0\\xaf\""},
                {"\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\""},
                {"\xe0\x80\xaf", "\"\\xe0\\x80\\xaf\""},
                {"\xc2\x9b", "\"\\x9b\""},
                {"\xe2\x80\xae"
                 "abc\xe2\x80\xa8",
                 "\"\\u202eabc\\u2028\""},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                AUTO_FREE char *expected =
                        xprintf("level=info msg=escapes v=%s\n", cases[i].written);

                log_info("escapes", "v", cases[i].value, NULL);
                assert_string_equal(next_line(), expected);
        }
}

static void test_failure(void **state)
{
        struct error err;

        error_set(&err, ERROR_NOT_FOUND, "no pod \"%s\"", "x");
        log_failure(&err, "cannot stop", "pod", "x", NULL);
        assert_string_equal(next_line(),
                            "level=error msg=\"cannot stop\" pod=x error=\"no pod \\\"x\\\"\"\n");
        error_word(&err, "RegistryUnavailable");
        log_failure(&err, "cannot pull", NULL);
        assert_string_equal(next_line(), "level=error msg=\"cannot pull\" "
                                         "error=\"RegistryUnavailable: no pod \\\"x\\\"\"\n");
}

static void test_long(void **state)
{
        AUTO_FREE char *text = xcalloc(1, 20001);
        const char *line;
        size_t length;

        memset(text, '\n', 20000);
        log_info("long", "text", text, "after", "x", NULL);
        line = next_line();
        length = strlen(line);
        assert_true(length > 3900);
        assert_string_equal(line + length - 6, "n...\"\n");
        memset(text, 'a', 20000);
        log_info("long", text, "value", NULL);
        line = next_line();
        assert_string_equal(line, "level=info msg=long ...\n");
}

/* errno is the caller's. */
static void test_errno(void **state)
{
        errno = ENOTTY;
        log_info("errno", NULL);
        assert_int_equal(errno, ENOTTY);
        next_line();
        close(capture[0]); /* now writing fails */
        log_info("errno", NULL);
        assert_int_equal(errno, ENOTTY);
}

/* Reads all lines and adds what they say of the message "again": written itself, or told to be
 * dropped. */
static void count_again(unsigned *written, unsigned long *told)
{
        const char *line;
        unsigned long dropped;

        while (*(line = next_line())) {
                if (strcmp(line, "level=info msg=again\n") == 0)
                        *written += 1;
                else if (sscanf(line, "level=info msg=again repeated=%lu", &dropped) == 1)
                        *told += dropped;
        }
}

static void test_repeats(void **state)
{
        unsigned written = 0;
        unsigned long told = 0;

        for (int i = 0; i < 2000; i++) {
                log_info("again", NULL);
                count_again(&written, &told);
        }
        /* how many seconds this took is not known, but on no machine was it twenty */
        assert_true(written >= 100 && written < 2000);
        /* another message, or another level of the same, is not held up */
        log_info("other", NULL);
        assert_string_equal(next_line(), "level=info msg=other\n");
        log_warning("again", NULL);
        assert_string_equal(next_line(), "level=warning msg=again\n");
        /* the next line after the window tells how many were dropped; none is forgotten, none told
         * twice */
        nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 100 * NSEC_PER_MSEC}, NULL);
        log_debug("not even written", NULL);
        count_again(&written, &told);
        assert_int_equal(written + told, 2000);
        log_info("again", NULL);
        assert_string_equal(next_line(), "level=info msg=again\n");
        assert_string_equal(next_line(), "");
}

/* What was dropped is told at the latest when the program ends. */
static void test_end(void **state)
{
        unsigned written = 0;
        unsigned long told = 0;
        int status;
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0) {
                for (int i = 0; i < 150; i++)
                        log_info("again", NULL);
                exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        count_again(&written, &told);
        assert_int_equal(written + told, 150);
}

static void *write_many(void *argument)
{
        for (int i = 0; i < 50; i++)
                log_info(argument, "n", "x", NULL);
        return NULL;
}

static void test_threads(void **state)
{
        static char messages[][8] = {"one", "two", "three", "four"};
        pthread_t threads[4];
        unsigned count = 0;
        int size = 1024 * 1024;

        setsockopt(STDERR_FILENO, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, write_many, messages[i]), 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        while (*next_line())
                count++;
        assert_int_equal(count, 200);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_line, begin, end),
                cmocka_unit_test_setup_teardown(test_time, begin, end),
                cmocka_unit_test_setup_teardown(test_levels, begin, end),
                cmocka_unit_test_setup_teardown(test_escapes, begin, end),
                cmocka_unit_test_setup_teardown(test_failure, begin, end),
                cmocka_unit_test_setup_teardown(test_long, begin, end),
                cmocka_unit_test_setup_teardown(test_errno, begin, end),
                cmocka_unit_test_setup_teardown(test_threads, begin, end),
                cmocka_unit_test_setup_teardown(test_end, begin, end),
                cmocka_unit_test_setup_teardown(test_repeats, begin, end),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
