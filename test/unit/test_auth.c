/* What an endpoint's challenge is answered with, and what the token server is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <curl/curl.h>

#include "base/clock.h"
#include "image/fetch/auth.h"
#include "registry_double.h"

#define USER_SECRET "dXNlcjpzZWNyZXQ=" /* user:secret */

struct talk {
        struct registry_double *server, *second;
        struct stop stop;
        struct http_client *client;
        struct auth *auth;
        struct error err;
};

static int set_up(void **state)
{
        struct talk *talk = xcalloc(1, sizeof(*talk));
        talk->server = double_new();
        stop_init(&talk->stop);
        assert_int_equal(http_client_new(&talk->stop, 5000, 20000, &talk->client, NULL), 0);
        *state = talk;
        return 0;
}

static int tear_down(void **state)
{
        struct talk *talk = *state;
        auth_free(talk->auth);
        http_client_free(talk->client);
        stop_fini(&talk->stop);
        double_free(talk->server);
        double_free(talk->second);
        free(talk);
        return 0;
}

static void begin(struct talk *talk, const struct fetch_credentials *credentials)
{
        assert_int_equal(auth_new(credentials, "a/image", true, NULL, NULL, &talk->auth, NULL), 0);
}

/* more: further parameters of the challenge. */
static int answer(struct talk *talk, const char *more)
{
        AUTO_FREE char *challenge =
                xprintf("Bearer realm=\"http://127.0.0.1:%d/token\"%s\n", talk->server->port, more);
        unsigned version;
        CLEANUP(auth_free_header)
        char *header = auth_header(talk->auth, clock_monotonic(), &version);
        return auth_answer(talk->auth, talk->client, challenge, version, &talk->err);
}

static void assert_header(struct talk *talk, int64_t now, const char *wanted)
{
        unsigned version;
        CLEANUP(auth_free_header) char *header = auth_header(talk->auth, now, &version);
        if (wanted)
                assert_string_equal(header, wanted);
        else
                assert_null(header);
}

static void test_a_token_has_its_time(void **state)
{
        static const struct {
                const char *member;
                int64_t seconds;
        } CASES[] = {
                {",\"expires_in\":300", 300},  {"", 60},
                {",\"expires_in\":5", 60},     {",\"expires_in\":-1", 60},
                {",\"expires_in\":\"x\"", 60}, {",\"expires_in\":9000000000000000000", 86400},
        };
        struct talk *talk = *state;
        const struct fetch_credentials nobody = {0};
        for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
                AUTO_FREE char *reply = xprintf("{\"token\":\"good-token\"%s}", CASES[i].member);
                talk->server->token_reply = reply;
                begin(talk, &nobody);
                int64_t before = clock_monotonic();
                assert_int_equal(answer(talk, ""), 0);
                int64_t after = clock_monotonic();
                assert_header(talk, before + CASES[i].seconds * NSEC_PER_SEC - 1,
                              "Bearer good-token");
                assert_header(talk, after + CASES[i].seconds * NSEC_PER_SEC, NULL);
                /* Once over it is gone, and the next challenge brings a new one. */
                assert_header(talk, before, NULL);
                assert_int_equal(answer(talk, ""), 0);
                assert_header(talk, before, "Bearer good-token");
                auth_free(talk->auth);
                talk->auth = NULL;
        }
}

static void test_scopes(void **state)
{
        struct talk *talk = *state;
        const struct fetch_credentials nobody = {0};
        begin(talk, &nobody);
        assert_int_equal(answer(talk, ",service=\"the service\",scope=\"repository:x/y:pull "
                                      "repository:z:pull,push\""),
                         0);
        assert_int_equal(double_requests(talk->server, "GET /token?service=the%20service&"
                                                       "scope=repository%3Ax%2Fy%3Apull&"
                                                       "scope=repository%3Az%3Apull%2Cpush auth=-"),
                         1);
        /* Who names none gets one, and no service where there is none. */
        assert_int_equal(answer(talk, ""), 0);
        assert_int_equal(double_requests(talk->server,
                                         "GET /token?scope=repository%3Aa%2Fimage%3Apull auth=-"),
                         1);
}

static void test_an_identity_token(void **state)
{
        struct talk *talk = *state;
        const struct fetch_credentials credentials = {.auth = USER_SECRET,
                                                      .identity_token = "ident"};
        talk->server->expected_refresh = "ident";
        begin(talk, &credentials);
        assert_int_equal(answer(talk, ""), 0);
        assert_int_equal(double_requests(talk->server, "POST /token auth=-"), 1);
        assert_header(talk, clock_monotonic(), "Bearer good-token");
}

