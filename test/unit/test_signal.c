/* Signals: names to numbers and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "oci/signal.h"

static int parse(const char *text)
{
        int number = -1;
        struct error err = {0};
        int result = signal_parse(text, &number, &err);
        if (result < 0) {
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
                assert_int_equal(number, -1);
        }
        return number;
}

static void reads_names(void **state)
{
        (void)state;
        assert_int_equal(parse("SIGTERM"), 15);
        assert_int_equal(parse("TERM"), 15);
        assert_int_equal(parse("sigquit"), 3);
        assert_int_equal(parse("15"), 15);
        assert_int_equal(parse("SIGRTMIN"), 34);
        assert_int_equal(parse("SIGRTMIN+3"), 37);
        assert_int_equal(parse("RTMAX-2"), 62);
        assert_int_equal(parse("SIGRTMAX"), 64);
        assert_int_equal(parse("SIGRTMIN+30"), 64);
        assert_int_equal(parse("SIGCLD"), 17);
        assert_int_equal(parse("SIGIO"), 29);
        assert_int_equal(parse("SIGPOLL"), 29);
        assert_int_equal(parse("64"), 64);
}

static void refuses(void **state)
{
        static const char *const wrong[] = {
                "",
                "0",
                "65",
                "-1",
                "SIG",
                "SIGNOSUCH",
                "15 ",
                "+9",
                "SIGRTMIN+",
                "SIGRTMIN+31",
                "SIGRTMAX-31",
                "SIGRTMIN-1",
                "SIGRTMAX+1",
                "RTMIN3",
                "99999999999999999999",
                "SIGRTMIN+99999999999",
        };
        (void)state;
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                assert_int_equal(parse(wrong[i]), -1);
}

static void writes_names(void **state)
{
        char name[SIGNAL_NAME_MAX];
        (void)state;
        signal_name(15, name);
        assert_string_equal(name, "SIGTERM");
        signal_name(37, name);
        assert_string_equal(name, "SIGRTMIN+3");
        signal_name(63, name);
        assert_string_equal(name, "SIGRTMAX-1");
        signal_name(99, name);
        assert_string_equal(name, "99");
        signal_name(-5, name);
        assert_string_equal(name, "-5");
        for (int number = 1; number <= 64; number++) {
                signal_name(number, name);
                assert_int_equal(parse(name), number);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reads_names),
                cmocka_unit_test(refuses),
                cmocka_unit_test(writes_names),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
