/* What of the host a mount shows: paths followed once, and how their mounts spread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "cri/mount_default.h"
#include "cri/mount_source.h"

static char directory[] = "/tmp/crisp-test-msource-XXXXXX";

static char *path_of(const char *name)
{
        return xprintf("%s/%s", directory, name);
}

static int setup(void **state)
{
        (void)state;
        strcpy(directory + strlen(directory) - 6, "XXXXXX");
        return mkdtemp(directory) ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        AUTO_FREE char *shared = path_of("shared");
        umount2(shared, MNT_DETACH);
        return file_remove_tree(directory, NULL);
}

static void make_folder(const char *name)
{
        AUTO_FREE char *path = path_of(name);
        assert_int_equal(file_make_directories(path, 0755, NULL), 0);
}

static void make_link(const char *name, const char *target)
{
        AUTO_FREE char *path = path_of(name);
        assert_int_equal(symlink(target, path), 0);
}

static void assert_finds(const char *prefix, const char *name, const char *expected)
{
        AUTO_MOUNT_SOURCE struct mount_source source = MOUNT_SOURCE_INIT;
        AUTO_FREE char *full = path_of(expected);
        struct error err = {0};
        if (mount_source_find(prefix, name, NULL, &source, &err) < 0)
                fail_msg("%s", err.message);
        assert_string_equal(source.path, full);
}

static void test_symlinks_are_followed_once(void **state)
{
        (void)state;
        AUTO_FREE char *link = path_of("link");
        make_folder("real/sub");
        make_link("link", "real/sub");
        assert_finds("", link, "real/sub");
}

static void test_a_missing_path_becomes_a_folder(void **state)
{
        (void)state;
        AUTO_FREE char *missing = path_of("a/b/c"), *place = path_of("a/b/c");
        struct stat st;
        assert_finds("", missing, "a/b/c");
        assert_int_equal(stat(place, &st), 0);
        assert_int_equal(st.st_mode, S_IFDIR | 0755);
        assert_finds(directory, "/x/y", "x/y");
}

static void test_a_symlink_that_leads_nowhere_is_an_error(void **state)
{
        (void)state;
        AUTO_MOUNT_SOURCE struct mount_source source = MOUNT_SOURCE_INIT;
        AUTO_FREE char *link = path_of("link");
        make_link("link", "gone");
        assert_true(mount_source_find("", link, NULL, &source, NULL) < 0);
        assert_null(source.path);
}

static void test_some_are_not_made(void **state)
{
        (void)state;
        AUTO_MOUNT_SOURCE struct mount_source source = MOUNT_SOURCE_INIT;
        AUTO_FREE char *missing = path_of("missing"), *slash = path_of("missing/"),
                       *longer = path_of("missing2");
        char *rejected[] = {missing, NULL};
        struct error err;
        assert_true(mount_source_find("", missing, rejected, &source, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.message, missing));
        assert_true(mount_source_find("", slash, rejected, &source, &err) < 0);
        assert_int_not_equal(access(missing, F_OK), 0);
        assert_int_equal(mount_source_find("", longer, rejected, &source, &err), 0);
        mount_source_fini(&source);
        make_folder("missing");
        assert_int_equal(mount_source_find("", missing, rejected, &source, &err), 0);
}

static void test_below_a_prefix_symlinks_stay_there(void **state)
{
        (void)state;
        make_folder("host/etc/real");
        make_folder("host/data");
        make_link("host/etc/link", "/etc/real");
        make_link("host/up", "../../../../../../data");
        AUTO_FREE char *prefix = path_of("host");
        assert_finds(prefix, "/etc/link", "host/etc/real");
        assert_finds(prefix, "/up", "host/data");
        AUTO_MOUNT_SOURCE struct mount_source source = MOUNT_SOURCE_INIT;
        struct error err;
        assert_true(mount_source_find("/no/such", "/x", NULL, &source, &err) < 0);
        assert_non_null(strstr(err.message, "bind_mount_prefix"));
}

/* ---- how mounts spread ---- */

static void test_mountinfo(void **state)
{
        (void)state;
        static const char text[] =
                "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
                "23 27 0:22 / /a\\040b rw shared:5 master:3 - tmpfs shared:9 rw\n"
                "24 27 0:22 / /s rw master:3 propagate_from:2 - tmpfs t rw\n"
                "25 27 0:22 / /p rw - tmpfs shared:1 rw,master:2\n"
                "26 27 0:22 / /u rw unbindable - tmpfs t rw";
        static const struct {
                uint64_t number;
                enum mount_source_spread spread;
                const char *place;
        } cases[] = {
                {22, MOUNT_SOURCE_PRIVATE, "/proc"}, {23, MOUNT_SOURCE_SHARED, "/a\\040b"},
                {24, MOUNT_SOURCE_SLAVE, "/s"},      {25, MOUNT_SOURCE_PRIVATE, "/p"},
                {26, MOUNT_SOURCE_PRIVATE, "/u"},
        };
        enum mount_source_spread spread;
        const char *place;
        size_t length;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                assert_true(mount_source_parse(text, cases[i].number, &spread, &place, &length));
                assert_int_equal(spread, cases[i].spread);
                assert_int_equal(length, strlen(cases[i].place));
                assert_memory_equal(place, cases[i].place, length);
        }
        assert_false(mount_source_parse(text, 27, &spread, &place, &length));
        assert_false(mount_source_parse(text, 2, &spread, &place, &length));
        assert_false(mount_source_parse("", 0, &spread, &place, &length));
        assert_true(mount_source_parse("7 1", 7, &spread, &place, &length));
        assert_int_equal(length, 0);
}

