#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/base64.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "image/identity.h"
#include "image/policy.h"

#define HEX32 "0123456789abcdef0123456789abcdef"
#define SHA   "sha256:" HEX32 HEX32
#define ANY   "[{\"type\":\"insecureAcceptAnything\"}]"
#define NONE  "[{\"type\":\"reject\"}]"

static struct arena *arena;

static int set_up(void **state)
{
        arena = arena_new();
        return 0;
}

static int tear_down(void **state)
{
        arena_free(arena);
        return 0;
}

static int parse(const char *text, struct policy **policy, struct error *err)
{
        return policy_parse(text, strlen(text), "policy.json", arena, policy, err);
}

static struct policy *good(const char *text)
{
        struct policy *policy = NULL;
        struct error err;
        if (parse(text, &policy, &err) < 0)
                fail_msg("%s", err.message);
        return policy;
}

static struct reference name_of(const char *text)
{
        struct reference reference;
        assert_int_equal(reference_parse(text, &reference, NULL), 0);
        return reference;
}

/* ---- the file ---- */

/* A policy whose default has one requirement. */
#define REQUIRES(text) "{\"default\":[{" text "}]}"
#define SIGNED_BY(text)                                                                            \
        REQUIRES("\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"/k\"" text)
#define SIGSTORE(text) REQUIRES("\"type\":\"sigstoreSigned\"" text)
#define IDENTITY(text) SIGNED_BY(",\"signedIdentity\":{" text "}")

static const struct {
        const char *text, *said;
} BAD[] = {
        {"", "not valid JSON"},
        {"[]", "expected an object"},
        {"{}", "default: missing"},
        {"{\"default\":[]}", "default"},
        {"{\"default\":{}}", "default"},
        {"{\"default\":" ANY ",\"more\":1}", "more"},
        {"{\"default\":" ANY ",\"default\":" ANY "}", "duplicate"},
        {"{\"default\":" ANY ",\"transports\":[]}", "transports"},
        {"{\"default\":" ANY ",\"transports\":{\"docker\":[]}}", "transports.docker"},
        {"{\"default\":" ANY ",\"transports\":{\"docker\":{\"a.b/c\":[]}}}", "\"a.b/c\""},
        {REQUIRES("\"type\":\"accept\""), "\"accept\" is not supported"},
        {REQUIRES("\"type\":\"reject\",\"keyPath\":\"/k\""), "keyPath"},
        {REQUIRES("\"type\":null"), "type"},
        {REQUIRES(""), "type: missing"},
        {REQUIRES("\"type\":\"signedBy\",\"keyPath\":\"/k\""), "keyType: missing"},
        {REQUIRES("\"type\":\"signedBy\",\"keyType\":\"GPGKeys\""), "keyPath"},
        {REQUIRES("\"type\":\"signedBy\",\"keyType\":\"X509CAs\",\"keyPath\":\"/k\""), "X509CAs"},
        {SIGNED_BY(",\"keyData\":\"aGk=\""), "exclude each other"},
        {SIGNED_BY(",\"keyDatas\":[\"aGk=\"]"), "keyDatas"},
        {REQUIRES("\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"k\""),
         "absolute path"},
        {REQUIRES("\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPaths\":[]"), "keyPaths"},
        {REQUIRES("\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":[\"/k\"]"),
         "expected text"},
        {REQUIRES("\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyData\":\"?\""), "base64"},
        {IDENTITY("\"type\":\"matchAnything\""), "matchAnything"},
        {IDENTITY("\"type\":\"matchExact\",\"prefix\":\"a.b\""), "prefix"},
        {IDENTITY("\"type\":\"exactReference\""), "dockerReference: missing"},
        {IDENTITY("\"type\":\"exactReference\",\"dockerReference\":\"a.b/c\""), "tag or digest"},
        {IDENTITY("\"type\":\"exactRepository\",\"dockerRepository\":\"a.b/c:1\""), "without tag"},
        {IDENTITY("\"type\":\"remapIdentity\",\"prefix\":\"a.b\""), "signedPrefix: missing"},
        {IDENTITY("\"type\":\"remapIdentity\",\"prefix\":\"busybox/x\",\"signedPrefix\":\"a.b\""),
         "name in full"},
        {IDENTITY("\"type\":\"remapIdentity\",\"prefix\":\"a.b\",\"signedPrefix\":\"a.b/c:1\""),
         "name in full"},
        {SIGSTORE(""), "exactly one of keyPath"},
        {SIGSTORE(",\"keyPath\":\"/k\",\"fulcio\":{\"caPath\":\"/c\",\"oidcIssuer\":\"i\","
                  "\"subjectEmail\":\"e\"},\"rekorPublicKeyPath\":\"/r\""),
         "exactly one of keyPath"},
        {SIGSTORE(",\"fulcio\":{\"caPath\":\"/c\",\"oidcIssuer\":\"i\",\"subjectEmail\":\"e\"}"),
         "fulcio needs a rekorPublicKeyPath"},
        {SIGSTORE(",\"rekorPublicKeyPath\":\"/r\",\"fulcio\":{\"caPath\":\"/c\","
                  "\"subjectEmail\":\"e\"}"),
         "oidcIssuer: missing"},
        {SIGSTORE(",\"rekorPublicKeyPath\":\"/r\",\"fulcio\":{\"oidcIssuer\":\"i\","
                  "\"subjectEmail\":\"e\"}"),
         "caPath"},
        {SIGSTORE(",\"pki\":{\"caRootsPath\":\"/c\"}"), "subjectHostname"},
        {SIGSTORE(",\"pki\":{\"caRootsPath\":\"/c\",\"subjectEmail\":\"e\"},"
                  "\"rekorPublicKeyPath\":\"/r\""),
         "exclude each other"},
};

static void test_what_is_wrong_refuses_the_file(void **state)
{
        for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
                struct policy *policy = NULL;
                struct error err;
                if (parse(BAD[i].text, &policy, &err) == 0)
                        fail_msg("accepted: %s", BAD[i].text);
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
                if (!strstr(err.message, BAD[i].said) ||
                    strncmp(err.message, "policy.json", 11) != 0)
                        fail_msg("%s: said \"%s\"", BAD[i].text, err.message);
        }
}

