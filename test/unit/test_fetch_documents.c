/* What registries send that is not a layer: manifests, configurations, challenges, refusals; and
 * paths in layers. */
#include "test/unit/document_fixture.h"

/* ---- manifests ---- */

static int parse(struct arena *arena, const char *text, const char *type, struct manifest *manifest,
                 struct error *err)
{
        return manifest_parse(text, strlen(text), type, arena, manifest, err);
}

static void test_image_manifest(void **state)
{
        struct manifest manifest;
        struct error err = {0};

        assert_int_equal(parse(*state, "{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER "]}",
                               "text/plain", &manifest, &err),
                         0);
        assert_false(manifest.is_index);
        assert_string_equal(manifest.media_type, "application/vnd.oci.image.manifest.v1+json");
        assert_string_equal(manifest.config.digest, SHA);
        assert_int_equal(manifest.config.size, 7);
        assert_int_equal(manifest.count, 1);
        assert_string_equal(manifest.entries[0].digest, SHA2);
        assert_int_equal(manifest.entries[0].size, 9);

        /* The server's word counts where the document does not say. */
        assert_int_equal(parse(*state, "{" CONFIG ",\"layers\":[]}",
                               "application/vnd.docker.distribution.manifest.v2+json", &manifest,
                               &err),
                         0);
        assert_string_equal(manifest.media_type,
                            "application/vnd.docker.distribution.manifest.v2+json");
}

static void test_annotations(void **state)
{
        struct manifest manifest;
        struct error err = {0};

        assert_int_equal(parse(*state,
                               "{" CONFIG ",\"layers\":[" LAYER ",{\"digest\":\"" SHA2
                               "\",\"size\":9,\"annotations\":{\"a\":\"1\",\"b\":\"\"}}]}",
                               "", &manifest, &err),
                         0);
        assert_null(descriptor_annotation(&manifest.entries[0], "a"));
        assert_string_equal(descriptor_annotation(&manifest.entries[1], "a"), "1");
        assert_string_equal(descriptor_annotation(&manifest.entries[1], "b"), "");
        assert_null(descriptor_annotation(&manifest.entries[1], "c"));
        assert_true(parse(*state,
                          "{\"layers\":[],\"config\":{\"digest\":\"" SHA
                          "\",\"size\":7,\"annotations\":{\"a\":1}}}",
                          "", &manifest, &err) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
}

static void test_schema_1(void **state)
{
        static const char *const texts[] = {
                "{\"schemaVersion\":1,\"fsLayers\":[]}",
                "{\"fsLayers\":[]}",
                "{\"mediaType\":\"application/vnd.docker.distribution.manifest.v1+prettyjws\"}",
        };
        struct manifest manifest;

        for (size_t i = 0; i < 3; i++) {
                struct error err = {0};
                assert_true(parse(*state, texts[i], "", &manifest, &err) < 0);
                assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
                assert_non_null(strstr(err.message, "push the image again"));
        }
        assert_true(parse(*state, "{}", "application/vnd.docker.distribution.manifest.v1+prettyjws",
                          &manifest, NULL) < 0);
}

static void test_bad_manifests(void **state)
{
        static const char *const texts[] = {
                "",
                "[]",
                "{}",
                "null",
                "{\"layers\":[]}",
                "{" CONFIG ",\"layers\":{}}",
                "{" CONFIG ",\"layers\":[1]}",
                "{" CONFIG ",\"layers\":[{}]}",
                "{" CONFIG ",\"layers\":[{\"digest\":\"" SHA "\"}]}",
                "{" CONFIG ",\"layers\":[{\"digest\":\"" SHA "\",\"size\":-1}]}",
                "{" CONFIG ",\"layers\":[{\"digest\":\"sha256:../../x\",\"size\":1}]}",
                "{\"config\":{\"digest\":\"x\",\"size\":1},\"layers\":[]}",
                "{\"config\":7,\"layers\":[]}",
                "{" CONFIG ",\"layers\":[],\"manifests\":[]}",
                "{\"mediaType\":\"application/vnd.oci.image.index.v1+json\"," CONFIG "}",
                "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"manifests\":[]}",
                "{\"mediaType\":7,\"manifests\":[]}",
                "{\"manifests\":[{\"digest\":\"" SHA "\",\"size\":1,\"platform\":[]}]}",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct manifest manifest;
                struct error err = {0};
                if (parse(*state, texts[i], "", &manifest, &err) == 0)
                        fail_msg("accepted: %s", texts[i]);
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        }
}

static void test_too_many_layers(void **state)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        struct manifest manifest;

        buffer_add_text(&text, "{" CONFIG ",\"layers\":[");
        for (int i = 0; i < 501; i++)
                buffer_printf(&text, "%s%s", i > 0 ? "," : "", LAYER);
        buffer_add_text(&text, "]}");
        assert_true(parse(*state, text.data, "", &manifest, NULL) < 0);
}