static void require(const char *path, enum mount_source_spread wanted, const char *complaint)
{
        AUTO_MOUNT_SOURCE struct mount_source source = MOUNT_SOURCE_INIT;
        struct error err = {0};
        assert_int_equal(mount_source_find("", path, NULL, &source, &err), 0);
        int result = mount_source_require(&source, wanted, &err);
        if (!complaint) {
                assert_int_equal(result, 0);
                return;
        }
        assert_true(result < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.message, complaint));
}

static void test_what_the_kernel_says(void **state)
{
        (void)state;
        make_folder("shared");
        AUTO_FREE char *place = path_of("shared"), *below = path_of("shared/below");
        if (mount("tmpfs", place, "tmpfs", 0, NULL) < 0)
                skip();
        make_folder("shared/below");
        assert_int_equal(mount(NULL, place, NULL, MS_PRIVATE, NULL), 0);
        require(below, MOUNT_SOURCE_PRIVATE, NULL);
        require(below, MOUNT_SOURCE_SLAVE, "not a shared or slave mount");
        require(below, MOUNT_SOURCE_SHARED, "not a shared mount");
        require(below, MOUNT_SOURCE_SHARED, place);
        assert_int_equal(mount(NULL, place, NULL, MS_SHARED, NULL), 0);
        require(below, MOUNT_SOURCE_SHARED, NULL);
        require(below, MOUNT_SOURCE_SLAVE, NULL);
}

static void test_below(void **state)
{
        (void)state;
        assert_true(mount_source_is_below("/a/b", "/"));
        assert_true(mount_source_is_below("/a/b", "/a"));
        assert_true(mount_source_is_below("/a/b", "/a/b"));
        assert_false(mount_source_is_below("/a/bc", "/a/b"));
        assert_false(mount_source_is_below("/a", "/a/b"));
}

/* ---- mounts.conf ---- */

static void test_mounts_conf(void **state)
{
        (void)state;
        AUTO_MOUNT_DEFAULTS struct mount_defaults defaults = MOUNT_DEFAULTS_INIT;
        struct error err;
        assert_int_equal(mount_defaults_parse("# comment\n\n/a:/b\n  /c/d \t\r\nwords\n/e:/f:g",
                                              "m", &defaults, &err),
                         0);
        assert_int_equal(defaults.count, 3);
        assert_string_equal(defaults.list[0].source, "/a");
        assert_string_equal(defaults.list[0].destination, "/b");
        assert_string_equal(defaults.list[1].source, "/c/d");
        assert_string_equal(defaults.list[1].destination, "/c/d");
        assert_string_equal(defaults.list[2].destination, "/f:g");
        struct mount_defaults none = MOUNT_DEFAULTS_INIT;
        assert_int_equal(mount_defaults_parse("/a:/b\n/a:b\n", "m.conf", &none, &err), -EINVAL);
        assert_int_equal(strncmp(err.message, "m.conf:2: \"b\"", 13), 0);
        assert_int_equal(mount_defaults_parse("/a:/b/../c", "m.conf", &none, &err), -EINVAL);
        AUTO_BUFFER struct buffer many = BUFFER_INIT;
        for (int i = 0; i <= MOUNT_DEFAULT_MAX; i++)
                buffer_add_text(&many, "/a\n");
        assert_int_equal(mount_defaults_parse(many.data, "m.conf", &none, &err), -EINVAL);
        assert_null(none.list);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_symlinks_are_followed_once, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_missing_path_becomes_a_folder, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_a_symlink_that_leads_nowhere_is_an_error,
                                                setup, teardown),
                cmocka_unit_test_setup_teardown(test_some_are_not_made, setup, teardown),
                cmocka_unit_test_setup_teardown(test_below_a_prefix_symlinks_stay_there, setup,
                                                teardown),
                cmocka_unit_test(test_mountinfo),
                cmocka_unit_test_setup_teardown(test_what_the_kernel_says, setup, teardown),
                cmocka_unit_test(test_below),
                cmocka_unit_test(test_mounts_conf),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
