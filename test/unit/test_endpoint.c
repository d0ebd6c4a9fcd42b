/* What a request's endpoints become: URLs, headers, certificates. */
#include "test/unit/image_fixture.h"

#include "image/fetch/endpoint.h"

/* The only endpoint of a request, or null and the error. */
static struct endpoint_list *make(const struct fetch_endpoint *from, struct error *err)
{
        const struct fetch_request request = {
                .reference = "registry.example/team/app:1",
                .endpoints = from,
                .endpoint_count = 1,
        };
        struct endpoint_list *list = NULL;
        *err = (struct error){0};
        return endpoint_list_new(&request, &list, err) == 0 ? list : NULL;
}

static void assert_url(const struct fetch_endpoint *from, const char *url, const char *query)
{
        struct error err;
        AUTO_ENDPOINTS struct endpoint_list *list = make(from, &err);
        if (!list) {
                fail_msg("%s", err.message);
                return;
        }
        assert_string_equal(list->list[0].url, url);
        assert_string_equal(list->list[0].query, query);
}

static void assert_refused(const struct fetch_endpoint *from, enum error_code code,
                           const char *part)
{
        struct error err;
        AUTO_ENDPOINTS struct endpoint_list *list = make(from, &err);
        assert_null(list);
        assert_int_equal(err.code, code);
        if (!strstr(err.message, part))
                fail_msg("\"%s\" lacks \"%s\"", err.message, part);
}

static void test_urls(void **state)
{
        assert_url(&(struct fetch_endpoint){.url = "https://m.example"},
                   "https://m.example/v2/team/app", "");
        assert_url(&(struct fetch_endpoint){.url = "http://m.example:5000//cache/x/"},
                   "http://m.example:5000/v2/cache/x/team/app", "");
        assert_url(&(struct fetch_endpoint){.url = "https://m.example", .repository = "other"},
                   "https://m.example/v2/other", "");
        assert_url(&(struct fetch_endpoint){.url = "https://m.example/x/v2/", .exact_path = true},
                   "https://m.example/x/v2/team/app", "");
        assert_url(&(struct fetch_endpoint){.url = "https://m.example", .exact_path = true},
                   "https://m.example/team/app", "");
        assert_url(&(struct fetch_endpoint){.url = "https://m.example", .ns = "a.example:5000&x"},
                   "https://m.example/v2/team/app", "?ns=a.example%3A5000%26x");
        assert_refused(&(struct fetch_endpoint){.url = "ftp://m.example"}, ERROR_INVALID_ARGUMENT,
                       "expected https://");
        assert_refused(&(struct fetch_endpoint){.url = "https://me@m.example"},
                       ERROR_INVALID_ARGUMENT, "nothing before it");
        assert_refused(&(struct fetch_endpoint){.url = "https:///x"}, ERROR_INVALID_ARGUMENT,
                       "expected a host");
        assert_refused(&(struct fetch_endpoint){.url = "https://m.example/x?y"},
                       ERROR_INVALID_ARGUMENT, "at most a path");
}

/* An insecure registry is asked by https and then by http: errors say which was which. */
static void test_names(void **state)
{
        const struct fetch_endpoint from[] = {{.url = "http://mirror.example"},
                                              {.url = "https://m.example:5000", .insecure = true},
                                              {.url = "http://m.example:5000"},
                                              {.url = "https://registry.example"}};
        static const char *const names[] = {"mirror.example", "m.example:5000",
                                            "http://m.example:5000", "registry.example"};
        const struct fetch_request request = {
                .reference = "registry.example/team/app:1", .endpoints = from, .endpoint_count = 4};
        AUTO_ENDPOINTS struct endpoint_list *list = NULL;
        assert_int_equal(endpoint_list_new(&request, &list, NULL), 0);
        for (size_t i = 0; i < 4; i++)
                assert_string_equal(list->list[i].name, names[i]);
}

static void test_headers(void **state)
{
        static const char *const good[] = {"X-One: a b", "X-Empty:", "x-two:c"};
        static const char *const bad[] = {"X One: a", ": a", "none", "X: a\r\nY: b", "X: \x7f"};
        struct error err;
        AUTO_ENDPOINTS struct endpoint_list *list = make(
                &(struct fetch_endpoint){
                        .url = "https://m.example", .headers = good, .header_count = 3},
                &err);
        assert_non_null(list);
        char **headers = list->list[0].identity.headers;
        assert_string_equal(headers[0], "X-One: a b");
        assert_string_equal(headers[1], "X-Empty;"); /* libcurl's way of writing it */
        assert_string_equal(headers[2], "x-two:c");
        assert_null(headers[3]);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_refused(&(struct fetch_endpoint){.url = "https://m.example",
                                                        .headers = &bad[i],
                                                        .header_count = 1},
                               ERROR_INVALID_ARGUMENT, "m.example: header");
}

static void test_files(void **state)
{
        fixture_root_make();
        const char *file = at("file"), *missing = at("missing"), *relative = "file";
        write_file(file, "-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n");
        assert_refused(&(struct fetch_endpoint){.url = "https://m.example",
                                                .authorities = &missing,
                                                .authority_count = 1},
                       ERROR_FAILED_PRECONDITION, missing);
        assert_refused(&(struct fetch_endpoint){.url = "https://m.example",
                                                .authorities = &file,
                                                .authority_count = 1},
                       ERROR_FAILED_PRECONDITION, "there is no certificate in it");
        assert_refused(&(struct fetch_endpoint){.url = "https://m.example",
                                                .authorities = &relative,
                                                .authority_count = 1},
                       ERROR_INVALID_ARGUMENT, "absolute");
        assert_refused(&(struct fetch_endpoint){.url = "https://m.example", .certificate = file},
                       ERROR_FAILED_PRECONDITION, "m.example: client certificate");
        assert_refused(&(struct fetch_endpoint){.url = "https://m.example",
                                                .certificate = file,
                                                .key = missing},
                       ERROR_FAILED_PRECONDITION, missing);
        fixture_root_remove();
}

static void test_none(void **state)
{
        const struct fetch_request request = {.reference = "registry.example/team/app:1"};
        struct endpoint_list *list = NULL;
        struct error err;
        assert_true(endpoint_list_new(&request, &list, &err) < 0);
        assert_null(list);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_urls),    cmocka_unit_test(test_names),
                cmocka_unit_test(test_headers), cmocka_unit_test(test_files),
                cmocka_unit_test(test_none),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
