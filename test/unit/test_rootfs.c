/* Root filesystems: layers, whiteouts, opaque folders, many layers, and mounts that are taken away.
 */
#include "test/unit/image_fixture.h"

#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include <linux/magic.h>

#include "image/rootfs.h"

static struct store *store;

static void put(unsigned id, const unsigned *diff_ids, size_t count, fixture_fill *fill)
{
        struct error err;
        if (store_image_as(store, "app", id, diff_ids, count, fill, &err) < 0)
                fail_msg("%s", err.message);
}

static void prepare(unsigned id, struct rootfs *rootfs)
{
        AUTO_FREE char *name = image_of(id);
        struct error err;
        if (rootfs_prepare(store, name, rootfs, &err) < 0)
                fail_msg("%s", err.message);
}

static void mount_image(unsigned id, bool writable)
{
        AUTO_ROOTFS struct rootfs rootfs = ROOTFS_INIT;
        struct error err;
        prepare(id, &rootfs);
        char before[512], after[512];
        assert_non_null(getcwd(before, sizeof(before)));
        if (rootfs_mount(&rootfs, writable ? at("container") : NULL, at("root/fs"), &err) < 0)
                fail_msg("%s", err.message);
        assert_non_null(getcwd(after, sizeof(after)));
        assert_string_equal(before, after);
}