static void test_what_is_right_is_read(void **state)
{
        static const char *const texts[] = {
                REQUIRES("\"type\":\"insecureAcceptAnything\""),
                SIGNED_BY(""),
                REQUIRES("\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPaths\":[\"/a\",\"/"
                         "b\"]"),
                REQUIRES("\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyData\":\"aGk=\""),
                IDENTITY("\"type\":\"exactReference\",\"dockerReference\":\"busybox:1\""),
                IDENTITY("\"type\":\"remapIdentity\",\"prefix\":\"docker.io/library/busybox\","
                         "\"signedPrefix\":\"localhost:5000\""),
                IDENTITY("\"type\":\"remapIdentity\",\"prefix\":\"docker.io\","
                         "\"signedPrefix\":\"docker.io/library\""),
                SIGSTORE(",\"keyPath\":\"/k\",\"rekorPublicKeyDatas\":[\"aGk=\",\"aGk=\"]"),
                SIGSTORE(",\"keyPaths\":[\"/k\"]"),
                SIGSTORE(",\"keyDatas\":[\"aGk=\"]"),
                SIGSTORE(",\"fulcio\":{\"caData\":\"aGk=\",\"oidcIssuer\":\"i\","
                         "\"subjectEmail\":\"e\"},\"rekorPublicKeyPath\":\"/r\""),
                SIGSTORE(",\"pki\":{\"caRootsPath\":\"/c\",\"caIntermediatesData\":\"aGk=\","
                         "\"subjectHostname\":\"h\"}"),
                "{\"default\":" ANY ",\"transports\":{\"other\":{\"anything\":" NONE "}}}",
        };
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                good(texts[i]);
}

