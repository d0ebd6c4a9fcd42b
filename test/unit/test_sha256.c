#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/sha256.h"

/* The examples of FIPS 180-2, appendix B, and the empty message. */
static void test_examples(void **state)
{
        static const struct {
                const char *message, *digest;
        } examples[] = {
                {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
                {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        };

        for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
                char out[SHA256_HEX + 1];
                sha256_hex(examples[i].message, strlen(examples[i].message), out);
                assert_string_equal(out, examples[i].digest);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_examples)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
