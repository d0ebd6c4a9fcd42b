/* Fix-ups: what becomes of folders that layers imply and of hard links from layer to layer, seen
 * through a mount. */
#include "test/unit/image_fixture.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "image/fixup.h"
#include "image/layer.h"
#include "image/rootfs.h"

static struct store *store;

/* What crisp-image would report of each layer. */
struct report {
        const char *const *implied;
        const struct fetch_link *links;
};

static int put_as(const char *name, unsigned image, fixture_fill *fill,
                  const struct report *reports, size_t count, struct error *err)
{
        static const unsigned diff_ids[] = {1, 2, 3, 4};
        struct reference reference;
        char *staging, *id = NULL;
        assert_int_equal(reference_parse(name, &reference, NULL), 0);
        assert_int_equal(store_stage(store, &staging, NULL), 0);
        struct fixture *fixture = fixture_new(staging, image, diff_ids, count, fill);
        for (size_t i = 0; i < count; i++) {
                fixture->layers[i].implied = reports[i].implied;
                for (; reports[i].implied && reports[i].implied[fixture->layers[i].implied_count];)
                        fixture->layers[i].implied_count++;
                fixture->layers[i].links = reports[i].links;
                for (; reports[i].links && reports[i].links[fixture->layers[i].link_count].path;)
                        fixture->layers[i].link_count++;
        }
        int result = store_commit(store, &reference, staging, &fixture->result, &id, err);
        free(id);
        fixture_free(fixture);
        store_unstage(store, staging);
        return result;
}

static int put(fixture_fill *fill, const struct report *reports, size_t count, struct error *err)
{
        return put_as("app", 1, fill, reports, count, err);
}

/* The folder of the image's fix-up, or null. On the heap. */
static char *fixup_of(unsigned image)
{
        AUTO_FREE char *id = image_of(image);
        const struct image *found = store_find(store, id);
        assert_non_null(found);
        return found->fixup
                       ? xprintf("%s/images/fixups/%s", fixture_root, layer_hex(found->fixup->name))
                       : NULL;
}

static void mounted(fixture_fill *fill, const struct report *reports, size_t count)
{
        AUTO_ROOTFS struct rootfs rootfs = ROOTFS_INIT;
        struct error err;
        store = open_store();
        if (put(fill, reports, count, &err) < 0)
                fail_msg("%s", err.message);
        AUTO_FREE char *id = image_of(1);
        /* What was made is still there after a restart. */
        store_free(store);
        store = open_store();
        store_clean(store);
        if (rootfs_prepare(store, id, &rootfs, &err) < 0 ||
            rootfs_mount(&rootfs, at("container"), at("fs"), &err) < 0)
                fail_msg("%s", err.message);
}

static void done(void)
{
        assert_int_equal(rootfs_unmount(at("fs"), NULL), 0);
        assert_int_equal(store_remove(store, "app", NULL), 0);
        AUTO_FREE char *empty = xprintf("cd %s/images && test -z \"$(ls -A fixups layers notes "
                                        "l)\" || ls -lR fixups layers notes l",
                                        fixture_root);
        AUTO_FREE char *check =
                xprintf("cd %s/images && for d in fixups layers notes l; do test -z "
                        "\"$(ls -A $d)\" || exit 1; done",
                        fixture_root);
        if (system(check) != 0) {
                assert_int_equal(system(empty), 0);
                fail_msg("something is left");
        }
        store_free(store);
}

static void run_script(const char *directory, const char *script)
{
        AUTO_FREE char *command = xprintf("cd '%s' && set -e; %s", directory, script);
        assert_int_equal(system(command), 0);
}

static void assert_reads(const char *name, const char *expected)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        struct error err;
        if (file_read(at("fs/%s", name), 4096, &text, &err) < 0)
                fail_msg("%s", err.message);
        assert_string_equal(text.data, expected);
}

static struct stat look(const char *name)
{
        struct stat st;
        if (lstat(at("fs/%s", name), &st) < 0)
                fail_msg("%s is not there", name);
        return st;
}

#define PATHS(...)                                                                                 \
        (const char *const[])                                                                      \
        {                                                                                          \
                __VA_ARGS__, NULL                                                                  \
        }