/* ---- scopes ---- */

static const char SCOPES[] =
        "{\"default\":" NONE ",\"transports\":{\"docker\":{"
        "\"\":" ANY ",\"docker.io/library/busybox:1\":" ANY ",\"docker.io/library\":" ANY
        ",\"docker.io/library/busybox@" SHA "\":" ANY ",\"host.example:5000/a/b\":" ANY
        ",\"host.example:5000/a\":" ANY ",\"host.example:5000\":" ANY ",\"*.example\":" ANY
        ",\"*.deep.example\":" ANY "},"
        "\"oci\":{\"/srv/images\":" ANY ",\"/srv/images/one:1\":" ANY ",\"/srv\":" ANY "}}}";

static void test_the_most_specific_scope_counts(void **state)
{
        static const struct {
                const char *name, *scope;
        } cases[] = {
                {"busybox:1", "docker docker.io/library/busybox:1"},
                {"busybox:2", "docker docker.io/library"},
                {"busybox@" SHA, "docker docker.io/library/busybox@" SHA},
                {"busybox:1@" SHA, "docker docker.io/library/busybox@" SHA},
                {"docker.io/other/thing", "docker"},
                {"host.example:5000/a/b:1", "docker host.example:5000/a/b"},
                {"host.example:5000/a/b/c:1", "docker host.example:5000/a/b"},
                {"host.example:5000/a/bc:1", "docker host.example:5000/a"},
                {"host.example:5000/x:1", "docker host.example:5000"},
                {"host.example/x:1", "docker *.example"},
                {"more.host.example:77/x:1", "docker *.example"},
                {"x.deep.example/x:1", "docker *.deep.example"},
                {"deep.example/x:1", "docker *.example"},
                {"example.org/x:1", "docker"},
        };
        struct policy *policy = good(SCOPES);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct reference reference = name_of(cases[i].name);
                assert_string_equal(policy_for_name(policy, &reference)->scope, cases[i].scope);
        }
        assert_string_equal(policy_for_nameless(policy)->scope, "docker");
}