/* ---- platforms ---- */

struct choice {
        const char *os, *architecture, *variant; /* wanted */
        int expected;                            /* index of the entry, or -1 */
};

#define ENTRY(os, architecture, variant)                                                           \
        "{\"digest\":\"" SHA "\",\"size\":1,\"platform\":{\"os\":\"" os                            \
        "\",\"architecture\":\"" architecture "\",\"variant\":\"" variant "\"}}"

static void test_platforms(void **state)
{
        static const char text[] = "{\"manifests\":[" ENTRY("unknown", "unknown", "") "," /* 0 */
                ENTRY("linux", "arm", "v5") "," ENTRY("linux", "arm", "v7") ","           /* 1 2 */
                ENTRY("linux", "arm64", "") "," ENTRY("linux", "amd64", "") ","           /* 3 4 */
                ENTRY("linux", "amd64", "") "," ENTRY("linux", "amd64", "v3") ","         /* 5 6 */
                ENTRY("windows", "amd64", "") "," ENTRY("linux", "aarch64", "v9") "]}";   /* 7 8 */
        static const struct choice choices[] = {
                {"linux", "amd64", NULL, 4},  {"linux", "x86_64", NULL, 4},
                {"linux", "amd64", "v2", 4},  {"linux", "amd64", "v3", 6},
                {"linux", "amd64", "v4", 6},  {"linux", "arm64", NULL, 3},
                {"linux", "arm64", "v8", 3},  {"linux", "arm64", "v9", 8},
                {"linux", "arm", NULL, 2},    {"linux", "arm", "v6", 1},
                {"linux", "arm", "v4", -1},   {"linux", "riscv64", NULL, -1},
                {"freebsd", "amd64", "", -1}, {"windows", "amd64", "", 7},
        };
        struct manifest index;
        struct error err = {0};

        assert_int_equal(parse(*state, text, "", &index, &err), 0);
        assert_true(index.is_index);
        for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
                const struct choice *choice = &choices[i];
                struct platform wanted =
                        platform_complete(choice->os, choice->architecture, choice->variant);
                const struct descriptor *entry = NULL;
                int r = manifest_select(&index, &wanted, &entry, &err);
                int found = r < 0 ? -1 : (int)(entry - index.entries);
                if (found != choice->expected)
                        fail_msg("choice %zu: %d", i, found);
                if (r < 0) {
                        assert_int_equal(err.code, ERROR_NOT_FOUND);
                        assert_non_null(strstr(err.message, "linux/arm/v5, linux/arm/v7"));
                        assert_null(strstr(err.message, "unknown"));
                }
        }
}

/* The only entry that there is. */
static bool accepts(struct arena *arena, const char *architecture, const char *variant,
                    const char *entry)
{
        struct manifest index;
        const struct descriptor *found;
        struct platform wanted = platform_complete("linux", architecture, variant);
        AUTO_FREE char *text = xprintf("{\"manifests\":[%s]}", entry);
        assert_int_equal(parse(arena, text, "", &index, NULL), 0);
        return manifest_select(&index, &wanted, &found, NULL) == 0;
}

