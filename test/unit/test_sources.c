/* From an image's name to the places that may have it. */
#include "test/unit/image_fixture.h"

#include "image/host.h"
#include "image/sources.h"

static void test_hosts(void **state)
{
        assert_true(host_is_plain("localhost"));
        assert_true(host_is_plain("127.0.0.1:5000"));
        assert_true(host_is_plain("[::1]:5000"));
        assert_false(host_is_plain("localhost:443"));
        assert_false(host_is_plain("registry.example:5000"));
        assert_true(host_is_same("https://index.docker.io/v1/", "docker.io"));
        assert_true(host_is_same("https://registry-1.docker.io", "docker.io"));
        assert_true(host_is_same("REGISTRY.example:443", "https://registry.example/v2"));
        assert_false(host_is_same("registry.example:5000", "registry.example"));
        assert_false(host_is_same("registry.example.org", "registry.example"));
}

/* The only endpoint of a name, in a task. */
static void assert_url(struct sources *sources, const char *name, const char *url)
{
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_FREE struct reference *candidates = NULL;
        struct fetch_endpoint *endpoints = NULL;
        size_t count = 0;
        assert_int_equal(sources_candidates(sources, name, &candidates, &count, NULL), 0);
        assert_int_equal(count, 1);
        assert_int_equal(
                sources_endpoints(sources, &candidates[0], arena, &endpoints, &count, NULL), 0);
        assert_int_equal(count, 1);
        assert_string_equal(endpoints[0].url, url);
        assert_null(endpoints[0].credentials.username);
}

static void defaults(void)
{
        AUTO_SOURCES struct sources *sources = sources_new(&(struct sources_options){0});
        assert_int_equal(sources_refresh(sources, NULL), 0);
        assert_url(sources, "busybox", "https://registry-1.docker.io");
        assert_url(sources, "registry.example:5000/app", "https://registry.example:5000");
        assert_url(sources, "127.0.0.1:5000/app", "http://127.0.0.1:5000");
        assert_url(sources, "localhost/app", "http://localhost");
        assert_url(sources, "localhost:443/app", "https://localhost:443");
}

static void test_defaults(void **state)
{
        in_task(defaults);
}

/* The URLs of a name's only candidate, joined by blanks; an exclamation mark for insecure ones. */
static void assert_urls(struct sources *sources, const char *name, const char *expected)
{
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_BUFFER struct buffer got = BUFFER_INIT;
        AUTO_FREE struct reference *candidates = NULL;
        struct fetch_endpoint *endpoints = NULL;
        size_t count = 0;
        struct error err;
        if (sources_candidates(sources, name, &candidates, &count, &err) < 0 ||
            sources_endpoints(sources, &candidates[0], arena, &endpoints, &count, &err) < 0)
                fail_msg("%s", err.message);
        for (size_t i = 0; endpoints && i < count; i++)
                buffer_printf(&got, "%s%s%s%s", i ? " " : "", endpoints[i].url,
                              endpoints[i].insecure ? "!" : "",
                              endpoints[i].authority_count ? "+" : "");
        assert_string_equal(got.data, expected);
}

static struct sources *make_sources(void)
{
        char *hosts[] = {xstrdup(at("hosts")), NULL}, *certs[] = {xstrdup(at("certs")), NULL};
        struct sources_options options = {
                .registries_conf = at("registries.conf"),
                .hosts_dirs = hosts,
                .certs_dirs = certs,
        };
        struct sources *sources = sources_new(&options);
        free(hosts[0]);
        free(certs[0]);
        return sources;
}

static void put(const char *folder, const char *name, const char *text)
{
        assert_int_equal(file_make_directories(at("%s", folder), 0755, NULL), 0);
        write_file(at("%s/%s", folder, name), text);
}

