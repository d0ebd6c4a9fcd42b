/* An image in a registry on loopback, and a whole pull of it. */
#ifndef CRISP_TEST_FETCH_FIXTURE_H
#define CRISP_TEST_FETCH_FIXTURE_H

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

static inline void sum(const void *bytes, size_t length, char out[REFERENCE_DIGEST_MAX + 1])
{
        struct digest *digest = digest_new(NULL);
        digest_add(digest, bytes, length);
        digest_finish(digest, out);
        digest_free(digest);
}

/* A tar with one file of bytes that do not compress, different in each layer. */
static inline void make_layer(unsigned number, struct buffer *tar)
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

static inline void add_blob(struct pull *pull, const void *bytes, size_t length,
                            char digest[REFERENCE_DIGEST_MAX + 1])
{
        sum(bytes, length, digest);
        AUTO_FREE char *path = xprintf("blobs/%s", digest);
        double_add(pull->registry, path, "application/octet-stream", bytes, length);
}

static inline void add_manifest(struct pull *pull, const char *tag, const char *type,
                                const char *text, char digest[REFERENCE_DIGEST_MAX + 1])
{
        sum(text, strlen(text), digest);
        AUTO_FREE char *by_digest = xprintf("manifests/%s", digest);
        AUTO_FREE char *by_tag = xprintf("manifests/%s", tag);
        double_add(pull->registry, by_digest, type, text, strlen(text));
        double_add(pull->registry, by_tag, type, text, strlen(text));
}

static inline void add_image(struct pull *pull)
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

static inline struct document *find(struct registry_double *registry, const char *kind,
                                    const char *name)
{
        AUTO_FREE char *path = xprintf("%s/%s", kind, name);
        for (size_t i = 0; i < registry->document_count; i++) {
                if (strcmp(registry->documents[i].path, path) == 0)
                        return &registry->documents[i];
        }
        fail_msg("no %s", path);
        return NULL;
}

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
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

static inline void on_progress(void *argument, const struct fetch_progress *progress)
{
        struct pull *pull = argument;
        pthread_mutex_lock(&pull->mutex);
        pull->done += progress->done;
        pthread_mutex_unlock(&pull->mutex);
}

static inline int run_with(struct pull *pull, const struct fetch_listener *listener)
{
        AUTO_LOADED struct loaded loaded = {0};
        struct stop stop;
        int r = load_request(&pull->request, &loaded, &pull->err);
        if (r < 0)
                return r;
        stop_init(&stop);
        r = fetch_run(&pull->request, &loaded, &stop, listener, pull->arena, &pull->result,
                      &pull->err);
        stop_fini(&stop);
        return r;
}

static inline int run(struct pull *pull)
{
        struct fetch_listener listener = {.progress = on_progress, .argument = pull};
        return run_with(pull, &listener);
}

static inline bool staged(struct pull *pull, const char *name)
{
        AUTO_FREE char *path = xprintf("%s/%s", pull->staging, name);
        return access(path, F_OK) == 0;
}

static inline void assert_pulled(struct pull *pull)
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

static inline void assert_fails(struct pull *pull, enum error_code code, const char *word,
                                const char *part)
{
        assert_true(run(pull) < 0);
        if (!strstr(pull->err.message, part))
                fail_msg("\"%s\" lacks \"%s\"", pull->err.message, part);
        assert_int_equal(pull->err.code, code);
        assert_string_equal(pull->err.word, word);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
