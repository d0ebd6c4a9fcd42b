/* Who is shown what: credentials, token servers, redirects, other endpoints. */
#include "test/unit/fetch_fixture.h"

/* ---- authentication ---- */

static void test_basic(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BASIC;
        pull->registry->expected_login = "dXNlcjpzZWNyZXQ="; /* user:secret */
        pull->endpoint.credentials.username = "user";
        pull->endpoint.credentials.password = "secret";
        assert_pulled(pull);
}

static void test_basic_as_auth(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BASIC;
        pull->registry->expected_login = "dXNlcjpzZWNyZXQ=";
        pull->endpoint.credentials.auth = "dXNlcjpzZWNyZXQ=";
        assert_pulled(pull);
}

static void test_wrong_password(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BASIC;
        pull->registry->expected_login = "dXNlcjpzZWNyZXQ=";
        pull->endpoint.credentials.username = "user";
        pull->endpoint.credentials.password = "hunter2";
        assert_fails(pull, ERROR_UNAUTHENTICATED, "",
                     "401 Unauthorized: UNAUTHORIZED: who are you");
        assert_null(strstr(pull->err.message, "hunter2"));
        assert_int_equal(double_requests(pull->registry, "GET"), 2);
}

static void test_no_password(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BASIC;
        pull->registry->expected_login = "x";
        assert_fails(pull, ERROR_UNAUTHENTICATED, "", "none were given");
}

static void test_bad_credentials_are_not_sent(void **state)
{
        struct pull *pull = *state;
        pull->endpoint.credentials.auth = "not base64";
        assert_fails(pull, ERROR_INVALID_ARGUMENT, "", "base64");
        pull->endpoint.credentials.auth = NULL;
        pull->endpoint.credentials.registry_token = "a\r\nX-Header: b";
        assert_int_equal(file_remove_tree(pull->staging, NULL), 0);
        assert_int_equal(mkdir(pull->staging, 0700), 0);
        assert_fails(pull, ERROR_INVALID_ARGUMENT, "", "registry_token");
        assert_int_equal(double_requests(pull->registry, "GET"), 0);
}

static void test_anonymous_token(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BEARER;
        assert_pulled(pull);
        /* The token is kept, and the scope is what was demanded. */
        assert_int_equal(double_requests(pull->registry, "GET /token"), 1);
        assert_int_equal(double_requests(pull->registry, "scope=repository%3Aa%2Fimage%3Apull"), 1);
}

static void test_token_for_a_password(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BEARER;
        pull->registry->expected_login = "dXNlcjpzZWNyZXQ=";
        pull->endpoint.credentials.username = "user";
        pull->endpoint.credentials.password = "secret";
        assert_pulled(pull);
        /* The password went to the token server alone. */
        assert_int_equal(double_requests(pull->registry, "auth=Basic"), 1);
}

static void test_token_for_a_wrong_password(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BEARER;
        pull->registry->expected_login = "dXNlcjpzZWNyZXQ=";
        pull->endpoint.credentials.username = "user";
        pull->endpoint.credentials.password = "hunter2";
        assert_fails(pull, ERROR_UNAUTHENTICATED, "", "incorrect username or password");
        assert_non_null(strstr(pull->err.message, "token server 127.0.0.1:"));
        assert_null(strstr(pull->err.message, "hunter2"));
}

static void test_token_for_an_identity_token(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BEARER;
        pull->registry->expected_refresh = "ident";
        pull->endpoint.credentials.identity_token = "ident";
        assert_pulled(pull);
        assert_int_equal(double_requests(pull->registry, "POST /token"), 1);
        assert_int_equal(double_requests(pull->registry, "ident"), 0); /* not in the URL */
}

static void test_registry_token(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BEARER;
        pull->endpoint.credentials.registry_token = "good-token";
        assert_pulled(pull);
        assert_int_equal(double_requests(pull->registry, "/token"), 0);
}

static void test_token_server_without_tokens(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BEARER;
        pull->registry->token_reply = "{\"token\":\"a\\r\\nb\"}";
        assert_fails(pull, ERROR_UNAUTHENTICATED, "", "no token");
}

