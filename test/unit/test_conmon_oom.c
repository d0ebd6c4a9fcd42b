/* What the kernel counts of kills for want of memory: v1's and v2's files, cgroups below, and what
 * cannot be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conmon/oom.h"

static char directory[] = "/tmp/crisp-oom-XXXXXX";

static const char *in(const char *name)
{
        static char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/%s", directory, name);
        return path;
}

static void put(const char *name, const char *text)
{
        FILE *file = fopen(in(name), "w");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        fclose(file);
}

static int empty_directory(void **state)
{
        char command[PATH_MAX];

        snprintf(command, sizeof(command), "rm -rf %s/*", directory);
        return system(command);
}

static void both_versions(void **state)
{
        put("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        assert_int_equal(oom_kills(in("memory.oom_control")), 3);
        put("memory.events",
            "low 0\nhigh 7\nmax 9\noom 4\noom_kill 2\noom_group_kill 1\nsock_throttled 0\n");
        assert_int_equal(oom_kills(in("memory.events")), 2);
        put("memory.events", "low 0\nhigh 0\nmax 0\noom 5\noom_kill 0\n");
        assert_int_equal(oom_kills(in("memory.events")), 0);
        put("memory.events", "oom_kill 12");
        assert_int_equal(oom_kills(in("memory.events")), 12);
}

static void what_cannot_be_read(void **state)
{
        static char big[4096];

        assert_int_equal(oom_kills(NULL), 0);
        assert_int_equal(oom_kills_below(NULL), 0);
        assert_int_equal(oom_kills(in("missing")), -1);
        assert_int_equal(oom_kills_below(in("missing")), -1);
        put("file", "");
        assert_int_equal(oom_kills(in("file")), -1);
        put("file", "oom_kill \n");
        assert_int_equal(oom_kills(in("file")), -1);
        put("file", "oom_kill 99999999999999999999\n");
        assert_int_equal(oom_kills(in("file")), -1);
        put("file", "oom_kills 3\nroom_kill 3\n");
        assert_int_equal(oom_kills(in("file")), -1);
        memset(big, 'x', sizeof(big) - 1);
        put("file", big);
        assert_int_equal(oom_kills(in("file")), -1);
}

static void cgroups_below(void **state)
{
        put("memory.oom_control", "oom_kill 0\n");
        assert_int_equal(mkdir(in("a"), 0700), 0);
        assert_int_equal(mkdir(in("a/b"), 0700), 0);
        assert_int_equal(mkdir(in("c"), 0700), 0);
        put("a/memory.oom_control", "oom_kill 0\n");
        assert_int_equal(oom_kills_below(in("memory.oom_control")), 0);
        put("a/b/memory.oom_control", "oom_kill 1\n");
        assert_int_equal(oom_kills(in("memory.oom_control")), 0);
        assert_true(oom_kills_below(in("memory.oom_control")) > 0);
}

/* Many and deep ones are not walked without end. */
static void bounds(void **state)
{
        char path[PATH_MAX] = "d";

        put("memory.oom_control", "oom_kill 0\n");
        for (unsigned i = 0; i < 40; i++) {
                assert_int_equal(mkdir(in(path), 0700), 0);
                strcat(path, "/d");
        }
        assert_int_equal(oom_kills_below(in("memory.oom_control")), 0);
}

/* What systemd removes as soon as it is empty: seen while it was there, or by the count above it.
 */
static void a_cgroup_that_goes(void **state)
{
        struct oom_watch watch;
        char parent[PATH_MAX];

        snprintf(parent, sizeof(parent), "%s", in("parent"));
        put("parent", "oom_kill 3\n");
        put("own", "max 1\noom_kill 0\n");
        oom_watch_open(&watch, in("own"), parent);
        assert_true(watch.fd >= 0);
        assert_false(oom_watch_killed(&watch, true));
        put("parent", "oom_kill 4\n"); /* another container's, or this one's */
        assert_false(oom_watch_killed(&watch, false));
        assert_true(oom_watch_killed(&watch, true));
        oom_watch_look(&watch); /* another's */
        assert_true(watch.fd >= 0);
        assert_false(oom_watch_killed(&watch, true));
        put("parent", "oom_kill 5\n"); /* just after the own one was full */
        assert_true(oom_watch_killed(&watch, false));
        put("own", "max 2\noom_kill 1\n");
        oom_watch_look(&watch);
        assert_true(watch.killed);
        assert_int_equal(watch.fd, -1);
        put("parent", "oom_kill 3\n");
        assert_true(oom_watch_killed(&watch, false));
}

static void what_is_not_watched(void **state)
{
        struct oom_watch watch;
        char missing[PATH_MAX];

        snprintf(missing, sizeof(missing), "%s", in("missing"));
        put("own", "oom_kill 1\n");
        oom_watch_open(&watch, in("own"), NULL);
        assert_int_equal(watch.fd, -1);
        assert_false(oom_watch_killed(&watch, true));
        oom_watch_open(&watch, NULL, NULL);
        assert_int_equal(watch.fd, -1);
        assert_false(oom_watch_killed(&watch, true));
        put("own", "");
        oom_watch_open(&watch, in("own"), missing);
        oom_watch_look(&watch);
        assert_int_equal(watch.fd, -1);
        assert_false(oom_watch_killed(&watch, true));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(function) cmocka_unit_test_setup(function, empty_directory)
                TEST(both_versions), TEST(what_cannot_be_read), TEST(cgroups_below),
                TEST(bounds),        TEST(a_cgroup_that_goes),  TEST(what_is_not_watched),
        };
        int failed;

        if (!mkdtemp(directory))
                return 1;
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        empty_directory(NULL);
        remove(directory);
        return failed;
}
