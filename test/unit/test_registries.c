/* What registries.conf says: the examples of its manual page, merging, and what is refused. */
#include "test/unit/image_fixture.h"

#include <stdlib.h>

#include "image/registries.h"

static struct registries *read_text(const char *text)
{
        struct registries *registries = registries_new();
        struct error err;
        if (registries_add(registries, text, strlen(text), "FILE", &err) < 0)
                fail_msg("%s", err.message);
        return registries;
}

/* The sources of name as "registry/repository[!] ...", an exclamation mark for insecure ones. */
static void assert_sources(const struct registries *registries, const char *name,
                           const char *expected)
{
        AUTO_BUFFER struct buffer got = BUFFER_INIT;
        struct registries_source *sources;
        struct reference reference;
        struct error err;
        size_t count;
        assert_int_equal(reference_parse(name, &reference, NULL), 0);
        if (registries_sources(registries, &reference, &sources, &count, &err) < 0)
                fail_msg("%s", err.message);
        buffer_add_text(&got, "");
        for (size_t i = 0; i < count; i++)
                buffer_printf(&got, "%s%s/%s%s", i ? " " : "", sources[i].registry,
                              sources[i].repository, sources[i].insecure ? "!" : "");
        registries_sources_free(sources, count);
        assert_string_equal(got.length ? got.data : "", expected);
}

static void assert_no_sources(const struct registries *registries, const char *name,
                              enum error_code code, const char *part)
{
        struct registries_source *sources;
        struct reference reference;
        struct error err;
        size_t count;
        assert_int_equal(reference_parse(name, &reference, NULL), 0);
        assert_true(registries_sources(registries, &reference, &sources, &count, &err) < 0);
        assert_int_equal(err.code, code);
        if (!strstr(err.message, part))
                fail_msg("\"%s\" lacks \"%s\"", err.message, part);
}

/* The candidates of name in full, joined by blanks. */
static void assert_candidates(const struct registries *registries, const char *name, bool wanting,
                              const char *expected)
{
        AUTO_BUFFER struct buffer got = BUFFER_INIT;
        AUTO_FREE struct reference *candidates = NULL;
        struct error err;
        size_t count;
        if (registries_candidates(registries, name, wanting, &candidates, &count, &err) < 0)
                fail_msg("%s", err.message);
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *text = reference_text(&candidates[i]);
                buffer_printf(&got, "%s%s", i ? " " : "", text);
        }
        assert_string_equal(got.data, expected);
}

static void assert_no_candidates(const struct registries *registries, const char *name,
                                 const char *part)
{
        AUTO_FREE struct reference *candidates = NULL;
        struct error err;
        size_t count;
        assert_true(registries_candidates(registries, name, true, &candidates, &count, &err) < 0);
        if (!strstr(err.message, part))
                fail_msg("\"%s\" lacks \"%s\"", err.message, part);
}

#define SHA "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* ---- where an image is ---- */

static void test_manual_example(void **state)
{
        AUTO_REGISTRIES struct registries *registries =
                read_text("unqualified-search-registries = [\"example.com\"]\n"
                          "[[registry]]\n"
                          "prefix = \"example.com/foo\"\n"
                          "insecure = false\n"
                          "blocked = false\n"
                          "location = \"internal-registry-for-example.com/bar\"\n"
                          "[[registry.mirror]]\n"
                          "location = \"example-mirror-0.local/mirror-for-foo\"\n"
                          "[[registry.mirror]]\n"
                          "location = \"example-mirror-1.local/mirrors/foo\"\n"
                          "insecure = true\n"
                          "[[registry.mirror]]\n"
                          "location = \"registry.com\"\n");
        assert_sources(registries, "example.com/foo/image:latest",
                       "example-mirror-0.local/mirror-for-foo/image "
                       "example-mirror-1.local/mirrors/foo/image! registry.com/image "
                       "internal-registry-for-example.com/bar/image");
        assert_sources(registries, "example.com/foobar/image", "");
        assert_sources(registries, "example.com/other", "");
        assert_candidates(registries, "image:1", true, "example.com/image:1");
}