static void test_what_decides(void **state)
{
        struct reference reference = name_of("busybox");
        static const struct {
                const char *text;
                enum policy_kind kind;
        } cases[] = {
                {"{\"default\":" ANY "}", POLICY_ACCEPT},
                {"{\"default\":[{\"type\":\"insecureAcceptAnything\"},{\"type\":\"reject\"}]}",
                 POLICY_REJECT},
                {"{\"default\":[{\"type\":\"insecureAcceptAnything\"},{\"type\":\"signedBy\","
                 "\"keyType\":\"GPGKeys\",\"keyPath\":\"/k\"}]}",
                 POLICY_SIGNED_BY},
                {SIGSTORE(",\"keyPath\":\"/k\""), POLICY_SIGSTORE_SIGNED},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                assert_int_equal(policy_decides(policy_for_name(good(cases[i].text), &reference)),
                                 cases[i].kind);
}

/* ---- identities ---- */

static const struct {
        enum policy_match match;
        const char *value, *signed_prefix, *asked, *claimed;
        bool matches;
} IDENTITIES[] = {
        {POLICY_MATCH_EXACT, NULL, NULL, "a.b/c:1", "a.b/c:1", true},
        {POLICY_MATCH_EXACT, NULL, NULL, "a.b/c:1", "a.b/c:2", false},
        {POLICY_MATCH_EXACT, NULL, NULL, "a.b/c:1", "a.b/c", false},
        {POLICY_MATCH_EXACT, NULL, NULL, "a.b/c:latest", "a.b/c", false},
        {POLICY_MATCH_EXACT, NULL, NULL, "busybox:1", "docker.io/library/busybox:1", true},
        {POLICY_MATCH_EXACT, NULL, NULL, "a.b/c@" SHA, "a.b/c:1", false},
        {POLICY_MATCH_EXACT, NULL, NULL, "a.b/c@" SHA, "a.b/c@" SHA, true},
        {POLICY_MATCH_EXACT, NULL, NULL, "a.b/c:1", "not a name", false},
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, NULL, NULL, "a.b/c:1", "a.b/c:1", true},
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, NULL, NULL, "a.b/c:1", "a.b/c:2", false},
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, NULL, NULL, "a.b/c:1", "a.b/c", false},
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, NULL, NULL, "a.b/c@" SHA, "a.b/c:2", true},
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, NULL, NULL, "a.b/c:1@" SHA, "a.b/c:2", true},
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, NULL, NULL, "a.b/c@" SHA, "a.b/d:2", false},
        {POLICY_MATCH_REPOSITORY, NULL, NULL, "a.b/c:1", "a.b/c:2", true},
        {POLICY_MATCH_REPOSITORY, NULL, NULL, "a.b/c:1", "a.b/c", true},
        {POLICY_MATCH_REPOSITORY, NULL, NULL, "a.b/c:1", "a.b/cc", false},
        {POLICY_EXACT_REFERENCE, "x.y/z:1", NULL, "a.b/c:1", "x.y/z:1", true},
        {POLICY_EXACT_REFERENCE, "x.y/z:1", NULL, "a.b/c:1", "x.y/z:2", false},
        {POLICY_EXACT_REFERENCE, "x.y/z:1", NULL, "a.b/c:1", "a.b/c:1", false},
        {POLICY_EXACT_REPOSITORY, "x.y/z", NULL, "a.b/c:1", "x.y/z:2", true},
        {POLICY_EXACT_REPOSITORY, "x.y/z", NULL, "a.b/c:1", "a.b/c:1", false},
        {POLICY_REMAP_IDENTITY, "mirror:5000/v", "vendor.example", "mirror:5000/v/a/b:1",
         "vendor.example/a/b:1", true},
        {POLICY_REMAP_IDENTITY, "mirror:5000/v", "vendor.example", "mirror:5000/v/a/b:1",
         "vendor.example/a/b:2", false},
        {POLICY_REMAP_IDENTITY, "mirror:5000/v", "vendor.example", "mirror:5000/v/a/b:1",
         "mirror:5000/v/a/b:1", false},
        {POLICY_REMAP_IDENTITY, "mirror:5000/v", "vendor.example", "mirror:5000/v/a/b@" SHA,
         "vendor.example/a/b:2", true},
        {POLICY_REMAP_IDENTITY, "mirror:5000/v", "vendor.example", "mirror:5000/vv/a:1",
         "mirror:5000/vv/a:1", true},
        {POLICY_REMAP_IDENTITY, "mirror:5000/v/a", "vendor.example/w", "mirror:5000/v/a:1",
         "vendor.example/w:1", true},
        {POLICY_REMAP_IDENTITY, "mirror:5000", "docker.io", "mirror:5000/library/busybox:1",
         "busybox:1", true},
};

static void test_identities(void **state)
{
        for (size_t i = 0; i < sizeof(IDENTITIES) / sizeof(IDENTITIES[0]); i++) {
                struct policy_identity identity = {IDENTITIES[i].match, IDENTITIES[i].value,
                                                   IDENTITIES[i].signed_prefix};
                struct reference reference = name_of(IDENTITIES[i].asked);
                assert_int_equal(identity_check(&identity, NULL), 0);
                if (identity_matches(&identity, &reference, IDENTITIES[i].claimed) !=
                    IDENTITIES[i].matches)
                        fail_msg("%zu: %s signed as %s", i, IDENTITIES[i].asked,
                                 IDENTITIES[i].claimed);
        }
}

/* ---- keys ---- */

