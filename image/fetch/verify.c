#include "image/fetch/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/memory.h"
#include "base/table.h"
#include "image/fetch/compare.h"
#include "image/fetch/digest.h"
#include "image/fetch/limits.h"
#include "image/fetch/manifest.h"
#include "image/fetch/ring.h"
#include "image/fetch/split.h"
#include "image/fetch/stored.h"
#include "image/fetch/unpack.h"

#define SHOWN_MAX   200
#define DAMAGES_MAX 100 /* files with other contents that are named, of one layer */

struct damage {
        char *path;
        char *how;
};

/* One layer: a thread makes its stream again, and ours reads that. */
struct layer_look {
        struct report *report;
        const char *diff_id;
        int record_fd, tree_fd;
        struct ring *ring;
        struct digest *digest;
        struct compare *compare;
        int64_t length, seen; /* of the stream; seen is the maker's own until it has ended */
        int64_t looked;       /* about how much of it was compared */
        /* the maker's, until it has ended */
        struct damage damages[DAMAGES_MAX];
        size_t damage_count, damages_more;
        int result;
        struct error error;
};

/* ---- the stream ---- */

static int pass_on(void *argument, const char *bytes, size_t length, struct error *err)
{
        struct layer_look *look = argument;

        digest_add(look->digest, bytes, length);
        look->seen += (int64_t)length;
        if (ring_write(look->ring, bytes, length) < 0)
                return error_set(err, ERROR_CANCELLED, "cancelled");
        return 0;
}

static void note_damage(void *argument, const char *path, const char *how)
{
        struct layer_look *look = argument;

        if (look->damage_count == DAMAGES_MAX)
                look->damages_more++;
        else
                look->damages[look->damage_count++] = (struct damage){xstrdup(path), xstrdup(how)};
}

static void *run_maker(void *argument)
{
        struct layer_look *look = argument;
        struct split_sink sink = {pass_on, note_damage, look};

        look->result = split_remake(look->record_fd, look->tree_fd, &sink, &look->error);
        if (look->result < 0)
                ring_break(look->ring);
        else
                ring_finish(look->ring);
        return NULL;
}

static int visit(void *argument, const struct tree_entry *entry, int64_t size, struct error *err)
{
        struct layer_look *look = argument;
        look->looked += size;
        report_progress(look->report, look->looked, look->length);
        return compare_entry(look->compare, entry, size, err);
}

/* ---- what was found ---- */

static void tell_difference(void *argument, const char *path, const char *what, const char *how)
{
        report_finding(argument, FINDING_FAIL, what, "%.*s: %s", SHOWN_MAX, path, how);
}

static void tell_opaque(const struct layer_look *look)
{
        struct offline_reply reply = {.kind = OFFLINE_SAYS_OPAQUE, .diff_id = look->diff_id};

        reply.opaque = compare_opaque(look->compare, &reply.opaque_count);
        look->report->say(look->report->argument, &reply);
}

static void tell_contents(struct layer_look *look)
{
        char actual[REFERENCE_DIGEST_MAX + 1];
        struct report *report = look->report;

        for (size_t i = 0; i < look->damage_count; i++)
                report_finding(report, FINDING_FAIL, "contents", "%.*s: %s", SHOWN_MAX,
                               look->damages[i].path, look->damages[i].how);
        if (look->damages_more > 0)
                report_finding(report, FINDING_FAIL, "contents",
                               "and %zu files more have other contents", look->damages_more);
        digest_finish(look->digest, actual);
        if (look->damage_count == 0 && strcmp(actual, look->diff_id) != 0)
                report_finding(report, FINDING_FAIL, "digest",
                               "its tar stream, made again, has the digest %s", actual);
}

static void compare_stream(struct layer_look *look)
{
        struct report *report = look->report;
        struct error err = {0};
        pthread_t maker;

        int number = pthread_create(&maker, NULL, run_maker, look);
        if (number != 0) {
                report_finding(report, FINDING_FAIL, "layer", "it could not be looked at: %s",
                               strerror(number));
                return;
        }
        int r = unpack_look(look->ring, visit, look, &err);
        pthread_join(maker, NULL);
        if (look->result < 0 && look->error.code != ERROR_CANCELLED) {
                report_finding(report, FINDING_FAIL, "record", "%s", look->error.message);
                return;
        }
        if (r == 0)
                r = compare_finish(look->compare, tell_difference, report, &err);
        if (r < 0)
                report_finding(report, FINDING_FAIL, "tree", "%s", err.message);
        if (look->result == 0)
                tell_contents(look);
        if (r == 0)
                tell_opaque(look);
        if (report->failures == 0)
                report_finding(report, FINDING_PASS, "layer",
                               "%llu entries and %lld bytes are what the diff ID says",
                               (unsigned long long)compare_entries(look->compare),
                               (long long)look->seen);
}

static void look_fini(struct layer_look *look)
{
        for (size_t i = 0; i < look->damage_count; i++) {
                free(look->damages[i].path);
                free(look->damages[i].how);
        }
        compare_free(look->compare);
        digest_free(look->digest);
        ring_free(look->ring);
        cleanup_fd(&look->record_fd);
        cleanup_fd(&look->tree_fd);
}

/* ---- layers ---- */

