/* Files: replaced as a whole, removed without following anything, opened without leaving their
 * tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

static char directory[] = "/tmp/crisp-test-file-XXXXXX";

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
        return file_remove_tree(directory, NULL);
}

static void test_replace(void **state)
{
        (void)state;
        struct error err;
        AUTO_FREE char *path = path_of("f");
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        assert_int_equal(file_replace(path, "one", 3, 0640, &err), 0);
        assert_int_equal(file_replace(path, "second", 6, 0600, &err), 0);
        assert_int_equal(file_read(path, 100, &contents, &err), 0);
        assert_string_equal(contents.data, "second");
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(file_read(path, 5, &contents, &err), -EFBIG);
        assert_int_equal(contents.length, 6); /* untouched */
}

static void test_replace_on_a_full_disk_keeps_the_old_one(void **state)
{
        (void)state;
        struct error err;
        if (mount("test", directory, "tmpfs", 0, "size=64k") < 0)
                skip();
        AUTO_FREE char *path = path_of("f");
        AUTO_FREE char *big = xcalloc(1, 1 << 20);
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        assert_int_equal(file_replace(path, "old", 3, 0600, &err), 0);
        assert_int_equal(file_replace(path, big, 1 << 20, 0600, &err), -ENOSPC);
        assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
        assert_int_equal(file_read(path, 100, &contents, &err), 0);
        assert_string_equal(contents.data, "old");
        unsigned long long bytes, inodes;
        assert_int_equal(file_tree_usage(directory, &bytes, &inodes, &err), 0);
        assert_int_equal(inodes, 2); /* the folder and the old file: nothing is left beside it */
        assert_int_equal(umount(directory), 0);
}

static void test_remove_tree_follows_nothing(void **state)
{
        (void)state;
        struct error err;
        AUTO_FREE char *tree = path_of("tree");
        AUTO_FREE char *deep = path_of("tree/a/b/c");
        AUTO_FREE char *link = path_of("tree/a/link");
        AUTO_FREE char *outside = path_of("outside");
        assert_int_equal(file_make_directories(deep, 0755, &err), 0);
        assert_int_equal(file_make_directories(outside, 0755, &err), 0);
        assert_int_equal(symlink(outside, link), 0);
        assert_int_equal(file_remove_tree(tree, &err), 0);
        assert_int_equal(access(tree, F_OK), -1);
        assert_int_equal(access(outside, F_OK), 0);
        assert_int_equal(file_remove_tree(tree, &err), 0); /* not there is fine */
}

static void test_remove_tree_stops_at_a_mount(void **state)
{
        (void)state;
        struct error err;
        AUTO_FREE char *tree = path_of("tree");
        AUTO_FREE char *mounted = path_of("tree/mounted");
        AUTO_FREE char *kept = path_of("tree/mounted/kept");
        assert_int_equal(file_make_directories(mounted, 0755, &err), 0);
        if (mount("test", mounted, "tmpfs", 0, "size=64k") < 0)
                skip();
        assert_int_equal(mkdir(kept, 0755), 0);
        assert_int_equal(file_remove_tree(tree, &err), -EBUSY);
        assert_int_equal(access(kept, F_OK), 0);
        assert_int_equal(umount(mounted), 0);
        assert_int_equal(file_remove_tree(tree, &err), 0);
}

