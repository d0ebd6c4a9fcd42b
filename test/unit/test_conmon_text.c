/* Numbers and times in the monitor's own small text, and what its options take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <string.h>
#include <time.h>

#include "conmon/options.h"
#include "conmon/text.h"

static void numbers(void **state)
{
        char memory[64];
        struct text text = text_in(memory, sizeof(memory));

        text_add_number(&text, 0);
        text_add(&text, " ");
        text_add_number(&text, INT64_MIN);
        text_add(&text, " ");
        text_add_number(&text, INT64_MAX);
        assert_string_equal(memory, "0 -9223372036854775808 9223372036854775807");
        assert_false(text.cut);
}

static void cuts(void **state)
{
        char memory[6];
        struct text text = text_in(memory, sizeof(memory));

        text_add(&text, "abcdef");
        assert_true(text.cut);
        assert_string_equal(memory, "abcde");
        text_add(&text, "x");
        assert_string_equal(memory, "abcde");
}

static void keeps_tail(void **state)
{
        char memory[6];
        struct text text = text_in(memory, sizeof(memory));

        text_keep_tail(&text, "abc", 3);
        assert_string_equal(memory, "abc");
        assert_false(text.cut);
        text_keep_tail(&text, "def", 3);
        assert_string_equal(memory, "bcdef");
        text_keep_tail(&text, "0123456789", 10);
        assert_string_equal(memory, "56789");
        assert_true(text.cut);
}

static void parses_numbers(void **state)
{
        static const char *const wrong[] = {
                "", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616"};
        uint64_t number = 7;

        for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
                assert_false(text_parse_number(wrong[i], &number));
        assert_int_equal(number, 7);
        assert_true(text_parse_number("18446744073709551615", &number));
        assert_true(number == UINT64_MAX);
}

/* The C library, which knows the calendar too, must agree. */
static void times(void **state)
{
        static const int64_t seconds[] = {0,          68255999,   951782400,  1078012799,
                                          1475712929, 1709164800, 4102444800, 4107542400};

        for (unsigned i = 0; i < sizeof(seconds) / sizeof(*seconds); i++) {
                char expected[64], out[TEXT_TIME_LENGTH + 1] = {0};
                time_t time = seconds[i];
                struct tm parts;

                gmtime_r(&time, &parts);
                strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.000000042Z", &parts);
                text_time(out, seconds[i] * 1000000000 + 42);
                assert_string_equal(out, expected);
        }
}

static int parse(struct conmon_options *options, const char **problem, const char **argument,
                 const char *const *argv)
{
        int argc = 0;

        while (argv[argc])
                argc++;
        return conmon_options_parse(argc, (char **)(uintptr_t)argv, options, problem, argument);
}

#define NEEDED "m", "--id", "i", "--directory", "d", "--socket", "s", "--pid-file", "p"

static void options(void **state)
{
        struct conmon_options result;
        const char *problem, *argument;
        const char *const good[] = {NEEDED, "--terminal", "--log-size-max", "5",
                                    "--",   "/runc",      "--stdin",        NULL};
        const char *const unknown[] = {NEEDED, "--nonsense", "--", "/runc", NULL};
        const char *const no_number[] = {NEEDED, "--log-size-max", "x", "--", "/runc", NULL};
        const char *const no_value[] = {NEEDED, "--log", NULL};
        const char *const no_command[] = {NEEDED, "--", NULL};
        const char *const no_socket[] = {"m",          "--id", "i",  "--directory", "d",
                                         "--pid-file", "p",    "--", "c",           NULL};

        assert_int_equal(parse(&result, &problem, &argument, good), 0);
        assert_string_equal(result.id, "i");
        assert_true(result.terminal);
        assert_false(result.open_stdin); /* that one is the command's */
        assert_int_equal(result.log_size_max, 5);
        assert_null(result.log);
        assert_string_equal(result.command[0], "/runc");
        assert_int_equal(parse(&result, &problem, &argument, unknown), -1);
        assert_string_equal(argument, "--nonsense");
        assert_int_equal(parse(&result, &problem, &argument, no_number), -1);
        assert_int_equal(parse(&result, &problem, &argument, no_value), -1);
        assert_int_equal(parse(&result, &problem, &argument, no_command), -1);
        assert_int_equal(parse(&result, &problem, &argument, no_socket), -1);
        assert_string_equal(argument, "--socket");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(numbers),    cmocka_unit_test(cuts),
                cmocka_unit_test(keeps_tail), cmocka_unit_test(parses_numbers),
                cmocka_unit_test(times),      cmocka_unit_test(options),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
