/* The store: what goes, what stays because it is used, and what a crash left. */
#include "test/unit/store_fixture.h"

static void removes(void)
{
        struct store *store = open_store();
        put(store, "app:1", 1, TWO, 2);
        put(store, "app:2", 1, TWO, 2); /* a second name for the same image */
        put(store, "other", 2, ONE, 1);
        assert_int_equal(strv_length(store_find(store, "app:1")->tags), 2);
        assert_clean(2, 2);
        assert_int_equal(store_remove(store, "unknown", NULL), 0);
        assert_int_equal(store_remove(store, "Not A Name", NULL), 0);
        assert_int_equal(store_remove(store, "app:1", NULL), 0);
        assert_null(store_find(store, "app:2"));
        assert_non_null(store_find(store, "other"));
        assert_clean(1, 1);
        assert_true(exists(layer_dir(0xa1)));
        assert_false(exists(layer_dir(0xb2)));
        assert_int_equal(store_remove(store, "other", NULL), 0);
        assert_clean(0, 0);
        struct store_usage usage;
        store_usage(store, &usage);
        assert_int_equal(usage.bytes + usage.inodes + usage.layers, 0);
        store_free(store);
}

static ino_t inode_of(const char *path)
{
        struct stat st;
        assert_int_equal(lstat(path, &st), 0);
        return st.st_ino;
}

/* What comes next goes elsewhere than where a tree was removed: ext4 would be slow there. On a
 * tmpfs it would be near, as that gives one inode number after the other. */
static void what_comes_next_is_far(void)
{
        if (geteuid() != 0)
                return;
        assert_int_equal(mkdir(at("images"), 0700), 0);
        assert_int_equal(mount("near", at("images"), "tmpfs", 0, ""), 0);
        struct store *store = open_store();
        put(store, "app:1", 1, ONE, 1);
        ino_t removed = inode_of(layer_dir(0xa1));
        assert_int_equal(store_remove(store, "app:1", NULL), 0);
        char *staging;
        assert_int_equal(store_stage(store, &staging, NULL), 0);
        ino_t next = inode_of(staging);
        assert_true(next < removed ? removed - next >= 16 : next - removed >= 16);
        store_unstage(store, staging);
        assert_clean(0, 0);
        store_free(store);
        assert_int_equal(umount(at("images")), 0);
}

/* On a full disk no folder can be made: removing an image makes room nevertheless. */
static void removes_where_nothing_can_be_made(void)
{
        if (geteuid() != 0)
                return;
        struct store *store = open_store();
        put(store, "app:1", 1, TWO, 2);
        assert_int_equal(mount("full", at("images/staging"), "tmpfs", 0, "nr_inodes=1"), 0);
        assert_int_equal(store_remove(store, "app:1", NULL), 0);
        assert_int_equal(entries_in(at("images/layers")), 0);
        assert_int_equal(entries_in(at("images/configs")), 0);

        /* Nor does a start leave what a crash left. */
        assert_int_equal(mkdir(layer_dir(0xdd), 0755), 0);
        write_file(at("images/layers/%064x/file", 0xdd), "");
        store_clean(store);
        assert_int_equal(entries_in(at("images/layers")), 0);
        assert_int_equal(umount(at("images/staging")), 0);
        store_free(store);
}

static void wait_for_tasks(void)
{
        while (task_count() > 1)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
}

