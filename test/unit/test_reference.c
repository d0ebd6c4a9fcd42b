#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "image/reference.h"

#define HEX32 "0123456789abcdef0123456789abcdef"
#define HEX64 HEX32 HEX32
#define SHA   "sha256:" HEX64

static const struct {
        const char *text;
        const char *registry, *repository, *tag, *digest;
} GOOD[] = {
        {"busybox", "docker.io", "library/busybox", "latest", ""},
        {"busybox:1.36", "docker.io", "library/busybox", "1.36", ""},
        {"library/busybox", "docker.io", "library/busybox", "latest", ""},
        {"someone/thing:v1", "docker.io", "someone/thing", "v1", ""},
        {"a/b/c", "docker.io", "a/b/c", "latest", ""},
        {"docker.io/busybox", "docker.io", "library/busybox", "latest", ""},
        {"Docker.IO/busybox", "docker.io", "library/busybox", "latest", ""},
        {"index.docker.io/busybox", "docker.io", "library/busybox", "latest", ""},
        {"docker.io/a/b", "docker.io", "a/b", "latest", ""},
        {"localhost/x", "localhost", "x", "latest", ""},
        {"localhost:5000/x", "localhost:5000", "x", "latest", ""},
        {"localhost:5000", "docker.io", "library/localhost", "5000", ""},
        {"127.0.0.1:5000/a/b:t", "127.0.0.1:5000", "a/b", "t", ""},
        {"[::1]:5000/a", "[::1]:5000", "a", "latest", ""},
        {"[fe80::1]/a", "[fe80::1]", "a", "latest", ""},
        {"registry.example/a@" SHA, "registry.example", "a", "", SHA},
        {"registry.example/a:t@" SHA, "registry.example", "a", "t", SHA},
        {"busybox@" SHA, "docker.io", "library/busybox", "", SHA},
        {"a@sha512:" HEX64 HEX64, "docker.io", "library/a", "", "sha512:" HEX64 HEX64},
        {"registry.example:443/a-b__c.d_e--f/g:_T.x-Y", "registry.example:443", "a-b__c.d_e--f/g",
         "_T.x-Y", ""},
        {"Registry.Example/a", "Registry.Example", "a", "latest", ""},
        {"UPPER/a", "UPPER", "a", "latest", ""},
        {"registry.example/" HEX64, "registry.example", HEX64, "latest", ""},
        {HEX32, "docker.io", "library/" HEX32, "latest", ""},
};

static const char *const BAD[] = {
        "",
        ":tag",
        "@" SHA,
        "a:",
        "a@",
        "a:b:c",
        "a@" HEX64,
        "a@sha256:" HEX32,
        "a@sha256:" HEX32 "0123456789ABCDEF0123456789ABCDEF",
        "a@md5:" HEX32,
        "a@" SHA "@" SHA,
        "a@" SHA ":t",
        HEX64,
        "Busybox",
        "registry.example/Upper",
        "registry.example/",
        "registry.example//a",
        "registry.example/a/",
        "/a",
        "a/../b",
        "a/./b",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "a b",
        "a\n",
        "a:t\xc3\xa4g",
        "a:.t",
        "a:-t",
        "https://registry.example/a",
        "registry.example:/a",
        "registry.example:0/a",
        "registry.example:65536/a",
        "registry.example:12x/a",
        "-registry.example/a",
        "registry-.example/a",
        ".registry/a",
        "registry./a",
        "[::1/a",
        "[]/a",
        "[::1]x/a",
        "[::g]/a",
        "user@registry.example/a",
        "registry.example/a?b",
        "registry.example/a%2fb",
};

static void test_good_names(void **state)
{
        for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
                struct reference reference;
                struct error err = {0};
                if (reference_parse(GOOD[i].text, &reference, &err) != 0)
                        fail_msg("%s: %s", GOOD[i].text, err.message);
                assert_string_equal(reference.registry, GOOD[i].registry);
                assert_string_equal(reference.repository, GOOD[i].repository);
                assert_string_equal(reference.tag, GOOD[i].tag);
                assert_string_equal(reference.digest, GOOD[i].digest);
        }
}

