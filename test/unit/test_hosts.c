/* hosts.toml and folders of certificates, as containerd and docker have them. */
#include "test/unit/image_fixture.h"

#include "image/hosts.h"

static struct arena *arena;

static int set_up(void **state)
{
        fixture_root_make();
        arena = arena_new();
        return 0;
}

static int tear_down(void **state)
{
        arena_free(arena);
        fixture_root_remove();
        return 0;
}

static size_t parse(const char *text, const char *registry, struct fetch_endpoint **endpoints)
{
        struct error err;
        size_t count = 0;
        if (hosts_parse(text, strlen(text), "/certs/r/hosts.toml", registry, arena, endpoints,
                        &count, &err) < 0)
                fail_msg("%s", err.message);
        return count;
}

/* ---- hosts.toml ---- */

static void test_mirrors_before_the_server(void **state)
{
        struct fetch_endpoint *e;
        size_t count = parse("server = \"https://registry-1.docker.io\"\n"
                             "[host.\"https://public-mirror.example.com\"]\n"
                             "  capabilities = [\"pull\"]\n"
                             "[host.\"https://docker-mirror.internal\"]\n"
                             "  capabilities = [\"pull\", \"resolve\"]\n"
                             "  ca = \"docker-mirror.crt\"\n",
                             "docker.io", &e);
        assert_int_equal(count, 3);
        assert_string_equal(e[0].url, "https://public-mirror.example.com/v2");
        assert_true(e[0].digests_only && e[0].exact_path);
        assert_string_equal(e[0].ns, "docker.io");
        assert_string_equal(e[1].url, "https://docker-mirror.internal/v2");
        assert_false(e[1].digests_only);
        assert_int_equal(e[1].authority_count, 1);
        assert_string_equal(e[1].authorities[0], "/certs/r/docker-mirror.crt");
        assert_string_equal(e[2].url, "https://registry-1.docker.io/v2");
        assert_null(e[2].ns);
        assert_false(e[2].digests_only);
}

static void test_registry_itself_comes_last(void **state)
{
        struct fetch_endpoint *e;
        size_t count =
                parse("[host.\"http://192.168.31.250:5000\"]\n", "registry.example:8443", &e);
        assert_int_equal(count, 2);
        assert_string_equal(e[0].url, "http://192.168.31.250:5000/v2");
        assert_string_equal(e[0].ns, "registry.example:8443");
        assert_string_equal(e[1].url, "https://registry.example:8443/v2");
        assert_null(e[1].ns);
        assert_int_equal(
                parse("server = \"mirror.example\"\nskip_verify = true\n", "a.example", &e), 1);
        assert_string_equal(e[0].url, "https://mirror.example/v2");
        assert_string_equal(e[0].ns, "a.example");
        assert_true(e[0].insecure);
}

static void test_paths(void **state)
{
        struct fetch_endpoint *e;
        size_t count = parse("[host.\"https://m.example/v2/cache/\"]\noverride_path = true\n"
                             "[host.\"https://m.example/cache\"]\n"
                             "[host.\"https://m.example/v2/\"]\n"
                             "[host.\"https://m.example\"]\noverride_path = true\n",
                             "a.example", &e);
        assert_int_equal(count, 5);
        assert_string_equal(e[0].url, "https://m.example/v2/cache");
        assert_string_equal(e[1].url, "https://m.example/cache/v2");
        assert_string_equal(e[2].url, "https://m.example/v2");
        assert_string_equal(e[3].url, "https://m.example");
        for (size_t i = 0; i < count; i++)
                assert_true(e[i].exact_path);
}

static void test_all_keys(void **state)
{
        struct fetch_endpoint *e;
        size_t count = parse("[host.\"https://m.example\"]\n"
                             "ca = [\"/etc/certs/a.pem\", \"b.pem\"]\n"
                             "client = [[\"client.cert\", \"client.key\"], [\"x.pem\", \"\"]]\n"
                             "dial_timeout = \"1m1.5s\"\n"
                             "  [host.\"https://m.example\".header]\n"
                             "    x-custom-1 = [\"a\", \"b\"]\n"
                             "    x-custom-2 = \"c d\"\n"
                             "[host.\"https://n.example\"]\nclient = \"both.pem\"\n"
                             "dial_timeout = \"500ms\"\n"
                             "[host.\"https://o.example\"]\nclient = [\"one.pem\"]\n"
                             "capabilities = [\"push\"]\n"
                             "[host.\"https://p.example\"]\nclient = [[\"/p.pem\", \"\"]]\n",
                             "a.example", &e);
        assert_int_equal(count, 4);
        assert_int_equal(e[0].authority_count, 2);
        assert_string_equal(e[0].authorities[0], "/etc/certs/a.pem");
        assert_string_equal(e[0].authorities[1], "/certs/r/b.pem");
        assert_string_equal(e[0].certificate, "/certs/r/client.cert");
        assert_string_equal(e[0].key, "/certs/r/client.key");
        assert_int_equal(e[0].connect_timeout, 61500);
        assert_int_equal(e[0].header_count, 3);
        assert_string_equal(e[0].headers[0], "x-custom-1: a");
        assert_string_equal(e[0].headers[1], "x-custom-1: b");
        assert_string_equal(e[0].headers[2], "x-custom-2: c d");
        assert_string_equal(e[1].certificate, "/certs/r/both.pem");
        assert_null(e[1].key);
        assert_int_equal(e[1].connect_timeout, 500);
        assert_string_equal(e[2].certificate, "/p.pem"); /* o.example may not be pulled from */
        assert_null(e[2].key);
        /* What stands at the root is the server's alone. */
        assert_int_equal(e[3].header_count, 0);
}

