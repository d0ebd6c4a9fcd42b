/* Images for tests: what crisp-image would leave in a staging folder, and its result. */
#ifndef CRISP_TEST_IMAGE_FIXTURE_H
#define CRISP_TEST_IMAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "base/task.h"
#include "image/store.h"

#define FIXTURE_LAYERS_MAX 512

static char fixture_root[64]; /* a folder of this test's own */

static inline void fixture_root_make(void)
{
        strcpy(fixture_root, "/tmp/crisp-test-XXXXXX");
        assert_non_null(mkdtemp(fixture_root));
        log_set_level(LOG_LEVEL_ERROR);
}

static inline void fixture_root_remove(void)
{
        assert_int_equal(file_remove_tree(fixture_root, NULL), 0);
}

static void (*fixture_body)(void);

static inline void fixture_task(void *argument)
{
        (void)argument;
        fixture_body();
        loop_stop();
}

/* Runs function in a task, in a folder of its own. */
static inline void in_task(void (*function)(void))
{
        signal(SIGPIPE, SIG_IGN); /* as the daemon does: programs need not read their stdin */
        fixture_root_make();
        fixture_body = function;
        assert_int_equal(loop_init(4, NULL), 0);
        task_start("test", fixture_task, NULL);
        loop_run();
        loop_fini();
        fixture_root_remove();
}

static inline void write_file(const char *path, const char *text)
{
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(text, file);
        fclose(file);
}

static inline bool exists(const char *path)
{
        struct stat st;
        return lstat(path, &st) == 0;
}

/* A path below the test's folder; good until 16 more were asked for. */
__attribute__((format(printf, 1, 2))) static inline const char *at(const char *format, ...)
{
        static char paths[16][512];
        static unsigned next;
        char *path = paths[next++ % 16];
        int length = snprintf(path, sizeof(paths[0]), "%s/", fixture_root);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(path + length, sizeof(paths[0]) - (size_t)length, format, arguments);
        va_end(arguments);
        return path;
}

/* "sha256:" and 64 digits that stand for number. */
static inline char *digest_of(unsigned number)
{
        return xprintf("sha256:%064x", number);
}

static inline char *digest_of_text(const char *text)
{
        char hex[SHA256_HEX + 1];
        sha256_hex(text, strlen(text), hex);
        return xprintf("sha256:%s", hex);
}

/* What is staged as the manifest of image id, and its digest. */
static inline char *manifest_text_of(unsigned id)
{
        return xprintf("{\"annotations\":{\"number\":\"%u\"}}", id);
}

static inline char *manifest_of(unsigned id)
{
        AUTO_FREE char *text = manifest_text_of(id);
        return digest_of_text(text);
}

/* What is staged as the configuration of image id; its digest is the image's ID. */
static inline char *config_text_of(unsigned id, const unsigned *diff_ids, size_t count)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        buffer_printf(&text,
                      "{\"os\":\"linux\",\"architecture\":\"amd64\",\"author\":\"%u\","
                      "\"config\":{\"User\":\"1000:5\",\"Cmd\":[\"/bin/sh\"]},"
                      "\"rootfs\":{\"diff_ids\":[",
                      id);
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *diff_id = digest_of(diff_ids[i]);
                buffer_printf(&text, "%s\"%s\"", i ? "," : "", diff_id);
        }
        buffer_add_text(&text, "]}}");
        return buffer_take(&text);
}

/* The IDs of the images that were made last, by their numbers: they depend on their layers. */
#define FIXTURE_IMAGES_MAX 64
static struct {
        unsigned number;
        char id[80];
} fixture_images[FIXTURE_IMAGES_MAX];

static inline void note_image(unsigned number, const char *id)
{
        size_t i = 0;
        while (i < FIXTURE_IMAGES_MAX && fixture_images[i].id[0] &&
               fixture_images[i].number != number)
                i++;
        assert_true(i < FIXTURE_IMAGES_MAX);
        fixture_images[i].number = number;
        snprintf(fixture_images[i].id, sizeof(fixture_images[i].id), "%s", id);
}

/* The ID of image number, which was made. On the heap. */
static inline char *image_of(unsigned number)
{
        for (size_t i = 0; i < FIXTURE_IMAGES_MAX; i++)
                if (fixture_images[i].id[0] && fixture_images[i].number == number)
                        return xstrdup(fixture_images[i].id);
        fail_msg("image %u was not made", number);
        return NULL;
}

