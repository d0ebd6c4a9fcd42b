/* The lines that the daemon and crisp-image say to each other in a pull. */
#include "test/unit/document_fixture.h"

/* ---- the pull protocol ---- */

static void test_request_round_trip(void **state)
{
        static const char *const present[] = {SHA, SHA2};
        static const char *const authorities[] = {"/ca.crt", "/other.crt"};
        static const char *const headers[] = {"X-Key: secret"};
        static const struct fetch_endpoint endpoints[] = {
                {.url = "https://mirror.example",
                 .exact_path = true,
                 .digests_only = true,
                 .ns = "docker.io",
                 .authorities = authorities,
                 .authority_count = 2,
                 .certificate = "/c.cert",
                 .key = "/c.key",
                 .headers = headers,
                 .header_count = 1,
                 .connect_timeout = 9,
                 .credentials = {.username = "user",
                                 .password = "p\"\\\xc3\xa4",
                                 .auth = "YTpi",
                                 .identity_token = "i",
                                 .registry_token = "r",
                                 .server_address = "registry.example"}},
                {.url = "http://m.example/p", .repository = "other/name", .insecure = true}};
        struct fetch_request sent = {
                .reference = "busybox",
                .endpoints = endpoints,
                .endpoint_count = 2,
                .os = "linux",
                .variant = "v7",
                .present = present,
                .present_count = 2,
                .staging = "/staging",
                .limits = {.layer_bytes = 1,
                           .unpacked_bytes = 2,
                           .entries = 3,
                           .parallel_layers = 4,
                           .connect_timeout = 5,
                           .stall_timeout = 6,
                           .retries = 7,
                           .retry_delay_max = 8},
        };
        struct fetch_request got;
        struct error err = {0};
        AUTO_FREE char *line = request_encode(&sent);

        assert_string_equal(endpoints[0].credentials.password, "p\"\\\xc3\xa4");
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        assert_int_equal(request_decode(line, strlen(line), *state, &got, &err), 0);
        assert_string_equal(got.reference, "busybox");
        assert_string_equal(got.staging, "/staging");
        assert_string_equal(got.os, "linux");
        assert_null(got.architecture);
        assert_string_equal(got.variant, "v7");
        assert_int_equal(got.endpoint_count, 2);
        assert_string_equal(got.endpoints[0].url, "https://mirror.example");
        assert_null(got.endpoints[0].repository);
        assert_string_equal(got.endpoints[1].repository, "other/name");
        assert_true(got.endpoints[1].insecure);
        assert_false(got.endpoints[1].exact_path || got.endpoints[1].digests_only);
        assert_null(got.endpoints[1].ns);
        assert_null(got.endpoints[1].credentials.password);
        assert_true(got.endpoints[0].exact_path && got.endpoints[0].digests_only);
        assert_string_equal(got.endpoints[0].ns, "docker.io");
        assert_int_equal(got.endpoints[0].authority_count, 2);
        assert_string_equal(got.endpoints[0].authorities[1], "/other.crt");
        assert_string_equal(got.endpoints[0].certificate, "/c.cert");
        assert_string_equal(got.endpoints[0].key, "/c.key");
        assert_int_equal(got.endpoints[0].header_count, 1);
        assert_string_equal(got.endpoints[0].headers[0], "X-Key: secret");
        assert_int_equal(got.endpoints[0].connect_timeout, 9);
        assert_string_equal(got.endpoints[0].credentials.password, "p\"\\\xc3\xa4");
        assert_string_equal(got.endpoints[0].credentials.registry_token, "r");
        assert_null(got.endpoints[0].credentials.server_address);
        assert_int_equal(got.present_count, 2);
        assert_string_equal(got.present[1], SHA2);
        assert_memory_equal(&got.limits, &sent.limits, sizeof(got.limits));

        const char *password = got.endpoints[0].credentials.password;
        request_wipe(&got);
        assert_null(got.endpoints[0].credentials.password);
        assert_string_equal(password, "");
}

static void test_bad_requests(void **state)
{
        static const char *const lines[] = {
                "",
                "{}",
                "[]",
                "{\"reference\":\"a\"}",
                "{\"reference\":7,\"staging\":\"/s\"}",
                "{\"reference\":\"a\",\"staging\":\"/s\",\"present\":[7]}",
                "{\"reference\":\"a\",\"staging\":\"/s\",\"endpoints\":[{}]}",
                "{\"reference\":\"a\",\"staging\":\"/s\",\"endpoints\":[7]}",
                "{\"reference\":\"a\",\"staging\":\"/s\",\"limits\":{\"entries\":-1}}",
                "{\"reference\":\"a\",\"staging\":\"/s\",\"endpoints\":[{\"url\":\"u\","
                "\"credentials\":{\"password\":7}}]}",
        };
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                struct fetch_request request;
                if (request_decode(lines[i], strlen(lines[i]), *state, &request, NULL) == 0)
                        fail_msg("accepted: %s", lines[i]);
        }
        struct fetch_request request;
        static const char least[] = "{\"reference\":\"a\",\"staging\":\"/s\"}";
        assert_int_equal(request_decode(least, strlen(least), *state, &request, NULL), 0);
        assert_int_equal(request.endpoint_count, 0);
        assert_int_equal(request.present_count, 0);
}

static struct fetch_reply over_the_wire(struct arena *arena, const struct fetch_reply *reply)
{
        struct fetch_reply got = {0};
        struct error err = {0};
        AUTO_FREE char *line = reply_encode(reply);

        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        if (reply_decode(line, strlen(line), arena, &got, &err) != 0)
                fail_msg("%s", err.message);
        assert_int_equal(got.kind, reply->kind);
        return got;
}