/* Deeper than there are descriptors, and than a path is long. Measured, too. */
static void test_remove_tree_of_any_depth(void **state)
{
        (void)state;
        enum { DEPTH = 3000 };
        struct error err;
        AUTO_FREE char *tree = path_of("tree");
        assert_int_equal(mkdir(tree, 0755), 0);
        int fd = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (int i = 0; i < DEPTH; i++) {
                assert_int_equal(mkdirat(fd, "deeper", 0755), 0);
                assert_int_equal(mkdirat(fd, "beside", 0755), 0);
                int next = openat(fd, "deeper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(next >= 0);
                close(fd);
                fd = next;
        }
        close(fd);
        unsigned long long bytes, inodes;
        assert_int_equal(file_tree_usage(tree, &bytes, &inodes, &err), 0);
        assert_int_equal(inodes, 1 + 2 * DEPTH);
        assert_int_equal(file_remove_tree(tree, &err), 0);
        assert_int_equal(access(tree, F_OK), -1);
}

/* A bind mount has the device number of what is around it. */
static void test_a_bind_mount_is_left_alone(void **state)
{
        (void)state;
        struct error err;
        unsigned long long bytes, inodes;
        AUTO_FREE char *elsewhere = path_of("elsewhere");
        AUTO_FREE char *kept = path_of("elsewhere/kept");
        AUTO_FREE char *tree = path_of("tree");
        AUTO_FREE char *mounted = path_of("tree/mounted");
        assert_int_equal(file_make_directories(kept, 0755, &err), 0);
        assert_int_equal(file_make_directories(mounted, 0755, &err), 0);
        if (mount(elsewhere, mounted, NULL, MS_BIND, NULL) < 0)
                skip();
        int measured = file_tree_usage(tree, &bytes, &inodes, &err);
        int removed = file_remove_tree(tree, &err);
        assert_int_equal(umount(mounted), 0);
        assert_int_equal(measured, 0);
        assert_int_equal(inodes, 2);
        assert_int_equal(removed, -EBUSY);
        assert_int_equal(access(kept, F_OK), 0);
        assert_int_equal(file_remove_tree(tree, &err), 0);
}

static void test_usage_counts_links_once(void **state)
{
        (void)state;
        struct error err;
        unsigned long long bytes, inodes, alone;
        AUTO_FREE char *file = path_of("file");
        AUTO_FREE char *other = path_of("other");
        assert_int_equal(file_replace(file, "contents", 8, 0600, &err), 0);
        assert_int_equal(file_replace(other, "contents", 8, 0600, &err), 0);
        assert_int_equal(file_tree_usage(directory, &alone, &inodes, &err), 0);
        assert_int_equal(inodes, 3);
        for (int i = 0; i < 3; i++) {
                AUTO_FREE char *name = xprintf("%s/link%d", directory, i);
                AUTO_FREE char *second = xprintf("%s/second%d", directory, i);
                assert_int_equal(link(file, name), 0);
                assert_int_equal(link(other, second), 0);
        }
        assert_int_equal(file_tree_usage(directory, &bytes, &inodes, &err), 0);
        assert_int_equal(inodes, 3);
        assert_int_equal(bytes, alone);
}

static void test_open_in_stays_inside(void **state)
{
        (void)state;
        struct error err;
        AUTO_FREE char *root = path_of("root");
        AUTO_FREE char *link = path_of("root/passwd");
        AUTO_FREE char *inside = path_of("root/etc");
        assert_int_equal(file_make_directories(inside, 0755, &err), 0);
        assert_int_equal(symlink("/etc/passwd", link), 0);
        AUTO_FD int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        /* The absolute link leads to the root's own /etc, which has no passwd. */
        assert_int_equal(file_open_in(fd, "passwd", O_RDONLY, 0, &err), -ENOENT);
        assert_int_equal(file_open_in(fd, "../../../etc/passwd", O_RDONLY, 0, &err), -ENOENT);
        AUTO_FREE char *own = path_of("root/etc/passwd");
        assert_int_equal(file_replace_volatile(own, "mine", 4, 0644, &err), 0);
        AUTO_FD int passwd = file_open_in(fd, "../../passwd", O_RDONLY, 0, &err);
        assert_true(passwd >= 0);
        char text[5] = "";
        assert_int_equal(read(passwd, text, 4), 4);
        assert_string_equal(text, "mine");
}

static void test_make_directories(void **state)
{
        (void)state;
        struct error err;
        AUTO_FREE char *file = path_of("file");
        AUTO_FREE char *below = path_of("file/below");
        assert_int_equal(file_replace_volatile(file, "", 0, 0600, &err), 0);
        assert_int_equal(file_make_directories(below, 0755, &err), -ENOTDIR);
        assert_int_equal(file_make_directories(file, 0755, &err), -ENOTDIR);
        assert_int_equal(file_make_directories(directory, 0755, &err), 0);
}

/* What somebody hostile may have put in the place of a file. */
static void test_read_plain(void **state)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        AUTO_FREE char *file = path_of("file"), *pipe = path_of("pipe"), *link = path_of("link");
        struct error err;
        (void)state;
        assert_int_equal(file_replace(file, "four", 4, 0600, NULL), 0);
        assert_int_equal(mkfifo(pipe, 0600), 0);
        assert_int_equal(symlink(file, link), 0);
        assert_int_equal(file_read_plain(AT_FDCWD, file, 4, &bytes, NULL), 0);
        assert_string_equal(bytes.data, "four");
        assert_true(file_read_plain(AT_FDCWD, file, 3, &bytes, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_true(file_read_plain(AT_FDCWD, pipe, 4, &bytes, NULL) < 0);
        assert_true(file_read_plain(AT_FDCWD, directory, 4096, &bytes, NULL) < 0);
        assert_int_equal(file_read_plain(AT_FDCWD, link, 4, &bytes, NULL), -ELOOP);
        assert_int_equal(bytes.length, 4);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_replace, setup, teardown),
                cmocka_unit_test_setup_teardown(test_read_plain, setup, teardown),
                cmocka_unit_test_setup_teardown(test_replace_on_a_full_disk_keeps_the_old_one,
                                                setup, teardown),
                cmocka_unit_test_setup_teardown(test_remove_tree_follows_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_remove_tree_stops_at_a_mount, setup, teardown),
                cmocka_unit_test_setup_teardown(test_remove_tree_of_any_depth, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_bind_mount_is_left_alone, setup, teardown),
                cmocka_unit_test_setup_teardown(test_usage_counts_links_once, setup, teardown),
                cmocka_unit_test_setup_teardown(test_open_in_stays_inside, setup, teardown),
                cmocka_unit_test_setup_teardown(test_make_directories, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