static void test_related_platforms(void **state)
{
        static const char *const v7 = ENTRY("linux", "arm", "v7");
        assert_true(accepts(*state, "armv7l", NULL, ENTRY("linux", "arm", "v6")));
        assert_true(accepts(*state, "armv7l", NULL, v7));
        assert_false(accepts(*state, "armv6l", NULL, v7));
        assert_true(accepts(*state, "armv6l", NULL, ENTRY("linux", "armel", "")));
        assert_false(accepts(*state, "armv6l", NULL, ENTRY("linux", "arm", "")));
        assert_true(accepts(*state, "arm64", NULL, v7));
        assert_true(accepts(*state, "amd64", NULL, ENTRY("linux", "386", "")));
        assert_false(accepts(*state, "386", NULL, ENTRY("linux", "amd64", "")));
        assert_false(accepts(*state, "arm", "v7", ENTRY("linux", "arm64", "")));
        assert_true(accepts(*state, "amd64", NULL, ENTRY("linux", "amd64", "v1")));
        assert_false(accepts(*state, "amd64", NULL, ENTRY("linux", "amd64", "v2")));
        assert_true(accepts(*state, "ppc64le", "power9", ENTRY("linux", "ppc64le", "power9")));
        assert_false(accepts(*state, "ppc64le", "power8", ENTRY("linux", "ppc64le", "power9")));
        /* Windows' versions are in the way of nobody else. */
        assert_true(accepts(*state, "amd64", NULL,
                            "{\"digest\":\"" SHA "\",\"size\":1,\"platform\":{\"os\":\"linux\","
                            "\"architecture\":\"amd64\",\"os.version\":\"10.0.1\","
                            "\"os.features\":[\"x\"]}}"));

        /* The own instruction set comes before the other, whatever the order. */
        struct manifest index;
        const struct descriptor *found;
        struct platform wanted = platform_complete("linux", "arm64", NULL);
        assert_int_equal(parse(*state,
                               "{\"manifests\":[" ENTRY("linux", "arm", "v8") "," ENTRY(
                                       "linux", "arm", "v7") "," ENTRY("linux", "arm64", "") "]}",
                               "", &index, NULL),
                         0);
        assert_int_equal(manifest_select(&index, &wanted, &found, NULL), 0);
        assert_string_equal(found->platform.architecture, "arm64");
}

static void test_urls_of_layers(void **state)
{
        struct manifest manifest;
        struct error err;
        static const char text[] =
                "{\"config\":{\"digest\":\"" SHA "\",\"size\":1},\"layers\":[{\"digest\":\"" SHA
                "\",\"size\":1,\"urls\":[\"https://a/b\",\"https://c/d\"]},{\"digest\":\"" SHA
                "\",\"size\":1,\"urls\":null}]}";
        assert_int_equal(parse(*state, text, "", &manifest, NULL), 0);
        assert_int_equal(manifest.entries[0].url_count, 2);
        assert_string_equal(manifest.entries[0].urls[1], "https://c/d");
        assert_int_equal(manifest.entries[1].url_count, 0);

        AUTO_BUFFER struct buffer many = BUFFER_INIT;
        buffer_add_text(&many, "{\"manifests\":[{\"digest\":\"" SHA "\",\"size\":1,\"urls\":[");
        for (int i = 0; i < 9; i++)
                buffer_printf(&many, "%s\"https://a\"", i ? "," : "");
        buffer_add_text(&many, "]}]}");
        assert_true(parse(*state, many.data, "", &manifest, &err) < 0);
        assert_non_null(strstr(err.message, "more than 8 urls"));
        assert_true(parse(*state,
                          "{\"manifests\":[{\"digest\":\"" SHA "\",\"size\":1,\"urls\":[7]}]}", "",
                          &manifest, &err) < 0);
        assert_non_null(strstr(err.message, "urls: expected strings"));
}

static void test_index_without_platforms(void **state)
{
        struct manifest index;
        const struct descriptor *entry;
        struct platform wanted = platform_complete(NULL, NULL, NULL);

        assert_string_equal(wanted.os, "linux");
        assert_true(wanted.architecture[0] != '\0');
        assert_int_equal(parse(*state, "{\"manifests\":[" LAYER "]}", "", &index, NULL), 0);
        assert_int_equal(manifest_select(&index, &wanted, &entry, NULL), 0);
        assert_int_equal(parse(*state, "{\"manifests\":[]}", "", &index, NULL), 0);
        assert_true(manifest_select(&index, &wanted, &entry, NULL) < 0);
}

/* ---- configurations ---- */

static int parse_config(struct arena *arena, const char *text, struct manifest_config *config,
                        struct error *err)
{
        return manifest_config_parse(text, strlen(text), arena, config, err);
}

