/* Lines for journald: the datagrams that its socket gets, and that nobody waits for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conmon/crilog.h"
#include "conmon/journal.h"

#define ID "0123456789abcdef"

static char directory[] = "/tmp/crisp-journal-XXXXXX";
static char path[64];
static int journald = -1;
static struct journal journal;
static struct crilog crilog;
static char pending[CRILOG_LINE_MAX];
static struct crilog_stream errors = {.name = "stderr", .is_error = true, .bytes = pending};
static char datagram[CRILOG_LINE_MAX + 4096];
static size_t got;

static int listen_as_journald(void **state)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        strcpy(address.sun_path, path);
        journald = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        return journald < 0 || bind(journald, (struct sockaddr *)&address, sizeof(address)) < 0;
}

static int stop(void **state)
{
        journal_close(&journal);
        if (journald >= 0)
                close(journald);
        journald = -1;
        unlink(path);
        errors.pending = 0;
        return 0;
}

static bool receive(void)
{
        ssize_t length = recv(journald, datagram, sizeof(datagram) - 1, 0);

        got = length < 0 ? 0 : (size_t)length;
        datagram[got] = 0;
        return length >= 0;
}

/* The message of the datagram, whose length stands before it. */
static const char *message(size_t *length)
{
        static const char name[] = "\nMESSAGE\n";
        char *at = memmem(datagram, got, name, sizeof(name) - 1);
        uint64_t size;

        assert_non_null(at);
        at += sizeof(name) - 1;
        memcpy(&size, at, sizeof(size));
        *length = le64toh(size);
        at += sizeof(size);
        assert_int_equal(at + *length + 1 - datagram, got);
        assert_int_equal(at[*length], '\n');
        return at;
}

static bool has(const char *field)
{
        return memmem(datagram, got, field, strlen(field));
}

static void a_line(void **state)
{
        const char *text;
        size_t length;

        assert_int_equal(journal_open(&journal, path, ID, "k8s_c_p_n_u_0"), 0);
        journal_send(&journal, false, false, "on", 2, "e\xff", 2);
        assert_true(receive());
        text = message(&length);
        assert_int_equal(length, 4);
        assert_memory_equal(text, "one\xff", 4);
        assert_true(has("PRIORITY=6\n"));
        assert_true(has("CONTAINER_ID=0123456789ab\n"));
        assert_true(has("CONTAINER_ID_FULL=" ID "\n"));
        assert_true(has("CONTAINER_NAME=k8s_c_p_n_u_0\n"));
        assert_true(has("SYSLOG_IDENTIFIER=k8s_c_p_n_u_0\n"));
        assert_false(has("CONTAINER_PARTIAL_MESSAGE"));
        journal_send(&journal, true, true, "", 0, "x", 1);
        assert_true(receive());
        assert_true(has("PRIORITY=3\n"));
        assert_true(has("CONTAINER_PARTIAL_MESSAGE=true\n"));
        assert_int_equal(journal.lost_lines, 0);
}

/* No log file, or one beside: each line of it goes here as well. */
static void lines_of_a_log(void **state)
{
        const struct crilog_bounds bounds = {.line_max = CRILOG_LINE_MAX};
        static char big[CRILOG_LINE_MAX + 1];
        const char *text;
        size_t length;

        assert_int_equal(journal_open(&journal, path, ID, NULL), 0);
        assert_int_equal(crilog_open(&crilog, NULL, &bounds), 0);
        crilog.journal = &journal;
        crilog_write(&crilog, &errors, "one\ntw", 6, 1);
        crilog_write(&crilog, &errors, "o\n", 2, 1);
        assert_true(receive());
        text = message(&length);
        assert_int_equal(length, 3);
        assert_memory_equal(text, "one", 3);
        assert_true(receive());
        text = message(&length);
        assert_int_equal(length, 3);
        assert_memory_equal(text, "two", 3);
        /* The longest line that can be asked for fits into a datagram. */
        memset(big, 'x', sizeof(big));
        crilog_write(&crilog, &errors, big, sizeof(big), 1);
        assert_true(receive());
        message(&length);
        assert_int_equal(length, CRILOG_LINE_MAX);
        assert_true(has("CONTAINER_PARTIAL_MESSAGE=true\n"));
        crilog_finish(&crilog, &errors, 1);
        assert_true(receive());
        message(&length);
        assert_int_equal(length, 1);
        assert_false(receive());
        assert_int_equal(journal.lost_lines, 0);
}

static void nobody_waits_for_journald(void **state)
{
        assert_int_equal(journal_open(&journal, path, ID, NULL), 0);
        for (unsigned i = 0; i < 100000; i++)
                journal_send(&journal, false, false, "x", 1, "", 0);
        assert_true(journal.lost_lines > 0);
        assert_true(receive());
}

static void journald_comes_later(void **state)
{
        stop(NULL);
        assert_int_equal(journal_open(&journal, path, ID, NULL), 0);
        journal_send(&journal, false, false, "x", 1, "", 0);
        assert_int_equal(journal.lost_lines, 1);
        assert_int_equal(listen_as_journald(NULL), 0);
        journal_send(&journal, false, false, "y", 1, "", 0);
        assert_true(receive());
        assert_int_equal(journal.lost_lines, 1);
}

/* A name may not bring fields of its own along. */
static void names_are_one_field(void **state)
{
        static char long_path[200], long_name[JOURNAL_FIELDS_MAX];

        assert_int_equal(journal_open(&journal, path, ID, "a\nPRIORITY=0\n"), 0);
        journal_send(&journal, false, false, "x", 1, "", 0);
        assert_true(receive());
        assert_true(has("CONTAINER_NAME=a_PRIORITY=0_\n"));
        assert_false(has("\nPRIORITY=0"));
        memset(long_path, 'p', sizeof(long_path) - 1);
        memset(long_name, 'n', sizeof(long_name) - 1);
        journal_close(&journal);
        assert_int_equal(journal_open(&journal, long_path, ID, NULL), -ENAMETOOLONG);
        assert_int_equal(journal_open(&journal, path, ID, long_name), -ENAMETOOLONG);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(function) cmocka_unit_test_setup_teardown(function, listen_as_journald, stop)
                TEST(a_line),
                TEST(lines_of_a_log),
                TEST(nobody_waits_for_journald),
                TEST(journald_comes_later),
                TEST(names_are_one_field),
        };
        int failed;

        if (!mkdtemp(directory))
                return 1;
        snprintf(path, sizeof(path), "%s/socket", directory);
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        rmdir(directory);
        return failed;
}