static void test_replies(void **state)
{
        struct fetch_reply sent = {
                .kind = FETCH_PROGRESS,
                .progress = {.digest = SHA, .bytes = 5, .total = 9, .done = true}};
        struct fetch_reply got = over_the_wire(*state, &sent);
        assert_string_equal(got.progress.digest, SHA);
        assert_int_equal(got.progress.bytes, 5);
        assert_int_equal(got.progress.total, 9);
        assert_true(got.progress.done);

        sent = (struct fetch_reply){.kind = FETCH_ERROR};
        error_set(&sent.error, ERROR_UNAVAILABLE, "bytes \xff and \x01");
        error_word(&sent.error, "RegistryUnavailable");
        got = over_the_wire(*state, &sent);
        assert_int_equal(got.error.code, ERROR_UNKNOWN);
        assert_string_equal(got.error.word, "RegistryUnavailable");
        assert_string_equal(got.error.message, "bytes ? and \x01");
        error_set(&sent.error, ERROR_NOT_FOUND, "gone");
        got = over_the_wire(*state, &sent);
        assert_int_equal(got.error.code, ERROR_NOT_FOUND);
        assert_string_equal(got.error.word, "");
}

static void test_result_round_trip(void **state)
{
        static const char *const opaque[] = {".", "with %41 and \n", "latin\xe9/\xc3\xa4"};
        static const char *const implied[] = {"a"};
        static const struct fetch_link links[] = {{"from\xff", "to\"\\"}};
        static const struct fetch_layer layers[] = {
                {.diff_id = SHA,
                 .digest = SHA2,
                 .size = 3,
                 .directory = "name",
                 .unpacked = 10,
                 .entries = 4,
                 .opaque = opaque,
                 .opaque_count = 3,
                 .implied = implied,
                 .implied_count = 1,
                 .links = links,
                 .link_count = 1},
                {.diff_id = SHA2, .digest = SHA, .size = 4},
        };
        struct fetch_reply sent = {.kind = FETCH_RESULT,
                                   .result = {.manifest_digest = SHA,
                                              .manifest_media_type = "m",
                                              .repo_digest = SHA2,
                                              .config_digest = SHA,
                                              .config_size = 1,
                                              .total_size = 2,
                                              .layers = layers,
                                              .layer_count = 2}};
        struct fetch_reply got = over_the_wire(*state, &sent);

        assert_string_equal(got.result.repo_digest, SHA2);
        assert_null(got.result.index_digest);
        assert_int_equal(got.result.total_size, 2);
        assert_int_equal(got.result.layer_count, 2);
        const struct fetch_layer *layer = &got.result.layers[0];
        assert_string_equal(layer->directory, "name");
        assert_int_equal(layer->opaque_count, 3);
        for (int i = 0; i < 3; i++)
                assert_string_equal(layer->opaque[i], opaque[i]);
        assert_int_equal(layer->implied_count, 1);
        assert_int_equal(layer->link_count, 1);
        assert_string_equal(layer->links[0].path, links[0].path);
        assert_string_equal(layer->links[0].target, links[0].target);
        assert_null(got.result.layers[1].directory);
        assert_int_equal(got.result.layers[1].size, 4);

        struct fetch_reply none;
        assert_true(reply_decode("{}", 2, *state, &none, NULL) < 0);
        static const char zero[] = "{\"result\":{\"manifest_digest\":\"a\",\"manifest_media_type\":"
                                   "\"b\",\"repo_digest\":\"c\",\"config_digest\":\"d\",\"layers\":"
                                   "[{\"diff_id\":\"a\",\"digest\":\"b\",\"opaque\":[\"%00\"]}]}}";
        assert_true(reply_decode(zero, strlen(zero), *state, &none, NULL) < 0);
}

/* Questions, whole layers and answers are read as they were written. */
static void test_questions_and_answers(void **state)
{
        static const char ID[] =
                "sha256:a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
        AUTO_ARENA struct arena *arena = arena_new();
        struct fetch_reply want = {.kind = FETCH_WANT, .want = {ID, ID, 7}}, read;
        struct fetch_reply whole = {.kind = FETCH_LAYER,
                                    .layer = {.diff_id = ID, .digest = ID, .directory = "d"}};
        enum fetch_verdict verdict = FETCH_ANSWER_NONE;
        const char *diff_id = NULL;
        struct error err;
        (void)state;

        AUTO_FREE char *asked = reply_encode(&want);
        assert_int_equal(reply_decode(asked, strlen(asked), arena, &read, &err), 0);
        assert_int_equal(read.kind, FETCH_WANT);
        assert_string_equal(read.want.diff_id, ID);
        assert_int_equal(read.want.size, 7);

        AUTO_FREE char *told = reply_encode(&whole);
        assert_int_equal(reply_decode(told, strlen(told), arena, &read, &err), 0);
        assert_int_equal(read.kind, FETCH_LAYER);
        assert_string_equal(read.layer.directory, "d");
        whole.layer.directory = NULL;
        AUTO_FREE char *nowhere = reply_encode(&whole);
        assert_true(reply_decode(nowhere, strlen(nowhere), arena, &read, &err) < 0);

        AUTO_FREE char *answer = answer_encode(ID, FETCH_ANSWER_PRESENT);
        assert_int_equal(answer_decode(answer, strlen(answer), arena, &diff_id, &verdict, &err), 0);
        assert_string_equal(diff_id, ID);
        assert_int_equal(verdict, FETCH_ANSWER_PRESENT);
        assert_true(answer_decode("{\"layer\":\"x\",\"answer\":\"?\"}", 26, arena, &diff_id,
                                  &verdict, &err) < 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_questions_and_answers), TEST(test_request_round_trip),
                TEST(test_bad_requests),          TEST(test_replies),
                TEST(test_result_round_trip),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