static void test_image_config(void **state)
{
        struct manifest_config config;
        struct error err = {0};

        assert_int_equal(parse_config(*state,
                                      "{\"os\":\"linux\",\"architecture\":\"amd64\","
                                      "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" SHA
                                      "\",\"" SHA2 "\"]}}",
                                      &config, &err),
                         0);
        assert_int_equal(config.count, 2);
        assert_string_equal(config.diff_ids[1], SHA2);
        assert_string_equal(config.platform.architecture, "amd64");

        assert_true(parse_config(*state, "{}", &config, &err) < 0);
        assert_non_null(strstr(err.message, "artifact"));
        assert_true(parse_config(*state, "{\"rootfs\":{\"diff_ids\":[\"sha256:x\"]}}", &config,
                                 &err) < 0);
        assert_true(parse_config(*state, "{\"rootfs\":{\"diff_ids\":[7]}}", &config, &err) < 0);
        assert_true(parse_config(*state, "{\"rootfs\":[]}", &config, &err) < 0);
        assert_true(parse_config(*state, "7", &config, &err) < 0);
}

/* ---- challenges ---- */

static void test_challenges(void **state)
{
        static const struct {
                const char *text;
                enum challenge_scheme scheme;
                const char *realm, *service, *scope;
        } cases[] = {
                {"Bearer realm=\"https://auth.example/token\",service=\"registry.example\","
                 "scope=\"repository:a/b:pull,push\"\n",
                 CHALLENGE_BEARER, "https://auth.example/token", "registry.example",
                 "repository:a/b:pull,push"},
                {"Basic realm=\"x\"\n", CHALLENGE_BASIC, "x", "", ""},
                {"basic realm=x\n", CHALLENGE_BASIC, "x", "", ""},
                {"Basic\n", CHALLENGE_BASIC, "", "", ""},
                {"Basic realm=\"x\", Bearer realm=\"y\", service=z\n", CHALLENGE_BEARER, "y", "z",
                 ""},
                {"Basic realm=\"x\"\nBEARER realm = \"y\"\n", CHALLENGE_BEARER, "y", "", ""},
                {"Bearer service=\"no realm\"\nBasic realm=\"x\"\n", CHALLENGE_BASIC, "x", "", ""},
                {"Bearer realm=\"a\\\"b\\\\c\"\n", CHALLENGE_BEARER, "a\"b\\c", "", ""},
                {"Negotiate abc==, Basic realm=\"x\"\n", CHALLENGE_BASIC, "x", "", ""},
                {"Bearer realm=\"unterminated", CHALLENGE_BEARER, "unterminated", "", ""},
                {"Negotiate\n", CHALLENGE_NONE, "", "", ""},
                {"", CHALLENGE_NONE, "", "", ""},
                {"= = ,,, \"\\", CHALLENGE_NONE, "", "", ""},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct challenge challenge;
                bool found = challenge_parse(cases[i].text, &challenge);
                if (challenge.scheme != cases[i].scheme)
                        fail_msg("%s: scheme %d", cases[i].text, challenge.scheme);
                assert_int_equal(found, cases[i].scheme != CHALLENGE_NONE);
                assert_string_equal(challenge.realm, cases[i].realm);
                assert_string_equal(challenge.service, cases[i].service);
                assert_string_equal(challenge.scope, cases[i].scope);
        }
}

static void test_long_challenge(void **state)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        struct challenge challenge;

        buffer_add_text(&text, "Bearer realm=\"");
        for (int i = 0; i < CHALLENGE_VALUE_MAX; i++)
                buffer_add_text(&text, "x");
        buffer_add_text(&text, "\"");
        assert_false(challenge_parse(text.data, &challenge));
}

/* ---- refusals and URLs ---- */

static void assert_refusal(long status, const char *body, const char *secret, const char *expected)
{
        AUTO_HTTP_CALL struct http_call call = {.status = status};
        const char *secrets[] = {secret, NULL};
        char text[REFUSAL_TEXT_MAX];

        buffer_add_text(&call.problem, body);
        refusal_text(&call, secrets, text);
        assert_string_equal(text, expected);
}

static void test_refusals(void **state)
{
        assert_refusal(404, "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"no\"}]}",
                       NULL, "404 Not Found: MANIFEST_UNKNOWN: no");
        assert_refusal(401, "{\"details\":\"incorrect username or password\"}", NULL,
                       "401 Unauthorized: incorrect username or password");
        assert_refusal(401, "{\"details\":\"your password hunter2 is wrong\"}", "hunter2",
                       "401 Unauthorized");
        assert_refusal(503, "<html>", NULL, "503 Service Unavailable");
        assert_refusal(418, "", NULL, "HTTP status 418");
        assert_refusal(403, "{\"message\":\"a\\nb\\u001b[31m\"}", NULL, "403 Forbidden: a b [31m");
        assert_refusal(403, "{\"errors\":{\"message\":7}}", NULL, "403 Forbidden");
        assert_refusal(403, "[]", NULL, "403 Forbidden");

        assert_int_equal(refusal_code(401), ERROR_UNAUTHENTICATED);
        assert_int_equal(refusal_code(403), ERROR_PERMISSION_DENIED);
        assert_int_equal(refusal_code(404), ERROR_NOT_FOUND);
        assert_int_equal(refusal_code(502), ERROR_UNAVAILABLE);
        assert_int_equal(refusal_code(429), ERROR_UNAVAILABLE);
        assert_int_equal(refusal_code(418), ERROR_UNKNOWN);
        assert_true(refusal_is_passing(429));
        assert_false(refusal_is_passing(404));
}

