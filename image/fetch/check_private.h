/*
 * check_private: what the files that check images share. Nobody else includes this.
 */
#ifndef CRISP_IMAGE_FETCH_CHECK_PRIVATE_H
#define CRISP_IMAGE_FETCH_CHECK_PRIVATE_H

#include <jansson.h>

#include "base/buffer.h"
#include "image/fetch/archive.h"
#include "image/fetch/check.h"
#include "image/fetch/http.h"
#include "image/fetch/manifest.h"
#include "image/fetch/registry.h"
#include "image/fetch/stop.h"

struct check {
        const struct offline_request *request;
        struct report *report;
        struct arena *arena;
        struct fetch_limits limits;
        struct archive_index *index; /* null: the registry is asked */
        struct registry *registry;
        struct http_client *client;
        struct stop stop; /* the client's and the registry's */
};

/* A descriptor as far as it is one. */
struct check_descriptor {
        const char *media_type;
        const char *digest; /* valid, or null */
        int64_t size;       /* -1: not said */
};

#define CHECK_FAIL(check, what, ...)                                                               \
        report_finding((check)->report, FINDING_FAIL, what, __VA_ARGS__)
#define CHECK_WARN(check, what, ...)                                                               \
        report_finding((check)->report, FINDING_WARNING, what, __VA_ARGS__)
#define CHECK_PASS(check, what, ...)                                                               \
        report_finding((check)->report, FINDING_PASS, what, __VA_ARGS__)

/* Reads a document of this digest and size, and says what is wrong with it. False where it is not
 * there. kind is what registries call it. */
bool check_get(struct check *check, const char *kind, const struct check_descriptor *descriptor,
               struct buffer *bytes);

/* Members that descriptors, indexes and manifests have alike; place names it in findings. */
void check_read_descriptor(struct check *check, const json_t *object, const char *place,
                           struct check_descriptor *descriptor);
void check_annotations(struct check *check, const json_t *object, const char *place);
/* Says that the document is Docker's, or no known one; true where it is OCI's expected. */
bool check_media_type(struct check *check, const char *what, const char *media_type,
                      const char *expected, const char *docker);

/* A configuration; gives its diff IDs, borrowed from the document, which is the caller's. */
void check_config(struct check *check, const json_t *config, size_t layers);

/* One layer: digest, size, compression, diff ID (null: not known), tar. */
void check_layer(struct check *check, const struct check_descriptor *layer, const char *diff_id);

#endif
