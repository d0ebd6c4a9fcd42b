/* Whole pulls from a registry on loopback that behaves in all the ways that registries do. */
#include "test/unit/fetch_fixture.h"

/* ---- what is there ---- */

static void test_by_tag(void **state)
{
        struct pull *pull = *state;
        assert_pulled(pull);
        assert_int_equal(pull->done, LAYERS);
        assert_string_equal(pull->result.repo_digest, pull->manifest_digest);
        assert_null(pull->result.index_digest);
        assert_false(staged(pull, "index.json"));
        assert_int_equal(double_requests(pull->registry, "GET"), 2 + LAYERS);
}

static void test_by_digest(void **state)
{
        struct pull *pull = *state;
        size_t length = strlen(pull->reference);
        snprintf(pull->reference + length, sizeof(pull->reference) - length, ":other@%s",
                 pull->manifest_digest);
        assert_pulled(pull);
        assert_int_equal(double_requests(pull->registry, "manifests/other"), 0);
}

static void test_index(void **state)
{
        struct pull *pull = *state;
        char digest[REFERENCE_DIGEST_MAX + 1];
        const struct document *manifest = find(pull->registry, "manifests", "latest");
        AUTO_FREE char *text = xprintf(
                "{\"manifests\":[{\"digest\":\"sha256:"
                "0000000000000000000000000000000000000000000000000000000000000000\",\"size\":5,"
                "\"platform\":{\"os\":\"linux\",\"architecture\":\"s390x\"}},"
                "{\"digest\":\"%s\",\"size\":%zu,\"platform\":{\"os\":\"linux\",\"architecture\":"
                "\"amd64\"}}]}",
                pull->manifest_digest, manifest->body.length);

        add_manifest(pull, "multi", OCI_INDEX, text, digest);
        snprintf(pull->reference, sizeof(pull->reference), "127.0.0.1:%d/a/image:multi",
                 pull->registry->port);
        pull->request.architecture = "x86_64";
        assert_pulled(pull);
        assert_string_equal(pull->result.index_digest, digest);
        assert_string_equal(pull->result.repo_digest, digest);
        assert_true(staged(pull, "index.json"));
}

static void test_platform_that_is_not_there(void **state)
{
        struct pull *pull = *state;
        char digest[REFERENCE_DIGEST_MAX + 1];
        add_manifest(pull, "none", OCI_INDEX, "{\"manifests\":[]}", digest);
        strcat(pull->reference, ":none");
        assert_fails(pull, ERROR_NOT_FOUND, "", "no image for linux/");
}

static void test_layers_that_the_store_has(void **state)
{
        struct pull *pull = *state;
        const char *const present[] = {pull->digests[0], pull->digests[2]};

        pull->request.present = present;
        pull->request.present_count = 2;
        assert_int_equal(run(pull), 0);
        assert_null(pull->result.layers[0].directory);
        assert_non_null(pull->result.layers[1].directory);
        assert_null(pull->result.layers[2].directory);
        assert_int_equal(double_requests(pull->registry, pull->digests[0]), 0);
        assert_int_equal(double_requests(pull->registry, pull->digests[1]), 1);
}

/* ---- layers that others fetch ---- */

struct questions {
        struct pull *pull;
        struct desk desk;
        unsigned wants, whole;
        bool out_of_order;
};

static void no_progress(void *argument, const struct fetch_progress *progress)
{
}

/*
 * One thread asks. While it waits to hear of the second layer the first one, which it had been told
 * to wait for, comes; it hears of the second only when it is busy with others.
 */
static void on_want(void *argument, const struct fetch_want *want)
{
        struct questions *questions = argument;
        char(*digests)[REFERENCE_DIGEST_MAX + 1] = questions->pull->digests;
        unsigned number = questions->wants++;

        questions->out_of_order |= number >= LAYERS || strcmp(want->diff_id, digests[number]) != 0;
        if (number == 0)
                desk_answer(&questions->desk, digests[0], FETCH_ANSWER_WAIT);
        if (number == 1)
                desk_answer(&questions->desk, digests[0], FETCH_ANSWER_PRESENT);
        if (number == 2) {
                desk_answer(&questions->desk, digests[1], FETCH_ANSWER_FETCH);
                desk_answer(&questions->desk, digests[2], FETCH_ANSWER_FETCH);
        }
}

static void on_layer(void *argument, const struct fetch_layer *layer)
{
        struct questions *questions = argument;
        questions->whole += layer->directory != NULL;
}

static void test_an_answer_that_comes_while_something_else_is_done(void **state)
{
        struct pull *pull = *state;
        struct questions questions = {.pull = pull};
        struct fetch_listener listener = {.progress = no_progress,
                                          .want = on_want,
                                          .layer = on_layer,
                                          .desk = &questions.desk,
                                          .argument = &questions};
        pull->request.limits.parallel_layers = 1;
        desk_init(&questions.desk);
        alarm(60); /* ends what hangs */
        assert_int_equal(run_with(pull, &listener), 0);
        alarm(0);
        desk_fini(&questions.desk);
        assert_false(questions.out_of_order);
        assert_int_equal(questions.wants, LAYERS);
        assert_int_equal(questions.whole, 2);
        assert_null(pull->result.layers[0].directory);
        assert_int_equal(double_requests(pull->registry, "GET"), 2 + 2);
}