static void test_location_is_the_prefix_where_there_is_none(void **state)
{
        AUTO_REGISTRIES struct registries *registries = read_text(
                "[[registry]]\nlocation = \"127.0.0.1:5000\"\ninsecure = true\n"
                "[[registry]]\nprefix = \"docker.io\"\nlocation = \"cache.example/hub/\"\n"
                "[[registry]]\nprefix = \"same.example\"\n");
        assert_sources(registries, "127.0.0.1:5000/a/b@" SHA, "127.0.0.1:5000/a/b!");
        assert_sources(registries, "busybox", "cache.example/hub/library/busybox");
        assert_sources(registries, "same.example/a:1", "same.example/a");
        assert_sources(registries, "127.0.0.1:50001/a/b", "");
}

static void test_longest_prefix(void **state)
{
        AUTO_REGISTRIES struct registries *registries =
                read_text("[[registry]]\nprefix = \"a.example\"\nlocation = \"one.example\"\n"
                          "[[registry]]\nprefix = \"a.example/x/y\"\nlocation = \"three.example\"\n"
                          "[[registry]]\nprefix = \"a.example/x\"\nlocation = \"two.example/2\"\n"
                          "[[registry]]\nprefix = \"a.example/x/y/img:tag\"\n"
                          "location = \"four.example/four\"\n"
                          "[[registry]]\nprefix = \"*.example\"\nlocation = \"wild.example/w\"\n"
                          "[[registry]]\nprefix = \"*.b.example\"\n");
        assert_sources(registries, "a.example/y", "one.example/y");
        assert_sources(registries, "a.example/x/img", "two.example/2/img");
        assert_sources(registries, "a.example/x/y/img", "three.example/img");
        assert_sources(registries, "a.example/x/y/img:tag", "four.example/four");
        assert_sources(registries, "other.example/img", "wild.example/w/img");
        assert_sources(registries, "c.b.example/img", "c.b.example/img");
        assert_sources(registries, "example/img", "");
        assert_sources(registries, "registry.org/sub.example/img", "");
}

static void test_mirrors_by_digest(void **state)
{
        AUTO_REGISTRIES struct registries *registries =
                read_text("[[registry]]\nlocation = \"a.example\"\nmirror-by-digest-only = true\n"
                          "[[registry.mirror]]\nlocation = \"m.example\"\n"
                          "[[registry]]\nlocation = \"b.example\"\n"
                          "[[registry.mirror]]\nlocation = \"d.example\"\n"
                          "pull-from-mirror = \"digest-only\"\n"
                          "[[registry.mirror]]\nlocation = \"t.example\"\n"
                          "pull-from-mirror = \"tag-only\"\n"
                          "[[registry.mirror]]\nlocation = \"all.example\"\n"
                          "pull-from-mirror = \"all\"\n");
        assert_sources(registries, "a.example/i:1", "a.example/i");
        assert_sources(registries, "a.example/i@" SHA, "m.example/i a.example/i");
        assert_sources(registries, "b.example/i:1", "t.example/i all.example/i b.example/i");
        assert_sources(registries, "b.example/i:1@" SHA, "d.example/i all.example/i b.example/i");
}

static void test_blocked(void **state)
{
        AUTO_REGISTRIES struct registries *registries =
                read_text("[[registry]]\nlocation = \"a.example\"\n"
                          "[[registry]]\nprefix = \"a.example/bad\"\nblocked = true\n");
        assert_sources(registries, "a.example/good", "a.example/good");
        assert_no_sources(registries, "a.example/bad/i", ERROR_PERMISSION_DENIED,
                          "a.example/bad/i:latest is blocked by FILE:3 (prefix a.example/bad)");
}

static void test_locations_that_lead_nowhere(void **state)
{
        AUTO_REGISTRIES struct registries *registries =
                read_text("[[registry]]\nprefix = \"a.example/i\"\nlocation = \"b.example\"\n"
                          "[[registry]]\nprefix = \"c.example\"\nlocation = \"internal\"\n");
        assert_no_sources(registries, "a.example/i:1", ERROR_FAILED_PRECONDITION, "FILE:1");
        assert_no_sources(registries, "c.example/i:1", ERROR_FAILED_PRECONDITION, "\"internal/i\"");
}

/* ---- short names ---- */