static void what_is_used_stays(void)
{
        struct store *store = open_store();
        put(store, "app:1", 1, TWO, 2);
        AUTO_FREE char *id = image_of(1);
        store_clean(store);
        assert_int_equal(store_use(store, id, "container1", NULL), 0);
        assert_int_equal(store_use(store, id, "container1", NULL), 0);
        assert_int_equal(store_use(store, id, "container2", NULL), 0);
        assert_int_equal(store_remove(store, "app:1", NULL), 0);
        assert_null(store_find(store, "app:1"));
        assert_null(store_find(store, id));
        size_t cursor = 0;
        assert_null(store_next(store, &cursor));
        assert_true(exists(layer_dir(0xa1)));

        /* The same after a restart. */
        store_free(store);
        store = open_store();
        assert_null(store_find(store, id));
        assert_int_equal(store_use(store, id, "container1", NULL), 0);
        assert_int_equal(store_use(store, id, "container2", NULL), 0);
        store_clean(store);
        assert_clean(1, 2);
        char *links, *lower, *root;
        assert_int_equal(store_lower(store, id, &links, &lower, &root, NULL), 0);
        free(links);
        free(lower);
        free(root);
        store_release(store, id, "container2");
        store_release(store, id, "container2");
        wait_for_tasks();
        assert_clean(1, 2);
        store_release(store, id, "container1");
        wait_for_tasks();
        assert_clean(0, 0);
        struct error err;
        assert_int_equal(store_use(store, id, "container3", &err), -ENOENT);
        store_release(store, id, "container3");
        store_free(store);
}

static void a_removed_image_comes_back(void)
{
        struct store *store = open_store();
        put(store, "app:1", 1, TWO, 2);
        AUTO_FREE char *id = image_of(1);
        assert_int_equal(store_use(store, id, "container", NULL), 0);
        assert_int_equal(store_remove(store, id, NULL), 0);
        put(store, "app:2", 1, TWO, 2);
        assert_null(store_find(store, "app:1"));
        assert_non_null(store_find(store, "app:2"));
        store_release(store, id, "container");
        wait_for_tasks();
        assert_non_null(store_find(store, "app:2"));
        assert_clean(1, 2);
        store_free(store);
}

/* Users that went away while the daemon was down. */
static void a_start_ends_a_removal(void)
{
        struct store *store = open_store();
        put(store, "app:1", 1, TWO, 2);
        AUTO_FREE char *id = image_of(1);
        assert_int_equal(store_use(store, id, "container", NULL), 0);
        assert_int_equal(store_remove(store, id, NULL), 0);
        store_free(store);
        store = open_store();
        store_clean(store);
        assert_clean(0, 0);
        store_free(store);
}

static void a_hold_keeps_layers(void)
{
        struct store *store = open_store();
        put(store, "app:1", 1, TWO, 2);
        struct store_hold *hold = store_hold_new(store);
        size_t count;
        store_hold_diff_ids(hold, &count);
        assert_int_equal(count, 2);
        assert_int_equal(store_remove(store, "app:1", NULL), 0);
        assert_true(exists(layer_dir(0xa1)));
        /* What a pull was told is here can be left out by it. */
        struct reference reference;
        char *staging, *given;
        assert_int_equal(reference_parse("app:3", &reference, NULL), 0);
        assert_int_equal(store_stage(store, &staging, NULL), 0);
        struct fixture *fixture = fixture_new(staging, 3, ONE, 1, fill_with_name);
        free((char *)(uintptr_t)fixture->layers[0].directory);
        fixture->layers[0].directory = NULL;
        assert_int_equal(store_commit(store, &reference, staging, &fixture->result, &given, NULL),
                         0);
        free(given);
        fixture_free(fixture);
        store_unstage(store, staging);
        store_hold_free(hold);
        wait_for_tasks();
        assert_clean(1, 1);
        assert_true(exists(layer_dir(0xa1)));
        store_free(store);
}

