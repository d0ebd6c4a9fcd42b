/* Idmapped mounts, made with the real kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "oci/idmap.h"

#define PROGRAM "/bin/true" /* whatever ends at once */

static char directory[] = "/tmp/crisp-test-idmap-XXXXXX";
static char *source, *target;

static const struct spec_id_map ranges[] = {{0, 100000, 1000}, {1000, 5, 1}};
static const struct idmap map = {ranges, 2, ranges, 2};

static int setup(void **state)
{
        (void)state;
        strcpy(directory + strlen(directory) - 6, "XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        source = xprintf("%s/source", directory);
        target = xprintf("%s/target", directory);
        AUTO_FREE char *file = xprintf("%s/file", source);
        return mkdir(source, 0755) || mkdir(target, 0755) ||
               file_replace_volatile(file, "x", 1, 0644, NULL) || chown(file, 1000, 7);
}

static int teardown(void **state)
{
        (void)state;
        umount2(target, MNT_DETACH);
        free(source);
        free(target);
        return file_remove_tree(directory, NULL);
}

static void test_owners_are_mapped_and_the_disk_is_not_touched(void **state)
{
        (void)state;
        struct error err = {0};
        AUTO_FD int namespace_fd = idmap_namespace(PROGRAM, &map, &err);
        if (namespace_fd < 0 || !idmap_kernel_can())
                skip();
        AUTO_FD int fd = open(source, O_PATH | O_CLOEXEC);
        int result = idmap_mount(fd, namespace_fd, false, target, &err);
        if (result < 0 && err.code == ERROR_FAILED_PRECONDITION)
                skip(); /* not with this file system */
        assert_int_equal(result, 0);
        AUTO_FREE char *seen = xprintf("%s/file", target), *real = xprintf("%s/file", source);
        AUTO_FREE char *made = xprintf("%s/made", target), *there = xprintf("%s/made", source);
        struct stat st;
        assert_int_equal(stat(seen, &st), 0);
        assert_int_equal(st.st_uid, 5);
        assert_int_equal(st.st_gid, 100007);
        assert_int_equal(stat(real, &st), 0);
        assert_int_equal(st.st_uid, 1000);
        /* We are not mapped: what we made would belong to nobody. */
        assert_int_equal(open(made, O_CREAT | O_WRONLY, 0600), -1);
        assert_int_equal(errno, EOVERFLOW);
        assert_int_not_equal(stat(there, &st), 0);
}

static void test_a_file_system_that_cannot_is_told(void **state)
{
        (void)state;
        struct error err = {0};
        AUTO_FD int namespace_fd = idmap_namespace(PROGRAM, &map, &err);
        if (namespace_fd < 0 || !idmap_kernel_can())
                skip();
        AUTO_FD int fd = open("/proc", O_PATH | O_CLOEXEC);
        assert_true(idmap_mount(fd, namespace_fd, false, target, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.message, "file system"));
}

static void test_maps_that_the_kernel_refuses(void **state)
{
        (void)state;
        struct error err = {0};
        const struct spec_id_map same[] = {{0, 1, 10}, {5, 100, 10}};
        const struct idmap overlapping = {same, 2, same, 2};
        assert_true(idmap_namespace(PROGRAM, &overlapping, &err) < 0);
        assert_true(idmap_namespace("/no/such/program", &map, &err) < 0);
        assert_non_null(strstr(err.message, "/no/such/program"));
}

static void test_unmounting_leaves_what_is_below_the_source(void **state)
{
        (void)state;
        struct error err = {0};
        AUTO_FD int namespace_fd = idmap_namespace(PROGRAM, &map, &err);
        AUTO_FREE char *below = xprintf("%s/below", source), *file = xprintf("%s/below/f", source),
                       *later = xprintf("%s/later", source);
        if (namespace_fd < 0 || !idmap_kernel_can() || mkdir(below, 0755) < 0 ||
            mkdir(later, 0755) < 0 || mount(source, source, NULL, MS_BIND, NULL) < 0)
                skip();
        mount(NULL, source, NULL, MS_SHARED, NULL);
        assert_int_equal(mount("tmpfs", below, "tmpfs", 0, NULL), 0);
        assert_int_equal(file_replace_volatile(file, "x", 1, 0644, NULL), 0);
        AUTO_FD int fd = open(source, O_PATH | O_CLOEXEC);
        int result = idmap_mount(fd, namespace_fd, true, target, &err);
        AUTO_FREE char *seen = xprintf("%s/later/f", target), *made = xprintf("%s/later/f", source);
        assert_int_equal(mount("tmpfs", later, "tmpfs", 0, NULL), 0);
        assert_int_equal(file_replace_volatile(made, "x", 1, 0644, NULL), 0);
        bool follows = access(seen, F_OK) == 0;
        umount2(target, MNT_DETACH);
        bool left = access(file, F_OK) == 0 && access(made, F_OK) == 0;
        umount2(later, MNT_DETACH);
        umount2(below, MNT_DETACH);
        umount2(source, MNT_DETACH);
        if (result < 0 && err.code == ERROR_FAILED_PRECONDITION)
                skip();
        assert_int_equal(result, 0);
        assert_true(follows);
        assert_true(left);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_owners_are_mapped_and_the_disk_is_not_touched,
                                                setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_file_system_that_cannot_is_told, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_unmounting_leaves_what_is_below_the_source,
                                                setup, teardown),
                cmocka_unit_test_setup_teardown(test_maps_that_the_kernel_refuses, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
