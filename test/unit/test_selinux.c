/* SELinux labels, on a root folder that has what the kernel and a policy would show; files of it
 * get real attributes where the test may set them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "oci/selinux.h"

static char root[64];

static int begin(void **state)
{
        (void)state;
        strcpy(root, "/tmp/test_selinux.XXXXXX");
        return mkdtemp(root) ? 0 : -1;
}

static int end(void **state)
{
        (void)state;
        return file_remove_tree(root, NULL);
}

static char *at(const char *path)
{
        return xprintf("%s%s", root, path);
}

static void put(const char *path, const char *text)
{
        AUTO_FREE char *full = at(path);
        AUTO_FREE char *parent = xstrndup(full, (size_t)(strrchr(full, '/') - full));
        assert_int_equal(file_make_directories(parent, 0755, NULL), 0);
        assert_int_equal(file_replace_volatile(full, text, strlen(text), 0644, NULL), 0);
}

static struct selinux *opened(void)
{
        put("/sys/fs/selinux/context", "");
        struct selinux *selinux = selinux_open(root);
        assert_non_null(selinux);
        return selinux;
}

static void expect(const struct selinux *selinux, const char *base, const char *level,
                   struct selinux_options options, const char *process, const char *mount)
{
        AUTO_SELINUX_LABELS struct selinux_labels labels = {0};
        struct error err;
        assert_int_equal(selinux_labels(selinux, base, level, &options, &labels, &err), 0);
        assert_string_equal(labels.process, process);
        assert_string_equal(labels.mount, mount);
}

static void a_kernel_without_it(void **state)
{
        (void)state;
        assert_null(selinux_open(root));
        put("/etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n");
        assert_null(selinux_open(root));
}

static void labels_of_pods_and_containers(void **state)
{
        (void)state;
        struct selinux *selinux = opened();
        expect(selinux, NULL, "s0:c1,c2", (struct selinux_options){0},
               "system_u:system_r:container_t:s0:c1,c2",
               "system_u:object_r:container_file_t:s0:c1,c2");
        expect(selinux, NULL, "s0:c1,c2", (struct selinux_options){.level = "s0:c7"},
               "system_u:system_r:container_t:s0:c7", "system_u:object_r:container_file_t:s0:c7");
        expect(selinux, NULL, "s0:c1,c2", (struct selinux_options){"u", "r", "spc_t", ""},
               "u:r:spc_t:s0:c1,c2", "u:object_r:container_file_t:s0:c1,c2");
        /* A container's says less, and its pod's holds for the rest. */
        expect(selinux, "u:r:t:s0:c3,c4", "s0:c1,c2", (struct selinux_options){.type = "x_t"},
               "u:r:x_t:s0:c3,c4", "system_u:object_r:container_file_t:s0:c3,c4");
        AUTO_FREE char *kvm = selinux_kvm_label(selinux, "u:r:t:s0:c3,c4");
        assert_string_equal(kvm, "u:r:container_kvm_t:s0:c3,c4");
        assert_string_equal(selinux_level("u:r:t:s0:c3,c4"), "s0:c3,c4");
        assert_string_equal(selinux_level("u:r:t"), "");
        selinux_free(selinux);
}

static void the_policys_own_words(void **state)
{
        (void)state;
        put("/etc/selinux/config", "# SELINUXTYPE=wrong\nSELINUX=enforcing\nSELINUXTYPE=mls\n");
        put("/etc/selinux/mls/contexts/lxc_contexts",
            "process = \"a_u:a_r:a_t:s5\"\ncontent = \"no\"\nfile = \"b_u:b_r:b_t:s5\"\n"
            "kvm_process = \"c_u:c_r:c_t:s5\"\n");
        struct selinux *selinux = opened();
        expect(selinux, NULL, NULL, (struct selinux_options){0}, "a_u:a_r:a_t:s5",
               "b_u:b_r:b_t:s5");
        AUTO_FREE char *kvm = selinux_kvm_label(selinux, "u:r:t:s0");
        assert_string_equal(kvm, "u:r:c_t:s0");
        selinux_free(selinux);
}

static void a_policy_that_is_no_policy(void **state)
{
        (void)state;
        put("/etc/selinux/targeted/contexts/lxc_contexts", "process = \"nonsense\"\nfile =\n");
        struct selinux *selinux = opened();
        expect(selinux, NULL, "s0:c1,c2", (struct selinux_options){0},
               "system_u:system_r:container_t:s0:c1,c2",
               "system_u:object_r:container_file_t:s0:c1,c2");
        selinux_free(selinux);
}

static void labels_are_held_against_the_policy(void **state)
{
        (void)state;
        AUTO_SELINUX_LABELS struct selinux_labels labels = {0};
        struct error err;
        struct selinux *selinux = opened();
        AUTO_FREE char *check = at("/sys/fs/selinux/context");
        AUTO_BUFFER struct buffer asked = BUFFER_INIT;
        struct selinux_options options = {.type = "x_t"};
        assert_int_equal(selinux_labels(selinux, NULL, "s0:c1,c2", &options, &labels, &err), 0);
        assert_int_equal(file_read(check, 1000, &asked, NULL), 0);
        assert_true(asked.length > 0); /* it was asked */
        unlink(check);
        selinux_labels_fini(&labels);
        assert_true(selinux_labels(selinux, NULL, "s0:c1,c2", &options, &labels, &err) < 0);
        assert_null(labels.process);
        selinux_free(selinux);
}