#define LINKS(...)                                                                                 \
        (const struct fetch_link[])                                                                \
        {                                                                                          \
                __VA_ARGS__,                                                                       \
                {                                                                                  \
                        NULL, NULL                                                                 \
                }                                                                                  \
        }

static void fill_tmp(const char *directory, unsigned diff_id)
{
        if (diff_id == 1)
                run_script(directory,
                           "mkdir -m 1777 tmp; mkdir -m 0750 srv; chown 3:4 srv; mkdir srv/deep; "
                           "chmod 0700 srv/deep; mkdir plain timed; touch -d 2001-02-03 srv plain "
                           "timed");
        else
                run_script(directory,
                           "mkdir -m 755 tmp srv srv/deep plain timed own; echo a >tmp/a; "
                           "echo b >srv/deep/b; echo c >plain/c; echo d >own/d; "
                           "echo e >timed/e; touch -d 2001-02-03 plain");
}

static void implied_folders_keep_their_modes(void)
{
        const struct report reports[] = {
                {0}, {.implied = PATHS(".", "tmp", "srv", "srv/deep", "plain", "timed", "own")}};
        mounted(fill_tmp, reports, 2);
        assert_reads("tmp/a", "a\n");
        assert_reads("srv/deep/b", "b\n");
        assert_reads("plain/c", "c\n");
        assert_reads("own/d", "d\n");
        assert_int_equal(look("tmp").st_mode & 07777, 01777);
        struct stat st = look("srv");
        assert_int_equal(st.st_mode & 07777, 0750);
        assert_int_equal(st.st_uid, 3);
        assert_int_equal(st.st_gid, 4);
        assert_int_equal(st.st_mtim.tv_sec / 86400, 11356); /* 2001-02-03 */
        assert_int_equal(look("timed").st_mtim.tv_sec / 86400, 11356);
        assert_reads("timed/e", "e\n");
        assert_int_equal(look("srv/deep").st_mode & 07777, 0700);
        assert_int_equal(look("own").st_mode & 07777, 0755);
        AUTO_FREE char *fixup = fixup_of(1);
        AUTO_FREE char *plain = xprintf("%s/plain", fixup);
        assert_true(exists(fixup));
        assert_false(exists(plain));
        done();
}

/* Two images with the same layers: built once, and gone with the second. */
static void images_with_the_same_layers_share_a_fixup(void)
{
        const struct report reports[] = {
                {0}, {.implied = PATHS(".", "tmp", "srv", "srv/deep", "plain", "own")}};
        mounted(fill_tmp, reports, 2);
        AUTO_FREE char *first = fixup_of(1);
        struct stat before, after;
        assert_int_equal(stat(first, &before), 0);
        assert_int_equal(put_as("other", 2, fill_tmp, reports, 2, NULL), 0);
        AUTO_FREE char *second = fixup_of(2);
        assert_string_equal(first, second);
        assert_int_equal(stat(first, &after), 0);
        assert_int_equal(after.st_ino, before.st_ino);
        store_free(store);
        store = open_store();
        store_clean(store);
        AUTO_FREE char *reopened = fixup_of(2);
        assert_string_equal(first, reopened);
        assert_int_equal(store_remove(store, "other", NULL), 0);
        assert_true(exists(first));
        done();
}