static void both_systems(void)
{
        AUTO_SOURCES struct sources *sources = make_sources();
        put("hosts/a.example", "hosts.toml", "[host.\"http://m.example:80\"]\n");
        put("hosts/b.example", "hosts.toml", "[host.\"http://m.example:80\"]\n");
        put("hosts/c.example", "ca.crt", "");
        put("certs/localhost:5000", "ca.crt", "");
        put("certs/b.example", "ca.crt", "");
        put("certs/localhost:5001", "README", "");
        put("hosts/d.example", "README", "");
        put("certs/d.example", "ca.crt", "");
        write_file(at("registries.conf"),
                   "[[registry]]\nlocation = \"a.example\"\n"
                   "[[registry.mirror]]\nlocation = \"n.example/p\"\ninsecure = true\n");
        assert_int_equal(sources_refresh(sources, NULL), 0);
        /* A [[registry]] that matches decides. */
        assert_urls(sources, "a.example/i",
                    "https://n.example! http://n.example https://a.example");
        assert_urls(sources, "b.example/i", "http://m.example:80/v2 https://b.example/v2+");
        assert_urls(sources, "c.example/i", "https://c.example+");
        assert_urls(sources, "d.example/i", "https://d.example+");
        /* Who has certificates speaks TLS, on this machine too. */
        assert_urls(sources, "localhost:5000/i", "https://localhost:5000+");
        assert_urls(sources, "localhost:5001/i", "http://localhost:5001");
}

static void test_both_systems(void **state)
{
        in_task(both_systems);
}

static void changes(void)
{
        AUTO_SOURCES struct sources *sources = make_sources();
        struct error err;
        assert_int_equal(sources_load(sources, NULL), 0);
        assert_urls(sources, "i", "https://registry-1.docker.io");
        put("", "registries.conf", "unqualified-search-registries = [\"a.example\"]");
        assert_urls(sources, "i", "https://registry-1.docker.io");
        assert_int_equal(sources_refresh(sources, &err), 0);
        assert_urls(sources, "i", "https://a.example");

        /* What is wrong is told each time, until it is mended. */
        write_file(at("registries.conf"), "unqualified-search-registries = [");
        for (int i = 0; i < 2; i++) {
                assert_true(sources_refresh(sources, &err) < 0);
                assert_non_null(strstr(err.message, "registries.conf:1: "));
        }
        write_file(at("registries.conf"), "unqualified-search-registries = [\"a.example\"]");
        assert_int_equal(sources_refresh(sources, &err), 0);
        assert_urls(sources, "i", "https://a.example");
}

static void test_changes(void **state)
{
        in_task(changes);
}

static void finds(void)
{
        static const unsigned layers[] = {1};
        AUTO_SOURCES struct sources *sources = make_sources();
        struct store *store = open_store();
        assert_int_equal(store_image_as(store, "busybox", 0xabc, layers, 1, fill_with_name, NULL),
                         0);
        assert_int_equal(
                store_image_as(store, "quay.io/app", 0xdef, layers, 1, fill_with_name, NULL), 0);
        AUTO_FREE char *hub = image_of(0xabc);
        AUTO_FREE char *quay = image_of(0xdef);
        assert_string_equal(sources_find(sources, store, "busybox")->id, hub);
        assert_null(sources_find(sources, store, "app"));

        /* A short name means what a pull would bring now, in whatever mode. */
        put("", "registries.conf",
            "unqualified-search-registries = [\"a.example\", \"quay.io\"]\n"
            "short-name-mode = \"enforcing\"\n[aliases]\nbox = \"docker.io/library/busybox\"\n");
        assert_int_equal(sources_refresh(sources, NULL), 0);
        assert_string_equal(sources_find(sources, store, "app")->id, quay);
        assert_string_equal(sources_find(sources, store, "box:latest")->id, hub);
        assert_null(sources_find(sources, store, "box:2"));
        assert_null(sources_find(sources, store, "busybox"));
        assert_string_equal(sources_find(sources, store, "docker.io/busybox")->id, hub);

        /* IDs are IDs. */
        assert_string_equal(sources_find(sources, store, hub)->id, hub);
        assert_string_equal(sources_find(sources, store, hub + 7)->id, hub);
        put("", "registries.conf", "unqualified-search-registries = []\n");
        assert_int_equal(sources_refresh(sources, NULL), 0);
        assert_null(sources_find(sources, store, "busybox"));
        assert_string_equal(sources_find(sources, store, quay + 7)->id, quay);
        assert_string_equal(sources_find(sources, store, quay)->id, quay);
        assert_null(sources_find(sources, store, ""));
        store_free(store);
}

static void test_finds(void **state)
{
        in_task(finds);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hosts),        cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_both_systems), cmocka_unit_test(test_changes),
                cmocka_unit_test(test_finds),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
