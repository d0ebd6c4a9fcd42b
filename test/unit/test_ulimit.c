#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "oci/ulimit.h"

static void limits(void **state)
{
        static const struct {
                const char *text, *type;
                uint64_t soft, hard;
        } cases[] = {
                {"nofile=1024:2048", "RLIMIT_NOFILE", 1024, 2048},
                {"nproc=5", "RLIMIT_NPROC", 5, 5},
                {"core=0:-1", "RLIMIT_CORE", 0, UINT64_MAX},
                {"stack=-1", "RLIMIT_STACK", UINT64_MAX, UINT64_MAX},
                {"nofile", NULL, 0, 0},
                {"nofile=", NULL, 0, 0},
                {"=5", NULL, 0, 0},
                {"files=5", NULL, 0, 0},
                {"nofile=5:", NULL, 0, 0},
                {"nofile=:5", NULL, 0, 0},
                {"nofile=5:6:7", NULL, 0, 0},
                {"nofile=6:5", NULL, 0, 0},
                {"nofile=-1:5", NULL, 0, 0},
                {"nofile=-2", NULL, 0, 0},
                {"nofile=5k", NULL, 0, 0},
                {"nofile=99999999999999999999", NULL, 0, 0},
        };
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct spec_rlimit limit;
                struct error err;
                int result = ulimit_parse(cases[i].text, &limit, &err);
                if ((result == 0) != (cases[i].type != NULL))
                        fail_msg("%s", cases[i].text);
                if (result < 0)
                        continue;
                assert_string_equal(limit.type, cases[i].type);
                assert_true(limit.soft == cases[i].soft && limit.hard == cases[i].hard);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(limits)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
