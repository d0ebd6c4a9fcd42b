/* The store: names, users, removal, and what it makes of what a crash left. */
#include "test/unit/image_fixture.h"

#include <dirent.h>
#include <jansson.h>
#include <sys/mount.h>

#include "image/record.h"

static const unsigned ONE[] = {0xa1};
static const unsigned TWO[] = {0xa1, 0xb2};
static const unsigned REPEATED[] = {0xa1, 0xb2, 0xa1};

static void put(struct store *store, const char *name, unsigned id, const unsigned *diff_ids,
                size_t count)
{
        struct error err;
        if (store_image_as(store, name, id, diff_ids, count, fill_with_name, &err) < 0)
                fail_msg("%s", err.message);
}

static const char *layer_dir(unsigned diff_id)
{
        return at("images/layers/%064x", diff_id);
}

static unsigned entries_in(const char *path)
{
        unsigned count = 0;
        DIR *dir = opendir(path);
        assert_non_null(dir);
        while (readdir(dir))
                count++;
        closedir(dir);
        return count - 2;
}

/* Nothing but what images need. */
static void assert_clean(unsigned images, unsigned layers)
{
        assert_int_equal(entries_in(at("images/staging")), 0);
        assert_int_equal(entries_in(at("images/records")), images);
        assert_int_equal(entries_in(at("images/configs")), images);
        assert_int_equal(entries_in(at("images/manifests")), images);
        assert_int_equal(entries_in(at("images/layers")), layers);
        assert_int_equal(entries_in(at("images/l")), layers);
}

/* The number of an image with layers ONE whose ID begins so. */
static unsigned image_that_begins(const char *prefix)
{
        for (unsigned number = 0;; number++) {
                AUTO_FREE char *text = config_text_of(number, ONE, 1);
                AUTO_FREE char *id = digest_of_text(text);
                if (strncmp(id, prefix, strlen(prefix)) == 0)
                        return number;
        }
}

static void finds_by_every_name(void)
{
        struct store *store = open_store();
        put(store, "busybox", 0xabc123, TWO, 2);
        AUTO_FREE char *id = image_of(0xabc123);
        AUTO_FREE char *manifest = manifest_of(0xabc123);
        AUTO_FREE char *by_digest = xprintf("busybox@%s", manifest);
        AUTO_FREE char *both = xprintf("docker.io/library/busybox:other@%s", manifest);
        AUTO_FREE char *elsewhere = xprintf("alpine@%s", manifest);
        const struct image *image = store_find(store, "busybox");
        assert_non_null(image);
        assert_string_equal(image->id, id);
        assert_string_equal(image->tags[0], "docker.io/library/busybox:latest");
        assert_null(image->tags[1]);
        assert_ptr_equal(store_find(store, id), image);
        assert_ptr_equal(store_find(store, id + 7), image);
        assert_ptr_equal(store_find(store, "busybox:latest"), image);
        assert_ptr_equal(store_find(store, "docker.io/library/busybox:latest"), image);
        assert_ptr_equal(store_find(store, by_digest), image);
        assert_ptr_equal(store_find(store, both), image);
        char prefix[] = "sha256:000";
        memcpy(prefix + 7, id + 7, 3);
        assert_ptr_equal(store_find(store, prefix + 7), image);
        assert_ptr_equal(store_find(store, prefix), image);
        assert_null(store_find(store, elsewhere));
        assert_null(store_find(store, "00"));
        assert_null(store_find(store, "busybox:1"));
        assert_null(store_find(store, "UPPER case"));
        assert_null(store_find(store, ""));
        put(store, "alpine", image_that_begins(prefix), ONE, 1);
        assert_null(store_find(store, prefix)); /* no longer unique */

        int64_t uid = -1;
        char name[16] = "x";
        assert_true(store_user_id(store_find(store, "busybox"), &uid, name, sizeof(name)));
        assert_int_equal(uid, 1000);
        assert_string_equal(name, "");
        struct store_usage usage;
        store_usage(store, &usage);
        assert_int_equal(usage.images, 2);
        assert_int_equal(usage.layers, 2);
        assert_int_equal(usage.bytes, 2000);
        assert_int_equal(store_find(store, "busybox")->size, 2100);

        struct image_config *config;
        assert_int_equal(store_config(store, id, &config, NULL), 0);
        assert_string_equal(config->cmd[0], "/bin/sh");
        image_config_free(config);
        struct error err;
        assert_int_equal(store_config(store, "sha256:1", &config, &err), -ENOENT);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        store_free(store);
}

