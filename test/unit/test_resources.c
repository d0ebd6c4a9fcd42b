/* What a container may use: checked, merged, and as records and annotations have it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cri/record.h"
#include "cri/resources.h"
#include "oci/hugepages.h"
#include "oci/oom_score.h"

static resources_message *empty(struct arena *arena)
{
        return resources_copy(arena, NULL);
}

static void merged_field_by_field(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        Runtime__V1__HugepageLimit two = RUNTIME__V1__HUGEPAGE_LIMIT__INIT, other = two;
        Runtime__V1__HugepageLimit *pages[] = {&two}, *more[] = {&other, &two};
        (void)state;
        two.page_size = "2MB";
        two.limit = 5;
        other.page_size = "1GB";
        resources_message *base = empty(arena), *change = empty(arena);
        base->cpu_shares = 10;
        base->cpu_quota = 50;
        base->cpuset_cpus = "0-1";
        base->oom_score_adj = 7;
        base->hugepage_limits = pages;
        base->n_hugepage_limits = 1;
        resources_set_unified(arena, base, "a.b", "1");
        resources_set_unified(arena, base, "c.d", "2");
        resources_message *same = resources_merge(arena, base, change);
        assert_true(record_same_message(&same->base, &base->base));
        change->cpu_quota = -1;
        change->cpuset_mems = "0";
        change->hugepage_limits = more;
        change->n_hugepage_limits = 2;
        resources_set_unified(arena, change, "c.d", "3");
        resources_set_unified(arena, change, "e.f", "4");
        resources_message *merged = resources_merge(arena, base, change);
        assert_int_equal(merged->cpu_shares, 10);
        assert_int_equal(merged->cpu_quota, -1);
        assert_int_equal(merged->oom_score_adj, 7);
        assert_string_equal(merged->cpuset_cpus, "0-1");
        assert_string_equal(merged->cpuset_mems, "0");
        assert_int_equal(merged->n_hugepage_limits, 2);
        assert_string_equal(merged->hugepage_limits[1]->page_size, "1GB");
        assert_int_equal(merged->n_unified, 3);
        assert_string_equal(merged->unified[1]->value, "3");
        /* What it was made of may go, and is as it was. */
        assert_int_equal(base->n_unified, 2);
        assert_string_equal(base->unified[1]->value, "2");
}

static void swap_stays_beside_memory(void **state)
{
        static const struct {
                int64_t memory, swap, new_memory, new_swap, wanted;
        } cases[] = {
                {100, 100, 200, 0, 200}, {100, 150, 200, 0, 250},
                {100, -1, 200, 0, -1},   {100, 100, 200, 300, 300},
                {100, 100, -1, 0, -1},   {0, 0, 200, 0, 0},
                {100, 100, 0, 0, 100},   {100, INT64_MAX, INT64_MAX, 0, INT64_MAX},
                {100, 0, 200, 0, 0},
        };
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                AUTO_ARENA struct arena *arena = arena_new();
                resources_message *base = empty(arena), *change = empty(arena);
                base->memory_limit_in_bytes = cases[i].memory;
                base->memory_swap_limit_in_bytes = cases[i].swap;
                change->memory_limit_in_bytes = cases[i].new_memory;
                change->memory_swap_limit_in_bytes = cases[i].new_swap;
                resources_message *merged = resources_merge(arena, base, change);
                if (merged->memory_swap_limit_in_bytes != cases[i].wanted)
                        print_error("case %zu\n", i);
                assert_int_equal(merged->memory_swap_limit_in_bytes, cases[i].wanted);
        }
}

static void refuse(struct arena *arena, const resources_message *resources, const char *words)
{
        struct error err = {0};
        (void)arena;
        assert_true(resources_validate(resources, "f", &err) < 0);
        if (!strstr(err.message, words))
                print_error("%s\n", err.message);
        assert_non_null(strstr(err.message, words));
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
}

