#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/id.h"

static void test_generate(void **state)
{
        char one[ID_LENGTH + 1], other[ID_LENGTH + 1];

        id_generate(one);
        id_generate(other);
        assert_int_equal(strlen(one), ID_LENGTH);
        assert_true(id_is_hex(one));
        assert_string_not_equal(one, other);
}

/* Every length is filled to its end and not beyond it, also where one read of random bytes is not
 * enough. */
static void test_lengths(void **state)
{
        char out[300];

        for (size_t length = 0; length < sizeof(out) - 1; length++) {
                memset(out, 'x', sizeof(out));
                id_random_hex(out, length);
                assert_int_equal(strlen(out), length);
                assert_int_equal(strspn(out, "0123456789abcdef"), length);
                assert_int_equal(out[length + 1], 'x');
        }
}

/* No position is stuck: in 64 ids each shows several digits. */
static void test_spread(void **state)
{
        unsigned seen[ID_LENGTH] = {0};

        for (int i = 0; i < 64; i++) {
                char id[ID_LENGTH + 1];

                id_generate(id);
                for (size_t k = 0; k < ID_LENGTH; k++)
                        seen[k] |= 1u << (id[k] <= '9' ? id[k] - '0' : id[k] - 'a' + 10);
        }
        for (size_t k = 0; k < ID_LENGTH; k++)
                assert_true(__builtin_popcount(seen[k]) > 4);
}

static void test_is_hex(void **state)
{
        char longest[ID_LENGTH + 2];

        assert_true(id_is_hex("0"));
        assert_true(id_is_hex("09af"));
        assert_false(id_is_hex(""));
        assert_false(id_is_hex("A"));
        assert_false(id_is_hex("g"));
        assert_false(id_is_hex("a/b"));
        assert_false(id_is_hex("ab "));
        memset(longest, 'a', sizeof(longest));
        longest[ID_LENGTH + 1] = '\0';
        assert_false(id_is_hex(longest));
        longest[ID_LENGTH] = '\0';
        assert_true(id_is_hex(longest));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_generate),
                cmocka_unit_test(test_lengths),
                cmocka_unit_test(test_spread),
                cmocka_unit_test(test_is_hex),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