static void users_are_read(void)
{
        static const struct {
                const char *user, *name;
                bool number;
                int64_t uid;
        } cases[] = {
                {"", "", false, 0},
                {"root", "root", false, 0},
                {"0", "", true, 0},
                {"nobody:x", "nobody", false, 0},
                {"4294967294", "", true, 4294967294},
                {"4294967295", "4294967295", false, 0},
                {"-1", "-1", false, 0},
                {"99999999999999999999", "99999999999999999999", false, 0},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct image image = {.user = (char *)(uintptr_t)cases[i].user};
                char name[64];
                int64_t uid = 0;
                assert_int_equal(store_user_id(&image, &uid, name, sizeof(name)), cases[i].number);
                assert_int_equal(uid, cases[i].uid);
                assert_string_equal(name, cases[i].name);
        }
}

/* The name's digest is not taken on crisp-image's word: another image's would go with it. */
static void a_repo_digest_is_what_is_staged(void)
{
        struct store *store = open_store();
        AUTO_FREE char *manifest = manifest_of(1), *other = manifest_of(2);
        AUTO_FREE char *asked = xprintf("app@%s", other);
        const struct {
                const char *name, *repo_digest;
        } lies[] = {{"app:1", other}, {asked, manifest}};
        for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
                struct reference reference;
                struct error err;
                char *staging, *id = NULL;
                assert_int_equal(reference_parse(lies[i].name, &reference, NULL), 0);
                assert_int_equal(store_stage(store, &staging, NULL), 0);
                struct fixture *fixture = fixture_new(staging, 1, ONE, 1, fill_with_name);
                free((char *)(uintptr_t)fixture->result.repo_digest);
                fixture->result.repo_digest = xstrdup(lies[i].repo_digest);
                assert_true(store_commit(store, &reference, staging, &fixture->result, &id, &err) <
                            0);
                assert_int_equal(err.code, ERROR_INTERNAL);
                store_unstage(store, staging);
                fixture_free(fixture);
        }
        assert_clean(0, 0);
        store_free(store);
}

static void is_there_after_a_restart(void)
{
        struct store *store = open_store();
        put(store, "busybox", 1, REPEATED, 3);
        put(store, "registry.example/app:2", 2, ONE, 1);
        store_free(store);

        store = open_store();
        store_clean(store);
        assert_clean(2, 2);
        const struct image *image = store_find(store, "busybox");
        assert_non_null(image);
        assert_int_equal(image->layer_count, 3);
        assert_non_null(store_find(store, "registry.example/app:2"));
        AUTO_FREE char *manifest = manifest_of(2);
        AUTO_FREE char *digest = xprintf("registry.example/app@%s", manifest);
        assert_non_null(store_find(store, digest));
        struct store_usage usage;
        store_usage(store, &usage);
        assert_int_equal(usage.bytes, 2000);

        /* A layer that occurs twice is mounted once, where it is highest. */
        char *links, *lower, *root;
        assert_int_equal(store_lower(store, image->id, &links, &lower, &root, NULL), 0);
        assert_int_equal(strspn(lower, "12:"), 3);
        assert_int_equal(strlen(lower), 3);
        char link[600], target[200];
        snprintf(link, sizeof(link), "%s/%c", links, lower[0]);
        ssize_t length = readlink(link, target, sizeof(target) - 1);
        assert_true(length > 0);
        target[length] = '\0';
        AUTO_FREE char *expected = xprintf("../layers/%064x", 0xa1);
        assert_string_equal(target, expected);
        free(links);
        free(lower);
        free(root);
        store_free(store);
}

static void a_tag_moves(void)
{
        struct store *store = open_store();
        put(store, "app:1", 1, ONE, 1);
        put(store, "app:1", 2, TWO, 2);
        AUTO_FREE char *old = image_of(1);
        AUTO_FREE char *new = image_of(2);
        for (int i = 0; i < 2; i++) {
                const struct image *image = store_find(store, old);
                assert_non_null(image);
                assert_null(image->tags);
                assert_non_null(image->digests);
                assert_string_equal(store_find(store, "app:1")->id, new);
                store_free(store);
                store = open_store();
        }
        store_free(store);
}

