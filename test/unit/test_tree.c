/* Trees of others: folders made in them without leaving them, and copies of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/tree.h"

static char directory[] = "/tmp/crisp-test-tree-XXXXXX";
static int root_fd;

static char *path_of(const char *name)
{
        return xprintf("%s/%s", directory, name);
}

static void make_folder(const char *name)
{
        AUTO_FREE char *path = path_of(name);
        assert_int_equal(file_make_directories(path, 0755, NULL), 0);
}

static void make_file(const char *name, const char *text)
{
        AUTO_FREE char *path = path_of(name);
        assert_int_equal(file_replace_volatile(path, text, strlen(text), 0644, NULL), 0);
}

static void make_link(const char *name, const char *target)
{
        AUTO_FREE char *path = path_of(name);
        assert_int_equal(symlink(target, path), 0);
}

static void assert_contents(const char *name, const char *text)
{
        AUTO_FREE char *path = path_of(name);
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        assert_int_equal(file_read(path, 1000, &contents, NULL), 0);
        assert_string_equal(contents.data, text);
}

static struct stat look(const char *name)
{
        struct stat st;
        AUTO_FREE char *path = path_of(name);
        assert_int_equal(lstat(path, &st), 0);
        return st;
}

static bool is_there(const char *name)
{
        struct stat st;
        AUTO_FREE char *path = path_of(name);
        return lstat(path, &st) == 0;
}

static int setup(void **state)
{
        (void)state;
        strcpy(directory + strlen(directory) - 6, "XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        make_folder("root");
        AUTO_FREE char *root = path_of("root");
        root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return root_fd < 0;
}

static int teardown(void **state)
{
        (void)state;
        close(root_fd);
        return file_remove_tree(directory, NULL);
}

/* ---- folders ---- */

static void test_folders_are_made_with_mode_and_owner(void **state)
{
        (void)state;
        make_folder("root/old");
        mode_t before = umask(077);
        assert_int_equal(tree_make_directories(root_fd, "/old//new/./deep/", 0751, 7, 8, NULL), 0);
        umask(before);
        struct stat st = look("root/old/new/deep");
        assert_int_equal(st.st_mode & 07777, 0751);
        assert_int_equal(st.st_uid, 7);
        assert_int_equal(st.st_gid, 8);
        assert_int_equal(look("root/old/new").st_uid, 7);
        assert_int_equal(look("root/old").st_uid, geteuid());
        assert_int_equal(tree_make_directories(root_fd, "old/new/deep", 0700, 0, 0, NULL), 0);
        assert_int_equal(look("root/old/new/deep").st_mode & 07777, 0751);
}

static void test_symlinks_stay_inside(void **state)
{
        (void)state;
        AUTO_FREE char *outside = path_of("outside");
        make_link("root/absolute", outside);
        make_link("root/up", "../../../../outside-up");
        make_folder("root/a");
        make_link("root/a/relative", "../b");
        assert_int_equal(tree_make_directories(root_fd, "absolute/x", 0755, 0, 0, NULL), 0);
        assert_int_equal(tree_make_directories(root_fd, "up/x", 0755, 0, 0, NULL), 0);
        assert_int_equal(tree_make_directories(root_fd, "a/relative/x", 0755, 0, 0, NULL), 0);
        assert_false(is_there("outside"));
        AUTO_FREE char *inside = xprintf("root%s/outside/x", directory);
        assert_true(is_there(inside));
        assert_true(is_there("root/outside-up/x"));
        assert_true(is_there("root/b/x"));
}

static void test_what_is_no_folder(void **state)
{
        (void)state;
        struct error err;
        make_file("root/file", "");
        make_link("root/loop", "loop");
        make_link("root/ping", "pong/x");
        make_link("root/pong", "ping/x");
        assert_int_equal(tree_make_directories(root_fd, "file", 0755, 0, 0, &err), -ENOTDIR);
        assert_int_equal(tree_make_directories(root_fd, "file/x", 0755, 0, 0, &err), -ENOTDIR);
        assert_int_equal(tree_make_directories(root_fd, "loop/x", 0755, 0, 0, &err), -ELOOP);
        assert_int_equal(tree_make_directories(root_fd, "ping/x", 0755, 0, 0, &err), -ELOOP);
}