static void test_wrong_files(void **state)
{
        static const struct {
                const char *text, *part;
        } FILES[] = {
                {"server = 1", "hosts.toml:1: server"},
                {"server = \"ftp://a.example\"", "expected https"},
                {"server = \"https://user@a.example\"", "expected a host"},
                {"server = \"https://a.example?x\"", "at most a path"},
                {"host = \"https://a.example\"", "expected a table"},
                {"[host]\n\"https://a.example\" = 1", "hosts.toml:2: "},
                {"capabilities = [\"pul\"]", "none of \"pull\""},
                {"capabilities = [\"push\"]", "none of its hosts"},
                {"ca = 7", "hosts.toml:1: ca"},
                {"client = [[\"a\", \"b\", \"c\"]]", "its key's"},
                {"skip_verify = \"yes\"", "expected a boolean"},
                {"dial_timeout = \"5\"", "\"30s\""},
                {"dial_timeout = \"5 s\"", "\"30s\""},
                {"dial_timeout = \"2h\"", "at most an hour"},
                {"header = \"a: b\"", "expected a table"},
                {"[header]\na = 1", "hosts.toml:2: header.a"},
        };
        for (size_t i = 0; i < sizeof(FILES) / sizeof(FILES[0]); i++) {
                struct fetch_endpoint *endpoints;
                struct error err;
                size_t count;
                if (hosts_parse(FILES[i].text, strlen(FILES[i].text), "/r/hosts.toml", "a.example",
                                arena, &endpoints, &count, &err) == 0)
                        fail_msg("accepted: %s", FILES[i].text);
                if (!strstr(err.message, FILES[i].part))
                        fail_msg("\"%s\" lacks \"%s\"", err.message, FILES[i].part);
        }
}

/* ---- folders ---- */

static void put(const char *folder, const char *name, const char *text)
{
        assert_int_equal(file_make_directories(at("%s", folder), 0755, NULL), 0);
        write_file(at("%s/%s", folder, name), text);
}

static const char *first_url(const char *registry)
{
        char *dirs[] = {xstrdup(at("none")), xstrdup(at("one")), xstrdup(at("two")), NULL};
        struct fetch_endpoint *endpoints;
        const char *certificates;
        struct error err;
        size_t count;
        if (hosts_endpoints(dirs, registry, arena, &endpoints, &count, &certificates, &err) < 0)
                fail_msg("%s", err.message);
        for (size_t i = 0; dirs[i]; i++)
                free(dirs[i]);
        return count ? endpoints[0].url : certificates;
}

static void test_folder_names(void **state)
{
        put("one/a.example_5000_", "hosts.toml", "server = \"https://underscores\"");
        put("one/a.example:5000", "hosts.toml", "server = \"https://colon\"");
        put("one/b.example:5000", "hosts.toml", "server = \"https://b\"");
        put("two/a.example", "hosts.toml", "server = \"https://portless\"");
        assert_string_equal(first_url("a.example:5000"), "https://underscores/v2");
        assert_string_equal(first_url("b.example:5000"), "https://b/v2");
        assert_string_equal(first_url("a.example"), "https://portless/v2");
        assert_null(first_url("c.example"));
        put("two/_default", "hosts.toml", "server = \"https://others\"");
        assert_string_equal(first_url("c.example"), "https://others/v2");
        put("one/d.example", "ca.crt", "");
        assert_string_equal(first_url("d.example"), at("one/d.example"));
}

static void test_certificates(void **state)
{
        struct fetch_endpoint endpoint = {.url = "https://a.example"};
        struct error err = {0};
        put("a.example", "b.crt", "");
        put("a.example", "a.crt", "");
        put("a.example", "z.cert", "");
        put("a.example", "z.key", "");
        put("a.example", "client.cert", "");
        put("a.example", "client.key", "");
        put("a.example", "README", "");
        assert_int_equal(hosts_add_certificates(at("a.example"), arena, &endpoint, &err), 0);
        assert_int_equal(endpoint.authority_count, 2);
        assert_string_equal(endpoint.authorities[0], at("a.example/a.crt"));
        assert_string_equal(endpoint.authorities[1], at("a.example/b.crt"));
        assert_string_equal(endpoint.certificate, at("a.example/client.cert"));
        assert_string_equal(endpoint.key, at("a.example/client.key"));

        assert_int_equal(unlink(at("a.example/z.key")), 0);
        assert_true(hosts_add_certificates(at("a.example"), arena, &endpoint, &err) < 0);
        assert_non_null(strstr(err.message, "a.example/z.key is missing"));
}

static void test_halves(void **state)
{
        struct fetch_endpoint endpoint = {.url = "https://a.example"};
        struct error err;
        put("cert", "client.cert", "");
        assert_true(hosts_add_certificates(at("cert"), arena, &endpoint, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.message, "cert/client.key is missing"));
        put("key", "client.key", "");
        assert_true(hosts_add_certificates(at("key"), arena, &endpoint, &err) < 0);
        assert_non_null(strstr(err.message, "key/client.cert is missing"));
        assert_null(endpoint.certificate);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_mirrors_before_the_server),
                TEST(test_registry_itself_comes_last),
                TEST(test_paths),
                TEST(test_all_keys),
                TEST(test_wrong_files),
                TEST(test_folder_names),
                TEST(test_certificates),
                TEST(test_halves),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