/* The digits of image number's ID; good until 4 more were asked for. */
static inline const char *image_hex(unsigned number)
{
        static char digits[4][SHA256_HEX + 1];
        static unsigned next;
        AUTO_FREE char *id = image_of(number);
        char *out = digits[next++ % 4];
        snprintf(out, sizeof(digits[0]), "%s", strchr(id, ':') + 1);
        return out;
}

struct fixture {
        struct fetch_result result;
        struct fetch_layer layers[FIXTURE_LAYERS_MAX];
        char *staging;
};

/* Called for each layer that is made, to fill its folder. */
typedef void fixture_fill(const char *directory, unsigned diff_id);

static inline void fill_with_name(const char *directory, unsigned diff_id)
{
        char path[600], text[32];
        snprintf(path, sizeof(path), "%s/file-%u", directory, diff_id);
        snprintf(text, sizeof(text), "%u", diff_id);
        write_file(path, text);
}

/* Fills a staging folder with an image of these layers (numbers that stand for diff IDs). */
static inline struct fixture *fixture_new(const char *staging, unsigned id,
                                          const unsigned *diff_ids, size_t count,
                                          fixture_fill *fill)
{
        struct fixture *fixture = xcalloc(1, sizeof(*fixture));
        char path[512];
        fixture->staging = xstrdup(staging);
        fixture->result = (struct fetch_result){
                .manifest_digest = manifest_of(id),
                .manifest_media_type = "application/vnd.oci.image.manifest.v1+json",
                .repo_digest = manifest_of(id),
                .config_size = 100,
                .layers = fixture->layers,
                .layer_count = count,
        };
        snprintf(path, sizeof(path), "%s/layers", staging);
        assert_int_equal(mkdir(path, 0700), 0);
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *diff_id = digest_of(diff_ids[i]);
                fixture->layers[i] = (struct fetch_layer){
                        .diff_id = take_ptr(diff_id),
                        .digest = digest_of(diff_ids[i] + 0x4000000),
                        .size = 10,
                        .unpacked = 1000,
                        .entries = 1,
                        .directory = xprintf("layer%zu", i),
                };
                for (size_t j = 0; j < i; j++)
                        if (diff_ids[j] == diff_ids[i]) {
                                free((char *)(uintptr_t)fixture->layers[i].directory);
                                fixture->layers[i].directory = NULL;
                                break;
                        }
                if (!fixture->layers[i].directory)
                        continue;
                snprintf(path, sizeof(path), "%s/layers/layer%zu", staging, i);
                assert_int_equal(mkdir(path, 0755), 0);
                fill(path, diff_ids[i]);
        }
        AUTO_FREE char *config = config_text_of(id, diff_ids, count);
        snprintf(path, sizeof(path), "%s/config.json", staging);
        write_file(path, config);
        fixture->result.config_digest = digest_of_text(config);
        note_image(id, fixture->result.config_digest);
        AUTO_FREE char *manifest = manifest_text_of(id);
        snprintf(path, sizeof(path), "%s/manifest.json", staging);
        write_file(path, manifest);
        return fixture;
}

static inline void fixture_free(struct fixture *fixture)
{
        free((char *)(uintptr_t)fixture->result.manifest_digest);
        free((char *)(uintptr_t)fixture->result.repo_digest);
        free((char *)(uintptr_t)fixture->result.config_digest);
        for (size_t i = 0; i < fixture->result.layer_count; i++) {
                free((char *)(uintptr_t)fixture->layers[i].diff_id);
                free((char *)(uintptr_t)fixture->layers[i].digest);
                free((char *)(uintptr_t)fixture->layers[i].directory);
        }
        free(fixture->staging);
        free(fixture);
}

/* Stores an image as a pull of name would. */
static inline int store_image_as(struct store *store, const char *name, unsigned id,
                                 const unsigned *diff_ids, size_t count, fixture_fill *fill,
                                 struct error *err)
{
        struct reference reference;
        char *staging, *given = NULL;
        assert_int_equal(reference_parse(name, &reference, NULL), 0);
        assert_int_equal(store_stage(store, &staging, NULL), 0);
        struct fixture *fixture = fixture_new(staging, id, diff_ids, count, fill);
        int result = store_commit(store, &reference, staging, &fixture->result, &given, err);
        if (result == 0)
                assert_string_equal(given, fixture->result.config_digest);
        free(given);
        fixture_free(fixture);
        store_unstage(store, staging);
        return result;
}

static inline struct store *open_store_with(const char *directory, char *const *additional)
{
        struct store *store;
        struct error err;
        if (store_open(directory, additional, &store, &err) < 0)
                fail_msg("%s", err.message);
        return store;
}

static inline struct store *open_store(void)
{
        return open_store_with(at("images"), NULL);
}

#endif