static void test_aliases(void **state)
{
        AUTO_REGISTRIES struct registries *registries =
                read_text("unqualified-search-registries = [\"one.example\", \"two.example\"]\n"
                          "[aliases]\n\"fedora\" = \"registry.fedoraproject.org/fedora\"\n"
                          "\"ubi8/ubi\" = \"registry.access.redhat.com/ubi8/ubi\"\n");
        assert_candidates(registries, "fedora", true, "registry.fedoraproject.org/fedora:latest");
        assert_candidates(registries, "fedora:40", true, "registry.fedoraproject.org/fedora:40");
        assert_candidates(registries, "fedora@" SHA, true,
                          "registry.fedoraproject.org/fedora@" SHA);
        assert_candidates(registries, "ubi8/ubi:1@" SHA, true,
                          "registry.access.redhat.com/ubi8/ubi:1@" SHA);
        assert_candidates(registries, "x/fedora", true,
                          "one.example/x/fedora:latest two.example/x/fedora:latest");
        assert_candidates(registries, "docker.io/fedora", true, "docker.io/library/fedora:latest");
}

static void test_search(void **state)
{
        static const char two[] = "unqualified-search-registries = [\"quay.io\", \"docker.io\"]\n";
        AUTO_REGISTRIES struct registries *none = registries_new();
        AUTO_REGISTRIES struct registries *empty = read_text("unqualified-search-registries = []");
        AUTO_REGISTRIES struct registries *permissive = read_text(two);
        AUTO_FREE char *text = xprintf("%sshort-name-mode = \"enforcing\"\n", two);
        AUTO_REGISTRIES struct registries *enforcing = read_text(text);

        assert_candidates(none, "busybox", true, "docker.io/library/busybox:latest");
        assert_no_candidates(empty, "busybox", "unqualified-search-registries in FILE is empty");
        assert_candidates(empty, "quay.io/busybox", true, "quay.io/busybox:latest");
        assert_candidates(permissive, "busybox:1", true,
                          "quay.io/busybox:1 docker.io/library/busybox:1");
        assert_no_candidates(enforcing, "busybox:1",
                             "it may be quay.io/busybox:1 or docker.io/library/busybox:1, and "
                             "short-name-mode is \"enforcing\"");
        /* What is here already is found all the same. */
        assert_candidates(enforcing, "busybox:1", false,
                          "quay.io/busybox:1 docker.io/library/busybox:1");
        assert_no_candidates(permissive, "Busy Box", "image name");
        assert_no_candidates(permissive, SHA + 7, "ID");
}

/* ---- the files ---- */

static void test_wrong_files(void **state)
{
        static const struct {
                const char *text, *part;
        } FILES[] = {
                {"unqualified-search-registries = \"docker.io\"", "FILE:1: "},
                {"unqualified-search-registries = [\"https://docker.io\"]", "not a registry"},
                {"unqualified-search-registries = [\"docker\"]", "not a registry"},
                {"short-name-mode = \"strict\"", "\"enforcing\""},
                {"[[registry]]\nblocked = true", "needs a prefix or a location"},
                {"[[registry]]\nlocation = \"\"", "needs a prefix or a location"},
                {"[[registry]]\nlocation = \"https://a.example\"", "FILE:2: "},
                {"[[registry]]\nlocation = \"a.example/i:1\"", "tag"},
                {"[[registry]]\nprefix = \"a.*.example\"", "asterisk"},
                {"[[registry]]\nlocation = \"a.example\"\ninsecure = \"yes\"",
                 "expected a boolean"},
                {"[[registry]]\nlocation = \"a.example\"\n[[registry.mirror]]\ninsecure = true",
                 "a mirror needs a location"},
                {"[[registry]]\nlocation = \"a.example\"\n[[registry.mirror]]\n"
                 "location = \"b.example\"\npull-from-mirror = \"never\"",
                 "digest-only"},
                {"[[registry]]\nlocation = \"a.example\"\nmirror-by-digest-only = true\n"
                 "[[registry.mirror]]\nlocation = \"b.example\"\npull-from-mirror = \"all\"",
                 "exclude each other"},
                {"[registry]\nlocation = \"a.example\"", "expected an array"},
                {"[aliases]\n\"a.example/b\" = \"c.example/d\"", "short name"},
                {"[aliases]\n\"b:1\" = \"c.example/d\"", "short name"},
                {"[aliases]\nb = \"d\"", "full name"},
                {"[aliases]\nb = \"c.example/d:1\"", "full name"},
                {"[registries.search]\nregistries = ['registry1.com', 'registry2.com']\n",
                 "version 1"},
                {"[registries.block]\nregistries = ['registry1.com']\n", "version 1"},
                {"[[registry", "FILE:1"},
        };
        for (size_t i = 0; i < sizeof(FILES) / sizeof(FILES[0]); i++) {
                AUTO_REGISTRIES struct registries *registries = registries_new();
                struct error err;
                if (registries_add(registries, FILES[i].text, strlen(FILES[i].text), "FILE",
                                   &err) == 0)
                        fail_msg("accepted: %s", FILES[i].text);
                if (!strstr(err.message, FILES[i].part))
                        fail_msg("\"%s\" lacks \"%s\"", err.message, FILES[i].part);
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        }
}