static void levels_differ(void **state)
{
        (void)state;
        char one[SELINUX_LEVEL_MAX], other[SELINUX_LEVEL_MAX];
        size_t same = 0;
        selinux_level_new(one);
        for (size_t i = 0; i < 1000; i++) {
                unsigned a, b;
                selinux_level_new(other);
                assert_int_equal(sscanf(other, "s0:c%u,c%u", &a, &b), 2);
                assert_true(a < b && b < SELINUX_CATEGORIES);
                same += strcmp(one, other) == 0;
        }
        assert_true(same < 10);
}

/* ---- files ---- */

#define LABEL "system_u:object_r:container_file_t:s0:c1,c2"

static char *label_of(const char *path)
{
        char found[256];
        AUTO_FREE char *full = at(path);
        ssize_t length = lgetxattr(full, "security.selinux", found, sizeof found);
        return length > 0 ? xstrndup(found, (size_t)length) : xstrdup("");
}

static void expect_label(const char *path, const char *wanted)
{
        AUTO_FREE char *found = label_of(path);
        if (strcmp(found, wanted) != 0)
                fail_msg("%s has label \"%s\"", path, found);
}

/* Where the attribute cannot be set, nothing can be seen of it. */
static void need_attributes(void)
{
        put("/probe", "");
        AUTO_FREE char *probe = at("/probe");
        if (lsetxattr(probe, "security.selinux", "x", 2, 0) < 0)
                skip();
}

static int relabel(const char *path, bool trust_top, int64_t deadline, struct error *err)
{
        AUTO_FREE char *full = at(path);
        struct selinux_relabel job = {
                .path = full, .label = LABEL, .trust_top = trust_top, .deadline = deadline};
        return selinux_relabel(&job, err);
}

static void a_volume_is_labelled_as_a_whole(void **state)
{
        struct error err;
        (void)state;
        need_attributes();
        put("/outside", "");
        put("/volume/a/b/c", "");
        put("/volume/d", "");
        AUTO_FREE char *link = at("/volume/link");
        AUTO_FREE char *to_volume = at("/to-volume");
        AUTO_FREE char *outside = at("/outside");
        AUTO_FREE char *volume = at("/volume");
        assert_int_equal(symlink(outside, link), 0);
        assert_int_equal(symlink(volume, to_volume), 0);
        assert_int_equal(relabel("/to-volume", false, clock_after(60 * NSEC_PER_SEC), &err), 0);
        static const char *const all[] = {"/volume",       "/volume/a", "/volume/a/b",
                                          "/volume/a/b/c", "/volume/d", "/volume/link"};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                expect_label(all[i], LABEL);
        expect_label("/outside", "");
        /* A single file is a volume, too. */
        assert_int_equal(relabel("/outside", false, clock_after(60 * NSEC_PER_SEC), &err), 0);
        expect_label("/outside", LABEL);
}

static void what_is_right_already_is_left(void **state)
{
        struct error err;
        struct stat before, after;
        (void)state;
        need_attributes();
        put("/volume/a", "");
        AUTO_FREE char *file = at("/volume/a");
        int64_t soon = clock_after(60 * NSEC_PER_SEC);
        assert_int_equal(relabel("/volume", false, soon, &err), 0);
        assert_int_equal(stat(file, &before), 0);
        usleep(20000);
        assert_int_equal(relabel("/volume", false, soon, &err), 0);
        assert_int_equal(stat(file, &after), 0); /* setting an attribute changes the ctime */
        assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim);
        /* With trust_top nobody looks below a top that is right; else what is wrong is mended. */
        assert_int_equal(removexattr(file, "security.selinux"), 0);
        assert_int_equal(relabel("/volume", true, soon, &err), 0);
        expect_label("/volume/a", "");
        assert_int_equal(relabel("/volume", false, soon, &err), 0);
        expect_label("/volume/a", LABEL);
}

static void it_takes_bounded_time(void **state)
{
        struct error err = {0};
        (void)state;
        need_attributes();
        put("/volume/a", "");
        assert_true(relabel("/volume", false, 1, &err) < 0);
        assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
        assert_non_null(strstr(err.message, "/volume"));
        expect_label("/volume", ""); /* so that nobody takes it for done */
}

static void the_systems_folders_stay_as_they_are(void **state)
{
        static const char *const folders[] = {"/", "/usr", "/etc/", "/var/../etc", "//proc"};
        (void)state;
        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
                struct error err = {0};
                struct selinux_relabel job = {.path = folders[i], .label = LABEL, .deadline = 1};
                assert_true(selinux_relabel(&job, &err) < 0);
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        }
        struct error err = {0};
        assert_true(relabel("/missing", false, 1, &err) < 0);
        assert_non_null(strstr(err.message, "/missing"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(a_kernel_without_it),
                TEST(labels_of_pods_and_containers),
                TEST(the_policys_own_words),
                TEST(a_policy_that_is_no_policy),
                TEST(labels_are_held_against_the_policy),
                TEST(levels_differ),
                TEST(a_volume_is_labelled_as_a_whole),
                TEST(what_is_right_already_is_left),
                TEST(it_takes_bounded_time),
                TEST(the_systems_folders_stay_as_they_are),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