/* As version 1 of the record has it: by the image's ID. */
static void a_fixup_by_the_images_id_is_taken_over(void)
{
        const struct report reports[] = {
                {0}, {.implied = PATHS(".", "tmp", "srv", "srv/deep", "plain", "own")}};
        mounted(fill_tmp, reports, 2);
        assert_int_equal(rootfs_unmount(at("fs"), NULL), 0);
        AUTO_FREE char *chain = fixup_of(1);
        AUTO_FREE char *id = image_of(1);
        AUTO_FREE char *older = xprintf(
                "cd %s/images && mv %s fixups/%s && sed -i 's/\"version\": *2/\"version\":1/; "
                "s/sha256:%s/%s/' records/%s.json",
                fixture_root, chain, layer_hex(id), strrchr(chain, '/') + 1, id, layer_hex(id));
        store_free(store);
        assert_int_equal(system(older), 0);
        store = open_store();
        store_clean(store);
        AUTO_FREE char *taken = fixup_of(1);
        assert_string_equal(strrchr(taken, '/') + 1, layer_hex(id));
        AUTO_ROOTFS struct rootfs rootfs = ROOTFS_INIT;
        assert_int_equal(rootfs_prepare(store, id, &rootfs, NULL), 0);
        assert_int_equal(rootfs_mount(&rootfs, at("container"), at("fs"), NULL), 0);
        assert_int_equal(look("tmp").st_mode & 07777, 01777);
        /* Its record is written anew with a further name, and still read. */
        assert_int_equal(put_as("again", 1, fill_tmp, reports, 2, NULL), 0);
        store_free(store);
        store = open_store();
        AUTO_FREE char *kept = fixup_of(1);
        assert_string_equal(taken, kept);
        done();
}

/* Nothing to mend, nothing made. */
static void fill_same(const char *directory, unsigned diff_id)
{
        run_script(directory, "mkdir -m 755 usr usr/bin; touch usr/bin/$$; "
                              "touch -d 2001-02-03 usr/bin usr");
}

static void needless_fixups_are_not_made(void)
{
        const struct report reports[] = {{0}, {.implied = PATHS("usr", "usr/bin")}};
        mounted(fill_same, reports, 2);
        assert_null(fixup_of(1));
        done();
}

static void fill_later_entry(const char *directory, unsigned diff_id)
{
        if (diff_id == 1)
                run_script(directory, "mkdir -m 1777 tmp; mkdir -m 700 gone");
        if (diff_id == 2)
                run_script(directory, "mkdir -m 755 tmp gone; touch tmp/x gone/x");
        if (diff_id == 3) {
                run_script(directory, "mkdir -m 711 tmp");
                AUTO_FREE char *gone = xprintf("%s/gone", directory);
                assert_int_equal(mknod(gone, S_IFCHR, makedev(0, 0)), 0);
        }
}

static void a_higher_layer_has_the_last_word(void)
{
        const struct report reports[] = {{0}, {.implied = PATHS("tmp", "gone")}, {0}};
        mounted(fill_later_entry, reports, 3);
        assert_int_equal(look("tmp").st_mode & 07777, 0711);
        assert_false(exists(at("fs/gone")));
        assert_null(fixup_of(1));
        done();
}

static void fill_usrmerge(const char *directory, unsigned diff_id)
{
        if (diff_id == 1)
                run_script(directory, "mkdir -p usr/bin usr/lib/deep; chmod 711 usr/bin; "
                                      "echo sh >usr/bin/sh; echo old >usr/bin/tool; "
                                      "echo l >usr/lib/l; ln -s usr/bin bin; ln -s /usr/lib lib");
        if (diff_id == 2)
                run_script(directory, "mkdir -m 755 bin lib lib/deep lib/new; echo new >bin/tool; "
                                      "echo x >bin/x; chmod 700 lib/new; echo n >lib/new/n; "
                                      "echo d >lib/deep/d; ln -s x bin/link");
        if (diff_id == 3)
                run_script(directory, "mkdir -p usr/bin bin; echo third >usr/bin/x; "
                                      "echo y >bin/y");
}

/* bin/x over a lower bin -> usr/bin: the way every other runtime unpacks it, it ends up in usr/bin.
 */
static void symlinks_stay_symlinks(void)
{
        const struct report reports[] = {
                {0},
                {.implied = PATHS("bin", "lib", "lib/deep")},
                {.implied = PATHS("usr", "usr/bin", "bin")},
        };
        mounted(fill_usrmerge, reports, 3);
        assert_true(S_ISLNK(look("bin").st_mode));
        assert_true(S_ISLNK(look("lib").st_mode));
        assert_reads("bin/sh", "sh\n");
        assert_reads("bin/tool", "new\n");
        assert_reads("usr/bin/tool", "new\n");
        assert_reads("bin/x", "third\n"); /* the third layer's own usr/bin/x */
        assert_reads("bin/y", "y\n");
        assert_true(S_ISLNK(look("usr/bin/link").st_mode));
        assert_int_equal(look("usr/bin").st_mode & 07777, 0711);
        assert_reads("usr/lib/l", "l\n");
        assert_reads("usr/lib/deep/d", "d\n");
        assert_reads("usr/lib/new/n", "n\n");
        assert_int_equal(look("usr/lib/new").st_mode & 07777, 0700);
        done();
}