/* Each state that a crash in the middle of store_commit can leave. */
static void a_crash_leaves_garbage_alone(void)
{
        struct store *store = open_store();
        put(store, "app:1", 1, ONE, 1);
        store_free(store);
        /* Layers and files without a record, half a record, staging, a short name that leads
         * nowhere. */
        assert_int_equal(mkdir(layer_dir(0xdead), 0755), 0);
        assert_int_equal(mkdir(at("images/layers/%064x/folder", 0xdead), 0755), 0);
        write_file(at("images/layers/%064x/folder/file", 0xdead), "x");
        write_file(at("images/configs/%064x", 0xdead), "{}");
        write_file(at("images/manifests/%064x", 0xdead), "{}");
        write_file(at("images/notes/%064x", 0xdead), "");
        write_file(at("images/records/%064x.json.1a2b3c4d.new", 0xdead), "{\"vers");
        assert_int_equal(mkdir(at("images/staging/0123456789abcdef"), 0700), 0);
        assert_int_equal(mkdir(at("images/staging/0123456789abcdef/layers"), 0700), 0);
        assert_int_equal(mkdir(at("images/fixups/%064x", 0xdead), 0755), 0);
        assert_int_equal(symlink("../layers/nowhere", at("images/l/77")), 0);
        /* Short names are not synced: a missing or wrong one is made again. */
        assert_int_equal(unlink(at("images/l/1")), 0);
        assert_int_equal(symlink("../layers/wrong", at("images/l/1")), 0);

        store = open_store();
        assert_non_null(store_find(store, "app:1"));
        store_clean(store);
        assert_clean(1, 1);
        assert_int_equal(entries_in(at("images/notes")), 0);
        assert_int_equal(entries_in(at("images/fixups")), 0);
        char target[200];
        ssize_t length = readlink(at("images/l/1"), target, sizeof(target) - 1);
        target[length] = '\0';
        AUTO_FREE char *expected = xprintf("../layers/%064x", 0xa1);
        assert_string_equal(target, expected);
        store_free(store);
}

/* A tree that a crash left in place may be anything: what was just fetched replaces it. */
static void garbage_gives_way(void)
{
        struct store *store = open_store();
        assert_int_equal(mkdir(layer_dir(0xa1), 0755), 0);
        write_file(at("images/layers/%064x/wrong", 0xa1), "x");
        put(store, "app:1", 1, ONE, 1);
        assert_false(exists(at("images/layers/%064x/wrong", 0xa1)));
        assert_true(exists(at("images/layers/%064x/file-161", 0xa1)));
        assert_clean(1, 1);
        store_free(store);
}

static void what_is_not_whole_is_not_listed(void)
{
        struct store *store = open_store();
        put(store, "app:1", 1, TWO, 2);
        put(store, "app:2", 2, ONE, 1);
        put(store, "app:3", 3, ONE, 1);
        store_free(store);
        assert_int_equal(file_remove_tree(layer_dir(0xb2), NULL), 0);
        assert_int_equal(unlink(at("images/configs/%s", image_hex(3))), 0);
        log_set_level(LOG_LEVEL_ERROR);
        store = open_store();
        assert_null(store_find(store, "app:1"));
        assert_null(store_find(store, "app:3"));
        assert_non_null(store_find(store, "app:2"));
        store_clean(store);
        assert_clean(1, 1);
        /* And can be pulled again. */
        put(store, "app:1", 1, TWO, 2);
        assert_clean(2, 2);
        store_free(store);
}

static void unreadable_records_are_set_aside(void)
{
        static const char *const bad[] = {
                "",
                "{",
                "[]",
                "{\"version\":99}",
                "{\"version\":1,\"id\":\"sha256:0\"}",
                "{\"version\":1,\"id\":7}",
        };
        struct store *store = open_store();
        put(store, "app:1", 1, ONE, 1);
        store_free(store);
        for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                write_file(at("images/records/%064x.json", 0x100 + i), bad[i]);
        AUTO_FREE char *copy = xprintf("cp %s %s", at("images/records/%s.json", image_hex(1)),
                                       at("images/records/%064x.json", 0x200));
        assert_int_equal(system(copy), 0); /* a name that is not its own */
        store = open_store();
        assert_non_null(store_find(store, "app:1"));
        size_t cursor = 0;
        assert_non_null(store_next(store, &cursor));
        assert_null(store_next(store, &cursor));
        store_clean(store);
        assert_clean(1, 1);
        assert_int_equal(entries_in(at("images/aside")), 14);
        AUTO_BUFFER struct buffer reason = BUFFER_INIT;
        assert_int_equal(
                file_read(at("images/aside/%064x.json.reason", 0x103), 4096, &reason, NULL), 0);
        assert_non_null(strstr(reason.data, "version 99"));
        store_free(store);
}