static void test_an_identity_token_where_post_is_not_known(void **state)
{
        struct talk *talk = *state;
        const struct fetch_credentials credentials = {.identity_token = "ident"};
        talk->server->fail_count = 1;
        talk->server->fail_status = 405;
        talk->server->expected_login = "OmlkZW50"; /* :ident */
        begin(talk, &credentials);
        assert_int_equal(answer(talk, ""), 0);
        assert_int_equal(double_requests(talk->server, "POST /token auth=-"), 1);
        assert_int_equal(double_requests(talk->server, "auth=Basic OmlkZW50"), 1);
        assert_header(talk, clock_monotonic(), "Bearer good-token");
}

static void test_an_identity_token_that_is_refused(void **state)
{
        struct talk *talk = *state;
        const struct fetch_credentials credentials = {.identity_token = "wrong-ident"};
        talk->server->expected_refresh = "ident";
        begin(talk, &credentials);
        assert_true(answer(talk, "") < 0);
        assert_int_equal(talk->err.code, ERROR_UNAUTHENTICATED);
        /* It is not shown once more in another way. */
        assert_int_equal(double_requests(talk->server, "/token"), 1);
        assert_null(strstr(talk->err.message, "wrong-ident"));
}

static void test_a_token_server_that_sends_elsewhere(void **state)
{
        struct talk *talk = *state;
        const struct fetch_credentials credentials = {.auth = USER_SECRET};
        talk->second = double_new();
        AUTO_FREE char *location =
                xprintf("Location: http://127.0.0.1:%d/token\r\n", talk->second->port);
        talk->server->fail_count = 1;
        talk->server->fail_status = 307;
        talk->server->fail_headers = location;
        talk->second->expected_login = USER_SECRET;
        begin(talk, &credentials);
        assert_true(answer(talk, "") < 0);
        assert_int_equal(double_requests(talk->server, "auth=Basic " USER_SECRET), 1);
        assert_int_equal(double_requests(talk->second, "auth=-"), 1);
}

static void test_several_challenges(void **state)
{
        static const char basic_only[] = "Negotiate\nBasic realm=\"x\"\n";
        struct talk *talk = *state;
        const struct fetch_credentials credentials = {.username = "user", .password = "secret"};
        begin(talk, &credentials);
        AUTO_FREE char *both = xprintf(
                "Basic realm=\"x\", Negotiate, Bearer realm=\"http://127.0.0.1:%d/token\"\n",
                talk->server->port);
        talk->server->expected_login = USER_SECRET;
        assert_int_equal(auth_answer(talk->auth, talk->client, both, 0, &talk->err), 0);
        assert_header(talk, clock_monotonic(), "Bearer good-token");
        assert_int_equal(auth_answer(talk->auth, talk->client, basic_only, 1, &talk->err), 0);
        assert_header(talk, CLOCK_NEVER - 1, "Basic " USER_SECRET);
}

/* A registry that is reached by https has a token server that is, too. */
static void test_no_password_goes_by_http(void **state)
{
        struct talk *talk = *state;
        const struct fetch_credentials credentials = {.auth = USER_SECRET};
        assert_int_equal(auth_new(&credentials, "a/image", false, NULL, NULL, &talk->auth, NULL),
                         0);
        assert_true(answer(talk, "") < 0);
        assert_non_null(strstr(talk->err.message, "not reached by https"));
        assert_int_equal(double_requests(talk->server, "/"), 0);
}

static void test_zero_bytes_after_a_password(void **state)
{
        struct talk *talk = *state;
        const struct fetch_credentials filled = {.auth = "dXNlcjpzZWNyZXQAAAA="};
        const struct fetch_credentials inside = {.auth = "dXNlcjpzAGVjcmV0"};
        begin(talk, &filled);
        assert_int_equal(
                auth_answer(talk->auth, talk->client, "Basic realm=\"x\"\n", 0, &talk->err), 0);
        assert_header(talk, 0, "Basic " USER_SECRET);
        struct auth *none = NULL;
        assert_true(auth_new(&inside, "a", true, NULL, NULL, &none, &talk->err) < 0);
        assert_null(none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_a_token_has_its_time),
                TEST(test_scopes),
                TEST(test_an_identity_token),
                TEST(test_an_identity_token_where_post_is_not_known),
                TEST(test_an_identity_token_that_is_refused),
                TEST(test_a_token_server_that_sends_elsewhere),
                TEST(test_several_challenges),
                TEST(test_no_password_goes_by_http),
                TEST(test_zero_bytes_after_a_password),
        };
        curl_global_init(CURL_GLOBAL_DEFAULT);
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        curl_global_cleanup();
        return failed;
}
