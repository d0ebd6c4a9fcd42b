/* Additional stores: what another crisp has, used where it lies, and left as it is. */
#include "test/unit/image_fixture.h"

#include "base/clock.h"

static const unsigned BASE[] = {0xa1};
static const unsigned ABOVE[] = {0xa1, 0xb2};

static void put(struct store *store, const char *name, unsigned id, const unsigned *diff_ids,
                size_t count)
{
        struct error err;
        if (store_image_as(store, name, id, diff_ids, count, fill_with_name, &err) < 0)
                fail_msg("%s", err.message);
}

/* Makes a store in folder with one image. */
static void make_other(const char *folder, const char *name, unsigned id, const unsigned *diff_ids,
                       size_t count)
{
        struct store *store = open_store_with(at("%s", folder), NULL);
        put(store, name, id, diff_ids, count);
        store_free(store);
}

static struct store *open_with(const char *one, const char *two)
{
        AUTO_FREE char *first = xstrdup(at("%s", one));
        AUTO_FREE char *second = xstrdup(at("%s", two ? two : one));
        char *list[] = {first, two ? second : NULL, NULL};
        return open_store_with(at("images"), list);
}

static bool is_here(const struct store *store, const char *name, unsigned id)
{
        AUTO_FREE char *wanted = image_of(id);
        const struct image *image = store_find(store, name);
        return image && strcmp(image->id, wanted) == 0;
}

static bool is_lent(const struct store *store, const char *name)
{
        const struct image *image = store_find(store, name);
        assert_non_null(image);
        return image->home != NULL;
}