/* A container whose image is unknown may run on layers that no record names. */
static void doubtful_layers_stay(void)
{
        struct store *store = open_store();
        put(store, "app:1", 1, ONE, 1);
        store_free(store);
        write_file(at("images/records/%s.json", image_hex(1)), "rubbish");
        store = open_store();
        AUTO_FREE char *id = image_of(1);
        assert_int_equal(store_use(store, id, "container", NULL), -ENOENT);
        store_clean(store);
        assert_true(exists(layer_dir(0xa1)));
        store_free(store);
        store = open_store();
        store_clean(store);
        assert_false(exists(layer_dir(0xa1)));
        store_free(store);
}

/* Garbage that comes while the daemon runs goes too; what a pull has staged or holds does not. */
static void garbage_goes_while_running(void)
{
        struct store *store = open_store();
        char *staging;
        put(store, "app:1", 1, TWO, 2);
        struct store_hold *hold = store_hold_new(store);
        assert_int_equal(store_remove(store, "app:1", NULL), 0);
        put(store, "app:2", 2, ONE, 1);
        assert_int_equal(store_stage(store, &staging, NULL), 0);
        AUTO_FREE char *id = image_of(2);
        assert_int_equal(store_use(store, id, "container", NULL), 0);
        store_keep_clean(store, 10 * NSEC_PER_MSEC, NSEC_PER_MSEC);
        for (int i = 0; i < 2; i++) { /* at the first look, and at a later one */
                static const char *const folders[] = {
                        "layers", "fixups", "configs",   "manifests", "signatures",
                        "tars",   "notes",  "artifacts", "staging",   "replaced",
                };
                AUTO_FREE char *mounted = xstrdup(at("images/replaced/%064x.x", 0xa1));
                write_file(mounted, "");
                for (size_t j = 0; j < sizeof(folders) / sizeof(folders[0]); j++) {
                        AUTO_FREE char *path = xstrdup(at("images/%s/%064x", folders[j], 0xdead));
                        write_file(path, "");
                        while (exists(path))
                                task_sleep_until(clock_after(NSEC_PER_MSEC));
                }
                assert_true(exists(mounted));
                assert_true(exists(staging));
                assert_true(exists(layer_dir(0xb2)));
                assert_non_null(store_find(store, "app:2"));
        }
        store_release(store, id, "container");
        while (entries_in(at("images/replaced")) > 0)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        store_hold_free(hold);
        store_unstage(store, staging);
        wait_for_tasks();
        assert_true(exists(layer_dir(0xa1)));
        assert_false(exists(layer_dir(0xb2)));
        store_free(store);
}

TASK_TEST(removes)
TASK_TEST(what_comes_next_is_far)
TASK_TEST(removes_where_nothing_can_be_made)
TASK_TEST(what_is_used_stays)
TASK_TEST(a_removed_image_comes_back)
TASK_TEST(a_start_ends_a_removal)
TASK_TEST(a_hold_keeps_layers)
TASK_TEST(a_crash_leaves_garbage_alone)
TASK_TEST(garbage_gives_way)
TASK_TEST(what_is_not_whole_is_not_listed)
TASK_TEST(unreadable_records_are_set_aside)
TASK_TEST(doubtful_layers_stay)
TASK_TEST(garbage_goes_while_running)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_removes),
                cmocka_unit_test(test_what_comes_next_is_far),
                cmocka_unit_test(test_removes_where_nothing_can_be_made),
                cmocka_unit_test(test_what_is_used_stays),
                cmocka_unit_test(test_a_removed_image_comes_back),
                cmocka_unit_test(test_a_start_ends_a_removal),
                cmocka_unit_test(test_a_hold_keeps_layers),
                cmocka_unit_test(test_a_crash_leaves_garbage_alone),
                cmocka_unit_test(test_garbage_gives_way),
                cmocka_unit_test(test_what_is_not_whole_is_not_listed),
                cmocka_unit_test(test_unreadable_records_are_set_aside),
                cmocka_unit_test(test_doubtful_layers_stay),
                cmocka_unit_test(test_garbage_goes_while_running),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