static void commit_with_manifest(struct store *store, unsigned manifest, int expected)
{
        struct reference reference;
        struct error err;
        char *staging, *given = NULL;
        assert_int_equal(reference_parse("app:1", &reference, NULL), 0);
        assert_int_equal(store_stage(store, &staging, NULL), 0);
        struct fixture *fixture = fixture_new(staging, 1, ONE, 1, fill_with_name);
        free((char *)(uintptr_t)fixture->result.manifest_digest);
        free((char *)(uintptr_t)fixture->result.repo_digest);
        fixture->result.manifest_digest = manifest_of(manifest);
        fixture->result.repo_digest = manifest_of(manifest);
        AUTO_FREE char *path = xprintf("%s/manifest.json", staging);
        AUTO_FREE char *text = manifest_text_of(manifest);
        write_file(path, text);
        int result = store_commit(store, &reference, staging, &fixture->result, &given, &err);
        if (expected == 0)
                assert_int_equal(result, 0);
        else
                assert_int_equal(err.code, expected);
        free(given);
        fixture_free(fixture);
        store_unstage(store, staging);
}

static void commit_asked(struct store *store, const char *image, const char *user_specified,
                         const char *handler)
{
        struct store_asked asked = {image, user_specified, handler};
        struct reference reference;
        char *staging, *given = NULL;
        assert_int_equal(reference_parse("app:1", &reference, NULL), 0);
        assert_int_equal(store_stage(store, &staging, NULL), 0);
        struct fixture *fixture = fixture_new(staging, 1, ONE, 1, fill_with_name);
        assert_int_equal(store_commit_asked(store, &reference, &asked, staging, &fixture->result,
                                            &given, NULL),
                         0);
        free(given);
        fixture_free(fixture);
        store_unstage(store, staging);
}

/* What the newest pull said is kept, also over a start. */
static void keeps_how_it_was_asked_for(void)
{
        char long_text[STORE_ASKED_BYTES_MAX + 2];
        memset(long_text, 'x', sizeof(long_text));
        long_text[sizeof(long_text) - 1] = '\0';
        struct store *store = open_store();
        commit_asked(store, "app:1", NULL, long_text);
        assert_string_equal(store_find(store, "app:1")->asked, "app:1");
        assert_string_equal(store_find(store, "app:1")->user_specified, "");
        assert_string_equal(store_find(store, "app:1")->runtime_handler, "");
        commit_asked(store, "docker.io/library/app:1", "app", "kata");
        store_free(store);
        store = open_store();
        assert_string_equal(store_find(store, "app:1")->asked, "docker.io/library/app:1");
        assert_string_equal(store_find(store, "app:1")->user_specified, "app");
        assert_string_equal(store_find(store, "app:1")->runtime_handler, "kata");
        store_free(store);
}

/* The same image comes with another manifest: the former one's file is no use any more. */
static void a_manifest_is_replaced(void)
{
        struct store *store = open_store();
        commit_with_manifest(store, 0x10, 0);
        commit_with_manifest(store, 0x11, 0);
        assert_clean(1, 1);
        AUTO_FREE char *newer = manifest_of(0x11);
        assert_true(exists(at("images/manifests/%s", strchr(newer, ':') + 1)));
        assert_int_equal(strv_length(store_find(store, "app:1")->digests), 2);
        store_free(store);
        store = open_store();
        assert_non_null(store_find(store, "app:1"));
        store_free(store);
}

/* A record that is written can be read: an image has so many names and no more. */
static void names_have_a_bound(void)
{
        struct store *store = open_store();
        commit_with_manifest(store, 0x10, 0);
        store_free(store);
        const char *path = at("images/records/%s.json", image_hex(1));
        json_t *record = json_load_file(path, 0, NULL), *digests = json_array();
        for (unsigned i = 0; i < RECORD_NAMES_MAX; i++)
                json_array_append_new(digests,
                                      json_sprintf("docker.io/library/app@sha256:%064x", i));
        json_object_set_new(record, "digests", digests);
        assert_int_equal(json_dump_file(record, path, 0), 0);
        json_decref(record);

        store = open_store();
        assert_non_null(store_find(store, "app:1"));
        commit_with_manifest(store, RECORD_NAMES_MAX + 1, ERROR_RESOURCE_EXHAUSTED);
        assert_non_null(store_find(store, "app:1"));
        store_free(store);
        store = open_store();
        assert_non_null(store_find(store, "app:1"));
        store_free(store);
}

