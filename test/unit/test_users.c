/* Users of pods: maps, what an annotation asks for, and which ranges are free. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "cri/users_mode.h"
#include "cri/users_range.h"
#include "oci/idmap.h"

/* ---- maps ---- */

static void assert_maps(const struct users_maps *maps, const char *expected)
{
        AUTO_FREE char *text = idmap_text(maps->maps, maps->count);
        assert_string_equal(text, expected);
}

static int check(const char *text, struct error *err)
{
        AUTO_FREE struct spec_id_map *maps = NULL;
        size_t count = 0;
        assert_int_equal(idmap_parse(text, &maps, &count, err), 0);
        return idmap_check(maps, count, err);
}

static void test_maps_are_checked(void **state)
{
        static const struct {
                const char *text, *wrong;
        } cases[] = {
                {"0:5:1", NULL},
                {"0:100000:65536,65536:5:1", NULL},
                {"0:4294967294:1", NULL},
                {"1:5:1", "not mapped"},
                {"0:5:0", "empty"},
                {"0:4294967295:1", "past the last"},
                {"0:5:10,9:100:1", "overlap"},
                {"0:5:10,10:14:1", "overlap"},
                {"0:0:4294967295,4294967290:1:1", "overlap"},
        };
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct error err;
                int result = check(cases[i].text, &err);
                assert_int_equal(result < 0, cases[i].wrong != NULL);
                if (cases[i].wrong)
                        assert_non_null(strstr(err.message, cases[i].wrong));
        }
}

static void test_the_kernels_bounds(void **state)
{
        struct error err;
        (void)state;
        for (size_t count = 340; count <= 341; count++) {
                struct users_maps maps = {0};
                for (size_t i = 0; i < count; i++)
                        users_maps_add(&maps, (uint32_t)i, (uint32_t)(2 * i), 1);
                assert_int_equal(idmap_check(maps.maps, maps.count, &err) < 0, count == 341);
                free(maps.maps);
        }
        /* Fewer lines, but more than a page of text. */
        struct users_maps maps = {0};
        users_maps_add(&maps, 0, 1000000000, 1);
        for (uint32_t i = 0; i < 250; i++)
                users_maps_add(&maps, 1000000000 + i, 2000000000 + 2 * i, 1);
        assert_true(idmap_check(maps.maps, maps.count, &err) < 0);
        assert_non_null(strstr(err.message, "bytes"));
        free(maps.maps);
}

static void test_ids_on_the_other_side(void **state)
{
        static const struct spec_id_map maps[] = {{0, 1000, 10}, {10, 5, 1}};
        uint32_t id = 77;
        (void)state;
        assert_true(idmap_to_host(maps, 2, 9, &id));
        assert_int_equal(id, 1009);
        assert_true(idmap_to_host(maps, 2, 10, &id));
        assert_int_equal(id, 5);
        assert_false(idmap_to_host(maps, 2, 11, &id));
        assert_true(idmap_to_container(maps, 2, 1009, &id));
        assert_int_equal(id, 9);
        assert_false(idmap_to_container(maps, 2, 1010, &id));
        assert_int_equal(id, 9);
}

static void test_texts_that_are_no_maps(void **state)
{
        static const char *const texts[] = {"",       "0",        "0:1",    "0:1:2:3",
                                            "0:1:2,", "0:1:2,,3", "-1:1:1", "0:4294967296:1",
                                            " 0:1:2", "0:1:2 ",   "a:b:c"};
        (void)state;
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                struct spec_id_map *maps = NULL;
                size_t count = 0;
                assert_true(idmap_parse(texts[i], &maps, &count, NULL) < 0);
                assert_null(maps);
        }
}

static void test_the_rest_is_filled(void **state)
{
        struct users_maps maps = {0};
        (void)state;
        users_maps_fill(&maps, 1000, 10);
        assert_maps(&maps, "0 1000 10\n");
        free(maps.maps);

        maps = (struct users_maps){0};
        users_maps_add(&maps, 5, 7, 1);
        users_maps_add(&maps, 2, 70, 2);
        users_maps_add(&maps, 40, 71, 1);
        users_maps_fill(&maps, 1000, 10);
        assert_maps(&maps, "5 7 1\n2 70 2\n40 71 1\n0 1000 2\n4 1004 1\n6 1006 4\n");
        free(maps.maps);

        maps = (struct users_maps){0};
        users_maps_add(&maps, 0, 7, 10);
        users_maps_fill(&maps, 1000, 10);
        assert_maps(&maps, "0 7 10\n");
        users_maps_add_host(&maps, 9);
        assert_maps(&maps, "0 7 10\n");
        users_maps_add_host(&maps, 99);
        assert_maps(&maps, "0 7 10\n10 99 1\n");
        free(maps.maps);
}