/* With an entry of its own for bin the layer means to replace the symlink. */
static void a_real_folder_replaces_a_symlink(void)
{
        const struct report reports[] = {{0}, {.implied = PATHS("lib", "lib/deep")}};
        mounted(fill_usrmerge, reports, 2);
        assert_true(S_ISDIR(look("bin").st_mode));
        assert_false(exists(at("fs/bin/sh")));
        assert_reads("bin/x", "x\n");
        done();
}

static void fill_escape(const char *directory, unsigned diff_id)
{
        if (diff_id == 1)
                run_script(directory,
                           "ln -s ../../../../etc out; ln -s loop loop; ln -s nowhere no; "
                           "ln -s self/in self; mkdir etc; echo inside >etc/hostname");
        else
                run_script(directory, "mkdir out loop no self; echo x >out/evil; echo x >loop/x; "
                                      "echo x >no/x; echo x >self/x");
}

static void symlinks_stay_inside(void)
{
        const struct report reports[] = {{0}, {.implied = PATHS("out", "loop", "no", "self")}};
        mounted(fill_escape, reports, 2);
        assert_reads("etc/evil", "x\n");
        assert_reads("etc/hostname", "inside\n");
        assert_false(exists("/etc/evil"));
        assert_reads("loop/x", "x\n");
        assert_reads("no/x", "x\n");
        done();
}

static void fill_links(const char *directory, unsigned diff_id)
{
        if (diff_id == 1)
                run_script(directory, "mkdir a; echo one >a/file; echo first >a/changed; "
                                      "ln -s file a/symlink; ln -s a b");
        if (diff_id == 2)
                run_script(directory, "mkdir c; echo second >c/own");
        if (diff_id == 3)
                run_script(directory,
                           "mkdir -p d a; echo covered >d/covered; echo third >a/changed");
}

static void hard_links_reach_other_layers(void)
{
        const struct report reports[] = {
                {0},
                {.links = LINKS({"c/link", "a/file"}, {"c/again", "c/link"},
                                {"c/through", "b/file"}, {"c/changed", "a/changed"},
                                {"c/symlink", "a/symlink"}, {"d/covered", "a/file"})},
                {.implied = PATHS("a")},
        };
        mounted(fill_links, reports, 3);
        assert_reads("c/link", "one\n");
        assert_reads("c/again", "one\n");
        assert_reads("c/through", "one\n");
        assert_reads("c/own", "second\n");
        assert_reads("c/changed", "first\n"); /* as its layer saw it */
        assert_reads("a/changed", "third\n");
        assert_reads("d/covered", "covered\n");
        assert_true(S_ISLNK(look("c/symlink").st_mode));
        assert_int_equal(look("c/link").st_ino, look("c/again").st_ino);
        done();
}

static void a_link_to_nothing_is_refused(void)
{
        static const char *const targets[] = {"a/missing", "a", "../../../etc/passwd", ""};
        for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
                const struct report reports[] = {{0}, {.links = LINKS({"c/link", targets[i]})}};
                struct error err;
                store = open_store();
                assert_true(put(fill_links, reports, 2, &err) < 0);
                assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
                assert_non_null(strstr(err.message, "c/link"));
                assert_null(store_find(store, "app"));
                assert_false(exists(at("images/layers/%064x", 1)));
                store_free(store);
        }
}

static void strange_paths_are_refused(void)
{
        static const char *const paths[] = {"../x", "a/../../x", "/x",    "a//b",
                                            "a/",   "",          "a/./b", ".."};
        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
                for (int kind = 0; kind < 2; kind++) {
                        const struct report reports[] = {
                                {0},
                                {.implied = kind ? PATHS(paths[i]) : NULL,
                                 .links = kind ? NULL : LINKS({paths[i], "a/file"})}};
                        struct error err;
                        store = open_store();
                        assert_true(put(fill_links, reports, 2, &err) < 0);
                        assert_non_null(strstr(err.message, "is not inside the layer"));
                        assert_false(exists(at("images/layers/%064x", 1)));
                        store_free(store);
                }
}

