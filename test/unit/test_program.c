#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/program.h"

/* The test's own executable is a program that stands beside it. */
static void test_beside(void **state)
{
        char self[PATH_MAX] = "";
        AUTO_FREE char *path = NULL;

        assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
        path = program_path(strrchr(self, '/') + 1);
        assert_string_equal(path, self);
}

static void test_installed(void **state)
{
        AUTO_FREE char *path = program_path("crisp-nowhere");

        assert_int_equal(path[0], '/');
        assert_non_null(strstr(path, "/libexec/crisp/crisp-nowhere"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_beside),
                cmocka_unit_test(test_installed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