/* ---- what is not ---- */

static void test_unknown_image(void **state)
{
        struct pull *pull = *state;
        strcat(pull->reference, "-unknown");
        assert_fails(pull, ERROR_NOT_FOUND, "", "404 Not Found: NAME_UNKNOWN: not here");
}

static void test_no_registry(void **state)
{
        struct pull *pull = *state;
        int port = pull->registry->port;
        AUTO_FREE char *name = xprintf("127.0.0.1:%d: ", port);

        shutdown(pull->registry->listener, SHUT_RDWR);
        assert_fails(pull, ERROR_UNKNOWN, "RegistryUnavailable", name);
}

static void test_bad_names_and_folders(void **state)
{
        struct pull *pull = *state;
        strcpy(pull->reference, "UPPER");
        assert_fails(pull, ERROR_INVALID_ARGUMENT, "", "lower-case");
        strcpy(pull->reference, "a");
        pull->request.staging = "/nonexistent/folder";
        assert_fails(pull, ERROR_NOT_FOUND, "", "staging folder /nonexistent/folder");
}

/* ---- passing failures ---- */

static void test_busy_registry_is_tried_again(void **state)
{
        struct pull *pull = *state;
        pull->registry->fail_count = 2;
        pull->registry->fail_status = 503;
        pull->registry->fail_headers = "Retry-After: 0\r\n";
        assert_pulled(pull);
}

static void test_busy_registry_stays_busy(void **state)
{
        struct pull *pull = *state;
        pull->registry->fail_count = 100;
        pull->registry->fail_status = 502;
        /* A long wait is cut to the bound. */
        pull->registry->fail_headers = "Retry-After: 86400\r\n";
        assert_fails(pull, ERROR_UNKNOWN, "RegistryUnavailable", "3 tries: 502 Bad Gateway");
        assert_int_equal(double_requests(pull->registry, "GET"), 3);
}

static void test_rate_limit(void **state)
{
        struct pull *pull = *state;
        pull->registry->fail_count = 100;
        pull->registry->fail_status = 429;
        assert_fails(pull, ERROR_UNKNOWN, "RegistryUnavailable", "429 Too Many Requests");
}

static void test_refusals_are_not_tried_again(void **state)
{
        struct pull *pull = *state;
        pull->registry->fail_count = 100;
        pull->registry->fail_status = 403;
        assert_fails(pull, ERROR_PERMISSION_DENIED, "", "403 Forbidden");
        assert_int_equal(double_requests(pull->registry, "GET"), 1);
}

static void test_cut_transfers_are_resumed(void **state)
{
        struct pull *pull = *state;
        pull->registry->cut_count = 4;
        pull->registry->cut_after = 50000;
        assert_pulled(pull);
        assert_true(double_requests(pull->registry, "range=bytes=50000-") > 0);
}

static void test_cut_transfers_without_ranges(void **state)
{
        struct pull *pull = *state;
        pull->registry->cut_count = 2;
        pull->registry->cut_after = 150000;
        pull->registry->ignore_range = true;
        assert_pulled(pull);
}

static void test_wrong_ranges(void **state)
{
        struct pull *pull = *state;
        pull->registry->cut_count = 1;
        pull->registry->cut_after = 50000;
        pull->registry->wrong_range = true;
        assert_fails(pull, ERROR_UNKNOWN, "RegistryUnavailable", "another range");
}

static void test_transfers_that_never_get_far(void **state)
{
        struct pull *pull = *state;
        pull->registry->cut_count = 1000;
        pull->registry->cut_after = 1000;
        assert_fails(pull, ERROR_UNKNOWN, "RegistryUnavailable", "layer ");
        assert_true(double_requests(pull->registry, "blobs") < 80);
}

static void test_stalls(void **state)
{
        struct pull *pull = *state;
        pull->registry->stall_path = pull->digests[1];
        pull->request.limits.stall_timeout = 100;
        pull->request.limits.retries = 1;
        assert_fails(pull, ERROR_UNKNOWN, "RegistryUnavailable", "stalled");
}

/* ---- lies ---- */

static void test_layer_of_another_digest(void **state)
{
        struct pull *pull = *state;
        find(pull->registry, "blobs", pull->digests[1])->body.data[FILE_SIZE / 2] ^= 1;
        assert_fails(pull, ERROR_DATA_LOSS, "", "layer 2 of 3");
        assert_non_null(strstr(pull->err.message, "instead of"));
}

static void test_layer_that_is_longer(void **state)
{
        struct pull *pull = *state;
        buffer_add(&find(pull->registry, "blobs", pull->digests[1])->body, "more", 4);
        assert_fails(pull, ERROR_DATA_LOSS, "", "longer than the");
}

