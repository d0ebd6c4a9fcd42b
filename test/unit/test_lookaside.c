#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/lookaside.h"

static char folder[] = "/tmp/test-lookaside-XXXXXX";
static struct arena *arena;

static int make_folder(void **state)
{
        arena = arena_new();
        return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
        arena_free(arena);
        return file_remove_tree(folder, NULL);
}

static void write_file(const char *name, const char *text)
{
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        assert_int_equal(file_replace_volatile(path, text, strlen(text), 0600, NULL), 0);
}

static void remove_file(const char *name)
{
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        unlink(path);
}

static int find(const char *name, struct lookaside *found, struct error *err)
{
        struct reference reference;
        assert_int_equal(reference_parse(name, &reference, NULL), 0);
        return lookaside_find(folder, &reference, arena, found, err);
}

static void expect(const char *name, const char *url, bool attachments)
{
        struct lookaside found;
        struct error err;
        if (find(name, &found, &err) < 0)
                fail_msg("%s", err.message);
        if (url)
                assert_string_equal(found.url, url);
        else
                assert_null(found.url);
        assert_int_equal(found.attachments, attachments);
}

static void test_without_configuration(void **state)
{
        struct reference reference;
        struct lookaside found;
        expect("busybox", LOOKASIDE_DEFAULT "/library/busybox", false);
        assert_int_equal(reference_parse("busybox", &reference, NULL), 0);
        assert_int_equal(lookaside_find("/nowhere", &reference, arena, &found, NULL), 0);
        assert_string_equal(found.url, LOOKASIDE_DEFAULT "/library/busybox");
}

static void test_the_most_specific_section_counts_alone(void **state)
{
        write_file("a.yaml", "# what counts for all\n"
                             "default-docker:\n    sigstore: file:///mnt/all/\n"
                             "    sigstore-staging: file:///mnt/staging\n");
        write_file("b.yaml",
                   "docker:\n"
                   "    registry.example:\n        lookaside: https://one.example/x\n"
                   "        use-sigstore-attachments: true\n"
                   "    registry.example/team:\n        use-sigstore-attachments: true\n"
                   "    \"registry.example/team/app:1\":\n        lookaside: http://two.example\n"
                   "    docker.io/library/busybox: {lookaside: 'https://three.example'}\n");
        write_file("empty.yaml", "# nothing\n");
        write_file("not-read.yml", "- nonsense");
        expect("other.example/a", "file:///mnt/all/a", false);
        expect("registry.example/a/b:1", "https://one.example/x/a/b", true);
        expect("registry.example/team/b", NULL, true);
        expect("registry.example/team/app:1", "http://two.example/team/app", false);
        expect("registry.example/team/app:2", NULL, true);
        expect("busybox", "https://three.example/library/busybox", false);
        remove_file("a.yaml");
        remove_file("b.yaml");
        remove_file("empty.yaml");
        remove_file("not-read.yml");
}

static void test_what_is_wrong_is_named(void **state)
{
        static const struct {
                const char *text, *said;
        } cases[] = {
                {"a: [", "bad.yaml:"},
                {"- a\n", "expected a mapping"},
                {"default: {}\n", "expected docker or default-docker"},
                {"docker: text\n", "expected a mapping"},
                {"docker:\n  a.b: text\n", "bad.yaml:2: a.b"},
                {"docker:\n  a.b:\n    lookasid: file:///x\n", "bad.yaml:3: lookasid"},
                {"docker:\n  a.b:\n    lookaside: ftp://x\n", "expected file:///"},
                {"docker:\n  a.b:\n    lookaside: https://x/?a=b\n", "without blanks"},
                {"docker:\n  a.b:\n    lookaside: file:///x\n    sigstore: file:///y\n", "older"},
                {"docker:\n  a.b:\n    use-sigstore-attachments: maybe\n", "true or false"},
                {"docker:\n  a.b: {}\n  a.b: {}\n", "already"},
                {"default-docker: &a {lookaside: *a}\n", "bad.yaml"},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct lookaside found;
                struct error err;
                write_file("bad.yaml", cases[i].text);
                if (find("a.b/c", &found, &err) == 0)
                        fail_msg("accepted: %s", cases[i].text);
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
                if (!strstr(err.message, cases[i].said))
                        fail_msg("%s: said \"%s\"", cases[i].text, err.message);
        }
        remove_file("bad.yaml");
}

static void test_a_section_stands_in_one_file(void **state)
{
        struct lookaside found;
        struct error err;
        write_file("1.yaml", "default-docker: {lookaside: 'file:///a'}\n");
        write_file("2.yaml", "default-docker: {use-sigstore-attachments: true}\n");
        assert_true(find("a.b/c", &found, &err) < 0);
        assert_non_null(strstr(err.message, "2.yaml"));
        assert_non_null(strstr(err.message, "1.yaml"));
        remove_file("1.yaml");
        remove_file("2.yaml");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_without_configuration),
                cmocka_unit_test(test_the_most_specific_section_counts_alone),
                cmocka_unit_test(test_what_is_wrong_is_named),
                cmocka_unit_test(test_a_section_stands_in_one_file),
        };
        return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