static void test_token_in_a_broken_answer(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BEARER;
        pull->registry->token_reply = "{\"token\":\"half-a-token";
        assert_fails(pull, ERROR_UNAUTHENTICATED, "", "not valid JSON");
        assert_null(strstr(pull->err.message, "half-a-token"));
}

static void test_token_that_is_not_accepted(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BEARER;
        pull->registry->token_reply = "{\"token\":\"bad-token\"}";
        assert_fails(pull, ERROR_UNAUTHENTICATED, "", "anonymous token");
        assert_null(strstr(pull->err.message, "bad-token"));
}

static void test_token_server_elsewhere_without_tls(void **state)
{
        struct pull *pull = *state;
        pull->registry->auth = AUTH_BEARER;
        pull->registry->token_realm = "file:///etc/passwd";
        assert_fails(pull, ERROR_UNAUTHENTICATED, "", "not reached by https");
}

/* ---- other hosts ---- */

static void test_redirects_get_no_credentials(void **state)
{
        struct pull *pull = *state;
        pull->second = double_new();
        for (size_t i = 0; i < pull->registry->document_count; i++) {
                const struct document *document = &pull->registry->documents[i];
                double_add(pull->second, document->path, document->type, document->body.data,
                           document->body.length);
        }
        pull->registry->redirect_blobs = xprintf("http://127.0.0.1:%d", pull->second->port);
        pull->registry->auth = AUTH_BEARER;
        assert_pulled(pull);
        assert_int_equal(double_requests(pull->second, "blobs"), LAYERS + 1);
        assert_int_equal(double_requests(pull->second, "auth=-"), LAYERS + 1);
}

/* The challenge is a stranger's: what it names as a token server would get the password. */
static void test_redirects_lead_to_no_token_server(void **state)
{
        struct pull *pull = *state;
        pull->second = double_new();
        pull->second->auth = AUTH_BEARER;
        AUTO_FREE char *origin = xprintf("http://127.0.0.1:%d", pull->registry->port);
        const struct fetch_endpoint endpoint = {
                .url = origin, .credentials = {.username = "user", .password = "secret"}};

        pull->request.endpoints = &endpoint;
        pull->request.endpoint_count = 1;
        pull->registry->auth = AUTH_BASIC;
        pull->registry->expected_login = "dXNlcjpzZWNyZXQ=";
        pull->registry->redirect_blobs = xprintf("http://127.0.0.1:%d", pull->second->port);
        assert_fails(pull, ERROR_UNAUTHENTICATED, "", "from where it redirects to");
        assert_int_equal(double_requests(pull->second, "/token"), 0);
        assert_int_equal(double_requests(pull->second, "auth=Basic"), 0);
        assert_true(double_requests(pull->second, "blobs") > 0);
}

static void test_redirects_are_bounded(void **state)
{
        struct pull *pull = *state;
        pull->registry->redirect_blobs = xprintf("http://127.0.0.1:%d", pull->registry->port);
        pull->request.limits.retries = 1;
        assert_fails(pull, ERROR_UNKNOWN, "RegistryUnavailable", "redirects");
}

static void test_redirects_to_other_schemes(void **state)
{
        struct pull *pull = *state;
        pull->registry->redirect_blobs = xstrdup("file://");
        pull->request.limits.retries = 1;
        assert_fails(pull, ERROR_UNKNOWN, "RegistryUnavailable", "not safe");
}

static void test_second_endpoint(void **state)
{
        struct pull *pull = *state;
        pull->second = double_new(); /* has nothing */
        pull->second->auth = AUTH_BASIC;
        pull->second->expected_login = "dXNlcjpzZWNyZXQ=";
        AUTO_FREE char *mirror = xprintf("http://127.0.0.1:%d", pull->second->port);
        AUTO_FREE char *origin = xprintf("http://127.0.0.1:%d/", pull->registry->port);
        const struct fetch_endpoint endpoints[] = {
                {.url = mirror},
                {.url = origin, .credentials = {.username = "user", .password = "secret"}}};

        pull->request.endpoints = endpoints;
        pull->request.endpoint_count = 2;
        /* Credentials are an endpoint's own, even where the other asks for some. */
        assert_pulled(pull);
        assert_int_equal(double_requests(pull->second, "auth=Basic"), 0);
        /* Blobs come from where the manifest was. */
        assert_int_equal(double_requests(pull->second, "GET"), 1);
}

