/* The CRI log: every byte of the container, cut into lines as the kubelet joins them again; full
 * disks and rotation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conmon/crilog.h"

#define TIME INT64_C(1475712929669794202)
#define HEAD "2016-10-06T00:15:29.669794202Z "

static char directory[] = "/tmp/crisp-crilog-XXXXXX";
static char path[PATH_MAX];
static char pending[2][CRILOG_LINE_DEFAULT];
static struct crilog crilog;
static struct crilog_stream out, err;

/* In the place of the C library's, for the whole program. */
static unsigned synced;

int fsync(int fd)
{
        (void)fd;
        synced++;
        return 0;
}

int fdatasync(int fd)
{
        return fsync(fd);
}

static int set_up(void **state)
{
        memset(&crilog, 0, sizeof(crilog));
        out = (struct crilog_stream){.name = "stdout", .bytes = pending[0]};
        err = (struct crilog_stream){.name = "stderr", .bytes = pending[1]};
        unlink(path);
        return crilog_open(&crilog, path, &(struct crilog_bounds){0});
}

static int tear_down(void **state)
{
        crilog_close(&crilog);
        return 0;
}

static char *contents(const char *file, size_t *length)
{
        static char memory[8 << 20];
        int fd = open(file, O_RDONLY);
        ssize_t got;

        assert_true(fd >= 0);
        got = read(fd, memory, sizeof(memory) - 1);
        assert_true(got >= 0);
        close(fd);
        memory[got] = 0;
        if (length)
                *length = (size_t)got;
        return memory;
}

static void add(struct crilog_stream *stream, const char *text)
{
        crilog_write(&crilog, stream, text, strlen(text), TIME);
}

static void lines(void **state)
{
        struct stat status;

        add(&out, "one\ntwo\n\nthr");
        add(&err, "oops\n");
        add(&out, "ee\n");
        assert_string_equal(contents(path, NULL),
                            HEAD "stdout F one\n" HEAD "stdout F two\n" HEAD "stdout F \n" HEAD
                                 "stderr F oops\n" HEAD "stdout F three\n");
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0640);
}

static void last_line_without_end(void **state)
{
        add(&out, "whole\nrest");
        crilog_finish(&crilog, &out, TIME);
        crilog_finish(&crilog, &out, TIME);
        crilog_finish(&crilog, &err, TIME);
        assert_string_equal(contents(path, NULL), HEAD "stdout F whole\n" HEAD "stdout P rest\n");
}

static void any_byte(void **state)
{
        static const char bytes[] = "a\0b\xff\r\x1b[0m\n";
        size_t length;
        char *text;

        crilog_write(&crilog, &out, bytes, sizeof(bytes) - 1, TIME);
        text = contents(path, &length);
        assert_int_equal(length, strlen(HEAD "stdout F ") + sizeof(bytes) - 1);
        assert_memory_equal(text + strlen(HEAD "stdout F "), bytes, sizeof(bytes) - 1);
}

/* What the log says, put together again as the kubelet does it. */
static size_t join(char *text, char *joined, unsigned *partial)
{
        const size_t head = strlen(HEAD "stdout F ");
        size_t length = 0;

        *partial = 0;
        while (*text) {
                char *end = strchr(text, '\n');
                char tag = text[head - 2];

                assert_non_null(end);
                assert_memory_equal(text, HEAD "stdout ", head - 2);
                assert_true(tag == 'P' || tag == 'F');
                *partial += tag == 'P';
                assert_true(end - text - (ptrdiff_t)head <= CRILOG_LINE_DEFAULT);
                memcpy(joined + length, text + head, (size_t)(end - text) - head);
                length += (size_t)(end - text) - head;
                if (tag == 'F')
                        joined[length++] = '\n';
                text = end + 1;
        }
        return length;
}

/* Whatever the sizes of reads, nothing is lost or doubled, and parts are as few as can be. */
static void long_lines(void **state)
{
        static const size_t lengths[] = {CRILOG_LINE_DEFAULT - 1, CRILOG_LINE_DEFAULT,
                                         CRILOG_LINE_DEFAULT + 1, 2 * CRILOG_LINE_DEFAULT, 100000};
        static const size_t reads[] = {1000, CRILOG_LINE_DEFAULT - 1, CRILOG_LINE_DEFAULT,
                                       CRILOG_LINE_DEFAULT + 1, 65536};
        static char line[100001], joined[200000];

        for (unsigned l = 0; l < 5; l++) {
                for (unsigned r = 0; r < 5; r++) {
                        unsigned partial;

                        tear_down(NULL);
                        set_up(NULL);
                        for (size_t i = 0; i < lengths[l]; i++)
                                line[i] = (char)('a' + i % 26);
                        line[lengths[l]] = '\n';
                        for (size_t at = 0; at <= lengths[l]; at += reads[r]) {
                                size_t left = lengths[l] + 1 - at;

                                crilog_write(&crilog, &out, line + at,
                                             left < reads[r] ? left : reads[r], TIME);
                        }
                        assert_int_equal(join(contents(path, NULL), joined, &partial),
                                         lengths[l] + 1);
                        assert_memory_equal(joined, line, lengths[l] + 1);
                        assert_int_equal(partial, (lengths[l] - 1) / CRILOG_LINE_DEFAULT);
                }
        }
}