static void test_layer_that_is_shorter(void **state)
{
        struct pull *pull = *state;
        find(pull->registry, "blobs", pull->digests[1])->body.length -= 600;
        assert_fails(pull, ERROR_UNKNOWN, "RegistryUnavailable", "bytes: the transfer ends");
}

static void test_layer_with_another_diff_id(void **state)
{
        struct pull *pull = *state;
        char config_digest[REFERENCE_DIGEST_MAX + 1], digest[REFERENCE_DIGEST_MAX + 1];
        struct document *old = find(pull->registry, "blobs", pull->config_digest);
        AUTO_FREE char *config = xstrndup(old->body.data, old->body.length);
        AUTO_FREE char *layers = xstrdup(
                strstr(find(pull->registry, "manifests", "latest")->body.data, "\"layers\""));

        /* The first two change places. */
        char *first = strstr(config, pull->digests[0]), *second = strstr(config, pull->digests[1]);
        memcpy(first, pull->digests[1], strlen(pull->digests[1]));
        memcpy(second, pull->digests[0], strlen(pull->digests[0]));
        add_blob(pull, config, strlen(config), config_digest);
        AUTO_FREE char *manifest = xprintf("{\"config\":{\"digest\":\"%s\",\"size\":%zu},%s",
                                           config_digest, strlen(config), layers);
        add_manifest(pull, "swapped", OCI_MANIFEST, manifest, digest);
        strcat(pull->reference, ":swapped");
        assert_fails(pull, ERROR_DATA_LOSS, "", "uncompressed: its digest is");
}

static void test_config_of_another_digest(void **state)
{
        struct pull *pull = *state;
        find(pull->registry, "blobs", pull->config_digest)->body.data[2] ^= 1;
        assert_fails(pull, ERROR_DATA_LOSS, "", "image configuration");
}

static void test_manifest_of_another_digest(void **state)
{
        struct pull *pull = *state;
        find(pull->registry, "manifests", pull->manifest_digest)->body.data[0] = ' ';
        strcat(pull->reference, "@");
        strcat(pull->reference, pull->manifest_digest);
        assert_fails(pull, ERROR_DATA_LOSS, "", "its digest is");
}

static void test_manifest_that_is_too_long(void **state)
{
        struct pull *pull = *state;
        struct buffer *body = &find(pull->registry, "manifests", "latest")->body;
        size_t length = 5 << 20;
        memset(buffer_reserve(body, length), ' ', length);
        body->length += length;
        assert_fails(pull, ERROR_DATA_LOSS, "", "longer than 4194304 bytes");
}

static void test_rubbish_and_schema_1(void **state)
{
        struct pull *pull = *state;
        char digest[REFERENCE_DIGEST_MAX + 1];
        add_manifest(pull, "html", "text/html", "<html>log in</html>", digest);
        add_manifest(pull, "old", "application/vnd.docker.distribution.manifest.v1+prettyjws",
                     "{\"schemaVersion\":1,\"fsLayers\":[]}", digest);
        strcat(pull->reference, ":html");
        assert_fails(pull, ERROR_INVALID_ARGUMENT, "", "manifest");
        snprintf(pull->reference, sizeof(pull->reference), "127.0.0.1:%d/a/image:old",
                 pull->registry->port);
        assert_int_equal(file_remove_tree(pull->staging, NULL), 0);
        assert_int_equal(mkdir(pull->staging, 0700), 0);
        assert_fails(pull, ERROR_FAILED_PRECONDITION, "", "schema 1");
}

static void test_bounds(void **state)
{
        struct pull *pull = *state;
        pull->request.limits.layer_bytes = 1000;
        assert_fails(pull, ERROR_RESOURCE_EXHAUSTED, "", "more than the bound of 1000");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_by_tag),
                TEST(test_by_digest),
                TEST(test_index),
                TEST(test_platform_that_is_not_there),
                TEST(test_layers_that_the_store_has),
                TEST(test_an_answer_that_comes_while_something_else_is_done),
                TEST(test_unknown_image),
                TEST(test_no_registry),
                TEST(test_bad_names_and_folders),
                TEST(test_busy_registry_is_tried_again),
                TEST(test_busy_registry_stays_busy),
                TEST(test_rate_limit),
                TEST(test_refusals_are_not_tried_again),
                TEST(test_cut_transfers_are_resumed),
                TEST(test_cut_transfers_without_ranges),
                TEST(test_wrong_ranges),
                TEST(test_transfers_that_never_get_far),
                TEST(test_stalls),
                TEST(test_layer_of_another_digest),
                TEST(test_layer_that_is_longer),
                TEST(test_layer_that_is_shorter),
                TEST(test_layer_with_another_diff_id),
                TEST(test_config_of_another_digest),
                TEST(test_manifest_of_another_digest),
                TEST(test_manifest_that_is_too_long),
                TEST(test_rubbish_and_schema_1),
                TEST(test_bounds),
        };
        if (!setlocale(LC_CTYPE, "C.UTF-8") || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return 1;
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        curl_global_cleanup();
        return failed;
}