/* A crash between the two records of a move: both claim the tag. */
static void of_two_claims_the_newer_counts(void)
{
        struct store *store = open_store();
        put(store, "app:1", 1, ONE, 1);
        AUTO_FREE char *record = xstrdup(at("images/records/%s.json", image_hex(1)));
        AUTO_BUFFER struct buffer before = BUFFER_INIT;
        assert_int_equal(file_read(record, 1 << 20, &before, NULL), 0);
        put(store, "app:1", 2, TWO, 2);
        store_free(store);
        assert_int_equal(file_replace(record, before.data, before.length, 0600, NULL), 0);

        store = open_store();
        AUTO_FREE char *old = image_of(1);
        AUTO_FREE char *new = image_of(2);
        assert_string_equal(store_find(store, "app:1")->id, new);
        assert_null(store_find(store, old)->tags);
        store_free(store);
}

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

static void refuse(struct store *store, struct fixture *fixture, const char *reason)
{
        struct reference reference;
        struct error err;
        char *id = NULL;
        assert_int_equal(reference_parse("app:1", &reference, NULL), 0);
        assert_true(store_commit(store, &reference, fixture->staging, &fixture->result, &id, &err) <
                    0);
        assert_null(id);
        if (!strstr(err.message, reason))
                fail_msg("\"%s\" does not say \"%s\"", err.message, reason);
        store_unstage(store, xstrdup(fixture->staging));
        fixture_free(fixture);
        assert_clean(0, 0);
}

static struct fixture *staged(struct store *store)
{
        AUTO_FREE char *staging = NULL;
        assert_int_equal(store_stage(store, &staging, NULL), 0);
        return fixture_new(staging, 1, TWO, 2, fill_with_name);
}

/* What comes from crisp-image is as strange as what it read. */
static void lies_are_refused(void)
{
        struct store *store = open_store();
        struct fixture *fixture = staged(store);
        const char *own = fixture->layers[1].directory;
        fixture->layers[1].directory = xstrdup("../../../layers");
        free((char *)(uintptr_t)own);
        refuse(store, fixture, "not a name");

        fixture = staged(store);
        free((char *)(uintptr_t)fixture->layers[1].directory);
        fixture->layers[1].directory = NULL;
        refuse(store, fixture, "a layer is missing");

        fixture = staged(store);
        free((char *)(uintptr_t)fixture->layers[1].directory);
        fixture->layers[1].directory = xstrdup("absent");
        refuse(store, fixture, "absent");

        fixture = staged(store);
        free((char *)(uintptr_t)fixture->layers[1].diff_id);
        fixture->layers[1].diff_id = digest_of(0xc3);
        refuse(store, fixture, "other layers");

        fixture = staged(store);
        free((char *)(uintptr_t)fixture->result.config_digest);
        fixture->result.config_digest = xstrdup("sha256:../../x");
        refuse(store, fixture, "not a digest");

        /* A link in place of a folder or file leads nowhere. */
        fixture = staged(store);
        AUTO_FREE char *layer = xprintf("%s/layers/layer1", fixture->staging);
        assert_int_equal(file_remove_tree(layer, NULL), 0);
        assert_int_equal(symlink("/etc", layer), 0);
        refuse(store, fixture, "layer1");

        fixture = staged(store);
        AUTO_FREE char *config = xprintf("%s/config.json", fixture->staging);
        assert_int_equal(unlink(config), 0);
        assert_int_equal(symlink("/etc/passwd", config), 0);
        refuse(store, fixture, "config.json");

        fixture = staged(store);
        static const char *const out[] = {"../layer0"};
        fixture->layers[1].opaque = out;
        fixture->layers[1].opaque_count = 1;
        refuse(store, fixture, "../layer0");

        fixture = staged(store);
        static const char *const link[] = {"link"};
        AUTO_FREE char *inside = xprintf("%s/layers/layer1/link", fixture->staging);
        assert_int_equal(symlink("/etc", inside), 0);
        fixture->layers[1].opaque = link;
        fixture->layers[1].opaque_count = 1;
        refuse(store, fixture, "link");

        fixture = staged(store);
        AUTO_FREE char *manifest = xprintf("%s/manifest.json", fixture->staging);
        assert_int_equal(unlink(manifest), 0);
        refuse(store, fixture, "manifest.json");
        store_free(store);
}

