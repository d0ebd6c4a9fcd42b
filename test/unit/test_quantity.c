#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "base/quantity.h"

static void test_quantities(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                uint64_t value;
        } good[] = {{"0", 0},
                    {"1", 1},
                    {"128Mi", 134217728},
                    {"1.5Gi", 1610612736},
                    {"10M", 10000000},
                    {"2e3", 2000},
                    {"1m", 1},
                    {"+1k", 1000}};
        uint64_t value;
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
                assert_int_equal(quantity_parse(good[i].text, &value), 0);
                assert_int_equal(value, good[i].value);
        }
        assert_int_equal(quantity_parse("16Ei", &value), -ERANGE);
        static const char *const bad[] = {"", "M", "1X", "-1", "1 M", "1e", "0x1", "1.2.3", " 1"};
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_int_equal(quantity_parse(bad[i], &value), -EINVAL);
        assert_int_equal(quantity_parse(NULL, &value), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_quantities)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