/* More lines in one read than one writev takes. */
static void many_lines(void **state)
{
        static char input[20000], joined[40000];
        unsigned partial;

        for (size_t i = 0; i < sizeof(input); i += 2)
                memcpy(input + i, "x\n", 2);
        crilog_write(&crilog, &out, input, sizeof(input), TIME);
        assert_int_equal(join(contents(path, NULL), joined, &partial), sizeof(input));
        assert_memory_equal(joined, input, sizeof(input));
        assert_int_equal(partial, 0);
        assert_int_equal(crilog.size, strlen(contents(path, NULL)));
}

static void limit_file(rlim_t size)
{
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = size;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* A file size limit fails writes within a line just as a full disk does. */
static void full_disk(void **state)
{
        const size_t line = strlen(HEAD "stdout F one\n");

        signal(SIGXFSZ, SIG_IGN);
        limit_file(line + 10);
        add(&out, "one\ntwo\nthree\n");
        assert_int_equal(crilog.lost_lines, 2);
        assert_string_equal(contents(path, NULL), HEAD "stdout F one\n");
        add(&out, "four\n");
        assert_int_equal(crilog.lost_lines, 3);
        limit_file(RLIM_INFINITY);
        add(&out, "five\n");
        assert_int_equal(crilog.lost_lines, 3);
        assert_string_equal(contents(path, NULL), HEAD "stdout F one\n" HEAD "stdout F five\n");
}

/* Somebody empties the file in place: what is taken back of a torn line must not bring its old size
 * back. */
static void full_disk_after_truncation(void **state)
{
        const size_t line = strlen(HEAD "stdout F one\n");

        add(&out, "one\ntwo\nthree\nfour\n");
        assert_int_equal(truncate(path, 0), 0);
        signal(SIGXFSZ, SIG_IGN);
        limit_file(line + 10);
        add(&out, "one\ntwo\n");
        limit_file(RLIM_INFINITY);
        assert_int_equal(crilog.lost_lines, 1);
        add(&out, "six\n");
        assert_string_equal(contents(path, NULL), HEAD "stdout F one\n" HEAD "stdout F six\n");
}

static void nowhere_to_write(void **state)
{
        crilog_close(&crilog);
        assert_int_equal(crilog_open(&crilog, "/dev/full", &(struct crilog_bounds){0}), 0);
        add(&out, "one\ntwo\nrest");
        crilog_finish(&crilog, &out, TIME);
        assert_int_equal(crilog.lost_lines, 3);
}

static void reopens(void **state)
{
        char moved[PATH_MAX + 8];

        snprintf(moved, sizeof(moved), "%s.1", path);
        add(&out, "one\ntw");
        assert_int_equal(rename(path, moved), 0);
        add(&err, "still there\n");
        assert_int_equal(crilog_reopen(&crilog), 0);
        add(&out, "o\n");
        assert_string_equal(contents(moved, NULL),
                            HEAD "stdout F one\n" HEAD "stderr F still there\n");
        assert_string_equal(contents(path, NULL), HEAD "stdout F two\n");
        unlink(moved);
}

static void keeps_old_when_reopen_fails(void **state)
{
        crilog.path = "/nonexistent/log";
        assert_int_equal(crilog_reopen(&crilog), -ENOENT);
        add(&out, "one\n");
        assert_string_equal(contents(path, NULL), HEAD "stdout F one\n");
}

static void own_bound(void **state)
{
        struct stat before, after;

        crilog.size_max = 2 * strlen(HEAD "stdout F one\n");
        add(&out, "one\n");
        add(&out, "two\n");
        assert_int_equal(stat(path, &before), 0);
        add(&out, "three\n");
        assert_int_equal(stat(path, &after), 0);
        assert_int_not_equal(before.st_ino, after.st_ino);
        assert_string_equal(contents(path, NULL), HEAD "stdout F three\n");
}

static void no_log(void **state)
{
        struct crilog none;

        memset(&none, 0, sizeof(none));
        assert_int_equal(crilog_open(&none, NULL, &(struct crilog_bounds){0}), 0);
        crilog_write(&none, &out, "one\ntwo", 7, TIME);
        crilog_finish(&none, &out, TIME);
        assert_int_equal(crilog_reopen(&none), 0);
        assert_int_equal(none.lost_lines, 0);
        assert_int_equal(out.pending, 0);
}

static void nothing_waits_for_the_disk(void **state)
{
        int flags;

        synced = 0;
        add(&out, "one\ntwo");
        assert_int_equal(crilog_reopen(&crilog), 0);
        add(&out, "\nthree");
        crilog_finish(&crilog, &out, TIME);
        flags = fcntl(crilog.fd, F_GETFL);
        assert_int_equal(flags & (O_SYNC | O_DSYNC), 0);
        crilog_close(&crilog);
        assert_int_equal(synced, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
                TEST(lines),
                TEST(last_line_without_end),
                TEST(any_byte),
                TEST(long_lines),
                TEST(many_lines),
                TEST(full_disk),
                TEST(full_disk_after_truncation),
                TEST(reopens),
                TEST(keeps_old_when_reopen_fails),
                TEST(own_bound),
                TEST(nowhere_to_write),
                TEST(no_log),
                TEST(nothing_waits_for_the_disk),
        };
        int failed;

        if (!mkdtemp(directory))
                return 1;
        snprintf(path, sizeof(path), "%s/log", directory);
        umask(0022);
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        unlink(path);
        rmdir(directory);
        return failed;
}
