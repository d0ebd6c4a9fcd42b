/* A log with a bound of its own: what it was stays under the kubelet's names, and no more of it
 * than is allowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conmon/crilog.h"
#include "conmon/rotation.h"

#define TIME   INT64_C(1475712929669794202)
#define LINE   60 /* bytes of each line in the log: time, stream, tag, content, newline */
#define FILLER "nnnnnnnnnnnnnnn"

static char directory[] = "/tmp/crisp-rotation-XXXXXX";
static char path[PATH_MAX];
static char pending[CRILOG_LINE_DEFAULT];
static struct crilog crilog;
static struct crilog_stream out;

static int empty_directory(void **state)
{
        char command[PATH_MAX];

        snprintf(command, sizeof(command), "rm -rf %s/*", directory);
        out = (struct crilog_stream){.name = "stdout", .bytes = pending};
        memset(&crilog, 0, sizeof(crilog));
        crilog.fd = -1;
        return system(command);
}

static int close_log(void **state)
{
        crilog_close(&crilog);
        return 0;
}

static void open_bounded(uint64_t size_max, uint64_t files_max)
{
        const struct crilog_bounds bounds = {.size_max = size_max, .files_max = files_max};

        assert_int_equal(crilog_open(&crilog, path, &bounds), 0);
}

static void add_lines(unsigned first, unsigned count)
{
        char text[64];

        for (unsigned i = first; i < first + count; i++) {
                snprintf(text, sizeof(text), "%04u" FILLER "\n", i);
                assert_int_equal(strlen(text) + strlen("2016-10-06T00:15:29.669794202Z stdout F "),
                                 LINE);
                crilog_write(&crilog, &out, text, strlen(text), TIME);
        }
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *entry)
{
        return entry->d_name[0] != '.';
}

/* Names in the folder, sorted; heap. */
static int list(struct dirent ***entries)
{
        return scandir(directory, entries, visible, by_name);
}

static void free_list(struct dirent **entries, int count)
{
        for (int i = 0; i < count; i++)
                free(entries[i]);
        free(entries);
}

/* The numbers at the beginning of the lines of all files, oldest first: they must follow each other
 * up to last. Returns the first. */
static unsigned check_lines(unsigned last, uint64_t size_max)
{
        struct dirent **entries;
        int count = list(&entries);
        unsigned first = 0, next = 0;

        /* The log itself has the shortest name, and the newest lines. */
        for (int i = 1; i <= count; i++) {
                char file[PATH_MAX + 256], line[256];
                struct stat status;
                FILE *stream;

                snprintf(file, sizeof(file), "%s/%s", directory, entries[i % count]->d_name);
                assert_int_equal(stat(file, &status), 0);
                assert_true((uint64_t)status.st_size <= size_max);
                stream = fopen(file, "r");
                assert_non_null(stream);
                while (fgets(line, sizeof(line), stream)) {
                        unsigned number = (unsigned)atoi(strstr(line, " F ") + 3);

                        if (!next)
                                first = next = number;
                        assert_int_equal(number, next);
                        next++;
                }
                fclose(stream);
        }
        assert_int_equal(next, last + 1);
        free_list(entries, count);
        return first;
}

static void keeps_as_many_as_are_allowed(void **state)
{
        struct dirent **entries;
        int count;

        open_bounded(10 * LINE, 4);
        add_lines(1, 200);
        count = list(&entries);
        assert_int_equal(count, 4);
        free_list(entries, count);
        assert_int_equal(check_lines(200, 10 * LINE), 161);
        assert_int_equal(crilog.lost_lines, 0);
}

static void names_are_the_kubelets(void **state)
{
        struct dirent **entries;
        struct tm parsed = {0};
        const char *end;
        int count;

        open_bounded(2 * LINE, 2);
        add_lines(1, 3);
        count = list(&entries);
        assert_int_equal(count, 2);
        assert_string_equal(entries[0]->d_name, "0.log");
        end = strptime(entries[1]->d_name, "0.log.%Y%m%d-%H%M%S", &parsed);
        assert_non_null(end);
        assert_int_equal(*end, 0);
        assert_true(labs((long)(timegm(&parsed) - time(NULL))) < 3600);
        free_list(entries, count);
}

static void with_one_file_the_old_one_goes(void **state)
{
        struct dirent **entries;
        int count;

        open_bounded(10 * LINE, 1);
        add_lines(1, 35);
        count = list(&entries);
        assert_int_equal(count, 1);
        free_list(entries, count);
        assert_int_equal(check_lines(35, 10 * LINE), 31);
}

static void put(const char *name)
{
        char file[PATH_MAX + 64];
        int fd;

        snprintf(file, sizeof(file), "%s/%s", directory, name);
        fd = open(file, O_WRONLY | O_CREAT, 0600);
        assert_true(fd >= 0);
        close(fd);
}

static bool is_there(const char *name)
{
        char file[PATH_MAX + 64];

        snprintf(file, sizeof(file), "%s/%s", directory, name);
        return access(file, F_OK) == 0;
}