static void test_keys_travel_with_the_requirements(void **state)
{
        char path[] = "/tmp/test-policy-XXXXXX";
        int fd = mkstemp(path);
        struct policy_requirements loaded, read;
        struct reference reference = name_of("busybox");
        struct error err;
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(file_replace_volatile(path, "first", 5, 0600, NULL), 0);
        AUTO_FREE char *text = xprintf(
                "{\"default\":[{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPaths\":"
                "[\"%s\",\"%s\"],\"signedIdentity\":{\"type\":\"remapIdentity\",\"prefix\":\"a.b\","
                "\"signedPrefix\":\"c.d\"}},{\"type\":\"sigstoreSigned\",\"fulcio\":{\"caPath\":"
                "\"%s\",\"oidcIssuer\":\"i\",\"subjectEmail\":\"e\"},\"rekorPublicKeyData\":"
                "\"aGk=\"}]}",
                path, path, path);
        const struct policy_requirements *asked = policy_for_name(good(text), &reference);
        assert_int_equal(policy_load_keys(asked, arena, &loaded, &err), 0);
        AUTO_JSON json_t *json = policy_to_json(&loaded);
        if (policy_from_json(json, arena, &read, &err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(read.count, 2);
        assert_int_equal(read.list[0].keys.count, 2);
        assert_memory_equal(read.list[0].keys.list[1].bytes, "first", 5);
        assert_int_equal(read.list[0].identity.match, POLICY_REMAP_IDENTITY);
        assert_string_equal(read.list[0].identity.signed_prefix, "c.d");
        assert_true(read.list[1].has_fulcio);
        assert_string_equal(read.list[1].oidc_issuer, "i");
        assert_memory_equal(read.list[1].ca.list[0].bytes, "first", 5);
        assert_memory_equal(read.list[1].rekor.list[0].bytes, "hi", 2);
        unlink(path);
        assert_true(policy_load_keys(asked, arena, &loaded, &err) < 0);
        assert_non_null(strstr(err.message, path));
        assert_non_null(strstr(err.message, "default[0]"));
}

static void test_base64(void **state)
{
        static const struct {
                const char *bytes, *text;
        } cases[] = {{"", ""},
                     {"f", "Zg=="},
                     {"fo", "Zm8="},
                     {"foo", "Zm9v"},
                     {"foob", "Zm9vYg=="},
                     {"fooba", "Zm9vYmE="},
                     {"foobar", "Zm9vYmFy"},
                     {"\xfb\xff", "+/8="}};
        static const char *const bad[] = {"Z",    "Zg",       "Zg=",    "Zg===", "Zh==", "Zm9=",
                                          "Z g=", "Zg==Zg==", "Zm9v\n", "====",  "-_8="};
        size_t count;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                AUTO_FREE char *text = base64_encode(cases[i].bytes, strlen(cases[i].bytes));
                AUTO_FREE unsigned char *bytes = base64_decode(text, strlen(text), &count);
                assert_string_equal(text, cases[i].text);
                assert_non_null(bytes);
                assert_int_equal(count, strlen(cases[i].bytes));
                assert_string_equal((char *)bytes, cases[i].bytes);
        }
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                if (base64_decode(bad[i], strlen(bad[i]), &count))
                        fail_msg("accepted: %s", bad[i]);
        AUTO_FREE unsigned char *url = base64_decode_url("-_8", 3, &count);
        assert_non_null(url);
        assert_int_equal(count, 2);
        assert_null(base64_decode_url("-_8=", 4, &count));
        assert_null(base64_decode_url("+/8", 3, &count));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_wrong_refuses_the_file),
                cmocka_unit_test(test_what_is_right_is_read),
                cmocka_unit_test(test_the_most_specific_scope_counts),
                cmocka_unit_test(test_what_decides),
                cmocka_unit_test(test_identities),
                cmocka_unit_test(test_keys_travel_with_the_requirements),
                cmocka_unit_test(test_base64),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