/* Not every layer has notes; what is there is read. */
static int read_notes(struct layer_look *look, const struct stored *stored, struct error *err)
{
        AUTO_BUFFER struct buffer notes = BUFFER_INIT;
        int r = stored_read(stored, "notes", look->diff_id, &notes, err);

        if (r == -ENOENT)
                r = 0;
        if (r == 0)
                r = compare_notes(look->compare, notes.data ? notes.data : "", notes.length, err);
        return r < 0 ? error_context(err, "the layer's notes") : 0;
}

static void verify_layer(struct report *report, const struct stored *stored, const char *diff_id)
{
        CLEANUP(look_fini)
        struct layer_look look = {
                .report = report, .diff_id = diff_id, .record_fd = -1, .tree_fd = -1};
        struct error err = {0};

        report_object(report, "layer %s", diff_id);
        look.tree_fd = stored_open(stored, "layers", diff_id, O_RDONLY | O_DIRECTORY);
        if (look.tree_fd < 0) {
                report_finding(report, FINDING_FAIL, "tree", "its folder: %s",
                               strerror(-look.tree_fd));
                return;
        }
        look.record_fd = stored_open(stored, "tars", diff_id, O_RDONLY | O_NONBLOCK);
        if (look.record_fd == -ENOENT) {
                report_finding(report, FINDING_WARNING, "record",
                               "there is no record by which its tar stream could be made again: "
                               "an older crisp unpacked it, or it is of a form that cannot be "
                               "recorded");
                return;
        }
        int r = look.record_fd < 0 ? error_errno(&err, look.record_fd, "opening the record")
                                   : split_length(look.record_fd, &look.length, &err);
        if (r == 0)
                r = compare_new(look.tree_fd, &look.compare, &err);
        if (r == 0)
                r = read_notes(&look, stored, &err);
        if (r < 0) {
                report_finding(report, FINDING_FAIL, "record", "%s", err.message);
                return;
        }
        look.ring = ring_new(FETCH_RING_SIZE);
        look.digest = digest_new(diff_id);
        compare_stream(&look);
}

/* ---- images ---- */

static void verify_layers_of(struct report *report, const struct offline_image *image,
                             const struct buffer *bytes)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct manifest_config config;
        struct error err = {0};

        if (manifest_config_parse(bytes->data ? bytes->data : "", bytes->length, arena, &config,
                                  &err) < 0) {
                report_finding(report, FINDING_FAIL, "configuration", "%s", err.message);
                return;
        }
        if (config.count != image->layer_count) {
                report_finding(report, FINDING_FAIL, "layers",
                               "the store has %zu of them, the configuration says %zu",
                               image->layer_count, config.count);
                return;
        }
        for (size_t i = 0; i < config.count; i++)
                if (strcmp(config.diff_ids[i], image->diff_ids[i]) != 0)
                        report_finding(report, FINDING_FAIL, "layers",
                                       "layer %zu is %s, the configuration says %s", i + 1,
                                       image->diff_ids[i], config.diff_ids[i]);
}

static void verify_image(struct report *report, const struct stored *stored,
                         const struct offline_image *image)
{
        AUTO_BUFFER struct buffer config = BUFFER_INIT;
        AUTO_BUFFER struct buffer manifest = BUFFER_INIT;
        struct error err = {0};

        report_object(report, "image %s", image->id);
        if (stored_document(stored, "configs", image->id, &config, &err) < 0)
                report_finding(report, FINDING_FAIL, "configuration", "%s", err.message);
        else
                verify_layers_of(report, image, &config);
        if (stored_document(stored, "manifests", image->manifest_digest, &manifest, &err) < 0)
                report_finding(report, FINDING_FAIL, "manifest", "%s", err.message);
        if (image->fixup) {
                AUTO_FD int fd = stored_open(stored, "fixups", image->fixup, O_PATH | O_DIRECTORY);
                if (fd < 0)
                        report_finding(report, FINDING_FAIL, "fix-up", "its folder: %s",
                                       strerror(-fd));
        }
        if (report->failures == 0)
                report_finding(report, FINDING_PASS, "image",
                               "configuration, manifest and the list of %zu layers",
                               image->layer_count);
}

static int check_request(const struct offline_request *request, struct error *err)
{
        for (size_t i = 0; i < request->image_count; i++) {
                const struct offline_image *image = &request->images[i];
                bool valid = digest_is_valid(image->id) &&
                             digest_is_valid(image->manifest_digest) &&
                             (!image->fixup || digest_is_valid(image->fixup));
                for (size_t j = 0; valid && j < image->layer_count; j++)
                        valid = digest_is_valid(image->diff_ids[j]);
                if (!valid)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "request: images: expected digests");
        }
        return 0;
}

int verify_run(const struct offline_request *request, const struct stored *stored,
               struct report *report, struct error *err)
{
        struct table *layers = table_new();
        int r = check_request(request, err);

        report->count = request->image_count;
        for (size_t i = 0; r == 0 && i < request->image_count; i++)
                for (size_t j = 0; j < request->images[i].layer_count; j++)
                        table_put(layers, request->images[i].diff_ids[j], report);
        report->count += table_size(layers);
        for (size_t i = 0; r == 0 && i < request->image_count; i++) {
                const struct offline_image *image = &request->images[i];
                verify_image(report, stored, image);
                for (size_t j = 0; j < image->layer_count; j++)
                        if (table_remove(layers, image->diff_ids[j]))
                                verify_layer(report, stored, image->diff_ids[j]);
        }
        table_free(layers);
        if (r == 0)
                report_done(report);
        return r;
}