static void test_urls(void **state)
{
        assert_true(host_is_loopback("localhost"));
        assert_true(host_is_loopback("127.0.0.1"));
        assert_true(host_is_loopback("127.9.8.7"));
        assert_true(host_is_loopback("[::1]"));
        assert_false(host_is_loopback("[::2]"));
        assert_false(host_is_loopback("localhost.example"));
        assert_false(host_is_loopback("127.0.0.1.example"));
        assert_false(host_is_loopback("128.0.0.1"));

        assert_true(http_same_origin("https://a.example/x", "https://A.example:443/y?z"));
        assert_false(http_same_origin("https://a.example/", "http://a.example/"));
        assert_false(http_same_origin("https://a.example/", "https://a.example:444/"));
        assert_false(http_same_origin("https://a.example/", "https://a.example.evil.example/"));
        assert_false(http_same_origin("https://a.example/", "https://a.example@evil.example/"));
        assert_true(http_url_is_allowed("https://a.example", false));
        assert_false(http_url_is_allowed("http://a.example", false));
        assert_true(http_url_is_allowed("http://a.example", true));
        assert_false(http_url_is_allowed("file:///etc/passwd", true));
        assert_false(http_url_is_allowed("ftp://a.example", true));
        assert_false(http_url_is_allowed("nonsense", true));
}

/* ---- paths ---- */

static void test_paths(void **state)
{
        static const struct {
                const char *text;
                enum path_kind kind;
                const char *parent, *name;
        } cases[] = {
                {"", PATH_ROOT, ".", ""},
                {"/", PATH_ROOT, ".", ""},
                {".", PATH_ROOT, ".", ""},
                {"./././/", PATH_ROOT, ".", ""},
                {"a", PATH_ENTRY, ".", "a"},
                {"./a/", PATH_ENTRY, ".", "a"},
                {"/a//b/./c", PATH_ENTRY, "a/b", "c"},
                {"a/...", PATH_ENTRY, "a", "..."},
                {"a/..b", PATH_ENTRY, "a", "..b"},
                {".hidden", PATH_ENTRY, ".", ".hidden"},
                {"a/.wh.b", PATH_WHITEOUT, "a", "b"},
                {".wh.b", PATH_WHITEOUT, ".", "b"},
                {"a/.wh..hidden", PATH_WHITEOUT, "a", ".hidden"},
                {"a/.wh..wh..opq", PATH_OPAQUE, "a", ""},
                {".wh..wh..opq", PATH_OPAQUE, ".", ""},
                {".whatever", PATH_ENTRY, ".", ".whatever"},
        };
        static const char *const bad[] = {"..", "a/..", "../a", "a/../b", "/..//", ".wh.a/b"};
        struct path path;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                assert_int_equal(path_parse(cases[i].text, &path, NULL), 0);
                if (path.kind != cases[i].kind)
                        fail_msg("%s: kind %d", cases[i].text, path.kind);
                assert_string_equal(path.parent, cases[i].parent);
                assert_string_equal(path.name, cases[i].name);
        }
        assert_int_equal(path_parse(".wh..wh.plnk/x", &path, NULL), 0);
        assert_int_equal(path.kind, PATH_IGNORED);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_true(path_parse(bad[i], &path, NULL) < 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_image_manifest),
                TEST(test_annotations),
                TEST(test_schema_1),
                TEST(test_bad_manifests),
                TEST(test_too_many_layers),
                TEST(test_platforms),
                TEST(test_related_platforms),
                TEST(test_urls_of_layers),
                TEST(test_index_without_platforms),
                TEST(test_image_config),
                TEST(test_challenges),
                TEST(test_long_challenge),
                TEST(test_refusals),
                TEST(test_urls),
                TEST(test_paths),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