/* Its word is not taken for what it staged, but for SHA-512. */
static void digests_are_checked(void)
{
        static const char *const names[] = {"config.json", "manifest.json"};
        struct store *store = open_store();
        for (size_t i = 0; i < 2; i++) {
                struct fixture *fixture = staged(store);
                AUTO_FREE char *path = xprintf("%s/%s", fixture->staging, names[i]);
                FILE *file = fopen(path, "a");
                assert_non_null(file);
                fputs("\n", file);
                fclose(file);
                AUTO_FREE char *said = xprintf("%s has the digest sha256:", names[i]);
                refuse(store, fixture, said);
        }
        struct reference reference;
        char *id = NULL;
        struct fixture *fixture = staged(store);
        free((char *)(uintptr_t)fixture->result.manifest_digest);
        free((char *)(uintptr_t)fixture->result.repo_digest);
        fixture->result.manifest_digest = xprintf("sha512:%0128x", 1);
        fixture->result.repo_digest = xprintf("sha512:%0128x", 1);
        assert_int_equal(reference_parse("app:1", &reference, NULL), 0);
        assert_int_equal(
                store_commit(store, &reference, fixture->staging, &fixture->result, &id, NULL), 0);
        free(id);
        store_unstage(store, xstrdup(fixture->staging));
        fixture_free(fixture);
        store_free(store);
}

/* A record that cannot be written leaves no image and no layers. */
static void a_failed_record_leaves_nothing(void)
{
        struct store *store = open_store();
        struct error err;
        assert_int_equal(rmdir(at("images/records")), 0);
        assert_true(store_image_as(store, "app:1", 1, TWO, 2, fill_with_name, &err) < 0);
        assert_null(store_find(store, "app:1"));
        assert_int_equal(entries_in(at("images/layers")), 0);
        assert_int_equal(entries_in(at("images/l")), 0);
        assert_int_equal(mkdir(at("images/records"), 0700), 0);
        put(store, "app:1", 1, TWO, 2);
        assert_clean(1, 2);
        store_free(store);
}

#define TASK_TEST(name)                                                                            \
        static void test_##name(void **state)                                                      \
        {                                                                                          \
                (void)state;                                                                       \
                in_task(name);                                                                     \
        }

TASK_TEST(finds_by_every_name)
TASK_TEST(users_are_read)
TASK_TEST(a_repo_digest_is_what_is_staged)
TASK_TEST(is_there_after_a_restart)
TASK_TEST(a_tag_moves)
TASK_TEST(a_manifest_is_replaced)
TASK_TEST(names_have_a_bound)
TASK_TEST(of_two_claims_the_newer_counts)
TASK_TEST(removes)
TASK_TEST(removes_where_nothing_can_be_made)
TASK_TEST(what_is_used_stays)
TASK_TEST(a_removed_image_comes_back)
TASK_TEST(a_start_ends_a_removal)
TASK_TEST(keeps_how_it_was_asked_for)
TASK_TEST(a_hold_keeps_layers)
TASK_TEST(a_crash_leaves_garbage_alone)
TASK_TEST(garbage_gives_way)
TASK_TEST(what_is_not_whole_is_not_listed)
TASK_TEST(unreadable_records_are_set_aside)
TASK_TEST(doubtful_layers_stay)
TASK_TEST(garbage_goes_while_running)
TASK_TEST(lies_are_refused)
TASK_TEST(digests_are_checked)
TASK_TEST(a_failed_record_leaves_nothing)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_finds_by_every_name),
                cmocka_unit_test(test_users_are_read),
                cmocka_unit_test(test_a_repo_digest_is_what_is_staged),
                cmocka_unit_test(test_is_there_after_a_restart),
                cmocka_unit_test(test_a_tag_moves),
                cmocka_unit_test(test_a_manifest_is_replaced),
                cmocka_unit_test(test_names_have_a_bound),
                cmocka_unit_test(test_of_two_claims_the_newer_counts),
                cmocka_unit_test(test_removes),
                cmocka_unit_test(test_removes_where_nothing_can_be_made),
                cmocka_unit_test(test_what_is_used_stays),
                cmocka_unit_test(test_a_removed_image_comes_back),
                cmocka_unit_test(test_a_start_ends_a_removal),
                cmocka_unit_test(test_a_hold_keeps_layers),
                cmocka_unit_test(test_keeps_how_it_was_asked_for),
                cmocka_unit_test(test_a_crash_leaves_garbage_alone),
                cmocka_unit_test(test_garbage_gives_way),
                cmocka_unit_test(test_what_is_not_whole_is_not_listed),
                cmocka_unit_test(test_unreadable_records_are_set_aside),
                cmocka_unit_test(test_doubtful_layers_stay),
                cmocka_unit_test(test_garbage_goes_while_running),
                cmocka_unit_test(test_lies_are_refused),
                cmocka_unit_test(test_digests_are_checked),
                cmocka_unit_test(test_a_failed_record_leaves_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