static bool is_overlay(void)
{
        struct statfs fs;
        return statfs(at("root/fs"), &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

static void unmount_all(void)
{
        assert_int_equal(rootfs_unmount(at("root/fs"), NULL), 0);
        assert_false(is_overlay());
        assert_int_equal(rootfs_unmount(at("root/fs"), NULL), 0);
        assert_int_equal(rootfs_remove(at("container"), NULL), 0);
        assert_false(exists(at("container/upper")));
        assert_false(exists(at("container/work")));
        assert_int_equal(rootfs_remove(at("container"), NULL), 0);
}

static void make_dir(const char *directory, const char *name, mode_t mode)
{
        AUTO_FREE char *path = xprintf("%s/%s", directory, name);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(chmod(path, mode), 0);
}

static void make_file(const char *directory, const char *name, const char *text)
{
        AUTO_FREE char *path = xprintf("%s/%s", directory, name);
        write_file(path, text);
}

static void make_whiteout(const char *directory, const char *name)
{
        AUTO_FREE char *path = xprintf("%s/%s", directory, name);
        assert_int_equal(mknod(path, S_IFCHR, makedev(0, 0)), 0);
}

static void assert_reads(const char *name, const char *expected)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        struct error err;
        if (file_read(at("root/fs/%s", name), 4096, &text, &err) < 0)
                fail_msg("%s", err.message);
        assert_string_equal(text.data, expected);
}

static void fill_three(const char *directory, unsigned diff_id)
{
        switch (diff_id) {
        case 1:
                assert_int_equal(chown(directory, 7, 8), 0);
                assert_int_equal(chmod(directory, 01755), 0);
                make_dir(directory, "etc", 0755);
                make_file(directory, "etc/a", "a1");
                make_file(directory, "etc/b", "b1");
                make_dir(directory, "opaque", 0755);
                make_file(directory, "opaque/hidden", "x");
                make_file(directory, "gone", "x");
                break;
        case 2:
                make_dir(directory, "etc", 0755);
                make_file(directory, "etc/a", "a2");
                make_whiteout(directory, "gone");
                make_dir(directory, "opaque", 0755);
                make_file(directory, "opaque/shown", "y");
                break;
        case 3:
                make_file(directory, "top", "t");
                break;
        }
}

/* As store_image_as, with what crisp-image reports of layer 2 and 3. */
static void put_three(void)
{
        static const unsigned diff_ids[] = {1, 2, 3};
        static const char *const opaque[] = {"opaque"};
        static const char *const root[] = {"."};
        struct reference reference;
        struct error err;
        char *staging, *id;
        assert_int_equal(reference_parse("app", &reference, NULL), 0);
        assert_int_equal(store_stage(store, &staging, NULL), 0);
        struct fixture *fixture = fixture_new(staging, 1, diff_ids, 3, fill_three);
        fixture->layers[1].opaque = opaque;
        fixture->layers[1].opaque_count = 1;
        for (int i = 1; i < 3; i++) {
                fixture->layers[i].implied = root;
                fixture->layers[i].implied_count = 1;
        }
        if (store_commit(store, &reference, staging, &fixture->result, &id, &err) < 0)
                fail_msg("%s", err.message);
        free(id);
        fixture_free(fixture);
        store_unstage(store, staging);
}

static void shows_layers(void)
{
        store = open_store();
        put_three();
        for (int writable = 1; writable >= 0; writable--) {
                mount_image(1, writable);
                assert_true(is_overlay());
                assert_reads("etc/a", "a2");
                assert_reads("etc/b", "b1");
                assert_reads("top", "t");
                assert_reads("opaque/shown", "y");
                assert_false(exists(at("root/fs/opaque/hidden")));
                assert_false(exists(at("root/fs/gone")));
                int fd = open(at("root/fs/new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
                assert_int_equal(fd >= 0, writable);
                if (writable) {
                        struct stat st;
                        close(fd);
                        assert_true(exists(at("container/upper/new")));
                        /* The root folder is that of the layer which has an entry for it. */
                        assert_int_equal(stat(at("root/fs"), &st), 0);
                        assert_int_equal(st.st_mode & 07777, 01755);
                        assert_int_equal(st.st_uid, 7);
                        assert_int_equal(st.st_gid, 8);
                } else {
                        assert_int_equal(errno, EROFS);
                }
                unmount_all();
        }
        store_free(store);
}

static void fill_numbered(const char *directory, unsigned diff_id)
{
        char name[32];
        snprintf(name, sizeof(name), "file%u", diff_id);
        make_file(directory, name, "x");
        snprintf(name, sizeof(name), "%u", diff_id);
        make_file(directory, "last", name);
}

static void many_layers(unsigned count)
{
        unsigned diff_ids[FIXTURE_LAYERS_MAX];
        store = open_store();
        for (unsigned i = 0; i < count; i++)
                diff_ids[i] = i + 1;
        put(1, diff_ids, count, fill_numbered);
        for (int writable = 1; writable >= 0; writable--) {
                char last[16];
                mount_image(1, writable);
                snprintf(last, sizeof(last), "%u", count);
                for (unsigned i = 1; i <= count; i++)
                        assert_true(exists(at("root/fs/file%u", i)));
                if (count)
                        assert_reads("last", last);
                unmount_all();
        }
        store_free(store);
}

static void no_layer(void)
{
        many_layers(0);
}

static void one_layer(void)
{
        many_layers(1);
}

static void layers_127(void)
{
        many_layers(127);
}

static void layers_500(void)
{
        many_layers(500);
}

/* The kernel would cut what is longer than a page and mount fewer layers. */
static void too_long_is_refused(void)
{
        AUTO_BUFFER struct buffer lower = BUFFER_INIT;
        struct error err;
        for (int i = 0; i < 700; i++)
                buffer_printf(&lower, "%s%d", i ? ":" : "", 10000 + i);
        assert_int_equal(mkdir(at("l"), 0700), 0);
        struct rootfs rootfs = {
                .links = xstrdup(at("l")), .lower = buffer_take(&lower), .root = xstrdup("")};
        assert_true(rootfs_mount(&rootfs, at("container"), at("root/fs"), &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.message, "too many layers"));
        assert_false(is_overlay());
        assert_true(rootfs_mount(&rootfs, at("a,b"), at("root/fs"), &err) < 0);
        assert_non_null(strstr(err.message, "comma"));
        rootfs_fini(&rootfs);
}

/* The daemon died, the machine too: what the last mount left does not keep the next from coming. */
static void mounts_again_after_a_crash(void)
{
        static const unsigned diff_ids[] = {1};
        store = open_store();
        put(1, diff_ids, 1, fill_numbered);
        mount_image(1, true);
        make_file(at("root/fs"), "written", "w");
        assert_int_equal(rootfs_unmount(at("root/fs"), NULL), 0);
        assert_true(exists(at("container/work/work/incompat/volatile")));
        mount_image(1, true);
        assert_reads("written", "w");
        unmount_all();
        store_free(store);
}

static void a_busy_mount_is_detached(void)
{
        static const unsigned diff_ids[] = {1};
        store = open_store();
        put(1, diff_ids, 1, fill_numbered);
        mount_image(1, true);
        int fd = open(at("root/fs/file1"), O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(rootfs_unmount(at("root/fs"), NULL), 0);
        assert_false(is_overlay());
        close(fd);
        unmount_all();
        store_free(store);
}

static void what_is_no_mount_is_fine(void)
{
        struct rootfs rootfs = ROOTFS_INIT;
        struct error err;
        assert_int_equal(rootfs_unmount(at("nothing/there"), NULL), 0);
        assert_int_equal(mkdir(at("plain"), 0700), 0);
        assert_int_equal(rootfs_unmount(at("plain"), NULL), 0);
        store = open_store();
        assert_int_equal(rootfs_prepare(store, "sha256:1", &rootfs, &err), -ENOENT);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        rootfs_fini(&rootfs);
        store_free(store);
}

#define TASK_TEST(name)                                                                            \
        static void test_##name(void **state)                                                      \
        {                                                                                          \
                (void)state;                                                                       \
                if (geteuid() != 0)                                                                \
                        skip();                                                                    \
                in_task(name);                                                                     \
        }

TASK_TEST(shows_layers)
TASK_TEST(no_layer)
TASK_TEST(one_layer)
TASK_TEST(layers_127)
TASK_TEST(layers_500)
TASK_TEST(too_long_is_refused)
TASK_TEST(mounts_again_after_a_crash)
TASK_TEST(a_busy_mount_is_detached)
TASK_TEST(what_is_no_mount_is_fine)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_shows_layers),
                cmocka_unit_test(test_no_layer),
                cmocka_unit_test(test_one_layer),
                cmocka_unit_test(test_layers_127),
                cmocka_unit_test(test_layers_500),
                cmocka_unit_test(test_too_long_is_refused),
                cmocka_unit_test(test_mounts_again_after_a_crash),
                cmocka_unit_test(test_a_busy_mount_is_detached),
                cmocka_unit_test(test_what_is_no_mount_is_fine),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