static void refused_by_name(void **state)
{
        (void)state;
#define REFUSE(field, value, words)                                                                \
        do {                                                                                       \
                AUTO_ARENA struct arena *arena = arena_new();                                      \
                resources_message *resources = empty(arena);                                       \
                resources->field = value;                                                          \
                refuse(arena, resources, words);                                                   \
        } while (0)
        REFUSE(cpu_period, -1, "f.cpu_period");
        REFUSE(cpu_quota, -2, "f.cpu_quota");
        REFUSE(cpu_shares, -1, "f.cpu_shares");
        REFUSE(memory_limit_in_bytes, -2, "f.memory_limit_in_bytes");
        REFUSE(memory_swap_limit_in_bytes, -2, "f.memory_swap_limit_in_bytes");
        REFUSE(oom_score_adj, 1001, "f.oom_score_adj");
        REFUSE(oom_score_adj, -1001, "f.oom_score_adj");
        REFUSE(cpuset_cpus, "5-4", "f.cpuset_cpus");
        REFUSE(cpuset_mems, "x", "f.cpuset_mems");
        static const char *const keys[] = {"", ".", "memory", "../a.b", "cgroup.procs", "a/b.c"};
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
                AUTO_ARENA struct arena *arena = arena_new();
                resources_message *resources = empty(arena);
                resources_set_unified(arena, resources, keys[i], "1");
                refuse(arena, resources, "f.unified");
        }
        AUTO_ARENA struct arena *arena = arena_new();
        resources_message *resources = empty(arena);
        resources->memory_limit_in_bytes = 10;
        resources->memory_swap_limit_in_bytes = 9;
        refuse(arena, resources, "f.memory_swap_limit_in_bytes");
        resources->memory_swap_limit_in_bytes = 10;
        assert_int_equal(resources_validate(resources, "f", NULL), 0);
        resources->memory_limit_in_bytes = -1;
        refuse(arena, resources, "f.memory_swap_limit_in_bytes");
}

static void as_records_have_it(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_JSON json_t *record = json_object();
        resources_message *resources = empty(arena), *again = NULL;
        struct error err;
        (void)state;
        resources->cpu_shares = 77;
        resources_set_unified(arena, resources, "memory.high", "5");
        resources_put(record, "resources", resources);
        resources_put(record, "nothing", NULL);
        assert_int_equal(resources_get(record, "resources", arena, &again, NULL), 0);
        assert_true(record_same_message(&again->base, &resources->base));
        assert_int_equal(resources_get(record, "nothing", arena, &again, NULL), 0);
        assert_null(again);
        json_object_set_new(record, "bad", json_string("!"));
        assert_true(resources_get(record, "bad", arena, &again, &err) < 0);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
        json_object_set_new(record, "bad", json_string("/w=="));
        assert_true(resources_get(record, "bad", arena, &again, &err) < 0);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
}

static void as_annotations_have_it(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        resources_message *resources = empty(arena);
        (void)state;
        resources->cpu_quota = -1;
        resources->memory_limit_in_bytes = 64;
        resources->cpuset_cpus = "0";
        resources_set_unified(arena, resources, "a.b", "c");
        AUTO_JSON json_t *object = resources_json(resources);
        AUTO_FREE char *text = json_text(object);
        assert_string_equal(text, "{\"cpu_quota\":-1,\"memory_limit_in_bytes\":64,"
                                  "\"cpuset_cpus\":\"0\",\"unified\":{\"a.b\":\"c\"}}");
        AUTO_JSON json_t *none = resources_json(empty(arena));
        AUTO_FREE char *nothing = json_text(none);
        assert_string_equal(nothing, "{}");
}

static void sizes_of_pages(void **state)
{
        char folder[] = "/tmp/crisp-test-pages-XXXXXX";
        static const char *const wrong[] = {
                "",     "2",   "MB",  "2mb",       "2 MB",
                "-2MB", "1GB", "0MB", "2MB/../..", "99999999999999999999MB"};
        (void)state;
        assert_non_null(mkdtemp(folder));
        AUTO_FREE char *two = xprintf("%s/hugepages-2048kB", folder);
        assert_int_equal(mkdir(two, 0755), 0);
        assert_true(hugepages_known(folder, "2MB"));
        assert_true(hugepages_known(folder, "2048KB"));
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                assert_false(hugepages_known(folder, wrong[i]));
        assert_int_equal(file_remove_tree(folder, NULL), 0);
}

static void scores(void **state)
{
        (void)state;
        /* One may always be likelier to go. */
        assert_int_equal(oom_score_allowed(1000), 1000);
        assert_true(oom_score_allowed(-1000) >= -1000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(merged_field_by_field),
                cmocka_unit_test(swap_stays_beside_memory),
                cmocka_unit_test(refused_by_name),
                cmocka_unit_test(as_records_have_it),
                cmocka_unit_test(as_annotations_have_it),
                cmocka_unit_test(sizes_of_pages),
                cmocka_unit_test(scores),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
