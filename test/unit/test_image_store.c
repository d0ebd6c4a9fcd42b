/* The store: names, users, what images are asked for by, and results that lie. */
#include "test/unit/store_fixture.h"

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

TASK_TEST(finds_by_every_name)
TASK_TEST(users_are_read)
TASK_TEST(a_repo_digest_is_what_is_staged)
TASK_TEST(is_there_after_a_restart)
TASK_TEST(a_tag_moves)
TASK_TEST(a_manifest_is_replaced)
TASK_TEST(names_have_a_bound)
TASK_TEST(of_two_claims_the_newer_counts)
TASK_TEST(keeps_how_it_was_asked_for)
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
                cmocka_unit_test(test_keeps_how_it_was_asked_for),
                cmocka_unit_test(test_lies_are_refused),
                cmocka_unit_test(test_digests_are_checked),
                cmocka_unit_test(test_a_failed_record_leaves_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