static void test_full_text_is_stable(void **state)
{
        for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
                struct reference first, second;
                assert_int_equal(reference_parse(GOOD[i].text, &first, NULL), 0);
                AUTO_FREE char *text = reference_text(&first);
                assert_int_equal(reference_parse(text, &second, NULL), 0);
                AUTO_FREE char *again = reference_text(&second);
                assert_string_equal(text, again);
        }
}

static void test_bad_names(void **state)
{
        for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
                struct reference reference;
                struct reference before;
                struct error err = {0};
                memset(&reference, 0x55, sizeof(reference));
                before = reference;
                if (reference_parse(BAD[i], &reference, &err) == 0)
                        fail_msg("accepted: %s", BAD[i]);
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
                assert_memory_equal(&before, &reference, sizeof(reference));
        }
        assert_true(reference_parse(NULL, &(struct reference){0}, NULL) < 0);
}

static char *repeated(const char *prefix, char c, size_t count, const char *suffix)
{
        char *run = xcalloc(1, count + 1);
        memset(run, c, count);
        char *text = xprintf("%s%s%s", prefix, run, suffix);
        free(run);
        return text;
}

static void test_lengths(void **state)
{
        struct reference reference;
        /* 255 bytes of name and 128 of tag are the most. */
        AUTO_FREE char *longest = repeated("registry.example/", 'a', 255 - 17, ":t");
        AUTO_FREE char *longer = repeated("registry.example/", 'a', 256 - 17, ":t");
        AUTO_FREE char *implied = repeated("", 'a', 255 - 10 - 7, "");
        AUTO_FREE char *tag = repeated("a:", 't', 128, "");
        AUTO_FREE char *long_tag = repeated("a:", 't', 129, "");
        AUTO_FREE char *host = repeated("", 'h', 100000, ".example/a");
        AUTO_FREE char *number = repeated("registry.example:", '9', 400, "/a");

        assert_int_equal(reference_parse(longest, &reference, NULL), 0);
        assert_true(reference_parse(longer, &reference, NULL) < 0);
        assert_int_equal(reference_parse(tag, &reference, NULL), 0);
        assert_true(reference_parse(long_tag, &reference, NULL) < 0);
        assert_true(reference_parse(host, &reference, NULL) < 0);
        assert_true(reference_parse(number, &reference, NULL) < 0);
        /* "docker.io/library/" counts too. */
        assert_int_equal(strlen(implied), 238);
        assert_true(reference_parse(implied, &reference, NULL) < 0);
        assert_int_equal(reference_parse(implied + 1, &reference, NULL), 0);
}

static void test_texts(void **state)
{
        struct reference reference;

        assert_int_equal(reference_parse("x:1@" SHA, &reference, NULL), 0);
        AUTO_FREE char *text = reference_text(&reference);
        AUTO_FREE char *tagged = reference_tagged(&reference);
        AUTO_FREE char *digested = reference_digested(&reference, SHA);
        assert_string_equal(text, "docker.io/library/x:1@" SHA);
        assert_string_equal(tagged, "docker.io/library/x:1");
        assert_string_equal(digested, "docker.io/library/x@" SHA);

        assert_int_equal(reference_parse("x@" SHA, &reference, NULL), 0);
        assert_null(reference_tagged(&reference));
}

static void test_digests(void **state)
{
        assert_true(digest_is_valid(SHA));
        assert_true(digest_is_valid("sha512:" HEX64 HEX64));
        assert_false(digest_is_valid(NULL));
        assert_false(digest_is_valid(""));
        assert_false(digest_is_valid(HEX64));
        assert_false(digest_is_valid("sha256:" HEX32));
        assert_false(digest_is_valid(SHA "0"));
        assert_false(digest_is_valid("SHA256:" HEX64));
        assert_false(digest_is_valid("sha256:../../../../../../../etc/passwd" HEX32));
        assert_false(digest_is_valid("sha256:" HEX32 "0123456789abcdef0123456789abcdeG"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good_names), cmocka_unit_test(test_full_text_is_stable),
                cmocka_unit_test(test_bad_names),  cmocka_unit_test(test_lengths),
                cmocka_unit_test(test_texts),      cmocka_unit_test(test_digests),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