static void test_every_endpoint_is_named(void **state)
{
        struct pull *pull = *state;
        pull->second = double_new();
        AUTO_FREE char *mirror = xprintf("http://127.0.0.1:%d/prefix", pull->second->port);
        AUTO_FREE char *origin = xprintf("http://127.0.0.1:%d", pull->registry->port);
        AUTO_FREE char *first = xprintf("127.0.0.1:%d: 404 Not Found", pull->second->port);
        AUTO_FREE char *second = xprintf("127.0.0.1:%d: 403 Forbidden", pull->registry->port);
        const struct fetch_endpoint endpoints[] = {{.url = mirror}, {.url = origin}};

        pull->request.endpoints = endpoints;
        pull->request.endpoint_count = 2;
        pull->registry->fail_count = 1;
        pull->registry->fail_status = 403;
        assert_fails(pull, ERROR_PERMISSION_DENIED, "", first);
        assert_non_null(strstr(pull->err.message, second));
        assert_int_equal(double_requests(pull->second, "/v2/prefix/a/image/manifests/latest"), 1);
}

/* However much the mirrors say, the registry's own answer is told. */
static void test_many_endpoints_share_the_room(void **state)
{
        struct pull *pull = *state;
        pull->second = double_new();
        pull->second->auth = AUTH_BEARER;
        pull->second->expected_login = "dXNlcjpzZWNyZXQ=";
        AUTO_FREE char *mirror = xprintf("http://127.0.0.1:%d", pull->second->port);
        AUTO_FREE char *origin = xprintf("http://127.0.0.1:%d", pull->registry->port);
        AUTO_FREE char *first = xprintf("127.0.0.1:%d: ", pull->second->port);
        AUTO_FREE char *last = xprintf("; 127.0.0.1:%d: 403 Forbidden", pull->registry->port);
        struct fetch_endpoint endpoints[REQUEST_ENDPOINTS_MAX];
        unsigned told = 0;

        for (size_t i = 0; i < REQUEST_ENDPOINTS_MAX; i++)
                endpoints[i] = (struct fetch_endpoint){
                        .url = i + 1 < REQUEST_ENDPOINTS_MAX ? mirror : origin};
        pull->request.endpoints = endpoints;
        pull->request.endpoint_count = REQUEST_ENDPOINTS_MAX;
        pull->registry->fail_count = 1;
        pull->registry->fail_status = 403;
        assert_fails(pull, ERROR_PERMISSION_DENIED, "", "token server");
        for (const char *at = pull->err.message; (at = strstr(at, first)); at++)
                told++;
        assert_true(told >= REQUEST_ENDPOINTS_MAX - 1);
        assert_non_null(strstr(pull->err.message, last));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_basic),
                TEST(test_basic_as_auth),
                TEST(test_wrong_password),
                TEST(test_no_password),
                TEST(test_bad_credentials_are_not_sent),
                TEST(test_anonymous_token),
                TEST(test_token_for_a_password),
                TEST(test_token_for_a_wrong_password),
                TEST(test_token_for_an_identity_token),
                TEST(test_registry_token),
                TEST(test_token_server_without_tokens),
                TEST(test_token_in_a_broken_answer),
                TEST(test_token_that_is_not_accepted),
                TEST(test_token_server_elsewhere_without_tls),
                TEST(test_redirects_get_no_credentials),
                TEST(test_redirects_lead_to_no_token_server),
                TEST(test_redirects_are_bounded),
                TEST(test_redirects_to_other_schemes),
                TEST(test_second_endpoint),
                TEST(test_every_endpoint_is_named),
                TEST(test_many_endpoints_share_the_room),
        };
        if (!setlocale(LC_CTYPE, "C.UTF-8") || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return 1;
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        curl_global_cleanup();
        return failed;
}
