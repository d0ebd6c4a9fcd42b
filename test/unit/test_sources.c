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
        struct fetch_endpoint *endpoints;
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
        AUTO_SOURCES struct sources *sources = sources_new();
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

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hosts),
                cmocka_unit_test(test_defaults),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