static void test_what_is_not_known_is_passed_over(void **state)
{
        log_set_level(LOG_LEVEL_ERROR);
        AUTO_REGISTRIES struct registries *registries =
                read_text("credential-helpers = [\"containers-auth.json\", \"ecr-login\"]\n"
                          "additional-layer-store-auth-helper = \"x\"\n"
                          "[registries.search]\nregistries = []\n"
                          "[[registry]]\nlocation = \"a.example\"\nnew = 1\n");
        assert_sources(registries, "a.example/i", "a.example/i");
        char *const *helpers = registries_credential_helpers(registries);
        assert_string_equal(helpers[0], "containers-auth.json");
        assert_string_equal(helpers[1], "ecr-login");
        assert_null(helpers[2]);
        log_set_level(LOG_LEVEL_INFO);
}

static void test_drop_ins(void **state)
{
        struct registries *registries = NULL;
        struct error err;
        fixture_root_make();
        const char *path = at("registries.conf");

        assert_int_equal(registries_load(path, &registries, &err), 0);
        assert_candidates(registries, "i", true, "docker.io/library/i:latest");
        registries_unref(registries);

        AUTO_FREE char *before = registries_fingerprint(path);
        write_file(path, "unqualified-search-registries = [\"one.example\"]\n"
                         "[[registry]]\nlocation = \"a.example\"\ninsecure = true\n"
                         "[[registry]]\nlocation = \"b.example\"\n"
                         "[aliases]\nx = \"one.example/x\"\ny = \"one.example/y\"\n");
        assert_int_equal(mkdir(at("registries.conf.d"), 0755), 0);
        write_file(at("registries.conf.d/20-b.conf"),
                   "[[registry]]\nlocation = \"a.example\"\n[aliases]\nx = \"\"\n");
        write_file(at("registries.conf.d/10-a.conf"),
                   "unqualified-search-registries = [\"two.example\"]\n"
                   "[[registry]]\nprefix = \"a.example\"\nlocation = \"c.example\"\n"
                   "[aliases]\nx = \"two.example/x\"\n");
        write_file(at("registries.conf.d/30-c.conf.disabled"), "rubbish");
        if (registries_load(path, &registries, &err) < 0)
                fail_msg("%s", err.message);
        assert_candidates(registries, "i", true, "two.example/i:latest");
        assert_candidates(registries, "x", true, "two.example/x:latest"); /* the search, as the
                                                                             alias is erased */
        assert_candidates(registries, "y", true, "one.example/y:latest");
        assert_sources(registries, "a.example/i", "a.example/i");
        assert_sources(registries, "b.example/i", "b.example/i");
        registries_unref(registries);

        AUTO_FREE char *with = registries_fingerprint(path);
        AUTO_FREE char *again = registries_fingerprint(path);
        assert_string_not_equal(before, with);
        assert_string_equal(with, again);
        assert_int_equal(unlink(at("registries.conf.d/10-a.conf")), 0);
        AUTO_FREE char *without = registries_fingerprint(path);
        assert_string_not_equal(with, without);

        write_file(at("registries.conf.d/40-d.conf"), "[[registry]]\nlocation = 1\n");
        assert_true(registries_load(path, &registries, &err) < 0);
        assert_non_null(strstr(err.message, "registries.conf.d/40-d.conf:2: "));
        fixture_root_remove();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_manual_example),
                cmocka_unit_test(test_location_is_the_prefix_where_there_is_none),
                cmocka_unit_test(test_longest_prefix),
                cmocka_unit_test(test_mirrors_by_digest),
                cmocka_unit_test(test_blocked),
                cmocka_unit_test(test_locations_that_lead_nowhere),
                cmocka_unit_test(test_aliases),
                cmocka_unit_test(test_search),
                cmocka_unit_test(test_wrong_files),
                cmocka_unit_test(test_what_is_not_known_is_passed_over),
                cmocka_unit_test(test_drop_ins),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