/* ---- the annotation ---- */

static void test_modes(void **state)
{
        struct users_mode mode;
        (void)state;
        assert_int_equal(users_mode_parse("auto", &mode, NULL), 0);
        assert_true(mode.automatic && mode.size == 65536 && !mode.keep_id && !mode.map_to_root);
        users_mode_fini(&mode);
        assert_int_equal(
                users_mode_parse("auto:size=10;keep-id=true;uidmapping=0:5:1,1:9:2", &mode, NULL),
                0);
        assert_true(mode.size == 10 && mode.keep_id);
        assert_maps(&mode.uids, "0 5 1\n1 9 2\n");
        users_mode_fini(&mode);
        assert_int_equal(users_mode_parse("private:gidmapping=0:5:1", &mode, NULL), 0);
        assert_false(mode.automatic);
        assert_maps(&mode.gids, "0 5 1\n");
        users_mode_fini(&mode);
}

static void test_modes_that_cannot_be(void **state)
{
        static const char *const texts[] = {"",
                                            "host",
                                            "autos",
                                            "auto:",
                                            "auto:size",
                                            "auto:size=0",
                                            "auto:size=99999999999",
                                            "auto:size=1 ",
                                            "auto:other=1",
                                            "auto:keep-id=true;map-to-root=true",
                                            "auto:uidmapping=1",
                                            "private:size=5",
                                            "private:keep-id=true"};
        (void)state;
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                struct users_mode mode = {0};
                assert_true(users_mode_parse(texts[i], &mode, NULL) < 0);
                assert_null(mode.uids.maps);
        }
}

/* ---- ranges ---- */

static void test_ranges_of_a_user(void **state)
{
        static const char text[] = "containersX:1:2\ncontainers:100:50\n# containers:5:5\n"
                                   "containers:x:1\ncontainers:200:0\nroot:7:8\n"
                                   "containers:4294967000:295\ncontainers:4294967000:296";
        struct users_range ranges[8];
        (void)state;
        assert_int_equal(users_range_of(text, "containers", ranges, 8), 2);
        assert_true(ranges[0].first == 100 && ranges[0].length == 50);
        assert_true(ranges[1].first == 4294967000 && ranges[1].length == 295);
        assert_int_equal(users_range_of(text, "containers", ranges, 1), 1);
        assert_int_equal(users_range_of("", "containers", ranges, 8), 0);
        assert_true(users_range_parse("5:0", ranges, NULL) < 0);
        assert_true(users_range_parse("5", ranges, NULL) < 0);
        assert_true(users_range_parse("5:6:7", ranges, NULL) < 0);
        assert_int_equal(users_range_parse("5:6", ranges, NULL), 0);
}

static void test_free_places(void **state)
{
        static const struct users_range ranges[] = {{100, 50}, {1000, 100}};
        static const struct users_range taken[] = {{110, 10}, {90, 15}, {1000, 1}};
        struct error err;
        uint32_t first = 0;
        (void)state;
        assert_int_equal(users_range_find(ranges, 2, NULL, 0, 50, &first, &err), 0);
        assert_int_equal(first, 100);
        assert_int_equal(users_range_find(ranges, 2, taken, 3, 5, &first, &err), 0);
        assert_int_equal(first, 105);
        assert_int_equal(users_range_find(ranges, 2, taken, 3, 30, &first, &err), 0);
        assert_int_equal(first, 120);
        assert_int_equal(users_range_find(ranges, 2, taken, 3, 99, &first, &err), 0);
        assert_int_equal(first, 1001);
        assert_int_equal(users_range_find(ranges, 2, taken, 3, 100, &first, &err), -ENOSPC);
        assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
        assert_int_equal(first, 1001);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_maps_are_checked),
                cmocka_unit_test(test_the_kernels_bounds),
                cmocka_unit_test(test_ids_on_the_other_side),
                cmocka_unit_test(test_texts_that_are_no_maps),
                cmocka_unit_test(test_the_rest_is_filled),
                cmocka_unit_test(test_modes),
                cmocka_unit_test(test_modes_that_cannot_be),
                cmocka_unit_test(test_ranges_of_a_user),
                cmocka_unit_test(test_free_places),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