static void fill_opaque(const char *directory, unsigned diff_id)
{
        if (diff_id == 1)
                run_script(directory, "mkdir -m 700 d; mkdir -m 711 d/e; echo x >d/e/x");
        if (diff_id == 2) {
                run_script(directory, "mkdir -m 755 d");
                AUTO_FREE char *folder = xprintf("%s/d", directory);
                assert_int_equal(setxattr(folder, "trusted.overlay.opaque", "y", 1, 0), 0);
        }
        if (diff_id == 3)
                run_script(directory, "mkdir -m 755 d d/e; echo y >d/e/y");
}

/* What an opaque folder hides says nothing any more. */
static void opaque_folders_hide(void)
{
        const struct report reports[] = {{0}, {0}, {.implied = PATHS("d", "d/e")}};
        mounted(fill_opaque, reports, 3);
        assert_int_equal(look("d").st_mode & 07777, 0755);
        assert_int_equal(look("d/e").st_mode & 07777, 0755);
        assert_false(exists(at("fs/d/e/x")));
        assert_reads("d/e/y", "y\n");
        done();
}

enum { MANY = FIXUP_REDIRECTS_MAX + 1 };

static void fill_many(const char *directory, unsigned diff_id)
{
        for (int i = 0; i < MANY; i++) {
                AUTO_FREE char *path = xprintf("%s/d%d", directory, i);
                assert_int_equal(diff_id == 1 ? symlink("t", path) : mkdir(path, 0755), 0);
        }
        if (diff_id == 1)
                run_script(directory, "mkdir t");
}

/* Paths are compared with every redirection: their number has a bound. */
static void too_many_symlinks_are_refused(void)
{
        static char names[MANY][8];
        static const char *paths[MANY + 1];
        struct error err;
        for (int i = 0; i < MANY; i++)
                snprintf(names[i], sizeof(names[i]), "d%d", i), paths[i] = names[i];
        const struct report reports[] = {{0}, {.implied = paths}};
        store = open_store();
        assert_true(put(fill_many, reports, 2, &err) < 0);
        assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
        assert_non_null(strstr(err.message, "more than 1000 folders"));
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

TASK_TEST(implied_folders_keep_their_modes)
TASK_TEST(images_with_the_same_layers_share_a_fixup)
TASK_TEST(a_fixup_by_the_images_id_is_taken_over)
TASK_TEST(needless_fixups_are_not_made)
TASK_TEST(a_higher_layer_has_the_last_word)
TASK_TEST(symlinks_stay_symlinks)
TASK_TEST(a_real_folder_replaces_a_symlink)
TASK_TEST(symlinks_stay_inside)
TASK_TEST(hard_links_reach_other_layers)
TASK_TEST(a_link_to_nothing_is_refused)
TASK_TEST(strange_paths_are_refused)
TASK_TEST(opaque_folders_hide)
TASK_TEST(too_many_symlinks_are_refused)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_implied_folders_keep_their_modes),
                cmocka_unit_test(test_images_with_the_same_layers_share_a_fixup),
                cmocka_unit_test(test_a_fixup_by_the_images_id_is_taken_over),
                cmocka_unit_test(test_needless_fixups_are_not_made),
                cmocka_unit_test(test_a_higher_layer_has_the_last_word),
                cmocka_unit_test(test_symlinks_stay_symlinks),
                cmocka_unit_test(test_a_real_folder_replaces_a_symlink),
                cmocka_unit_test(test_symlinks_stay_inside),
                cmocka_unit_test(test_hard_links_reach_other_layers),
                cmocka_unit_test(test_a_link_to_nothing_is_refused),
                cmocka_unit_test(test_strange_paths_are_refused),
                cmocka_unit_test(test_opaque_folders_hide),
                cmocka_unit_test(test_too_many_symlinks_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