static void are_found_counted_apart_and_kept(void)
{
        make_other("other", "busybox", 1, ABOVE, 2);
        struct store *store = open_with("other", NULL);
        struct store_usage usage;
        struct error err;
        store_clean(store);

        assert_true(is_here(store, "busybox", 1));
        assert_string_equal(store_find(store, "busybox")->home, at("other"));
        store_usage(store, &usage);
        assert_int_equal(usage.images, 1);
        assert_int_equal(usage.bytes, 0);
        assert_int_equal(usage.inodes, 0);
        AUTO_FREE char *id = image_of(1);
        struct image_config *config;
        assert_int_equal(store_config(store, id, &config, &err), 0);
        image_config_free(config);

        assert_true(store_remove(store, "busybox", &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.message, at("other")));
        assert_true(is_here(store, "busybox", 1));
        struct reference reference;
        assert_int_equal(reference_parse("mine:1", &reference, NULL), 0);
        assert_true(store_tag(store, id, &reference, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);

        assert_int_equal(store_use(store, id, "user", &err), 0);
        store_release(store, id, "user");
        assert_true(is_here(store, "busybox", 1));
        store_free(store);
        assert_true(exists(at("other/records/%s.json", image_hex(1))));
        assert_true(exists(at("other/layers/%064x/file-161", 0xa1)));
        assert_false(exists(at("images/records/%s.json", image_hex(1))));
}

/* Short names lead there, now and after a restart, and go with the store. */
static void are_mounted_from_there(void)
{
        make_other("other", "busybox", 1, ABOVE, 2);
        AUTO_FREE char *id = image_of(1);
        char *links, *lower, *root, *before = NULL;
        for (int i = 0; i < 2; i++) {
                struct store *store = open_with("other", NULL);
                store_clean(store);
                assert_int_equal(store_lower(store, id, &links, &lower, &root, NULL), 0);
                AUTO_FREE char *file = xprintf("%s/%s/file-178", links, root);
                assert_true(exists(file));
                if (before)
                        assert_string_equal(before, lower);
                free(before);
                before = lower;
                free(links);
                free(root);
                store_free(store);
        }
        free(before);
        struct store *store = open_store();
        store_clean(store);
        assert_null(store_find(store, "busybox"));
        assert_false(exists(at("images/l/1")));
        assert_false(exists(at("images/l/2")));
        store_free(store);
}

static void own_names_and_earlier_stores_go_first(void)
{
        make_other("one", "busybox", 1, BASE, 1);
        make_other("two", "busybox", 2, BASE, 1);
        make_other("three", "app", 4, BASE, 1);
        struct store *store = open_with("one", "two");
        assert_true(is_here(store, "busybox", 1));
        AUTO_FREE char *second = image_of(2);
        assert_non_null(store_find(store, second));
        put(store, "busybox", 3, ABOVE, 2);
        assert_true(is_here(store, "busybox", 3));
        store_free(store);

        store = open_with("two", "one");
        assert_true(is_here(store, "busybox", 3));
        struct error err;
        assert_int_equal(store_remove(store, "busybox", &err), 0);
        store_free(store);

        store = open_with("two", "one");
        assert_true(is_here(store, "busybox", 2));
        store_free(store);
}

/* An image of ours has its lower layer there: it comes without it, and does not start without it.
 */
static void layers_are_shared(void)
{
        make_other("other", "base", 1, BASE, 1);
        struct store *store = open_with("other", NULL);
        struct store_usage usage;
        size_t count;
        struct store_hold *hold = store_hold_new(store);
        store_hold_diff_ids(hold, &count);
        assert_int_equal(count, 1);
        put(store, "app", 2, ABOVE, 2);
        store_hold_free(hold);
        assert_false(exists(at("images/layers/%064x", 0xa1)));
        assert_true(exists(at("images/layers/%064x", 0xb2)));
        store_usage(store, &usage);
        assert_int_equal(usage.bytes, 1000);
        store_free(store);

        store = open_with("other", NULL);
        store_clean(store);
        assert_true(is_here(store, "app", 2));
        assert_false(is_lent(store, "app"));
        assert_int_equal(store_remove(store, "app", NULL), 0);
        store_usage(store, &usage);
        assert_int_equal(usage.bytes, 0);
        assert_true(exists(at("other/layers/%064x/file-161", 0xa1)));
        put(store, "app", 2, ABOVE, 2);
        store_free(store);

        log_set_level(LOG_LEVEL_ERROR);
        store = open_store();
        assert_null(store_find(store, "app"));
        store_free(store);
}

/* A layer that both have is taken from there when ours goes. */
static void the_other_copy_is_used_when_ours_goes(void)
{
        AUTO_FREE char *diff_id = digest_of(0xa1);
        make_other("images", "mine", 3, BASE, 1);
        make_other("other", "base", 1, BASE, 1);
        struct store *store = open_with("other", NULL);
        struct store_usage usage;
        store_clean(store);
        store_usage(store, &usage);
        assert_int_equal(usage.bytes, 1000);
        AUTO_FREE char *ours = store_layer_path(store, diff_id);
        assert_string_equal(ours, at("images/layers/%064x", 0xa1));
        assert_int_equal(store_remove(store, "mine", NULL), 0);
        store_usage(store, &usage);
        assert_int_equal(usage.bytes, 0);
        assert_false(exists(at("images/layers/%064x", 0xa1)));
        assert_true(store_has_layer(store, diff_id));
        AUTO_FREE char *path = store_layer_path(store, diff_id);
        assert_string_equal(path, at("other/layers/%064x", 0xa1));
        store_free(store);
}

/* What is pulled although it is there becomes ours, with its users and names. */
static void a_pull_makes_it_ours(void)
{
        make_other("other", "busybox", 1, ABOVE, 2);
        struct store *store = open_with("other", NULL);
        AUTO_FREE char *id = image_of(1);
        assert_int_equal(store_use(store, id, "user", NULL), 0);
        put(store, "mine", 1, ABOVE, 2);
        assert_false(is_lent(store, "mine"));
        assert_true(is_here(store, "busybox", 1));
        assert_false(is_lent(store, "busybox"));
        store_clean(store);
        assert_int_equal(store_remove(store, "mine", NULL), 0);
        assert_non_null(store_held(store, id)); /* its user came along */
        store_release(store, id, "user");
        /* A task of its own removes it. */
        for (int i = 0; i < 200 && store_held(store, id); i++)
                task_sleep_until(clock_after(NSEC_PER_SEC / 100));
        assert_null(store_held(store, id));
        store_clean(store);
        store_free(store);
        assert_true(exists(at("other/layers/%064x/file-161", 0xa1)));

        store = open_with("other", NULL);
        store_clean(store);
        put(store, "mine", 1, ABOVE, 2);
        store_free(store);
        store = open_with("other", NULL);
        assert_true(is_here(store, "mine", 1));
        assert_true(is_here(store, "busybox", 1));
        store_free(store);
}

/* None of it stops the start. */
static void what_cannot_be_read_is_passed_over(void)
{
        log_set_level(LOG_LEVEL_ERROR);
        make_other("other", "whole", 1, BASE, 1);
        struct store *other = open_store_with(at("other"), NULL);
        put(other, "newer", 2, BASE, 1);
        put(other, "torn", 3, ABOVE, 2);
        store_free(other);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        assert_int_equal(file_read(at("other/records/%s.json", image_hex(2)), 1 << 20, &text, NULL),
                         0);
        char *version = strstr(text.data, "\"version\"");
        assert_non_null(version);
        version[strcspn(version, "0123456789")] = '9';
        write_file(at("other/records/%s.json", image_hex(2)), text.data);
        assert_int_equal(file_remove_tree(at("other/layers/%064x", 0xb2), NULL), 0);

        char none[512], own[512], good[512];
        snprintf(none, sizeof(none), "%s", at("none"));
        snprintf(own, sizeof(own), "%s", at("images"));
        snprintf(good, sizeof(good), "%s", at("other"));
        char *list[] = {none, own, good, NULL};
        make_other("images", "mine", 7, BASE, 1);
        struct store *store = open_store_with(at("images"), list);
        struct store_usage usage;
        assert_false(is_lent(store, "mine"));
        assert_true(is_here(store, "whole", 1));
        assert_null(store_find(store, "newer"));
        assert_null(store_find(store, "torn"));
        store_usage(store, &usage);
        assert_string_equal(usage.additional[0], good);
        assert_null(usage.additional[1]);
        store_free(store);
        assert_true(exists(at("other/records/%s.json", image_hex(2)))); /* not set aside */
        assert_false(exists(at("none")));
}

#define TEST(function)                                                                             \
        static void test_##function(void **state)                                                  \
        {                                                                                          \
                (void)state;                                                                       \
                in_task(function);                                                                 \
        }
TEST(are_found_counted_apart_and_kept)
TEST(are_mounted_from_there)
TEST(own_names_and_earlier_stores_go_first)
TEST(layers_are_shared)
TEST(the_other_copy_is_used_when_ours_goes)
TEST(a_pull_makes_it_ours)
TEST(what_cannot_be_read_is_passed_over)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_are_found_counted_apart_and_kept),
                cmocka_unit_test(test_are_mounted_from_there),
                cmocka_unit_test(test_own_names_and_earlier_stores_go_first),
                cmocka_unit_test(test_layers_are_shared),
                cmocka_unit_test(test_the_other_copy_is_used_when_ours_goes),
                cmocka_unit_test(test_a_pull_makes_it_ours),
                cmocka_unit_test(test_what_cannot_be_read_is_passed_over),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
