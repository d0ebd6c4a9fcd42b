/* Whole pulls from a registry on loopback that behaves in all the ways that registries do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <locale.h>
#include <sys/stat.h>

#include "base/file.h"
#include "image/fetch/digest.h"
#include "image/fetch/fetch.h"
#include "registry_double.h"

#define OCI_INDEX    "application/vnd.oci.image.index.v1+json"
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define LAYERS       3
#define FILE_SIZE    200000

struct pull {
        struct registry_double *registry;
        struct registry_double *second;
        struct arena *arena;
        char staging[64];
        char reference[300];
        char manifest_digest[REFERENCE_DIGEST_MAX + 1];
        char config_digest[REFERENCE_DIGEST_MAX + 1];
        char digests[LAYERS][REFERENCE_DIGEST_MAX + 1];
        struct fetch_endpoint endpoint; /* the registry itself */
        char url[64];
        struct fetch_request request;
        struct fetch_result result;
        struct error err;
        unsigned done; /* layers that were reported done */
        pthread_mutex_t mutex;
};

static void sum(const void *bytes, size_t length, char out[REFERENCE_DIGEST_MAX + 1])
{
        struct digest *digest = digest_new(NULL);
        digest_add(digest, bytes, length);
        digest_finish(digest, out);
        digest_free(digest);
}

/* A tar with one file of bytes that do not compress, different in each layer. */
static void make_layer(unsigned number, struct buffer *tar)
{
        size_t used = 0;
        char *bytes = buffer_reserve(tar, 2 * FILE_SIZE);
        struct archive *archive = archive_write_new();
        struct archive_entry *entry = archive_entry_new();
        AUTO_FREE char *contents = xcalloc(1, FILE_SIZE);
        AUTO_FREE char *name = xprintf("file%u", number);

        for (unsigned i = 0, x = number + 1; i < FILE_SIZE; i++) {
                x = x * 1103515245u + 12345u;
                contents[i] = (char)(x >> 16);
        }
        archive_write_set_format_ustar(archive);
        assert_int_equal(archive_write_open_memory(archive, bytes, 2 * FILE_SIZE, &used),
                         ARCHIVE_OK);
        archive_entry_set_pathname(entry, name);
        archive_entry_set_mode(entry, S_IFREG | 0644);
        archive_entry_set_size(entry, FILE_SIZE);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        archive_write_data(archive, contents, FILE_SIZE);
        archive_entry_free(entry);
        archive_write_close(archive);
        archive_write_free(archive);
        tar->length += used;
}

static void add_blob(struct pull *pull, const void *bytes, size_t length,
                     char digest[REFERENCE_DIGEST_MAX + 1])
{
        sum(bytes, length, digest);
        AUTO_FREE char *path = xprintf("blobs/%s", digest);
        double_add(pull->registry, path, "application/octet-stream", bytes, length);
}

static void add_manifest(struct pull *pull, const char *tag, const char *type, const char *text,
                         char digest[REFERENCE_DIGEST_MAX + 1])
{
        sum(text, strlen(text), digest);
        AUTO_FREE char *by_digest = xprintf("manifests/%s", digest);
        AUTO_FREE char *by_tag = xprintf("manifests/%s", tag);
        double_add(pull->registry, by_digest, type, text, strlen(text));
        double_add(pull->registry, by_tag, type, text, strlen(text));
}

static void add_image(struct pull *pull)
{
        AUTO_BUFFER struct buffer config = BUFFER_INIT;
        AUTO_BUFFER struct buffer layers = BUFFER_INIT;

        buffer_add_text(&config,
                        "{\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[");
        for (unsigned i = 0; i < LAYERS; i++) {
                AUTO_BUFFER struct buffer tar = BUFFER_INIT;
                make_layer(i, &tar);
                add_blob(pull, tar.data, tar.length, pull->digests[i]);
                buffer_printf(&config, "%s\"%s\"", i > 0 ? "," : "", pull->digests[i]);
                buffer_printf(&layers, "%s{\"digest\":\"%s\",\"size\":%zu}", i > 0 ? "," : "",
                              pull->digests[i], tar.length);
        }
        buffer_add_text(&config, "]}}");
        add_blob(pull, config.data, config.length, pull->config_digest);
        AUTO_FREE char *manifest =
                xprintf("{\"schemaVersion\":2,\"config\":{\"digest\":\"%s\",\"size\":%zu},"
                        "\"layers\":[%s]}",
                        pull->config_digest, config.length, layers.data);
        add_manifest(pull, "latest", OCI_MANIFEST, manifest, pull->manifest_digest);
}