static void only_files_that_the_log_was_go(void **state)
{
        put("0.log.20161006-001709.gz");
        put("0.log.20161006-001710");
        put("0.log.20161006-001711.tmp");
        put("0.log.20161006");
        put("1.log.20161006-001709");
        put("0.log.backup");
        put("00.log.20161006-001709");
        open_bounded(2 * LINE, 2);
        add_lines(1, 3);
        assert_false(is_there("0.log.20161006-001709.gz"));
        assert_false(is_there("0.log.20161006-001710"));
        assert_true(is_there("0.log.20161006-001711.tmp"));
        assert_true(is_there("0.log.20161006"));
        assert_true(is_there("1.log.20161006-001709"));
        assert_true(is_there("0.log.backup"));
        assert_true(is_there("00.log.20161006-001709"));
}

/* Between the kubelet's rename and its word to us the log is not in its place: what the kubelet
 * moved is not moved again. */
static void somebody_rotated_meanwhile(void **state)
{
        char moved[PATH_MAX + 8];

        snprintf(moved, sizeof(moved), "%s.moved", path);
        open_bounded(2 * LINE, 2);
        add_lines(1, 2);
        assert_int_equal(rename(path, moved), 0);
        add_lines(3, 1);
        assert_true(is_there("0.log"));
        assert_int_equal(crilog_reopen(&crilog), 0);
        add_lines(4, 1);
        assert_int_equal(check_lines(4, 2 * LINE), 1);
}

/* Its folder is gone: the bound holds for what is left of the file. */
static void no_other_file_can_be_made(void **state)
{
        struct stat status;
        char moved[PATH_MAX + 8];

        snprintf(moved, sizeof(moved), "%s.gone", directory);
        open_bounded(2 * LINE, 2);
        assert_int_equal(rename(directory, moved), 0);
        add_lines(1, 7);
        assert_int_equal(fstat(crilog.fd, &status), 0);
        assert_int_equal(status.st_size, LINE);
        assert_int_equal(rename(moved, directory), 0);
}

static void somebody_emptied_it(void **state)
{
        struct dirent **entries;
        int count;

        open_bounded(3 * LINE, 2);
        add_lines(1, 3);
        assert_int_equal(truncate(path, 0), 0);
        add_lines(4, 3);
        count = list(&entries);
        assert_int_equal(count, 1);
        free_list(entries, count);
        assert_int_equal(check_lines(6, 3 * LINE), 4);
}

/* The kubelet rotated within the same second, or the clock was put back. */
static void names_that_are_taken_are_left(void **state)
{
        char name[64], stamp[32];
        time_t now = time(NULL);
        struct dirent **entries;
        int count;

        for (time_t at = now; at < now + 10; at++) {
                strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", gmtime(&at));
                snprintf(name, sizeof(name), "0.log.%s", stamp);
                put(name);
        }
        open_bounded(2 * LINE, 20);
        add_lines(1, 3);
        count = list(&entries);
        free_list(entries, count);
        assert_int_equal(count, 12);
        assert_int_equal(check_lines(3, 2 * LINE), 1);
}

/* The kubelet renames it whenever it thinks it right, a reader opens it. */
static void there_is_a_log_at_any_moment(void **state)
{
        pid_t child;
        int status;

        open_bounded(2 * LINE, 2);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                while (!is_there("over")) {
                        if (!is_there("0.log"))
                                _exit(1);
                }
                _exit(0);
        }
        add_lines(1, 8000);
        put("over");
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_true(is_there("0.log"));
}

/* Who may write into the log's folder does not choose what we write to. */
static void links_and_fifos_are_refused(void **state)
{
        const struct crilog_bounds bounds = {0};
        char target[PATH_MAX + 8];

        snprintf(target, sizeof(target), "%s.target", path);
        assert_int_equal(symlink(target, path), 0);
        assert_int_equal(crilog_open(&crilog, path, &bounds), -ELOOP);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(crilog_open(&crilog, path, &bounds), -ENXIO);
        assert_int_equal(unlink(path), 0);
        open_bounded(0, 0);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink(target, path), 0);
        assert_int_equal(crilog_reopen(&crilog), -ELOOP);
        assert_int_equal(access(target, F_OK), -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(function) cmocka_unit_test_setup_teardown(function, empty_directory, close_log)
                TEST(keeps_as_many_as_are_allowed),
                TEST(names_are_the_kubelets),
                TEST(with_one_file_the_old_one_goes),
                TEST(only_files_that_the_log_was_go),
                TEST(somebody_rotated_meanwhile),
                TEST(no_other_file_can_be_made),
                TEST(somebody_emptied_it),
                TEST(there_is_a_log_at_any_moment),
                TEST(names_that_are_taken_are_left),
                TEST(links_and_fifos_are_refused),
        };
        int failed;

        if (!mkdtemp(directory))
                return 1;
        snprintf(path, sizeof(path), "%s/0.log", directory);
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        empty_directory(NULL);
        rmdir(directory);
        return failed;
}