/* ---- copies ---- */

static const struct tree_bounds plenty = {1000, 1 << 20};

static int copy(const char *from, const char *to, bool follow, const struct tree_bounds *bounds,
                struct error *err)
{
        AUTO_FREE char *source = path_of(from), *target = path_of(to);
        AUTO_FD int fd = open(source, O_PATH | O_CLOEXEC);
        assert_true(fd >= 0);
        return tree_copy(fd, target, follow, bounds, err);
}

static void test_a_copy_is_the_same(void **state)
{
        (void)state;
        make_folder("from/sub/deep");
        make_file("from/sub/file", "contents");
        make_link("from/link", "/etc/passwd");
        AUTO_FREE char *file = path_of("from/sub/file"), *sub = path_of("from/sub");
        AUTO_FREE char *pipe = path_of("from/pipe"), *copied = path_of("to/sub/file");
        struct timespec times[2] = {{1000, 5}, {2000, 6}};
        assert_int_equal(mkfifo(pipe, 0600), 0);
        assert_int_equal(chown(file, 5, 6), 0);
        assert_int_equal(chmod(file, 04755), 0);
        bool attributes = setxattr(file, "user.a", "b", 1, 0) == 0;
        assert_int_equal(utimensat(AT_FDCWD, file, times, 0), 0);
        assert_int_equal(chmod(sub, 01777), 0);
        assert_int_equal(copy("from", "to", false, &plenty, NULL), 0);
        assert_contents("to/sub/file", "contents");
        struct stat st = look("to/sub/file");
        assert_int_equal(st.st_mode, S_IFREG | 04755);
        assert_int_equal(st.st_uid, 5);
        assert_int_equal(st.st_gid, 6);
        assert_int_equal(st.st_mtim.tv_sec, 2000);
        assert_int_equal(look("to/sub").st_mode, S_IFDIR | 01777);
        assert_int_equal(look("to/pipe").st_mode, S_IFIFO | 0600);
        assert_true(S_ISLNK(look("to/link").st_mode));
        assert_true(is_there("to/sub/deep"));
        char value[8];
        if (attributes)
                assert_int_equal(getxattr(copied, "user.a", value, sizeof value), 1);
}

static void test_a_copy_may_follow(void **state)
{
        (void)state;
        make_folder("from");
        make_folder("elsewhere");
        make_file("elsewhere/file", "there");
        make_link("from/folder", "../elsewhere");
        make_link("from/file", "../elsewhere/file");
        make_link("from/gone", "/no/such/file");
        assert_int_equal(copy("from", "to", true, &plenty, NULL), 0);
        assert_contents("to/folder/file", "there");
        assert_true(S_ISREG(look("to/file").st_mode));
        assert_true(S_ISDIR(look("to/folder").st_mode));
        assert_false(is_there("to/gone"));
        assert_int_equal(copy("from/file", "alone", true, &plenty, NULL), 0);
        assert_contents("alone", "there");
}

static void test_a_copy_has_bounds(void **state)
{
        (void)state;
        struct error err;
        make_folder("from");
        make_file("from/file", "12345");
        make_link("from/round", ".");
        struct tree_bounds few = {2, 100}, small = {100, 4};
        assert_int_equal(copy("from", "to1", false, &few, &err),
                         error_set(NULL, ERROR_RESOURCE_EXHAUSTED, "x"));
        assert_int_equal(copy("from", "to2", false, &small, &err),
                         error_set(NULL, ERROR_RESOURCE_EXHAUSTED, "x"));
        struct tree_bounds many = {100000, 1 << 30};
        assert_int_equal(copy("from", "to3", true, &many, &err),
                         error_set(NULL, ERROR_RESOURCE_EXHAUSTED, "x"));
        assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
        assert_int_equal(copy("from", "to1", false, &plenty, &err), -EEXIST);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_folders_are_made_with_mode_and_owner, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_symlinks_stay_inside, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_is_no_folder, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_copy_is_the_same, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_copy_may_follow, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_copy_has_bounds, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
