/* Sets of processors in the kernel's two forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/cpu_list.h"

static void lists(void **state)
{
        static const struct {
                const char *text, *wanted;
        } cases[] = {
                {"", ""},           {"0", "0"},         {"0-3", "0-3"},   {"0,1,2,3", "0-3"},
                {"3,1,2", "1-3"},   {"0-3\n", "0-3"},   {"8191", "8191"}, {"1,3,5", "1,3,5"},
                {"0-1,1-4", "0-4"}, {"63-64", "63-64"}, {"5-5", "5"},
        };
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct cpu_list cpus;
                assert_int_equal(cpu_list_parse(cases[i].text, &cpus, NULL), 0);
                AUTO_FREE char *text = cpu_list_text(&cpus);
                assert_string_equal(text, cases[i].wanted);
        }
}

static void no_lists(void **state)
{
        static const char *const cases[] = {"a",
                                            "1-",
                                            "-1",
                                            "3-1",
                                            "1,",
                                            ",1",
                                            "1 2",
                                            "8192",
                                            "0-8192",
                                            "1--2",
                                            "0x1",
                                            "1\n2",
                                            "99999999999999999999",
                                            "1,\n"};
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct error err;
                struct cpu_list cpus = {{7}};
                if (cpu_list_parse(cases[i], &cpus, &err) == 0)
                        print_error("%s\n", cases[i]);
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
                assert_int_equal(cpus.words[0], 7);
        }
}

static void masks(void **state)
{
        static const struct {
                const char *text, *list, *again;
                size_t width;
        } cases[] = {
                {"3\n", "0-1", "3", 4},
                {"ff", "0-7", "ff", 8},
                {"00000001,00000003", "0-1,32", "00000001,00000003", 64},
                {"8000,00000000", "47", "8000,00000000", 48},
                {"F0", "4-7", "f0", 8},
        };
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct cpu_list cpus;
                assert_int_equal(cpu_list_parse_mask(cases[i].text, &cpus, NULL), 0);
                AUTO_FREE char *list = cpu_list_text(&cpus);
                assert_string_equal(list, cases[i].list);
                assert_int_equal(cpu_list_mask_width(cases[i].text), cases[i].width);
                AUTO_FREE char *mask = cpu_list_mask(&cpus, cases[i].width);
                assert_string_equal(mask, cases[i].again);
        }
        struct cpu_list cpus;
        assert_true(cpu_list_parse_mask("", &cpus, NULL) < 0);
        assert_true(cpu_list_parse_mask("xyz", &cpus, NULL) < 0);
}

static void sets(void **state)
{
        struct cpu_list a, b, c;
        (void)state;
        cpu_list_parse("0-7", &a, NULL);
        cpu_list_parse("4-11,8191", &b, NULL);
        c = a;
        cpu_list_join(&c, &b);
        assert_int_equal(cpu_list_count(&c), 13);
        c = a;
        cpu_list_remove(&c, &b);
        AUTO_FREE char *rest = cpu_list_text(&c);
        assert_string_equal(rest, "0-3");
        c = a;
        cpu_list_common(&c, &b);
        AUTO_FREE char *common = cpu_list_text(&c);
        assert_string_equal(common, "4-7");
        assert_int_equal(cpu_list_next(&b, 12), 8191);
        assert_int_equal(cpu_list_next(&a, 8), CPU_LIST_MAX);
        assert_false(cpu_list_has(&a, 1000000));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lists),
                cmocka_unit_test(no_lists),
                cmocka_unit_test(masks),
                cmocka_unit_test(sets),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