static struct document *find(struct registry_double *registry, const char *kind, const char *name)
{
        AUTO_FREE char *path = xprintf("%s/%s", kind, name);
        for (size_t i = 0; i < registry->document_count; i++) {
                if (strcmp(registry->documents[i].path, path) == 0)
                        return &registry->documents[i];
        }
        fail_msg("no %s", path);
        return NULL;
}

static int set_up(void **state)
{
        struct pull *pull = xcalloc(1, sizeof(*pull));

        pthread_mutex_init(&pull->mutex, NULL);
        pull->registry = double_new();
        pull->arena = arena_new();
        strcpy(pull->staging, "/tmp/crisp-fetch-XXXXXX");
        assert_non_null(mkdtemp(pull->staging));
        snprintf(pull->reference, sizeof(pull->reference), "127.0.0.1:%d/a/image",
                 pull->registry->port);
        add_image(pull);
        snprintf(pull->url, sizeof(pull->url), "http://127.0.0.1:%d", pull->registry->port);
        pull->endpoint.url = pull->url;
        pull->request = (struct fetch_request){
                .reference = pull->reference,
                .endpoints = &pull->endpoint,
                .endpoint_count = 1,
                .staging = pull->staging,
                .limits = {.connect_timeout = 5000,
                           .stall_timeout = 20000,
                           .retries = 2,
                           .retry_delay_max = 5},
        };
        *state = pull;
        return 0;
}

static int tear_down(void **state)
{
        struct pull *pull = *state;
        double_free(pull->registry);
        double_free(pull->second);
        arena_free(pull->arena);
        assert_int_equal(file_remove_tree(pull->staging, NULL), 0);
        pthread_mutex_destroy(&pull->mutex);
        free(pull);
        return 0;
}

static void on_progress(void *argument, const struct fetch_progress *progress)
{
        struct pull *pull = argument;
        pthread_mutex_lock(&pull->mutex);
        pull->done += progress->done;
        pthread_mutex_unlock(&pull->mutex);
}

static int run(struct pull *pull)
{
        AUTO_LOADED struct loaded loaded = {0};
        struct stop stop;
        int r = load_request(&pull->request, &loaded, &pull->err);
        if (r < 0)
                return r;
        stop_init(&stop);
        struct fetch_listener listener = {.progress = on_progress, .argument = pull};
        r = fetch_run(&pull->request, &loaded, &stop, &listener, pull->arena, &pull->result,
                      &pull->err);
        stop_fini(&stop);
        return r;
}

static bool staged(struct pull *pull, const char *name)
{
        AUTO_FREE char *path = xprintf("%s/%s", pull->staging, name);
        return access(path, F_OK) == 0;
}

static void assert_pulled(struct pull *pull)
{
        if (run(pull) != 0)
                fail_msg("%s", pull->err.message);
        assert_string_equal(pull->result.config_digest, pull->config_digest);
        assert_string_equal(pull->result.manifest_digest, pull->manifest_digest);
        assert_int_equal(pull->result.layer_count, LAYERS);
        assert_true(staged(pull, "manifest.json"));
        assert_true(staged(pull, "config.json"));
        for (unsigned i = 0; i < LAYERS; i++) {
                struct stat status;
                const char *name = pull->result.layers[i].directory;
                assert_non_null(name);
                AUTO_FREE char *path = xprintf("%s/layers/%s/file%u", pull->staging, name, i);
                assert_int_equal(stat(path, &status), 0);
                assert_int_equal(status.st_size, FILE_SIZE);
        }
}

static void assert_fails(struct pull *pull, enum error_code code, const char *word,
                         const char *part)
{
        assert_true(run(pull) < 0);
        if (!strstr(pull->err.message, part))
                fail_msg("\"%s\" lacks \"%s\"", pull->err.message, part);
        assert_int_equal(pull->err.code, code);
        assert_string_equal(pull->err.word, word);
}

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_by_tag),
                TEST(test_by_digest),
                TEST(test_index),
                TEST(test_platform_that_is_not_there),
                TEST(test_layers_that_the_store_has),
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
