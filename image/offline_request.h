/*
 * offline_request: what the daemon and crisp-image say to each other beside pulls.
 *
 * The conversation is that of image/request.h: one line of JSON in; progress, then one result or
 * error out; stdin's end cancels. The request's "kind" tells it from a pull. Descriptor 3 is the
 * archive, layout or output where there is one. Findings come as they are made, each a line;
 * images that were loaded likewise, as results of pulls with names, each in a folder of its own
 * below the staging folder.
 *
 * These functions do not block; any thread. Decoded strings live in the arena.
 */
#ifndef CRISP_IMAGE_OFFLINE_REQUEST_H
#define CRISP_IMAGE_OFFLINE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "image/request.h"

#define OFFLINE_FD           3
#define OFFLINE_FINDINGS_MAX 100 /* failures told of one object; the others are counted */
#define OFFLINE_TEXT_MAX     1024
#define OFFLINE_IMAGES_MAX   4096 /* of one request, or of one archive */
#define OFFLINE_STORES_MAX   17   /* the store and those whose images it uses */
#define OFFLINE_NAMES_MAX    4096 /* of one image */

enum offline_kind { OFFLINE_PULL, OFFLINE_VERIFY, OFFLINE_SAVE, OFFLINE_LOAD, OFFLINE_CHECK };

enum offline_format { OFFLINE_OCI_ARCHIVE, OFFLINE_OCI_FOLDER, OFFLINE_DOCKER_ARCHIVE };
enum offline_compression { OFFLINE_PLAIN, OFFLINE_GZIP, OFFLINE_ZSTD };

/* An image that the store has. */
struct offline_image {
        const char *id;
        const char *manifest_digest;
        const char *const *diff_ids; /* the lowest layer first */
        size_t layer_count;
        const char *fixup;        /* the chain ID that its fix-up has for a name, or null */
        const char *const *names; /* for a save: tags and digests in full */
        size_t name_count;
};

struct offline_request {
        enum offline_kind kind;
        const char *store;             /* absolute path of the store: verify and save read it */
        const char *const *additional; /* those of further ones, for what the first has not */
        size_t additional_count;
        const struct offline_image *images;
        size_t image_count;
        enum offline_format format;
        enum offline_compression compression;
        const char *name; /* load: for an image without one */
        bool remote;      /* check: what the registry has, by fetch's reference */
        /*
         * load: staging, platform, layers that are present, limits; reference is name or any.
         * check: staging (for what has to be spooled), limits, and reference, endpoints and
         * credentials where a registry is asked.
         */
        struct fetch_request fetch;
};

/* "kind" of a request's line, without decoding it further: pulls have none. INVALID_ARGUMENT for
 * one that is not known. */
int offline_request_kind(const char *line, size_t length, enum offline_kind *kind,
                         struct error *err);

/* The line with its newline, on the heap; wipe it with request_wipe_text before freeing it. */
char *offline_request_encode(const struct offline_request *request);
int offline_request_decode(const char *line, size_t length, struct arena *arena,
                           struct offline_request *request, struct error *err);

/* ---- replies ---- */

enum finding_verdict { FINDING_PASS = 1, FINDING_WARNING, FINDING_FAIL };

/* Something that was looked at, and what came of it. */
struct finding {
        enum finding_verdict verdict;
        const char *object; /* "layer sha256:...", "image sha256:...", "index.json" */
        const char *what;   /* what was looked at: "digest", "mode", "annotations", ... */
        const char *text;   /* the exact difference or violation; of a pass: what was found */
};

struct offline_progress {
        const char *object; /* "layer sha256:..." */
        int64_t bytes;      /* of it, so far */
        int64_t total;      /* 0: not known */
        uint64_t done;      /* objects done, of count */
        uint64_t count;
};

struct offline_reply {
        enum {
                OFFLINE_SAYS_PROGRESS = 1,
                OFFLINE_SAYS_FINDING,
                OFFLINE_SAYS_LOADED,
                OFFLINE_SAYS_OPAQUE,
                OFFLINE_SAYS_DONE,
                OFFLINE_SAYS_ERROR
        } kind;
        struct offline_progress progress;
        struct finding finding;
        /* An image that was unpacked into staging/DIRECTORY, with its names. */
        const char *directory;
        const char *const *names;
        size_t name_count;
        struct fetch_result result;
        /* A layer's folders that must be marked opaque; only the daemon may see the marks. */
        const char *diff_id;
        const char *const *opaque;
        size_t opaque_count;
        uint64_t objects, unsaid; /* of OFFLINE_SAYS_DONE */
        struct error error;
};

char *offline_reply_encode(const struct offline_reply *reply);
int offline_reply_decode(const char *line, size_t length, struct arena *arena,
                         struct offline_reply *reply, struct error *err);

#endif
